"""The real account's ladder end to end: warned, entries blocked, the largest real risk shed (decision 19)."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio

from pms.bus.hub import Event
from pms.engine import EMBEDDED_KEY
from pms.execution import real_account
from pms.execution.api import Executed
from pms.model.refusal import RefusalCode, Refused
from pms.risk.real_ladder import RealLevel
from tests.support.laboratory import BTC, ETH, LONG, SHORT, Laboratory, laboratory
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Laboratory]:
    folder: Path = tmp_path_factory.mktemp("ladder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(real_account, "READ_SECONDS_MIN", 0.02)
        async with laboratory(folder) as running:
            for name in ("A", "B", "C"):
                await running.account(name, balance=300_000)
            yield running


async def to_ratio(lab: Laboratory, ratio: str) -> Decimal:
    """Take money out of the real account until its maintenance is that share of it; return what was taken."""
    real = lab.parts.wired.real
    await real.read()
    figures = real.figures()
    wanted = figures.maintenance_margin / Decimal(ratio)
    taken = (figures.margin_balance - wanted).quantize(Decimal("0.01"))
    lab.exchange.arm(kind="deposit", account=EMBEDDED_KEY, quantity=str(-taken))
    return taken


async def at_level(lab: Laboratory, level: RealLevel) -> None:
    await until(lambda: lab.parts.core.switches.real_level is level, f"level {level.name}")


async def test_the_ladder_warns_blocks_and_sheds(lab: Laboratory) -> None:
    heard: list[Event] = []
    lab.parts.core.hub.add_sink(heard.append)
    # BTC carries the most real maintenance: net long 3, of A and B; C is on the other side.
    for name, side, quantity in (("A", LONG, "3"), ("B", LONG, "1"), ("C", SHORT, "1")):
        assert isinstance(await lab.market(name, side, quantity), Executed)
    assert isinstance(await lab.market("C", LONG, "10", ETH), Executed)
    await lab.settled()
    taken = await to_ratio(lab, "0.55")
    await at_level(lab, RealLevel.WARN)
    assert isinstance(await lab.market("C", SHORT, "0.1", BTC), Executed), "a warning stops nobody"
    taken += await to_ratio(lab, "0.70")
    await at_level(lab, RealLevel.BLOCK)
    blocked = await lab.market("C", SHORT, "0.1")
    assert isinstance(blocked, Refused)
    assert blocked.refusals[-1].code is RefusalCode.REAL_ENTRIES_BLOCKED
    assert isinstance(await lab.market("A", SHORT, "0.1", reduce_only=True), Executed), "reducing goes on"
    before = {name: lab.held(name) for name in "ABC"}
    assert before == {"A": Decimal("2.9"), "B": Decimal(1), "C": Decimal("-1.1")}
    taken += await to_ratio(lab, "0.85")
    await until(lambda: lab.parts.wired.real_ladder.statistics().steps == 1, "a step")
    await until(lambda: lab.parts.wired.real.figures().margin_ratio < Decimal("0.80"), "the step's effect")
    ledger = lab.parts.ledger
    await until(lambda: not ledger.open_orders() and not ledger.pools(), "both closes booked")
    shed = {name: before[name] - lab.held(name) for name in "ABC"}
    assert shed["C"] == 0, "the other side carries none of the real risk"
    assert lab.held("C", ETH) == 10, "nor does the smaller symbol"
    assert shed["A"] > shed["B"] > 0, "pro rata by lots"
    assert abs(shed["A"] / shed["B"] - Decimal("2.9")) < Decimal("0.1")
    logs = await lab.parts.ledger.queries.balance_logs(lab.accounts["A"], 3)
    assert "REAL_SHED" in {log.reason for log in logs}
    lab.exchange.arm(kind="deposit", account=EMBEDDED_KEY, quantity=str(taken))
    await at_level(lab, RealLevel.CALM)
    assert isinstance(await lab.market("C", SHORT, "0.1"), Executed)
    names = [event.data["level"] for event in heard if event.type == "real_account_level"]
    assert names[:3] == ["WARN", "BLOCK", "SHED"]
    assert names[-1] == "CALM"
    assert lab.parts.wired.real_ladder.statistics().steps == 1
    await lab.flatten()


async def test_nothing_is_shed_on_a_stale_price(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(await lab.market("A", LONG, "3"), Executed)
    ladder = lab.parts.wired.real_ladder
    steps = ladder.statistics().steps
    monkeypatch.setattr(lab.parts.core.prices, "fresh", lambda symbol: False)
    taken = await to_ratio(lab, "0.85")
    await until(lambda: "not fresh" in ladder.statistics().last_reason, "the postponement")
    assert (ladder.statistics().steps, lab.held("A")) == (steps, Decimal(3))
    lab.exchange.arm(kind="deposit", account=EMBEDDED_KEY, quantity=str(taken))
    await at_level(lab, RealLevel.CALM)
    monkeypatch.undo()
    await lab.flatten()


async def test_a_step_of_many_holders_is_one_order(lab: Laboratory) -> None:
    for name, quantity in (("A", "2"), ("B", "1"), ("C", "1")):
        assert isinstance(await lab.market(name, LONG, quantity), Executed)
    await lab.settled()
    orders = lab.parts.wired.sender.statistics().confirmed
    done = await lab.parts.trader.shed(
        {held.id: Decimal("0.1") for held in lab.parts.ledger.open_positions()}, "REAL_SHED"
    )
    assert [type(result) for result in done.values()] == [Executed] * 3
    assert lab.parts.wired.sender.statistics().confirmed == orders + 1
    assert [lab.held(name) for name in "ABC"] == [Decimal("1.9"), Decimal("0.9"), Decimal("0.9")]
    logs = await lab.parts.ledger.queries.balance_logs(lab.accounts["B"], 1)
    assert [log.reason for log in logs] == ["REAL_SHED"]
    await lab.flatten()
