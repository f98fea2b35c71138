"""The order journal's transitions: intent, acknowledgement, unknown, refusal, and the end (decision 2)."""

from dataclasses import replace
from decimal import Decimal

from pms.ledger.api import NewIntent
from pms.ledger.book import ExchangeMirror, OrderRecord
from pms.ledger.errors import AccountNotFoundError, OrderNotFoundError
from pms.ledger.operations.pool_rows import record_pool
from pms.ledger.plan import Plan, order_values
from pms.ledger.rendering import Cell, json_number
from pms.model.event import JsonValue
from pms.model.exchange_close import NEVER_REPLACED, NEVER_REPLACED_CODES
from pms.model.ids import ClientOrderId, ExchangeOrderId, PendingOrderId
from pms.model.money import ZERO, Price, Quantity, round_cost
from pms.model.order import ExchangeOrderStatus, JournalOrder, OrderCode, OrderState, OrderType
from pms.model.order_life import Denied, OrderInput, OrderLife
from pms.model.symbol import Symbol

_PENDING_TYPE = {
    OrderCode.CHASE: "CHASE_LIMIT",
    OrderCode.SCALPER: "SCALPER_LIMIT",
    OrderCode.TWAP: "TWAP_SLICE",
    OrderCode.TWAP_BASKET: "TWAP_SLICE",
}
_QUIET_PENDING = frozenset({"CHASE_LIMIT", "SURF_LIMIT", "TWAP_SLICE"})
# The incumbent's closes send position_closed only, and TWAP lots are silent (ledger spec 5.0.5, 5.4).
_QUIET_MARKET = frozenset(
    {
        OrderCode.CLOSE,
        OrderCode.LIQUIDATION,
        OrderCode.RECONCILE,
        OrderCode.TRAILING_STOP,
        OrderCode.TWAP,
        OrderCode.TWAP_BASKET,
    }
)


def record_intent(plan: Plan, intent: NewIntent) -> JournalOrder:
    """Journal an order before it is sent. Raises AccountNotFoundError."""
    if intent.sub_account_id is not None and plan.book.account(intent.sub_account_id) is None:
        raise AccountNotFoundError(
            f"no sub-account has the id {intent.sub_account_id}; the order was not journaled"
        )
    order = JournalOrder(
        sequence=intent.sequence,
        client_order_id=intent.client_order_id,
        sub_account_id=intent.sub_account_id,
        symbol=intent.symbol,
        side=intent.side,
        type=intent.type,
        time_in_force=intent.time_in_force,
        quantity=intent.quantity,
        price=intent.price,
        leverage=round_cost(intent.leverage),
        reduce_only=intent.reduce_only,
        reduce_only_wire=intent.reduce_only_wire,
        code=intent.code,
        action=intent.action,
        origin=intent.origin,
        state=OrderState.INTENT,
        executed_quantity=Quantity(ZERO),
        booked_quantity=Quantity(ZERO),
        created_at_ms=plan.now_ms,
        position_id=intent.position_id,
        babysitter_excluded=intent.babysitter_excluded,
        idempotency_key=intent.idempotency_key,
    )
    insert_order(plan, OrderRecord(order))
    if intent.shares:
        record_pool(plan, intent)
    return order


def insert_order(plan: Plan, record: OrderRecord) -> None:
    """Write a new row of the journal."""
    order = record.order
    fixed: dict[str, Cell] = {
        "sequence": order.sequence,
        "type": order.type,
        "time_in_force": order.time_in_force,
        "price": order.price,
        "leverage": order.leverage,
        "reduce_only": order.reduce_only,
        "reduce_only_wire": order.reduce_only_wire,
        "code": order.code,
        "action": order.action,
        "origin": order.origin,
        "created_at": order.created_at_ms,
        "babysitter_excluded": order.babysitter_excluded,
        "idempotency_key": order.idempotency_key,
    }
    key: dict[str, Cell] = {"client_order_id": order.client_order_id}
    plan.insert_ours("pms_order_journal", key, {**order_values(record, plan.now_ms), **fixed})
    plan.note_order(record)
    note_symbol(plan, order.symbol)


def note_symbol(plan: Plan, symbol: Symbol) -> None:
    """Remember a symbol from its first intent on: gap filling must look there even before any fill."""
    if plan.book.mirror.get(symbol) is None:
        plan.book.mirror.set(symbol, ExchangeMirror(symbol, ZERO, ZERO, 0))
        nothing: dict[str, Cell] = {"signed_quantity": ZERO, "signed_cost": ZERO, "last_trade_id": 0}
        plan.insert_ours("pms_exchange_positions", {"symbol": symbol}, nothing)


def record_acknowledged(
    plan: Plan, record: OrderRecord | None, exchange_order_id: ExchangeOrderId
) -> JournalOrder | None:
    """Note the exchange's id; a resting order gets its row and its event. Idempotent."""
    if record is None:
        return None
    after = acknowledge(plan, record, exchange_order_id)
    if after == record:
        return record.order
    return plan.put_order(after)


def is_acknowledged(record: OrderRecord) -> bool:
    """Tell whether an acknowledgement would change nothing, now and ever after."""
    order = record.order
    if order.exchange_order_id is None or order.state in (OrderState.INTENT, OrderState.UNKNOWN):
        return False
    return order.state.terminal or order.type is not OrderType.LIMIT or order.pending_order_id is not None


def is_ended(record: OrderRecord, executed: Quantity) -> bool:
    """Tell whether the exchange's last word with this executed quantity would change nothing."""
    return record.order.state.terminal and executed <= record.order.booked_quantity


def acknowledge(plan: Plan, record: OrderRecord, exchange_order_id: ExchangeOrderId) -> OrderRecord:
    """Return the record with the exchange's id; write the `pending_orders` row of a LIMIT order once."""
    order = record.order
    if order.exchange_order_id is None:
        order = replace(order, exchange_order_id=exchange_order_id)
    heard = life_of(record).hear(OrderInput.ACKNOWLEDGED)
    if isinstance(heard, OrderLife):
        order = replace(order, state=heard.state)
    if order.pending_order_id is None and order.type is OrderType.LIMIT and not order.state.terminal:
        order = _rest(plan, order)
    return record if order == record.order else replace(record, order=order)


def _rest(plan: Plan, order: JournalOrder) -> JournalOrder:
    account_id = order.sub_account_id
    if account_id is None or order.price is None:
        return order
    pending_id = PendingOrderId(plan.uuid())
    plan.insert(
        "pending_orders",
        (pending_id,),
        {
            "id": pending_id,
            "sub_account_id": account_id,
            "symbol": order.symbol,
            "side": order.position_side,
            "type": _PENDING_TYPE.get(order.code, "LIMIT"),
            "price": order.price,
            "quantity": order.quantity,
            "leverage": order.leverage,
            "exchange_order_id": order.exchange_order_id,
            "status": "PENDING",
            "created_at": plan.now_ms,
        },
    )
    data: dict[str, JsonValue] = {
        "symbol": order.symbol,
        "side": order.position_side.value,
        "price": json_number(order.price),
        "quantity": json_number(order.quantity),
        "notional": json_number(round_cost(order.price * order.quantity)),
        "orderId": pending_id,
        "exchangeOrderId": order.exchange_order_id,
        "reduceOnly": order.reduce_only,
    }
    plan.event("order_placed", account_id, data)
    return replace(order, pending_order_id=pending_id)


def record_unknown(plan: Plan, record: OrderRecord | None, timestamp_ms: int, recv_window_ms: int) -> None:
    """Note that the answer was lost; the request's signature time and window are what a proof needs later."""
    record = _required(record, "unknown")
    order = replace(record.order, timestamp_ms=timestamp_ms, recv_window_ms=recv_window_ms)
    heard = life_of(record).hear(OrderInput.DOUBTED)
    if isinstance(heard, OrderLife):
        order = replace(order, state=heard.state)
    plan.put_order(replace(record, order=order))


def record_refused(
    plan: Plan, record: OrderRecord | None, heard: OrderInput, code: str, message: str
) -> None:
    """Note REFUSED, NOT_SENT or PROVED_ABSENT. What contradicts the exchange's own confirmation changes
    nothing. A fill that is booked says otherwise: then the order ends as EXPIRED with what was booked."""
    record = _required(record, heard.value)
    order = record.order
    after = life_of(record).refused(heard)
    if order.state.terminal or isinstance(after, Denied):
        return
    order = replace(order, state=after.state, reject_code=code, reject_message=message)
    end(plan, replace(record, order=order))


def record_terminal(
    plan: Plan,
    record: OrderRecord | None,
    status: ExchangeOrderStatus,
    executed: Quantity,
    expiry_reason: str = "0",
    exchange_order_id: ExchangeOrderId | None = None,
) -> JournalOrder | None:
    """Note the exchange's last word, and its id when it is given. The order ends when Σ booked equals
    `executed`, else it is FINISHING.

    More executed than booked on an order that had ended opens it again: a fill is still to come.
    """
    if record is None:
        return None
    if exchange_order_id is not None:
        before, record = record, acknowledge(plan, record, exchange_order_id)
        if record is not before:
            plan.put_order(record)
    order = record.order
    if is_ended(record, executed):
        return order
    if status is ExchangeOrderStatus.SELF_MATCH:
        order = replace(order, reject_code=status.value)  # decision 14: the owner is told why
    elif expiry_reason in NEVER_REPLACED:
        why = f"the exchange ended the order (expiry reason {expiry_reason}); it is not placed again"
        order = replace(order, reject_code=NEVER_REPLACED[expiry_reason], reject_message=why)
    return settle(plan, replace(record, order=order), life_of(record).end(status, executed))


def record_fill(plan: Plan, record: OrderRecord, quantity: Quantity, notional: Decimal) -> JournalOrder:
    """Note the booking of an execution: `quantity` in base units, `notional` in the settle asset."""
    total = record.booked_notional + notional
    return settle(plan, replace(record, booked_notional=total), life_of(record).fill(quantity))


def ask_amendment(plan: Plan, record: OrderRecord | None, quantity: Quantity) -> JournalOrder | None:
    """Note that a change is about to be asked for: until the exchange has spoken the larger quantity counts.
    None when the order does not rest any more."""
    if record is None:
        return None
    life = life_of(record).ask_amendment(quantity)
    return None if isinstance(life, Denied) else settle(plan, record, life)


def record_amended(
    plan: Plan, record: OrderRecord | None, quantity: Quantity, price: Price
) -> JournalOrder | None:
    """Note quantity and price that a resting order has on the exchange now, in the journal and in its row of
    `pending_orders`. Idempotent; an order that does not rest any more stays as it is."""
    if record is None:
        return None
    order, life = record.order, life_of(record).amend(quantity)
    if isinstance(life, Denied) or (order.quantity, order.price) == (life.quantity, price):
        return order
    if order.pending_order_id is not None:
        values: dict[str, Cell] = {"quantity": life.quantity, "price": price}
        plan.update("pending_orders", (order.pending_order_id,), values)
    changed = price != order.price or life.quantity != order.quantity
    after = settle(plan, replace(record, order=replace(order, price=price)), life)
    plan.update("pms_order_journal", (plan.ours, order.client_order_id), {"price": price})
    if changed and order.sub_account_id is not None:
        data: dict[str, JsonValue] = {
            "orderId": order.pending_order_id,
            "symbol": order.symbol,
            "side": order.position_side.value,
            "price": json_number(price),
            "quantity": json_number(life.quantity),
        }
        plan.event("order_amended", order.sub_account_id, data)
    return after


def life_of(record: OrderRecord) -> OrderLife:
    """Return what an order's life is decided by."""
    order = record.order
    return OrderLife(
        order.state, order.quantity, order.executed_quantity, order.booked_quantity, record.final_status
    )


def settle(plan: Plan, record: OrderRecord, life: OrderLife) -> JournalOrder:
    """Write an order with its life as it is now; one that ends by this gets its end's rows and event."""
    ends = life.state.terminal and not record.order.state.terminal
    order = replace(
        record.order,
        state=life.state,
        quantity=life.quantity,
        executed_quantity=life.executed,
        booked_quantity=life.booked,
    )
    record = replace(record, order=order, final_status=life.final)
    return end(plan, record) if ends else plan.put_order(record)


def end(plan: Plan, record: OrderRecord) -> JournalOrder:
    """Write a terminal order, its `pending_orders` row and its last event."""
    order = record.order
    filled = order.state is OrderState.FILLED
    if order.pending_order_id is not None:
        # Ledger spec 7.3: everything that ends without a fill and did not expire is CANCELLED.
        status = "FILLED" if filled else "EXPIRED" if order.state is OrderState.EXPIRED else "CANCELLED"
        moment = "filled_at" if filled else "cancelled_at"
        plan.update("pending_orders", (order.pending_order_id,), {"status": status, moment: plan.now_ms})
    plan.put_order(record)
    if order.sub_account_id is not None:
        if filled or (order.pending_order_id is None and order.booked_quantity):
            _filled_event(plan, record)
        elif order.exchange_order_id is not None:
            _cancelled_event(plan, record)
    return order


def _filled_event(plan: Plan, record: OrderRecord) -> None:
    order = record.order
    account_id = order.sub_account_id
    if account_id is None or (order.pending_order_id is None and order.code in _QUIET_MARKET):
        return
    average = record.booked_notional / order.booked_quantity if order.booked_quantity else Decimal(0)
    data: dict[str, JsonValue] = {
        "symbol": order.symbol,
        "side": order.position_side.value,
        "price": json_number(average),
        "quantity": json_number(order.booked_quantity),
        "exchangeOrderId": order.exchange_order_id,
    }
    if order.pending_order_id is not None:
        data["orderId"] = order.pending_order_id
        if _PENDING_TYPE.get(order.code, "LIMIT") in _QUIET_PENDING:
            data["suppressToast"] = True
    else:
        data["orderType"] = order.type.value
        data["origin"] = order.origin
        data["suppressToast"] = order.origin == "MANUAL"
    plan.event("order_filled", account_id, data)


def _cancelled_event(plan: Plan, record: OrderRecord) -> None:
    order = record.order
    if order.sub_account_id is None:
        return
    reason = record.final_status.value if record.final_status is not None else order.state.value
    data: dict[str, JsonValue] = {
        "orderId": order.pending_order_id,
        "symbol": order.symbol,
        "side": order.position_side.value,
        "price": None if order.price is None else json_number(order.price),
        "reason": reason,
    }
    if order.reject_code in NEVER_REPLACED_CODES:
        data["expiryReason"] = order.reject_code
    plan.event("order_cancelled", order.sub_account_id, data)


def _required(record: OrderRecord | None, wanted: str) -> OrderRecord:
    if record is None:
        raise OrderNotFoundError(f"the journal has no live order to mark {wanted}; nothing was changed")
    return record


def pending_type(code: OrderCode) -> str:
    """Return `pending_orders.type` for an origin (ledger spec 1.2)."""
    return _PENDING_TYPE.get(code, "LIMIT")


def live_orders_of(plan: Plan, account_id: str) -> list[ClientOrderId]:
    """Return the ids of an account's orders that may still execute."""
    return [
        record.order.client_order_id
        for record in plan.book.orders.values()
        if record.order.sub_account_id == account_id
    ]
