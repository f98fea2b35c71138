"""PostgreSQL as a store: asyncpg, one connection that writes and a small pool that reads."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from pms.ledger.errors import (
    CommitUnknownError,
    DatabaseBusyError,
    DatabaseFullError,
    DatabaseUnavailableError,
    DuplicateKeyError,
    ExternalWriteError,
    FenceLostError,
    UnfitValueError,
)
from pms.ledger.rendering import DatabaseValue, Row
from pms.ledger.statements import Batch, Dialect, placeholders, together
from pms.ledger.store import FENCE_SQL, FenceGuard, Statement

STATEMENT_SECONDS_MAX = 15.0
_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a backend killed in the middle of a statement leaves its client confused
    OSError,
    TimeoutError,
)
# A server that stops, starts or has no room: the same request may succeed later.
_AWAY = (*_LOST, asyncpg.OperatorInterventionError, asyncpg.InsufficientResourcesError)
# The server gave this transaction up in favour of another one: the same one may succeed now.
_BUSY = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
# asyncpg refuses some values itself, before they reach the server.
_UNFIT = (asyncpg.DataError, UnicodeError, OverflowError)


_Work = Callable[["asyncpg.Connection[asyncpg.Record]"], Awaitable[list[list[Row]]]]
_Running = Coroutine[None, None, list[list[Row]]]


class _PostgresSnapshot:
    """Reads inside one repeatable-read transaction."""

    def __init__(self, connection: "PoolConnectionProxy[asyncpg.Record]") -> None:
        self._connection = connection

    async def fetch(self, sql: str, *values: DatabaseValue) -> list[Row]:
        records = await self._connection.fetch(placeholders("postgresql", sql), *values)
        return [dict(record) for record in records]


async def _apply(connection: "asyncpg.Connection[asyncpg.Record]", group: Sequence[Batch]) -> None:
    if not group:
        return
    columns = [list(column) for batch in group for column in zip(*batch.rows, strict=True)]
    counts = await connection.fetchrow(together(tuple(batch.sql for batch in group)), *columns)
    for batch, count in zip(group, counts or (), strict=True):
        if count != len(batch.rows):
            raise ExternalWriteError(
                f"{len(batch.rows) - count} of {len(batch.rows)} rows of {batch.table} "
                "are not as the book says"
            )


class PostgresStore:
    """See `Store`. Writes of one process are serialised by a lock; the fence serialises processes."""

    dialect: Dialect = "postgresql"

    def __init__(self, url: str, read_only: bool) -> None:
        self._url = url
        self._read_only = read_only
        self._closed = False
        self._lock = asyncio.Lock()
        self._pool_lock = asyncio.Lock()
        self._writer: asyncpg.Connection[asyncpg.Record] | None = None
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    @classmethod
    async def open(cls, url: str, *, read_only: bool) -> "PostgresStore":
        store = cls(url, read_only)
        await store.reconnect()
        return store

    async def reconnect(self) -> None:
        async with self._lock:
            await self._disconnect()
            if not self._read_only:
                await self._writing()
        await self._reading()

    async def _writing(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Return the writing connection, made anew when the last one was lost."""
        self._require_open()
        if self._read_only:
            raise DatabaseUnavailableError("PostgreSQL was opened for reading only")
        if self._writer is None or self._writer.is_closed():
            try:
                self._writer = await asyncpg.connect(
                    self._url,
                    server_settings=self._server_settings(),
                    command_timeout=STATEMENT_SECONDS_MAX,
                    timeout=10,
                    max_cacheable_statement_size=0,  # statements over many tables are long and come again
                    max_cached_statement_lifetime=0,
                )
            except (*_LOST, asyncpg.PostgresError) as error:
                raise DatabaseUnavailableError(f"cannot reach PostgreSQL: {error}") from error
        return self._writer

    async def _reading(self) -> "asyncpg.Pool[asyncpg.Record]":
        """Return the pool of reading connections; it replaces lost ones by itself."""
        self._require_open()
        async with self._pool_lock:
            if self._pool is None:
                try:
                    self._pool = await asyncpg.create_pool(
                        self._url,
                        server_settings=self._server_settings(),
                        command_timeout=60,
                        min_size=1,
                        max_size=4,
                        timeout=10,
                    )
                except (*_LOST, asyncpg.PostgresError) as error:
                    raise DatabaseUnavailableError(f"cannot reach PostgreSQL: {error}") from error
            return self._pool

    def _server_settings(self) -> dict[str, str]:
        settings = {"timezone": "UTC"}  # ledger spec 1.1 rule 3
        if self._read_only:
            settings["default_transaction_read_only"] = "on"
        return settings

    def _require_open(self) -> None:
        if self._closed:
            raise DatabaseUnavailableError("the connection to PostgreSQL is closed")

    async def fetch(self, sql: str, *values: DatabaseValue) -> list[Row]:
        pool = await self._reading()
        try:
            connection: PoolConnectionProxy[asyncpg.Record]
            async with pool.acquire() as connection:
                return [
                    dict(record)
                    for record in await connection.fetch(placeholders(self.dialect, sql), *values)
                ]
        except _AWAY as error:
            raise DatabaseUnavailableError(f"PostgreSQL does not answer: {error}") from error

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator["_PostgresSnapshot"]:
        pool = await self._reading()
        connection: PoolConnectionProxy[asyncpg.Record]
        async with (
            pool.acquire() as connection,
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
            # Two round trips. Updates come first: a position closes before its successor opens.
            for insert in (False, True):
                await _apply(connection, [batch for batch in group if batch.insert is insert])
            return []

        async with self._lock:
            await self._whole(self._transaction(work))

    async def _transaction(self, work: _Work) -> list[list[Row]]:
        connection = await self._writing()
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
        except _UNFIT as error:
            raise UnfitValueError(f"PostgreSQL cannot hold a value, nothing was changed: {error}") from error
        except _LOST as error:
            # COMMIT was never sent, so the server rolls back; the connection's state is not known any more.
            connection.terminate()
            raise DatabaseUnavailableError(f"PostgreSQL was lost, nothing was changed: {error!r}") from error
        except _BUSY as error:
            raise DatabaseBusyError(f"PostgreSQL gave a transaction up: {error}") from error
        except asyncpg.PostgresError as error:
            raise DatabaseFullError(f"PostgreSQL refused a write, nothing was changed: {error}") from error
        try:
            await transaction.commit()
        except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
            raise DatabaseBusyError(f"PostgreSQL gave a transaction up at its COMMIT: {error}") from error
        except _AWAY as error:
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
        self._closed = True
        await self._disconnect()

    async def _disconnect(self) -> None:
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
