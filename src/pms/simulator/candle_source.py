"""Candles of one interval played as modelled quotes, forwards and backwards in turn."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path

from pms.simulator.candles import Candle, LoopCandles
from pms.simulator.errors import SimulatorError
from pms.simulator.recording_file import bad_line, lines_of
from pms.simulator.rules import SymbolRules
from pms.simulator.ticks import QUOTE, TRADE, DepthTick, Tick

STEP_MS = 250


class CandleSource:
    """Candles of one interval played as quotes (modelled): four quotes a second, spread one tick.

    Price path within a candle: a rising one goes open, low, high, close; a falling one open, high, low,
    close; each leg takes a third of the interval. Displayed size: the average volume of one second.
    """

    modelled: bool = True
    kind: str = "modelled"
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
        self.deep: frozenset[str] = frozenset()
        self.quoted = frozenset(self.symbols)

    def between(self, start_ms: float, end_ms: float) -> Iterator[Tick]:
        """Yield one quote and one trade of each symbol for each step in the span."""
        step = int(-(-start_ms // STEP_MS))
        while step * STEP_MS < end_ms:
            number, part = divmod(step % (self.loop_ms // STEP_MS), self._steps)
            for symbol in self.symbols:
                yield from self._step(symbol, self._candles[symbol][number], part)
            step += 1

    def books_at(self, position_ms: float) -> Iterator[DepthTick]:
        """Candles have no book."""
        return iter(())

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
    numbered = lines_of(path)
    _, header = next(numbered, (0, b""))
    names = header.decode("utf-8", "replace").strip().split(",")
    if names[:6] != ["open_time_ms", "symbol", "open", "high", "low", "close"]:
        raise bad_line(path, 1, "not the header of a candle file")
    for number, raw in numbered:
        try:
            cells = next(csv.reader([raw.decode().strip()]))
            opened, symbol = int(cells[0]), cells[1]
            prices = [float(cell) for cell in cells[2:6]]
            volume = float(cells[6] or 0)
        except (ValueError, IndexError, StopIteration) as error:
            raise bad_line(path, number, f"{error}") from error
        if not 0 < prices[2] <= min(prices) or prices[1] < max(prices) or not volume >= 0:
            raise bad_line(path, number, "impossible candle")
        if symbol not in rules:
            continue
        if symbol in last:
            interval_ms = interval_ms or opened - last[symbol]
            if opened - last[symbol] != interval_ms or interval_ms < 1000 or interval_ms % 1000:
                raise bad_line(
                    path, number, f"{symbol} does not follow its last candle at the file's interval"
                )
        last[symbol] = opened
        rows.setdefault(symbol, []).append(
            Candle(prices[0], prices[1], prices[2], prices[3], volume, max(1, int(volume)))
        )
    return rows, interval_ms or 60_000
