"""One account's liquidation from its first decision to its end: decide, cancel, decide again, act, wait.

Invariants: 1. Every act, the later ones too, is decided from committed state on a fresh mark, exactly, right
before it is carried out (decisions 20 and 21). 2. It is recorded with its evidence before that. 3. Orders
that could open are cancelled before the act. 4. A symbol on which an order of the account is unknown waits
for proof; nothing else does (H3). 5. `LIQUIDATED` needs no open row and no live or unknown order (H11).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

import structlog

from pms.execution.admission import TradingSwitches
from pms.execution.api import Cancelled, Executed
from pms.execution.close_pool import ClosePool
from pms.execution.holdings import Holdings
from pms.execution.live_orders import LiveOrder, LiveOrders
from pms.execution.prices import Prices
from pms.ledger.api import Actor, Ledger
from pms.ledger.errors import LeaseError, LedgerClosedError, LedgerError, PositionNotOpenError
from pms.limits import LIQUIDATION_WRITES_MAX
from pms.model.account import Position
from pms.model.clock import Clock
from pms.model.errors import InvariantError
from pms.model.event import JsonValue
from pms.model.ids import PositionId, SubAccountId
from pms.model.liquidation import LiquidationState
from pms.model.money import Price
from pms.model.order import JournalOrder, OrderState, OrderType
from pms.model.refusal import Refused
from pms.model.symbol import Symbol, SymbolRules
from pms.risk import liquidation, view
from pms.risk.liquidation import (
    Act,
    Assessment,
    Label,
    LiquidateAll,
    Nothing,
    PartialClose,
    Postponed,
    StepAction,
    TakeOverAll,
    Timing,
    Warn,
)
from pms.risk.maintenance import MaintenanceBasis

log = structlog.get_logger(__name__)

STEP_PAUSE_SECONDS = liquidation.STEP_PAUSE_MS / 1000
READY_PAUSE_SECONDS = 0.5
"""How often a ladder that was interrupted by a restart looks whether the books are reconciled."""

SLIPPAGE_ALARM = Decimal("0.01")
"""A liquidation that executes worse than the mark it was decided on, by more than this share, is an alarm."""

FULL_ACTION = "LIQUIDATE"
"""Trade action of a full liquidation."""

SYSTEM = Actor("SYSTEM_LIQ", "system")
_FULL = frozenset(label.value for label in Label)


class Hands(Protocol):
    """What a ladder cancels with; `pms.execution.service.Trader` is one."""

    async def cancel_order(self, order: JournalOrder) -> Cancelled | Refused: ...


@dataclass(slots=True)
class LadderCounts:
    """What the ladders of a run did, since the start."""

    full: int = 0
    steps: int = 0
    takeovers: int = 0
    released: int = 0
    finished: int = 0
    postponed: int = 0
    slipped: int = 0


@dataclass(frozen=True, slots=True)
class LadderTools:
    """What all ladders share."""

    ledger: Ledger
    hands: Hands
    pool: ClosePool
    holdings: Holdings
    live_orders: LiveOrders
    prices: Prices
    switches: TradingSwitches
    rules: Callable[[], Mapping[Symbol, SymbolRules]]
    maintenance: MaintenanceBasis
    clock: Clock
    counts: LadderCounts
    writes: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LIQUIDATION_WRITES_MAX))
    last_step_ms: dict[SubAccountId, int] = field(default_factory=dict)
    """When each account was last shrunk; bounded by the accounts."""

    def assess(self, account_id: SubAccountId, *, escalated: bool = False) -> Assessment[Decimal] | None:
        """Decide about an account now, exactly, from committed state; None when it holds nothing."""
        account, positions = self.ledger.account(account_id), self.holdings.of_account(account_id)
        if account is None or not positions:
            return None
        rules = self.rules()
        return liquidation.assess(
            account,
            self.ledger.rules(account_id).liquidation_threshold,
            positions,
            self.marks(positions),
            {one.symbol: rules[one.symbol] for one in positions if one.symbol in rules},
            Timing(self.clock.now_ms(), self.ages_ms(positions)),
            self.maintenance.exact,
            escalated=escalated,
        )

    def marks(self, positions: Sequence[Position]) -> dict[str, Decimal]:
        """Return the marks of any age that exist, as the exchange's own digits say them."""
        marks = {position.symbol: self.prices.mark_price(position.symbol) for position in positions}
        return {symbol: Decimal(repr(mark)) for symbol, mark in marks.items() if mark is not None}

    def ages_ms(self, positions: Sequence[Position]) -> dict[str, int | None]:
        return {position.symbol: self.prices.mark_age_ms(position.symbol) for position in positions}


class Ladder:
    """Liquidates one account until it has recovered, or is closed and marked. One at a time for an account.

    Cancelled only with the engine: what was recorded is decided again after the next start.
    """

    def __init__(self, account_id: SubAccountId, tools: LadderTools, *, announced: bool = False) -> None:
        """`announced`: the pool waits for the positions that this ladder will name."""
        self._id = account_id
        self._tools = tools
        self._announced = announced
        record = tools.ledger.running_liquidation(account_id)
        self._escalated = record is not None and record.label == Label.ADL_30_ESCALATED
        if record is not None:
            tools.last_step_ms.setdefault(account_id, record.started_at_ms)
        self._said = ""

    async def run(self) -> None:
        """Step until the ladder is over. Raises LeaseError, LedgerClosedError."""
        while (pause_seconds := await self._guarded_step()) is not None:
            await self._tools.clock.sleep(pause_seconds)

    async def _guarded_step(self) -> float | None:
        try:
            return await self._step()
        except (LeaseError, LedgerClosedError):
            raise
        except LedgerError as error:
            # What is recorded stays RUNNING: the next step decides again from what is committed.
            log.error("liquidation_interrupted", sub_account_id=self._id, error=str(error))
            return STEP_PAUSE_SECONDS
        finally:
            self._arrive()

    async def _step(self) -> float | None:
        """Decide and act once. Returns the seconds until the next step, None when the ladder is over."""
        tools = self._tools
        if not tools.switches.ready:
            self._say("the books are being reconciled after a start")
            return READY_PAUSE_SECONDS
        act = await self._due()
        if not isinstance(act, LiquidateAll | TakeOverAll | PartialClose):
            return act
        if self._cancellable(act):
            await self._cancel(act)
            act = await self._due()
            if not isinstance(act, LiquidateAll | TakeOverAll | PartialClose):
                return act
        waits = self._in_doubt()
        if isinstance(act, PartialClose) and act.symbol in waits:
            self._say(f"an order of the account on {act.symbol} is unknown: its proof is awaited")
            return STEP_PAUSE_SECONDS
        if isinstance(act, PartialClose) and (left_ms := self._pause_left_ms()):
            return left_ms / 1000
        await self._record(act)
        again = self._assess()
        if again is None or type(again.decision) is not type(act):
            return 0.0  # the account has changed while the decision was being recorded
        await self._carry_out(again.decision, waits)
        tools.last_step_ms[self._id] = tools.clock.now_ms()
        return STEP_PAUSE_SECONDS if tools.holdings.of_account(self._id) else await self._flat()

    # --- deciding ---

    def _assess(self) -> Assessment[Decimal] | None:
        return self._tools.assess(self._id, escalated=self._escalated)

    def _pause_left_ms(self) -> int:
        """Return how long the last step of the account, in this ladder or before it, is to be waited out."""
        last_ms = self._tools.last_step_ms.get(self._id)
        return 0 if last_ms is None else liquidation.pause_left_ms(last_ms, self._tools.clock.now_ms())

    async def _due(self) -> Act[Decimal] | float | None:
        """Return the act that is due now; else the seconds until the next step, None when it is over."""
        assessment = self._assess()
        if assessment is None:
            return await self._flat()
        match assessment.decision:
            case Nothing() | Warn():
                await self._release()
                return None
            case Postponed(reason=reason):
                self._tools.counts.postponed += 1
                self._say(reason)
                return STEP_PAUSE_SECONDS
            case act:
                return act

    async def _flat(self) -> float | None:
        """Nothing is open: end the record, and mark the account when it was to be closed whole."""
        ledger = self._tools.ledger
        record = ledger.running_liquidation(self._id)
        if record is None:
            return None
        if record.label not in _FULL:
            await self._end(LiquidationState.DONE)
            return None
        await self._cancel(None)
        live = sum(1 for _ in self._tools.live_orders.of_account(self._id))
        if not liquidation.may_mark_liquidated(len(self._tools.holdings.of_account(self._id)), live):
            return STEP_PAUSE_SECONDS
        try:
            async with self._tools.writes:
                account = await ledger.finish_liquidation(self._id)
        except InvariantError as error:
            # A fill or an order was committed in between: what it left is closed by the next step.
            log.warning("liquidation_not_finished", sub_account_id=self._id, reason=str(error))
            return 0.0
        self._tools.counts.finished += 1
        log.warning("liquidation_finished", sub_account_id=self._id, balance=str(account.balance))
        return None

    async def _release(self) -> None:
        """The account has recovered: whatever was decided and not carried out ends here."""
        if self._tools.ledger.running_liquidation(self._id) is None:
            return
        await self._end(LiquidationState.RELEASED)
        self._tools.counts.released += 1
        log.warning("liquidation_released", sub_account_id=self._id)

    # --- cancelling ---

    def _cancellable(self, act: Act[Decimal] | None) -> list[JournalOrder]:
        """Return the resting orders that go before the act: those that could open; all, when everything
        goes."""
        rows = [self._tools.ledger.order(live.client_order_id) for live in self._of_account()]
        everything = not isinstance(act, PartialClose)
        return [
            row
            for row in rows
            if row is not None and row.state is OrderState.LIVE and (everything or not row.reduce_only)
        ]

    async def _cancel(self, act: Act[Decimal] | None) -> None:
        orders = self._cancellable(act)
        for result in await asyncio.gather(*(self._tools.hands.cancel_order(order) for order in orders)):
            if isinstance(result, Refused):
                refusal = result.refusals[0].log_line()
                log.warning("liquidation_cancel_open", sub_account_id=self._id, refusal=refusal)

    def _of_account(self) -> list[LiveOrder]:
        return list(self._tools.live_orders.of_account(self._id))

    def _in_doubt(self) -> set[Symbol]:
        """Return the symbols on which an order of the account may have been executed, nobody knows: what it
        executed is not booked, also when the exchange has confirmed that there is such an order."""
        rows = [self._tools.ledger.order(live.client_order_id) for live in self._of_account()]
        return {row.symbol for row in rows if row is not None and _may_have_executed(row)}

    # --- recording ---

    async def _record(self, act: Act[Decimal]) -> None:
        """Write the decision down with its evidence, and tell it; one that runs already is not told twice."""
        label, tools = act_label(act), self._tools
        running = tools.ledger.running_liquidation(self._id)
        if running is not None and running.label == label:
            return
        account, positions = tools.ledger.account(self._id), tools.holdings.of_account(self._id)
        assessment = self._assess()
        if account is None or assessment is None:
            return
        known = liquidation.evidence(
            account,
            tools.ledger.rules(self._id).liquidation_threshold,
            positions,
            tools.marks(positions),
            tools.ages_ms(positions),
            assessment.figures,
        )
        event, data = told(self._id, act)
        log.warning("liquidation_decided", sub_account_id=self._id, label=label, ratio=str(act.margin_ratio))
        self._count(act)
        async with tools.writes:
            await tools.ledger.begin_liquidation(self._id, label, act.margin_ratio, known, event, data)

    async def _end(self, state: LiquidationState) -> None:
        async with self._tools.writes:
            await self._tools.ledger.end_liquidation(self._id, state)

    def _count(self, act: Act[Decimal]) -> None:
        counts = self._tools.counts
        match act:
            case PartialClose():
                counts.steps += 1
            case TakeOverAll():
                counts.takeovers += 1
            case LiquidateAll():
                counts.full += 1

    def _say(self, reason: str) -> None:
        """Log why nothing is done, once for each reason (decision 20: never silent)."""
        if reason != self._said:
            self._said = reason
            log.error("liquidation_postponed", sub_account_id=self._id, reason=reason)

    # --- acting ---

    async def _carry_out(self, act: Act[Decimal], waits: set[Symbol]) -> None:
        self._said = ""
        match act:
            case PartialClose():
                await self._close_part(act)
            case LiquidateAll(label=label):
                self._escalated = label is Label.ADL_30_ESCALATED
                await self._close_all(waits)
            case TakeOverAll():
                await self._take_over_all(waits)

    async def _close_part(self, act: PartialClose[Decimal]) -> None:
        position = self._tools.ledger.position(act.position_id)
        if position is None:
            return
        mark = self._tools.marks([position]).get(position.symbol)
        quantity = None if act.closes_all else act.quantity
        closing = self._tools.pool.close([position], act.action.value, quantity)
        self._arrive()
        (result,) = await closing
        if result is None:
            return
        if isinstance(result, Refused):
            self._refused(act.position_id, result)
            return
        self._judge(position, mark, result)
        self._escalated = act.action is StepAction.ADL_TIER3
        await self._end(LiquidationState.DONE)

    async def _close_all(self, waits: set[Symbol]) -> None:
        held = self._largest_first(waits)
        marks = self._tools.marks(held)
        closing = self._tools.pool.close(held, FULL_ACTION)
        self._arrive()
        for position, result in zip(held, await closing, strict=True):
            if isinstance(result, Refused):
                self._refused(position.id, result)
            elif result is not None:
                self._judge(position, marks.get(position.symbol), result)

    async def _take_over_all(self, waits: set[Symbol]) -> None:
        held = self._largest_first(waits)
        marks = self._tools.marks(held)
        await asyncio.gather(*(self._take_over(position, marks[position.symbol]) for position in held))

    async def _take_over(self, position: Position, mark: Decimal) -> None:
        try:
            async with self._tools.writes:
                await self._tools.ledger.take_over(position.id, SYSTEM, Price(mark))
        except PositionNotOpenError:
            log.info("takeover_not_needed", position_id=position.id)  # its owner closed it meanwhile

    def _largest_first(self, waits: set[Symbol]) -> list[Position]:
        held = [one for one in self._tools.holdings.of_account(self._id) if one.symbol not in waits]
        if waits:
            self._say(f"orders of the account are unknown on {', '.join(sorted(waits))}: proof is awaited")
        marks = self._tools.marks(held)
        return sorted(
            held, key=lambda one: one.quantity * marks.get(one.symbol, one.entry_price), reverse=True
        )

    def _refused(self, position_id: PositionId, refused: Refused) -> None:
        log.error(
            "liquidation_close_refused",
            sub_account_id=self._id,
            position_id=position_id,
            refusal=refused.refusals[0].log_line(),
        )

    def _judge(self, position: Position, mark: Decimal | None, done: Executed) -> None:
        """Raise the alarm when the close was far worse than the mark it was decided on (H38)."""
        closing = [trade for trade in done.trades if trade.realized_pnl is not None]
        quantity = sum((trade.quantity for trade in closing), Decimal(0))
        if not quantity or not mark:
            return
        price = sum((trade.price * trade.quantity for trade in closing), Decimal(0)) / quantity
        worse = (mark - price) * position.side.sign / mark
        if worse > SLIPPAGE_ALARM:
            self._tools.counts.slipped += 1
            log.error(
                "liquidation_slippage",
                sub_account_id=self._id,
                symbol=position.symbol,
                mark=str(mark),
                price=str(price),
            )

    def _arrive(self) -> None:
        if self._announced:
            self._announced = False
            self._tools.pool.arrive()


def act_label(act: Act[Decimal]) -> str:
    """Return what an act is called in the record: the mode of a full liquidation, the action of a step."""
    return act.action.value if isinstance(act, PartialClose) else act.label.value


def told(account_id: SubAccountId, act: Act[Decimal]) -> tuple[str, dict[str, JsonValue]]:
    """Return the event that tells an act, and its data (ledger spec 5.11)."""
    ratio = float(act.margin_ratio)
    if isinstance(act, PartialClose):
        return "adl_triggered", view.adl_triggered(account_id, act.tier, act.symbol, ratio)
    return "full_liquidation", view.full_liquidation(account_id, ratio, act.label.value)


def _may_have_executed(order: JournalOrder) -> bool:
    if order.state is OrderState.LIVE:
        return order.type is OrderType.MARKET
    return order.state in (OrderState.UNKNOWN, OrderState.FINISHING)
