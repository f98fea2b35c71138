"""The newest mark price and best quote of each symbol, kept apart, with their ages (spec H29)."""

import asyncio
import math
from dataclasses import dataclass
from decimal import Decimal

from pms.model.account import PositionSide
from pms.model.clock import Clock, set_within
from pms.model.money import Price
from pms.model.price import STALE_AFTER_MS, BookTicker, MarkPrice
from pms.model.symbol import Symbol


@dataclass(frozen=True, slots=True)
class PriceStatistics:
    """`oldest_ms` is the age of the oldest mark among the symbols held; -1 without any mark."""

    symbols: int
    ticks: int
    oldest_ms: int


class Prices:
    """Bounded by the symbols the exchange lists. Event-loop thread only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._marks: dict[Symbol, MarkPrice] = {}
        self._books: dict[Symbol, BookTicker] = {}
        self._ticks = 0
        self._first: dict[Symbol, asyncio.Event] = {}

    def take_mark(self, mark: MarkPrice) -> bool:
        """Take a mark; False for one that is no price (0 on a symbol in settlement): the last one grows
        old instead, and nothing acts on it (H27)."""
        self._ticks += 1
        if not 0.0 < mark.price < math.inf:
            return False
        self._marks[mark.symbol] = mark
        if self._first:
            waiting = self._first.pop(mark.symbol, None)
            if waiting is not None:
                waiting.set()
        return True

    async def first_mark(self, symbol: Symbol, seconds_max: float) -> bool:
        """Wait for a symbol's first mark, at most that long; True when there is one.

        A symbol that nobody watched has no price until its stream delivers; asking again would be the user's
        work.
        """
        if symbol in self._marks:
            return True
        return await set_within(self._first.setdefault(symbol, asyncio.Event()), self._clock, seconds_max)

    def take_book(self, book: BookTicker) -> None:
        self._ticks += 1
        self._books[book.symbol] = book

    def mark(self, symbol: Symbol) -> MarkPrice | None:
        return self._marks.get(symbol)

    def book(self, symbol: Symbol) -> BookTicker | None:
        return self._books.get(symbol)

    def mark_price(self, symbol: Symbol) -> float | None:
        """Return the mark of any age, None when there has never been one."""
        mark = self._marks.get(symbol)
        return None if mark is None else mark.price

    def worse_price(self, symbol: Symbol, side: PositionSide, limit: Decimal | None = None) -> Price | None:
        """Return the worst of touch, fresh mark and `limit` for the one who closes a position of that side
        (decision 13); None without a fresh mark. A quote older than that says nothing of the touch."""
        mark, book = self.mark_price(symbol), self.book(symbol)
        if mark is None or not self.fresh(symbol):
            return None
        closing_long = side is PositionSide.LONG
        if book is None or self._clock.now_ms() - book.received_ms > STALE_AFTER_MS:
            touch = mark
        else:
            touch = book.bid if closing_long else book.ask
        known = [Decimal(repr(mark)), Decimal(repr(touch)), *(() if limit is None else (limit,))]
        return Price(min(known) if closing_long else max(known))

    def mark_age_ms(self, symbol: Symbol) -> int | None:
        mark = self._marks.get(symbol)
        return None if mark is None else self._clock.now_ms() - mark.received_ms

    def fresh(self, symbol: Symbol) -> bool:
        """True when the mark is at most 10 s old (decision 20)."""
        age_ms = self.mark_age_ms(symbol)
        return age_ms is not None and age_ms <= STALE_AFTER_MS

    def statistics(self) -> PriceStatistics:
        now_ms = self._clock.now_ms()
        oldest_ms = max((now_ms - mark.received_ms for mark in self._marks.values()), default=-1)
        return PriceStatistics(len(self._marks), self._ticks, oldest_ms)
