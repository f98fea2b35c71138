"""Brings a database to this program's schema version, adopting an incumbent's in place."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from pms.ledger.databases import is_sqlite, sqlite_path
from pms.ledger.errors import DatabaseTooNewError, DatabaseUnavailableError
from pms.ledger.store import Store

if TYPE_CHECKING:
    import sqlalchemy as sa

VERSION_TABLE = "pms_schema_version"
HEAD = "0002"
KNOWN = frozenset({"0001", "0002"})

_LOCK_KEY = 7_061_905


async def migrate(url: str) -> None:
    """Create or upgrade the schema. Raises DatabaseTooNewError, DatabaseUnavailableError."""
    if is_sqlite(url):
        await asyncio.to_thread(_migrate_sqlite, sqlite_path(url))
    else:
        await _migrate_postgres(url)


async def schema_version(store: Store) -> str | None:
    """Return the schema version of a database; None when it was never migrated. Raises
    DatabaseTooNewError."""
    if store.dialect == "sqlite":
        sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = ?"
    else:
        sql = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename = ?"
    if not await store.fetch(sql, VERSION_TABLE):
        return None
    rows = await store.fetch(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 -- a constant
    version = str(rows[0]["version_num"]) if rows else None
    check_version(version)
    return version


def check_version(version: str | None) -> None:
    """Raise DatabaseTooNewError for a version that this program does not know."""
    if version is not None and version not in KNOWN:
        raise DatabaseTooNewError(
            f"the database has schema version {version}, this program knows up to {HEAD}; "
            "update the program, nothing was changed"
        )


def _migrate_sqlite(path: str) -> None:
    import sqlalchemy as sa  # late: only a migration needs it

    folder = Path(path).parent
    if not folder.is_dir():
        raise DatabaseUnavailableError(f"cannot create the database: the folder {folder} does not exist")
    engine = sa.create_engine(f"sqlite:///{path}")
    try:
        with engine.begin() as connection:
            upgrade(connection)
    except sa.exc.DatabaseError as error:
        raise DatabaseUnavailableError(f"cannot prepare the database {path}: {error.orig}") from error
    finally:
        engine.dispose()


async def _migrate_postgres(url: str) -> None:
    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine("postgresql+asyncpg" + url[url.index("://") :])
    try:
        async with engine.begin() as connection:
            # Two programs that start at once migrate one after the other.
            await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            await connection.run_sync(upgrade)
    except (sa.exc.DBAPIError, OSError) as error:
        raise DatabaseUnavailableError(f"cannot prepare the PostgreSQL database: {error}") from error
    finally:
        await engine.dispose()


def upgrade(connection: "sa.Connection") -> None:
    """Run the migrations on an open SQLAlchemy connection; the caller commits."""
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    version = context.get_current_revision()
    check_version(version)
    if version == HEAD:
        return
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
