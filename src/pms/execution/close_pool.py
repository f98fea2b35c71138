"""Gathers the closes of ladders that are due at the same moment: one mass close for each symbol.

A thousand accounts that one tick liquidates on one symbol need its slices in orders, not a thousand (design,
"Budgets"). Ladders are announced when they start; the symbols close as soon as all that were announced have
named their positions, or when none has for `GATHER_SECONDS`, so that one that hangs holds nobody up.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from pms.execution.api import Executed
from pms.model.account import Position
from pms.model.clock import Clock, set_within
from pms.model.ids import PositionId
from pms.model.refusal import Refused
from pms.model.symbol import Symbol

GATHER_SECONDS = 0.2
"""How long a symbol's close waits for the next of the ladders that were announced."""

GATHER_SECONDS_MAX = 2.0
"""How long it waits for all of them. Overflow: the rest goes out in a close of its own."""

ANSWERS_AT_ONCE = 16
"""Ladders that go on in one pass of the loop when a mass close has ended."""

Outcome = Executed | Refused
CloseMany = Callable[[Sequence[PositionId]], Awaitable[Mapping[PositionId, Outcome]]]


class _Batch:
    """The closes of one symbol that go out together; the first to come sends them."""

    __slots__ = ("complete", "waiting")

    def __init__(self) -> None:
        self.waiting: dict[PositionId, asyncio.Future[Outcome | None]] = {}
        self.complete = asyncio.Event()

    def add(self, position_id: PositionId) -> "asyncio.Future[Outcome | None]":
        future = self.waiting.get(position_id)
        if future is None:
            future = self.waiting[position_id] = asyncio.get_running_loop().create_future()
        return future

    def fail(self, error: BaseException) -> None:
        """Give everybody who waits the error; a cancellation cancels them."""
        for future in self.waiting.values():
            if future.done():
                continue
            if isinstance(error, Exception):
                future.set_exception(error)
                future.exception()  # retrieved: the one who sends raises it instead
            else:
                future.cancel()


@dataclass(frozen=True, slots=True)
class ClosePoolStatistics:
    """Counts since the start: closes of one symbol that went out, positions in them, and the most in one."""

    batches: int
    positions: int
    positions_max: int


class ClosePool:
    """Closes by symbol. Bounded by the open positions. Event-loop thread only."""

    def __init__(self, close_many: CloseMany, clock: Clock) -> None:
        """`close_many` closes positions of one symbol and says what became of each."""
        self._close_many = close_many
        self._clock = clock
        self._announced = 0
        self._open: dict[Symbol, _Batch] = {}
        self._batches = self._positions = self._positions_max = 0

    def announce(self) -> None:
        """A ladder is about to name positions; `arrive` must follow."""
        self._announced += 1

    def arrive(self) -> None:
        """An announced ladder has named its positions, or will name none."""
        self._announced -= 1
        if self._announced == 0:
            for batch in self._open.values():
                batch.complete.set()

    def close(self, positions: Sequence[Position]) -> Awaitable[list[Outcome | None]]:
        """Name positions to be closed, at once; awaiting the result waits for what became of each, in order.

        None: the close said nothing of it. Cancelling one that sends for others cancels their wait too: only
        the end of the engine does that.
        """
        sends: list[Awaitable[None]] = []
        futures: list[asyncio.Future[Outcome | None]] = []
        for position in positions:
            batch = self._open.get(position.symbol)
            if batch is None:
                batch = self._open[position.symbol] = _Batch()
                sends.append(self._send(position.symbol, batch))
            futures.append(batch.add(position.id))
        if self._announced == 0:
            for position in positions:
                self._open[position.symbol].complete.set()
        return _answers(asyncio.gather(*sends), futures)

    async def _send(self, symbol: Symbol, batch: _Batch) -> None:
        await self._gathered(batch)
        del self._open[symbol]
        positions = tuple(batch.waiting)
        self._batches += 1
        self._positions += len(positions)
        self._positions_max = max(self._positions_max, len(positions))
        try:
            outcomes = await self._close_many(positions)
            for number, (position_id, future) in enumerate(batch.waiting.items(), 1):
                if not future.done():
                    future.set_result(outcomes.get(position_id))
                if number % ANSWERS_AT_ONCE == 0:
                    await asyncio.sleep(0)
        except BaseException as error:
            batch.fail(error)
            raise

    async def _gathered(self, batch: _Batch) -> None:
        deadline, known = self._clock.monotonic() + GATHER_SECONDS_MAX, -1
        while len(batch.waiting) > known and self._clock.monotonic() < deadline:
            known = len(batch.waiting)
            if await set_within(batch.complete, self._clock, GATHER_SECONDS):
                return

    def statistics(self) -> ClosePoolStatistics:
        return ClosePoolStatistics(self._batches, self._positions, self._positions_max)


async def _answers(
    sends: Awaitable[list[None]], futures: Sequence["asyncio.Future[Outcome | None]"]
) -> list[Outcome | None]:
    await sends
    return [await future for future in futures]
