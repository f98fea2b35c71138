"""Ticks that are late, out of order, repeated or impossible are dropped and counted."""

import math

import pytest

from pms.exchange.binance.tick_guard import TickGuard, TickStatistics
from pms.exchange.messages import AggTradeEvent, BookTickerEvent, MarkPriceEvent

NOW_MS = 1_000_000


def book(update_id: int, event_time: int = NOW_MS, symbol: str = "BTCUSDT") -> BookTickerEvent:
    return BookTickerEvent(update_id, symbol, "1", "1", "2", "1", event_time, event_time)


def mark(event_time: int, symbol: str = "BTCUSDT") -> MarkPriceEvent:
    return MarkPriceEvent(event_time, symbol, "1")


def trade(number: int) -> AggTradeEvent:
    return AggTradeEvent(NOW_MS, "BTCUSDT", number, "1", "1", 1, 1, NOW_MS, False)


def test_each_kind_is_ordered_by_the_venues_own_mark() -> None:
    guard = TickGuard(10_000)
    assert [guard.book(book(n), NOW_MS) for n in (5, 7, 6, 7, 8)] == [True, True, False, False, True]
    assert [guard.mark(mark(NOW_MS + n), NOW_MS) for n in (5, 5, 4, 6)] == [True, False, False, True]
    assert [guard.trade(trade(n), NOW_MS) for n in (5, 5, 6)] == [True, False, True]
    overtaken = [guard.trade(trade(n), NOW_MS) for n in (9, 8, 8, 7, 9, 10)]
    assert overtaken == [True, True, False, True, False, True], "each trade once, whatever the order"
    assert guard.book(book(1, symbol="ETHUSDT"), NOW_MS), "symbols have numbers of their own"
    assert guard.statistics() == TickStatistics(late=0, out_of_order=7, impossible=0)


@pytest.mark.parametrize(("age_ms", "taken"), [(0, True), (10_000, True), (10_001, False), (-50, True)])
def test_a_tick_is_late_by_the_venues_clock(age_ms: int, taken: bool) -> None:
    guard = TickGuard(10_000)
    assert guard.mark(mark(NOW_MS - age_ms), NOW_MS) is taken
    assert guard.book(book(1, NOW_MS - age_ms), NOW_MS) is taken
    assert guard.book(book(2, 0), NOW_MS), "without an event time nothing is late"


def test_a_mark_out_of_the_future_does_not_keep_later_ones_away() -> None:
    guard = TickGuard(10_000)
    assert guard.mark(mark(NOW_MS + 3_600_000), NOW_MS)
    assert [guard.mark(mark(NOW_MS + n), NOW_MS) for n in (5, 5, 6)] == [True, False, True]


def test_after_an_interruption_the_venue_may_count_anew() -> None:
    guard = TickGuard(10_000)
    assert guard.book(book(500), NOW_MS)
    guard.forget(["BTCUSDT"])
    assert guard.book(book(3), NOW_MS)


QUOTES = [
    (1.0, 2.0, True),
    (2.0, 2.0, True),
    (2.0, 1.0, False),
    (0.0, 1.0, False),
    (1.0, 0.0, False),
    (-1.0, 1.0, False),
    (math.nan, 1.0, False),
    (1.0, math.nan, False),
    (1.0, math.inf, False),
]


@pytest.mark.parametrize(("bid", "ask", "possible"), QUOTES)
def test_quotes_that_cannot_be(bid: float, ask: float, possible: bool) -> None:
    guard = TickGuard(10_000)
    assert guard.quote(bid, ask) is possible
    assert guard.statistics().impossible == (not possible)


@pytest.mark.parametrize("price", [0.0, -1.0, math.nan, math.inf])
def test_prices_that_cannot_be(price: float) -> None:
    assert not TickGuard(10_000).price(price)
