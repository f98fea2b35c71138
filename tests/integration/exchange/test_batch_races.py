"""Named situation: a batch placement returns while a single cancel of one of its elements arrives.

Four things happen: the venue takes the batch (B), the batch is answered (b), the venue takes the cancel (C),
the cancel is answered (c). Every order of them is played, with each answer lost or not, and with the element
filled (F) as soon as it rests or not at all. Whatever happened, no outcome contradicts the exchange, and what
is asked afterwards is exactly its state, with every fill told once.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import permutations
from random import Random

import pytest

from pms.exchange.binance import BinanceExchange
from pms.exchange.port import (
    CancelOutcome,
    CancelVerdict,
    Confirmed,
    OrderReport,
    OutcomeUnknown,
    PlaceOutcome,
)
from pms.model.ids import ClientOrderId
from pms.model.order import ApprovedOrder, ExchangeOrderStatus
from pms.runtime import SystemClock
from pms.simulator import Simulator, SimulatorConfig
from tests.integration.exchange.fake_venue import running, until
from tests.integration.exchange.holding_proxy import HoldingProxy, holding_proxy
from tests.integration.exchange.test_simulator import BTC, KEY, SECRET, Events, config_of, order

STATUS = ExchangeOrderStatus
INTERLEAVINGS = [
    "".join(steps)
    for steps in permutations("BbCc")
    if steps.index("B") < steps.index("b") and steps.index("C") < steps.index("c")
]
LOST = [(False, False), (True, False), (False, True), (True, True)]


def test_all_interleavings_are_played() -> None:
    assert sorted(INTERLEAVINGS) == ["BCbc", "BCcb", "BbCc", "CBbc", "CBcb", "CcBb"]


@dataclass
class Desk:
    simulator: Simulator
    exchange: BinanceExchange
    proxy: HoldingProxy
    events: Events

    def calm(self) -> None:
        """No order of the test is filled."""
        self.simulator.set_quote("BTCUSDT", Decimal("50000.0"), Decimal("50000.1"))

    def dip(self) -> None:
        """The price comes down to the middle element, and to no other one."""
        self.simulator.set_quote("BTCUSDT", Decimal("49499.0"), Decimal("49499.9"))


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    simulator = Simulator(
        SimulatorConfig(symbols=("BTCUSDT",), accounts=((KEY, SECRET, Decimal(1_000_000)),))
    )
    await simulator.start()
    events = Events()
    async with holding_proxy(simulator.url) as proxy:
        exchange = BinanceExchange(
            replace(config_of(simulator), rest_url=proxy.url), SystemClock(), Random(1)
        )
        await exchange.start()
        async with running(exchange.user_stream.run(events)):
            await until(events.gaps)
            yield Desk(simulator, exchange, proxy, events)
        await exchange.close()
    await simulator.stop()


async def play(
    desk: Desk, steps: str, orders: list[ApprovedOrder], lost: tuple[bool, bool], filled: bool
) -> tuple[list[PlaceOutcome], CancelOutcome]:
    """Place the batch and cancel its middle element, in that order of steps."""
    place = desk.proxy.hold("POST", "/fapi/v1/batchOrders", lost=lost[0])
    cancel = desk.proxy.hold("DELETE", "/fapi/v1/order", lost=lost[1])
    placing = asyncio.create_task(desk.exchange.trading.place_many(orders))
    cancelling = asyncio.create_task(desk.exchange.trading.cancel(BTC, orders[1].client_order_id))
    async with asyncio.timeout(5):
        await asyncio.gather(place.arrived.wait(), cancel.arrived.wait())
        for step in steps:
            hold, task = (place, placing) if step in "Bb" else (cancel, cancelling)
            if step in "BC":
                hold.go.set()
                await hold.done.wait()
            else:
                hold.answer.set()
                await asyncio.wait({task})
            if step == "B" and filled:
                desk.dip()
        return list(await placing), await cancelling


def expected(steps: str, filled: bool) -> tuple[STATUS, CancelVerdict]:
    """What the exchange ends with, and what an answered cancel says."""
    if steps.index("C") < steps.index("B"):
        return (STATUS.FILLED if filled else STATUS.NEW), CancelVerdict.NOT_OPEN
    return (STATUS.FILLED, CancelVerdict.NOT_OPEN) if filled else (STATUS.CANCELLED, CancelVerdict.CANCELLED)


@pytest.mark.parametrize("steps", INTERLEAVINGS)
async def test_a_batch_returns_while_a_cancel_of_one_of_its_elements_arrives(desk: Desk, steps: str) -> None:
    number = 0
    for filled in (False, True):
        for lost in LOST:
            desk.calm()
            orders = [
                order(number + place, price=price) for place, price in enumerate(("49000", "49500", "49000"))
            ]
            number += 3
            outcomes, cancelled = await play(desk, steps, orders, lost, filled)
            status, verdict = expected(steps, filled)
            kind = OutcomeUnknown if lost[0] else Confirmed
            assert [type(each) for each in outcomes] == [kind] * 3
            assert cancelled.verdict is (CancelVerdict.UNKNOWN if lost[1] else verdict)
            for one, wanted in zip(orders, (STATUS.NEW, status, STATUS.NEW), strict=True):
                await agrees(desk, one.client_order_id, wanted)


async def agrees(desk: Desk, client_order_id: ClientOrderId, wanted: STATUS) -> None:
    """The order is asked for as after any doubt; the answer is the exchange's state, fill by fill."""
    report = await desk.exchange.trading.query(BTC, client_order_id)
    assert isinstance(report, OrderReport)
    assert report.status is wanted
    engine = desk.simulator.venue.engine
    held = engine.find_order(engine.account_by_key[KEY], "BTCUSDT", None, client_order_id)
    assert held is not None
    assert (report.order_id, report.executed_quantity) == (str(held.order_id), held.executed)
    queried = await desk.exchange.account.order_fills(BTC, report.order_id)
    assert sum(fill.quantity for fill in queried) == report.executed_quantity

    def told() -> list[int]:
        return [
            each.fill.trade_id
            for each in desk.events.orders()
            if each.fill is not None and each.fill.client_order_id == client_order_id
        ]

    await until(lambda: len(told()) >= len(queried))
    assert told() == [fill.trade_id for fill in queried]
