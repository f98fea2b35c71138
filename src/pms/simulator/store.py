"""The exchange's memory on disk: one SQLite file, committed before anything is emitted (decision 25).

Rows are JSON bodies under their keys: the file is read once at start and written to afterwards, never
queried while trading. `write` is called from one worker thread while trading; nothing else is then.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec
from msgspec import Struct

from pms.simulator.changes import Changes
from pms.simulator.clearing import FUNDING_KEPT, INCOME_KEPT, MOVES_KEPT, TRADES_KEPT
from pms.simulator.errors import SimulatorError
from pms.simulator.order_index import AMENDMENTS_KEPT, CLOSED_ALGOS_KEPT, CLOSED_ORDERS_KEPT
from pms.simulator.state import (
    FUND_ID,
    ZERO,
    Account,
    AlgoOrder,
    Amendment,
    Funding,
    Income,
    Listing,
    MarginMove,
    Order,
    Position,
    Trade,
)

SCHEMA_VERSION = 3
SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE accounts (account_id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE positions (account_id INTEGER NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL,
                        body BLOB NOT NULL, PRIMARY KEY (account_id, symbol, side)) WITHOUT ROWID;
CREATE TABLE orders (order_id INTEGER PRIMARY KEY, is_open INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX orders_open ON orders (is_open) WHERE is_open = 1;
CREATE TABLE trades (row_id INTEGER PRIMARY KEY, symbol TEXT NOT NULL, trade_id INTEGER NOT NULL,
                     order_id INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (symbol, trade_id, order_id));
CREATE TABLE income (income_id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE amendments (amendment_id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE algo_orders (algo_id INTEGER PRIMARY KEY, is_open INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX algo_orders_open ON algo_orders (is_open) WHERE is_open = 1;
CREATE TABLE funding (symbol TEXT NOT NULL, time_ms INTEGER NOT NULL, body BLOB NOT NULL,
                      PRIMARY KEY (symbol, time_ms)) WITHOUT ROWID;
CREATE TABLE listings (symbol TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE margin_moves (move_id INTEGER PRIMARY KEY, body BLOB NOT NULL);
"""
FROM_VERSION_1 = """
ALTER TABLE positions RENAME TO positions_1;
CREATE TABLE positions (account_id INTEGER NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL,
                        body BLOB NOT NULL, PRIMARY KEY (account_id, symbol, side)) WITHOUT ROWID;
INSERT INTO positions SELECT account_id, symbol, 'BOTH',
       CAST(json_set(CAST(body AS TEXT), '$.outlay', json_extract(CAST(body AS TEXT), '$.cost')) AS BLOB)
       FROM positions_1;
DROP TABLE positions_1;
ALTER TABLE trades RENAME TO trades_1;
CREATE TABLE trades (row_id INTEGER PRIMARY KEY, symbol TEXT NOT NULL, trade_id INTEGER NOT NULL,
                     order_id INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (symbol, trade_id, order_id));
INSERT INTO trades SELECT row_id, symbol, trade_id, json_extract(CAST(body AS TEXT), '$.order_id'), body
                   FROM trades_1;
DROP TABLE trades_1;
CREATE TABLE amendments (amendment_id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE algo_orders (algo_id INTEGER PRIMARY KEY, is_open INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX algo_orders_open ON algo_orders (is_open) WHERE is_open = 1;
CREATE TABLE funding (symbol TEXT NOT NULL, time_ms INTEGER NOT NULL, body BLOB NOT NULL,
                      PRIMARY KEY (symbol, time_ms)) WITHOUT ROWID;
CREATE TABLE listings (symbol TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
UPDATE accounts SET body = CAST(json_remove(json_set(CAST(body AS TEXT), '$.wallets',
       json_object('USDT', json_extract(CAST(body AS TEXT), '$.wallet'))), '$.wallet') AS BLOB);
"""
"""Positions keyed by side, trades by order too, a wallet for each asset."""
FROM_VERSION_2 = "CREATE TABLE IF NOT EXISTS margin_moves (move_id INTEGER PRIMARY KEY, body BLOB NOT NULL);"
"""What was moved between cross and isolated wallets."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Rows:
    """One commit group, encoded on the event loop so that the worker thread touches no live object."""

    accounts: list[tuple[int, bytes]]
    positions: list[tuple[int, str, str, bytes]]
    orders: list[tuple[int, int, bytes]]
    trades: list[tuple[str, int, int, bytes]]
    income: list[tuple[int, bytes]]
    funding: list[tuple[str, int, bytes]]
    listings: list[tuple[str, bytes]]
    amendments: list[tuple[int, bytes]]
    margin_moves: list[tuple[int, bytes]]
    algo_orders: list[tuple[int, int, bytes]]


def rows_of(changes: Changes) -> Rows:
    """Encode the changed records."""
    return Rows(
        accounts=[(a.account_id, _encode(a)) for a in changes.accounts.values()],
        positions=[(p.account_id, p.symbol, p.side, _encode(p)) for p in changes.positions.values()],
        orders=[(o.order_id, int(o.is_open), _encode(o)) for o in changes.orders.values()],
        trades=[(t.symbol, t.trade_id, t.order_id, _encode(t)) for t in changes.trades],
        income=[(i.income_id, _encode(i)) for i in changes.income],
        funding=[(f.symbol, f.time_ms, _encode(f)) for f in changes.funding],
        listings=[(listing.symbol, _encode(listing)) for listing in changes.listings.values()],
        amendments=[(a.amendment_id, _encode(a)) for a in changes.amendments],
        margin_moves=[(m.move_id, _encode(m)) for m in changes.margin_moves],
        algo_orders=[(a.algo_id, int(a.is_open), _encode(a)) for a in changes.algo_orders.values()],
    )


class Store:
    """The SQLite file of one simulated exchange; with path None, a private in-memory database."""

    def __init__(self, path: Path | None) -> None:
        """Open or create the file. Raises `SimulatorError` when it cannot be used."""
        self.path = path
        self.commits = 0
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path or ":memory:", isolation_level=None, check_same_thread=False, timeout=2.0
            )
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise SimulatorError(
                f"The simulator's data file {path} cannot be used ({error}). If another exchange runs on "
                "it, stop that one; else choose another folder, or move the file away to start empty."
            ) from error

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"schema {version} is newer than this program's {SCHEMA_VERSION}")
        self._db.execute("BEGIN IMMEDIATE")
        if version == 0:
            self._run(SCHEMA)
            self._db.execute("INSERT INTO meta VALUES ('epoch', ?)", (secrets.token_hex(8),))
        else:
            result = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if result != "ok":
                raise sqlite3.DatabaseError(result)
        if version == 1:
            self._run(FROM_VERSION_1)
        if version in (1, 2):
            self._run(FROM_VERSION_2)
        self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        self._db.execute("COMMIT")

    def _run(self, script: str) -> None:
        """Run statements inside the open transaction (`executescript` would commit it)."""
        for statement in script.split(";"):
            if statement.strip():
                self._db.execute(statement)

    @property
    def epoch(self) -> str:
        """Random id drawn when the file was created: another epoch is another exchange."""
        return self.meta("epoch")

    def meta(self, name: str, default: str = "") -> str:
        """Return a stored setting; a missing one is stored with its default first."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        if row is None:
            self._db.execute("INSERT INTO meta VALUES (?, ?)", (name, default))
            return default
        return str(row[0])

    def load(self) -> Iterator[Struct]:
        """Yield every remembered record, parents first, oldest first. Raises `SimulatorError`."""
        sources: tuple[tuple[type[Struct], str], ...] = (
            (Account, "SELECT body FROM accounts ORDER BY account_id"),
            (Position, "SELECT body FROM positions ORDER BY account_id, symbol, side"),
            (Order, "SELECT body FROM orders WHERE is_open = 1 ORDER BY order_id"),
            (Order, _last("orders", "order_id", CLOSED_ORDERS_KEPT, "WHERE is_open = 0")),
            (Trade, _last("trades", "row_id", TRADES_KEPT)),
            (Income, _last("income", "income_id", INCOME_KEPT)),
            (Funding, _last("funding", "time_ms", FUNDING_KEPT)),
            (Listing, "SELECT body FROM listings ORDER BY symbol"),
            (MarginMove, _last("margin_moves", "move_id", MOVES_KEPT)),
            (Amendment, _last("amendments", "amendment_id", AMENDMENTS_KEPT)),
            (AlgoOrder, "SELECT body FROM algo_orders WHERE is_open = 1 ORDER BY algo_id"),
            (AlgoOrder, _last("algo_orders", "algo_id", CLOSED_ALGOS_KEPT, "WHERE is_open = 0")),
        )
        for kind, query in sources:
            decoder = msgspec.json.Decoder(kind)
            try:
                for (body,) in self._db.execute(query):
                    yield decoder.decode(body)
            except (msgspec.DecodeError, sqlite3.Error) as error:
                raise SimulatorError(
                    f"The simulator's data file {self.path} has an unreadable {kind.__name__} row ({error}). "
                    "Restore it from a copy, or move it away to start an empty exchange."
                ) from error

    def write(self, rows: Rows) -> None:
        """Commit one group durably. Raises `SimulatorError`; the exchange must then stop, not answer."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR REPLACE INTO accounts VALUES (?, ?)", rows.accounts)
            self._db.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)", rows.positions)
            self._db.executemany("INSERT OR REPLACE INTO orders VALUES (?, ?, ?)", rows.orders)
            self._db.executemany(
                "INSERT INTO trades (symbol, trade_id, order_id, body) VALUES (?, ?, ?, ?)", rows.trades
            )
            self._db.executemany("INSERT INTO income VALUES (?, ?)", rows.income)
            self._db.executemany("INSERT INTO funding VALUES (?, ?, ?)", rows.funding)
            self._db.executemany("INSERT OR REPLACE INTO listings VALUES (?, ?)", rows.listings)
            self._db.executemany("INSERT INTO amendments VALUES (?, ?)", rows.amendments)
            self._db.executemany("INSERT INTO margin_moves VALUES (?, ?)", rows.margin_moves)
            self._db.executemany("INSERT OR REPLACE INTO algo_orders VALUES (?, ?, ?)", rows.algo_orders)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise SimulatorError(f"The simulator cannot write its data file {self.path}: {error}.") from error
        self.commits += 1

    def close(self) -> None:
        """Close the file; what was committed is safe without this too."""
        self._db.close()


class _AccountOf1(Struct):
    """What a file of schema version 1 says about money."""

    wallet: Decimal = ZERO


def read_only_account(path: Path, api_key: str) -> tuple[Decimal, dict[str, tuple[Decimal, Decimal]]]:
    """Return wallet (USDT) and open positions (signed quantity, entry) of a key's account, from a file nobody
    runs on; the sides of a hedged symbol are added up.

    For audits: changes nothing. Raises `SimulatorError` when the file cannot be read or has no such account.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            bodies = [body for (body,) in database.execute("SELECT body FROM accounts")]
            accounts = [(msgspec.json.decode(body, type=Account), body) for body in bodies]
            positions = [
                msgspec.json.decode(body, type=Position)
                for (body,) in database.execute("SELECT body FROM positions")
            ]
            old = database.execute("PRAGMA user_version").fetchone()[0] == 1
    except (sqlite3.Error, msgspec.DecodeError) as error:
        raise SimulatorError(f"The simulator's data file {path} cannot be read ({error}).") from error
    for account, body in accounts:
        if account.api_key == api_key and account.account_id != FUND_ID:
            wallet = msgspec.json.decode(body, type=_AccountOf1).wallet if old else account.wallet
            mine = [p for p in positions if p.account_id == account.account_id and p.quantity]
            sums: dict[str, tuple[Decimal, Decimal]] = {}
            for p in mine:
                quantity, cost = sums.get(p.symbol, (ZERO, ZERO))
                sums[p.symbol] = (quantity + p.quantity, cost + p.cost)
            return wallet, {s: (q, cost / q) for s, (q, cost) in sums.items() if q}
    raise SimulatorError(f"The simulator's data file {path} has no account of the key {api_key}.")


def _last(table: str, key: str, count: int, where: str = "") -> str:
    newest = f"SELECT {key}, body FROM {table} {where} ORDER BY {key} DESC LIMIT {count}"  # noqa: S608
    return f"SELECT body FROM ({newest}) ORDER BY {key}"  # noqa: S608
