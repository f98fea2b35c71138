"""The tables: the incumbent's nine as its ORM makes them (ledger spec 1.2), and ours with the prefix `pms_`.

Invariants: every table of ours carries `exchange_account_id` (decision 30); every column knows its storage
kind; `CHAINED` names the columns that the hash chain covers, in a fixed order.
"""

from dataclasses import dataclass
from functools import cache

import sqlalchemy as sa

from pms.ledger import schema_accounting, schema_control, schema_pools
from pms.ledger.columns import column, exact, flag, foreign, index, integer, moment, ours, real, text
from pms.ledger.columns import metadata as metadata
from pms.ledger.rendering import Kind

USERS = sa.Table(
    "users",
    metadata,
    text("id", key=True),
    text("username"),
    text("password_hash"),
    text("role", default="USER"),
    text("status", default="PENDING"),
    text("api_key", nullable=True),
    text("current_challenge", nullable=True),
    moment("created_at", now=True),
    moment("updated_at"),
    index("users", "username", unique=True),
    index("users", "api_key", unique=True),
)

SUB_ACCOUNTS = sa.Table(
    "sub_accounts",
    metadata,
    text("id", key=True),
    *foreign("sub_accounts", "user_id", "users", "SET NULL", nullable=True),
    text("name"),
    text("type", default="USER"),
    real("initial_balance"),
    real("current_balance"),
    text("status", default="ACTIVE"),
    text("liquidation_mode", default="ADL_30"),
    real("maintenance_rate", "0.005"),
    moment("created_at", now=True),
    moment("updated_at"),
    index("sub_accounts", "user_id", "status"),
    index("sub_accounts", "status"),
)

RISK_RULES = sa.Table(
    "risk_rules",
    metadata,
    text("id", key=True),
    *foreign("risk_rules", "sub_account_id", "sub_accounts", "SET NULL", nullable=True),
    flag("is_global"),
    real("max_leverage", "100"),
    real("max_notional_per_trade", "200"),
    real("max_total_exposure", "500"),
    real("liquidation_threshold", "0.90"),
    index("risk_rules", "sub_account_id", unique=True),
    index("risk_rules", "is_global"),
)

VIRTUAL_POSITIONS = sa.Table(
    "virtual_positions",
    metadata,
    text("id", key=True),
    *foreign("virtual_positions", "sub_account_id", "sub_accounts", "RESTRICT"),
    text("symbol"),
    text("side"),
    real("entry_price"),
    real("quantity"),
    real("notional"),
    real("leverage"),
    real("margin"),
    real("liquidation_price"),
    text("status", default="OPEN"),
    real("realized_pnl", nullable=True),
    flag("babysitter_excluded"),
    flag("taken_over"),
    text("taken_over_by", nullable=True),
    moment("taken_over_at", nullable=True),
    moment("opened_at", now=True),
    moment("closed_at", nullable=True),
    index("virtual_positions", "sub_account_id", "status"),
    index("virtual_positions", "symbol", "status"),
    index("virtual_positions", "sub_account_id", "symbol", "side", "status"),
)

TRADE_EXECUTIONS = sa.Table(
    "trade_executions",
    metadata,
    text("id", key=True),
    *foreign("trade_executions", "sub_account_id", "sub_accounts", "RESTRICT"),
    *foreign("trade_executions", "position_id", "virtual_positions", "SET NULL", nullable=True),
    text("exchange_order_id", nullable=True),
    text("client_order_id", nullable=True),
    text("symbol"),
    text("side"),
    text("type"),
    real("price"),
    real("quantity"),
    real("notional"),
    real("fee", "0"),
    real("realized_pnl", nullable=True),
    text("action"),
    text("origin_type", default="MANUAL"),
    text("status", default="FILLED"),
    text("signature"),
    moment("timestamp", now=True),
    index("trade_executions", "sub_account_id", "timestamp"),
    index("trade_executions", "sub_account_id", "status", "timestamp"),
    index("trade_executions", "sub_account_id", "symbol", "timestamp"),
    index("trade_executions", "exchange_order_id"),
)

BALANCE_LOGS = sa.Table(
    "balance_logs",
    metadata,
    text("id", key=True),
    *foreign("balance_logs", "sub_account_id", "sub_accounts", "RESTRICT"),
    real("balance_before"),
    real("balance_after"),
    real("change_amount"),
    text("reason"),
    text("trade_id", nullable=True),
    moment("timestamp", now=True),
    index("balance_logs", "sub_account_id", "timestamp"),
)

PENDING_ORDERS = sa.Table(
    "pending_orders",
    metadata,
    text("id", key=True),
    *foreign("pending_orders", "sub_account_id", "sub_accounts", "RESTRICT"),
    text("symbol"),
    text("side"),
    text("type", default="LIMIT"),
    real("price"),
    real("quantity"),
    real("leverage"),
    text("exchange_order_id", nullable=True),
    text("status", default="PENDING"),
    moment("created_at", now=True),
    moment("filled_at", nullable=True),
    moment("cancelled_at", nullable=True),
    index("pending_orders", "exchange_order_id"),
    index("pending_orders", "status", "type"),
    index("pending_orders", "sub_account_id", "status"),
)

BOT_CONFIGS = sa.Table(
    "bot_configs",
    metadata,
    text("id", key=True),
    *foreign("bot_configs", "sub_account_id", "sub_accounts", "RESTRICT"),
    flag("enabled"),
    flag("babysitter_enabled"),
    text("tp_mode", default="auto"),
    real("max_notional", "50"),
    column("max_layers", Kind.INT, default=sa.text("8"), small=True),
    real("max_exposure", "500"),
    flag("vol_filter_enabled", "true"),
    real("min_spread_bps", "7.0"),
    real("max_spread_bps", "40.0"),
    real("min_hold_sec", "5.0"),
    real("min_profit_bps", "10.0"),
    flag("tp_decay_enabled", "true"),
    real("tp_decay_half_life", "30.0"),
    flag("trailing_stop_enabled"),
    real("trailing_stop_bps", "15.0"),
    flag("inverse_tp_enabled", "true"),
    column("inverse_tp_min_layers", Kind.INT, default=sa.text("3"), small=True),
    flag("scaled_exit_enabled"),
    real("max_loss_bps", "500.0"),
    real("loss_cooldown_sec", "8.0"),
    text("symbols", default=""),
    text("blacklist", default=""),
    moment("created_at", now=True),
    moment("updated_at"),
    index("bot_configs", "sub_account_id", unique=True),
    index("bot_configs", "babysitter_enabled"),
)

WEBAUTHN_CREDENTIALS = sa.Table(
    "webauthn_credentials",
    metadata,
    text("id", key=True),
    *foreign("webauthn_credentials", "user_id", "users", "RESTRICT"),
    text("credential_id"),
    text("public_key"),
    column("counter", Kind.INT, default=sa.text("0"), small=True),
    text("device_type", default="unknown"),
    flag("backed_up"),
    text("transports", default=""),
    moment("created_at", now=True),
    index("webauthn_credentials", "credential_id", unique=True),
    index("webauthn_credentials", "user_id"),
)

INCUMBENT_TABLES = tuple(name for name in metadata.tables if not name.startswith("pms_"))
"""Names of the incumbent's tables, in an order that satisfies their foreign keys."""


ours(
    "exchange_accounts",
    text("venue"),
    text("asset"),
    text("event_epoch"),
    text("epoch"),
    exact("wallet_adopted", nullable=True),
    moment("created_at"),
    moment("updated_at"),
)
ours(
    "order_journal",
    text("client_order_id", key=True),
    integer("sequence"),
    text("sub_account_id", nullable=True),
    text("symbol"),
    text("side"),
    text("type"),
    text("time_in_force"),
    exact("quantity"),
    exact("price", nullable=True),
    exact("leverage"),
    column("reduce_only", Kind.BOOL),
    column("reduce_only_wire", Kind.BOOL),
    text("code"),
    text("action"),
    text("origin"),
    text("state"),
    text("final_status", nullable=True),
    exact("executed_quantity"),
    exact("booked_quantity"),
    exact("booked_notional"),
    moment("created_at"),
    moment("updated_at"),
    integer("timestamp_ms"),
    integer("recv_window_ms"),
    text("exchange_order_id", nullable=True),
    text("position_id", nullable=True),
    text("pending_order_id", nullable=True),
    column("babysitter_excluded", Kind.BOOL),
    text("idempotency_key", nullable=True),
    text("reject_code", nullable=True),
    text("reject_message", nullable=True),
    sa.Index("pms_order_journal_sequence_key", "exchange_account_id", "sequence", unique=True),
    sa.Index("pms_order_journal_state_idx", "exchange_account_id", "state"),
    sa.Index("pms_order_journal_pending_idx", "pending_order_id"),
)
ours(
    "fills",
    text("id", key=True),
    text("kind"),
    text("epoch"),
    text("native_symbol"),
    integer("trade_id"),
    text("order_id"),
    text("client_order_id", nullable=True),
    text("symbol"),
    text("side"),
    exact("price"),
    exact("quantity"),
    exact("fee"),
    exact("fee_paid"),
    text("fee_asset"),
    column("maker", Kind.BOOL),
    text("source"),
    moment("trade_time"),
    moment("booked_at"),
    integer("link"),
    # Decision 3: the key of an execution, unique in the transaction that applies it.
    sa.UniqueConstraint(
        "exchange_account_id", "epoch", "native_symbol", "trade_id", "order_id", name="pms_fills_key"
    ),
    sa.Index("pms_fills_symbol_idx", "exchange_account_id", "symbol", "trade_id"),
)
ours(
    "fill_allocations",
    text("fill_id", key=True),
    integer("number", key=True),
    text("sub_account_id", nullable=True),
    text("position_id", nullable=True),
    integer("position_revision", nullable=True),
    text("trade_execution_id", nullable=True),
    text("symbol"),
    text("side"),
    text("effect"),
    exact("price"),
    exact("quantity"),
    exact("fee"),
    integer("link"),
    sa.Index("pms_fill_allocations_position_idx", "position_id", "link"),
    sa.Index("pms_fill_allocations_account_idx", "sub_account_id", "link"),
)
ours(
    "exchange_positions",
    text("symbol", key=True),
    exact("signed_quantity"),
    exact("signed_cost"),
    integer("last_trade_id"),
)
ours(
    "house_lines",
    text("id", key=True),
    text("kind"),
    text("symbol", nullable=True),
    exact("signed_quantity"),
    exact("signed_cost"),
    exact("cash"),
    text("reference", nullable=True),
    text("sub_account_id", nullable=True),
    moment("timestamp"),
    integer("link"),
)
ours("owed", text("sub_account_id", key=True), exact("amount"), moment("updated_at"))
ours(
    "owed_lines",
    text("id", key=True),
    text("sub_account_id"),
    exact("amount"),
    text("reason"),
    text("balance_log_id", nullable=True),
    moment("timestamp"),
    integer("link"),
    sa.Index("pms_owed_lines_account_idx", "sub_account_id", "link"),
)
ours(
    "position_exact",
    text("position_id", key=True),
    text("sub_account_id"),
    text("symbol"),
    text("side"),
    exact("quantity"),
    exact("cost"),
    exact("leverage"),
    text("status"),
    integer("revision"),
    sa.Index("pms_position_exact_position_idx", "position_id"),
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
ours(
    "account_exact",
    text("sub_account_id", key=True),
    exact("balance"),
    integer("revision"),
    sa.Index("pms_account_exact_account_idx", "sub_account_id"),
)
ours(
    "opening_entries",
    text("id", key=True),
    text("kind"),
    text("sub_account_id"),
    text("position_id", nullable=True),
    text("symbol", nullable=True),
    exact("balance"),
    exact("signed_quantity"),
    exact("signed_cost"),
    moment("timestamp"),
    integer("link"),
)
ours(
    "journal_entries",
    text("id", key=True),
    text("kind"),
    text("reference", nullable=True),
    moment("timestamp"),
    integer("link"),
    sa.Index("pms_journal_entries_link_idx", "exchange_account_id", "link"),
)
ours(
    "journal_lines",
    text("entry_id", key=True),
    integer("number", key=True),
    text("account"),
    text("sub_account_id", nullable=True),
    text("symbol", nullable=True),
    text("detail", nullable=True),
    exact("amount"),
    integer("link"),
    sa.Index("pms_journal_lines_account_idx", "account", "sub_account_id"),
)
ours(
    "commit_links",
    integer("link", key=True),
    integer("fence"),
    text("previous_hash"),
    text("hash"),
    text("entries"),
    moment("timestamp"),
)
ours(
    "outbox",
    text("sub_account_id", key=True),
    integer("sequence", key=True),
    text("type"),
    text("data"),
    moment("timestamp"),
)
ours(
    "algo_states",
    text("algo", key=True),
    text("id", key=True),
    text("sub_account_id", nullable=True),
    text("parent_id", nullable=True),
    text("state"),
    text("status"),
    integer("revision"),
    integer("fence"),
    moment("created_at"),
    moment("updated_at"),
    sa.Index("pms_algo_states_status_idx", "exchange_account_id", "status"),
)
ours(
    "leases",
    text("role", key=True),
    text("owner"),
    integer("fence"),
    integer("expires_at_ms"),
    integer("taken_at_ms"),
)
ours(
    "actions",
    text("id", key=True),
    text("actor"),
    text("via"),
    text("action"),
    text("target", nullable=True),
    text("before", nullable=True),
    text("after", nullable=True),
    moment("timestamp"),
    sa.Index("pms_actions_timestamp_idx", "exchange_account_id", "timestamp"),
    sa.Index("pms_actions_target_idx", "target", "timestamp"),
)
ours(
    "idempotency_keys",
    text("scope", key=True),
    text("key", key=True),
    text("request_hash"),
    integer("status", nullable=True),
    text("response", nullable=True),
    moment("created_at"),
    moment("updated_at"),
)
ours(
    "rule_history",
    text("id", key=True),
    text("sub_account_id", nullable=True),
    exact("max_leverage"),
    exact("max_notional_per_trade"),
    exact("max_total_exposure"),
    exact("liquidation_threshold"),
    text("actor"),
    moment("timestamp"),
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
    **schema_accounting.CHAINED,
    **schema_control.CHAINED,
    **schema_pools.CHAINED,
}
"""Columns under the hash chain; `*` is all. Names that people may edit freely (an account's name) are left
out."""


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
