"""REST endpoints that read orders (Binance spec 2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pms.simulator import errors
from pms.simulator.errors import Reject, mandatory
from pms.simulator.order_answers import amendment, queried
from pms.simulator.scale import scale_of
from pms.simulator.state import Order
from pms.simulator.venue import INTEGER, Answer, Call, Endpoint, Venue

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
UNFILLED_DAYS = 3
FOUND_DAYS = 90


def known_symbol(venue: Venue, params: Mapping[str, str]) -> str | Reject:
    """Return the mandatory symbol."""
    symbol = params.get("symbol", "")
    if not symbol:
        return mandatory("symbol")
    return symbol if symbol in venue.engine.rules else errors.INVALID_SYMBOL


def find_order(venue: Venue, call: Call, params: Mapping[str, str]) -> Order | Reject | None:
    """Return the order that `orderId` (it wins) or `origClientOrderId` names, None when there is none."""
    symbol = known_symbol(venue, params)
    if isinstance(symbol, Reject):
        return symbol
    raw, client_id = params.get("orderId"), params.get("origClientOrderId")
    if raw is None and not client_id:
        return Reject(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
    if raw is not None and not INTEGER.match(raw):
        return mandatory("orderId")
    return venue.engine.find_order(call.account, symbol, int(raw) if raw else None, client_id)


def gone(order: Order, now_ms: int) -> bool:
    """Tell whether the exchange does not find an order any more (spec 2.2, GET order)."""
    if order.is_open:
        return False
    age_days = (now_ms - order.created_ms) / DAY_MS
    return age_days > FOUND_DAYS or (age_days > UNFILLED_DAYS and not order.executed)


def shown(venue: Venue, order: Order, listed: bool = False) -> dict[str, Any]:
    """Return an order as a query answers it; `listed` adds what only allOrders has."""
    return queried(order, scale_of(venue.engine.rules, order.symbol), listed)


def query_order(venue: Venue, call: Call) -> Answer:
    """GET order."""
    found = find_order(venue, call, call.params)
    if isinstance(found, Reject):
        return found
    return errors.NO_SUCH_ORDER if found is None or gone(found, call.now_ms) else shown(venue, found)


def query_open_order(venue: Venue, call: Call) -> Answer:
    """GET openOrder."""
    found = find_order(venue, call, call.params)
    if isinstance(found, Reject):
        return found
    return shown(venue, found) if found and found.is_open else errors.NO_SUCH_ORDER


def open_orders(venue: Venue, call: Call) -> Answer:
    """GET openOrders."""
    symbol = call.params.get("symbol")
    if symbol is not None and symbol not in venue.engine.rules:
        return errors.INVALID_SYMBOL
    return [shown(venue, o) for o in venue.engine.open_orders_of(call.account, symbol)]


def window(call: Call, span_ms: int) -> tuple[int, int] | Reject:
    """Return startTime and endTime, the missing ones filled in: at most `span_ms` apart, ending now."""
    start, end = call.integer("startTime"), call.integer("endTime")
    if end is None:
        end = call.now_ms if start is None else min(call.now_ms, start + span_ms)
    if start is None:
        start = end - span_ms
    if start > end and "startTime" in call.params and "endTime" in call.params:
        return Reject(-4165, "Invalid time interval")
    if end - start > span_ms:
        return Reject(-4165, f"Maximum time interval is {span_ms // DAY_MS} days")
    return start, end


def all_orders(venue: Venue, call: Call) -> Answer:
    """GET allOrders: from an id upwards, or within seven days (the last ones by default)."""
    symbol = call.params.get("symbol")
    if symbol is not None and symbol not in venue.engine.rules:
        return errors.INVALID_SYMBOL
    first = call.integer("orderId")
    timed = "startTime" in call.params or "endTime" in call.params
    span: tuple[int, int] | Reject = (0, call.now_ms)
    if first is None or timed:
        span = window(call, WEEK_MS)
    if isinstance(span, Reject):
        return span
    rows = [
        o
        for o in venue.engine.all_orders(call.account)
        if symbol in (None, o.symbol)
        and o.order_id >= (first or 0)
        and span[0] <= o.created_ms <= span[1]
        and not gone(o, call.now_ms)
    ]
    limit = call.limit(500, 1000)
    newest_wanted = first is None and "startTime" not in call.params
    chosen = rows[-limit:] if newest_wanted else rows[:limit]
    return [shown(venue, o, listed=True) for o in chosen]


def order_amendments(venue: Venue, call: Call) -> Answer:
    """GET orderAmendment: newest first, of the last three months."""
    found = find_order(venue, call, call.params)
    if isinstance(found, Reject):
        return found
    if found is None:
        return errors.NO_SUCH_ORDER
    oldest = call.now_ms - FOUND_DAYS * DAY_MS
    start, end = call.integer("startTime") or oldest, call.integer("endTime") or call.now_ms
    rows = [
        row
        for row in venue.engine.amendments_of(call.account, found.symbol)
        if row.order_id == found.order_id and max(start, oldest) <= row.time_ms <= end
    ]
    return [amendment(row) for row in rows[: call.limit(50, 100)]]


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("GET", "/fapi/v1/order"): Endpoint(query_order),
    ("GET", "/fapi/v1/openOrder"): Endpoint(query_open_order),
    ("GET", "/fapi/v1/openOrders"): Endpoint(open_orders, weight_without_symbol=40),
    ("GET", "/fapi/v1/allOrders"): Endpoint(all_orders, weight=5),
    ("GET", "/fapi/v1/orderAmendment"): Endpoint(order_amendments),
}
