"""Waiting for an event by the injected clock."""

import asyncio

import pytest

from pms.model.clock import set_within
from pms.simulator.virtual_clock import VirtualClock


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_the_event_ends_the_wait() -> None:
    event, clock = asyncio.Event(), VirtualClock(0)
    waiting = asyncio.create_task(set_within(event, clock, 60))
    await turns()
    assert not waiting.done()
    event.set()
    assert await waiting
    assert await set_within(event, clock, 0), "set already"


async def test_the_clock_ends_the_wait_and_not_the_machines_time() -> None:
    event, clock = asyncio.Event(), VirtualClock(0)
    waiting = asyncio.create_task(set_within(event, clock, 86_400))
    await turns()
    clock.advance(86_399_000)
    await turns()
    assert not waiting.done()
    clock.advance(1_000)
    assert not await waiting


@pytest.mark.parametrize("seconds", [60.0, None])
async def test_a_cancelled_wait_leaves_no_task(seconds: float | None) -> None:
    waiting = asyncio.create_task(set_within(asyncio.Event(), VirtualClock(0), seconds))
    await turns()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asyncio.all_tasks() == {asyncio.current_task()}
