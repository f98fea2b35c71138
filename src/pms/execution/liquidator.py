"""Carries out liquidation decisions: confirm exactly, cancel what increases, then close.

Invariants: 1. Nothing acts on a float: every breach is confirmed in Decimal from committed state (decision
20). 2. One liquidation for an account at a time, and no new exposure while it runs (spec H37). 3. Never twice
on the same quantity: closes take their quantity in the account's queue, beside everything in flight
(invariant 7). 4. `LIQUIDATED` is set only with no open row and no live or unknown order (decision 21).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import structlog

from pms.bus.hub import EventHub
from pms.execution.admission import TradingSwitches
from pms.execution.holdings import Holdings
from pms.execution.live_orders import LiveOrders
from pms.execution.prices import Prices
from pms.execution.service import Trader
from pms.ledger.api import Ledger
from pms.ledger.errors import LedgerError
from pms.limits import MARGIN_WARNING_INTERVAL_MS
from pms.model.account import Position
from pms.model.clock import Clock
from pms.model.event import EphemeralEvent
from pms.model.ids import SubAccountId
from pms.model.order import OrderCode, OrderState, Priority
from pms.model.refusal import Refused
from pms.model.symbol import Symbol, SymbolRules
from pms.risk import liquidation, view
from pms.risk.liquidation import (
    Decision,
    Label,
    LiquidateAll,
    Nothing,
    Postponed,
    TakeOverAll,
    Timing,
    Warn,
)
from pms.risk.maintenance import MaintenanceBasis

log = structlog.get_logger(__name__)

STEP_PAUSE_SECONDS = liquidation.STEP_PAUSE_MS / 1000


@dataclass(frozen=True, slots=True)
class LiquidatorStatistics:
    """`running` accounts now; counts since the start."""

    running: int
    liquidations: int
    warnings: int
    postponed: int
    not_acted: int


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
        rules: Callable[[], dict[Symbol, SymbolRules]],
        maintenance: MaintenanceBasis,
        hub: EventHub,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._trader = trader
        self._holdings = holdings
        self._live = live_orders
        self._prices = prices
        self._switches = switches
        self._rules = rules
        self._maintenance = maintenance
        self._hub = hub
        self._clock = clock
        self._waiting: dict[SubAccountId, None] = {}
        self._wake = asyncio.Event()
        self._warned_ms: dict[SubAccountId, int] = {}
        self._liquidations = self._warnings = self._postponed = self._not_acted = 0

    def consider(self, account_id: SubAccountId) -> None:
        """Look at an account soon; idempotent while it waits or is being liquidated. Returns at once."""
        if account_id not in self._switches.liquidating:
            self._waiting[account_id] = None
            self._wake.set()

    async def run(self) -> None:
        """Act until cancelled; accounts are liquidated side by side."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._wake.wait()
                self._wake.clear()
                waiting, self._waiting = self._waiting, {}
                for account_id in waiting:
                    self._decide(account_id, tasks)

    def _decide(self, account_id: SubAccountId, tasks: asyncio.TaskGroup) -> None:
        match self._confirmed(account_id):
            case Warn(margin_ratio=ratio):
                self._warn(account_id, float(ratio))
            case LiquidateAll() as act:
                self._start(account_id, act, tasks)
            case Postponed(reason=reason):
                self._postponed += 1
                log.error("liquidation_postponed", sub_account_id=account_id, reason=reason)
            case Nothing():
                pass
            case TakeOverAll(label=Label.INSOLVENCY_TAKEOVER, margin_ratio=ratio):
                # Takeovers need the house's legs, which do not act yet: an insolvent account is closed.
                self._start(account_id, LiquidateAll(Label.INSOLVENCY_GUARD, ratio), tasks)
            case act:
                # Partial steps and takeovers do not act yet: the owner is warned, and the insolvency guard
                # is the last line (docs/decisions/0017).
                self._not_acted += 1
                self._warn(account_id, float(act.margin_ratio))

    def _start(self, account_id: SubAccountId, act: LiquidateAll[Decimal], tasks: asyncio.TaskGroup) -> None:
        self._switches.liquidating.add(account_id)
        tasks.create_task(self._liquidate(account_id, act), name=f"liquidate {account_id}")

    def _confirmed(self, account_id: SubAccountId) -> Decision[Decimal]:
        account = self._ledger.account(account_id)
        positions = self._holdings.of_account(account_id)
        if account is None or not positions:
            return Nothing()
        marks: dict[str, Decimal] = {}
        ages: dict[str, int | None] = {}
        for position in positions:
            mark = self._prices.mark_price(position.symbol)
            ages[position.symbol] = self._prices.mark_age_ms(position.symbol)
            if mark is not None:
                marks[position.symbol] = Decimal(repr(mark))
        threshold = self._ledger.rules(account_id).liquidation_threshold
        rules: dict[str, SymbolRules] = dict(self._rules().items())
        timing = Timing(self._clock.now_ms(), ages)
        return liquidation.confirm(
            account, threshold, positions, marks, rules, timing, self._maintenance.exact
        )

    def _warn(self, account_id: SubAccountId, margin_ratio: float) -> None:
        now_ms = self._clock.now_ms()
        if now_ms - self._warned_ms.get(account_id, -MARGIN_WARNING_INTERVAL_MS) < MARGIN_WARNING_INTERVAL_MS:
            return
        self._warned_ms[account_id] = now_ms
        self._warnings += 1
        data = view.margin_warning(account_id, margin_ratio)
        sequence = self._holdings.sequence(account_id)
        self._hub.publish(
            EphemeralEvent(
                "margin_warning", account_id, f"margin_warning:{account_id}", data, now_ms, sequence
            )
        )

    async def _liquidate(self, account_id: SubAccountId, act: LiquidateAll[Decimal]) -> None:
        self._liquidations += 1
        log.warning(
            "liquidation_started",
            sub_account_id=account_id,
            margin_ratio=str(act.margin_ratio),
            mode=act.label,
        )
        try:
            data = view.full_liquidation(account_id, float(act.margin_ratio), act.label)
            await self._ledger.emit(account_id, "full_liquidation", data)
            while not await self._step(account_id):
                await self._clock.sleep(STEP_PAUSE_SECONDS)
            account = await self._ledger.mark_liquidated(account_id)
            log.warning("liquidation_finished", sub_account_id=account_id, balance=str(account.balance))
        except LedgerError as error:
            # The account stays in breach, and the publisher's sweep brings it back here.
            log.error("liquidation_interrupted", sub_account_id=account_id, error=str(error))
        finally:
            self._switches.liquidating.discard(account_id)

    async def _step(self, account_id: SubAccountId) -> bool:
        """Cancel, then close everything once; True when nothing is open and nothing is live."""
        await self._cancel_orders(account_id)
        positions = sorted(self._holdings.of_account(account_id), key=lambda held: -held.notional)
        await asyncio.gather(*(self._close(position) for position in positions))
        return liquidation.may_mark_liquidated(
            len(self._holdings.of_account(account_id)), sum(1 for _ in self._live.of_account(account_id))
        )

    async def _cancel_orders(self, account_id: SubAccountId) -> None:
        rows = [self._ledger.order(order.client_order_id) for order in self._live.of_account(account_id)]
        live = [row for row in rows if row is not None and row.state is OrderState.LIVE]
        for result in await asyncio.gather(*(self._trader.cancel_order(row) for row in live)):
            if isinstance(result, Refused):
                log.warning(
                    "liquidation_cancel_open",
                    sub_account_id=account_id,
                    refusal=result.refusals[0].log_line(),
                )

    async def _close(self, position: Position) -> None:
        result = await self._trader.close_with(
            position.id, OrderCode.LIQUIDATION, "LIQUIDATE", Priority.LIQUIDATION
        )
        if isinstance(result, Refused):
            log.error(
                "liquidation_close_refused",
                sub_account_id=position.sub_account_id,
                position_id=position.id,
                refusal=result.refusals[0].log_line(),
            )

    def statistics(self) -> LiquidatorStatistics:
        return LiquidatorStatistics(
            len(self._switches.liquidating),
            self._liquidations,
            self._warnings,
            self._postponed,
            self._not_acted,
        )
