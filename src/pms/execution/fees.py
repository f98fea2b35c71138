"""Commissions in the account's asset, converted at a recorded price (decision 8)."""

from collections.abc import Callable
from decimal import Decimal

from pms.model.fill import ExchangeFill
from pms.model.money import Money
from pms.model.symbol import Symbol

ESTIMATED_RATE = Decimal("0.0005")
"""Taker rate of the regular tier; stands in when a commission in another asset has no price yet (spec
5.0.1)."""


def fee_in_settle_asset(
    fill: ExchangeFill, settle_asset: str, mark: Callable[[Symbol], float | None]
) -> tuple[Money, bool]:
    """Return the commission in the settle asset (positive = paid) and whether it is an estimate.

    The difference between an estimate and what the exchange took from its wallet stays visible as the audit's
    conservation residue; it is never invented for an account.
    """
    if fill.fee == 0 or fill.fee_asset in ("", settle_asset):
        return Money(fill.fee), False
    price = mark(Symbol(f"{fill.fee_asset}/{settle_asset}:{settle_asset}"))
    if price is not None and price > 0:
        return Money(fill.fee * Decimal(repr(price))), False
    return Money(fill.price * fill.quantity * ESTIMATED_RATE), True
