"""Tables of money that comes without a fill: funding, income of the real account, checkpoints of the journal.

Part of `pms.ledger.schema`, which is what others import.
"""

import sqlalchemy as sa

from pms.ledger.columns import exact, integer, moment, ours, text

SINCE = "0002"

ours(
    "funding_events",
    text("symbol", key=True),
    integer("funding_time", key=True),
    # REGULAR, or SPECIAL (dividends of TradFi perpetuals), which may share its moment with a regular one.
    text("type", key=True),
    exact("rate"),
    exact("mark_price"),
    moment("booked_at"),
    integer("link"),
    since=SINCE,
)
ours(
    "funding_payments",
    text("symbol", key=True),
    integer("funding_time", key=True),
    text("type", key=True),
    # A sub-account. `number` 0 is the payment, later ones correct it after a late execution.
    text("sub_account_id", key=True),
    integer("number", key=True),
    exact("signed_quantity"),
    exact("amount"),
    text("balance_log_id", nullable=True),
    moment("booked_at"),
    integer("link"),
    sa.Index("pms_funding_payments_account_idx", "sub_account_id", "funding_time"),
    since=SINCE,
)
ours(
    "income",
    # Ids start anew with an epoch; the native name never changes, unlike what we make of it.
    text("epoch", key=True),
    text("income_type", key=True),
    text("transaction_id", key=True),
    text("native_symbol", key=True),
    text("symbol", nullable=True),
    text("asset"),
    exact("amount"),
    text("kind"),
    integer("income_time"),
    moment("booked_at"),
    integer("link"),
    since=SINCE,
)
ours(
    "watermarks",
    text("name", key=True),
    integer("moment_ms"),
    moment("updated_at"),
    integer("link"),
    since=SINCE,
)
ours(
    "checkpoints",
    text("day", key=True),
    integer("last_link"),
    text("last_hash"),
    moment("timestamp"),
    integer("link"),
    since=SINCE,
)
ours(
    "checkpoint_lines",
    text("day", key=True),
    text("account", key=True),
    # Empty where the account of the journal has no such part.
    text("sub_account_id", key=True),
    text("symbol", key=True),
    text("detail", key=True),
    exact("amount"),
    # Of positions only, base units.
    exact("signed_quantity"),
    integer("link"),
    since=SINCE,
)

CHAINED: dict[str, tuple[str, ...]] = {
    "pms_funding_events": ("*",),
    "pms_funding_payments": ("*",),
    "pms_income": ("*",),
    "pms_watermarks": ("*",),
    "pms_checkpoints": ("*",),
    "pms_checkpoint_lines": ("*",),
}
