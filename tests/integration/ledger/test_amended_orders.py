"""A change of a resting order in the journal, on both databases: asked for, made, refused, overtaken."""

from decimal import Decimal

from pms.ledger.audit import audit
from pms.model.money import Price, Quantity
from pms.model.order import ExchangeOrderStatus, OrderSide, OrderState
from tests.support.ledger import Desk

OLD, NEW = Price(Decimal(100)), Price(Decimal(99))


def quantity(text: str) -> Quantity:
    return Quantity(Decimal(text))


async def test_until_the_exchange_has_spoken_the_larger_quantity_may_execute(
    desk: Desk, database_url: str
) -> None:
    ledger, account = desk.ledger, await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "2", price="100")
    asked = await ledger.ask_amendment(order.client_order_id, quantity("3"))
    assert asked is not None
    assert (asked.quantity, asked.price, asked.state) == (3, 100, OrderState.LIVE)
    await desk.book(desk.fill(order, "100", "2"))
    known = ledger.order(order.client_order_id)
    assert known is not None, "all of the old quantity filled, and the change may still bring more"
    assert known.remaining_quantity == 1

    made = await ledger.record_amended(order.client_order_id, quantity("3"), NEW)
    assert made is not None
    assert (made.quantity, made.price) == (3, 99)
    await desk.book(desk.fill(made, "99", "1"))
    assert ledger.order(order.client_order_id) is None
    events = await ledger.queries.events_after(account.id, 0)
    assert [event.data["price"] for event in events if event.type == "order_amended"] == [99]
    report = await audit(database_url)
    assert report.passed, "\n".join(report.lines())


async def test_a_refused_change_leaves_the_order_as_it_was(desk: Desk, database_url: str) -> None:
    ledger, account = desk.ledger, await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "2", price="100")
    await ledger.ask_amendment(order.client_order_id, quantity("5"))
    back = await ledger.record_amended(order.client_order_id, order.quantity, OLD)
    assert back == order
    assert await ledger.record_amended(order.client_order_id, order.quantity, OLD) == order  # idempotent
    rows = await ledger.store.fetch("SELECT price, quantity FROM pending_orders")
    assert [tuple(row.values()) for row in rows] == [(100.0, 2.0)]
    assert (await audit(database_url)).passed


async def test_an_order_that_is_over_is_not_changed(desk: Desk) -> None:
    ledger, account = desk.ledger, await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "2", price="100")
    await ledger.record_terminal(order.client_order_id, ExchangeOrderStatus.CANCELLED, quantity("0"))
    assert await ledger.ask_amendment(order.client_order_id, quantity("3")) is None
    assert await ledger.record_amended(order.client_order_id, quantity("3"), NEW) is None
