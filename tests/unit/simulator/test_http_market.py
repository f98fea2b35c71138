"""Market data by request: every endpoint of spec 2.1 over a real connection, and its refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from pms.simulator import recording
from pms.simulator.config import SimulatorConfig
from pms.simulator.listing import set_status
from pms.simulator.simulator import Simulator

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def simulator() -> AsyncIterator[Simulator]:
    running = Simulator(SimulatorConfig(recordings=(recording("funding"),), symbols=("ETHUSDT",)))
    await running.start()
    try:
        feed, now = running.venue.feed, running.clock.now_ms()
        for step in range(1, 60):
            feed.advance(now + step * 20)
        yield running
    finally:
        await running.stop()


async def _get(simulator: Simulator, path: str, **params: object) -> Any:
    query = {name: str(value) for name, value in params.items()}
    async with (
        aiohttp.ClientSession() as session,
        session.get(simulator.url + path, params=query) as answer,
    ):
        return await answer.json()


@pytest.mark.parametrize(
    ("path", "params", "fields"),
    [
        ("/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": 5}, "lastUpdateId E T bids asks"),
        ("/fapi/v1/rpiDepth", {"symbol": "BTCUSDT"}, "lastUpdateId E T bids asks"),
        ("/fapi/v1/trades", {"symbol": "BTCUSDT"}, "id price qty quoteQty time isBuyerMaker isRPITrade"),
        ("/fapi/v1/aggTrades", {"symbol": "BTCUSDT"}, "a p q nq f l T m"),
        (
            "/fapi/v1/premiumIndex",
            {"symbol": "BTCUSDT"},
            "symbol markPrice indexPrice estimatedSettlePrice lastFundingRate interestRate nextFundingTime"
            " time",
        ),
        ("/fapi/v1/fundingRate", {"symbol": "BTCUSDT"}, "symbol fundingRate fundingTime markPrice rateType"),
        (
            "/fapi/v1/ticker/24hr",
            {"symbol": "BTCUSDT"},
            "symbol priceChange priceChangePercent weightedAvgPrice lastPrice lastQty openPrice highPrice"
            " lowPrice volume quoteVolume openTime closeTime firstId lastId count",
        ),
        ("/fapi/v1/ticker/price", {"symbol": "BTCUSDT"}, "symbol price time"),
        ("/fapi/v2/ticker/price", {}, "symbol price time"),
        (
            "/fapi/v1/ticker/bookTicker",
            {"symbol": "BTCUSDT"},
            "symbol bidPrice bidQty askPrice askQty time lastUpdateId",
        ),
        ("/fapi/v1/openInterest", {"symbol": "BTCUSDT"}, "openInterest symbol time"),
        ("/fapi/v1/symbolAdlRisk", {"symbol": "BTCUSDT"}, "symbol adlRisk updateTime"),
        ("/fapi/v1/constituents", {"symbol": "BTCUSDT"}, "symbol time constituents"),
        ("/fapi/v1/insuranceBalance", {}, "symbols assets"),
        (
            "/fapi/v1/assetIndex",
            {"symbol": "USDTUSD"},
            "symbol time index bidBuffer askBuffer bidRate askRate autoExchangeBidBuffer"
            " autoExchangeAskBuffer autoExchangeBidRate autoExchangeAskRate",
        ),
        ("/fapi/v1/tradingSchedule", {}, "updateTime marketSchedules"),
        (
            "/futures/data/openInterestHist",
            {"symbol": "BTCUSDT", "period": "5m"},
            "symbol sumOpenInterest sumOpenInterestValue CMCCirculatingSupply timestamp",
        ),
        *(
            (
                f"/futures/data/{name}",
                {"symbol": "BTCUSDT", "period": "1h"},
                "symbol longShortRatio longAccount shortAccount timestamp",
            )
            for name in (
                "topLongShortPositionRatio",
                "topLongShortAccountRatio",
                "globalLongShortAccountRatio",
            )
        ),
        (
            "/futures/data/takerlongshortRatio",
            {"symbol": "BTCUSDT", "period": "1d"},
            "buySellRatio buyVol sellVol timestamp",
        ),
        (
            "/futures/data/basis",
            {"pair": "BTCUSDT", "contractType": "PERPETUAL", "period": "5m"},
            "indexPrice contractType basisRate futuresPrice annualizedBasisRate basis pair timestamp",
        ),
    ],
)
async def test_answer_has_the_documented_fields(
    simulator: Simulator, path: str, params: dict[str, object], fields: str
) -> None:
    answer = await _get(simulator, path, **params)
    row = answer[-1] if isinstance(answer, list) else answer
    assert list(row) == fields.split()


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("/fapi/v1/depth", {}, -1102),
        ("/fapi/v1/depth", {"symbol": "NOPE"}, -1121),
        ("/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": 7}, -4021),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT"}, -1102),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ("/fapi/v1/continuousKlines", {"contractType": "PERPETUAL", "interval": "1m"}, -1102),
        ("/fapi/v1/openInterest", {}, -1102),
        ("/fapi/v1/aggTrades", {"symbol": "BTCUSDT", "startTime": 0, "endTime": 3_600_001}, -1127),
        ("/futures/data/openInterestHist", {"symbol": "BTCUSDT"}, -1102),
        ("/futures/data/openInterestHist", {"symbol": "BTCUSDT", "period": "7m"}, -1130),
        ("/futures/data/openInterestHist", {"symbol": "BTCUSDT", "period": "5m", "startTime": 1}, -1130),
        ("/futures/data/openInterestHist", {"symbol": "BTCUSDT", "period": "5m", "limit": 501}, -1130),
        ("/futures/data/takerlongshortRatio", {"symbol": "NOPE", "period": "5m"}, -1121),
        ("/futures/data/basis", {"pair": "BTCUSDT", "period": "5m"}, -1102),
        ("/futures/data/delivery-price", {"pair": "NOPE"}, -1121),
        ("/fapi/v1/convert/exchangeInfo", {}, -4084),
    ],
)
async def test_refusals(simulator: Simulator, path: str, params: dict[str, object], code: int) -> None:
    assert (await _get(simulator, path, **params))["code"] == code


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("klines", {"symbol": "BTCUSDT"}),
        ("continuousKlines", {"pair": "BTCUSDT", "contractType": "PERPETUAL"}),
        ("indexPriceKlines", {"pair": "BTCUSDT"}),
        ("markPriceKlines", {"symbol": "BTCUSDT"}),
        ("premiumIndexKlines", {"symbol": "BTCUSDT"}),
    ],
)
@pytest.mark.parametrize("interval", ["1m", "1d", "1w", "1M"])
async def test_candles_of_every_kind(
    simulator: Simulator, path: str, params: dict[str, object], interval: str
) -> None:
    rows = await _get(simulator, f"/fapi/v1/{path}", interval=interval, limit=3, **params)
    assert len(rows) == 3
    assert all(len(row) == 12 for row in rows)
    assert [row[6] + 1 for row in rows[:-1]] == [row[0] for row in rows[1:]]
    assert all(float(row[3]) <= float(row[1]) <= float(row[2]) for row in rows)


async def test_statistics_are_told_of_whole_periods_and_can_be_paged(simulator: Simulator) -> None:
    path, asked = "/futures/data/takerlongshortRatio", {"symbol": "BTCUSDT", "period": "15m"}
    newest = await _get(simulator, path, **asked)
    times = [row["timestamp"] for row in newest]
    assert (len(times), {later - t for t, later in pairwise(times)}) == (30, {900_000})
    assert times[-1] % 900_000 == 0
    assert times[-1] <= simulator.clock.now_ms() < times[-1] + 900_000 + 60_000
    page = await _get(simulator, path, **asked, startTime=times[3], endTime=times[9], limit=4)
    assert page == newest[3:7]
    until = await _get(simulator, path, **asked, endTime=times[9] + 1, limit=2)
    assert until == newest[8:10]
    crowd = await _get(simulator, "/futures/data/globalLongShortAccountRatio", **asked)
    assert [row["longShortRatio"] for row in crowd] == [row["buySellRatio"] for row in newest]
    assert await _get(simulator, "/futures/data/delivery-price", pair="BTCUSDT") == []


async def test_trades_can_be_paged_by_id(simulator: Simulator) -> None:
    newest = await _get(simulator, "/fapi/v1/aggTrades", symbol="BTCUSDT", limit=5)
    page = await _get(simulator, "/fapi/v1/aggTrades", symbol="BTCUSDT", fromId=newest[1]["a"], limit=2)
    assert [row["a"] for row in page] == [row["a"] for row in newest[1:3]]
    trades = await _get(simulator, "/fapi/v1/trades", symbol="BTCUSDT", limit=4)
    assert len(trades) == 4


async def test_a_delisting_shows_everywhere(simulator: Simulator) -> None:
    set_status(simulator.venue, "ETHUSDT", "SETTLING", simulator.clock.now_ms())
    info = await _get(simulator, "/fapi/v1/exchangeInfo")
    assert {s["symbol"]: s["status"] for s in info["symbols"]} == {
        "BTCUSDT": "TRADING",
        "ETHUSDT": "SETTLING",
    }
    assert simulator.venue.engine.rules["ETHUSDT"].info.status == "SETTLING"
