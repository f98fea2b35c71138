"""`python -m tests.clients`: third-party clients, unmodified, trade on the simulator over loopback.

Without arguments the clients of `make test-clients`; `--large` adds the others; names choose. Exit 0 when
every step of every client was done. `--table FILE` writes the results into the page between its markers.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.clients.clients import CLIENTS
from tests.clients.drive import Outcome, driven
from tests.clients.environments import Client
from tests.clients.table import write_table

AT_ONCE = 3


def chosen(names: list[str], large: bool) -> list[Client]:
    """Return the clients that the arguments name."""
    unknown = set(names) - {client.name for client in CLIENTS}
    if unknown:
        raise SystemExit(
            f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(c.name for c in CLIENTS)}"
        )
    return [c for c in CLIENTS if (c.name in names if names else large or not c.large)]


async def run(clients: list[Client], folder: Path) -> list[Outcome]:
    """Drive the clients, at most three at once."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(client: Client) -> Outcome:
        async with gate:
            return await driven(client, folder, lambda text: print(text, flush=True))

    return list(await asyncio.gather(*(one(client) for client in clients)))


def main() -> int:
    """Parse arguments, run, tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pms-clients-") as folder:
        outcomes = asyncio.run(run(chosen(arguments.names, arguments.large), Path(folder)))
    for outcome in outcomes:
        done = sum(step.ok for step in outcome.steps)
        verdict = "ok" if outcome.ok else "FAILED"
        print(f"{outcome.client.name} {outcome.version}: {verdict}, {done} of {len(outcome.steps)} steps")
        if outcome.problem:
            print(outcome.problem)
    if arguments.table:
        write_table(arguments.table, outcomes)
    good = sum(outcome.ok for outcome in outcomes)
    print(f"in {time.monotonic() - started:.0f} s")
    print(f"clients: {good} passed, {len(outcomes) - good} failed")
    return 0 if good == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
