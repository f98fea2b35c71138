"""The event hub: every sink, in order, at once."""

from pms.bus.hub import Event, EventHub
from pms.model.event import EphemeralEvent


def test_every_sink_gets_every_event_in_order_until_it_is_removed() -> None:
    hub = EventHub()
    first: list[Event] = []
    second: list[Event] = []
    events = [EphemeralEvent("pnl_update", None, str(number), {}, number) for number in range(3)]
    hub.add_sink(first.append)
    hub.publish(events[0])
    hub.add_sink(second.append)
    hub.publish(events[1])
    hub.remove_sink(first.append)
    hub.publish(events[2])
    assert first == events[:2]
    assert second == events[1:]
    assert (hub.statistics().published, hub.statistics().sinks) == (3, 1)
