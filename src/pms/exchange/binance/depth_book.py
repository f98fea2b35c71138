"""The local order book by the venue's own rule (Binance spec 4.3): a state machine over events. Pure.

Invariants: 1. A book in step has applied every event since its snapshot: each event's `pu` equals the last
applied `u`. 2. Anything else asks for a new snapshot; levels of a broken chain are never shown. 3. Both sides
and the events that wait for a snapshot are bounded.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from pms.exchange.messages import DepthEvent

LEVELS_MAX = 2000
"""Levels kept of a side. Overflow: the levels farthest from the market go; a snapshot holds 1000."""

WAITING_EVENTS_MAX = 2000
"""Events kept until a snapshot comes, 200 s at ten a second. Overflow: the oldest go; a snapshot that would
need them does not fit then and another one is asked for."""

Level = tuple[float, float]
"""Price and quantity."""

Levels = Iterable[Sequence[str]]
"""Price and quantity of each level as the venue writes them."""


@dataclass(frozen=True, slots=True)
class DepthBookStatistics:
    """`in_step` now; counts since the start."""

    in_step: bool
    applied: int
    repeated: int
    gaps: int
    snapshots: int
    snapshots_unfit: int


class _Side:
    """One side, best level first. Keys ascend: bids are kept under their negative price."""

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._keys: list[float] = []
        self._quantities: dict[float, float] = {}

    def set(self, levels: Levels) -> None:
        """Take absolute quantities; 0 removes, and removing an absent level is normal (rule 6)."""
        for price, quantity in levels:
            key, size = self._sign * float(price), float(quantity)
            known = key in self._quantities
            if size > 0:
                if not known:
                    self._keys.insert(bisect_left(self._keys, key), key)
                self._quantities[key] = size
            elif known:
                del self._keys[bisect_left(self._keys, key)]
                del self._quantities[key]
        while len(self._keys) > LEVELS_MAX:
            del self._quantities[self._keys.pop()]

    def clear(self) -> None:
        self._keys.clear()
        self._quantities.clear()

    def best(self, count: int) -> tuple[Level, ...]:
        return tuple((self._sign * key, self._quantities[key]) for key in islice(self._keys, count))

    def __len__(self) -> int:
        return len(self._keys)


class DepthBook:
    """One contract's book. Feed it events in the order of arrival and a snapshot whenever it `wants` one."""

    def __init__(self) -> None:
        self._bids, self._asks = _Side(-1), _Side(1)
        self._waiting: deque[DepthEvent] = deque(maxlen=WAITING_EVENTS_MAX)
        self._in_step = False
        self._bridged = False
        self.update_id = 0
        self.event_time_ms = 0
        self._applied = self._repeated = self._gaps = self._snapshots = self._unfit = 0

    @property
    def in_step(self) -> bool:
        """True while the levels are the venue's; False until a snapshot fits."""
        return self._in_step

    def wants_snapshot(self) -> bool:
        """Tell whether a snapshot is needed: not in step, and events flow that it can be joined to."""
        return not self._in_step and bool(self._waiting)

    def take(self, event: DepthEvent) -> bool:
        """Take an event; True when the shown levels changed."""
        if not self._in_step:
            self._wait(event)
            return False
        if event.final_update_id < self.update_id or (
            self._bridged and event.final_update_id == self.update_id
        ):
            self._repeated += 1
            return False
        if not self._follows(event):
            self.lose()
            self._gaps += 1
            self._wait(event)
            return True
        self._apply(event)
        if self._crossed():
            # Two orders that cross would have traded: something was missed without a sign of it.
            self.lose()
            self._gaps += 1
        return True

    def snapshot(self, last_update_id: int, bids: Levels, asks: Levels) -> bool:
        """Take a snapshot read after events began to wait; True when the book is in step with it.

        False: it is older than the events that wait, so that something between is missing; read another.
        """
        self._snapshots += 1
        usable = [event for event in self._waiting if event.final_update_id >= last_update_id]
        if usable and usable[0].first_update_id > last_update_id:
            self._unfit += 1
            return False
        self._bids.clear()
        self._asks.clear()
        self._bids.set(bids)
        self._asks.set(asks)
        self.update_id, self._in_step, self._bridged = last_update_id, True, False
        self._waiting.clear()
        for event in usable:
            self.take(event)
        return self._in_step

    def lose(self) -> None:
        """Show nothing until the next snapshot: the stream was interrupted, or the chain is broken."""
        self._in_step = self._bridged = False
        self._bids.clear()
        self._asks.clear()
        self._waiting.clear()

    def bids(self, count: int) -> tuple[Level, ...]:
        """Return the best bids, highest first; nothing when not in step."""
        return self._bids.best(count)

    def asks(self, count: int) -> tuple[Level, ...]:
        """Return the best asks, lowest first; nothing when not in step."""
        return self._asks.best(count)

    def statistics(self) -> DepthBookStatistics:
        """Return the counters as they are now."""
        return DepthBookStatistics(
            self._in_step, self._applied, self._repeated, self._gaps, self._snapshots, self._unfit
        )

    # Events that arrive again, on a second connection, are sorted out here, not taken for a gap later.
    def _wait(self, event: DepthEvent) -> None:
        if self._waiting and event.final_update_id <= self._waiting[-1].final_update_id:
            self._repeated += 1
            return
        if self._waiting and event.previous_update_id != self._waiting[-1].final_update_id:
            self._waiting.clear()
            self._gaps += 1
        self._waiting.append(event)

    # Rule 4 for the first event after a snapshot, rule 5 for all others.
    def _follows(self, event: DepthEvent) -> bool:
        if self._bridged:
            return event.previous_update_id == self.update_id
        return event.first_update_id <= self.update_id

    def _apply(self, event: DepthEvent) -> None:
        self._bids.set(event.bids)
        self._asks.set(event.asks)
        self.update_id, self.event_time_ms, self._bridged = event.final_update_id, event.event_time, True
        self._applied += 1

    def _crossed(self) -> bool:
        bid, ask = self._bids.best(1), self._asks.best(1)
        return bool(bid and ask) and bid[0][0] >= ask[0][0]
