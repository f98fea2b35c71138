"""Rules over midnight and over a restart, on a clock that the test moves."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from pms.execution.holdings import Holdings
from pms.execution.prices import Prices
from pms.execution.rules import RuleWatch
from pms.ledger.api import Actor
from pms.ledger.errors import DatabaseUnavailableError
from pms.ledger.ledger import LedgerService
from pms.ledger.migrate import migrate
from pms.model.ids import SubAccountId
from pms.model.order import OrderSide
from pms.model.price import MarkPrice
from pms.model.restriction import Restriction
from pms.model.trading_rules import CountRule, LossRule, RuleAction, TradingRules
from pms.risk.book import RiskBook
from tests.support.ledger import ACTOR, BTC, Desk, ManualClock, money, opened, sqlite_url

DAY_MS = 86_400_000
CAPITAL = money("100000")


class _Room:
    """A ledger and what follows it, as the engine wires them; started anew by `restart`."""

    def __init__(self, url: str, clock: ManualClock) -> None:
        self.url, self.clock = url, clock
        self.ledger: LedgerService
        self.watch: RuleWatch
        self.prices: Prices
        self.book: RiskBook

    async def start(self, seed: int) -> None:
        self.ledger = await opened(self.url, clock=self.clock, seed=seed)
        holdings = Holdings(self.ledger.open_positions(), self.ledger.event_sequence)
        self.book, self.prices = RiskBook(), Prices(self.clock)
        for account in self.ledger.accounts():
            self.book.set_account(account, self.ledger.rules(account.id))
        for position in self.ledger.open_positions():
            self.book.set_position(position)
        self.watch = RuleWatch(self.ledger, self.book, holdings, self.prices, self.clock)
        self.ledger.on_commit(holdings.apply)
        for listener in (self._follow, self.watch.on_commit):
            self.ledger.on_commit(listener)
        await self.watch.begin()

    def _follow(self, committed: object) -> None:
        for account in self.ledger.accounts():
            self.book.set_account(account, self.ledger.rules(account.id))
        for position in self.ledger.open_positions():
            self.book.set_position(position)

    async def price(self, price: float) -> None:
        """Let the mark move, and the rules look."""
        now_ms = self.clock.now_ms()
        mark = MarkPrice(BTC, price, 0.0, 0, now_ms, now_ms)
        self.prices.take_mark(mark)
        self.book.on_mark(BTC, price, now_ms)
        self.watch.on_mark(mark)
        await self.look()

    async def look(self) -> None:
        await self.watch.sweep()
        for _ in range(3):
            await self.watch.work()

    def level(self, account: SubAccountId) -> Restriction:
        return self.ledger.restriction_of(account)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[_Room]:
    url = sqlite_url(tmp_path)
    await migrate(url)
    made = _Room(url, ManualClock())
    await made.start(seed=7)
    await made.ledger.adopt_wallet(CAPITAL, "epoch-1")
    yield made
    await made.ledger.close()


async def test_midnight_releases_a_daily_loss_but_neither_a_lock_nor_a_drawdown(room: _Room) -> None:
    desk, ledger = Desk(room.ledger), room.ledger
    rules = {
        "plain": TradingRules(daily_loss=LossRule(RuleAction.REDUCE_ONLY, Decimal(100))),
        "locked": TradingRules(daily_loss=LossRule(RuleAction.LOCK, Decimal(100))),
        "fallen": TradingRules(trailing_drawdown=LossRule(RuleAction.BLOCK_ENTRIES, Decimal(100))),
    }
    ids = {name: (await desk.account(name)).id for name in rules}
    for name, account in ids.items():
        await ledger.set_trading_rules(account, rules[name], ACTOR)
        await desk.buy(account, "1", "1000")
    await room.price(1000)
    assert {room.level(account) for account in ids.values()} == {Restriction.NONE}
    await room.price(901)
    assert {room.level(account) for account in ids.values()} == {Restriction.NONE}
    await room.price(899)
    wanted = [Restriction.REDUCE_ONLY, Restriction.FLATTEN, Restriction.BLOCK_ENTRIES]
    assert [room.level(account) for account in ids.values()] == wanted
    room.clock.advance(DAY_MS)
    await room.price(899)
    assert [room.level(account) for account in ids.values()] == [Restriction.NONE, *wanted[1:]]
    mark = ledger.equity_mark(ids["plain"])
    assert mark is not None
    assert mark.day_start_equity == 899, "the new day counts from its own start"
    await room.price(800)
    assert room.level(ids["plain"]) is Restriction.NONE
    await room.price(799)
    assert room.level(ids["plain"]) is Restriction.REDUCE_ONLY
    assert len(await ledger.queries.breaches(ids["plain"], 10)) == 2


async def test_a_restart_goes_on_with_marks_restrictions_and_the_orders_of_the_minute(room: _Room) -> None:
    desk, ledger = Desk(room.ledger), room.ledger
    alice, bob = (await desk.account("alice")).id, (await desk.account("bob")).id
    await ledger.set_trading_rules(
        alice, TradingRules(trailing_drawdown=LossRule(RuleAction.REDUCE_ONLY, None, Decimal("0.1"))), ACTOR
    )
    await ledger.set_trading_rules(
        bob, TradingRules(order_rate=CountRule(RuleAction.BLOCK_ENTRIES, 2)), ACTOR
    )
    await desk.buy(alice, "1", "1000")
    await room.price(1000)
    await room.price(1500)
    for _ in range(5):
        room.clock.advance(1000)
        await room.price(1490)
    for _ in range(2):
        await desk.trade_at(bob, OrderSide.BUY, "0.1", "1000")
    await ledger.close()

    await room.start(seed=8)
    assert [one.code.name for one in room.watch.entry_refusals(bob, BTC)] == ["ORDER_RATE_EXCEEDED"]
    await room.price(1351)
    assert room.level(alice) is Restriction.NONE
    await room.price(1349)
    assert room.level(alice) is Restriction.REDUCE_ONLY, "10 % below the peak of 1,500 seen before"
    room.clock.advance(60_000)
    assert room.watch.entry_refusals(bob, BTC) == ()


async def test_nothing_is_judged_at_a_price_that_is_old(room: _Room) -> None:
    desk, ledger = Desk(room.ledger), room.ledger
    alice = (await desk.account("alice")).id
    await ledger.set_trading_rules(
        alice, TradingRules(daily_loss=LossRule(RuleAction.LOCK, Decimal(100))), ACTOR
    )
    await desk.buy(alice, "1", "1000")
    await room.price(1000)
    await room.price(950)
    room.clock.advance(11_000)
    await desk.trade_at(alice, OrderSide.BUY, "0.001", "1000")
    await room.look()
    assert room.level(alice) is Restriction.NONE
    await room.price(899)
    assert room.level(alice) is Restriction.FLATTEN


async def test_a_withdrawal_is_no_drawdown_from_a_peak_that_is_not_stored_yet(room: _Room) -> None:
    desk, ledger = Desk(room.ledger), room.ledger
    alice = (await desk.account("alice")).id
    rule = LossRule(RuleAction.LOCK, None, Decimal("0.3"))
    await ledger.set_trading_rules(alice, TradingRules(trailing_drawdown=rule), ACTOR)
    await desk.buy(alice, "1", "1000")
    await room.price(1000)
    await room.price(1500)
    mark = ledger.equity_mark(alice)
    assert mark is not None
    assert mark.peak_equity == 1000, "the peak of 1,500 is in memory only"
    await ledger.withdraw(alice, money("600"), ACTOR)
    await room.price(1499)
    assert room.level(alice) is Restriction.NONE, "900 taken from 1,500 by a transfer are no loss"
    await ledger.deposit(alice, money("600"), ACTOR)
    await room.price(1051)
    assert room.level(alice) is Restriction.NONE
    await room.price(1049)
    assert room.level(alice) is Restriction.FLATTEN, "30 % below the peak of 1,500"


async def test_a_deposit_moves_a_peak_along_that_is_not_stored_yet(room: _Room) -> None:
    desk, ledger = Desk(room.ledger), room.ledger
    alice = (await desk.account("alice")).id
    rule = LossRule(RuleAction.REDUCE_ONLY, Decimal(300))
    await ledger.set_trading_rules(alice, TradingRules(trailing_drawdown=rule), ACTOR)
    await desk.buy(alice, "1", "1000")
    await room.price(1000)
    await room.price(1500)
    await room.price(1300)
    await ledger.deposit(alice, money("1000"), ACTOR)
    await room.price(1201)
    assert room.level(alice) is Restriction.NONE
    await room.price(1199)
    assert room.level(alice) is Restriction.REDUCE_ONLY, "301 below the peak of 2,500"


async def test_a_database_that_does_not_answer_loses_no_account_that_is_to_be_judged(
    room: _Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, ledger = Desk(room.ledger), room.ledger
    names = [(await desk.account(name)).id for name in ("alice", "bob")]
    rule = LossRule(RuleAction.REDUCE_ONLY, Decimal(100))
    put = ledger.put_equity_marks

    async def away(*_: object) -> None:
        raise DatabaseUnavailableError("away")

    monkeypatch.setattr(ledger, "put_equity_marks", away)
    for account in names:
        await ledger.set_trading_rules(account, TradingRules(daily_loss=rule), ACTOR)
    with pytest.raises(DatabaseUnavailableError):
        await room.watch.work()
    monkeypatch.setattr(ledger, "put_equity_marks", put)
    await room.watch.work()
    assert all(ledger.equity_mark(account) is not None for account in names)


async def test_a_release_without_an_engine_begins_the_loss_anew(room: _Room) -> None:
    desk, ledger = Desk(room.ledger), room.ledger
    alice = (await desk.account("alice")).id
    rules = TradingRules(
        daily_loss=LossRule(RuleAction.LOCK, Decimal(100)),
        trailing_drawdown=LossRule(RuleAction.LOCK, Decimal(150)),
    )
    await ledger.set_trading_rules(alice, rules, ACTOR)
    await desk.buy(alice, "1", "1000")
    await room.price(1000)
    await room.price(800)
    assert len(ledger.restrictions_of(alice)) == 2
    await ledger.close()

    offline = await opened(room.url, clock=room.clock, seed=9)
    for source in ("rule:daily_loss", "rule:trailing_drawdown"):
        await offline.set_restriction(alice, source, Restriction.NONE, "talked", Actor("system", "cli"))
    await offline.close()

    await room.start(seed=8)
    await room.price(799)
    assert room.level(alice) is Restriction.NONE, "measured from the release"
    await room.price(701)
    assert room.level(alice) is Restriction.NONE
    await room.price(699)
    assert room.level(alice) is Restriction.FLATTEN


async def test_an_account_that_starts_anew_has_no_peak_of_before(room: _Room) -> None:
    desk, ledger = Desk(room.ledger), room.ledger
    alice = (await desk.account("alice")).id
    rule = LossRule(RuleAction.LOCK, None, Decimal("0.5"))
    await ledger.set_trading_rules(alice, TradingRules(trailing_drawdown=rule), ACTOR)
    await desk.buy(alice, "1", "1000")
    await room.price(1000)
    await room.price(1900)
    await desk.sell(alice, "1", "1100")
    await room.price(1100)
    await ledger.reset_account(alice, ACTOR)
    await room.look()
    await ledger.deposit(alice, money("100"), ACTOR)
    await room.look()
    assert room.level(alice) is Restriction.NONE
