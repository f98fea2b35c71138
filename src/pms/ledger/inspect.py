"""Says in one line what a database holds, without creating, migrating or changing it."""

import os
from pathlib import Path

from pms.ledger.databases import database_file_exists, is_sqlite, open_store, sqlite_path
from pms.ledger.errors import DatabaseUnavailableError
from pms.ledger.migrate import HEAD, schema_version


async def inspect_database(url: str) -> str:
    """Return a line for `pms doctor`. Raises DatabaseTooNewError, DatabaseUnavailableError."""
    if is_sqlite(url) and not database_file_exists(url):
        _check_folder(url)
        return "not made yet"
    store = await open_store(url, read_only=True)
    try:
        version = await schema_version(store)
        if version is None:
            return f"{store.dialect}, no schema yet; the first start creates or adopts it"
        rows = await store.fetch("SELECT count(*) AS accounts FROM sub_accounts")
        state = "current" if version == HEAD else f"will be migrated to {HEAD}"
        return f"{store.dialect}, schema {version} ({state}), {rows[0]['accounts']} sub-accounts"
    finally:
        await store.close()


def _check_folder(url: str) -> None:
    folder = Path(sqlite_path(url)).parent
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise DatabaseUnavailableError(f"the folder {folder} is not writable; choose another")
