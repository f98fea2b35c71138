"""The adapter and the simulated exchange together, over the loopback interface and the real wire protocol."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest

from pms.exchange.binance import BinanceConfig, BinanceExchange
from pms.exchange.binance.config import StreamTuning
from pms.exchange.port import (
    Absent,
    AccountEvent,
    CancelVerdict,
    Confirmed,
    NotSent,
    OrderEvent,
    OrderReport,
    OutcomeUnknown,
    RefusedByExchange,
    StreamGap,
    UserEvent,
)
from pms.model.ids import ClientOrderId, ExchangeOrderId, TradeId
from pms.model.money import Price, Quantity
from pms.model.order import (
    ApprovedOrder,
    ExchangeOrderStatus,
    OrderSide,
    OrderType,
    SelfMatchPrevention,
    TimeInForce,
)
from pms.model.price import BookTicker, MarkPrice
from pms.model.refusal import RefusalCode
from pms.model.symbol import Symbol
from pms.runtime import SystemClock
from pms.simulator import Simulator, SimulatorConfig
from tests.integration.exchange.fake_venue import running, until

BTC = Symbol("BTC/USDT:USDT")
KEY, SECRET = "key", "secret"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    accounts = ((KEY, SECRET, Decimal(10_000)),)
    simulator = Simulator(SimulatorConfig(symbols=("BTCUSDT",), accounts=accounts))
    await simulator.start()
    simulator.set_quote("BTCUSDT", Decimal("50000.0"), Decimal("50000.1"))
    yield simulator
    await simulator.stop()


def config_of(simulator: Simulator) -> BinanceConfig:
    config = BinanceConfig.at(simulator.url, simulator.ws_url, KEY, SECRET)
    return replace(config, streams=StreamTuning(backoff_seconds_min=0.02, backoff_seconds_max=0.1))


@pytest.fixture
async def exchange(simulator: Simulator) -> AsyncIterator[BinanceExchange]:
    exchange = BinanceExchange(config_of(simulator), SystemClock(), Random(1))
    await exchange.start()
    yield exchange
    await exchange.close()


def order(
    number: int, side: OrderSide = OrderSide.BUY, price: str | None = None, **more: object
) -> ApprovedOrder:
    one = ApprovedOrder(
        client_order_id=ClientOrderId(f"PMSabcdefgh_MK_{number}"),
        symbol=BTC,
        side=side,
        type=OrderType.LIMIT if price else OrderType.MARKET,
        quantity=Quantity(Decimal("0.010")),
        price=Price(Decimal(price)) if price else None,
        time_in_force=TimeInForce.GTC,
        reduce_only_wire=False,
        self_match=SelfMatchPrevention.EXPIRE_TAKER,
        risk_reducing=False,
    )
    return replace(one, **more)  # type: ignore[arg-type]


class Events:
    """Keeps what the user stream tells."""

    def __init__(self) -> None:
        self.all: list[UserEvent] = []

    async def __call__(self, event: UserEvent) -> None:
        self.all.append(event)

    def gaps(self) -> list[StreamGap]:
        return [event for event in self.all if isinstance(event, StreamGap)]

    def orders(self) -> list[OrderEvent]:
        return [event for event in self.all if isinstance(event, OrderEvent)]


async def report_of(exchange: BinanceExchange, one: ApprovedOrder) -> OrderReport:
    report = await exchange.trading.query(one.symbol, one.client_order_id)
    assert isinstance(report, OrderReport)
    return report


async def test_a_market_order_from_placing_to_every_reading(
    simulator: Simulator, exchange: BinanceExchange
) -> None:
    events = Events()
    async with running(exchange.user_stream.run(events)):
        await until(events.gaps)
        one = order(1)
        outcome = await exchange.trading.place(one)
        assert isinstance(outcome, Confirmed)
        assert outcome.report.status is ExchangeOrderStatus.FILLED
        assert outcome.report.executed_quantity == one.quantity
        await until(lambda: [event for event in events.orders() if event.fill])
        await until(lambda: [event for event in events.all if isinstance(event, AccountEvent)])
    assert isinstance(events.all[0], StreamGap)
    fill = next(event.fill for event in events.orders() if event.fill)
    assert (fill.client_order_id, fill.symbol, fill.native_symbol) == (one.client_order_id, BTC, "BTCUSDT")
    assert (fill.price, fill.quantity) == (Decimal("50000.1"), Decimal("0.010"))
    assert fill.fee == Decimal("50000.1") * Decimal("0.010") * Decimal("0.0005")
    assert fill.fee_asset == "USDT"
    queried = await exchange.account.order_fills(BTC, outcome.report.order_id)
    assert [replace(each, client_order_id=fill.client_order_id, source=fill.source) for each in queried] == [
        fill
    ]
    assert await exchange.account.client_order_id(BTC, fill.order_id) == one.client_order_id
    assert await exchange.account.client_order_id(BTC, ExchangeOrderId("1")) is None
    assert await exchange.account.fills_since(BTC, fill.trade_id, fill.trade_time_ms) == []
    before = TradeId(fill.trade_id - 1)
    assert len(await exchange.account.fills_since(BTC, before, fill.trade_time_ms)) == 1
    assert len(await exchange.account.fills_since(BTC, TradeId(0), fill.trade_time_ms - 1)) == 1
    report = await report_of(exchange, one)
    assert (report.status, report.average_price) == (ExchangeOrderStatus.FILLED, Decimal("50000.1"))
    (position,) = await exchange.account.positions()
    assert (position.symbol, position.signed_quantity) == (BTC, Decimal("0.010"))
    assert position.entry_price == Decimal("50000.1")
    wallet = await exchange.account.wallet()
    assert wallet.wallet_balance == Decimal(10_000) - fill.fee
    assert 0 < wallet.available_balance < wallet.wallet_balance
    assert wallet.initial_margin > wallet.maintenance_margin > 0
    mode = await exchange.account.mode()
    assert (mode.one_way, mode.single_asset, mode.can_trade) == (True, True, True)
    assert await exchange.account.leverage(BTC) == 20
    assert await exchange.account.epoch() == simulator.epoch
    assert (await exchange.market.brackets())[BTC][0].notional_floor == 0


async def test_a_resting_order_is_listed_cancelled_and_then_unknown(
    simulator: Simulator, exchange: BinanceExchange
) -> None:
    one = order(2, price="49000.00")
    outcome = await exchange.trading.place(one)
    assert isinstance(outcome, Confirmed)
    assert outcome.report.status is ExchangeOrderStatus.NEW
    (listed,) = await exchange.account.open_orders()
    assert (listed.client_order_id, listed.price) == (one.client_order_id, Decimal(49_000))
    again = await exchange.trading.place(one)
    assert isinstance(again, OutcomeUnknown), "a duplicate id means: look it up"
    cancelled = await exchange.trading.cancel(BTC, one.client_order_id)
    assert cancelled.verdict is CancelVerdict.CANCELLED
    assert (await exchange.trading.cancel(BTC, one.client_order_id)).verdict is CancelVerdict.NOT_OPEN
    assert (await report_of(exchange, one)).status is ExchangeOrderStatus.CANCELLED
    assert await exchange.trading.query(BTC, ClientOrderId("PMSabcdefgh_MK_none")) is Absent.ABSENT
    assert await exchange.account.open_orders() == []


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"quantity": Quantity(Decimal(20))}, RefusalCode.EXCHANGE_MARGIN_INSUFFICIENT),
        ({"quantity": Quantity(Decimal("0.0105"))}, RefusalCode.EXCHANGE_PRECISION),
        ({"side": OrderSide.SELL, "reduce_only_wire": True}, RefusalCode.REDUCE_ONLY_REJECTED),
        ({"quantity": Quantity(Decimal("0.0"))}, RefusalCode.EXCHANGE_QTY_TOO_SMALL),
        (
            {"type": OrderType.LIMIT, "price": Price(Decimal(51_000)), "time_in_force": TimeInForce.GTX},
            RefusalCode.POST_ONLY_REJECTED,
        ),
    ],
)
async def test_refusals(
    simulator: Simulator, exchange: BinanceExchange, changes: dict[str, object], refusal: RefusalCode
) -> None:
    outcome = await exchange.trading.place(order(3, **changes))  # type: ignore[arg-type]
    assert isinstance(outcome, RefusedByExchange)
    assert outcome.refusal is refusal


async def test_minimum_notional_is_refused(simulator: Simulator, exchange: BinanceExchange) -> None:
    simulator.set_quote("BTCUSDT", Decimal("1000.0"), Decimal("1000.1"))
    outcome = await exchange.trading.place(order(3, quantity=Quantity(Decimal("0.001"))))
    assert isinstance(outcome, RefusedByExchange)
    assert outcome.refusal is RefusalCode.EXCHANGE_MIN_NOTIONAL


async def test_a_lost_answer_is_unknown_and_found_by_query_and_stream(
    simulator: Simulator, exchange: BinanceExchange
) -> None:
    events = Events()
    async with running(exchange.user_stream.run(events)):
        await until(events.gaps)
        simulator.fault("drop_response_after_execute")
        one = order(4)
        outcome = await exchange.trading.place(one)
        assert isinstance(outcome, OutcomeUnknown)
        await until(lambda: [event for event in events.orders() if event.fill])
    assert (await report_of(exchange, one)).status is ExchangeOrderStatus.FILLED
    assert len(await exchange.account.positions()) == 1


async def test_a_vague_503_is_unknown_and_proved_absent_by_query(
    simulator: Simulator, exchange: BinanceExchange
) -> None:
    simulator.fault("http_503")
    one = order(5)
    assert isinstance(await exchange.trading.place(one), OutcomeUnknown)
    assert await exchange.trading.query(BTC, one.client_order_id) is Absent.ABSENT
    assert await exchange.account.positions() == []


async def test_prices_come_by_stream(simulator: Simulator, exchange: BinanceExchange) -> None:
    marks: list[MarkPrice] = []
    books: list[BookTicker] = []
    exchange.market.on_mark(marks.append)
    exchange.market.on_book(books.append)
    exchange.market.subscribe(BTC)
    async with running(exchange.run()):
        await until(lambda: all(each.streams for each in exchange.statistics().market_sockets))
        await asyncio.sleep(0.1)
        simulator.set_quote("BTCUSDT", Decimal("51000.0"), Decimal("51000.1"))
        await until(lambda: books and books[-1].bid == 51_000.0)
        await until(lambda: marks)
    assert books[-1].symbol == marks[-1].symbol == BTC
    assert marks[-1].price > 0


async def test_a_lost_socket_comes_back_with_a_gap(simulator: Simulator, exchange: BinanceExchange) -> None:
    events = Events()
    async with running(exchange.user_stream.run(events)):
        await until(events.gaps)
        link = exchange.user_stream._link
        assert link is not None
        assert link.transport is not None
        link.transport.underlying_transport.abort()
        await until(lambda: len(events.gaps()) == 2)
        await exchange.trading.place(order(6))
        await until(lambda: [event for event in events.orders() if event.fill])
    first, second = events.gaps()
    assert first.since_ms == 0
    assert second.since_ms >= first.until_ms


@pytest.mark.parametrize("told", [True, False], ids=["told by an event", "found by the keep-alive"])
async def test_a_lost_listen_key_is_replaced(simulator: Simulator, told: bool) -> None:
    config = config_of(simulator)
    seconds = 1800.0 if told else 0.05
    tuning = replace(config.streams, listen_key_seconds=seconds)
    exchange = BinanceExchange(replace(config, streams=tuning), SystemClock(), Random(1))
    await exchange.start()
    events = Events()
    async with running(exchange.user_stream.run(events)):
        await until(events.gaps)
        engine = simulator.venue.engine
        account = engine.account_by_key[KEY]
        lost = account.listen_key
        if told:
            engine.set_listen_key(account, lost, 0)
            engine.expire_listen_keys(simulator.clock.now_ms())
        else:
            engine.set_listen_key(account, "", 0)
        simulator.venue.committer.touch()
        await until(lambda: len(events.gaps()) == 2)
        await exchange.trading.place(order(7))
        await until(lambda: [event for event in events.orders() if event.fill])
    assert account.listen_key not in ("", lost)
    assert exchange.statistics().user_stream.keys_lost == 1
    await exchange.close()


async def test_a_stopped_simulator_means_not_sent(simulator: Simulator, exchange: BinanceExchange) -> None:
    await simulator.stop()
    assert isinstance(await exchange.trading.place(order(7)), NotSent | OutcomeUnknown)
    assert isinstance(await exchange.trading.place(order(8)), NotSent), "no connection is left to write to"


async def test_a_stream_that_stays_open_and_silent(simulator: Simulator) -> None:
    """Named situation: the socket is open and answers pings, yet brings nothing; an order shows it."""
    config = config_of(simulator)
    tuning = replace(config.streams, stale_seconds=0.2, watch_seconds=0.05)
    exchange = BinanceExchange(replace(config, streams=tuning), SystemClock(), Random(1))
    await exchange.start()
    events = Events()
    async with running(exchange.user_stream.run(events)):
        await until(events.gaps)
        await exchange.trading.place(order(8))
        await until(lambda: [event for event in events.orders() if event.fill])
        # The venue forgets the key without a word; the connection stays.
        engine = simulator.venue.engine
        engine.set_listen_key(engine.account_by_key[KEY], "", 0)
        outcome = await exchange.trading.place(order(9))
        assert isinstance(outcome, Confirmed)
        await until(lambda: len(events.gaps()) == 2)
        assert exchange.statistics().user_stream.silences == 1
        # What the silence hid is read by request, what comes now is told again.
        assert len(await exchange.account.order_fills(BTC, outcome.report.order_id)) == 1
        await exchange.trading.place(order(10))
        await until(lambda: len([event for event in events.orders() if event.fill]) == 2)
    await exchange.close()


async def test_rotation_against_the_simulator_loses_and_doubles_nothing(simulator: Simulator) -> None:
    config = config_of(simulator)
    tuning = replace(
        config.streams,
        rotation_seconds_max=0.15,
        rotation_spread_seconds=0.05,
        user_overlap_seconds=0.05,
        overlap_seconds_min=0.05,
        connect_spacing_seconds=0.0,
        watch_seconds=0.02,
    )
    exchange = BinanceExchange(replace(config, streams=tuning), SystemClock(), Random(1))
    await exchange.start()
    events = Events()
    books: list[BookTicker] = []
    exchange.market.on_book(books.append)
    exchange.market.subscribe(BTC)
    async with running(exchange.user_stream.run(events)), running(exchange.run()):
        await until(events.gaps)
        await until(lambda: all(each.streams for each in exchange.statistics().market_sockets))
        sent = 0
        while exchange.statistics().user_stream.rotations < 3 or sent < 10:
            sent += 1
            outcome = await exchange.trading.place(order(100 + sent))
            assert isinstance(outcome, Confirmed)
            simulator.set_quote("BTCUSDT", Decimal(50_000 - sent), Decimal(50_001))
            await asyncio.sleep(0.01)
        await until(lambda: len([event for event in events.orders() if event.fill]) >= sent)
        await until(lambda: books and books[-1].bid == 50_000 - sent)
    fills = [event.fill for event in events.orders() if event.fill]
    assert len({fill.trade_id for fill in fills}) == len(fills) == sent
    assert [fill.client_order_id for fill in fills] == [
        order(101 + number).client_order_id for number in range(sent)
    ]
    assert len(events.gaps()) == 1
    counted = exchange.statistics()
    assert counted.supervisor.rotations >= 2
    assert counted.supervisor.failures == counted.user_stream.failures == 0
    assert [book.update_id for book in books] == sorted({book.update_id for book in books})
    await exchange.close()


async def test_an_order_book_of_the_simulator_stays_in_step(
    simulator: Simulator, exchange: BinanceExchange
) -> None:
    exchange.market.subscribe_depth(BTC)

    def best() -> tuple[float, float] | None:
        book = exchange.market.depth(BTC, 1)
        return None if book is None or not book.bids or not book.asks else (book.bids[0][0], book.asks[0][0])

    async with running(exchange.run()):
        await until(lambda: all(each.streams for each in exchange.statistics().market_sockets))
        # The quote moves while the snapshot is read, and after; 250 ms lie between two events.
        for number in range(90):
            simulator.set_quote("BTCUSDT", Decimal(51_000 + number), Decimal(51_001 + number))
            await asyncio.sleep(0.01)
        await until(lambda: best() == (51_089.0, 51_090.0))
        counted = exchange.statistics().market_streams.depth
        assert (counted.in_step, counted.gaps, counted.snapshots) == (1, 0, 1)
