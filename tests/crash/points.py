"""`python -m tests.crash.points`: kill -9 at steps of an order's life; the books must come out the same.

A process runs engine and simulated exchange through a script of orders, and kills itself with SIGKILL after a
number of steps of its event loop. The next process recovers and carries the script on from what the books
say. Its books at the end must be those of a run that nobody killed: no fill lost, none booked twice. Exit 0
when that held at every point, 1 otherwise.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

from pms.execution.api import Executed, Resting
from pms.ledger.audit import AuditReport
from pms.model.money import plain
from tests.support.laboratory import ACTOR, LONG, SHORT, Laboratory, audited, laboratory
from tests.support.servers import Servers, running_servers
from tests.support.waiting import until

SETTLE_SECONDS = 20.0
CHILD_SECONDS_MAX = 60
AT_ONCE = 5
"""Points that are tried side by side: most of the time a life waits for proof."""

MARKS = {"open": "0.02", "flip": "-0.05", "close": "0.03"}
"""Signed market orders of the script, in order: LONG 0.02, net flip to SHORT 0.03, flat."""


Told = dict[str, object]
"""What a life writes: its books, and how many steps it took."""


class MortalLoop(asyncio.SelectorEventLoop):
    """Kills its process after `dies_after` steps, counted from `arm` on."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.dies_after = 0
        self._armed = False

    def arm(self, dies_after: int) -> None:
        self.steps, self.dies_after, self._armed = 0, dies_after, True

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]
        if self._armed:
            self.steps += 1
            if self.steps == self.dies_after:
                os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Bench:
    """One copy of the world: a data folder, and a database where it is not in there."""

    folder: Path
    database: str | None

    def laboratory(self) -> AbstractAsyncContextManager[Laboratory]:
        """Return the engine of this world, to be run."""
        if self.database is None:
            return laboratory(self.folder)
        return laboratory(self.folder, database_url=self.database)


async def script(lab: Laboratory) -> None:
    """Carry the script on from what the books say: each market order once, a resting order in between."""
    filled = await _filled_orders(lab)
    for number, (name, signed) in enumerate(MARKS.items()):
        if number < filled:
            continue
        if name == "close":
            await _rest_and_cancel(lab)
            position = lab.position("A")
            assert position is not None
            result = await lab.parts.trader.close(position.id, ACTOR)
        else:
            quantity = Decimal(signed)
            result = await lab.market("A", LONG if quantity > 0 else SHORT, str(abs(quantity)))
        assert isinstance(result, Executed), result


async def _rest_and_cancel(lab: Laboratory) -> None:
    for order in lab.parts.ledger.open_orders():
        if order.pending_order_id is not None:
            await lab.parts.trader.cancel(order.pending_order_id, ACTOR)
    resting = await lab.limit("A", LONG, "0.01", "50000")
    assert isinstance(resting, Resting), resting
    assert resting.order.pending_order_id is not None
    await lab.parts.trader.cancel(resting.order.pending_order_id, ACTOR)


async def _filled_orders(lab: Laboratory) -> int:
    sql = "SELECT count(*) AS n FROM pms_order_journal WHERE type = 'MARKET' AND state = 'FILLED'"
    return int(str((await lab.parts.ledger.store.fetch(sql))[0]["n"]))


async def prepare(bench: Bench) -> None:
    """Make the account."""
    async with bench.laboratory() as lab:
        await lab.account("A")


async def live(bench: Bench, dies_after: int, result: Path) -> None:
    """Run the script to its end, or to the step that kills; write the books and the number of steps."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, MortalLoop)
    async with bench.laboratory() as lab:
        lab.accounts["A"] = lab.parts.ledger.accounts()[0].id
        await _settled(lab)
        loop.arm(dies_after)
        await script(lab)
        steps = loop.steps
        await _settled(lab)
        account = lab.parts.ledger.accounts()[0]
        fills = await lab.parts.ledger.store.fetch("SELECT count(*) AS n FROM pms_fills")
        books = {
            "balance": plain(account.balance),
            "owed": plain(account.owed),
            "held": plain(lab.held("A")),
            "fills": int(str(fills[0]["n"])),
            "house": plain(lab.parts.ledger.house_cash()),
            "wallet": plain(lab.parts.ledger.derived_wallet()),
            "open orders": len(lab.parts.ledger.open_orders()),
        }
    report: AuditReport = await audited(lab.settings)
    assert report.passed, "\n".join(report.lines())
    _write(result, {"books": books, "steps": steps})


def _write(result: Path, told: "Told") -> None:
    result.write_text(json.dumps(told))


async def _settled(lab: Laboratory) -> None:
    await lab.settled()
    await until(lambda: not lab.in_doubt(), "the end of every doubt", SETTLE_SECONDS)


def forked(work: Callable[[], object], log: Path) -> int:
    """Begin some work in a process of its own, its output in `log`; return the process's id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        with log.open("a") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(child: int) -> int:
    """Wait for a process; return its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def lived(work: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run on a loop that can kill its process."""
    signal.alarm(CHILD_SECONDS_MAX)
    loop = MortalLoop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(work())


class Points:
    """The worlds of one run, each a copy of the prepared one. Everything here is for one thread."""

    def __init__(self, folder: Path, servers: Servers | None) -> None:
        self._folder = folder
        self._servers = servers
        self.base = Bench(folder / "base", servers.create_database("points") if servers else None)
        self.base.folder.mkdir()
        self.log = folder / "children.log"

    def run(self, bench: Bench, dies_after: int) -> tuple[int, Told]:
        """Let one process live; return its exit code and what it wrote."""
        result = bench.folder / "result.json"
        result.unlink(missing_ok=True)
        code = ended(forked(lambda: lived(lambda: live(bench, dies_after, result)), self.log))
        return code, json.loads(result.read_text()) if result.exists() else {}

    def copy(self, number: int) -> Bench:
        """Return a world of its own."""
        folder = self._folder / f"world{number}"
        shutil.copytree(self.base.folder, folder)
        if self._servers is None or self.base.database is None:
            return Bench(folder, None)
        return Bench(folder, self._servers.copy_database("points", f"points{number}"))

    def try_point(self, step: int, expected: object) -> None:
        """Kill at a step and carry the script on. Raises AssertionError when the books differ."""
        bench = self.copy(step)
        code, told = self.run(bench, step)
        if code == -signal.SIGKILL:
            code, told = self.run(bench, 0)
        # Exit code 0 at once: the script took fewer steps this time, and nobody was killed.
        assert code == 0, f"step {step}: a life ended with {code}; see {self.log}"
        assert told["books"] == expected, f"step {step}: the books are {told['books']}, not {expected}"
        shutil.rmtree(bench.folder)


def check(folder: Path, servers: Servers | None, count: int, say: Callable[[str], None]) -> int:
    """Kill at `count` steps spread over the script (0: at every one); return at how many it went wrong."""
    points = Points(folder, servers)
    if ended(forked(lambda: lived(lambda: prepare(points.base)), points.log)) != 0:
        raise RuntimeError(f"the preparation failed: {points.log.read_text()[-3000:]}")
    code, whole = points.run(points.copy(0), 0)
    if code != 0:
        raise RuntimeError(f"the run without a kill failed: {points.log.read_text()[-3000:]}")
    steps, books = int(str(whole["steps"])), whole["books"]
    left = (
        list(range(1, steps + 1))
        if count == 0
        else [round((number + 0.5) * steps / count) for number in range(count)]
    )
    failed = 0
    while left:
        batch, left = left[:AT_ONCE], left[AT_ONCE:]
        tried = [(step, forked(partial(points.try_point, step, books), points.log)) for step in batch]
        for step, child in tried:
            wrong = ended(child) != 0
            failed += wrong
            say(f"step {step} of {steps}: {'NOT THE SAME BOOKS' if wrong else 'the same books'}")
    return failed


def main() -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.points")
    parser.add_argument("--points", type=int, default=0, help="how many steps to kill at (0: every one)")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL instead of SQLite")
    parser.add_argument("--keeper", help="address of a keeper of test servers that runs already")
    options = parser.parse_args()

    def say(text: str) -> None:
        print(text, flush=True)

    with tempfile.TemporaryDirectory(prefix="pms-points-") as folder:
        if options.postgres and options.keeper:
            failed = check(Path(folder), Servers(options.keeper, "points"), options.points, say)
        elif options.postgres:
            with running_servers(durable=True) as servers:
                failed = check(Path(folder), servers, options.points, say)
        else:
            failed = check(Path(folder), None, options.points, say)
        if failed:
            say((Path(folder) / "children.log").read_text()[-4000:])
    say(f"{failed} points failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
