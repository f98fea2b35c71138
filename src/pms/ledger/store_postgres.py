"""PostgreSQL as a store: asyncpg, one connection that writes and a small pool that reads."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from pms.ledger.errors import (
    CommitUnknownError,
    DatabaseFullError,
    DatabaseUnavailableError,
    DuplicateKeyError,
    ExternalWriteError,
    FenceLostError,
)
from pms.ledger.rendering import DatabaseValue, Row
from pms.ledger.statements import Batch, Dialect, placeholders
from pms.ledger.store import FENCE_SQL, FenceGuard, Statement

STATEMENT_SECONDS_MAX = 15.0
_LOST = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError, TimeoutError)


_Work = Callable[["asyncpg.Connection[asyncpg.Record]"], Awaitable[list[list[Row]]]]
_Running = Coroutine[None, None, list[list[Row]]]


class _PostgresSnapshot:
    """Reads inside one repeatable-read transaction."""

    def __init__(self, connection: "PoolConnectionProxy[asyncpg.Record]") -> None:
        self._connection = connection

    async def fetch(self, sql: str, *values: DatabaseValue) -> list[Row]:
        records = await self._connection.fetch(placeholders("postgresql", sql), *values)
        return [dict(record) for record in records]


class PostgresStore:
    """See `Store`. Writes of one process are serialised by a lock; the fence serialises processes."""

    dialect: Dialect = "postgresql"

    def __init__(self, url: str, read_only: bool) -> None:
        self._url = url
        self._read_only = read_only
        self._lock = asyncio.Lock()
        self._writer: asyncpg.Connection[asyncpg.Record] | None = None
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    @classmethod
    async def open(cls, url: str, *, read_only: bool) -> "PostgresStore":
        store = cls(url, read_only)
        await store.reconnect()
        return store

    async def reconnect(self) -> None:
        await self.close()
        settings = {"timezone": "UTC"}  # ledger spec 1.1 rule 3
        if self._read_only:
            settings["default_transaction_read_only"] = "on"
        try:
            if not self._read_only:
                self._writer = await asyncpg.connect(
                    self._url, server_settings=settings, command_timeout=STATEMENT_SECONDS_MAX, timeout=10
                )
            self._pool = await asyncpg.create_pool(
                self._url,
                server_settings=settings,
                command_timeout=60,
                min_size=1,
                max_size=4,
                timeout=10,
            )
        except (*_LOST, asyncpg.PostgresError) as error:
            await self.close()
            raise DatabaseUnavailableError(f"cannot reach PostgreSQL: {error}") from error

    async def fetch(self, sql: str, *values: DatabaseValue) -> list[Row]:
        if self._pool is None:
            raise DatabaseUnavailableError("the connection to PostgreSQL is closed")
        try:
            connection: PoolConnectionProxy[asyncpg.Record]
            async with self._pool.acquire() as connection:
                return [
                    dict(record)
                    for record in await connection.fetch(placeholders(self.dialect, sql), *values)
                ]
        except _LOST as error:
            raise DatabaseUnavailableError(f"PostgreSQL does not answer: {error}") from error

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator["_PostgresSnapshot"]:
        if self._pool is None:
            raise DatabaseUnavailableError("the connection to PostgreSQL is closed")
        connection: PoolConnectionProxy[asyncpg.Record]
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield _PostgresSnapshot(connection)

    async def write(self, statements: Sequence[Statement]) -> list[list[Row]]:
        async def work(connection: "asyncpg.Connection[asyncpg.Record]") -> list[list[Row]]:
            result: list[list[Row]] = []
            for sql, values in statements:
                records = await connection.fetch(placeholders(self.dialect, sql), *values)
                result.append([dict(record) for record in records])
            return result

        async with self._lock:
            return await self._whole(self._transaction(work))

    async def commit(self, guard: FenceGuard, group: Sequence[Batch]) -> None:
        async def work(connection: "asyncpg.Connection[asyncpg.Record]") -> list[list[Row]]:
            # FOR SHARE: a successor's lease waits until this transaction has ended.
            held = await connection.fetchval(
                placeholders(self.dialect, FENCE_SQL) + " FOR SHARE", guard.exchange_account_id
            )
            if held != guard.fence:
                raise FenceLostError(
                    f"the engine lease of {guard.exchange_account_id!r} has fence {held}, "
                    f"this engine's is {guard.fence}: another engine took over, stop this one"
                )
            for batch in group:
                tag = await connection.execute(
                    batch.sql, *(list(column) for column in zip(*batch.rows, strict=True))
                )
                count = int(tag.rsplit(" ", 1)[1])
                if count != len(batch.rows):
                    raise ExternalWriteError(
                        f"{len(batch.rows) - count} of {len(batch.rows)} rows of {batch.table} "
                        "are not as the book says"
                    )
            return []

        async with self._lock:
            await self._whole(self._transaction(work))

    async def _transaction(self, work: _Work) -> list[list[Row]]:
        connection = self._writer
        if connection is None:
            raise DatabaseUnavailableError("the connection to PostgreSQL is closed")
        transaction = connection.transaction()
        try:
            await transaction.start()
            try:
                result = await work(connection)
            except BaseException:
                if not connection.is_closed():
                    await transaction.rollback()
                raise
        except asyncpg.UniqueViolationError as error:
            raise DuplicateKeyError(str(error.constraint_name)) from error
        except asyncpg.IntegrityConstraintViolationError as error:
            raise DuplicateKeyError(str(error)) from error
        except (*_LOST, asyncpg.PostgresError) as error:
            raise DatabaseFullError(f"PostgreSQL refused a write, nothing was changed: {error}") from error
        try:
            await transaction.commit()
        except _LOST as error:
            raise CommitUnknownError(f"the answer to COMMIT was lost: {error}") from error
        except asyncpg.PostgresError as error:
            raise DatabaseFullError(f"PostgreSQL refused the COMMIT, nothing was changed: {error}") from error
        return result

    @staticmethod
    async def _whole(transaction: _Running) -> list[list[Row]]:
        # Shielded: cancelling the caller must not cut a transaction whose outcome would then be unknown.
        task = asyncio.ensure_future(transaction)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise

    async def close(self) -> None:
        writer, self._writer = self._writer, None
        pool, self._pool = self._pool, None
        if writer is not None and not writer.is_closed():
            try:
                await writer.close(timeout=5)
            except (*_LOST, asyncpg.PostgresError):
                writer.terminate()
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), 5)
            except (*_LOST, asyncpg.PostgresError):
                pool.terminate()
