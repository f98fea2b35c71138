"""How long requests and events travel, on virtual time."""

from __future__ import annotations

import asyncio

import pytest

from pms.simulator.config import SimulatorConfig
from pms.simulator.latency import EventLine, Latency, LatencyConfig
from tests.support.ledger import ManualClock


class Virtual(ManualClock):
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds
        await asyncio.sleep(0)


async def _requests(seed: int) -> list[float]:
    clock = Virtual()
    latency = Latency(LatencyConfig(request_ms=20, request_jitter_ms=5, seed=seed), clock)
    moments = []
    for _ in range(20):
        before = clock.passed
        await latency.before_request()
        moments.append(clock.passed - before)
    return moments


@pytest.mark.asyncio
async def test_requests_take_the_fixed_part_and_a_drawn_one() -> None:
    drawn = await _requests(1)
    assert all(0.020 <= seconds <= 0.025 for seconds in drawn)
    assert len({round(seconds, 9) for seconds in drawn}) > 10
    assert drawn == await _requests(1)
    assert drawn != await _requests(2)


@pytest.mark.asyncio
async def test_no_delay_by_default() -> None:
    assert SimulatorConfig().latency == LatencyConfig()
    clock = Virtual()
    latency = Latency(LatencyConfig(), clock)
    await latency.before_request()
    await latency.before_answer()
    heard: list[int] = []
    EventLine(latency, clock).send(lambda: heard.append(1))
    assert (clock.passed, heard) == (0.0, [1])


@pytest.mark.asyncio
async def test_events_arrive_later_and_in_their_order() -> None:
    clock = Virtual()
    line = EventLine(Latency(LatencyConfig(event_ms=5, event_jitter_ms=30), clock), clock)
    heard: list[tuple[int, float]] = []
    for number in range(30):
        line.send(lambda number=number: heard.append((number, clock.passed)))  # type: ignore[misc]
    assert heard == []
    task = asyncio.create_task(line.run())
    for _ in range(100):
        await asyncio.sleep(0)
    task.cancel()
    assert [number for number, _ in heard] == list(range(30))
    assert 0.005 <= heard[0][1] <= 0.035
    assert heard[-1][1] <= 0.036


@pytest.mark.asyncio
async def test_a_full_line_shortens_the_delay_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pms.simulator.latency.EVENTS_MAX", 2)
    clock = Virtual()
    line = EventLine(Latency(LatencyConfig(event_ms=5), clock), clock)
    heard: list[int] = []
    for number in range(5):
        line.send(lambda number=number: heard.append(number))  # type: ignore[misc]
    assert heard == [0, 1, 2]
    assert line.statistics() == {"waiting": 2, "overflows": 3}
