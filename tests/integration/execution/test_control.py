"""The kill switch acts: what rests is cancelled, what is held is closed, again until nothing is left."""

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from pms.execution.api import Executed, Resting
from pms.model.refusal import RefusalCode, Refused
from pms.model.restriction import Restriction
from tests.support.laboratory import ACTOR, ETH, LONG, SHORT, WIDE, Laboratory, laboratory
from tests.support.waiting import until

NONE, BLOCK, REDUCE, HALT, FLATTEN = Restriction


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path) as running:
        await running.account("Alice", balance=100_000)
        await running.account("Bob", balance=100_000)
        yield running


async def restrict(lab: Laboratory, level: Restriction, account: str | None = None) -> None:
    scope = None if account is None else lab.accounts[account]
    await lab.parts.ledger.set_restriction(scope, "operator", level, "test", ACTOR)


def resting(lab: Laboratory, account: str) -> list[tuple[str, bool]]:
    """The account's live limit orders: price and whether they only reduce."""
    orders = lab.parts.ledger.open_orders()
    mine = [order for order in orders if order.sub_account_id == lab.accounts[account]]
    return sorted((str(order.price), order.reduce_only) for order in mine)


async def test_each_level_takes_what_it_says(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.3")
    await lab.limit("Alice", LONG, "0.1", "50000")
    await lab.limit("Alice", SHORT, "0.1", "70000", reduce_only=True)
    await lab.limit("Bob", LONG, "0.1", "50000")
    both = [("50000", False), ("70000", True)]

    await restrict(lab, BLOCK, "Alice")
    refused = await lab.market("Alice", LONG, "0.01")
    assert isinstance(refused, Refused)
    assert refused.refusals[0].code is RefusalCode.TRADING_RESTRICTED
    assert refused.refusals[0].fields == {"level": "BLOCK_ENTRIES", "source": "operator"}
    assert resting(lab, "Alice") == both, "what rests stays"

    await restrict(lab, REDUCE, "Alice")
    await until(lambda: resting(lab, "Alice") == [("70000", True)], "what could open is cancelled")
    assert isinstance(await lab.market("Alice", SHORT, "0.1"), Executed), "reducing goes on"

    await restrict(lab, HALT, "Alice")
    await until(lambda: resting(lab, "Alice") == [], "nothing rests")
    assert isinstance(await lab.limit("Alice", SHORT, "0.1", "70000", reduce_only=True), Refused)
    assert isinstance(await lab.market("Alice", SHORT, "0.1", reduce_only=True), Executed)
    assert lab.held("Alice") == Decimal("0.1")

    await restrict(lab, FLATTEN, "Alice")
    await until(lambda: lab.held("Alice") == 0, "flat")
    assert resting(lab, "Bob") == [("50000", False)], "nobody else is concerned"

    await restrict(lab, NONE, "Alice")
    assert isinstance(await lab.market("Alice", LONG, "0.01"), Executed)


async def test_a_global_flatten_closes_opposite_holders_and_what_still_arrives(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.5")
    await lab.market("Bob", SHORT, "0.3")
    await lab.market("Bob", LONG, "2", symbol=ETH)
    rest = await lab.limit("Alice", LONG, "0.2", "59000")
    assert isinstance(rest, Resting)
    await restrict(lab, FLATTEN)
    enforcer, ledger = lab.parts.wired.enforcer, lab.parts.ledger
    await until(lambda: not ledger.open_positions() and not ledger.open_orders(), "everything is flat")
    await until(lambda: enforcer.statistics().working == 0, "the enforcer rests")
    assert enforcer.working() == []
    for name in ("Alice", "Bob"):
        refused = await lab.market(name, LONG, "0.01")
        assert isinstance(refused, Refused)
        assert refused.refusals[0].fields["level"] == "FLATTEN"
    await restrict(lab, NONE)
    assert isinstance(await lab.market("Bob", LONG, "0.01"), Executed)


async def test_flatten_tries_again_until_the_exchange_lets_it(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.5")
    # Refused three times with a word that says nothing about the position: nothing goes to the house.
    lab.exchange.arm(kind="refuse", code=-1008, msg="server is busy", path="orders", count=3)
    await restrict(lab, FLATTEN, "Alice")
    await until(lambda: lab.held("Alice") == 0, "flat in the end", seconds=15)
    assert lab.parts.ledger.house_positions() == [] or all(
        not house.signed_quantity for house in lab.parts.ledger.house_positions()
    )


async def test_closers_that_a_close_left_alone_do_not_open_too_much(lab: Laboratory) -> None:
    """LONG 2; two sells of 2 rest: one closes, one flips. The limit is 2 BTC; the position is closed."""
    narrow = replace(WIDE, exposure_max=Decimal(170_000))
    await lab.parts.ledger.set_rules(lab.accounts["Alice"], narrow, ACTOR)
    await lab.market("Alice", LONG, "2")
    for price in ("70000", "70001"):
        assert isinstance(await lab.limit("Alice", SHORT, "2", price), Resting)
    position = lab.position("Alice")
    assert position is not None
    assert isinstance(await lab.parts.trader.close(position.id, ACTOR), Executed)
    await until(lambda: resting(lab, "Alice") == [("70000", False)], "the newest is cancelled")
    assert lab.parts.wired.enforcer.statistics().displaced == 1
