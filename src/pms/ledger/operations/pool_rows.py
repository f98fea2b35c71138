"""The rows of pooled closes: the shares of an order of the house, and its executions as they are booked."""

from dataclasses import replace
from decimal import Decimal

from pms.ledger.api import NewIntent
from pms.ledger.errors import AccountNotFoundError
from pms.ledger.plan import Plan
from pms.ledger.pools import Pool, PoolFill
from pms.model.fill import ExchangeFill


def record_pool(plan: Plan, intent: NewIntent) -> None:
    """Journal the shares of a pooled order with its intent. Raises AccountNotFoundError, ValueError."""
    if sum(share.quantity for share in intent.shares) != intent.quantity:
        raise ValueError(f"the shares of {intent.client_order_id} do not sum to its quantity")
    pool = Pool(intent.client_order_id, intent.symbol, intent.side, intent.action, intent.shares)
    plan.insert_ours(
        "pms_pools",
        {"client_order_id": pool.client_order_id},
        {"allocated": pool.allocated, "state": "OPEN", "revision": 1, "updated_at": plan.now_ms},
    )
    for number, share in enumerate(pool.shares):
        if plan.book.account(share.sub_account_id) is None:
            raise AccountNotFoundError(f"no sub-account has the id {share.sub_account_id}; nothing was sent")
        plan.insert_ours(
            "pms_pool_shares",
            {"client_order_id": pool.client_order_id, "number": number},
            {
                "position_id": share.position_id,
                "sub_account_id": share.sub_account_id,
                "quantity": share.quantity,
                "link": plan.link,
            },
        )
    plan.note_pool(pool)


def add_pool_fill(plan: Plan, pool: Pool, fill: ExchangeFill, fill_id: str, fee: Decimal) -> None:
    """Note an execution of a pooled order, whose quantity the house has just got."""
    plan.insert_ours(
        "pms_pool_fills",
        {"client_order_id": pool.client_order_id, "number": len(pool.fills)},
        {
            "fill_id": fill_id,
            "exchange_order_id": fill.order_id,
            "price": fill.price,
            "quantity": fill.quantity,
            "fee": fee,
            "link": plan.link,
        },
    )
    booked = PoolFill(fill.order_id, fill.price, fill.quantity, fee, fill.trade_time_ms)
    plan.put_pool(replace(pool, fills=(*pool.fills, booked)))
