"""The margin and liquidation formulas of ledger spec section 3, in float for ticks and in Decimal for money.

Every function is generic over `float` and `Decimal`. The operation order is the spec's, so that floats
agree with the incumbent to the last bit (spec 0.3.1). Division never raises: `x/0` is infinite, `0/0` is
NaN (spec 0.3.2). Sides are passed as `is_long`; whatever is not LONG is treated as SHORT (spec 3.1). All
amounts are in USDT.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic, TypeVar

from pms.model.account import LiquidationMode, Position, PositionSide
from pms.risk.maintenance import Brackets, Curve

Number = TypeVar("Number", float, Decimal)

RATIO_WITHOUT_EQUITY = 999
"""The margin ratio when equity is not positive (spec 3.2 and 3.3)."""

ESCALATION_STEP = "0.05"
WARNING_STEP = "0.10"
_DEFAULT_RATE = "0.005"
_DEFAULT_THRESHOLD = "0.90"


@dataclass(frozen=True, slots=True)
class Leg(Generic[Number]):
    """The figures of one open position that the formulas need. `notional` is entry-based, `quantity`
    unsigned.
    """

    id: str
    symbol: str
    is_long: bool
    entry: Number
    quantity: Number
    notional: Number
    margin: Number


@dataclass(frozen=True, slots=True)
class ValidatorView(Generic[Number]):
    """Margin as the gate sees it before a trade; `available_margin` is not the display view's (spec 3.2)."""

    equity: Number
    maintenance_margin: Number
    available_margin: Number


@dataclass(frozen=True, slots=True)
class Figures(Generic[Number]):
    """Margin as events, snapshots and liquidation see it: the display view of spec 3.2."""

    balance: Number
    equity_raw: Number
    unrealized_pnl: Number
    margin_used: Number
    total_exposure: Number
    maintenance_margin: Number
    margin_ratio: Number
    position_count: int

    @property
    def equity(self) -> Number:
        """Equity floored at 0."""
        return positive_part(self.equity_raw)

    @property
    def available_margin(self) -> Number:
        """Floored equity less margin used; may be negative."""
        return self.equity - self.margin_used


def constant(like: Number, text: str) -> Number:
    """Return a constant in the number type of `like`."""
    return type(like)(text)


def divide(numerator: Number, denominator: Number) -> Number:
    """Divide as IEEE-754 does, without raising (spec 0.3.2)."""
    if denominator != 0:
        return numerator / denominator
    if numerator == 0 or numerator != numerator:
        return constant(numerator, "nan")
    negative = (numerator < 0) != (math.copysign(1.0, denominator) < 0)
    return constant(numerator, "-inf" if negative else "inf")


def positive_part(value: Number) -> Number:
    """Return max(0, value); NaN stays NaN (spec 0.3.3)."""
    if value != value or value > 0:
        return value
    return constant(value, "0")


def total(values: Iterable[Number], zero: Number) -> Number:
    """Return the sum in list order, starting from `zero` (which fixes the number type)."""
    result = zero
    for value in values:
        result = result + value
    return result


def maintenance_rate_or_default(rate: Number) -> Number:
    """Return the account's maintenance rate; 0 means 0.005 (spec 3.2)."""
    return rate if rate and rate == rate else constant(rate, _DEFAULT_RATE)


def safe_threshold(threshold: Number) -> Number:
    """Return the liquidation threshold if it is finite and positive, else 0.90 (spec 3.5); may exceed 1."""
    if math.isfinite(threshold) and threshold > 0:
        return threshold
    return constant(threshold, _DEFAULT_THRESHOLD)


def static_threshold(threshold: Number) -> Number:
    """Return the liquidation threshold if it is in (0, 1], else 0.90 (spec 3.4)."""
    if math.isfinite(threshold) and 0 < threshold <= 1:
        return threshold
    return constant(threshold, _DEFAULT_THRESHOLD)


def full_liquidation_threshold(threshold: Number, mode: LiquidationMode) -> Number:
    """Return the margin ratio at which everything goes (spec 3.10); informational."""
    if mode in (LiquidationMode.INSTANT_CLOSE, LiquidationMode.TAKEOVER):
        return threshold
    return min(threshold + constant(threshold, ESCALATION_STEP), constant(threshold, "1"))


def pnl(is_long: bool, entry: Number, close: Number, quantity: Number) -> Number:
    """Return profit (positive) or loss of `quantity` between two prices; no clamps (spec 3.1)."""
    return (close - entry) * quantity if is_long else (entry - close) * quantity


def margin_usage_ratio(equity: Number, margin_used: Number, margin_new: Number) -> Number:
    """Return the margin usage after a trade, 999 when equity is not positive (spec 3.3)."""
    if equity <= 0:
        return constant(equity, str(RATIO_WITHOUT_EQUITY))
    return divide(margin_used + margin_new, equity)


def validator_view(
    balance: Number,
    rate: Number,
    unrealized: Number,
    notional: Number,
    opposite_notional: Number,
    opposite_pnl: Number,
) -> ValidatorView[Number]:
    """Return the margin figures for admission. `opposite_*` describe a position that the trade closes (spec
    3.2).
    """
    equity = balance + unrealized + opposite_pnl
    maintenance = (notional - opposite_notional) * rate
    return ValidatorView(equity, maintenance, equity - maintenance)


def static_liquidation_price(
    is_long: bool, entry: Number, balance: Number, notional: Number, rate: Number, threshold: Number
) -> Number:
    """Return the price at which this position alone reaches the threshold (spec 3.4).

    LONG is clamped at 0; SHORT is not clamped and may be negative or infinite.
    """
    quantity = divide(notional, entry)
    floor = divide(notional * rate, static_threshold(threshold))
    room = balance - floor
    if is_long:
        return positive_part(entry - divide(room, quantity))
    return entry + divide(room, quantity)


def static_liquidation_price_decimal(
    side: PositionSide, entry: Decimal, cash: Decimal, notional: Decimal, rate: Decimal, threshold: Decimal
) -> Decimal:
    """Return the static liquidation price for the ledger; finite, at least 0, and 0 for an empty position.

    The shape is `pms.ledger.api.LiquidationPriceOf`. A stored price must be a number, so what the formula
    leaves infinite or negative is stored as 0 (spec 1.1.6 and H42).
    """
    if entry <= 0 or notional <= 0:
        return Decimal(0)
    is_long = side is PositionSide.LONG
    rate = maintenance_rate_or_default(rate)
    return max(Decimal(0), static_liquidation_price(is_long, entry, cash, notional, rate, threshold))


def price_at_ratio(
    curve: Curve[Number],
    is_long: bool,
    entry: Number,
    quantity: Number,
    base: Number,
    others: Number,
    threshold: Number,
) -> Number:
    """Return the mark at which maintenance / equity reaches the threshold by this position's move alone.

    `base` is the equity beside the position's PnL, `others` the maintenance of the rest; `quantity` > 0. The
    account is safe in one interval of prices: the result is its lower end for a LONG, its upper end for a
    SHORT. 0 for a LONG that is safe down to 0, and for a SHORT that is safe nowhere; the entry for a LONG
    that is safe nowhere (spec 3.5 step 6 keeps a price that cannot be computed at the entry).
    """
    zero, sign = constant(base, "0"), constant(base, "1" if is_long else "-1")
    # Safe at notional n: fixed + sign x n - (others + rate x n - cumulative) / threshold > 0.
    fixed = base - sign * quantity * entry
    safe_at_zero = fixed - (others + curve.maintenance(zero)) / threshold > 0
    if safe_at_zero is is_long:
        return zero
    for index, piece in enumerate(curve.pieces):
        slope = sign - piece.rate / threshold
        if is_long and slope <= 0:
            break
        notional = ((others - piece.cumulative) / threshold - fixed) / slope
        if index + 1 == len(curve.pieces) or notional <= curve.starts[index + 1]:
            return positive_part(notional) / quantity
    return entry


def dynamic_liquidation_prices(
    balance: Number,
    rate: Number,
    legs: Sequence[Leg[Number]],
    marks: Mapping[str, Number],
    threshold: Number,
    brackets: Brackets[Number] | None = None,
) -> dict[str, Number]:
    """Return, by position id, the mark at which the whole account reaches the threshold, all else equal
    (spec 3.5).

    A symbol without a mark counts at its entry; a mark of 0 is used as 0. `rate` is already defaulted.
    Without `brackets` maintenance is the rate on entry notional and does not move.
    """
    if not legs:
        return {}
    if brackets is not None:
        return _bracket_liquidation_prices(balance, rate, legs, marks, safe_threshold(threshold), brackets)
    zero = constant(balance, "0")
    floor = total((leg.notional * rate for leg in legs), zero) / safe_threshold(threshold)
    profits = [pnl(leg.is_long, leg.entry, marks.get(leg.symbol, leg.entry), leg.quantity) for leg in legs]
    profit = total(profits, zero)
    prices: dict[str, Number] = {}
    for leg, own in zip(legs, profits, strict=True):
        if not leg.quantity > 0:
            prices[leg.id] = leg.entry
            continue
        base = balance + (profit - own)
        move = (floor - base) / leg.quantity
        raw = leg.entry + move if leg.is_long else leg.entry - move
        prices[leg.id] = positive_part(raw) if math.isfinite(raw) else leg.entry
    return prices


def _bracket_liquidation_prices(
    balance: Number,
    rate: Number,
    legs: Sequence[Leg[Number]],
    marks: Mapping[str, Number],
    threshold: Number,
    brackets: Brackets[Number],
) -> dict[str, Number]:
    zero = constant(balance, "0")
    known = [marks.get(leg.symbol, leg.entry) for leg in legs]
    profits = [pnl(leg.is_long, leg.entry, mark, leg.quantity) for leg, mark in zip(legs, known, strict=True)]
    needs = [
        brackets.maintenance(leg.symbol, leg.quantity * mark, rate)
        for leg, mark in zip(legs, known, strict=True)
    ]
    profit, need = total(profits, zero), total(needs, zero)
    prices: dict[str, Number] = {}
    for leg, own_profit, own_need in zip(legs, profits, needs, strict=True):
        if not leg.quantity > 0:
            prices[leg.id] = leg.entry
            continue
        base, others = balance + (profit - own_profit), need - own_need
        curve = brackets.curve(leg.symbol, rate)
        raw = price_at_ratio(curve, leg.is_long, leg.entry, leg.quantity, base, others, threshold)
        prices[leg.id] = raw if math.isfinite(raw) else leg.entry
    return prices


def largest_leg(legs: Sequence[Leg[Number]]) -> Leg[Number] | None:
    """Return the position of the largest notional, the first of equals; NaN counts as 0 (spec 3.6)."""
    best: Leg[Number] | None = None
    best_notional: Number | None = None
    for leg in legs:
        notional = leg.notional if leg.notional == leg.notional else constant(leg.notional, "0")
        if best_notional is None or notional > best_notional:
            best, best_notional = leg, notional
    return best


def account_liquidation_price(
    balance: Number,
    rate: Number,
    legs: Sequence[Leg[Number]],
    marks: Mapping[str, Number],
    threshold: Number,
    brackets: Brackets[Number] | None = None,
) -> Number | None:
    """Return the dynamic price of the largest position, None without positions (spec 3.6)."""
    largest = largest_leg(legs)
    if largest is None:
        return None
    return dynamic_liquidation_prices(balance, rate, legs, marks, threshold, brackets)[largest.id]


def unrealized_pnl(legs: Iterable[Leg[Number]], marks: Mapping[str, Number], zero: Number) -> Number:
    """Return Σ PnL of the positions whose price is known; the others are skipped (spec 3.11)."""
    return total(
        (pnl(leg.is_long, leg.entry, marks[leg.symbol], leg.quantity) for leg in legs if leg.symbol in marks),
        zero,
    )


def account_figures(
    balance: Number,
    rate: Number,
    legs: Sequence[Leg[Number]],
    marks: Mapping[str, Number],
    brackets: Brackets[Number] | None = None,
) -> Figures[Number]:
    """Return the display view of spec 3.2; `rate` is already defaulted, a falsy mark counts at the entry.

    Maintenance is the rate on entry notional, or with `brackets` what they need on mark notional.
    """
    zero = constant(balance, "0")
    profit, exposure, margin, needed = zero, zero, zero, zero
    for leg in legs:
        mark = marks.get(leg.symbol) or leg.entry
        profit = profit + pnl(leg.is_long, leg.entry, mark, leg.quantity)
        exposure = exposure + leg.notional
        margin = margin + leg.margin
        if brackets is not None:
            needed = needed + brackets.maintenance(leg.symbol, leg.quantity * mark, rate)
    equity_raw = balance + profit
    maintenance = exposure * rate if brackets is None else needed
    ratio = maintenance / equity_raw if equity_raw > 0 else constant(balance, str(RATIO_WITHOUT_EQUITY))
    return Figures(balance, equity_raw, profit, margin, exposure, maintenance, ratio, len(legs))


def decimal_leg(position: Position) -> Leg[Decimal]:
    """Return the exact figures of a position."""
    return Leg(
        position.id,
        position.symbol,
        position.side is PositionSide.LONG,
        position.entry_price,
        position.quantity,
        position.notional,
        divide(position.notional, position.leverage),
    )


def float_leg(position: Position) -> Leg[float]:
    """Return the tick path's figures of a position."""
    cost, quantity = float(position.cost), float(position.quantity)
    entry = float(position.entry_price)
    margin = divide(cost, float(position.leverage))
    return Leg(
        position.id, position.symbol, position.side is PositionSide.LONG, entry, quantity, cost, margin
    )
