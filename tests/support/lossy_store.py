"""Stores that fail as databases and machines do: a COMMIT without an answer, and a process that dies."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from pms.ledger.errors import CommitUnknownError, DatabaseUnavailableError
from pms.ledger.rendering import DatabaseValue, Row
from pms.ledger.statements import Batch, Dialect
from pms.ledger.store import FenceGuard, Snapshot, Statement, Store


class LossyStore:
    """A store whose next COMMIT loses its answer, after or before its effect; then it is away for a while."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.dialect: Dialect = inner.dialect
        self.lose: str | None = None
        self.away = 0

    async def fetch(self, sql: str, *values: DatabaseValue) -> list[Row]:
        return await self.inner.fetch(sql, *values)

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        return self.inner.snapshot()

    async def write(self, statements: Sequence[Statement]) -> list[list[Row]]:
        return await self.inner.write(statements)

    async def commit(self, guard: FenceGuard, group: Sequence[Batch]) -> None:
        lose, self.lose = self.lose, None
        if lose != "before":
            await self.inner.commit(guard, group)
        if lose is not None:
            raise CommitUnknownError("the answer was lost")

    async def reconnect(self) -> None:
        if self.away:
            self.away -= 1
            raise DatabaseUnavailableError("away")
        await self.inner.reconnect()

    async def close(self) -> None:
        await self.inner.close()


class MortalStore(LossyStore):
    """Also dies: in a chosen commit, with or without its effect; nothing is heard or written after it."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.dead = asyncio.Event()
        self._commits_left: int | None = None
        self._with_effect = False

    def die_at(self, commit: int, *, with_effect: bool) -> None:
        """Die in the commit of that number from now on, 1 is the next."""
        self._commits_left, self._with_effect = commit, with_effect

    def die(self) -> None:
        """Die now."""
        self._commits_left = 0
        self.dead.set()

    async def commit(self, guard: FenceGuard, group: Sequence[Batch]) -> None:
        if self._commits_left is None:
            await super().commit(guard, group)
            return
        self._commits_left -= 1
        if self._commits_left > 0:
            await super().commit(guard, group)
            return
        if self._commits_left == 0 and self._with_effect:
            await self.inner.commit(guard, group)
        self.dead.set()
        await asyncio.Event().wait()

    async def write(self, statements: Sequence[Statement]) -> list[list[Row]]:
        if self.dead.is_set():
            await asyncio.Event().wait()
        return await super().write(statements)
