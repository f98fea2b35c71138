"""Where a resting order stands in the queue, and what an aggressive one takes: recorded levels and models."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from pms.simulator import matching
from pms.simulator.queue_model import MODELS, Waiting, power, risk_averse
from pms.simulator.recorded_book import RecordedBook, Side, levels_of
from pms.simulator.resting import RestingQueue
from pms.simulator.state import Market, Order

TICK, LOT = D("0.1"), D("0.001")


def _market(deep: bool = True, capped: bool = False) -> Market:
    market = Market("BTCUSDT", D("100.0"), D(10), D("100.1"), D(4), capped=capped)
    if deep:
        market.book = RecordedBook()
        bids = [["100.0", "10"], ["99.9", "20"], ["99.5", "5"]]
        asks = [["100.1", "4"], ["100.3", "6"], ["101.0", "50"]]
        market.book.apply(levels_of(bids), levels_of(asks))
    return market


def _order(order_id: int, side: str, price: str, quantity: str = "1") -> Order:
    return Order(order_id, 1, "BTCUSDT", f"c{order_id}", side, "LIMIT", "GTC", D(price), D(quantity), 0, 0)


def _queue(market: Market, *orders: Order, model: str = "power") -> tuple[RestingQueue, dict[int, Order]]:
    queue = RestingQueue(market, TICK, LOT, MODELS[model])
    known = {order.order_id: order for order in orders}
    queue.join(known)
    return queue, known


@pytest.mark.parametrize(
    ("ahead", "before", "decrease", "averse", "squared"),
    [
        ("10", "10", "4", "6", "6"),  # nothing behind: every cancellation was ahead
        ("0", "10", "4", "0", "0"),  # at the front nobody is ahead
        ("5", "10", "2", "5", "4"),  # in the middle half of it was ahead
        ("2", "10", "1", "2", "1.94117647"),  # 8² / (8² + 2²) of it was behind
        ("2", "10", "9", "1", "1"),  # eight behind can cancel eight at most
        ("5", "10", "10", "0", "0"),  # an empty level has nobody ahead
    ],
)
def test_cancellations_by_model(ahead: str, before: str, decrease: str, averse: str, squared: str) -> None:
    assert risk_averse(D(ahead), D(before), D(decrease)) == D(averse)
    assert power(2)(D(ahead), D(before), D(decrease)) == D(squared)


def test_a_decrease_that_a_trade_explains_is_not_counted_twice() -> None:
    place = Waiting(1, "BUY", D(100), ahead=D(10), shown=D(10), sequence=1)
    assert place.trade(D(4)) == 0
    place.level(D(6), power(2))
    assert place.ahead == 6
    place.level(D(9), power(2))  # somebody joined behind
    assert place.ahead == 6
    assert place.trade(D(7)) == 1


def test_trades_at_the_price_reach_the_order_after_the_queue() -> None:
    queue, orders = _queue(_market(), _order(1, "BUY", "100.0", "2"))
    assert queue.ahead_of(1) == 10
    assert queue.traded(orders, D("100.0"), D("9.5"), buyer_is_maker=True) == []
    [(order, part)] = queue.traded(orders, D("100.0"), D("1.2"), buyer_is_maker=True)
    assert (order.order_id, part) == (1, D("0.7"))
    order.executed = part
    assert queue.traded(orders, D("100.0"), D(5), buyer_is_maker=True) == [(order, D("1.3"))]


def test_trades_of_the_other_side_or_at_worse_prices_do_nothing() -> None:
    queue, orders = _queue(_market(), _order(1, "BUY", "100.0"), _order(2, "BUY", "99.9"))
    assert queue.traded(orders, D("100.0"), D(99), buyer_is_maker=False) == []
    assert [o.order_id for o, _ in queue.traded(orders, D("100.0"), D(99), buyer_is_maker=True)] == [1]


def test_a_trade_through_the_price_or_a_crossing_quote_fills_everything() -> None:
    market = _market()
    queue, orders = _queue(market, _order(1, "BUY", "100.0", "500"), _order(2, "SELL", "100.3", "7"))
    assert queue.traded(orders, D("99.9"), D("0.001"), buyer_is_maker=True) == [(orders[1], D(500))]
    market.bid, market.ask = D("100.3"), D("100.4")
    assert queue.crossed(orders) == [(orders[2], D(7))]


def test_modelled_sizes_cap_what_a_crossing_gives() -> None:
    market = _market(deep=False, capped=True)
    queue, orders = _queue(market, _order(1, "BUY", "99.0", "3"), _order(2, "BUY", "99.0", "3"))
    market.ask, market.ask_quantity = D("98.9"), D(4)
    assert queue.crossed(orders) == [(orders[1], D(3)), (orders[2], D(1))]


def test_own_orders_at_one_price_share_a_trade_in_order_of_time() -> None:
    queue, orders = _queue(_market(), _order(1, "BUY", "100.0"), _order(2, "BUY", "100.0"))
    fills = queue.traded(orders, D("100.0"), D("11.5"), buyer_is_maker=True)
    assert [(o.order_id, q) for o, q in fills] == [(1, D(1)), (2, D("0.5"))]


def test_cancellations_ahead_move_an_order_and_an_amended_one_goes_to_the_back() -> None:
    market = _market()
    queue, orders = _queue(market, _order(1, "BUY", "99.9"))
    assert queue.ahead_of(1) == 20
    assert market.book is not None
    market.book.apply([(D("99.9"), D(12))], [])
    queue.level_changed()
    assert queue.ahead_of(1) == 12
    market.book.apply([(D("99.9"), D(30))], [])
    queue.level_changed()
    assert queue.ahead_of(1) == 12
    queue.requeue(1)
    queue.join(orders)
    assert queue.ahead_of(1) == 30
    assert queue.ahead_of(2) is None


def test_without_depth_the_queue_behind_the_best_is_modelled_until_it_is_shown() -> None:
    market = _market(deep=False)
    queue, _ = _queue(market, _order(1, "BUY", "99.8"))
    assert queue.ahead_of(1) == 40
    market.bid, market.bid_quantity = D("99.8"), D(7)
    queue.level_changed()
    assert queue.ahead_of(1) == 7
    market.bid = D("99.7")
    queue.level_changed()
    assert queue.ahead_of(1) == 0


@pytest.mark.parametrize(
    ("side", "quantity", "limit", "fills"),
    [
        ("BUY", "3", None, [("100.1", "3")]),
        ("BUY", "12", None, [("100.1", "4"), ("100.3", "6"), ("101.0", "2")]),
        ("BUY", "12", "100.3", [("100.1", "4"), ("100.3", "6")]),
        ("SELL", "31", None, [("100.0", "10"), ("99.9", "20"), ("99.5", "1")]),
    ],
)
def test_an_order_walks_the_recorded_levels(
    side: str, quantity: str, limit: str | None, fills: list[tuple[str, str]]
) -> None:
    found = matching.take(_market(), side, D(quantity), TICK, D(limit) if limit else None)
    assert found == [(D(price), D(size)) for price, size in fills]


def test_what_was_taken_is_gone_and_a_scripted_quote_is_not() -> None:
    market = _market()
    matching.consume(market, "BUY", matching.take(market, "BUY", D(5), TICK, None))
    assert next(matching.levels(market, "BUY", TICK)) == (D("100.3"), D(5))
    assert next(matching.shown(market, "BUY", TICK)) == (D("100.1"), D(4))
    scripted = _market()
    scripted.scripted = True
    matching.consume(scripted, "BUY", [(D("100.1"), D(4))])
    assert [level for level, _ in zip(matching.levels(scripted, "BUY", TICK), range(2), strict=False)] == [
        (D("100.1"), D(4)),
        (D("100.2"), D(8)),
    ]


def test_a_side_keeps_its_order_and_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pms.simulator.recorded_book.LEVELS_MAX", 3)
    bids = Side(-1)
    for price in ("10", "12", "11", "9"):
        bids.set(D(price), D(1))
    bids.set(D("7"), D(0))
    assert bids.best() == (D(12), D(1))
    assert [price for price, _ in bids.worse_than(D("11.5"))] == [D(11), D(10)]
    assert bids.get(D(9)) == 0
    assert len(bids) == 3
    with pytest.raises(ValueError, match="impossible level"):
        levels_of([["x", "1"]])
