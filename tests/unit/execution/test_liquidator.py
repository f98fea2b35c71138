"""The order of work: the largest risk first, and the loop stays free however many accounts are due."""

import asyncio
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from pms.bus.hub import EventHub
from pms.execution.admission import TradingSwitches
from pms.execution.liquidator import YIELD_EVERY, Liquidator
from pms.limits import EVALUATION_DELAY_MS_MAX
from pms.model.ids import SubAccountId
from pms.risk.formulas import Figures
from pms.risk.liquidation import Assessment, Label, LiquidateAll, Nothing, Postponed, Warn
from tests.support.ledger import ManualClock


def figures(maintenance: int, equity: int) -> Figures[Decimal]:
    ratio = Decimal(maintenance) / equity if equity > 0 else Decimal(999)
    money = Decimal(equity)
    return Figures(money, money, Decimal(0), Decimal(0), Decimal(0), Decimal(maintenance), ratio, 1)


def due(maintenance: int, equity: int = 100) -> Assessment[Decimal]:
    act = LiquidateAll(Label.INSTANT_CLOSE, Decimal("0.95"))
    return Assessment(act, figures(maintenance, equity))


class Desk:
    """A liquidator whose decisions are scripted, and which only writes down whose ladders it starts."""

    def __init__(self, decisions: dict[str, Assessment[Decimal] | None]) -> None:
        self.clock = ManualClock()
        self.events: list[Any] = []
        hub = EventHub()
        hub.add_sink(self.events.append)
        self.decisions = decisions
        nobody: Any = SimpleNamespace(sequence=lambda account: 7)
        self.liquidator = Liquidator(
            nobody, nobody, nobody, nobody, nobody, TradingSwitches(), dict, nobody, hub, self.clock
        )
        self.started: list[str] = []
        self.liquidator._tools = SimpleNamespace(assess=self.decisions.get)  # type: ignore[assignment]
        self.liquidator._start = self._start  # type: ignore[method-assign]

    def _start(self, account_id: SubAccountId, tasks: asyncio.TaskGroup, *, announced: bool) -> None:
        self.started.append(account_id)

    async def triage(self) -> None:
        names = tuple(SubAccountId(name) for name in self.decisions)
        async with asyncio.TaskGroup() as tasks:
            await self.liquidator._triage(names, tasks)


async def test_the_insolvent_go_first_and_then_by_the_maintenance_at_stake() -> None:
    desk = Desk(
        {
            "small": due(10),
            "calm": Assessment(Nothing(), figures(1, 100)),
            "large": due(90),
            "insolvent small": due(5, -3),
            "flat": None,
            "insolvent large": due(50, 20),
            "middle": due(40),
        }
    )
    await desk.triage()
    assert desk.started == ["insolvent large", "insolvent small", "large", "middle", "small"]


async def test_a_thousand_accounts_leave_the_loop_free_for_others() -> None:
    desk = Desk({f"account {number}": due(number) for number in range(1000)})
    passes = 0

    async def others() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    await desk.triage()
    other.cancel()
    assert len(desk.started) == 1000
    assert passes >= 2 * (1000 // YIELD_EVERY)


async def test_warnings_come_on_crossing_and_then_every_ten_seconds() -> None:
    warned: Assessment[Decimal] = Assessment(Warn(Decimal("0.85")), figures(85, 100))
    desk = Desk({"a": warned})
    told: list[int] = []
    for second in range(25):
        await desk.triage()
        told.append(len(desk.events))
        desk.clock.advance(1_000)
        if second == 21:
            desk.decisions["a"] = Assessment(Nothing(), figures(10, 100))
        if second == 22:
            desk.decisions["a"] = warned
    assert told == [1] * 10 + [2] * 10 + [3, 3, 3, 4, 4]
    assert desk.liquidator.statistics().warnings == 4


async def test_what_is_postponed_is_said_at_once_and_again_every_ten_seconds(
    caplog: Any, capsys: Any
) -> None:
    act = LiquidateAll(Label.INSTANT_CLOSE, Decimal("0.95"))
    desk = Desk({"a": Assessment(Postponed("BTC/USDT:USDT has no price", act), figures(95, 100))})
    for _ in range(12):
        await desk.triage()
        desk.clock.advance(1_000)
    assert desk.liquidator.statistics().postponed == 12
    assert desk.started == []
    said = capsys.readouterr().out + caplog.text
    assert said.count("liquidation_postponed") == 2
    assert "has no price" in said


async def test_accounts_that_waited_too_long_for_a_look_are_counted_and_said_once(capsys: Any) -> None:
    desk = Desk({})
    liquidator = desk.liquidator
    liquidator._ledger = SimpleNamespace(running_liquidations=tuple)
    running = asyncio.create_task(liquidator.run())
    desk.decisions["prompt"] = None
    liquidator.consider(SubAccountId("late"))
    liquidator.consider(SubAccountId("later"))
    desk.clock.advance(EVALUATION_DELAY_MS_MAX + 1)
    liquidator.consider(SubAccountId("late"))  # waits since the first time
    liquidator.consider(SubAccountId("prompt"))
    for _ in range(10):
        await asyncio.sleep(0)
    running.cancel()
    assert liquidator.statistics().late == 2
    assert capsys.readouterr().out.count("evaluation_delayed") == 1
