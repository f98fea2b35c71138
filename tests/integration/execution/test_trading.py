"""Sub-accounts trading on one exchange account: every test ends with an audit against the exchange's own
file."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
import pytest_asyncio

from pms.exchange.port import Confirmed
from pms.execution.api import Cancelled, Executed, Resting
from pms.model.account import AccountStatus
from pms.model.ids import ClientOrderId
from pms.model.money import Quantity
from pms.model.order import OrderSide, OrderState, TimeInForce
from pms.model.refusal import RefusalCode, Refused
from pms.risk.gate import approve_house
from tests.support.laboratory import ACTOR, BTC, ETH, LONG, SHORT, Laboratory, laboratory
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path_factory.mktemp("trading")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def lab(engine: Laboratory) -> AsyncIterator[Laboratory]:
    """Two fresh funded accounts on a flat exchange at the usual prices."""
    await engine.reset_prices()
    await engine.account("Alice")
    await engine.account("Bob")
    yield engine
    await engine.settled()
    await engine.flatten()


def codes(refused: object) -> list[RefusalCode]:
    assert isinstance(refused, Refused), refused
    return [refusal.code for refusal in refused.refusals]


async def test_opposite_sides_net_on_the_exchange_and_close_one_by_one(lab: Laboratory) -> None:
    assert isinstance(await lab.market("Alice", LONG, "0.5"), Executed)
    assert isinstance(await lab.market("Bob", SHORT, "0.3"), Executed)
    await lab.settled()
    (identity,) = [one for one in lab.parts.trader.exposure() if one.symbol == BTC]
    assert (identity.virtual_net, identity.house_net, identity.exchange_net) == (
        Decimal("0.2"),
        0,
        Decimal("0.2"),
    )
    # Bob's close buys 0.3 while the exchange is long: it must be a real order without the reduce-only flag.
    position = lab.position("Bob")
    assert position is not None
    closed = await lab.parts.trader.close(position.id, ACTOR)
    assert isinstance(closed, Executed)
    assert closed.order is not None
    assert not closed.order.reduce_only_wire
    assert lab.held("Bob") == 0
    assert lab.held("Alice") == Decimal("0.5")
    # Alice's close is covered by the net: here the flag is safe, and set.
    position = lab.position("Alice")
    assert position is not None
    closed = await lab.parts.trader.close(position.id, ACTOR)
    assert isinstance(closed, Executed)
    assert closed.order is not None
    assert closed.order.reduce_only_wire


async def test_money_of_a_round_trip_is_exact(lab: Laboratory) -> None:
    opened = await lab.market("Alice", LONG, "0.5")
    assert isinstance(opened, Executed)
    # 0.5 x 60000.1 x 0.05 % = 15.000025 for the opening; the close sells at 59999.9.
    assert opened.balance == Decimal("9984.999975")
    position = lab.position("Alice")
    assert position is not None
    closed = await lab.parts.trader.close(position.id, ACTOR)
    assert isinstance(closed, Executed)
    assert closed.realized_pnl == Decimal("-0.1") - Decimal("14.999975")
    assert closed.balance == Decimal("9984.999975") + closed.realized_pnl


async def test_an_order_against_a_position_closes_first_and_opens_the_rest(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.2")
    flipped = await lab.market("Alice", SHORT, "0.5")
    assert isinstance(flipped, Executed)
    assert lab.held("Alice") == Decimal("-0.3")
    assert flipped.closed is not None
    assert [trade.action for trade in flipped.trades] == ["CLOSE", "OPEN"]
    reduced = await lab.market("Alice", LONG, "0.1")
    assert isinstance(reduced, Executed)
    assert lab.held("Alice") == Decimal("-0.2")


async def test_reduce_only_never_opens(lab: Laboratory) -> None:
    assert codes(await lab.market("Alice", SHORT, "0.1", reduce_only=True)) == [
        RefusalCode.REDUCE_ONLY_REJECTED
    ]
    await lab.market("Alice", LONG, "0.2")
    assert isinstance(await lab.market("Alice", SHORT, "5", reduce_only=True), Executed)
    assert lab.held("Alice") == 0


async def test_partial_fills_of_a_thin_book_are_booked_as_they_come(lab: Laboratory) -> None:
    await lab.price(BTC, "59999.9", "60000.1", size="0.05")
    done = await lab.market("Alice", LONG, "0.4")
    assert isinstance(done, Executed)
    assert len(done.trades) > 1
    assert sum(trade.quantity for trade in done.trades) == Decimal("0.4") == lab.held("Alice")


async def test_a_resting_order_fills_in_part_and_its_cancel_keeps_what_was_filled(lab: Laboratory) -> None:
    resting = await lab.limit("Alice", LONG, "0.5", "59000")
    assert isinstance(resting, Resting)
    assert resting.order.state is OrderState.LIVE
    assert resting.order.pending_order_id is not None
    await lab.price(BTC, "58999.9", "59000", size="0.2")
    await until(lambda: lab.held("Alice") > 0, "the partial fill")
    await lab.price(BTC, "59999.9", "60000.1")
    held = lab.held("Alice")
    assert held < Decimal("0.5")
    cancelled = await lab.parts.trader.cancel(resting.order.pending_order_id, ACTOR)
    assert isinstance(cancelled, Cancelled)
    assert cancelled.order.state is OrderState.CANCELLED
    assert lab.held("Alice") == held
    assert codes(await lab.parts.trader.cancel(resting.order.pending_order_id, ACTOR)) == [
        RefusalCode.ORDER_NOT_PENDING
    ]


async def test_post_only_orders_do_not_take(lab: Laboratory) -> None:
    taking = await lab.limit("Alice", LONG, "0.1", "60500", time_in_force=TimeInForce.GTX)
    assert codes(taking) == [RefusalCode.POST_ONLY_REJECTED]
    assert not list(lab.parts.core.live_orders.of_account(lab.accounts["Alice"]))


async def test_a_close_takes_the_capacity_that_a_resting_close_holds(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.4")
    resting = await lab.limit("Alice", SHORT, "0.4", "65000", reduce_only=True)
    assert isinstance(resting, Resting)
    assert codes(await lab.market("Alice", SHORT, "0.1", reduce_only=True)) == [
        RefusalCode.REDUCE_ONLY_REJECTED
    ]
    position = lab.position("Alice")
    assert position is not None
    assert isinstance(await lab.parts.trader.close(position.id, ACTOR), Executed)
    assert lab.held("Alice") == 0
    assert not list(lab.parts.core.live_orders.of_account(lab.accounts["Alice"]))


async def test_ten_closes_at_once_close_once(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.4")
    position = lab.position("Alice")
    assert position is not None
    results = await asyncio.gather(*(lab.parts.trader.close(position.id, ACTOR) for _ in range(10)))
    assert sum(isinstance(result, Executed) for result in results) == 1
    assert lab.held("Alice") == 0


async def test_parallel_entries_never_share_margin(lab: Laboratory) -> None:
    # 10,000 of equity carries 1.6 BTC at 10x below 98 % usage; each of ten parallel orders asks for 0.5
    # (3,000 of margin).
    results = await asyncio.gather(*(lab.market("Alice", LONG, "0.5") for _ in range(10)))
    done = [result for result in results if isinstance(result, Executed)]
    assert len(done) == 3
    assert lab.held("Alice") == Decimal("1.5")
    refused = next(result for result in results if isinstance(result, Refused))
    assert codes(refused) == [RefusalCode.MARGIN_RATIO_EXCEEDED]


async def test_frozen_accounts_reduce_but_do_not_open(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.2")
    await lab.parts.ledger.set_status(lab.accounts["Alice"], AccountStatus.FROZEN, ACTOR)
    assert codes(await lab.market("Alice", LONG, "0.1")) == [RefusalCode.ACCOUNT_FROZEN]
    position = lab.position("Alice")
    assert position is not None
    assert isinstance(await lab.parts.trader.close(position.id, ACTOR), Executed)


async def test_a_fill_for_a_frozen_account_is_booked_all_the_same(lab: Laboratory) -> None:
    await lab.limit("Alice", LONG, "0.1", "59000")
    await lab.parts.ledger.set_status(lab.accounts["Alice"], AccountStatus.FROZEN, ACTOR)
    await lab.price(BTC, "58999.9", "59000")
    await until(lambda: lab.held("Alice") == Decimal("0.1"), "the fill of a frozen account")


async def test_an_executed_order_whose_answer_is_lost_is_booked_once(lab: Laboratory) -> None:
    lab.exchange.fault("drop_response_after_execute", 1)
    done = await lab.market("Alice", LONG, "0.1")
    assert isinstance(done, Executed), done
    assert lab.held("Alice") == Decimal("0.1")


async def test_an_order_that_never_arrived_is_proved_absent_and_releases_its_margin(lab: Laboratory) -> None:
    # On the order alone: the engine reads the real account now and then.
    lab.exchange.arm(kind="answer", variant="503A", method="POST", path="orders", count=1)
    lost = await lab.market("Alice", LONG, "0.1")
    assert isinstance(lost, Refused)
    assert codes(lost)[0] in (RefusalCode.EXECUTION_UNKNOWN, RefusalCode.EXCHANGE_STATE_UNKNOWN)
    await until(lambda: not lab.parts.ledger.open_orders(), "the proof of absence", seconds=10)
    assert lab.held("Alice") == 0
    assert not list(lab.parts.core.live_orders.of_account(lab.accounts["Alice"]))


async def test_a_liquidation_closes_one_account_and_no_other(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "1.5")
    await lab.market("Bob", LONG, "0.2")
    await lab.market("Bob", SHORT, "1", ETH)
    resting = await lab.limit("Alice", LONG, "0.01", "50000")
    assert isinstance(resting, Resting)
    # Alice loses 1.5 x 6,500 = 9,750 of her 10,000: maintenance over equity passes 0.9.
    await lab.price(BTC, "53499.9", "53500.1")
    alice = lab.accounts["Alice"]

    def liquidated() -> bool:
        account = lab.parts.ledger.account(alice)
        return account is not None and account.status is AccountStatus.LIQUIDATED

    await until(liquidated, "the liquidation", seconds=10)
    assert lab.held("Alice") == 0
    assert not list(lab.parts.core.live_orders.of_account(alice))
    assert lab.held("Bob") == Decimal("0.2")
    assert lab.held("Bob", ETH) == -1
    assert codes(await lab.market("Alice", LONG, "0.01")) == [RefusalCode.ACCOUNT_FROZEN]


async def test_bad_numbers_and_unknown_symbols_change_nothing(lab: Laboratory) -> None:
    before = lab.parts.ledger.open_orders(), lab.parts.wired.sender.statistics()
    for quantity in ("0", "-1", "NaN", "Infinity", "1e-9", "1e30"):
        refused = await lab.market("Alice", LONG, quantity)
        assert isinstance(refused, Refused), quantity
    unknown = await lab.market("Alice", LONG, "1", type(BTC)("NOPE/USDT:USDT"))
    assert codes(unknown) == [RefusalCode.UNKNOWN_SYMBOL]
    assert (lab.parts.ledger.open_orders(), lab.parts.wired.sender.statistics()) == before


async def test_a_foreign_fill_goes_to_the_holder_of_the_reduced_side(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.5")
    await lab.market("Bob", SHORT, "0.1")
    # Somebody sells 0.3 by hand on the real account: only Alice is long, so 0.3 of her position is closed.
    order = approve_house(
        ClientOrderId(f"manual-{lab.accounts['Alice'][:8]}"),
        BTC,
        OrderSide.SELL,
        Quantity(Decimal("0.3")),
        reduce_only_wire=False,
    )
    assert isinstance(await lab.parts.exchange.trading.place(order), Confirmed)
    await until(lambda: lab.held("Alice") == Decimal("0.2"), "the allocation")
    assert lab.held("Bob") == Decimal("-0.1")
    await lab.settled()
