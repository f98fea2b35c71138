"""What a browser hears of a real engine: durable events gap-free and in order, a liquidation from start to
end."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from pms.client import Event, PmsClient
from pms.commands.run import start_gateway
from pms.gateway.auth import create_admin_if_none
from pms.runtime import SystemClock, SystemIds
from tests.support.laboratory import ACTOR, BTC, LONG, SHORT, Laboratory, laboratory
from tests.support.waiting import until


@dataclass
class Heard:
    """Every frame of one browser, in the order of its arrival."""

    events: list[Event] = field(default_factory=list)

    def types(self, account: str) -> list[str]:
        return [event.type for event in self.events if event.data.get("subAccountId") == account]

    def sequences(self, account: str) -> list[int]:
        return [
            event.seq
            for event in self.events
            if event.data.get("subAccountId") == account and event.seq is not None and event.seq > 0
        ]


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path, port=0) as running:
        await running.account("Alice")
        await running.account("Bob")
        yield running


@pytest.fixture
async def heard(lab: Laboratory) -> AsyncIterator[Heard]:
    async with AsyncExitStack() as stack:
        login = await create_admin_if_none(lab.parts.ledger.directory, SystemIds(), SystemClock())
        assert login is not None
        url = await start_gateway(stack, lab.settings, lab.parts)
        client = await stack.enter_async_context(PmsClient(url))
        await client.login(*login)
        told = json.loads(await client.request("GET", "/api/admin/exchange"))
        assert told["rest"]["control"]["windows"]["request weight, 1 min"]["limit"] == 2400
        real = json.loads(await client.request("GET", "/api/admin/real-account"))
        # 20,000 of the accounts stand on the million of the real one.
        assert (real["level"], real["known"], real["coverage"]) == ("CALM", True, 0.02)
        assert (real["exchangeLiquidations"], real["settlementsWaiting"]) == (0, [])
        hearing = Heard()

        async def listen() -> None:
            async for event in client.events(list(lab.accounts.values())):
                hearing.events.append(event)

        listening = asyncio.create_task(listen())
        await until(lambda: any(event.type == "subscribed" for event in hearing.events), "the subscription")
        yield hearing
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_a_trade_a_move_and_a_close_as_the_browser_hears_them(lab: Laboratory, heard: Heard) -> None:
    alice, bob = lab.accounts["Alice"], lab.accounts["Bob"]
    await lab.market("Alice", LONG, "0.5")
    await lab.market("Bob", SHORT, "0.3")
    await lab.price(BTC, "60099.9", "60100.1")
    await until(lambda: {"pnl_update", "margin_update"} <= set(heard.types(bob)), "Bob's figures")
    position = lab.position("Alice")
    assert position is not None
    await lab.parts.trader.close(position.id, ACTOR)
    await until(lambda: "position_closed" in heard.types(alice), "the close")
    await lab.price(BTC, "60199.9", "60200.1")
    await asyncio.sleep(0.2)
    closed_at = heard.types(alice).index("position_closed")
    late = [event.type for event in heard.events if event.data.get("positionId") == position.id][-1]
    assert late == "position_closed", "nothing of a position follows its end"
    assert "order_filled" in heard.types(alice)[:closed_at]
    assert "position_closed" not in heard.types(bob)
    for account in (alice, bob):
        sequences = heard.sequences(account)
        durable = sorted(set(sequences))
        assert sequences == sorted(sequences)
        assert durable == list(range(durable[0], durable[-1] + 1)), "gap-free"


async def test_a_liquidation_is_told_from_start_to_end(lab: Laboratory, heard: Heard) -> None:
    alice = lab.accounts["Alice"]
    await lab.market("Alice", LONG, "1.5")
    # Maintenance is 450; at a mark of 53,680 the equity is 475: a ratio of 0.95, between threshold and
    # insolvency.
    await lab.price(BTC, "53679.9", "53680.1")
    await until(lambda: "position_closed" in heard.types(alice), "the liquidation", seconds=10)
    await until(lambda: heard.types(alice)[-1] == "margin_update", "the last figures")
    kinds = heard.types(alice)
    assert kinds.index("full_liquidation") < kinds.index("position_closed")
    told = next(event.data for event in heard.events if event.type == "full_liquidation")
    assert told["mode"] == "INSTANT_CLOSE"
    closed = next(event.data for event in heard.events if event.type == "position_closed")
    assert closed["reason"] == "LIQUIDATE"
    last = [event.data for event in heard.events if event.type == "margin_update"][-1]
    assert (last["positionCount"], last["marginUsed"], last["totalExposure"]) == (0, 0, 0)
    account = lab.parts.ledger.account(alice)
    assert account is not None
    assert Decimal(str(last["balance"])) == pytest.approx(account.balance)
