"""A database that goes away: what was committed meanwhile is heard of, and the next operation works."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import asyncpg
import pytest

from pms.ledger.api import Committed
from pms.ledger.audit import audit
from pms.ledger.databases import open_store
from pms.ledger.errors import CommitUnknownError, DatabaseUnavailableError, LedgerError, UnfitValueError
from pms.ledger.ledger import LedgerService
from pms.ledger.load import load_book
from pms.ledger.plan import Settings
from pms.ledger.statements import Batch
from pms.ledger.store import FenceGuard
from pms.ledger.store_postgres import PostgresStore
from pms.model.account import PositionStatus, RiskRules
from pms.model.order import OrderSide, OrderState
from pms.model.restriction import Restriction
from tests.integration.ledger.conftest import emptied_postgres
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
)
from tests.support.servers import Servers
from tests.support.waiting import until


class _Losing:
    """Wraps a store's `commit`: the next one happens, but its answer is lost and nobody can be asked for a
    while."""

    def __init__(self, ledger: LedgerService, monkeypatch: pytest.MonkeyPatch) -> None:
        self._store, self._patch = ledger.store, monkeypatch
        self._commit, self._reconnect = ledger.store.commit, ledger.store.reconnect

    def lose(self) -> None:
        self._patch.setattr(self._store, "commit", self._lost)
        self._patch.setattr(self._store, "reconnect", self._away)

    async def _lost(self, guard: FenceGuard, group: Sequence[Batch]) -> None:
        self._patch.setattr(self._store, "commit", self._commit)
        await self._commit(guard, group)
        raise CommitUnknownError("the answer was lost")

    async def _away(self) -> None:
        raise DatabaseUnavailableError("away")


async def test_a_fill_whose_commit_got_no_answer_is_heard_of_with_the_next_operation(
    desk: Desk, ledger: LedgerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing = _Losing(ledger, monkeypatch)
    account = await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "1")
    heard: list[Committed] = []
    ledger.on_commit(heard.append)
    losing.lose()
    fill = desk.fill(order, "100")
    with pytest.raises(CommitUnknownError):
        await desk.book(fill)
    assert not heard
    await ledger.set_liquidation_mode(account.id, account.liquidation_mode, ACTOR)
    position = ledger.open_position(account.id, BTC)
    assert position is not None
    missed = heard[0]
    assert missed.positions == (position,)
    assert [(one.client_order_id, one.state) for one in missed.orders] == [
        (order.client_order_id, OrderState.FILLED)
    ]
    assert [(trade.action, trade.quantity) for trade in missed.trades] == [("OPEN", 1)]
    assert missed.expected_net == {BTC: 1}
    assert {event.type for event in missed.events} == {"position_updated", "order_filled"}
    assert (await desk.book(fill)).duplicate


async def test_a_restriction_whose_commit_got_no_answer_is_heard_of_with_the_next_operation(
    desk: Desk, ledger: LedgerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing = _Losing(ledger, monkeypatch)
    account = await desk.account()
    heard: list[Committed] = []
    ledger.on_commit(heard.append)
    losing.lose()
    with pytest.raises(CommitUnknownError):
        await ledger.set_restriction(account.id, "operator", Restriction.HALT, "stop", ACTOR)
    await ledger.set_liquidation_mode(account.id, account.liquidation_mode, ACTOR)
    assert [(one.sub_account_id, one.level) for one in heard[0].restrictions] == [
        (account.id, Restriction.HALT)
    ]
    assert [event.type for event in heard[0].events] == ["restriction_updated"]
    assert ledger.restriction_of(account.id) is Restriction.HALT


async def test_a_close_whose_commit_got_no_answer_ends_the_position_for_everybody(
    desk: Desk, ledger: LedgerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing = _Losing(ledger, monkeypatch)
    account = await desk.account()
    await desk.buy(account.id, "1", "100")
    position = ledger.open_position(account.id, BTC)
    assert position is not None
    order = await desk.order(account.id, OrderSide.SELL, "1", reduce_only=True, action="CLOSE")
    heard: list[Committed] = []
    ledger.on_commit(heard.append)
    losing.lose()
    with pytest.raises(CommitUnknownError):
        await desk.book(desk.fill(order, "110"))
    await ledger.deposit(account.id, money("1"), ACTOR)
    assert [(one.id, one.status) for one in heard[0].positions] == [(position.id, PositionStatus.CLOSED)]
    assert [one.balance for one in heard[0].accounts] == [1010]
    assert [trade.realized_pnl for trade in heard[0].trades] == [10]


async def test_limits_whose_commit_got_no_answer_are_heard_of_for_the_accounts_that_they_govern(
    desk: Desk, ledger: LedgerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing = _Losing(ledger, monkeypatch)
    account, own = await desk.account(), await desk.account("B")
    await ledger.set_rules(own.id, RiskRules(), ACTOR)
    for scope, governed in ((account.id, account.id), (None, account.id), (own.id, own.id)):
        if scope is None:
            account = await desk.account("C")
            governed = account.id
        heard: list[Committed] = []
        ledger.on_commit(heard.append)
        losing.lose()
        strict = replace(RiskRules(), liquidation_threshold=Decimal("0.5"))
        with pytest.raises(CommitUnknownError):
            await ledger.set_rules(scope, strict, ACTOR)
        await ledger.set_restriction(None, "operator", Restriction.NONE, "", ACTOR)
        assert [one.id for one in heard[0].accounts] == [governed], scope


@pytest.fixture
async def postgres(servers: Servers) -> str:
    return await emptied_postgres(servers)


async def _cut(url: str) -> None:
    """End every other connection to the database, as a restart of the server does."""
    stranger = await asyncpg.connect(url)
    await stranger.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await stranger.close()


@pytest.mark.postgres
async def test_a_restart_of_the_server_costs_one_operation_at_most(postgres: str) -> None:
    ledger = await opened(postgres)
    await ledger.adopt_wallet(money("1000"), "e")
    account = await Desk(ledger).account("A", "100")
    await _cut(postgres)
    await asyncio.sleep(0.05)
    for attempt in range(2):
        try:
            await ledger.deposit(account.id, money("1"), ACTOR)
            break
        except LedgerError:
            assert attempt == 0, "the connection is made anew"
    assert await ledger.take_lease("engine", 60_000) == ledger.fence
    assert ledger.account(account.id) is not None
    await ledger.close()
    with pytest.raises(DatabaseUnavailableError, match="closed"):
        await ledger.store.fetch("SELECT 1 AS one")
    assert (await audit(postgres)).passed


@pytest.mark.postgres
async def test_connections_that_are_cut_under_load_fail_operations_and_nothing_else(postgres: str) -> None:
    ledger = await opened(postgres)
    await ledger.adopt_wallet(money("100000"), "e")
    account = await Desk(ledger).account("A", "100")
    done = 0

    async def deposit_often() -> None:
        nonlocal done
        for _ in range(60):
            try:
                await ledger.deposit(account.id, money("1"), ACTOR)
                done += 1
            except LedgerError:
                await asyncio.sleep(0.002)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(deposit_often())
        for _ in range(12):
            await _cut(postgres)
            await asyncio.sleep(0.01)
    found = ledger.account(account.id)
    assert found is not None
    assert found.balance == 100 + done, "every success is booked, and no failure"
    assert done > 60
    await ledger.close()
    assert (await audit(postgres)).passed


@pytest.mark.postgres
async def test_a_database_that_was_away_for_long_is_found_again(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = await opened(postgres)
    await ledger.adopt_wallet(money("1000"), "e")
    account = await Desk(ledger).account("A", "100")
    store = ledger.store
    commit, connect = store.commit, asyncpg.connect

    async def lost(guard: FenceGuard, group: Sequence[Batch]) -> None:
        raise CommitUnknownError("the answer was lost")

    async def refused(*arguments: object, **options: object) -> None:
        raise ConnectionRefusedError("no server")

    monkeypatch.setattr(store, "commit", lost)
    monkeypatch.setattr(asyncpg, "connect", refused)
    with pytest.raises(CommitUnknownError):
        await ledger.deposit(account.id, money("1"), ACTOR)
    monkeypatch.setattr(store, "commit", commit)
    monkeypatch.setattr(asyncpg, "connect", connect)
    assert (await ledger.deposit(account.id, money("1"), ACTOR)).balance == 101
    await ledger.close()


@pytest.mark.postgres
async def test_a_commit_that_the_server_is_still_working_on_is_waited_for(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = await opened(postgres)
    await ledger.adopt_wallet(money("1000"), "e")
    account = await Desk(ledger).account("A", "100")
    store = ledger.store
    commit = store.commit
    stranger = await asyncpg.connect(postgres)
    late: list[asyncio.Task[None]] = []

    async def slow(guard: FenceGuard, group: Sequence[Batch]) -> None:
        """The same transaction on a connection that answers late, as a stalled server would."""
        monkeypatch.setattr(store, "commit", commit)
        transaction = stranger.transaction()
        await transaction.start()
        await stranger.fetchval("SELECT fence FROM pms_leases FOR SHARE")
        for batch in group:
            await stranger.execute(batch.sql, *(list(column) for column in zip(*batch.rows, strict=True)))

        async def end() -> None:
            await asyncio.sleep(0.3)
            await transaction.commit()

        late.append(asyncio.create_task(end()))
        raise CommitUnknownError("no answer in time")

    monkeypatch.setattr(store, "commit", slow)
    assert (await ledger.deposit(account.id, money("1"), ACTOR)).balance == 101, "it did happen"
    await asyncio.gather(*late)
    await stranger.close()
    await ledger.close()
    assert (await audit(postgres)).passed


@pytest.mark.postgres
async def test_what_the_database_cannot_hold_fails_alone(postgres: str) -> None:
    ledger = await opened(postgres)
    await ledger.adopt_wallet(money("1000"), "e")
    account = await Desk(ledger).account("A", "100")
    results = await asyncio.gather(
        ledger.rename(account.id, "zero \x00 byte", ACTOR),
        ledger.deposit(account.id, money("1"), ACTOR),
        return_exceptions=True,
    )
    assert isinstance(results[0], UnfitValueError)
    assert not isinstance(results[1], BaseException)
    found = ledger.account(account.id)
    assert found is not None
    assert (found.name, found.balance) == ("A", Decimal(101))
    await ledger.close()


@pytest.mark.postgres
async def test_a_store_that_only_reads_never_writes(postgres: str) -> None:
    store = await open_store(postgres, read_only=True)
    assert isinstance(store, PostgresStore)
    loaded = await load_book(store, EXCHANGE)
    ledger = LedgerService(store, Settings(EXCHANGE, liquidation_price), ManualClock(), SeededIds(), loaded)
    with pytest.raises(LedgerError, match="reading only"):
        await ledger.take_lease("engine", 1000)
    await store.close()


async def test_a_commit_without_an_answer_is_heard_of_even_if_nobody_asks_for_anything_more(
    ledger: LedgerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill switch on an idle engine must not wait for the next order."""
    monkeypatch.setattr("pms.ledger.writer._STALE_SECONDS_MAX", 0.05)
    losing = _Losing(ledger, monkeypatch)
    heard: list[Committed] = []
    ledger.on_commit(heard.append)
    losing.lose()
    with pytest.raises(CommitUnknownError):
        await ledger.set_restriction(None, "operator", Restriction.HALT, "the test says so", ACTOR)
    assert not heard
    await until(lambda: bool(heard), "what was committed")
    assert [entry.level for entry in heard[0].restrictions] == [Restriction.HALT]
