"""All sockets under one supervisor: spread, packed again, replaced with overlap, watched; no tick is lost."""

import asyncio
import time
from collections.abc import AsyncIterator
from random import Random

import pytest

from pms.exchange.binance import BinanceExchange
from pms.exchange.binance.config import StreamTuning
from pms.exchange.binance.sockets import ConnectPacer
from pms.model.price import BookTicker, MarkPrice, PublicTrade
from pms.model.symbol import Symbol
from pms.runtime import SystemClock
from tests.integration.exchange.fake_venue import (
    FakeVenue,
    answer,
    growing_now_ms,
    running,
    running_venue,
    until,
)
from tests.support.ledger import ManualClock

BTC = Symbol("BTC/USDT:USDT")


@pytest.fixture
async def venue() -> AsyncIterator[FakeVenue]:
    async with running_venue() as running_one:
        yield running_one


async def started(venue: FakeVenue, **tuning: object) -> BinanceExchange:
    exchange = BinanceExchange(venue.config(**tuning), SystemClock(), Random(1))
    await exchange.start()
    return exchange


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def unified(native: str) -> Symbol:
    return Symbol(f"{native.removesuffix('USDT')}/USDT:USDT")


def agg_trade(number: int, native: str = "BTCUSDT") -> dict[str, object]:
    at = now_ms()
    return {"e": "aggTrade", "E": at, "s": native, "a": number, "p": "5", "q": "1", "f": 1, "l": 1} | {
        "T": at,
        "m": False,
    }


def mark(native: str, at: int) -> dict[str, object]:
    return {"e": "markPriceUpdate", "E": at, "s": native, "p": "5", "r": "0", "T": 0}


async def test_more_symbols_open_more_sockets_and_fewer_move_together(venue: FakeVenue) -> None:
    venue.natives = [f"C{number:03d}USDT" for number in range(25)]
    exchange = await started(venue, streams_per_socket_max=10, commands_per_second_max=200.0)
    marks: list[MarkPrice] = []
    exchange.market.on_mark(marks.append)
    for native in venue.natives:
        exchange.market.subscribe(unified(native))
    async with running(exchange.run()):
        await until(lambda: sum(map(len, venue.subscribed.values())) == 51)
        assert sorted(map(len, venue.subscribed.values())) == [5, 6, 10, 10, 10, 10]
        # Two thirds are given up: the rest moves to one socket, and a tick comes through at every moment.
        kept = venue.natives[::4]
        for native in set(venue.natives) - set(kept):
            exchange.market.unsubscribe(unified(native))
        sent = 0
        async with asyncio.timeout(5):
            while len(venue.open_sockets("market")) > 1 or exchange.statistics().supervisor.sockets > 2:
                sent += 1
                for native in kept:
                    told = await venue.publish(
                        f"{native.lower()}@markPrice@1s", mark(native, growing_now_ms())
                    )
                    assert told >= 1, "while it moves a stream is on two sockets, never on none"
                await asyncio.sleep(0.01)
        await until(lambda: len(marks) == sent * len(kept))
        assert sum(map(len, venue.subscribed.values())) == 2 * len(kept) + 1
    counted = exchange.statistics()
    assert counted.supervisor.moves > 0
    assert counted.supervisor.streams == 2 * len(kept) + 1
    assert counted.supervisor.failures == 0
    await exchange.close()


async def test_rotation_under_load_loses_nothing_and_doubles_nothing(venue: FakeVenue) -> None:
    exchange = await started(venue, rotation_seconds_max=0.15, rotation_spread_seconds=0.05)
    trades: list[int] = []

    def take(trade: PublicTrade) -> None:
        trades.append(trade.number)

    exchange.market.on_trade(take)
    exchange.market.subscribe_trades(BTC)
    doubled = 0
    async with running(exchange.run()):
        await until(lambda: any("btcusdt@aggTrade" in each for each in venue.subscribed.values()))
        sent = 0
        async with asyncio.timeout(5):
            while exchange.statistics().market_sockets[0].rotations < 3:
                for _ in range(20):
                    sent += 1
                    doubled += await venue.publish("btcusdt@aggTrade", agg_trade(sent)) > 1
                await asyncio.sleep(0.002)
        await until(lambda: len(trades) >= sent)
    assert trades == list(range(1, sent + 1))
    assert doubled > 0, "there was an overlap"
    counted = exchange.statistics()
    assert 0 < counted.market_streams.ticks.out_of_order <= doubled
    assert counted.supervisor.failures == 0
    assert counted.market_sockets[0].connects == counted.market_sockets[0].rotations + 1
    await exchange.close()


async def test_a_quiet_market_rotates_too(venue: FakeVenue) -> None:
    exchange = await started(
        venue, rotation_seconds_max=0.1, rotation_spread_seconds=0.0, overlap_seconds_max=0.1
    )
    exchange.market.subscribe_trades(BTC)
    async with running(exchange.run()):
        await until(lambda: exchange.statistics().supervisor.rotations == 1)
        assert exchange.statistics().supervisor.failures == 0
    await exchange.close()


async def test_sockets_do_not_rotate_together(venue: FakeVenue) -> None:
    venue.natives = [f"C{number}USDT" for number in range(6)]
    exchange = await started(
        venue, streams_per_socket_max=1, rotation_seconds_max=1000.0, rotation_spread_seconds=500.0
    )
    for native in venue.natives:
        exchange.market.subscribe_trades(unified(native))
    async with running(exchange.run()):
        await until(lambda: sum(each.connected for each in exchange.statistics().market_sockets) == 6)
        ends = [socket._rotate_at for socket in exchange._streams.supervisor.market._sockets.values()]
    assert max(ends) - min(ends) > 100
    assert len({round(end) for end in ends}) == 6
    await exchange.close()


async def test_a_successor_that_stays_silent_does_not_take_over(venue: FakeVenue) -> None:
    exchange = await started(
        venue, rotation_seconds_max=0.1, rotation_spread_seconds=0.0, overlap_seconds_max=0.1
    )
    trades: list[PublicTrade] = []
    exchange.market.on_trade(trades.append)
    exchange.market.subscribe_trades(BTC)
    async with running(exchange.run()):
        await until(lambda: len(venue.subscribed) == 1)
        first = venue.sockets["market"][0]
        venue.mute_markets = True
        await until(lambda: exchange.statistics().supervisor.failures >= 1)
        assert not first.closed
        await venue.publish("btcusdt@aggTrade", agg_trade(1))
        await until(lambda: trades)
        assert exchange.statistics().supervisor.rotations == 0
    await exchange.close()


async def test_pings_are_answered_with_their_payload(venue: FakeVenue) -> None:
    exchange = await started(venue)
    exchange.market.subscribe_trades(BTC)
    async with running(exchange.run()):
        await until(lambda: venue.subscribed)
        await venue.sockets["market"][0].ping(b"1731234567890")
        await until(lambda: venue.pongs == [b"1731234567890"])
    await exchange.close()


async def test_a_half_open_connection_is_found_by_a_ping(venue: FakeVenue) -> None:
    exchange = await started(venue, ping_idle_seconds=0.1, ping_reply_seconds_max=0.1)
    exchange.market.subscribe_trades(BTC)
    async with running(exchange.run()):
        await until(lambda: venue.subscribed)
        await asyncio.sleep(0.3)
        assert len(venue.sockets["market"]) == 1, "a quiet peer that answers pings stays"
        venue.deaf = True
        await until(lambda: len(venue.sockets["market"]) == 2)
    await exchange.close()


async def test_a_stream_that_stays_open_and_silent_market(venue: FakeVenue) -> None:
    """Staleness is told after its time; a subscription that is silent alone is renewed; then all anew."""
    venue.natives = ["BTCUSDT", "ETHUSDT"]
    exchange = await started(venue, stale_seconds=0.2, silence_seconds_max=0.4, rotation_spread_seconds=0.0)
    exchange.market.subscribe(BTC)
    exchange.market.subscribe(unified("ETHUSDT"))
    async with running(exchange.run()):
        await until(lambda: sum(map(len, venue.subscribed.values())) == 5)
        stale: list[int] = []
        async with asyncio.timeout(6):
            while exchange.statistics().market_sockets[1].renewals == 0:
                await venue.publish("btcusdt@markPrice@1s", mark("BTCUSDT", growing_now_ms()))
                await asyncio.sleep(0.02)
                stale.append(exchange.statistics().market_sockets[1].streams_stale)
        assert stale[0] == 0
        assert max(stale) == 1
        renewal = {"method": "UNSUBSCRIBE", "params": ["ethusdt@markPrice@1s"]}
        await until(
            lambda: any(command.items() >= renewal.items() for _, command in venue.commands["market"])
        )
        assert exchange.statistics().market_sockets[1].connects == 1
        # Now nothing comes at all.
        await until(lambda: exchange.statistics().market_sockets[1].stale)
        await until(lambda: exchange.statistics().market_sockets[1].connects == 2)
    await exchange.close()


async def test_a_snapshot_that_cannot_be_read_is_asked_for_again(venue: FakeVenue) -> None:
    exchange = await started(venue)
    answers = [[["many", "1"]], [["99"]], [["99", "1"]]]

    async def depth(request: object, body: bytes) -> object:
        return answer({"lastUpdateId": 100, "bids": answers.pop(0), "asks": [["101", "1"]]})

    venue.script["GET", "/fapi/v1/depth"] = depth  # type: ignore[assignment]
    exchange.market.subscribe_depth(BTC)
    async with running(exchange.run()):
        await until(lambda: any("btcusdt@depth" in each for each in venue.subscribed.values()))
        while exchange.market.depth(BTC, 5) is None:
            event = {"e": "depthUpdate", "E": now_ms(), "T": 1, "s": "BTCUSDT", "b": [], "a": []}
            await venue.publish("btcusdt@depth", event | {"U": 99, "u": 101, "pu": 98})
            await asyncio.sleep(0.01)
    assert not answers
    await exchange.close()


async def test_an_order_book_is_followed_and_found_again_after_a_gap(venue: FakeVenue) -> None:
    exchange = await started(venue)
    snapshots = 0

    async def depth(request: object, body: bytes) -> object:
        nonlocal snapshots
        snapshots += 1
        last = 100 * snapshots
        return answer({"lastUpdateId": last, "bids": [["99", str(snapshots)]], "asks": [["101", "1"]]})

    def change(first: int, final: int, previous: int, bid: str) -> dict[str, object]:
        event = {"e": "depthUpdate", "E": now_ms(), "T": 1, "s": "BTCUSDT", "U": first, "u": final}
        return event | {"pu": previous, "b": [[bid, "7"]], "a": []}

    venue.script["GET", "/fapi/v1/depth"] = depth  # type: ignore[assignment]
    told: list[Symbol] = []
    exchange.market.on_depth(told.append)
    exchange.market.subscribe_depth(BTC)
    market = exchange.market
    async with running(exchange.run()):
        await until(lambda: any("btcusdt@depth" in each for each in venue.subscribed.values()))
        assert market.depth(BTC, 5) is None
        await venue.publish("btcusdt@depth", change(95, 105, 94, "98"))
        await until(lambda: market.depth(BTC, 5) is not None)
        book = market.depth(BTC, 5)
        assert book is not None
        assert book.bids == ((99.0, 1.0), (98.0, 7.0))
        assert (book.asks, book.update_id) == (((101.0, 1.0),), 105)
        await venue.publish("btcusdt@depth", change(190, 205, 189, "97"))
        await until(lambda: snapshots == 2 and market.depth(BTC, 5) is not None)
        book = market.depth(BTC, 1)
        assert book is not None
        assert book.bids == ((99.0, 2.0),)
        assert exchange.statistics().market_streams.depth.gaps == 1
        # A cut shows nothing until it is in step again.
        await venue.cut("public")
        await until(lambda: market.depth(BTC, 5) is None)
        await until(lambda: len(venue.subscribed) == 1 and len(venue.sockets["public"]) == 2)
        market.unsubscribe_depth(BTC)
    assert set(told) == {BTC}
    await exchange.close()


async def test_impossible_and_late_ticks_reach_nobody(venue: FakeVenue) -> None:
    exchange = await started(venue)
    books: list[BookTicker] = []
    exchange.market.on_book(books.append)
    exchange.market.subscribe(BTC)

    def book(bid: str, ask: str, update_id: int, age_ms: int = 0) -> dict[str, object]:
        at = now_ms() - age_ms
        return {"e": "bookTicker", "u": update_id, "s": "BTCUSDT", "b": bid, "B": "1", "a": ask} | {
            "A": "1",
            "T": at,
            "E": at,
        }

    async with running(exchange.run()):
        await until(lambda: any("btcusdt@bookTicker" in each for each in venue.subscribed.values()))
        for one in (book("100", "101", 5), book("103", "102", 6), book("100", "101", 4)):
            await venue.publish("btcusdt@bookTicker", one)
            await asyncio.sleep(0.02)
        await venue.publish("btcusdt@bookTicker", book("90", "91", 7, age_ms=11_000))
        await venue.publish("btcusdt@bookTicker", book("100", "101", 8))
        await until(lambda: len(books) == 2)
    assert [each.update_id for each in books] == [5, 8]
    ticks = exchange.statistics().market_streams.ticks
    assert (ticks.impossible, ticks.out_of_order, ticks.late) == (1, 1, 1)
    await exchange.close()


async def test_handshakes_are_spaced() -> None:
    clock = ManualClock(0)
    pacer = ConnectPacer(StreamTuning(connects_at_once_max=3, connect_spacing_seconds=2.0), clock)
    times = []
    for _ in range(6):
        await pacer.turn()
        times.append(clock.monotonic())
    assert times == [0, 0, 0, 2, 4, 6]
    assert (pacer.turns, pacer.waits) == (6, 3)
    clock.advance(100_000)
    await pacer.turn()
    assert clock.monotonic() == 106
