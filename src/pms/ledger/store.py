"""The port to a database: reads, small writes, and the one transaction of a commit group."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from pms.ledger.rendering import DatabaseValue, Row
from pms.ledger.statements import Batch, Dialect

Statement = tuple[str, tuple[DatabaseValue, ...]]
"""SQL with `?` placeholders, and its values in database form."""


@dataclass(frozen=True, slots=True)
class FenceGuard:
    """The lease that a commit needs: the row must still carry this fence (decision 28)."""

    exchange_account_id: str
    fence: int


class Snapshot(Protocol):
    """One consistent view of committed data."""

    async def fetch(self, sql: str, *values: DatabaseValue) -> list[Row]: ...


class Store(Protocol):
    """One database. `commit` and `write` are serialised by the caller or by the store; reads see committed
    data.

    No method leaves a transaction open, whatever happens, cancellation included.
    """

    dialect: Dialect

    async def fetch(self, sql: str, *values: DatabaseValue) -> list[Row]:
        """Return the rows of a query written with `?` placeholders."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """Return a context in which every read sees the same committed state, whatever is written
        meanwhile."""
        ...

    async def write(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run statements in one transaction; return the rows of each (with RETURNING). Raises
        DuplicateKeyError."""
        ...

    async def commit(self, guard: FenceGuard, group: Sequence[Batch]) -> None:
        """Apply a group in one transaction, after checking the fence.

        Raises FenceLostError, ExternalWriteError (a row count differs), DuplicateKeyError, UnfitValueError,
        DatabaseFullError: nothing was changed. Raises CommitUnknownError when the outcome of the COMMIT
        itself was lost.
        """
        ...

    async def reconnect(self) -> None:
        """Drop and open the connections again, after a lost COMMIT."""
        ...

    async def close(self) -> None: ...


FENCE_SQL = "SELECT fence FROM pms_leases WHERE exchange_account_id = ? AND role = 'engine'"
