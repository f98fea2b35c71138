"""The authorization matrix: every documented operation by every kind of caller (gateway spec 4 and 15.3)."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from pms.gateway.passwords import stored_key
from pms.gateway.ports import UserStatus
from pms.model.ids import SubAccountId
from tests.unit.gateway.fakes import BTC, PASSWORD, World

PUBLIC = {"login", "register", "health", "ready"}
ADMIN = {
    "exchange_statistics",
    "real_account",
    "users",
    "approve_user",
    "ban_user",
    "list_rules",
    "set_global_rules",
    "set_account_rules",
    "reset_account_rules",
    "admin_dashboard",
    "accounts_at_risk",
    "all_positions",
    "force_close",
    "force_close_all",
    "freeze",
    "unfreeze",
    "set_liquidation_mode",
    "take_over",
    "set_balance",
    "transfer_between_accounts",
    "reset_account",
    "close_account",
    "write_off",
    "balance_log",
    "exposure",
    "house",
    "close_house",
    "assign_house",
    "kill_switch",
    "set_kill_switch",
    "set_account_kill_switch",
    "global_trading_rules",
    "set_global_trading_rules",
    "account_trading_rules",
    "set_account_trading_rules",
    "trading_rules_history",
    "rule_breaches",
    "preview_desk",
}
ORDER = {"symbol": BTC, "side": "LONG", "quantity": "0.01", "price": "49000", "leverage": 5}
RULES = {"maxLeverage": 5, "maxNotionalPerTrade": 1, "maxTotalExposure": 1, "liquidationThreshold": 0.5}
BODIES: dict[str, dict[str, Any]] = {
    "set_global_rules": RULES,
    "set_account_rules": RULES,
    "set_liquidation_mode": {"mode": "TAKEOVER"},
    "set_balance": {"balance": 5},
    "transfer_between_accounts": {"toSubAccountId": "bob-1", "amount": 1},
    "set_kill_switch": {"level": "halt"},
    "set_account_kill_switch": {"level": "release"},
    "set_global_trading_rules": {},
    "set_account_trading_rules": {"orderRate": {"action": "WARN", "perMinuteMax": 9}},
    "change_account": {"name": "renamed"},
    "create_account": {"name": "mine", "initialBalance": 1},
}
FLAT = ("reset_account", "close_account")
"""Operations that an account with a position refuses."""
KEY = "pms_" + "ab" * 24


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def operations(world: World) -> dict[str, tuple[str, str]]:
    """Every documented operation: id -> (method, path)."""
    paths: dict[str, dict[str, Any]] = world.server.app.openapi()["paths"]
    return {
        operation["operationId"]: (method.upper(), path)
        for path, item in paths.items()
        for method, operation in item.items()
    }


async def ask(
    world: World,
    http: aiohttp.ClientSession,
    name: str,
    account: str,
    headers: dict[str, str],
    position: str = "none",
) -> int:
    method, path = operations(world)[name]
    path = path.format(
        sub_account_id=account,
        position_id=position,
        order_id=f"order-{account}",
        user_id="user-bob",
        symbol=BTC,
    )
    body = BODIES.get(name, {"subAccountId": account, **ORDER})
    content = body if method in ("POST", "PUT", "PATCH") else None
    query = {"symbol": BTC, "interval": "1m"} if method == "GET" else None
    async with http.request(
        method, world.server.url + path, json=content, params=query, headers=headers
    ) as answer:
        said = await answer.json()
        if answer.status >= 400:
            assert isinstance(said["error"], str)
            assert said["code"]
            assert said["errors"]
        return answer.status


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_without_a_valid_credential_nothing_but_the_public_answers(
    world: World, http: aiohttp.ClientSession
) -> None:
    banned = world.directory.add("banned", status=UserStatus.BANNED)
    pending = world.directory.add("pending", status=UserStatus.PENDING)
    await world.directory.set_api_key(banned.id, stored_key(KEY))
    callers = {
        401: [{}, bearer("wrong"), bearer(world.token(banned)), {"X-PMS-Key": "pms_" + "00" * 24}],
        403: [bearer(world.token(pending)), {"X-PMS-Key": KEY}],
    }
    before = world.state()
    for expected, credentials in callers.items():
        for headers in credentials:
            for name in operations(world):
                if name in PUBLIC:
                    continue
                status = await ask(world, http, name, "alice-1", headers)
                # Session-only operations do not look at a key at all, so it counts as no credential.
                assert status in ({expected} if "X-PMS-Key" not in headers else {expected, 401}), name
                world.server.gateway.limiter._windows.clear()
    assert world.state() == before


async def test_a_user_gets_403_on_admin_operations_and_on_foreign_ids(
    world: World, http: aiohttp.ClientSession
) -> None:
    position = world.service.open(SubAccountId("bob-1"))
    world.service.rest(SubAccountId("bob-1"), "bob-1")
    await world.directory.set_api_key(world.alice.id, stored_key(KEY))
    root_key = "pms_" + "cd" * 24
    await world.directory.set_api_key(world.admin.id, stored_key(root_key))
    before = world.state()
    foreign = {
        name for name, (_, path) in operations(world).items() if "{" in path and "{symbol}" not in path
    } | {"market_order", "limit_order", "validate_order"}
    for headers in (bearer(world.token(world.alice)), {"X-PMS-Key": KEY}, {"X-PMS-Key": root_key}):
        for name in foreign | ADMIN:
            status = await ask(world, http, name, "bob-1", headers, position.id)
            assert status in ({403} if "Authorization" in headers else {403, 401}), name
    assert world.state() == before


async def test_unknown_ids_are_404_also_for_an_admin(world: World, http: aiohttp.ClientSession) -> None:
    before = world.state()
    headers = bearer(world.token(world.admin))
    for name, (method, path) in operations(world).items():
        if "{" not in path or name in ("approve_user", "ban_user", "price", "symbol_info"):
            continue
        for account in ("nobody", "x" * 500, "a%00b", "..%2F..%2Fetc"):
            assert await ask(world, http, name, account, headers) == 404, (method, path, account)
    for path in (
        "/api/trade/price/NO/USDT:USDT",
        "/api/trade/symbol-info/x",
        "/api/nothing",
        "/nothing",
        "/assets/x",
    ):
        async with http.get(world.server.url + path, headers=headers) as answer:
            assert answer.status == 404
            assert (await answer.json())["code"] == "NOT_FOUND"
    assert world.state() == before


async def test_owner_and_admin_pass_everywhere_they_should(world: World, http: aiohttp.ClientSession) -> None:
    for user, account in ((world.alice, "alice-1"), (world.admin, "alice-1"), (world.admin, "bob-1")):
        headers = bearer(world.token(user))
        for name in sorted(operations(world)):
            if name in PUBLIC or (user is world.alice and name in ADMIN):
                continue
            if name in ("ban_user", "freeze_account", "reset_account_rules", "create_api_key"):
                continue
            world.ledger.open.clear()
            position = world.service.open(SubAccountId(account if name not in FLAT else "carol-1"))
            world.service.rest(SubAccountId(account), account)
            status = await ask(world, http, name, account, headers, position.id)
            assert status in (200, 201), (user.username, name, status)


async def test_a_user_can_neither_credit_nor_release_nor_freeze_an_account(
    world: World, http: aiohttp.ClientSession
) -> None:
    headers = bearer(world.token(world.alice))
    before = world.state()
    url = world.server.url + "/api/sub-accounts/alice-1"
    for body in (
        {"addBalance": 1},
        {"status": "ACTIVE"},
        {"status": "FROZEN"},
        {"name": "x", "addBalance": -1},
    ):
        async with http.patch(url, json=body, headers=headers) as answer:
            assert answer.status == 403
    async with http.delete(url, headers=headers) as answer:
        assert answer.status == 403
    assert world.state() == before


async def test_a_users_first_account_gets_the_grant_and_the_next_nothing(
    world: World, http: aiohttp.ClientSession
) -> None:
    carol = world.directory.add("carol")
    balances = []
    for _ in range(2):
        async with http.post(
            world.server.url + "/api/sub-accounts",
            json={"name": "carol's Account", "initialBalance": 1_000_000},
            headers=bearer(world.token(carol)),
        ) as answer:
            assert answer.status == 201
            said = await answer.json()
            balances.append(said["currentBalance"])
            assert said["name"] == "carol\u2019s Account"
    assert balances == [500, 0]


async def test_a_ban_takes_effect_at_once(world: World, http: aiohttp.ClientSession) -> None:
    alice, root = bearer(world.token(world.alice)), bearer(world.token(world.admin))
    url = world.server.url
    async with http.get(f"{url}/api/sub-accounts", headers=alice) as answer:
        assert answer.status == 200
    async with http.post(f"{url}/api/auth/ban/{world.alice.id}", headers=root) as answer:
        assert await answer.json() == {"id": "user-alice", "username": "alice", "status": "BANNED"}
    async with http.get(f"{url}/api/sub-accounts", headers=alice) as answer:
        assert answer.status == 401
    body = {"username": "alice", "password": PASSWORD}
    async with http.post(f"{url}/api/auth/login", json=body) as answer:
        assert answer.status == 403
    async with http.post(f"{url}/api/auth/approve/{world.alice.id}", headers=root) as answer:
        assert answer.status == 200
    async with http.get(f"{url}/api/sub-accounts", headers=alice) as answer:
        assert answer.status == 200
    async with http.post(f"{url}/api/auth/ban/{world.admin.id}", headers=root) as answer:
        assert answer.status == 409
