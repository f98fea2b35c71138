"""The pool of closes: one mass close for each symbol of all ladders that are due at one moment."""

import asyncio
from collections.abc import Mapping

import pytest

from pms.execution.close_pool import GATHER_SECONDS, ClosePool, Quantities
from pms.ledger.errors import DatabaseFullError
from pms.model.account import Position
from pms.model.ids import PositionId
from pms.model.refusal import RefusalCode, Refused
from tests.support.clocks import PushedClock
from tests.unit.risk.builders import BTC, ETH, position

ANSWER = Refused.because(RefusalCode.POSITION_CLOSED)


def of(owner: str, symbol: type(BTC) = BTC) -> Position:  # type: ignore[valid-type]
    return position(symbol, owner=owner)


class Market:
    """Takes mass closes and keeps what each was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[PositionId]] = []
        self.go = asyncio.Event()
        self.go.set()

    async def close_many(self, positions: Quantities, action: str) -> Mapping[PositionId, Refused]:
        self.asked.append(list(positions))
        await self.go.wait()
        return dict.fromkeys(positions, ANSWER)


async def test_one_that_nobody_waits_for_goes_out_at_once() -> None:
    market, clock = Market(), PushedClock()
    pool = ClosePool(market.close_many, clock)
    (outcome,) = await asyncio.wait_for(pool.close([of("a")], "LIQUIDATE"), GATHER_SECONDS / 2)
    assert outcome is ANSWER


async def test_announced_ladders_go_out_together_by_symbol() -> None:
    market = Market()
    pool = ClosePool(market.close_many, PushedClock())
    owners = [f"account-{number}" for number in range(50)]
    for _ in owners:
        pool.announce()
    waits = []
    for owner in owners[:-1]:
        waits.append(asyncio.ensure_future(pool.close([of(owner), of(owner, ETH)], "LIQUIDATE")))
        pool.arrive()
    await asyncio.sleep(0.01)
    assert market.asked == [], "one is still to come"
    pool.arrive()  # and names nothing
    outcomes = await asyncio.gather(*waits)
    assert [len(asked) for asked in market.asked] == [49, 49]
    assert {symbol for asked in market.asked for symbol in [asked[0].rpartition("-")[2]]} == {BTC, ETH}
    assert outcomes == [[ANSWER, ANSWER]] * 49
    assert pool.statistics().positions_max == 49


async def test_one_that_hangs_holds_nobody_up_for_long() -> None:
    market, clock = Market(), PushedClock()
    pool = ClosePool(market.close_many, clock)
    pool.announce()
    pool.announce()
    closing = asyncio.ensure_future(pool.close([of("quick")], "LIQUIDATE"))
    pool.arrive()
    await asyncio.sleep(0.01)
    assert market.asked == []
    clock.push(GATHER_SECONDS)
    await asyncio.wait_for(closing, 1)
    late = asyncio.ensure_future(pool.close([of("late")], "LIQUIDATE"))
    pool.arrive()
    await asyncio.wait_for(late, 1)
    assert [len(asked) for asked in market.asked] == [1, 1]


async def test_a_symbol_that_hangs_does_not_hold_up_another() -> None:
    market = Market()
    pool = ClosePool(market.close_many, PushedClock())
    market.go.clear()
    hanging = asyncio.ensure_future(pool.close([of("a")], "LIQUIDATE"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second = asyncio.ensure_future(pool.close([of("b", ETH)], "LIQUIDATE"))
    await asyncio.sleep(0.01)
    assert [len(asked) for asked in market.asked] == [1, 1]
    market.go.set()
    await asyncio.gather(hanging, second)


async def test_a_failure_reaches_everybody_who_waits() -> None:
    async def failing(positions: Quantities, action: str) -> Mapping[PositionId, Refused]:
        raise DatabaseFullError("no room")

    pool = ClosePool(failing, PushedClock())
    pool.announce()
    first = asyncio.ensure_future(pool.close([of("a")], "LIQUIDATE"))
    second = asyncio.ensure_future(pool.close([of("b")], "LIQUIDATE"))
    pool.arrive()
    for waiting in (first, second):
        with pytest.raises(DatabaseFullError):
            await waiting
