"""Ten thousand trades at once on fifty accounts: no update is lost, and the books are clean."""

import asyncio
import tempfile
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from pms.execution.api import Executed, MarketRequest
from pms.ledger.api import Actor, NewAccount
from pms.ledger.audit import audit
from pms.ledger.migrate import migrate
from pms.model.account import RiskRules
from pms.model.ids import SubAccountId
from pms.model.money import Money
from pms.model.order import OrderSide
from tests.integration.ledger.conftest import emptied_postgres
from tests.support.ledger import Desk, money, opened
from tests.support.lives import BTC, ETH, LONG, SHORT, Life, World, books_of
from tests.support.servers import Servers
from tests.support.stepped_loop import START_MS
from tests.support.venue import VenueState

ACTOR = Actor("tester", "jwt")
WIDE = RiskRules(Decimal(100), Decimal(10_000_000), Decimal(100_000_000), Decimal("0.9"))
ACCOUNTS = 50
TRADES_EACH = 200
SEED = 20261125


@pytest.mark.timeout(120)
def test_ten_thousand_orders_at_once(tmp_path: Path) -> None:
    """From request to booked fill, through gate, queue, venue and ledger."""
    memory = Path("/dev/shm")
    random = Random(SEED)
    print(f"seed {SEED}")

    async def trade(life: Life) -> None:
        names = [f"T{number}" for number in range(ACCOUNTS)]
        owners: dict[str, SubAccountId] = {}
        for name in names:
            account = await life.ledger.create_account(NewAccount(name, None, Money(Decimal(15_000))), ACTOR)
            await life.ledger.set_rules(account.id, WIDE, ACTOR)
            owners[name] = account.id
        expected: dict[SubAccountId, Decimal] = defaultdict(Decimal)

        async def one(owner: SubAccountId, signed: Decimal) -> None:
            side = LONG if signed > 0 else SHORT
            request = MarketRequest(owner, BTC, side, abs(signed), Decimal(100))
            result = await life.wired.trader.market(request, ACTOR)
            assert isinstance(result, Executed), result
            expected[owner] += signed

        async def trader(owner: SubAccountId) -> None:
            """Four orders of the account at a time, so that its own orders race as well."""
            for _ in range(TRADES_EACH // 4):
                signed = [Decimal(random.choice((-3, -2, -1, 1, 2, 3))) / 1000 for _ in range(4)]
                await asyncio.gather(*(one(owner, each) for each in signed))

        await asyncio.gather(*(trader(owner) for owner in owners.values()))
        await life.clock.sleep(2)
        held = {
            position.sub_account_id: position.signed_quantity for position in life.ledger.open_positions()
        }
        assert held == {owner: quantity for owner, quantity in expected.items() if quantity}
        books_of(life)

    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        path = Path(folder) / "ledger.db"
        asyncio.run(migrate(f"sqlite:///{path}"))
        state = VenueState({BTC: Decimal(60_000), ETH: Decimal(3_000)}, pieces=1)
        world = World(path, state, START_MS)
        assert world.live(trade) is not None
        assert len(state.trades) == ACCOUNTS * TRADES_EACH
        assert world.query("SELECT count(*) FROM pms_fills") == [(ACCOUNTS * TRADES_EACH,)]
        report = asyncio.run(audit(f"sqlite:///{path}"))
        assert report.passed, "\n".join(report.lines())


@pytest.mark.postgres
@pytest.mark.timeout(120)
async def test_ten_thousand_executions_at_once_on_postgresql(servers: Servers) -> None:
    """Each account has one order that is executed in two hundred parts, all of them booked in parallel."""
    url = await emptied_postgres(servers)
    ledger = await opened(url)
    await ledger.adopt_wallet(money("1000000"), "e")
    desk = Desk(ledger)
    whole = f"{Decimal(TRADES_EACH) / 1000:f}"
    accounts = [await desk.account(f"T{number}", "15000") for number in range(ACCOUNTS)]
    orders = [
        await desk.order(account.id, OrderSide.BUY if number % 2 else OrderSide.SELL, whole, price="60000")
        for number, account in enumerate(accounts)
    ]
    fills = [desk.fill(order, "60000", "0.001") for _ in range(TRADES_EACH) for order in orders]
    for start in range(0, len(fills), 5_000):  # the writer's queue is bounded
        booked = await asyncio.gather(*(desk.book(fill, "0.024") for fill in fills[start : start + 5_000]))
        assert not any(one.duplicate for one in booked)
    for account in accounts:
        found = ledger.account(account.id)
        assert found is not None
        assert found.balance == Decimal(15_000) - Decimal("0.024") * TRADES_EACH
    assert {position.quantity for position in ledger.open_positions()} == {Decimal(whole)}
    await ledger.close()
    report = await audit(url)
    assert report.passed, "\n".join(report.lines())
