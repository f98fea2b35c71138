"""Closing capacity beside orders in flight, and answers that come while somebody else asks (decision 16)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal

import pytest
import pytest_asyncio

from pms.exchange.port import NotSent, OutcomeUnknown, PlaceOutcome, RefusedByExchange
from pms.execution.api import Cancelled, Executed, Resting
from pms.ledger.api import Actor
from pms.ledger.errors import DatabaseFullError
from pms.model.account import AccountStatus, SubAccount
from pms.model.ids import SubAccountId
from pms.model.money import Money
from pms.model.order import ApprovedOrder
from pms.model.refusal import RefusalCode, Refused
from tests.support.laboratory import ACTOR, BTC, LONG, SHORT, WIDE, Laboratory, laboratory
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path_factory.mktemp("capacity")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def lab(engine: Laboratory) -> AsyncIterator[Laboratory]:
    """A fresh funded account on a flat exchange at the usual prices."""
    await engine.reset_prices()
    await engine.account("Alice")
    yield engine
    await engine.settled()
    await engine.flatten()


@contextmanager
def holding(lab: Laboratory) -> Iterator[asyncio.Event]:
    """Hold every order back on its way to the exchange until the event is set."""
    trading = lab.parts.exchange.trading
    place, go = trading.place, asyncio.Event()

    async def held(order: ApprovedOrder) -> PlaceOutcome:
        await go.wait()
        return await place(order)

    trading.place = held  # type: ignore[method-assign]
    try:
        yield go
    finally:
        go.set()
        trading.place = place  # type: ignore[method-assign]


def in_flight(lab: Laboratory) -> int:
    return sum(1 for _ in lab.parts.core.live_orders.of_account(lab.accounts["Alice"]))


async def test_a_close_beside_an_order_that_closes_the_same_does_not_turn_the_position(
    lab: Laboratory,
) -> None:
    await lab.market("Alice", LONG, "0.4")
    position = lab.position("Alice")
    assert position is not None
    with holding(lab) as go:
        # A net order against the position, approved as a pure close: nothing of it has margin to open.
        selling = asyncio.create_task(lab.market("Alice", SHORT, "0.4"))
        await until(lambda: in_flight(lab) == 1, "the order in flight")
        refused = await lab.parts.trader.close(position.id, ACTOR)
        assert isinstance(refused, Refused), refused
        assert refused.refusals[0].code is RefusalCode.REDUCE_ONLY_REJECTED
        go.set()
        assert isinstance(await selling, Executed)
    assert lab.held("Alice") == 0


async def test_a_caller_that_leaves_takes_no_margin_with_it(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues, loop = lab.parts.core.queues, asyncio.get_running_loop()
    drain = queues._drain

    def drain_and_leave(account: SubAccountId) -> None:
        """After the turn and before its caller: the caller is cancelled in the same pass of the loop."""
        drain(account)
        asking.cancel()

    monkeypatch.setattr(queues, "_drain", drain_and_leave)
    asking = loop.create_task(lab.market("Alice", LONG, "0.1"))
    await asyncio.wait([asking])
    assert asking.cancelled()
    assert in_flight(lab) == 0
    assert not lab.parts.ledger.open_orders()


async def test_a_cancel_while_the_order_is_awaited_leaves_both_their_answers(lab: Laboratory) -> None:
    resting = await lab.limit("Alice", LONG, "0.1", "59000")
    assert isinstance(resting, Resting)
    assert resting.order.pending_order_id is not None
    pending = resting.order.pending_order_id
    results = await asyncio.wait_for(
        asyncio.gather(*(lab.parts.trader.cancel(pending, ACTOR) for _ in range(4))), 4
    )
    assert any(isinstance(result, Cancelled) for result in results)
    assert not any(
        isinstance(result, Refused) and result.refusals[0].code is RefusalCode.CANCEL_PENDING
        for result in results
    )


async def test_a_resting_order_that_was_proved_absent_is_a_refusal(lab: Laboratory) -> None:
    now_ms = await lab.parts.exchange.account.server_time_ms()
    trading = lab.parts.exchange.trading
    place = trading.place

    async def lost(order: ApprovedOrder) -> PlaceOutcome:
        return OutcomeUnknown("lost", now_ms - 10_000, 1_000)

    trading.place = lost  # type: ignore[method-assign]
    try:
        answer = await lab.limit("Alice", LONG, "0.1", "59000")
    finally:
        trading.place = place  # type: ignore[method-assign]
    assert isinstance(answer, Refused), answer
    assert answer.refusals[0].code is RefusalCode.EXCHANGE_STATE_UNKNOWN


async def test_a_lower_threshold_reaches_an_account_that_holds_already(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "1.5")
    alice = lab.accounts["Alice"]
    # At 54,000 she has lost 9,000 of 10,000; maintenance is 450 of about 950: 0.47 of her equity.
    await lab.price(BTC, "53999.9", "54000.1")
    await asyncio.sleep(0.2)
    account = lab.parts.ledger.account(alice)
    assert account is not None
    assert account.status is AccountStatus.ACTIVE
    await lab.parts.ledger.set_rules(alice, replace(WIDE, liquidation_threshold=Decimal("0.4")), ACTOR)

    def liquidated() -> bool:
        account = lab.parts.ledger.account(alice)
        return account is not None and account.status is AccountStatus.LIQUIDATED

    await until(liquidated, "the liquidation", seconds=8)


async def test_a_withdrawal_leaves_the_margin_of_resting_orders(lab: Laboratory) -> None:
    assert isinstance(await lab.limit("Alice", LONG, "1", "50000"), Resting)  # 5,000 of margin at 10x
    trader, alice = lab.parts.trader, lab.accounts["Alice"]
    refused = await trader.withdraw(alice, Money(Decimal("5000.01")), ACTOR)
    assert isinstance(refused, Refused), refused
    assert refused.refusals[0].code is RefusalCode.INSUFFICIENT_BALANCE
    left = await trader.withdraw(alice, Money(Decimal(5000)), ACTOR)
    assert isinstance(left, SubAccount)
    assert left.balance == 5000


async def test_an_order_beside_a_withdrawal_does_not_count_on_the_same_money(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    trader, ledger, alice = lab.parts.trader, lab.parts.ledger, lab.accounts["Alice"]
    withdraw, go, begun = ledger.withdraw, asyncio.Event(), asyncio.Event()

    async def held(account: SubAccountId, amount: Money, actor: Actor) -> SubAccount:
        begun.set()
        await go.wait()
        return await withdraw(account, amount, actor)

    monkeypatch.setattr(ledger, "withdraw", held)
    leaving = asyncio.create_task(trader.withdraw(alice, Money(Decimal(9000)), ACTOR))
    await begun.wait()
    refused = await lab.market("Alice", LONG, "0.5")  # 3,000 of margin
    assert isinstance(refused, Refused), refused
    assert refused.refusals[0].code is RefusalCode.INSUFFICIENT_MARGIN
    twice = await trader.withdraw(alice, Money(Decimal(9000)), ACTOR)
    assert isinstance(twice, Refused), twice
    go.set()
    left = await leaving
    assert isinstance(left, SubAccount)
    assert left.balance == 1000
    assert isinstance(await lab.market("Alice", LONG, "0.1"), Executed), "nothing is held any more"


async def test_a_withdrawal_that_fails_holds_nothing(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(account: SubAccountId, amount: Money, actor: Actor) -> SubAccount:
        raise DatabaseFullError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(lab.parts.ledger, "withdraw", failing)
        with pytest.raises(DatabaseFullError):
            await lab.parts.trader.withdraw(lab.accounts["Alice"], Money(Decimal(9000)), ACTOR)
    assert isinstance(await lab.market("Alice", LONG, "0.5"), Executed)


async def test_an_order_that_was_not_sent_holds_nothing(lab: Laboratory) -> None:
    trading = lab.parts.exchange.trading
    place = trading.place

    async def limited(order: ApprovedOrder) -> PlaceOutcome:
        return NotSent("limited", 1000)

    trading.place = limited  # type: ignore[method-assign]
    try:
        assert isinstance(await lab.market("Alice", LONG, "0.1"), Refused)
    finally:
        trading.place = place  # type: ignore[method-assign]
    assert in_flight(lab) == 0


async def test_what_the_exchange_refuses_beside_an_order_in_flight_does_not_take_all_to_the_house(
    lab: Laboratory,
) -> None:
    await lab.market("Alice", LONG, "0.4")
    position = lab.position("Alice")
    assert position is not None
    with holding(lab) as go:
        trading = lab.parts.exchange.trading
        held = trading.place

        async def short_of_margin(order: ApprovedOrder) -> PlaceOutcome:
            if "_CP_" not in order.client_order_id:
                return await held(order)
            code = RefusalCode.EXCHANGE_MARGIN_INSUFFICIENT
            return RefusedByExchange(-2019, "Margin is insufficient.", code, 0, 0)

        trading.place = short_of_margin  # type: ignore[method-assign]
        selling = asyncio.create_task(lab.market("Alice", SHORT, "0.3"))
        await until(lambda: in_flight(lab) == 1, "the order in flight")
        refused = await lab.parts.trader.close(position.id, ACTOR)  # 0.1 is free, 0.3 is being sold
        go.set()
        await selling
    assert isinstance(refused, Refused), refused
    assert lab.held("Alice") == Decimal("0.1"), "a close never ends in the opposite position"
