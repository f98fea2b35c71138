"""`pms audit --export` and `--at`: what others can check, and what the books said then."""

import csv
import hashlib
import json
import os
from decimal import Decimal
from pathlib import Path

import pytest

from pms.commands.audit import moment_ms, state_at
from pms.ledger.audit import check_books, read_books
from pms.ledger.audit_export import export_books
from pms.ledger.checkpoints import Checkpointer
from pms.ledger.errors import DatabaseUnavailableError, ExportRefusedError
from pms.settings import SettingsError
from tests.integration.ledger.test_audit import busy_desk
from tests.support.ledger import EXCHANGE, START_MS, ManualClock, money, opened, sqlite_url

START = "2026-01-15T12:00:00Z"


@pytest.fixture
async def traded(database_url: str) -> str:
    clock = ManualClock()
    ledger = await opened(database_url, clock=clock)
    await ledger.adopt_wallet(money("100000"), "epoch-1")
    clock.advance(60_000)
    await busy_desk(ledger)
    clock.advance(24 * 3_600_000)
    await Checkpointer(ledger, clock).close_days()
    await ledger.close()
    return database_url


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


async def test_the_export_holds_what_a_stranger_needs_to_check(traded: str, tmp_path: Path) -> None:
    books = await read_books(traded)
    folder = tmp_path / "books"
    files = export_books(books, check_books(books), folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in manifest["files"]}
    assert manifest["files"] == digests
    assert len(files) == len(digests) + 1
    assert manifest["passed"] is True
    mine = folder / EXCHANGE
    links = read(mine / "pms_commit_links.csv")
    assert manifest["commits"][EXCHANGE] == {"link": len(links), "hash": links[-1]["hash"]}
    entries: dict[str, Decimal] = {}
    for line in read(mine / "pms_journal_lines.csv"):
        entries[line["entry_id"]] = entries.get(line["entry_id"], Decimal(0)) + Decimal(line["amount"])
    assert entries
    assert set(entries.values()) == {Decimal(0)}
    balance = read(mine / "trial-balance.csv")
    assert sum(Decimal(row["amount"]) for row in balance) == 0
    cash = {row["sub_account_id"]: -Decimal(row["amount"]) for row in balance if row["account"] == "CASH"}
    exact = {row["sub_account_id"]: Decimal(row["balance"]) for row in read(mine / "pms_account_exact.csv")}
    assert {key: value for key, value in exact.items() if value} == cash
    assert {row["sub_account_id"] for row in read(mine / "accounts.csv")} == set(exact)
    assert "idempotency_key" not in read(mine / "pms_order_journal.csv")[0]


async def test_an_export_appears_whole_or_not_at_all(traded: str, tmp_path: Path) -> None:
    books = await read_books(traded)
    report = check_books(books)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("kept")
    with pytest.raises(ExportRefusedError, match="not an empty folder"):
        export_books(books, report, taken)
    with pytest.raises(ExportRefusedError, match="is not a folder"):
        export_books(books, report, tmp_path / "nowhere" / "books")
    assert (taken / "mine.txt").read_text() == "kept"
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".draft")]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert export_books(books, report, empty)


async def test_the_state_at_a_moment_is_printed(traded: str) -> None:
    said: list[str] = []
    overrides = {"database_url": traded, "exchange_account": EXCHANGE}
    assert await state_at(overrides, "2026-01-15", None, said.append) == 0
    text = "\n".join(said)
    assert "A: balance" in text
    assert "C: balance 0, owes" in text
    assert "BTC/USDT:USDT SHORT" in text or "BTC/USDT:USDT LONG" in text
    said.clear()
    await state_at(overrides, START, None, said.append)
    assert said[0].startswith("after commit ")
    assert not any("balance" in line for line in said)
    said.clear()
    await state_at(overrides, "2026-01-16T00:00:00+00:00", "B", said.append)
    assert sum("balance" in line for line in said) == 1
    with pytest.raises(SettingsError, match="--account"):
        await state_at(overrides, START, "nobody", said.append)


async def test_books_in_a_folder_that_may_not_be_written_are_read(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a medium for archives; the rights are a test's, since who runs it may write everywhere."""
    ledger = await opened(sqlite_url(tmp_path, sqlite_template))
    await ledger.adopt_wallet(money("100000"), "epoch-1")
    await busy_desk(ledger)
    monkeypatch.setattr("pms.ledger.store_sqlite.os.access", lambda *_: False)
    with pytest.raises(DatabaseUnavailableError, match="its log holds commits"):
        await read_books(sqlite_url(tmp_path))
    await ledger.close()
    before = sorted(os.listdir(tmp_path))
    assert check_books(await read_books(sqlite_url(tmp_path))).passed
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (START, START_MS),
        ("2026-01-15T12:00:00", START_MS),
        ("2026-01-15T13:00:00+01:00", START_MS),
        ("2026-01-15", START_MS + 12 * 3_600_000 - 1),
    ],
)
def test_moments(text: str, wanted: int) -> None:
    assert moment_ms(text) == wanted


def test_a_moment_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="--at"):
        moment_ms("yesterday")
