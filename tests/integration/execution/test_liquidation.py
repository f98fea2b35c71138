"""Liquidation in every mode on a real engine: what is closed, by whom, what is told, and what is kept.

A threshold that is set below an account's ratio starts its ladder without moving anybody's price. Engine and
exchange run on one clock that the tests push ahead; the books are audited when all are over.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal

import orjson
import pytest
import pytest_asyncio

from pms.execution.api import Executed, Resting
from pms.model.account import AccountStatus, LiquidationMode, PositionStatus
from pms.model.event import DurableEvent, EphemeralEvent
from pms.model.ids import SubAccountId
from pms.model.liquidation import LiquidationRecord, LiquidationState
from pms.model.money import Money
from tests.support.clocks import PushedClock
from tests.support.laboratory import ACTOR, BTC, ETH, LONG, SHORT, WIDE, Laboratory, laboratory

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADL, INSTANT, TAKEOVER = LiquidationMode.ADL_30, LiquidationMode.INSTANT_CLOSE, LiquidationMode.TAKEOVER
CLOCK = PushedClock()
Event = DurableEvent | EphemeralEvent


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path_factory.mktemp("liquidation"), CLOCK) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def lab(engine: Laboratory) -> AsyncIterator[Laboratory]:
    await engine.reset_prices()
    yield engine
    await passes(engine.balanced, "the netting identity")
    await engine.flatten()


@pytest_asyncio.fixture(loop_scope="module")
async def heard(engine: Laboratory) -> list[Event]:
    """Everything that is told from here on."""
    events: list[Event] = []
    engine.parts.core.hub.add_sink(events.append)
    return events


async def passes(condition: Callable[[], bool], what: str, seconds: int = 40) -> None:
    """Let time pass until the condition holds. Raises AssertionError naming `what`."""
    for _ in range(seconds * 4):
        if condition():
            return
        await CLOCK.run_for(0.25, 0.25, pause_seconds=0.01)
    raise AssertionError(f"{what} did not come within {seconds} s of exchange time")


async def threshold(lab: Laboratory, name: str, ratio: str) -> None:
    rules = replace(WIDE, liquidation_threshold=Decimal(ratio))
    await lab.parts.ledger.set_rules(lab.accounts[name], rules, ACTOR)


async def holder(
    lab: Laboratory, name: str, mode: LiquidationMode, quantity: str = "0.5", balance: int = 10_000
) -> SubAccountId:
    """An account that is LONG; half a bitcoin needs 150 of maintenance: 0.015 of 10,000."""
    account = await lab.account(name, balance, mode)
    assert isinstance(await lab.market(name, LONG, quantity), Executed)
    return account


def idle(lab: Laboratory, account: SubAccountId) -> bool:
    return account not in lab.parts.core.switches.liquidating


def told(heard: list[Event], account: SubAccountId, *types: str) -> list[Event]:
    return [event for event in heard if event.sub_account_id == account and event.type in types]


async def records(lab: Laboratory, account: SubAccountId) -> list[LiquidationRecord]:
    """What was decided about an account, oldest first."""
    return list(reversed(await lab.parts.ledger.queries.liquidations(account)))


def liquidated(lab: Laboratory, name: str) -> Callable[[], bool]:
    return lambda: lab.status(name) is AccountStatus.LIQUIDATED


async def test_tier_two_takes_a_third_of_the_largest_and_stops_when_the_account_has_recovered(
    lab: Laboratory, heard: list[Event]
) -> None:
    account = await holder(lab, "tier2", ADL)
    assert isinstance(await lab.market("tier2", SHORT, "1", ETH), Executed)
    resting = await lab.limit("tier2", LONG, "0.01", "50000")
    closing = await lab.limit("tier2", SHORT, "0.1", "70000", reduce_only=True)
    assert isinstance(resting, Resting)
    assert isinstance(closing, Resting)
    await threshold(lab, "tier2", "0.016")  # 165 of about 9,980
    await passes(lambda: lab.held("tier2") < Decimal("0.5"), "the step")
    await passes(lambda: idle(lab, account), "the end of the ladder")
    assert (lab.held("tier2"), lab.held("tier2", ETH)) == (Decimal("0.35"), -1)
    assert lab.status("tier2") is AccountStatus.ACTIVE
    # What could open is cancelled first; what only closes may rest on.
    ledger = lab.parts.ledger
    assert ledger.order(resting.order.client_order_id) is None
    assert ledger.order(closing.order.client_order_id) is not None
    (triggered,) = told(heard, account, "adl_triggered")
    assert {**triggered.data, "marginRatio": 0} == {
        "subAccountId": account,
        "tier": 2,
        "symbol": BTC,
        "fraction": 0.3,
        "marginRatio": 0,
    }
    (reduced,) = told(heard, account, "position_reduced")
    assert (reduced.data["reason"], reduced.data["closedQty"]) == ("ADL_TIER2", 0.15)
    (log,) = [row for row in await ledger.queries.balance_logs(account, 20) if row.reason == "ADL_TIER2"]
    assert log.change_amount < 0
    (record,) = await records(lab, account)
    assert (record.label, record.state) == ("ADL_TIER2", LiquidationState.DONE)
    known = orjson.loads(record.evidence)
    assert [(one["symbol"], one["side"], one["quantity"]) for one in known["positions"]] == [
        (BTC, "LONG", "0.5"),
        (ETH, "SHORT", "1"),
    ]
    assert Decimal(known["maintenance"]) / Decimal(known["equity"]) == pytest.approx(record.margin_ratio)
    assert all(Decimal(one["mark"]) > 0 and one["markAgeMs"] <= 10_000 for one in known["positions"])


async def test_steps_of_an_account_are_two_seconds_apart(lab: Laboratory, heard: list[Event]) -> None:
    account = await holder(lab, "staircase", ADL)
    await threshold(lab, "staircase", "0.006")
    await passes(lambda: idle(lab, account) and lab.held("staircase") < Decimal("0.2"), "three steps")
    # 0.5 - 0.15 = 0.35; - 0.105 = 0.245; rounded up to a lot: - 0.074 = 0.171 of about 51.4 maintenance.
    assert lab.held("staircase") == Decimal("0.171")
    steps = told(heard, account, "adl_triggered")
    assert len(steps) == 3
    times = [step.timestamp_ms for step in steps]
    assert all(later - earlier >= 2_000 for earlier, later in itertools.pairwise(times)), times
    assert lab.parts.wired.liquidator.statistics().steps >= 3


async def test_tier_three_looks_again_and_then_closes_everything(lab: Laboratory, heard: list[Event]) -> None:
    account = await holder(lab, "tier3", ADL, "1.5")
    await threshold(lab, "tier3", "0.125")
    # At 55,000 she has lost 7,500: 450 of about 2,455 is 0.183; after the step still 315 of 2,438, 0.129.
    await lab.price(BTC, "54999.9", "55000.1")
    await passes(liquidated(lab, "tier3"), "the liquidation")
    labels = [(record.label, record.state) for record in await records(lab, account)]
    assert labels == [
        ("ADL_TIER3", LiquidationState.DONE),
        ("ADL_30_ESCALATED", LiquidationState.DONE),
    ]
    assert [event.data["tier"] for event in told(heard, account, "adl_triggered")] == [3]
    (full,) = told(heard, account, "full_liquidation")
    assert full.data["mode"] == "ADL_30_ESCALATED"
    # The last figures say that nothing is left (H17).
    await passes(
        lambda: told(heard, account, "margin_update")[-1].data["positionCount"] == 0, "the last figures"
    )
    last = told(heard, account, "margin_update")[-1].data
    found = lab.parts.ledger.account(account)
    assert found is not None
    assert last["equity"] == last["balance"] == last["availableMargin"] == float(found.balance)
    assert (last["marginRatio"], last["accountLiqPrice"]) == (0, None)


async def test_tier_three_ends_where_the_step_was_enough(lab: Laboratory) -> None:
    account = await holder(lab, "enough", ADL, "1.5")
    await threshold(lab, "enough", "0.2")
    await lab.price(BTC, "54499.9", "54500.1")  # 450 of about 1,705; after the step 315 of 1,693
    await passes(lambda: lab.held("enough") == Decimal("1.05"), "the step")
    await passes(lambda: idle(lab, account), "the end of the ladder")
    assert lab.status("enough") is AccountStatus.ACTIVE
    assert [record.label for record in await records(lab, account)] == ["ADL_TIER3"]


async def test_a_step_that_would_leave_dust_closes_the_position(lab: Laboratory) -> None:
    account = await holder(lab, "dust", ADL, "0.001", balance=100)
    await threshold(lab, "dust", "0.002")  # 0.3 of about 100
    await passes(lambda: lab.position("dust") is None, "the close")
    await passes(lambda: idle(lab, account), "the end of the ladder")
    assert lab.status("dust") is AccountStatus.ACTIVE, "a step does not end an account"


async def test_a_takeover_gives_everything_to_the_house_and_sends_nothing(
    lab: Laboratory, heard: list[Event]
) -> None:
    account = await holder(lab, "taken", TAKEOVER)
    assert isinstance(await lab.market("taken", SHORT, "2", ETH), Executed)
    resting = await lab.limit("taken", LONG, "0.01", "50000")
    assert isinstance(resting, Resting)
    await lab.settled()
    ids = [position.id for position in lab.parts.core.holdings.of_account(account)]
    trades = len(lab.exchange.venue.engine.trades)
    before = {one.symbol: one.signed_quantity for one in lab.parts.ledger.house_positions()}
    await threshold(lab, "taken", "0.017")  # 180 of about 9,970
    await passes(liquidated(lab, "taken"), "the takeover")
    assert lab.parts.ledger.order(resting.order.client_order_id) is None
    assert len(lab.exchange.venue.engine.trades) == trades, "nothing is sent for a takeover"
    after = {one.symbol: one.signed_quantity for one in lab.parts.ledger.house_positions()}
    assert after[BTC] - before.get(BTC, Decimal(0)) == Decimal("0.5")
    assert after[ETH] - before.get(ETH, Decimal(0)) == -2
    for position_id in ids:
        row = await lab.parts.ledger.queries.position(position_id)
        assert row is not None
        assert row.status is PositionStatus.TAKEN_OVER
    (full,) = told(heard, account, "full_liquidation")
    assert full.data["mode"] == "VIRTUAL_LIQ"
    assert {event.data["adminUserId"] for event in told(heard, account, "position_takeover")} == {
        "SYSTEM_LIQ"
    }
    assert [record.state for record in await records(lab, account)] == [LiquidationState.DONE]


async def test_insolvency_comes_before_all_tiers_and_the_debt_is_written_off(
    lab: Laboratory, heard: list[Event]
) -> None:
    """Ledger spec 3.7 step 7: at a ratio of 1, or without equity, everything goes in every mode."""
    modes = {"guard": ADL, "instant": INSTANT, "insolvent": TAKEOVER}
    accounts = {name: await holder(lab, name, mode, "0.5", 4_000) for name, mode in modes.items()}
    await lab.price(BTC, "51499.9", "51500.1")  # each has lost 4,250 of 4,000
    for name in modes:
        await passes(liquidated(lab, name), f"the end of {name}")
    said = {name: told(heard, account, "full_liquidation") for name, account in accounts.items()}
    assert {name: [event.data["mode"] for event in events] for name, events in said.items()} == {
        "guard": ["INSOLVENCY_GUARD"],
        "instant": ["INSOLVENCY_GUARD"],
        "insolvent": ["INSOLVENCY_TAKEOVER"],
    }
    for account in accounts.values():
        found = lab.parts.ledger.account(account)
        assert found is not None
        assert (found.balance, found.owed) == (0, 0)


async def test_a_warning_comes_on_crossing_and_then_every_ten_seconds(
    lab: Laboratory, heard: list[Event]
) -> None:
    account = await holder(lab, "warned", ADL)
    await threshold(lab, "warned", "0.1")  # the warning begins at 0: any ratio is inside
    await passes(lambda: bool(told(heard, account, "margin_warning")), "the first warning")
    began = CLOCK.now_ms()
    await CLOCK.run_for(7, 0.5)
    assert len(told(heard, account, "margin_warning")) == 1
    await passes(lambda: len(told(heard, account, "margin_warning")) == 2, "the second warning")
    assert 9_000 <= CLOCK.now_ms() - began <= 15_000
    await threshold(lab, "warned", "0.9")
    await passes(lambda: idle(lab, account), "calm")
    await threshold(lab, "warned", "0.1")
    await passes(lambda: len(told(heard, account, "margin_warning")) == 3, "a warning on crossing", 3)
    assert told(heard, account, "margin_warning")[-1].data["message"] == (
        "Margin ratio 1.5% — approaching liquidation"
    )
    assert not await records(lab, account)


async def test_a_frozen_account_is_liquidated_and_an_administrator_releases_it(lab: Laboratory) -> None:
    """H15: a freeze blocks new exposure only. A liquidated account may trade again after a deposit."""
    account = await holder(lab, "frozen", INSTANT)
    await lab.parts.ledger.set_status(account, AccountStatus.FROZEN, ACTOR)
    await threshold(lab, "frozen", "0.015")
    await passes(liquidated(lab, "frozen"), "the liquidation of a frozen account")
    assert lab.position("frozen") is None
    await threshold(lab, "frozen", "0.9")
    await lab.parts.ledger.deposit(account, Money(Decimal(100)), ACTOR)
    await lab.parts.ledger.set_status(account, AccountStatus.ACTIVE, ACTOR)
    assert isinstance(await lab.market("frozen", LONG, "0.01"), Executed)


async def test_an_account_that_recovers_while_the_exchange_is_away_is_released(
    lab: Laboratory, heard: list[Event]
) -> None:
    account = await holder(lab, "lucky", INSTANT)
    lab.exchange.arm(kind="answer", variant="503B", method="POST", path="orders", count=1)
    await threshold(lab, "lucky", "0.015")
    await passes(lambda: lab.parts.ledger.running_liquidation(account) is not None, "the decision")
    await asyncio.sleep(0.1)
    await threshold(lab, "lucky", "0.9")
    await passes(lambda: idle(lab, account), "the end of the ladder", 90)
    assert (lab.held("lucky"), lab.status("lucky")) == (Decimal("0.5"), AccountStatus.ACTIVE)
    assert [record.state for record in await records(lab, account)] == [LiquidationState.RELEASED]
    assert isinstance(await lab.market("lucky", LONG, "0.01"), Executed), "the account trades again"


async def test_many_accounts_of_one_tick_take_one_order_and_no_more(lab: Laboratory) -> None:
    """A thousand accounts need the slices of their symbol, not a thousand orders; eight show it."""
    names = [f"many {number}" for number in range(8)]
    for name in names:
        await holder(lab, name, INSTANT, "0.1", 800)
    await lab.settled()
    ended = lab.exchange.venue.engine.orders.closed
    before = len(ended)
    await lab.price(BTC, "52199.9", "52200.1")  # each has lost 780 of 800
    for name in names:
        await passes(liquidated(lab, name), f"the end of {name}")
    assert len(ended) - before == 1
    assert all(lab.position(name) is None for name in names)
    assert lab.parts.wired.liquidator.statistics().pool.positions_max >= 8
