"""Closing a gap: adoption once, doubts settled by proof, every execution booked exactly once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest

from pms.exchange.errors import ExchangeError
from pms.exchange.port import OrderReport, StreamGap
from pms.execution.exchange_net import ExchangeNet
from pms.execution.resolver import DoubtResolver
from pms.ledger.errors import DatabaseFullError, FenceLostError
from pms.ledger.ledger import LedgerService
from pms.model.account import SubAccount
from pms.model.fill import ExchangeFill, FillSource
from pms.model.ids import ClientOrderId, ExchangeOrderId
from pms.model.money import Price, Quantity
from pms.model.order import ExchangeOrderStatus, JournalOrder, OrderSide, OrderState
from pms.sync.errors import SyncError
from pms.sync.recovery import GapFiller, first_cause
from pms.sync.user_events import FillBooker
from tests.support.ledger import BTC, START_MS, Desk, ManualClock, opened, sqlite_url
from tests.unit.sync.scripted import ScriptedExchange

GAP = StreamGap(0, START_MS)


@dataclass
class Bench:
    desk: Desk
    ledger: LedgerService
    exchange: ScriptedExchange
    resolver: DoubtResolver
    net: ExchangeNet
    filler: GapFiller
    clock: ManualClock

    def report(
        self, order: JournalOrder, status: ExchangeOrderStatus, executed: str, order_id: ExchangeOrderId
    ) -> None:
        """Put down what the exchange says of an order."""
        self.exchange.orders[order.client_order_id] = OrderReport(
            order.symbol,
            order_id,
            order.client_order_id,
            order.side,
            status,
            order.quantity,
            Price(Decimal(100)),
            Quantity(Decimal(executed)),
            None,
            START_MS,
        )

    def nameless(self, fill: ExchangeFill) -> ExchangeFill:
        """A fill as the venue's trade list gives it: without client order id."""
        return replace(fill, client_order_id=ClientOrderId(""), source=FillSource.QUERY)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = ManualClock()
    ledger = await opened(sqlite_url(tmp_path), clock=clock)
    exchange = ScriptedExchange(now_ms=START_MS)
    booker = FillBooker(ledger, "USDT", lambda symbol: None)
    resolver = DoubtResolver(ledger, exchange, exchange, booker.book, clock)
    net = ExchangeNet()
    filler = GapFiller(ledger, exchange, resolver, booker.book, net, clock, 2000)
    yield Bench(Desk(ledger), ledger, exchange, resolver, net, filler, clock)
    await ledger.close()


async def funded(bench: Bench) -> SubAccount:
    await bench.filler.fill(GAP)
    return await bench.desk.account("A", "1000")


async def test_the_wallet_is_adopted_once_for_each_epoch(bench: Bench) -> None:
    await bench.filler.fill(GAP)
    assert bench.ledger.house_cash() == 100_000
    assert bench.filler.ready.is_set()
    bench.exchange.wallet_balance = Decimal(99_000)
    await bench.filler.fill(GAP)
    assert bench.ledger.house_cash() == 100_000, "a later gap adopts nothing"
    assert bench.exchange.asked.count("wallet") == 1


async def test_an_account_with_positions_that_nobody_holds_is_refused(bench: Bench) -> None:
    bench.exchange.net[BTC] = Decimal("0.5")
    with pytest.raises(SyncError, match="BTC/USDT:USDT"):
        await bench.filler.fill(GAP)
    assert not bench.filler.ready.is_set()
    assert bench.ledger.house_cash() == 0


async def test_an_outage_is_waited_out(bench: Bench) -> None:
    bench.exchange.failures = 3
    await bench.filler.fill(GAP)
    assert bench.filler.statistics().retries == 3
    assert bench.net.net(BTC) == 0


async def test_fills_in_the_gap_are_booked_once_under_their_order(bench: Bench) -> None:
    account = await funded(bench)
    order = await bench.desk.order(account.id, OrderSide.BUY, "3")
    assert order.exchange_order_id is not None
    first, second = bench.desk.fill(order, "100", "1"), bench.desk.fill(order, "101", "2")
    await bench.desk.book(first)
    bench.exchange.fills = [bench.nameless(first), bench.nameless(second)]
    bench.exchange.net[BTC] = Decimal(3)
    bench.report(order, ExchangeOrderStatus.FILLED, "3", order.exchange_order_id)
    await bench.filler.fill(GAP)
    position = bench.ledger.open_position(account.id, BTC)
    assert position is not None
    assert (position.quantity, position.cost) == (3, 302)
    assert bench.ledger.order(order.client_order_id) is None, "filled and booked: terminal"
    await bench.filler.fill(GAP)
    position = bench.ledger.open_position(account.id, BTC)
    assert position is not None
    assert position.quantity == 3


async def test_a_foreign_fill_behind_a_settled_order_is_not_skipped(bench: Bench) -> None:
    # In the gap: a manual sale (trade 1), then a fill of our order (trade 2). Settling the order books trade
    # 2
    # first; the symbol's watermark must stay before trade 1.
    account = await funded(bench)
    await bench.desk.trade_at(account.id, OrderSide.BUY, "5", "100")
    order = await bench.desk.order(account.id, OrderSide.BUY, "1")
    assert order.exchange_order_id is not None
    foreign = bench.desk.foreign(OrderSide.SELL, "99", "2")
    ours = bench.desk.fill(order, "100")
    assert foreign.trade_id < ours.trade_id
    bench.exchange.fills = [bench.nameless(foreign), bench.nameless(ours)]
    bench.report(order, ExchangeOrderStatus.FILLED, "1", order.exchange_order_id)
    await bench.filler.fill(GAP)
    assert bench.ledger.is_booked(foreign)
    assert bench.ledger.is_booked(ours)
    assert bench.ledger.expected_net(BTC) == 4


async def test_our_own_fill_under_an_unconfirmed_order_is_not_taken_for_foreign(bench: Bench) -> None:
    # During a reconnect an order was sent and filled; its answer is still on the way, so the journal does not
    # know
    # its exchange id yet. Another account holds the side that a foreign fill would reduce.
    account = await funded(bench)
    other = await bench.desk.account("B", "1000")
    await bench.desk.trade_at(other.id, OrderSide.SELL, "2", "100")
    order = await bench.desk.order(account.id, OrderSide.BUY, "1", acknowledge=False)
    fill = bench.desk.fill(order, "100")
    bench.exchange.fills = [bench.nameless(fill)]
    bench.exchange.placed[fill.order_id] = order.client_order_id
    await bench.filler.fill(GAP)
    held = bench.ledger.open_position(account.id, BTC)
    kept = bench.ledger.open_position(other.id, BTC)
    assert held is not None
    assert kept is not None
    assert (held.quantity, kept.quantity) == (1, 2)


async def test_executions_before_the_adoption_are_not_ours(bench: Bench) -> None:
    account = await funded(bench)
    await bench.desk.order(account.id, OrderSide.BUY, "1")
    old = replace(bench.desk.foreign(OrderSide.SELL, "99", "2"), trade_time_ms=START_MS - 1)
    bench.exchange.fills = [bench.nameless(old)]
    await bench.filler.fill(GAP)
    assert bench.ledger.expected_net(BTC) == 0


async def test_an_intent_of_an_earlier_life_ends_only_by_proof(bench: Bench) -> None:
    account = await funded(bench)
    order = await bench.desk.order(account.id, OrderSide.BUY, "1", acknowledge=False)
    bench.filler.ready.clear()  # a new life: the next gap is the first one
    await bench.filler.fill(GAP)
    doubted = bench.ledger.order(order.client_order_id)
    assert doubted is not None
    assert doubted.state is OrderState.UNKNOWN, "absent, but its request could still arrive"
    bench.exchange.now_ms += 3_000
    assert not await bench.resolver.settle(doubted), "exactly at the bound is not past it"
    bench.exchange.now_ms += 1
    assert await bench.resolver.settle(doubted)
    assert bench.ledger.order(order.client_order_id) is None


async def test_absence_is_no_proof_beside_an_unexplained_trade(bench: Bench) -> None:
    account = await funded(bench)
    order = await bench.desk.order(account.id, OrderSide.BUY, "1", acknowledge=False)
    await bench.ledger.record_unknown(order.client_order_id, START_MS, 2000)
    bench.exchange.now_ms += 60_000
    bench.exchange.fills = [bench.nameless(bench.desk.foreign(OrderSide.BUY, "100", "1"))]
    doubted = bench.ledger.order(order.client_order_id)
    assert doubted is not None
    assert not await bench.resolver.settle(doubted)
    bench.exchange.placed[bench.exchange.fills[0].order_id] = ClientOrderId("web_abcdef")
    assert await bench.resolver.settle(doubted), "the trade is somebody else's"


async def test_a_confirmed_order_is_never_proved_absent(bench: Bench) -> None:
    account = await funded(bench)
    order = await bench.desk.order(account.id, OrderSide.BUY, "1")
    bench.exchange.now_ms += 60_000
    assert not await bench.resolver.settle(order)


def test_the_cause_that_cannot_be_retried_comes_first() -> None:
    lost = FenceLostError("lost")
    group = ExceptionGroup("x", [ExchangeError("a"), ExceptionGroup("y", [DatabaseFullError("b"), lost])])
    assert first_cause(group) is lost
    bug = ValueError("bug")
    assert first_cause(ExceptionGroup("x", [ExchangeError("a"), bug])) is bug
    retried = ExchangeError("a")
    assert first_cause(ExceptionGroup("x", [retried])) is retried


async def test_gaps_run_to_their_end_or_are_cancelled_cleanly(bench: Bench) -> None:
    bench.exchange.failures = 10**9

    async def yielding(seconds: float) -> None:
        await asyncio.sleep(0)

    bench.clock.sleep = yielding  # type: ignore[method-assign]
    task = asyncio.create_task(bench.filler.fill(GAP))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not bench.filler.ready.is_set()
