"""Candles of the replay: the loop's own past for history, live trades for the minute that is running."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
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
    "3d": 259_200_000,
    "1w": 604_800_000,
    "1M": 2_592_000_000,
}
"""Length of each candle interval in ms; of a month, its usual length."""

MONDAY_MS = 4 * 86_400_000


def opening(interval: str, moment_ms: int) -> int:
    """Return when the candle that contains a moment opens (UTC; weeks on Monday, months on their first)."""
    if interval == "1M":
        day = datetime.fromtimestamp(moment_ms / 1000, UTC)
        return int(datetime(day.year, day.month, 1, tzinfo=UTC).timestamp() * 1000)
    shift = MONDAY_MS if interval == "1w" else 0
    span = INTERVAL_MS[interval]
    return (moment_ms - shift) // span * span + shift


def closing(interval: str, open_ms: int) -> int:
    """Return when the candle that opens at `open_ms` ends: the opening of the next one."""
    if interval == "1M":
        return opening(interval, open_ms + 32 * 86_400_000)
    return open_ms + INTERVAL_MS[interval]


class Candle(NamedTuple):
    """Open, high, low, close in the quote asset; volume in the base asset; number of trades.

    `quote_volume` in the quote asset, `taker_volume` what takers bought, in the base asset. Candles of files
    have neither: `shown_quote_volume` and `shown_taker_volume` stand in for them.
    """

    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int
    quote_volume: float = 0.0
    taker_volume: float = 0.0

    def plus(self, other: Candle) -> Candle:
        """Return this candle followed by another."""
        return Candle(
            self.open,
            max(self.high, other.high),
            min(self.low, other.low),
            other.close,
            self.volume + other.volume,
            self.trades + other.trades,
            self.quote_volume + other.quote_volume,
            self.taker_volume + other.taker_volume,
        )

    def reversed(self) -> Candle:
        """Return the candle of the same trades played backwards."""
        return self._replace(open=self.close, close=self.open)

    def times(self, factor: float) -> Candle:
        """Return the candle with its volumes and trades multiplied: a loop that ran several times."""
        return self._replace(
            volume=self.volume * factor,
            trades=round(self.trades * factor),
            quote_volume=self.quote_volume * factor,
            taker_volume=self.taker_volume * factor,
        )

    @property
    def shown_quote_volume(self) -> float:
        """Volume in the quote asset, estimated at the middle of the candle where it is not known."""
        return self.quote_volume or self.volume * (self.high + self.low) / 2

    @property
    def shown_taker_volume(self) -> float:
        """What takers bought, half of the volume where it is not known."""
        return self.taker_volume if self.quote_volume else self.volume / 2


def point(price: float, quantity: float, taker_buys: bool = False) -> Candle:
    """Return the candle of one trade."""
    bought = quantity if taker_buys else 0.0
    return Candle(price, price, price, price, quantity, 1 if quantity else 0, price * quantity, bought)


def joined(candles: Sequence[Candle]) -> Candle:
    """Return one candle out of consecutive ones (at least one)."""
    return Candle(
        candles[0].open,
        max(c.high for c in candles),
        min(c.low for c in candles),
        candles[-1].close,
        sum(c.volume for c in candles),
        sum(c.trades for c in candles),
        sum(c.quote_volume for c in candles),
        sum(c.taker_volume for c in candles),
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
        return known if count <= size else known.times(count / size)


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

    def first(self, symbol: str, otherwise_ms: int) -> int:
        """Return the oldest minute that has a live candle, `otherwise_ms` when there is none."""
        return next(iter(self._minutes.get(symbol, ())), otherwise_ms)

    def has(self, symbol: str, minute_ms: int) -> bool:
        """True when the minute has a live candle."""
        return minute_ms in self._minutes.get(symbol, ())

    def get(self, symbol: str, minute_ms: int) -> Candle | None:
        """Return the live candle of a minute."""
        return self._minutes.get(symbol, {}).get(minute_ms)
