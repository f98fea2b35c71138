"""Gathers the closes of ladders that are due at the same moment: one mass close for each symbol and act.

A thousand accounts that one tick liquidates on one symbol need its slices in orders, not a thousand (design,
"Budgets"). Ladders are announced when they start; the symbols close as soon as all that were announced have
named their positions, or when none has for `GATHER_SECONDS`, so that one that hangs holds nobody up.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

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
Quantities = Mapping[PositionId, Decimal | None]
"""What is to be closed of each position, in base units; None: all of it."""

CloseMany = Callable[[Quantities, str], Awaitable[Mapping[PositionId, Outcome]]]


class _Batch:
    """The closes of one symbol that go out together; the first to come sends them."""

    __slots__ = ("complete", "quantities", "waiting")

    def __init__(self) -> None:
        self.waiting: dict[PositionId, asyncio.Future[Outcome | None]] = {}
        self.quantities: dict[PositionId, Decimal | None] = {}
        self.complete = asyncio.Event()

    def add(self, position_id: PositionId, quantity: Decimal | None) -> "asyncio.Future[Outcome | None]":
        future = self.waiting.get(position_id)
        if future is None:
            future = self.waiting[position_id] = asyncio.get_running_loop().create_future()
            self.quantities[position_id] = quantity
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
        """`close_many` closes positions of one symbol, or parts of them, under one trade action, and says
        what became of each."""
        self._close_many = close_many
        self._clock = clock
        self._announced = 0
        self._open: dict[tuple[Symbol, str], _Batch] = {}
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

    def close(
        self, positions: Sequence[Position], action: str, quantity: Decimal | None = None
    ) -> Awaitable[list[Outcome | None]]:
        """Name positions to be closed, at once, wholly or `quantity` of each; awaiting the result waits for
        what became of each, in order.

        None: the close said nothing of it. Cancelling one that sends for others cancels their wait too: only
        the end of the engine does that.
        """
        sends: list[Awaitable[None]] = []
        futures: list[asyncio.Future[Outcome | None]] = []
        for position in positions:
            key = (position.symbol, action)
            batch = self._open.get(key)
            if batch is None:
                batch = self._open[key] = _Batch()
                sends.append(self._send(key, batch))
            futures.append(batch.add(position.id, quantity))
        if self._announced == 0:
            for position in positions:
                self._open[(position.symbol, action)].complete.set()
        return _answers(asyncio.gather(*sends), futures)

    async def _send(self, key: tuple[Symbol, str], batch: _Batch) -> None:
        await self._gathered(batch)
        del self._open[key]
        self._batches += 1
        self._positions += len(batch.quantities)
        self._positions_max = max(self._positions_max, len(batch.quantities))
        try:
            outcomes = await self._close_many(batch.quantities, key[1])
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
