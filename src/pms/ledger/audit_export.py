"""Writes the books for somebody else to check: every audited row, the trial balance, the report, and digests.

One folder for each exchange account, tables as CSV with one header line, values as the ledger holds them
(exact decimals, times in Unix milliseconds). `manifest.json` names each file with its SHA-256 and the commit
that the export shows.
"""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pms.ledger.audit import AuditReport, Books
from pms.ledger.audit_checkpoints import totals_of
from pms.ledger.audit_tables import AuditRow, AuditTables
from pms.ledger.errors import ExportRefusedError
from pms.ledger.journal import Totals, accounts_of
from pms.ledger.rendering import Cell
from pms.ledger.schema import TableInfo, table_info
from pms.model.money import ZERO, plain

SECRET_COLUMNS: dict[str, tuple[str, ...]] = {"pms_order_journal": ("idempotency_key",)}
"""Columns that are nobody else's business."""


def export_books(books: Books, report: AuditReport, folder: Path) -> list[Path]:
    """Write everything below `folder`, which must not exist or be empty, and return the files.

    The folder appears whole or not at all. Raises ExportRefusedError.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ExportRefusedError(f"{folder} exists and is not an empty folder; name another one")
    if not folder.parent.is_dir():
        raise ExportRefusedError(f"{folder.parent} is not a folder; make it first")
    draft = folder.parent / f".{folder.name}.{os.getpid()}.draft"
    try:
        _write_all(books, report, draft)
        if folder.exists():
            folder.rmdir()
        draft.rename(folder)
    except OSError as error:
        raise ExportRefusedError(f"the export to {folder} failed, nothing was left there: {error}") from error
    finally:
        if draft.exists():
            shutil.rmtree(draft)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _write_all(books: Books, report: AuditReport, draft: Path) -> None:
    for tables in books.tables:
        _write_account(tables, draft / _folder_name(tables.exchange_account_id))
    (draft / "report.txt").write_text("\n".join(report.lines()) + "\n", encoding="utf-8")
    files = {
        path.relative_to(draft).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(draft.rglob("*"))
        if path.is_file()
    }
    commits = {tables.exchange_account_id: _last_commit(tables) for tables in books.tables}
    manifest = {"passed": report.passed, "commits": commits, "files": files}
    (draft / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _folder_name(exchange_account_id: str) -> str:
    return "".join(one if one.isalnum() or one in "-_" else "_" for one in exchange_account_id)


def _last_commit(tables: AuditTables) -> dict[str, str | int]:
    links = tables.of("pms_commit_links")
    last = max(links, key=lambda row: int(row["link"] or 0), default=None)
    return {} if last is None else {"link": int(last["link"] or 0), "hash": str(last["hash"])}


def _write_account(tables: AuditTables, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, rows in tables.rows.items():
        hidden = SECRET_COLUMNS.get(name, ())
        info = table_info(name)
        columns = [column for column in info.kinds if column not in hidden]
        path = folder / f"{name}.csv"
        _write_csv(path, columns, ([row.get(column) for column in columns] for row in _sorted(rows, info)))
    totals = totals_of(tables)
    _write_csv(
        folder / "trial-balance.csv",
        ("category", "account", "sub_account_id", "symbol", "detail", "amount", "signed_quantity"),
        (
            (
                key.category,
                key.account,
                key.sub_account_id,
                key.symbol,
                key.detail,
                totals[key].amount,
                totals[key].signed_quantity,
            )
            for key in sorted(totals)
        ),
    )
    _write_csv(
        folder / "accounts.csv",
        ("sub_account_id", "balance", "owed", "symbol", "signed_quantity", "signed_cost"),
        _account_rows(totals, {str(row["sub_account_id"]) for row in tables.of("pms_account_exact")}),
    )


def _account_rows(totals: Totals, everybody: set[str]) -> Iterator[tuple[Cell, ...]]:
    """One row for each open position, or one for an account without any, also for one that has nothing."""
    known = accounts_of(totals)
    for name in sorted(everybody - known.keys()):
        yield name, ZERO, ZERO, None, None, None
    for at in known.values():
        for held in at.positions:
            yield at.sub_account_id, at.balance, at.owed, held.symbol, held.signed_quantity, held.signed_cost
        if not at.positions:
            yield at.sub_account_id, at.balance, at.owed, None, None, None


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_text(value) for value in row])


def _sorted(rows: Sequence[AuditRow], info: TableInfo) -> list[AuditRow]:
    """By key: the same books give the same files, whatever order a database answers in."""
    return sorted(rows, key=lambda row: [_sort_key(row[name]) for name in info.keys])


def _sort_key(value: Cell) -> tuple[int, str]:
    return (value, "") if isinstance(value, int) else (0, str(value))


def _text(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return plain(value) if not isinstance(value, str | int) else str(value)
