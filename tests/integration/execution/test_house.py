"""What the house holds and how it goes: by policy, beyond a limit, closed or assigned by an operator
(decision 6)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pms.execution.api import Executed, HouseAssigned, HouseClosed
from pms.ledger.api import Committed, NewIntent
from pms.ledger.audit import audit
from pms.ledger.errors import DatabaseFullError
from pms.model.money import Money, Price
from pms.model.order import JournalOrder
from pms.model.refusal import RefusalCode, Refused
from pms.model.restriction import Restriction
from tests.support.laboratory import ACTOR, BTC, LONG, SHORT, Laboratory, laboratory
from tests.support.waiting import until


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path) as running:
        await running.account("Alice")
        await running.account("Bob")
        yield running


async def give_house(lab: Laboratory, quantity: str) -> None:
    """Let the house take a long position of that size over."""
    await lab.market("Alice", LONG, quantity)
    position = lab.position("Alice")
    assert position is not None
    await lab.parts.ledger.take_over(position.id, ACTOR, Price(Decimal(60_000)))


def house(lab: Laboratory) -> Decimal:
    return sum((held.signed_quantity for held in lab.parts.ledger.house_positions()), Decimal(0))


async def test_an_operator_lists_and_closes_what_the_house_holds(lab: Laboratory) -> None:
    desk = lab.parts.wired.house
    assert not desk.holdings()
    await give_house(lab, "0.5")
    (held,) = desk.holdings()
    assert (held.symbol, held.signed_quantity, held.passing_on) == (BTC, Decimal("0.5"), 0)
    assert held.unrealized_pnl == 0
    part = await desk.close(BTC, Decimal("0.2"), ACTOR)
    assert isinstance(part, HouseClosed), part
    assert (part.quantity, part.left) == (Decimal("0.2"), Decimal("0.3"))
    assert [order.reduce_only_wire for order in part.orders] == [True]
    rest = await desk.close(BTC, None, ACTOR)
    assert isinstance(rest, HouseClosed), rest
    assert house(lab) == 0
    nothing = await desk.close(BTC, None, ACTOR)
    assert isinstance(nothing, Refused)
    rows = await lab.parts.ledger.store.fetch(
        "SELECT actor, action, target FROM pms_actions ORDER BY timestamp"
    )
    acts = [(row["actor"], row["action"], row["target"]) for row in rows if row["action"] == "house.close"]
    assert acts == [("tester", "house.close", BTC)] * 3


async def test_the_house_keeps_dust_and_waits_for_a_known_net(lab: Laboratory) -> None:
    await give_house(lab, "0.5")
    desk = lab.parts.wired.house
    dust = await desk.close(BTC, Decimal("0.0001"), ACTOR)
    assert isinstance(dust, Refused)
    lab.parts.core.net.forget()
    unknown = await desk.close(BTC, None, ACTOR)
    assert isinstance(unknown, Refused)
    assert unknown.refusals[0].code is RefusalCode.EXCHANGE_STATE_UNKNOWN
    assert house(lab) == Decimal("0.5")
    lab.parts.core.net.snapshot(tuple(await lab.parts.exchange.account.positions()), 0)


async def test_an_assignment_happens_once_and_passes_the_gate(lab: Laboratory) -> None:
    await give_house(lab, "0.5")
    desk, bob = lab.parts.wired.house, lab.accounts["Bob"]
    too_much = await desk.assign(BTC, bob, Decimal("0.4"), Decimal(1), ACTOR, "first")
    assert isinstance(too_much, Refused), "24,000 of margin at 1x"
    assert too_much.refusals[0].code is RefusalCode.INSUFFICIENT_MARGIN
    for _ in range(2):
        done = await desk.assign(BTC, bob, Decimal("0.4"), Decimal(10), ACTOR, "second")
        assert isinstance(done, HouseAssigned | Refused), done
    assert lab.held("Bob") == Decimal("0.4")
    assert house(lab) == Decimal("0.1")
    assert isinstance(await desk.assign(BTC, bob, Decimal(1), Decimal(10), ACTOR), Refused)


async def test_nothing_is_admitted_on_the_margin_of_an_assignment_under_way(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await give_house(lab, "1")
    desk, ledger, bob = lab.parts.wired.house, lab.parts.ledger, lab.accounts["Bob"]
    write, outcomes = ledger.assign_from_house, []

    async def slow(*given: Any) -> Committed:
        outcomes.append(await lab.market("Bob", LONG, "0.8"))  # 4,800 of margin beside 6,000 of 10,000
        return await write(*given)

    monkeypatch.setattr(ledger, "assign_from_house", slow)
    assert isinstance(await desk.assign(BTC, bob, Decimal(1), Decimal(10), ACTOR), HouseAssigned)
    assert isinstance(outcomes[0], Refused)
    assert lab.held("Bob") == 1
    assert isinstance(await lab.market("Bob", LONG, "0.3"), Executed), "the rest is free again"


async def test_a_house_that_unwinds_trades_away_what_it_takes_over(tmp_path: Path) -> None:
    async with laboratory(tmp_path, house_policy="unwind") as lab:
        await lab.account("Alice")
        await lab.account("Bob")
        await give_house(lab, "0.5")
        await until(lambda: house(lab) == 0, "the house is flat")
        # Halted, it trades nothing; but a close of somebody else may meet what it holds.
        lab.parts.core.switches.halted = True
        await give_house_short_of(lab, "0.3")
        assert house(lab) == Decimal("-0.3")
        lab.parts.core.switches.halted = False
        await until(lambda: house(lab) == 0, "the house is flat again")


async def give_house_short_of(lab: Laboratory, quantity: str) -> None:
    lab.parts.core.switches.halted = False
    await lab.market("Bob", SHORT, quantity)
    lab.parts.core.switches.halted = True
    position = lab.position("Bob")
    assert position is not None
    await lab.parts.ledger.take_over(position.id, ACTOR, Price(Decimal(60_000)))


async def test_what_lies_beyond_a_limit_is_traded_away_under_either_policy(lab: Laboratory) -> None:
    await lab.parts.ledger.set_house_limit(BTC, Money(Decimal(12_000)), ACTOR)
    await give_house(lab, "0.5")
    await until(lambda: house(lab) == Decimal("0.2"), "12,000 at 60,000")
    report = await audit(f"sqlite:///{lab.settings.data_dir.resolve() / 'ledger.db'}")
    assert report.passed, "\n".join(report.lines())


async def test_what_was_not_sent_of_several_orders_holds_nothing(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await give_house(lab, "0.5")
    desk, live = lab.parts.wired.house, lab.parts.core.live_orders
    rules = lab.parts.trader.symbol_rules(BTC)
    assert rules is not None
    sliced = replace(rules, market_quantity_max=Decimal("0.2"))

    async def full(intent: NewIntent) -> JournalOrder:
        raise DatabaseFullError("full")

    with monkeypatch.context() as patch:
        patch.setattr(desk, "_rules", lambda symbol: sliced)
        patch.setattr(lab.parts.ledger, "record_intent", full)
        with pytest.raises(DatabaseFullError):
            await desk.close(BTC, None, ACTOR)
    assert not list(live.of_symbol(BTC)), "three slices were reserved, none was sent"
    closed = await desk.close(BTC, None, ACTOR)
    assert isinstance(closed, HouseClosed), closed
    assert closed.left == 0


async def test_the_house_does_not_enlarge_the_real_net_while_everybody_is_halted(tmp_path: Path) -> None:
    async with laboratory(tmp_path, house_policy="unwind") as lab:
        desk, ledger = lab.parts.wired.house, lab.parts.ledger
        await lab.account("Alice")
        await lab.account("Bob")
        await lab.market("Bob", SHORT, "0.5")
        await lab.market("Alice", LONG, "0.5")
        await ledger.set_restriction(None, "exchange", Restriction.HALT, "liquidated", ACTOR)
        hedge = lab.position("Alice")
        assert hedge is not None
        # The real net is flat: trading away what hedges Bob would open it.
        await ledger.take_over(hedge.id, ACTOR, Price(Decimal(60_000)))
        await until(lambda: BTC in desk._not_before, "the house has looked")
        assert house(lab) == Decimal("0.5")
        closed = await desk.close(BTC, None, ACTOR)
        assert isinstance(closed, HouseClosed), "an operator may"


async def test_closes_at_once_meet_what_the_house_holds_once(tmp_path: Path) -> None:
    async with laboratory(tmp_path, house_policy="unwind") as lab:
        for name in ("Alice", "Bob", "Carol", "Dave", "Erin"):
            await lab.account(name)
        for name in ("Bob", "Carol", "Dave", "Erin"):
            await lab.market(name, SHORT, "0.1")
        # The desk rests, so that what the house takes over now stays for the closes.
        lab.parts.wired.house._not_before[BTC] = float("inf")
        await give_house(lab, "0.2")
        held = [position.id for position in lab.parts.ledger.open_positions()]
        trader = lab.parts.trader
        await asyncio.gather(trader.close_many(held[:2], ACTOR), trader.close_many(held[2:], ACTOR))
        assert not lab.parts.ledger.open_positions()
        assert house(lab) == 0, "two pairs cannot meet the same 0.2"
        assert not lab.parts.core.live_orders._claimed
