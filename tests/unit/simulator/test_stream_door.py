"""How stream connections are opened, commanded and ended: paths, classes, listen keys, wrong requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal as D
from typing import Any

import aiohttp
import pytest

from pms.exchange.messages import ErrorBody
from pms.simulator import Simulator, SimulatorConfig
from pms.simulator.config import Limits
from pms.simulator.stream_commands import Command, Wrong, parse
from pms.simulator.stream_paths import Opening
from pms.simulator.stream_paths import parse as opening
from tests.unit.simulator.signed_client import KEY, SECRET, SignedClient, receive

K1, K2 = "a" * 64, "b" * 64
TWO_KEYS = f"listenKey={K1}&events=A&listenKey={K2}"
NOT_SERVED = ["/", "/public", "/public/ws/", "/public/stream/x", "/secret/ws", "/public/ws/a/"]


@pytest.mark.parametrize(
    ("path", "query", "traffic", "combined", "names", "events"),
    [
        (
            "/public/ws/btcusdt@depth/ethusdt@depth",
            "",
            "public",
            False,
            ["btcusdt@depth", "ethusdt@depth"],
            {},
        ),
        (
            "/market/stream",
            "streams=btcusdt@aggTrade/!ticker@arr",
            "market",
            True,
            ["btcusdt@aggTrade", "!ticker@arr"],
            {},
        ),
        ("/public/ws", "", "public", False, [], {}),
        ("/public/ws/0", "", "public", False, ["0"], {}),  # ccxt numbers its connections so
        ("/public/ws/%E5%B8%81usdt@depth", "", "public", False, ["币usdt@depth"], {}),
        (f"/private/ws/{K1}", "", "private", False, [K1], {}),
        ("/private/ws", f"listenKey={K1}&events=A/B", "private", False, [K1], {K1: frozenset("AB")}),
        (
            "/private/stream",
            f"listenKey={K1}&events=A&listenKey={K2}",
            "private",
            True,
            [K1, K2],
            {K1: frozenset("A")},
        ),
        ("/private/stream", f"events=A&listenKey={K1}", "private", True, [K1], {K1: frozenset("A")}),
        (f"/private/ws/{K1}", "events=A", "private", False, [K1], {K1: frozenset("A")}),
        ("/ws/btcusdt@depth", "", "public", False, ["btcusdt@depth"], {}),
        ("/stream", "streams=btcusdt@depth", "public", True, ["btcusdt@depth"], {}),
    ],
)
def test_paths(
    path: str, query: str, traffic: str, combined: bool, names: list[str], events: dict[str, frozenset[str]]
) -> None:
    assert opening(path, query, legacy=False) == Opening(traffic, combined, names, events)


@pytest.mark.parametrize(
    "path", ["/", "/public", "/public/ws/", "/public/stream/x", "/secret/ws", "/public/ws/a/"]
)
def test_paths_that_are_not_served(path: str) -> None:
    assert opening(path, "", legacy=False) is None


def test_legacy_routing_gives_unrouted_paths_every_class() -> None:
    assert getattr(opening("/ws", "", legacy=True), "traffic", "") == "all"
    assert getattr(opening("/market/ws", "", legacy=True), "traffic", "") == "market"


@pytest.mark.parametrize(
    ("text", "code", "says", "ends"),
    [
        ("{", 3, "Invalid JSON", True),
        ("[]", 2, "must be an object", False),
        ('{"id":1}', 2, "missing field `method`", False),
        ('{"method":"DANCE","id":1}', 2, "unknown variant `DANCE`, expected one of `SUBSCRIBE`", False),
        ('{"method":"SUBSCRIBE","id":1}', 2, "missing field `params`", False),
        ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2, "must be strings", False),
        ('{"method":"SUBSCRIBE","params":["a"],"id":1.5}', 2, "request ID must be", False),
        ('{"method":"SUBSCRIBE","params":["a"],"id":true}', 2, "request ID must be", False),
        ('{"method":"SET_PROPERTY","params":["colour",true],"id":1}', 0, "Unknown property", False),
        ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":1}', 1, "expected Boolean", False),
        ('{"method":"SET_PROPERTY","params":["combined",true,1],"id":1}', 2, "too many parameters", False),
        ('{"method":"GET_PROPERTY","params":["combined",true],"id":1}', 2, "too many parameters", False),
    ],
)
def test_wrong_commands(text: str, code: int, says: str, ends: bool) -> None:
    wrong = parse(text)
    assert isinstance(wrong, Wrong)
    assert isinstance(wrong.error, ErrorBody)
    assert (wrong.error.code, wrong.ends) == (code, ends)
    assert says in wrong.error.msg


def test_right_commands_echo_integers_and_uuids() -> None:
    assert parse('{"method":"SUBSCRIBE","params":["a"],"id":"6f1-b"}') == Command(
        "SUBSCRIBE", ("a",), id="6f1-b"
    )
    assert parse('{"method":"LIST_SUBSCRIPTIONS","id":9007199254740993}') == Command(
        "LIST_SUBSCRIPTIONS", id=9007199254740993
    )
    assert parse('{"method":"SET_PROPERTY","params":["combined",true],"id":1}') == Command(
        "SET_PROPERTY", ("combined",), True, 1
    )


# -- over sockets

CONFIG = SimulatorConfig(accounts=((KEY, SECRET, D(100_000)),), symbols=("BTCUSDT",))
ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}


class Door:
    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession) -> None:
        self.simulator, self.session = simulator, session
        self.client = SignedClient(simulator.url, session)

    async def open(self, path: str) -> aiohttp.ClientWebSocketResponse:
        return await self.session.ws_connect(self.simulator.ws_url + path)

    async def ask(self, socket: aiohttp.ClientWebSocketResponse, method: str, *params: object) -> Any:
        await socket.send_json({"method": method, "params": list(params), "id": 1})
        return await receive(socket)

    async def key(self) -> str:
        return str((await self.client.raw("POST", "/fapi/v1/listenKey")).body["listenKey"])

    def quote(self) -> None:
        self.simulator.set_quote("BTCUSDT", D("60000.0"), D("60000.1"), D(10), D(10))


async def _door(config: SimulatorConfig) -> AsyncIterator[Door]:
    simulator = Simulator(config)
    await simulator.start()
    try:
        async with aiohttp.ClientSession() as session:
            door = Door(simulator, session)
            door.quote()
            yield door
    finally:
        await simulator.stop()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async for one in _door(CONFIG):
        yield one


async def test_unrouted_paths_carry_public_data_only_unless_legacy(door: Door) -> None:
    """Silence on the wrong class, as the venue does; legacy routing serves clients that have not moved."""
    async for legacy in _door(replace(CONFIG, stream_routing="legacy")):
        for one, served in ((door, {"bookTicker"}), (legacy, {"bookTicker", "markPriceUpdate", "user"})):
            key = await one.key()
            socket = await one.open(f"/stream?streams=btcusdt@bookTicker/btcusdt@markPrice/{key}")
            listed = await one.ask(socket, "LIST_SUBSCRIPTIONS")
            assert len(listed["result"]) == 3
            one.quote()
            await one.client.order(**ORDER)
            one.quote()
            seen = set[str]()
            while not seen >= served:
                event = (await receive(socket))["data"]["e"]
                seen.add(event if event in ("bookTicker", "markPriceUpdate") else "user")
            assert seen == served


async def test_events_of_a_listen_key_are_filtered_and_wrapped(door: Door) -> None:
    key = await door.key()
    raw = await door.open(f"/private/ws?listenKey={key}&events=ACCOUNT_UPDATE")
    wrapped = await door.open(f"/private/stream?listenKey={key}&events=TRADE_LITE/ACCOUNT_UPDATE")
    await door.client.order(**ORDER)
    assert (await receive(raw))["e"] == "ACCOUNT_UPDATE"
    events = [await receive(wrapped), await receive(wrapped)]
    assert {e["data"]["e"] for e in events} == {"TRADE_LITE", "ACCOUNT_UPDATE"}
    assert {e["stream"] for e in events} == {key}


async def test_a_closed_listen_key_ends_the_connections_that_were_for_it(door: Door) -> None:
    key = await door.key()
    only = await door.open(f"/private/ws/{key}")
    await door.ask(only, "LIST_SUBSCRIPTIONS")
    await door.client.raw("DELETE", "/fapi/v1/listenKey")
    assert (await only.receive(5)).type is aiohttp.WSMsgType.CLOSE
    assert only.close_code == 1000


async def test_combined_is_a_property_that_can_be_switched(door: Door) -> None:
    socket = await door.open("/public/ws/btcusdt@bookTicker")
    assert (await door.ask(socket, "GET_PROPERTY", "combined"))["result"] is False
    assert (await door.ask(socket, "SET_PROPERTY", "combined", True))["result"] is None
    door.quote()
    assert (await receive(socket))["stream"] == "btcusdt@bookTicker"
    assert (await door.ask(socket, "UNSUBSCRIBE", "btcusdt@bookTicker"))["result"] is None
    assert (await door.ask(socket, "LIST_SUBSCRIPTIONS"))["result"] == []


async def test_a_connection_holds_a_limited_number_of_streams() -> None:
    async for one in _door(replace(CONFIG, limits=Limits(socket_streams=3))):
        socket = await one.open("/public/ws")
        refused = await one.ask(socket, "SUBSCRIBE", *(f"s{n}@depth" for n in range(5)))
        assert refused["error"]["code"] == 2
        assert len((await one.ask(socket, "LIST_SUBSCRIPTIONS"))["result"]) == 3


async def test_a_connection_ends_when_it_is_too_old() -> None:
    async for one in _door(replace(CONFIG, socket_seconds_max=0.05)):
        socket = await one.open("/public/ws")
        while (message := await socket.receive(5)).type is not aiohttp.WSMsgType.CLOSE:
            pass
        assert message.data == 1001


async def test_faults_cut_and_silence_sockets_of_a_class(door: Door) -> None:
    public = await door.open("/public/ws/btcusdt@bookTicker")
    private = await door.open(f"/private/ws/{await door.key()}")
    for socket in (public, private):
        await door.ask(socket, "LIST_SUBSCRIPTIONS")
    door.simulator.arm(kind="cut", traffic="private", account=KEY)
    assert (await private.receive(5)).type is aiohttp.WSMsgType.CLOSED
    assert private.close_code == 1006
    door.simulator.arm(kind="silence", traffic="public", for_ms=60_000)
    door.quote()
    assert (await door.ask(public, "LIST_SUBSCRIPTIONS"))["result"] == ["btcusdt@bookTicker"]
    door.simulator.doors.faults.clear("silence")
    door.quote()
    assert (await receive(public))["e"] == "bookTicker"
    door.simulator.arm(kind="crossed_quotes", symbol="BTCUSDT", for_ms=60_000)
    crossed = await receive(public)
    assert D(crossed["b"]) > D(crossed["a"])


async def test_what_is_no_json_is_answered_without_an_id_and_ends_the_connection(door: Door) -> None:
    socket = await door.open("/public/ws")
    await socket.send_str("{")
    error = {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}
    assert await receive(socket) == {"error": error}
    assert (await asyncio.wait_for(socket.receive(), 5)).type is aiohttp.WSMsgType.CLOSE
