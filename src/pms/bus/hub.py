"""The in-process event hub: committed and ephemeral events on their way to browsers and to Redis."""

from collections.abc import Callable
from dataclasses import dataclass

from pms.logging import get_logger
from pms.model.event import DurableEvent, EphemeralEvent

log = get_logger(__name__)

Event = DurableEvent | EphemeralEvent
EventSink = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """Counts since the start."""

    published: int
    sinks: int
    faults: int


class EventHub:
    """Hands every event to every sink, synchronously and in order.

    Sinks must return at once (they coalesce or queue); an event is never awaited here, so that publishing is
    part of the step that committed it (decision 27). A sink that raises is logged and counted; the others
    still get the event. Not thread-safe: event-loop thread only.
    """

    def __init__(self) -> None:
        self._sinks: list[EventSink] = []
        self._published = self._faults = 0

    def add_sink(self, sink: EventSink) -> None:
        self._sinks.append(sink)

    def remove_sink(self, sink: EventSink) -> None:
        self._sinks.remove(sink)

    def publish(self, event: Event) -> None:
        self._published += 1
        for sink in self._sinks:
            try:
                sink(event)
            except Exception:
                # A browser's or a bus's fault must not reach the engine that publishes (gateway spec H-16).
                self._faults += 1
                log.exception("an event sink failed", event_type=event.type)

    def statistics(self) -> HubStatistics:
        return HubStatistics(self._published, len(self._sinks), self._faults)
