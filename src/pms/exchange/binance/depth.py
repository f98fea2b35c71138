"""Order books of wanted symbols: events from the stream, snapshots by request at a bearable pace.

A snapshot weighs 20 of the 2400 that an address has in a minute (Binance spec 2.1): one is read at a time,
and a symbol that keeps losing step waits longer each time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from pms.exchange.binance.config import StreamTuning
from pms.exchange.binance.depth_book import DepthBook
from pms.exchange.binance.sockets import Backoff
from pms.exchange.errors import ExchangeError
from pms.exchange.messages import Depth, DepthEvent
from pms.model.clock import Clock, set_within
from pms.model.price import OrderBook
from pms.model.symbol import Symbol

log = logging.getLogger("pms.exchange.binance")

ReadSnapshot = Callable[[Symbol], Awaitable[Depth]]


@dataclass(frozen=True, slots=True)
class DepthStatistics:
    """`books` and those `in_step` now; counts since the start."""

    books: int
    in_step: int
    gaps: int
    snapshots: int
    failures: int


@dataclass(slots=True)
class _Followed:
    book: DepthBook
    backoff: Backoff
    received_ms: int = 0
    asked_at: float = float("-inf")
    next_at: float = float("-inf")


class DepthBooks:
    """Follows the order books of the wanted symbols."""

    def __init__(self, read: ReadSnapshot, clock: Clock, random: Random, tuning: StreamTuning) -> None:
        self._read = read
        self._clock = clock
        self._random = random
        self._tuning = tuning
        self._followed: dict[Symbol, _Followed] = {}
        self._wake = asyncio.Event()
        self._failures = 0

    def follow(self, symbol: Symbol) -> None:
        """Follow a symbol's book; idempotent."""
        if symbol not in self._followed:
            self._followed[symbol] = _Followed(DepthBook(), Backoff(self._tuning, self._random))

    def unfollow(self, symbol: Symbol) -> None:
        """Forget a symbol's book; idempotent."""
        self._followed.pop(symbol, None)

    def take(self, symbol: Symbol, event: DepthEvent, received_ms: int) -> bool:
        """Take one event in its order; True when the shown levels changed."""
        followed = self._followed.get(symbol)
        if followed is None:
            return False
        changed = followed.book.take(event)
        followed.received_ms = received_ms
        if followed.book.wants_snapshot():
            self._wake.set()
        return changed

    def interrupted(self, symbol: Symbol) -> None:
        """The stream was cut: show nothing until it flows again and a snapshot fits."""
        followed = self._followed.get(symbol)
        if followed is not None:
            followed.book.lose()

    def book(self, symbol: Symbol, levels: int) -> OrderBook | None:
        """Return the best levels of both sides; None while the book is not in step."""
        followed = self._followed.get(symbol)
        if followed is None or not followed.book.in_step:
            return None
        book = followed.book
        return OrderBook(
            symbol,
            book.bids(levels),
            book.asks(levels),
            book.update_id,
            book.event_time_ms,
            followed.received_ms,
        )

    def statistics(self) -> DepthStatistics:
        """Return the counters as they are now; those of forgotten books are gone."""
        counted = [followed.book.statistics() for followed in self._followed.values()]
        return DepthStatistics(
            len(counted),
            sum(each.in_step for each in counted),
            sum(each.gaps for each in counted),
            sum(each.snapshots for each in counted),
            self._failures,
        )

    async def run(self) -> None:
        """Read snapshots for books that want one, one at a time, until cancelled."""
        while True:
            now = self._clock.monotonic()
            wanting = [(one.next_at, symbol) for symbol, one in self._followed.items() if _wants(one)]
            due = [symbol for at, symbol in wanting if at <= now]
            if due:
                await self._snapshot(due[0])
            else:
                await self._pause(max(0.0, min(at for at, _ in wanting) - now) if wanting else None)

    async def _pause(self, seconds: float | None) -> None:
        self._wake.clear()
        await set_within(self._wake, self._clock, seconds)

    async def _snapshot(self, symbol: Symbol) -> None:
        followed = self._followed[symbol]
        now = self._clock.monotonic()
        # The longer a book stayed in step, the sooner it may ask again.
        steady_seconds = now - followed.asked_at if followed.book.statistics().snapshots else float("inf")
        followed.asked_at = now
        followed.next_at = now + followed.backoff.ended(steady_seconds)
        try:
            snapshot = await self._read(symbol)
        except ExchangeError as error:
            self._failures += 1
            log.warning("order book of %s: no snapshot: %s", symbol, error)
            return
        try:
            fits = followed.book.snapshot(snapshot.last_update_id, snapshot.bids, snapshot.asks)
        except ValueError as error:
            self._failures += 1
            followed.book.lose()
            log.error("order book of %s: the snapshot cannot be read: %s", symbol, error)
            return
        if not fits:
            log.info("order book of %s: the snapshot is older than its events; asking again", symbol)


def _wants(followed: _Followed) -> bool:
    return followed.book.wants_snapshot()
