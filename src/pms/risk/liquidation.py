"""What to do with an account at each margin ratio: the pure decision of all liquidation modes.

Ledger spec 3.7 to 3.10 with decision 21: decided from confirmed state, with exact figures, never on a stale
price without saying so. Execution cancels increasing orders first and then carries the decision out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Generic

from pms.model.account import LiquidationMode, Position, SubAccount
from pms.model.event import JsonValue
from pms.model.ids import PositionId
from pms.model.money import plain, round_up
from pms.model.price import STALE_AFTER_MS
from pms.model.symbol import SymbolRules
from pms.risk.formulas import (
    ESCALATION_STEP,
    WARNING_STEP,
    Figures,
    Leg,
    Number,
    account_figures,
    constant,
    decimal_leg,
    largest_leg,
    maintenance_rate_or_default,
    safe_threshold,
)
from pms.risk.maintenance import Brackets

STEP_FRACTION = "0.3"
STEP_PAUSE_MS = 2_000
"""Pause between two liquidation steps of an account (decision 21, H36)."""


class Level(IntEnum):
    """How far an account is: WARN from T - 0.10, LIQUIDATE from T, ESCALATE from T + 0.05, INSOLVENT from
    1.0 or without equity. Ordered by urgency: insolvency comes first whatever T is (spec 3.7 step 7)."""

    CALM = 0
    WARN = 1
    LIQUIDATE = 2
    ESCALATE = 3
    INSOLVENT = 4


class Label(StrEnum):
    """`mode` of the event `full_liquidation` (spec 5.11)."""

    INSTANT_CLOSE = "INSTANT_CLOSE"
    VIRTUAL_LIQ = "VIRTUAL_LIQ"
    INSOLVENCY_GUARD = "INSOLVENCY_GUARD"
    INSOLVENCY_TAKEOVER = "INSOLVENCY_TAKEOVER"
    ADL_30_ESCALATED = "ADL_30_ESCALATED"

    @property
    def takes_over(self) -> bool:
        """True when the house takes the positions and no order is sent."""
        return self in (Label.VIRTUAL_LIQ, Label.INSOLVENCY_TAKEOVER)


class StepAction(StrEnum):
    """Trade action of a partial close."""

    ADL_TIER2 = "ADL_TIER2"
    ADL_TIER3 = "ADL_TIER3"


@dataclass(frozen=True, slots=True)
class Nothing:
    """No threshold is reached."""


@dataclass(frozen=True, slots=True)
class Warn(Generic[Number]):
    """Tell the owner that liquidation is near (mode ADL_30 only)."""

    margin_ratio: Number


@dataclass(frozen=True, slots=True)
class LiquidateAll(Generic[Number]):
    """Close every position at market."""

    label: Label
    margin_ratio: Number


@dataclass(frozen=True, slots=True)
class TakeOverAll(Generic[Number]):
    """Transfer every position to the house; no order is sent for it."""

    label: Label
    margin_ratio: Number


@dataclass(frozen=True, slots=True)
class PartialClose(Generic[Number]):
    """Close part of the largest position. `quantity` is on the lot; `closes_all` when the remainder would
    be dust.

    After a tier 3 step has been filled, `after_escalation` decides whether everything goes.
    """

    position_id: PositionId
    symbol: str
    quantity: Number
    closes_all: bool
    tier: int
    action: StepAction
    margin_ratio: Number


@dataclass(frozen=True, slots=True)
class Postponed(Generic[Number]):
    """An act is due but must wait; never silent: `reason` goes to the log and the operator."""

    reason: str
    act: LiquidateAll[Number] | TakeOverAll[Number] | PartialClose[Number]


Decision = (
    Nothing
    | Warn[Number]
    | LiquidateAll[Number]
    | TakeOverAll[Number]
    | PartialClose[Number]
    | Postponed[Number]
)


Act = LiquidateAll[Number] | TakeOverAll[Number] | PartialClose[Number]


@dataclass(frozen=True, slots=True)
class Assessment(Generic[Number]):
    """A decision with the figures that it was made on."""

    decision: Decision[Number]
    figures: Figures[Number]

    @property
    def urgency(self) -> tuple[bool, Number]:
        """The order of work, the largest first: who is insolvent, then the maintenance at stake (H38)."""
        return (
            self.figures.equity_raw <= 0 or self.figures.margin_ratio >= 1,
            self.figures.maintenance_margin,
        )


@dataclass(frozen=True, slots=True)
class Timing:
    """When the account was last acted on, and how old its prices are (ms; None: the symbol has no price)."""

    now_ms: int
    price_ages_ms: Mapping[str, int | None]
    last_step_ms: int | None = None


def level_of(ratio: Number, equity_raw: Number, threshold: Number) -> Level:
    """Return the level of a margin ratio; `threshold` is already sanitised. NaN is CALM."""
    if equity_raw <= 0 or ratio >= 1:
        return Level.INSOLVENT
    if ratio >= threshold + constant(threshold, ESCALATION_STEP):
        return Level.ESCALATE
    if ratio >= threshold:
        return Level.LIQUIDATE
    if ratio >= threshold - constant(threshold, WARNING_STEP):
        return Level.WARN
    return Level.CALM


def decide(
    mode: LiquidationMode,
    threshold: Number,
    figures: Figures[Number],
    legs: Sequence[Leg[Number]],
    rules: Mapping[str, SymbolRules],
    timing: Timing,
    marks: Mapping[str, Number] | None = None,
) -> Decision[Number]:
    """Return what to do with an account now. Status plays no part: frozen accounts stay monitored (H15).

    `legs` are all open positions in book order; `threshold` as stored. What a partial step leaves is valued
    at `marks`, at the entry where there is none. Pure.
    """
    if not legs:
        return Nothing()
    limit = safe_threshold(threshold)
    level = level_of(figures.margin_ratio, figures.equity_raw, limit)
    act = _act(mode, level, figures, legs, rules, marks or {})
    if act is None:
        warns = level is Level.WARN and mode is LiquidationMode.ADL_30
        return Warn(figures.margin_ratio) if warns else Nothing()
    stale = _stale_reason(legs, timing)
    if stale:
        return Postponed(stale, act)
    if isinstance(act, PartialClose) and _cooling(timing):
        return Postponed(f"the last step is less than {STEP_PAUSE_MS} ms old", act)
    return act


def after_escalation(
    threshold: Number, figures: Figures[Number], legs: Sequence[Leg[Number]], timing: Timing
) -> LiquidateAll[Number] | Postponed[Number] | Nothing:
    """Decide again after a tier 3 step has ended, from confirmed state (spec 3.8, tier 3 re-check)."""
    limit = safe_threshold(threshold)
    if not legs or not (figures.equity_raw <= 0 or figures.margin_ratio >= limit):
        return Nothing()
    act = LiquidateAll(Label.ADL_30_ESCALATED, figures.margin_ratio)
    stale = _stale_reason(legs, timing)
    return Postponed(stale, act) if stale else act


def assess(
    account: SubAccount,
    threshold: Decimal,
    positions: Sequence[Position],
    marks: Mapping[str, Decimal],
    rules: Mapping[str, SymbolRules],
    timing: Timing,
    brackets: Brackets[Decimal] | None = None,
    *,
    escalated: bool = False,
) -> Assessment[Decimal]:
    """Decide in Decimal, from committed state, before acting on a breach (decision 20).

    `escalated`: a tier 3 step has ended, or the full liquidation that followed it goes on.
    """
    legs = [decimal_leg(position) for position in positions]
    rate = maintenance_rate_or_default(account.maintenance_rate)
    figures = account_figures(account.cash, rate, legs, marks, brackets)
    if escalated:
        return Assessment(after_escalation(threshold, figures, legs, timing), figures)
    mode = account.liquidation_mode
    return Assessment(decide(mode, threshold, figures, legs, rules, timing, marks), figures)


def confirm(
    account: SubAccount,
    threshold: Decimal,
    positions: Sequence[Position],
    marks: Mapping[str, Decimal],
    rules: Mapping[str, SymbolRules],
    timing: Timing,
    brackets: Brackets[Decimal] | None = None,
) -> Decision[Decimal]:
    """Return the decision of `assess` on an account of which nothing is under way."""
    return assess(account, threshold, positions, marks, rules, timing, brackets).decision


def evidence(
    account: SubAccount,
    threshold: Decimal,
    positions: Sequence[Position],
    marks: Mapping[str, Decimal],
    ages_ms: Mapping[str, int | None],
    figures: Figures[Decimal],
) -> dict[str, JsonValue]:
    """Return what a decision was made on, as texts that keep every digit: for the record of liquidations."""
    held: list[JsonValue] = [
        {
            "id": position.id,
            "symbol": position.symbol,
            "side": position.side.value,
            "quantity": plain(position.quantity),
            "cost": plain(position.cost),
            "mark": plain(marks[position.symbol]) if position.symbol in marks else None,
            "markAgeMs": ages_ms.get(position.symbol),
        }
        for position in positions
    ]
    return {
        "mode": account.liquidation_mode.value,
        "status": account.status.value,
        "threshold": plain(threshold),
        "cash": plain(account.cash),
        "equity": plain(figures.equity_raw),
        "maintenance": plain(figures.maintenance_margin),
        "positions": held,
    }


def step_quantity(quantity: Number, price: Number, rules: SymbolRules | None) -> tuple[Number, bool]:
    """Return how much 30 % of a position is on the lot, and whether that closes all of it (decision 21).

    Rounds up to a lot. A remainder below the smallest market order, by quantity or notional, is closed too.
    """
    wanted = quantity * constant(quantity, STEP_FRACTION)
    if rules is None:
        return wanted, False
    whole, part = Decimal(str(quantity)), Decimal(str(wanted))
    step = rules.market_quantity_step or rules.quantity_step
    smallest, _ = rules.quantity_bounds(market=True)
    part = max(round_up(part, step), smallest)
    left = whole - part
    if left <= 0 or left < smallest or left * Decimal(str(price)) < rules.notional_min:
        return quantity, True
    return constant(quantity, str(part)), False


def pause_left_ms(last_step_ms: int, now_ms: int) -> int:
    """Return how long the next partial step must still wait (H36); 0 when it need not."""
    return max(0, last_step_ms + STEP_PAUSE_MS - now_ms)


def may_mark_liquidated(open_positions: int, live_orders: int) -> bool:
    """LIQUIDATED needs no open row and no live or unknown order (decision 21, H11)."""
    return open_positions == 0 and live_orders == 0


def _act(
    mode: LiquidationMode,
    level: Level,
    figures: Figures[Number],
    legs: Sequence[Leg[Number]],
    rules: Mapping[str, SymbolRules],
    marks: Mapping[str, Number],
) -> Act[Number] | None:
    ratio = figures.margin_ratio
    takes_over = mode is LiquidationMode.TAKEOVER
    if level is Level.INSOLVENT:
        if takes_over:
            return TakeOverAll(Label.INSOLVENCY_TAKEOVER, ratio)
        return LiquidateAll(Label.INSOLVENCY_GUARD, ratio)
    if level < Level.LIQUIDATE:
        return None
    if takes_over:
        return TakeOverAll(Label.VIRTUAL_LIQ, ratio)
    if mode is LiquidationMode.INSTANT_CLOSE:
        return LiquidateAll(Label.INSTANT_CLOSE, ratio)
    largest = largest_leg(legs)
    if largest is None:
        return None
    escalates = level is Level.ESCALATE
    price = marks.get(largest.symbol) or largest.entry
    quantity, closes_all = step_quantity(largest.quantity, price, rules.get(largest.symbol))
    return PartialClose(
        PositionId(largest.id),
        largest.symbol,
        quantity,
        closes_all,
        3 if escalates else 2,
        StepAction.ADL_TIER3 if escalates else StepAction.ADL_TIER2,
        ratio,
    )


def _cooling(timing: Timing) -> bool:
    return timing.last_step_ms is not None and pause_left_ms(timing.last_step_ms, timing.now_ms) > 0


def _stale_reason(legs: Sequence[Leg[Number]], timing: Timing) -> str:
    """Name the positions whose price must not liquidate (decision 20); empty when all are fresh."""
    reasons: list[str] = []
    for symbol in dict.fromkeys(leg.symbol for leg in legs):
        age = timing.price_ages_ms.get(symbol)
        if age is None:
            reasons.append(f"{symbol} has no price")
        elif age > STALE_AFTER_MS:
            reasons.append(f"the price of {symbol} is {math.ceil(age / 1000)} s old")
    return "; ".join(reasons)
