"""The in-memory twin: lives by the clock, and bounds. Its answers are compared with Redis in integration."""

import pytest

from pms import limits
from pms.bus.errors import BusRefused, BusUnavailable
from pms.bus.memory import MemoryState
from pms.bus.port import BusMode
from tests.unit.bus.twins import ManualClock


async def test_a_key_ends_when_its_life_has_passed() -> None:
    clock = ManualClock()
    state = MemoryState(clock)
    await state.set("a", b"1", 1_000)
    await state.set("b", b"2")
    await clock.advance(999)
    assert await state.get("a") == b"1"
    await clock.advance(1)
    assert await state.get("a") is None
    assert await state.get("b") == b"2"


async def test_expired_keys_make_room_and_beyond_the_bound_a_new_key_is_refused() -> None:
    clock = ManualClock()
    state = MemoryState(clock, keys_max=2)
    await state.set("short", b"1", 100)
    await state.set("long", b"1")
    with pytest.raises(BusUnavailable, match="bound of 2 keys"):
        await state.set("third", b"1")
    await state.set("long", b"2")  # a known key still takes values
    await clock.advance(100)
    await state.set("third", b"1")
    assert state.statistics().keys == 2
    assert state.statistics().failures == 1
    assert state.mode is BusMode.MEMORY


async def test_expired_keys_are_swept_without_being_read() -> None:
    clock = ManualClock()
    state = MemoryState(clock)
    for number in range(100):
        await state.set(f"k{number}", b"1", 100)
    await clock.advance(10_000)
    await state.set("new", b"1", 100)
    assert state.statistics().keys == 1


async def test_stream_entries_are_bounded_over_all_streams() -> None:
    state = MemoryState(ManualClock(), entries_max=3)
    for number in range(5):
        await state.append("s", {"n": str(number).encode()}, 100)
    assert [entry.fields["n"] for entry in await state.read("s")] == [b"2", b"3", b"4"]
    with pytest.raises(BusUnavailable, match="3 stream entries"):
        await state.append("t", {"n": b"0"}, 100)
    assert await state.read("t") == []


async def test_ids_grow_even_when_the_clock_does_not() -> None:
    clock = ManualClock()
    state = MemoryState(clock)
    first = await state.append("s", {}, 10)
    await clock.advance(-5_000)
    second = await state.append("s", {}, 10)
    await clock.advance(10_000)
    third = await state.append("s", {}, 10)
    assert [entry.id for entry in await state.read("s", first)] == [second, third]


async def test_a_counter_refuses_what_is_no_integer() -> None:
    state = MemoryState(ManualClock())
    await state.set("n", b"x")
    with pytest.raises(BusRefused, match="not an integer"):
        await state.increment("n")


async def test_a_slow_listener_loses_the_oldest_and_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUS_SUBSCRIPTION_QUEUE_MAX", 2)
    state = MemoryState(ManualClock())
    listener = await state.subscribe("c")
    for number in range(3):
        await state.publish("c", str(number).encode())
    first = await listener.next(1)
    assert first is not None
    assert first.data == b"1"
    assert listener.lost == 1
    await listener.close()
    await listener.close()
    await state.close()
