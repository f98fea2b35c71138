"""Reads recordings and plays them in a loop: recorded ticks as they came, candles as modelled quotes.

A source maps a position (ms since the start of the first loop) to ticks. It knows no clock: `between` is
asked for the span that has passed. Recorded ticks jump from their last price to the first at the seam of the
loop; candles are modelled anyway and are played forwards and backwards in turn, so that they have no seam.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
from msgspec import Struct

from pms.exchange.messages import AggTradeEvent, BookTickerEvent, MarkPriceEvent, TradeEvent
from pms.simulator.candles import Candle, LoopCandles, point
from pms.simulator.errors import SimulatorError
from pms.simulator.rules import SymbolRules

QUOTE, TRADE, MARK = 0, 1, 2
STEP_MS = 250
REPLAYED_EVENTS = frozenset({"bookTicker", "trade", "aggTrade", "markPriceUpdate"})


class Tick(NamedTuple):
    """One replayed message.

    QUOTE: bid, bid size, ask, ask size. TRADE: price, size, "m" when the buyer is maker. MARK: mark, index,
    estimated settle, funding rate. All decimal texts as recorded.
    """

    kind: int
    symbol: str
    a: str
    b: str
    c: str
    d: str


class Source(Protocol):
    """One looping recording."""

    path: Path
    symbols: tuple[str, ...]
    recorded_marks: frozenset[str]
    modelled: bool
    loop_ms: int
    history: dict[str, LoopCandles]

    def between(self, start_ms: float, end_ms: float) -> Iterator[Tick]:
        """Yield the ticks with start <= position < end."""
        ...


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


def load(path: Path, rules: Mapping[str, SymbolRules], skip: Collection[str] = ()) -> Source:
    """Read a recording (`*.jsonl.gz` ticks or `*.csv.gz` candles), without the symbols in `skip`.

    Symbols that exchangeInfo lacks do not trade and are left out. Raises `SimulatorError` (file, line).
    """
    known = {symbol: rule for symbol, rule in rules.items() if symbol not in skip}
    if path.name.endswith(".jsonl.gz"):
        return TickSource(path, known)
    if path.name.endswith(".csv.gz"):
        return CandleSource(path, known)
    raise SimulatorError(f"The recording {path} has an unknown format: *.jsonl.gz or *.csv.gz is needed.")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with gzip.open(path) as file:
            for number, line in enumerate(file, 1):
                yield number, line
    except (OSError, EOFError, zlib.error) as error:
        raise SimulatorError(f"The recording {path} is damaged after line {number}: {error}.") from error


def _bad(path: Path, number: int, what: str) -> SimulatorError:
    return SimulatorError(f"The recording {path} is damaged at line {number}: {what}.")


class TickSource:
    """Recorded ticks in memory, texts shared."""

    modelled = False

    def __init__(self, path: Path, rules: Mapping[str, SymbolRules]) -> None:
        self.path = path
        self._offsets: list[int] = []
        self._ticks: list[Tick] = []
        seconds: dict[str, dict[int, Candle]] = {}
        marks: set[str] = set()
        decoder, other = msgspec.json.Decoder(_Line), msgspec.json.Decoder(_OtherLine)
        texts: dict[str, str] = {}
        first_ns = last_ns = -1
        for number, raw in _lines(path):
            try:
                line = decoder.decode(raw)
                tick = _tick(line, texts)
            except (msgspec.DecodeError, ValueError) as error:
                if _skippable(other, raw):
                    continue
                raise _bad(path, number, str(error)) from error
            if line.recv_ns < last_ns:
                raise _bad(path, number, "recv_ns goes backwards")
            last_ns = line.recv_ns
            first_ns = last_ns if first_ns < 0 else first_ns
            if tick.symbol not in rules:
                continue
            offset = (last_ns - first_ns) // 1_000_000
            self._offsets.append(offset)
            self._ticks.append(tick)
            if tick.kind == MARK:
                marks.add(tick.symbol)
            else:
                _add_second(seconds.setdefault(tick.symbol, {}), offset // 1000, tick)
        if not self._ticks:
            raise SimulatorError(f"The recording {path} holds no tick of a symbol that trades here.")
        self.loop_ms = self._offsets[-1] + 1
        self.recorded_marks = frozenset(marks)
        self.symbols = tuple(sorted(seconds))
        count = -(-self.loop_ms // 1000)
        self.history = {s: LoopCandles(_filled(known, count), 1000) for s, known in seconds.items()}

    def between(self, start_ms: float, end_ms: float) -> Iterator[Tick]:
        """Yield the ticks with start <= position < end, over as many loops as the span covers."""
        loop = int(start_ms // self.loop_ms)
        while loop * self.loop_ms < end_ms:
            base = loop * self.loop_ms
            index = bisect_left(self._offsets, start_ms - base)
            while index < len(self._offsets) and base + self._offsets[index] < end_ms:
                yield self._ticks[index]
                index += 1
            loop += 1


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
        candle = point(float(tick.a), float(tick.b))
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


class CandleSource:
    """Candles of one interval played as quotes (modelled): four quotes a second, spread one tick.

    Price path within a candle: a rising one goes open, low, high, close; a falling one open, high, low,
    close; each leg takes a third of the interval. Displayed size: the average volume of one second.
    """

    modelled = True
    recorded_marks: frozenset[str] = frozenset()

    def __init__(self, path: Path, rules: Mapping[str, SymbolRules]) -> None:
        self.path = path
        self._candles, self._interval_ms = _read_candles(path, rules)
        if not self._candles:
            raise SimulatorError(f"The recording {path} holds no candle of a symbol that trades here.")
        self.symbols = tuple(sorted(self._candles))
        lengths = {len(rows) for rows in self._candles.values()}
        if len(lengths) > 1:
            raise SimulatorError(f"The recording {path} has unequal numbers of candles: {sorted(lengths)}.")
        for rows in self._candles.values():
            rows.extend([candle.reversed() for candle in reversed(rows)])
        self._steps = self._interval_ms // STEP_MS
        self.loop_ms = self._interval_ms * len(self._candles[self.symbols[0]])
        self.history = {s: LoopCandles(rows, self._interval_ms) for s, rows in self._candles.items()}
        self._rules = {symbol: rules[symbol] for symbol in self.symbols}

    def between(self, start_ms: float, end_ms: float) -> Iterator[Tick]:
        """Yield one quote and one trade of each symbol for each step in the span."""
        step = int(-(-start_ms // STEP_MS))
        while step * STEP_MS < end_ms:
            number, part = divmod(step % (self.loop_ms // STEP_MS), self._steps)
            for symbol in self.symbols:
                yield from self._step(symbol, self._candles[symbol][number], part)
            step += 1

    def _step(self, symbol: str, candle: Candle, part: int) -> Iterator[Tick]:
        rules = self._rules[symbol]
        tick, lot = rules.price.step, rules.lot
        path = _path(candle, part, self._steps)
        bid = ((Decimal(repr(path)) / tick).to_integral_value() * tick).quantize(tick)
        per_second = candle.volume * 1000 / self._interval_ms
        size = (Decimal(repr(per_second)) / lot.step).to_integral_value() * lot.step
        size = min(max(size, lot.low * 10), lot.high)
        traded = max((size / 8 / lot.step).to_integral_value() * lot.step, lot.low)
        yield Tick(QUOTE, symbol, f"{bid:f}", f"{size:f}", f"{bid + tick:f}", f"{size:f}")
        yield Tick(TRADE, symbol, f"{bid:f}", f"{traded:f}", "m", "")


def _path(candle: Candle, part: int, steps: int) -> float:
    rising = candle.close >= candle.open
    second, third = (candle.low, candle.high) if rising else (candle.high, candle.low)
    corners = (candle.open, second, third, candle.close)
    leg, within = divmod(part * 3, steps)
    return corners[leg] + (corners[leg + 1] - corners[leg]) * within / steps


def _read_candles(path: Path, rules: Mapping[str, SymbolRules]) -> tuple[dict[str, list[Candle]], int]:
    """Return the candles by symbol and their interval in ms, which the first two candles of a symbol tell."""
    interval_ms = 0
    rows: dict[str, list[Candle]] = {}
    last: dict[str, int] = {}
    numbered = _lines(path)
    _, header = next(numbered, (0, b""))
    names = header.decode("utf-8", "replace").strip().split(",")
    if names[:6] != ["open_time_ms", "symbol", "open", "high", "low", "close"]:
        raise _bad(path, 1, "not the header of a candle file")
    for number, raw in numbered:
        try:
            cells = next(csv.reader([raw.decode().strip()]))
            opened, symbol = int(cells[0]), cells[1]
            prices = [float(cell) for cell in cells[2:6]]
            volume = float(cells[6] or 0)
        except (ValueError, IndexError, StopIteration) as error:
            raise _bad(path, number, f"{error}") from error
        if not 0 < prices[2] <= min(prices) or prices[1] < max(prices) or not volume >= 0:
            raise _bad(path, number, "impossible candle")
        if symbol not in rules:
            continue
        if symbol in last:
            interval_ms = interval_ms or opened - last[symbol]
            if opened - last[symbol] != interval_ms or interval_ms < 1000 or interval_ms % 1000:
                raise _bad(path, number, f"{symbol} does not follow its last candle at the file's interval")
        last[symbol] = opened
        rows.setdefault(symbol, []).append(
            Candle(prices[0], prices[1], prices[2], prices[3], volume, max(1, int(volume)))
        )
    return rows, interval_ms or 60_000
