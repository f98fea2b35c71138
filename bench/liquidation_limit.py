"""One tick that liquidates 1,000 accounts at a venue that answers at once, with and without Binance's limit
of 300 orders in ten seconds (design, "Budgets").

`liquidation_tick` measures the whole engine over a socket; here the exchange costs nothing. Beside the wave
another account, which holds nothing of the symbol, sends orders.
"""

import asyncio
import time
from decimal import Decimal

from bench.desk import ACTOR, BTC, SYMBOLS, Desk, filled_sqlite, hush, run, running, scratch
from bench.machine import machine, percentile
from pms.execution.api import MarketRequest
from pms.model.account import PositionSide
from pms.model.ids import SubAccountId
from pms.model.refusal import Refused

ACCOUNTS = 1_000
VENUE_ORDERS_MAX = 300
BALANCE, PRICE = 50.0, 50_000 * 0.88025
"""Equity 2.1 against a maintenance of 2: above the threshold, not yet insolvent."""
BUDGET_SECONDS, BUDGET_COMMAND_MS = 2.0, 50.0
WAIT_SECONDS_MAX = 15.0
ORDERS_NEEDED = 1
"""One symbol, one slice: what a wave needs when it nets internally first."""


async def _commands(desk: Desk, account: SubAccountId, samples: list[float], refused: list[str]) -> None:
    """Send an order of another account every 20 ms; ms to the answer of each."""
    number = 0
    while True:
        side = PositionSide.LONG if number % 2 == 0 else PositionSide.SHORT
        request = MarketRequest(account, SYMBOLS[1], side, Decimal("0.01"), Decimal(10))
        start = time.perf_counter()
        try:
            result = await desk.wired.trader.market(request, ACTOR)
        finally:
            # One that still waits when the wave is over counts with what it has waited.
            samples.append((time.perf_counter() - start) * 1000)
        if isinstance(result, Refused):
            refused.append(result.refusals[0].code.name)
        number += 1
        await asyncio.sleep(0.02)


async def _wave(orders_max: int | None) -> None:
    with scratch() as folder:
        url = await filled_sqlite(folder, ACCOUNTS, [BTC], BALANCE, longs_only=True)
        async with running(url, folder, orders_max) as desk:
            bystander = (await desk.accounts(1))[0]
            samples: list[float] = []
            refused: list[str] = []
            commands = asyncio.create_task(_commands(desk, bystander, samples, refused))
            await asyncio.sleep(0.5)
            quiet = percentile(samples, 0.5)
            samples.clear()
            before = len(desk.venue.placed_at)
            start = time.perf_counter()
            desk.mark(BTC, PRICE)
            tick_ms = (time.perf_counter() - start) * 1000
            closed_seconds = await _closed(desk, start)
            commands.cancel()
            await asyncio.gather(commands, return_exceptions=True)
            placed = zip(desk.venue.placed_at[before:], desk.venue.placed_on[before:], strict=True)
            sent = [moment - start for moment, symbol in placed if symbol == BTC]
            of_wave = len(sent)
        label = "no limit" if orders_max is None else f"{orders_max} orders/10 s"
        print(
            f"  {label}: tick {tick_ms:.1f} ms; {of_wave} orders of the wave, last after {sent[-1]:.2f} s; "
            f"{_when(closed_seconds)}; the venue refused {desk.venue.limited}"
        )
        print(
            f"    others: p50 {percentile(samples, 0.5):.1f} ms, p99 {percentile(samples, 0.99):.1f} ms, "
            f"max {max(samples):.1f} ms, {len(refused)} of {len(samples)} refused "
            f"(before the wave p50 {quiet:.1f} ms)"
        )
        within = sent[-1] < BUDGET_SECONDS if orders_max is None else of_wave <= ORDERS_NEEDED
        met = within and percentile(samples, 0.99) < BUDGET_COMMAND_MS
        wanted = f"sent in {BUDGET_SECONDS:.0f} s" if orders_max is None else f"{ORDERS_NEEDED} order"
        verdict = "met" if met else "MISSED"
        print(f"    budget {wanted}, others p99 < {BUDGET_COMMAND_MS:.0f} ms: {verdict}")


def _when(seconds: float) -> str:
    limit = f"not all closed after {WAIT_SECONDS_MAX:.0f} s"
    return f"all closed after {seconds:.2f} s" if seconds < WAIT_SECONDS_MAX else limit


async def _closed(desk: Desk, start: float) -> float:
    """Wait until nobody holds the symbol; seconds since the tick."""
    while time.perf_counter() - start < WAIT_SECONDS_MAX:
        if not desk.wired.core.holdings.holders(BTC):
            return time.perf_counter() - start
        await asyncio.sleep(0.005)
    return float("inf")


def main() -> None:
    """Print the figures."""
    hush()
    print(f"liquidation limit: {ACCOUNTS:,} accounts, each 400 USDT on one symbol, SQLite, 0 ms exchange")
    print(f"  machine: {machine()}")
    for orders_max in (None, VENUE_ORDERS_MAX):
        run(_wave(orders_max))


if __name__ == "__main__":
    main()
