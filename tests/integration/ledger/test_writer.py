"""The writer: groups, leases, foreign writes, failed and unknown commits; book and rows stay equal."""

import asyncio
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from pms.ledger.api import Committed
from pms.ledger.audit import audit
from pms.ledger.databases import open_store, sqlite_path
from pms.ledger.errors import (
    CommitUnknownError,
    DatabaseFullError,
    ExternalWriteError,
    FenceLostError,
    LeaseHeldError,
    LeaseRequiredError,
    LedgerClosedError,
    LedgerError,
)
from pms.ledger.ledger import LedgerService, open_ledger
from pms.ledger.load import load_book
from pms.ledger.plan import Settings
from pms.ledger.store_sqlite import SqliteStore
from pms.model.ids import SubAccountId
from pms.model.order import OrderSide
from tests.support.ledger import (
    ACTOR,
    BTC,
    EXCHANGE,
    Desk,
    ManualClock,
    SeededIds,
    liquidation_price,
    money,
    opened,
    sqlite_url,
)
from tests.support.lossy_store import LossyStore


async def same_as_database(ledger: LedgerService) -> None:
    """The book in memory is what a fresh load gives."""
    loaded = (await load_book(ledger.store, EXCHANGE)).book
    assert {account.id: account for account in ledger.accounts()} == {
        record.account.id: record.account for record in loaded.accounts.values()
    }
    assert {one.id: (one.quantity, one.cost, one.revision) for one in ledger.open_positions()} == {
        one.id: (one.quantity, one.cost, one.revision) for one in loaded.positions.values()
    }
    assert ledger.open_orders() == sorted(
        (record.order for record in loaded.orders.values()), key=lambda order: order.sequence
    )
    assert ledger.house_cash() == loaded.house_cash_total()
    assert ledger.derived_wallet() == loaded.derived_wallet()


async def test_concurrent_operations_share_commits_in_order(desk: Desk, ledger: LedgerService) -> None:
    accounts = [await desk.account(str(number)) for number in range(10)]
    heard: list[Committed] = []
    ledger.on_commit(heard.append)
    before = (await ledger.store.fetch("SELECT count(*) AS n FROM pms_commit_links"))[0]["n"]
    await asyncio.gather(*(desk.buy(account.id, "1", "100") for account in accounts))
    after = (await ledger.store.fetch("SELECT count(*) AS n FROM pms_commit_links"))[0]["n"]
    assert int(str(after)) - int(str(before)) <= 6  # thirty operations
    assert ledger.expected_net(BTC) == 10
    nets = [c.expected_net[BTC] for c in heard if c.expected_net and c.trades]
    assert nets == [Decimal(number) for number in range(1, 11)]
    await same_as_database(ledger)


async def test_one_refusal_in_a_group_does_not_touch_the_others(desk: Desk, ledger: LedgerService) -> None:
    account = await desk.account("A", "100")
    results = await asyncio.gather(
        ledger.withdraw(account.id, money("60"), ACTOR),
        ledger.withdraw(account.id, money("60"), ACTOR),
        ledger.withdraw(account.id, money("40"), ACTOR),
        return_exceptions=True,
    )
    assert [isinstance(result, LedgerError) for result in results] == [False, True, False]
    found = ledger.account(account.id)
    assert found is not None
    assert found.balance == 0
    await same_as_database(ledger)


async def test_the_same_fill_twice_in_a_group_books_once(desk: Desk, ledger: LedgerService) -> None:
    account = await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "1")
    fill = desk.fill(order, "100")
    results = await asyncio.gather(*(desk.book(fill) for _ in range(3)))
    assert sorted(result.duplicate for result in results) == [False, True, True]
    assert ledger.expected_net(BTC) == 1


async def test_listeners_hear_before_the_caller_and_cannot_break_a_commit(
    desk: Desk, ledger: LedgerService
) -> None:
    order: list[str] = []

    def broken(committed: Committed) -> None:
        order.append("listener")
        raise RuntimeError("a fault of the listener")

    ledger.on_commit(broken)
    account = await desk.account()
    order.append("caller")
    assert order == ["listener", "caller"]
    assert ledger.account(account.id) is not None


async def test_a_cancelled_caller_leaves_book_and_database_equal(desk: Desk, ledger: LedgerService) -> None:
    account = await desk.account("A", "100")
    task = asyncio.create_task(ledger.withdraw(account.id, money("10"), ACTOR))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ledger.deposit(account.id, money("1"), ACTOR)
    await same_as_database(ledger)


async def test_a_closed_ledger_and_one_without_lease_refuse(database_url: str) -> None:
    ledger = await open_ledger(database_url, EXCHANGE, ManualClock(), SeededIds(), liquidation_price)
    with pytest.raises(LeaseRequiredError):
        await ledger.adopt_wallet(money("1"), "e")
    await ledger.take_lease("engine", 1000)
    await ledger.adopt_wallet(money("1"), "e")
    await ledger.release_lease()
    with pytest.raises(LeaseRequiredError):
        await ledger.adopt_wallet(money("1"), "e")
    await ledger.close()
    ledger.fence = type(ledger.fence)(1)
    with pytest.raises(LedgerClosedError):
        await ledger.adopt_wallet(money("1"), "e")


async def test_leases(database_url: str) -> None:
    clock = ManualClock()
    first = await opened(database_url, owner="one", clock=clock)
    second = await open_ledger(database_url, EXCHANGE, clock, SeededIds(9), liquidation_price)
    with pytest.raises(LeaseHeldError, match="'one'"):
        await second.take_lease("two", 1000)
    assert await first.take_lease("one", 60_000) == first.fence == 1
    clock.advance(60_001)
    assert await second.take_lease("two", 60_000) == 2
    with pytest.raises(FenceLostError):
        await first.adopt_wallet(money("1"), "e")
    with pytest.raises(LeaseHeldError):
        await first.take_lease("one", 60_000)
    await second.adopt_wallet(money("1"), "e")
    assert first.house_cash() == 0
    await second.release_lease()
    third = await opened(database_url, owner="three", clock=clock)
    assert third.fence == 3
    assert third.house_cash() == 1
    for ledger in (first, second, third):
        await ledger.close()


async def test_a_foreign_change_is_read_again_and_the_operation_retried(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account, other = await desk.account(), await desk.account("B")
    stranger = await open_store(database_url)
    await stranger.write(
        [("UPDATE pms_account_exact SET revision = 40 WHERE sub_account_id = ?", (account.id,))]
    )
    await asyncio.gather(
        ledger.deposit(account.id, money("1"), ACTOR),
        ledger.deposit(other.id, money("2"), ACTOR),
    )
    await same_as_database(ledger)
    await stranger.close()


async def test_a_position_that_somebody_else_closed_fails_that_caller_only(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account, other = await desk.account(), await desk.account("B")
    await desk.buy(account.id, "1", "100")
    stranger = await open_store(database_url)
    await stranger.write([("UPDATE virtual_positions SET status = 'CLOSED'", ())])
    results = await asyncio.gather(
        desk.sell(account.id, "1", "100"), ledger.deposit(other.id, money("2"), ACTOR), return_exceptions=True
    )
    assert isinstance(results[0], ExternalWriteError)
    assert not isinstance(results[1], BaseException)
    await same_as_database(ledger)
    await ledger.close()
    again = await opened(database_url)
    notes = [row.after for row in await again.queries.actions(5) if row.action == "database.external_write"]
    assert len(notes) == 1
    await again.close()
    await stranger.close()


async def test_a_full_disk_changes_nothing_and_later_works(tmp_path: Path, sqlite_template: Path) -> None:
    ledger = await opened(sqlite_url(tmp_path, sqlite_template))
    await ledger.adopt_wallet(money("100000"), "e")
    desk = Desk(ledger)
    account = await desk.account("A", "100")
    writer: sqlite3.Connection = ledger.store._writer  # type: ignore[attr-defined]
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages}")
    failures = 0
    for _ in range(200):
        try:
            await desk.order(account.id, OrderSide.BUY, "1", acknowledge=False)
        except DatabaseFullError:
            failures += 1
            break
    assert failures == 1
    await same_as_database(ledger)
    writer.execute("PRAGMA max_page_count = 1000000")
    await desk.buy(account.id, "1", "100")
    await same_as_database(ledger)
    await ledger.close()
    report = await audit(sqlite_url(tmp_path))
    assert report.passed, report.lines()


async def lossy(url: str) -> tuple[LedgerService, LossyStore, SubAccountId]:
    store = LossyStore(await open_store(url))
    loaded = await load_book(store, EXCHANGE)
    settings = Settings(EXCHANGE, liquidation_price)
    ledger = LedgerService(store, settings, ManualClock(), SeededIds(), loaded)
    await ledger.take_lease("engine", 60_000)
    await ledger.adopt_wallet(money("1000"), "e")
    account = await Desk(ledger).account("A", "100")
    return ledger, store, account.id


@pytest.mark.parametrize("away", [0, 3])
async def test_a_commit_that_happened_without_an_answer_is_success(database_url: str, away: int) -> None:
    ledger, store, account = await lossy(database_url)
    store.lose, store.away = "after", away
    assert (await ledger.withdraw(account, money("10"), ACTOR)).balance == 90
    assert (await ledger.withdraw(account, money("10"), ACTOR)).balance == 80
    await same_as_database(ledger)
    await ledger.close()


async def test_a_commit_that_did_not_happen_is_failure(database_url: str) -> None:
    ledger, store, account = await lossy(database_url)
    store.lose = "before"
    with pytest.raises(LedgerError, match="nothing was changed"):
        await ledger.withdraw(account, money("10"), ACTOR)
    assert (await ledger.withdraw(account, money("10"), ACTOR)).balance == 90
    await same_as_database(ledger)
    await ledger.close()


@pytest.mark.parametrize(("lose", "expected"), [("after", 80), ("before", 90)])
async def test_an_outcome_that_stays_unknown_is_read_before_the_next_operation(
    database_url: str, lose: str, expected: int
) -> None:
    ledger, store, account = await lossy(database_url)
    store.lose, store.away = lose, 6
    with pytest.raises(CommitUnknownError):
        await ledger.withdraw(account, money("10"), ACTOR)
    assert (await ledger.withdraw(account, money("10"), ACTOR)).balance == expected
    await same_as_database(ledger)
    await ledger.close()


async def test_reads_go_on_while_the_ledger_writes(tmp_path: Path, sqlite_template: Path) -> None:
    url = sqlite_url(tmp_path, sqlite_template)
    ledger = await opened(url)
    await ledger.adopt_wallet(money("1000"), "e")
    account = await Desk(ledger).account("A", "100")
    with closing(sqlite3.connect(sqlite_path(url))) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT current_balance FROM sub_accounts").fetchone() == (100.0,)
        await ledger.withdraw(account.id, money("10"), ACTOR)
        assert reader.execute("SELECT current_balance FROM sub_accounts").fetchone() == (100.0,)
    assert (await audit(url)).passed
    await ledger.close()


async def test_the_file_is_written_ahead_synced_and_checked(tmp_path: Path) -> None:
    """What durability and the incumbent's foreign keys rest on (ledger spec 1.1 rule 7, decision 5)."""
    store = await SqliteStore.open(str(tmp_path / "pms.db"), read_only=False)
    try:
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        rows = await store.write([(f"PRAGMA {name}", ()) for name in pragmas])
        found = [next(iter(row[0].values())) for row in rows]
    finally:
        await store.close()
    assert found == ["wal", 2, 1, 5_000]
