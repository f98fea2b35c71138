"""The database times out, deadlocks, fails to serialise, is full or locked in the middle of booking, under
load: every acknowledged operation is in the books once, every other one not at all.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from pms.ledger.audit import audit
from pms.ledger.databases import open_store
from pms.ledger.errors import DatabaseFullError, LedgerError
from pms.ledger.ledger import LedgerService
from pms.model.order import OrderSide
from tests.integration.ledger.conftest import emptied_postgres
from tests.integration.ledger.test_writer import same_as_database
from tests.support.ledger import ACTOR, Desk, money, opened, sqlite_url
from tests.support.servers import Servers
from tests.support.waiting import until

GIVEN_UP = {
    "deadlock": "40P01",
    "serialisation": "40001",
    "lock not granted": "55P03",
    "statement timed out": "57014",
}
REFUSED = {"disk full": "53100", "out of memory": "53200"}

_TRIGGER = """
CREATE SEQUENCE pms_test_faults;
CREATE FUNCTION pms_test_fault() RETURNS trigger AS $$
BEGIN
    IF nextval('pms_test_faults') % 7 = 0 THEN
        RAISE EXCEPTION 'a fault of the test' USING ERRCODE = '{code}';
    END IF;
    RETURN NEW;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER pms_test_fault BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION pms_test_fault();
"""
_UNDO = "DROP FUNCTION IF EXISTS pms_test_fault CASCADE; DROP SEQUENCE IF EXISTS pms_test_faults"


@pytest.fixture
async def postgres(servers: Servers) -> AsyncIterator[str]:
    url = await emptied_postgres(servers)
    yield url
    stranger = await asyncpg.connect(url)
    await stranger.execute(_UNDO)
    await stranger.close()


async def load(ledger: LedgerService, desk: Desk) -> tuple[int, int]:
    """Four traders at once: buys, partial sells, deposits. Returns how many operations succeeded and
    failed."""
    done = failed = 0
    accounts = [await desk.account(f"T{number}") for number in range(4)]

    async def attempt(work: object) -> None:
        nonlocal done, failed
        try:
            await work  # type: ignore[misc]
            done += 1
        except LedgerError:
            failed += 1

    async def trader(number: int) -> None:
        account = accounts[number]
        for turn in range(8):
            side = OrderSide.SELL if turn % 3 == 2 else OrderSide.BUY
            await attempt(desk.trade_at(account.id, side, "0.3", str(100 + turn), "0.01"))
            await attempt(ledger.deposit(account.id, money("1"), ACTOR))

    async with asyncio.TaskGroup() as tasks:
        for number in range(4):
            tasks.create_task(trader(number))
    return done, failed


async def waits_for_a_lock(stranger: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Return once another connection to the database waits for a lock."""
    for _ in range(1_000):
        if await stranger.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the ledger never waited for the stranger's lock")


@pytest.mark.postgres
@pytest.mark.parametrize("code", GIVEN_UP.values(), ids=GIVEN_UP.keys())
async def test_what_the_database_gives_up_is_tried_again(postgres: str, code: str) -> None:
    ledger = await opened(postgres)
    await ledger.adopt_wallet(money("100000"), "e")
    stranger = await asyncpg.connect(postgres)
    await stranger.execute(_TRIGGER.format(code=code, table="balance_logs"))
    await stranger.close()
    done, failed = await load(ledger, Desk(ledger))
    assert (done, failed) == (64, 0)
    assert ledger.statistics().given_up > 0
    await same_as_database(ledger)
    await ledger.close()
    report = await audit(postgres)
    assert report.passed, "\n".join(report.lines())


@pytest.mark.postgres
@pytest.mark.parametrize("code", REFUSED.values(), ids=REFUSED.keys())
async def test_what_the_database_refuses_fails_whole_and_alone(postgres: str, code: str) -> None:
    ledger = await opened(postgres)
    await ledger.adopt_wallet(money("100000"), "e")
    stranger = await asyncpg.connect(postgres)
    await stranger.execute(_TRIGGER.format(code=code, table="trade_executions"))
    done, failed = await load(ledger, Desk(ledger))
    assert done > 0
    assert failed > 0
    await same_as_database(ledger)
    await stranger.execute(_UNDO)
    await stranger.close()
    account = ledger.accounts()[0]
    await ledger.deposit(account.id, money("1"), ACTOR)
    await same_as_database(ledger)
    await ledger.close()
    report = await audit(postgres)
    assert report.passed, "\n".join(report.lines())


@pytest.mark.postgres
async def test_a_real_deadlock_with_a_stranger_costs_nothing(postgres: str) -> None:
    """The stranger holds a row that the ledger wants next, and wants one that the ledger holds."""
    ledger = await opened(postgres)
    await ledger.adopt_wallet(money("100000"), "e")
    account = await Desk(ledger).account()
    stranger = await asyncpg.connect(postgres)
    await stranger.execute("SET deadlock_timeout = '20s'")  # the ledger's connection is the one given up
    transaction = stranger.transaction()
    await transaction.start()
    await stranger.execute("UPDATE pms_account_exact SET revision = revision")
    deposit = asyncio.create_task(ledger.deposit(account.id, money("1"), ACTOR))
    await waits_for_a_lock(stranger)
    await stranger.execute("UPDATE pms_leases SET fence = fence")
    await transaction.commit()
    await stranger.close()
    assert (await deposit).balance == 1001
    assert ledger.statistics().given_up >= 1
    await same_as_database(ledger)
    await ledger.close()
    assert (await audit(postgres)).passed


async def test_a_file_that_another_program_holds_is_waited_for(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pms.ledger.store_sqlite.BUSY_TIMEOUT_MS", 50)
    url = sqlite_url(tmp_path, sqlite_template)
    ledger = await opened(url)
    await ledger.adopt_wallet(money("100000"), "e")
    account = await Desk(ledger).account()
    stranger = sqlite3.connect(tmp_path / "pms.db", isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    deposit = asyncio.create_task(ledger.deposit(account.id, money("1"), ACTOR))
    await until(lambda: ledger.statistics().given_up > 0, "the first refusal", 10)
    stranger.execute("ROLLBACK")
    assert (await deposit).balance == 1001
    await same_as_database(ledger)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match="locked by another program"):
        await ledger.deposit(account.id, money("1"), ACTOR)
    stranger.execute("ROLLBACK")
    await same_as_database(ledger)
    await ledger.close()
    assert (await audit(url)).passed


async def test_a_disk_that_fills_up_under_load_costs_what_it_refused_and_nothing_else(
    tmp_path: Path, sqlite_template: Path
) -> None:
    url = sqlite_url(tmp_path, sqlite_template)
    ledger = await opened(url)
    await ledger.adopt_wallet(money("100000"), "e")
    writer: sqlite3.Connection = ledger.store._writer  # type: ignore[attr-defined]
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages + 8}")
    done, failed = await load(ledger, Desk(ledger))
    assert done > 0
    assert failed > 0
    await same_as_database(ledger)
    account = ledger.accounts()[0]
    outcomes = await asyncio.gather(
        *(ledger.deposit(account.id, money("1"), ACTOR) for _ in range(400)), return_exceptions=True
    )
    assert any(isinstance(outcome, DatabaseFullError) for outcome in outcomes)
    writer.execute("PRAGMA max_page_count = 1000000")
    await load(ledger, Desk(ledger, trade=1_000))
    await same_as_database(ledger)
    await ledger.close()
    report = await audit(url)
    assert report.passed, "\n".join(report.lines())


async def test_two_writers_of_one_fence_cannot_fork_the_chain(database_url: str) -> None:
    """Even a forged fence makes no second link of one number: the later writer reads what it missed first."""
    first = await opened(database_url)
    await first.adopt_wallet(money("100000"), "e")
    account = await Desk(first).account()
    second = await opened(database_url, owner="engine", seed=8)
    first.fence = second.fence  # a forgery: the lease is the second one's
    results = await asyncio.gather(
        first.deposit(account.id, money("1"), ACTOR),
        second.deposit(account.id, money("2"), ACTOR),
        return_exceptions=True,
    )
    assert not [result for result in results if isinstance(result, BaseException)]
    store = await open_store(database_url)
    links = await store.fetch("SELECT link, previous_hash, hash FROM pms_commit_links ORDER BY link")
    await store.close()
    assert [row["link"] for row in links] == list(range(1, len(links) + 1))
    assert [row["previous_hash"] for row in links[1:]] == [row["hash"] for row in links[:-1]]
    await first.deposit(account.id, money("4"), ACTOR)
    await same_as_database(first)
    found = first.account(account.id)
    assert found is not None
    assert found.balance == 1007
    await first.close()
    await second.close()
    assert (await audit(database_url)).passed
