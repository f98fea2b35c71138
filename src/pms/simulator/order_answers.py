"""Orders as REST and the WebSocket API answer them (Binance spec 2.2)."""

from __future__ import annotations

from typing import Any

from pms.simulator.state import ZERO, Amendment, Order, money, text
from pms.simulator.wire_events import entry_text

NO_AVERAGE = "0.00"


def acted(order: Order, legacy: bool, as_new: bool = False) -> dict[str, Any]:
    """Return the answer to placing, changing or cancelling: no average price and no quote sum.

    `legacy` adds both, the shape before 2026-06-30. `as_new` is the ACK form: NEW and nothing executed.
    """
    executed = text(ZERO if as_new else order.executed)
    answer = {**_head(order), "status": "NEW" if as_new else order.status, "executedQty": executed}
    answer["cumQty"] = executed
    if legacy:
        answer["avgPrice"] = NO_AVERAGE if as_new else average(order)
        answer["cumQuote"] = text(ZERO) if as_new else money(order.cum_quote)
    return answer | _tail(order)


def amended(order: Order, legacy: bool, modify_id: int | None) -> dict[str, Any]:
    """Return the answer to PUT order: as placing, with `pair`, and `modifyId` when one was sent."""
    sent = {} if modify_id is None else {"modifyId": modify_id}
    return acted(order, legacy) | {"pair": order.symbol} | sent


def queried(order: Order, listed: bool = False) -> dict[str, Any]:
    """Return the answer of a query; `listed` adds what only allOrders has."""
    answer = _head(order) | {
        "status": order.status,
        "avgPrice": average(order),
        "executedQty": text(order.executed),
        "cumQuote": money(order.cum_quote),
    }
    if listed:
        answer |= {"pair": order.symbol, "cumBase": text(order.executed)}
    return answer | _tail(order) | {"time": order.created_ms}


def average(order: Order) -> str:
    """Return the average price of an order, with the exchange's zero when nothing traded."""
    return entry_text(order.average_price) if order.executed else NO_AVERAGE


def _head(order: Order) -> dict[str, Any]:
    return {
        "orderId": order.order_id,
        "symbol": order.symbol,
        "clientOrderId": order.client_order_id,
        "price": text(order.price),
        "origQty": text(order.quantity),
    }


def _tail(order: Order) -> dict[str, Any]:
    return {
        "timeInForce": order.time_in_force,
        "type": order.type,
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": order.side,
        "positionSide": order.position_side,
        "stopPrice": "0",
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
