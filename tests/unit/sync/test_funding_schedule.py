"""When fundings are booked: on the schedule, missed ones too, after the executions before them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import pytest

from pms.exchange.errors import ExchangeUnavailable, UnreadablePayload
from pms.exchange.port import StreamGap
from pms.execution.exchange_net import ExchangeNet
from pms.execution.resolver import DoubtResolver
from pms.ledger.errors import FenceLostError
from pms.ledger.ledger import LedgerService
from pms.model.fill import FillSource
from pms.model.ids import ClientOrderId, SubAccountId
from pms.model.income import FundingKey, FundingRate, FundingUnpriced, FundingUnreadable, ToldFunding
from pms.model.money import Price
from pms.model.order import OrderSide
from pms.model.price import MarkPrice
from pms.model.symbol import Symbol
from pms.sync import funding
from pms.sync.funding import DELAY_MS, HOUR_MS, PATIENCE_MS, ExecutionsRead, FundingBooker
from pms.sync.recovery import GapFiller
from pms.sync.user_events import FillBooker
from tests.support.ledger import BTC, ETH, START_MS, Desk, ManualClock, opened, sqlite_url
from tests.unit.sync.scripted import ScriptedExchange

D = Decimal
FIRST_MS = START_MS + 4 * HOUR_MS
assert FIRST_MS % (8 * HOUR_MS) == 0
PERIOD_MS = 8 * HOUR_MS


@dataclass
class ScriptedHistory:
    """Tells what a test has put down, `part` rows at once; `broken` symbols cannot be asked."""

    rates: list[ToldFunding] = field(default_factory=list)
    prices: dict[Symbol, Price] = field(default_factory=dict)
    hours: dict[Symbol, int] = field(default_factory=dict)
    broken: dict[Symbol, Exception] = field(default_factory=dict)
    part: int = 1000
    asked: list[Symbol] = field(default_factory=list)

    def settle(self, symbol: Symbol, *times_ms: int) -> None:
        self.rates += [
            FundingRate(FundingKey(symbol, time_ms), D("0.0001"), Price(D(100))) for time_ms in times_ms
        ]

    async def funding_rates(self, symbol: Symbol, since_ms: int, until_ms: int) -> list[ToldFunding]:
        self.asked.append(symbol)
        if symbol in self.broken:
            raise self.broken[symbol]
        found = [each for each in self.rates if each.key.symbol == symbol]
        return [each for each in found if since_ms <= each.key.time_ms <= until_ms][: self.part]

    async def price_before(self, symbol: Symbol, moment_ms: int) -> Price | None:
        return self.prices.get(symbol)

    async def funding_hours(self) -> dict[Symbol, int]:
        return self.hours


@dataclass
class Bench:
    desk: Desk
    ledger: LedgerService
    clock: ManualClock
    exchange: ScriptedExchange
    filler: GapFiller
    history: ScriptedHistory = field(default_factory=ScriptedHistory)
    marks: dict[Symbol, MarkPrice] = field(default_factory=dict)
    last_event_ms: int = 0

    def booker(self) -> FundingBooker:
        read = ExecutionsRead(self.filler, lambda: self.last_event_ms, self.clock.now_ms)
        return FundingBooker(
            self.ledger,
            self.history,
            self.ledger.fill_symbols,
            self.marks.get,
            read.through,
            self.clock.now_ms,
            self.clock,
        )

    def tell_next(self, symbol: Symbol, next_ms: int) -> None:
        """The mark price stream names the symbol's next funding."""
        self.marks[symbol] = MarkPrice(symbol, 100.0, 0.0, next_ms, self.clock.now_ms(), self.clock.now_ms())

    def stand_at(self, moment_ms: int) -> None:
        self.clock.advance(moment_ms - self.clock.now_ms())

    async def hold(self, account: SubAccountId, quantity: str, time_ms: int, symbol: Symbol = BTC) -> None:
        size = D(quantity)
        side = OrderSide.BUY if size > 0 else OrderSide.SELL
        order = await self.desk.order(account, side, str(abs(size)), symbol=symbol)
        await self.desk.book(replace(self.desk.fill(order, "100"), trade_time_ms=time_ms))

    async def payments(self, account: SubAccountId) -> list[tuple[int, Decimal]]:
        """What the account received, by time of the funding."""
        rows = await self.ledger.store.fetch(
            "SELECT funding_time, amount FROM pms_funding_payments WHERE sub_account_id = ?"
            " ORDER BY link, funding_time",
            account,
        )
        return [(int(str(row["funding_time"])), D(str(row["amount"]))) for row in rows]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = ManualClock()
    ledger = await opened(sqlite_url(tmp_path), clock=clock)
    exchange = ScriptedExchange(now_ms=START_MS)
    booker = FillBooker(ledger, "USDT", lambda symbol: None)
    resolver = DoubtResolver(ledger, exchange, exchange, booker.book, clock)
    filler = GapFiller(ledger, exchange, resolver, booker.book, ExchangeNet(), clock, 2000)
    await filler.fill(StreamGap(0, START_MS))
    one = Bench(Desk(ledger), ledger, clock, exchange, filler)
    await one.booker().settle()  # the first start with funding
    yield one
    await ledger.close()


async def test_fundings_missed_while_down_are_booked_oldest_first_each_on_its_own_holdings(
    bench: Bench,
) -> None:
    account = (await bench.desk.account()).id
    await bench.hold(account, "10", START_MS + 1)
    times = [FIRST_MS + number * PERIOD_MS + 7 for number in range(4)]  # as recorded: not on the hour exactly
    bench.history.settle(BTC, *times)
    bench.history.part = 2
    await bench.hold(account, "-4", times[1] + 1)  # between the second and the third
    bench.stand_at(times[3] + DELAY_MS)
    booker = bench.booker()
    await booker.settle()
    assert await bench.payments(account) == [
        (times[0], D("-0.1")),
        (times[1], D("-0.1")),
        (times[2], D("-0.06")),
        (times[3], D("-0.06")),
    ]
    statistics = booker.statistics()
    assert (statistics.booked, statistics.waiting) == (4, ())
    asked = len(bench.history.asked)
    await booker.settle()
    assert len(bench.history.asked) == asked, "nothing is due"


async def test_a_funding_is_waited_for_until_the_history_tells_it(bench: Bench) -> None:
    account = (await bench.desk.account()).id
    await bench.hold(account, "10", START_MS + 1)
    booker = bench.booker()
    bench.stand_at(FIRST_MS + DELAY_MS - 1)
    await booker.settle()
    assert bench.history.asked == [], "too soon"
    bench.stand_at(FIRST_MS + DELAY_MS)
    await booker.settle()
    assert booker.statistics().waiting == (BTC,)
    bench.history.settle(BTC, FIRST_MS)
    await booker.settle()
    assert (booker.statistics().waiting, len(await bench.payments(account))) == ((), 1)


async def test_a_moment_that_the_schedule_did_not_have_is_given_up(bench: Bench) -> None:
    account = (await bench.desk.account()).id
    await bench.hold(account, "10", START_MS + 1)
    booker = bench.booker()
    bench.stand_at(FIRST_MS + DELAY_MS + PATIENCE_MS)
    await booker.settle()
    assert (booker.statistics().waiting, booker.statistics().given_up) == ((), 1)
    asked = len(bench.history.asked)
    await booker.settle()
    assert len(bench.history.asked) == asked
    bench.history.settle(BTC, FIRST_MS, FIRST_MS + PERIOD_MS)  # told late after all
    bench.stand_at(FIRST_MS + PERIOD_MS + DELAY_MS)
    await booker.settle()
    assert [moment for moment, _ in await bench.payments(account)] == [FIRST_MS, FIRST_MS + PERIOD_MS]


@pytest.mark.parametrize("told_by", ["the mark price stream", "the intervals"])
async def test_an_hourly_schedule_is_followed(bench: Bench, told_by: str) -> None:
    account = (await bench.desk.account()).id
    await bench.hold(account, "10", START_MS + 1)
    hourly = START_MS + HOUR_MS
    bench.history.settle(BTC, hourly)
    if told_by == "the intervals":
        bench.history.hours[BTC] = 1
    booker = bench.booker()
    if told_by == "the mark price stream":
        bench.tell_next(BTC, hourly)
    await booker.settle()
    bench.stand_at(hourly + 1)
    bench.tell_next(BTC, hourly + HOUR_MS)  # the stream moves on before the delay is over
    await booker.settle()
    assert await bench.payments(account) == []
    bench.stand_at(hourly + DELAY_MS)
    await booker.settle()
    assert await bench.payments(account) == [(hourly, D("-0.1"))]


async def test_a_symbol_that_cannot_be_asked_waits_and_the_others_go_on(bench: Bench) -> None:
    account = (await bench.desk.account()).id
    for symbol in (BTC, ETH):
        await bench.hold(account, "10", START_MS + 1, symbol)
        bench.history.settle(symbol, FIRST_MS)
    bench.history.broken = {BTC: ExchangeUnavailable("scripted")}
    bench.stand_at(FIRST_MS + DELAY_MS + PATIENCE_MS)
    booker = bench.booker()
    await booker.settle()
    assert (booker.statistics().waiting, booker.statistics().failures) == ((BTC,), 1)
    assert len(await bench.payments(account)) == 1
    bench.history.broken = {}
    await booker.settle()
    assert booker.statistics().waiting == ()
    assert len(await bench.payments(account)) == 2


async def test_a_symbol_that_is_listed_no_more_is_not_asked_for_ever(bench: Bench) -> None:
    account = (await bench.desk.account()).id
    await bench.hold(account, "10", START_MS + 1)
    bench.history.broken = {BTC: UnreadablePayload("the exchange does not list it")}
    booker = bench.booker()
    bench.stand_at(FIRST_MS + DELAY_MS)
    await booker.settle()
    assert booker.statistics().waiting == (BTC,)
    bench.stand_at(FIRST_MS + DELAY_MS + PATIENCE_MS)
    await booker.settle()
    assert (booker.statistics().waiting, booker.statistics().given_up) == ((), 1)


FIRST = FundingKey(BTC, FIRST_MS)
LATER_MS = FIRST_MS + PERIOD_MS


@pytest.mark.parametrize("told", [None, "90"], ids=["no price at all", "a price before it"])
async def test_a_funding_without_a_price_holds_the_later_ones_back_only_for_a_while(
    bench: Bench, told: str | None
) -> None:
    account = (await bench.desk.account()).id
    await bench.hold(account, "10", START_MS + 1)
    bench.history.rates = [FundingUnpriced(FIRST, D("0.0001"))]
    bench.history.settle(BTC, FIRST_MS + 60_000)  # a special one, as it were
    if told is not None:
        bench.history.prices[BTC] = Price(D(told))
    booker = bench.booker()
    bench.stand_at(FIRST_MS + DELAY_MS + 60_000)
    await booker.settle()
    assert booker.statistics().waiting == (BTC,), "its minute's price may still be written"
    assert await bench.payments(account) == []
    bench.stand_at(FIRST_MS + PATIENCE_MS)
    await booker.settle()
    statistics = booker.statistics()
    paid = await bench.payments(account)
    if told is None:
        assert (statistics.unreadable, statistics.priced_before) == (1, 0)
        assert paid == [(FIRST_MS + 60_000, D("-0.1"))]
    else:
        assert (statistics.unreadable, statistics.priced_before) == (0, 1)
        assert paid == [(FIRST_MS, D("-0.09")), (FIRST_MS + 60_000, D("-0.1"))]


@pytest.mark.parametrize(
    "told",
    [
        FundingUnreadable(FIRST, "its type is 'Lunar'"),
        FundingRate(FIRST, D("NaN"), Price(D(100))),
        FundingRate(FIRST, D("0.0001"), Price(D(0))),
    ],
    ids=["a line of an unknown kind", "no rate", "no price"],
)
async def test_a_funding_that_cannot_be_booked_is_recorded_once_and_the_next_one_booked(
    bench: Bench, told: ToldFunding
) -> None:
    account = (await bench.desk.account()).id
    await bench.hold(account, "10", START_MS + 1)
    bench.history.rates = [told]
    bench.stand_at(FIRST_MS + DELAY_MS + PATIENCE_MS)
    booker = bench.booker()
    for _ in range(3):
        await booker.settle()
        booker = bench.booker()  # as after a restart
    bench.history.settle(BTC, LATER_MS)
    bench.stand_at(LATER_MS + DELAY_MS)
    await booker.settle()
    assert await bench.payments(account) == [(LATER_MS, D("-0.1"))]
    (recorded,) = [row for row in await bench.ledger.queries.actions(9) if row.action == "funding.unreadable"]
    assert recorded.target == BTC


async def test_nobody_is_charged_for_the_time_without_funding(bench: Bench) -> None:
    account = (await bench.desk.account()).id
    await bench.hold(account, "10", START_MS + 1)
    bench.history.settle(BTC, FIRST_MS, FIRST_MS + PERIOD_MS)
    await bench.booker().forget()  # a start with the setting off
    bench.stand_at(FIRST_MS + DELAY_MS)
    booker = bench.booker()  # and one with it on
    await booker.settle()
    bench.stand_at(FIRST_MS + PERIOD_MS + DELAY_MS)
    await booker.settle()
    assert [moment for moment, _ in await bench.payments(account)] == [FIRST_MS + PERIOD_MS]


async def test_what_nobody_held_is_not_asked_for(bench: Bench) -> None:
    account = (await bench.desk.account()).id
    await bench.hold(account, "10", START_MS + 1)
    await bench.hold(account, "-10", START_MS + 2)
    bench.history.settle(BTC, FIRST_MS)
    booker = bench.booker()
    bench.stand_at(FIRST_MS + DELAY_MS)
    await booker.settle()
    assert len(bench.history.asked) == 1, "it was held for a while since the last funding"
    await bench.hold(account, "5", FIRST_MS + 20_000)
    bench.stand_at(FIRST_MS + PERIOD_MS - 1)
    await booker.settle()
    assert await bench.payments(account) == []
    assert bench.ledger.last_funding_ms(BTC) == FIRST_MS
    await bench.hold(account, "-5", FIRST_MS + 30_000)
    bench.history.asked.clear()
    bench.stand_at(FIRST_MS + 3 * PERIOD_MS + DELAY_MS)
    bench.history.settle(BTC, FIRST_MS + PERIOD_MS, FIRST_MS + 2 * PERIOD_MS, FIRST_MS + 3 * PERIOD_MS)
    await booker.settle()
    bench.history.asked.clear()
    bench.stand_at(FIRST_MS + 5 * PERIOD_MS + DELAY_MS)
    await booker.settle()
    assert bench.history.asked == []


@pytest.mark.parametrize(("last_event_ms", "asked"), [(FIRST_MS + 1_001, 0), (FIRST_MS, 1), (0, 1)])
async def test_the_executions_before_the_moment_are_read_first(
    bench: Bench, last_event_ms: int, asked: int
) -> None:
    account = (await bench.desk.account()).id
    await bench.hold(account, "10", START_MS + 1)
    order = await bench.desk.order(account, OrderSide.BUY, "5")
    late = replace(bench.desk.fill(order, "100"), trade_time_ms=FIRST_MS - 1)
    bench.exchange.fills.append(replace(late, client_order_id=ClientOrderId(""), source=FillSource.QUERY))
    bench.exchange.placed[late.order_id] = order.client_order_id
    bench.history.settle(BTC, FIRST_MS)
    bench.last_event_ms = last_event_ms
    bench.stand_at(FIRST_MS + DELAY_MS)
    bench.exchange.asked.clear()
    await bench.booker().settle()
    held = D(15) if asked else D(10)
    assert await bench.payments(account) == [(FIRST_MS, -held * 100 * D("0.0001"))]
    assert bench.exchange.asked.count("fills since") == 2 * asked, "one part with the fill, one that is empty"


async def test_the_run_begins_when_the_gap_is_closed_and_ends_with_the_fence(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = (await bench.desk.account()).id
    await bench.hold(account, "10", START_MS + 1)
    bench.history.settle(BTC, FIRST_MS)
    bench.history.broken = {BTC: FenceLostError("another engine took over")}
    ready = asyncio.Event()
    task = asyncio.create_task(bench.booker().run(ready))
    await asyncio.sleep(0.01)
    assert bench.clock.now_ms() == START_MS
    ready.set()
    with pytest.raises(FenceLostError):
        await asyncio.wait_for(task, 5)  # the clock moves by the booker's own pauses
    assert bench.clock.now_ms() - FIRST_MS < DELAY_MS + funding.LOOK_SECONDS * 1000
