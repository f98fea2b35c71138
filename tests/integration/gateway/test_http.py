"""HTTP beyond authorization: pages, headers, health, idempotency, limits, the client, start and stop."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from decimal import Decimal

import aiohttp
import pytest

from pms.client import ClientError, PmsClient
from pms.gateway.errors import PortInUseError
from pms.gateway.settings import GatewaySettings, Registration
from pms.model.ids import SubAccountId
from pms.model.refusal import RefusalCode, Refused
from tests.unit.gateway.fakes import BTC, PASSWORD, SECRET, World

ORDER = {"subAccountId": "alice-1", "symbol": BTC, "side": "long", "quantity": 0.01, "leverage": "5"}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as running:
        yield running


@pytest.fixture
async def client(world: World) -> AsyncIterator[PmsClient]:
    async with PmsClient(world.server.url, token=world.token(world.alice)) as opened:
        yield opened


@pytest.fixture
async def http(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {world.token(world.alice)}"}
    async with aiohttp.ClientSession(world.server.url, headers=headers) as session:
        yield session


async def test_the_client_trades_from_login_to_close(world: World) -> None:
    async with PmsClient(world.server.url) as client:
        user = await client.login("alice", PASSWORD)
        assert (user.username, user.role) == ("alice", "USER")
        assert (await client.me()).id == user.id
        account = (await client.accounts())[0]
        bought = await client.market(account.id, BTC, "LONG", Decimal("0.01"), leverage=10)
        assert bought.trade is not None
        assert bought.position is not None
        assert bought.trade.exchange_order_id == "9223372036854775807", "never through a double"
        assert (await client.positions(account.id))[0].id == bought.position.id
        order = await client.limit(account.id, BTC, "SHORT", Decimal("0.01"), 51_000, leverage=10)
        assert [row.id for row in await client.orders(account.id)] == [order.id]
        await client.cancel(order.id)
        assert await client.orders(account.id) == ()
        closed = await client.close_position(bought.position.id)
        assert (closed.success, closed.realized_pnl, closed.source) == (True, 10, "exchange")
        assert [row.action for row in (await client.history(account.id)).trades] == ["CLOSE", "OPEN"]
        assert await client.price(BTC) == 50_000
        with pytest.raises(ClientError) as again:
            await client.close_position(bought.position.id)
        assert (again.value.status, again.value.code) == (400, "POSITION_CLOSED")


async def test_the_client_says_what_went_wrong(world: World) -> None:
    async with PmsClient(world.server.url, token="wrong") as client:
        with pytest.raises(ClientError) as refused:
            await client.accounts()
        assert (refused.value.status, refused.value.code) == (401, "INVALID_TOKEN")
        with pytest.raises(ClientError) as closed:
            await anext(aiter(client.events(["alice-1"])))
        assert closed.value.status == 4401
    await world.server.stop()
    async with PmsClient(world.server.url) as client:
        with pytest.raises(ClientError) as silent:
            await client.health()
        assert (silent.value.status, silent.value.code) == (0, "NO_ANSWER")
    with pytest.raises(ClientError, match="async with"):
        await PmsClient(world.server.url).health()


async def test_refusals_have_every_reason_and_the_status_of_their_code(
    world: World, client: PmsClient
) -> None:
    world.service.refusal = Refused(
        Refused.because(RefusalCode.TRADING_HALTED).refusals
        + Refused.because(RefusalCode.STALE_PRICE, "old").refusals
    )
    with pytest.raises(ClientError) as refused:
        await client.market("alice-1", BTC, "LONG", 1)
    assert refused.value.status == 503
    assert [(one.code, one.message) for one in refused.value.errors] == [
        ("TRADING_HALTED", "Trading is halted; only closing is allowed."), ("STALE_PRICE", "old"),
    ]  # fmt: skip


async def test_close_all_lists_each_outcome_and_nothing_open_is_zero(
    world: World, http: aiohttp.ClientSession
) -> None:
    for _ in range(2):
        world.service.open(SubAccountId("alice-1"))
    world.service.open(SubAccountId("bob-1"))
    async with http.post("/api/trade/close-all/alice-1") as answer:
        said = await answer.json()
        assert (said["closed"], said["total"], len(said["results"])) == (2, 2, 2)
    async with http.post("/api/trade/close-all/alice-1") as answer:
        assert await answer.json() == {"closed": 0, "total": 0, "results": []}
    assert len(world.ledger.open) == 1, "the other account is untouched"


async def test_cancel_all_touches_only_the_accounts_own_orders(
    world: World, http: aiohttp.ClientSession
) -> None:
    world.service.rest(SubAccountId("alice-1"), "a")
    world.service.rest(SubAccountId("bob-1"), "b")
    async with http.delete("/api/trade/orders/all/alice-1") as answer:
        assert await answer.json() == {"cancelled": 1, "failed": 0, "total": 1}
    assert list(world.ledger.journal) == ["order-b"]


async def test_concurrent_requests_with_one_key_place_one_order(
    world: World, http: aiohttp.ClientSession
) -> None:
    world.service.gate = asyncio.Event()

    async def send(body: dict[str, object]) -> tuple[int, dict[str, object], str | None]:
        async with http.post("/api/trade", json=body, headers={"Idempotency-Key": "k"}) as answer:
            return answer.status, json.loads(await answer.text()), answer.headers.get("Idempotency-Replayed")

    sending = [asyncio.create_task(send(ORDER)) for _ in range(3)]
    await world.service.started.wait()
    assert (await send(ORDER | {"quantity": 0.02}))[0] == 409
    world.service.gate.set()
    answers = await asyncio.gather(*sending)
    assert len(world.service.market_requests) == 1
    assert [answer[0] for answer in answers] == [201, 201, 201]
    assert sorted(answer[2] or "" for answer in answers) == ["", "true", "true"]
    assert len({json.dumps(answer[1]) for answer in answers}) == 1
    assert world.service.market_requests[0].idempotency_key == "user-alice:k"


async def test_limits_are_per_principal_and_say_when_to_return() -> None:
    settings = GatewaySettings(
        SECRET, port=0, reads_per_minute=3, unauthenticated_per_minute=4, logins_per_minute=2
    )
    async with World(settings) as world, aiohttp.ClientSession(world.server.url) as http:
        alice = {"Authorization": f"Bearer {world.token(world.alice)}"}
        bob = {"Authorization": f"Bearer {world.token(world.bob)}"}
        statuses = []
        for _ in range(3):
            async with http.get("/api/sub-accounts", headers=alice) as answer:
                statuses.append(answer.status)
        assert statuses == [200, 200, 200]
        async with http.get("/api/sub-accounts", headers=alice) as answer:
            assert answer.status == 429
        assert answer.headers["RateLimit-Limit"] == "3"
        assert answer.headers["RateLimit-Remaining"] == "0"
        assert 0 < int(answer.headers["Retry-After"]) <= 60
        async with http.get("/api/sub-accounts", headers=bob) as answer:
            assert answer.status == 200
            assert answer.headers["RateLimit-Remaining"] == "2"
        statuses = []
        for name in ("a", "b", "c"):
            async with http.post("/api/auth/login", json={"username": name, "password": "x"}) as answer:
                statuses.append(answer.status)
        assert statuses == [401, 401, 429]
        async with http.get("/api/sub-accounts") as answer:
            assert answer.status == 401
        async with http.get("/api/sub-accounts") as answer:
            assert answer.status == 429


async def test_a_forwarded_address_counts_only_behind_a_trusted_proxy() -> None:
    async def statuses(*proxies: str) -> list[int]:
        settings = GatewaySettings(SECRET, port=0, unauthenticated_per_minute=1, trusted_proxies=proxies)
        seen = []
        async with World(settings) as world, aiohttp.ClientSession(world.server.url) as http:
            for number in range(3):
                headers = {"X-Forwarded-For": f"203.0.113.{number}"}
                async with http.get("/api/sub-accounts", headers=headers) as answer:
                    seen.append(answer.status)
        return seen

    assert await statuses() == [401, 429, 429]
    assert await statuses("127.0.0.0/8") == [401, 401, 401]


async def test_a_fleet_is_listed_and_subscribed_in_batches(world: World) -> None:
    for number in range(250):
        world.ledger.add(f"fleet-{number}", world.admin)
    async with PmsClient(world.server.url, token=world.token(world.admin)) as admin:
        accounts = await admin.accounts()
        assert len(accounts) == 252
        assert accounts[0].id == "fleet-249", "newest first"
        dashboard = json.loads(await admin.request("GET", "/api/admin/dashboard"))
        assert len(dashboard["accounts"]) == 252
        assert json.loads(await admin.request("GET", "/api/admin/exchange")) == {}
        assert json.loads(await admin.request("GET", "/api/admin/real-account")) is None, "no engine here"
        told: list[str] = []
        margins = 0
        async for event in admin.events([account.id for account in accounts]):
            if event.type == "subscribed":
                told += event.data["seq"]  # type: ignore[arg-type]
            margins += event.type == "margin_update"
            if margins == 252:
                break
        assert told == [account.id for account in accounts]
        assert set(world.server.gateway.sockets.subscribed_accounts()) == set(told)


async def test_registration_is_off_unless_set_and_never_makes_an_admin() -> None:
    body = {"username": "eve", "password": "abcdefg1"}
    async with (
        World() as world,
        aiohttp.ClientSession(world.server.url) as http,
        http.post("/api/auth/register", json=body) as answer,
    ):
        assert answer.status == 403
    settings = GatewaySettings(SECRET, port=0, registration=Registration.PENDING)
    async with World(settings) as world, aiohttp.ClientSession(world.server.url) as http:
        world.directory.rows.clear()
        async with http.post("/api/auth/register", json=body) as answer:
            said = await answer.json()
            assert (answer.status, said["role"], said["status"]) == (200, "USER", "PENDING")
        async with http.post("/api/auth/register", json=body) as answer:
            assert answer.status == 409
        async with http.post("/api/auth/login", json=body) as answer:
            assert answer.status == 403
            assert (await answer.json())["status"] == "PENDING"


async def test_health_probes_and_readiness(world: World, http: aiohttp.ClientSession) -> None:
    world.probes.redis_hangs = True
    async with http.get("/api/health") as answer:
        said = await answer.json()
    assert answer.status == 200
    assert said["status"] == "ok"
    assert said["redis"] is False, "a probe that hangs is not healthy"
    assert said["positionBookAccounts"] == 2
    world.probes.redis_hangs = False
    world.clock.shift_ms = 600
    async with http.get("/api/health/ready") as answer:
        assert answer.status == 200
    world.probes.up = False
    world.clock.shift_ms = 1_200
    async with http.get("/api/health/ready") as answer:
        assert answer.status == 503
        assert (await answer.json())["database"] is False


async def test_pages_come_from_this_server_alone(world: World, http: aiohttp.ClientSession) -> None:
    for path, kind in (
        ("/docs", "text/html"),
        ("/docs/page.js", "text/javascript"),
        ("/docs/page.css", "text/css"),
    ):
        async with http.get(path) as answer:
            text = await answer.text()
            assert answer.status == 200
            assert answer.content_type == kind
            assert "http://" not in text
            assert "https://" not in text
    async with http.get("/docs") as answer:
        pass
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src 'self';" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in answer.headers
    async with http.get("/docs", headers={"If-None-Match": '"other"'}) as answer:
        etag = answer.headers["ETag"]
    async with http.get("/docs", headers={"If-None-Match": etag}) as answer:
        assert answer.status == 304
    async with http.get("/api/sub-accounts") as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        assert float(answer.headers["X-Server-Latency-Ms"]) > 0


async def test_the_dashboard_is_served_with_its_assets(world: World, http: aiohttp.ClientSession) -> None:
    async with http.get("/") as answer:
        page = await answer.text()
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-cache"
    names = [part.split('"')[0] for part in page.split('"/')[1:] if part.startswith("assets/")]
    assert names
    for name in names:
        async with http.get(f"/{name}") as answer:
            assert answer.status == 200
            assert "immutable" in answer.headers["Cache-Control"]


async def test_the_description_documents_every_answer(world: World, http: aiohttp.ClientSession) -> None:
    async with http.get("/openapi.json") as answer:
        described = await answer.json()
    for path, item in described["paths"].items():
        for method, operation in item.items():
            good = [status for status in operation["responses"] if status.startswith("2")]
            assert good, (method, path)
            schema = operation["responses"][good[0]]["content"]["application/json"]["schema"]
            assert schema, (method, path)
            assert "422" not in operation["responses"]
            assert operation["responses"]["400"]["content"]["application/json"]["schema"] == {
                "$ref": "#/components/schemas/ErrorBody"
            }
    quantity = described["components"]["schemas"]["MarketOrderBody"]["properties"]["quantity"]
    assert {one["type"] for one in quantity["anyOf"]} == {"number", "string"}


async def test_candles_of_many_browsers_cost_one_request(world: World, http: aiohttp.ClientSession) -> None:
    async def read(limit: int) -> int:
        query = {"symbol": BTC, "interval": "1m", "limit": str(limit)}
        async with http.get("/api/trade/klines", params=query) as answer:
            return answer.status

    assert set(await asyncio.gather(*(read(500) for _ in range(5)))) == {200}
    assert world.service.klines_calls == 1
    assert await read(13) == 502, "the fake fails at 13"
    world.clock.shift_ms = 3_000
    await read(500)
    assert world.service.klines_calls == 3


async def test_admin_views(world: World) -> None:
    world.service.open(SubAccountId("alice-1"))
    async with PmsClient(world.server.url, token=world.token(world.admin)) as admin:
        exposure = (await admin.exposure())[0]
        assert (exposure.symbol, exposure.balanced, exposure.accounts[0].side) == (BTC, True, "LONG")
        dashboard = json.loads(await admin.request("GET", "/api/admin/dashboard"))
        assert [len(row["positions"]) for row in dashboard["accounts"]] == [1, 0]
        assert dashboard["mainAccountBalance"] is None
        positions = json.loads(await admin.request("GET", "/api/admin/all-positions"))
        assert positions[0]["subAccount"]["id"] == "alice-1"
        assert (await admin.freeze("alice-1")).status == "FROZEN"
        assert (await admin.unfreeze("alice-1")).status == "ACTIVE"
        assert (
            await admin.set_liquidation_mode("alice-1", "INSTANT_CLOSE")
        ).liquidation_mode == "INSTANT_CLOSE"
        assert (await admin.deposit("alice-1", Decimal("0.5"))).current_balance == 1000.5
        assert (await admin.deposit("alice-1", Decimal("-0.5"))).current_balance == 1000
        with pytest.raises(ClientError) as refused:
            await admin.deposit("alice-1", -5_000)
        assert refused.value.code == "INSUFFICIENT_BALANCE"
        assert await admin.set_balance("alice-1", 1010) == 1010
        given, taken = await admin.transfer("alice-1", "bob-1", "10")
        assert (given.current_balance, taken.current_balance) == (1000, 1010)
        with pytest.raises(ClientError) as refused:
            await admin.reset("alice-1")
        assert (refused.value.status, refused.value.code) == (409, "EXPOSURE_OPEN")
        assert (await admin.reset("bob-1")).current_balance == 0
        assert (await admin.close_account("bob-1")).current_balance == 0
        assert (await admin.write_off("bob-1")).owed == 0
        taken_over = await admin.take_over(positions[0]["id"], "a-key")
        assert taken_over == await admin.take_over(positions[0]["id"], "a-key")
        for wrong in (None, "", "x", -1, "Infinity", True):
            with pytest.raises(ClientError) as refused:
                await admin.request("POST", "/api/admin/set-balance/alice-1", {"balance": wrong})
            assert refused.value.status == 400
        await admin.set_rules(
            "alice-1",
            max_leverage=20,
            max_notional_per_trade=1,
            max_total_exposure=2,
            liquidation_threshold="0.8",
        )
        rules = json.loads(await admin.request("GET", "/api/risk-rules"))
        assert (rules[0]["maxLeverage"], rules[0]["subAccount"]["id"]) == (20, "alice-1")
        users = json.loads(await admin.request("GET", "/api/auth/users"))
        assert [row["username"] for row in users] == ["bob", "alice", "root"]
        assert users[1]["subAccounts"][0]["id"] == "alice-1"


async def test_a_key_is_shown_once_and_the_old_one_stops(world: World, client: PmsClient) -> None:
    keys = [json.loads(await client.request("POST", "/api/auth/api-key"))["apiKey"] for _ in range(2)]
    assert world.directory.rows[world.alice.id].api_key not in keys, "stored hashed"
    statuses = []
    for key in keys:
        async with PmsClient(world.server.url, api_key=key) as by_key:
            try:
                statuses.append(len(await by_key.accounts()))
            except ClientError as error:
                statuses.append(error.status)
    assert statuses == [401, 1]


async def test_a_busy_port_is_named_and_nothing_is_killed() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"port {port} is in use .* --port"):
            async with World(GatewaySettings(SECRET, port=port)):
                pass
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            pass


async def test_stopping_is_quick_with_an_open_socket_and_a_hanging_request() -> None:
    world = World()
    world.service.gate = asyncio.Event()
    async with world, aiohttp.ClientSession(world.server.url) as http:
        headers = {"Authorization": f"Bearer {world.token(world.alice)}"}
        async with http.ws_connect("/ws") as socket:
            await socket.receive_json()
            hanging = asyncio.create_task(http.post("/api/trade", json=ORDER, headers=headers))
            await world.service.started.wait()
            started = time.monotonic()
            await world.server.stop()
            assert time.monotonic() - started < 1.5
            assert (await socket.receive()).data == 1012
            assert (await hanging).status == 504, "not 503: the order may have been sent"
