"""REST endpoints for orders (Binance spec 2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pms.exchange import messages as wire
from pms.simulator import errors
from pms.simulator.errors import Reject, mandatory
from pms.simulator.rules import parse_order
from pms.simulator.state import ZERO, Order, money, text
from pms.simulator.venue import INTEGER, Answer, Call, Endpoint, Venue
from pms.simulator.wire_events import entry_text

WEEK_MS = 7 * 86_400_000


def order_answer(order: Order, query: bool, legacy: bool = False, as_new: bool = False) -> wire.OrderAnswer:
    """Return an order as the exchange answers it.

    Queries carry avgPrice, cumQuote and time; placing and cancelling carry cumQty instead, and the average
    only with `legacy`, the shape before 2026-06-30. `as_new` is the ACK form: NEW and nothing executed.
    """
    executed = ZERO if as_new else order.executed
    prices = query or legacy
    return wire.OrderAnswer(
        order_id=order.order_id,
        symbol=order.symbol,
        status="NEW" if as_new else order.status,
        client_order_id=order.client_order_id,
        price=text(order.price),
        avg_price=("0.00" if as_new else entry_text(order.average_price)) if prices else None,
        orig_qty=text(order.quantity),
        executed_qty=text(executed),
        cum_qty=None if query else text(executed),
        cum_quote=(text(ZERO) if as_new else money(order.cum_quote)) if prices else None,
        time_in_force=order.time_in_force,
        type=order.type,
        reduce_only=order.reduce_only,
        close_position=False,
        side=order.side,
        position_side="BOTH",
        stop_price="0",
        working_type="CONTRACT_PRICE",
        price_protect=False,
        orig_type=order.type,
        price_match=order.price_match,
        self_trade_prevention_mode=order.stp_mode,
        good_till_date=order.good_till_ms,
        time=order.created_ms if query else None,
        update_time=order.updated_ms,
    )


def _place(venue: Venue, call: Call, params: Mapping[str, str]) -> wire.OrderAnswer | Reject:
    parsed = parse_order(params, venue.engine.rules)
    if isinstance(parsed, Reject):
        return parsed
    if params.get("positionSide", "BOTH") != "BOTH":
        return errors.POSITION_SIDE
    placed = venue.engine.place(call.account, parsed, call.now_ms)
    if isinstance(placed, Reject):
        return placed
    immediate = placed.type == "MARKET" or placed.time_in_force in ("IOC", "FOK")
    final = immediate and parsed.response == "RESULT"
    return order_answer(placed, False, venue.config.order_fields_before_2026_06, as_new=not final)


def place_order(venue: Venue, call: Call) -> Answer:
    """POST order."""
    return _place(venue, call, call.params)


def test_order(venue: Venue, call: Call) -> Answer:
    """POST order/test: the checks that need no account."""
    parsed = parse_order(call.params, venue.engine.rules)
    return parsed if isinstance(parsed, Reject) else {}


def _find(venue: Venue, call: Call, params: Mapping[str, str]) -> Order | Reject | None:
    symbol = params.get("symbol", "")
    if not symbol:
        return mandatory("symbol")
    if symbol not in venue.engine.rules:
        return errors.INVALID_SYMBOL
    raw, client_id = params.get("orderId"), params.get("origClientOrderId")
    if raw is None and not client_id:
        return Reject(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
    if raw is not None and not INTEGER.match(raw):
        return mandatory("orderId")
    return venue.engine.find_order(call.account, symbol, int(raw) if raw else None, client_id)


def query_order(venue: Venue, call: Call) -> Answer:
    """GET order."""
    found = _find(venue, call, call.params)
    if isinstance(found, Reject):
        return found
    return order_answer(found, query=True) if found else errors.NO_SUCH_ORDER


def query_open_order(venue: Venue, call: Call) -> Answer:
    """GET openOrder."""
    found = _find(venue, call, call.params)
    if isinstance(found, Reject):
        return found
    return order_answer(found, query=True) if found and found.is_open else errors.NO_SUCH_ORDER


def cancel_order(venue: Venue, call: Call) -> Answer:
    """DELETE order."""
    return _cancel(venue, call, call.params)


def _cancel(venue: Venue, call: Call, params: Mapping[str, str]) -> wire.OrderAnswer | Reject:
    found = _find(venue, call, params)
    if isinstance(found, Reject):
        return found
    cancelled = venue.engine.cancel(call.account, found, call.now_ms) if found else errors.UNKNOWN_ORDER
    if isinstance(cancelled, Reject):
        return cancelled
    return order_answer(cancelled, False, venue.config.order_fields_before_2026_06)


def open_orders(venue: Venue, call: Call) -> Answer:
    """GET openOrders."""
    symbol = call.params.get("symbol")
    if symbol is not None and symbol not in venue.engine.rules:
        return errors.INVALID_SYMBOL
    return [order_answer(o, query=True) for o in venue.engine.open_orders_of(call.account, symbol)]


def all_orders(venue: Venue, call: Call) -> Answer:
    """GET allOrders: from an id upwards, or the last seven days."""
    symbol = call.params.get("symbol")
    if symbol is not None and symbol not in venue.engine.rules:
        return errors.INVALID_SYMBOL
    first = call.integer("orderId")
    start = call.integer("startTime") or (0 if first is not None else call.now_ms - WEEK_MS)
    end = call.integer("endTime") or call.now_ms
    limit = call.limit(500, 1000)
    rows = [
        o
        for o in venue.engine.all_orders(call.account)
        if symbol in (None, o.symbol) and o.order_id >= (first or 0) and start <= o.created_ms <= end
    ]
    newest_wanted = first is None and "startTime" not in call.params
    chosen = rows[-limit:] if newest_wanted else rows[:limit]
    return [order_answer(o, query=True) for o in chosen]


def cancel_all(venue: Venue, call: Call) -> Answer:
    """DELETE allOpenOrders of a symbol."""
    symbol = call.params.get("symbol")
    if not symbol:
        return mandatory("symbol")
    if symbol not in venue.engine.rules:
        return errors.INVALID_SYMBOL
    for order in venue.engine.open_orders_of(call.account, symbol):
        venue.engine.cancel(call.account, order, call.now_ms)
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


def _json_list(raw: str | None) -> list[Any] | None:
    try:
        value = msgspec.json.decode(raw or "")
    except msgspec.DecodeError:
        return None
    return value if isinstance(value, list) else None


def _element(raw: object) -> dict[str, str]:
    """Return a batch element as parameters; JSON booleans and numbers are accepted."""
    if not isinstance(raw, dict):
        return {}
    return {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in raw.items() if v is not None}


def place_batch(venue: Venue, call: Call) -> Answer:
    """POST batchOrders: at most five, each with its own answer, in request order."""
    elements = _json_list(call.params.get("batchOrders"))
    if elements is None:
        return mandatory("batchOrders")
    if not 1 <= len(elements) <= 5:
        return Reject(-4082, "Invalid number of batch place orders.")
    return [_batch_answer(_place(venue, call, _element(raw))) for raw in elements]


def cancel_batch(venue: Venue, call: Call) -> Answer:
    """DELETE batchOrders: at most ten ids, both spellings of the list names."""
    params = call.params
    by_id = params.get("orderIdList") or params.get("orderidlist")
    by_client = params.get("origClientOrderIdList") or params.get("origclientorderidlist")
    elements = _json_list(by_id or by_client)
    if elements is None:
        return mandatory("orderIdList")
    if not 1 <= len(elements) <= 10:
        return Reject(-4032, "Exceed maximum cancel order size.")
    name = "orderId" if by_id else "origClientOrderId"
    symbol = params.get("symbol", "")
    return [_batch_answer(_cancel(venue, call, {"symbol": symbol, name: str(raw)})) for raw in elements]


def _batch_answer(answer: wire.OrderAnswer | Reject) -> Answer:
    return wire.ErrorBody(answer.code, answer.msg) if isinstance(answer, Reject) else answer


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("POST", "/fapi/v1/order"): Endpoint(place_order, weight=0, orders_10s=1, orders_1m=1),
    ("POST", "/fapi/v1/order/test"): Endpoint(test_order, weight=0),
    ("GET", "/fapi/v1/order"): Endpoint(query_order),
    ("DELETE", "/fapi/v1/order"): Endpoint(cancel_order),
    ("GET", "/fapi/v1/openOrder"): Endpoint(query_open_order),
    ("GET", "/fapi/v1/openOrders"): Endpoint(open_orders, weight_without_symbol=40),
    ("GET", "/fapi/v1/allOrders"): Endpoint(all_orders, weight=5),
    ("DELETE", "/fapi/v1/allOpenOrders"): Endpoint(cancel_all),
    ("POST", "/fapi/v1/batchOrders"): Endpoint(place_batch, weight=5, orders_10s=5, orders_1m=1),
    ("DELETE", "/fapi/v1/batchOrders"): Endpoint(cancel_batch),
}
