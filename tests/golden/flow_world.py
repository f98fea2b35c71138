"""One vector of `ledger_flows.jsonl` on the product: an adopted database, the engine's own parts, and the
scripted exchange on a clock that moves only when nothing else does.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, cast

from pms.bus.memory import MemoryState
from pms.exchange.binance.adapter import BinanceExchange
from pms.exchange.port import StreamGap
from pms.execution.exchange_net import PERSISTENCE_MS
from pms.ledger.ledger import LedgerService, open_ledger
from pms.model.account import PositionSide
from pms.model.event import DurableEvent, EphemeralEvent
from pms.model.ids import ClientOrderId, ExchangeAccountId, ExchangeOrderId
from pms.model.money import Quantity
from pms.model.order import ExchangeOrderStatus, OrderSide
from pms.model.price import MarkPrice
from pms.model.symbol import Symbol
from pms.risk.formulas import static_liquidation_price_decimal
from pms.runtime import SystemIds
from pms.settings import Settings, load_settings
from pms.wiring import Wired, build_core, wire
from tests.golden.flow_database import NOW_MS, filled, scratch_folder
from tests.golden.flow_exchange import ScriptedExchange, exact
from tests.support.clocks import SleepersClock

T = TypeVar("T")
QUIET_SECONDS = 0.02
"""Real time without an event after which the clock moves: everything that waits waits for time."""

VIRTUAL_SECONDS_MAX = 120.0
VIRTUAL_MS_MAX = 3_600_000


class QuietClock(SleepersClock):
    """The frozen clock of the vectors. Sleepers wake when the world stands still."""

    def __init__(self) -> None:
        super().__init__(NOW_MS)

    def advance(self, milliseconds: float) -> None:
        """Let time pass and wake who is due."""
        self._now_ms += milliseconds
        while self.wake_next(self._now_ms):
            pass

    async def until_done(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something to its end, moving the time whenever nothing else happens. Raises TimeoutError."""
        task = asyncio.create_task(work)
        ends_ms = self._now_ms + VIRTUAL_SECONDS_MAX * 1000
        while True:
            await asyncio.wait({task}, timeout=QUIET_SECONDS)
            if task.done():
                return task.result()
            if self._now_ms > ends_ms:
                task.cancel()
                await asyncio.wait({task})
                raise TimeoutError(f"the operation did not end within {VIRTUAL_SECONDS_MAX} s")
            self.advance(100)


@dataclass(slots=True)
class World:
    """A running vector."""

    given: Mapping[str, Any]
    clock: QuietClock
    ledger: LedgerService
    exchange: ScriptedExchange
    wired: Wired
    path: Path
    state: MemoryState
    events: list[DurableEvent | EphemeralEvent] = field(default_factory=list)

    def price(self, prices: Mapping[str, Any]) -> None:
        """Give the engine its marks, as of now."""
        for symbol, price in prices.items():
            if price:
                now_ms = self.clock.now_ms()
                mark = MarkPrice(Symbol(symbol), float(price), 0.0, 0, now_ms, now_ms)
                self.wired.publisher.take_mark(mark)

    def persist(self) -> None:
        """Let a difference between exchange and ledger persist, as two observations apart (decision 9)."""
        for _ in range(2):
            self.wired.trader.exposure()
            self.clock.advance(PERSISTENCE_MS)
        self.wired.trader.exposure()
        self.price({**(self.given.get("servicePrices") or {}), **(self.given.get("prices") or {})})


def settings(folder: Path) -> Settings:
    """The settings of both golden files (spec 11.1)."""
    return load_settings(
        {
            "data_dir": folder / "data",
            "flip_mode": "incumbent",
            "charge_open_fees": False,
            "funding": False,
            "maintenance": "incumbent",
        }
    )


@asynccontextmanager
async def world(given: Mapping[str, Any]) -> AsyncIterator[World]:
    """Build the engine's parts on the vector's database and exchange, recover, and hand them out."""
    path, clock = filled(given["db"]), QuietClock()
    ledger = await open_ledger(
        f"sqlite:///{path}",
        ExchangeAccountId("golden"),
        clock,
        SystemIds(),
        static_liquidation_price_decimal,
        charge_open_fees=False,
    )
    tasks: list[asyncio.Task[None]] = []
    try:
        await ledger.take_lease("golden", 3_600_000)
        exchange = ScriptedExchange(clock, given.get("marketOrders") or (), _symbols(given), {})
        exchange.held = {symbol: ledger.expected_net(symbol) for symbol in exchange.symbols}
        _rest(exchange, given["db"].get("pendingOrder") or ())
        state = MemoryState(clock)
        await state.start()
        for key, value in (given.get("redis") or {}).items():
            await state.set(key, str(value).encode(), VIRTUAL_MS_MAX)
        chosen = settings(scratch_folder())
        wired = wire(build_core(ledger, cast("BinanceExchange", exchange), state, chosen, clock), chosen)
        exchange.deliver = wired.events.handle
        built = World(given, clock, ledger, exchange, wired, path, state)
        wired.core.hub.add_sink(built.events.append)
        # No liquidator: the vectors are single operations, not what an evaluation makes of them.
        tasks.append(asyncio.create_task(wired.resolver.run()))
        await clock.until_done(wired.events.handle(StreamGap(0, clock.now_ms())))
        await wired.core.brackets.read()
        wired.real.take_leverages(dict.fromkeys(exchange.symbols, 125))
        await wired.real.start()
        wired.core.switches.ready = True
        built.price({**(given.get("servicePrices") or {}), **(given.get("prices") or {})})
        await _as_scripted(built)
        yield built
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
        await ledger.close()


def _rest(exchange: ScriptedExchange, rows: Sequence[Mapping[str, Any]]) -> None:
    """Let the incumbent's resting orders rest on the exchange, under client order ids of its making."""
    for row in rows:
        if row.get("exchangeOrderId") and row.get("status", "PENDING") == "PENDING":
            order_id = ExchangeOrderId(row["exchangeOrderId"])
            client_id = ClientOrderId(f"PMS{row['subAccountId'][:8]}_x-{row['id']}")
            side = OrderSide.opening(PositionSide(row["side"]))
            quantity = Quantity(exact(row["quantity"]))
            new = ExchangeOrderStatus.NEW
            report = exchange.report(order_id, client_id, Symbol(row["symbol"]), side, new, quantity)
            exchange.client_ids[order_id] = client_id
            exchange.reports[client_id] = report


async def _as_scripted(built: World) -> None:
    """Set the exchange's positions as the vector has them, and let the difference persist."""
    scripted = built.given.get("exchangePositions")
    if scripted is None:
        return
    if scripted == "throw":
        built.exchange.unreachable = True
        built.wired.core.net.forget()
        return
    listed: dict[Symbol, Decimal] = {}
    for one in scripted:
        sign = -1 if str(one["side"]).lower() == "short" else 1
        listed.setdefault(Symbol(one["symbol"]), sign * exact(one["contracts"]))
    for symbol in built.exchange.symbols:
        expected = built.ledger.expected_net(symbol)
        net = listed.get(symbol, Decimal(0))
        # The incumbent compares sides only, so the sizes of its scripts mean nothing: a listed position of
        # the expected side backs what is held (5.4 step 2).
        if net * expected <= 0 and symbol in _subject(built.given, built.ledger):
            await built.exchange.move(symbol, net)
    built.persist()
    await built.wired.real.start()


def _subject(given: Mapping[str, Any], ledger: LedgerService) -> set[Symbol]:
    """The symbols that the script speaks of: the one of the position or order that is asked for."""
    positions = given["db"].get("virtualPosition") or ()
    named = {value for value in given["call"][1:] if isinstance(value, str)}
    found = {Symbol(row["symbol"]) for row in positions if named & {row["id"], row["symbol"]}}
    return found


def _symbols(given: Mapping[str, Any]) -> list[Symbol]:
    """Every symbol that a vector names."""
    found: dict[str, None] = {}

    def look(value: object) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                look(key)
                look(item)
        elif isinstance(value, list):
            for item in value:
                look(item)
        elif isinstance(value, str) and value.endswith("/USDT:USDT"):
            found[value.removeprefix("lock:reconcile:")] = None

    look(given)
    return [Symbol(name) for name in found]
