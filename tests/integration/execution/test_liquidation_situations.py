"""Liquidation when the world does not keep still: restarts, outages, unknown orders, stale prices, a crash.

Engine and exchange share a clock that the tests push ahead; each laboratory is audited against the exchange's
own file when it is over.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pms.exchange.port import PlaceOutcome
from pms.execution.api import Executed
from pms.ledger.api import Actor
from pms.ledger.records import HistoryFilter
from pms.model.account import AccountStatus, LiquidationMode
from pms.model.event import DurableEvent, EphemeralEvent
from pms.model.fill import ExchangeFill
from pms.model.ids import ExchangeOrderId, SubAccountId
from pms.model.liquidation import LiquidationState
from pms.model.money import Price
from pms.model.order import ApprovedOrder, OrderCode, OrderState
from pms.model.refusal import Refused
from pms.model.symbol import Symbol
from tests.support.clocks import PushedClock
from tests.support.laboratory import ACTOR, BTC, ETH, LONG, SHORT, WIDE, Laboratory, laboratory

ADL, INSTANT, TAKEOVER = LiquidationMode.ADL_30, LiquidationMode.INSTANT_CLOSE, LiquidationMode.TAKEOVER
LIQUIDATED = AccountStatus.LIQUIDATED
CLOCK = PushedClock()

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path_factory.mktemp("situations"), CLOCK) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def lab(engine: Laboratory) -> AsyncIterator[Laboratory]:
    """A healthy exchange at the usual prices, before and after."""
    await engine.reset_prices()
    yield engine
    engine.exchange.doors.faults.clear()
    await passes(CLOCK, lambda: not engine.in_doubt(), "the end of all doubts", 120)
    await engine.reset_prices()
    for name in engine.accounts:
        await threshold(engine, name, "0.9")
    await passes(CLOCK, lambda: not engine.parts.core.switches.liquidating, "the end of all ladders")
    await passes(CLOCK, engine.balanced, "the netting identity")
    await engine.flatten()


async def passes(clock: PushedClock, condition: Callable[[], bool], what: str, seconds: int = 60) -> None:
    """Let time pass until the condition holds. Raises AssertionError naming `what`."""
    for _ in range(seconds * 2):
        if condition():
            return
        await clock.run_for(0.5, 0.5, pause_seconds=0.01)
    raise AssertionError(f"{what} did not come within {seconds} s of exchange time")


async def holder(lab: Laboratory, name: str, mode: LiquidationMode, quantity: str = "0.5") -> SubAccountId:
    """An account of 10,000 that is LONG; half a bitcoin is a margin ratio of 0.015."""
    account = await lab.account(name, 10_000, mode)
    assert isinstance(await lab.market(name, LONG, quantity), Executed)
    return account


async def threshold(lab: Laboratory, name: str, ratio: str) -> None:
    rules = replace(WIDE, liquidation_threshold=Decimal(ratio))
    await lab.parts.ledger.set_rules(lab.accounts[name], rules, ACTOR)


def running(lab: Laboratory, name: str) -> bool:
    return lab.parts.ledger.running_liquidation(lab.accounts[name]) is not None


def idle(lab: Laboratory, name: str) -> bool:
    return lab.accounts[name] not in lab.parts.core.switches.liquidating


async def closed_quantity(lab: Laboratory, name: str) -> Decimal:
    """Σ of what an account's trades closed, in base units."""
    page = await lab.parts.ledger.queries.history(lab.accounts[name], HistoryFilter(500))
    return sum((trade.quantity for trade in page.trades if trade.realized_pnl is not None), Decimal(0))


def of_house(lab: Laboratory) -> Decimal:
    """The signed quantity of bitcoin that the house holds."""
    held = (one.signed_quantity for one in lab.parts.ledger.house_positions() if one.symbol == BTC)
    return sum(held, Decimal(0))


def liquidation_orders(lab: Laboratory, name: str) -> int:
    """How many orders the exchange has got from liquidations of the account."""
    prefix = f"PMS{lab.accounts[name][:8]}_{OrderCode.LIQUIDATION}_"
    return sum(
        order.client_order_id.startswith(prefix) for order in lab.exchange.venue.engine.orders.closed.values()
    )


async def never(*_: object, **__: object) -> Any:
    await asyncio.Event().wait()


async def _half_done(lab: Laboratory, clock: PushedClock) -> None:
    """Bring six ladders to where the engine dies: decided, and none of them ended."""
    for name, mode in (
        ("goes on", INSTANT),
        ("recovers", INSTANT),
        ("step", ADL),
        ("taken", TAKEOVER),
        ("sent", INSTANT),
    ):
        await holder(lab, name, mode)
    await holder(lab, "unmarked", INSTANT, "0.1")
    await lab.settled()
    trader, ledger = lab.parts.wired.trader, lab.parts.ledger
    # Everything that would act hangs, and so does the last word on an account that is closed already.
    trader.close_many_with = trader.close_with = never  # type: ignore[method-assign]
    ledger.take_over = ledger.finish_liquidation = never  # type: ignore[method-assign]
    for name in ("goes on", "recovers", "step", "taken"):
        await threshold(lab, name, "0.0149")
    await threshold(lab, "unmarked", "0.0029")
    await passes(clock, lambda: len(ledger.running_liquidations()) == 5, "the decisions")
    position = lab.position("unmarked")
    assert position is not None
    del trader.close_with
    assert isinstance(await lab.parts.trader.close(position.id, ACTOR), Executed)
    await threshold(lab, "recovers", "0.9")
    # The last one's order goes out and is executed.
    del trader.close_many_with
    trading = lab.parts.exchange.trading
    place = trading.place

    async def lost(order: ApprovedOrder) -> PlaceOutcome:
        await place(order)
        return await never()  # type: ignore[no-any-return]

    trading.place = lost  # type: ignore[method-assign]
    lab.exchange.arm(kind="silence", traffic="private", for_ms=600_000)
    await threshold(lab, "sent", "0.0149")
    await passes(clock, lambda: liquidation_orders(lab, "sent") == 1, "the order on the exchange")
    assert lab.held("sent") == Decimal("0.5")
    decided = lab.parts.wired.liquidator.statistics()
    assert (decided.finished, decided.released, decided.running) == (0, 0, 6)


async def test_a_ladder_that_a_restart_interrupts_is_decided_again_on_a_fresh_mark(tmp_path: Path) -> None:
    """The engine dies with six ladders on their way; the next one decides about each of them anew.

    One of them has an order that was executed; its answer and its report are lost.
    """
    clock = PushedClock()
    async with laboratory(tmp_path, clock, dies=True) as lab:
        await _half_done(lab, clock)
        accounts = lab.accounts

    async with laboratory(tmp_path, clock) as lab:
        lab.accounts.update(accounts)
        assert lab.parts.wired.liquidator.statistics().resumed == 6
        for name in ("goes on", "taken", "unmarked", "sent"):
            await passes(clock, lambda name=name: lab.status(name) is LIQUIDATED, f"the end of {name}")  # type: ignore[misc]
            assert await closed_quantity(lab, name) == (
                Decimal("0.1") if name == "unmarked" else Decimal("0.5")
            )
        assert liquidation_orders(lab, "sent") == 1, "never twice on the same quantity"
        await passes(clock, lambda: idle(lab, "step") and idle(lab, "recovers"), "the other two")
        assert (lab.held("recovers"), lab.status("recovers")) == (Decimal("0.5"), AccountStatus.ACTIVE)
        assert (lab.held("step"), await closed_quantity(lab, "step")) == (Decimal("0.35"), Decimal("0.15"))
        assert not lab.parts.ledger.running_liquidations()
        states = {
            name: (await lab.parts.ledger.queries.liquidations(account))[0].state
            for name, account in accounts.items()
        }
        done, released = LiquidationState.DONE, LiquidationState.RELEASED
        assert states == {
            "goes on": done,
            "recovers": released,
            "step": done,
            "taken": done,
            "unmarked": done,
            "sent": done,
        }
        await lab.flatten()


async def test_an_outage_in_the_middle_of_a_step_does_not_double_it(lab: Laboratory) -> None:
    """The step is executed, its answer is a gateway's page and the stream is silent: no second step."""
    await holder(lab, "outage", ADL)
    account = lab.parts.wired.resolver._account
    order_fills = account.order_fills

    async def slowly(symbol: Symbol, order_id: ExchangeOrderId) -> Sequence[ExchangeFill]:
        await CLOCK.sleep(6)  # the order is proved to live, what it executed is not known yet
        return await order_fills(symbol, order_id)

    account.order_fills = slowly  # type: ignore[method-assign]
    lab.exchange.arm(kind="silence", traffic="private", for_ms=12_000)
    lab.exchange.arm(kind="answer", variant="502", executed=True, method="POST", path="orders", count=1)
    await threshold(lab, "outage", "0.0149")
    await passes(CLOCK, lambda: liquidation_orders(lab, "outage") == 1, "the step on the exchange")
    lab.exchange.arm(kind="maintenance", for_ms=10_000)
    await passes(CLOCK, lambda: lab.held("outage") == Decimal("0.35"), "the proof of the step", 120)
    await passes(CLOCK, lambda: idle(lab, "outage"), "the end of the ladder")
    assert liquidation_orders(lab, "outage") == 1
    assert (lab.held("outage"), await closed_quantity(lab, "outage")) == (Decimal("0.35"), Decimal("0.15"))
    assert not running(lab, "outage")
    account.order_fills = order_fills  # type: ignore[method-assign]


async def test_an_unknown_order_of_the_user_holds_up_its_symbol_only(lab: Laboratory) -> None:
    """An order on that symbol that may have been executed is proved first; the other symbol does not wait."""
    await passes(CLOCK, lambda: lab.parts.core.prices.fresh(ETH), "a fresh price")
    await holder(lab, "unknown", INSTANT)
    assert isinstance(await lab.market("unknown", SHORT, "1", ETH), Executed)
    lab.exchange.arm(kind="answer", variant="503A", method="POST", path="orders", count=1)
    doubtful = asyncio.create_task(lab.market("unknown", LONG, "0.1"))
    account = lab.accounts["unknown"]

    def in_doubt() -> bool:
        return any(
            order.sub_account_id == account and order.state is OrderState.UNKNOWN
            for order in lab.parts.ledger.open_orders()
        )

    await passes(CLOCK, in_doubt, "the doubt")
    await threshold(lab, "unknown", "0.0149")
    for _ in range(200):  # no time passes: nothing can be proved
        await asyncio.sleep(0.005)
        if not lab.held("unknown", ETH):
            break
    assert lab.held("unknown", ETH) == 0, "the other symbol was not held up"
    assert lab.held("unknown") == Decimal("0.5"), "proof first"
    await passes(CLOCK, lambda: lab.status("unknown") is LIQUIDATED, "the end of the liquidation")
    assert lab.held("unknown") == 0
    assert isinstance(await doubtful, Refused)


async def test_a_stale_price_postpones_and_a_fresh_one_acts(lab: Laboratory) -> None:
    """Nothing acts on a price older than ten seconds, and it is said; a fresh one acts at once."""
    await holder(lab, "stale", INSTANT)
    lab.exchange.arm(kind="silence", traffic="market", for_ms=30_000)
    await passes(CLOCK, lambda: not lab.parts.core.prices.fresh(BTC), "the silence")
    before = lab.parts.wired.liquidator.statistics().postponed
    await threshold(lab, "stale", "0.0149")
    await passes(
        CLOCK, lambda: lab.parts.wired.liquidator.statistics().postponed > before, "the postponement"
    )
    assert lab.held("stale") == Decimal("0.5")
    assert not running(lab, "stale")
    await passes(CLOCK, lambda: lab.status("stale") is LIQUIDATED, "the liquidation after the silence")


async def test_the_liquidation_of_one_changes_the_margin_of_the_next_in_one_crash(lab: Laboratory) -> None:
    """A's close moves the price into B's threshold, B's into C's. D, hedged, and E, calm, are untouched."""
    # The margin ratio of half a bitcoin is 150 over what is left of the balance.
    balances = {"A": 3_200, "B": 4_200, "C": 5_200, "E": 50_000}
    modes = {"A": INSTANT, "B": TAKEOVER, "C": INSTANT, "E": INSTANT}
    for name, balance in balances.items():
        await lab.account(name, balance, modes[name])
        assert isinstance(await lab.market(name, LONG, "0.5"), Executed)
    await lab.account("D", 3_200, INSTANT)
    assert isinstance(await lab.market("D", SHORT, "0.5"), Executed)
    await lab.settled()
    falls: Mapping[SubAccountId, int] = {lab.accounts["A"]: 51_800, lab.accounts["B"]: 49_800}
    ended: list[SubAccountId] = []
    moves: list[asyncio.Task[None]] = []
    turn = asyncio.Lock()

    async def move(bid: str, ask: str) -> None:
        """One price after another: each is seen before the next, however fast the closes follow."""
        async with turn:
            await lab.price(BTC, bid, ask)

    def impact(event: DurableEvent | EphemeralEvent) -> None:
        """What a close does to the market: the next lower price."""
        account = event.sub_account_id
        if event.type == "position_closed" and account is not None and account not in ended:
            ended.append(account)
            if account in falls:
                lower = falls[account]
                moves.append(asyncio.ensure_future(move(f"{lower - 0.1:.1f}", f"{lower + 0.1:.1f}")))

    lab.parts.core.hub.add_sink(impact)
    await move("53799.9", "53800.1")
    for name in ("A", "B", "C"):
        await passes(CLOCK, lambda name=name: lab.status(name) is LIQUIDATED, f"the end of {name}")  # type: ignore[misc]
    await asyncio.gather(*moves)
    assert ended == [lab.accounts[name] for name in ("A", "B", "C")]
    for name in ("A", "B", "C"):
        closed = await closed_quantity(lab, name)
        assert (lab.held(name), closed) == (0, Decimal("0.5"))
        (record,) = await lab.parts.ledger.queries.liquidations(lab.accounts[name])
        assert record.state is LiquidationState.DONE
    assert (lab.held("D"), lab.held("E")) == (Decimal("-0.5"), Decimal("0.5"))
    assert {lab.status("D"), lab.status("E")} == {AccountStatus.ACTIVE}
    assert (await lab.parts.ledger.queries.liquidations(lab.accounts["D"])) == []
    await lab.settled()
    await lab.flatten()


async def test_steps_of_one_account_follow_what_each_step_has_left(lab: Laboratory) -> None:
    """Closing a part of A makes B the largest; each step is decided from what the one before has left."""
    account = await lab.account("steps", 10_000, ADL)
    assert isinstance(await lab.market("steps", LONG, "0.5"), Executed)  # 30,000
    assert isinstance(await lab.market("steps", SHORT, "8", ETH), Executed)  # 24,000
    heard: list[DurableEvent | EphemeralEvent] = []
    lab.parts.core.hub.add_sink(heard.append)
    await threshold(lab, "steps", "0.016")  # from 270 to below 160 of about 9,970
    await passes(
        CLOCK, lambda: idle(lab, "steps") and not running(lab, "steps") and bool(heard), "the ladder"
    )
    steps = [event.data["symbol"] for event in heard if event.type == "adl_triggered"]
    # 30,000 and 24,000; then 21,000 and 24,000; then 21,000 and 16,800; then 14,700 and 16,800: 157.5.
    assert steps == [BTC, ETH, BTC]
    assert (lab.held("steps"), lab.held("steps", ETH)) == (Decimal("0.245"), Decimal("-5.6"))
    assert lab.status("steps") is AccountStatus.ACTIVE
    assert len(await lab.parts.ledger.queries.liquidations(account)) == 3
    await lab.flatten()


async def test_fills_arrive_for_a_frozen_a_liquidated_and_a_closed_account(lab: Laboratory) -> None:
    """A frozen account's fill is its own; a liquidated account's goes to the house; one of a position that is
    closed already opens nothing."""
    at_first = of_house(lab)
    for name in ("frozen", "liquidated", "closed"):
        await holder(lab, name, TAKEOVER, "0.1")
    await lab.limit("frozen", LONG, "0.02", "59000")
    await lab.parts.ledger.set_status(lab.accounts["frozen"], AccountStatus.FROZEN, ACTOR)
    await lab.settled()
    # Two orders of closing are on their way when the house takes the positions over.
    trading, go = lab.parts.exchange.trading, asyncio.Event()
    place = trading.place

    async def held(order: ApprovedOrder) -> PlaceOutcome:
        await go.wait()
        return await place(order)

    trading.place = held  # type: ignore[method-assign]
    closing = [
        asyncio.create_task(lab.market(name, SHORT, "0.1", reduce_only=True))
        for name in ("liquidated", "closed")
    ]
    live = lab.parts.core.live_orders
    await passes(CLOCK, lambda: len(live) == 3, "the orders on their way")
    position = lab.position("closed")
    assert position is not None
    mark = lab.parts.core.prices.mark_price(BTC)
    await lab.parts.ledger.take_over(position.id, Actor("admin", "jwt"), Price(Decimal(repr(mark))))
    await threshold(lab, "liquidated", "0.0029")
    await passes(CLOCK, lambda: lab.position("liquidated") is None, "the takeover")
    assert lab.status("liquidated") is not LIQUIDATED, "an order of the account is still live"
    assert of_house(lab) - at_first == Decimal("0.2")
    go.set()
    await asyncio.wait(closing)
    trading.place = place  # type: ignore[method-assign]
    await passes(CLOCK, lambda: lab.status("liquidated") is LIQUIDATED, "the end of the liquidation")
    assert of_house(lab) == at_first, "what the late fills sold, the house had"
    for name in ("liquidated", "closed"):
        assert (lab.held(name), await closed_quantity(lab, name)) == (0, Decimal("0.1"))
    await lab.price(BTC, "58999.9", "59000")
    await passes(CLOCK, lambda: lab.held("frozen") == Decimal("0.12"), "the fill of a frozen account")
    await lab.reset_prices()
    await lab.flatten()
