"""Bad input gets a 4xx with `{error, code}` and changes nothing (gateway spec 15.5)."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.unit.gateway.fakes import BTC, SECRET, World

MARKET = {"subAccountId": "alice-1", "symbol": BTC, "side": "LONG", "quantity": "0.01", "leverage": 5}
LIMIT = MARKET | {"price": "49000"}
RULES = {"maxLeverage": 5, "maxNotionalPerTrade": 100, "maxTotalExposure": 100, "liquidationThreshold": 0.9}
GOOD: dict[str, tuple[str, str, dict[str, Any]]] = {
    "market": ("POST", "/api/trade", MARKET),
    "validate": ("POST", "/api/trade/validate", MARKET),
    "limit": ("POST", "/api/trade/limit", LIMIT),
    "account": ("POST", "/api/sub-accounts", {"name": "new", "initialBalance": 5}),
    "change": ("PATCH", "/api/sub-accounts/alice-1", {"name": "other", "addBalance": 1}),
    "rules": ("PUT", "/api/risk-rules/global", RULES),
    "mode": ("POST", "/api/admin/liquidation-mode/alice-1", {"mode": "TAKEOVER"}),
    "login": ("POST", "/api/auth/login", {"username": "alice", "password": "x"}),
}
NUMBERS = ["quantity", "leverage", "price", *RULES]
NOT_NUMBERS: list[Any] = [
    None,
    True,
    False,
    "",
    " ",
    "abc",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "1e9999999",
    "0x10",
    "1_000",
    [],
    [1],
    {},
    0,
    -1,
    "0",
    "-0.5",
    1e300,
    "1" * 65,
    "1" + "0" * 30,
    "1e-50",
]
TEXTS: dict[str, list[Any]] = {
    "symbol": [None, 1, "", "x" * 65, "<script>", "A\0B", [], {}, True],
    "side": [None, 1, "", "UP", "BOTH", "x" * 100, [], True],
    "name": [None, 1, "", "   ", "x" * 65, "<b>", 'a"b', "a\nb", "a\0b", [], {}],
    "mode": [None, 1, "", "OTHER", []],
    "timeInForce": [None, 1, "", "GTD", []],
    "reduceOnly": [None, 1, 0, "true", "false", [], {}],
    "status": [1, "", "LIQUIDATED", "frozen", []],
    "username": [None, 1, "", "x" * 257, [], {}],
    "password": [None, 1, "", "x" * 5_000, [], {}],
    "addBalance": [True, "", "abc", "NaN", [], {}, "1e400", "-1e9999999"],
    "initialBalance": [None, True, "", "abc", "NaN", -1, [], {}, "1e9999999"],
}
RAW = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"1",
    b'"text"',
    b"\xff\xfe\x00",
    b'{"a": NaN}',
    b"[" * 20_000,
    b'{"subAccountId": 5}',
    b'{"subAccountId": "alice-1", "quantity": Infinity}',
    b'{"subAccountId": null}',
    b'{"subAccountId": "\\ud800"}',
    b'{"subAccountId": "alice-1", "subAccountId": "bob-1"}',
    b'{"quantity": ' + b"9" * 10_000 + b"}",
    b'{"subAccountId": "alice-1", "quantity": 1e9999999, "addBalance": -1e9999999, "maxLeverage": 1e9999999}',
]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as running:
        yield running


@pytest.fixture
async def http(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {world.token(world.admin)}"}
    async with aiohttp.ClientSession(world.server.url, headers=headers) as session:
        yield session


async def refused(
    world: World, answer: aiohttp.ClientResponse, what: object, statuses: tuple[int, ...] = ()
) -> None:
    world.server.gateway.limiter._windows.clear()
    assert 400 <= answer.status < 500, what
    if statuses:
        assert answer.status in statuses, what
    body = json.loads(await answer.text())
    assert isinstance(body["error"], str), what
    assert body["error"], what
    assert body["code"], what
    assert body["ok"] is False


OPTIONAL = {"market": "leverage", "validate": "leverage", "limit": "leverage"}
"""Orders that name no leverage take the account's own for the symbol."""


@pytest.mark.parametrize("name", GOOD)
async def test_every_bad_field_is_refused_and_nothing_changes(
    world: World, http: aiohttp.ClientSession, name: str
) -> None:
    method, path, good = GOOD[name]
    bad: list[tuple[str, Any]] = [(field, value) for field in good for value in TEXTS.get(field, [])]
    bad += [(field, value) for field in good if field in NUMBERS for value in NOT_NUMBERS]
    if name == "limit":
        bad += [(field, value) for field in ("timeInForce", "reduceOnly") for value in TEXTS[field]]
    if name == "market":
        bad += [("reduceOnly", value) for value in TEXTS["reduceOnly"]]
        bad += [("leverage", value) for value in (126, 0.5, "1000")]
    if name == "change":
        bad = [one for one in bad if one[1] is not None] + [("status", value) for value in TEXTS["status"]]
    if name == "rules":
        bad += [("liquidationThreshold", 1.01)]
    missing = (
        []
        if name == "change"
        else [field for field in good if field not in ("initialBalance", OPTIONAL.get(name))]
    )
    before = world.state()
    for field, value in bad:
        async with http.request(method, path, json=good | {field: value}) as answer:
            await refused(world, answer, (field, value), (400,))
    for field in missing:
        body = {key: value for key, value in good.items() if key != field}
        async with http.request(method, path, json=body) as answer:
            await refused(world, answer, f"without {field}", (400,))
    assert world.state() == before


async def test_bodies_that_are_no_json_objects_are_refused(world: World, http: aiohttp.ClientSession) -> None:
    for name in GOOD:
        await _raw_bodies(world, http, name)


async def _raw_bodies(world: World, http: aiohttp.ClientSession, name: str) -> None:
    method, path, good = GOOD[name]
    before = world.state()
    for raw in RAW:
        if name == "change" and raw.startswith(b'{"subAccountId":') and raw.endswith((b" 5}", b"null}")):
            continue  # an object without any known field: nothing is asked, nothing changes
        async with http.request(
            method, path, data=raw, headers={"Content-Type": "application/json"}
        ) as answer:
            await refused(world, answer, raw[:60], (400,))
    async with http.request(method, path, data={"quantity": "1"}) as answer:
        await refused(world, answer, "a form", (415,))
    async with http.request(method, path, json=good | {"filler": "x" * 100_001}) as answer:
        await refused(world, answer, "too large", (413,))
    assert world.state() == before


async def test_a_chunked_body_is_bounded_too(world: World, http: aiohttp.ClientSession) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 10_000

    async with http.post("/api/trade", data=chunks(), headers={"Content-Type": "application/json"}) as answer:
        await refused(world, answer, "chunked", (413,))


BAD_QUERIES = [
    "/api/trade/history/alice-1?limit=0",
    "/api/trade/history/alice-1?limit=10001",
    "/api/trade/history/alice-1?limit=abc",
    "/api/trade/history/alice-1?limit=1e3",
    "/api/trade/history/alice-1?offset=-1",
    "/api/trade/history/alice-1?offset=99999999999999999999999",
    "/api/trade/history/alice-1?from=yesterday",
    "/api/trade/history/alice-1?to=99999-01-01",
    "/api/trade/history/alice-1?action=%27;drop",
    "/api/trade/history/alice-1?symbol=%00",
    "/api/trade/klines",
    "/api/trade/klines?symbol=BTC/USDT:USDT",
    "/api/trade/klines?symbol=BTC/USDT:USDT&interval=7m",
    "/api/trade/klines?symbol=BTC/USDT:USDT&interval=1m&limit=1501",
    "/api/trade/klines?symbol=NO/USDT:USDT&interval=1m",
    "/api/trade/chart-data/alice-1",
    "/api/admin/balance-log/alice-1?limit=1001",
    "/api/trade/symbols/search?q=" + "x" * 65,
]


async def test_bad_queries_are_refused(world: World, http: aiohttp.ClientSession) -> None:
    for path in BAD_QUERIES:
        async with http.get(path) as answer:
            await refused(world, answer, path, (400, 404))


async def test_wrong_methods_are_405(world: World, http: aiohttp.ClientSession) -> None:
    for method, path in (
        ("GET", "/api/trade"),
        ("POST", "/api/health"),
        ("PUT", "/api/trade"),
        ("POST", "/"),
    ):
        async with http.request(method, path) as answer:
            await refused(world, answer, (method, path), (405,))


async def test_an_idempotency_key_must_be_printable(world: World, http: aiohttp.ClientSession) -> None:
    for key in ("", "x" * 129, "ä"):
        async with http.post("/api/trade", json=MARKET, headers={"Idempotency-Key": key}) as answer:
            await refused(world, answer, key, (400,))
    assert not world.service.market_requests


async def test_amounts_arrive_exactly(world: World, http: aiohttp.ClientSession) -> None:
    raw = json.dumps(MARKET).replace('"0.01"', "0.1234567890123456789")
    async with http.post("/api/trade", data=raw, headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 201
    assert str(world.service.market_requests[0].quantity) == "0.1234567890123456789"


async def raw_request(world: World, request: bytes) -> bytes:
    host, port = world.server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    async with asyncio.timeout(5):
        head = await reader.read(200)
    writer.close()
    return head


UPGRADE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
)


BAD_HEADS = [
    b"GET /api/health HTTP/1.1\r\nHost: evil.example",
    b"GET /api/health HTTP/1.1\r\nHost: a b",
    b"GET /api/health HTTP/1.1\r\nHost: [::1",
    b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nHost: localhost",
    b"GET /api/health HTTP/1.1",
    b"GET /ws HTTP/1.1\r\nHost: %%%\r\n" + UPGRADE,
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n" + UPGRADE,
    b"GET /elsewhere HTTP/1.1\r\nHost: localhost\r\n" + UPGRADE,
    b"GET //// HTTP/1.1\r\nHost: localhost\r\n" + UPGRADE,
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade",
    b"GET /%ff%fe HTTP/1.1\r\nHost: localhost",
    b"\x00\x01\x02",
    b"POST /api/trade HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5",
    b"POST /api/trade HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999",
]


async def test_bad_heads_and_upgrades_are_4xx_and_the_server_lives(world: World) -> None:
    for head in BAD_HEADS:
        answer = await raw_request(world, head + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 4"), (head, answer)
        alive = await raw_request(world, b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert alive.startswith(b"HTTP/1.1 200")


async def test_a_failure_inside_is_500_without_details(
    world: World, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    world.service.failure = RuntimeError("secret of the database")
    async with http.post("/api/trade", json=MARKET) as answer:
        text = await answer.text()
        assert answer.status == 500
        assert json.loads(text)["code"] == "INTERNAL_ERROR"
        assert answer.headers["X-Correlation-Id"] in text
        assert "secret" not in text
    assert answer.headers["X-Correlation-Id"] in caplog.text
    assert SECRET not in caplog.text
