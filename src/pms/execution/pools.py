"""Passes the fills of pooled closes on to the closers, a few at a time, also after a restart.

Invariant: everything that the ledger shows as pending is passed on as long as `run` is active; what has been
passed on is the ledger's, so a stop at any moment loses and repeats nothing.
"""

import asyncio
from dataclasses import dataclass

import structlog

from pms.ledger.api import Committed, Ledger
from pms.ledger.errors import LeaseError, LedgerClosedError, LedgerError
from pms.model.clock import Clock, set_within
from pms.model.ids import ClientOrderId

log = structlog.get_logger(__name__)

PARTS_IN_COMMIT = 8
"""Few enough that commands of other accounts wait for a commit of them no longer than for any other."""

RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """`open` pools now; `commits` of allocations and their `retries` since the start."""

    open: int
    commits: int
    retries: int


class PoolAllocator:
    """Follows commits. Bounded by the pools that the ledger holds open. Event-loop thread only."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._wake = asyncio.Event()
        self._wake.set()  # a restart may have left something behind
        self._waiting: dict[ClientOrderId, asyncio.Event] = {}
        self._commits = self._retries = 0

    def on_commit(self, committed: Committed) -> None:
        """Take one commit; called synchronously after it."""
        for pool in committed.pools:
            if pool.pending:
                self._wake.set()
            elif pool.ended and pool.client_order_id in self._waiting:
                self._waiting[pool.client_order_id].set()

    async def settled(self, client_order_id: ClientOrderId, seconds_max: float) -> bool:
        """Wait until a pooled order has ended and is wholly passed on; False when the deadline passes."""
        if not any(pool.client_order_id == client_order_id for pool in self._ledger.pools()):
            return True
        event = self._waiting.setdefault(client_order_id, asyncio.Event())
        try:
            return await set_within(event, self._clock, seconds_max)
        finally:
            self._waiting.pop(client_order_id, None)

    async def run(self) -> None:
        """Pass on what is pending until cancelled. Raises LeaseError when another engine took over."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while await self._step():
                    pass
            except (LeaseError, LedgerClosedError):
                raise
            except LedgerError as error:
                self._retries += 1
                log.warning("pool_allocation_retried", error=str(error))
                await self._clock.sleep(RETRY_SECONDS)
                self._wake.set()

    async def _step(self) -> bool:
        """Pass on one piece of each pool in turn, so that no symbol waits for a large one; False: done."""
        pending = [pool for pool in self._ledger.pools() if pool.pending]
        for pool in pending:
            self._commits += 1
            await self._ledger.allocate_pool(pool.client_order_id, PARTS_IN_COMMIT)
        return bool(pending)

    def statistics(self) -> PoolStatistics:
        return PoolStatistics(len(self._ledger.pools()), self._commits, self._retries)
