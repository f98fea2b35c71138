"""How long requests and events travel: fixed parts and parts drawn from a seed; zero by default.

Requests wait one by one, so that those of different connections can overtake each other. Events of the
exchange go through one line and stay in their order, as on a connection. Both are bounded: requests by the
door's own limits, events by the limit of the line.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from pms.model.clock import Clock

EVENTS_MAX = 200_000


@dataclass(frozen=True, slots=True)
class LatencyConfig:
    """Delays in ms: client to matching engine, and back to the client; `jitter` is drawn evenly on top."""

    request_ms: float = 0.0
    request_jitter_ms: float = 0.0
    event_ms: float = 0.0
    event_jitter_ms: float = 0.0
    seed: int = 0

    @property
    def requests(self) -> bool:
        """True when requests are delayed."""
        return self.request_ms > 0 or self.request_jitter_ms > 0

    @property
    def events(self) -> bool:
        """True when answers and events are delayed."""
        return self.event_ms > 0 or self.event_jitter_ms > 0


class Latency:
    """Draws the delays of one exchange; the same seed draws the same ones."""

    def __init__(self, config: LatencyConfig, clock: Clock) -> None:
        self.config = config
        self._clock = clock
        self._requests = Random(f"{config.seed}:request")  # noqa: S311 - a simulation, no secret
        self._answers = Random(f"{config.seed}:answer")  # noqa: S311
        self._events = Random(f"{config.seed}:event")  # noqa: S311

    async def before_request(self) -> None:
        """Wait as long as a request travels to the matching engine; cancellation ends the wait."""
        if self.config.requests:
            drawn = self._requests.uniform(0.0, self.config.request_jitter_ms)
            await self._clock.sleep((self.config.request_ms + drawn) / 1000)

    async def before_answer(self) -> None:
        """Wait as long as an answer travels back."""
        if self.config.events:
            drawn = self._answers.uniform(0.0, self.config.event_jitter_ms)
            await self._clock.sleep((self.config.event_ms + drawn) / 1000)

    def event_seconds(self) -> float:
        """Return how long the next event travels."""
        return (self.config.event_ms + self._events.uniform(0.0, self.config.event_jitter_ms)) / 1000


class EventLine:
    """Passes events on after their delay, in the order in which they came.

    A full line passes its oldest event on at once: nothing is lost, the delay shrinks (`overflows` counts).
    """

    def __init__(self, latency: Latency, clock: Clock) -> None:
        self._latency = latency
        self._clock = clock
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self._wake = asyncio.Event()
        self._last_due = 0.0
        self.overflows = 0

    def send(self, deliver: Callable[[], None]) -> None:
        """Deliver now, or after the delay when there is one."""
        if not self._latency.config.events:
            deliver()
            return
        if len(self._waiting) >= EVENTS_MAX:
            self.overflows += 1
            self._waiting.popleft()[1]()
        due = max(self._last_due, self._clock.monotonic() + self._latency.event_seconds())
        self._last_due = due
        self._waiting.append((due, deliver))
        self._wake.set()

    async def run(self) -> None:
        """Deliver what is due, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                left = self._waiting[0][0] - self._clock.monotonic()
                if left > 0:
                    await self._clock.sleep(left)
                    continue
                self._waiting.popleft()[1]()

    def statistics(self) -> dict[str, int]:
        """Return the events on their way, and how often the line was full."""
        return {"waiting": len(self._waiting), "overflows": self.overflows}
