"""Who listens to what: stream names to connections, with the venue's split by traffic class (spec 4.1).

A stream asked for on the wrong class is accepted and stays silent, as on the venue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pms.simulator.latency import EventLine

KLINE = "@kline_"


Carrier = Callable[[str, str, bytes, bool], None]
"""(class, stream or listen key, payload, may be conflated): what stands between the hub and its listeners."""


class Listener(Protocol):
    """A stream connection, as the hub sees it."""

    def push_market(self, stream: str, payload: bytes, conflate: bool) -> None:
        """Queue a market message."""
        ...

    def push_user(self, key: str, payload: bytes) -> None:
        """Queue a private event; never dropped."""
        ...

    def key_ended(self, key: str) -> None:
        """Hear that a listen key was closed."""
        ...


def class_of(stream: str) -> str:
    """Return the traffic class that serves a market stream: public or market."""
    name = stream.split("@", 1)[-1] if not stream.startswith("!") else stream
    public = name.startswith(("bookTicker", "depth", "rpiDepth", "trade")) or stream == "!bookTicker"
    return "public" if public else "market"


class Hub:
    """Subscriptions of all connections. `carry` may be replaced by faults, which then call `deliver`.

    `line` delays what is delivered (see `latency`).
    """

    def __init__(self, line: EventLine | None = None) -> None:
        self._line = line
        self._market: dict[tuple[str, str], set[Listener]] = {}
        self._private: dict[str, set[Listener]] = {}
        self._klines: dict[str, set[str]] = {}
        self.published = 0
        self.carry: Carrier = self.deliver

    def subscribe(self, listener: Listener, traffic: str, stream: str) -> None:
        """Add a stream to a connection of one traffic class; on private, `stream` is a listen key."""
        if traffic == "private":
            self._private.setdefault(stream, set()).add(listener)
            return
        self._market.setdefault((traffic, stream), set()).add(listener)
        self._note_kline(traffic, stream)

    def unsubscribe(self, listener: Listener, traffic: str, stream: str) -> None:
        """Remove a stream from a connection."""
        if traffic == "private":
            listeners = self._private.get(stream, set())
            listeners.discard(listener)
            if not listeners:
                self._private.pop(stream, None)
            return
        found = self._market.get((traffic, stream), set())
        found.discard(listener)
        if not found:
            self._market.pop((traffic, stream), None)
        self._note_kline(traffic, stream)

    def _note_kline(self, traffic: str, stream: str) -> None:
        if traffic != "market" or KLINE not in stream:
            return
        symbol, _, interval = stream.partition(KLINE)
        intervals = self._klines.setdefault(symbol.upper(), set())
        if (traffic, stream) in self._market:
            intervals.add(interval)
        else:
            intervals.discard(interval)

    def kline_intervals(self, symbol: str) -> tuple[str, ...]:
        """Return the candle intervals that somebody listens to."""
        return tuple(self._klines.get(symbol, ()))

    def wants(self, traffic: str, stream: str) -> bool:
        """True when somebody listens, so that the message is worth encoding."""
        return (traffic, stream) in self._market

    def publish(self, traffic: str, stream: str, payload: bytes, conflate: bool) -> None:
        """Give a market message to its listeners; `conflate` allows a slow one to see only the newest."""
        self.carry(traffic, stream, payload, conflate)

    def publish_private(self, key: str, payload: bytes) -> None:
        """Give a private event to the connections of a listen key."""
        self.carry("private", key, payload, False)

    def deliver(self, traffic: str, stream: str, payload: bytes, conflate: bool) -> None:
        """Put a message into the queues of its listeners, at the end of `carry` and after its delay."""
        if self._line is None:
            self._put(traffic, stream, payload, conflate)
        else:
            self._line.send(lambda: self._put(traffic, stream, payload, conflate))

    def _put(self, traffic: str, stream: str, payload: bytes, conflate: bool) -> None:
        if traffic == "private":
            for listener in tuple(self._private.get(stream, ())):
                self.published += 1
                listener.push_user(stream, payload)
            return
        for listener in tuple(self._market.get((traffic, stream), ())):
            self.published += 1
            listener.push_market(stream, payload, conflate)

    def end_key(self, key: str) -> None:
        """Tell the connections of a listen key that it was closed."""
        for listener in tuple(self._private.get(key, ())):
            listener.key_ended(key)
