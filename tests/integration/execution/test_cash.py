"""Cash that administrators move, and takeovers, on a running engine: what positions and orders need stays."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio

from pms.execution.api import Executed, Resting
from pms.ledger.api import Actor
from pms.ledger.errors import CommitUnknownError
from pms.model.account import LiquidationMode, PositionStatus, SubAccount
from pms.model.money import Money
from pms.model.order import FLIP_ACTION
from pms.model.refusal import RefusalCode, Refused
from tests.support.laboratory import ACTOR, BTC, LONG, SHORT, Laboratory, laboratory

ADMIN = Actor("an-admin", "jwt")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path_factory.mktemp("cash")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def lab(engine: Laboratory) -> AsyncIterator[Laboratory]:
    """Two fresh accounts on a flat exchange at the usual prices."""
    await engine.reset_prices()
    await engine.account("Alice")
    await engine.account("Bob")
    yield engine
    await engine.settled()
    await engine.flatten()


def code(result: object) -> RefusalCode:
    assert isinstance(result, Refused), result
    return result.refusals[0].code


def usdt(amount: object) -> Money:
    return Money(Decimal(str(amount)))


@pytest.mark.asyncio(loop_scope="module")
async def test_what_a_position_needs_stays_whichever_way_the_cash_would_leave(lab: Laboratory) -> None:
    trader, alice, bob = lab.parts.trader, lab.accounts["Alice"], lab.accounts["Bob"]
    assert isinstance(await lab.market("Alice", LONG, "1"), Executed)  # 6,000 of margin of 10,000
    assert code(await trader.transfer(alice, bob, usdt(5000), ACTOR)) is RefusalCode.INSUFFICIENT_BALANCE
    assert code(await trader.set_balance(alice, usdt(4000), ACTOR)) is RefusalCode.INSUFFICIENT_BALANCE
    assert code(await trader.reset_account(alice, ACTOR)) is RefusalCode.EXPOSURE_OPEN
    assert code(await trader.close_account(alice, ACTOR)) is RefusalCode.EXPOSURE_OPEN
    moved = await trader.transfer(alice, bob, usdt(3000), ACTOR)
    assert not isinstance(moved, Refused)
    assert moved[1].balance == 13_000
    raised = await trader.set_balance(alice, usdt(20_000), ACTOR)
    assert not isinstance(raised, Refused)
    assert raised.balance == 20_000
    lowered = await trader.set_balance(alice, usdt(7_000), ACTOR)
    assert not isinstance(lowered, Refused)
    assert lowered.balance == 7_000


@pytest.mark.asyncio(loop_scope="module")
async def test_a_resting_order_alone_keeps_an_account_from_being_reset(lab: Laboratory) -> None:
    trader, alice = lab.parts.trader, lab.accounts["Alice"]
    resting = await lab.limit("Alice", LONG, "0.01", "50000")
    assert isinstance(resting, Resting)
    assert resting.order.pending_order_id is not None
    assert code(await trader.reset_account(alice, ACTOR)) is RefusalCode.EXPOSURE_OPEN
    await trader.cancel(resting.order.pending_order_id, ACTOR)
    reset = await trader.reset_account(alice, ACTOR)
    assert not isinstance(reset, Refused)
    assert (reset.balance, reset.initial_balance) == (0, 0)
    closed = await trader.close_account(lab.accounts["Bob"], ACTOR)
    assert not isinstance(closed, Refused)
    assert closed.balance == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_a_takeover_sends_nothing_and_cancels_what_would_close_the_position(lab: Laboratory) -> None:
    trader, ledger = lab.parts.trader, lab.parts.ledger
    assert isinstance(await lab.market("Alice", LONG, "0.5"), Executed)
    assert isinstance(await lab.limit("Alice", SHORT, "0.5", "70000", reduce_only=True), Resting)
    position = lab.position("Alice")
    assert position is not None
    net = ledger.expected_net(BTC)
    taken = await trader.take_over(position.id, ADMIN)
    assert isinstance(taken, Executed)
    assert taken.closed is not None
    assert (taken.order, taken.closed.status) == (None, PositionStatus.TAKEN_OVER)
    assert [trade.action for trade in taken.trades] == ["TAKEOVER"]
    assert not ledger.open_orders()
    assert ledger.expected_net(BTC) == net
    assert {held.symbol: held.signed_quantity for held in ledger.house_positions()}[BTC] == Decimal("0.5")
    assert code(await trader.take_over(position.id, ADMIN)) is RefusalCode.POSITION_NOT_FOUND
    # The house holds it until it gives it back: that needs no order either.
    await ledger.assign_from_house(
        BTC, lab.accounts["Bob"], Decimal("0.5"), taken.trades[0].price, Decimal(10), ADMIN
    )
    assert lab.held("Bob") == Decimal("0.5")


async def test_a_flip_of_the_incumbents_kind_is_sent_as_old_plus_new(tmp_path: Path) -> None:
    async with laboratory(tmp_path, flip_mode="incumbent", charge_open_fees=False) as lab:
        await lab.account("Alice")
        assert isinstance(await lab.market("Alice", SHORT, "0.3"), Executed)
        flipped = await lab.market("Alice", LONG, "0.1")
        assert isinstance(flipped, Executed)
        assert flipped.order is not None
        assert (flipped.order.quantity, flipped.order.action) == (Decimal("0.4"), FLIP_ACTION)
        assert lab.held("Alice") == Decimal("0.1")
        closes = [trade for trade in flipped.trades if trade.realized_pnl is not None]
        opens = [trade for trade in flipped.trades if trade.realized_pnl is None]
        assert sum(trade.quantity for trade in closes) == Decimal("0.3")
        assert all(trade.fee > 0 for trade in closes)
        assert sum(trade.fee for trade in opens) == 0
        # A limit order is never of that kind, nor is an entry without anything to close.
        added = await lab.market("Alice", LONG, "0.1")
        assert isinstance(added, Executed)
        assert added.order is not None
        assert (added.order.quantity, added.order.action) == (Decimal("0.1"), "OPEN")
        await lab.flatten()


@pytest.mark.asyncio(loop_scope="module")
async def test_cash_that_may_have_left_backs_no_order_before_the_ledger_has_looked(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    trader, alice, ledger = lab.parts.trader, lab.accounts["Alice"], lab.parts.ledger

    async def lost(*_: object) -> SubAccount:
        raise CommitUnknownError("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "withdraw", lost)
        with pytest.raises(CommitUnknownError):
            await trader.withdraw(alice, usdt(9000), ACTOR)
    assert code(await lab.market("Alice", LONG, "0.5")) is RefusalCode.INSUFFICIENT_MARGIN
    await ledger.set_liquidation_mode(alice, LiquidationMode.ADL_30, ACTOR)  # the next commit: it is known
    assert isinstance(await lab.market("Alice", LONG, "0.5"), Executed)
