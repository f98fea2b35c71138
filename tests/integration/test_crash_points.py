"""A crash at every await point of an order's life: the loop is abandoned there, the stores are opened again,
and the books that follow are those without the crash, or those of an order that never left.

Each scenario is run once to count its steps, then once for each. `make test-crash` kills real processes.
"""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from pms.execution.api import Executed, LimitRequest, MarketRequest, Resting
from pms.ledger.api import Actor, NewAccount
from pms.ledger.audit import ExchangeFigures, ExchangePosition, audit
from pms.ledger.migrate import migrate
from pms.model.account import LiquidationMode, RiskRules
from pms.model.money import Money
from pms.model.refusal import Refused
from pms.model.symbol import Symbol
from tests.support.lives import BTC, ETH, LONG, SHORT, Act, Life, World
from tests.support.stepped_loop import START_MS
from tests.support.venue import VenueState

ACTOR = Actor("tester", "jwt")
WIDE = RiskRules(Decimal(100), Decimal(1_000_000), Decimal(10_000_000), Decimal("0.9"))


async def prepare(life: Life) -> None:
    """Alice holds LONG 0.4 BTC, Bob SHORT 0.1, Carol and Dave LONG 2 ETH each; all with room for more."""
    modes = {
        "Alice": (10_000, LiquidationMode.INSTANT_CLOSE),
        "Bob": (10_000, LiquidationMode.INSTANT_CLOSE),
        "Carol": (1_000, LiquidationMode.TAKEOVER),
        "Dave": (1_000, LiquidationMode.ADL_30),
    }
    for name, (balance, mode) in modes.items():
        new = NewAccount(name, None, Money(Decimal(balance)), liquidation_mode=mode)
        account = await life.ledger.create_account(new, ACTOR)
        await life.ledger.set_rules(account.id, WIDE, ACTOR)
    for name, signed, symbol in (("Alice", "0.4", BTC), ("Bob", "-0.1", BTC), ("Carol", "2", ETH)):
        assert isinstance(await trade(life, name, signed, symbol), Executed)
    assert isinstance(await trade(life, "Dave", "2", ETH), Executed)


async def trade(life: Life, name: str, signed: str, symbol: Symbol = BTC) -> Executed | Refused:
    quantity = Decimal(signed)
    side = LONG if quantity > 0 else SHORT
    request = MarketRequest(life.named(name), symbol, side, abs(quantity), Decimal(10))
    return await life.wired.trader.market(request, ACTOR)


async def open_more(life: Life) -> None:
    await trade(life, "Alice", "0.2")


async def flip(life: Life) -> None:
    await trade(life, "Alice", "-0.6")


async def close(life: Life) -> None:
    position = life.ledger.open_position(life.named("Alice"), BTC)
    assert position is not None
    await life.wired.trader.close(position.id, ACTOR)


async def rest_fill_cancel(life: Life) -> None:
    """A limit order rests, fills in part, and is cancelled."""
    request = LimitRequest(life.named("Bob"), BTC, LONG, Decimal("0.3"), Decimal(50_000), Decimal(10))
    resting = await life.wired.trader.limit(request, ACTOR)
    assert isinstance(resting, Resting)
    life.venue.execute_resting(resting.order.client_order_id, Decimal("0.12"))
    await life.clock.sleep(0.05)
    order = life.ledger.order(resting.order.client_order_id)
    assert order is not None
    assert order.pending_order_id is not None
    await life.wired.trader.cancel(order.pending_order_id, ACTOR)


async def liquidate(life: Life) -> None:
    """The price falls until Alice is insolvent: everything of hers is closed, and she is marked."""
    await fall(life, BTC, "35200", seconds=2)


async def take_over_and_reduce(life: Life) -> None:
    """The price falls until Carol is taken over, and 30 % of Dave's position are closed."""
    await fall(life, ETH, "2515", seconds=4)


async def fall(life: Life, symbol: Symbol, price: str, seconds: int) -> None:
    for _ in range(4 * seconds):
        life.mark(symbol, price)
        await life.clock.sleep(0.25)


async def withdraw(life: Life) -> None:
    await life.wired.trader.withdraw(life.named("Bob"), Money(Decimal(500)), ACTOR)


EITHER, ALWAYS = {False, True}, {True}
"""An order of a user may never have left; what the price demands is done by the next life."""

SCENARIOS: dict[str, tuple[Act, set[bool]]] = {
    "a market order adds": (open_more, EITHER),
    "a market order flips": (flip, EITHER),
    "a position is closed": (close, EITHER),
    "a limit order rests, fills in part and is cancelled": (rest_fill_cancel, EITHER),
    "an account is liquidated": (liquidate, ALWAYS),
    "one account is taken over, another one reduced": (take_over_and_reduce, ALWAYS),
    "money is withdrawn": (withdraw, EITHER),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world with two accounts and their positions."""
    path = tmp_path_factory.mktemp("lives") / "base.db"
    asyncio.run(migrate(f"sqlite:///{path}"))
    world = World(path, VenueState({BTC: Decimal(60_000), ETH: Decimal(3_000)}), START_MS)
    assert world.live(prepare) is not None
    return world


def audited(world: World) -> None:
    figures = ExchangeFigures(
        world.venue.wallet,
        {
            symbol: ExchangePosition(net, world.venue.cost[symbol] / net)
            for symbol, net in world.venue.net.items()
            if net
        },
    )
    report = asyncio.run(audit(f"sqlite:///{world.path}", exchange=figures))
    assert report.passed, "\n".join(report.lines())


@pytest.mark.parametrize(("act", "wanted"), SCENARIOS.values(), ids=SCENARIOS.keys())
def test_the_books_after_a_crash_at_any_step_are_those_without_it(
    act: Act, wanted: set[bool], base: World, tmp_path: Path
) -> None:
    whole = base.copy(tmp_path / "whole.db")
    steps = whole.live(act)
    assert steps is not None
    assert steps > 3
    expected, before = whole.recovered(), base.copy(tmp_path / "before.db").recovered()
    assert expected != before
    outcomes = set()
    for step in range(1, steps + 1):
        world = base.copy(tmp_path / "crashed.db")
        assert world.live(act, stops_after=step) is None
        found = world.recovered()
        assert found in (before, expected), f"after a crash at step {step} of {steps}"
        outcomes.add(found == expected)
        if step % 4 == 0 or step == steps:
            audited(world)
    assert outcomes == wanted, "the steps reach from before the order's effect to behind it"
