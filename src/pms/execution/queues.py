"""One queue for each sub-account, served by priority: decisions about it are made one at a time.

Invariants: 1. A turn is synchronous, so it can await neither the network nor a fill (invariant 10, decision
16). 2. Of the turns waiting at one moment the most urgent runs first: liquidation, user close, trailing stop,
algo, new entry; equals run in order of arrival. 3. In-flight work is a reservation, never a held queue.
"""

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pms.model.ids import SubAccountId
from pms.model.order import Priority

T = TypeVar("T")

_RANK = {priority: rank for rank, priority in enumerate(Priority)}
_REFUSED_WHEN_FULL = frozenset({Priority.ALGO, Priority.ENTRY})
"""Liquidation and closing are always taken (limits, QUEUED_COMMANDS_PER_ACCOUNT_MAX)."""


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """`turns` served since the start, `waiting` now, `waiting_max` ever."""

    turns: int
    waiting: int
    waiting_max: int


class AccountQueues:
    """The queues of all sub-accounts. Event-loop thread only."""

    def __init__(self, waiting_max: int) -> None:
        """`waiting_max` bounds the turns that wait for one account; beyond it `run` raises QueueFull for
        entries and algos."""
        self._bound = waiting_max
        self._heaps: dict[SubAccountId, list[tuple[int, int, Callable[[], None]]]] = {}
        self._arrival = 0
        self._turns = 0
        self._waiting = 0
        self._waiting_max = 0

    async def run(
        self,
        account: SubAccountId,
        priority: Priority,
        step: Callable[[], T],
        undo: Callable[[T], None] | None = None,
    ) -> T:
        """Run `step` as a turn of the account and return its result; an exception of `step` is raised here.

        Cancellation while waiting drops the turn; one between the turn and its caller gives the result to
        `undo`, so that no reservation is left to nobody. Raises asyncio.QueueFull when too many turns wait.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def turn() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(step())
            except Exception as error:  # handed to the caller that awaits the turn
                future.set_exception(error)

        heap = self._heaps.get(account)
        if heap is None:
            heap = self._heaps[account] = []
            loop.call_soon(self._drain, account)
        if len(heap) >= self._bound and priority in _REFUSED_WHEN_FULL:
            raise asyncio.QueueFull(f"{self._bound} requests already wait for sub-account {account}")
        self._arrival += 1
        heapq.heappush(heap, (_RANK[priority], self._arrival, turn))
        self._waiting += 1
        self._waiting_max = max(self._waiting_max, self._waiting)
        try:
            return await future
        except asyncio.CancelledError:
            done = future.done() and not future.cancelled() and future.exception() is None
            if done and undo is not None:
                undo(future.result())
            raise

    def _drain(self, account: SubAccountId) -> None:
        heap = self._heaps[account]
        _, _, turn = heapq.heappop(heap)
        self._waiting -= 1
        self._turns += 1
        turn()
        if heap:
            # One turn for each pass of the loop: an urgent turn that arrives now overtakes those that wait.
            asyncio.get_running_loop().call_soon(self._drain, account)
        else:
            del self._heaps[account]

    def statistics(self) -> QueueStatistics:
        return QueueStatistics(self._turns, self._waiting, self._waiting_max)
