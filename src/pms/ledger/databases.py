"""Which database a URL names, and the store that opens it."""

from pathlib import Path

from pms.ledger.errors import DatabaseUnavailableError
from pms.ledger.store import Store


async def open_store(url: str, *, read_only: bool = False) -> Store:
    """Open the database of a URL: `sqlite:///path`, or `postgresql://...`. Does not migrate.

    Raises DatabaseUnavailableError.
    """
    if is_sqlite(url):
        from pms.ledger.store_sqlite import SqliteStore  # late: PostgreSQL users need not load it

        return await SqliteStore.open(sqlite_path(url), read_only=read_only)
    from pms.ledger.store_postgres import PostgresStore

    return await PostgresStore.open(url, read_only=read_only)


def database_file_exists(url: str) -> bool:
    """True when the file of a SQLite URL is there."""
    return Path(sqlite_path(url)).is_file()


def require_database(url: str) -> None:
    """Raise DatabaseUnavailableError when a SQLite URL names no file; a server says so by itself."""
    if is_sqlite(url) and not database_file_exists(url):
        raise DatabaseUnavailableError(f"there is no database at {sqlite_path(url)}; start the engine once")


def is_sqlite(url: str) -> bool:
    return url.startswith("sqlite:") or "://" not in url


def sqlite_path(url: str) -> str:
    """Return the file of `sqlite:///relative`, `sqlite:////absolute`, or a plain path."""
    return url.partition(":///")[2] if ":///" in url else url.removeprefix("sqlite:")
