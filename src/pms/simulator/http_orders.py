"""REST endpoints that place, change and cancel orders (Binance spec 2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pms.exchange.messages import ErrorBody, decode_message
from pms.simulator import errors, http_algo, http_order_queries
from pms.simulator.errors import Reject, mandatory
from pms.simulator.http_order_queries import find_order, known_symbol
from pms.simulator.order_answers import acted, amended
from pms.simulator.order_flow import IMMEDIATE
from pms.simulator.order_params import parse_change, parse_order
from pms.simulator.scale import scale_of
from pms.simulator.venue import Answer, Call, Endpoint, Venue

PLACE_MAX = 5
CANCEL_MAX = 10
OrderAnswer = dict[str, Any]


def _place(venue: Venue, call: Call, params: Mapping[str, str]) -> OrderAnswer | Reject:
    parsed = parse_order(params, venue.engine.rules)
    if isinstance(parsed, Reject):
        return parsed
    placed = venue.engine.place(call.account, parsed, call.now_ms)
    if isinstance(placed, Reject):
        return placed
    scale = scale_of(venue.engine.rules, placed.symbol)
    immediate = placed.type == "MARKET" or placed.time_in_force in IMMEDIATE
    final = immediate and parsed.response == "RESULT"
    return acted(placed, scale, venue.config.order_fields_before_2026_06, as_new=not final)


def place_order(venue: Venue, call: Call) -> Answer:
    """POST order."""
    return _place(venue, call, call.params)


def test_order(venue: Venue, call: Call) -> Answer:
    """POST order/test: every check of POST order, and nothing happens."""
    parsed = parse_order(call.params, venue.engine.rules)
    if isinstance(parsed, Reject):
        return parsed
    order = venue.engine.check(call.account, parsed, call.now_ms)
    if isinstance(order, Reject):
        return order
    return acted(order, scale_of(venue.engine.rules, order.symbol), legacy=True, as_new=True)


def amend_order(venue: Venue, call: Call) -> Answer:
    """PUT order."""
    return _amend(venue, call, call.params)


def _amend(venue: Venue, call: Call, params: Mapping[str, str]) -> OrderAnswer | Reject:
    change = parse_change(params)
    if isinstance(change, Reject):
        return change
    found = find_order(venue, call, params)
    if isinstance(found, Reject):
        return found
    if found is None:
        return errors.NO_SUCH_ORDER
    order = venue.engine.amend(call.account, found, change, call.now_ms)
    if isinstance(order, Reject):
        return order
    scale = scale_of(venue.engine.rules, order.symbol)
    return amended(order, scale, venue.config.order_fields_before_2026_06, change.modify_id)


def cancel_order(venue: Venue, call: Call) -> Answer:
    """DELETE order."""
    return _cancel(venue, call, call.params)


def _cancel(venue: Venue, call: Call, params: Mapping[str, str]) -> OrderAnswer | Reject:
    found = find_order(venue, call, params)
    if isinstance(found, Reject):
        return found
    cancelled = venue.engine.cancel(call.account, found, call.now_ms) if found else errors.UNKNOWN_ORDER
    if isinstance(cancelled, Reject):
        return cancelled
    scale = scale_of(venue.engine.rules, cancelled.symbol)
    return acted(cancelled, scale, venue.config.order_fields_before_2026_06)


def cancel_all(venue: Venue, call: Call) -> Answer:
    """DELETE allOpenOrders of a symbol; conditional orders have an endpoint of their own."""
    symbol = known_symbol(venue, call.params)
    if isinstance(symbol, Reject):
        return symbol
    venue.engine.cancel_all(call.account, symbol, call.now_ms)
    return http_algo.ALL_CANCELLED


def countdown_cancel_all(venue: Venue, call: Call) -> Answer:
    """POST countdownCancelAll: a dead man's switch of one symbol; 0 stops it."""
    symbol = known_symbol(venue, call.params)
    if isinstance(symbol, Reject):
        return symbol
    countdown_ms = call.integer("countdownTime")
    if countdown_ms is None or countdown_ms < 0:
        return mandatory("countdownTime")
    venue.engine.set_countdown(call.account, symbol, countdown_ms, call.now_ms)
    return {"symbol": symbol, "countdownTime": str(countdown_ms)}


# -- batches


_json_decoder = msgspec.json.Decoder()


def json_list(raw: str | None) -> list[Any] | None:
    """Return a JSON array, None for anything else."""
    try:
        value = decode_message(_json_decoder, raw or "")
    except msgspec.DecodeError:
        return None
    return value if isinstance(value, list) else None


def _elements(params: Mapping[str, str]) -> list[dict[str, str]] | Reject:
    """Return the elements of `batchOrders` as parameters; JSON booleans and numbers are accepted."""
    rows = json_list(params.get("batchOrders"))
    if rows is None or not all(isinstance(row, dict) for row in rows):
        return mandatory("batchOrders")
    if not 1 <= len(rows) <= PLACE_MAX:
        return errors.BATCH_SIZE
    return [{k: _plain(v) for k, v in row.items() if v is not None} for row in rows]


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def place_batch(venue: Venue, call: Call) -> Answer:
    """POST batchOrders: at most five, each with its own answer, in request order."""
    elements = _elements(call.params)
    if isinstance(elements, Reject):
        return elements
    return [_batch_answer(_place(venue, call, params)) for params in elements]


def amend_batch(venue: Venue, call: Call) -> Answer:
    """PUT batchOrders: at most five, as PUT order."""
    elements = _elements(call.params)
    if isinstance(elements, Reject):
        return elements
    return [_batch_answer(_amend(venue, call, params)) for params in elements]


def cancel_batch(venue: Venue, call: Call) -> Answer:
    """DELETE batchOrders: at most ten of one symbol, both spellings of the list names."""
    params = call.params
    symbol = known_symbol(venue, params)
    if isinstance(symbol, Reject):
        return symbol
    by_id = params.get("orderIdList") or params.get("orderidlist")
    by_client = params.get("origClientOrderIdList") or params.get("origclientorderidlist")
    elements = json_list(by_id or by_client)
    wanted = int if by_id else str
    if elements is None or not all(type(element) is wanted for element in elements):
        return mandatory("orderIdList" if by_id or not by_client else "origClientOrderIdList")
    if not 1 <= len(elements) <= CANCEL_MAX:
        return errors.CANCEL_SIZE
    name = "orderId" if by_id else "origClientOrderId"
    return [_batch_answer(_cancel(venue, call, {"symbol": symbol, name: str(raw)})) for raw in elements]


def _batch_answer(answer: OrderAnswer | Reject) -> Answer:
    return ErrorBody(answer.code, answer.msg) if isinstance(answer, Reject) else answer


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("POST", "/fapi/v1/order"): Endpoint(place_order, weight=0, orders_10s=1, orders_1m=1),
    ("POST", "/fapi/v1/order/test"): Endpoint(test_order, weight=0),
    ("PUT", "/fapi/v1/order"): Endpoint(amend_order, weight=0, orders_10s=1, orders_1m=1),
    ("DELETE", "/fapi/v1/order"): Endpoint(cancel_order),
    ("DELETE", "/fapi/v1/allOpenOrders"): Endpoint(cancel_all),
    ("POST", "/fapi/v1/countdownCancelAll"): Endpoint(countdown_cancel_all, weight=10),
    ("POST", "/fapi/v1/batchOrders"): Endpoint(place_batch, weight=5, orders_10s=5, orders_1m=1),
    ("PUT", "/fapi/v1/batchOrders"): Endpoint(amend_batch, weight=5, orders_10s=5, orders_1m=1),
    ("DELETE", "/fapi/v1/batchOrders"): Endpoint(cancel_batch),
    **http_order_queries.ENDPOINTS,
    **http_algo.ENDPOINTS,
}
