"""Several may follow one order, and each hears of its end."""

from pms.execution.tracker import OrderTracker
from pms.ledger.api import Committed
from pms.model.order import OrderState
from tests.unit.execution.test_live_orders import intent, journal


def test_a_second_follower_does_not_take_the_order_from_the_first() -> None:
    tracker, order = OrderTracker(), intent(1)
    executing = tracker.follow(order.client_order_id)
    cancelling = tracker.follow(order.client_order_id)
    tracker.on_commit(Committed(orders=(journal(order, OrderState.FILLED, booked="2"),)))
    assert executing.finished.is_set()
    assert cancelling.finished.is_set()


def test_a_follower_that_leaves_does_not_take_the_order_from_the_other() -> None:
    tracker, order = OrderTracker(), intent(1)
    tracker.follow(order.client_order_id)
    staying = tracker.follow(order.client_order_id)
    tracker.forget(order.client_order_id)
    tracker.on_commit(Committed(orders=(journal(order, OrderState.CANCELLED),)))
    assert staying.finished.is_set()
    tracker.forget(order.client_order_id)
    tracker.forget(order.client_order_id)
    assert tracker.statistics().followed == 0
