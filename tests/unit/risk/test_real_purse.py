"""The real account's purse: what one reading and everything since it leave for new orders (decision 19)."""

from dataclasses import dataclass, field
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pms.model.bracket import LeverageBracket
from pms.model.order import OrderSide
from pms.model.symbol import Symbol
from pms.risk.real_purse import (
    Inputs,
    RealBook,
    RealPosition,
    RealReading,
    SideLoad,
    cap_of,
    maintenance_of,
    ratio,
    real_refusals,
    worst_notional,
)
from tests.unit.risk.builders import BTC, ETH

BUY, SELL = OrderSide.BUY, OrderSide.SELL
ZERO = Decimal(0)
ROWS = (
    LeverageBracket(50, ZERO, Decimal(1000), Decimal("0.01"), ZERO),
    LeverageBracket(20, Decimal(1000), Decimal(5000), Decimal("0.02"), Decimal(10)),
    LeverageBracket(5, Decimal(5000), Decimal(20_000), Decimal("0.10"), Decimal(410)),
)


@dataclass
class World:
    """What the engine around the book would answer, set by the test."""

    nets: dict[Symbol, Decimal] = field(default_factory=dict)
    sides: dict[tuple[Symbol, OrderSide], SideLoad] = field(default_factory=dict)
    marks: dict[Symbol, Decimal] = field(default_factory=dict)

    def book(self, leverage: int = 10) -> RealBook:
        book = RealBook(
            Inputs(
                lambda symbol: self.nets.get(symbol, ZERO),
                lambda symbol, side: self.sides.get((symbol, side), SideLoad()),
                self.marks.get,
            )
        )
        book.take_brackets({BTC: ROWS, ETH: ROWS})
        book.take_leverages({BTC: leverage, ETH: leverage})
        return book

    def order(
        self, book: RealBook, symbol: Symbol, side: OrderSide, quantity: Decimal, price: Decimal
    ) -> None:
        load = self.sides.get((symbol, side), SideLoad())
        self.sides[symbol, side] = load.plus(quantity, price)
        book.touch(symbol)


def reading(
    wallet: str = "1000",
    *,
    margin: str | None = None,
    available: str | None = None,
    maintenance: str = "0",
    positions: dict[Symbol, RealPosition] | None = None,
    as_of_ms: int = 1000,
) -> RealReading:
    balance = Decimal(margin or wallet)
    left = balance if available is None else Decimal(available)
    return RealReading(as_of_ms, Decimal(wallet), balance, left, Decimal(maintenance), positions or {})


def held(quantity: str, entry: str = "100", time_ms: int = 900) -> RealPosition:
    return RealPosition(Decimal(quantity), Decimal(entry), time_ms)


@pytest.mark.parametrize(
    ("net", "bids", "asks", "worst"),
    [
        (0, 0, 0, 0),
        (100, 0, 0, 100),
        (100, 50, 0, 150),
        (100, 0, 50, 100),
        (100, 0, 300, 200),
        (-100, 30, 5, 105),
    ],
)
def test_the_worst_side(net: int, bids: int, asks: int, worst: int) -> None:
    assert worst_notional(Decimal(net), Decimal(bids), Decimal(asks)) == worst


@pytest.mark.parametrize(
    ("notional", "maintenance"),
    [("500", "5"), ("1000", "10"), ("2000", "30"), ("5000", "90"), ("6000", "190")],
)
def test_maintenance_follows_the_brackets(notional: str, maintenance: str) -> None:
    assert maintenance_of(ROWS, Decimal(notional)) == Decimal(maintenance)


@pytest.mark.parametrize(("leverage", "cap"), [(50, 1000), (21, 1000), (20, 5000), (5, 20_000), (1, 20_000)])
def test_the_cap_of_a_leverage(leverage: int, cap: int) -> None:
    assert cap_of(ROWS, Decimal(leverage)) == cap
    assert cap_of((), Decimal(leverage)) is None


def test_marks_fills_and_orders_move_it_between_readings() -> None:
    world = World(nets={BTC: Decimal(5)}, marks={BTC: Decimal(100), ETH: Decimal(10)})
    book = world.book()
    book.take_reading(reading(available="950", maintenance="5", positions={BTC: held("5")}), ZERO)
    figures = book.figures()
    assert (figures.margin_balance, figures.initial_margin, figures.margin_available) == (1000, 50, 950)
    assert (figures.maintenance_margin, figures.reserved_elsewhere) == (5, 0)
    assert figures.margin_ratio == Decimal("0.005")
    world.marks[BTC] = Decimal(80)
    book.touch(BTC)
    assert (book.figures().margin_balance, book.figures().maintenance_margin) == (900, 4)
    assert book.figures().margin_available == 900 - 40
    world.order(book, ETH, SELL, Decimal(20), Decimal(11))
    assert book.figures().margin_available == 900 - 40 - 22
    book.take_position(BTC, held("0", time_ms=1500))
    book.take_wallet(Decimal(890), 1500)
    world.nets[BTC] = ZERO
    assert (book.figures().margin_balance, book.figures().margin_available) == (890, 868)


def test_what_others_reserve_stays_reserved() -> None:
    """A bot on the same account has orders out: the exchange's available balance knows, we do not."""
    world = World(marks={BTC: Decimal(100)})
    book = world.book()
    book.take_reading(reading(available="600", maintenance="3"), ZERO)
    assert (book.figures().margin_available, book.figures().reserved_elsewhere) == (600, 400)
    assert book.figures().maintenance_margin == 3
    book.take_reading(reading(available="1000", as_of_ms=2000), ZERO)
    assert book.figures().margin_available == 1000


def test_an_order_that_ended_during_a_reading_is_no_foreign_reservation() -> None:
    world = World(marks={BTC: Decimal(100)})
    book = world.book()
    world.order(book, BTC, BUY, Decimal(10), Decimal(100))
    before = book.figures().initial_margin
    world.order(book, BTC, BUY, Decimal(-10), Decimal(100))
    book.take_reading(reading(available="900"), before)
    assert book.figures().margin_available == 1000


def test_an_older_report_never_wins() -> None:
    book = World(marks={BTC: Decimal(100)}).book()
    book.take_position(BTC, held("3", time_ms=2000))
    book.take_wallet(Decimal(700), 2000)
    book.take_reading(reading("1000", positions={BTC: held("9", time_ms=900)}, as_of_ms=1000), ZERO)
    assert book.positions() == {BTC: held("3", time_ms=2000)}
    assert book.figures().margin_balance == 700
    book.take_reading(reading("650", as_of_ms=3000), ZERO)
    assert (book.positions(), book.figures().margin_balance) == ({}, 650)


def test_a_changed_leverage_counts_at_once() -> None:
    world = World(nets={BTC: Decimal(5)}, marks={BTC: Decimal(100)})
    book = world.book(leverage=10)
    book.take_wallet(Decimal(1000), 1)
    book.touch(BTC)
    assert book.figures().initial_margin == 50
    book.take_leverage(BTC, 5)
    assert book.figures().initial_margin == 100
    purse = book.purse(BTC, known=True, blocked=False)
    assert (purse.leverage, purse.notional_cap, purse.net) == (5, 20_000, 500)
    unknown = book.purse(Symbol("XYZ/USDT:USDT"), known=True, blocked=False)
    assert (unknown.leverage, unknown.notional_cap) == (1, None), "reserved for in full"


def test_an_order_without_a_price_is_valued_at_the_mark_of_the_moment() -> None:
    world = World(marks={BTC: Decimal(100)})
    book = world.book()
    world.sides[BTC, BUY] = SideLoad().plus(Decimal(2), None)
    book.touch(BTC)
    assert book.figures().initial_margin == 20
    world.marks[BTC] = Decimal(150)
    book.touch(BTC)
    assert book.figures().initial_margin == 30


def test_the_ratio_without_a_balance() -> None:
    assert ratio(Decimal(0), Decimal(-5)) == 0
    assert ratio(Decimal(1), Decimal(0)) == 999
    assert ratio(Decimal(1), Decimal(2)) == Decimal("0.5")


AMOUNTS = st.decimals("0.001", "40", places=3)
PRICES = st.decimals("50", "150", places=1)
ORDERS = st.lists(
    st.tuples(st.sampled_from([BTC, ETH]), st.sampled_from([BUY, SELL]), AMOUNTS, PRICES, st.booleans()),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(
    orders=ORDERS,
    nets=st.tuples(*[st.decimals("-20", "20", places=3)] * 2),
    leverages=st.tuples(*[st.sampled_from([1, 3, 20])] * 2),
    elsewhere=st.integers(0, 300),
)
def test_no_set_of_admitted_orders_can_exceed_the_margin(
    orders: list[tuple[Symbol, OrderSide, Decimal, Decimal, bool]],
    nets: tuple[Decimal, ...],
    leverages: tuple[int, ...],
    elsewhere: int,
) -> None:
    """Whatever is admitted one after another, some of it filled: the worst of every symbol together fits, and
    no symbol passes its cap, unless it did before the first order."""
    world = World(
        nets=dict(zip((BTC, ETH), nets, strict=True)), marks=dict.fromkeys((BTC, ETH), Decimal(100))
    )
    book = world.book()
    book.take_leverages(dict(zip((BTC, ETH), leverages, strict=True)))
    book.touch(BTC)
    book.touch(ETH)
    start = book.figures().initial_margin
    book.take_reading(reading("1000", available=str(1000 - start - elsewhere)), ZERO)
    first = book.figures().margin_available
    for symbol, side, quantity, limit, fills in orders:
        # The gate values a sell at the market at least, and so does the reservation.
        price = max(limit, Decimal(100)) if side is SELL else limit
        purse = book.purse(symbol, known=True, blocked=False)
        worst = worst_notional(purse.net, purse.bids, purse.asks)
        if real_refusals(purse, side, quantity, price):
            continue
        world.order(book, symbol, side, quantity, price)
        after = book.purse(symbol, known=True, blocked=False)
        now = worst_notional(after.net, after.bids, after.asks)
        assert after.notional_cap is None or now <= max(after.notional_cap, worst)
        if fills:
            world.order(book, symbol, side, -quantity, price)
            world.nets[symbol] += side.sign * quantity * price / 100  # at its own price, as margin counts it
            book.touch(symbol)
        assert book.figures().margin_available >= min(first, ZERO)


CHANGES = st.one_of(
    st.tuples(st.just("mark"), st.sampled_from([BTC, ETH]), st.decimals("1", "500", places=1)),
    st.tuples(st.just("buy"), st.sampled_from([BTC, ETH]), st.decimals("0.001", "30", places=3)),
    st.tuples(st.just("sell"), st.sampled_from([BTC, ETH]), st.decimals("0.001", "30", places=3)),
    st.tuples(st.just("held"), st.sampled_from([BTC, ETH]), st.decimals("-30", "30", places=3)),
    st.tuples(st.just("leverage"), st.sampled_from([BTC, ETH]), st.integers(1, 50).map(Decimal)),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(CHANGES, max_size=30))
def test_moved_step_by_step_it_equals_a_book_made_of_the_end(
    changes: list[tuple[str, Symbol, Decimal]],
) -> None:
    world = World(marks={BTC: Decimal(100), ETH: Decimal(10)})
    book = world.book()
    leverages = {BTC: Decimal(10), ETH: Decimal(10)}
    for time_ms, (kind, symbol, value) in enumerate(changes):
        match kind:
            case "mark":
                world.marks[symbol] = value
            case "held":
                world.nets[symbol] = value
                book.take_position(symbol, RealPosition(value, Decimal(90), time_ms))
            case "leverage":
                leverages[symbol] = value
                book.take_leverage(symbol, int(value))
            case side:
                world.order(book, symbol, BUY if side == "buy" else SELL, value, Decimal(95))
        book.touch(symbol)
        if time_ms % 3 == 0:
            book.figures()
    fresh = world.book()
    fresh.take_leverages({symbol: int(leverage) for symbol, leverage in leverages.items()})
    for symbol, position in book.positions().items():
        fresh.take_position(symbol, position)
    for symbol in (BTC, ETH):
        fresh.touch(symbol)
    assert book.figures() == fresh.figures()
