"""One contract, two implementations: the in-memory twin and a real Redis-protocol server answer alike."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from pms.bus.errors import BusRefused
from pms.bus.memory import MemoryState
from pms.bus.port import Append, BusMode, Publish, SetValue, SharedState
from pms.bus.redis import RedisState
from pms.runtime import SystemClock, SystemIds


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def state(request: pytest.FixtureRequest) -> AsyncIterator[SharedState]:
    made: SharedState
    if request.param == "memory":
        made = MemoryState(SystemClock())
    else:
        made = RedisState(request.getfixturevalue("redis_url"), SystemClock(), SystemIds())
    await made.start()
    assert made.mode is (BusMode.MEMORY if request.param == "memory" else BusMode.REDIS)
    yield made
    await made.close()
    await made.close()


async def test_keys_hold_bytes_and_end_with_their_life(state: SharedState) -> None:
    assert await state.get("k") is None
    await state.set("k", b"\x00\xff")
    assert await state.get("k") == b"\x00\xff"
    await state.set("k", b"v", 40)
    assert await state.get("k") == b"v"
    await asyncio.sleep(0.06)
    assert await state.get("k") is None
    await state.set("k", b"v", 40)
    await state.set("k", b"w")  # a set without a life removes the old one
    await asyncio.sleep(0.06)
    assert await state.delete("k") is True
    assert await state.delete("k") is False


async def test_a_lock_is_taken_once_and_only_its_token_extends_or_ends_it(state: SharedState) -> None:
    assert await state.set_if_absent("lock", b"me", 50) is True
    assert await state.set_if_absent("lock", b"you", 50) is False
    assert await state.compare_and_extend("lock", b"you", 10_000) is False
    assert await state.compare_and_delete("lock", b"you") is False
    assert await state.compare_and_extend("lock", b"me", 10_000) is True
    await asyncio.sleep(0.07)
    assert await state.get("lock") == b"me"
    assert await state.compare_and_delete("lock", b"me") is True
    assert await state.compare_and_delete("lock", b"me") is False
    assert await state.set_if_absent("lock", b"you", 30) is True
    await asyncio.sleep(0.05)
    assert await state.set_if_absent("lock", b"me", 30) is True


async def test_a_counter_keeps_the_life_of_its_first_hit(state: SharedState) -> None:
    assert [await state.increment("n", 60) for _ in range(3)] == [1, 2, 3]
    await asyncio.sleep(0.08)
    assert await state.increment("n", 60) == 1
    assert [await state.increment("fence") for _ in range(2)] == [1, 2]


async def test_a_stream_is_read_from_an_id_and_trimmed(state: SharedState) -> None:
    assert await state.read("s") == []
    ids = [await state.append("s", {"n": str(number).encode()}, 1_000) for number in range(5)]
    entries = await state.read("s", ids[1], 2)
    assert [(entry.id, dict(entry.fields)) for entry in entries] == [
        (ids[2], {"n": b"2"}),
        (ids[3], {"n": b"3"}),
    ]
    await state.write([Append("s", {"n": b"x"}, 100) for _ in range(400)])
    length = len(await state.read("s", count=1_000))
    assert 100 <= length <= 300, "trimming may be approximate, never absent"


async def test_a_batch_is_done_in_order(state: SharedState) -> None:
    listener = await state.subscribe("c", "d")
    await state.write([])
    await state.write(
        [
            SetValue("a", b"1", None),
            SetValue("a", b"2", 10_000),
            Publish("c", b"first"),
            Append("s", {"k": b"v"}, 10),
            Publish("d", b"second"),
            Publish("elsewhere", b"unheard"),
        ]
    )
    await state.publish("c", b"third")
    messages = [await listener.next(1_000) for _ in range(3)]
    assert [(message.channel, message.data) for message in messages if message] == [
        ("c", b"first"),
        ("d", b"second"),
        ("c", b"third"),
    ]
    assert await listener.next(10) is None
    assert await state.get("a") == b"2"
    assert len(await state.read("s")) == 1
    await listener.close()


async def test_what_the_server_refuses_is_told_and_does_not_count_as_away(state: SharedState) -> None:
    await state.set("n", b"text")
    mode = state.mode
    with pytest.raises(BusRefused):
        await state.increment("n")
    assert state.mode is mode
    assert state.statistics().failures == 1
    assert await state.get("n") == b"text"
