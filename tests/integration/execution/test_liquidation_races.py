"""A user closes a position while its ladder runs: at every await point of the ladder, in every mode.

Method: everything the ladder awaits is watched, down to the order on its way to the exchange. In the k-th run
the user's close starts at the k-th point, once to its end before the ladder goes on, once beside it, until a
run has no k-th point. The books are audited against the exchange when all runs are over.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from pms.exchange.port import PlaceOutcome
from pms.execution.api import Executed
from pms.ledger.records import HistoryFilter
from pms.model.account import AccountStatus, LiquidationMode
from pms.model.ids import SubAccountId
from pms.model.order import ApprovedOrder, OrderCode, Priority
from pms.model.refusal import Refused
from tests.support.clocks import PushedClock
from tests.support.laboratory import ACTOR, BTC, LONG, WIDE, Laboratory, laboratory

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK = PushedClock()
ADL, INSTANT, TAKEOVER = LiquidationMode.ADL_30, LiquidationMode.INSTANT_CLOSE, LiquidationMode.TAKEOVER
HELD = Decimal("0.1")
AWAITED = frozenset(
    {
        "begin_liquidation",
        "end_liquidation",
        "finish_liquidation",
        "take_over",
        "cancel_order",
        "close_with",
        "close_many_with",
        "sleep",
    }
)


@dataclass(slots=True)
class Points:
    """Counts the points that are reached, and does something once at one of them."""

    at: int
    act: Callable[[], Awaitable[object]]
    beside: bool
    names: list[str] = field(default_factory=list)
    acting: "asyncio.Task[object] | None" = None

    async def reached(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) == self.at:
            self.acting = asyncio.ensure_future(self.act())
            if self.beside:
                await asyncio.sleep(0)
            else:
                await asyncio.wait([self.acting])


class Watched:
    """Something the ladder uses, with a point before and after each of its awaits."""

    def __init__(self, inner: object, points: Points) -> None:
        self._inner = inner
        self._points = points

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        return partial(self._call, name, value) if name in AWAITED else value

    async def _call(
        self, name: str, call: Callable[..., Awaitable[object]], *given: Any, **named: Any
    ) -> object:
        await self._points.reached(f"before {name}")
        result = await call(*given, **named)
        await self._points.reached(f"after {name}")
        return result


@contextmanager
def watching(lab: Laboratory, points: Points) -> Iterator[None]:
    """Let the liquidator and its orders pass the points."""
    liquidator, trading = lab.parts.wired.liquidator, lab.parts.exchange.trading
    tools, trader, place = liquidator._tools, liquidator._trader, trading.place

    async def placed(order: ApprovedOrder) -> PlaceOutcome:
        if f"_{OrderCode.LIQUIDATION}_" not in order.client_order_id:
            return await place(order)
        await points.reached("before the order")
        outcome = await place(order)
        await points.reached("after the order")
        return outcome

    liquidator._trader = Watched(trader, points)  # type: ignore[assignment]
    liquidator._tools = replace(
        tools,
        ledger=Watched(tools.ledger, points),
        hands=Watched(tools.hands, points),
        clock=Watched(tools.clock, points),
    )
    trading.place = placed  # type: ignore[method-assign]
    try:
        yield
    finally:
        liquidator._tools, liquidator._trader = tools, trader
        trading.place = place  # type: ignore[method-assign]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path_factory.mktemp("races"), CLOCK) as running:
        yield running


async def passes(condition: Callable[[], bool], what: str) -> None:
    for _ in range(160):
        if condition():
            return
        await CLOCK.run_for(0.25, 0.25, pause_seconds=0.002)
    raise AssertionError(f"{what} did not come within 40 s of exchange time")


async def closed_quantity(lab: Laboratory, account: SubAccountId) -> Decimal:
    """Σ of what the account's trades and takeovers closed, in base units."""
    page = await lab.parts.ledger.queries.history(account, HistoryFilter(500))
    return sum((trade.quantity for trade in page.trades if trade.realized_pnl is not None), Decimal(0))


async def raced(lab: Laboratory, mode: LiquidationMode, at: int, *, beside: bool) -> Points:
    """Run one ladder with the user's close at one point, and judge what is left."""
    name = f"{mode}-{at}-{beside}"
    account = await lab.account(name, 10_000, mode)
    assert isinstance(await lab.market(name, LONG, str(HELD)), Executed)
    await lab.limit(name, LONG, "0.01", "50000")
    position = lab.position(name)
    assert position is not None
    points = Points(at, lambda: lab.parts.trader.close(position.id, ACTOR), beside)
    with watching(lab, points):
        # 30 of 10,000 is 0.003: one step of a third, or everything.
        rules = replace(WIDE, liquidation_threshold=Decimal("0.0025"))
        await lab.parts.ledger.set_rules(account, rules, ACTOR)
        await passes(lambda: len(points.names) > 0, f"the ladder of {name}")
        await passes(
            lambda: (
                account not in lab.parts.core.switches.liquidating
                and (points.acting is None or points.acting.done())
            ),
            f"the end of {name} after {points.names}",
        )
    answer = None if points.acting is None else points.acting.result()
    assert answer is None or isinstance(answer, Executed | Refused), answer
    left, closed = lab.held(name), await closed_quantity(lab, account)
    told = f"{name}: {points.names}, the user was told {answer}"
    assert left >= 0, told
    assert left + closed == HELD, f"closed {closed}, left {left}; {told}"
    if mode is not ADL:
        assert (left, lab.status(name)) in ((0, AccountStatus.LIQUIDATED), (0, AccountStatus.ACTIVE)), told
        assert lab.status(name) is AccountStatus.LIQUIDATED or isinstance(answer, Executed), told
    assert lab.parts.ledger.running_liquidation(account) is None, told
    assert not list(lab.parts.core.live_orders.of_account(account)), told
    if left:
        await lab.parts.ledger.set_rules(account, WIDE, ACTOR)
        await lab.flatten()
    return points


@pytest.mark.parametrize("mode", list(LiquidationMode))
async def test_a_user_closes_a_position_while_its_ladder_runs(lab: Laboratory, mode: LiquidationMode) -> None:
    reached: list[str] = []
    for at in range(1, 60):
        points = [await raced(lab, mode, at, beside=beside) for beside in (False, True)]
        reached = max((one.names for one in points), key=len)
        if all(one.acting is None for one in points):
            break
    else:
        raise AssertionError(f"the ladder has no end of points: {reached}")
    assert at > 8, reached
    assert {"before begin_liquidation", "after cancel_order"} <= set(reached), reached
    await passes(lab.balanced, "the netting identity")


async def test_a_close_a_stop_a_step_and_a_full_liquidation_at_once_close_once(lab: Laboratory) -> None:
    account = await lab.account("all at once")
    assert isinstance(await lab.market("all at once", LONG, "0.4"), Executed)
    position = lab.position("all at once")
    assert position is not None
    close = lab.parts.trader.close_with
    closers = (
        (OrderCode.CLOSE, "CLOSE", Priority.USER_CLOSE),
        (OrderCode.TRAILING_STOP, "TRAIL_STOP", Priority.TRAILING_STOP),
        (OrderCode.LIQUIDATION, "ADL_TIER2", Priority.LIQUIDATION),
        (OrderCode.LIQUIDATION, "LIQUIDATE", Priority.LIQUIDATION),
    )
    answers = await asyncio.gather(*(close(position.id, *closer) for closer in closers))
    assert sum(isinstance(answer, Executed) for answer in answers) == 1
    # The most urgent of those that waited together was served first.
    assert isinstance(answers[2], Executed)
    assert lab.held("all at once") == 0
    assert await closed_quantity(lab, account) == Decimal("0.4")
    await passes(lab.balanced, "the netting identity")


async def test_a_limit_close_rests_while_a_trailing_stop_fires(lab: Laboratory) -> None:
    """Decision 16: the urgent close takes the capacity by cancelling; the quantity is closed once."""
    account = await lab.account("stopped")
    assert isinstance(await lab.market("stopped", LONG, "0.4"), Executed)
    await lab.limit("stopped", LONG.opposite, "0.3", "65000", reduce_only=True)
    position = lab.position("stopped")
    assert position is not None
    fired = await lab.parts.trader.close_with(
        position.id, OrderCode.TRAILING_STOP, "TRAIL_STOP", Priority.TRAILING_STOP
    )
    assert isinstance(fired, Executed), fired
    assert fired.order is not None
    assert f"_{OrderCode.TRAILING_STOP}_" in fired.order.client_order_id
    assert lab.held("stopped") == 0
    assert not list(lab.parts.core.live_orders.of_account(account))
    assert await closed_quantity(lab, account) == Decimal("0.4")


async def test_a_limit_close_fills_while_the_stop_cancels_it(lab: Laboratory) -> None:
    """The exchange decides the race: what the limit order got before its cancel is not closed again."""
    account = await lab.account("crossed")
    assert isinstance(await lab.market("crossed", LONG, "0.4"), Executed)
    await lab.limit("crossed", LONG.opposite, "0.3", "60500", reduce_only=True)
    position = lab.position("crossed")
    assert position is not None
    trading = lab.parts.exchange.trading
    cancel = trading.cancel

    async def late(*given: Any) -> Any:
        await lab.price(BTC, "60600", "60600.1")  # the limit fills on the exchange, then the cancel arrives
        return await cancel(*given)

    trading.cancel = late  # type: ignore[method-assign,assignment]
    try:
        fired = await lab.parts.trader.close_with(
            position.id, OrderCode.TRAILING_STOP, "TRAIL_STOP", Priority.TRAILING_STOP
        )
    finally:
        trading.cancel = cancel  # type: ignore[method-assign]
    assert isinstance(fired, Executed), fired
    assert sum(trade.quantity for trade in fired.trades) == Decimal("0.1")
    assert lab.held("crossed") == 0
    assert await closed_quantity(lab, account) == Decimal("0.4")
    await lab.reset_prices()
    await passes(lab.balanced, "the netting identity")
