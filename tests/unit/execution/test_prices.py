"""The newest prices: mark and book apart, ages by the clock, the first mark awaited."""

import asyncio

from pms.execution.prices import Prices
from pms.model.account import PositionSide
from pms.model.price import STALE_AFTER_MS, BookTicker, MarkPrice
from pms.model.symbol import Symbol
from tests.support.ledger import START_MS, ManualClock

BTC = Symbol("BTC/USDT:USDT")


def mark(price: float, received_ms: int = START_MS) -> MarkPrice:
    return MarkPrice(BTC, price, 0.0, 0, received_ms, received_ms)


def test_a_book_never_moves_the_mark() -> None:
    prices = Prices(ManualClock())
    prices.take_mark(mark(100.0))
    prices.take_book(BookTicker(BTC, 50.0, 1, 51.0, 1, 1, START_MS, START_MS))
    assert prices.mark_price(BTC) == 100.0
    book = prices.book(BTC)
    assert book is not None
    assert book.mid == 50.5


def test_a_mark_goes_stale_after_ten_seconds() -> None:
    clock = ManualClock()
    prices = Prices(clock)
    assert not prices.fresh(BTC)
    assert prices.mark_age_ms(BTC) is None
    prices.take_mark(mark(100.0))
    clock.advance(STALE_AFTER_MS)
    assert prices.fresh(BTC)
    clock.advance(1)
    assert not prices.fresh(BTC)
    assert prices.mark_price(BTC) == 100.0, "old, but known"
    assert prices.statistics().oldest_ms == STALE_AFTER_MS + 1


async def test_the_first_mark_is_awaited_and_the_wait_has_an_end() -> None:
    prices = Prices(ManualClock())
    assert not await prices.first_mark(BTC, 0.01)
    waiting = [asyncio.create_task(prices.first_mark(BTC, 5)) for _ in range(3)]
    await asyncio.sleep(0)
    prices.take_mark(mark(1.0))
    assert await asyncio.gather(*waiting) == [True, True, True]
    assert await prices.first_mark(BTC, 0)


def test_the_touch_of_a_quote_that_is_old_prices_nothing() -> None:
    clock = ManualClock()
    prices = Prices(clock)
    prices.take_book(BookTicker(BTC, 50.0, 1, 51.0, 1, 1, START_MS, START_MS))
    prices.take_mark(mark(100.0))
    assert prices.worse_price(BTC, PositionSide.LONG) == 50, "a fresh touch counts, also far from the mark"
    clock.advance(STALE_AFTER_MS + 1)
    assert prices.worse_price(BTC, PositionSide.LONG) is None
    prices.take_mark(mark(100.0, clock.now_ms()))
    assert prices.worse_price(BTC, PositionSide.LONG) == 100
