"""The browser WebSocket over a real server (gateway spec 7 and 15.7, 15.8)."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from pms.gateway import bounds
from pms.gateway.settings import GatewaySettings
from pms.gateway.tokens import LIFETIME_SECONDS
from pms.ledger.api import Actor
from pms.ledger.records import UserStatus
from pms.model.event import DurableEvent, EphemeralEvent, JsonValue
from pms.model.ids import SubAccountId
from tests.unit.gateway.fakes import BTC, SECRET, START_MS, World

ALICE = SubAccountId("alice-1")
Socket = aiohttp.ClientWebSocketResponse


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World(GatewaySettings(SECRET, port=0, socket_authentication_seconds=0.5)) as running:
        yield running


@pytest.fixture
async def http(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(world.server.url) as session:
        yield session


async def frame(socket: Socket) -> dict[str, Any]:
    async with asyncio.timeout(3):
        received = await socket.receive()
    assert received.type is aiohttp.WSMsgType.TEXT, received
    content: dict[str, Any] = json.loads(received.data)
    return content


async def frames_until(socket: Socket, last: str) -> list[dict[str, Any]]:
    seen = [await frame(socket)]
    while seen[-1]["type"] != last:
        seen.append(await frame(socket))
    return seen


async def closing_code(socket: Socket) -> int:
    async with asyncio.timeout(5):
        while (received := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
    assert received.type is aiohttp.WSMsgType.CLOSE, received
    return int(received.data)


async def subscribe(
    world: World, socket: Socket, *accounts: str, token: str | None = None
) -> list[dict[str, Any]]:
    wanted = {
        "type": "subscribe",
        "subAccountIds": list(accounts),
        "token": token or world.token(world.alice),
    }
    await socket.send_json(wanted)
    return await frames_until(socket, "margin_update")


def pnl(position: str, value: float, account: str = "alice-1") -> EphemeralEvent:
    data: dict[str, JsonValue] = {"positionId": position, "symbol": BTC, "unrealizedPnl": value}
    return EphemeralEvent("pnl_update", SubAccountId(account), position, data, START_MS)


async def test_a_session_starts_with_the_state(world: World, http: aiohttp.ClientSession) -> None:
    position = world.service.open(ALICE)
    async with http.ws_connect("/ws") as socket:
        assert (await frame(socket))["type"] == "connected"
        await socket.send_json(
            {"type": "subscribe", "subAccountId": ALICE, "token": world.token(world.alice)}
        )
        subscribed, margin, opened = [await frame(socket) for _ in range(3)]
        assert subscribed["data"] == {"subAccountIds": [ALICE], "seq": {ALICE: 1}, "subAccountId": ALICE}
        assert margin["type"] == "margin_update"
        assert margin["data"]["equity"] == 1_000
        assert margin["data"]["rules"]["maxLeverage"] == 100
        assert margin["afterSeq"] == 1
        assert (opened["type"], opened["data"]["positionId"]) == ("position_updated", position.id)
        assert opened["data"]["liquidationPrice"] == 0, "infinity is no JSON"
        world.service.emit(ALICE, "order_filled", {"symbol": BTC})
        filled = await frame(socket)
        assert (filled["type"], filled["seq"], filled["epoch"]) == ("order_filled", 2, "1")
        assert filled["data"] == {"subAccountId": ALICE, "symbol": BTC}


@pytest.mark.parametrize("kind", ["exposure_updated", "real_account_level"])
async def test_events_reach_subscribers_only(world: World, http: aiohttp.ClientSession, kind: str) -> None:
    async with http.ws_connect("/ws") as alice, http.ws_connect("/ws") as bob, http.ws_connect("/ws") as root:
        await subscribe(world, alice, "alice-1")
        await subscribe(world, bob, "bob-1", token=world.token(world.bob))
        await subscribe(world, root, "alice-1", "bob-1", token=world.token(world.admin))
        world.hub.publish(EphemeralEvent(kind, None, BTC, {"symbol": BTC}, START_MS))
        world.service.emit(ALICE, "order_placed", {"for": "alice"})
        world.service.emit(SubAccountId("bob-1"), "order_placed", {"for": "bob"})
        assert (await frame(alice))["data"]["for"] == "alice"
        assert (await frame(bob))["data"]["for"] == "bob"
        admin = [await frame(root) for _ in range(3)]
        while admin[0]["type"] != kind:
            admin = [*admin[1:], await frame(root)]
        assert [one["data"].get("for") for one in admin] == [None, "alice", "bob"]
        world.hub.publish(EphemeralEvent("notice", None, "n", {}, START_MS))
        for socket in (alice, bob, root):
            assert (await frame(socket))["type"] == "notice", "global frames reach every authenticated socket"


async def test_foreign_and_unknown_accounts_are_refused(world: World, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect("/ws") as socket:
        await frame(socket)
        for account in ("bob-1", "nobody"):
            token = world.token(world.alice)
            await socket.send_json({"type": "subscribe", "subAccountId": account, "token": token})
            assert (await frame(socket))["type"] == "error"
        for odd in (
            "not json",
            "[]",
            '{"type": 5}',
            "[" * 5_000,
            '{"type": "subscribe"}',
            '{"type":"watch"}',
        ):
            await socket.send_str(odd)
        await socket.send_json({"type": "subscribe", "subAccountIds": ["alice-1", "bob-1"], "token": None})
        seen = await frames_until(socket, "subscribed")
        assert seen[-1]["data"]["subAccountIds"] == ["alice-1"]
        assert {one["type"] for one in seen[:-1]} == {"error"}
        world.service.emit(SubAccountId("bob-1"), "order_placed", {})
        world.service.emit(ALICE, "order_placed", {"mine": True})
        seen = await frames_until(socket, "order_placed")
        assert seen[-1]["data"]["mine"] is True


async def test_a_new_subscription_replaces_the_old_and_sends_the_state_again(
    world: World, http: aiohttp.ClientSession
) -> None:
    world.ledger.add("alice-2", world.alice)
    async with http.ws_connect("/ws") as socket:
        await subscribe(world, socket, "alice-1")
        assert (await subscribe(world, socket, "alice-2"))[-1]["data"]["subAccountId"] == "alice-2"
        world.service.emit(ALICE, "order_placed", {"old": True})
        world.service.emit(SubAccountId("alice-2"), "order_placed", {"new": True})
        assert (await frame(socket))["data"].get("new") is True
        assert world.server.gateway.sockets.statistics().subscriptions == 1


async def test_without_authentication_in_time_the_socket_is_closed(
    world: World, http: aiohttp.ClientSession
) -> None:
    async with http.ws_connect("/ws") as silent, http.ws_connect("/ws") as wrong:
        await wrong.send_json({"type": "subscribe", "subAccountId": "alice-1", "token": "wrong"})
        assert await closing_code(wrong) == 4401
        world.hub.publish(EphemeralEvent("notice", None, "n", {}, START_MS))
        assert await closing_code(silent) == 4401


async def test_expiry_and_ban_end_the_session(world: World, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect("/ws") as banned, http.ws_connect("/ws") as expiring:
        await subscribe(world, banned, "bob-1", token=world.token(world.bob))
        await subscribe(world, expiring, "alice-1")
        await world.directory.set_user_status(world.bob.id, UserStatus.BANNED)
        world.server.gateway.authenticator.invalidate(world.bob.id)
        assert await closing_code(banned) == 4401
        world.clock.shift_ms = LIFETIME_SECONDS * 1_000
        assert await closing_code(expiring) == 4401
    assert world.server.gateway.sockets.statistics().sockets == 0


async def test_a_large_frame_is_1009_and_the_others_live(world: World, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect("/ws") as large, http.ws_connect("/ws") as small:
        await small.send_str("x" * bounds.FRAME_BYTES_MAX)
        await large.send_str("x" * (bounds.FRAME_BYTES_MAX + 1))
        assert await closing_code(large) == 1009
        await subscribe(world, small, "alice-1")


async def test_ephemeral_values_are_coalesced_and_the_last_one_arrives(
    world: World, http: aiohttp.ClientSession
) -> None:
    async with http.ws_connect("/ws") as socket:
        await subscribe(world, socket, "alice-1")
        for value in range(1_000):
            world.hub.publish(pnl("p", value))
        world.service.emit(ALICE, "order_placed", {})
        seen = await frames_until(socket, "order_placed")
        assert [one["data"]["unrealizedPnl"] for one in seen[:-1]][-1] == 999
        assert len(seen) <= 3, "a thousand updates of one step are one or two frames"


async def test_after_position_closed_nothing_of_it_follows(world: World, http: aiohttp.ClientSession) -> None:
    position = world.service.open(ALICE)
    async with http.ws_connect("/ws") as socket:
        await subscribe(world, socket, "alice-1")
        assert (await frame(socket))["type"] == "position_updated"
        world.hub.publish(pnl(position.id, 1))
        assert (await frame(socket))["type"] == "pnl_update"
        world.hub.publish(pnl(position.id, 2))  # waits for the next flush, 50 ms later
        await world.service.close(position.id, Actor("user-alice", "jwt"))
        world.hub.publish(pnl(position.id, 3))
        world.service.emit(ALICE, "order_placed", {"end": True})
        seen = await frames_until(socket, "order_placed")
        assert [one["type"] for one in seen] == ["position_closed", "order_placed"]
        seen = await subscribe(world, socket, "alice-1")
        assert "position_updated" not in [one["type"] for one in seen]
        assert world.server.gateway.sockets.statistics().suppressed == 1


async def test_a_slow_reader_gets_4008_and_costs_bounded_memory(
    world: World, http: aiohttp.ClientSession
) -> None:
    async with http.ws_connect("/ws", receive_timeout=None, max_msg_size=0) as socket:
        await subscribe(world, socket, "alice-1")
        assert socket._response.connection is not None
        transport = socket._response.connection.transport
        assert transport is not None
        transport.pause_reading()
        session = next(iter(world.server.gateway.sockets._sessions))
        for number in range(60_000):
            event = DurableEvent("order_placed", ALICE, number + 10, {"text": "x" * 400}, START_MS)
            world.hub.publish(event)
            assert session.queue.statistics().backlog_bytes <= bounds.BACKLOG_BYTES_MAX
            if session.close_code is not None:
                break
            if number % 200 == 0:
                await asyncio.sleep(0.001)
        assert session.close_code == 4008
        transport.resume_reading()
        sequences = []
        async with asyncio.timeout(5):
            while (received := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                sequences.append(json.loads(received.data)["seq"])
        assert received.data == 4008
        assert sequences == list(range(10, 10 + len(sequences))), "gap-free as far as it goes"


async def test_prices_are_sent_for_watched_symbols_at_most_four_times_a_second(
    world: World, http: aiohttp.ClientSession
) -> None:
    async with http.ws_connect("/ws") as socket:
        await subscribe(world, socket, "alice-1")
        await socket.send_json({"type": "watch", "symbols": [BTC, "NO/USDT:USDT"]})
        seen = await frames_until(socket, "price_update")
        assert seen[0]["type"] == "error"
        assert seen[-1]["data"] == {
            "symbol": BTC,
            "mark": 50_000,
            "bid": 49_999,
            "ask": 50_001,
            "ts": START_MS,
        }
        assert world.service.watched == {BTC}
        marks: list[float] = []

        async def reader() -> None:
            async for message in socket:
                marks.append(json.loads(message.data)["data"]["mark"])  # noqa: PERF401 -- read while it grows

        reading = asyncio.create_task(reader())
        for step in range(70):
            world.service.marks[BTC] = 50_000.0 + step
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.35)
        reading.cancel()
        assert 2 <= len(marks) <= 5
        assert marks[-1] == 50_069


async def test_an_empty_subscription_authenticates_and_releases_an_early_watch(
    world: World, http: aiohttp.ClientSession
) -> None:
    async with http.ws_connect("/ws") as socket:
        await frame(socket)
        await socket.send_json({"type": "watch", "symbols": [BTC]})
        await socket.send_json({"type": "subscribe", "subAccountIds": [], "token": world.token(world.alice)})
        seen = [await frame(socket) for _ in range(2)]
        assert {one["type"] for one in seen} == {"price_update", "subscribed"}
        await asyncio.sleep(0.7)
        assert world.server.gateway.sockets.statistics().authenticated == 1, "not closed for being silent"


async def test_sockets_of_one_user_are_capped(
    world: World, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "SOCKETS_PER_USER_MAX", 2)
    async with http.ws_connect("/ws") as one, http.ws_connect("/ws") as two, http.ws_connect("/ws") as three:
        await subscribe(world, one, "alice-1")
        await subscribe(world, two, "alice-1")
        await three.send_json(
            {"type": "subscribe", "subAccountId": "alice-1", "token": world.token(world.alice)}
        )
        assert await closing_code(three) == 4429
        await subscribe(world, one, "alice-1")


async def test_a_socket_that_floods_is_closed_and_others_go_on(
    world: World, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "SOCKET_MESSAGES_MAX", 5)
    async with http.ws_connect("/ws") as calm, http.ws_connect("/ws") as flooding:
        await subscribe(world, calm, "alice-1")
        for text in ("not json", "[]", '{"type": "ping"}', "{}", '{"type": "nothing"}', "{}"):
            await flooding.send_str(text)
        assert await closing_code(flooding) == 4429
        await subscribe(world, calm, "alice-1")


async def test_origins_beside_our_own_must_be_listed() -> None:
    settings = GatewaySettings(SECRET, port=0, allowed_origins=("http://desk.example",))
    async with World(settings) as world, aiohttp.ClientSession(world.server.url) as http:
        for origin in (world.server.url, "http://desk.example"):
            async with http.ws_connect("/ws", headers={"Origin": origin}) as socket:
                assert (await frame(socket))["type"] == "connected"
        for origin in ("http://evil.example", "null"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect("/ws", headers={"Origin": origin})
            assert refused.value.status == 403
