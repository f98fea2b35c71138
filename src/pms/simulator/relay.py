"""A live source: the public streams of another venue, replayed here as they come.

The other venue is anything that speaks the same protocol: the exchange, its demo, another simulator. One
socket of class public (bookTicker, depth) and one of class market (aggTrade, markPrice) are kept open and
opened again after a break, with growing pauses. Order books follow the rule of spec 4.3: a snapshot by REST,
then differences; a gap means a new snapshot. What came waits in a bounded queue until the feed takes it; when
that is full, the oldest goes first (`dropped`), and a lost depth event breaks the chain like a gap. Symbols
that nothing was heard of for `stale_ms` are stale: their marks are not published as if they were new.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
from msgspec import Raw, Struct, field

from pms.exchange.messages import AggTradeEvent, BookTickerEvent, MarkPriceEvent
from pms.model.clock import Clock
from pms.simulator.candles import LoopCandles
from pms.simulator.depth_recording import DepthData
from pms.simulator.errors import SimulatorError
from pms.simulator.ticks import DEPTH, MARK, QUOTE, TRADE, AnyTick, DepthTick, Tick

QUEUE_MAX = 20_000
PAUSE_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
CONNECT_SECONDS = 10.0
SILENT_SECONDS = 30.0
FRAME_BYTES_MAX = 4 << 20


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """Where the other venue is, and which of its symbols (native names) to relay.

    `rest_url` like https://fapi.binance.com, `stream_url` like wss://fstream.binance.com; without `depth`
    only quotes, trades and marks are relayed.
    """

    rest_url: str
    stream_url: str
    symbols: tuple[str, ...]
    depth: bool = True
    stale_ms: int = 10_000


class _Head(Struct):
    e: str = ""


class _Frame(Struct):
    stream: str = ""
    data: Raw = Raw(b"{}")


class _Snapshot(Struct):
    last: int = field(name="lastUpdateId")
    bids: Raw = Raw(b"[]")
    asks: Raw = Raw(b"[]")


class _Book:
    """Follows one chain of differences: what waits for the snapshot, and the last applied id."""

    WAITING_MAX = 1000

    def __init__(self) -> None:
        self.waiting: deque[DepthData] = deque(maxlen=self.WAITING_MAX)
        self.last = 0
        self.asked = False

    def begin(self, snapshot_id: int) -> list[DepthData]:
        """Take the id of a snapshot; returns the events to apply after it, empty when it is too old."""
        newer = [event for event in self.waiting if event.final >= snapshot_id]
        self.waiting.clear()
        self.asked = False
        if newer and newer[0].first > snapshot_id:
            return []  # the snapshot is older than the first event: ask again with the next one
        self.last = newer[-1].final if newer else snapshot_id
        return newer

    def follows(self, event: DepthData) -> bool:
        """True when the event continues the chain (or spans the snapshot that nothing followed yet)."""
        return event.previous == self.last or event.first <= self.last <= event.final


class RelaySource:
    """The ticks of another venue, taken as they came. Owns its tasks between `start` and `stop`."""

    modelled: bool = False
    kind: str = "relayed"

    def __init__(self, config: RelayConfig, clock: Clock) -> None:
        if not config.symbols:
            raise SimulatorError("A relay needs the symbols that it shall relay.")
        self.path = Path("relay")
        self.symbols = config.symbols
        self.recorded_marks = self.quoted = frozenset(config.symbols)
        self.deep = frozenset(config.symbols) if config.depth else frozenset[str]()
        self.loop_ms = 1
        self.history: dict[str, LoopCandles] = {}
        self._config = config
        self._clock = clock
        self._queue: deque[AnyTick] = deque()
        self._books = {symbol: _Book() for symbol in config.symbols}
        self._heard: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self.dropped = self.connections = self.gaps = self.unknown = 0

    # -- as a source

    def between(self, start_ms: float, end_ms: float) -> Iterator[AnyTick]:
        """Yield what has come since the last call; the position means nothing here."""
        for _ in range(len(self._queue)):
            yield self._queue.popleft()

    def books_at(self, position_ms: float) -> Iterator[DepthTick]:
        """Ask for new snapshots: what was missed here cannot be looked up."""
        for book in self._books.values():
            book.last = 0
        return iter(())

    def stale(self, symbol: str) -> bool:
        """True when nothing was heard of a symbol for longer than `stale_ms`."""
        heard = self._heard.get(symbol)
        return heard is None or (self._clock.monotonic() - heard) * 1000 > self._config.stale_ms

    # -- life

    async def start(self) -> None:
        """Open the connections; returns at once."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CONNECT_SECONDS))
        names = [symbol.lower() for symbol in self.symbols]
        public = [f"{name}@bookTicker" for name in names]
        if self._config.depth:
            public += [f"{name}@depth@100ms" for name in names]
        market = [f"{name}@{kind}" for name in names for kind in ("aggTrade", "markPrice@1s")]
        for traffic, streams in (("public", public), ("market", market)):
            self._spawn(self._keep(traffic, streams))

    async def stop(self) -> None:
        """Close everything; safe to call twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, traffic: str, streams: list[str]) -> None:
        """Keep one connection open for ever; each break waits longer, until something comes again."""
        failures = 0
        url = f"{self._config.stream_url}/{traffic}/stream?streams={'/'.join(streams)}"
        while True:
            try:
                heard = await self._listen(url)
            except (aiohttp.ClientError, TimeoutError, OSError):
                heard = False
            failures = 0 if heard else failures + 1
            await self._clock.sleep(PAUSE_SECONDS[min(failures, len(PAUSE_SECONDS) - 1)])

    async def _listen(self, url: str) -> bool:
        """Read one connection to its end; True when anything came."""
        session = self._session
        if session is None:
            return False
        heard = False
        async with session.ws_connect(url, max_msg_size=FRAME_BYTES_MAX, heartbeat=None) as socket:
            self.connections += 1
            while True:
                message = await socket.receive(timeout=SILENT_SECONDS)
                if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    return heard
                heard = True
                self.take(message.data)

    # -- messages

    def take(self, raw: str | bytes) -> None:
        """Take one frame of a combined stream; what is malformed or of an unknown kind is counted."""
        try:
            data = msgspec.json.decode(raw, type=_Frame).data
            kind = msgspec.json.decode(data, type=_Head).e
            self._event(kind, data)
        except msgspec.DecodeError:
            self.unknown += 1

    def _event(self, kind: str, data: Raw) -> None:
        if kind == "bookTicker":
            quote = msgspec.json.decode(data, type=BookTickerEvent)
            texts = quote.bid_price, quote.bid_quantity, quote.ask_price, quote.ask_quantity
            self._put(Tick(QUOTE, quote.symbol, *texts))
        elif kind == "aggTrade":
            trade = msgspec.json.decode(data, type=AggTradeEvent)
            maker = "m" if trade.buyer_is_maker else ""
            self._put(Tick(TRADE, trade.symbol, trade.price, trade.quantity, maker, ""))
        elif kind == "markPriceUpdate":
            mark = msgspec.json.decode(data, type=MarkPriceEvent)
            texts = mark.mark_price, mark.index_price, mark.settle_price, mark.funding_rate
            self._put(Tick(MARK, mark.symbol, *texts))
        elif kind == "depthUpdate":
            self._depth(msgspec.json.decode(data, type=DepthData))
        else:
            self.unknown += 1

    def _put(self, tick: AnyTick) -> None:
        if tick.symbol not in self._books:
            return
        self._heard[tick.symbol] = self._clock.monotonic()
        if len(self._queue) >= QUEUE_MAX:
            lost = self._queue.popleft()
            self.dropped += 1
            if isinstance(lost, DepthTick):
                self._books[lost.symbol].last = 0
        self._queue.append(tick)

    def _depth(self, event: DepthData) -> None:
        book = self._books.get(event.symbol)
        if book is None:
            return
        if book.last and book.follows(event):
            book.last = event.final
            self._put(DepthTick(DEPTH, event.symbol, bytes(event.bids), bytes(event.asks), False))
            return
        if book.last:
            self.gaps += 1
            book.last = 0
        book.waiting.append(event)
        if not book.asked:
            book.asked = True
            self._spawn(self._ask(event.symbol, book))

    async def _ask(self, symbol: str, book: _Book) -> None:
        """Fetch a snapshot and begin the chain with it; a failure leaves the next event to ask again."""
        try:
            snapshot = await self._snapshot(symbol)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError):
            await self._clock.sleep(PAUSE_SECONDS[1])
            book.asked = False
            return
        waiting = bool(book.waiting)
        events = book.begin(snapshot.last)
        if waiting and not events and not book.last:
            return
        self._put(DepthTick(DEPTH, symbol, bytes(snapshot.bids), bytes(snapshot.asks), True))
        for event in events:
            self._put(DepthTick(DEPTH, symbol, bytes(event.bids), bytes(event.asks), False))

    async def _snapshot(self, symbol: str) -> _Snapshot:
        session = self._session
        if session is None:
            raise TimeoutError
        url = f"{self._config.rest_url}/fapi/v1/depth"
        async with session.get(url, params={"symbol": symbol, "limit": "1000"}) as answer:
            answer.raise_for_status()
            return msgspec.json.decode(await answer.read(), type=_Snapshot)

    def statistics(self) -> dict[str, int]:
        """Return counters: connections made, ticks dropped, gaps in books, unknown frames, symbols stale."""
        return {
            "connections": self.connections,
            "dropped": self.dropped,
            "gaps": self.gaps,
            "unknown": self.unknown,
            "stale": sum(self.stale(symbol) for symbol in self.symbols),
        }
