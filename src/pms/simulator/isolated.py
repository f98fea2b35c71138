"""Isolated margin: what a fill moves between a position's own wallet and the cross wallet (decision 0037)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from pms.simulator.state import ZERO, round_money


@dataclass(frozen=True, slots=True)
class IsolatedFill:
    """The isolated wallet after a fill, what the cross wallet gave as margin, and what it got back."""

    wallet: Decimal
    added: Decimal
    released: Decimal


def settle_fill(
    wallet: Decimal,
    held: Decimal,
    change: Decimal,
    price: Decimal,
    leverage: int,
    cash: Decimal,
    spare: Decimal,
) -> IsolatedFill:
    """Return what a fill does to an isolated wallet.

    `held` and `change` are signed quantities, `cash` is realized profit less the fee in the margin asset and
    `spare` the equity of the cross margin before the fill. What opens gets its initial margin at the fill's
    price; what closes takes its share of the wallet along, with `cash`, to the cross wallet. A loss beyond
    the share is paid by the rest of the isolated wallet, never by the cross wallet: what is then below zero
    the insurance fund pays. An opening fee is paid by the cross wallet as far as it reaches.
    """
    closing = min(abs(change), abs(held)) if held * change < 0 else ZERO
    opening = abs(change) - closing
    added = released = ZERO
    if closing:
        share = wallet if closing == abs(held) else round_money(wallet * closing / abs(held))
        gain = share + cash
        released = max(gain, ZERO)
        wallet += min(gain, ZERO) - share
        spare, cash = spare + released, ZERO
    if opening:
        added = min(round_money(opening * price / leverage), max(spare, ZERO))
        wallet += added + min(cash + max(spare - added, ZERO), ZERO)
    return IsolatedFill(wallet, added, released)
