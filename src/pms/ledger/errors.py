"""The ledger's exception tree: what can go wrong with money or its database, each with what to do.

LedgerError
├── DatabaseError
│   ├── DatabaseTooNewError       the database was made by a newer program
│   ├── AdoptionRefusedError      an existing database breaks a rule that adoption needs
│   ├── DatabaseUnavailableError  the database cannot be reached or opened
│   ├── DatabaseFullError         a write did not fit, or the file is read-only; nothing was changed
│   ├── DatabaseBusyError         a transaction was given up for another one; nothing was changed
│   ├── ExternalWriteError        a row is not as the book says; somebody else wrote it
│   └── UnfitValueError           the database cannot hold a value of the operation
├── CommitUnknownError            the outcome of a COMMIT could not be read again
├── DuplicateKeyError             a unique key exists already
├── LeaseError
│   ├── LeaseHeldError            another engine holds the lease
│   ├── LeaseRequiredError        a mutation without a lease
│   └── FenceLostError            another engine took over; this one must stop writing
├── LedgerClosedError             the ledger was closed
├── LedgerBusyError               the writer's queue is at its bound
└── RequestError                  the request itself cannot be carried out
    ├── AccountNotFoundError
    ├── OrderNotFoundError
    ├── InvalidAmountError
    ├── AccountExposedError
    ├── InsufficientBalance
    ├── HouseCapitalInsufficient
    └── IdempotencyConflictError
"""

from pms.model.errors import PmsError


class LedgerError(PmsError):
    """Base of everything the ledger raises on purpose."""


class DatabaseError(LedgerError):
    """The database itself stands in the way."""


class DatabaseTooNewError(DatabaseError):
    """The database was migrated by a newer program; update this one, nothing was changed."""


class AdoptionRefusedError(DatabaseError):
    """An existing database cannot be adopted until the named rows are put right."""


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be opened or reached."""


class DatabaseFullError(DatabaseError):
    """The database refused the write (disk full, read-only, locked for too long); nothing was changed."""


class DatabaseBusyError(DatabaseError):
    """The database gave the transaction up in favour of another one (deadlock, serialisation, a lock that was
    not granted, a statement that took too long); nothing was changed, and the same may succeed now."""


class ExternalWriteError(DatabaseError):
    """A conditional update met a row that is not as the book says."""


class UnfitValueError(DatabaseError):
    """A value does not fit into its column (a NUL byte in a text, say); nothing was changed."""


class CommitUnknownError(LedgerError):
    """A COMMIT was lost and the database does not answer; the outcome is settled at the next load."""


class DuplicateKeyError(LedgerError):
    """A unique key exists already. `constraint` names it as the database does."""

    def __init__(self, constraint: str) -> None:
        super().__init__(f"the database has that key already: {constraint}")
        self.constraint = constraint


class LeaseError(LedgerError):
    """The engine lease forbids the write."""


class LeaseHeldError(LeaseError):
    """Another engine holds the lease; `owner` names it, `expires_at_ms` when it ends unless renewed."""

    def __init__(self, owner: str, expires_at_ms: int) -> None:
        super().__init__(
            f"the engine lease is held by {owner!r} until {expires_at_ms} ms; "
            "stop that engine or wait for the end"
        )
        self.owner = owner
        self.expires_at_ms = expires_at_ms


class LeaseRequiredError(LeaseError):
    """A mutation needs `take_lease` first."""


class FenceLostError(LeaseError):
    """A successor took the lease; every further write of this engine is refused."""


class LedgerClosedError(LedgerError):
    """The ledger was closed; open it again."""


class LedgerBusyError(LedgerError):
    """The writer's queue is full; retry later."""


class RequestError(LedgerError):
    """The request cannot be carried out; nothing was changed."""


class AccountNotFoundError(RequestError):
    """No sub-account has that id."""


class OrderNotFoundError(RequestError):
    """The journal has no order of that id."""


class PositionNotOpenError(RequestError):
    """No open position has that id."""


class InvalidAmountError(RequestError):
    """An amount must be finite and positive."""


class AccountExposedError(RequestError):
    """The account has open positions or orders, and what was asked for needs it without."""


class InsufficientBalance(RequestError):
    """The withdrawal exceeds balance less owed."""


class HouseCapitalInsufficient(RequestError):
    """The house does not hold enough cash for the deposit."""


class IdempotencyConflictError(RequestError):
    """The idempotency key was used with another request."""


class ExportRefusedError(RequestError):
    """The books cannot be written there; nothing was left."""
