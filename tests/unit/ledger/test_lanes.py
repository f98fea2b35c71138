"""The writer's queue: two lanes, in order within each, neither starved."""

import asyncio

import pytest

from pms.ledger.lanes import Lanes


async def test_what_somebody_waits_for_goes_ahead_and_the_rest_is_not_starved() -> None:
    lanes: Lanes[str] = Lanes(100)
    for number in range(5):
        lanes.put(f"record {number}", later=True)
        lanes.put(f"command {number}")
    assert await lanes.group(3, 2) == ["command 0", "command 1", "command 2", "record 0", "record 1"]
    assert await lanes.group(3, 2) == ["command 3", "command 4", "record 2", "record 3"]
    assert await lanes.group(3, 2) == ["record 4"]
    assert len(lanes) == 0


async def test_a_group_waits_for_its_first_and_takes_what_becomes_ready_with_it() -> None:
    lanes: Lanes[int] = Lanes(100)
    group = asyncio.create_task(lanes.group(10, 10))
    await asyncio.sleep(0)
    assert not group.done()
    asyncio.get_running_loop().call_soon(lanes.put, 2)
    lanes.put(1)
    assert await group == [1, 2]


async def test_a_full_queue_refuses_and_an_end_is_awaited() -> None:
    lanes: Lanes[int] = Lanes(2)
    lanes.put(1)
    lanes.put(2, later=True)
    with pytest.raises(asyncio.QueueFull):
        lanes.put(3)
    ended = asyncio.create_task(lanes.join())
    taken = await lanes.group(10, 10)
    lanes.done(1)
    await asyncio.sleep(0)
    assert not ended.done(), "one of them is still being worked on"
    lanes.done(len(taken) - 1)
    await ended
