"""Market streams as the engine sees them: the newest value of each symbol, whole books, and every trade."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

from pms.exchange.binance.config import BinanceConfig
from pms.exchange.binance.convert import book_of, mark_of, trade_of
from pms.exchange.binance.depth import DepthBooks, DepthStatistics, ReadSnapshot
from pms.exchange.binance.supervisor import StreamSupervisor
from pms.exchange.binance.symbols import SymbolDirectory
from pms.exchange.binance.tick_guard import TickGuard, TickStatistics
from pms.exchange.census import Census
from pms.exchange.messages import (
    AggTradeEvent,
    BookTickerEvent,
    ContractInfoEvent,
    DepthEvent,
    MarketEvent,
    MarkPriceEvent,
)
from pms.model.clock import Clock
from pms.model.price import BookTicker, MarkPrice, OrderBook, PublicTrade
from pms.model.symbol import Symbol

log = logging.getLogger("pms.exchange.binance")

CONTRACTS = "!contractInfo"
"""Tells when a contract is listed or leaves trading; silent for days otherwise."""

COIN_MARGINED = 2
"""Value of `st` for contracts of the other family, which share the venue since 2026-06-30."""

EventT = TypeVar("EventT", BookTickerEvent, MarkPriceEvent)


@dataclass(frozen=True, slots=True)
class MarketStreamStatistics:
    """What was delivered and what was not, since start; `waiting` trades now."""

    ticks: TickStatistics
    depth: DepthStatistics
    malformed: int
    trades: int
    trades_overflowed: int
    waiting: int


class Conflated(Generic[EventT]):
    """The newest undelivered event of each symbol, in the order in which symbols began to wait."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[EventT, int]] = {}
        self._waiting: deque[str] = deque()

    def put(self, event: EventT, received_ms: int) -> None:
        """Take an event; it replaces the symbol's undelivered one."""
        if event.symbol not in self._newest:
            self._waiting.append(event.symbol)
        self._newest[event.symbol] = (event, received_ms)

    def pop(self) -> tuple[EventT, int]:
        """Take the longest waiting symbol's newest event. Raises IndexError when nothing waits."""
        return self._newest.pop(self._waiting.popleft())

    def __len__(self) -> int:
        return len(self._waiting)


class MarketStreams:
    """All market data, delivered to synchronous handlers in slices between other work.

    Marks and book tickers are conflated; depth events are applied when they come and announced conflated;
    trades are all delivered, up to `trades_max` that wait. Overflow: the oldest go and are counted.
    """

    def __init__(
        self,
        config: BinanceConfig,
        symbols: SymbolDirectory,
        clock: Clock,
        random: Random,
        venue_now_ms: Callable[[], int],
        read_snapshot: ReadSnapshot,
        census: Census,
    ) -> None:
        tuning = config.streams
        self._symbols = symbols
        self._clock = clock
        self._venue_now_ms = venue_now_ms
        self._slice = tuning.deliveries_per_turn_max
        self.supervisor = StreamSupervisor(
            config.ws_public_url,
            config.ws_market_url,
            self._take,
            self._interrupted,
            clock,
            random,
            tuning,
            census,
        )
        self._guard = TickGuard(tuning.late_ms_max)
        self._depth = DepthBooks(read_snapshot, clock, random, tuning)
        self._marks: Conflated[MarkPriceEvent] = Conflated()
        self._books: Conflated[BookTickerEvent] = Conflated()
        self._changed_depths: dict[Symbol, None] = {}
        self._trades: deque[tuple[AggTradeEvent, int]] = deque()
        self._trades_max = tuning.trades_max
        self._mark_handlers: list[Callable[[MarkPrice], None]] = []
        self._book_handlers: list[Callable[[BookTicker], None]] = []
        self._depth_handlers: list[Callable[[Symbol], None]] = []
        self._trade_handlers: list[Callable[[PublicTrade], None]] = []
        self._scheduled = False
        self._failure: asyncio.Future[None] | None = None
        self.malformed = self._traded = self._overflowed = 0

    def subscribe(self, symbol: Symbol) -> None:
        """Want mark price and book ticker. Raises ExchangeError if unlisted or beyond the bound."""
        native = self._native(symbol)
        self.supervisor.market.want(CONTRACTS)
        self.supervisor.market.want(f"{native}@markPrice@1s")
        self.supervisor.public.want(f"{native}@bookTicker")

    def unsubscribe(self, symbol: Symbol) -> None:
        """Give up mark price and book ticker. Raises ExchangeError if the symbol is unlisted."""
        native = self._native(symbol)
        self.supervisor.market.drop(f"{native}@markPrice@1s")
        self.supervisor.public.drop(f"{native}@bookTicker")
        if len(self.supervisor.market) == 1:
            self.supervisor.market.drop(CONTRACTS)

    def subscribe_depth(self, symbol: Symbol) -> None:
        """Want the whole order book. Raises ExchangeError if unlisted or beyond the bound."""
        self.supervisor.public.want(f"{self._native(symbol)}@depth")
        self._depth.follow(symbol)

    def unsubscribe_depth(self, symbol: Symbol) -> None:
        """Give up the order book. Raises ExchangeError if the symbol is unlisted."""
        self.supervisor.public.drop(f"{self._native(symbol)}@depth")
        self._depth.unfollow(symbol)

    def depth(self, symbol: Symbol, levels: int) -> OrderBook | None:
        """Return the best levels now; None while the book is not wanted or not in step with the venue."""
        return self._depth.book(symbol, levels)

    def subscribe_trades(self, symbol: Symbol) -> None:
        """Want every public trade. Raises ExchangeError if unlisted or beyond the bound."""
        self.supervisor.market.want(f"{self._native(symbol)}@aggTrade")

    def unsubscribe_trades(self, symbol: Symbol) -> None:
        """Give up the public trades. Raises ExchangeError if the symbol is unlisted."""
        self.supervisor.market.drop(f"{self._native(symbol)}@aggTrade")

    def on_mark(self, handler: Callable[[MarkPrice], None]) -> None:
        """Register a synchronous consumer of mark prices."""
        self._mark_handlers.append(handler)

    def on_book(self, handler: Callable[[BookTicker], None]) -> None:
        """Register a synchronous consumer of book tickers."""
        self._book_handlers.append(handler)

    def on_depth(self, handler: Callable[[Symbol], None]) -> None:
        """Register a synchronous consumer that is told whose order book changed; it reads `depth`."""
        self._depth_handlers.append(handler)

    def on_trade(self, handler: Callable[[PublicTrade], None]) -> None:
        """Register a synchronous consumer of public trades."""
        self._trade_handlers.append(handler)

    async def run(self) -> None:
        """Keep all sockets up until cancelled. Raises what a handler raised: that is a fault of ours."""
        self._failure = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.supervisor.run(), name="market sockets")
            group.create_task(self._depth.run(), name="order books")
            await self._failure

    def statistics(self) -> MarketStreamStatistics:
        """Return the counters as they are now."""
        return MarketStreamStatistics(
            self._guard.statistics(),
            self._depth.statistics(),
            self.malformed,
            self._traded,
            self._overflowed,
            len(self._trades),
        )

    def _native(self, symbol: Symbol) -> str:
        return self._symbols.native(symbol).lower()

    def _interrupted(self, streams: tuple[str, ...]) -> None:
        natives = {stream.partition("@")[0].upper() for stream in streams}
        self._guard.forget(natives)
        for stream in streams:
            native, _, kind = stream.partition("@")
            symbol = self._symbols.map.unified.get(native.upper())
            if kind == "depth" and symbol is not None:
                self._depth.interrupted(symbol)
                self._changed_depths[symbol] = None
                self._schedule()

    # Runs for every message: keep it short.
    def _take(self, event: MarketEvent) -> None:
        now_ms, venue_now_ms = self._clock.now_ms(), self._venue_now_ms()
        if isinstance(event, BookTickerEvent):
            if event.symbol_type != COIN_MARGINED and self._guard.book(event, venue_now_ms):
                self._books.put(event, now_ms)
        elif isinstance(event, MarkPriceEvent):
            if event.symbol_type != COIN_MARGINED and self._guard.mark(event, venue_now_ms):
                self._marks.put(event, now_ms)
        elif isinstance(event, DepthEvent):
            self._take_depth(event, now_ms)
        elif isinstance(event, ContractInfoEvent):
            if event.symbol_type != COIN_MARGINED:
                self._symbols.note_status(event.symbol, event.status)
        elif isinstance(event, AggTradeEvent) and self._guard.trade(event, venue_now_ms):
            if len(self._trades) >= self._trades_max:
                self._trades.popleft()
                self._overflowed += 1
            self._trades.append((event, now_ms))
        self._schedule()

    def _take_depth(self, event: DepthEvent, now_ms: int) -> None:
        symbol = self._symbols.map.unified.get(event.symbol)
        if symbol is None:
            return
        try:
            if self._depth.take(symbol, event, now_ms):
                self._changed_depths[symbol] = None
        except ValueError:
            self.malformed += 1
            self._depth.interrupted(symbol)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._deliver)

    # A bounded slice for each turn of the loop: commands pass a burst of ticks (decision 22); marks first.
    def _deliver(self) -> None:
        self._scheduled = False
        try:
            for _ in range(self._slice):
                if self._marks:
                    self._deliver_mark(*self._marks.pop())
                elif self._books:
                    self._deliver_book(*self._books.pop())
                elif self._trades:
                    self._deliver_trade(*self._trades.popleft())
                elif self._changed_depths:
                    self._deliver_depth(next(iter(self._changed_depths)))
                else:
                    return
        except Exception as error:
            if self._failure is None or self._failure.done():
                raise
            self._failure.set_exception(error)
            return
        if self._marks or self._books or self._trades or self._changed_depths:
            self._schedule()

    def _deliver_mark(self, event: MarkPriceEvent, received_ms: int) -> None:
        symbol = self._symbols.map.unified.get(event.symbol)
        if symbol is None:
            return
        try:
            mark = mark_of(event, symbol, received_ms)
        except ValueError:
            self.malformed += 1
            return
        if self._guard.price(mark.price):
            for handler in self._mark_handlers:
                handler(mark)

    def _deliver_book(self, event: BookTickerEvent, received_ms: int) -> None:
        symbol = self._symbols.map.unified.get(event.symbol)
        if symbol is None:
            return
        try:
            book = book_of(event, symbol, received_ms)
        except ValueError:
            self.malformed += 1
            return
        if self._guard.quote(book.bid, book.ask):
            for handler in self._book_handlers:
                handler(book)

    def _deliver_trade(self, event: AggTradeEvent, received_ms: int) -> None:
        symbol = self._symbols.map.unified.get(event.symbol)
        if symbol is None:
            return
        try:
            trade = trade_of(event, symbol, received_ms)
        except ValueError:
            self.malformed += 1
            return
        if self._guard.price(trade.price):
            self._traded += 1
            for handler in self._trade_handlers:
                handler(trade)

    def _deliver_depth(self, symbol: Symbol) -> None:
        del self._changed_depths[symbol]
        for handler in self._depth_handlers:
            handler(symbol)
