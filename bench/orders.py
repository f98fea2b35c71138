"""Market orders end to end on both databases, with an exchange in this process that answers at once.

An order is accepted, journaled, sent, booked from the private stream, and answered. Both databases sync to
disk; the disk is the machine's own.
"""

import asyncio
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from bench.desk import ACTOR, BTC, Desk, empty_sqlite, run, running, scratch
from bench.machine import machine, percentile
from pms.execution.api import Executed, MarketRequest
from pms.ledger.migrate import migrate
from pms.model.account import PositionSide
from pms.model.ids import SubAccountId
from tests.support.servers import running_servers

SINGLE, MANY, TOGETHER = 300, 2_000, 50
WARM_UP = 40
QUANTITY = Decimal("0.01")
BUDGETS = {"sqlite": 500, "postgresql": 1_000}


async def _order(desk: Desk, account: SubAccountId, number: int) -> None:
    side = PositionSide.LONG if number % 2 == 0 else PositionSide.SHORT
    request = MarketRequest(account, BTC, side, QUANTITY, Decimal(10))
    result = await desk.wired.trader.market(request, ACTOR)
    if not isinstance(result, Executed):
        raise TypeError(f"expected an execution, got {result}")


async def _one_by_one(desk: Desk, account: SubAccountId) -> tuple[list[float], list[float]]:
    """Return ms to the venue and ms to the answer of each order."""
    to_wire, to_answer = [], []
    for number in range(WARM_UP + SINGLE):
        start = time.perf_counter()
        await _order(desk, account, number)
        end = time.perf_counter()
        if number >= WARM_UP:
            to_wire.append((desk.venue.placed_at[-1] - start) * 1000)
            to_answer.append((end - start) * 1000)
    return to_wire, to_answer


async def _together(desk: Desk, accounts: Sequence[SubAccountId]) -> tuple[float, list[float]]:
    """Return orders per second and ms to the answer, with one order of each account under way."""
    samples: list[float] = []

    async def worker(account: SubAccountId) -> None:
        for number in range(MANY // len(accounts)):
            start = time.perf_counter()
            await _order(desk, account, number)
            samples.append((time.perf_counter() - start) * 1000)

    commits = desk.ledger.statistics().commits
    start, processor = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker(account) for account in accounts))
    seconds, busy = time.perf_counter() - start, time.process_time() - processor
    commits = desk.ledger.statistics().commits - commits
    each_ms = busy / len(samples) * 1000
    print(f"  {len(samples)} orders together: {commits} commits, {each_ms:.2f} ms of CPU each")
    return len(samples) / seconds, samples


async def _measure(name: str, url: str, folder: Path) -> None:
    async with running(url, folder) as desk:
        accounts = await desk.accounts(TOGETHER)
        to_wire, to_answer = await _one_by_one(desk, accounts[0])
        rate, samples = await _together(desk, accounts)
    single = " ".join(
        f"{what} p50 {percentile(each, 0.5):.2f} ms, p99 {percentile(each, 0.99):.2f} ms;"
        for what, each in (("to the wire", to_wire), ("to the answer", to_answer))
    )
    print(f"  {name}, one at a time: {single} {1000 / (sum(to_answer) / len(to_answer)):.0f} orders/s")
    met = "met" if rate >= BUDGETS[name] else "MISSED"
    print(
        f"  {name}, {TOGETHER} together: {rate:.0f} orders/s (budget {BUDGETS[name]}: {met}); "
        f"p50 {percentile(samples, 0.5):.1f} ms, p99 {percentile(samples, 0.99):.1f} ms"
    )
    kept = percentile(to_wire, 0.5) < 4 and percentile(to_wire, 0.99) < 10 and percentile(to_answer, 0.5) < 8
    print(f"  {name}, budget wire p50 < 4 ms, p99 < 10 ms, answer p50 < 8 ms: {'met' if kept else 'MISSED'}")


async def _sqlite() -> None:
    with scratch() as folder:
        await _measure("sqlite", await empty_sqlite(folder), folder)


async def _postgresql(url: str) -> None:
    with scratch() as folder:
        await migrate(url)
        await _measure("postgresql", url, folder)


def main() -> None:
    """Print the figures."""
    print(f"orders: market orders end to end, 0 ms exchange, durable ledger\n  machine: {machine()}")
    run(_sqlite())
    with running_servers(durable=True) as servers:
        run(_postgresql(servers.create_database("bench")))


if __name__ == "__main__":
    main()
