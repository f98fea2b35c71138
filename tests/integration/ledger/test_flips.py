"""Flips (decision 17): net by default, and the incumbent's kind, whose close bears the order's whole fee."""

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import pytest

from pms.ledger.api import Committed
from pms.ledger.audit import audit
from pms.ledger.ledger import LedgerService
from pms.model.account import PositionSide, PositionStatus, SubAccount
from pms.model.money import Money
from pms.model.order import FLIP_ACTION, OrderSide
from tests.integration.ledger.conftest import CAPITAL
from tests.support.ledger import BTC, Desk, opened, types


@pytest.fixture
async def beside(database_url: str) -> AsyncIterator[Desk]:
    """A ledger as it runs beside the incumbent: opening fees are the house's."""
    ledger = await opened(database_url, charge_open_fees=False)
    await ledger.adopt_wallet(Money(CAPITAL), "epoch-1")
    yield Desk(ledger)
    await ledger.close()


async def clean(url: str) -> None:
    report = await audit(url)
    assert report.passed, "\n".join(report.lines())


async def reasons(ledger: LedgerService, account: SubAccount) -> list[tuple[str, Decimal]]:
    rows = await ledger.queries.balance_logs(account.id, 20)
    return sorted((row.reason, row.change_amount) for row in rows if row.reason != "DEPOSIT")


def rows(committed: Committed) -> list[tuple[str, Decimal, Decimal, Decimal | None]]:
    return [(trade.action, trade.quantity, trade.fee, trade.realized_pnl) for trade in committed.trades]


async def short_of(desk: Desk, quantity: str) -> SubAccount:
    account = await desk.account("A", "1000")
    await desk.sell(account.id, quantity, "100")
    return account


async def test_a_flip_of_the_incumbents_kind_books_the_whole_fee_on_its_close(
    beside: Desk, database_url: str
) -> None:
    """Ledger spec 5.3: SHORT 4, the requested quantity 2 is the new position, sent as 6."""
    ledger, account = beside.ledger, await short_of(beside, "4")
    booked = await beside.trade_at(account.id, OrderSide.BUY, "6", "90", "0.27", action=FLIP_ACTION)
    assert rows(booked.committed) == [
        ("CLOSE", 4, Decimal("0.27"), Decimal("39.73")),
        ("OPEN", 2, 0, None),
    ]
    close, opening = booked.committed.trades
    assert close.exchange_order_id == opening.exchange_order_id
    assert (close.side, opening.side) == (OrderSide.BUY, OrderSide.BUY)
    assert types(booked) == ["position_closed", "position_updated", "order_filled"]
    assert booked.committed.events[0].data["reason"] == "FLIP"
    closed, position = booked.committed.positions
    assert (closed.status, position.side, position.quantity) == (PositionStatus.CLOSED, PositionSide.LONG, 2)
    assert await reasons(ledger, account) == [("TRADE_PNL", Decimal("39.73"))]
    await clean(database_url)


async def test_a_flip_that_fills_in_pieces_charges_every_piece_to_the_account(
    beside: Desk, database_url: str
) -> None:
    ledger, account = beside.ledger, await short_of(beside, "4")
    order = await beside.order(account.id, OrderSide.BUY, "6", action=FLIP_ACTION)
    booked = [await beside.book(beside.fill(order, "90", quantity), "0.1") for quantity in ("3", "2", "1")]
    first, second, third = (rows(one.committed) for one in booked)
    assert first == [("CLOSE", 3, Decimal("0.1"), Decimal("29.9"))]
    assert second == [("CLOSE", 1, Decimal("0.1"), Decimal("9.9")), ("OPEN", 1, 0, None)]
    assert third == [("ADD", 1, Decimal("0.1"), None)]
    assert [one.committed.events[0].type for one in booked] == [
        "position_reduced",
        "position_closed",
        "position_updated",
    ]
    assert await reasons(ledger, account) == [
        ("OPEN_FEE", Decimal("-0.1")),
        ("TRADE_PNL", Decimal("9.9")),
        ("TRADE_PNL", Decimal("29.9")),
    ]
    position = ledger.open_position(account.id, BTC)
    assert position is not None
    assert (position.side, position.quantity) == (PositionSide.LONG, 2)
    await clean(database_url)


async def test_a_net_flip_splits_the_fee_between_its_parts(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await short_of(desk, "1")
    booked = await desk.trade_at(account.id, OrderSide.BUY, "4", "90", "0.4")
    assert rows(booked.committed) == [
        ("CLOSE", 1, Decimal("0.1"), Decimal("9.9")),
        ("OPEN", 3, Decimal("0.3"), None),
    ]
    assert booked.committed.events[0].data["reason"] == "FLIP"
    assert await reasons(ledger, account) == [
        ("OPEN_FEE", Decimal("-0.3")),
        ("TRADE_PNL", Decimal("9.9")),
    ]
    await clean(database_url)


async def test_a_fee_paid_in_another_asset_is_kept_as_it_was_paid(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    """Decision 8: the account pays in its own asset at a recorded price; the fill keeps what was paid."""
    account = await desk.account("A", "1000")
    order = await desk.order(account.id, OrderSide.BUY, "1")
    fill = replace(desk.fill(order, "100"), fee=Decimal("0.0000875"), fee_asset="BNB")
    await desk.book(fill, "0.05")
    kept = await ledger.store.fetch("SELECT fee, fee_paid, fee_asset FROM pms_fills")
    assert [(Decimal(str(row["fee"])), Decimal(str(row["fee_paid"])), row["fee_asset"]) for row in kept] == [
        (Decimal("0.05"), Decimal("0.0000875"), "BNB")
    ]
    assert await reasons(ledger, account) == [("OPEN_FEE", Decimal("-0.05"))]
    await clean(database_url)
