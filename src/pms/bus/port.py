"""The port of shared state: what the engine asks of Redis, or of the in-memory twin that stands in for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class BusMode(StrEnum):
    """MEMORY: the twin serves this process alone. AWAY: Redis is configured and does not answer now."""

    MEMORY = "MEMORY"
    REDIS = "REDIS"
    AWAY = "AWAY"


@dataclass(frozen=True, slots=True)
class BusStatistics:
    """Counts since the start. `returns` grows each time shared state came back, perhaps empty."""

    mode: BusMode
    calls: int
    failures: int
    returns: int
    keys: int | None = None


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One entry of a stream; ids grow."""

    id: str
    fields: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Message:
    channel: str
    data: bytes


@dataclass(frozen=True, slots=True)
class SetValue:
    """Write: set a key; `ttl_ms` None never expires."""

    key: str
    value: bytes
    ttl_ms: int | None


@dataclass(frozen=True, slots=True)
class Publish:
    """Write: publish to a channel."""

    channel: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Append:
    """Write: append to a stream, trimmed to about `length_max` entries."""

    stream: str
    fields: Mapping[str, bytes]
    length_max: int


Write = SetValue | Publish | Append

ModeListener = Callable[[BusMode], None]


class Subscription(Protocol):
    """Messages of some channels. Pub/sub loses what passes with nobody there; durable events have a log."""

    async def next(self, wait_ms: int) -> Message | None:
        """Return the next message, or None after `wait_ms`. Raises BusUnavailable; may be called again."""
        ...

    async def close(self) -> None: ...


class SharedState(Protocol):
    """Keys with a life, locks, channels and streams.

    Every call has the deadline `limits.BUS_CALL_DEADLINE_MS` and raises BusUnavailable when it passes, when
    the server is known to be away (at once, without waiting), or, as BusRefused, when it answers an error.
    After BusUnavailable a write may have happened. Values are bytes (UTF-8 JSON unless the key says
    otherwise). Event-loop thread only.
    """

    @property
    def mode(self) -> BusMode: ...

    async def start(self) -> None:
        """Begin; returns after the first attempt to connect, whether it succeeded or not."""
        ...

    async def close(self) -> None:
        """Stop background work and close connections; idempotent."""
        ...

    def add_mode_listener(self, listener: ModeListener) -> None:
        """Call `listener` at each change of mode."""
        ...

    def statistics(self) -> BusStatistics: ...

    async def get(self, key: str) -> bytes | None: ...

    async def set(self, key: str, value: bytes, ttl_ms: int | None = None) -> None: ...

    async def set_if_absent(self, key: str, token: bytes, ttl_ms: int) -> bool:
        """Take a lock: True when the key did not exist and now holds the token."""
        ...

    async def compare_and_delete(self, key: str, token: bytes) -> bool:
        """Delete the key if it holds the token; True when it did."""
        ...

    async def compare_and_extend(self, key: str, token: bytes, ttl_ms: int) -> bool:
        """Give the key a new life if it holds the token; True when it did."""
        ...

    async def delete(self, key: str) -> bool:
        """Delete the key; True when it existed."""
        ...

    async def increment(self, key: str, ttl_ms: int | None = None) -> int:
        """Add one to a counter and return it; a counter that starts gets the life `ttl_ms`."""
        ...

    async def publish(self, channel: str, data: bytes) -> None: ...

    async def append(self, stream: str, fields: Mapping[str, bytes], length_max: int) -> str:
        """Append to a stream, trim it to about `length_max`, return the entry's id."""
        ...

    async def read(self, stream: str, after: str = "0-0", count: int = 100) -> Sequence[StreamEntry]:
        """Return up to `count` entries after the id, oldest first; never blocks for new ones."""
        ...

    async def write(self, writes: Sequence[Write]) -> None:
        """Do many writes in one round trip, in order, not as a transaction.

        Raises BusUnavailable when any of them may be missing; BusRefused when all were sent and some refused.
        """
        ...

    async def subscribe(self, *channels: str) -> Subscription: ...
