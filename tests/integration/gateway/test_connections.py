"""What never becomes a request holds nothing for long: neither time, nor memory, nor a connection."""

import asyncio
import contextlib
import json
import logging
import resource
from collections.abc import AsyncIterator

import pytest

from pms.gateway import connections
from pms.gateway.bounds import HEAD_BYTES_MAX
from tests.unit.gateway.fakes import World

HEALTH = b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as running:
        yield running


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS_MAX", 0.15)


async def connected(world: World) -> Streams:
    host, port = world.server.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def answered(streams: Streams, request: bytes) -> bytes:
    """Send bytes and return all that comes until the server closes or falls silent."""
    reader, writer = streams
    writer.write(request)
    got = b""
    try:
        async with asyncio.timeout(2):
            while piece := await reader.read(4096):
                got += piece
    except (TimeoutError, ConnectionResetError):
        got += b" [open or cut]"
    finally:
        await hang_up(writer)
    return got


async def test_a_connection_that_asks_nothing_is_closed(world: World, hurried: None) -> None:
    assert await answered(await connected(world), b"") == b""
    assert await answered(await connected(world), b"\r\n") == b""


async def test_a_head_that_does_not_end_in_time_is_408(world: World, hurried: None) -> None:
    answer = await answered(await connected(world), HEALTH[:-10])
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "HEAD_TOO_SLOW"


async def test_the_next_request_of_a_connection_has_its_deadline_too(world: World, hurried: None) -> None:
    answer = await answered(await connected(world), HEALTH + b"GET /api")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answer


async def test_an_idle_connection_may_wait_for_its_next_request(world: World, hurried: None) -> None:
    reader, writer = await connected(world)
    for _ in range(2):
        writer.write(HEALTH)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        await reader.read(4096)
        await asyncio.sleep(0.3)
    await hang_up(writer)


async def test_pipelined_requests_keep_their_heads(world: World) -> None:
    answer = await answered(await connected(world), HEALTH + HEALTH + HEALTH.replace(b"localhost", b"evil"))
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert b"BAD_HOST" in answer


async def test_a_head_without_end_is_cut(world: World) -> None:
    _, writer = await connected(world)
    writer.write(HEALTH[:-4] + b"\r\nX-Filler: ")
    sent = 0
    try:
        async with asyncio.timeout(5):
            while not writer.is_closing() and sent < 50_000_000:
                writer.write(b"x" * 100_000)
                sent += 100_000
                await writer.drain()
    except OSError:
        pass  # the server does not read what is beyond the bound
    await hang_up(writer)
    assert HEAD_BYTES_MAX < sent < 20_000_000


async def test_what_follows_a_chunked_body_is_no_header(world: World) -> None:
    head = HEALTH[:-2].replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n"
    answer = await answered(await connected(world), head + b"0\r\nHost: evil\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405 "), "the second Host was not taken for one"


async def test_what_is_no_http_gets_the_one_error_body_and_no_line_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = await answered(await connected(world), b"\x16\x03\x01\x02\x00\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "MALFORMED_REQUEST"
    assert "Invalid HTTP" not in caplog.text


async def test_beyond_the_bound_a_new_connection_is_cut_and_the_old_ones_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pms.gateway.server.connections_max", lambda: 3)
    async with World() as world:
        held = [await connected(world) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert not (await answered(await connected(world), HEALTH)).startswith(b"HTTP")
        assert (await answered(held[0], HEALTH)).startswith(b"HTTP/1.1 200 ")
        assert (await answered(await connected(world), HEALTH)).startswith(b"HTTP/1.1 200 ")
        for _, writer in held[1:]:
            await hang_up(writer)


def test_connections_leave_files_to_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, expected in ((1_024, 768), (20_000, 4_000), (100, 16)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert connections.connections_max() == expected
