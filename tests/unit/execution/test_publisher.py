"""The publisher: a fault while following a commit is never hidden."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pms.bus.hub import EventHub
from pms.bus.memory import MemoryState
from pms.bus.projection import StateProjection
from pms.exchange.port import ExchangePosition
from pms.execution.exchange_net import ExchangeNet
from pms.execution.holdings import Holdings
from pms.execution.live_orders import LiveOrders
from pms.execution.prices import Prices
from pms.execution.publisher import Publisher
from pms.execution.tracker import OrderTracker
from pms.execution.views import Views
from pms.ledger.ledger import LedgerService
from pms.limits import EVALUATION_DELAY_MS_MAX
from pms.model.event import DurableEvent, EphemeralEvent
from pms.model.ids import SubAccountId
from pms.model.money import Money, Price
from pms.model.order import OrderSide
from pms.model.price import MarkPrice
from pms.risk.book import RiskBook
from pms.risk.maintenance import MaintenanceBasis
from pms.runtime import SystemClock
from tests.support.ledger import BTC, Desk, opened, sqlite_url
from tests.support.waiting import until


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[LedgerService]:
    service = await opened(sqlite_url(tmp_path))
    yield service
    await service.close()


def publisher_of(
    ledger: LedgerService, hub: EventHub, considered: list[SubAccountId], net: ExchangeNet | None = None
) -> Publisher:
    clock = SystemClock()
    prices, net = Prices(clock), net or ExchangeNet()
    holdings = Holdings(ledger.open_positions(), ledger.event_sequence)
    views = Views(ledger, holdings, prices, net, clock, MaintenanceBasis())
    projection = StateProjection(MemoryState(clock), clock, "epoch")
    return Publisher(
        ledger,
        RiskBook(),
        holdings,
        LiveOrders(),
        OrderTracker(),
        prices,
        views,
        hub,
        projection,
        considered.append,
        clock,
    )


def mark(price: float) -> MarkPrice:
    now_ms = SystemClock().now_ms()
    return MarkPrice(BTC, price, 0.0, 0, now_ms, now_ms)


async def test_an_identity_is_told_when_it_is_judged_first_and_not_while_a_report_is_on_its_way(
    ledger: LedgerService,
) -> None:
    hub, net = EventHub(), ExchangeNet()
    seen: list[DurableEvent | EphemeralEvent] = []
    hub.add_sink(seen.append)
    publisher = publisher_of(ledger, hub, [], net)
    ledger.on_commit(publisher.on_commit)
    running = asyncio.create_task(publisher.run())
    net.snapshot((), 1)
    await ledger.adopt_wallet(_capital(), "one")
    account = await Desk(ledger).account("A", "1000")
    await Desk(ledger).trade_at(account.id, OrderSide.BUY, "10", "100", leverage="10")
    await until(lambda: publisher.statistics().flushes > 3, "some flushes")
    assert not [event for event in seen if event.type == "exposure_updated"]
    net.report(ExchangePosition(BTC, Decimal(10), Price(Decimal(100)), 2))
    await until(lambda: any(event.type == "exposure_updated" for event in seen), "the identity")
    (told,) = [event.data for event in seen if event.type == "exposure_updated"]
    assert (told["virtualNet"], told["exchangeNet"], told["balanced"]) == (10, 10, True)
    running.cancel()


async def test_durable_events_come_in_the_commit_and_conflated_ones_after_it(ledger: LedgerService) -> None:
    hub, considered = EventHub(), list[SubAccountId]()
    seen: list[DurableEvent | EphemeralEvent] = []
    hub.add_sink(seen.append)
    publisher = publisher_of(ledger, hub, considered)
    ledger.on_commit(publisher.on_commit)
    running = asyncio.create_task(publisher.run())
    desk = Desk(ledger)
    await ledger.adopt_wallet(_capital(), "one")
    account = await desk.account("A", "1000")
    await desk.trade_at(account.id, OrderSide.BUY, "10", "100", leverage="10")
    durable = [event.type for event in seen if isinstance(event, DurableEvent)]
    assert "position_updated" in durable
    for price in (101.0, 102.0, 103.0):
        publisher.take_mark(mark(price))

    def last_pnl() -> float | None:
        values = [event.data["markPrice"] for event in seen if event.type == "pnl_update"]
        return values[-1] if values and isinstance(values[-1], float) else None

    await until(lambda: last_pnl() == 103.0, "the newest value")
    # 1,000 of cash and 10 at 100: below 0.6 of mark the account is insolvent, and the tick itself says so.
    assert considered == []
    publisher.take_mark(mark(0.5))
    assert considered == [account.id]
    running.cancel()


async def test_ticks_that_waited_too_long_are_counted_and_said_once(
    ledger: LedgerService, capsys: Any
) -> None:
    publisher = publisher_of(ledger, EventHub(), [])
    now_ms = SystemClock().now_ms()
    for waited_ms in (
        0,
        EVALUATION_DELAY_MS_MAX // 2,
        EVALUATION_DELAY_MS_MAX + 500,
        3 * EVALUATION_DELAY_MS_MAX,
    ):
        publisher.take_mark(replace(mark(100.0), received_ms=now_ms - waited_ms))
    assert publisher.statistics().late_ticks == 2
    publisher._say_late()
    publisher._say_late()
    said = capsys.readouterr().out
    assert said.count("evaluation_delayed") == 1
    assert "ticks=2" in said


async def test_nobody_watching_costs_nothing_and_hears_nothing(ledger: LedgerService) -> None:
    hub = EventHub()
    seen: list[str] = []
    hub.add_sink(lambda event: seen.append(event.type))
    publisher = publisher_of(ledger, hub, [])
    publisher.interested = frozenset
    ledger.on_commit(publisher.on_commit)
    running = asyncio.create_task(publisher.run())
    await ledger.adopt_wallet(_capital(), "one")
    desk = Desk(ledger)
    account = await desk.account("A", "1000")
    await desk.trade_at(account.id, OrderSide.BUY, "1", "100")
    # A commit is told to everybody, once; after it a tick finds nobody to tell.
    await until(lambda: "pnl_update" in seen, "the value after the commit")
    told = seen.count("pnl_update")
    flushes = publisher.statistics().flushes
    publisher.take_mark(mark(101.0))
    await until(lambda: publisher.statistics().flushes > flushes, "the flush after the tick")
    assert seen.count("pnl_update") == told
    running.cancel()


async def test_a_fault_in_a_sink_is_counted_and_the_others_still_hear(ledger: LedgerService) -> None:
    hub = EventHub()
    seen: list[str] = []

    def broken(event: object) -> None:
        raise RuntimeError("broken sink")

    hub.add_sink(broken)
    hub.add_sink(lambda event: seen.append(event.type))
    ledger.on_commit(publisher_of(ledger, hub, []).on_commit)
    await ledger.adopt_wallet(_capital(), "one")
    await Desk(ledger).account("A", "1000")
    assert "account_updated" in seen
    assert hub.statistics().faults == len(seen)


async def test_a_fault_in_what_follows_the_ledger_ends_the_run(
    ledger: LedgerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = publisher_of(ledger, EventHub(), [])
    ledger.on_commit(publisher.on_commit)
    running = asyncio.create_task(publisher.run())
    await ledger.adopt_wallet(_capital(), "one")

    def broken(self: Holdings, committed: object) -> None:
        raise RuntimeError("broken holdings")

    monkeypatch.setattr(Holdings, "apply", broken)
    await Desk(ledger).account("A", "1000")
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(running, 2)
    assert caught.group_contains(RuntimeError, match="broken holdings")


def _capital() -> Money:
    return Money(Decimal(100_000))
