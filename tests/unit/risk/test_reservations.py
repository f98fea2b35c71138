"""Worst cases of resting orders."""

from decimal import Decimal
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pms.model.account import PositionSide
from pms.model.order import OrderSide
from pms.risk.reservations import Load, OpenOrder, kept_load, side_outcome, taken_capacity, worst_load
from tests.unit.risk.builders import BTC, ETH, position, resting

BUY, SELL = OrderSide.BUY, OrderSide.SELL


def test_the_cheapest_orders_do_the_closing() -> None:
    held = position(quantity=3, entry=100, leverage=10)
    orders = [resting(SELL, 2, 200), resting(SELL, 2, 50)]
    outcome = side_outcome(held, orders, BTC, SELL, Decimal(0))
    assert (outcome.ordered, outcome.opening) == (4, 1)
    assert outcome.load == Load(Decimal(200), Decimal(20))


def test_the_worst_of_nothing_bids_and_asks() -> None:
    held = position(quantity=3, entry=100, leverage=10)
    assert worst_load(held, [], BTC) == Load(Decimal(300), Decimal(30))
    assert worst_load(held, [resting(BUY, 1)], BTC) == Load(Decimal(400), Decimal(40))
    assert worst_load(held, [resting(SELL, 2)], BTC) == Load(Decimal(300), Decimal(30))
    assert worst_load(held, [resting(SELL, 9)], BTC) == Load(Decimal(600), Decimal(60))
    assert worst_load(None, [resting(BUY, 1, symbol=ETH)], BTC) == Load()


def test_reduce_only_orders_only_take_capacity() -> None:
    orders = [resting(SELL, 2, reduce_only=True), resting(SELL, 1), resting(BUY, 4, reduce_only=True)]
    assert taken_capacity(orders, BTC, SELL) == 2
    assert side_outcome(position(quantity=2), orders, BTC, SELL, Decimal(2)).opening == 1


quantity = st.decimals("0.001", 20, places=3)
orders = st.lists(st.builds(resting, st.sampled_from(list(OrderSide)), quantity.map(str), quantity.map(str)))


@given(st.sampled_from(list(PositionSide)), quantity, orders, st.randoms())
def test_no_order_of_fills_is_heavier(
    side: PositionSide, held: Decimal, rest: list[OpenOrder], chance: Random
) -> None:
    """Fill one side in any order: reduce, then open. The margin never exceeds the worst case."""
    own = position(BTC, side, held, 10)
    worst = worst_load(own, rest, BTC)
    for order_side in OrderSide:
        fills = [order for order in rest if order.side is order_side]
        chance.shuffle(fills)
        left = own.quantity if OrderSide.closing(own.side) is order_side else Decimal(0)
        opened = Decimal(0)
        for order in fills:
            closes = min(left, order.remaining)
            left -= closes
            opened += (order.remaining - closes) * order.price / order.leverage
        kept = own if OrderSide.closing(own.side) is not order_side else None
        still = kept_load(kept, Decimal(0)).margin if kept else kept_load(own, own.quantity - left).margin
        assert opened + still <= worst.margin + Decimal("1e-18")
