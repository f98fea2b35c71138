"""Account events and order events of the same executions come in any order: the books are the same."""

from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from pms.exchange.port import AccountEvent, ExchangePosition, OrderEvent, OrderReport, UserEvent
from pms.execution.exchange_net import ExchangeNet
from pms.execution.resolver import DoubtResolver
from pms.model.fill import ExchangeFill
from pms.model.ids import ExchangeOrderId
from pms.model.money import ZERO, Money, Price, Quantity
from pms.model.order import ExchangeOrderStatus, JournalOrder, OrderSide
from pms.sync.recovery import GapFiller
from pms.sync.user_events import FillBooker, UserEventProcessor
from tests.support.ledger import BTC, START_MS, Desk, ManualClock, opened, sqlite_url
from tests.unit.sync.scripted import ScriptedExchange
from tests.unit.sync.test_recovery import GAP


def interleavings(first: list[UserEvent], second: list[UserEvent]) -> Iterator[list[UserEvent]]:
    """Every order that keeps each list's own (the venue orders only events of one type)."""
    if not first or not second:
        yield [*first, *second]
        return
    for rest in interleavings(first[1:], second):
        yield [first[0], *rest]
    for rest in interleavings(first, second[1:]):
        yield [second[0], *rest]


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[tuple[Desk, ExchangeNet, UserEventProcessor]]:
    clock = ManualClock()
    ledger = await opened(sqlite_url(tmp_path), clock=clock)
    exchange = ScriptedExchange(now_ms=START_MS)
    booker = FillBooker(ledger, "USDT", lambda symbol: None)
    resolver = DoubtResolver(ledger, exchange, exchange, booker.book, clock)
    net = ExchangeNet()
    filler = GapFiller(ledger, exchange, resolver, booker.book, net, clock, 2000)
    await filler.fill(GAP)
    processor = UserEventProcessor(ledger, booker, resolver, net, filler, lambda symbol: None, lambda: None)
    yield Desk(ledger), net, processor
    await ledger.close()


def order_event(order: JournalOrder, fill: ExchangeFill, executed: str, time_ms: int) -> OrderEvent:
    whole = Decimal(executed) == order.quantity
    report = OrderReport(
        order.symbol,
        order.exchange_order_id or ExchangeOrderId("0"),
        order.client_order_id,
        order.side,
        ExchangeOrderStatus.FILLED if whole else ExchangeOrderStatus.PARTIALLY_FILLED,
        order.quantity,
        Price(Decimal(100)),
        Quantity(Decimal(executed)),
        None,
        time_ms,
    )
    return OrderEvent(report, fill, time_ms, time_ms)


def account_event(net: Decimal, time_ms: int) -> AccountEvent:
    position = ExchangePosition(BTC, net, Price(Decimal(100)), time_ms)
    return AccountEvent((position,), Money(Decimal(5)), Money(ZERO), "ORDER", time_ms, time_ms)


async def test_every_interleaving_gives_the_same_books(
    parts: tuple[Desk, ExchangeNet, UserEventProcessor],
) -> None:
    desk, net, processor = parts
    ledger = desk.ledger
    held, time_ms = Decimal(0), START_MS + 1000
    count = 0
    for number in range(6):
        account = await desk.account(f"A{number}", "10000")
        order = await desk.order(account.id, OrderSide.BUY, "3")
        fills = [desk.fill(order, "100", "1"), desk.fill(order, "101", "2")]
        orders: list[UserEvent] = [
            order_event(order, fills[0], "1", time_ms + 1),
            order_event(order, fills[1], "3", time_ms + 2),
        ]
        accounts: list[UserEvent] = [
            account_event(held + 1, time_ms + 1),
            account_event(held + 3, time_ms + 2),
        ]
        ways = list(interleavings(orders, accounts))
        assert len(ways) == 6
        for event in ways[number]:
            await processor.handle(event)
        # What comes once more changes nothing.
        for event in reversed(ways[number]):
            await processor.handle(event)
        held, time_ms, count = held + 3, time_ms + 1000, count + 2
        position = ledger.open_position(account.id, BTC)
        assert position is not None
        assert (position.quantity, position.cost) == (3, 302)
        assert ledger.order(order.client_order_id) is None
        verdict = net.judge(BTC, ledger.virtual_net(BTC), ZERO, time_ms)
        assert verdict.balanced
        assert verdict.exchange_net == held
    assert processor.statistics().fills_booked == count
    assert processor.statistics().fills_duplicate == count
