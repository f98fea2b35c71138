"""The engine's parts: none ends unnoticed, and a failing engine stops like one that is asked to."""

import asyncio
from pathlib import Path

import pytest

from pms.engine import Engine, EngineError, EngineOptions
from pms.runtime import SystemClock, SystemIds
from pms.settings import load_settings


def engine_in(folder: Path) -> Engine:
    settings = load_settings({"data_dir": folder / "data"})
    return Engine(
        settings, EngineOptions(symbols=("BTCUSDT",)), SystemClock(), SystemIds(), lambda text: None
    )


async def test_a_part_that_ends_as_cancelled_stops_the_engine(tmp_path: Path) -> None:
    engine = engine_in(tmp_path)
    async with engine.running() as parts:
        (stream,) = [task for task in parts.tasks if task.get_name() == "user stream"]
        stream.cancel()  # as a cancelled future inside of it would end it
        with pytest.raises(EngineError, match="user stream"):
            await asyncio.wait_for(engine.wait_failed(), 2)


async def test_an_engine_that_fails_takes_no_more_orders_on_its_way_down(tmp_path: Path) -> None:
    engine = engine_in(tmp_path)
    running = engine.running()
    parts = await running.__aenter__()
    assert parts.core.switches.ready
    error = RuntimeError("a part failed")
    assert not await running.__aexit__(RuntimeError, error, None)
    assert not parts.core.switches.ready
