"""The rows that an audit reads, decoded, and the result of one check."""

from dataclasses import dataclass, field
from decimal import Decimal

from pms.ledger.rendering import Cell, decode
from pms.ledger.rows import row_label
from pms.ledger.schema import CHAINED, table_info
from pms.ledger.store import Snapshot

AuditRow = dict[str, Cell]

_OTHERS = ("pms_outbox", "pms_commit_links", "pms_actions")


@dataclass(slots=True)
class Check:
    """One named check. `failures` are (row, what is wrong); `skipped` says why it was not made."""

    name: str
    skipped: str = ""
    counted: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def summary(self) -> str:
        return f"{self.counted} checked, {len(self.failures)} wrong"

    def fail(self, row: str, text: str) -> None:
        self.failures.append((row, text))

    def equal(self, row: str, what: str, found: Decimal, wanted: Decimal) -> None:
        """Count one comparison; exact."""
        self.counted += 1
        if found != wanted:
            self.fail(row, f"{what} is {found}, must be {wanted}")


@dataclass(slots=True)
class AuditTables:
    """All rows of one exchange account (and the incumbent's rows of its sub-accounts), by table."""

    exchange_account_id: str
    rows: dict[str, list[AuditRow]]

    def of(self, table: str) -> list[AuditRow]:
        return self.rows[table]

    def label(self, table: str, row: AuditRow) -> str:
        """Return `table/key` of a row, as links and reports name it."""
        return row_label(table, tuple(row[name] for name in table_info(table).keys))

    def adopted(self) -> set[str]:
        """Return the ids of accounts that came from an incumbent."""
        return {
            str(row["sub_account_id"]) for row in self.of("pms_opening_entries") if row["kind"] == "BALANCE"
        }


def number(row: AuditRow, name: str) -> Decimal:
    """Return a numeric cell; 0 for NULL."""
    value = row[name]
    return Decimal(0) if value is None else Decimal(value)


def signed(row: AuditRow) -> Decimal:
    """Return the quantity of a fill, allocation or position with the sign of its side."""
    return number(row, "quantity") * (1 if row["side"] in ("BUY", "LONG") else -1)


async def read_tables(snapshot: Snapshot, ours: str) -> AuditTables:
    """Read everything that the checks need, in one snapshot."""
    rows: dict[str, list[AuditRow]] = {}
    for table in (*CHAINED, *_OTHERS):
        info = table_info(table)
        if "exchange_account_id" in info.kinds:
            sql = f"SELECT * FROM {table} WHERE exchange_account_id = ?"  # noqa: S608 -- our own table names
        else:
            owner = "id" if table == "sub_accounts" else "sub_account_id"
            mine = "SELECT sub_account_id FROM pms_account_exact WHERE exchange_account_id = ?"
            sql = f"SELECT * FROM {table} WHERE {owner} IN ({mine})"  # noqa: S608
        rows[table] = [
            {name: decode(kind, row[name]) for name, kind in info.kinds.items() if name in row}
            for row in await snapshot.fetch(sql, ours)
        ]
    return AuditTables(ours, rows)
