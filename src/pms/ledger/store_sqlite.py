"""SQLite as a store: the standard library's driver in one writer thread and one reader thread, WAL, FULL."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from pms.ledger.errors import (
    DatabaseBusyError,
    DatabaseFullError,
    DatabaseUnavailableError,
    DuplicateKeyError,
    ExternalWriteError,
    FenceLostError,
    UnfitValueError,
)
from pms.ledger.rendering import DatabaseValue, Row
from pms.ledger.statements import Batch, Dialect
from pms.ledger.store import FENCE_SQL, FenceGuard, Statement

_T = TypeVar("_T")

BUSY_TIMEOUT_MS = 5_000
"""As the incumbent's connections (ledger spec 1.1 rule 9)."""


class SqliteStore:
    """See `Store`. Cancelling a call does not interrupt the thread: the transaction ends by itself."""

    dialect: Dialect = "sqlite"

    def __init__(self, path: str, read_only: bool) -> None:
        self._path = path
        self._read_only = read_only
        self._write_pool = ThreadPoolExecutor(1, thread_name_prefix="ledger-write")
        self._read_pool = ThreadPoolExecutor(1, thread_name_prefix="ledger-read")
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None

    @classmethod
    async def open(cls, path: str, *, read_only: bool) -> "SqliteStore":
        store = cls(path, read_only)
        try:
            if not read_only:
                store._writer = await store._run(store._write_pool, lambda: _connect(path, read_only=False))
            store._reader = await store._run(store._read_pool, lambda: _connect(path, read_only=True))
        except sqlite3.Error as error:
            await store.close()
            raise DatabaseUnavailableError(f"cannot open the database {path}: {error}") from error
        return store

    async def fetch(self, sql: str, *values: DatabaseValue) -> list[Row]:
        def job() -> list[Row]:
            if self._reader is None:
                raise DatabaseUnavailableError(f"the database {self._path} is closed")
            try:
                return _rows(self._reader.execute(sql, values))
            except sqlite3.Error as error:
                raise DatabaseUnavailableError(f"cannot read {self._path}: {error}") from error

        return await self._run(self._read_pool, job)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator["SqliteStore"]:
        await self.fetch("BEGIN")
        try:
            yield self
        finally:
            await self.fetch("ROLLBACK")

    async def write(self, statements: Sequence[Statement]) -> list[list[Row]]:
        def work(connection: sqlite3.Connection) -> list[list[Row]]:
            return [_rows(connection.execute(sql, values)) for sql, values in statements]

        return await self._run(self._write_pool, lambda: self._transaction(work))

    async def commit(self, guard: FenceGuard, group: Sequence[Batch]) -> None:
        def work(connection: sqlite3.Connection) -> None:
            held = connection.execute(FENCE_SQL, (guard.exchange_account_id,)).fetchone()
            if held is None or held[0] != guard.fence:
                raise FenceLostError(
                    f"the engine lease of {guard.exchange_account_id!r} has fence {held and held[0]}, "
                    f"this engine's is {guard.fence}: another engine took over, stop this one"
                )
            for batch in group:
                if len(batch.rows) == 1:
                    count = connection.execute(batch.sql, batch.rows[0]).rowcount
                else:
                    count = connection.executemany(batch.sql, batch.rows).rowcount
                if count != len(batch.rows):
                    raise ExternalWriteError(
                        f"{len(batch.rows) - count} of {len(batch.rows)} rows of {batch.table} "
                        "are not as the book says"
                    )

        await self._run(self._write_pool, lambda: self._transaction(work))

    def _transaction(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        connection = self._writer
        if connection is None:
            raise DatabaseUnavailableError(f"the database {self._path} is closed or open for reading only")
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            # A local COMMIT has a known outcome: on an error the transaction is still open and is rolled
            # back.
            connection.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            _roll_back(connection)
            raise DuplicateKeyError(str(error)) from error
        except (UnicodeError, OverflowError) as error:
            _roll_back(connection)
            raise UnfitValueError(
                f"{self._path} cannot hold a value, nothing was changed: {error}"
            ) from error
        except sqlite3.OperationalError as error:
            _roll_back(connection)
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise DatabaseBusyError(f"{self._path} is locked by another program: {error}") from error
            raise DatabaseFullError(f"{self._path} refused a write, nothing was changed: {error}") from error
        except sqlite3.Error as error:
            _roll_back(connection)
            raise DatabaseFullError(f"{self._path} refused a write, nothing was changed: {error}") from error
        except BaseException:
            _roll_back(connection)
            raise
        return result

    async def reconnect(self) -> None:
        """Nothing to do: a local file loses no COMMIT."""

    async def close(self) -> None:
        """Close both connections in their threads; waits for a running transaction."""
        for pool, connection in ((self._write_pool, self._writer), (self._read_pool, self._reader)):
            if connection is not None:
                await self._run(pool, connection.close)
            pool.shutdown(wait=False)
        self._writer = self._reader = None

    @staticmethod
    async def _run(pool: ThreadPoolExecutor, job: Callable[[], _T]) -> _T:
        # Shielded: a cancelled caller must not leave a transaction half observed; the thread finishes it.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(pool, job))


def _connect(path: str, *, read_only: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(
        _address(path) if read_only else path,
        isolation_level=None,
        timeout=BUSY_TIMEOUT_MS / 1000,
        check_same_thread=False,
        uri=read_only,
    )
    try:
        if read_only:
            # Not mode=ro: reading WAL needs the shared-memory file, which a read-only open cannot make.
            connection.execute("PRAGMA query_only=ON")
        else:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
        # A file that is no database fails here.
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _address(path: str) -> str:
    """Return the URI of a file that is only read. WAL needs a file beside it, which a folder that may not be
    written cannot get: such a file is read as it stands. Raises sqlite3.OperationalError where that would
    miss commits that are still in the log."""
    file = Path(path).resolve()
    if os.access(file.parent, os.W_OK) or not file.exists():
        return file.as_uri()
    log = file.with_name(file.name + "-wal")
    if log.exists() and log.stat().st_size:
        raise sqlite3.OperationalError("the folder may not be written and its log holds commits; copy both")
    return file.as_uri() + "?immutable=1"


def _rows(cursor: sqlite3.Cursor) -> list[Row]:
    if cursor.description is None:
        return []
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
