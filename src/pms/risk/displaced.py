"""Which resting orders must go because the position that they would have closed is gone.

A resting order that closes is exempt from the limits, and one that flips counts only for what it opens
(decision 17). Closing the position by another way is always possible (decision 13), and turns such orders
into entries that nobody has admitted at that size. Those that the account's limits do not carry any more are
cancelled, newest first; the others stay.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from pms.model.account import RiskRules, SubAccount
from pms.model.money import ZERO
from pms.model.order import OrderSide
from pms.model.symbol import Symbol
from pms.risk.admission import USAGE_MAX
from pms.risk.formulas import margin_usage_ratio
from pms.risk.gate_values import MarkedPosition
from pms.risk.reservations import Load, OpenOrder, worst_load


def displaced_orders(
    account: SubAccount,
    rules: RiskRules,
    positions: Sequence[MarkedPosition],
    orders: Sequence[OpenOrder],
    symbol: Symbol,
    side: OrderSide,
) -> tuple[int, ...]:
    """Return the indices of the orders to cancel, newest first; `orders` are the account's, oldest first.

    Only orders of that symbol and side that may open are looked at: those that a close has displaced.
    """
    kept = dict(enumerate(orders))
    gone: list[int] = []
    for index in reversed(range(len(orders))):
        if within_limits(account, rules, positions, tuple(kept.values())):
            break
        order = orders[index]
        if order.symbol != symbol or order.side is not side or order.reduce_only:
            continue
        others = tuple(kept[other] for other in kept if other != index)
        # One that still only closes adds nothing: an account in loss keeps its exits.
        if total_load(positions, others) != total_load(positions, tuple(kept.values())):
            gone.append(index)
            del kept[index]
    return tuple(gone)


def within_limits(
    account: SubAccount,
    rules: RiskRules,
    positions: Sequence[MarkedPosition],
    orders: Sequence[OpenOrder],
) -> bool:
    """True when exposure and margin usage keep their bounds whichever of the orders fill."""
    load = total_load(positions, orders)
    equity = account.cash + sum((marked.unrealized_pnl for marked in positions), ZERO)
    if load.exposure > rules.exposure_max:
        return False
    return not load.margin or margin_usage_ratio(equity, load.margin, ZERO) < Decimal(USAGE_MAX)


def total_load(positions: Iterable[MarkedPosition], orders: Sequence[OpenOrder]) -> Load:
    """Return Σ worst case of every symbol with a position or an order."""
    held = {marked.position.symbol: marked.position for marked in positions}
    loads = [
        worst_load(held.get(symbol), orders, symbol)
        for symbol in dict.fromkeys([*held, *(order.symbol for order in orders)])
    ]
    exposure = sum((load.exposure for load in loads), ZERO)
    return Load(exposure, sum((load.margin for load in loads), ZERO))
