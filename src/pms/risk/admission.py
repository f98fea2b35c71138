"""The limits that a new exposure must keep (ledger spec 4.2 steps 4 to 8).

Generic over float and Decimal: the gate decides in Decimal; the incumbent's validation is kept in floats, for
`flip_mode=incumbent` comparisons and the golden vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic

from pms.model.refusal import Refusal, RefusalCode
from pms.risk import messages
from pms.risk.formulas import (
    Leg,
    Number,
    constant,
    divide,
    maintenance_rate_or_default,
    margin_usage_ratio,
    pnl,
    total,
    validator_view,
)

USAGE_MAX = "0.98"
"""Margin usage after a trade must stay below this (spec 4.2 step 8)."""


@dataclass(frozen=True, slots=True)
class Limits(Generic[Number]):
    """An account's rules in one number type."""

    leverage_max: Number
    notional_max: Number
    exposure_max: Number


@dataclass(frozen=True, slots=True)
class Admission(Generic[Number]):
    """A trade to be admitted. `notional` and `margin_required` are of the part that opens exposure.

    `exposure` and `margin_used` are what remains of the account beside it, without what the trade closes.
    `margin_growth` is by how much the margin of its symbol grows in the worst case.
    """

    leverage: Number
    price: Number
    notional: Number
    margin_required: Number
    exposure: Number
    margin_used: Number
    equity: Number
    maintenance_margin: Number
    available_margin: Number
    margin_growth: Number

    @property
    def margin_needed(self) -> Number:
        """What the account must have available: more than the trade's own margin when its leverage changes
        that of a position."""
        return max(self.margin_required, self.margin_growth)

    def computed(self, order_notional: Number) -> dict[str, float]:
        """Return the figures by their wire names (`computedValues`)."""
        return {
            "price": float(self.price),
            "notional": float(order_notional),
            "requiredMargin": float(self.margin_required),
            "availableBalance": float(self.available_margin),
            "currentExposure": float(self.exposure),
            "equity": float(self.equity),
            "maintenanceMargin": float(self.maintenance_margin),
        }


def limit_refusals(trade: Admission[Number], limits: Limits[Number]) -> list[Refusal]:
    """Return every limit that the trade breaks, in the order of the spec."""
    found: list[Refusal] = []
    if trade.leverage > limits.leverage_max:
        found.append(messages.leverage_exceeded(trade.leverage, limits.leverage_max))
    if trade.notional > limits.notional_max:
        found.append(messages.notional_exceeded(trade.notional, limits.notional_max))
    exposure_after = trade.exposure + trade.notional
    if exposure_after > limits.exposure_max:
        found.append(messages.exposure_exceeded(exposure_after, limits.exposure_max))
    needed = trade.margin_needed
    if needed > trade.available_margin:
        found.append(messages.margin_insufficient(needed, trade.available_margin))
    usage = margin_usage_ratio(trade.equity, trade.margin_used, trade.margin_required)
    usage_max = constant(usage, USAGE_MAX)
    if usage >= usage_max:
        found.append(messages.usage_exceeded(usage, usage_max))
    return found


@dataclass(frozen=True, slots=True)
class IncumbentAccount:
    """The account as the incumbent's validation reads it."""

    status: str
    balance: float
    maintenance_rate: float


@dataclass(frozen=True, slots=True)
class PricedLeg:
    """An open position with the mark that the validation uses for it, and its leverage."""

    leg: Leg[float]
    mark: float
    leverage: float


@dataclass(frozen=True, slots=True)
class IncumbentTrade:
    """A requested trade; `opposite_is_long` is the side of the position that it would flip."""

    symbol: str
    opposite_is_long: bool
    quantity: float
    leverage: float


@dataclass(frozen=True, slots=True)
class IncumbentVerdict:
    """Outcome of the incumbent's validation; `computed` None when a check before the price returned."""

    refusals: tuple[Refusal, ...]
    computed: dict[str, float] | None


def validate_incumbent(
    account: IncumbentAccount | None,
    limits: Limits[float],
    positions: Sequence[PricedLeg],
    trade: IncumbentTrade,
    price: float | None,
) -> IncumbentVerdict:
    """Validate a market entry as the incumbent does: the quantity is the new position, nothing is netted.

    Counts the opposite position's PnL once, where the incumbent counts it twice (H19). Numbers are not
    checked here; the gate does that first (H20).
    """
    if account is None:
        return IncumbentVerdict((messages.refusal(RefusalCode.ACCOUNT_NOT_FOUND),), None)
    if account.status != "ACTIVE":
        return IncumbentVerdict((messages.account_frozen(account.status),), None)
    if not price:
        return IncumbentVerdict((messages.refusal(RefusalCode.NO_PRICE),), None)
    notional = trade.quantity * price
    opposite = [held for held in positions if _is_opposite(held, trade)]
    kept = [held for held in positions if not _is_opposite(held, trade)]
    profit = total((_profit(held) for held in positions), 0.0)
    exposure = total((held.leg.notional for held in positions), 0.0)
    closed = opposite[0].leg.notional if opposite else 0.0
    rate = maintenance_rate_or_default(account.maintenance_rate)
    view = validator_view(account.balance, rate, profit, exposure, closed, 0.0)
    admission = Admission(
        leverage=trade.leverage,
        price=price,
        notional=notional,
        margin_required=divide(notional, trade.leverage),
        exposure=exposure - closed,
        margin_used=total((_margin(held) for held in kept), 0.0),
        equity=view.equity,
        maintenance_margin=view.maintenance_margin,
        available_margin=view.available_margin,
        margin_growth=0.0,
    )
    return IncumbentVerdict(tuple(limit_refusals(admission, limits)), admission.computed(notional))


def decimal_limits(leverage_max: Decimal, notional_max: Decimal, exposure_max: Decimal) -> Limits[Decimal]:
    """Return exact limits."""
    return Limits(leverage_max, notional_max, exposure_max)


def _is_opposite(held: PricedLeg, trade: IncumbentTrade) -> bool:
    return held.leg.symbol == trade.symbol and held.leg.is_long == trade.opposite_is_long


def _profit(held: PricedLeg) -> float:
    return pnl(held.leg.is_long, held.leg.entry, held.mark, held.leg.quantity)


def _margin(held: PricedLeg) -> float:
    return held.leg.margin or divide(held.leg.notional, held.leverage)
