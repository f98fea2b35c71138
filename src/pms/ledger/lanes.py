"""The writer's queue: what somebody waits for goes ahead of records that may come a little later.

Invariants: 1. Within a lane operations leave in the order they came. 2. The later lane is never starved: each
group takes some of it. Who needs one operation after another awaits the first; a caller that does not has no
order to lose (decision 22: commands and fills ahead).
"""

import asyncio
from collections import deque
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Lanes(Generic[_T]):
    """Two bounded lanes. Event-loop thread only, one consumer."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._first: deque[_T] = deque()
        self._later: deque[_T] = deque()
        self._unfinished = 0
        self._filled = asyncio.Event()
        self._finished = asyncio.Event()
        self._finished.set()

    def put(self, item: _T, *, later: bool = False) -> None:
        """Queue an item. Raises asyncio.QueueFull."""
        if len(self) >= self._count_max:
            raise asyncio.QueueFull
        (self._later if later else self._first).append(item)
        self._unfinished += 1
        self._filled.set()
        self._finished.clear()

    async def group(self, count_max: int, later_max: int) -> list[_T]:
        """Wait for items and take at most `count_max` of the first lane and `later_max` of the later one."""
        await self._filled.wait()
        await asyncio.sleep(0)  # what is ready to be queued now shares the group
        taken = [self._first.popleft() for _ in range(min(count_max, len(self._first)))]
        taken += [self._later.popleft() for _ in range(min(later_max, len(self._later)))]
        if not len(self):
            self._filled.clear()
        return taken

    def done(self, count: int) -> None:
        """So many of the taken items have had their end."""
        self._unfinished -= count
        if not self._unfinished:
            self._finished.set()

    async def join(self) -> None:
        """Wait until everything that was queued has had its end."""
        await self._finished.wait()

    def __len__(self) -> int:
        return len(self._first) + len(self._later)
