"""Closing a gap when there is much to ask, when answers lag, and when ids repeat."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from pms.exchange.errors import ExchangeUnavailable
from pms.exchange.port import Absent, ExchangePosition, OrderReport
from pms.execution.exchange_net import ExchangeNet
from pms.execution.resolver import DoubtResolver
from pms.ledger.ledger import LedgerService
from pms.model.account import SubAccount
from pms.model.fill import ExchangeFill
from pms.model.ids import ClientOrderId, ExchangeOrderId
from pms.model.money import Price
from pms.model.order import ExchangeOrderStatus, JournalOrder, OrderSide, OrderState
from pms.model.symbol import Symbol
from pms.sync import recovery
from pms.sync.errors import SyncError
from pms.sync.recovery import GapFiller
from pms.sync.user_events import FillBooker
from tests.support.ledger import BTC, ETH, START_MS, Desk, ManualClock, opened, sqlite_url
from tests.support.waiting import until
from tests.unit.sync.scripted import ScriptedExchange
from tests.unit.sync.test_recovery import GAP, Bench

DAY_MS = 86_400_000


class Listing(ScriptedExchange):
    """Lists its open orders, and can forget to answer a query once (a replica that lags)."""

    __slots__ = ("lagging",)

    def __init__(self) -> None:
        super().__init__(now_ms=START_MS)
        self.lagging = 0

    async def open_orders(self) -> Sequence[OrderReport]:
        self._ask("open orders")
        return [report for report in self.orders.values() if not report.status.terminal]

    async def query(self, symbol: Symbol, client_order_id: ClientOrderId) -> OrderReport | Absent:
        answer = await super().query(symbol, client_order_id)
        if self.lagging:
            self.lagging -= 1
            return Absent.ABSENT
        return answer


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = ManualClock()
    ledger = await opened(sqlite_url(tmp_path), clock=clock)
    exchange = Listing()
    booker = FillBooker(ledger, "USDT", lambda symbol: None)
    resolver = DoubtResolver(ledger, exchange, exchange, booker.book, clock)
    net = ExchangeNet()
    filler = GapFiller(ledger, exchange, resolver, booker.book, net, clock, 2000)
    yield Bench(Desk(ledger), ledger, exchange, resolver, net, filler, clock)
    await ledger.close()


async def funded(bench: Bench) -> SubAccount:
    await bench.filler.fill(GAP)
    return await bench.desk.account("A", "1000")


def state(ledger: LedgerService, order: JournalOrder) -> OrderState | None:
    row = ledger.order(order.client_order_id)
    return None if row is None else row.state


async def test_many_resting_orders_cost_one_question(bench: Bench) -> None:
    # One query each would exceed the weight of a minute, and a gap that starts over never closes.
    account = await funded(bench)
    orders = [await bench.desk.order(account.id, OrderSide.BUY, "1", price="90") for _ in range(60)]
    for order in orders[:-1]:
        assert order.exchange_order_id is not None
        bench.report(order, ExchangeOrderStatus.NEW, "0", order.exchange_order_id)
    gone = orders[-1]
    assert gone.exchange_order_id is not None
    bench.report(gone, ExchangeOrderStatus.CANCELLED, "0", gone.exchange_order_id)
    bench.exchange.asked.clear()
    await bench.filler.fill(GAP)
    assert bench.exchange.asked.count("open orders") == 1
    assert bench.exchange.asked.count("query") == 1, "only what is not open any more"
    assert state(bench.ledger, gone) is None
    assert len(bench.ledger.open_orders()) == 59


async def test_an_attempt_goes_on_where_the_one_before_ended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Executions of some hundred symbols weigh more than a minute allows: starting over would never end.
    await funded(bench)
    asked: list[Symbol] = []

    async def limited(symbol: Symbol, trade_id: int, since_ms: int) -> list[ExchangeFill]:
        asked.append(symbol)
        if len(asked) % 3 == 0:
            raise ExchangeUnavailable("the limits of this minute are used up")
        return []

    names = [Symbol(f"C{number}/USDT:USDT") for number in range(10)]
    bench.exchange.net = dict.fromkeys(names, Decimal(1))
    monkeypatch.setattr(recovery, "CONCURRENT_QUERIES", 1)
    monkeypatch.setattr(ScriptedExchange, "fills_since", lambda _, *about: limited(*about))
    await bench.filler.fill(GAP)
    assert set(asked) == set(names)
    assert len(asked) == 14, "each once, and again only those whose question failed"


async def test_what_an_open_order_has_executed_in_the_gap_is_booked(bench: Bench) -> None:
    account = await funded(bench)
    orders = [await bench.desk.order(account.id, OrderSide.BUY, "2", price="90") for _ in range(60)]
    for order in orders:
        assert order.exchange_order_id is not None
        bench.report(order, ExchangeOrderStatus.PARTIALLY_FILLED, "1", order.exchange_order_id)
    bench.exchange.fills = [bench.nameless(bench.desk.fill(orders[7], "90", "1"))]
    await bench.filler.fill(GAP)
    position = bench.ledger.open_position(account.id, BTC)
    assert position is not None
    assert position.quantity == 1


async def test_a_position_event_of_the_gap_is_newer_than_the_snapshot(bench: Bench) -> None:
    # The snapshot is read before an execution whose event waits; our own clock runs ahead of the exchange's.
    await funded(bench)
    bench.net.report(ExchangePosition(BTC, Decimal(2), Price(Decimal(100)), START_MS - 50))
    bench.clock.advance(60_000)
    await bench.filler.fill(GAP)
    assert bench.net.net(BTC) == 0
    bench.net.report(ExchangePosition(BTC, Decimal(1), Price(Decimal(100)), START_MS + 50))
    assert bench.net.net(BTC) == 1


async def test_a_refused_first_start_adopts_nothing_of_what_came_before_the_next(bench: Bench) -> None:
    bench.exchange.net[BTC] = Decimal("0.5")
    with pytest.raises(SyncError):
        await bench.filler.fill(GAP)
    # As told, the position is closed by hand an hour later; then the next start adopts the flat account.
    closing = replace(bench.desk.foreign(OrderSide.SELL, "99", "0.5"), trade_time_ms=START_MS + 3_600_000)
    bench.exchange.fills = [bench.nameless(closing)]
    bench.exchange.net[BTC] = Decimal(0)
    bench.exchange.now_ms += 3_600_001
    account = await funded(bench)
    await bench.desk.order(account.id, OrderSide.BUY, "1")
    await bench.filler.fill(GAP)
    assert bench.ledger.expected_net(BTC) == 0
    assert not bench.ledger.is_booked(closing)


async def test_a_new_epoch_with_positions_of_its_own_is_refused(bench: Bench) -> None:
    account = await funded(bench)
    await bench.desk.trade_at(account.id, OrderSide.BUY, "1", "100")
    bench.exchange.venue_epoch = "two"
    bench.exchange.net[BTC] = Decimal(1)
    bench.filler.ready.clear()
    with pytest.raises(SyncError, match="BTC/USDT:USDT"):
        await bench.filler.fill(GAP)
    bench.exchange.net[BTC] = Decimal(0)
    await bench.filler.fill(GAP)
    assert bench.ledger.expected_net(BTC) == 0


async def test_order_ids_are_read_beside_their_symbol(bench: Bench) -> None:
    account = await funded(bench)
    order = await bench.desk.order(account.id, OrderSide.BUY, "1", price="90")
    assert order.exchange_order_id is not None
    await bench.desk.order(account.id, OrderSide.BUY, "1", symbol=ETH, price="90")
    stranger = replace(bench.desk.foreign(OrderSide.BUY, "90", "1", ETH), order_id=order.exchange_order_id)
    bench.exchange.fills = [bench.nameless(stranger)]
    bench.exchange.placed[order.exchange_order_id] = ClientOrderId("web_abcdef")
    await bench.filler.fill(GAP)
    assert bench.ledger.open_position(account.id, ETH) is None, "somebody else's order of the same number"
    (house,) = bench.ledger.house_positions()
    assert (house.symbol, house.signed_quantity) == (ETH, 1)


async def test_lagging_answers_do_not_end_an_order_that_was_seen_executing(bench: Bench) -> None:
    account = await funded(bench)
    order = await bench.desk.order(account.id, OrderSide.BUY, "2", acknowledge=False)
    await bench.ledger.record_unknown(order.client_order_id, START_MS, 2000)
    fill = bench.desk.fill(order, "100", "1")
    bench.exchange.fills = [bench.nameless(fill)]
    bench.exchange.placed[fill.order_id] = order.client_order_id
    bench.report(order, ExchangeOrderStatus.PARTIALLY_FILLED, "1", fill.order_id)
    bench.exchange.now_ms += 60_000
    assert isinstance(bench.exchange, Listing)
    bench.exchange.lagging = 2
    await bench.filler.fill(GAP)
    assert state(bench.ledger, order) is OrderState.LIVE, "one of two is still to come"


async def test_an_old_order_that_the_exchange_has_forgotten_ends(bench: Bench) -> None:
    # Cancelled or expired orders without fills cannot be queried three days after their creation.
    account = await funded(bench)
    order = await bench.desk.order(account.id, OrderSide.BUY, "1", price="90")
    bench.exchange.now_ms += 3 * DAY_MS
    assert not await bench.resolver.settle(order)
    bench.exchange.now_ms += 60_001
    assert await bench.resolver.settle(order)
    assert state(bench.ledger, order) is None
    ended = await bench.ledger.queries.order(order.client_order_id)
    assert ended is not None
    assert ended.state is OrderState.EXPIRED


async def test_an_old_order_with_an_execution_that_is_not_booked_does_not_end(bench: Bench) -> None:
    account = await funded(bench)
    order = await bench.desk.order(account.id, OrderSide.BUY, "2", price="90")
    bench.exchange.fills = [bench.nameless(bench.desk.fill(order, "90", "1"))]
    bench.exchange.now_ms += 4 * DAY_MS
    assert not await bench.resolver.settle(order)
    assert state(bench.ledger, order) is OrderState.LIVE


async def test_an_order_is_pursued_once_however_often_it_is_put_in_doubt(bench: Bench) -> None:
    account = await funded(bench)
    order = await bench.desk.order(account.id, OrderSide.BUY, "1")
    running = asyncio.create_task(bench.resolver.run())
    go = asyncio.Event()

    async def held(seconds: float) -> None:
        await go.wait()

    bench.clock.sleep = held  # type: ignore[method-assign]
    for _ in range(20):
        bench.resolver.watch(order.client_order_id)
        await asyncio.sleep(0)
    assert order.exchange_order_id is not None
    bench.report(order, ExchangeOrderStatus.NEW, "0", order.exchange_order_id)
    bench.exchange.asked.clear()
    go.set()
    await until(lambda: bench.exchange.asked.count("query") > 0, "the question")
    await until(lambda: bench.resolver.statistics().in_doubt == 0, "the end of the doubt")
    assert bench.exchange.asked.count("query") <= 2
    # It can be put in doubt again, and its end is found then.
    bench.report(order, ExchangeOrderStatus.CANCELLED, "0", ExchangeOrderId(order.exchange_order_id))
    bench.resolver.watch(order.client_order_id)
    await until(lambda: state(bench.ledger, order) is None, "its end")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_executions_are_booked_part_by_part(bench: Bench) -> None:
    account = await funded(bench)
    order = await bench.desk.order(account.id, OrderSide.BUY, "5")
    bench.exchange.fills = [bench.nameless(bench.desk.fill(order, "100", "1")) for _ in range(5)]
    bench.exchange.part = 2
    bench.exchange.asked.clear()
    await bench.filler.fill(GAP)
    position = bench.ledger.open_position(account.id, BTC)
    assert position is not None
    assert position.quantity == 5
    assert bench.exchange.asked.count("fills since") == 4, "two, two, one, none"


async def test_what_was_never_traded_here_is_found_by_its_position(bench: Bench) -> None:
    await funded(bench)
    foreign = replace(bench.desk.foreign(OrderSide.BUY, "2000", "3"), symbol=ETH, native_symbol="ETHUSDT")
    bench.exchange.fills = [bench.nameless(foreign)]
    bench.exchange.net[ETH] = Decimal(3)
    await bench.filler.fill(GAP)
    assert bench.ledger.is_booked(foreign)
    assert bench.ledger.expected_net(ETH) == 3


@pytest.mark.parametrize(("days", "told"), [(0.04, False), (4, False), (8, False), (100, True)])
async def test_a_span_beyond_the_exchanges_reach_is_recorded(bench: Bench, days: float, told: bool) -> None:
    account = await funded(bench)
    await bench.desk.trade_at(account.id, OrderSide.BUY, "1", "100")
    last_ms = await bench.ledger.last_trade_time_ms(BTC)
    assert last_ms >= START_MS
    bench.exchange.now_ms += round(days * DAY_MS)
    await bench.filler.fill(GAP)
    await bench.filler.fill(GAP)
    spans = bench.filler.statistics().unreadable
    assert len(spans) == told
    actions = [row for row in await bench.ledger.queries.actions(10) if row.action == "exchange.unreadable"]
    assert len(actions) == told, "once, not at every reconnect"
    if told:
        until_ms = bench.exchange.now_ms - bench.exchange.reach_ms
        assert (spans[0].symbol, spans[0].since_ms, spans[0].until_ms) == (BTC, last_ms, until_ms)
        assert actions[0].target == BTC


async def test_an_order_filled_in_part_ends_when_the_exchange_has_forgotten_all(bench: Bench) -> None:
    account = await funded(bench)
    order = await bench.desk.order(account.id, OrderSide.BUY, "2", price="90")
    await bench.desk.book(bench.desk.fill(order, "90", "1"))
    bench.exchange.now_ms += 90 * DAY_MS
    assert not await bench.resolver.settle(order), "until then its executions would be told"
    bench.exchange.now_ms += 61_000
    assert await bench.resolver.settle(order)
    assert state(bench.ledger, order) is None
    position = bench.ledger.open_position(account.id, BTC)
    assert position is not None
    assert position.quantity == 1


async def test_silence_of_an_exchange_that_has_forgotten_proves_nothing(bench: Bench) -> None:
    account = await funded(bench)
    order = await bench.desk.order(account.id, OrderSide.BUY, "1", acknowledge=False)
    await bench.ledger.record_unknown(order.client_order_id, START_MS, 2000)
    bench.exchange.now_ms += 100 * DAY_MS
    doubted = bench.ledger.order(order.client_order_id)
    assert doubted is not None
    assert not await bench.resolver.settle(doubted)
    assert state(bench.ledger, order) is OrderState.UNKNOWN
