"""A clock that runs like the machine's and can be pushed ahead: hours in seconds, over real sockets."""

import asyncio
import heapq
import itertools
import time

HOUR_SECONDS = 3_600
FUNDING_SECONDS = 8 * HOUR_SECONDS


class SleepersClock:
    """Implements `Clock`: time that passes only when a test says so; sleepers wake in the order of their
    time. Tests say how it passes in classes of their own."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = float(now_ms)
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = itertools.count()

    def now_ms(self) -> int:
        return int(self._now_ms)

    def monotonic(self) -> float:
        return self._now_ms / 1000

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_ms + seconds * 1000, next(self._number), woken))
        await woken

    def wake_next(self, until_ms: float) -> bool:
        """Move the time to the next sleeper due by then and wake him; False when there is none."""
        while self._sleepers and self._sleepers[0][0] <= until_ms:
            due_ms, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                self._now_ms = max(self._now_ms, due_ms)
                woken.set_result(None)
                return True
        return False


class PushedClock:
    """Implements `Clock`: the machine's time plus what `push` has added.

    A sleeper wakes when its moment has come by either. Deadlines of asyncio itself stay real, so that an
    answer on the wire is never cut short by a push. One event loop only.
    """

    def __init__(self) -> None:
        # An hour after a funding time of the exchange, whatever hour it is here: a test that pushes minutes
        # must not run into the next one.
        self.pushed_seconds = float((HOUR_SECONDS - int(time.time())) % FUNDING_SECONDS)
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = itertools.count()

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + round(self.pushed_seconds * 1000)

    def monotonic(self) -> float:
        return time.monotonic() + self.pushed_seconds

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        due = self.monotonic() + seconds
        heapq.heappush(self._sleepers, (due, next(self._number), woken))
        timer = asyncio.get_running_loop().call_later(seconds, _wake, woken)
        try:
            await woken
        finally:
            timer.cancel()

    def push(self, seconds: float) -> None:
        """Move the time ahead at once and wake who is due."""
        self.pushed_seconds += seconds
        now = self.monotonic()
        while self._sleepers and self._sleepers[0][0] <= now:
            _wake(heapq.heappop(self._sleepers)[2])
        self._sleepers = [one for one in self._sleepers if not one[2].done()]
        heapq.heapify(self._sleepers)

    async def run_for(self, seconds: float, step_seconds: float = 1.0, pause_seconds: float = 0.004) -> None:
        """Let that much time pass in steps; between two of them everything gets `pause_seconds` of real time.

        A step is shorter than a receive window and a lease, so that nothing on its way grows too old.
        """
        passed = 0.0
        while passed < seconds:
            self.push(step_seconds)
            passed += step_seconds
            await asyncio.sleep(pause_seconds)


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
