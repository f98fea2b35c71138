"""Executions of a gap, read from a venue that tells seven days at once and three months back."""

from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random

import pytest
from aiohttp import web

from pms.exchange.binance import BinanceExchange
from pms.exchange.binance.trade_windows import DAY_MS
from pms.model.ids import TradeId
from pms.model.symbol import Symbol
from pms.runtime import SystemClock
from tests.integration.exchange.fake_venue import FakeVenue, answer, growing_now_ms, running_venue

BTC = Symbol("BTC/USDT:USDT")
HOUR_MS = 3_600_000


class TradeTape:
    """`userTrades` by the venue's rules (Binance spec 2.4). Trade n was made n hours before now, ids grow."""

    def __init__(self, hours_ago: list[int]) -> None:
        now_ms = growing_now_ms()
        oldest_first = sorted(hours_ago, reverse=True)
        self.rows = [(number + 1, now_ms - hours * HOUR_MS) for number, hours in enumerate(oldest_first)]

    async def __call__(self, request: web.Request, body: bytes) -> web.StreamResponse:
        now_ms, query = growing_now_ms(), request.query
        first, start, end = (int(query.get(name, 0)) for name in ("fromId", "startTime", "endTime"))
        if first and (start or end):
            return answer({"code": -1128, "msg": "Combination of optional parameters invalid."}, 400)
        if start and end - start > 7 * DAY_MS:
            return answer({"code": -4165, "msg": "Invalid time interval."}, 400)
        if not first and not start:
            start = now_ms - 7 * DAY_MS
        told = [
            (number, at)
            for number, at in self.rows
            if at >= now_ms - 90 * DAY_MS and number >= first and start <= at <= (end or now_ms)
        ]
        return answer([row(number, at) for number, at in told[: int(query["limit"])]])


def row(number: int, at_ms: int) -> dict[str, object]:
    trade = {"symbol": "BTCUSDT", "id": number, "orderId": number, "side": "BUY", "price": "1", "qty": "1"}
    return trade | {"commission": "0.1", "time": at_ms}


@pytest.fixture
async def venue() -> AsyncIterator[FakeVenue]:
    async with running_venue() as running_one:
        yield running_one


@pytest.fixture
async def exchange(venue: FakeVenue) -> AsyncIterator[BinanceExchange]:
    # A page of 1000 executions takes the test's own venue a while on a busy machine.
    config = replace(venue.config(), deadline_seconds=5.0)
    exchange = BinanceExchange(config, SystemClock(), Random(1))
    await exchange.start()
    yield exchange
    await exchange.close()


GAPS = [
    ("an hour", 1, 1),
    ("four days", 4 * 24, 1),
    ("eight days", 8 * 24, 2),
    ("a hundred days", 100 * 24, 13),
]


@pytest.mark.parametrize(("name", "hours", "windows"), GAPS, ids=[gap[0] for gap in GAPS])
@pytest.mark.parametrize("known", [True, False], ids=["after a known trade", "without one"])
async def test_a_gap_is_read_whole_within_the_venues_windows(
    venue: FakeVenue, exchange: BinanceExchange, name: str, hours: int, windows: int, known: bool
) -> None:
    # A trade at the begin of the gap, one in the middle, one now; and one before the gap, which is booked.
    tape = TradeTape([hours + 1, hours - 1, hours // 2, 0])
    venue.script["GET", "/fapi/v1/userTrades"] = tape
    since_ms = growing_now_ms() - hours * HOUR_MS
    expected = [number for number, at in tape.rows if at >= growing_now_ms() - 89 * DAY_MS and number > 1]
    found: list[int] = []
    trade_id = TradeId(1 if known else 0)
    while fills := await exchange.account.fills_since(BTC, trade_id, since_ms):
        found += [fill.trade_id for fill in fills]
        trade_id, since_ms = fills[-1].trade_id, fills[-1].trade_time_ms
    assert found == expected
    asked = venue.count("GET", "/fapi/v1/userTrades")
    assert asked <= 2 if known and hours < 2000 else asked <= windows + 2
    assert exchange.account.fills_reach_ms() == 89 * DAY_MS


async def test_a_busy_symbol_is_read_in_parts(venue: FakeVenue, exchange: BinanceExchange) -> None:
    tape = TradeTape([])
    now_ms = growing_now_ms()
    tape.rows = [(number, now_ms - 30 * DAY_MS + number) for number in range(1, 12_501)]
    venue.script["GET", "/fapi/v1/userTrades"] = tape
    first = await exchange.account.fills_since(BTC, TradeId(0), now_ms - 40 * DAY_MS)
    assert [fill.trade_id for fill in (first[0], first[-1])] == [1, 10_000]
    second = await exchange.account.fills_since(BTC, first[-1].trade_id, now_ms - 40 * DAY_MS)
    assert [fill.trade_id for fill in (second[0], second[-1])] == [10_001, 12_500]
    assert not await exchange.account.fills_since(BTC, second[-1].trade_id, now_ms - 40 * DAY_MS)
