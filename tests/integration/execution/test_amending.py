"""Changing resting orders: the exchange's word decides, whatever overtakes the change or loses its answer."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from pms.execution.api import Cancelled, Resting
from pms.ledger.audit import audit
from pms.ledger.errors import DatabaseFullError
from pms.model.ids import PendingOrderId
from pms.model.order import JournalOrder, OrderState
from pms.model.refusal import RefusalCode, Refused
from tests.support.laboratory import ACTOR, BTC, LONG, Laboratory, laboratory
from tests.support.waiting import until


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path) as running:
        await running.account("A")
        yield running


async def resting(lab: Laboratory, quantity: str = "0.02", price: str = "59000") -> JournalOrder:
    placed = await lab.limit("A", LONG, quantity, price)
    assert isinstance(placed, Resting)
    return placed.order


def pending(order: JournalOrder) -> PendingOrderId:
    assert order.pending_order_id is not None
    return order.pending_order_id


def now(lab: Laboratory, order: JournalOrder) -> JournalOrder | None:
    return lab.parts.ledger.order(order.client_order_id)


def reserved(lab: Laboratory) -> list[tuple[Decimal, Decimal | None]]:
    live = lab.parts.core.live_orders
    return [(order.remaining, order.price) for order in live.of_account(lab.accounts["A"])]


async def test_a_change_is_in_journal_row_and_reservation_once_the_exchange_has_made_it(
    lab: Laboratory,
) -> None:
    order = await resting(lab)
    changed = await lab.parts.trader.amend(
        pending(order), ACTOR, quantity=Decimal("0.03"), price=Decimal(58_000)
    )
    assert isinstance(changed, Resting)
    assert (changed.order.quantity, changed.order.price) == (Decimal("0.03"), 58_000)
    rows = await lab.parts.ledger.store.fetch("SELECT price, quantity, status FROM pending_orders")
    assert [tuple(row.values()) for row in rows] == [(58_000.0, 0.03, "PENDING")]
    assert reserved(lab) == [(Decimal("0.03"), Decimal(58_000))]
    assert isinstance(await lab.parts.trader.cancel(pending(order), ACTOR), Cancelled)
    assert now(lab, order) is None
    assert reserved(lab) == []


async def test_the_larger_quantity_is_reserved_while_the_answer_is_out(lab: Laboratory) -> None:
    order = await resting(lab)
    lab.exchange.arm(kind="lose", method="PUT", path="orders", executed=False, count=1)
    change = asyncio.create_task(lab.parts.trader.amend(pending(order), ACTOR, quantity=Decimal("0.05")))
    await until(lambda: reserved(lab) == [(Decimal("0.05"), Decimal(59_000))], "the reservation of both")
    again = await lab.parts.trader.amend(pending(order), ACTOR, quantity=Decimal("0.01"))
    assert isinstance(again, Refused)
    assert again.refusals[0].code is RefusalCode.BOUND_REACHED
    outcome = await change
    assert isinstance(outcome, Refused), "proved that it had no effect"
    assert reserved(lab) == [(Decimal("0.02"), Decimal(59_000))]
    known = now(lab, order)
    assert known is not None
    assert (known.quantity, known.state) == (Decimal("0.02"), OrderState.LIVE)


async def test_a_lost_answer_of_a_change_that_was_made_is_found(lab: Laboratory) -> None:
    order = await resting(lab)
    lab.exchange.arm(kind="lose", method="PUT", path="orders", executed=True, count=1)
    changed = await lab.parts.trader.amend(pending(order), ACTOR, quantity=Decimal("0.05"))
    assert isinstance(changed, Resting)
    assert changed.order.quantity == Decimal("0.05")
    assert reserved(lab) == [(Decimal("0.05"), Decimal(59_000))]


async def test_a_change_that_nobody_may_make_changes_nothing(lab: Laboratory) -> None:
    order = await resting(lab)
    refused = await lab.parts.trader.amend(pending(order), ACTOR, quantity=Decimal(500))
    assert isinstance(refused, Refused)
    assert reserved(lab) == [(Decimal("0.02"), Decimal(59_000))]
    assert isinstance(await lab.parts.trader.amend(PendingOrderId("nobody"), ACTOR), Refused)


@pytest.mark.parametrize("seed", range(4))
async def test_change_fill_and_cancel_race_and_the_exchange_decides(lab: Laboratory, seed: int) -> None:
    """All at once, in every order that the wire makes of them; books and exchange agree in the end."""
    order = await resting(lab)

    async def crash() -> None:
        await asyncio.sleep(0.002 * (seed % 3))
        await lab.price(BTC, "58900.0", "58950.0")

    async def cancel() -> None:
        await asyncio.sleep(0.002 * (seed % 2))
        await lab.parts.trader.cancel(pending(order), ACTOR)

    await asyncio.gather(
        lab.parts.trader.amend(pending(order), ACTOR, quantity=Decimal("0.05"), price=Decimal(59_100)),
        crash(),
        cancel(),
    )
    await until(lambda: now(lab, order) is None, "the order's end", seconds=10)
    ended = await lab.parts.ledger.queries.order(order.client_order_id)
    assert ended is not None
    assert ended.state in (OrderState.FILLED, OrderState.CANCELLED)
    assert ended.booked_quantity == ended.executed_quantity == lab.held("A")
    assert reserved(lab) == []
    assert (await audit(f"sqlite:///{lab.settings.data_dir / 'ledger.db'}")).passed


async def test_a_change_is_judged_by_the_order_as_it_is_when_its_turn_comes(lab: Laboratory) -> None:
    seen = await resting(lab)
    changed = await lab.parts.trader.amend(pending(seen), ACTOR, quantity=Decimal("0.03"))
    assert isinstance(changed, Resting)
    # The caller of the second looked before the first was made.
    second = await lab.parts.wired.trader._amending.amend(seen, None, Decimal(58_000))
    assert isinstance(second, Resting)
    assert (second.order.quantity, second.order.price) == (Decimal("0.03"), 58_000)
    lab.exchange.arm(kind="refuse", method="PUT", code=-2013, msg="no", path="orders", count=1)
    refused = await lab.parts.wired.trader._amending.amend(seen, Decimal("0.05"), None)
    assert isinstance(refused, Refused)
    known = now(lab, seen)
    assert known is not None
    assert (known.quantity, known.price) == (Decimal("0.03"), 58_000)


async def test_a_change_that_could_not_be_recorded_is_asked_for(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await resting(lab)
    ledger = lab.parts.ledger

    async def full(*_: object) -> JournalOrder:
        raise DatabaseFullError("full")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "record_amended", full)
        with pytest.raises(DatabaseFullError):
            await lab.parts.trader.amend(pending(order), ACTOR, price=Decimal(58_000))

    def price() -> Decimal | None:
        known = now(lab, order)
        return None if known is None else known.price

    await until(lambda: price() == 58_000, "the price that the exchange has")
