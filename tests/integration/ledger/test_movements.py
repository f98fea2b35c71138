"""Positions that move inside the system: takeover, transfers, internal netting, assignment, house limits."""

import asyncio
from decimal import Decimal

import pytest

from pms.ledger.api import Actor, Committed, HouseLineKind, HousePosition
from pms.ledger.audit import audit
from pms.ledger.errors import InvalidAmountError, PositionNotOpenError, RequestError
from pms.ledger.ledger import LedgerService
from pms.model.account import AccountStatus, Position, PositionStatus, SubAccount
from pms.model.ids import PositionId, SubAccountId
from pms.model.money import Price
from pms.model.order import OrderSide
from tests.support.ledger import ACTOR, BTC, ETH, Desk, money, opened

SYSTEM = Actor("SYSTEM_LIQ", "system")
ADMIN = Actor("an-admin", "jwt")


def at(text: str) -> Price:
    return Price(Decimal(text))


def held(ledger: LedgerService, account: SubAccount) -> Position:
    position = ledger.open_position(account.id, BTC)
    assert position is not None
    return position


def cash(ledger: LedgerService, account: SubAccountId) -> Decimal:
    found = ledger.account(account)
    assert found is not None
    return found.cash


async def clean(url: str) -> None:
    report = await audit(url)
    assert report.passed, "\n".join(report.lines())


async def logs(ledger: LedgerService, account: SubAccountId) -> list[tuple[str, Decimal]]:
    rows = await ledger.queries.balance_logs(account, 20)
    return sorted((row.reason, row.change_amount) for row in rows if row.reason != "DEPOSIT")


# --- takeover (ledger spec 5.7, H41) ------------------------------------------------------------------------


async def test_a_takeover_writes_its_row_its_trade_and_both_events(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account("A", "100")
    await desk.buy(account.id, "2", "100")
    position, wallet = held(ledger, account), ledger.derived_wallet()
    done = await ledger.take_over(position.id, ADMIN, at("90"))
    assert [event.type for event in done.events] == ["position_takeover", "position_closed"]
    taken, closed = (event.data for event in done.events)
    assert taken == {
        "subAccountId": account.id,
        "positionId": position.id,
        "symbol": BTC,
        "side": "LONG",
        "adminUserId": "an-admin",
    }
    assert (closed["reason"], closed["realizedPnl"], closed["newBalance"]) == ("TAKEOVER", -20, 80)
    (trade,) = done.trades
    assert (trade.action, trade.side, trade.quantity, trade.fee) == ("TAKEOVER", OrderSide.SELL, 2, 0)
    assert (trade.exchange_order_id, trade.realized_pnl) == (None, -20)
    assert done.positions[0].status is PositionStatus.TAKEN_OVER
    rows = await ledger.store.fetch("SELECT * FROM virtual_positions")
    assert [(row["status"], bool(row["taken_over"]), row["taken_over_by"]) for row in rows] == [
        ("TAKEN_OVER", True, "an-admin")
    ]
    assert rows[0]["taken_over_at"] is not None
    assert rows[0]["taken_over_at"] == rows[0]["closed_at"]
    assert rows[0]["realized_pnl"] == -20
    assert await logs(ledger, account.id) == [("ADMIN_TAKEOVER", -20)]
    assert done.house == (HousePosition(BTC, Decimal(2), Decimal(180)),)
    assert (ledger.expected_net(BTC), ledger.derived_wallet()) == (2, wallet)
    actions = await ledger.queries.actions(5, position.id)
    assert [(row.actor, row.action) for row in actions] == [("an-admin", "position.takeover")]
    with pytest.raises(PositionNotOpenError):
        await ledger.take_over(position.id, ADMIN, at("90"))
    await clean(database_url)


async def test_a_part_that_is_taken_over_leaves_the_row_open(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account("A", "100")
    await desk.sell(account.id, "3", "100")
    done = await ledger.take_over(held(ledger, account).id, SYSTEM, at("110"), Decimal(1))
    assert [event.type for event in done.events] == ["position_reduced", "position_updated"]
    assert (held(ledger, account).quantity, held(ledger, account).status) == (2, PositionStatus.OPEN)
    rows = await ledger.store.fetch("SELECT taken_over FROM virtual_positions")
    assert not rows[0]["taken_over"]
    assert await logs(ledger, account.id) == [("ADMIN_TAKEOVER", -10)]
    assert ledger.house_positions() == [HousePosition(BTC, Decimal(-1), Decimal(-110))]
    await clean(database_url)


# --- repairs by name: running one twice books once ----------------------------------------------------------


@pytest.mark.parametrize("movement", ["transfer", "takeover", "netting", "assignment"])
async def test_a_movement_with_a_reference_is_booked_once_also_by_a_successor(
    movement: str, desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account, other = await desk.account("A"), await desk.account("B")
    await desk.buy(account.id, "2", "100")
    await desk.sell(other.id, "2", "100")
    await desk.trade_at(None, OrderSide.BUY, "2", "100")
    position, against = held(ledger, account).id, held(ledger, other).id

    async def run(service: LedgerService) -> Committed:
        match movement:
            case "transfer":
                return await service.transfer_to_house(
                    position, Decimal(2), at("95"), HouseLineKind.NETTING_DIFFERENCE, "DESYNC_CLOSE", "r-1"
                )
            case "takeover":
                return await service.take_over(position, SYSTEM, at("95"), reference="r-1")
            case "netting":
                both = [(position, Decimal(1)), (against, Decimal(1))]
                return await service.net_internally(both, at("95"), "CLOSE", "r-1")
            case _:
                return await service.assign_from_house(
                    BTC, account.id, Decimal(1), at("95"), Decimal(5), ADMIN, "r-1"
                )

    assert (await run(ledger)).trades
    worth = cash(ledger, account.id)
    assert await run(ledger) == Committed()
    await ledger.close()
    again = await opened(database_url, seed=9)
    assert await run(again) == Committed()
    assert cash(again, account.id) == worth
    await again.close()
    await clean(database_url)


async def test_two_runs_of_one_reference_at_once_book_once(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account("A")
    await desk.buy(account.id, "2", "100")
    position = held(ledger, account).id

    async def run() -> Committed:
        return await ledger.transfer_to_house(
            position, Decimal(1), at("90"), HouseLineKind.DUST, "RECONCILE", "gap-7"
        )

    results = await asyncio.gather(*(run() for _ in range(5)))
    assert [bool(result.trades) for result in results] == [True, False, False, False, False]
    assert held(ledger, account).quantity == 1
    await clean(database_url)


# --- internal netting (decision 13) -------------------------------------------------------------------------


async def test_closes_of_both_sides_cancel_at_one_price_without_the_house(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    long, longer, short = [await desk.account(name, "1000") for name in ("L", "M", "S")]
    await desk.buy(long.id, "2", "100")
    await desk.buy(longer.id, "3", "120")
    await desk.sell(short.id, "4", "110")
    wallet, net = ledger.derived_wallet(), ledger.expected_net(BTC)
    closes = [(held(ledger, account).id, held(ledger, account).quantity) for account in (long, longer, short)]
    done = await ledger.net_internally(closes, at("115"), "CLOSE")
    assert [(trade.sub_account_id, trade.quantity, trade.realized_pnl) for trade in done.trades] == [
        (long.id, 2, 30),
        (longer.id, 2, -10),
        (short.id, 4, -20),
    ]
    assert {trade.fee for trade in done.trades} == {Decimal(0)}
    assert (held(ledger, longer).quantity, held(ledger, longer).cost) == (1, 120)
    assert ledger.open_position(short.id, BTC) is None
    assert (done.house, ledger.house_positions()) == ((), [])
    assert (ledger.expected_net(BTC), ledger.derived_wallet()) == (net, wallet)
    fills = await ledger.store.fetch("SELECT kind, quantity FROM pms_fills WHERE trade_id = 0")
    assert [(row["kind"], Decimal(str(row["quantity"]))) for row in fills] == [("CROSS", 4)]
    await clean(database_url)


async def test_netting_changes_nothing_where_it_cannot_be_done(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    long, short = await desk.account("L"), await desk.account("S")
    await desk.buy(long.id, "2", "100")
    await desk.sell(short.id, "1", "100")
    await desk.trade_at(short.id, OrderSide.SELL, "1", "10", symbol=ETH)
    other = ledger.open_position(short.id, ETH)
    assert other is not None
    one = (held(ledger, long).id, Decimal(1))
    assert (await ledger.net_internally([one], at("100"), "CLOSE")).trades == ()
    assert (await ledger.net_internally([], at("100"), "CLOSE")).trades == ()
    with pytest.raises(PositionNotOpenError):
        await ledger.net_internally([one, (PositionId("nobody"), Decimal(1))], at("100"), "CLOSE")
    with pytest.raises(RequestError, match="within one symbol"):
        await ledger.net_internally([one, (other.id, Decimal(1))], at("100"), "CLOSE")
    for quantity, price in (("0", "100"), ("NaN", "100"), ("1", "0"), ("1", "Infinity")):
        with pytest.raises(InvalidAmountError):
            await ledger.net_internally([(one[0], Decimal(quantity))], at(price), "CLOSE")
    # Twice the same position counts as its sum, and never as more than it holds.
    done = await ledger.net_internally([one, one, one, (held(ledger, short).id, Decimal(9))], at("100"), "X")
    assert sum(trade.quantity for trade in done.trades) == 2
    await clean(database_url)


# --- assignment and limits (decision 6) ---------------------------------------------------------------------


async def test_an_assignment_reduces_first_and_opens_with_the_rest(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account("A", "1000")
    await desk.trade_at(None, OrderSide.BUY, "5", "100")
    await desk.sell(account.id, "1", "120")
    wallet, net = ledger.derived_wallet(), ledger.expected_net(BTC)
    done = await ledger.assign_from_house(BTC, account.id, Decimal(3), at("110"), Decimal(4), ADMIN)
    assert [(trade.action, trade.quantity, trade.realized_pnl) for trade in done.trades] == [
        ("ASSIGN", 1, 10),
        ("OPEN", 2, None),
    ]
    assert (held(ledger, account).quantity, held(ledger, account).margin) == (2, 55)
    assert ledger.house_positions() == [HousePosition(BTC, Decimal(2), Decimal(200))]
    kinds = await ledger.store.fetch("SELECT cash FROM pms_house_lines WHERE kind = 'ASSIGNMENT'")
    assert [Decimal(str(row["cash"])) for row in kinds] == [30]
    assert (ledger.expected_net(BTC), ledger.derived_wallet()) == (net, wallet)
    await clean(database_url)


async def test_an_assignment_is_refused_beyond_the_house_or_into_a_frozen_account(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account("A", "1000")
    await desk.trade_at(None, OrderSide.SELL, "1", "100")
    for quantity, leverage, error in (("2", "5", RequestError), ("1", "0", InvalidAmountError)):
        with pytest.raises(error):
            await ledger.assign_from_house(
                BTC, account.id, Decimal(quantity), at("100"), Decimal(leverage), ADMIN
            )
    await ledger.set_status(account.id, AccountStatus.FROZEN, ACTOR)
    with pytest.raises(RequestError, match="FROZEN"):
        await ledger.assign_from_house(BTC, account.id, Decimal(1), at("100"), Decimal(5), ADMIN)
    assert ledger.house_positions() == [HousePosition(BTC, Decimal(-1), Decimal(-100))]
    await clean(database_url)


async def test_limits_of_the_house_are_kept_by_symbol_and_for_all_others(
    ledger: LedgerService, database_url: str
) -> None:
    assert ledger.house_limit(BTC) is None
    await ledger.set_house_limit(None, money("500"), ACTOR)
    await ledger.set_house_limit(BTC, money("1000"), ACTOR)
    assert (ledger.house_limit(BTC), ledger.house_limit(ETH)) == (1000, 500)
    await ledger.set_house_limit(BTC, None, ACTOR)
    assert ledger.house_limits() == {None: 500}
    assert ledger.house_limit(BTC) == 500
    with pytest.raises(InvalidAmountError):
        await ledger.set_house_limit(BTC, money("-1"), ACTOR)
    await ledger.close()
    again = await opened(database_url)
    assert again.house_limits() == {None: 500}
    assert [row.action for row in await again.queries.actions(5, BTC)] == ["house.limit", "house.limit"]
    await again.close()
    await clean(database_url)
