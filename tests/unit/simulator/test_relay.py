"""A live relay: one simulated exchange follows another over real sockets; and simulated time run ahead."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from decimal import Decimal as D

import pytest
import pytest_asyncio

from pms.simulator import recording
from pms.simulator.config import Fees, SimulatorConfig
from pms.simulator.core import Engine
from pms.simulator.errors import SimulatorError
from pms.simulator.feed import Feed
from pms.simulator.hub import Hub
from pms.simulator.matching import shown
from pms.simulator.relay import RelayConfig, RelaySource
from pms.simulator.simulator import Simulator
from pms.simulator.synthetic import SyntheticConfig
from pms.simulator.ticks import DepthTick
from pms.simulator.virtual_clock import VirtualClock
from tests.support.waiting import until
from tests.unit.simulator.market_support import NOW, RULES

pytestmark = pytest.mark.asyncio(loop_scope="function")
SYMBOLS = ("BTCUSDT",)


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Simulator]:
    simulator = Simulator(SimulatorConfig(recordings=(recording("funding"),)))
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.stop()


async def test_quotes_trades_marks_and_the_book_arrive(upstream: Simulator) -> None:
    relay = RelayConfig(upstream.url, upstream.ws_url, SYMBOLS)
    follower = Simulator(SimulatorConfig(relay=relay))
    await follower.start()
    try:
        market = follower.venue.engine.markets["BTCUSDT"]
        tapes = follower.venue.feed.tapes
        await until(
            lambda: market.live and market.deep and market.mark > 0 and "BTCUSDT" in tapes, "a whole market"
        )
        assert upstream.venue.engine.markets["BTCUSDT"].deep
        original = upstream.venue.engine.markets["BTCUSDT"]
        assert len(list(shown(market, "BUY", D("0.1")))) > 500
        assert abs(market.mid - original.mid) < 20
        assert D(28_000) < market.mark < D(29_000)
        assert market.last == D(tapes["BTCUSDT"].trades[-1].price)
        upstream.set_quote("BTCUSDT", D(30_000), D(30_001))
        await until(lambda: market.bid == 30_000, "the new quote")
        figures = follower.statistics()
        assert figures["relay_connections"] == 2
        assert figures["relay_gaps"] == figures["relay_dropped"] == figures["relay_stale"] == 0
    finally:
        await follower.stop()


async def test_a_lost_venue_comes_back(upstream: Simulator) -> None:
    relay = RelayConfig(upstream.url, upstream.ws_url, SYMBOLS, depth=False)
    follower = Simulator(SimulatorConfig(relay=relay))
    await follower.start()
    try:
        await until(lambda: follower.statistics()["relay_connections"] == 2, "both connections")
        upstream.arm(kind="cut", traffic="*")
        await until(lambda: follower.statistics()["relay_connections"] >= 4, "new connections")
        upstream.set_quote("BTCUSDT", D(31_000), D(31_001))
        await until(lambda: follower.venue.engine.markets["BTCUSDT"].bid == 31_000, "the new quote")
    finally:
        await follower.stop()


def _event(first: int, final: int, previous: int, price: str) -> str:
    return (
        '{"stream":"x","data":{"e":"depthUpdate","E":1,"T":1,"s":"BTCUSDT",'
        f'"U":{first},"u":{final},"pu":{previous},"b":[["{price}","1"]],"a":[]}}}}'
    )


async def test_a_gap_in_a_book_asks_for_a_new_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    source = RelaySource(RelayConfig("http://x", "ws://x", SYMBOLS), VirtualClock(0))
    asked: list[str] = []

    async def snapshot(symbol: str, book: object) -> None:
        asked.append(symbol)

    monkeypatch.setattr(source, "_ask", snapshot)
    source.take(_event(5, 9, 4, "1"))
    book = source._books["BTCUSDT"]
    assert [event.final for event in book.begin(7)] == [9]
    source.take(_event(10, 12, 9, "2"))
    source.take(_event(20, 25, 19, "3"))
    source.take('{"stream":"x","data":{"e":"kline"}}')
    source.take("no json")
    await asyncio.sleep(0)
    assert [tick.bids for tick in source.between(0, 1) if isinstance(tick, DepthTick)] == [b'[["2","1"]]']
    assert asked == ["BTCUSDT", "BTCUSDT"]
    assert (source.gaps, source.unknown) == (1, 2)
    await source.stop()


async def test_silence_makes_marks_stale() -> None:
    clock = VirtualClock(0)
    source = RelaySource(RelayConfig("http://x", "ws://x", SYMBOLS, stale_ms=500), clock)
    assert source.stale("BTCUSDT")
    source.take(
        '{"stream":"x","data":{"e":"bookTicker","u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}}'
    )
    assert not source.stale("BTCUSDT")
    clock.advance(600)
    assert source.stale("BTCUSDT")
    with pytest.raises(SimulatorError, match="symbols"):
        RelaySource(RelayConfig("http://x", "ws://x", ()), clock)


async def test_a_stall_asks_once_for_new_books() -> None:
    source = RelaySource(RelayConfig("http://x", "ws://x", SYMBOLS), VirtualClock(0))
    feed = Feed(Engine({"BTCUSDT": RULES["BTCUSDT"]}, Fees()), Hub(), [source], {}, NOW, 1.0)
    feed.prime(NOW)
    source._books["BTCUSDT"].last = 7
    feed.advance(NOW + 60_000)
    assert source._books["BTCUSDT"].last == 0
    source._books["BTCUSDT"].last = 9
    feed.advance(NOW + 60_020)
    assert source._books["BTCUSDT"].last == 9


async def test_an_hour_passes_as_fast_as_the_work_allows() -> None:
    made = SyntheticConfig(symbols=("ETHUSDT",), schedule=(("calm", 60),))
    clock = VirtualClock(1_795_000_000_000)
    simulator = Simulator(SimulatorConfig(synthetic=made), clock)
    await simulator.start(serve=False)
    try:
        before = clock.now_ms()
        await simulator.fast_forward(120)
        assert clock.now_ms() - before == 120_000
        assert simulator.venue.feed.skipped_ms == 0
        assert simulator.venue.feed.ticks > 1200
    finally:
        await simulator.stop()


async def test_speed_without_bound_runs_on_a_clock_of_its_own() -> None:
    made = SyntheticConfig(symbols=("ETHUSDT",), schedule=(("calm", 60),))
    simulator = Simulator(SimulatorConfig(synthetic=made, speed=math.inf))
    await simulator.start()
    try:
        start = simulator.clock.now_ms()
        await until(lambda: simulator.clock.now_ms() - start > 10_000, "ten simulated seconds")
    finally:
        await simulator.stop()
