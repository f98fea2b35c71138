"""Passes the fills of pooled closes on to the positions that they close (decisions 3, 9, 13).

Each closer gets its part by a two-legged transfer at the fill's own price and fee, a few at a time, so that a
fill for a thousand positions holds nobody up. How far that went is in the database: a restart goes on with
the next part. Each part counts from the fill's own time, for the closer held no more from then on: a funding
between the fill and the passing on is not his (decision 8).
"""

from dataclasses import replace

from pms.ledger.api import HouseLineKind
from pms.ledger.operations.parts import Terms
from pms.ledger.operations.transfers import against_house
from pms.ledger.plan import Plan
from pms.ledger.pools import Pool, PoolPart
from pms.model.ids import ClientOrderId
from pms.model.money import plain, round_cost
from pms.model.order import OrderSide, OrderType


def allocate(plan: Plan, client_order_id: ClientOrderId, parts_max: int) -> None:
    """Give the next parts of what is booked to the positions they close; nothing when nothing is pending.

    A position that is smaller by now, or closed, leaves its part with the house.
    """
    pool = plan.book.pools.get(client_order_id)
    if pool is None:
        return
    allocated = pool.allocated
    for part in pool.parts(parts_max):
        _give(plan, pool, part)
        allocated += part.quantity
    if allocated != pool.allocated:
        plan.put_pool(replace(pool, allocated=allocated))


def _give(plan: Plan, pool: Pool, part: PoolPart) -> None:
    position = plan.book.positions.get(part.share.position_id)
    if position is None or OrderSide.closing(position.side) is not pool.side:
        return
    quantity = min(part.quantity, position.quantity)
    fee = part.fee if quantity == part.quantity else round_cost(part.fee * quantity / part.quantity)
    reference = f"{pool.client_order_id}:{plain(part.before)}"
    terms = _terms(pool, part, partial=quantity < position.quantity)
    against_house(
        plan,
        position,
        quantity,
        part.fill.price,
        HouseLineKind.POOL,
        terms,
        reference,
        fee,
        traded_ms=part.fill.trade_time_ms,
    )


def _terms(pool: Pool, part: PoolPart, *, partial: bool) -> Terms:
    tag = "LIQUIDATE" if pool.action == "LIQUIDATE" else "ADL" if partial else "CLOSE"
    return Terms(
        symbol=pool.symbol,
        side=pool.side,
        price=part.fill.price,
        exchange_order_id=part.fill.exchange_order_id,
        client_order_id=pool.client_order_id,
        type=OrderType.MARKET,
        close_action=pool.action,
        close_tag=tag,
        flip=False,
        origin_type="MANUAL",
        order=None,
    )
