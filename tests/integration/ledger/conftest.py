"""Fixtures of the ledger's tests: one database in each kind, opened with the lease, closed after the test."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from pms.ledger.ledger import LedgerService
from pms.ledger.migrate import migrate
from pms.ledger.schema import metadata
from pms.model.money import Money
from tests.support.ledger import Desk, ManualClock, money, opened, sqlite_url
from tests.support.servers import Servers

CAPITAL = money("100000")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated SQLite database, made once."""
    import asyncio

    folder = tmp_path_factory.mktemp("ledger-template")
    asyncio.run(migrate(sqlite_url(folder)))
    return folder / "pms.db"


_POSTGRES: dict[str, str] = {}
"""One database for each worker, migrated once and emptied before each test: creating one takes half a
second."""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path) -> str:
    """An empty database of each kind: the same tests run on both."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path, sqlite_template)
    return await emptied_postgres(request.getfixturevalue("servers"))


async def emptied_postgres(servers: Servers) -> str:
    """The address of the worker's migrated database, without rows."""
    if servers.worker not in _POSTGRES:
        url = servers.create_database("ledger")
        await migrate(url)
        _POSTGRES[servers.worker] = url
    url = _POSTGRES[servers.worker]
    connection = await asyncpg.connect(url)
    try:
        tables = reversed([table.name for table in metadata.sorted_tables])
        await connection.execute("; ".join(f"DELETE FROM {name}" for name in tables))
    finally:
        await connection.close()
    return url


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def ledger(database_url: str, clock: ManualClock) -> AsyncIterator[LedgerService]:
    """A ledger that holds the lease, with the wallet adopted as house capital."""
    service = await opened(database_url, clock=clock)
    await service.adopt_wallet(Money(CAPITAL), "epoch-1")
    yield service
    await service.close()


@pytest.fixture
async def desk(ledger: LedgerService) -> Desk:
    return Desk(ledger)
