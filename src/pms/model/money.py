"""Exact numbers: the decimal types of price, quantity and money, and their one context."""

from decimal import ROUND_DOWN, ROUND_HALF_UP, ROUND_UP, Context, Decimal
from typing import NewType

Price = NewType("Price", Decimal)
"""Quote asset per one base unit."""

Quantity = NewType("Quantity", Decimal)
"""Base-asset units, not negative; the side says the direction."""

Money = NewType("Money", Decimal)
"""Units of the settlement asset (USDT); signed."""

SETTLE_ASSET = "USDT"
"""The asset of every balance (decision 15: the real account is single-asset)."""

ZERO = Decimal(0)

COST_SCALE = 18
"""Decimals kept by our own NUMERIC(38,18) columns."""

CONTEXT = Context(prec=60, rounding=ROUND_HALF_UP)
"""Wide enough that products of 38-digit values are exact before the one explicit rounding."""

_COST_QUANTUM = Decimal(1).scaleb(-COST_SCALE)


def round_cost(value: Decimal) -> Decimal:
    """Round to the 18 decimals our columns hold, half away from zero."""
    return value.quantize(_COST_QUANTUM, rounding=ROUND_HALF_UP, context=CONTEXT)


def round_down(value: Decimal, step: Decimal) -> Decimal:
    """Return the largest multiple of `step` that is not above `value` (value >= 0); step 0 leaves it
    alone."""
    if step == 0:
        return value
    return _multiple(value, step, ROUND_DOWN)


def round_up(value: Decimal, step: Decimal) -> Decimal:
    """Return the smallest multiple of `step` that is not below `value` (value >= 0); step 0 leaves it
    alone."""
    if step == 0:
        return value
    return _multiple(value, step, ROUND_UP)


def round_nearest(value: Decimal, step: Decimal) -> Decimal:
    """Return the multiple of `step` nearest to `value`, ties away from zero; step 0 leaves it alone."""
    if step == 0:
        return value
    return _multiple(value, step, ROUND_HALF_UP)


def _multiple(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    # In the default context of 28 digits the quotient itself would round, up as well as down.
    count = CONTEXT.divide(value, step).to_integral_value(rounding=rounding, context=CONTEXT)
    return CONTEXT.multiply(count, step)


def plain(value: Decimal) -> str:
    """Return the shortest plain decimal text (no exponent, no trailing zeros), as the exchange expects."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text
