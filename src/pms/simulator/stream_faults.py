"""What the faults do to stream events on their way to the sockets: lost, late, twice, swapped, crossed.

Events of one stream keep their order behind a late one; only `reorder` changes it. The wait is bounded:
beyond `WAITING_MAX` events the oldest of that stream goes out at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec

from pms.simulator.faults import FaultPlan
from pms.simulator.state import text

WAITING_MAX = 10_000
HELD_MS_MAX = 1000
_PRIVATE = "private"


class _Named(msgspec.Struct):
    e: str = ""


_name_of = msgspec.json.Decoder(_Named).decode

Deliver = Callable[[str, str, bytes, bool], None]
"""(class, stream or listen key, payload, may be conflated) to the sockets."""


@dataclass(slots=True)
class _Lane:
    """One stream's events that wait: late ones in order, and one that lets the next pass."""

    late: deque[tuple[int, bytes, bool]] = field(default_factory=deque)
    held: tuple[int, bytes, bool] | None = None


class StreamFaults:
    """Stands between hub and sockets."""

    def __init__(
        self, plan: FaultPlan, now_ms: Callable[[], int], owner_of: Callable[[str], str], deliver: Deliver
    ) -> None:
        self._plan = plan
        self._now_ms = now_ms
        self._owner_of = owner_of
        self._deliver = deliver
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self.lost = 0

    def publish(self, traffic: str, stream: str, payload: bytes, conflate: bool) -> None:
        """Pass an event on, as the faults in force let it pass."""
        if self._plan.idle and not self._lanes:
            self._deliver(traffic, stream, payload, conflate)
            return
        now_ms = self._now_ms()
        owner = self._owner_of(stream) if traffic == _PRIVATE else ""
        if self._plan.silenced(traffic, owner, now_ms):
            self.lost += 1
            return
        event = _name_of(payload).e if traffic == _PRIVATE else ""
        effects = self._plan.for_event(traffic, stream, event, owner, now_ms)
        if effects is not None and effects.dropped:
            self.lost += 1
            return
        payload = self._crossed(traffic, stream, payload, now_ms)
        copies = 1 if effects is None else effects.copies
        delay_ms = 0 if effects is None else effects.delay_ms
        key = (traffic, stream)
        lane = self._lanes.get(key) or _Lane()
        if effects is not None and effects.held and lane.held is None:
            lane.held = (now_ms + HELD_MS_MAX, payload, conflate)
            self._lanes[key] = lane
            return
        for _ in range(copies):
            self._send(key, lane, now_ms + delay_ms, now_ms, payload, conflate)
        if lane.held is not None:
            _, payload, conflate = lane.held
            lane.held = None
            self._send(key, lane, now_ms, now_ms, payload, conflate)
        self._settle(key, lane)

    def _send(
        self, key: tuple[str, str], lane: _Lane, at_ms: int, now_ms: int, payload: bytes, conflate: bool
    ) -> None:
        if at_ms <= now_ms and not lane.late:
            self._deliver(*key, payload, conflate)
            return
        if len(lane.late) >= WAITING_MAX:
            _, oldest, mergeable = lane.late.popleft()
            self._deliver(*key, oldest, mergeable)
        last_ms = lane.late[-1][0] if lane.late else 0
        lane.late.append((max(at_ms, last_ms), payload, conflate))

    def _settle(self, key: tuple[str, str], lane: _Lane) -> None:
        if lane.late or lane.held is not None:
            self._lanes[key] = lane
        else:
            self._lanes.pop(key, None)

    def step(self, now_ms: int) -> None:
        """Send what has waited long enough."""
        for key, lane in list(self._lanes.items()):
            while lane.late and lane.late[0][0] <= now_ms:
                _, payload, conflate = lane.late.popleft()
                self._deliver(*key, payload, conflate)
            if lane.held is not None and lane.held[0] <= now_ms:
                _, payload, conflate = lane.held
                lane.held = None
                self._send(key, lane, now_ms, now_ms, payload, conflate)
            self._settle(key, lane)

    def _crossed(self, traffic: str, stream: str, payload: bytes, now_ms: int) -> bytes:
        if traffic != "public" or not stream.endswith("@bookTicker"):
            return payload
        for armed in self._plan.active("crossed_quotes", now_ms):
            if f"{armed.fault.symbol.lower()}@bookTicker" == stream:
                return crossed(payload, armed.fault.ratio)
        return payload

    def statistics(self) -> dict[str, int]:
        """Return counters: events lost, events waiting now."""
        waiting = sum(len(lane.late) + (lane.held is not None) for lane in self._lanes.values())
        return {"lost": self.lost, "waiting": waiting}


def crossed(payload: bytes, ratio: Decimal) -> bytes:
    """Return a book ticker message whose bid stands above its ask by a fraction of the price."""
    message = msgspec.json.decode(payload)
    ask = Decimal(message["a"])
    bid = ask * (1 + ratio)
    message["b"] = text(bid.quantize(ask) if ask.as_tuple().exponent else bid)
    return msgspec.json.encode(message)
