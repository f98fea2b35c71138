"""Closing is always possible: what the exchange refuses or does not back goes to the house (decisions 10,
13)."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from pms.exchange.port import ExchangePosition
from pms.execution.api import Executed
from pms.execution.exchange_net import PERSISTENCE_MS
from pms.ledger.audit import audit
from pms.model.money import Price
from pms.model.refusal import RefusalCode, Refused
from tests.support.laboratory import ACTOR, BTC, LONG, SHORT, Laboratory, laboratory
from tests.support.waiting import until


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path) as running:
        await running.account("Alice", balance=200_000)
        await running.account("Bob")
        yield running


def report(lab: Laboratory, net: str) -> None:
    """Pretend that the exchange reported another net position, newer than all before."""
    now_ms = 2**53
    lab.parts.core.net.report(ExchangePosition(BTC, Decimal(net), Price(Decimal(60_000)), now_ms))


async def test_dust_that_the_exchange_refuses_goes_to_the_house(lab: Laboratory) -> None:
    rules = lab.parts.trader.symbol_rules(BTC)
    assert rules is not None
    await lab.market("Alice", LONG, "0.5")
    await lab.market("Bob", SHORT, "0.002")
    # Bob's close buys while the exchange is long: it cannot be reduce-only there, and at this price it is
    # below the minimum notional.
    low = rules.notional_min / Decimal("0.002") - 100
    await lab.price(BTC, f"{low:.1f}", f"{low + 1:.1f}")
    position = lab.position("Bob")
    assert position is not None
    closed = await lab.parts.trader.close(position.id, ACTOR)
    assert isinstance(closed, Executed), closed
    assert closed.order is None
    assert lab.position("Bob") is None
    (house,) = lab.parts.ledger.house_positions()
    assert house.signed_quantity == Decimal("-0.002")
    assert [trade.price for trade in closed.trades] == [Price(Decimal(f"{low + 1:.1f}"))], (
        "at the worse price"
    )


async def test_a_close_that_the_exchange_locks_out_goes_to_the_house(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.5")
    await lab.market("Bob", SHORT, "0.1")
    position = lab.position("Bob")
    assert position is not None
    # Bob's close buys while the exchange is long: the trading rules on behaviour allow only reducing there.
    lab.exchange.arm(
        kind="refuse", code=-4400, msg="only reduceOnly order is allowed", path="orders", count=1
    )
    closed = await lab.parts.trader.close(position.id, ACTOR)
    assert isinstance(closed, Executed), closed
    assert lab.position("Bob") is None
    (house,) = lab.parts.ledger.house_positions()
    assert house.signed_quantity == Decimal("-0.1")


async def test_only_the_unbacked_part_of_a_close_is_virtual(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.5")
    await lab.settled()
    report(lab, "0.3")
    await until(lambda: not lab.parts.trader.exposure()[0].balanced, "the verdict", PERSISTENCE_MS / 1000 + 3)
    position = lab.position("Alice")
    assert position is not None
    closed = await lab.parts.trader.close(position.id, ACTOR)
    assert isinstance(closed, Executed), closed
    assert lab.position("Alice") is None
    assert [(trade.action, trade.quantity) for trade in closed.trades] == [
        ("DESYNC_CLOSE", Decimal("0.2")),
        ("CLOSE", Decimal("0.3")),
    ]
    report(lab, "0.2")  # what the exchange really holds after selling 0.3 of 0.5; the house holds the rest
    assert (await audit(f"sqlite:///{lab.settings.data_dir.resolve() / 'ledger.db'}")).passed


async def test_an_unknown_exchange_state_closes_nothing_virtually(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.5")
    lab.parts.core.net.forget()
    position = lab.position("Alice")
    assert position is not None
    refused = await lab.parts.trader.close(position.id, ACTOR)
    assert isinstance(refused, Refused)
    assert refused.refusals[0].code is RefusalCode.EXCHANGE_STATE_UNKNOWN
    assert lab.held("Alice") == Decimal("0.5")
    positions = await lab.parts.exchange.account.positions()
    lab.parts.core.net.snapshot(tuple(positions), 0)
    assert isinstance(await lab.parts.trader.close(position.id, ACTOR), Executed)
