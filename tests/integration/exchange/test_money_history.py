"""Fundings and income as the adapter reads them: pages, cut milliseconds, marks that a row does not tell."""

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest
from aiohttp import web

from pms.exchange.binance import BinanceExchange, account
from pms.exchange.binance.trade_windows import WINDOW_MS
from pms.model.income import FundingRate, FundingType, FundingUnpriced, FundingUnreadable
from pms.model.symbol import Symbol
from pms.runtime import SystemClock
from tests.integration.exchange.fake_venue import FakeVenue, Handler, answer, running_venue

BTC = Symbol("BTC/USDT:USDT")
HOUR_MS = 3_600_000
NOON_MS = 1_781_308_800_000


@pytest.fixture
async def venue() -> AsyncIterator[FakeVenue]:
    async with running_venue() as running_one:
        yield running_one


@pytest.fixture
async def exchange(venue: FakeVenue) -> AsyncIterator[BinanceExchange]:
    exchange = BinanceExchange(replace(venue.config(), deadline_seconds=5.0), SystemClock(), Random(1))
    await exchange.start()
    yield exchange
    await exchange.close()


class IncomeTape:
    """`income` by the venue's rules (Binance spec 2.4): both ends included, the first up to the limit."""

    def __init__(self, times_ms: list[int], type_: str = "TRANSFER") -> None:
        self.rows = [line(number, at_ms, type_) for number, at_ms in enumerate(times_ms)]
        self.asked: list[dict[str, str]] = []

    async def __call__(self, request: web.Request, body: bytes) -> web.StreamResponse:
        query = request.query
        self.asked.append(dict(query))
        start, end = int(query["startTime"]), int(query["endTime"])
        if end - start > 7 * 24 * HOUR_MS:
            return answer({"code": -4165, "msg": "Invalid time interval."}, 400)
        kind = query.get("incomeType")
        found = [
            row
            for row in self.rows
            if start <= int(str(row["time"])) <= end and kind in (None, row["incomeType"])
        ]
        return answer(found[: int(query["limit"])])


def line(number: int, at_ms: int, type_: str) -> dict[str, object]:
    row = {"symbol": "", "incomeType": type_, "income": "1.5", "asset": "USDT", "info": ""}
    return row | {"time": at_ms, "tranId": 9_689_322_392 + number, "tradeId": ""}


async def read_all(exchange: BinanceExchange, since_ms: int, until_ms: int) -> list[str]:
    """The ids of all lines, each once, in the order in which they came first."""
    ids: list[str] = []
    while since_ms <= until_ms:
        part = await exchange.account.income(since_ms, until_ms)
        assert part.whole_until_ms >= since_ms, "every part makes progress"
        ids += [row.transaction_id for row in part.rows]
        since_ms = part.whole_until_ms + 1
    return list(dict.fromkeys(ids))


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("a short page", [0, 5, 9]),
        ("full pages whose last millisecond is cut", [0, 5, 5, 9, 9, 9, 12]),
        ("more in one millisecond than a page", [0, 5, 5, 5, 5, 9]),
        ("three weeks", [0, WINDOW_MS, 2 * WINDOW_MS + 1, 3 * WINDOW_MS - 1]),
    ],
)
async def test_income_is_read_whole_in_pages(
    venue: FakeVenue,
    exchange: BinanceExchange,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    times: list[int],
) -> None:
    monkeypatch.setattr(account, "INCOME_PER_PAGE", 3)
    tape = IncomeTape([NOON_MS + each for each in times])
    if name.startswith("more in one"):
        # Executions fill the page; the lines that matter are asked for by their type.
        tape.rows[1:1] = [line(100 + number, NOON_MS + 5, "COMMISSION") for number in range(3)]
        tape.rows.remove(tape.rows[4])
        tape.rows.remove(tape.rows[4])
    venue.script["GET", "/fapi/v1/income"] = tape
    ids = await read_all(exchange, NOON_MS, NOON_MS + max(times) + 10)
    expected = [str(row["tranId"]) for row in tape.rows if row["incomeType"] != "COMMISSION"]
    assert [each for each in ids if each in expected] == expected


async def test_a_line_keeps_what_it_said_and_names_the_symbol_if_it_is_listed(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    tape = IncomeTape([NOON_MS, NOON_MS], "FUNDING_FEE")
    tape.rows[0]["symbol"], tape.rows[1]["symbol"] = "BTCUSDT", "GONEUSDT"
    venue.script["GET", "/fapi/v1/income"] = tape
    part = await exchange.account.income(NOON_MS, NOON_MS)
    assert [(row.type, row.native_symbol, row.symbol, row.amount) for row in part.rows] == [
        ("FUNDING_FEE", "BTCUSDT", BTC, Decimal("1.5")),
        ("FUNDING_FEE", "GONEUSDT", None, Decimal("1.5")),
    ]


def funding(at_ms: int, **more: str) -> dict[str, object]:
    return {"symbol": "BTCUSDT", "fundingRate": "-0.00003750", "fundingTime": at_ms, **more}


async def test_fundings_come_with_mark_price_and_kind(venue: FakeVenue, exchange: BinanceExchange) -> None:
    rows = [
        funding(NOON_MS + 7, markPrice="63823.90000000", rateType="Regular"),
        funding(NOON_MS + 7, markPrice="63823.90000000", rateType="Special"),
        funding(NOON_MS + 8 * HOUR_MS + 2, markPrice=""),
    ]

    async def rates(request: web.Request, body: bytes) -> web.StreamResponse:
        assert dict(request.query) == {
            "symbol": "BTCUSDT",
            "startTime": str(NOON_MS),
            "endTime": str(NOON_MS + 9 * HOUR_MS),
            "limit": "1000",
        }
        return answer(rows)

    async def candle(request: web.Request, body: bytes) -> web.StreamResponse:
        minute = int(request.query["startTime"])
        return answer([[minute, "64000.1", "1", "1", "1", "0", minute + 59_999, "0", 60, "0", "0", "0"]])

    venue.script["GET", "/fapi/v1/fundingRate"] = rates
    venue.script["GET", "/fapi/v1/markPriceKlines"] = candle
    told = await exchange.market.funding_rates(BTC, NOON_MS, NOON_MS + 9 * HOUR_MS)
    found = [each for each in told if isinstance(each, FundingRate)]
    assert [(each.key.time_ms - NOON_MS, each.key.type, each.mark_price) for each in found] == [
        (7, FundingType.REGULAR, Decimal("63823.9")),
        (7, FundingType.SPECIAL, Decimal("63823.9")),
        (8 * HOUR_MS + 2, FundingType.REGULAR, Decimal("64000.1")),
    ]
    assert {each.rate for each in found} == {Decimal("-0.0000375")}


async def test_a_funding_that_cannot_be_read_hides_no_other(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    rows = [
        funding(NOON_MS + 1, markPrice="63823.9", rateType="Lunar"),
        funding(NOON_MS + 2, markPrice="63823.9") | {"fundingRate": ""},
        funding(NOON_MS + 3, markPrice="63823.9") | {"fundingRate": "many"},
        funding(NOON_MS + 4, markPrice="0.00000000"),
        funding(NOON_MS + 5, markPrice="dear"),
        funding(NOON_MS + 6, markPrice="63823.9"),
    ]

    async def rates(request: web.Request, body: bytes) -> web.StreamResponse:
        return answer(rows)

    async def nothing(request: web.Request, body: bytes) -> web.StreamResponse:
        return answer([])

    venue.script["GET", "/fapi/v1/fundingRate"] = rates
    venue.script["GET", "/fapi/v1/markPriceKlines"] = nothing
    found = await exchange.market.funding_rates(BTC, NOON_MS, NOON_MS + HOUR_MS)
    assert [type(each) for each in found] == [FundingUnreadable] * 3 + [FundingUnpriced] * 2 + [FundingRate]
    assert [each.key.time_ms - NOON_MS for each in found] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("marks", "trades", "expected"),
    [(["61000.5"], ["61001"], "61000.5"), ([], ["61001"], "61001"), ([], [], None)],
    ids=["the last mark", "the last trade", "nothing"],
)
async def test_the_price_before_a_moment_is_the_last_mark_else_the_last_trade(
    venue: FakeVenue, exchange: BinanceExchange, marks: list[str], trades: list[str], expected: str | None
) -> None:
    def candles(closes: list[str]) -> Handler:
        async def tell(request: web.Request, body: bytes) -> web.StreamResponse:
            assert dict(request.query) == {
                "symbol": "BTCUSDT",
                "interval": "1m",
                "endTime": str(NOON_MS - 1),
                "limit": "1",
            }
            start = NOON_MS - 3 * 60_000
            tail = [start + 59_999, "0", 60, "0", "0", "0"]
            return answer([[start, "1", "1", "1", close, "0", *tail] for close in closes])

        return tell

    venue.script["GET", "/fapi/v1/markPriceKlines"] = candles(marks)
    venue.script["GET", "/fapi/v1/klines"] = candles(trades)
    found = await exchange.market.price_before(BTC, NOON_MS + 12_345)
    assert found == (None if expected is None else Decimal(expected))


async def test_adjusted_intervals_are_told_by_symbol(venue: FakeVenue, exchange: BinanceExchange) -> None:
    async def info(request: web.Request, body: bytes) -> web.StreamResponse:
        row = {"adjustedFundingRateCap": "0.02", "adjustedFundingRateFloor": "-0.02", "disclaimer": False}
        listed = [("BTCUSDT", 4), ("GONEUSDT", 1)]
        return answer([row | {"symbol": name, "fundingIntervalHours": hours} for name, hours in listed])

    venue.script["GET", "/fapi/v1/fundingInfo"] = info
    assert await exchange.market.funding_hours() == {BTC: 4}
