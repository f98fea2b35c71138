"""The tables: the incumbent's nine as its ORM makes them (ledger spec 1.2), and ours with the prefix `pms_`.

Invariants: every table of ours carries `exchange_account_id` (decision 30); every column knows its storage kind;
`CHAINED` names the columns that the hash chain covers, in a fixed order.
"""

from dataclasses import dataclass
from decimal import Decimal
from functools import cache

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import TextClause

from pms.ledger.rendering import Kind

metadata = sa.MetaData()

_Type = (
    sa.Text
    | sa.BigInteger
    | sa.Boolean
    | sa.Numeric[Decimal]
    | postgresql.DOUBLE_PRECISION[float]
    | sa.TIMESTAMP
)

_TYPES: dict[Kind, _Type] = {
    Kind.TEXT: sa.Text(),
    Kind.INT: sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
    Kind.BOOL: sa.Boolean(),
    Kind.FLOAT: postgresql.DOUBLE_PRECISION().with_variant(sqlite.REAL(), "sqlite"),
    Kind.TIME: postgresql.TIMESTAMP(precision=3).with_variant(sqlite.DATETIME(), "sqlite"),  # type: ignore[no-untyped-call]
    Kind.EXACT: sa.Numeric(38, 18).with_variant(sa.Text(), "sqlite"),
}
_INT32 = sa.Integer()


def _column(
    name: str,
    kind: Kind,
    *constraints: sa.ForeignKey,
    nullable: bool = False,
    key: bool = False,
    default: str | TextClause | None = None,
    small: bool = False,
) -> sa.Column[object]:
    kind_type = _INT32 if small else _TYPES[kind]
    return sa.Column(
        name,
        kind_type,
        *constraints,
        nullable=nullable and not key,
        primary_key=key,
        server_default=default,
        autoincrement=False,
        info={"kind": kind},
    )


def _text(
    name: str, *, nullable: bool = False, key: bool = False, default: str | None = None
) -> sa.Column[object]:
    return _column(name, Kind.TEXT, nullable=nullable, key=key, default=default)


def _real(name: str, default: str | None = None, *, nullable: bool = False) -> sa.Column[object]:
    return _column(name, Kind.FLOAT, nullable=nullable, default=None if default is None else sa.text(default))


def _flag(name: str, default: str = "false") -> sa.Column[object]:
    return _column(name, Kind.BOOL, default=sa.text(default))


def _time(name: str, *, nullable: bool = False, now: bool = False) -> sa.Column[object]:
    return _column(name, Kind.TIME, nullable=nullable, default=sa.text("CURRENT_TIMESTAMP") if now else None)


def _exact(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return _column(name, Kind.EXACT, nullable=nullable)


def _int(name: str, *, nullable: bool = False, key: bool = False) -> sa.Column[object]:
    return _column(name, Kind.INT, nullable=nullable, key=key)


def _foreign(
    table: str, column: str, target: str, on_delete: str, *, nullable: bool = False
) -> tuple[sa.Column[object], sa.ForeignKeyConstraint]:
    return _text(column, nullable=nullable), sa.ForeignKeyConstraint(
        [column], [f"{target}.id"], name=f"{table}_{column}_fkey", ondelete=on_delete, onupdate="CASCADE"
    )


def _index(table: str, *columns: str, unique: bool = False) -> sa.Index:
    suffix = "key" if unique else "idx"
    return sa.Index(f"{table}_{'_'.join(columns)}_{suffix}", *columns, unique=unique)


USERS = sa.Table(
    "users",
    metadata,
    _text("id", key=True),
    _text("username"),
    _text("password_hash"),
    _text("role", default="USER"),
    _text("status", default="PENDING"),
    _text("api_key", nullable=True),
    _text("current_challenge", nullable=True),
    _time("created_at", now=True),
    _time("updated_at"),
    _index("users", "username", unique=True),
    _index("users", "api_key", unique=True),
)

SUB_ACCOUNTS = sa.Table(
    "sub_accounts",
    metadata,
    _text("id", key=True),
    *_foreign("sub_accounts", "user_id", "users", "SET NULL", nullable=True),
    _text("name"),
    _text("type", default="USER"),
    _real("initial_balance"),
    _real("current_balance"),
    _text("status", default="ACTIVE"),
    _text("liquidation_mode", default="ADL_30"),
    _real("maintenance_rate", "0.005"),
    _time("created_at", now=True),
    _time("updated_at"),
    _index("sub_accounts", "user_id", "status"),
    _index("sub_accounts", "status"),
)

RISK_RULES = sa.Table(
    "risk_rules",
    metadata,
    _text("id", key=True),
    *_foreign("risk_rules", "sub_account_id", "sub_accounts", "SET NULL", nullable=True),
    _flag("is_global"),
    _real("max_leverage", "100"),
    _real("max_notional_per_trade", "200"),
    _real("max_total_exposure", "500"),
    _real("liquidation_threshold", "0.90"),
    _index("risk_rules", "sub_account_id", unique=True),
    _index("risk_rules", "is_global"),
)

VIRTUAL_POSITIONS = sa.Table(
    "virtual_positions",
    metadata,
    _text("id", key=True),
    *_foreign("virtual_positions", "sub_account_id", "sub_accounts", "RESTRICT"),
    _text("symbol"),
    _text("side"),
    _real("entry_price"),
    _real("quantity"),
    _real("notional"),
    _real("leverage"),
    _real("margin"),
    _real("liquidation_price"),
    _text("status", default="OPEN"),
    _real("realized_pnl", nullable=True),
    _flag("babysitter_excluded"),
    _flag("taken_over"),
    _text("taken_over_by", nullable=True),
    _time("taken_over_at", nullable=True),
    _time("opened_at", now=True),
    _time("closed_at", nullable=True),
    _index("virtual_positions", "sub_account_id", "status"),
    _index("virtual_positions", "symbol", "status"),
    _index("virtual_positions", "sub_account_id", "symbol", "side", "status"),
)

TRADE_EXECUTIONS = sa.Table(
    "trade_executions",
    metadata,
    _text("id", key=True),
    *_foreign("trade_executions", "sub_account_id", "sub_accounts", "RESTRICT"),
    *_foreign("trade_executions", "position_id", "virtual_positions", "SET NULL", nullable=True),
    _text("exchange_order_id", nullable=True),
    _text("client_order_id", nullable=True),
    _text("symbol"),
    _text("side"),
    _text("type"),
    _real("price"),
    _real("quantity"),
    _real("notional"),
    _real("fee", "0"),
    _real("realized_pnl", nullable=True),
    _text("action"),
    _text("origin_type", default="MANUAL"),
    _text("status", default="FILLED"),
    _text("signature"),
    _time("timestamp", now=True),
    _index("trade_executions", "sub_account_id", "timestamp"),
    _index("trade_executions", "sub_account_id", "status", "timestamp"),
    _index("trade_executions", "sub_account_id", "symbol", "timestamp"),
    _index("trade_executions", "exchange_order_id"),
)

BALANCE_LOGS = sa.Table(
    "balance_logs",
    metadata,
    _text("id", key=True),
    *_foreign("balance_logs", "sub_account_id", "sub_accounts", "RESTRICT"),
    _real("balance_before"),
    _real("balance_after"),
    _real("change_amount"),
    _text("reason"),
    _text("trade_id", nullable=True),
    _time("timestamp", now=True),
    _index("balance_logs", "sub_account_id", "timestamp"),
)

PENDING_ORDERS = sa.Table(
    "pending_orders",
    metadata,
    _text("id", key=True),
    *_foreign("pending_orders", "sub_account_id", "sub_accounts", "RESTRICT"),
    _text("symbol"),
    _text("side"),
    _text("type", default="LIMIT"),
    _real("price"),
    _real("quantity"),
    _real("leverage"),
    _text("exchange_order_id", nullable=True),
    _text("status", default="PENDING"),
    _time("created_at", now=True),
    _time("filled_at", nullable=True),
    _time("cancelled_at", nullable=True),
    _index("pending_orders", "exchange_order_id"),
    _index("pending_orders", "status", "type"),
    _index("pending_orders", "sub_account_id", "status"),
)

BOT_CONFIGS = sa.Table(
    "bot_configs",
    metadata,
    _text("id", key=True),
    *_foreign("bot_configs", "sub_account_id", "sub_accounts", "RESTRICT"),
    _flag("enabled"),
    _flag("babysitter_enabled"),
    _text("tp_mode", default="auto"),
    _real("max_notional", "50"),
    _column("max_layers", Kind.INT, default=sa.text("8"), small=True),
    _real("max_exposure", "500"),
    _flag("vol_filter_enabled", "true"),
    _real("min_spread_bps", "7.0"),
    _real("max_spread_bps", "40.0"),
    _real("min_hold_sec", "5.0"),
    _real("min_profit_bps", "10.0"),
    _flag("tp_decay_enabled", "true"),
    _real("tp_decay_half_life", "30.0"),
    _flag("trailing_stop_enabled"),
    _real("trailing_stop_bps", "15.0"),
    _flag("inverse_tp_enabled", "true"),
    _column("inverse_tp_min_layers", Kind.INT, default=sa.text("3"), small=True),
    _flag("scaled_exit_enabled"),
    _real("max_loss_bps", "500.0"),
    _real("loss_cooldown_sec", "8.0"),
    _text("symbols", default=""),
    _text("blacklist", default=""),
    _time("created_at", now=True),
    _time("updated_at"),
    _index("bot_configs", "sub_account_id", unique=True),
    _index("bot_configs", "babysitter_enabled"),
)

WEBAUTHN_CREDENTIALS = sa.Table(
    "webauthn_credentials",
    metadata,
    _text("id", key=True),
    *_foreign("webauthn_credentials", "user_id", "users", "RESTRICT"),
    _text("credential_id"),
    _text("public_key"),
    _column("counter", Kind.INT, default=sa.text("0"), small=True),
    _text("device_type", default="unknown"),
    _flag("backed_up"),
    _text("transports", default=""),
    _time("created_at", now=True),
    _index("webauthn_credentials", "credential_id", unique=True),
    _index("webauthn_credentials", "user_id"),
)

INCUMBENT_TABLES = tuple(metadata.tables)
"""Names of the incumbent's tables, in an order that satisfies their foreign keys."""


def _ours(name: str, *items: sa.schema.SchemaItem) -> None:
    sa.Table(f"pms_{name}", metadata, _text("exchange_account_id", key=True), *items)


_ours(
    "exchange_accounts",
    _text("venue"),
    _text("asset"),
    _text("event_epoch"),
    _text("epoch"),
    _exact("wallet_adopted", nullable=True),
    _time("created_at"),
    _time("updated_at"),
)
_ours(
    "order_journal",
    _text("client_order_id", key=True),
    _int("sequence"),
    _text("sub_account_id", nullable=True),
    _text("symbol"),
    _text("side"),
    _text("type"),
    _text("time_in_force"),
    _exact("quantity"),
    _exact("price", nullable=True),
    _exact("leverage"),
    _column("reduce_only", Kind.BOOL),
    _column("reduce_only_wire", Kind.BOOL),
    _text("code"),
    _text("action"),
    _text("origin"),
    _text("state"),
    _text("final_status", nullable=True),
    _exact("executed_quantity"),
    _exact("booked_quantity"),
    _exact("booked_notional"),
    _time("created_at"),
    _time("updated_at"),
    _int("timestamp_ms"),
    _int("recv_window_ms"),
    _text("exchange_order_id", nullable=True),
    _text("position_id", nullable=True),
    _text("pending_order_id", nullable=True),
    _column("babysitter_excluded", Kind.BOOL),
    _text("idempotency_key", nullable=True),
    _text("reject_code", nullable=True),
    _text("reject_message", nullable=True),
    sa.Index("pms_order_journal_sequence_key", "exchange_account_id", "sequence", unique=True),
    sa.Index("pms_order_journal_state_idx", "exchange_account_id", "state"),
    sa.Index("pms_order_journal_pending_idx", "pending_order_id"),
    sa.Index("pms_order_journal_symbol_idx", "exchange_account_id", "symbol"),
)
_ours(
    "fills",
    _text("id", key=True),
    _text("kind"),
    _text("epoch"),
    _text("native_symbol"),
    _int("trade_id"),
    _text("order_id"),
    _text("client_order_id", nullable=True),
    _text("symbol"),
    _text("side"),
    _exact("price"),
    _exact("quantity"),
    _exact("fee"),
    _exact("fee_paid"),
    _text("fee_asset"),
    _column("maker", Kind.BOOL),
    _text("source"),
    _time("trade_time"),
    _time("booked_at"),
    _int("link"),
    # Decision 3: the key of an execution, unique in the transaction that applies it.
    sa.UniqueConstraint(
        "exchange_account_id", "epoch", "native_symbol", "trade_id", "order_id", name="pms_fills_key"
    ),
    sa.Index("pms_fills_symbol_idx", "exchange_account_id", "symbol", "trade_id"),
)
_ours(
    "fill_allocations",
    _text("fill_id", key=True),
    _int("number", key=True),
    _text("sub_account_id", nullable=True),
    _text("position_id", nullable=True),
    _text("trade_execution_id", nullable=True),
    _text("symbol"),
    _text("side"),
    _text("effect"),
    _exact("price"),
    _exact("quantity"),
    _exact("fee"),
    _int("link"),
    sa.Index("pms_fill_allocations_position_idx", "position_id", "link"),
    sa.Index("pms_fill_allocations_account_idx", "sub_account_id", "link"),
)
_ours(
    "exchange_positions",
    _text("symbol", key=True),
    _exact("signed_quantity"),
    _exact("signed_cost"),
    _int("last_trade_id"),
)
_ours(
    "house_lines",
    _text("id", key=True),
    _text("kind"),
    _text("symbol", nullable=True),
    _exact("signed_quantity"),
    _exact("signed_cost"),
    _exact("cash"),
    _text("reference", nullable=True),
    _text("sub_account_id", nullable=True),
    _time("timestamp"),
    _int("link"),
)
_ours("owed", _text("sub_account_id", key=True), _exact("amount"), _time("updated_at"))
_ours(
    "owed_lines",
    _text("id", key=True),
    _text("sub_account_id"),
    _exact("amount"),
    _text("reason"),
    _text("balance_log_id", nullable=True),
    _time("timestamp"),
    _int("link"),
    sa.Index("pms_owed_lines_account_idx", "sub_account_id", "link"),
)
_ours(
    "position_exact",
    _text("position_id", key=True),
    _text("sub_account_id"),
    _text("symbol"),
    _text("side"),
    _exact("quantity"),
    _exact("cost"),
    _exact("leverage"),
    _text("status"),
    _int("revision"),
    # Invariant 4: at most one open position for a (sub-account, symbol).
    sa.Index(
        "pms_position_exact_open_key",
        "exchange_account_id",
        "sub_account_id",
        "symbol",
        unique=True,
        sqlite_where=sa.text("status = 'OPEN'"),
        postgresql_where=sa.text("status = 'OPEN'"),
    ),
)
_ours("account_exact", _text("sub_account_id", key=True), _exact("balance"), _int("revision"))
_ours(
    "opening_entries",
    _text("id", key=True),
    _text("kind"),
    _text("sub_account_id"),
    _text("position_id", nullable=True),
    _text("symbol", nullable=True),
    _exact("balance"),
    _exact("signed_quantity"),
    _exact("signed_cost"),
    _time("timestamp"),
    _int("link"),
)
_ours(
    "journal_entries",
    _text("id", key=True),
    _text("kind"),
    _text("reference", nullable=True),
    _time("timestamp"),
    _int("link"),
    sa.Index("pms_journal_entries_link_idx", "exchange_account_id", "link"),
)
_ours(
    "journal_lines",
    _text("entry_id", key=True),
    _int("number", key=True),
    _text("account"),
    _text("sub_account_id", nullable=True),
    _text("symbol", nullable=True),
    _text("detail", nullable=True),
    _exact("amount"),
    _int("link"),
    sa.Index("pms_journal_lines_account_idx", "account", "sub_account_id"),
)
_ours(
    "commit_links",
    _int("link", key=True),
    _int("fence"),
    _text("previous_hash"),
    _text("hash"),
    _text("entries"),
    _time("timestamp"),
)
_ours(
    "outbox",
    _text("sub_account_id", key=True),
    _int("sequence", key=True),
    _text("type"),
    _text("data"),
    _time("timestamp"),
)
_ours(
    "algo_states",
    _text("algo", key=True),
    _text("id", key=True),
    _text("sub_account_id", nullable=True),
    _text("parent_id", nullable=True),
    _text("state"),
    _text("status"),
    _int("revision"),
    _int("fence"),
    _time("created_at"),
    _time("updated_at"),
    sa.Index("pms_algo_states_status_idx", "exchange_account_id", "status"),
)
_ours(
    "leases",
    _text("role", key=True),
    _text("owner"),
    _int("fence"),
    _int("expires_at_ms"),
    _int("taken_at_ms"),
)
_ours(
    "actions",
    _text("id", key=True),
    _text("actor"),
    _text("via"),
    _text("action"),
    _text("target", nullable=True),
    _text("before", nullable=True),
    _text("after", nullable=True),
    _time("timestamp"),
    sa.Index("pms_actions_timestamp_idx", "exchange_account_id", "timestamp"),
    sa.Index("pms_actions_target_idx", "target", "timestamp"),
)
_ours(
    "idempotency_keys",
    _text("scope", key=True),
    _text("key", key=True),
    _text("request_hash"),
    _int("status", nullable=True),
    _text("response", nullable=True),
    _time("created_at"),
    _time("updated_at"),
)
_ours(
    "rule_history",
    _text("id", key=True),
    _text("sub_account_id", nullable=True),
    _exact("max_leverage"),
    _exact("max_notional_per_trade"),
    _exact("max_total_exposure"),
    _exact("liquidation_threshold"),
    _text("actor"),
    _time("timestamp"),
)

CHAINED: dict[str, tuple[str, ...]] = {
    "sub_accounts": ("initial_balance", "current_balance", "status", "liquidation_mode", "maintenance_rate"),
    "virtual_positions": (
        "sub_account_id",
        "symbol",
        "side",
        "entry_price",
        "quantity",
        "notional",
        "leverage",
        "margin",
        "status",
        "realized_pnl",
    ),
    "trade_executions": ("*",),
    "balance_logs": ("*",),
    "pms_order_journal": (
        "sub_account_id",
        "symbol",
        "side",
        "quantity",
        "state",
        "booked_quantity",
        "booked_notional",
    ),
    "pms_fills": ("*",),
    "pms_fill_allocations": ("*",),
    "pms_exchange_positions": ("*",),
    "pms_house_lines": ("*",),
    "pms_owed": ("amount",),
    "pms_owed_lines": ("*",),
    "pms_position_exact": ("*",),
    "pms_account_exact": ("*",),
    "pms_opening_entries": ("*",),
    "pms_journal_entries": ("*",),
    "pms_journal_lines": ("*",),
}
"""Columns under the hash chain; `*` is all. Names that people may edit freely (an account's name) are left out."""


@dataclass(frozen=True, slots=True)
class TableInfo:
    """What statements and digests need of a table: column kinds, key columns, digested columns."""

    name: str
    kinds: dict[str, Kind]
    keys: tuple[str, ...]
    chained: tuple[str, ...]


@cache
def table_info(name: str) -> TableInfo:
    """Return the facts of a table by name."""
    table = metadata.tables[name]
    kinds = {column.name: column.info["kind"] for column in table.columns}
    keys = tuple(column.name for column in table.primary_key.columns)
    chained = CHAINED.get(name, ())
    if chained == ("*",):
        chained = tuple(kinds)
    return TableInfo(name, kinds, keys, chained)
