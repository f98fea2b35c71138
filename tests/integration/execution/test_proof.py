"""Proof that an order was not executed (decision 2), with queries that lag behind what the exchange did."""

import asyncio
from decimal import Decimal
from pathlib import Path

from pms.execution.api import Resting
from pms.model.order import JournalOrder, OrderState
from pms.model.refusal import RefusalCode, Refused
from tests.support.clocks import PushedClock
from tests.support.laboratory import ACTOR, LONG, Laboratory, laboratory
from tests.support.waiting import until

LAG_SECONDS = 9
"""Far beyond timestamp + recvWindow + 1 s: absence in the query proves nothing by itself."""


def unknown(lab: Laboratory) -> JournalOrder:
    (order,) = lab.parts.ledger.open_orders()
    assert order.state is OrderState.UNKNOWN
    return order


async def lost(lab: Laboratory, *, executed: bool, lag: bool) -> None:
    """The next order gets no answer, its events are lost, and queries for a while do not find it."""
    lag_ms = LAG_SECONDS * 1000
    lab.exchange.arm(kind="silence", traffic="private", for_ms=lag_ms)
    lab.exchange.arm(kind="lose", path="orders", executed=executed, count=1)
    if lag:
        query = {"method": "GET", "path": "/fapi/v1/order", "code": -2013, "msg": "Order does not exist."}
        lab.exchange.arm(kind="refuse", for_ms=lag_ms, **query)


async def in_doubt(lab: Laboratory) -> None:
    def doubtful() -> bool:
        return [each.state for each in lab.parts.ledger.open_orders()] == [OrderState.UNKNOWN]

    await until(doubtful, "doubt")


async def test_an_executed_order_is_never_taken_for_absent(tmp_path: Path) -> None:
    clock = PushedClock()
    async with laboratory(tmp_path, clock) as lab:
        await lab.account("Alice")
        await lost(lab, executed=True, lag=True)
        asked = asyncio.create_task(lab.market("Alice", LONG, "0.2"))
        await in_doubt(lab)
        await clock.run_for(LAG_SECONDS - 1, pause_seconds=0.02)
        assert unknown(lab).quantity == Decimal("0.2"), "its trade is on the exchange: no proof"
        await clock.run_for(15, pause_seconds=0.01)
        lab.exchange.arm(kind="cut", traffic="private")
        answer = await asked
        if isinstance(answer, Refused):
            assert answer.refusals[0].code is RefusalCode.EXECUTION_UNKNOWN, "never a failure"
        assert lab.held("Alice") == Decimal("0.2")
        assert lab.parts.wired.resolver.statistics().proved_absent == 0


async def test_a_resting_order_is_never_taken_for_absent(tmp_path: Path) -> None:
    clock = PushedClock()
    async with laboratory(tmp_path, clock) as lab:
        await lab.account("Alice")
        await lost(lab, executed=True, lag=True)
        asked = asyncio.create_task(lab.limit("Alice", LONG, "0.2", "50000"))
        await in_doubt(lab)
        await clock.run_for(LAG_SECONDS - 1, pause_seconds=0.02)
        assert unknown(lab).quantity == Decimal("0.2"), "it is among the open orders: no proof"
        await clock.run_for(20, pause_seconds=0.01)
        (order,) = lab.parts.ledger.open_orders()
        assert order.state is OrderState.LIVE
        answer = await asked
        assert isinstance(answer, Resting | Refused)
        assert order.pending_order_id is not None
        await lab.parts.trader.cancel(order.pending_order_id, ACTOR)


async def test_absence_is_proved_by_time_query_and_trades(tmp_path: Path) -> None:
    clock = PushedClock()
    async with laboratory(tmp_path, clock) as lab:
        await lab.account("Alice")
        await lost(lab, executed=False, lag=False)
        asked = asyncio.create_task(lab.market("Alice", LONG, "0.2"))
        await in_doubt(lab)
        order = unknown(lab)
        valid_until_ms = order.timestamp_ms + order.recv_window_ms + 1000
        while lab.parts.ledger.open_orders():
            assert lab.exchange.venue.now_ms() < valid_until_ms + 30_000
            await clock.run_for(0.2, 0.2, 0.02)
            if lab.exchange.venue.now_ms() < valid_until_ms - 200:
                assert unknown(lab).sequence == order.sequence, "not before it can have no effect any more"
        answer = await asked
        assert isinstance(answer, Refused)
        assert answer.refusals[0].code is RefusalCode.EXCHANGE_STATE_UNKNOWN
        assert lab.parts.wired.resolver.statistics().proved_absent == 1
        assert not len(lab.parts.core.live_orders)
