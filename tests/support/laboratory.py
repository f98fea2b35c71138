"""A whole engine in this process on a simulated exchange whose prices the test sets: real wire, real
ledger."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from pms.engine import EMBEDDED_KEY, SIMULATOR_FILE, Engine, EngineOptions, Parts, database_url
from pms.execution.api import Executed, LimitRequest, MarketRequest, Resting
from pms.ledger.api import Actor, NewAccount
from pms.ledger.audit import AuditReport, ExchangeFigures, ExchangePosition, audit
from pms.model.account import AccountStatus, LiquidationMode, Position, PositionSide, RiskRules
from pms.model.clock import Clock
from pms.model.ids import SubAccountId
from pms.model.money import Money
from pms.model.order import TimeInForce
from pms.model.refusal import Refused
from pms.model.symbol import Symbol
from pms.runtime import SystemClock, SystemIds
from pms.settings import Settings, load_settings
from pms.simulator.simulator import Simulator
from pms.simulator.store import read_only_account
from tests.support.waiting import until

ACTOR = Actor("tester", "jwt")
BTC, ETH = Symbol("BTC/USDT:USDT"), Symbol("ETH/USDT:USDT")
NATIVE = {BTC: "BTCUSDT", ETH: "ETHUSDT"}
WIDE = RiskRules(Decimal(100), Decimal(1_000_000), Decimal(10_000_000), Decimal("0.9"))
LONG, SHORT = PositionSide.LONG, PositionSide.SHORT


@dataclass(slots=True)
class Laboratory:
    """Short names for what a test does to a running engine."""

    parts: Parts
    settings: Settings
    accounts: dict[str, SubAccountId] = field(default_factory=dict)

    @property
    def exchange(self) -> Simulator:
        assert self.parts.simulator is not None
        return self.parts.simulator

    async def price(self, symbol: Symbol, bid: str, ask: str, size: str = "1000") -> None:
        """Set quote and mark of a symbol, and wait until the engine has seen the mark."""
        native = NATIVE[symbol]
        mark = (Decimal(bid) + Decimal(ask)) / 2
        self.exchange.set_quote(native, Decimal(bid), Decimal(ask), Decimal(size), Decimal(size))
        self.exchange.set_mark(native, mark)
        self.parts.trader.watch(symbol)
        await until(lambda: self.parts.core.prices.mark_price(symbol) == float(mark), f"mark of {symbol}")

    async def reset_prices(self) -> None:
        """BTC at 60,000 and ETH at 3,000, deep books."""
        await asyncio.gather(self.price(BTC, "59999.9", "60000.1"), self.price(ETH, "2999.99", "3000.01"))

    async def flatten(self) -> None:
        """Cancel every order and close every position of everybody."""
        ledger, trader = self.parts.ledger, self.parts.trader
        for order in ledger.open_orders():
            if order.pending_order_id is not None:
                await trader.cancel(order.pending_order_id, ACTOR)
        for position in ledger.open_positions():
            await trader.close(position.id, ACTOR)
        assert not ledger.open_positions()

    async def account(
        self, name: str, balance: int = 10_000, mode: LiquidationMode = LiquidationMode.INSTANT_CLOSE
    ) -> SubAccountId:
        """Create a funded account with wide rules."""
        ledger = self.parts.ledger
        created = await ledger.create_account(
            NewAccount(name, None, Money(Decimal(balance)), liquidation_mode=mode), ACTOR
        )
        await ledger.set_rules(created.id, WIDE, ACTOR)
        self.accounts[name] = created.id
        return created.id

    async def market(
        self, account: str, side: PositionSide, quantity: str, symbol: Symbol = BTC, reduce_only: bool = False
    ) -> Executed | Refused:
        """Send a market order at 10x."""
        request = MarketRequest(
            self.accounts[account], symbol, side, Decimal(quantity), Decimal(10), reduce_only
        )
        return await self.parts.trader.market(request, ACTOR)

    async def limit(
        self,
        account: str,
        side: PositionSide,
        quantity: str,
        price: str,
        symbol: Symbol = BTC,
        reduce_only: bool = False,
        time_in_force: TimeInForce = TimeInForce.GTC,
    ) -> Resting | Refused:
        """Rest a limit order at 10x."""
        request = LimitRequest(
            self.accounts[account],
            symbol,
            side,
            Decimal(quantity),
            Decimal(price),
            Decimal(10),
            reduce_only=reduce_only,
            time_in_force=time_in_force,
        )
        return await self.parts.trader.limit(request, ACTOR)

    def position(self, account: str, symbol: Symbol = BTC) -> Position | None:
        return self.parts.ledger.open_position(self.accounts[account], symbol)

    def held(self, account: str, symbol: Symbol = BTC) -> Decimal:
        """Return the signed quantity that an account holds."""
        position = self.position(account, symbol)
        return Decimal(0) if position is None else position.signed_quantity

    def status(self, account: str) -> AccountStatus | None:
        found = self.parts.ledger.account(self.accounts[account])
        return None if found is None else found.status

    def in_doubt(self) -> int:
        """Return how many orders the exchange has yet to explain."""
        return self.parts.wired.resolver.statistics().in_doubt

    async def settled(self) -> None:
        """Wait until no order is in doubt and every identity is balanced at a fresh watermark."""
        await until(self.balanced, "netting identity", seconds=10)
        # A test that runs across a funding ends when its line is read, or the wallet would differ.
        income = self.parts.wired.income
        await until(lambda: income.statistics().expected == 0, "income that the stream told of", seconds=10)

    def balanced(self) -> bool:
        """Tell whether every symbol's identity is balanced at its watermark."""
        for one in self.parts.trader.exposure():
            if one.exchange_net is None or one.virtual_net + one.house_net != one.exchange_net:
                return False
        return True


@asynccontextmanager
async def laboratory(
    folder: Path, clock: Clock | None = None, *, dies: bool = False, **overrides: object
) -> AsyncIterator[Laboratory]:
    """Run an engine on BTC at 60,000 and ETH at 3,000; the books are audited when the test is over.

    Engine and exchange share `clock`, the machine's unless given. One that `dies` ends in the middle of what
    it does: its books may be behind, and nothing is awaited or audited.
    """
    settings = load_settings({"data_dir": folder / "data", **overrides})
    engine = Engine(
        settings,
        EngineOptions(symbols=tuple(NATIVE.values())),
        clock or SystemClock(),
        SystemIds(),
        lambda text: None,
    )
    async with engine.running() as parts:
        bench = Laboratory(parts, settings)
        await bench.reset_prices()
        yield bench
        if not dies:
            await bench.settled()
    if dies:
        return
    report = await audited(settings)
    assert report.passed, "\n".join(report.lines())


async def audited(settings: Settings) -> AuditReport:
    """Audit the books of a stopped laboratory against the simulated exchange's own file."""
    wallet, positions = read_only_account(settings.data_dir / SIMULATOR_FILE, EMBEDDED_KEY)
    unified = {native: symbol for symbol, native in NATIVE.items()}
    held = {unified[native]: ExchangePosition(*position) for native, position in positions.items()}
    return await audit(database_url(settings), exchange=ExchangeFigures(wallet, held))
