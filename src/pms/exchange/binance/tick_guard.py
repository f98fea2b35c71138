"""Which ticks are not taken: late, out of order, repeated or impossible ones. Pure.

A tick counts as new by the venue's own marks: the update id of a book ticker, the event time of a mark price,
the number of an aggregated trade. Two connections that overlap deliver everything twice; the second of a pair
ends here. A tick that has been on its way for long is not shown as fresh (spec H28): its age is judged by the
venue's clock, never by its arrival.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pms.exchange.messages import AggTradeEvent, BookTickerEvent, MarkPriceEvent

_MISSING_MAX = 1000
"""Numbers of trades that may still come for a symbol. Overflow: the oldest are given up."""


@dataclass(frozen=True, slots=True)
class TickStatistics:
    """Dropped ticks since the start, by reason; a repeated tick counts as out of order."""

    late: int
    out_of_order: int
    impossible: int


class TickGuard:
    """Remembers the newest tick of each symbol and kind; bounded by the contracts that the venue lists."""

    def __init__(self, late_ms_max: int) -> None:
        self._late_ms_max = late_ms_max
        self._books: dict[str, int] = {}
        self._marks: dict[str, int] = {}
        self._trades: dict[str, int] = {}
        self._missing: dict[str, dict[int, None]] = {}
        self._late = self._out_of_order = self._impossible = 0

    def book(self, event: BookTickerEvent, venue_now_ms: int) -> bool:
        """Tell whether a book ticker is newer than all before and not late."""
        return self._newer(self._books, event.symbol, event.update_id, event.event_time, venue_now_ms)

    def mark(self, event: MarkPriceEvent, venue_now_ms: int) -> bool:
        """Tell whether a mark price is newer than all before and not late."""
        before = self._marks.get(event.symbol, 0)
        if before - venue_now_ms > self._late_ms_max:
            # A time that has not come yet: one wrong clock must not keep all later prices away.
            del self._marks[event.symbol]
        return self._newer(self._marks, event.symbol, event.event_time, event.event_time, venue_now_ms)

    def trade(self, event: AggTradeEvent, venue_now_ms: int) -> bool:
        """Tell whether a trade was not told before and is not late.

        Each counts, and their numbers have no holes: one that another connection overtook is still taken.
        """
        missing = self._missing.setdefault(event.symbol, {})
        if missing.pop(event.aggregate_id, event) is None:
            return True
        before = self._trades.get(event.symbol)
        if not self._newer(self._trades, event.symbol, event.aggregate_id, event.event_time, venue_now_ms):
            return False
        if before is not None and event.aggregate_id - before <= _MISSING_MAX:
            missing.update(dict.fromkeys(range(before + 1, event.aggregate_id)))
            while len(missing) > _MISSING_MAX:
                del missing[next(iter(missing))]
        return True

    def quote(self, bid: float, ask: float) -> bool:
        """Tell whether a quote can be: both sides there, and not crossed."""
        if 0 < bid <= ask < float("inf"):
            return True
        self._impossible += 1
        return False

    def price(self, price: float) -> bool:
        """Tell whether a price can be."""
        if 0 < price < float("inf"):
            return True
        self._impossible += 1
        return False

    def forget(self, natives: Iterable[str]) -> None:
        """Take anything next for these symbols: their stream was cut, and the venue may count anew."""
        for native in natives:
            for known in (self._books, self._marks, self._trades):
                known.pop(native, None)
            self._missing.pop(native, None)

    def statistics(self) -> TickStatistics:
        """Return the counters as they are now."""
        return TickStatistics(self._late, self._out_of_order, self._impossible)

    # Runs for every tick: keep it short. A tick without an event time cannot be late.
    def _newer(
        self, known: dict[str, int], symbol: str, number: int, event_time_ms: int, venue_now_ms: int
    ) -> bool:
        if event_time_ms and venue_now_ms - event_time_ms > self._late_ms_max:
            self._late += 1
            return False
        if number <= known.get(symbol, -1):
            self._out_of_order += 1
            return False
        known[symbol] = number
        return True
