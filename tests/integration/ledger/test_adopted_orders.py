"""The incumbent's resting orders in the journal: to their owner, against his position, repriced."""

from decimal import Decimal

import pytest

from pms.ledger.api import RestingRow
from pms.ledger.audit import audit
from pms.ledger.ledger import LedgerService
from pms.model.ids import ClientOrderId, ExchangeOrderId, SubAccountId, is_made_here
from pms.model.money import Quantity
from pms.model.order import ExchangeOrderStatus, JournalOrder, OrderSide, OrderState
from tests.support.ledger import BTC, START_MS, Desk

WEB = ClientOrderId("web_77")


async def rest(
    ledger: LedgerService, owner: SubAccountId, side: str, quantity: str, kind: str = "LIMIT"
) -> RestingRow:
    """A PENDING row as the incumbent writes it."""
    sql = (
        "INSERT INTO pending_orders (id, sub_account_id, symbol, side, type, price, quantity, leverage,"
        " exchange_order_id, status, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    )
    moment = ledger.queries._time(START_MS)
    values = ("row-1", owner, BTC, side, kind, 100.0, float(quantity), 10.0, "ex-7", "PENDING", moment)
    await ledger.store.write([(sql, values)])
    (row,) = await ledger.resting_of_the_incumbent()
    return row


async def status_of(ledger: LedgerService) -> tuple[str, str]:
    rows = await ledger.store.fetch("SELECT status, exchange_order_id FROM pending_orders WHERE id = 'row-1'")
    return str(rows[0]["status"]), str(rows[0]["exchange_order_id"])


async def test_an_adopted_order_books_to_its_owner(desk: Desk, database_url: str) -> None:
    ledger = desk.ledger
    account = await desk.account()
    row = await rest(ledger, account.id, "LONG", "3")
    order = await ledger.adopt_order(row, WEB, Quantity(Decimal(1)))
    assert (order.state, order.remaining_quantity, order.reduce_only) == (OrderState.LIVE, 2, False)
    assert await ledger.resting_of_the_incumbent() == []
    assert await ledger.adopt_order(row, WEB, Quantity(Decimal(1))) == order  # once

    await desk.book(desk.fill(order, "99"), "0.1")
    ended = await ledger.record_terminal(WEB, ExchangeOrderStatus.FILLED, Quantity(Decimal(3)))
    assert ended is None or ended.state is OrderState.FILLED
    position = ledger.open_position(account.id, BTC)
    assert position is not None
    assert (position.quantity, position.babysitter_excluded) == (2, False)
    assert await status_of(ledger) == ("FILLED", "ex-7")
    report = await audit(database_url)
    assert report.passed, "\n".join(report.lines())


async def test_one_that_rests_against_a_position_never_opens(desk: Desk, database_url: str) -> None:
    ledger = desk.ledger
    account = await desk.account()
    await desk.buy(account.id, "1", "90")
    order = await ledger.adopt_order(await rest(ledger, account.id, "SHORT", "2"), WEB, Quantity(Decimal(0)))
    assert order.reduce_only
    await desk.book(desk.fill(order, "100"))
    assert ledger.open_position(account.id, BTC) is None
    assert ledger.expected_net(BTC) == -1  # the surplus is the house's
    logs = await ledger.queries.balance_logs(account.id, 1)
    assert (logs[0].reason, logs[0].change_amount) == ("LIMIT_CLOSE", 10)
    assert (await audit(database_url)).passed


@pytest.mark.parametrize("kind", ["CHASE_LIMIT", "SCALPER_LIMIT", "SURF_SCALP"])
async def test_positions_of_algo_orders_are_left_alone_by_the_babysitter(desk: Desk, kind: str) -> None:
    account = await desk.account()
    row = await rest(desk.ledger, account.id, "LONG", "1", kind)
    assert (await desk.ledger.adopt_order(row, WEB, Quantity(Decimal(0)))).babysitter_excluded


async def test_a_repriced_chase_goes_on_under_its_new_ids(desk: Desk, database_url: str) -> None:
    ledger = desk.ledger
    account = await desk.account()
    row = await rest(ledger, account.id, "LONG", "2", "CHASE_LIMIT")
    old = await ledger.adopt_order(row, WEB, Quantity(Decimal(0)))
    new_id = ClientOrderId(f"PMS{account.id[:8]}_CL_fresh")
    new = await ledger.adopt_repriced(old.client_order_id, new_id, ExchangeOrderId("ex-8"))
    assert isinstance(new, JournalOrder)
    assert (new.state, new.pending_order_id, ledger.order(WEB)) == (OrderState.LIVE, "row-1", None)
    assert await status_of(ledger) == ("PENDING", "ex-8")
    assert not is_made_here(new_id, new.sequence)
    await desk.book(desk.fill(new, "101"))
    assert await status_of(ledger) == ("FILLED", "ex-8")
    assert await ledger.adopt_repriced(WEB, new_id, ExchangeOrderId("ex-9")) is None
    ours = await desk.order(account.id, OrderSide.BUY, "1")
    assert is_made_here(ours.client_order_id, ours.sequence)
    assert (await audit(database_url)).passed
