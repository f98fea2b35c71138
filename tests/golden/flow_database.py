"""The database of a vector of `ledger_flows.jsonl`: rows as the incumbent's ORM writes them, and what is
there afterwards (ledger spec 1.1 and 11).
"""

import asyncio
import atexit
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from pms.ledger.migrate import migrate

NOW_MS = 1_768_478_400_000
"""The frozen clock of the vectors."""

HOUR_MS = 3_600_000
MODELS = {
    "user": "users",
    "subAccount": "sub_accounts",
    "riskRule": "risk_rules",
    "virtualPosition": "virtual_positions",
    "tradeExecution": "trade_executions",
    "balanceLog": "balance_logs",
    "pendingOrder": "pending_orders",
    "botConfig": "bot_configs",
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "users": {"role": "USER", "status": "PENDING"},
    "sub_accounts": {
        "type": "USER",
        "status": "ACTIVE",
        "liquidation_mode": "ADL_30",
        "maintenance_rate": 0.005,
    },
    "risk_rules": {
        "is_global": 0,
        "max_leverage": 100.0,
        "max_notional_per_trade": 200.0,
        "max_total_exposure": 500.0,
        "liquidation_threshold": 0.9,
    },
    "virtual_positions": {"status": "OPEN", "babysitter_excluded": 0, "taken_over": 0},
    "trade_executions": {"fee": 0.0, "origin_type": "MANUAL", "status": "FILLED"},
    "pending_orders": {"type": "LIMIT", "status": "PENDING"},
}
_MOMENTS = {
    "users": ("created_at", "updated_at"),
    "sub_accounts": ("created_at", "updated_at"),
    "virtual_positions": ("opened_at",),
    "trade_executions": ("timestamp",),
    "balance_logs": ("timestamp",),
    "pending_orders": ("created_at",),
}


@cache
def _template() -> Path:
    """An empty, migrated database, made once for a run; in memory where the machine has such a folder."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="pms-golden-", dir=memory if memory.is_dir() else None))
    atexit.register(forget)
    asyncio.run(migrate(f"sqlite:///{folder / 'empty.db'}"))
    return folder / "empty.db"


def scratch_folder() -> Path:
    """Return the folder that holds the databases of this run; `forget` removes it."""
    return _template().parent


def forget() -> None:
    """Remove everything that the run wrote."""
    shutil.rmtree(scratch_folder(), ignore_errors=True)
    _template.cache_clear()


def filled(models: Mapping[str, Sequence[Mapping[str, Any]]]) -> Path:
    """Return a database file with the rows of a vector."""
    template = _template()
    path = template.parent / "vector.db"
    for leftover in template.parent.glob("vector.db*"):
        leftover.unlink()
    shutil.copy(template, path)
    connection = sqlite3.connect(path)
    try:
        for model, rows in models.items():
            for row in rows:
                _insert(connection, MODELS[model], row)
        connection.commit()
    finally:
        connection.close()
    return path


def _insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> None:
    moments = dict.fromkeys(_MOMENTS.get(table, ()), NOW_MS - HOUR_MS)
    values = {**_DEFAULTS.get(table, {}), **moments}
    values |= {column_of(name): _stored(value) for name, value in row.items()}
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))


def column_of(field: str) -> str:
    """`currentBalance` -> `current_balance`."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in field)


def _stored(value: Any) -> Any:
    """A value as the ORM stores it: 16 significant digits, integers for truth and milliseconds for times."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return float(f"{value:.16g}")
    if isinstance(value, str) and value[-1:] == "Z" and value[10:11] == "T":
        return round(datetime.fromisoformat(value).timestamp() * 1000)
    return value


def rows_after(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return every row of the incumbent's tables by model, in the order in which they were written."""
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        return {
            model: [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY rowid")]
            for model, table in MODELS.items()
        }
    finally:
        connection.close()
