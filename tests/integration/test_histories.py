"""Random histories of an engine on an unreliable venue, with crashes after any step: the design's invariants
hold whenever it is at rest, and those of single orders at every commit.

A history is lives; a life is groups of commands that run at once; each may die in the middle. What fails is
printed as the history that shows it, shrunk. The ledger's own histories are in `ledger/test_stateful.py`.
"""

import asyncio
import tempfile
from collections import Counter, defaultdict
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from random import Random
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pms.execution.api import Executed, LimitRequest, MarketRequest
from pms.ledger.api import Actor, NewAccount
from pms.ledger.audit import ExchangeFigures, ExchangePosition, audit
from pms.ledger.errors import LedgerError
from pms.ledger.migrate import migrate
from pms.ledger.store_sqlite import SqliteStore
from pms.model.account import AccountStatus, LiquidationMode, Position, RiskRules
from pms.model.money import Money
from pms.model.restriction import Restriction
from pms.model.symbol import Symbol
from tests.support.ledger_history import LONG_RUN
from tests.support.lives import BTC, ETH, LONG, SHORT, Life, World
from tests.support.moody_venue import MoodyVenue
from tests.support.stepped_loop import START_MS
from tests.support.venue import VenueState
from tests.support.watch import Watch, at_rest, judge

ACTOR = Actor("tester", "jwt")
WIDE = RiskRules(Decimal(100), Decimal(1_000_000), Decimal(10_000_000), Decimal("0.9"))
PRICES = {BTC: Decimal(60_000), ETH: Decimal(3_000)}
LOTS = {BTC: Decimal("0.01"), ETH: Decimal("0.2")}
NAMES = {
    "Ada": LiquidationMode.ADL_30,
    "Ben": LiquidationMode.INSTANT_CLOSE,
    "Cyd": LiquidationMode.TAKEOVER,
}
KINDS = (
    "market", "market", "market", "market", "reduce", "limit", "limit", "fill", "fill", "cancel", "close",
    "close partly", "close many", "close by price", "move", "move", "move", "foreign", "liquidation", "money",
    "take over", "restrict", "release", "freeze", "stale",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Command:
    """One thing that somebody does; what a number means depends on the kind."""

    kind: str
    who: str
    symbol: Symbol
    number: int
    after_steps: int


@dataclass(frozen=True, slots=True)
class LifeOf:
    """Groups of commands at once; the process dies after so many steps (None: it is stopped in order)."""

    groups: list[list[Command]]
    dies_after: int | None
    trouble: float
    seed: int


commands = st.builds(
    Command,
    st.sampled_from(KINDS),
    st.sampled_from(list(NAMES)),
    st.sampled_from([BTC, ETH]),
    st.integers(-20, 20),
    st.integers(0, 30),
)
lives = st.builds(
    LifeOf,
    st.lists(st.lists(commands, min_size=1, max_size=6), min_size=1, max_size=4),
    st.none() | st.integers(1, 600),
    st.sampled_from([0.0, 0.1, 0.3]),
    st.integers(0, 10_000),
)


@dataclass(slots=True)
class Street:
    """Carries commands out in one life."""

    life: Life
    random: Random
    done: Counter[str]

    @property
    def venue(self) -> MoodyVenue:
        return cast("MoodyVenue", self.life.venue)

    async def group(self, group: list[Command]) -> None:
        await asyncio.gather(*(self.carry_out(command) for command in group))

    async def carry_out(self, command: Command) -> None:
        for _ in range(command.after_steps):
            await asyncio.sleep(0)
        try:
            result = await self.started(command)
        except LedgerError as error:  # a balance that is not there, an account that is exposed, ...
            result = error
        self.done[f"{command.kind}: {type(result).__name__}"] += 1

    def started(self, command: Command) -> Awaitable[object]:
        return getattr(self, command.kind.replace(" ", "_"))(command)  # type: ignore[no-any-return]

    def position(self, command: Command) -> Position | None:
        owner = self.life.named(command.who)
        mine = [one for one in self.life.ledger.open_positions() if one.sub_account_id == owner]
        wanted = [one for one in mine if one.symbol == command.symbol] or mine
        return wanted[0] if wanted else None

    def request(self, command: Command, *, reduce_only: bool = False) -> MarketRequest:
        number = command.number or 7
        return MarketRequest(
            self.life.named(command.who),
            command.symbol,
            LONG if number > 0 else SHORT,
            abs(number) * LOTS[command.symbol],
            Decimal(20),
            reduce_only=reduce_only,
        )

    # --- users ----------------------------------------------------------------------------------------------
    async def market(self, command: Command) -> object:
        return await self.life.wired.trader.market(self.request(command), ACTOR)

    async def reduce(self, command: Command) -> object:
        return await self.life.wired.trader.market(self.request(command, reduce_only=True), ACTOR)

    async def limit(self, command: Command) -> object:
        wanted, held = self.request(command), self.position(command)
        reduces = held is not None and held.side is not wanted.side and command.number % 2 == 0
        price = self.venue.state.prices[command.symbol] * (Decimal(1000) - command.number) / 1000
        limit = LimitRequest(
            wanted.sub_account_id,
            wanted.symbol,
            wanted.side,
            wanted.quantity,
            price.quantize(Decimal("0.1")),
            Decimal(20),
            reduce_only=reduces,
        )
        return await self.life.wired.trader.limit(limit, ACTOR)

    async def cancel(self, command: Command) -> object:
        rows = [order for order in self.life.ledger.open_orders() if order.pending_order_id is not None]
        if not rows:
            return None
        row = rows[command.number % len(rows)]
        assert row.pending_order_id is not None
        return await self.life.wired.trader.cancel(row.pending_order_id, ACTOR)

    async def close(self, command: Command) -> object:
        held = self.position(command)
        return held and await self.life.wired.trader.close(held.id, ACTOR)

    async def close_partly(self, command: Command) -> object:
        held, fraction = self.position(command), Decimal(abs(command.number) + 1) / 20
        return held and await self.life.wired.trader.close_partly(held.id, min(fraction, Decimal(1)), ACTOR)

    async def close_many(self, command: Command) -> object:
        held = [one.id for one in self.life.ledger.open_positions()]
        return await self.life.wired.trader.close_many(held, ACTOR)

    async def close_by_price(self, command: Command) -> object:
        held = self.position(command)
        price = self.venue.state.prices[command.symbol]
        return held and await self.life.wired.trader.close_by_price(held.id, price, "STRATEGY", ACTOR)

    async def money(self, command: Command) -> object:
        trader, account, amount = self.life.wired.trader, self.life.named(command.who), command.number * 20
        if amount > 0:
            return await self.life.ledger.deposit(account, Money(Decimal(amount)), ACTOR)
        if command.number % 2:
            return await trader.withdraw(account, Money(Decimal(1 - amount)), ACTOR)
        return await trader.transfer(account, self.life.named("Ben"), Money(Decimal(1 - amount)), ACTOR)

    # --- the market and the exchange ------------------------------------------------------------------------
    async def move(self, command: Command) -> object:
        """The price moves by up to a fifth, and the engine hears of it."""
        price = self.venue.state.prices[command.symbol] * (100 + command.number) / 100
        self.life.mark(command.symbol, f"{price.quantize(Decimal('0.1'))}")
        return None

    async def stale(self, command: Command) -> object:
        """No price comes for a while: whoever acts then says so."""
        await self.life.clock.sleep(abs(command.number))
        return None

    async def fill(self, command: Command) -> object:
        """Something that rests executes, in part or whole."""
        reports = [one for one in self.venue.state.orders.values() if not one.status.terminal]
        if not reports:
            return None
        report = reports[command.number % len(reports)]
        left = report.quantity - report.executed_quantity
        part = (left * (abs(command.number) + 1) / 21).quantize(Decimal("0.001"), ROUND_DOWN)
        self.venue.execute_resting(report.client_order_id, part or left)
        return report

    async def foreign(self, command: Command) -> object:
        self.venue.foreign(command.symbol, (command.number or 1) * LOTS[command.symbol])
        return None

    async def liquidation(self, command: Command) -> object:
        """The exchange closes a part of the real position, seldom."""
        net = self.venue.state.net.get(command.symbol, Decimal(0))
        if net and command.number > 15:
            self.venue.foreign(command.symbol, -net / 2, "autoclose-")
        return net

    # --- operators ------------------------------------------------------------------------------------------
    async def take_over(self, command: Command) -> object:
        held = self.position(command)
        return held and await self.life.wired.trader.take_over(held.id, ACTOR)

    async def restrict(self, command: Command) -> object:
        if abs(command.number) < 14:
            return None
        level = list(Restriction)[abs(command.number) % len(Restriction)]
        scope = self.life.named(command.who) if command.number > 0 else None
        return await self.life.ledger.set_restriction(scope, "operator", level, "why", ACTOR)

    async def release(self, command: Command) -> object:
        for entry in self.life.ledger.restrictions():
            await self.life.ledger.set_restriction(
                entry.sub_account_id, entry.source, Restriction.NONE, "released", ACTOR
            )
        return None

    async def freeze(self, command: Command) -> object:
        status = AccountStatus.FROZEN if command.number > 10 else AccountStatus.ACTIVE
        return await self.life.ledger.set_status(self.life.named(command.who), status, ACTOR)


async def prepare(life: Life) -> None:
    for name, mode in NAMES.items():
        new = NewAccount(name, None, Money(Decimal(1_500)), liquidation_mode=mode)
        account = await life.ledger.create_account(new, ACTOR)
        await life.ledger.set_rules(account.id, WIDE, ACTOR)
    for name, symbol, side, quantity in (
        ("Ada", BTC, LONG, "0.2"),
        ("Ben", BTC, SHORT, "0.15"),
        ("Cyd", ETH, LONG, "4"),
    ):
        request = MarketRequest(life.named(name), symbol, side, Decimal(quantity), Decimal(20))
        assert isinstance(await life.wired.trader.market(request, ACTOR), Executed)


@pytest.fixture(scope="module")
def base() -> Iterator[World]:
    """Three accounts with money, in memory where the machine has such a folder."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        path = Path(folder) / "base.db"
        asyncio.run(migrate(f"sqlite:///{path}"))
        world = World(path, VenueState(dict(PRICES)), START_MS, venue_type=MoodyVenue)
        assert world.live(prepare) is not None
        yield world


def audited(world: World) -> None:
    positions = {
        symbol: ExchangePosition(net, world.venue.cost[symbol] / net)
        for symbol, net in world.venue.net.items()
        if net
    }
    figures = ExchangeFigures(world.venue.wallet, positions)
    report = asyncio.run(audit(f"sqlite:///{world.path}", exchange=figures))
    assert report.passed, "\n".join(report.lines())


def run(world: World, history: list[LifeOf]) -> tuple[Counter[str], Watch]:
    """Live a history, then once more in peace."""
    done: Counter[str] = Counter()
    watch = Watch()
    for each in [*history, LifeOf([], None, 0.0, 0)]:

        async def act(life: Life, each: LifeOf = each) -> None:
            random = Random(each.seed)
            venue = cast("MoodyVenue", life.venue)
            venue.state.pieces = 1 + each.seed % 3
            venue.random, venue.database = random, lambda: cast("SqliteStore", life.ledger.store)._writer
            watch.begin(life)
            street = Street(life, random, done)
            await at_rest(life)
            await judge(life, watch)
            for group in each.groups:
                venue.trouble = each.trouble
                await street.group(group)
                await at_rest(life)
                await judge(life, watch)

        if world.live(act, stops_after=each.dies_after) is None:
            done["death"] += 1
    audited(world)
    return done, watch


@pytest.mark.timeout(3600 if LONG_RUN else 120)
def test_random_histories_of_an_engine(base: World) -> None:
    total: Counter[str] = Counter()
    seen: dict[str, int] = defaultdict(int)

    @settings(
        max_examples=1_500 if LONG_RUN else 30,
        derandomize=not LONG_RUN,  # the long run looks for what is new
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(lives, min_size=1, max_size=4))
    def histories(history: list[LifeOf]) -> None:
        world = base.copy(base.path.with_name("history.db"))
        done, watch = run(world, history)
        total.update(done)
        seen["intents"] += watch.intents
        seen["liquidations"] += watch.liquidated

    histories()
    print(dict(sorted(total.items())), dict(seen))
    assert seen["intents"] > 20, "the histories trade"


def test_an_order_admitted_before_its_account_is_frozen_or_restricted_does_not_leave(base: World) -> None:
    """Invariant 6 in every interleaving: the gate let it pass, the freeze is committed first."""
    for after_steps in range(12):
        for kind, number in (("freeze", 20), ("restrict", 16)):
            first = Command("market", "Ada", BTC, 3, after_steps)
            group = [first, Command(kind, "Ada", BTC, number, 6)]
            run(base.copy(base.path.with_name("frozen.db")), [LifeOf([group], None, 0.0, 0)])
