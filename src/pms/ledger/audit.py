"""Proves the books from the database alone: figures re-derived, rows against the hash chain (decision 7).

Reads one consistent snapshot on a read-only connection, while an engine runs or not, with the exchange or
without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext

from pms.ledger.audit_chain import check_chain
from pms.ledger.audit_checkpoints import check_checkpoints
from pms.ledger.audit_funding import check_funding
from pms.ledger.audit_liquidations import check_liquidations
from pms.ledger.audit_money import check_balances, check_journal, check_owed, check_wallet
from pms.ledger.audit_pools import check_pools
from pms.ledger.audit_positions import (
    check_allocations,
    check_house,
    check_netting,
    check_orders,
    check_positions,
    check_shapes,
)
from pms.ledger.audit_tables import AuditTables, Check, read_tables
from pms.ledger.databases import open_store, require_database
from pms.ledger.errors import DatabaseUnavailableError
from pms.ledger.migrate import HEAD, schema_version
from pms.model.money import CONTEXT
from pms.model.symbol import Symbol

ENTRY_UNIT = Decimal("1e-8")
"""The precision of entry prices as exchanges report them."""


@dataclass(frozen=True, slots=True)
class ExchangePosition:
    """A position as the exchange has it: signed quantity and average entry price."""

    signed_quantity: Decimal
    entry_price: Decimal


@dataclass(frozen=True, slots=True)
class ExchangeFigures:
    """The real account as read from the exchange: wallet balance, and every open position."""

    wallet_balance: Decimal
    positions: Mapping[Symbol, ExchangePosition] = field(default_factory=dict)

    def wallet_less_cost(self) -> Decimal:
        """Return wallet - Σ signed Q x E, the right side of decision 7."""
        held = self.positions.values()
        return self.wallet_balance - sum((one.signed_quantity * one.entry_price for one in held), Decimal(0))

    def tolerance(self) -> Decimal:
        """Return what the rounding of the reported entry prices may amount to."""
        return sum((abs(one.signed_quantity) * ENTRY_UNIT for one in self.positions.values()), Decimal(0))


@dataclass(frozen=True, slots=True)
class AuditReport:
    """All checks of all exchange accounts of a database."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def lines(self) -> list[str]:
        """Return the report as text: one line for each check, then its failing rows and its notes."""
        result = []
        for check in self.checks:
            state = "skipped" if check.skipped else "ok" if check.passed else "FAILED"
            result.append(f"{state:8}{check.name}: {check.skipped or check.summary}")
            result.extend(f"        {row}: {text}" for row, text in check.failures)
            result.extend(f"        note: {note}" for note in check.notes)
        return result


@dataclass(frozen=True, slots=True)
class Books:
    """All rows that an audit reads, of one consistent moment, by exchange account."""

    tables: tuple[AuditTables, ...]


async def audit(url: str, *, exchange: ExchangeFigures | None = None) -> AuditReport:
    """Check a database. Raises DatabaseUnavailableError when there is none, DatabaseTooNewError."""
    return check_books(await read_books(url), exchange)


async def read_books(url: str) -> Books:
    """Read a database in one snapshot, on a connection that cannot write. Raises like `audit`."""
    require_database(url)
    store = await open_store(url, read_only=True)
    try:
        version = await schema_version(store)
        if version is None:
            raise DatabaseUnavailableError("the database has no ledger yet; start the engine once")
        if version != HEAD:
            raise DatabaseUnavailableError(
                f"the database has schema version {version}, its books are read from {HEAD} on; "
                "start the engine once, it brings the database up"
            )
        async with store.snapshot() as snapshot:
            rows = await snapshot.fetch("SELECT exchange_account_id FROM pms_exchange_accounts ORDER BY 1")
            tables = [await read_tables(snapshot, str(row["exchange_account_id"])) for row in rows]
    finally:
        await store.close()
    return Books(tuple(tables))


def check_books(books: Books, exchange: ExchangeFigures | None = None) -> AuditReport:
    """Make every check; with the exchange's figures those that need them too."""
    checks: list[Check] = []
    with localcontext(CONTEXT):
        for one in books.tables:
            checks.extend(_audit_one(one, exchange))
    if not checks:
        checks.append(Check("accounts", skipped="no exchange account was ever registered; nothing to prove"))
    return AuditReport(tuple(checks))


def _audit_one(tables: AuditTables, exchange: ExchangeFigures | None) -> list[Check]:
    value = None if exchange is None else exchange.wallet_less_cost()
    tolerance = Decimal(0) if exchange is None else exchange.tolerance()
    positions = (
        None
        if exchange is None
        else {symbol: one.signed_quantity for symbol, one in exchange.positions.items()}
    )
    return [
        *check_balances(tables),
        check_owed(tables),
        check_liquidations(tables),
        *check_journal(tables),
        check_wallet(tables, value, tolerance),
        check_allocations(tables),
        *check_positions(tables),
        check_shapes(tables),
        check_house(tables),
        *check_netting(tables, positions),
        check_orders(tables),
        check_pools(tables),
        check_checkpoints(tables),
        *check_funding(tables),
        *check_chain(tables),
    ]
