"""What must hold before an order is accepted or changed, given account and market (Binance spec 3 and 7)."""

from __future__ import annotations

from decimal import Decimal

from pms.simulator import crossing, errors, matching
from pms.simulator.desk import Desk
from pms.simulator.errors import Reject, unwanted
from pms.simulator.order_params import NewOrder
from pms.simulator.rules import (
    SymbolRules,
    check_limit,
    check_market,
    check_notional,
    check_status,
)
from pms.simulator.state import BOTH, ZERO, Account, Market, Order, closes

GOOD_TILL_LEAD_MS = 600_000
GOOD_TILL_MS_MAX = 253_402_300_799_000
POST_ONLY = frozenset({"GTX", "RPI"})


def closing(new: NewOrder) -> bool:
    """Tell whether a placement can only reduce."""
    return new.reduce_only or closes(new.side, new.position_side)


def matched_price(desk: Desk, symbol: str, side: str, mode: str) -> Decimal | Reject:
    """Return the price of a price match: a level of the other side or of the own one (spec section 7)."""
    market, tick = desk.markets[symbol], desk.rules[symbol].price.step
    kind, _, depth = mode.partition("_")
    wanted = int(depth or 1)
    facing = (side == "BUY") == (kind == "OPPONENT")  # True: the asks
    levels = {p for p, _ in matching.shown(market, "BUY" if facing else "SELL", tick)}
    levels |= {o.price for o in desk.resting_of(symbol) if (o.side == "SELL") == facing}
    best_first = sorted(levels, reverse=not facing)
    return best_first[wanted - 1] if len(best_first) >= wanted else errors.NO_DEPTH


def check_new(new: NewOrder, rules: SymbolRules, market: Market, now_ms: int) -> Reject | None:
    """Check date, precision and filters: what needs no account.

    A fired order that closes the whole position is exempt from quantities, any fired one from the lead of
    its date.
    """
    dated = new.time_in_force == "GTD" and not new.algo_id
    if dated and not now_ms + GOOD_TILL_LEAD_MS < new.good_till_ms < GOOD_TILL_MS_MAX:
        return errors.GOOD_TILL
    refused = check_status(rules, closing(new))
    if refused:
        return refused
    if new.type == "LIMIT":
        refused = check_limit(new.price, new.quantity, new.side, rules, market)
    else:
        quantity = max(rules.market_lot.low, rules.lot.step) if new.close_position else new.quantity
        refused = check_market(quantity, new.side, rules, market)
    if refused or closing(new):
        return refused
    return check_notional(new.price or market.mark, new.quantity, rules)


def check_position_side(account: Account, new: NewOrder) -> Reject | None:
    """-4061 when the side does not fit the mode; reduceOnly belongs to one-way mode (-1106)."""
    if (new.position_side != BOTH) != account.hedge_mode:
        return errors.POSITION_SIDE
    return unwanted("reduceOnly") if account.hedge_mode and new.reduce_only_sent else None


def closing_room(desk: Desk, account: Account, order: NewOrder | Order) -> tuple[Decimal, Decimal]:
    """Return (what is held against the order, what of it no other closing order covers yet)."""
    held = desk.clearing.position_of(account, order.symbol, order.position_side).quantity
    if not held or (held > 0) == (order.side == "BUY"):
        return ZERO, ZERO
    own_id = order.order_id if isinstance(order, Order) else 0
    others = (
        o.remaining
        for o in desk.orders.open_of(account, order.symbol)
        if o.closes
        and o.side == order.side
        and o.position_side == order.position_side
        and o.order_id != own_id
    )
    return abs(held), max(ZERO, abs(held) - sum(others, ZERO))


def closing_quantity(desk: Desk, account: Account, new: NewOrder) -> Decimal | Reject:
    """Return the quantity of a closing order: cut to what is left to close, or refused.

    One that closes the whole position goes before the others, which are cut by its fills (spec 5.3, er 4).
    """
    held, room = closing_room(desk, account, new)
    if new.close_position:
        return held or errors.REDUCE_ONLY
    if not room:
        return errors.REDUCE_ONLY
    if new.reduce_only or new.algo_id:
        return min(new.quantity, room)
    return new.quantity if new.quantity <= room else errors.NOT_SUFFICIENT


def would_take(desk: Desk, symbol: str, side: str, price: Decimal, own_id: int = 0) -> bool:
    """Tell whether a limit order would meet the market or an own resting order at once."""
    if matching.would_take(desk.markets[symbol], side, price):
        return True
    others = [o for o in desk.resting_of(symbol) if o.order_id != own_id]
    best = crossing.best_own(side, others)
    return best is not None and (price >= best if side == "BUY" else price <= best)


def check_execution(desk: Desk, order: Order) -> Reject | None:
    """-5022 for a post-only order that would take, -5021 for FOK that cannot be filled whole."""
    if order.time_in_force in POST_ONLY and would_take(desk, order.symbol, order.side, order.price):
        return errors.WOULD_TAKE
    if order.time_in_force == "FOK":
        tick = desk.rules[order.symbol].price.step
        market, own = desk.markets[order.symbol], desk.resting_of(order.symbol)
        if not crossing.fillable(market, order.side, order.quantity, tick, order.price, own):
            return errors.FOK_KILLED
    return None
