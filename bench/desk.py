"""The engine's own parts on a real ledger file and an exchange in this process that answers at once.

What is measured is ours alone: queues, gate, journal, booking, events. The exchange has no network and no
work to do beyond remembering; it fills every market order whole at its price, by the private stream first.
"""

import asyncio
import contextlib
import logging
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import cast

import structlog

from pms.bus.memory import MemoryState
from pms.exchange.binance.adapter import BinanceExchange
from pms.exchange.binance.user_inbox import TOGETHER_MAX
from pms.exchange.port import (
    Confirmed,
    ExchangePosition,
    OrderEvent,
    PlaceOutcome,
    RefusedByExchange,
    StreamGap,
    UserEvent,
    UserEventHandler,
)
from pms.ledger.api import Actor, NewAccount
from pms.ledger.ledger import LedgerService, open_ledger
from pms.ledger.migrate import migrate
from pms.model.account import LiquidationMode, RiskRules
from pms.model.fill import ExchangeFill, FillSource
from pms.model.ids import ExchangeAccountId, ExchangeOrderId, SubAccountId, TradeId
from pms.model.money import Money, Price
from pms.model.order import ApprovedOrder, ExchangeOrderStatus
from pms.model.price import MarkPrice
from pms.model.refusal import RefusalCode
from pms.model.symbol import Symbol
from pms.risk.formulas import static_liquidation_price_decimal
from pms.runtime import SystemClock, SystemIds, spare_started_objects
from pms.settings import load_settings
from pms.wiring import Wired, build_core, wire
from tests.golden.flow_exchange import ScriptedExchange, native

ACTOR = Actor("bench", "system")
WIDE = RiskRules(Decimal(100), Decimal(10_000_000), Decimal(100_000_000), Decimal("0.9"))
ENTRIES = {"BTC/USDT:USDT": 50_000, "ETH/USDT:USDT": 3_000, "SOL/USDT:USDT": 150}
SYMBOLS = tuple(Symbol(name) for name in ENTRIES)
BTC = SYMBOLS[0]
NOTIONAL = 400
ACCOUNT = ExchangeAccountId("bench")
LEASE_MS = 3_600_000
ORDERS_WINDOW_SECONDS = 10.0


class InstantVenue(ScriptedExchange):
    """Answers at once. `orders_max`: how many orders the venue takes in ten seconds, as Binance does."""

    def __init__(self, orders_max: int | None = None) -> None:
        super().__init__(SystemClock(), (), SYMBOLS, {})
        self.orders_max = orders_max
        self.told: asyncio.Queue[UserEvent] = asyncio.Queue()
        self.placed_at: list[float] = []
        self.placed_on: list[Symbol] = []
        self.limited = 0
        self.prices = {symbol: Decimal(ENTRIES[symbol]) for symbol in SYMBOLS}

    async def place(self, order: ApprovedOrder) -> PlaceOutcome:
        now, now_ms = time.perf_counter(), self.clock.now_ms()
        if self.orders_max is not None:
            since, last = now - ORDERS_WINDOW_SECONDS, self.placed_at[-self.orders_max :]
            if len(last) == self.orders_max and last[0] > since:
                self.limited += 1
                return RefusedByExchange(
                    -1015, "Too many new orders.", RefusalCode.EXCHANGE_REJECTED, now_ms, 2_000
                )
        self.placed_at.append(now)
        self.placed_on.append(order.symbol)
        order_id = ExchangeOrderId(str(len(self.placed_at)))
        price = Price(self.prices[order.symbol])
        told = self.report(
            order_id,
            order.client_order_id,
            order.symbol,
            order.side,
            ExchangeOrderStatus.FILLED,
            order.quantity,
        )
        report = replace(told, executed_quantity=order.quantity, average_price=price)
        self.reports[order.client_order_id] = report
        fill = ExchangeFill(
            native(order.symbol),
            order.symbol,
            TradeId(len(self.placed_at)),
            order_id,
            order.client_order_id,
            order.side,
            price,
            order.quantity,
            order.quantity * price * Decimal("0.0004"),
            "USDT",
            False,
            now_ms,
            FillSource.STREAM,
        )
        self.held[order.symbol] = self.held.get(order.symbol, Decimal(0)) + order.side.sign * order.quantity
        self.told.put_nowait(OrderEvent(report, fill, now_ms, now_ms))
        return Confirmed(report, now_ms, 2_000)

    async def stream(self, handler: UserEventHandler) -> None:
        """Tell every event, in order and together with what waits behind it, as the private stream does:
        an order has one event here."""
        while True:
            events = [await self.told.get()]
            while len(events) < TOGETHER_MAX and not self.told.empty():
                events.append(self.told.get_nowait())
            await asyncio.gather(*(handler(event) for event in events))

    async def positions(self) -> Sequence[ExchangePosition]:
        now_ms = self.clock.now_ms()
        return [
            ExchangePosition(symbol, net, Price(self.prices[symbol]), now_ms)
            for symbol, net in self.held.items()
            if net
        ]


@dataclass(slots=True)
class Desk:
    """A running engine without its doors."""

    ledger: LedgerService
    venue: InstantVenue
    wired: Wired

    def mark(self, symbol: Symbol, price: float) -> None:
        """Give the engine a mark, and the venue its price."""
        now_ms = self.venue.clock.now_ms()
        self.venue.prices[symbol] = Decimal(repr(price))
        tick = MarkPrice(symbol, price, 0.0, 0, now_ms, now_ms)
        self.wired.publisher.take_mark(tick)
        self.wired.real.take_mark(tick)

    async def keep_fresh(self) -> None:
        """Repeat every mark each second, as the stream does, until cancelled."""
        while True:
            await asyncio.sleep(1.0)
            for symbol in SYMBOLS:
                self.mark(symbol, float(self.venue.prices[symbol]))

    async def accounts(self, count: int, balance: int = 100_000) -> list[SubAccountId]:
        """Create funded accounts with wide rules."""
        made = []
        for number in range(count):
            wanted = NewAccount(f"bench {number}", None, Money(Decimal(balance)))
            account = await self.ledger.create_account(wanted, ACTOR)
            await self.ledger.set_rules(account.id, WIDE, ACTOR)
            made.append(account.id)
        return made


def run(work: Coroutine[object, object, None]) -> None:
    """Run to the end on the loop that the engine runs on."""
    try:
        import uvloop
    except ImportError:  # no wheel for this platform: the standard loop does
        asyncio.run(work)
    else:
        uvloop.run(work)


def hush() -> None:
    """Log nothing but what ends a run: a thousand liquidations would print more than they do."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@asynccontextmanager
async def running(url: str, folder: Path, orders_max: int | None = None) -> AsyncIterator[Desk]:
    """Open a migrated ledger, wire the parts, recover, and run until the end of the block."""
    clock = SystemClock()
    ledger = await open_ledger(
        url, ACCOUNT, clock, SystemIds(), static_liquidation_price_decimal, charge_open_fees=True
    )
    tasks: list[asyncio.Task[None]] = []
    state = MemoryState(clock)
    try:
        await ledger.take_lease("bench", LEASE_MS)
        venue = InstantVenue(orders_max)
        venue.held = {symbol: ledger.expected_net(symbol) for symbol in SYMBOLS}
        await state.start()
        settings = load_settings({"data_dir": folder / "data", "funding": False})
        wired = wire(build_core(ledger, cast("BinanceExchange", venue), state, settings, clock), settings)
        wired.publisher.interested = lambda: ()
        works = (
            venue.stream(wired.events.handle),
            wired.resolver.run(),
            wired.publisher.run(),
            wired.liquidator.run(),
            wired.allocator.run(),
            wired.house.run(),
            wired.rule_watch.run(),
            wired.core.projection.run(),
        )
        tasks.extend(asyncio.create_task(work) for work in works)
        await wired.events.handle(StreamGap(0, clock.now_ms()))
        await wired.core.brackets.read()
        wired.real.take_leverages(dict.fromkeys(SYMBOLS, 125))
        await wired.real.start()
        wired.core.switches.ready = True
        desk = Desk(ledger, venue, wired)
        for symbol, price in ENTRIES.items():
            desk.mark(Symbol(symbol), float(price))
        tasks.append(asyncio.create_task(desk.keep_fresh()))
        spare_started_objects()
        yield desk
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await state.close()
        await ledger.close()


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder on the disk that holds temporary files."""
    with tempfile.TemporaryDirectory(prefix="pms-bench-") as folder:
        yield Path(folder)


async def empty_sqlite(folder: Path) -> str:
    """Return the address of a new, migrated database."""
    url = f"sqlite:///{folder / 'ledger.db'}"
    await migrate(url)
    return url


async def filled_sqlite(
    folder: Path, accounts: int, symbols: Sequence[str], balance: float = 1_000.0, *, longs_only: bool = False
) -> str:
    """Return a database with accounts and a position of 400 USDT on each symbol, as the incumbent left them;
    the first opening adopts them. Every other account is SHORT, so the net is 0, unless `longs_only`."""
    url = await empty_sqlite(folder)
    now_ms = SystemClock().now_ms()
    mode = LiquidationMode.INSTANT_CLOSE.value
    rows, held = [], []
    for number in range(accounts):
        key = f"{number:08x}-0000-4000-8000-000000000000"
        rows.append((key, f"bench {number}", balance, balance, mode, now_ms, now_ms))
        side = "LONG" if longs_only or number % 2 == 0 else "SHORT"
        for place, symbol in enumerate(symbols):
            entry = float(ENTRIES[symbol])
            position = f"{number:08x}-0000-4000-8000-{place + 1:012x}"
            held.append((position, key, symbol, side, entry, NOTIONAL / entry, float(NOTIONAL), now_ms))
    with contextlib.closing(sqlite3.connect(folder / "ledger.db")) as connection:
        connection.executemany(
            "INSERT INTO sub_accounts (id, name, type, initial_balance, current_balance, status, "
            "liquidation_mode, maintenance_rate, created_at, updated_at) "
            "VALUES (?, ?, 'USER', ?, ?, 'ACTIVE', ?, 0.005, ?, ?)",
            rows,
        )
        connection.executemany(
            "INSERT INTO virtual_positions (id, sub_account_id, symbol, side, entry_price, quantity, "
            "notional, leverage, margin, liquidation_price, status, babysitter_excluded, taken_over, "
            "opened_at) VALUES (?, ?, ?, ?, ?, ?, ?, 10.0, 40.0, 0.0, 'OPEN', 1, 0, ?)",
            held,
        )
        connection.commit()
    return url
