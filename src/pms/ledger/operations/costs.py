"""Average-cost arithmetic of positions, house and exchange mirror; exact by construction."""

from dataclasses import dataclass
from decimal import Decimal

from pms.model.money import ZERO, round_cost


@dataclass(frozen=True, slots=True)
class Held:
    """A signed holding after a fill: quantity, cost, and what the fill realised before its fee."""

    signed_quantity: Decimal
    signed_cost: Decimal
    realized: Decimal


def cost_removed(cost: Decimal, quantity: Decimal, closing: Decimal) -> Decimal:
    """Return the part of `cost` that leaves with `closing` of `quantity`; everything on a full close."""
    return cost if closing == quantity else round_cost(cost * closing / quantity)


def apply_fill(
    signed_quantity: Decimal, signed_cost: Decimal, fill_quantity: Decimal, price: Decimal
) -> Held:
    """Apply a signed fill to a signed holding: reduce at average cost first, open with the rest.

    Conservation: realized - Δ signed_cost = -(fill_quantity x price), exactly, up to the one rounding of the
    product.
    """
    product = round_cost(fill_quantity * price)
    if signed_quantity == 0 or (signed_quantity > 0) == (fill_quantity > 0):
        return Held(signed_quantity + fill_quantity, signed_cost + product, ZERO)
    closing = min(abs(fill_quantity), abs(signed_quantity))
    removed = cost_removed(signed_cost, abs(signed_quantity), closing)
    after = signed_quantity + fill_quantity
    opened = ZERO
    if abs(fill_quantity) > closing:  # turned over: the remainder opens at the fill's price
        opened = round_cost(after * price)
    cost_after = signed_cost - removed + opened
    return Held(after, cost_after, (cost_after - signed_cost) - product)


def split_fee(fee: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """Return the share of a fee that belongs to `part` of `whole`; the caller gives the rest to the other
    part."""
    return fee if part == whole else round_cost(fee * part / whole)


def step_of(*quantities: Decimal) -> Decimal:
    """Return the coarsest power of ten that all quantities are multiples of: the lot that allocations use."""
    exponent = 0
    for quantity in quantities:
        scale = quantity.normalize().as_tuple().exponent
        if isinstance(scale, int):
            exponent = min(exponent, scale)
    return Decimal(1).scaleb(exponent)


def pro_rata(quantity: Decimal, holdings: list[Decimal]) -> list[Decimal]:
    """Return shares of `quantity` <= Σ holdings proportional to them, in lots; the largest remainders get the
    rest.

    No share exceeds its holding; ties go to the earlier holding, so that the result is deterministic.
    """
    total = sum(holdings, ZERO)
    step = step_of(quantity, *holdings)
    wanted = [quantity * holding / total for holding in holdings]
    shares = [(share // step) * step for share in wanted]
    missing = int((quantity - sum(shares, ZERO)) / step)
    order = sorted(range(len(holdings)), key=lambda place: (shares[place] - wanted[place], place))
    for place in order:
        if missing == 0:
            break
        if shares[place] + step <= holdings[place]:
            shares[place] += step
            missing -= 1
    return shares
