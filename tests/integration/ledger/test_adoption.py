"""Adopting an incumbent's database: its rows stay byte-identical; a newer database is refused."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from pms.ledger.api import NewAccount
from pms.ledger.audit import audit
from pms.ledger.errors import AdoptionRefusedError, DatabaseTooNewError, DatabaseUnavailableError
from pms.ledger.inspect import inspect_database
from pms.ledger.migrate import HEAD, VERSION_TABLE
from pms.ledger.rendering import decode, encode
from pms.ledger.schema import INCUMBENT_TABLES, metadata, table_info
from pms.model.ids import SubAccountId
from pms.model.order import ExchangeOrderStatus, OrderSide
from tests.support.ledger import ACTOR, BTC, ETH, Desk, money, opened
from tests.support.paths import data_file
from tests.support.servers import Servers

TRADER = SubAccountId("e9c56d37-15c6-44ce-b139-bc04eb62ae31")


@pytest.fixture
def incumbent(tmp_path: Path) -> Path:
    """A writable copy of the database that the incumbent made."""
    path = tmp_path / "pms.db"
    shutil.copyfile(data_file("incumbent-db/incumbent.db"), path)
    return path


def rows(path: Path, table: str) -> list[tuple[object, ...]]:
    """Every value of a table with its storage class."""
    with closing(sqlite3.connect(path)) as connection:
        columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
        wanted = ", ".join(f'"{name}", typeof("{name}")' for name in columns)
        return connection.execute(f'SELECT {wanted} FROM "{table}" ORDER BY rowid').fetchall()


def definitions(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as connection:
        sql = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'pms_%'"
        return dict(connection.execute(sql))


async def test_adoption_keeps_every_row_and_table(incumbent: Path) -> None:
    before = {table: rows(incumbent, table) for table in INCUMBENT_TABLES}
    tables = definitions(incumbent)
    ledger = await opened(f"sqlite:///{incumbent}")
    assert {table: rows(incumbent, table) for table in INCUMBENT_TABLES} == before
    assert definitions(incumbent) == tables
    account = ledger.account(TRADER)
    assert account is not None
    assert account.balance == Decimal("9999.949766110189")
    assert len(ledger.accounts()) == 6
    assert await ledger.directory.user_named("admin") is not None
    report = await audit(f"sqlite:///{incumbent}")
    assert report.passed, report.lines()
    await ledger.close()
    # A second start adopts nothing again.
    again = await opened(f"sqlite:///{incumbent}", seed=8)
    assert len(await again.store.fetch("SELECT * FROM pms_opening_entries")) == 6
    await again.close()


async def test_new_values_have_the_storage_class_of_the_column(incumbent: Path) -> None:
    known = {table: classes(incumbent, table) for table in INCUMBENT_TABLES}
    before = {table: rows(incumbent, table) for table in INCUMBENT_TABLES}
    ledger = await opened(f"sqlite:///{incumbent}")
    await ledger.adopt_wallet(money("100000"), "epoch-1")
    desk = Desk(ledger)
    await desk.buy(TRADER, "0.003", "50000", "0.075")
    await desk.sell(TRADER, "0.005", "50100", "0.1")
    created = await ledger.create_account(NewAccount("Ours", None, money("10")), ACTOR)
    resting = await desk.order(created.id, OrderSide.BUY, "1", price="5", symbol=ETH)
    await ledger.record_terminal(
        resting.client_order_id, ExchangeOrderStatus.CANCELLED, resting.booked_quantity
    )
    await ledger.set_rules(created.id, ledger.rules(created.id), ACTOR)
    await ledger.close()
    for table in ("sub_accounts", "virtual_positions", "trade_executions", "balance_logs"):
        assert len(rows(incumbent, table)) > len(before[table])
        for column, found in classes(incumbent, table).items():
            assert found - {"null"} == known[table][column] - {"null"} or not known[table][column] - {
                "null"
            }, column
    expected = {
        "id": "text",
        "price": "real",
        "created_at": "integer",
        "filled_at": "null",
        "cancelled_at": "integer",
    }
    assert (
        expected.items()
        <= {name: next(iter(kind)) for name, kind in classes(incumbent, "pending_orders").items()}.items()
    )
    assert classes(incumbent, "risk_rules")["is_global"] == {"integer"}
    report = await audit(f"sqlite:///{incumbent}")
    assert report.passed, report.lines()


def classes(path: Path, table: str) -> dict[str, set[str]]:
    """The storage classes in use, by column."""
    with closing(sqlite3.connect(path)) as connection:
        columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
        return {
            name: {row[0] for row in connection.execute(f'SELECT DISTINCT typeof("{name}") FROM "{table}"')}
            for name in columns
        }


async def test_open_positions_are_adopted_and_can_be_closed(incumbent: Path) -> None:
    with closing(sqlite3.connect(incumbent)) as connection:
        connection.execute(
            "UPDATE virtual_positions SET status = 'OPEN', realized_pnl = NULL, closed_at = NULL"
        )
        connection.commit()
    ledger = await opened(f"sqlite:///{incumbent}")
    position = ledger.open_position(TRADER, BTC)
    assert position is not None
    assert (position.quantity, position.cost) == (Decimal("0.002"), Decimal("100.4677796215"))
    await ledger.adopt_wallet(money("50000"), "epoch-1")
    assert ledger.derived_wallet() == 50000
    await Desk(ledger).trade_at(TRADER, OrderSide.SELL, "0.002", "51000", reduce_only=True, action="CLOSE")
    assert ledger.expected_net(BTC) == 0
    account = ledger.account(TRADER)
    assert account is not None
    assert account.balance == Decimal("9999.949766110189") + 102 - Decimal("100.4677796215")
    await ledger.close()
    report = await audit(f"sqlite:///{incumbent}")
    assert report.passed, report.lines()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE sub_accounts SET current_balance = -5 WHERE name = 'Missing Balance'", "de6c979b"),
        ("UPDATE virtual_positions SET status = 'OPEN', quantity = 0", "7297dc73"),
        (
            "INSERT INTO virtual_positions SELECT 'twin', sub_account_id, symbol, 'SHORT', entry_price,"
            " quantity, notional, leverage, margin, 0.0, 'OPEN', NULL, 1, 0, NULL, NULL, opened_at, NULL"
            " FROM virtual_positions;"
            "UPDATE virtual_positions SET status = 'OPEN'",
            "more than one open position",
        ),
    ],
)
async def test_adoption_refuses_what_it_cannot_prove(incumbent: Path, change: str, named: str) -> None:
    with closing(sqlite3.connect(incumbent)) as connection:
        connection.executescript(change)
    before = {table: rows(incumbent, table) for table in INCUMBENT_TABLES}
    with pytest.raises(AdoptionRefusedError, match=named):
        await opened(f"sqlite:///{incumbent}")
    assert {table: rows(incumbent, table) for table in INCUMBENT_TABLES} == before


async def test_a_fresh_database_has_the_incumbents_tables(incumbent: Path, sqlite_template: Path) -> None:
    """Same tables, columns (type, NOT NULL, default, key), indexes and foreign keys as its own."""
    for table in INCUMBENT_TABLES:
        for pragma in ("table_info", "index_list", "foreign_key_list"):
            shapes = [shape(path, pragma, table) for path in (incumbent, sqlite_template)]
            assert shapes[0] == shapes[1], (table, pragma)


def shape(path: Path, pragma: str, table: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        found = [tuple(row) for row in connection.execute(f'PRAGMA {pragma}("{table}")')]
        if pragma == "index_list":
            result: list[tuple[object, ...]] = []
            for row in found:
                columns = tuple(one[2] for one in connection.execute(f'PRAGMA index_info("{row[1]}")'))
                result.append((row[1], row[2], row[3], columns))
            return sorted(result)
        if pragma == "table_info":
            return [(row[1], row[2], row[3], str(row[4]).strip("()'"), row[5]) for row in found]
        return sorted(row[2:] for row in found)


async def test_a_table_that_lacks_is_created_and_odd_ones_are_left(incumbent: Path) -> None:
    """Live databases differ from the model (ledger spec 1.3)."""
    with closing(sqlite3.connect(incumbent)) as connection:
        connection.executescript(
            "DROP TABLE webauthn_credentials; ALTER TABLE sub_accounts ADD COLUMN binance_api_key TEXT;"
            "DROP INDEX pending_orders_status_type_idx"
        )
    before = {table: rows(incumbent, table) for table in INCUMBENT_TABLES if table != "webauthn_credentials"}
    ledger = await opened(f"sqlite:///{incumbent}")
    await ledger.close()
    assert rows(incumbent, "webauthn_credentials") == []
    assert {table: rows(incumbent, table) for table in before} == before


async def test_a_newer_database_is_refused_and_not_changed(database_url: str) -> None:
    ledger = await opened(database_url)
    await ledger.store.write([(f"UPDATE {VERSION_TABLE} SET version_num = '9999'", ())])
    await ledger.close()
    with pytest.raises(DatabaseTooNewError, match="9999"):
        await opened(database_url)
    with pytest.raises(DatabaseTooNewError):
        await audit(database_url)
    with pytest.raises(DatabaseTooNewError):
        await inspect_database(database_url)
    from pms.ledger.databases import open_store

    store = await open_store(database_url)
    await store.write([(f"UPDATE {VERSION_TABLE} SET version_num = ?", (HEAD,))])
    await store.close()


async def test_bad_places_and_files_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailableError):
        await opened(f"sqlite:///{tmp_path}/no/such/folder/pms.db")
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(DatabaseUnavailableError):
        await opened(f"sqlite:///{garbage}")
    assert await inspect_database(f"sqlite:///{tmp_path}/fresh.db") == "not made yet"
    assert not (tmp_path / "fresh.db").exists()


@pytest.mark.postgres
async def test_postgres_types_are_those_of_the_incumbents_model(postgres_url: str) -> None:
    ledger = await opened(postgres_url)
    sql = (
        "SELECT table_name, column_name, data_type, datetime_precision, numeric_precision, numeric_scale"
        " FROM information_schema.columns WHERE table_schema = current_schema()"
    )
    wanted = {
        "TEXT": "text",
        "FLOAT": "double precision",
        "BOOL": "boolean",
        "TIME": "timestamp without time zone",
        "EXACT": "numeric",
    }
    for row in await ledger.store.fetch(sql):
        if row["table_name"] == VERSION_TABLE:
            continue
        column = metadata.tables[str(row["table_name"])].columns[str(row["column_name"])]
        kind = column.info["kind"].value
        if kind == "INT":
            small = isinstance(column.type, sa.Integer) and not isinstance(column.type, sa.BigInteger)
            assert row["data_type"] == ("integer" if small else "bigint")
            continue
        assert row["data_type"] == wanted[kind], row
        if kind == "TIME":
            assert row["datetime_precision"] == 3
        if kind == "EXACT":
            assert (row["numeric_precision"], row["numeric_scale"]) == (38, 18)
    assert "schema 0002 (current)" in await inspect_database(postgres_url)
    await ledger.close()


async def loaded(url: str, incumbent: Path) -> None:
    """The incumbent's rows in a PostgreSQL database with its own tables, as its ORM stores them there: naive
    UTC times, booleans, doubles."""
    connection = await asyncpg.connect(url)
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    try:
        for name in INCUMBENT_TABLES:
            await connection.execute(str(CreateTable(metadata.tables[name]).compile(dialect=dialect)))
        with closing(sqlite3.connect(incumbent)) as source:
            source.row_factory = sqlite3.Row
            for name in INCUMBENT_TABLES:
                kinds = table_info(name).kinds
                for row in source.execute(f'SELECT * FROM "{name}"').fetchall():
                    known = {key: row[key] for key in row.keys() if key in kinds}  # noqa: SIM118 -- a Row
                    values = [
                        encode(kinds[key], decode(kinds[key], value), sqlite=False)
                        for key, value in known.items()
                    ]
                    marks = ", ".join(f"${number}" for number in range(1, len(values) + 1))
                    columns = ", ".join(f'"{key}"' for key in known)
                    await connection.execute(f'INSERT INTO "{name}" ({columns}) VALUES ({marks})', *values)
    finally:
        await connection.close()


async def everything(url: str) -> dict[str, list[tuple[object, ...]]]:
    connection = await asyncpg.connect(url)
    try:
        return {
            name: sorted(map(tuple, await connection.fetch(f'SELECT * FROM "{name}"')), key=repr)
            for name in INCUMBENT_TABLES
        }
    finally:
        await connection.close()


@pytest.mark.postgres
async def test_an_incumbents_postgresql_database_is_adopted_in_place(
    servers: Servers, incumbent: Path
) -> None:
    url = servers.create_database("incumbent")
    await loaded(url, incumbent)
    before = await everything(url)
    assert sum(len(found) for found in before.values()) > 20
    ledger = await opened(url)
    assert await everything(url) == before
    account = ledger.account(TRADER)
    assert account is not None
    assert account.balance == Decimal("9999.949766110189")
    await ledger.adopt_wallet(money("1000000"), "epoch-1")
    await Desk(ledger).buy(TRADER, "0.01", "60000", "0.3")
    await ledger.close()
    changed = await everything(url)
    assert len(changed["trade_executions"]) == len(before["trade_executions"]) + 1
    assert set(before["trade_executions"]) < set(changed["trade_executions"])
    report = await audit(url)
    assert report.passed, report.lines()


@pytest.fixture(autouse=True)
def _no_leftovers(tmp_path: Path) -> Iterator[None]:
    """The shared example is read-only and stays as it was."""
    source = data_file("incumbent-db/incumbent.db")
    before = source.stat().st_mtime_ns
    yield
    assert source.stat().st_mtime_ns == before
