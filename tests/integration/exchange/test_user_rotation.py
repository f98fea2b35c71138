"""The private stream replaced under load, without its lease, and open but silent."""

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random

import pytest

from pms.exchange.binance import BinanceExchange
from pms.exchange.errors import ExchangeError
from pms.exchange.port import OrderEvent, StreamGap, UserEvent
from pms.model.ids import ExchangeOrderId
from pms.runtime import SystemClock
from tests.integration.exchange.fake_venue import FakeVenue, running, running_venue, until
from tests.integration.exchange.test_streams import Listener, order, started

WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@pytest.fixture
async def venue() -> AsyncIterator[FakeVenue]:
    async with running_venue() as running_one:
        yield running_one


def fill(number: int) -> dict[str, object]:
    return order(f"o{number}", i=number, t=number, l="1", L="5", z="1", X="FILLED", x="TRADE")


async def test_rotation_under_load_loses_no_event_and_doubles_none(venue: FakeVenue) -> None:
    exchange = await started(
        venue, rotation_seconds_max=0.1, rotation_spread_seconds=0.02, user_overlap_seconds=0.1
    )
    listener = Listener()
    sent = 0
    async with running(exchange.user_stream.run(listener)):
        await until(lambda: listener.kinds() == "G")
        async with asyncio.timeout(5):
            while exchange.statistics().user_stream.rotations < 3:
                sent += 1
                for socket in venue.open_sockets("private"):
                    await venue.send_on(socket, fill(sent))
                if sent % 7 == 0:
                    await asyncio.sleep(0.002)
        await until(lambda: len(listener.orders()) >= sent)
    assert listener.orders() == [f"o{number}" for number in range(1, sent + 1)], "all, once, in order"
    assert listener.kinds().count("G") == 1, "an overlap leaves no gap"
    counted = exchange.statistics().user_stream
    assert counted.repeated > 0
    assert counted.connects == counted.rotations + 1
    assert venue.count("DELETE", "/fapi/v1/listenKey") == 0
    await exchange.close()


async def test_the_next_connection_takes_over_when_the_old_one_dies_early(venue: FakeVenue) -> None:
    exchange = await started(
        venue, rotation_seconds_max=0.05, rotation_spread_seconds=0.0, user_overlap_seconds=5.0
    )
    listener = Listener()
    async with running(exchange.user_stream.run(listener)):
        await until(lambda: len(venue.sockets["private"]) == 2 and exchange.user_stream._next is not None)
        old, new = venue.sockets["private"]
        await venue.send_on(old, fill(1))
        await until(lambda: listener.orders() == ["o1"])
        await venue.send_on(new, fill(1), fill(2))
        await asyncio.sleep(0.05)
        assert listener.orders() == ["o1"], "held while the old one delivers"
        await old.close()
        await until(lambda: listener.orders() == ["o1", "o2"])
    # What was on its way on the old one before the new one was there is lost: the truth is asked for.
    assert listener.kinds() == "GOGO"
    await exchange.close()


async def test_a_connection_that_no_longer_answers_is_not_replaced_without_a_gap(venue: FakeVenue) -> None:
    exchange = await started(
        venue,
        rotation_seconds_max=0.05,
        rotation_spread_seconds=0.0,
        user_overlap_seconds=0.02,
        ping_reply_seconds_max=0.05,
    )
    venue.deaf = True
    listener = Listener()
    async with running(exchange.user_stream.run(listener)):
        await until(lambda: exchange.statistics().user_stream.rotations)
        await until(lambda: listener.kinds() == "GG")
    await exchange.close()


async def test_a_stream_that_the_venue_ends_at_once_is_opened_again(venue: FakeVenue) -> None:
    """The end comes in one piece with the acceptance, before anybody waits for it."""
    endings = [b"\x88\x02\x03\xe8", b"\x88\x00", b""]

    async def ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        key = re.search(rb"(?i)sec-websocket-key: (\S+)", head)
        assert key is not None
        proof = base64.b64encode(hashlib.sha1(key[1] + WEBSOCKET_GUID, usedforsecurity=False).digest())
        accepted = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(accepted + b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n" + endings.pop(0))
        writer.close()

    server = await asyncio.start_server(ended, "127.0.0.1", 0)
    config = venue.config()
    ending_url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/private"
    exchange = BinanceExchange(replace(config, ws_private_url=ending_url), SystemClock(), Random(1))
    await exchange.start()
    async with running(exchange.user_stream.run(Listener())):
        await until(lambda: not endings)
    server.close()
    await exchange.close()


async def test_many_events_that_cannot_be_read_are_few_gaps(venue: FakeVenue) -> None:
    exchange = await started(venue, gap_spacing_seconds=0.1)
    listener = Listener()
    async with running(exchange.user_stream.run(listener)):
        await until(lambda: listener.kinds() == "G")
        listener.open.clear()
        strange = order("strange") | {"o": "unreadable"}
        await venue.send("private", strange, *([strange, fill(1)] * 50), fill(2))
        await until(lambda: exchange.statistics().user_stream.repeated == 49)
        listener.open.set()
        await until(lambda: listener.orders() == ["o1", "o2"])
        # One for the first, and one for all that came while that was asked for.
        assert listener.kinds().count("G") <= 3
    await exchange.close()


async def test_a_stream_that_stays_open_and_silent_private(venue: FakeVenue) -> None:
    """An order is confirmed, no event of it comes, pings are answered: the connection is given up."""
    exchange = await started(venue, stale_seconds=0.1)
    listener = Listener()
    stream = exchange.user_stream
    async with running(stream.run(listener)):
        await until(lambda: listener.kinds() == "G")
        await venue.send("private", fill(7))
        await until(lambda: listener.kinds() == "GO")
        stream.expect(ExchangeOrderId("7"))
        await asyncio.sleep(0.2)
        assert exchange.statistics().user_stream.silences == 0, "its event had come before the answer"
        stream.expect(ExchangeOrderId("8"))
        await until(lambda: listener.kinds() == "GOG")
        assert exchange.statistics().user_stream.silences == 1
    await exchange.close()


async def test_a_quiet_stream_is_asked_whether_its_key_lives(venue: FakeVenue) -> None:
    exchange = await started(venue, user_quiet_seconds=0.05)
    listener = Listener()
    async with running(exchange.user_stream.run(listener)):
        await until(lambda: venue.count("PUT", "/fapi/v1/listenKey") >= 2)
        assert listener.kinds() == "G"
    await exchange.close()


async def test_without_the_lease_there_is_no_private_stream(venue: FakeVenue) -> None:
    left_ms = 0
    config = venue.config(listen_key_seconds=0.02)
    exchange = BinanceExchange(config, SystemClock(), Random(1), lambda: left_ms)
    await exchange.start()
    listener = Listener()
    async with running(exchange.user_stream.run(listener)):
        await until(lambda: exchange.statistics().user_stream.failures >= 2)
        assert venue.count("POST", "/fapi/v1/listenKey") == 0
        left_ms = 10_000
        await until(lambda: listener.kinds() == "G")
        left_ms = 0
        await until(lambda: not exchange.statistics().user_stream.connected)
        keys = venue.count("POST", "/fapi/v1/listenKey")
        await asyncio.sleep(0.1)
        assert venue.count("POST", "/fapi/v1/listenKey") == keys
        left_ms = 10_000
        await until(lambda: listener.kinds() == "GG")
    await exchange.close()


async def test_an_expired_key_of_another_connection_is_no_concern(venue: FakeVenue) -> None:
    exchange = await started(venue)
    listener = Listener()
    async with running(exchange.user_stream.run(listener)):
        await until(lambda: listener.kinds() == "G")
        await venue.send("private", {"e": "listenKeyExpired", "E": 5, "listenKey": "another"}, fill(1))
        await until(lambda: listener.kinds() == "GO")
    assert exchange.statistics().user_stream.keys_lost == 0
    assert replace(exchange.statistics().user_stream).connects == 1
    await exchange.close()


async def test_events_of_different_orders_overlap_and_a_failure_brings_all_of_them_again(
    venue: FakeVenue,
) -> None:
    """What waits while the first is handled comes together, but one order's events one after the other."""
    exchange = await started(venue)
    released, gaps = asyncio.Event(), list[StreamGap]()
    under_way: set[str] = set()
    most: list[set[str]] = []

    async def handle(event: UserEvent) -> None:
        if isinstance(event, StreamGap):
            gaps.append(event)
        elif isinstance(event, OrderEvent):
            name = event.report.client_order_id
            assert name not in under_way, "one order's events never overlap"
            under_way.add(name)
            most.append(set(under_way))
            await released.wait()
            await asyncio.sleep(0)
            under_way.discard(name)
            if name == "o3" and len(gaps) == 1:
                raise ExchangeError("could not be committed")

    async with running(exchange.user_stream.run(handle)):
        await until(lambda: len(gaps) == 1)
        again = order("o2", i=2, t=20, l="1", L="5", z="2", X="FILLED", x="TRADE")
        await venue.send("private", fill(1))
        await until(lambda: under_way == {"o1"})
        for frame in (fill(2), fill(3), fill(4), again):
            await venue.send("private", frame)
        await until(lambda: exchange.statistics().user_stream.waiting == 4)
        released.set()
        await until(lambda: len(gaps) == 2)
    assert max(most, key=len) == {"o2", "o3", "o4"}
    assert exchange.statistics().user_stream.delivered == 1, "none of those that came with the failure"
    assert gaps[1].since_ms == gaps[0].until_ms
    await exchange.close()
