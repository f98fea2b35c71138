"""Candles of the replay: the loop's own past for history, live trades for the minute that is running."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

INTERVAL_MS: dict[str, int] = {
    "1m": 60_000,
    "3m": 180_000,
    "5m": 300_000,
    "15m": 900_000,
    "30m": 1_800_000,
    "1h": 3_600_000,
    "2h": 7_200_000,
    "4h": 14_400_000,
    "6h": 21_600_000,
    "8h": 28_800_000,
    "12h": 43_200_000,
    "1d": 86_400_000,
}


class Candle(NamedTuple):
    """Open, high, low, close in the quote asset; volume in the base asset; number of trades."""

    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int

    def plus(self, other: Candle) -> Candle:
        """Return this candle followed by another."""
        return Candle(
            self.open,
            max(self.high, other.high),
            min(self.low, other.low),
            other.close,
            self.volume + other.volume,
            self.trades + other.trades,
        )

    def reversed(self) -> Candle:
        """Return the candle of the same trades played backwards."""
        return self._replace(open=self.close, close=self.open)


def point(price: float, quantity: float) -> Candle:
    """Return the candle of one trade."""
    return Candle(price, price, price, price, quantity, 1 if quantity else 0)


def joined(candles: Sequence[Candle]) -> Candle:
    """Return one candle out of consecutive ones (at least one)."""
    first = candles[0]
    return Candle(
        first.open,
        max(c.high for c in candles),
        min(c.low for c in candles),
        candles[-1].close,
        sum(c.volume for c in candles),
        sum(c.trades for c in candles),
    )


class LoopCandles:
    """Candles of one looping recording: equal buckets of its time, repeated for ever, back and forth."""

    def __init__(self, buckets: Sequence[Candle], bucket_ms: int) -> None:
        self._buckets = buckets
        self._bucket_ms = bucket_ms
        self._memory: dict[tuple[int, int], Candle] = {}

    def between(self, start_ms: float, end_ms: float) -> Candle:
        """Return the candle of a span of replay position (may be negative, may exceed the loop)."""
        size = len(self._buckets)
        first = int(start_ms // self._bucket_ms)
        count = max(1, int(-(-end_ms // self._bucket_ms)) - first)
        key = (first % size, min(count, size))
        known = self._memory.get(key)
        if known is None:
            known = joined([self._buckets[(key[0] + i) % size] for i in range(key[1])])
            if len(self._memory) < 20_000:
                self._memory[key] = known
        return known


class LiveCandles:
    """One-minute candles of what was really emitted, by symbol; the last 1,500 minutes of each."""

    KEPT = 1500

    def __init__(self) -> None:
        self._minutes: dict[str, dict[int, Candle]] = {}

    def add(self, symbol: str, minute_ms: int, candle: Candle) -> None:
        """Add trades to the minute that starts at `minute_ms`."""
        minutes = self._minutes.setdefault(symbol, {})
        known = minutes.get(minute_ms)
        if known is None:
            while len(minutes) >= self.KEPT:
                del minutes[next(iter(minutes))]
            minutes[minute_ms] = candle
        else:
            minutes[minute_ms] = known.plus(candle)

    def has(self, symbol: str, minute_ms: int) -> bool:
        """True when the minute has a live candle."""
        return minute_ms in self._minutes.get(symbol, ())

    def get(self, symbol: str, minute_ms: int) -> Candle | None:
        """Return the live candle of a minute."""
        return self._minutes.get(symbol, {}).get(minute_ms)
