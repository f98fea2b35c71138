"""Many positions closed at once: they meet, the net is sent once, and its fills reach each closer exactly
once (decisions 3, 6, 9, 13)."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio

from pms.exchange.port import NotSent, PlaceOutcome
from pms.execution.api import Executed
from pms.ledger.api import Actor, Committed, NewAccount
from pms.model.account import LiquidationMode
from pms.model.ids import ClientOrderId, PositionId
from pms.model.money import Money, Price
from pms.model.order import ApprovedOrder, OrderSide, OrderState
from pms.model.refusal import RefusalCode, Refused
from tests.support.laboratory import ACTOR, BTC, ETH, LONG, SHORT, Laboratory, laboratory
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
SELL = OrderSide.SELL


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path_factory.mktemp("mass")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def lab(engine: Laboratory) -> AsyncIterator[Laboratory]:
    """Four fresh funded accounts on a flat exchange at the usual prices."""
    await engine.reset_prices()
    for name in ("Alice", "Bob", "Carol", "Dave"):
        await engine.account(name, balance=10_000)
    yield engine
    await engine.settled()
    await engine.flatten()


@contextmanager
def watched(lab: Laboratory) -> Iterator[list[ApprovedOrder]]:
    """Collect every order that goes to the exchange."""
    trading = lab.parts.exchange.trading
    place, seen = trading.place, list[ApprovedOrder]()

    async def placing(order: ApprovedOrder) -> PlaceOutcome:
        seen.append(order)
        return await place(order)

    trading.place = placing  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        trading.place = place  # type: ignore[method-assign]


def open_ids(lab: Laboratory) -> list[PositionId]:
    return [position.id for position in lab.parts.ledger.open_positions()]


async def close_all(lab: Laboratory) -> Sequence[Executed]:
    done = await lab.parts.trader.close_many(open_ids(lab), ACTOR)
    results = list(done.values())
    for result in results:
        assert isinstance(result, Executed), result
        assert result.closed is not None
    return [result for result in results if isinstance(result, Executed)]


async def test_opposite_closes_meet_and_one_order_sends_the_net(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.5")
    await lab.market("Bob", LONG, "0.2")
    await lab.market("Carol", SHORT, "0.3")
    with watched(lab) as sent:
        results = await close_all(lab)
    (order,) = sent
    assert (order.side, order.quantity, order.reduce_only_wire) == (SELL, Decimal("0.4"), True)
    assert order.client_order_id.startswith("PMS00000000_HO_")
    parts = {
        (trade.quantity, trade.price, trade.exchange_order_id is None)
        for result in results
        for trade in result.trades
    }
    mark, bid = Decimal(60000), Decimal("59999.9")
    # Alice is the largest: she meets Carol at the mark, and is the first that the order serves.
    assert parts == {
        (Decimal("0.3"), mark, True),
        (Decimal("0.2"), bid, False),
    }
    assert not lab.parts.ledger.open_positions()
    assert not lab.parts.ledger.pools()
    assert all(not held.signed_quantity for held in lab.parts.ledger.house_positions())


async def test_a_flat_net_sends_nothing(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.5")
    await lab.market("Bob", SHORT, "0.5")
    with watched(lab) as sent:
        results = await close_all(lab)
    assert not sent
    assert [trade.fee for result in results for trade in result.trades] == [0, 0]


async def test_symbols_are_closed_side_by_side_and_a_lone_position_by_its_own_order(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.1")
    await lab.market("Bob", LONG, "0.1")
    await lab.market("Alice", SHORT, "1", symbol=ETH)
    with watched(lab) as sent:
        await close_all(lab)
    codes = {order.symbol: order.client_order_id.split("_")[1] for order in sent}
    assert codes == {BTC: "HO", ETH: "CP"}


async def test_a_net_that_the_exchange_refuses_for_margin_goes_to_the_house(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.2")
    await lab.market("Bob", LONG, "0.1")
    lab.exchange.arm(kind="refuse", code=-2019, msg="Margin is insufficient.", path="orders", count=1)
    results = await close_all(lab)
    assert all(result.trades[-1].exchange_order_id is None for result in results)
    house = {held.symbol: held.signed_quantity for held in lab.parts.ledger.house_positions()}
    assert house[BTC] == Decimal("0.3")
    closed = await lab.parts.wired.house.close(BTC, None, ACTOR)
    assert not isinstance(closed, Refused), closed
    assert (closed.quantity, closed.left) == (Decimal("0.3"), 0)


async def test_what_is_not_sent_stays_open_and_is_said(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.3")
    await lab.market("Bob", LONG, "0.1")
    await lab.market("Carol", SHORT, "0.1")
    trading = lab.parts.exchange.trading
    place = trading.place

    async def limited(order: ApprovedOrder) -> PlaceOutcome:
        return NotSent("limited", 1000)

    trading.place = limited  # type: ignore[method-assign]
    try:
        done = await lab.parts.trader.close_many(open_ids(lab), ACTOR)
    finally:
        trading.place = place  # type: ignore[method-assign]
    alice, bob, carol = done.values()
    assert isinstance(carol, Executed)
    assert carol.closed is not None
    assert isinstance(alice, Executed), "she met Carol, and says what is left"
    assert alice.closed is None
    assert lab.held("Alice") == Decimal("0.2")
    assert isinstance(bob, Refused)
    assert bob.refusals[0].code is RefusalCode.EXCHANGE_STATE_UNKNOWN
    await close_all(lab)


async def test_a_close_of_the_same_position_meanwhile_closes_nothing_twice(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.3")
    await lab.market("Bob", LONG, "0.2")
    await lab.market("Carol", SHORT, "0.1")
    ids = open_ids(lab)
    trader = lab.parts.trader
    outcomes = await asyncio.gather(
        trader.close_many(ids, ACTOR),
        trader.close_many(ids, ACTOR),
        *(trader.close(one, ACTOR) for one in ids),
    )
    await until(lambda: not lab.parts.ledger.open_positions(), "all closed")
    assert len(outcomes) == 5
    assert all(not held.signed_quantity for held in lab.parts.ledger.house_positions())


async def test_an_unknown_net_closes_nothing_for_a_user(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.1")
    await lab.market("Bob", SHORT, "0.1")
    await lab.settled()
    lab.parts.core.net.forget()
    done = await lab.parts.trader.close_many(open_ids(lab), ACTOR)
    codes = {outcome.refusals[0].code for outcome in done.values() if isinstance(outcome, Refused)}
    assert (len(done), codes) == (2, {RefusalCode.EXCHANGE_STATE_UNKNOWN})
    lab.parts.core.net.snapshot(tuple(await lab.parts.exchange.account.positions()), 0)


async def test_1000_simultaneous_closes_on_one_symbol_with_mixed_sides(lab: Laboratory) -> None:
    """600 long and 400 short, given to them from the house: 0.2 BTC net, one order."""
    ledger = lab.parts.ledger
    await hold(lab, LONG, "0.6", 600)
    await hold(lab, SHORT, "0.4", 400)
    ids = open_ids(lab)
    assert len(ids) == 1000
    with watched(lab) as sent:
        results = await close_all(lab)
    assert len(results) == 1000
    (order,) = sent
    assert (order.side, order.quantity) == (SELL, Decimal("0.2"))
    trades = [trade for result in results for trade in result.trades]
    sums = {True: Decimal(0), False: Decimal(0)}
    for trade in trades:
        sums[trade.exchange_order_id is None] += trade.quantity
    assert sums == {True: Decimal("0.8"), False: Decimal("0.2")}, "0.4 of each side met, 0.2 were sold"
    assert not ledger.pools()
    assert all(not held.signed_quantity for held in ledger.house_positions())


async def hold(lab: Laboratory, side: object, total: str, holders: int) -> None:
    """Let so many new accounts hold a part of `total` each, as the house assigns it."""
    ledger = lab.parts.ledger
    name = "Alice" if side is LONG else "Bob"
    await lab.market(name, LONG if side is LONG else SHORT, total)
    position = lab.position(name)
    assert position is not None
    price = Price(Decimal(60_000))
    await ledger.take_over(position.id, ACTOR, price)
    quantity = Decimal(total) / holders

    async def one(number: int) -> None:
        mode = LiquidationMode.INSTANT_CLOSE
        new = NewAccount(f"{name}-{number}", None, Money(Decimal(100)), liquidation_mode=mode)
        account = await ledger.create_account(new, ACTOR)
        await ledger.assign_from_house(BTC, account.id, quantity, price, Decimal(10), Actor("t", "cli"))

    await asyncio.gather(*(one(number) for number in range(holders)))


# --- crashes ------------------------------------------------------------------------------------------------


async def test_a_stop_between_fill_and_allocation_ends_right_after_the_restart(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        await two_long_one_short(lab)
        ledger = lab.parts.ledger

        async def never(client_order_id: ClientOrderId, parts_max: int) -> Committed:
            await asyncio.Event().wait()
            raise AssertionError

        ledger.allocate_pool = never  # type: ignore[method-assign]
        closing = asyncio.create_task(lab.parts.trader.close_many(open_ids(lab), ACTOR))
        await until(lambda: any(pool.pending for pool in ledger.pools()), "the fill is booked")
        accounts = dict(lab.accounts)
        # The engine stops here; what was filled is not passed on yet.
    closing.cancel()
    async with laboratory(tmp_path) as lab:
        lab.accounts.update(accounts)
        await until(lambda: not lab.parts.ledger.open_positions(), "passed on after the restart")
        assert not lab.parts.ledger.pools()
        assert all(not held.signed_quantity for held in lab.parts.ledger.house_positions())


async def test_a_stop_between_internal_netting_and_the_order_ends_right_after_the_restart(
    tmp_path: Path,
) -> None:
    async with laboratory(tmp_path) as lab:
        await two_long_one_short(lab)

        async def never(order: ApprovedOrder) -> PlaceOutcome:
            await asyncio.Event().wait()
            raise AssertionError

        lab.parts.exchange.trading.place = never  # type: ignore[method-assign]
        closing = asyncio.create_task(lab.parts.trader.close_many(open_ids(lab), ACTOR))
        await until(lambda: len(lab.parts.ledger.open_positions()) == 2, "the shorts have met")
        await until(lambda: bool(lab.parts.ledger.open_orders()), "the intent is journaled")
        (intent,) = lab.parts.ledger.open_orders()
        assert intent.state is OrderState.INTENT
        accounts = dict(lab.accounts)
    closing.cancel()
    async with laboratory(tmp_path) as lab:
        lab.accounts.update(accounts)
        await until(lambda: not lab.parts.ledger.open_orders(), "proof that it was not executed", seconds=8)
        assert not lab.parts.ledger.pools()
        assert sum(abs(lab.held(name)) for name in accounts) == Decimal("0.4")
        await close_all(lab)


async def two_long_one_short(lab: Laboratory) -> None:
    for name, side, quantity in (("Alice", LONG, "0.3"), ("Bob", LONG, "0.2"), ("Carol", SHORT, "0.1")):
        await lab.account(name, balance=10_000)
        await lab.market(name, side, quantity)


async def test_steps_that_one_tick_asks_of_several_accounts_are_one_order(lab: Laboratory) -> None:
    names = ("Erin", "Frank", "Grace")
    for name in names:
        await lab.account(name, balance=10_000, mode=LiquidationMode.ADL_30)
        assert isinstance(await lab.market(name, LONG, "1.5"), Executed)
    with watched(lab) as sent:
        # 450 of maintenance, 490 of equity: 30 % of each goes.
        await lab.price(BTC, "53689.9", "53690.1")
        await until(lambda: all(lab.held(name) == Decimal("1.05") for name in names), "the steps")
        await until(lambda: not lab.parts.ledger.pools(), "the pool's end")
    (order,) = sent
    assert (order.side, order.quantity) == (SELL, Decimal("1.35"))
    for name in names:
        logs = await lab.parts.ledger.queries.balance_logs(lab.accounts[name], 1)
        assert [log.reason for log in logs] == ["ADL_TIER2"]
        assert lab.position(name) is not None
