"""Tables of pooled closes: who an order of the house is for, and how far its fills have been passed on.

Part of `pms.ledger.schema`, which is what others import.
"""

from pms.ledger.columns import exact, integer, moment, ours, text

SINCE = "0002"

ours(
    "pools",
    text("client_order_id", key=True),
    # Of what is booked, the quantity that the shares have got.
    exact("allocated"),
    # OPEN until the order has ended and everything is allocated; then DONE.
    text("state"),
    integer("revision"),
    moment("updated_at"),
    since=SINCE,
)
ours(
    "pool_shares",
    text("client_order_id", key=True),
    integer("number", key=True),
    text("position_id"),
    text("sub_account_id"),
    exact("quantity"),
    integer("link"),
    since=SINCE,
)
ours(
    "pool_fills",
    text("client_order_id", key=True),
    integer("number", key=True),
    text("fill_id"),
    text("exchange_order_id"),
    exact("price"),
    exact("quantity"),
    exact("fee"),
    integer("link"),
    since=SINCE,
)

CHAINED: dict[str, tuple[str, ...]] = {
    "pms_pools": ("allocated", "state"),
    "pms_pool_shares": ("*",),
    "pms_pool_fills": ("*",),
}
