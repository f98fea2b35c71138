"""What resting and in-flight orders may add to an account: worst-case exposure and margin (decision 18).

Orders of one side fill together in the worst case, and the two sides of a symbol never both: closing comes
first, then opening (decision 16). Reduce-only orders add nothing; they take closing capacity instead.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pms.model.account import Position
from pms.model.money import ZERO
from pms.model.order import OrderSide
from pms.model.symbol import Symbol


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that may still execute. `price` is its limit price, or the mark at approval for MARKET."""

    symbol: Symbol
    side: OrderSide
    remaining: Decimal
    price: Decimal
    leverage: Decimal
    reduce_only: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """Exposure (entry notional) and margin in USDT."""

    exposure: Decimal = ZERO
    margin: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class SideOutcome:
    """One symbol after everything on one side filled. `opening` is the quantity beyond the closing
    capacity.
    """

    load: Load
    opening: Decimal
    ordered: Decimal


def closing_capacity(position: Position | None, side: OrderSide, taken: Decimal) -> Decimal:
    """Return how much of the position an order of that side can still close."""
    if position is None or OrderSide.closing(position.side) is not side:
        return ZERO
    return max(ZERO, position.quantity - taken)


def taken_capacity(orders: Iterable[OpenOrder], symbol: Symbol, side: OrderSide) -> Decimal:
    """Return Σ remaining of the reduce-only orders of one side of a symbol."""
    return sum(
        (
            order.remaining
            for order in orders
            if order.symbol == symbol and order.side is side and order.reduce_only
        ),
        ZERO,
    )


def side_outcome(
    position: Position | None, orders: Sequence[OpenOrder], symbol: Symbol, side: OrderSide, taken: Decimal
) -> SideOutcome:
    """Return the symbol's load once all orders of that side that may open have filled."""
    mine = [
        order for order in orders if order.symbol == symbol and order.side is side and not order.reduce_only
    ]
    ordered = sum((order.remaining for order in mine), ZERO)
    closed = min(ordered, closing_capacity(position, side, taken))
    opened = _opened_value([(order.price, order.remaining) for order in mine], closed)
    held = kept_load(position, closed)
    # Each order at its own leverage, as the incumbent counts (ledger spec 4.2) ...
    margin = held.margin + _opened_value(
        [(order.price / order.leverage, order.remaining) for order in mine], closed
    )
    if opened:
        # ... but whichever of them fills last gives its leverage to the whole position (ledger spec 5.2).
        adds = position is not None and OrderSide.opening(position.side) is side
        whole = (held.exposure if adds else ZERO) + opened
        margin = max(margin, whole / min(order.leverage for order in mine))
    return SideOutcome(Load(held.exposure + opened, margin), ordered - closed, ordered)


def kept_load(position: Position | None, closed: Decimal) -> Load:
    """Return the load of a position after `closed` of it is gone."""
    if position is None or not position.quantity:
        return Load()
    kept = (position.quantity - closed) / position.quantity
    return Load(position.notional * kept, position.margin * kept)


def _opened_value(orders: Sequence[tuple[Decimal, Decimal]], closed: Decimal) -> Decimal:
    """Return Σ value of (value per unit, quantity) beyond `closed`, when the cheapest orders do the
    closing."""
    value = ZERO
    for unit, quantity in sorted(orders):
        used = min(closed, quantity)
        closed -= used
        value += unit * (quantity - used)
    return value


def worst_load(position: Position | None, orders: Sequence[OpenOrder], symbol: Symbol) -> Load:
    """Return the heaviest outcome of a symbol: nothing fills, all bids fill, or all asks fill."""
    outcomes = [kept_load(position, ZERO)]
    for side in OrderSide:
        taken = taken_capacity(orders, symbol, side)
        outcomes.append(side_outcome(position, orders, symbol, side, taken).load)
    return Load(max(load.exposure for load in outcomes), max(load.margin for load in outcomes))
