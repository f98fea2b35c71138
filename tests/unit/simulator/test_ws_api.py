"""The WebSocket trading API over a real socket: signatures, sessions, limits, shapes of the official SDK."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from decimal import Decimal as D
from typing import Any

import aiohttp
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pms.exchange import messages as m
from pms.exchange.messages_socket import ApiReply
from pms.simulator import Simulator, SimulatorConfig
from pms.simulator.api_calls import METHODS, ApiCall, parse, signed_text
from pms.simulator.config import Limits
from pms.simulator.endpoints import ENDPOINTS
from tests.support.paths import data_file
from tests.unit.simulator.signed_client import KEY, SECRET, SignedClient, receive

PRIVATE = Ed25519PrivateKey.generate()
PUBLIC = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
ED_KEY = "ed25519-key"
ORDER: dict[str, Any] = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}
RESTING: dict[str, Any] = {
    **ORDER,
    "type": "LIMIT",
    "price": "59000",
    "timeInForce": "GTC",
    "quantity": 0.1,  # some clients send numbers (spec 6)
}


class ApiClient:
    """One connection; every request waits for its reply."""

    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession) -> None:
        self.simulator, self.session = simulator, session
        self.rest = SignedClient(simulator.url, session)
        self.socket: aiohttp.ClientWebSocketResponse
        self._number = 0

    async def connect(self, query: str = "") -> ApiClient:
        self.socket = await self.session.ws_connect(f"{self.simulator.ws_url}/ws-fapi/v1{query}")
        return self

    async def bare(self, method: str, **params: Any) -> Any:
        """Send exactly these parameters."""
        self._number += 1
        await self.socket.send_json({"id": self._number, "method": method, "params": params})
        reply = await receive(self.socket)
        assert reply["id"] == self._number
        return reply

    async def signed(self, method: str, **params: Any) -> Any:
        """Send a request that is signed by the HMAC key."""
        params = {**params, "apiKey": KEY, "timestamp": time.time_ns() // 1_000_000}
        frame = parse(json.dumps({"method": method, "params": params}))
        assert isinstance(frame, ApiCall)
        return await self.bare(method, **params, signature=self.rest.sign(signed_text(frame.params)))

    async def logon(self) -> Any:
        params = {"apiKey": ED_KEY, "timestamp": time.time_ns() // 1_000_000}
        text = signed_text({k: str(v) for k, v in params.items()})
        return await self.bare(
            "session.logon", **params, signature=base64.b64encode(PRIVATE.sign(text.encode())).decode()
        )


@pytest.fixture
async def client() -> AsyncIterator[ApiClient]:
    config = SimulatorConfig(
        accounts=((KEY, SECRET, D(100_000)),),
        further_keys=((KEY, ED_KEY, PUBLIC),),
        symbols=("BTCUSDT",),
        limits=Limits(request_weight_1m=1000, orders_10s=3),
    )
    simulator = Simulator(config)
    await simulator.start()
    try:
        simulator.set_quote("BTCUSDT", D("60000.0"), D("60000.1"), D(10), D(10))
        async with aiohttp.ClientSession() as session:
            yield await ApiClient(simulator, session).connect()
    finally:
        await simulator.stop()


def test_parameters_are_signed_sorted_and_as_they_were_written() -> None:
    frame = (
        '{"id": "a", "method": "order.place", "params": {"b": 0.10, "a": "x y", "signature": "s", "c": true}}'
    )
    call = parse(frame)
    assert isinstance(call, ApiCall)
    assert (call.id, call.signature, signed_text(call.params)) == ("a", "s", "a=x y&b=0.10&c=true")


async def test_an_order_lives_through_place_modify_status_and_cancel(client: ApiClient) -> None:
    placed = await client.signed("order.place", **RESTING, newClientOrderId="mine")
    assert placed["status"] == 200
    reply = msgspec.convert(placed, ApiReply[m.OrderAnswer])
    assert isinstance(reply.result, m.OrderAnswer)
    assert (reply.result.client_order_id, reply.result.status) == ("mine", "NEW")
    limits = [(r["rateLimitType"], r["intervalNum"], r["count"]) for r in placed["rateLimits"]]
    assert limits[:2] == [("ORDERS", 10, 1), ("ORDERS", 1, 1)]
    assert limits[2][2] in (5, 0)  # the handshake, unless a new minute began; an order weighs nothing
    by_rest = await client.rest.signed("GET", "/fapi/v1/openOrders", symbol="BTCUSDT")
    assert [o["clientOrderId"] for o in by_rest.body] == ["mine"]
    status = await client.signed("order.status", symbol="BTCUSDT", origClientOrderId="mine")
    assert (status["result"]["status"], D(status["result"]["avgPrice"])) == ("NEW", 0)
    order_id = placed["result"]["orderId"]
    if ("PUT", "/fapi/v1/order") in ENDPOINTS:
        modified = await client.signed(
            "order.modify", symbol="BTCUSDT", orderId=order_id, side="BUY", quantity="0.1", price="58000"
        )
        assert modified["result"]["price"] == "58000.00"
    cancelled = await client.signed("order.cancel", symbol="BTCUSDT", orderId=order_id)
    assert cancelled["result"]["status"] == "CANCELED"
    again = await client.signed("order.cancel", symbol="BTCUSDT", orderId=order_id)
    assert (again["status"], again["error"]) == (400, {"code": -2011, "msg": "Unknown order sent."})


READS: list[tuple[str, str, dict[str, Any], bool]] = [
    ("account.status", "account_information", {}, True),
    ("v2/account.status", "account_information_v2", {}, True),
    ("account.balance", "futures_account_balance", {}, True),
    ("v2/account.balance", "futures_account_balance_v2", {}, True),
    ("account.position", "position_information", {"symbol": "BTCUSDT"}, True),
    ("v2/account.position", "position_information_v2", {"symbol": "BTCUSDT"}, True),
    ("depth", "order_book", {"symbol": "BTCUSDT", "limit": 5}, False),
    ("ticker.price", "symbol_price_ticker", {"symbol": "BTCUSDT"}, False),
    ("ticker.book", "symbol_order_book_ticker", {"symbol": "BTCUSDT"}, False),
]


async def test_every_read_has_the_fields_of_the_official_sdk(client: ApiClient) -> None:
    await client.signed("order.place", **ORDER)
    for method, file, params, signed in READS:
        reply = await (client.signed if signed else client.bare)(method, **params)
        assert reply["status"] == 200, reply
        documented = json.loads(data_file(f"binance/wsapi_sdk/{file}.json").read_text())["result"]
        got = reply["result"]
        if isinstance(documented, list):
            documented, got = documented[0], got[0]
        assert set(documented) - set(got) <= {"unrealizedProfit"}, method


async def test_methods_of_the_sdk_are_all_served() -> None:
    assert set(METHODS.values()) - set(ENDPOINTS) <= {
        ("PUT", "/fapi/v1/order"),
        ("POST", "/fapi/v1/algoOrder"),
        ("DELETE", "/fapi/v1/algoOrder"),
    }


async def test_the_user_stream_is_started_kept_and_stopped(client: ApiClient) -> None:
    started = await client.bare("userDataStream.start", apiKey=KEY)
    key = started["result"]["listenKey"]
    stream = await client.session.ws_connect(f"{client.simulator.ws_url}/private/ws/{key}")
    assert (await client.bare("userDataStream.ping", apiKey=KEY))["result"] == {"listenKey": key}
    await client.signed("order.place", **ORDER)
    assert (await receive(stream))["e"] in ("TRADE_LITE", "ORDER_TRADE_UPDATE")
    assert (await client.bare("userDataStream.stop", apiKey=KEY))["result"] == {}
    assert (await client.bare("userDataStream.ping", apiKey=KEY))["error"]["code"] == -1125


async def test_a_session_needs_no_key_and_only_ed25519_may_log_on(client: ApiClient) -> None:
    now = time.time_ns() // 1_000_000
    assert (await client.bare("account.balance", timestamp=now))["error"]["code"] == -2014
    refused = await client.signed("session.logon")
    assert (refused["status"], refused["error"]["code"]) == (400, -4056)
    assert (await client.bare("session.status"))["result"]["apiKey"] is None
    logged = await client.logon()
    assert (logged["status"], logged["result"]["apiKey"]) == (200, ED_KEY)
    assert logged["result"]["authorizedSince"] >= now
    placed = await client.bare("order.place", **RESTING, timestamp=time.time_ns() // 1_000_000)
    assert placed["result"]["status"] == "NEW"
    assert (await client.bare("order.place", **RESTING))["error"][
        "code"
    ] == -1102  # timestamp is still needed
    assert (await client.bare("session.logout"))["result"]["authorizedSince"] is None
    assert (await client.bare("account.balance", timestamp=now))["error"]["code"] == -2014


async def test_what_is_wrong_is_told_in_the_frame(client: ApiClient) -> None:
    assert (await client.bare("order.dance"))["error"]["code"] == -1020
    wrong = await client.bare("account.balance", apiKey=KEY, timestamp=1, signature="0" * 64)
    assert (wrong["status"], wrong["error"]["code"]) == (400, -1022)
    assert (await client.bare("account.balance", apiKey="no", timestamp=1))["status"] == 401
    assert (await client.signed("order.place", **{**ORDER, "symbol": "NOPE"}))["error"]["code"] == -1121
    for text, number in (
        ("{", None),
        ("[]", None),
        ('{"id":"x"}', "x"),
        ('{"id":7,"method":"depth","params":5}', 7),
    ):
        await client.socket.send_str(text)
        reply = await receive(client.socket)
        assert (reply["id"], reply["status"]) == (number, 400)


async def test_limits_are_counted_with_rest_and_shown_or_hidden(client: ApiClient) -> None:
    await client.rest.order(**ORDER)
    codes = [(await client.signed("order.place", **ORDER)).get("error", {}).get("code") for _ in range(3)]
    assert codes in ([None, None, -1015], [None, None, None])  # a new 10 s window may have begun in between
    quiet = await ApiClient(client.simulator, client.session).connect("?returnRateLimits=false")
    assert "rateLimits" not in await quiet.bare("depth", symbol="BTCUSDT")
    assert "rateLimits" in await quiet.bare("depth", symbol="BTCUSDT", returnRateLimits=True)
    assert "rateLimits" not in await client.bare("depth", symbol="BTCUSDT", returnRateLimits=False)
    heavy = [await client.bare("depth", symbol="BTCUSDT", limit=1000) for _ in range(60)]
    refused = [r for r in heavy if r["status"] != 200]
    assert {r["error"]["code"] for r in refused} <= {-1003}
    assert {r["status"] for r in refused} <= {429, 418}
    assert refused


async def test_faults_reach_this_door_too(client: ApiClient) -> None:
    client.simulator.arm(kind="answer", variant="503A", executed=True, path="orders")
    unknown = await client.signed("order.place", **RESTING, newClientOrderId="there")
    assert (unknown["status"], unknown["error"]["code"]) == (503, -1000)
    assert (await client.signed("order.status", symbol="BTCUSDT", origClientOrderId="there"))["status"] == 200
    client.simulator.arm(kind="lose", executed=True, path="orders")
    await client.socket.send_json({"id": 1, "method": "session.status"})
    await receive(client.socket)
    with pytest.raises(AssertionError):
        await client.signed("order.place", **RESTING)
    await client.connect()
    client.simulator.arm(kind="cut", traffic="trading")
    assert (await client.socket.receive(5)).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE)
    client.simulator.arm(kind="maintenance", for_ms=60_000)
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await client.connect()
