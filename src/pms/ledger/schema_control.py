"""Tables of control: restrictions, further rules, their breaches, liquidations, leverage, house limits.

Part of `pms.ledger.schema`, which is what others import.
"""

import sqlalchemy as sa

from pms.ledger.columns import exact, integer, moment, ours, text

SINCE = "0002"

ours(
    "restrictions",
    # A sub-account, or `global`; the source is `operator`, `exchange`, or `rule:<name>`.
    text("scope", key=True),
    text("source", key=True),
    text("level"),
    text("reason"),
    text("actor"),
    moment("updated_at"),
    integer("link"),
    since=SINCE,
)
ours(
    "rule_sets",
    # A sub-account, or `global`. Append-only: the highest version is in force.
    text("scope", key=True),
    integer("version", key=True),
    text("rules"),
    text("actor"),
    moment("timestamp"),
    integer("link"),
    since=SINCE,
)
ours(
    "rule_breaches",
    text("id", key=True),
    text("sub_account_id"),
    text("rule"),
    text("action"),
    integer("rules_version"),
    text("evidence"),
    moment("timestamp"),
    integer("link"),
    sa.Index("pms_rule_breaches_account_idx", "sub_account_id", "timestamp"),
    since=SINCE,
)
ours(
    "equity_marks",
    text("sub_account_id", key=True),
    text("day"),
    exact("day_start_equity"),
    exact("peak_equity"),
    moment("updated_at"),
    since=SINCE,
)
ours(
    "virtual_leverage",
    text("sub_account_id", key=True),
    text("symbol", key=True),
    exact("leverage"),
    text("actor"),
    moment("updated_at"),
    since=SINCE,
)
ours(
    "liquidations",
    text("id", key=True),
    text("sub_account_id"),
    text("label"),
    exact("margin_ratio"),
    text("state"),
    text("evidence"),
    moment("started_at"),
    moment("ended_at", nullable=True),
    integer("link"),
    sa.Index("pms_liquidations_state_idx", "exchange_account_id", "state"),
    since=SINCE,
)
ours(
    "house_limits",
    # A symbol, or `*` for every other.
    text("symbol", key=True),
    # USDT at mark; NULL where a limit was lifted.
    exact("notional_max", nullable=True),
    text("actor"),
    moment("updated_at"),
    integer("link"),
    since=SINCE,
)

CHAINED: dict[str, tuple[str, ...]] = {
    "pms_restrictions": ("*",),
    "pms_rule_sets": ("*",),
    "pms_rule_breaches": ("*",),
    "pms_liquidations": ("*",),
    "pms_house_limits": ("*",),
}
