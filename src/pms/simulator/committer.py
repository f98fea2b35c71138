"""Group commit: changes of one loop turn become durable together, then their events are emitted, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pms.simulator.changes import Changes
from pms.simulator.core import Engine
from pms.simulator.store import Store, rows_of


class Committer:
    """Carries the engine's changes to the store in one worker thread and emits events afterwards.

    While a commit is on its way, further changes gather and go with the next one. `settled()` is awaited
    before every answer that shows account state: nothing is shown that a crash could take back.
    """

    def __init__(self, engine: Engine, store: Store, emit: Callable[[str, bytes], None]) -> None:
        self._engine = engine
        self._store = store
        self._emit = emit
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="simulator-store")
        self._wake = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []
        self._in_flight = False
        self._failure: BaseException | None = None
        self.groups = 0
        self.events = 0

    def touch(self) -> None:
        """Say that the engine may have changed without anybody waiting for it (a quote, a timer)."""
        if self._engine.dirty:
            self._wake.set()

    async def settled(self) -> None:
        """Return once everything done so far is durable and emitted. Raises what the store raised."""
        if self._failure is not None:
            raise self._failure
        if not self._engine.dirty and not self._in_flight:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._wake.set()
        await waiter

    async def run(self) -> None:
        """Serve until cancelled; a failed commit ends it with the error, and so the exchange."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            changes, waiters = self._engine.drain(), self._waiters
            self._waiters = []
            self._in_flight = True
            try:
                rows = rows_of(changes)
                await loop.run_in_executor(self._thread, self._store.write, rows)
            except BaseException as error:
                self._failure = error
                for waiter in [*waiters, *self._waiters]:
                    if not waiter.done():
                        waiter.set_exception(error) if isinstance(error, Exception) else waiter.cancel()
                raise
            finally:
                self._in_flight = False
            self._publish(changes)
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _publish(self, changes: Changes) -> None:
        self.groups += 1
        self.events += len(changes.events)
        for listen_key, event in changes.events:
            self._emit(listen_key, event)

    def close(self) -> None:
        """Write what is left and end the worker thread."""
        self._thread.shutdown(wait=True)  # a commit on its way ends first: one writer at a time
        if self._failure is None and self._engine.dirty:
            changes = self._engine.drain()
            self._store.write(rows_of(changes))
            self._publish(changes)
