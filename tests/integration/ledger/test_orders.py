"""The order journal and `pending_orders`: an order ends only when all of it is booked."""

from decimal import Decimal

import pytest

from pms.ledger.errors import OrderNotFoundError
from pms.ledger.ledger import LedgerService
from pms.model.ids import ClientOrderId
from pms.model.money import Quantity
from pms.model.order import ExchangeOrderStatus, OrderCode, OrderSide, OrderState
from tests.support.ledger import BTC, Desk, money, opened, types


def size(text: str) -> Quantity:
    return Quantity(Decimal(text))


async def test_an_intent_is_journaled_and_survives_a_restart(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "1.5", price="99.5", acknowledge=False)
    assert order.state is OrderState.INTENT
    await ledger.record_unknown(order.client_order_id, 1234, 2000)
    before = ledger.order(order.client_order_id)
    await ledger.close()
    again = await opened(database_url)
    assert again.order(order.client_order_id) == before
    assert before is not None
    assert (before.state, before.timestamp_ms, before.recv_window_ms) == (OrderState.UNKNOWN, 1234, 2000)
    assert again.allocate_sequence() > order.sequence
    assert again.fill_symbols() == [BTC]
    await again.close()


async def test_a_limit_order_rests_once(desk: Desk, ledger: LedgerService) -> None:
    account = await desk.account()
    order = await desk.order(account.id, OrderSide.SELL, "2", price="105", reduce_only=True)
    assert order.pending_order_id is not None
    assert order.exchange_order_id is not None
    again = await ledger.record_acknowledged(order.client_order_id, order.exchange_order_id)
    assert again == order
    assert ledger.order_by_pending(order.pending_order_id) == order
    events = await ledger.queries.events_after(account.id, 1)
    assert [event.type for event in events] == ["order_placed"]
    assert events[0].data == {
        "subAccountId": account.id,
        "symbol": BTC,
        "side": "SHORT",
        "price": 105.0,
        "quantity": 2.0,
        "notional": 210.0,
        "orderId": order.pending_order_id,
        "exchangeOrderId": order.exchange_order_id,
        "reduceOnly": True,
    }
    assert [row.client_order_id for row in await ledger.queries.pending_orders(account.id)] == [
        order.client_order_id
    ]


async def test_a_fill_before_the_acknowledgement_counts_as_one(desk: Desk, ledger: LedgerService) -> None:
    account = await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "1", price="100", acknowledge=False)
    booked = await desk.book(desk.fill(order, "100", "0.4"))
    assert types(booked) == ["order_placed", "position_updated"]
    live = ledger.order(order.client_order_id)
    assert live is not None
    assert (live.state, str(live.booked_quantity), str(live.remaining_quantity)) == (
        OrderState.LIVE,
        "0.4",
        "0.6",
    )
    done = await desk.book(desk.fill(live, "99"))
    assert types(done) == ["position_updated", "order_filled"]
    data = done.committed.events[1].data
    assert (data["orderId"], data["quantity"]) == (live.pending_order_id, 1.0)
    assert data["price"] == pytest.approx(99.4)
    rows = await ledger.store.fetch("SELECT status, filled_at, cancelled_at FROM pending_orders")
    assert rows[0]["status"] == "FILLED"
    assert rows[0]["filled_at"] is not None
    assert rows[0]["cancelled_at"] is None


async def test_terminal_waits_for_the_last_fill(desk: Desk, ledger: LedgerService) -> None:
    account = await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "3", price="100")
    await desk.book(desk.fill(order, "100", "1"))
    waiting = await ledger.record_terminal(order.client_order_id, ExchangeOrderStatus.CANCELLED, size("2"))
    assert waiting is not None
    assert waiting.state is OrderState.FINISHING
    assert ledger.order(order.client_order_id) is not None
    booked = await desk.book(desk.fill(order, "100", "1"))
    assert booked.committed.orders[0].state is OrderState.CANCELLED
    assert types(booked) == ["position_updated", "order_cancelled"]
    assert booked.committed.events[1].data["reason"] == "CANCELLED"
    assert ledger.order(order.client_order_id) is None
    rows = await ledger.store.fetch("SELECT status, cancelled_at FROM pending_orders")
    assert rows[0]["status"] == "CANCELLED"
    assert rows[0]["cancelled_at"] is not None


async def test_finishing_survives_a_restart(desk: Desk, ledger: LedgerService, database_url: str) -> None:
    account = await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "3")
    await ledger.record_terminal(order.client_order_id, ExchangeOrderStatus.EXPIRED, size("1"))
    await ledger.close()
    again = await opened(database_url)
    booked = await again.book_fill(desk.fill(order, "100", "1"), money("0"))
    assert booked.committed.orders[0].state is OrderState.EXPIRED
    await again.close()


@pytest.mark.parametrize(
    ("status", "row", "reason"),
    [
        (ExchangeOrderStatus.CANCELLED, "CANCELLED", "CANCELLED"),
        (ExchangeOrderStatus.EXPIRED, "EXPIRED", "EXPIRED"),
        (ExchangeOrderStatus.SELF_MATCH, "EXPIRED", "SELF_MATCH"),
    ],
)
async def test_an_unfilled_end(
    desk: Desk, ledger: LedgerService, status: ExchangeOrderStatus, row: str, reason: str
) -> None:
    account = await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "3", price="100")
    await ledger.record_terminal(order.client_order_id, status, size("0"))
    # Once more changes nothing.
    await ledger.record_terminal(order.client_order_id, status, size("0"))
    rows = await ledger.store.fetch("SELECT status FROM pending_orders")
    assert [one["status"] for one in rows] == [row]
    events = await ledger.queries.events_after(account.id, 2)
    assert [(event.type, event.data["reason"], event.data["orderId"]) for event in events] == [
        ("order_cancelled", reason, order.pending_order_id)
    ]


async def test_refused_and_not_executed_orders_end(desk: Desk, ledger: LedgerService) -> None:
    account = await desk.account()
    first = await desk.order(account.id, OrderSide.BUY, "1", acknowledge=False)
    second = await desk.order(account.id, OrderSide.BUY, "1", acknowledge=False)
    await ledger.record_rejected(first.client_order_id, "-2019", "Margin is insufficient.")
    await ledger.record_unknown(second.client_order_id, 1, 2)
    await ledger.record_not_executed(second.client_order_id, "-2013 after the window")
    assert ledger.open_orders() == []
    stored = await ledger.queries.order(first.client_order_id)
    assert stored is not None
    assert (stored.state, stored.reject_code) == (OrderState.REJECTED, "-2019")
    stored = await ledger.queries.order(second.client_order_id)
    assert stored is not None
    assert stored.state is OrderState.NOT_EXECUTED
    with pytest.raises(OrderNotFoundError):
        await ledger.record_rejected(ClientOrderId("PMSdeadbeef_MK_1"), "1", "unknown")


async def test_a_fill_of_an_order_that_had_ended_is_still_the_accounts(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "1")
    await ledger.record_terminal(order.client_order_id, ExchangeOrderStatus.EXPIRED, size("0"))
    await ledger.close()
    again = await opened(database_url)  # the ended order is in the database only
    await again.book_fill(desk.fill(order, "100", "1"), money("0"))
    position = again.open_position(account.id, BTC)
    assert position is not None
    assert position.quantity == 1
    await again.close()


async def test_closes_and_lots_are_silent(desk: Desk, ledger: LedgerService) -> None:
    account = await desk.account()
    lot = await desk.trade_at(account.id, OrderSide.BUY, "1", "100", code=OrderCode.TWAP)
    assert types(lot) == ["position_updated"]
    close = await desk.trade_at(
        account.id, OrderSide.SELL, "1", "100", code=OrderCode.CLOSE, action="CLOSE", reduce_only=True
    )
    assert types(close) == ["position_closed"]


async def test_pending_types_follow_the_origin(desk: Desk, ledger: LedgerService) -> None:
    account = await desk.account()
    for code in (OrderCode.LIMIT, OrderCode.CHASE, OrderCode.SCALPER, OrderCode.TWAP):
        await desk.order(account.id, OrderSide.BUY, "1", price="100", code=code)
    rows = await ledger.store.fetch("SELECT type FROM pending_orders")
    assert sorted(str(row["type"]) for row in rows) == ["CHASE_LIMIT", "LIMIT", "SCALPER_LIMIT", "TWAP_SLICE"]
