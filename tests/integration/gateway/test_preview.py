"""The preview over HTTP: for an owner, for an administrator, and with moves that make no sense."""

from collections.abc import AsyncIterator
from decimal import Decimal

import aiohttp
import pytest

from pms.client import ClientError, PmsClient
from tests.unit.gateway.fakes import BTC, World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as running:
        yield running


async def test_an_owner_previews_any_move_and_an_administrator_the_desk(world: World) -> None:
    async with PmsClient(world.server.url, token=world.token(world.alice)) as client:
        account = (await client.accounts())[0]
        await client.market(account.id, BTC, "LONG", Decimal("0.1"), leverage=10)
        now = await client.preview(account.id)
        fallen = await client.preview(account.id, -10)
        priced = await client.preview(account.id, moves={BTC: "45000"})
        own = await client.preview(account.id, 50, {BTC: "-10%"})
        with pytest.raises(ClientError) as refused:
            await client.preview_desk()
    assert now.level == "CALM"
    assert now.ladder == ()
    assert fallen.positions[0].mark_price == priced.positions[0].mark_price == 45_000
    assert fallen.equity_raw == priced.equity_raw == own.equity_raw == now.equity_raw - 500
    assert refused.value.status == 403
    async with PmsClient(world.server.url, token=world.token(world.admin)) as admin:
        desk = await admin.preview_desk([0, Decimal("-99.9")])
        default = await admin.preview_desk()
    assert [each.percent for each in desk] == [0, -99.9]
    assert desk[0].levels["CALM"] == 1
    assert desk[1].levels["INSOLVENT"] == 1
    assert [(row.sub_account_id, row.name, row.level) for row in desk[1].accounts] == [
        (account.id, account.name, "INSOLVENT")
    ]
    assert [each.percent for each in default] == [-20, -10, -5, 0, 5, 10, 20]


WRONG = [
    "percent=-100",
    "percent=NaN",
    "percent=many",
    "move=BTC/USDT:USDT",
    "move=BTC/USDT:USDT=0",
    "move=BTC/USDT:USDT=-1",
    "move=BTC/USDT:USDT=-100%25",
    "move=BTC/USDT:USDT=NaN",
    "move==5",
    "&".join(["move=BTC/USDT:USDT=5"] * 41),
]


@pytest.mark.parametrize("query", WRONG)
async def test_a_move_that_is_none_is_refused(world: World, query: str) -> None:
    headers = {"Authorization": f"Bearer {world.token(world.admin)}"}
    async with aiohttp.ClientSession(world.server.url, headers=headers) as http:
        for path in ("/api/trade/preview/alice-1", "/api/admin/preview"):
            async with http.get(f"{path}?{query}") as answer:
                assert answer.status == 400, await answer.text()
                assert (await answer.json())["code"] in ("VALIDATION_FAILED", "INVALID_REQUEST")
