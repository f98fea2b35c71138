"""Everything that closes a position, fired together a thousand times: one close, one profit, and no quantity
lost or closed twice. The order of steps is another one in each round, from a seed that is printed.
"""

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from pms.execution.api import Executed, MarketRequest
from pms.ledger.api import Actor, NewAccount
from pms.ledger.audit import audit
from pms.ledger.migrate import migrate
from pms.model.account import LiquidationMode, Position, RiskRules
from pms.model.money import Money
from pms.model.order import OrderCode, Priority
from pms.model.refusal import Refused
from tests.support.lives import BTC, ETH, LONG, SHORT, Life, World, books_of
from tests.support.stepped_loop import START_MS
from tests.support.venue import VenueState

ACTOR = Actor("tester", "jwt")
WIDE = RiskRules(Decimal(100), Decimal(10_000_000), Decimal(100_000_000), Decimal("0.9"))
ROUNDS = 1_000
SEED = 20261125
OPENED = Decimal("0.1")
FOREIGN = Decimal("0.02")

Closing = Callable[[Life, Position], Awaitable[object]]


async def manual_close(life: Life, position: Position) -> object:
    return await life.wired.trader.close(position.id, ACTOR)


async def adl_step(life: Life, position: Position) -> object:
    return await life.wired.trader.close_with(
        position.id, OrderCode.LIQUIDATION, "ADL_TIER2", Priority.LIQUIDATION, quantity=OPENED * 3 / 10
    )


async def trailing_stop(life: Life, position: Position) -> object:
    return await life.wired.trader.close_with(
        position.id, OrderCode.TRAILING_STOP, "TRAIL_STOP", Priority.TRAILING_STOP
    )


async def reconciliation(life: Life, position: Position) -> object:
    """Somebody trades on the real account by hand: the holder of the reduced side gets it, once."""
    life.venue.foreign(position.symbol, -FOREIGN * position.side.sign)
    return None


CLOSERS: tuple[Closing, ...] = (manual_close, adl_step, trailing_stop, reconciliation)


@pytest.fixture
def world() -> Iterator[World]:
    """An empty ledger, in memory where the machine has such a folder: thousands of commits are not about the
    disk here."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        path = Path(folder) / "ledger.db"
        asyncio.run(migrate(f"sqlite:///{path}"))
        yield World(path, VenueState({BTC: Decimal(60_000), ETH: Decimal(3_000)}), START_MS)


async def one_round(life: Life, random: Random, side: str) -> None:
    """Open, let everybody close at once, and account for every trade of the position."""
    life.venue.state.pieces = random.choice((1, 2, 3))
    life.mark(BTC, str(random.randint(590_000, 610_000) / 10))
    request = MarketRequest(life.named("Alice"), BTC, LONG if side == "LONG" else SHORT, OPENED, Decimal(10))
    opened = await life.wired.trader.market(request, ACTOR)
    assert isinstance(opened, Executed), opened
    position = opened.position
    assert position is not None
    trades = len(life.heard)

    async def after(steps: int, closing: Closing) -> object:
        for _ in range(steps):
            await asyncio.sleep(0)
        return await closing(life, position)

    results = await asyncio.gather(*(after(random.randrange(12), closing) for closing in CLOSERS))
    await life.clock.sleep(3)
    assert all(result is None or isinstance(result, Executed | Refused) for result in results)
    assert life.ledger.open_position(life.named("Alice"), BTC) is None
    rows = [trade for trade in life.heard[trades:] if trade.position_id == position.id]
    assert sum(trade.quantity for trade in rows) == OPENED, "no quantity is lost, none closed twice"
    profit = sum((trade.price - position.entry_price) * trade.quantity for trade in rows) * position.side.sign
    booked = sum((trade.realized_pnl or Decimal(0)) + trade.fee for trade in rows)
    assert booked == profit, "one profit"


def test_everything_that_closes_a_position_fired_together(world: World) -> None:
    random = Random(SEED)
    print(f"seed {SEED}")

    async def rounds(life: Life) -> None:
        account = await life.ledger.create_account(
            NewAccount("Alice", None, Money(Decimal(900_000)), liquidation_mode=LiquidationMode.ADL_30), ACTOR
        )
        await life.ledger.set_rules(account.id, WIDE, ACTOR)
        for number in range(ROUNDS):
            await one_round(life, random, "LONG" if number % 2 else "SHORT")
            if number % 100 == 0:
                books_of(life)
        books_of(life)

    assert world.live(rounds) is not None
    report = asyncio.run(audit(f"sqlite:///{world.path}"))
    assert report.passed, "\n".join(report.lines())
    actions: dict[str, int] = defaultdict(int)
    for action, count in world.query("SELECT action, count(*) FROM trade_executions GROUP BY action"):
        actions[str(action)] = int(str(count))
    assert {"OPEN", "CLOSE", "ADL_TIER2", "TRAIL_STOP", "RECONCILE"} <= set(actions), actions
    closed = world.query("SELECT count(*) FROM virtual_positions WHERE status <> 'OPEN'")
    assert closed == [(ROUNDS,)]
