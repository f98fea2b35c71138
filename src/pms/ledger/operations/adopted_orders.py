"""Adopts the incumbent's resting orders into the order journal, under the client order ids that they rest by.

Without a journal row their executions would count as somebody else's, and their margin as free. An adopted
order that rests against a position is a limit close, as the incumbent would have booked it (ledger spec 7.3):
what it executes beyond the position goes to the house.
"""

from dataclasses import replace
from decimal import Decimal

from pms.ledger.api import RestingRow
from pms.ledger.book import OrderRecord
from pms.ledger.operations.accounts import existing
from pms.ledger.operations.adoption import SYSTEM
from pms.ledger.operations.orders import insert_order
from pms.ledger.plan import Plan
from pms.model.ids import ClientOrderId, ExchangeOrderId
from pms.model.money import Quantity, plain, round_cost
from pms.model.order import JournalOrder, OrderCode, OrderSide, OrderState, OrderType, TimeInForce

ORDER_ADOPTED = "order.adopt"
"""The action of the audit trail that says what an order had executed before."""

_CODES = {
    "CHASE_LIMIT": OrderCode.CHASE,
    "SCALPER_LIMIT": OrderCode.SCALPER,
    "TWAP_SLICE": OrderCode.TWAP,
}
_EXCLUDED = ("SURF_LIMIT", "SURF_DELEVERAGE", "SURF_SCALP", "SCALPER_LIMIT", "CHASE_LIMIT")
"""Types whose positions the babysitter leaves alone; a plain LIMIT opens a managed one (7.3, H25)."""


def adopt_order(
    plan: Plan, row: RestingRow, client_order_id: ClientOrderId, executed: Quantity, sequence: int
) -> JournalOrder:
    """Journal a row of `pending_orders` as LIVE; `executed` was executed before the wallet was adopted, and
    is in nobody's books but the house's. An order that is journaled already stays as it is."""
    known = plan.book.find_order(client_order_id)
    if known is not None:
        return known.order
    account = existing(plan, row.sub_account_id)
    held = plan.book.open_position(account.id, row.symbol)
    order = JournalOrder(
        sequence=sequence,
        client_order_id=client_order_id,
        sub_account_id=account.id,
        symbol=row.symbol,
        side=OrderSide.opening(row.side),
        type=OrderType.LIMIT,
        time_in_force=TimeInForce.GTC,
        quantity=row.quantity,
        price=row.price,
        leverage=round_cost(row.leverage),
        reduce_only=held is not None and held.side is not row.side,
        reduce_only_wire=False,
        code=_CODES.get(row.type, OrderCode.LIMIT),
        action="LIMIT_CLOSE",
        origin="MANUAL",
        state=OrderState.LIVE,
        executed_quantity=executed,
        booked_quantity=executed,
        created_at_ms=row.created_at_ms,
        exchange_order_id=row.exchange_order_id,
        pending_order_id=row.id,
        babysitter_excluded=row.type.startswith(_EXCLUDED),
    )
    insert_order(plan, OrderRecord(order, round_cost(executed * row.price)))
    facts = {"clientOrderId": client_order_id, "executed": plain(executed)}
    plan.action(SYSTEM, ORDER_ADOPTED, row.id, None, {**facts})
    return order


def adopt_repriced(
    plan: Plan,
    old: OrderRecord,
    client_order_id: ClientOrderId,
    exchange_order_id: ExchangeOrderId,
    sequence: int,
) -> JournalOrder:
    """Let an adopted order go on as the one that the incumbent placed in its stead: the old one ends
    CANCELLED, its row of `pending_orders` follows the new exchange id (H33)."""
    before = old.order
    ended = replace(before, state=OrderState.CANCELLED, pending_order_id=None)
    plan.put_order(replace(old, order=ended))
    left = Quantity(before.quantity - before.booked_quantity)
    order = replace(
        before,
        sequence=sequence,
        client_order_id=client_order_id,
        exchange_order_id=exchange_order_id,
        quantity=left,
        executed_quantity=Quantity(Decimal(0)),
        booked_quantity=Quantity(Decimal(0)),
    )
    insert_order(plan, OrderRecord(order))
    if before.pending_order_id is not None:
        values = {"exchange_order_id": exchange_order_id}
        plan.update("pending_orders", (before.pending_order_id,), {**values})
    return order
