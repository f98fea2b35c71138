"""Candles of any interval: what was really emitted, and before that the past of the loop that is playing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pms.simulator.candles import Candle, LiveCandles, joined
from pms.simulator.ticks import Source

MINUTE_MS = 60_000


class CandleHistory:
    """One-minute candles by symbol, and longer ones joined from them.

    `position(source, ms)` tells where a source stands at a time; `sources` names the one of each symbol.
    """

    def __init__(self, sources: Mapping[str, Source], position: Callable[[Source, float], float]) -> None:
        self._sources = sources
        self._position = position
        self.live = LiveCandles()

    def add(self, symbol: str, now_ms: int, candle: Candle, replayed: bool) -> None:
        """Add what was emitted now; a minute that began before takes its beginning from the loop."""
        minute = now_ms // MINUTE_MS * MINUTE_MS
        if not self.live.has(symbol, minute) and replayed and now_ms - minute > 1000:
            past = self._past(symbol, minute, now_ms)
            if past is not None:
                self.live.add(symbol, minute, past)
        self.live.add(symbol, minute, candle)

    def minute(self, symbol: str, minute_ms: int) -> Candle | None:
        """Return the one-minute candle: live when there is one, else the loop's own past."""
        known = self.live.get(symbol, minute_ms)
        return known if known is not None else self._past(symbol, minute_ms, minute_ms + MINUTE_MS)

    def candle(self, symbol: str, open_ms: int, end_ms: int, now_ms: int) -> Candle | None:
        """Return the candle of a span, up to now when it is still running."""
        end = min(end_ms, now_ms // MINUTE_MS * MINUTE_MS + MINUTE_MS)
        first_live = min(max(self.live.first(symbol, end), open_ms), end)
        parts = [self._past(symbol, open_ms, first_live)] if open_ms < first_live else []
        parts += [self.minute(symbol, minute) for minute in range(first_live, end, MINUTE_MS)]
        found = [part for part in parts if part is not None]
        return joined(found) if found else None

    def _past(self, symbol: str, start_ms: int, end_ms: int) -> Candle | None:
        source = self._sources.get(symbol)
        if source is None or symbol not in source.history:
            return None
        return source.history[symbol].between(
            self._position(source, start_ms), self._position(source, end_ms)
        )
