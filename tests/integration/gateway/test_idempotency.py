"""Every route that changes something carries out a key once, whatever happens between effect and answer."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from pms.client import PmsClient
from pms.gateway.idempotency import fingerprint
from pms.gateway.ports import StoredResult
from pms.gateway.repeated import SECRET_ANSWERS
from pms.gateway.strict_json import parse_json
from pms.model.ids import ClientOrderId, ExchangeOrderId, SubAccountId
from pms.model.order import JournalOrder, OrderState
from tests.unit.execution.test_live_orders import intent, journal
from tests.unit.gateway.fakes import BTC, World

ORDER = {"subAccountId": "alice-1", "symbol": BTC, "side": "LONG", "quantity": 0.01, "leverage": "5"}
WITHOUT_A_KEY = {"login", "register", *SECRET_ANSWERS}
"""They answer with a secret, which is never stored."""

SAMPLES: dict[str, Any] = {
    "subAccountId": "alice-1",
    "symbol": BTC,
    "side": "LONG",
    "name": "another",
    "mode": "TAKEOVER",
    "liquidationThreshold": 0.8,
}
PLACES = {
    "sub_account_id": "alice-1",
    "user_id": "user-bob",
    "position_id": "{position}",
    "order_id": "{order}",
}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as running:
        yield running


@pytest.fixture
async def http(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {world.token(world.admin)}"}
    async with aiohttp.ClientSession(world.server.url, headers=headers) as session:
        yield session


async def operations(http: aiohttp.ClientSession) -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Every operation that changes something: method, path, its description, and the whole schema."""
    async with http.get("/openapi.json") as answer:
        schema = await answer.json()
    return [
        (method.upper(), path, operation, schema)
        for path, item in schema["paths"].items()
        for method, operation in item.items()
        if method not in ("get", "head", "options")
    ]


def body_of(operation: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any] | None:
    """A body that the schema takes, made from what it requires."""
    if "requestBody" not in operation:
        return None
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    described = schema["components"]["schemas"][reference.rpartition("/")[2]]
    return {name: SAMPLES.get(name, 1) for name in described.get("required", ())}


async def send(
    http: aiohttp.ClientSession, method: str, path: str, body: object, key: str
) -> tuple[int, str, bool]:
    async with http.request(method, path, json=body, headers={"Idempotency-Key": key}) as answer:
        return answer.status, await answer.text(), answer.headers.get("Idempotency-Replayed") == "true"


async def rest_and_hold(http: aiohttp.ClientSession, key: str) -> dict[str, str]:
    """A position and a resting order to act on."""
    _, bought, _ = await send(http, "POST", "/api/trade", ORDER, f"buy {key}")
    _, rested, _ = await send(http, "POST", "/api/trade/limit", ORDER | {"price": 9}, f"rest {key}")
    return {"position": json.loads(bought)["position"]["id"], "order": json.loads(rested)["order"]["id"]}


async def test_every_mutating_route_takes_a_key_and_repeats_its_answer(http: aiohttp.ClientSession) -> None:
    found = await operations(http)
    assert len(found) > 15
    replayed = set()
    for method, path, operation, schema in found:
        name = operation["operationId"]
        documented = any(item["name"] == "Idempotency-Key" for item in operation.get("parameters", ()))
        assert documented is (name not in WITHOUT_A_KEY), name
        body = body_of(operation, schema)
        if name not in WITHOUT_A_KEY and await repeats(name, method, path, body):
            replayed.add(name)
    assert {
        "market_order", "limit_order", "close_position", "close_all_positions", "cancel_order",
        "cancel_all_orders", "create_account", "freeze_account", "set_account_rules", "set_liquidation_mode",
        "unfreeze", "ban_user",
    } <= replayed  # fmt: skip


async def repeats(name: str, method: str, path: str, body: object) -> bool:
    """Send an operation twice with one key, in a world of its own; False when it was not understood."""
    async with World() as world:
        headers = {"Authorization": f"Bearer {world.token(world.admin)}"}
        async with aiohttp.ClientSession(world.server.url, headers=headers) as http:
            things = await rest_and_hold(http, name)
            place = re.sub(r"{(\w+)}", lambda found: PLACES.get(found[1], "x"), path).format(**things)
            first = await send(http, method, place, body, name)
            after = world.state()
            second = await send(http, method, place, body, name)
    assert first[0] < 500, (name, first)
    assert second[:2] == first[:2], name
    assert world.state() == after, f"{name} had a second effect"
    if not second[2]:  # nothing was done, and the key is free
        assert json.loads(first[1])["code"] == "VALIDATION_FAILED", (name, first)
    return second[2]


async def test_two_at_once_have_one_effect(world: World, http: aiohttp.ClientSession) -> None:
    change = {"addBalance": 100}
    before = world.ledger.rows[SubAccountId("alice-1")].balance
    answers = await asyncio.gather(
        *(send(http, "PATCH", "/api/sub-accounts/alice-1", change, "deposit") for _ in range(5))
    )
    assert {answer[0] for answer in answers} == {200}
    assert sorted(answer[2] for answer in answers) == [False, True, True, True, True]
    assert world.ledger.rows[SubAccountId("alice-1")].balance == before + 100
    assert (await send(http, "PATCH", "/api/sub-accounts/alice-1", {"addBalance": 7}, "deposit"))[0] == 409


def begun(world: World, method: str, path: str, body: object, key: str) -> None:
    """A request that an earlier life of the process began, and whose answer it did not store."""
    scoped = f"{world.admin.id}:{key}"
    exact = None if body is None else parse_json(json.dumps(body).encode())
    world.queries.keys[scoped] = StoredResult(fingerprint(method, path, exact), None, "")


def left_behind(world: World, key: str, state: OrderState) -> JournalOrder:
    order = replace(
        journal(intent(1), state),
        client_order_id=ClientOrderId("PMSalice-1_MK_1"),
        exchange_order_id=ExchangeOrderId("9223372036854775807"),
        sub_account_id=SubAccountId("alice-1"),
        idempotency_key=f"{world.admin.id}:{key}",
    )
    world.queries.journal.append(order)
    return order


async def test_after_a_crash_the_journal_answers(world: World, http: aiohttp.ClientSession) -> None:
    await send(http, "POST", "/api/trade", ORDER, "leaves a trade with that exchange id")
    sent = len(world.service.market_requests)
    left_behind(world, "k", OrderState.FILLED)
    begun(world, "POST", "/api/trade", ORDER, "k")
    status, text, replayed = await send(http, "POST", "/api/trade", ORDER, "k")
    assert (status, replayed) == (201, True)
    assert json.loads(text)["trade"]["exchangeOrderId"] == "9223372036854775807"
    assert len(world.service.market_requests) == sent
    assert (await send(http, "POST", "/api/trade", ORDER, "k"))[1] == text  # stored now


async def test_after_a_crash_what_never_left_is_carried_out(
    world: World, http: aiohttp.ClientSession
) -> None:
    begun(world, "POST", "/api/trade", ORDER, "nothing was journaled")
    assert (await send(http, "POST", "/api/trade", ORDER, "nothing was journaled"))[0] == 201
    left_behind(world, "refused", OrderState.REJECTED)
    begun(world, "POST", "/api/trade", ORDER, "refused")
    assert (await send(http, "POST", "/api/trade", ORDER, "refused"))[0] == 201
    assert len(world.service.market_requests) == 2


async def test_after_a_crash_what_is_in_doubt_is_not_sent_again(
    world: World, http: aiohttp.ClientSession
) -> None:
    order = left_behind(world, "k", OrderState.UNKNOWN)
    begun(world, "POST", "/api/trade", ORDER, "k")
    status, text, _ = await send(http, "POST", "/api/trade", ORDER, "k")
    assert (status, json.loads(text)["code"]) == (409, "EXECUTION_UNKNOWN")
    world.queries.journal[:] = [replace(order, state=OrderState.EXPIRED)]
    assert (await send(http, "POST", "/api/trade", ORDER, "k"))[0] == 201  # it ended without a fill
    assert len(world.service.market_requests) == 1


async def test_after_a_crash_money_without_a_trace_is_not_moved_again(
    world: World, http: aiohttp.ClientSession
) -> None:
    path, change = "/api/sub-accounts/alice-1", {"addBalance": 100}
    before = world.ledger.rows[SubAccountId("alice-1")].balance
    begun(world, "PATCH", path, change, "k")
    status, text, _ = await send(http, "PATCH", path, change, "k")
    assert (status, json.loads(text)["code"]) == (409, "EXECUTION_UNKNOWN")
    assert world.ledger.rows[SubAccountId("alice-1")].balance == before


async def test_after_a_crash_a_state_is_set_again(world: World, http: aiohttp.ClientSession) -> None:
    begun(world, "POST", "/api/admin/freeze/alice-1", None, "k")
    status, _, replayed = await send(http, "POST", "/api/admin/freeze/alice-1", None, "k")
    assert (status, replayed) == (200, False)
    assert world.ledger.rows[SubAccountId("alice-1")].status.value == "FROZEN"


async def test_the_client_sends_keys_with_everything_that_changes(world: World) -> None:
    async with PmsClient(world.server.url, token=world.token(world.admin)) as client:
        before = (await client.state("alice-1")).account.current_balance
        for _ in range(2):
            await client.deposit("alice-1", 50, idempotency_key="money")
        assert (await client.state("alice-1")).account.current_balance == before + 50
        made = [await client.create_account("twice", idempotency_key="one") for _ in range(2)]
        assert made[0].id == made[1].id
