"""The start with 10,000 accounts and 30,000 positions, in a fresh process: seconds to trading, and memory.

The file is made and adopted by one process; a second one opens it, wires the engine's parts, recovers from
the exchange and reports. What the embedded simulator or a venue's network would add is not in it.
"""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from bench.desk import SYMBOLS, filled_sqlite, running, scratch
from bench.machine import machine, resident_mb

ACCOUNTS = 10_000
BUDGET_SECONDS, BUDGET_MB = 3.0, 300


async def _make(folder: Path) -> None:
    url = await filled_sqlite(folder, ACCOUNTS, SYMBOLS)
    async with running(url, folder):
        pass


async def _start(folder: Path) -> None:
    start = time.perf_counter()
    async with running(f"sqlite:///{folder / 'ledger.db'}", folder) as desk:
        seconds = time.perf_counter() - start
        for _ in range(20):
            for symbol in SYMBOLS:
                desk.mark(symbol, float(desk.venue.prices[symbol]) * 1.001)
        found = len(desk.ledger.open_positions())
        print(f"  {found:,} positions: {seconds:.2f} s to trading, {resident_mb():.0f} MB resident")
        met = seconds < BUDGET_SECONDS and resident_mb() < BUDGET_MB
        verdict = "met" if met else "MISSED"
        print(f"  budget < {BUDGET_SECONDS:.0f} s and < {BUDGET_MB} MB: {verdict}")


def main(arguments: list[str] | None = None) -> None:
    """Print the figures; with two arguments, be one of the processes."""
    match arguments or []:
        case ["make", folder]:
            asyncio.run(_make(Path(folder)))
        case ["start", folder]:
            asyncio.run(_start(Path(folder)))
        case _:
            print(f"recovery: {ACCOUNTS:,} accounts x {len(SYMBOLS)} positions on SQLite")
            print(f"  machine: {machine()}", flush=True)
            with scratch() as path:
                for step in ("make", "start"):
                    command = [sys.executable, "-m", "bench.recovery", step, str(path)]
                    subprocess.run(command, check=True)  # noqa: S603 - this program


if __name__ == "__main__":
    main(sys.argv[1:])
