"""The schema that the first migration makes: it must not change under databases that exist."""

import hashlib

import pytest
from sqlalchemy import create_mock_engine, make_url
from sqlalchemy.schema import ExecutableDDLElement

from pms.ledger.schema import metadata

MADE_BY_0001 = {"postgresql": "553b91b43d4096b1", "sqlite": "a7cec5c3c021182e"}


@pytest.mark.parametrize(
    ("name", "url"), [("postgresql", "postgresql+asyncpg://"), ("sqlite", "sqlite+pysqlite://")]
)
def test_what_the_first_migration_makes_is_frozen(name: str, url: str) -> None:
    statements: list[str] = []
    dialect = make_url(url).get_dialect()()

    def note(statement: ExecutableDDLElement, *_: object, **__: object) -> None:
        statements.append(str(statement.compile(dialect=dialect)))

    engine = create_mock_engine(url, note)
    metadata.create_all(engine, checkfirst=False)
    digest = hashlib.sha256("\n".join(sorted(statements)).encode()).hexdigest()[:16]
    assert digest == MADE_BY_0001[name], (
        "schema.py changed, but existing databases have run migration 0001: first copy schema.py as it "
        "was beside v0001_initial.py and let 0001 create that copy, then write a new migration for the change"
    )
