"""REST endpoints of conditional orders (Binance spec 2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pms.simulator import errors
from pms.simulator.algo_params import TRAILING, parse_algo
from pms.simulator.errors import Reject, mandatory
from pms.simulator.http_order_queries import WEEK_MS, known_symbol, window
from pms.simulator.order_answers import average
from pms.simulator.scale import scale_of
from pms.simulator.state import AlgoOrder, text
from pms.simulator.venue import INTEGER, Answer, Call, Endpoint, Venue

ALL_CANCELLED = {"code": 200, "msg": "The operation of cancel all open order is done."}


def algo_answer(algo: AlgoOrder) -> dict[str, Any]:
    """Return a conditional order as placing answers it."""
    trailing = algo.type == TRAILING
    return {
        "algoId": algo.algo_id,
        "clientAlgoId": algo.client_algo_id,
        "algoType": "CONDITIONAL",
        "orderType": algo.type,
        "symbol": algo.symbol,
        "side": algo.side,
        "positionSide": algo.position_side,
        "timeInForce": algo.time_in_force,
        "quantity": text(algo.quantity),
        "algoStatus": algo.status,
        "triggerPrice": text(algo.trigger_price),
        "price": text(algo.price),
        "icebergQuantity": None,
        "selfTradePreventionMode": algo.stp_mode,
        "workingType": algo.working_type,
        "priceMatch": algo.price_match,
        "closePosition": algo.close_position,
        "priceProtect": algo.price_protect,
        "reduceOnly": algo.reduce_only,
        "activatePrice": text(algo.activate_price) if trailing and algo.activate_price else "",
        "callbackRate": text(algo.callback_rate) if trailing else "",
        "createTime": algo.created_ms,
        "updateTime": algo.updated_ms,
        "triggerTime": algo.triggered_ms,
        "goodTillDate": algo.good_till_ms,
    }


def algo_queried(venue: Venue, call: Call, algo: AlgoOrder) -> dict[str, Any]:
    """Return a conditional order as queries answer it: with the ordinary order it became."""
    order = venue.engine.find_order(call.account, algo.symbol, algo.order_id, None) if algo.order_id else None
    limit = algo.type in ("STOP", "TAKE_PROFIT")
    actual = {
        "actualOrderId": str(algo.order_id) if algo.order_id else "",
        "actualPrice": average(order, scale_of(venue.engine.rules, algo.symbol)) if order else "0.00000",
        "actualType": "LIMIT" if limit else "MARKET",
        "actualQty": text(order.executed) if order else "0",
        "tpTriggerPrice": "0.000",
        "tpPrice": "0.000",
        "slTriggerPrice": "0.000",
        "slPrice": "0.000",
        "tpOrderType": "",
    }
    return algo_answer(algo) | actual


def place_algo(venue: Venue, call: Call) -> Answer:
    """POST algoOrder."""
    parsed = parse_algo(call.params, venue.engine.rules)
    if isinstance(parsed, Reject):
        return parsed
    placed = venue.engine.place_algo(call.account, parsed, call.now_ms)
    return placed if isinstance(placed, Reject) else algo_answer(placed)


def _find(venue: Venue, call: Call, params: Mapping[str, str]) -> AlgoOrder | Reject | None:
    raw, client_id = params.get("algoId"), params.get("clientAlgoId")
    if raw is None and not client_id:
        return Reject(-1102, "Param 'algoid' or 'clientalgoid' must be sent, but both were empty/null!")
    if raw is not None and not INTEGER.match(raw):
        return mandatory("algoId")
    return venue.engine.find_algo(call.account, int(raw) if raw else None, client_id)


def cancel_algo(venue: Venue, call: Call) -> Answer:
    """DELETE algoOrder."""
    found = _find(venue, call, call.params)
    if isinstance(found, Reject):
        return found
    cancelled = venue.engine.cancel_algo(call.account, found, call.now_ms) if found else errors.UNKNOWN_ORDER
    if isinstance(cancelled, Reject):
        return cancelled
    named = {"algoId": cancelled.algo_id, "clientAlgoId": cancelled.client_algo_id}
    return named | {"code": "200", "msg": "success"}


def query_algo(venue: Venue, call: Call) -> Answer:
    """GET algoOrder."""
    found = _find(venue, call, call.params)
    if isinstance(found, Reject):
        return found
    return algo_queried(venue, call, found) if found else errors.NO_SUCH_ORDER


def open_algos(venue: Venue, call: Call) -> Answer:
    """GET openAlgoOrders."""
    symbol, wanted = call.params.get("symbol"), call.integer("algoId")
    if symbol is not None and symbol not in venue.engine.rules:
        return errors.INVALID_SYMBOL
    rows = venue.engine.open_algos_of(call.account, symbol)
    return [algo_queried(venue, call, a) for a in rows if wanted in (None, a.algo_id)]


def all_algos(venue: Venue, call: Call) -> Answer:
    """GET allAlgoOrders: from an id upwards, or within seven days; `page` counts from 1."""
    symbol = known_symbol(venue, call.params)
    if isinstance(symbol, Reject):
        return symbol
    first = call.integer("algoId")
    timed = "startTime" in call.params or "endTime" in call.params
    span: tuple[int, int] | Reject = (0, call.now_ms)
    if first is None or timed:
        span = window(call, WEEK_MS)
    if isinstance(span, Reject):
        return span
    rows = [
        a
        for a in venue.engine.all_algos(call.account)
        if a.symbol == symbol and a.algo_id >= (first or 0) and span[0] <= a.created_ms <= span[1]
    ]
    limit, page = call.limit(500, 1000), call.integer("page")
    if page is not None:
        rows = rows[max(0, page - 1) * limit :]
    newest_wanted = first is None and page is None and "startTime" not in call.params
    chosen = rows[-limit:] if newest_wanted else rows[:limit]
    return [algo_queried(venue, call, a) for a in chosen]


def cancel_all_algos(venue: Venue, call: Call) -> Answer:
    """DELETE algoOpenOrders of a symbol."""
    symbol = known_symbol(venue, call.params)
    if isinstance(symbol, Reject):
        return symbol
    for algo in venue.engine.open_algos_of(call.account, symbol):
        venue.engine.cancel_algo(call.account, algo, call.now_ms)
    return ALL_CANCELLED


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("POST", "/fapi/v1/algoOrder"): Endpoint(place_algo, weight=0, orders_10s=1, orders_1m=1),
    ("DELETE", "/fapi/v1/algoOrder"): Endpoint(cancel_algo),
    ("GET", "/fapi/v1/algoOrder"): Endpoint(query_algo),
    ("GET", "/fapi/v1/openAlgoOrders"): Endpoint(open_algos, weight_without_symbol=40),
    ("GET", "/fapi/v1/allAlgoOrders"): Endpoint(all_algos, weight=5),
    ("DELETE", "/fapi/v1/algoOpenOrders"): Endpoint(cancel_all_algos),
}
