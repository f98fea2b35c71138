"""An event loop that can be abandoned after any step, on a clock that moves only when nothing else can.

Threads are not used: what a store hands to its threads runs at once, so that the same program takes the same
steps in every run, and each place where a task waits is one of them.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple, Unpack

from tests.support.clocks import SleepersClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START_MS = 1_768_478_400_000

_ABANDONED: list[object] = []
"""Loops that were left in the middle, with their tasks: a task that is collected would run its `finally`
blocks, which no process does that dies."""


class StepClock(SleepersClock):
    """Jumps to the next sleeper when nothing else can happen."""

    def __init__(self, now_ms: int = START_MS) -> None:
        super().__init__(now_ms)

    def jump(self) -> bool:
        """Wake the next sleeper; False when nobody sleeps."""
        return self.wake_next(math.inf)


class SteppedLoop(asyncio.SelectorEventLoop):
    """Counts its steps from `arm` on; `stops_after` steps it stops for good."""

    def __init__(self, clock: StepClock) -> None:
        super().__init__()
        self.clock = clock
        self.steps = 0
        self.stops_after: int | None = None
        self._armed = False

    def arm(self, stops_after: int | None) -> None:
        """Begin to count; None never stops."""
        self._armed, self.steps, self.stops_after = True, 0, stops_after

    def disarm(self) -> None:
        self._armed = False

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        try:
            result = func(*args)
        except Exception as error:
            self.call_soon(_fail, future, error)
        else:
            self.call_soon(_succeed, future, result)
        return future

    def _run_once(self) -> None:
        if not self._ready:  # type: ignore[attr-defined]
            self.clock.jump()
        super()._run_once()  # type: ignore[misc]
        if self._armed:
            self.steps += 1
            if self.steps == self.stops_after:
                self._armed = False
                self.stop()


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def run_stepped(loop: SteppedLoop, work: Coroutine[Any, Any, T]) -> T | None:
    """Run to the end and return the result, or None when the loop stopped before: it is abandoned then, with
    everything that it was doing."""
    asyncio.set_event_loop(loop)
    task = loop.create_task(work)
    try:
        return loop.run_until_complete(task)
    except RuntimeError:
        if task.done():
            raise
        left = asyncio.all_tasks(loop)
        for each in left:
            each._log_destroy_pending = False  # type: ignore[attr-defined]
        _ABANDONED.append((loop, left, task))
        return None
    finally:
        asyncio.set_event_loop(None)
        loop.close()
