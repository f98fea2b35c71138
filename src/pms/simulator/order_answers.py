"""Orders as REST and the WebSocket API answer them (Binance spec 2.2)."""

from __future__ import annotations

from typing import Any

from pms.simulator.scale import Scale
from pms.simulator.state import ZERO, Amendment, Order, text

NO_AVERAGE = "0.00"


def acted(order: Order, scale: Scale, legacy: bool, as_new: bool = False) -> dict[str, Any]:
    """Return the answer to placing, changing or cancelling: no average price and no quote sum.

    `legacy` adds both, the shape before 2026-06-30. `as_new` is the ACK form: NEW and nothing executed.
    """
    executed = scale.quantity(ZERO if as_new else order.executed)
    answer = {**_head(order, scale), "status": "NEW" if as_new else order.status, "executedQty": executed}
    answer["cumQty"] = executed
    if legacy:
        answer["avgPrice"] = NO_AVERAGE if as_new else average(order, scale)
        answer["cumQuote"] = scale.quote(ZERO if as_new else order.cum_quote)
    return answer | _tail(order, scale)


def amended(order: Order, scale: Scale, legacy: bool, modify_id: int | None) -> dict[str, Any]:
    """Return the answer to PUT order: as placing, with `pair`, and `modifyId` when one was sent."""
    sent = {} if modify_id is None else {"modifyId": modify_id}
    return acted(order, scale, legacy) | {"pair": order.symbol} | sent


def queried(order: Order, scale: Scale, listed: bool = False) -> dict[str, Any]:
    """Return the answer of a query; `listed` adds what only allOrders has."""
    answer = _head(order, scale) | {
        "status": order.status,
        "avgPrice": average(order, scale),
        "executedQty": scale.quantity(order.executed),
        "cumQuote": scale.quote(order.cum_quote),
    }
    if listed:
        answer |= {"pair": order.symbol, "cumBase": scale.quantity(order.executed)}
    return answer | _tail(order, scale) | {"time": order.created_ms}


def average(order: Order, scale: Scale) -> str:
    """Return the average price of an order, with the exchange's zero when nothing traded."""
    return scale.quote(order.average_price) if order.executed else NO_AVERAGE


def _head(order: Order, scale: Scale) -> dict[str, Any]:
    return {
        "orderId": order.order_id,
        "symbol": order.symbol,
        "clientOrderId": order.client_order_id,
        "price": scale.price(order.price),
        "origQty": scale.quantity(order.quantity),
    }


def _tail(order: Order, scale: Scale) -> dict[str, Any]:
    return {
        "timeInForce": order.time_in_force,
        "type": order.type,
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": order.side,
        "positionSide": order.position_side,
        "stopPrice": scale.price(ZERO),
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": order.original_type or order.type,
        "priceMatch": order.price_match,
        "selfTradePreventionMode": order.stp_mode,
        "goodTillDate": order.good_till_ms,
        "updateTime": order.updated_ms,
    }


def amendment(row: Amendment) -> dict[str, Any]:
    """Return one line of GET orderAmendment."""
    change: dict[str, Any] = {
        "price": {"before": text(row.price_before), "after": text(row.price_after)},
        "origQty": {"before": text(row.quantity_before), "after": text(row.quantity_after)},
        "count": row.count,
    }
    if row.modify_id is not None:
        change["modifyId"] = row.modify_id
    return {
        "amendmentId": row.amendment_id,
        "symbol": row.symbol,
        "pair": row.symbol,
        "orderId": row.order_id,
        "clientOrderId": row.client_order_id,
        "time": row.time_ms,
        "amendment": change,
        "priceMatch": row.price_match,
    }
