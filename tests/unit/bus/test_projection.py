"""The projection: conflation, throttles, bounds, and what becomes of it all while Redis is away."""

import asyncio
import json

import pytest

from pms import limits
from pms.bus import keys
from pms.bus.hub import EventHub
from pms.bus.port import Publish, SetValue
from pms.bus.prices import PriceBoard
from pms.bus.projection import OrderMapping, StateProjection
from pms.model.event import DurableEvent, EphemeralEvent
from pms.model.ids import ClientOrderId, ExchangeOrderId, SubAccountId, UserId
from pms.model.order import OrderSide
from pms.model.price import BookTicker, MarkPrice
from pms.model.symbol import Symbol
from pms.settings import PublishedPrice
from tests.unit.bus.twins import FailingState, ManualClock

BTC = Symbol("BTC/USDT:USDT")
ALICE = SubAccountId("a11ce000-0000-4000-8000-000000000001")


def mark(price: float, received_ms: int = 1_000) -> MarkPrice:
    return MarkPrice(BTC, price, 0.0001, 0, received_ms - 3, received_ms)


def book(bid: float, ask: float, received_ms: int = 1_000) -> BookTicker:
    return BookTicker(BTC, bid, 1.0, ask, 1.0, 7, received_ms - 2, received_ms)


def filled(sequence: int) -> DurableEvent:
    return DurableEvent("order_filled", ALICE, sequence, {"symbol": BTC, "price": 1.5}, 5_000 + sequence)


def pnl(value: float, key: str = "p1") -> EphemeralEvent:
    return EphemeralEvent("pnl_update", ALICE, key, {"unrealizedPnl": value}, 6_000, after_sequence=3)


def mapping(number: int) -> OrderMapping:
    return OrderMapping(
        ExchangeOrderId(str(number)),
        ALICE,
        ClientOrderId("PMSa11ce000_MK_1"),
        BTC,
        OrderSide.BUY,
        UserId("u"),
        9,
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def state(clock: ManualClock) -> FailingState:
    return FailingState(clock)


@pytest.fixture
def projection(state: FailingState, clock: ManualClock) -> StateProjection:
    return StateProjection(state, clock, "epoch-1")


async def test_a_price_is_written_with_every_field_of_the_contract(
    projection: StateProjection, state: FailingState
) -> None:
    projection.book_changed(book(99.0, 101.0, received_ms=900))
    projection.mark_changed(mark(100.5))
    await projection.flush()
    assert json.loads(await state.get("pms:price:BTC/USDT:USDT") or b"") == {
        "mark": 100.5,
        "ts": 1_000,
        "source": "py",
        "bid": 99.0,
        "ask": 101.0,
        "markPrice": 100.5,
        "mid": 100.0,
        "E": 997,
        "v": 1,
    }


async def test_prices_are_conflated_to_one_write_per_500_ms_and_the_last_value_is_written(
    projection: StateProjection, state: FailingState, clock: ManualClock
) -> None:
    for tick in range(20):
        projection.mark_changed(mark(100.0 + tick))
        await projection.flush()
        await clock.advance(50)
    written = [
        json.loads(write.value)["mark"]
        for batch in state.batches
        for write in batch
        if isinstance(write, SetValue)
    ]
    assert written == [100.0, 110.0]
    await projection.flush()
    assert json.loads(await state.get(keys.price(BTC)) or b"")["mark"] == 119.0


@pytest.mark.parametrize(
    ("published", "after_book", "after_mark"),
    [
        (PublishedPrice.MARK, None, 105.0),
        (PublishedPrice.MID, 100.0, 100.0),
        (PublishedPrice.INCUMBENT, 100.0, 105.0),
    ],
)
async def test_what_mark_means_is_a_setting(
    published: PublishedPrice, after_book: float | None, after_mark: float
) -> None:
    board = PriceBoard(published)
    board.take_book(book(99.0, 101.0))
    assert board.value(BTC)["mark"] == after_book
    assert board.due(0, 10) == ([] if after_book is None else [BTC])
    board.take_mark(mark(105.0))
    assert board.value(BTC)["mark"] == after_mark
    assert board.due(limits.PUBLISHED_PRICE_INTERVAL_MS, 10) == [BTC]


async def test_symbols_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUS_PRICES_MAX", 0)
    board = PriceBoard()
    assert not board.take_mark(mark(1.0))
    assert not board.take_book(book(1.0, 2.0))


async def test_a_mutation_writes_its_snapshot_at_once_and_others_once_a_second(
    projection: StateProjection, state: FailingState, clock: ManualClock
) -> None:
    async def written() -> object:
        await projection.flush()
        return json.loads(await state.get(keys.risk(ALICE)) or b"{}").get("equity")

    assert projection.wants_snapshot(ALICE)
    projection.snapshot_changed(ALICE, {"equity": 1}, mutated=False)
    assert await written() == 1
    assert not projection.wants_snapshot(ALICE)
    projection.snapshot_changed(ALICE, {"equity": 2}, mutated=False)
    assert await written() == 1
    projection.snapshot_changed(ALICE, {"equity": 3}, mutated=True)
    projection.snapshot_changed(ALICE, {"equity": 4}, mutated=False)
    assert await written() == 4
    projection.snapshot_changed(ALICE, {"equity": 5}, mutated=False)
    await clock.advance(limits.SNAPSHOT_INTERVAL_MS)
    assert projection.wants_snapshot(ALICE)
    assert await written() == 5
    await clock.advance(keys.RISK_TTL_MS)
    assert await state.get(keys.risk(ALICE)) is None


async def test_an_order_mapping_has_the_incumbents_shape(
    projection: StateProjection, state: FailingState
) -> None:
    projection.order_placed(mapping(9_007_199_254_740_993))
    await projection.flush()
    assert json.loads(await state.get("pms:order:9007199254740993") or b"") == {
        "subAccountId": ALICE,
        "clientOrderId": "PMSa11ce000_MK_1",
        "symbol": BTC,
        "side": "BUY",
        "userId": "u",
        "ts": 9,
        "v": 1,
    }


async def test_a_durable_event_is_logged_then_published(
    projection: StateProjection, state: FailingState
) -> None:
    hub = EventHub()
    hub.add_sink(projection.event)
    listener = await state.subscribe("pms:events:order_filled")
    hub.publish(filled(1))
    hub.publish(filled(2))
    await projection.flush()
    entries = await state.read(keys.event_log(ALICE))
    assert [entry.fields["seq"] for entry in entries] == [b"1", b"2"]
    message = await listener.next(10)
    assert message is not None
    assert message.data == entries[0].fields["payload"]
    assert json.loads(message.data) == {
        "symbol": BTC,
        "price": 1.5,
        "subAccountId": ALICE,
        "seq": 1,
        "epoch": "epoch-1",
        "ts": 5_001,
        "src": "py",
        "v": 1,
    }


async def test_ephemeral_events_are_conflated_by_key(
    projection: StateProjection, state: FailingState
) -> None:
    for value in (1.0, 2.0, 3.0):
        projection.event(pnl(value))
    projection.event(pnl(9.0, key="p2"))
    await projection.flush()
    published = [json.loads(write.data) for write in state.batches[0] if isinstance(write, Publish)]
    assert [(event["unrealizedPnl"], event["after_seq"]) for event in published] == [(3.0, 3), (9.0, 3)]
    assert await state.read(keys.event_log(ALICE)) == []


async def test_what_waits_is_written_in_order_when_redis_returns_and_moments_are_dropped(
    projection: StateProjection, state: FailingState
) -> None:
    state.away = True
    projection.event(filled(1))
    projection.event(pnl(1.0))
    projection.order_placed(mapping(1))
    projection.snapshot_changed(ALICE, {"equity": 1}, mutated=True)
    projection.mark_changed(mark(100.0))
    state.during_write = lambda: projection.event(filled(2))  # arrives while the write fails
    assert await projection.flush() is False
    state.during_write = lambda: None
    projection.snapshot_changed(ALICE, {"equity": 2}, mutated=False)
    projection.mark_changed(mark(101.0))
    assert projection.statistics().dropped_ephemeral == 1
    state.away = False
    await projection.flush()
    assert [entry.fields["seq"] for entry in await state.read(keys.event_log(ALICE))] == [b"1", b"2"]
    assert json.loads(await state.get(keys.risk(ALICE)) or b"")["equity"] == 2
    assert json.loads(await state.get(keys.price(BTC)) or b"")["mark"] == 101.0
    assert await state.get("pms:order:1") is not None
    assert projection.statistics().waiting == 0


async def test_latest_values_are_written_again_into_a_redis_that_came_back_empty(
    projection: StateProjection, state: FailingState, clock: ManualClock
) -> None:
    old = SubAccountId("01d00000-0000-4000-8000-000000000002")
    projection.snapshot_changed(old, {"equity": 7}, mutated=True)
    await projection.flush()
    await clock.advance(keys.RISK_TTL_MS - 10_000)
    projection.snapshot_changed(ALICE, {"equity": 1}, mutated=True)
    projection.mark_changed(mark(100.0))
    await projection.flush()
    await clock.advance(10_000)
    for key in (keys.risk(ALICE), keys.price(BTC)):
        assert await state.delete(key)
    state.returns = 1
    await projection.flush()
    assert await state.get(keys.risk(ALICE)) is not None
    assert await state.get(keys.price(BTC)) is not None
    assert await state.get(keys.risk(old)) is None, "an expired snapshot must not look fresh"
    assert projection.statistics().rewrites == 1


async def test_queues_are_bounded_and_every_drop_is_counted(
    projection: StateProjection, state: FailingState, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "BUS_EVENTS_QUEUE_MAX",
        "BUS_MAPPINGS_QUEUE_MAX",
        "BUS_EPHEMERAL_KEYS_MAX",
        "BUS_SNAPSHOTS_MAX",
    ):
        monkeypatch.setattr(limits, name, 3)
    for number in range(1, 6):
        projection.event(filled(number))
        projection.event(pnl(1.0, key=str(number)))
        projection.order_placed(mapping(number))
        projection.snapshot_changed(SubAccountId(str(number)), {}, mutated=True)
    counts = projection.statistics()
    assert (counts.dropped_events, counts.dropped_ephemeral) == (2, 2)
    assert (counts.dropped_mappings, counts.dropped_states) == (2, 2)
    await projection.flush()
    assert [entry.fields["seq"] for entry in await state.read(keys.event_log(ALICE))] == [b"3", b"4", b"5"]
    assert await state.get(keys.risk(SubAccountId("2"))) is None
    assert await state.get(keys.risk(SubAccountId("3"))) is not None


async def test_bounds_hold_when_a_failed_batch_goes_back(
    projection: StateProjection, state: FailingState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BUS_EVENTS_QUEUE_MAX", 2)
    monkeypatch.setattr(limits, "BUS_MAPPINGS_QUEUE_MAX", 2)
    state.away = True

    def more() -> None:
        projection.event(filled(3))
        projection.order_placed(mapping(3))

    for number in (1, 2):
        projection.event(filled(number))
        projection.order_placed(mapping(number))
    state.during_write = more
    await projection.flush()
    counts = projection.statistics()
    assert (counts.dropped_events, counts.dropped_mappings) == (1, 1)
    state.away, state.during_write = False, lambda: None
    await projection.flush()
    assert [entry.fields["seq"] for entry in await state.read(keys.event_log(ALICE))] == [b"2", b"3"]


async def test_a_large_backlog_goes_in_batches(
    projection: StateProjection, state: FailingState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BUS_BATCH_MAX", 4)
    for number in range(1, 6):
        projection.event(filled(number))
    assert await projection.flush() is True
    await projection.drain(1_000)
    assert [len(batch) for batch in state.batches] == [4, 4, 2]


async def test_the_writer_runs_by_itself_waits_while_away_and_is_cancelled_without_loss(
    projection: StateProjection, state: FailingState, clock: ManualClock
) -> None:
    writer = asyncio.create_task(projection.run())
    await clock.advance(0)
    projection.event(filled(1))
    await clock.advance(0)
    assert len(await state.read(keys.event_log(ALICE))) == 1, "urgent: without waiting for the interval"
    projection.event(pnl(1.0))
    await clock.advance(10)
    assert len(state.batches) == 1
    await clock.advance(50)
    assert len(state.batches) == 2
    state.known_away = True
    projection.event(pnl(2.0))
    projection.event(filled(2))
    await clock.advance(100)
    await clock.advance(250)
    assert len(state.batches) == 2
    assert projection.statistics().dropped_ephemeral == 1
    writer.cancel()
    await asyncio.gather(writer, return_exceptions=True)
    state.known_away = False
    await projection.drain(1_000)
    assert [entry.fields["seq"] for entry in await state.read(keys.event_log(ALICE))] == [b"1", b"2"]
