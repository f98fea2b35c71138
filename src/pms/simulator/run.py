"""Runs a simulated exchange by itself until a signal: what `pms simulate` calls."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from pms.simulator.config import SimulatorConfig
from pms.simulator.simulator import Simulator


async def main_async(config: SimulatorConfig, echo: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, telling addresses through `echo`.

    Raises `SimulatorError` when it cannot start, or when one of its own tasks fails.
    """
    simulator = Simulator(config)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    try:
        await simulator.start()
        echo(f"REST       {simulator.url}")
        legacy = ", and every class unrouted" if config.stream_routing == "legacy" else ""
        echo(f"Streams    {simulator.ws_url}/public|market|private{legacy}")
        echo(f"WebSocket  {simulator.ws_url}/ws-fapi/v1 (trading API)")
        echo(f"Data file  {config.data_path or 'none (memory only)'}")
        if config.scenario.fault:
            scenario = config.scenario
            echo(f"Faults     {len(scenario.fault)}, seed {scenario.seed}. {scenario.about}")
        if not config.admin_token:
            echo(f"Admin token for /sim/*  {simulator.admin_token}")
        failed = asyncio.create_task(simulator.wait_failed())
        signalled = asyncio.create_task(stopped.wait())
        await asyncio.wait({failed, signalled}, return_when=asyncio.FIRST_COMPLETED)
        signalled.cancel()
        if failed.done():
            await failed
        failed.cancel()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        await simulator.stop()
