"""The in-memory twin of Redis: same answers, one process, bounded, with time from the injected clock."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pms import limits
from pms.bus.errors import BusRefused, BusUnavailable
from pms.bus.port import (
    Append,
    BusMode,
    BusStatistics,
    Message,
    ModeListener,
    Publish,
    SetValue,
    StreamEntry,
    Write,
)
from pms.model.clock import Clock

_SWEEP_INTERVAL_MS = 10_000


@dataclass(slots=True)
class _Record:
    value: bytes
    expires_ms: int | None


@dataclass(slots=True)
class _Stream:
    entries: deque[tuple[tuple[int, int], StreamEntry]]
    last: tuple[int, int]


class MemorySubscription:
    """A bounded queue of messages; beyond the bound the oldest is lost and counted, as pub/sub does."""

    def __init__(self, owner: "MemoryState", channels: frozenset[str]) -> None:
        self._owner = owner
        self.channels = channels
        self.lost = 0
        self._queue: deque[Message] = deque(maxlen=limits.BUS_SUBSCRIPTION_QUEUE_MAX)
        self._arrived = asyncio.Event()

    def put(self, message: Message) -> None:
        if len(self._queue) == limits.BUS_SUBSCRIPTION_QUEUE_MAX:
            self.lost += 1
        self._queue.append(message)
        self._arrived.set()

    async def next(self, wait_ms: int) -> Message | None:
        """Return the oldest waiting message, or None after `wait_ms`."""
        if not self._queue:
            self._arrived.clear()
            try:
                async with asyncio.timeout(wait_ms / 1000):
                    await self._arrived.wait()
            except TimeoutError:
                return None
        return self._queue.popleft()

    async def close(self) -> None:
        self._owner.forget(self)


class MemoryState:
    """SharedState for a process without Redis. Nothing survives it: the ledger is the truth (decision 26)."""

    def __init__(
        self,
        clock: Clock,
        keys_max: int = limits.BUS_MEMORY_KEYS_MAX,
        entries_max: int = limits.BUS_MEMORY_ENTRIES_MAX,
    ) -> None:
        self._clock = clock
        self._keys_max = keys_max
        self._entries_max = entries_max
        self._records: dict[str, _Record] = {}
        self._streams: dict[str, _Stream] = {}
        self._entry_count = 0
        self._subscriptions: list[MemorySubscription] = []
        self._sweep_at_ms = 0
        self._calls = 0
        self._failures = 0

    @property
    def mode(self) -> BusMode:
        return BusMode.MEMORY

    async def start(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        self._subscriptions.clear()

    def add_mode_listener(self, listener: ModeListener) -> None:
        """Accepted, never called: this mode does not change."""

    def statistics(self) -> BusStatistics:
        return BusStatistics(BusMode.MEMORY, self._calls, self._failures, 0, len(self._records))

    async def get(self, key: str) -> bytes | None:
        record = self._live(key)
        return None if record is None else record.value

    async def set(self, key: str, value: bytes, ttl_ms: int | None = None) -> None:
        self._put(key, value, ttl_ms)

    async def set_if_absent(self, key: str, token: bytes, ttl_ms: int) -> bool:
        if self._live(key) is not None:
            return False
        self._put(key, token, ttl_ms)
        return True

    async def compare_and_delete(self, key: str, token: bytes) -> bool:
        record = self._live(key)
        if record is None or record.value != token:
            return False
        del self._records[key]
        return True

    async def compare_and_extend(self, key: str, token: bytes, ttl_ms: int) -> bool:
        record = self._live(key)
        if record is None or record.value != token:
            return False
        record.expires_ms = self._clock.now_ms() + ttl_ms
        return True

    async def delete(self, key: str) -> bool:
        present = self._live(key) is not None
        self._records.pop(key, None)
        return present

    async def increment(self, key: str, ttl_ms: int | None = None) -> int:
        record = self._live(key)
        if record is None:
            self._put(key, b"1", ttl_ms)
            return 1
        try:
            number = int(record.value) + 1
        except ValueError:
            self._failures += 1
            raise BusRefused(f"the value of {key} is not an integer") from None
        record.value = str(number).encode()
        return number

    async def publish(self, channel: str, data: bytes) -> None:
        self._publish(channel, data)

    async def append(self, stream: str, fields: Mapping[str, bytes], length_max: int) -> str:
        return self._append(stream, fields, length_max)

    async def read(self, stream: str, after: str = "0-0", count: int = 100) -> Sequence[StreamEntry]:
        self._calls += 1
        held = self._streams.get(stream)
        if held is None:
            return []
        milliseconds, _, sequence = after.partition("-")
        bound = (int(milliseconds), int(sequence or 0))
        return [entry for number, entry in held.entries if number > bound][:count]

    async def write(self, writes: Sequence[Write]) -> None:
        for write in writes:
            match write:
                case SetValue(key, value, ttl_ms):
                    self._put(key, value, ttl_ms)
                case Publish(channel, data):
                    self._publish(channel, data)
                case Append(stream, fields, length_max):
                    self._append(stream, fields, length_max)

    async def subscribe(self, *channels: str) -> MemorySubscription:
        subscription = MemorySubscription(self, frozenset(channels))
        self._subscriptions.append(subscription)
        return subscription

    def forget(self, subscription: MemorySubscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def _live(self, key: str) -> _Record | None:
        self._calls += 1
        record = self._records.get(key)
        if record is not None and record.expires_ms is not None and record.expires_ms <= self._clock.now_ms():
            del self._records[key]
            return None
        return record

    def _put(self, key: str, value: bytes, ttl_ms: int | None) -> None:
        self._calls += 1
        now_ms = self._clock.now_ms()
        full = key not in self._records and len(self._records) >= self._keys_max
        if full or now_ms >= self._sweep_at_ms:
            self._sweep(now_ms)
            if key not in self._records and len(self._records) >= self._keys_max:
                self._failures += 1
                raise BusUnavailable(f"{key} was not stored: the bound of {self._keys_max} keys is reached")
        self._records[key] = _Record(value, None if ttl_ms is None else now_ms + ttl_ms)

    def _sweep(self, now_ms: int) -> None:
        self._sweep_at_ms = now_ms + _SWEEP_INTERVAL_MS
        expired = [
            key
            for key, record in self._records.items()
            if record.expires_ms is not None and record.expires_ms <= now_ms
        ]
        for key in expired:
            del self._records[key]

    def _publish(self, channel: str, data: bytes) -> None:
        self._calls += 1
        for subscription in self._subscriptions:
            if channel in subscription.channels:
                subscription.put(Message(channel, data))

    def _append(self, stream: str, fields: Mapping[str, bytes], length_max: int) -> str:
        self._calls += 1
        held = self._streams.setdefault(stream, _Stream(deque(), (0, 0)))
        while len(held.entries) >= length_max or (held.entries and self._entry_count >= self._entries_max):
            held.entries.popleft()
            self._entry_count -= 1
        if self._entry_count >= self._entries_max:
            del self._streams[stream]
            self._failures += 1
            raise BusUnavailable(f"{stream} was not written: {self._entries_max} stream entries are held")
        # As in Redis: ids never fall, even when the clock does.
        now_ms = self._clock.now_ms()
        number = (now_ms, 0) if now_ms > held.last[0] else (held.last[0], held.last[1] + 1)
        entry = StreamEntry(f"{number[0]}-{number[1]}", dict(fields))
        held.entries.append((number, entry))
        held.last = number
        self._entry_count += 1
        return entry.id
