"""Reads recordings and plays them in a loop: recorded ticks as they came, candles as modelled quotes.

A source maps a position (ms since the start of the first loop) to ticks. It knows no clock: `between` is
asked for the span that has passed. Recorded ticks jump from their last price to the first at the seam of the
loop; candles are modelled anyway and are played forwards and backwards in turn, so that they have no seam.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from heapq import merge
from operator import itemgetter
from pathlib import Path

import msgspec
from msgspec import Struct

from pms.exchange.messages import AggTradeEvent, BookTickerEvent, MarkPriceEvent, TradeEvent
from pms.simulator import depth_recording
from pms.simulator.candle_source import CandleSource
from pms.simulator.candles import Candle, LoopCandles, point
from pms.simulator.errors import SimulatorError
from pms.simulator.recording_file import bad_line, lines_of
from pms.simulator.rules import SymbolRules
from pms.simulator.ticks import DEPTH, MARK, QUOTE, TRADE, AnyTick, DepthTick, Source, Tick

__all__ = ["MARK", "QUOTE", "TRADE", "AnyTick", "Source", "Tick", "TickSource", "load"]

REPLAYED_EVENTS = frozenset({"bookTicker", "trade", "aggTrade", "markPriceUpdate"})


class _Line(Struct):
    recv_ns: int
    frame: _Frame


class _Frame(Struct):
    data: BookTickerEvent | TradeEvent | AggTradeEvent | MarkPriceEvent


class _OtherData(Struct):
    e: str


class _OtherFrame(Struct):
    data: _OtherData


class _OtherLine(Struct):
    """A line that the replay has no use for: another kind of event, or a REST answer beside the stream."""

    frame: _OtherFrame | None = None
    rest_depth_symbol: str | None = None

    @property
    def skippable(self) -> bool:
        kind = self.frame.data.e if self.frame is not None else ""
        return self.rest_depth_symbol is not None or bool(kind and kind not in REPLAYED_EVENTS)


def load(
    path: Path, rules: Mapping[str, SymbolRules], skip: Collection[str] = (), depth: bool = True
) -> Source:
    """Read a recording (`*.jsonl.gz` ticks or `*.csv.gz` candles), without the symbols in `skip`.

    Symbols that exchangeInfo lacks do not trade and are left out. With `depth`, the file `*.depth.jsonl.gz`
    beside ticks is read too; such a file can also stand alone. Raises `SimulatorError` (file, line).
    """
    known = {symbol: rule for symbol, rule in rules.items() if symbol not in skip}
    if path.name.endswith(depth_recording.SUFFIX):
        return TickSource(None, path, known)
    if path.name.endswith(".jsonl.gz"):
        return TickSource(path, depth_recording.sibling(path) if depth else None, known)
    if path.name.endswith(".csv.gz"):
        return CandleSource(path, known)
    raise SimulatorError(f"The recording {path} has an unknown format: *.jsonl.gz or *.csv.gz is needed.")


class TickSource:
    """Recorded ticks in memory, texts shared; depth, where there is any, as the bytes received."""

    modelled: bool = False
    kind: str = "recorded"

    def __init__(self, path: Path | None, depth: Path | None, rules: Mapping[str, SymbolRules]) -> None:
        self.path = path or depth or Path()
        ticks = _read_ticks(path) if path is not None else ()
        books = depth_recording.read(lines_of(depth), depth) if depth is not None else ()
        self._offsets: list[int] = []
        self._ticks: list[AnyTick] = []
        seconds: dict[str, dict[int, Candle]] = {}
        first_ns = -1
        merged: Iterator[tuple[int, AnyTick]] = merge(ticks, books, key=itemgetter(0))
        for recv_ns, tick in merged:
            first_ns = recv_ns if first_ns < 0 else first_ns
            if tick.symbol not in rules:
                continue
            offset = (recv_ns - first_ns) // 1_000_000
            if isinstance(tick, DepthTick) and tick.snapshot:  # the loop begins with its book
                self._offsets.insert(0, 0)
                self._ticks.insert(0, tick)
                _add_snapshot(seconds.setdefault(tick.symbol, {}), 0, tick)
                continue
            self._offsets.append(offset)
            self._ticks.append(tick)
            if isinstance(tick, DepthTick):
                continue
            if tick.kind != MARK:
                _add_second(seconds.setdefault(tick.symbol, {}), offset // 1000, tick)
        if not self._ticks:
            raise SimulatorError(f"The recording {self.path} holds no tick of a symbol that trades here.")
        self.loop_ms = self._offsets[-1] + 1
        self.recorded_marks = _symbols(self._ticks, MARK)
        self.quoted = _symbols(self._ticks, QUOTE)
        self.deep = _symbols(self._ticks, DEPTH)
        self.symbols = tuple(sorted(seconds))
        count = -(-self.loop_ms // 1000)
        self.history = {s: LoopCandles(_filled(known, count), 1000) for s, known in seconds.items()}

    def between(self, start_ms: float, end_ms: float) -> Iterator[AnyTick]:
        """Yield the ticks with start <= position < end, over as many loops as the span covers."""
        loop = int(start_ms // self.loop_ms)
        while loop * self.loop_ms < end_ms:
            base = loop * self.loop_ms
            index = bisect_left(self._offsets, start_ms - base)
            while index < len(self._offsets) and base + self._offsets[index] < end_ms:
                yield self._ticks[index]
                index += 1
            loop += 1

    def books_at(self, position_ms: float) -> Iterator[DepthTick]:
        """Yield the whole recorded books as they stand at a position of the loop."""
        last = bisect_right(self._offsets, position_ms % self.loop_ms)
        return depth_recording.books(t for t in self._ticks[:last] if isinstance(t, DepthTick))


def _symbols(ticks: Iterable[AnyTick], kind: int) -> frozenset[str]:
    return frozenset(tick.symbol for tick in ticks if tick.kind == kind)


def _read_ticks(path: Path) -> Iterator[tuple[int, Tick]]:
    """Yield (recv_ns, tick) of every line that the replay can use."""
    decoder, other = msgspec.json.Decoder(_Line), msgspec.json.Decoder(_OtherLine)
    texts: dict[str, str] = {}
    last_ns = -1
    for number, raw in lines_of(path):
        try:
            line = decoder.decode(raw)
            tick = _tick(line, texts)
        except (msgspec.DecodeError, ValueError) as error:
            if _skippable(other, raw):
                continue
            raise bad_line(path, number, str(error)) from error
        if line.recv_ns < last_ns:
            raise bad_line(path, number, "recv_ns goes backwards")
        last_ns = line.recv_ns
        yield last_ns, tick


def _add_snapshot(seconds: dict[int, Candle], second: int, tick: DepthTick) -> None:
    bids, asks = depth_recording.decode_rows(tick.bids), depth_recording.decode_rows(tick.asks)
    if bids and asks:
        middle = (float(bids[0][0]) + float(asks[0][0])) / 2
        seconds.setdefault(second, point(middle, 0.0))


def _skippable(decoder: msgspec.json.Decoder[_OtherLine], raw: bytes) -> bool:
    try:
        return decoder.decode(raw).skippable
    except msgspec.DecodeError:
        return False


def _tick(line: _Line, texts: dict[str, str]) -> Tick:
    data = line.frame.data

    def shared(value: str) -> str:
        return texts.setdefault(value, value)

    symbol = shared(data.symbol)
    if isinstance(data, BookTickerEvent):
        quote = (data.bid_price, data.bid_quantity, data.ask_price, data.ask_quantity)
        if not 0 < float(quote[0]) < float(quote[2]) or min(float(quote[1]), float(quote[3])) < 0:
            raise ValueError(f"impossible quote {quote}")
        return Tick(QUOTE, symbol, *map(shared, quote))
    if isinstance(data, MarkPriceEvent):
        if not float(data.mark_price) > 0:
            raise ValueError(f"impossible mark price {data.mark_price}")
        return Tick(MARK, symbol, data.mark_price, data.index_price, data.settle_price, data.funding_rate)
    if not (float(data.price) > 0 and float(data.quantity) >= 0):
        raise ValueError(f"impossible trade {data.price} x {data.quantity}")
    maker = "m" if data.buyer_is_maker else ""
    return Tick(TRADE, symbol, shared(data.price), shared(data.quantity), maker, "")


def _add_second(seconds: dict[int, Candle], second: int, tick: Tick) -> None:
    if tick.kind == TRADE:
        candle = point(float(tick.a), float(tick.b), taker_buys=tick.c != "m")
    elif second in seconds:
        return
    else:
        candle = point((float(tick.a) + float(tick.c)) / 2, 0.0)
    known = seconds.get(second)
    if known is not None and not known.trades:
        known = None  # the middle of a quote only stands in until the first trade
    seconds[second] = candle if known is None else known.plus(candle)


def _filled(seconds: Mapping[int, Candle], count: int) -> list[Candle]:
    last = seconds[min(seconds)].open
    result = []
    for second in range(count):
        candle = seconds.get(second) or point(last, 0.0)
        last = candle.close
        result.append(candle)
    return result
