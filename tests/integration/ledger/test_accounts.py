"""Sub-accounts, the house's capital, rules, users, history and idempotency keys, on both databases."""

from decimal import Decimal

import pytest

from pms.ledger.api import HouseLineKind, NewAccount
from pms.ledger.audit import audit
from pms.ledger.errors import (
    AccountExposedError,
    AccountNotFoundError,
    HouseCapitalInsufficient,
    InsufficientBalance,
    InvalidAmountError,
)
from pms.ledger.ledger import LedgerService
from pms.ledger.records import HistoryFilter, Role, User, UserStatus
from pms.model.account import AccountStatus, LiquidationMode, RiskRules
from pms.model.errors import InvariantError
from pms.model.ids import SubAccountId, UserId
from pms.model.money import Money
from pms.model.order import OrderSide
from tests.integration.ledger.conftest import CAPITAL
from tests.support.ledger import ACTOR, BTC, ETH, Desk, ManualClock, SeededIds, money, opened

NOBODY = SubAccountId("00000000-0000-4000-8000-000000000000")


async def test_an_account_opens_at_zero_and_gets_a_deposit_from_the_house(
    desk: Desk, ledger: LedgerService
) -> None:
    account = await desk.account("Alpha", "250.5")
    assert (account.initial_balance, account.balance, account.owed) == (Decimal("250.5"), Decimal("250.5"), 0)
    assert ledger.house_cash() == CAPITAL - Decimal("250.5")
    logs = await ledger.queries.balance_logs(account.id, 5)
    assert [(log.balance_before, log.balance_after, log.reason) for log in logs] == [
        (0, Decimal("250.5"), "DEPOSIT")
    ]
    events = await ledger.queries.events_after(account.id, 0)
    assert events[0].data == {
        "subAccountId": account.id,
        "name": "Alpha",
        "status": "ACTIVE",
        "balance": 250.5,
    }
    actions = await ledger.queries.actions(10, account.id)
    assert [(row.actor, row.via, row.action) for row in actions] == [("tester", "cli", "account.create")]


async def test_an_empty_account_has_its_deposit_row_too(desk: Desk, ledger: LedgerService) -> None:
    account = await desk.account("Empty", "0")
    logs = await ledger.queries.balance_logs(account.id, 5)
    assert [(log.change_amount, log.reason) for log in logs] == [(0, "DEPOSIT")]


async def test_transfers_move_both_sides(desk: Desk, ledger: LedgerService, database_url: str) -> None:
    account = await desk.account("A", "100")
    assert (await ledger.deposit(account.id, money("50"), ACTOR)).balance == 150
    assert (await ledger.withdraw(account.id, money("120"), ACTOR)).balance == 30
    assert ledger.house_cash() == CAPITAL - 30
    assert ledger.derived_wallet() == CAPITAL
    report = await audit(database_url)
    assert report.passed, report.lines()


async def test_transfers_are_refused_without_money_or_sense(desk: Desk, ledger: LedgerService) -> None:
    account = await desk.account("A", "100")
    with pytest.raises(HouseCapitalInsufficient):
        await ledger.deposit(account.id, Money(CAPITAL), ACTOR)
    with pytest.raises(HouseCapitalInsufficient):
        await ledger.create_account(NewAccount("B", None, Money(CAPITAL)), ACTOR)
    with pytest.raises(InsufficientBalance):
        await ledger.withdraw(account.id, money("100.000000000000000001"), ACTOR)
    for amount in ("0", "-1", "NaN", "Infinity"):
        with pytest.raises(InvalidAmountError):
            await ledger.deposit(account.id, money(amount), ACTOR)
    with pytest.raises(AccountNotFoundError):
        await ledger.deposit(NOBODY, money("1"), ACTOR)
    assert len(ledger.accounts()) == 1
    assert len(await ledger.queries.balance_logs(account.id, 10)) == 1


async def test_status_mode_name_and_rules_are_kept(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account()
    assert ledger.rules(account.id) == RiskRules()
    await ledger.set_status(account.id, AccountStatus.FROZEN, ACTOR)
    await ledger.set_liquidation_mode(account.id, LiquidationMode.INSTANT_CLOSE, ACTOR)
    await ledger.rename(account.id, "Beta", ACTOR)
    world = RiskRules(Decimal(20), Decimal(1000), Decimal(5000), Decimal("0.8"))
    own = RiskRules(Decimal(5), Decimal(100), Decimal(500), Decimal("0.7"))
    await ledger.set_rules(None, world, ACTOR)
    assert ledger.rules(account.id) == world
    await ledger.set_rules(account.id, own, ACTOR)
    await ledger.set_rules(account.id, own, ACTOR)
    await ledger.close()
    again = await opened(database_url)
    found = again.account(account.id)
    assert found is not None
    assert (found.status, found.liquidation_mode, found.name) == (
        AccountStatus.FROZEN,
        LiquidationMode.INSTANT_CLOSE,
        "Beta",
    )
    assert again.rules(account.id) == own
    assert again.rules(NOBODY) == world
    rows = await again.directory.rules_rows()
    assert [row.sub_account_id for row in rows] == [None, account.id]
    assert len(await again.store.fetch("SELECT * FROM pms_rule_history")) == 3
    await again.close()


async def test_liquidated_needs_a_flat_account(desk: Desk, ledger: LedgerService) -> None:
    account = await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "1")
    with pytest.raises(InvariantError, match="1 live orders"):
        await ledger.mark_liquidated(account.id)
    await desk.book(desk.fill(order, "100"))
    with pytest.raises(InvariantError, match="1 open positions"):
        await ledger.mark_liquidated(account.id)
    await desk.sell(account.id, "1", "100")
    assert (await ledger.mark_liquidated(account.id)).status is AccountStatus.LIQUIDATED


async def test_only_a_flat_account_is_written_off(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account("A", "10")
    await desk.buy(account.id, "2", "100")
    await desk.trade_at(account.id, OrderSide.SELL, "1", "50", reduce_only=True, action="CLOSE")
    with pytest.raises(AccountExposedError, match="write-off"):
        await ledger.write_off(account.id, ACTOR)
    await desk.trade_at(account.id, OrderSide.SELL, "1", "50", reduce_only=True, action="CLOSE")
    house = ledger.house_cash()
    assert (await ledger.write_off(account.id, ACTOR)).owed == 0
    assert ledger.house_cash() == house - 90
    kinds = await ledger.store.fetch("SELECT kind FROM pms_house_lines WHERE reference = 'WRITE_OFF'")
    assert [row["kind"] for row in kinds] == [HouseLineKind.WRITE_OFF.value]
    report = await audit(database_url)
    assert report.passed, report.lines()


async def test_the_wallet_is_adopted_once_and_later_differences_have_their_own_line(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account()
    await desk.buy(account.id, "1", "100", "0.05")
    wallet = ledger.derived_wallet()
    assert wallet == CAPITAL - Decimal("0.05")
    await ledger.adopt_wallet(Money(wallet + Decimal("0.0000005")), "epoch-1")
    assert ledger.derived_wallet() == wallet
    await ledger.adopt_wallet(Money(wallet + 7), "epoch-1")
    kinds = await ledger.store.fetch("SELECT kind FROM pms_house_lines WHERE symbol IS NULL")
    assert [str(row["kind"]) for row in kinds].count("OPENING_DIFFERENCE") == 1
    assert ledger.derived_wallet() == wallet + 7
    report = await audit(database_url)
    assert report.passed, report.lines()


async def test_a_new_epoch_of_the_exchange_keeps_the_identities(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "1")
    fill = desk.fill(order, "100")
    await desk.book(fill)
    await ledger.adopt_wallet(money("5000"), "epoch-2")
    assert ledger.expected_net(BTC) == 0
    assert ledger.open_position(account.id, BTC) is not None
    assert ledger.derived_wallet() == 5000
    assert ledger.last_trade_id(BTC) == 0
    # The same trade number of the new epoch is another execution.
    again = await desk.order(account.id, OrderSide.BUY, "1")
    assert not (await desk.book(desk.fill(again, "100", trade=fill.trade_id))).duplicate
    report = await audit(database_url)
    assert report.passed, report.lines()


async def test_liquidation_prices_are_stored_when_they_moved_enough(
    desk: Desk, ledger: LedgerService
) -> None:
    account = await desk.account("A", "20")
    booked = await desk.buy(account.id, "1", "100")
    position = booked.committed.positions[0]
    assert position.liquidation_price > 70
    tiny = type(position.liquidation_price)(position.liquidation_price * Decimal("1.00005"))
    await ledger.update_liquidation_prices({position.id: tiny})
    assert ledger.position(position.id) == position
    await ledger.update_liquidation_prices({position.id: type(tiny)(Decimal("55.5"))})
    moved = ledger.position(position.id)
    assert moved is not None
    assert (moved.liquidation_price, moved.revision) == (Decimal("55.5"), 2)
    rows = await ledger.store.fetch("SELECT liquidation_price FROM virtual_positions")
    assert rows[0]["liquidation_price"] == 55.5


async def test_emitted_events_take_the_next_sequence(desk: Desk, ledger: LedgerService) -> None:
    account = await desk.account()
    event = await ledger.emit(account.id, "full_liquidation", {"marginRatio": 1.2, "mode": "INSTANT_CLOSE"})
    assert (event.sequence, ledger.event_sequence(account.id)) == (2, 2)
    assert event.data["subAccountId"] == account.id
    assert ledger.event_sequences() == {account.id: 2}
    assert ledger.event_epoch


async def test_history_pages(desk: Desk, ledger: LedgerService, clock: ManualClock) -> None:
    account = await desk.account("A", "10000")
    start = clock.now_ms()
    for number in range(4):
        clock.advance(1000)
        await desk.trade_at(account.id, OrderSide.BUY, "1", "100", symbol=BTC if number % 2 else ETH)
    clock.advance(1000)
    await desk.trade_at(account.id, OrderSide.SELL, "2", "110", reduce_only=True, action="CLOSE")
    everything = await ledger.queries.history(account.id, HistoryFilter(limit=2, offset=1))
    assert everything.total == 5
    assert [trade.symbol for trade in everything.trades] == [BTC, ETH]
    closes = await ledger.queries.history(account.id, HistoryFilter(limit=10, action="CLOSE"))
    assert [trade.realized_pnl for trade in closes.trades] == [20]
    reference = closes.positions[closes.trades[0].position_id or next(iter(closes.positions))]
    assert (reference.entry_price, reference.status.value) == (100, "CLOSED")
    some = HistoryFilter(limit=10, symbol=ETH, since_ms=start + 1000, until_ms=start + 3000, filled_only=True)
    assert (await ledger.queries.history(account.id, some)).total == 1
    assert [trade.action for trade in await ledger.queries.all_trades(account.id)] == [
        "OPEN",
        "OPEN",
        "ADD",
        "ADD",
        "CLOSE",
    ]
    assert (await ledger.queries.history(NOBODY, HistoryFilter(limit=1))).total == 0


async def test_users(ledger: LedgerService) -> None:
    directory = ledger.directory
    ids = SeededIds(1)
    first = User(UserId(ids.uuid()), "Ann", "$2b$10$x", Role.ADMIN, UserStatus.APPROVED, None, 1_000)
    second = User(UserId(ids.uuid()), "ann", "$2b$10$y", Role.USER, UserStatus.PENDING, None, 2_000)
    assert not await directory.has_any_user()
    assert await directory.add_user(first)
    assert await directory.add_user(second)
    assert not await directory.add_user(
        User(UserId(ids.uuid()), "Ann", "z", Role.USER, UserStatus.PENDING, None, 3)
    )
    assert [user.username for user in await directory.users()] == ["ann", "Ann"]
    assert await directory.user_named("Ann") == first
    assert await directory.user(UserId("nobody")) is None
    changed = await directory.set_user_status(second.id, UserStatus.APPROVED)
    assert changed is not None
    assert changed.status is UserStatus.APPROVED
    await directory.set_password_hash(second.id, "$2b$10$new")
    keyed = await directory.set_api_key(second.id, "sha256:abc")
    assert keyed is not None
    assert (keyed.api_key, keyed.password_hash) == ("sha256:abc", "$2b$10$new")
    assert await directory.user_with_key(["pms_plain", "sha256:abc"]) == keyed
    assert await directory.user_with_key([]) is None
    assert await directory.set_api_key(UserId("nobody"), "k") is None


async def test_idempotency_keys(ledger: LedgerService, clock: ManualClock) -> None:
    queries = ledger.queries
    assert await queries.begin_idempotent("k", "mark", clock.now_ms()) is None
    begun = await queries.begin_idempotent("k", "other", clock.now_ms())
    assert begun is not None
    assert (begun.fingerprint, begun.status) == ("mark", None)
    await queries.finish_idempotent("k", 200, '{"ok":true}')
    stored = await queries.begin_idempotent("k", "mark", clock.now_ms())
    assert stored is not None
    assert (stored.status, stored.body) == (200, '{"ok":true}')
    await queries.forget_idempotent("k")
    assert await queries.begin_idempotent("k", "mark", clock.now_ms()) is None
    clock.advance(24 * 3600 * 1000 + 1)
    assert await queries.begin_idempotent("k", "mark", clock.now_ms()) is None
