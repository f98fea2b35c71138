"""One tick that liquidates 1,000 accounts on one symbol (design, "Budgets"): the whole engine, its ledger on
disk, and the simulated exchange on a real socket, in one process.

The positions come from the house, which bought them in one order. While the tick is worked off, another
account trades, and a ticker measures how long the loop is held.
"""

import asyncio
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path

from bench.machine import machine, percentile
from pms.engine import Engine, EngineOptions, Parts
from pms.exchange.port import PlaceOutcome
from pms.execution.api import MarketRequest
from pms.ledger.api import Actor, NewAccount
from pms.model.account import AccountStatus, LiquidationMode, PositionSide, RiskRules
from pms.model.ids import ClientOrderId, SubAccountId
from pms.model.money import Money, Price, Quantity
from pms.model.order import ApprovedOrder, OrderSide
from pms.model.price import MarkPrice
from pms.model.symbol import Symbol
from pms.risk.gate import approve_house
from pms.runtime import SystemClock, SystemIds
from pms.settings import load_settings
from pms.simulator.simulator import Simulator

ACCOUNTS = 1_000
EACH = Decimal("0.01")
BALANCE = Decimal(100)
BTC, ETH = Symbol("BTC/USDT:USDT"), Symbol("ETH/USDT:USDT")
BEFORE, AFTER = Decimal(60_000), Decimal(50_320)
"""At the second price 3 of maintenance are 0.94 of what is left of an account: past its threshold of 0.9."""

RULES = RiskRules(Decimal(100), Decimal(1_000_000), Decimal(10_000_000), Decimal("0.9"))
ACTOR = Actor("bench", "cli")
BUDGET_SENT_SECONDS, BUDGET_COMMAND_MS = 2.0, 50.0
DEADLINE_SECONDS = 60.0


@dataclass(slots=True)
class Seen:
    """Moments by `time.perf_counter`: the tick, orders sent; milliseconds of commands and of held loops."""

    tick: float = 0.0
    sent: list[float] = field(default_factory=list)
    commands_ms: list[float] = field(default_factory=list)
    held_ms: list[float] = field(default_factory=list)


def _price(simulator: Simulator, native: str, price: Decimal) -> None:
    depth = Decimal(10_000)
    simulator.set_quote(native, price - Decimal("0.1"), price + Decimal("0.1"), depth, depth)
    simulator.set_mark(native, price)


async def _until(condition: Callable[[], bool], what: str) -> None:
    """Wait until the condition holds. Raises TimeoutError naming `what`."""
    for _ in range(round(DEADLINE_SECONDS / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError(f"{what} did not come within {DEADLINE_SECONDS:.0f} s")


async def _accounts(parts: Parts) -> list[SubAccountId]:
    """Open the accounts, let the house buy for all of them in one order, and assign it."""
    ledger = parts.ledger
    quantity = Quantity(EACH * ACCOUNTS)
    order = approve_house(ClientOrderId("bench-house"), BTC, OrderSide.BUY, quantity, reduce_only_wire=False)
    await parts.exchange.trading.place(order)
    await _until(
        lambda: sum(one.signed_quantity for one in ledger.house_positions()) == quantity, "the house's fill"
    )
    await ledger.set_rules(None, RULES, ACTOR)
    mode = LiquidationMode.INSTANT_CLOSE
    made = await asyncio.gather(
        *(
            ledger.create_account(
                NewAccount(f"bench {number}", None, Money(BALANCE), liquidation_mode=mode), ACTOR
            )
            for number in range(ACCOUNTS)
        )
    )
    await asyncio.gather(
        *(
            ledger.assign_from_house(BTC, account.id, EACH, Price(BEFORE), Decimal(10), ACTOR)
            for account in made
        )
    )
    return [account.id for account in made]


def _watch(parts: Parts, seen: Seen) -> None:
    """Note when the tick arrives at the risk book, and each order that goes to the exchange."""
    take, place = parts.wired.publisher.take_mark, parts.exchange.trading.place

    def on_mark(mark: MarkPrice) -> None:
        if not seen.tick and mark.symbol == BTC and mark.price == float(AFTER):
            seen.tick = time.perf_counter()
        take(mark)

    async def placed(order: ApprovedOrder) -> PlaceOutcome:
        if order.symbol == BTC:
            seen.sent.append(time.perf_counter())
        return await place(order)

    parts.exchange.market.on_mark(on_mark)
    parts.exchange.trading.place = placed  # type: ignore[method-assign]


async def _others(parts: Parts, account: SubAccountId, seen: Seen) -> None:
    """Trade on another symbol, five orders a second."""
    for side in itertools.cycle(PositionSide):
        began = time.perf_counter()
        await parts.trader.market(MarketRequest(account, ETH, side, Decimal("0.1"), Decimal(10)), ACTOR)
        seen.commands_ms.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.2)


async def _ticker(seen: Seen) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        seen.held_ms.append((time.perf_counter() - began) * 1000 - 1)


async def _measure(folder: Path) -> None:
    settings = load_settings({"data_dir": folder})
    options = EngineOptions(symbols=("BTCUSDT", "ETHUSDT"))
    engine = Engine(settings, options, SystemClock(), SystemIds(), lambda text: None)
    async with engine.running() as parts:
        simulator = parts.simulator
        if simulator is None:
            raise TypeError("the benchmark runs on the embedded exchange only")
        _price(simulator, "BTCUSDT", BEFORE)
        _price(simulator, "ETHUSDT", Decimal(3_000))
        for symbol, price in ((BTC, BEFORE), (ETH, Decimal(3_000))):
            parts.trader.watch(symbol)
            await _until(partial(_is_priced, parts, symbol, price), f"the price of {symbol}")
        held = await _accounts(parts)
        other = await parts.ledger.create_account(
            NewAccount("other", None, Money(Decimal(10_000)), liquidation_mode=LiquidationMode.ADL_30), ACTOR
        )
        seen = Seen()
        _watch(parts, seen)
        beside = [asyncio.create_task(_others(parts, other.id, seen)), asyncio.create_task(_ticker(seen))]
        await asyncio.sleep(1.0)
        calm_commands, calm_held = tuple(seen.commands_ms), tuple(seen.held_ms)
        seen.commands_ms.clear()
        seen.held_ms.clear()
        _price(simulator, "BTCUSDT", AFTER)
        await _until(lambda: _are_liquidated(parts, held), "the end of all liquidations")
        ended = time.perf_counter()
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        _report(seen, ended, len(held), calm_commands, calm_held)


def _is_priced(parts: Parts, symbol: Symbol, price: Decimal) -> bool:
    return parts.core.prices.mark_price(symbol) == float(price)


def _are_liquidated(parts: Parts, held: Sequence[SubAccountId]) -> bool:
    states = (parts.ledger.account(account) for account in held)
    return all(state is not None and state.status is AccountStatus.LIQUIDATED for state in states)


def _report(
    seen: Seen, ended: float, accounts: int, calm_commands: Sequence[float], calm_held: Sequence[float]
) -> None:
    sent = max(seen.sent) - seen.tick
    print(f"one tick that liquidates {accounts:,} accounts, {machine()}")
    print(f"  orders on the symbol: {len(seen.sent)} (one mass close needs no more than its slices)")
    print(f"  tick to the last order sent: {sent:.2f} s (budget {BUDGET_SENT_SECONDS:.0f} s)")
    print(f"  tick to all accounts closed and marked: {ended - seen.tick:.2f} s")
    for name, samples, calm in (
        ("another account's market order", seen.commands_ms, calm_commands),
        ("loop held", seen.held_ms, calm_held),
    ):
        figures = [
            f"{percentile(list(part), share):.1f}" for part in (samples, calm) for share in (0.5, 0.99)
        ]
        print(
            f"  {name}: p50 {figures[0]} ms, p99 {figures[1]} ms, most {max(samples):.1f} ms;"
            f" calm p50 {figures[2]} ms, p99 {figures[3]} ms (budget {BUDGET_COMMAND_MS:.0f} ms)"
        )


def main() -> None:
    """Measure once and print."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure(Path(folder)))
