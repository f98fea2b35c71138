"""The sender: whatever the ledger or the transport does, an order ends up recorded or in the resolver's
hands."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from pms.exchange.port import Confirmed, NotSent, OrderReport, OutcomeUnknown, PlaceOutcome
from pms.execution.live_orders import LiveOrders
from pms.execution.resolver import DoubtResolver
from pms.execution.sender import OrderSender
from pms.ledger.api import NewIntent
from pms.ledger.errors import CommitUnknownError, DatabaseFullError, FenceLostError
from pms.ledger.ledger import LedgerService
from pms.model.ids import ClientOrderId, ExchangeOrderId, SubAccountId, client_order_id
from pms.model.money import Price, Quantity
from pms.model.order import (
    ApprovedOrder,
    ExchangeOrderStatus,
    JournalOrder,
    OrderCode,
    OrderSide,
    OrderState,
    OrderType,
    SelfMatchPrevention,
    TimeInForce,
)
from tests.support.ledger import BTC, START_MS, Desk, ManualClock, money, opened, sqlite_url
from tests.support.waiting import until
from tests.unit.sync.scripted import ScriptedExchange

ONE = Quantity(Decimal(1))


class Answering(ScriptedExchange):
    """An exchange whose answer to the next order a test has put down."""

    __slots__ = ("answer",)
    answer: Callable[[ApprovedOrder], PlaceOutcome]

    async def place(self, order: ApprovedOrder) -> PlaceOutcome:
        return self.answer(order)


class YieldingClock(ManualClock):
    """Time passes at once, and everybody gets a turn."""

    async def sleep(self, seconds: float) -> None:
        self.advance(int(seconds * 1000))
        await asyncio.sleep(0)


@dataclass
class Bench:
    ledger: LedgerService
    exchange: Answering
    live: LiveOrders
    resolver: DoubtResolver
    sender: OrderSender
    account: SubAccountId

    def order(self) -> tuple[NewIntent, ApprovedOrder]:
        """A market order for one, reserved as the gate does it."""
        sequence = self.ledger.allocate_sequence()
        order_id = client_order_id(self.account, OrderCode.MARKET, self.ledger.fence, sequence)
        intent = NewIntent(
            sequence,
            order_id,
            self.account,
            BTC,
            OrderSide.BUY,
            OrderType.MARKET,
            TimeInForce.GTC,
            ONE,
            None,
            Decimal(10),
            False,
            False,
            OrderCode.MARKET,
            "OPEN",
            "MANUAL",
        )
        self.live.reserve(intent, None)
        return intent, ApprovedOrder(
            order_id,
            BTC,
            OrderSide.BUY,
            OrderType.MARKET,
            ONE,
            None,
            TimeInForce.GTC,
            reduce_only_wire=False,
            self_match=SelfMatchPrevention.EXPIRE_TAKER,
            risk_reducing=False,
        )


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = YieldingClock()
    ledger = await opened(sqlite_url(tmp_path), clock=clock)
    await ledger.adopt_wallet(money("100000"), "one")
    account = await Desk(ledger).account()
    exchange, live = Answering(now_ms=START_MS), LiveOrders()
    ledger.on_commit(lambda committed: live.apply(committed.orders))

    async def no_fills(fill: object) -> None:
        raise AssertionError("nothing executes here")

    resolver = DoubtResolver(ledger, exchange, exchange, no_fills, clock)
    sender = OrderSender(ledger, exchange, live, resolver, clock)
    yield Bench(ledger, exchange, live, resolver, sender, account.id)
    await ledger.close()


def failing(times: int, work: Callable[..., Awaitable[object]], error: Exception) -> Callable[..., object]:
    """`work` that fails so many times first."""
    left = [times]

    async def run(*arguments: object) -> object:
        if left[0]:
            left[0] -= 1
            raise error
        return await work(*arguments)

    return run


def confirmed(order: ApprovedOrder) -> PlaceOutcome:
    report = OrderReport(
        BTC,
        ExchangeOrderId("7"),
        order.client_order_id,
        order.side,
        ExchangeOrderStatus.NEW,
        ONE,
        Price(Decimal(0)),
        Quantity(Decimal(0)),
        None,
        START_MS,
    )
    return Confirmed(report, START_MS, 2000)


def state(bench: Bench, order_id: ClientOrderId) -> OrderState | None:
    order: JournalOrder | None = bench.ledger.order(order_id)
    return None if order is None else order.state


async def test_a_confirmation_that_could_not_be_recorded_is_recorded_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.exchange.answer = confirmed
    record = failing(3, bench.ledger.record_acknowledged, DatabaseFullError("locked"))
    monkeypatch.setattr(bench.ledger, "record_acknowledged", record)
    intent, order = bench.order()
    assert isinstance(await bench.sender.send(intent, order), Confirmed), "the order is on the exchange"
    await until(lambda: state(bench, order.client_order_id) is OrderState.LIVE, "the record")


async def test_a_refusal_that_could_not_be_recorded_does_not_hold_its_reservation_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.exchange.answer = lambda order: NotSent("limited", 1000)
    record = failing(3, bench.ledger.record_not_executed, DatabaseFullError("locked"))
    monkeypatch.setattr(bench.ledger, "record_not_executed", record)
    intent, order = bench.order()
    assert isinstance(await bench.sender.send(intent, order), NotSent)
    await until(lambda: not len(bench.live), "the end of the reservation")
    assert not bench.ledger.open_orders()


async def test_an_unknown_outcome_is_watched_even_if_it_could_not_be_recorded_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.exchange.answer = lambda order: OutcomeUnknown("silence", START_MS + 500, 2000)
    record = failing(2, bench.ledger.record_unknown, DatabaseFullError("locked"))
    monkeypatch.setattr(bench.ledger, "record_unknown", record)
    intent, order = bench.order()
    assert isinstance(await bench.sender.send(intent, order), OutcomeUnknown)
    await until(lambda: state(bench, order.client_order_id) is OrderState.UNKNOWN, "the record")
    kept = bench.ledger.order(order.client_order_id)
    assert kept is not None
    assert (kept.timestamp_ms, kept.recv_window_ms) == (START_MS + 500, 2000)
    await until(lambda: bench.resolver.statistics().in_doubt == 1, "the watch")


async def test_a_fault_of_the_transport_leaves_the_outcome_unknown(bench: Bench) -> None:
    def broken(order: ApprovedOrder) -> PlaceOutcome:
        raise ZeroDivisionError("a fault of the adapter")

    bench.exchange.answer = broken
    intent, order = bench.order()
    assert isinstance(await bench.sender.send(intent, order), OutcomeUnknown)
    assert state(bench, order.client_order_id) is OrderState.UNKNOWN
    assert bench.resolver.statistics().in_doubt == 1
    assert len(bench.live) == 1


async def test_an_intent_of_unknown_fate_is_not_sent_and_ends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = bench.ledger.record_intent

    async def lost(intent: NewIntent) -> JournalOrder:
        await record(intent)
        raise CommitUnknownError("no answer")

    def never(order: ApprovedOrder) -> PlaceOutcome:
        raise AssertionError("sent without intent")

    bench.exchange.answer = never
    monkeypatch.setattr(bench.ledger, "record_intent", lost)
    intent, order = bench.order()
    with pytest.raises(CommitUnknownError):
        await bench.sender.send(intent, order)
    await until(lambda: not bench.ledger.open_orders(), "the end of the intent")
    assert not len(bench.live)


async def test_an_intent_that_was_not_committed_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = CommitUnknownError("no answer")
    monkeypatch.setattr(bench.ledger, "record_intent", failing(1, bench.ledger.record_intent, error))
    intent, order = bench.order()
    with pytest.raises(CommitUnknownError):
        await bench.sender.send(intent, order)
    await until(lambda: bench.sender.statistics().in_flight == 0, "the end of the sending")
    assert not bench.ledger.open_orders()
    assert not len(bench.live)


async def test_a_lost_fence_ends_the_recording(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.exchange.answer = confirmed
    error = FenceLostError("taken over")
    monkeypatch.setattr(bench.ledger, "record_acknowledged", failing(99, bench.ledger.close, error))
    intent, order = bench.order()
    with pytest.raises(FenceLostError):
        await bench.sender.send(intent, order)
    assert bench.sender.statistics().in_flight == 0
