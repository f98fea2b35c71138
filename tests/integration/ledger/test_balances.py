"""Cash moved by hand (set, transferred, reset, closed), the liquidation fee, and what is written off."""

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from pms.ledger.api import Actor, HouseLineKind
from pms.ledger.audit import audit
from pms.ledger.errors import (
    AccountExposedError,
    HouseCapitalInsufficient,
    InsufficientBalance,
    InvalidAmountError,
)
from pms.ledger.ledger import LedgerService
from pms.model.account import AccountStatus, PositionStatus, SubAccount
from pms.model.ids import SubAccountId
from pms.model.money import Money, Price
from pms.model.order import OrderSide
from tests.integration.ledger.conftest import CAPITAL
from tests.support.ledger import ACTOR, BTC, Desk, ManualClock, money, opened

SYSTEM = Actor("SYSTEM_LIQ", "system")


async def clean(url: str) -> None:
    report = await audit(url)
    assert report.passed, "\n".join(report.lines())


def now(ledger: LedgerService, account: SubAccount | SubAccountId) -> SubAccount:
    found = ledger.account(account if isinstance(account, str) else account.id)
    assert found is not None
    return found


async def logs(ledger: LedgerService, account: SubAccount) -> list[tuple[str, Decimal, Decimal, Decimal]]:
    rows = await ledger.queries.balance_logs(account.id, 50)
    found = [(row.reason, row.balance_before, row.balance_after, row.change_amount) for row in rows]
    return [row for row in reversed(found) if row[0] != "DEPOSIT"]


class TickingClock(ManualClock):
    """Each look at it is a millisecond later, so that rows have an order."""

    def now_ms(self) -> int:
        self.advance(1)
        return super().now_ms()


@pytest.fixture
def clock() -> ManualClock:
    return TickingClock()


async def indebted(desk: Desk, name: str = "A") -> SubAccount:
    """A flat account with balance 0 that owes 40."""
    account = await desk.account(name, "10")
    await desk.buy(account.id, "1", "100")
    await desk.trade_at(account.id, OrderSide.SELL, "1", "50", reduce_only=True, action="CLOSE")
    return now(desk.ledger, account)


async def house_cash(ledger: LedgerService, kind: HouseLineKind) -> Decimal:
    rows = await ledger.store.fetch("SELECT cash FROM pms_house_lines WHERE kind = ?", kind.value)
    return sum((Decimal(str(row["cash"])) for row in rows), Decimal(0))


# --- set-balance (ledger spec 1.6) --------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "wanted", "initial"), [("100", "250", "100"), ("100", "0", "100")])
async def test_a_balance_is_set_against_the_house(
    given: str, wanted: str, initial: str, desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account("A", given)
    changed = await ledger.set_balance(account.id, money(wanted), ACTOR)
    assert (changed.balance, changed.initial_balance) == (Decimal(wanted), Decimal(initial))
    change = Decimal(wanted) - Decimal(given)
    assert await logs(ledger, account) == [("ADMIN_SET", Decimal(given), Decimal(wanted), change)]
    assert ledger.house_cash() == CAPITAL - Decimal(wanted)
    assert ledger.derived_wallet() == CAPITAL
    action = (await ledger.queries.actions(1, account.id))[0]
    assert (action.actor, action.action) == ("tester", "account.set_balance")
    await clean(database_url)


async def test_setting_the_balance_of_an_account_that_started_with_nothing_sets_its_start_too(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account("A", "0")
    changed = await ledger.set_balance(account.id, money("75"), ACTOR)
    assert (changed.balance, changed.initial_balance) == (75, 75)
    assert (await ledger.set_balance(account.id, money("80"), ACTOR)).initial_balance == 75
    await clean(database_url)


async def test_a_balance_that_is_set_repays_what_is_owed(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await indebted(desk)
    assert (account.balance, account.owed) == (0, 40)
    changed = await ledger.set_balance(account.id, money("5"), ACTOR)
    assert (changed.balance, changed.owed) == (5, 0)
    assert (await logs(ledger, account))[-1] == ("ADMIN_SET", 0, 5, 45)
    await clean(database_url)


async def test_setting_a_balance_is_refused_without_money_or_sense(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account("A", "100")
    with pytest.raises(HouseCapitalInsufficient):
        await ledger.set_balance(account.id, Money(CAPITAL + 1), ACTOR)
    for amount in ("-1", "NaN", "Infinity"):
        with pytest.raises(InvalidAmountError):
            await ledger.set_balance(account.id, money(amount), ACTOR)
    with pytest.raises(InsufficientBalance):
        await ledger.set_balance(account.id, money("20"), ACTOR, debit_max=Decimal("79.99"))
    assert await logs(ledger, account) == []
    assert (await ledger.set_balance(account.id, money("20"), ACTOR, debit_max=Decimal(80))).balance == 20
    await clean(database_url)


# --- transfer between accounts ------------------------------------------------------------------------------


async def test_a_transfer_writes_a_log_on_either_side(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    giver, taker = await desk.account("A", "100"), await desk.account("B", "1")
    house = ledger.house_cash()
    given, taken = await ledger.transfer_between(giver.id, taker.id, money("30"), ACTOR)
    assert (given.balance, taken.balance, ledger.house_cash()) == (70, 31, house)
    assert await logs(ledger, giver) == [("TRANSFER_OUT", 100, 70, -30)]
    assert await logs(ledger, taker) == [("TRANSFER_IN", 1, 31, 30)]
    for account in (giver, taker):
        assert (await ledger.queries.actions(1, account.id))[0].action == "account.transfer"
        assert (await ledger.queries.events_after(account.id, 1))[0].type == "account_updated"
    await clean(database_url)


async def test_a_transfer_repays_what_the_taker_owes(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    giver, taker = await desk.account("G", "100"), await indebted(desk)
    _, after = await ledger.transfer_between(giver.id, taker.id, money("60"), ACTOR)
    assert (after.balance, after.owed) == (20, 0)
    await clean(database_url)


async def test_a_transfer_needs_two_accounts_and_the_money(desk: Desk, ledger: LedgerService) -> None:
    giver, taker = await desk.account("A", "100"), await desk.account("B", "1")
    with pytest.raises(InsufficientBalance):
        await ledger.transfer_between(giver.id, taker.id, money("100.01"), ACTOR)
    with pytest.raises(InvalidAmountError, match="two accounts"):
        await ledger.transfer_between(giver.id, giver.id, money("1"), ACTOR)
    for amount in ("0", "-5", "NaN"):
        with pytest.raises(InvalidAmountError):
            await ledger.transfer_between(giver.id, taker.id, money(amount), ACTOR)
    assert (now(ledger, giver).balance, now(ledger, taker).balance) == (100, 1)


# --- reset and closing (H14) --------------------------------------------------------------------------------


async def test_reset_and_closing_are_refused_while_anything_is_open(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account("A", "100")
    order = await desk.order(account.id, OrderSide.BUY, "1")
    for act in (ledger.reset_account, ledger.close_account):
        with pytest.raises(AccountExposedError, match="1 live orders"):
            await act(account.id, ACTOR)
    await desk.book(desk.fill(order, "100"))
    for act in (ledger.reset_account, ledger.close_account):
        with pytest.raises(AccountExposedError, match="1 open positions"):
            await act(account.id, ACTOR)
    assert now(ledger, account).balance == 100
    await clean(database_url)


async def test_a_reset_keeps_the_history_and_starts_anew(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account("A", "100")
    await desk.buy(account.id, "1", "100")
    await desk.sell(account.id, "1", "90")
    await ledger.set_status(account.id, AccountStatus.FROZEN, ACTOR)
    after = await ledger.reset_account(account.id, ACTOR)
    assert (after.balance, after.initial_balance, after.status) == (0, 0, AccountStatus.ACTIVE)
    assert (await logs(ledger, account))[-1] == ("RESET", 90, 0, -90)
    assert len(await ledger.queries.all_trades(account.id)) == 2
    assert ledger.house_cash() == CAPITAL - 10
    # A reset of nothing writes its row all the same: statistics may start from it.
    await ledger.reset_account(account.id, ACTOR)
    assert (await logs(ledger, account))[-1] == ("RESET", 0, 0, 0)
    await clean(database_url)


async def test_a_reset_forgives_what_is_owed(desk: Desk, ledger: LedgerService, database_url: str) -> None:
    account = await indebted(desk)
    after = await ledger.reset_account(account.id, ACTOR)
    assert (after.balance, after.owed) == (0, 0)
    assert await house_cash(ledger, HouseLineKind.WRITE_OFF) == -40
    await clean(database_url)


async def test_a_closed_account_has_given_its_cash_back(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account("A", "100")
    after = await ledger.close_account(account.id, ACTOR)
    assert (after.balance, after.initial_balance, after.status) == (0, 100, AccountStatus.FROZEN)
    assert await logs(ledger, account) == [("WITHDRAWAL", 100, 0, -100)]
    assert ledger.house_cash() == CAPITAL
    await clean(database_url)


# --- the liquidation fee and the write-off ------------------------------------------------------------------


@pytest.fixture
async def charging(database_url: str) -> AsyncIterator[Desk]:
    """A ledger that charges 1 % of what is liquidated."""
    ledger = await opened(database_url, clock=TickingClock(), liquidation_fee_rate="0.01")
    await ledger.adopt_wallet(Money(CAPITAL), "epoch-1")
    yield Desk(ledger)
    await ledger.close()


@pytest.mark.parametrize(
    ("action", "reason", "quantity", "status"),
    [
        ("LIQUIDATE", "LIQUIDATION", "2", PositionStatus.LIQUIDATED),
        ("ADL_TIER2", "ADL_TIER2", "1", PositionStatus.OPEN),
        ("ADL_TIER3", "ADL_TIER3", "1", PositionStatus.OPEN),
        ("PARTIAL_LIQUIDATION", "PARTIAL_LIQUIDATION", "1", PositionStatus.OPEN),
        ("ADL_TIER2", "ADL_TIER2", "2", PositionStatus.LIQUIDATED),
    ],
)
async def test_what_is_liquidated_pays_the_insurance(
    action: str, reason: str, quantity: str, status: PositionStatus, charging: Desk, database_url: str
) -> None:
    ledger, account = charging.ledger, await charging.account("A", "100")
    await charging.buy(account.id, "2", "100")
    booked = await charging.trade_at(
        account.id, OrderSide.SELL, quantity, "90", reduce_only=True, action=action
    )
    loss, fee = 10 * Decimal(quantity), Decimal("0.9") * Decimal(quantity)
    assert set(await logs(ledger, account)) == {
        (reason, 100, 100 - loss, -loss),
        ("LIQUIDATION_FEE", 100 - loss, 100 - loss - fee, -fee),
    }
    (trade,) = booked.committed.trades
    rows = await ledger.queries.balance_logs(account.id, 2)
    assert {row.trade_id for row in rows} == {trade.id}
    # The fee is a movement of its own: neither the trade's fee nor its realised profit.
    assert (trade.action, trade.fee, trade.realized_pnl) == (action, 0, -loss)
    assert booked.committed.positions[0].status is status
    assert booked.committed.events[0].data["newBalance"] == float(100 - loss - fee)
    assert await house_cash(ledger, HouseLineKind.INSURANCE) == fee
    await clean(database_url)


async def test_the_fee_takes_what_is_there_and_is_never_owed(charging: Desk, database_url: str) -> None:
    ledger = charging.ledger
    poor, broke = await charging.account("A", "10.5"), await charging.account("B", "5")
    for account in (poor, broke):
        await charging.buy(account.id, "1", "100")
        await charging.trade_at(account.id, OrderSide.SELL, "1", "90", reduce_only=True, action="LIQUIDATE")
    assert (now(ledger, poor).balance, now(ledger, poor).owed) == (0, 0)
    assert (now(ledger, broke).balance, now(ledger, broke).owed) == (0, 5)
    assert await house_cash(ledger, HouseLineKind.INSURANCE) == Decimal("0.5")
    await clean(database_url)


async def test_who_closes_himself_or_is_taken_over_by_an_administrator_pays_no_liquidation_fee(
    charging: Desk, database_url: str
) -> None:
    ledger = charging.ledger
    for close, paid in (("CLOSE", 0), ("admin", 0), ("SYSTEM_LIQ", Decimal("0.9"))):
        account = await charging.account(close, "100")
        await charging.buy(account.id, "1", "100")
        position = ledger.open_position(account.id, BTC)
        assert position is not None
        if close == "CLOSE":
            await charging.sell(account.id, "1", "90")
        else:
            await ledger.take_over(position.id, Actor(close, "system"), Price(Decimal(90)))
        assert now(ledger, account).balance == 90 - paid
    await clean(database_url)


async def test_a_liquidated_account_owes_nothing_insurance_pays_first(
    charging: Desk, database_url: str
) -> None:
    ledger = charging.ledger
    rich = await charging.account("R", "1000")
    await charging.buy(rich.id, "1", "100")
    await charging.trade_at(rich.id, OrderSide.SELL, "1", "100", reduce_only=True, action="LIQUIDATE")
    assert await house_cash(ledger, HouseLineKind.INSURANCE) == 1
    account = await indebted(charging, "I")
    after = await ledger.mark_liquidated(account.id)
    assert (after.status, after.balance, after.owed) == (AccountStatus.LIQUIDATED, 0, 0)
    assert await house_cash(ledger, HouseLineKind.INSURANCE) == 0
    assert await house_cash(ledger, HouseLineKind.WRITE_OFF) == -39
    action = (await ledger.queries.actions(1, account.id))[0]
    assert (action.action, action.before) == (
        "account.liquidated",
        '{"balance":"0","owed":"40","status":"ACTIVE"}',
    )
    await clean(database_url)
