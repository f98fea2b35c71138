"""The same fill from the stream, from order sync and from start-up recovery at once is booked once."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import replace
from decimal import Decimal

import pytest

from pms.exchange.port import OrderEvent, OrderReport, StreamGap
from pms.execution.exchange_net import ExchangeNet
from pms.execution.resolver import DoubtResolver
from pms.ledger.audit import audit
from pms.ledger.ledger import LedgerService
from pms.model.fill import FillSource
from pms.model.ids import ClientOrderId
from pms.model.money import Price, Quantity
from pms.model.order import ExchangeOrderStatus, OrderSide
from pms.sync.recovery import GapFiller
from pms.sync.user_events import FillBooker, UserEventProcessor
from tests.support.ledger import BTC, START_MS, Desk, ManualClock, opened
from tests.unit.sync.scripted import ScriptedExchange

GAP = StreamGap(0, START_MS)
Way = Callable[[], Coroutine[object, object, object]]


@pytest.mark.parametrize("order_of_ways", list(itertools.permutations(["stream", "order sync", "recovery"])))
async def test_the_same_fill_arrives_from_stream_order_sync_and_recovery_at_once(
    order_of_ways: tuple[str, ...], database_url: str
) -> None:
    clock = ManualClock()
    ledger: LedgerService = await opened(database_url, clock=clock)
    exchange = ScriptedExchange(now_ms=START_MS)
    booker, net = FillBooker(ledger, "USDT", lambda symbol: None), ExchangeNet()
    resolver = DoubtResolver(ledger, exchange, exchange, booker.book, clock)

    def filler() -> GapFiller:
        return GapFiller(ledger, exchange, resolver, booker.book, net, clock, 2000)

    running = filler()
    await running.fill(GAP)
    events = UserEventProcessor(ledger, booker, resolver, net, running, lambda _: None, lambda: None)
    desk = Desk(ledger)
    account = await desk.account()
    await desk.buy(account.id, "2", "100")
    order = await desk.order(account.id, OrderSide.SELL, "2", reduce_only=True, action="CLOSE")
    fill = replace(desk.fill(order, "110"), fee=Decimal("0.2"))
    report = OrderReport(
        BTC, fill.order_id, order.client_order_id, order.side, ExchangeOrderStatus.FILLED,
        order.quantity, Price(Decimal(0)), Quantity(Decimal(2)), Price(Decimal(110)), START_MS,
    )  # fmt: skip
    exchange.orders[order.client_order_id] = report
    exchange.fills = [replace(fill, client_order_id=ClientOrderId(""), source=FillSource.QUERY)]
    ways: dict[str, Way] = {
        "stream": lambda: events.handle(OrderEvent(report, fill, START_MS, START_MS)),
        "order sync": lambda: resolver.settle(order),
        "recovery": lambda: filler().fill(GAP),  # as a process that starts now would
    }
    await asyncio.gather(*(ways[way]() for way in order_of_ways))

    assert booker.booked == 1
    assert booker.duplicates >= 1
    assert ledger.open_position(account.id, BTC) is None
    assert ledger.order(order.client_order_id) is None, "filled and booked: ended once"
    trades = await ledger.queries.all_trades(account.id)
    assert [(trade.action, trade.realized_pnl) for trade in trades if trade.action != "OPEN"] == [
        ("CLOSE", Decimal("19.8"))
    ]
    closing = [
        one for one in await ledger.queries.events_after(account.id, 0) if one.type == "position_closed"
    ]
    assert len(closing) == 1
    await ledger.close()
    report_of_books = await audit(database_url)
    assert report_of_books.passed, "\n".join(report_of_books.lines())
