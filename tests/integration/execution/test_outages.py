"""The exchange away in the middle of trading: what was asked for ends known, and the books stay whole.

Engine and exchange run on one clock that the test pushes ahead: ten minutes pass in seconds, over real
sockets. Each laboratory is audited against the exchange's own file when its test is over.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from pms.execution.api import Cancelled, Executed, Resting
from pms.model.account import AccountStatus
from pms.model.order import OrderState
from pms.model.refusal import RefusalCode, Refused
from tests.support.clocks import PushedClock
from tests.support.laboratory import ACTOR, BTC, LONG, NATIVE, Laboratory, laboratory

WINDOW_SECONDS = 600
BAN_SECONDS = 120


async def close(lab: Laboratory, account: str) -> Executed | Refused:
    position = lab.position(account)
    assert position is not None
    return await lab.parts.trader.close(position.id, ACTOR)


async def cancel(lab: Laboratory, resting: Resting | Refused) -> Cancelled | Refused:
    assert isinstance(resting, Resting)
    assert resting.order.pending_order_id is not None
    return await lab.parts.trader.cancel(resting.order.pending_order_id, ACTOR)


def code_of(answer: object) -> RefusalCode:
    assert isinstance(answer, Refused), answer
    return answer.refusals[0].code


def state_of(lab: Laboratory, resting: Resting | Refused) -> OrderState | None:
    """Return the state of an order in the journal, None once it has ended."""
    assert isinstance(resting, Resting)
    row = lab.parts.ledger.order(resting.order.client_order_id)
    return None if row is None else row.state


def requests(lab: Laboratory) -> int:
    """Return how many requests have reached the exchange, refused ones included."""
    return lab.exchange.statistics()["rest_requests"]


def stopped(lab: Laboratory) -> bool:
    """Tell whether the engine knows that the exchange has banned it."""
    return lab.parts.exchange.statistics().rest.control.stopped_until_ms > 0


def trades(lab: Laboratory) -> int:
    return len(lab.exchange.venue.engine.trades)


async def passes(clock: PushedClock, condition: Callable[[], bool], what: str, seconds: int = 60) -> None:
    """Let time pass until the condition holds. Raises AssertionError naming `what`."""
    for _ in range(seconds):
        if condition():
            return
        await clock.run_for(1, pause_seconds=0.02)
    raise AssertionError(f"{what} did not come within {seconds} s of exchange time")


@dataclass(frozen=True, slots=True)
class Outage:
    """What was asked for when the exchange went away. `executed` by the exchange, `lost` before it."""

    trades_before: int
    cancelled: Resting | Refused
    cancels: Resting | Refused
    executed: list[asyncio.Task[object]]
    lost: list[asyncio.Task[object]]


async def outage(lab: Laboratory, clock: PushedClock) -> Outage:
    """Begin a maintenance window in the middle of opens, closes and cancels."""
    for name in ("opens", "opened", "closes", "closed", "cancels", "cancelled"):
        await lab.account(name)
    for name in ("closes", "closed"):
        assert isinstance(await lab.market(name, LONG, "0.5"), Executed)
    cancels, cancelled = [await lab.limit(name, LONG, "0.1", "50000") for name in ("cancels", "cancelled")]
    await lab.settled()
    before = trades(lab)
    # The first requests are still executed: their answers are pages of a gateway, and the private stream
    # tells nothing any more.
    lab.exchange.arm(kind="silence", traffic="private", for_ms=WINDOW_SECONDS * 1000)
    lab.exchange.arm(kind="answer", variant="502", executed=True, method="POST", path="orders", count=2)
    lab.exchange.arm(kind="answer", variant="504", executed=True, method="DELETE", count=1)
    executed = asked(lab.market("opened", LONG, "0.2"), close(lab, "closed"), cancel(lab, cancelled))
    await passes(clock, lambda: trades(lab) == before + 2, "the executions without an answer")
    await passes(clock, lambda: len(lab.exchange.venue.engine.open_orders[NATIVE[BTC]]) == 1, "the cancel")
    # From here on nothing is executed, and sockets are cut.
    lab.exchange.arm(kind="maintenance", for_ms=WINDOW_SECONDS * 1000)
    lost = asked(lab.market("opens", LONG, "0.2"), close(lab, "closes"), cancel(lab, cancels))
    return Outage(before, cancelled, cancels, executed, lost)


def asked(*requests: Coroutine[object, object, object]) -> list[asyncio.Task[object]]:
    return [asyncio.create_task(each) for each in requests]


async def test_a_planned_maintenance_window_in_the_middle_of_opens_closes_and_cancels(
    tmp_path: Path,
) -> None:
    clock = PushedClock()
    async with laboratory(tmp_path, clock) as lab:
        began = await outage(lab, clock)
        await clock.run_for(WINDOW_SECONDS - 60)

        # Unknown is what the callers were told, and never failure (decision 2); "Service Unavailable." alone
        # is certain that nothing was executed, and says that the request may be repeated.
        unknown, pending = RefusalCode.EXECUTION_UNKNOWN, RefusalCode.CANCEL_PENDING
        assert [code_of(await task) for task in began.executed] == [unknown, unknown, pending]
        unreached = {unknown, pending, RefusalCode.EXCHANGE_STATE_UNKNOWN}
        assert {code_of(await task) for task in began.lost} <= unreached
        # No price has come for minutes: new exposure is refused at the gate.
        assert code_of(await lab.market("opens", LONG, "0.1")) is RefusalCode.STALE_PRICE
        assert trades(lab) == began.trades_before + 2

        await clock.run_for(60, pause_seconds=0.01)
        await passes(clock, lambda: not lab.in_doubt(), "the end of all doubts", 120)
        # Each order ended as the exchange has it: what was executed is booked once, the rest proved absent.
        assert (lab.held("opened"), lab.position("closed")) == (Decimal("0.2"), None)
        assert state_of(lab, began.cancelled) is None
        assert (lab.held("opens"), lab.held("closes")) == (0, Decimal("0.5"))
        assert state_of(lab, began.cancels) is OrderState.LIVE
        assert trades(lab) == began.trades_before + 2

        # And trading goes on by itself.
        await passes(clock, lambda: lab.parts.core.prices.fresh(BTC), "a fresh price")
        await passes(clock, lambda: lab.parts.wired.real.statistics().known, "the real account's margin")
        assert isinstance(await lab.market("opens", LONG, "0.2"), Executed)
        assert isinstance(await close(lab, "closes"), Executed)
        assert isinstance(await cancel(lab, began.cancels), Cancelled)
        await passes(clock, lab.balanced, "the netting identity")


async def test_a_ban_during_a_liquidation(tmp_path: Path) -> None:
    clock = PushedClock()
    async with laboratory(tmp_path, clock) as lab:
        alice = await lab.account("Alice", balance=4_000)
        assert isinstance(await lab.market("Alice", LONG, "0.5"), Executed)
        resting = await lab.limit("Alice", LONG, "0.05", "40000")
        await lab.settled()
        before = trades(lab)

        # The first request of the liquidation is answered by a ban; prices go on over the sockets.
        lab.exchange.arm(kind="ban", ms=BAN_SECONDS * 1000, path="/fapi/v1/order")
        await lab.price(BTC, "52099.9", "52100.1")
        await passes(clock, lambda: alice in lab.parts.core.switches.liquidating, "the liquidation")
        await passes(clock, lambda: stopped(lab), "the ban")
        sent = requests(lab)
        await clock.run_for(BAN_SECONDS - 15)
        assert requests(lab) == sent, "something was sent although the exchange had banned us"
        assert alice in lab.parts.core.switches.liquidating
        assert lab.held("Alice") == Decimal("0.5")

        await passes(clock, lambda: lab.position("Alice") is None, "the end of the liquidation")
        # Closed once, by what the exchange confirmed.
        assert trades(lab) == before + 1
        account = lab.parts.ledger.account(alice)
        assert account is not None
        await passes(
            clock, lambda: lab.status("Alice") is AccountStatus.LIQUIDATED, "the status of the account"
        )
        # The cancel may have come before the end of the ban and the close after it; both are done by now.
        assert state_of(lab, resting) is None
