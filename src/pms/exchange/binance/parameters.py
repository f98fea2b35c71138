"""Orders as the venue's parameters (Binance spec 2.2). Pure."""

from collections.abc import Sequence

import msgspec

from pms.model.ids import ClientOrderId
from pms.model.money import plain
from pms.model.order import ApprovedAmendment, ApprovedOrder, OrderType, TimeInForce

Fields = list[tuple[str, str]]


def placement(order: ApprovedOrder, native: str) -> Fields:
    """Return the parameters of POST order. MARKET has no time in force, `reduceOnly` goes only when set."""
    final_at_once = order.type is OrderType.MARKET or order.time_in_force in (
        TimeInForce.IOC,
        TimeInForce.FOK,
    )
    parameters = [
        ("symbol", native),
        ("side", order.side.value),
        ("type", order.type.value),
        ("quantity", plain(order.quantity)),
    ]
    if order.type is OrderType.LIMIT:
        if order.price is None:
            raise ValueError(f"the limit order {order.client_order_id} has no price")
        parameters += [("timeInForce", order.time_in_force.value), ("price", plain(order.price))]
    if order.reduce_only_wire:
        parameters.append(("reduceOnly", "true"))
    parameters += [
        ("selfTradePreventionMode", order.self_match.value),
        ("newClientOrderId", order.client_order_id),
        # RESULT answers with the final state of orders that cannot rest (spec 2.2); fills come by the stream.
        ("newOrderRespType", "RESULT" if final_at_once else "ACK"),
    ]
    return parameters


def amendment(change: ApprovedAmendment, native: str) -> Fields:
    """Return the parameters of PUT order: side, quantity and price are mandatory, also when they stay."""
    parameters = [
        ("symbol", native),
        ("origClientOrderId", change.client_order_id),
        ("side", change.side.value),
        ("quantity", plain(change.quantity)),
        ("price", plain(change.price)),
    ]
    if change.modify_id is not None:
        parameters.append(("modifyId", str(change.modify_id)))
    return parameters


def batch(elements: Sequence[Fields]) -> Fields:
    """Return the parameters of a batch: JSON, all values as text, as in single requests."""
    return [("batchOrders", msgspec.json.encode([dict(each) for each in elements]).decode())]


def cancels(client_order_ids: Sequence[ClientOrderId], native: str) -> Fields:
    """Return the parameters of DELETE batchOrders; the JSON has no blanks (spec 2.2)."""
    return [
        ("symbol", native),
        ("origClientOrderIdList", msgspec.json.encode(list(client_order_ids)).decode()),
    ]
