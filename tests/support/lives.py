"""Lives of an engine that can end after any step: the same parts as the real one, on a venue in memory."""

import asyncio
import copy
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import cast

from pms.bus.memory import MemoryState
from pms.exchange.binance.adapter import BinanceExchange
from pms.ledger.api import TradeRow
from pms.ledger.ledger import LedgerService, open_ledger
from pms.ledger.store_sqlite import SqliteStore
from pms.model.account import PositionSide
from pms.model.ids import ExchangeAccountId, SubAccountId
from pms.model.price import MarkPrice
from pms.model.symbol import Symbol
from pms.risk.formulas import static_liquidation_price_decimal
from pms.runtime import SystemIds
from pms.settings import Settings, load_settings
from pms.wiring import Wired, build_core, wire
from tests.support.stepped_loop import StepClock, SteppedLoop, run_stepped
from tests.support.venue import MemoryVenue, VenueState

OURS = ExchangeAccountId("lives")
BTC, ETH = Symbol("BTC/USDT:USDT"), Symbol("ETH/USDT:USDT")
LONG, SHORT = PositionSide.LONG, PositionSide.SHORT
QUIET_MS = 12_000


@dataclass(slots=True)
class Life:
    """One running engine."""

    loop: SteppedLoop
    clock: StepClock
    ledger: LedgerService
    venue: MemoryVenue
    wired: Wired
    heard: list[TradeRow] = field(default_factory=list)
    """Every trade that was committed in this life."""

    def mark(self, symbol: Symbol, price: str) -> None:
        """Set the venue's price and tell the engine its mark."""
        self.venue.state.prices[symbol] = Decimal(price)
        now_ms = self.clock.now_ms()
        self.wired.publisher.take_mark(MarkPrice(symbol, float(price), 0.0, 0, now_ms, now_ms))

    def named(self, name: str) -> SubAccountId:
        return next(account.id for account in self.ledger.accounts() if account.name == name)


Act = Callable[[Life], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Books:
    """What must be the same after a crash: money and positions of everybody, of the venue too."""

    worth: dict[str, tuple[Decimal, Decimal]]
    held: dict[tuple[str, str], Decimal]
    house: dict[str, Decimal]
    house_cash: Decimal
    venue_trades: int
    statuses: dict[str, str]


@dataclass(slots=True)
class World:
    """A ledger file and a venue, which lives come and go in."""

    path: Path
    venue: VenueState
    now_ms: int
    settings: Settings = field(default_factory=lambda: load_settings({"funding": False}))
    venue_type: type[MemoryVenue] = MemoryVenue

    def copy(self, path: Path) -> "World":
        """Return a world of its own that goes on from here."""
        shutil.copy(self.path, path)
        return World(path, copy.deepcopy(self.venue), self.now_ms, self.settings, self.venue_type)

    def live(self, act: Act, stops_after: int | None = None) -> int | None:
        """Run a life: recover, then `act` with the steps counted. Returns how many there were, None when it
        was abandoned."""
        clock = StepClock(self.now_ms + 1_000)
        loop = SteppedLoop(clock)
        stores: list[SqliteStore] = []
        try:
            return run_stepped(loop, self._life(loop, clock, act, stops_after, stores))
        finally:
            self.now_ms = clock.now_ms()
            for store in stores:  # a process that dies closes its files
                for connection in (store._writer, store._reader):
                    if connection is not None:
                        connection.close()

    async def _life(
        self,
        loop: SteppedLoop,
        clock: StepClock,
        act: Act,
        stops_after: int | None,
        stores: list[SqliteStore],
    ) -> int:
        ledger = await open_ledger(
            f"sqlite:///{self.path}", OURS, clock, SystemIds(), static_liquidation_price_decimal
        )
        stores.append(cast("SqliteStore", ledger.store))
        await ledger.take_lease("lives", 3_600_000)
        venue = self.venue_type(clock, self.venue)
        state = MemoryState(clock)
        await state.start()
        exchange = cast("BinanceExchange", venue)
        wired = wire(build_core(ledger, exchange, state, self.settings, clock), self.settings)
        life = Life(loop, clock, ledger, venue, wired)
        ledger.on_commit(lambda committed: life.heard.extend(committed.trades))
        await wired.real.start()
        works = (
            wired.resolver.run(),
            wired.liquidator.run(),
            wired.publisher.run(),
            wired.real.run(),
            wired.enforcer.run(),
            wired.allocator.run(),
            wired.rule_watch.run(),
            wired.exchange_closes.run(),
            venue.stream(wired.events.handle),
        )
        tasks = [loop.create_task(work) for work in works]
        try:
            await wired.gap_filler.ready.wait()
            wired.core.switches.ready = True
            for symbol, price in self.venue.prices.items():
                life.mark(symbol, str(price))
            loop.arm(stops_after)
            await act(life)
            loop.disarm()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await ledger.close()
        return loop.steps

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Return the rows of a query on the ledger's file, while nobody lives."""
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def recovered(self) -> Books:
        """Live again until nothing is in doubt any more, and return the books."""
        told: list[Books] = []

        async def look(life: Life) -> None:
            until_ms = life.clock.now_ms() + QUIET_MS
            while life.clock.now_ms() < until_ms:
                for symbol, price in self.venue.prices.items():
                    life.mark(symbol, str(price))
                await life.clock.sleep(0.5)
            told.append(books_of(life))

        assert self.live(look) is not None
        return told[0]


def books_of(life: Life, *, exact_wallet: bool = True) -> Books:
    """Return the books as they are; asserts what no crash may leave behind.

    `exact_wallet` False where executions may be booked in another order than they were made in: what was
    realised then differs, and only the wallet less cost must be equal (decision 7); the audit proves it.
    """
    ledger, venue = life.ledger, life.venue.state
    names = {account.id: account.name for account in ledger.accounts()}
    resting = {key for key, report in venue.orders.items() if not report.status.terminal}
    assert {order.client_order_id for order in ledger.open_orders()} == resting
    for symbol in venue.prices:
        assert ledger.expected_net(symbol) == venue.net.get(symbol, Decimal(0))
    if exact_wallet:
        assert ledger.derived_wallet() == venue.wallet
    return Books(
        worth={account.name: (account.balance, account.owed) for account in ledger.accounts()},
        held={
            (names[position.sub_account_id], position.symbol): position.signed_quantity
            for position in ledger.open_positions()
        },
        house={
            held.symbol: held.signed_quantity for held in ledger.house_positions() if held.signed_quantity
        },
        house_cash=ledger.house_cash(),
        venue_trades=len(venue.trades),
        statuses={account.name: account.status.value for account in ledger.accounts()},
    )
