"""Decides which accounts are liquidated, in which order, and runs a ladder for each of them.

Invariants: 1. Nothing acts on a float: every breach is confirmed in Decimal from committed state (decision
20). 2. One ladder for an account at a time, and no new exposure while it runs (spec H37). 3. The largest risk
goes first; accounts and symbols go side by side (H38). 4. However many accounts are due, the loop stays free
for others: a command never waits for more than a handful of decisions (decision 22).
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

import structlog

from pms.bus.hub import EventHub
from pms.execution.admission import TradingSwitches
from pms.execution.api import Executed
from pms.execution.close_pool import ClosePool, ClosePoolStatistics, Quantities
from pms.execution.errors import NotRunning
from pms.execution.holdings import Holdings
from pms.execution.ladder import Ladder, LadderCounts, LadderTools
from pms.execution.live_orders import LiveOrders
from pms.execution.prices import Prices
from pms.execution.service import Trader
from pms.ledger.api import Ledger
from pms.ledger.errors import LedgerError
from pms.limits import EVALUATION_DELAY_MS_MAX, MARGIN_WARNING_INTERVAL_MS
from pms.model.clock import Clock
from pms.model.event import EphemeralEvent
from pms.model.ids import PositionId, SubAccountId
from pms.model.order import OrderCode, Priority
from pms.model.refusal import Refused
from pms.model.symbol import Symbol, SymbolRules
from pms.risk import view
from pms.risk.liquidation import Assessment, LiquidateAll, Nothing, PartialClose, Postponed, Warn
from pms.risk.maintenance import MaintenanceBasis

log = structlog.get_logger(__name__)

YIELD_EVERY = 4
"""Decisions, or starts, between two looks at what else the loop has to do: a command needs a dozen of them to
come through, and each has the ladders just started in it."""

_CLOSES = (LiquidateAll, PartialClose)
"""Acts that name positions to the pool."""


@dataclass(frozen=True, slots=True)
class LiquidatorStatistics:
    """`running` ladders now; the rest are counts since the start. `slipped`: executions far from the mark,
    `late`: accounts looked at later than `EVALUATION_DELAY_MS_MAX` after the tick that asked for it."""

    running: int
    liquidations: int
    steps: int
    takeovers: int
    warnings: int
    postponed: int
    released: int
    finished: int
    resumed: int
    slipped: int
    late: int
    pool: ClosePoolStatistics


class Liquidator:
    """Acts on accounts whose margin ratio crossed a threshold. `run` must be active."""

    def __init__(
        self,
        ledger: Ledger,
        trader: Trader,
        holdings: Holdings,
        live_orders: LiveOrders,
        prices: Prices,
        switches: TradingSwitches,
        rules: Callable[[], Mapping[Symbol, SymbolRules]],
        maintenance: MaintenanceBasis,
        hub: EventHub,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._holdings = holdings
        self._switches = switches
        self._hub = hub
        self._clock = clock
        self._trader = trader
        self._counts = LadderCounts()
        self._pool = ClosePool(self._close_many, clock)
        self._tools = LadderTools(
            ledger,
            trader,
            self._pool,
            holdings,
            live_orders,
            prices,
            switches,
            rules,
            maintenance,
            clock,
            self._counts,
        )
        self._waiting: dict[SubAccountId, int] = {}
        self._since_ms: dict[SubAccountId, int] = {}
        self._wake = asyncio.Event()
        self._warned_ms: dict[SubAccountId, int] = {}
        self._said_ms: dict[SubAccountId, int] = {}
        self._warnings = self._resumed = self._late = 0

    def consider(self, account_id: SubAccountId) -> None:
        """Look at an account soon; idempotent while it waits or is being liquidated. Returns at once."""
        if account_id not in self._switches.liquidating:
            self._waiting.setdefault(account_id, self._clock.now_ms())
            self._wake.set()

    async def run(self) -> None:
        """Act until cancelled, first on what a restart interrupted; accounts are liquidated side by side."""
        async with asyncio.TaskGroup() as tasks:
            for record in self._ledger.running_liquidations():
                self._resumed += 1
                log.warning("liquidation_resumed", sub_account_id=record.sub_account_id, label=record.label)
                self._start(record.sub_account_id, tasks, announced=False)
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._since_ms, self._waiting = self._waiting, {}
                await self._triage(tuple(self._since_ms), tasks)

    async def _triage(self, waiting: tuple[SubAccountId, ...], tasks: asyncio.TaskGroup) -> None:
        """Decide about all who wait, and start the ladders, the largest risk first."""
        due: list[tuple[SubAccountId, Assessment[Decimal]]] = []
        late: list[int] = []
        for number, account_id in enumerate(waiting, 1):
            assessment = self._tools.assess(account_id)
            waited_ms = self._clock.now_ms() - self._since_ms.pop(account_id, self._clock.now_ms())
            if waited_ms > EVALUATION_DELAY_MS_MAX:
                late.append(waited_ms)
            if assessment is not None and self._is_due(account_id, assessment):
                due.append((account_id, assessment))
            elif assessment is None:
                self._calm(account_id)
            if number % YIELD_EVERY == 0:
                await asyncio.sleep(0)
        if late:
            self._late += len(late)
            log.warning("evaluation_delayed", accounts=len(late), delay_ms=max(late))
        due.sort(key=lambda one: one[1].urgency, reverse=True)
        for _, assessment in due:
            if isinstance(assessment.decision, _CLOSES):
                self._pool.announce()
        for number, (account_id, assessment) in enumerate(due, 1):
            self._start(account_id, tasks, announced=isinstance(assessment.decision, _CLOSES))
            if number % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    def _is_due(self, account_id: SubAccountId, assessment: Assessment[Decimal]) -> bool:
        match assessment.decision:
            case Nothing():
                self._calm(account_id)
                return False
            case Warn(margin_ratio=ratio):
                self._warn(account_id, float(ratio))
                return False
            case Postponed(reason=reason):
                self._postpone(account_id, reason)
                return False
            case _:
                return True

    def _start(self, account_id: SubAccountId, tasks: asyncio.TaskGroup, *, announced: bool) -> None:
        if account_id in self._switches.liquidating:
            if announced:
                self._pool.arrive()
            return
        self._switches.liquidating.add(account_id)
        ladder = Ladder(account_id, self._tools, announced=announced)
        tasks.create_task(self._climb(account_id, ladder), name=f"liquidate {account_id}")

    async def _climb(self, account_id: SubAccountId, ladder: Ladder) -> None:
        try:
            await ladder.run()
        except (LedgerError, NotRunning) as error:
            # The lease is gone or the engine stops: the next one finds what is recorded.
            log.error("liquidation_abandoned", sub_account_id=account_id, error=str(error))
            return
        finally:
            self._switches.liquidating.discard(account_id)
        # `consider` is deaf to an account under liquidation: what moved meanwhile is looked at now.
        self.consider(account_id)

    async def _close_many(
        self, quantities: Quantities, action: str
    ) -> Mapping[PositionId, Executed | Refused]:
        return await self._trader.close_many_with(
            tuple(quantities),
            OrderCode.LIQUIDATION,
            action,
            Priority.LIQUIDATION,
            quantities={key: part for key, part in quantities.items() if part is not None},
        )

    # --- telling ---

    def _calm(self, account_id: SubAccountId) -> None:
        self._warned_ms.pop(account_id, None)
        self._said_ms.pop(account_id, None)

    def _postpone(self, account_id: SubAccountId, reason: str) -> None:
        """Say that an act is due and waits: at once, and again every ten seconds (decision 20)."""
        self._counts.postponed += 1
        now_ms = self._clock.now_ms()
        if now_ms - self._said_ms.get(account_id, 0) >= MARGIN_WARNING_INTERVAL_MS:
            self._said_ms[account_id] = now_ms
            log.error("liquidation_postponed", sub_account_id=account_id, reason=reason)

    def _warn(self, account_id: SubAccountId, margin_ratio: float) -> None:
        """Warn the owner on crossing, then every ten seconds while it lasts (H39)."""
        now_ms = self._clock.now_ms()
        if now_ms - self._warned_ms.get(account_id, -MARGIN_WARNING_INTERVAL_MS) < MARGIN_WARNING_INTERVAL_MS:
            return
        self._warned_ms[account_id] = now_ms
        self._warnings += 1
        data = view.margin_warning(account_id, margin_ratio)
        sequence = self._holdings.sequence(account_id)
        key = f"margin_warning:{account_id}"
        self._hub.publish(EphemeralEvent("margin_warning", account_id, key, data, now_ms, sequence))

    def statistics(self) -> LiquidatorStatistics:
        counts = self._counts
        return LiquidatorStatistics(
            running=len(self._switches.liquidating),
            liquidations=counts.full + counts.takeovers,
            steps=counts.steps,
            takeovers=counts.takeovers,
            warnings=self._warnings,
            postponed=counts.postponed,
            released=counts.released,
            finished=counts.finished,
            resumed=self._resumed,
            slipped=counts.slipped,
            late=self._late,
            pool=self._pool.statistics(),
        )
