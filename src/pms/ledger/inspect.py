"""Says in one line what a database holds, without creating, migrating or changing it."""

from pathlib import Path

from pms.ledger.errors import DatabaseUnavailableError
from pms.ledger.migrate import HEAD, schema_version
from pms.ledger.store import is_sqlite, open_store, sqlite_path


async def inspect_database(url: str) -> str:
    """Return a line for `pms doctor`. Raises DatabaseTooNewError, DatabaseUnavailableError."""
    if is_sqlite(url):
        path = Path(sqlite_path(url))
        if not path.exists():
            if path.parent.is_dir() and not _writable(path.parent):
                raise DatabaseUnavailableError(f"the folder {path.parent} is not writable; choose another")
            return "not made yet"
    store = await open_store(url, read_only=True)
    try:
        version = await schema_version(store)
        if version is None:
            return f"{store.dialect}, no schema yet; the first start creates or adopts it"
        rows = await store.fetch("SELECT (SELECT count(*) FROM sub_accounts) AS accounts")
        state = "current" if version == HEAD else f"will be migrated to {HEAD}"
        return f"{store.dialect}, schema {version} ({state}), {rows[0]['accounts']} sub-accounts"
    finally:
        await store.close()


def _writable(folder: Path) -> bool:
    import os

    return os.access(folder, os.W_OK)
