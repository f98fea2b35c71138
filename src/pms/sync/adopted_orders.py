"""Finds on the exchange what the incumbent left resting there, so that the ledger can adopt it.

At the first start the incumbent's PENDING rows name exchange ids only; the exchange tells the client order id
that each rests by. Later an algo that still runs in JavaScript may replace its order: an event of an order
that nobody knows belongs to the newest adopted chase of that owner, symbol, side and quantity, once the
exchange says that the one known so far rests no more (H33; the seed's fallback).
"""

import structlog

from pms.exchange.port import Absent, AccountView, OrderReport
from pms.execution.resolver import DoubtResolver
from pms.ledger.api import Ledger
from pms.model.ids import is_made_here, owner_prefix
from pms.model.money import ZERO, Quantity
from pms.model.order import JournalOrder, OrderCode, OrderState

log = structlog.get_logger(__name__)


async def adopt_resting_orders(ledger: Ledger, account: AccountView) -> None:
    """Adopt every resting order of the incumbent's that the exchange knows. Raises ExchangeError."""
    for row in await ledger.resting_of_the_incumbent():
        client_order_id = await account.client_order_id(row.symbol, row.exchange_order_id)
        if client_order_id is None:
            log.warning("pending_order_unknown_to_the_exchange", pending_order_id=row.id, symbol=row.symbol)
            continue
        fills = await account.order_fills(row.symbol, row.exchange_order_id)
        before = sum((fill.quantity for fill in fills if fill.trade_time_ms < ledger.adopted_at_ms()), ZERO)
        await ledger.adopt_order(row, client_order_id, Quantity(before))


async def adopt_repriced_chase(
    ledger: Ledger, resolver: DoubtResolver, report: OrderReport
) -> JournalOrder | None:
    """Return the journal order that an order nobody knows goes on for, None when there is none.

    Raises ExchangeError when the exchange cannot be asked for the order that was known so far.
    """
    prefix = owner_prefix(report.client_order_id)
    if prefix is None:
        return None
    candidates = [
        order
        for order in ledger.open_orders()
        if order.code is OrderCode.CHASE
        and order.state is OrderState.LIVE
        and not is_made_here(order.client_order_id, order.sequence)
        and (order.symbol, order.side) == (report.symbol, report.side)
        and order.remaining_quantity == report.quantity
        and (order.sub_account_id or "").startswith(prefix)
    ]
    for known in sorted(candidates, key=lambda order: -order.sequence):
        answer = await resolver.ask(known)
        if isinstance(answer, Absent) or (answer.status.terminal and not answer.executed_quantity):
            return await ledger.adopt_repriced(known.client_order_id, report.client_order_id, report.order_id)
    return None
