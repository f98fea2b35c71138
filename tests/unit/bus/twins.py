"""Twins for the bus's tests: a clock that moves when told, counted ids, and a shared state that fails."""

import asyncio
from collections.abc import Callable, Sequence

from pms.bus.errors import BusUnavailable
from pms.bus.memory import MemoryState
from pms.bus.port import BusMode, BusStatistics, Write


class ManualClock:
    """Virtual time; `advance` wakes the sleepers that are due."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._now_ms / 1000

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers.append((self._now_ms + seconds * 1000, woken))
        await woken.wait()

    async def advance(self, milliseconds: int) -> None:
        """Let everything run up to its next wait, move time, let run what this made possible."""
        for _ in range(20):
            await asyncio.sleep(0)
        self._now_ms += milliseconds
        for sleeper in [sleeper for sleeper in self._sleepers if sleeper[0] <= self._now_ms]:
            self._sleepers.remove(sleeper)
            sleeper[1].set()
        for _ in range(20):
            await asyncio.sleep(0)


class CountedIds:
    """Ids that count up."""

    def __init__(self) -> None:
        self._count = 0

    def uuid(self) -> str:
        self._count += 1
        return f"00000000-0000-4000-8000-{self._count:012x}"

    def token(self, byte_count: int) -> str:
        self._count += 1
        return f"{self._count:0{byte_count * 2}x}"


class FailingState(MemoryState):
    """The in-memory twin with a switch: while `away`, nothing is reached, as when Redis died."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.clock = clock
        self.away = False
        self.known_away = False
        self.returns = 0
        self.batches: list[Sequence[Write]] = []
        self.during_write: Callable[[], None] = lambda: None

    @property
    def mode(self) -> BusMode:
        return BusMode.AWAY if self.known_away else BusMode.REDIS

    def statistics(self) -> BusStatistics:
        return BusStatistics(self.mode, 0, 0, self.returns)

    async def get(self, key: str) -> bytes | None:
        self._reach()
        return await super().get(key)

    async def set_if_absent(self, key: str, token: bytes, ttl_ms: int) -> bool:
        self._reach()
        return await super().set_if_absent(key, token, ttl_ms)

    async def compare_and_extend(self, key: str, token: bytes, ttl_ms: int) -> bool:
        self._reach()
        return await super().compare_and_extend(key, token, ttl_ms)

    async def compare_and_delete(self, key: str, token: bytes) -> bool:
        self._reach()
        return await super().compare_and_delete(key, token)

    async def write(self, writes: Sequence[Write]) -> None:
        self.during_write()
        self._reach()
        self.batches.append(writes)
        await super().write(writes)

    def _reach(self) -> None:
        if self.away:
            raise BusUnavailable("away, says the test")
