"""Income of the real account: what is posted, from when on, how often it is asked for, after which events."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from pms.exchange.port import AccountEvent, StreamGap, UserEvent
from pms.ledger.audit import audit
from pms.ledger.ledger import LedgerService
from pms.model.income import Income
from pms.model.money import Money
from pms.sync.income import INTERVAL_SECONDS, OVERLAP_MS, REACH_MS, IncomeReader
from tests.support.clocks import PushedClock
from tests.support.ledger import BTC, ManualClock, opened, sqlite_url
from tests.support.waiting import until
from tests.unit.sync.scripted import ScriptedExchange

D = Decimal


@dataclass
class Bench:
    ledger: LedgerService
    exchange: ScriptedExchange
    clock: PushedClock
    url: str
    numbers: int = 0

    def reader(self) -> IncomeReader:
        return IncomeReader(self.ledger, self.exchange, "USDT", self.clock)

    def pass_seconds(self, seconds: int) -> None:
        self.exchange.now_ms += seconds * 1000

    def earn(self, amount: str, type_: str = "TRANSFER", asset: str = "USDT", ago_ms: int = 0) -> Income:
        """The exchange writes a line."""
        self.numbers += 1
        symbol = BTC if type_ == "FUNDING_FEE" else None
        native = "BTCUSDT" if symbol else ""
        time_ms = self.exchange.now_ms - ago_ms
        line = Income(type_, str(self.numbers), native, symbol, asset, D(amount), time_ms)
        self.exchange.income_lines.append(line)
        return line


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    url = sqlite_url(tmp_path)
    ledger = await opened(url)
    exchange = ScriptedExchange(now_ms=ManualClock().now_ms())
    await ledger.adopt_wallet(Money(D(1000)), "one", exchange.now_ms)
    yield Bench(ledger, exchange, PushedClock(), url)
    await ledger.close()


async def test_everything_since_the_adoption_is_posted_once_in_parts(bench: Bench) -> None:
    bench.earn("1000")  # at the adoption: it is in the wallet that was adopted
    bench.exchange.part = 2
    for amount in ("5", "-2", "0.5", "7", "-1"):
        bench.pass_seconds(60)
        bench.earn(amount)
    bench.earn("9", "REALIZED_PNL")
    bench.earn("-3", "COMMISSION")
    bench.earn("1", "COMMISSION", asset="BNB")
    bench.earn("4", asset="BNB")
    reader = bench.reader()
    assert await reader.read() == 5
    assert bench.ledger.derived_wallet() == D("1009.5")
    assert bench.ledger.watermark("income") == bench.exchange.now_ms
    assert (reader.statistics().posted, reader.statistics().other_assets) == (5, 1)
    bench.pass_seconds(60)
    assert await reader.read() == 0
    assert await bench.reader().read() == 0, "another life of the engine"
    assert (await audit(bench.url)).passed


async def test_a_line_that_is_written_late_is_found_within_the_overlap(bench: Bench) -> None:
    reader = bench.reader()
    bench.pass_seconds(3600)
    await reader.read()
    bench.pass_seconds(600)
    bench.earn("3", "FUNDING_FEE", ago_ms=OVERLAP_MS)
    assert await reader.read() == 1
    assert bench.ledger.derived_wallet() == 1003


async def test_before_the_adoption_nothing_is_read(tmp_path: Path) -> None:
    ledger = await opened(sqlite_url(tmp_path))
    exchange = ScriptedExchange(now_ms=ManualClock().now_ms())
    assert await IncomeReader(ledger, exchange, "USDT", PushedClock()).read() == 0
    assert exchange.asked == []
    await ledger.close()


async def test_a_span_that_the_exchange_tells_no_more_is_recorded(bench: Bench) -> None:
    since = bench.exchange.now_ms
    bench.exchange.now_ms += REACH_MS + 86_400_000
    bench.earn("5")
    assert await bench.reader().read() == 1
    (action,) = [each for each in await bench.ledger.queries.actions(10) if "unreadable" in each.action]
    assert action.target == "income"
    assert str(since + 1) in (action.after or "")


def told(reason: str) -> AccountEvent:
    return AccountEvent((), None, Money(D(1)), reason, 1, 1)


async def handled(event: UserEvent) -> None:
    """What the engine does with an event is not of interest here."""


async def running(reader: IncomeReader) -> Callable[[], None]:
    task = asyncio.create_task(reader.run())

    def stop() -> None:
        task.cancel()

    await asyncio.sleep(0.01)
    return stop


async def test_an_event_that_tells_of_money_is_followed_up_until_its_line_shows(bench: Bench) -> None:
    reader = bench.reader()
    handler = reader.observed(handled)
    stop = await running(reader)
    await handler(told("ORDER"))
    await handler(told("MARGIN_TYPE_CHANGE"))
    await bench.clock.run_for(20, 5)
    assert reader.statistics().readings == 0, "no money moved, or executions tell it"

    bench.pass_seconds(5)
    for _ in range(3):
        await handler(told("FUNDING_FEE"))
    await bench.clock.run_for(1.5, 0.5)
    await until(lambda: reader.statistics().readings == 1, "one reading for three events of a moment")
    assert reader.statistics().expected == 3
    for amount in ("1", "2", "3"):
        bench.earn(amount, "FUNDING_FEE")
    await bench.clock.run_for(3, 0.5)
    await until(lambda: reader.statistics().posted == 3, "the lines that showed")
    assert reader.statistics().expected == 0

    await handler(told("DEPOSIT"))
    await bench.clock.run_for(180, 1.0, 0.001)
    await until(lambda: reader.statistics().expected == 0, "it is not waited for longer")
    readings = reader.statistics().readings
    assert readings == 2 + 7
    await handler(StreamGap(1, 2))
    await bench.clock.run_for(2, 0.5)
    await until(lambda: reader.statistics().readings == readings + 1, "a reading after a gap")
    stop()


async def test_it_is_read_now_and_then_and_again_soon_after_a_failure(bench: Bench) -> None:
    reader = bench.reader()
    stop = await running(reader)
    bench.pass_seconds(700)
    bench.earn("5", "COMMISSION_REBATE")
    bench.exchange.failures = 1
    bench.clock.push(INTERVAL_SECONDS + 1)
    await until(lambda: reader.statistics().failures == 1, "a failure")
    await bench.clock.run_for(6, 2)
    await until(lambda: reader.statistics().posted == 1, "the rebate")
    stop()
