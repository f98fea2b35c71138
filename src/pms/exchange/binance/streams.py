"""Market streams: sockets that keep what is wanted subscribed, and the newest value of each symbol."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

import msgspec
import picows

from pms.exchange.binance.config import BinanceConfig, StreamTuning
from pms.exchange.binance.convert import book_of, mark_of
from pms.exchange.binance.sockets import Backoff, FrameListener, connect
from pms.exchange.binance.symbols import SymbolDirectory
from pms.exchange.errors import ExchangeError, ExchangeUnavailable
from pms.exchange.messages import (
    BookTickerEvent,
    CommandReply,
    CommandRequest,
    MarketEvent,
    MarkPriceEvent,
    decode_market_frame,
)
from pms.model.clock import Clock
from pms.model.price import BookTicker, MarkPrice
from pms.model.symbol import Symbol

log = logging.getLogger("pms.exchange.binance")

COIN_MARGINED = 2
"""Value of `st` for contracts of the other family, which share the venue since 2026-06-30."""

_WATCH_SECONDS = 0.5
_encoder = msgspec.json.Encoder()
_reply_decoder = msgspec.json.Decoder(CommandReply)

EventT = TypeVar("EventT", BookTickerEvent, MarkPriceEvent)


@dataclass(frozen=True, slots=True)
class SocketStatistics:
    """Counters of one market socket since start; `stale` while connected and nothing came for too long."""

    name: str
    connected: bool
    stale: bool
    streams: int
    connects: int
    failures: int
    frames: int
    strange_frames: int
    refused_commands: int


class MarketSocket:
    """One class of streams (`/public` or `/market`) on one connection that is kept up until cancelled.

    A stream on the wrong class gives no error and no data (Binance spec 4.1): hence the first-frame deadline.
    """

    def __init__(
        self,
        name: str,
        url: str,
        on_event: Callable[[MarketEvent], None],
        clock: Clock,
        random: Random,
        tuning: StreamTuning,
    ) -> None:
        self._name = name
        self._url = f"{url}/stream"
        self._on_event = on_event
        self._clock = clock
        self._tuning = tuning
        self._backoff = Backoff(tuning, random)
        self._wanted: dict[str, None] = {}
        self._active: set[str] = set()
        self._wake = asyncio.Event()
        self._transport: picows.WSTransport | None = None
        self._stale = False
        self._command_id = 0
        self._connects = self._failures = self._frames = self._strange = self._refused_commands = 0

    def want(self, stream: str) -> None:
        """Have a stream from now on. Raises ExchangeUnavailable beyond the bound of one connection."""
        if len(self._wanted) >= self._tuning.streams_max and stream not in self._wanted:
            raise ExchangeUnavailable(f"{self._tuning.streams_max} streams are the bound of one connection")
        self._wanted[stream] = None
        self._wake.set()

    def drop(self, stream: str) -> None:
        """Have a stream no longer."""
        self._wanted.pop(stream, None)
        self._wake.set()

    def statistics(self) -> SocketStatistics:
        """Return the counters as they are now."""
        return SocketStatistics(
            self._name,
            self._transport is not None,
            self._stale,
            len(self._active),
            self._connects,
            self._failures,
            self._frames,
            self._strange,
            self._refused_commands,
        )

    async def run(self) -> None:
        """Keep the connection up, from the first wanted stream until cancelled."""
        while True:
            while not self._wanted:
                self._wake.clear()
                await self._wake.wait()
            started = self._clock.monotonic()
            try:
                await self._connection()
            except ExchangeError as error:
                self._failures += 1
                log.warning("market stream %s: %s", self._name, error)
            await self._clock.sleep(self._backoff.ended(self._clock.monotonic() - started))

    async def _connection(self) -> None:
        listener = FrameListener(self._take, self._wake.set)
        transport = await connect(self._url, listener, self._tuning)
        self._connects += 1
        self._transport, self._stale, self._active = transport, False, set()
        try:
            await self._serve(transport)
        finally:
            self._transport = None
            transport.disconnect(graceful=False)

    # One loop applies wishes at the pace the venue allows and watches the flow.
    async def _serve(self, transport: picows.WSTransport) -> None:
        frames, flowed_at, any_frame = self._frames, self._clock.monotonic(), False
        while not transport.is_disconnected:
            self._wake.clear()
            if self._command(transport):
                await self._clock.sleep(1 / self._tuning.commands_per_second_max)
            else:
                try:
                    async with asyncio.timeout(_WATCH_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    pass
            now = self._clock.monotonic()
            if self._frames != frames or not self._active:
                any_frame = any_frame or self._frames != frames
                frames, flowed_at, self._stale = self._frames, now, False
            self._judge_silence(now - flowed_at, any_frame)

    def _judge_silence(self, silent_seconds: float, any_frame: bool) -> None:
        if not any_frame and silent_seconds > self._tuning.first_frame_seconds_max:
            raise ExchangeUnavailable("no frame came after subscribing; wrong class of stream, or no market")
        if silent_seconds > self._tuning.silence_seconds_max:
            raise ExchangeUnavailable(f"nothing came for {silent_seconds:.0f} s; connecting anew")
        if silent_seconds > self._tuning.stale_seconds and not self._stale:
            self._stale = True
            log.error("market stream %s: nothing came for %.0f s", self._name, silent_seconds)

    # Sends the next batch of differences between wanted and active; False when there is none.
    def _command(self, transport: picows.WSTransport) -> bool:
        bound = self._tuning.streams_per_command_max
        method, streams = "SUBSCRIBE", [each for each in self._wanted if each not in self._active][:bound]
        if streams:
            self._active.update(streams)
        else:
            method, streams = (
                "UNSUBSCRIBE",
                [each for each in self._active if each not in self._wanted][:bound],
            )
            self._active.difference_update(streams)
        if not streams:
            return False
        self._command_id += 1
        request = CommandRequest(method=method, params=streams, id=self._command_id)
        transport.send(picows.WSMsgType.TEXT, _encoder.encode(request))
        return True

    # Runs for every message: keep it short.
    def _take(self, message: memoryview) -> None:
        try:
            combined = decode_market_frame(message)
        except msgspec.DecodeError:
            self._strange += 1
            return
        if combined is not None:
            self._frames += 1
            self._on_event(combined.data)
        else:
            self._take_reply(message)

    def _take_reply(self, message: memoryview) -> None:
        try:
            reply = _reply_decoder.decode(message)
        except msgspec.DecodeError:
            self._strange += 1
            return
        if reply.error is not None:
            self._refused_commands += 1
            log.error("market stream %s: a command was refused: %s", self._name, reply.error.msg)
        elif not isinstance(reply.id, int | str):
            self._strange += 1


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
    """Both market sockets, conflated, delivered to synchronous handlers in slices between other work."""

    def __init__(self, config: BinanceConfig, symbols: SymbolDirectory, clock: Clock, random: Random) -> None:
        self._symbols = symbols
        self._clock = clock
        self._slice = config.streams.deliveries_per_turn_max
        self.public = MarketSocket("public", config.ws_public_url, self._take, clock, random, config.streams)
        self.market = MarketSocket("market", config.ws_market_url, self._take, clock, random, config.streams)
        self._marks: Conflated[MarkPriceEvent] = Conflated()
        self._books: Conflated[BookTickerEvent] = Conflated()
        self._mark_handlers: list[Callable[[MarkPrice], None]] = []
        self._book_handlers: list[Callable[[BookTicker], None]] = []
        self._scheduled = False
        self._failure: asyncio.Future[None] | None = None
        self.malformed = 0

    def subscribe(self, symbol: Symbol) -> None:
        """Want mark price and book ticker. Raises ExchangeError if unlisted or beyond the bound."""
        native = self._symbols.native(symbol).lower()
        self.market.want(f"{native}@markPrice@1s")
        self.public.want(f"{native}@bookTicker")

    def unsubscribe(self, symbol: Symbol) -> None:
        """Give up a symbol's streams. Raises ExchangeError if it is unlisted."""
        native = self._symbols.native(symbol).lower()
        self.market.drop(f"{native}@markPrice@1s")
        self.public.drop(f"{native}@bookTicker")

    def on_mark(self, handler: Callable[[MarkPrice], None]) -> None:
        """Register a synchronous consumer of mark prices."""
        self._mark_handlers.append(handler)

    def on_book(self, handler: Callable[[BookTicker], None]) -> None:
        """Register a synchronous consumer of book tickers."""
        self._book_handlers.append(handler)

    async def run(self) -> None:
        """Keep both sockets up until cancelled. Raises what a handler raised: that is a fault of ours."""
        self._failure = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.public.run(), name="market stream public")
            group.create_task(self.market.run(), name="market stream market")
            await self._failure

    def _take(self, event: MarketEvent) -> None:
        if isinstance(event, MarkPriceEvent):
            if event.symbol_type != COIN_MARGINED:
                self._marks.put(event, self._clock.now_ms())
        elif isinstance(event, BookTickerEvent) and event.symbol_type != COIN_MARGINED:
            self._books.put(event, self._clock.now_ms())
        if not self._scheduled:
            self._schedule()

    def _schedule(self) -> None:
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
                else:
                    return
        except Exception as error:
            if self._failure is None or self._failure.done():
                raise
            self._failure.set_exception(error)
            return
        if self._marks or self._books:
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
        for handler in self._book_handlers:
            handler(book)
