"""A clock that stands still until it is moved: simulated time as fast as the work allows.

One event loop only.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools


class VirtualClock:
    """Implements `Clock`. `advance` moves the time and wakes the sleepers whose moment has come, in order."""

    def __init__(self, start_ms: int) -> None:
        self._start_ms = start_ms
        self._passed_ms = 0.0
        self._number = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now_ms(self) -> int:
        """Return Unix milliseconds."""
        return self._start_ms + int(self._passed_ms)

    def monotonic(self) -> float:
        """Return the seconds since the start."""
        return self._passed_ms / 1000

    async def sleep(self, seconds: float) -> None:
        """Wait until the time has been moved that far; cancellation ends the wait."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._passed_ms + seconds * 1000, next(self._number), woken))
        await woken

    def advance(self, milliseconds: float) -> None:
        """Move the time ahead."""
        self._passed_ms += milliseconds
        while self._sleepers and self._sleepers[0][0] <= self._passed_ms:
            woken = heapq.heappop(self._sleepers)[2]
            if not woken.done():
                woken.set_result(None)
