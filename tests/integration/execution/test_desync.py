"""Closes while the known net is not the real one: what is backed is sold on the exchange, whatever a late
report says (decisions 10, 12 and 13)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from pms.exchange.errors import ExchangeUnavailable
from pms.exchange.port import CancelOutcome, CancelVerdict, ExchangePosition
from pms.execution.api import Executed, Resting
from pms.execution.exchange_net import PERSISTENCE_MS, ExchangeNet
from pms.model.ids import ClientOrderId
from pms.model.money import Price
from pms.model.refusal import RefusalCode, Refused
from pms.model.symbol import Symbol
from tests.support.laboratory import ACTOR, BTC, LONG, SHORT, Laboratory, laboratory
from tests.support.waiting import until


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path) as running:
        await running.account("Alice", balance=200_000)
        await running.account("Bob", balance=200_000)
        yield running


@contextmanager
def deaf(lab: Laboratory) -> Iterator[None]:
    """The stream brings no position reports, as one that stalls."""
    events, net = lab.parts.wired.events, lab.parts.core.net
    events._net = ExchangeNet()
    try:
        yield
    finally:
        events._net = net


def report(lab: Laboratory, net: str) -> None:
    """Pretend that the exchange reported another net position, newer than all before."""
    lab.parts.core.net.report(ExchangePosition(BTC, Decimal(net), Price(Decimal(60_000)), 2**53))


async def until_desync(lab: Laboratory) -> None:
    await until(lambda: not lab.parts.trader.exposure()[0].balanced, "the verdict", PERSISTENCE_MS / 1000 + 3)


async def close(lab: Laboratory, account: str) -> Executed | Refused:
    position = lab.position(account)
    assert position is not None
    return await lab.parts.trader.close(position.id, ACTOR)


async def test_a_report_that_never_came_closes_nothing_virtually(lab: Laboratory) -> None:
    with deaf(lab):
        await lab.market("Alice", LONG, "0.5")
        await until_desync(lab)
    closed = await close(lab, "Alice")
    assert isinstance(closed, Executed), closed
    assert [(trade.action, trade.quantity) for trade in closed.trades] == [("CLOSE", Decimal("0.5"))]
    assert not lab.parts.ledger.house_positions()


async def test_no_answer_of_the_exchange_means_no_virtual_close(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.market("Alice", LONG, "0.5")
    await lab.settled()
    report(lab, "0")
    await until_desync(lab)

    async def away() -> None:
        raise ExchangeUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(lab.parts.exchange.account, "positions", away)
        closed = await close(lab, "Alice")
    assert isinstance(closed, Executed), closed
    assert [trade.action for trade in closed.trades] == ["CLOSE"]


async def test_a_difference_that_the_house_carries_already_is_not_taken_from_the_next(
    lab: Laboratory,
) -> None:
    await lab.market("Alice", LONG, "0.5")
    await lab.settled()
    report(lab, "0.3")
    await until_desync(lab)
    first = await close(lab, "Alice")
    assert isinstance(first, Executed), first
    assert [trade.action for trade in first.trades] == ["DESYNC_CLOSE", "CLOSE"]
    await lab.market("Bob", LONG, "0.3")
    report(lab, "0.3")  # 0.3 of Bob's; the house's 0.2 is what the exchange does not show
    await until_desync(lab)
    second = await close(lab, "Bob")
    assert isinstance(second, Executed), second
    assert [(trade.action, trade.quantity) for trade in second.trades] == [("CLOSE", Decimal("0.3"))]
    report(lab, "0.2")  # what the simulated exchange really holds


async def test_a_close_that_the_known_net_lets_fail_is_decided_again(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.5")
    await lab.settled()
    with deaf(lab):
        # The real net is 0 now, the known one still 0.5: reduce-only would be refused for ever (-2022).
        await lab.market("Bob", SHORT, "0.5")
    closed = await close(lab, "Alice")
    assert isinstance(closed, Executed), closed
    assert closed.order is not None
    assert not closed.order.reduce_only_wire
    assert lab.held("Alice") == 0


async def test_a_remainder_that_is_too_small_does_not_take_the_whole_position_to_the_house(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.market("Bob", SHORT, "1")
    await lab.market("Alice", LONG, "0.5")
    assert isinstance(await lab.limit("Alice", SHORT, "0.499", "65000", reduce_only=True), Resting)

    await lab.price(BTC, "39999.9", "40000.1")

    async def unsent(symbol: Symbol, client_order_id: ClientOrderId) -> CancelOutcome:
        return CancelOutcome(CancelVerdict.NOT_SENT, None, "limited")

    with monkeypatch.context() as patch:
        patch.setattr(lab.parts.exchange.trading, "cancel", unsent)
        refused = await close(lab, "Alice")
    # 0.001 is free, and below the exchange's minimum; 0.499 may still be sold by the resting order.
    assert isinstance(refused, Refused), refused
    assert refused.refusals[0].code is RefusalCode.EXCHANGE_MIN_NOTIONAL
    assert lab.held("Alice") == Decimal("0.5")
    assert isinstance(await close(lab, "Alice"), Executed)
    assert lab.held("Alice") == 0


async def test_closes_at_once_share_what_the_exchange_does_not_back(lab: Laboratory) -> None:
    await lab.market("Alice", LONG, "0.3")
    await lab.market("Bob", LONG, "0.3")
    await lab.settled()
    report(lab, "0.4")
    await until_desync(lab)
    results = await asyncio.gather(close(lab, "Alice"), close(lab, "Bob"))
    given = Decimal(0)
    for result in results:
        assert isinstance(result, Executed), result
        given += sum(
            (trade.quantity for trade in result.trades if trade.action == "DESYNC_CLOSE"), Decimal(0)
        )
    assert given == Decimal("0.2"), "what is missing is missing once"
    assert (lab.held("Alice"), lab.held("Bob")) == (0, 0)
    report(lab, "0.2")  # what the simulated exchange really holds
