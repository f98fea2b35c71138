"""Booking fills: what each kind of execution does to balances, positions, rows and events."""

from dataclasses import replace
from decimal import Decimal

import pytest

from pms.ledger.api import HouseLineKind, HousePosition
from pms.ledger.audit import audit
from pms.ledger.errors import InvalidAmountError, PositionNotOpenError
from pms.ledger.ledger import LedgerService
from pms.model.account import AccountStatus, PositionStatus
from pms.model.fill import FillSource
from pms.model.ids import SubAccountId
from pms.model.money import Price
from pms.model.order import ExchangeOrderStatus, OrderCode, OrderSide, OrderState
from tests.integration.ledger.conftest import CAPITAL
from tests.support.ledger import ACTOR, BTC, Desk, money, opened, types


def balance(ledger: LedgerService, account: SubAccountId) -> Decimal:
    found = ledger.account(account)
    assert found is not None
    return found.balance


async def clean(url: str) -> None:
    report = await audit(url)
    assert report.passed, "\n".join(report.lines())


async def test_opening_charges_the_fee_as_its_own_log_row(desk: Desk, ledger: LedgerService) -> None:
    account = await desk.account("A", "1000")
    booked = await desk.buy(account.id, "0.5", "100", "0.02")
    position = ledger.open_position(account.id, BTC)
    assert position is not None
    assert (position.quantity, position.cost, position.entry_price) == (Decimal("0.5"), 50, 100)
    assert (position.margin, position.babysitter_excluded) == (5, True)
    assert balance(ledger, account.id) == Decimal("999.98")
    trade = booked.committed.trades[0]
    assert (trade.action, trade.fee, trade.realized_pnl, trade.side) == (
        "OPEN",
        Decimal("0.02"),
        None,
        OrderSide.BUY,
    )
    logs = await ledger.queries.balance_logs(account.id, 10)
    assert sorted((log.reason, log.change_amount) for log in logs) == [
        ("DEPOSIT", Decimal(1000)),
        ("OPEN_FEE", Decimal("-0.02")),
    ]
    assert types(booked) == ["position_updated", "order_filled"]
    assert booked.committed.events[0].data == {
        "subAccountId": account.id,
        "positionId": position.id,
        "symbol": BTC,
        "side": "LONG",
        "entryPrice": 100.0,
        "quantity": 0.5,
        "notional": 50.0,
        "leverage": 10.0,
        "margin": 5.0,
        "liquidationPrice": 0.0,
        "babysitterExcluded": True,
    }
    filled = booked.committed.events[1].data
    assert (filled["orderType"], filled["origin"], filled["suppressToast"]) == ("MARKET", "MANUAL", True)
    assert isinstance(filled["exchangeOrderId"], str)


async def test_adding_takes_the_leverage_of_the_order(desk: Desk, ledger: LedgerService) -> None:
    account = await desk.account()
    await desk.buy(account.id, "1", "100")
    booked = await desk.trade_at(account.id, OrderSide.BUY, "2", "106", leverage="20")
    position = booked.committed.positions[0]
    assert (position.cost, position.leverage, position.revision) == (312, 20, 2)
    assert booked.committed.trades[0].action == "ADD"
    assert position.entry_price == 104


async def test_partial_close_realises_exactly_and_keeps_the_row_open(
    desk: Desk, ledger: LedgerService
) -> None:
    account = await desk.account()
    await desk.buy(account.id, "3", "100")
    booked = await desk.trade_at(
        account.id, OrderSide.SELL, "1", "110", "0.1", reduce_only=True, action="CLOSE"
    )
    position = booked.committed.positions[0]
    assert (position.status, position.quantity, position.cost) == (PositionStatus.OPEN, 2, 200)
    assert balance(ledger, account.id) == Decimal("1009.9")
    assert types(booked)[:2] == ["position_reduced", "position_updated"]
    data = booked.committed.events[0].data
    assert (data["remainingQty"], data["closedQty"], data["realizedPnl"]) == (2.0, 1.0, 9.9)
    assert (data["newBalance"], data["reason"]) == (1009.9, "CLOSE")


@pytest.mark.parametrize(
    ("action", "status", "reason"),
    [
        ("CLOSE", PositionStatus.CLOSED, "TRADE_PNL"),
        ("LIQUIDATE", PositionStatus.LIQUIDATED, "LIQUIDATION"),
        ("LIMIT_CLOSE", PositionStatus.CLOSED, "LIMIT_CLOSE"),
    ],
)
async def test_full_close(
    desk: Desk, ledger: LedgerService, action: str, status: PositionStatus, reason: str
) -> None:
    account = await desk.account()
    await desk.sell(account.id, "2", "100")
    booked = await desk.trade_at(
        account.id, OrderSide.BUY, "2", "90", "0.5", reduce_only=True, action=action, code=OrderCode.CLOSE
    )
    closed = booked.committed.positions[0]
    assert closed.status is status
    assert ledger.open_position(account.id, BTC) is None
    assert ledger.position(closed.id) is None
    assert balance(ledger, account.id) == Decimal("1019.5")
    assert [(event.type, event.data["reason"]) for event in booked.committed.events] == [
        ("position_closed", action)
    ]
    trade = booked.committed.trades[0]
    assert (trade.action, trade.realized_pnl) == (action, Decimal("19.5"))
    logs = await ledger.queries.balance_logs(account.id, 1)
    assert (logs[0].reason, logs[0].trade_id) == (reason, trade.id)
    rows = await ledger.store.fetch("SELECT * FROM virtual_positions WHERE id = ?", closed.id)
    assert (rows[0]["quantity"], rows[0]["realized_pnl"]) == (2.0, 19.5)
    assert rows[0]["closed_at"] is not None


async def test_net_flip_is_one_transaction_with_the_fee_split(desk: Desk, ledger: LedgerService) -> None:
    account = await desk.account()
    await desk.buy(account.id, "1", "100")
    booked = await desk.sell(account.id, "3", "110", "0.3")
    assert types(booked) == ["position_closed", "position_updated", "order_filled"]
    assert booked.committed.events[0].data["reason"] == "FLIP"
    close, opening = booked.committed.trades
    assert (close.action, close.quantity, close.fee, close.realized_pnl) == (
        "CLOSE",
        1,
        Decimal("0.1"),
        Decimal("9.9"),
    )
    assert (opening.action, opening.quantity, opening.fee) == ("OPEN", 2, Decimal("0.2"))
    assert close.exchange_order_id == opening.exchange_order_id is not None
    assert [position.signed_quantity for position in booked.committed.positions] == [1, -2]
    assert balance(ledger, account.id) == Decimal("1009.7")
    assert ledger.expected_net(BTC) == -2


async def test_the_same_execution_books_once(desk: Desk, ledger: LedgerService, database_url: str) -> None:
    account = await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "1")
    fill = desk.fill(order, "100")
    first, second = await desk.book(fill), await desk.book(fill)
    assert (first.duplicate, second.duplicate) == (False, True)
    assert second.committed.positions == ()
    await ledger.close()
    again = await opened(database_url)
    assert (await again.book_fill(fill, money("0"))).duplicate
    assert again.expected_net(BTC) == 1
    await again.close()


async def test_fills_out_of_order_all_book(desk: Desk, ledger: LedgerService) -> None:
    account = await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "3")
    fills = [desk.fill(order, "100", "1", trade=trade) for trade in (9, 4, 7)]
    assert not any([(await desk.book(fill)).duplicate for fill in fills])
    assert (await desk.book(fills[1])).duplicate
    assert ledger.expected_net(BTC) == 3
    assert ledger.last_trade_id(BTC) == 9
    assert ledger.order(order.client_order_id) is None


async def test_reports_without_a_trade_do_not_book(desk: Desk) -> None:
    account = await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "1")
    with pytest.raises(InvalidAmountError, match="trade id"):
        await desk.book(desk.fill(order, "100", trade=0))
    with pytest.raises(InvalidAmountError, match="quantity"):
        await desk.book(desk.fill(order, "100", "0"))


async def test_reduce_only_surplus_goes_to_the_house(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account()
    await desk.buy(account.id, "1", "100")
    booked = await desk.trade_at(
        account.id, OrderSide.SELL, "3", "90", "0.3", reduce_only=True, action="CLOSE"
    )
    assert ledger.open_position(account.id, BTC) is None
    assert balance(ledger, account.id) == Decimal("989.9")
    assert booked.committed.house == (HousePosition(BTC, Decimal(-2), Decimal(-180)),)
    assert ledger.house_cash() == CAPITAL - 1000 - Decimal("0.2")
    kinds = await ledger.store.fetch("SELECT kind FROM pms_house_lines WHERE symbol IS NOT NULL")
    assert [row["kind"] for row in kinds] == [HouseLineKind.LATE_FILL.value]
    assert ledger.expected_net(BTC) == -2
    await clean(database_url)


async def test_frozen_books_and_liquidated_goes_to_the_house(desk: Desk, ledger: LedgerService) -> None:
    frozen, gone = await desk.account("F"), await desk.account("L")
    order = await desk.order(frozen.id, OrderSide.BUY, "1")
    late = await desk.order(gone.id, OrderSide.BUY, "1")
    await ledger.set_status(frozen.id, AccountStatus.FROZEN, ACTOR)
    await desk.book(desk.fill(order, "100"))
    assert ledger.open_position(frozen.id, BTC) is not None
    await ledger.record_terminal(late.client_order_id, ExchangeOrderStatus.CANCELLED, late.booked_quantity)
    await ledger.mark_liquidated(gone.id)
    await desk.book(desk.fill(late, "100"))
    assert ledger.open_position(gone.id, BTC) is None
    assert ledger.house_positions() == [HousePosition(BTC, Decimal(1), Decimal(100))]


async def test_a_house_order_fills_the_house(desk: Desk, ledger: LedgerService) -> None:
    booked = await desk.trade_at(None, OrderSide.BUY, "2", "100", "0.4", code=OrderCode.HOUSE)
    assert booked.committed.house == (HousePosition(BTC, Decimal(2), Decimal(200)),)
    assert booked.committed.orders[0].state is OrderState.FILLED
    await desk.trade_at(None, OrderSide.SELL, "2", "110", "0.4", code=OrderCode.HOUSE)
    assert ledger.house_cash() == CAPITAL + 20 - Decimal("0.8")
    assert ledger.house_positions() == [HousePosition(BTC, Decimal(0), Decimal(0))]


async def test_a_foreign_fill_that_increases_the_net_stays_with_the_house(
    desk: Desk, ledger: LedgerService
) -> None:
    account = await desk.account()
    await desk.buy(account.id, "1", "100")
    booked = await desk.book(desk.foreign(OrderSide.BUY, "100", "2"))
    assert booked.committed.house == (HousePosition(BTC, Decimal(2), Decimal(200)),)
    # What the foreigner opened, he closes; no account is touched.
    await desk.book(desk.foreign(OrderSide.SELL, "101", "2"))
    assert ledger.house_positions() == [HousePosition(BTC, Decimal(0), Decimal(0))]
    position = ledger.open_position(account.id, BTC)
    assert position is not None
    assert position.quantity == 1


async def test_a_foreign_fill_is_allocated_to_the_holders_of_the_reduced_side(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    big, small, other = [await desk.account(name) for name in "ABC"]
    await desk.buy(big.id, "0.6", "100")
    await desk.buy(small.id, "0.3", "100")
    await desk.sell(other.id, "0.1", "100")
    booked = await desk.book(desk.foreign(OrderSide.SELL, "90", "0.4"), "0.04")
    quantities = {
        name: position.quantity if (position := ledger.open_position(account.id, BTC)) else 0
        for name, account in (("big", big), ("small", small), ("other", other))
    }
    assert quantities == {"big": Decimal("0.3"), "small": Decimal("0.2"), "other": Decimal("0.1")}
    assert sum((trade.fee for trade in booked.committed.trades), Decimal(0)) == Decimal("0.04")
    assert {trade.action for trade in booked.committed.trades} == {"RECONCILE"}
    assert ledger.expected_net(BTC) == Decimal("0.4")
    await clean(database_url)


async def test_a_real_liquidation_beyond_the_holders_leaves_the_rest_to_the_house(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account()
    await desk.buy(account.id, "1", "100")
    booked = await desk.book(desk.foreign(OrderSide.SELL, "80", "1.5"), "0.3")
    assert [position.status for position in booked.committed.positions] == [PositionStatus.CLOSED]
    assert balance(ledger, account.id) == Decimal("979.8")
    assert ledger.house_positions() == [HousePosition(BTC, Decimal("-0.5"), Decimal(-40))]
    await clean(database_url)


async def test_a_loss_beyond_the_balance_is_owed_and_repaid_first(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account("A", "10")
    await desk.buy(account.id, "1", "100")
    await desk.trade_at(account.id, OrderSide.SELL, "1", "70", reduce_only=True, action="LIQUIDATE")
    poor = ledger.account(account.id)
    assert poor is not None
    assert (poor.balance, poor.owed, poor.cash) == (0, 20, -20)
    log = (await ledger.queries.balance_logs(account.id, 1))[0]
    assert (log.balance_before, log.balance_after, log.change_amount) == (10, 0, -30)
    repaid = await ledger.deposit(account.id, money("25"), ACTOR)
    assert (repaid.balance, repaid.owed) == (5, 0)
    await clean(database_url)


async def test_closing_in_any_order_gives_the_same_cash(desk: Desk, ledger: LedgerService) -> None:
    first, second = await desk.account("A", "10"), await desk.account("B", "10")
    results = []
    for account, prices in ((first, ("70", "150")), (second, ("150", "70"))):
        await desk.buy(account.id, "2", "100")
        for price in prices:
            await desk.trade_at(account.id, OrderSide.SELL, "1", price, reduce_only=True, action="CLOSE")
        found = ledger.account(account.id)
        assert found is not None
        results.append(found.cash)
    assert results == [30, 30]


async def test_a_transfer_to_the_house_has_two_legs(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account("A", "100")
    await desk.buy(account.id, "3", "100")
    position = ledger.open_position(account.id, BTC)
    assert position is not None
    wallet = ledger.derived_wallet()
    part = await ledger.transfer_to_house(
        position.id, Decimal(1), Price(Decimal(90)), HouseLineKind.NETTING_DIFFERENCE, "DESYNC_CLOSE"
    )
    assert [event.type for event in part.events] == ["position_reduced", "position_updated"]
    assert part.house == (HousePosition(BTC, Decimal(1), Decimal(90)),)
    rest = await ledger.transfer_to_house(
        position.id, Decimal(50), Price(Decimal(80)), HouseLineKind.DUST, "CLOSE"
    )
    assert rest.positions[0].status is PositionStatus.CLOSED
    assert (rest.trades[0].quantity, rest.trades[0].exchange_order_id, rest.trades[0].fee) == (2, None, 0)
    assert balance(ledger, account.id) == 50
    assert ledger.house_positions() == [HousePosition(BTC, Decimal(3), Decimal(250))]
    assert (ledger.expected_net(BTC), ledger.derived_wallet()) == (3, wallet)
    reasons = [log.reason for log in await ledger.queries.balance_logs(account.id, 5)]
    assert sorted(reasons) == ["CLOSE", "DEPOSIT", "DESYNC_CLOSE"]  # the action, ledger spec 5.8
    with pytest.raises(PositionNotOpenError):
        await ledger.transfer_to_house(
            position.id, Decimal(1), Price(Decimal(1)), HouseLineKind.DUST, "CLOSE"
        )
    await clean(database_url)


async def test_executions_that_were_asked_for_leave_the_gap_open_and_still_book_once(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "2")
    asked = replace(desk.fill(order, "100", "1", trade=50), source=FillSource.QUERY)
    await desk.book(asked)
    assert ledger.last_trade_id(BTC) == 0
    await ledger.close()
    again = await opened(database_url)
    streamed = replace(asked, source=FillSource.STREAM)
    assert (await again.book_fill(streamed, money("0"))).duplicate
    assert again.expected_net(BTC) == 1
    assert not (await again.book_fill(desk.fill(order, "100", "1", trade=51), money("0"))).duplicate
    await again.close()
    await clean(database_url)


async def test_fees_on_opening_can_be_left_to_the_house(database_url: str) -> None:
    ledger = await opened(database_url, charge_open_fees=False)
    await ledger.adopt_wallet(money("1000"), "epoch-1")
    desk = Desk(ledger)
    account = await desk.account("A", "100")
    booked = await desk.buy(account.id, "1", "100", "0.05")
    assert balance(ledger, account.id) == 100
    assert booked.committed.trades[0].fee == Decimal("0.05")
    assert ledger.house_cash() == Decimal("899.95")
    await clean(database_url)
    await ledger.close()


async def test_fills_of_many_partial_executions_keep_money_exact(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account("A", "1000")
    wallet = ledger.derived_wallet()
    for price in ("33.33", "66.67", "41.11"):
        await desk.buy(account.id, "0.007", price, "0.00013")
    results = [
        await desk.trade_at(
            account.id, OrderSide.SELL, "0.007", price, "0.0002", reduce_only=True, action="CLOSE"
        )
        for price in ("50.01", "49.99", "12.34")
    ]
    spent = Decimal("0.007") * (Decimal("33.33") + Decimal("66.67") + Decimal("41.11"))
    earned = Decimal("0.007") * (Decimal("50.01") + Decimal("49.99") + Decimal("12.34"))
    fees = 3 * Decimal("0.00013") + 3 * Decimal("0.0002")
    assert balance(ledger, account.id) == 1000 + earned - spent - fees
    assert ledger.derived_wallet() == wallet + earned - spent - fees
    assert results[-1].committed.positions[0].status is PositionStatus.CLOSED
    await clean(database_url)


async def test_a_fill_for_an_account_that_was_closed_is_booked_and_stays_under_control(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    """An order was proved absent, its account closed, and then it turns out to have executed."""
    account = await desk.account("gone", "100")
    order = await desk.order(account.id, OrderSide.BUY, "0.5", acknowledge=False)
    await ledger.record_not_executed(order.client_order_id, "proved absent")
    await ledger.close_account(account.id, ACTOR)
    booked = await desk.book(desk.fill(order, "100"), "0.02")
    assert not booked.duplicate
    position = ledger.open_position(account.id, BTC)
    assert position is not None
    assert position.quantity == Decimal("0.5")
    after = ledger.account(account.id)
    assert after is not None
    assert (after.balance, after.owed, after.status) == (0, Decimal("0.02"), AccountStatus.FROZEN)
    await desk.trade_at(account.id, OrderSide.SELL, "0.5", "104", reduce_only=True, action="CLOSE")
    after = ledger.account(account.id)
    assert after is not None
    assert (after.balance, after.owed) == (Decimal("1.98"), 0)
    report = await audit(database_url)
    assert report.passed, "\n".join(report.lines())
