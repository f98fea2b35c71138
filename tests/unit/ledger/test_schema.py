"""The tables that each migration makes: they must not change under databases that exist."""

import hashlib

import pytest
from sqlalchemy import make_url
from sqlalchemy.schema import CreateIndex, CreateTable

from pms.ledger.migrations.tables import tables_since
from pms.ledger.schema import metadata

MADE = {
    ("0001", "postgresql"): "553b91b43d4096b1",
    ("0001", "sqlite"): "a7cec5c3c021182e",
    ("0002", "postgresql"): "4029ccb2497a6a03",
    ("0002", "sqlite"): "0bc4bbcb32798fd4",
}
URLS = {"postgresql": "postgresql+asyncpg://", "sqlite": "sqlite+pysqlite://"}


@pytest.mark.parametrize(("revision", "name"), sorted(MADE))
def test_what_a_migration_makes_is_frozen(revision: str, name: str) -> None:
    dialect = make_url(URLS[name]).get_dialect()()
    statements: list[str] = []
    for table in (metadata.tables[name] for name in tables_since(revision)):
        statements.append(str(CreateTable(table).compile(dialect=dialect)))
        statements.extend(str(CreateIndex(index).compile(dialect=dialect)) for index in table.indexes)
    digest = hashlib.sha256("\n".join(sorted(statements)).encode()).hexdigest()[:16]
    assert digest == MADE[revision, name], (
        f"a table of migration {revision} changed, but existing databases have run it: keep the table as it "
        "was made, and write a new migration for the change"
    )
