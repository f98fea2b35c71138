"""REST against a scripted venue: what is sent, and what each answer or silence is taken to prove."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random
from urllib.parse import parse_qs

import aiohttp
import pytest
from aiohttp import web
from msgspec.structs import fields

from pms.exchange.binance import BinanceExchange, conduct
from pms.exchange.binance.bans import FileBans
from pms.exchange.binance.rest import reason_of
from pms.exchange.errors import (
    AccountGuardError,
    ExchangeRefusal,
    ExchangeUnavailable,
    UnreadablePayload,
)
from pms.exchange.messages import AccountInfo
from pms.exchange.port import (
    Absent,
    CancelVerdict,
    Confirmed,
    NotSent,
    OutcomeUnknown,
    PlaceOutcome,
    RefusedByExchange,
)
from pms.model.ids import ClientOrderId, ExchangeOrderId, TradeId
from pms.model.money import Price, Quantity
from pms.model.order import (
    ApprovedOrder,
    ExchangeOrderStatus,
    OrderSide,
    OrderType,
    SelfMatchPrevention,
    TimeInForce,
)
from pms.model.refusal import RefusalCode
from pms.model.symbol import Symbol
from pms.runtime import SystemClock
from tests.integration.exchange.fake_venue import (
    FakeVenue,
    Handler,
    answer,
    contract,
    running,
    running_venue,
    until,
)

BTC = Symbol("BTC/USDT:USDT")
ORDER = ("POST", "/fapi/v1/order")
CANCEL = ("DELETE", "/fapi/v1/order")
ID = ClientOrderId("PMSabcdefgh_MK_1")
PLACED = {
    "orderId": 8886774004994236429,
    "symbol": "BTCUSDT",
    "status": "NEW",
    "clientOrderId": ID,
    "side": "BUY",
    "origQty": "0.010",
    "executedQty": "0",
    "price": "0",
    "updateTime": 5,
}


def market_order(**changes: object) -> ApprovedOrder:
    order = ApprovedOrder(
        client_order_id=ID,
        symbol=BTC,
        side=OrderSide.BUY,
        type=OrderType.MARKET,
        quantity=Quantity(Decimal("0.010")),
        price=None,
        time_in_force=TimeInForce.GTC,
        reduce_only_wire=False,
        self_match=SelfMatchPrevention.EXPIRE_TAKER,
        risk_reducing=False,
    )
    return replace(order, **changes)  # type: ignore[arg-type]


def always(payload: object, status: int = 200, **headers: str) -> Handler:
    async def handler(request: web.Request, body: bytes) -> web.StreamResponse:
        if isinstance(payload, str):
            return web.Response(text=payload, status=status, headers=headers)
        return answer(payload, status, **headers)

    return handler


async def hang_up(request: web.Request, body: bytes) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def stay_silent(request: web.Request, body: bytes) -> web.StreamResponse:
    await asyncio.sleep(5)
    return web.Response()


@pytest.fixture
async def venue() -> AsyncIterator[FakeVenue]:
    async with running_venue() as running:
        yield running


@pytest.fixture
async def exchange(venue: FakeVenue) -> AsyncIterator[BinanceExchange]:
    exchange = BinanceExchange(venue.config(), SystemClock(), Random(1))
    await exchange.start()
    yield exchange
    await exchange.close()


async def test_market_order_on_the_wire(venue: FakeVenue, exchange: BinanceExchange) -> None:
    venue.script[ORDER] = always(PLACED)
    outcome = await exchange.trading.place(market_order())
    assert isinstance(outcome, Confirmed)
    assert outcome.report.order_id == "8886774004994236429"
    assert outcome.report.average_price is None
    assert outcome.recv_window_ms == 2000
    _, _, raw, key = venue.requests[-1]
    sent = {name: values[0] for name, values in parse_qs(raw).items()}
    assert key == "key"
    assert venue.bad_signatures == 0
    assert int(sent.pop("timestamp")) == outcome.timestamp_ms
    sent.pop("signature")
    assert sent == {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "MARKET",
        "quantity": "0.01",
        "selfTradePreventionMode": "EXPIRE_TAKER",
        "newClientOrderId": ID,
        "newOrderRespType": "RESULT",
        "recvWindow": "2000",
    }


@pytest.mark.parametrize(
    ("time_in_force", "response"),
    [
        (TimeInForce.GTC, "ACK"),
        (TimeInForce.GTX, "ACK"),
        (TimeInForce.IOC, "RESULT"),
        (TimeInForce.FOK, "RESULT"),
    ],
)
async def test_limit_order_on_the_wire(
    venue: FakeVenue, exchange: BinanceExchange, time_in_force: TimeInForce, response: str
) -> None:
    venue.script[ORDER] = always(PLACED)
    order = market_order(
        type=OrderType.LIMIT,
        price=Price(Decimal("50000.10")),
        time_in_force=time_in_force,
        reduce_only_wire=True,
    )
    await exchange.trading.place(order)
    sent = parse_qs(venue.requests[-1][2])
    assert sent["timeInForce"] == [time_in_force.value]
    assert sent["price"] == ["50000.1"]
    assert sent["reduceOnly"] == ["true"]
    assert sent["newOrderRespType"] == [response]


OUTCOMES: list[tuple[str, Handler, type[PlaceOutcome]]] = [
    ("refusal", always({"code": -2019, "msg": "Margin is insufficient."}, 400), RefusedByExchange),
    ("duplicate id", always({"code": -4116, "msg": "ClientOrderId is duplicated."}, 400), OutcomeUnknown),
    ("certain 503", always("Service Unavailable.", 503), NotSent),
    ("throttled 503", always({"code": -1008, "msg": "throttled"}, 503), NotSent),
    ("vague 503", always({"code": -1000, "msg": "Unknown error, please check"}, 503), OutcomeUnknown),
    ("gateway", always("<html>bad gateway</html>", 502), OutcomeUnknown),
    ("backend time-out", always({"code": -1007, "msg": "Timeout"}, 408), OutcomeUnknown),
    ("garbage with 200", always("<html>hello</html>", 200), OutcomeUnknown),
    ("half an order", always({"orderId": 1}, 200), OutcomeUnknown),
    ("hang-up after the request", hang_up, OutcomeUnknown),
    ("silence after the request", stay_silent, OutcomeUnknown),
]


@pytest.mark.parametrize(("handler", "kind"), [row[1:] for row in OUTCOMES], ids=[row[0] for row in OUTCOMES])
async def test_place_outcomes(
    venue: FakeVenue, exchange: BinanceExchange, handler: Handler, kind: type[PlaceOutcome]
) -> None:
    venue.script[ORDER] = handler
    outcome = await exchange.trading.place(market_order())
    assert isinstance(outcome, kind)
    assert venue.count(*ORDER) == 1, "an order is never repeated by the adapter"
    if isinstance(outcome, OutcomeUnknown | RefusedByExchange):
        assert outcome.timestamp_ms > 0
        assert outcome.recv_window_ms == 2000
    if isinstance(outcome, RefusedByExchange):
        assert (outcome.code, outcome.refusal) == (-2019, RefusalCode.EXCHANGE_MARGIN_INSUFFICIENT)


async def test_no_connection_means_not_sent(venue: FakeVenue, exchange: BinanceExchange) -> None:
    nowhere = replace(venue.config(), rest_url="http://127.0.0.1:1")
    lonely = BinanceExchange(nowhere, SystemClock(), Random(1))
    lonely._symbols.map = exchange._symbols.map
    with pytest.raises(ExchangeUnavailable):
        await lonely.start()
    assert isinstance(await lonely.trading.place(market_order()), NotSent)
    await lonely.close()
    assert isinstance(await lonely.trading.place(market_order()), NotSent)
    assert (await lonely.trading.cancel(BTC, ID)).verdict is CancelVerdict.NOT_SENT


async def test_unlisted_symbol_is_refused_without_a_request(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    outcome = await exchange.trading.place(market_order(symbol=Symbol("XYZ/USDT:USDT")))
    assert isinstance(outcome, RefusedByExchange)
    assert outcome.refusal is RefusalCode.UNKNOWN_SYMBOL
    assert venue.count(*ORDER) == 0


async def test_clock_refusal_measures_again(venue: FakeVenue, exchange: BinanceExchange) -> None:
    assert abs(exchange.statistics().rest.clock_offset_ms) < 500
    venue.clock_ahead_ms = 60_000
    venue.script[ORDER] = always({"code": -1021, "msg": "outside of the recvWindow"}, 400)
    assert isinstance(await exchange.trading.place(market_order()), NotSent)
    assert abs(exchange.statistics().rest.clock_offset_ms - 60_000) < 500
    venue.clock_ahead_ms = -60_000
    seen = []

    async def once_refused(request: web.Request, body: bytes) -> web.StreamResponse:
        seen.append(int(request.query["timestamp"]))
        if len(seen) == 1:
            return answer({"code": -1021, "msg": "1000ms ahead of the server's time."}, 400)
        return answer([])

    venue.script["GET", "/fapi/v1/openOrders"] = once_refused
    assert await exchange.account.open_orders() == []
    assert seen[0] - seen[1] == pytest.approx(120_000, abs=1000)


async def test_callers_that_come_together_share_one_measurement(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    before, asked = exchange.statistics().rest.clock_measurements, venue.count("GET", "/fapi/v1/time")
    await asyncio.gather(*(exchange._rest.resync() for _ in range(20)))
    assert exchange.statistics().rest.clock_measurements == before + 1
    assert venue.count("GET", "/fapi/v1/time") == asked + 3
    assert exchange.config.recv_window_ms == 2000, "a wider window is no cure"


async def test_a_ban_stops_every_request_until_it_ends(venue: FakeVenue, exchange: BinanceExchange) -> None:
    banned = {
        "code": -1003,
        "msg": f"Way too many requests; IP(1) banned until {exchange.now_ms() + 60_000}.",
    }
    venue.script[ORDER] = always(banned, 418)
    outcome = await exchange.trading.place(market_order())
    assert isinstance(outcome, NotSent)
    assert outcome.retry_after_ms == pytest.approx(60_000, abs=1000)
    asked = len(venue.requests)
    assert isinstance(await exchange.trading.place(market_order()), NotSent)
    assert (await exchange.trading.cancel(BTC, ID)).verdict is CancelVerdict.NOT_SENT
    with pytest.raises(ExchangeUnavailable, match="limit"):
        await exchange.account.positions()
    assert len(venue.requests) == asked
    assert exchange.statistics().rest.refused_locally == 3


async def test_the_order_limit_stops_placing_but_not_cancelling(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    limited = {"code": -1015, "msg": "Too many new orders; current limit is 300 orders per TEN_SECONDS."}
    venue.script[ORDER] = always(limited, 429, **{"Retry-After": "7"})
    outcome = await exchange.trading.place(market_order())
    assert outcome == NotSent(f"HTTP 429: {limited['msg']} (-1015)", 7000)
    assert isinstance(await exchange.trading.place(market_order()), NotSent)
    assert venue.count(*ORDER) == 1
    venue.script[CANCEL] = always(PLACED | {"status": "CANCELED"})
    assert (await exchange.trading.cancel(BTC, ID)).verdict is CancelVerdict.CANCELLED


async def test_the_weight_and_order_counts_are_read(venue: FakeVenue, exchange: BinanceExchange) -> None:
    counts = {"X-MBX-USED-WEIGHT-1M": "17", "x-mbx-order-count-10s": "3", "X-MBX-ORDER-COUNT-1M": "9"}
    venue.script[ORDER] = always(PLACED, 200, **counts)
    await exchange.trading.place(market_order())
    rest = exchange.statistics().rest
    assert (rest.weight_used_1m, rest.orders_used_10s, rest.orders_used_1m) == (17, 3, 9)


async def test_the_reserve_is_kept_for_reducing_risk(venue: FakeVenue, exchange: BinanceExchange) -> None:
    counts = {"X-MBX-USED-WEIGHT-1M": "9", "X-MBX-ORDER-COUNT-10S": "241", "X-MBX-ORDER-COUNT-1M": "300"}
    venue.script[ORDER] = always(PLACED, 200, **counts)
    assert isinstance(await exchange.trading.place(market_order()), Confirmed)
    refused = await exchange.trading.place(market_order())
    assert isinstance(refused, NotSent)
    assert "241 of 300 used" in refused.reason
    assert 0 < refused.retry_after_ms <= 10_000
    assert isinstance(await exchange.trading.place(market_order(risk_reducing=True)), Confirmed)
    venue.script[CANCEL] = always(PLACED | {"status": "CANCELED"})
    assert (await exchange.trading.cancel(BTC, ID)).verdict is CancelVerdict.CANCELLED
    assert venue.count(*ORDER) == 2
    spent = exchange.statistics().rest.control.spent_by_owner
    assert (spent["abcdefgh"].requests, spent["abcdefgh"].orders, spent["abcdefgh"].refused) == (3, 2, 1)
    assert spent["system"].weight == 4


async def test_limits_are_those_that_the_exchange_tells(venue: FakeVenue) -> None:
    limit = {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 5}
    info = {"symbols": [contract("BTCUSDT")], "rateLimits": [limit]}
    venue.script["GET", "/fapi/v1/exchangeInfo"] = always(info)
    venue.script[ORDER] = always(PLACED)
    exchange = BinanceExchange(venue.config(), SystemClock(), Random(1))
    await exchange.start()
    outcomes = [await exchange.trading.place(market_order()) for _ in range(5)]
    assert [type(each) for each in outcomes] == [Confirmed] * 4 + [NotSent]
    await exchange.close()


async def test_a_ban_outlives_a_restart(venue: FakeVenue, tmp_path: Path) -> None:
    def engine() -> BinanceExchange:
        bans = FileBans(tmp_path / "ban.json", venue.config().rest_url)
        return BinanceExchange(venue.config(), SystemClock(), Random(1), bans=bans)

    before = engine()
    await before.start()
    text = f"Way too many requests; IP(1) banned until {before.now_ms() + 200_000}."
    venue.script[ORDER] = always({"code": -1003, "msg": text}, 418)
    assert isinstance(await before.trading.place(market_order()), NotSent)
    await before.close()
    asked, after = len(venue.requests), engine()
    with pytest.raises(ExchangeUnavailable, match="stopped us"):
        await after.start()
    await after.close()
    assert len(venue.requests) == asked, "not even the clock is asked for"


def test_a_signature_stays_out_of_the_reason() -> None:
    told = "Connection timeout to host https://fapi.binance.com/fapi/v1/order?symbol=BTCUSDT&signature=5ec2e7"
    reason = reason_of(aiohttp.ConnectionTimeoutError(told))
    assert reason.endswith("https://fapi.binance.com/fapi/v1/order")


async def test_an_order_is_never_repeated_on_a_connection_that_was_closed(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    venue.script[CANCEL] = hang_up
    await exchange.account.server_time_ms()
    assert (await exchange.trading.cancel(BTC, ID)).verdict is CancelVerdict.UNKNOWN
    assert venue.count(*CANCEL) == 1


async def test_the_offender_waits_when_the_exchange_is_about_to_lock_us(
    venue: FakeVenue, exchange: BinanceExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conduct, "ORDERS_MIN", 1)
    expired = PLACED | {"status": "EXPIRED", "clientOrderId": ID}
    venue.script[ORDER] = always(expired)
    assert isinstance(await exchange.trading.place(market_order()), Confirmed)
    row = {"indicator": "IFER", "value": 0.97, "triggerValue": 0.99, "plannedRecoverTime": 0}
    status = {"indicators": {"BTCUSDT": [row | {"isLocked": False}]}, "updateTime": 1}
    venue.script["GET", "/fapi/v1/apiTradingStatus"] = always(status)
    async with running(exchange._status.run()):
        await until(lambda: exchange.statistics().conduct.readings)
        held = await exchange.trading.place(market_order())
        assert isinstance(held, NotSent)
        assert "IFER" in held.reason
        many = [market_order(), market_order(client_order_id=ClientOrderId("PMSbbbbbbbb_MK_1"))]
        assert [type(each) for each in await exchange.trading.place_many(many)] == [NotSent, OutcomeUnknown]
        assert isinstance(await exchange.trading.place(market_order(risk_reducing=True)), Confirmed)
        venue.script[ORDER] = always({"code": -4400, "msg": "Quantitative Rules violated"}, 400)
        asked = venue.count("GET", "/fapi/v1/apiTradingStatus")
        assert isinstance(await exchange.trading.place(market_order(risk_reducing=True)), RefusedByExchange)
        await until(lambda: venue.count("GET", "/fapi/v1/apiTradingStatus") > asked)


@pytest.mark.parametrize(
    ("left_ms", "window_ms"), [(None, 2000), (60_000, 2000), (1700, 1200), (500, 0), (-5, 0)]
)
async def test_no_order_outlives_the_lease(venue: FakeVenue, left_ms: int | None, window_ms: int) -> None:
    venue.script[ORDER] = always(PLACED)
    venue.script["GET", "/fapi/v1/openOrders"] = always([])
    exchange = BinanceExchange(venue.config(), SystemClock(), Random(1), lambda: left_ms)
    await exchange.start()
    outcome = await exchange.trading.place(market_order())
    if window_ms:
        assert isinstance(outcome, Confirmed)
        assert outcome.recv_window_ms == window_ms
    else:
        assert isinstance(outcome, NotSent)
        assert venue.count(*ORDER) == 0
    assert await exchange.account.open_orders() == [], "reading needs no lease"
    await exchange.close()


CANCELS: list[tuple[Handler, CancelVerdict]] = [
    (always(PLACED | {"status": "CANCELED"}), CancelVerdict.CANCELLED),
    (always(PLACED | {"status": "FILLED"}), CancelVerdict.NOT_OPEN),
    (always(PLACED), CancelVerdict.UNKNOWN),
    (always({"code": -2011, "msg": "Unknown order sent."}, 400), CancelVerdict.NOT_OPEN),
    (always({"code": -2013, "msg": "Order does not exist."}, 400), CancelVerdict.NOT_OPEN),
    (always({"code": -1021, "msg": ""}, 400), CancelVerdict.NOT_SENT),
    (always({"code": -2015, "msg": "Invalid API-key"}, 401), CancelVerdict.NOT_SENT),
    (always("Service Unavailable.", 503), CancelVerdict.NOT_SENT),
    (always("<html>", 504), CancelVerdict.UNKNOWN),
    (always("nonsense", 200), CancelVerdict.UNKNOWN),
    (hang_up, CancelVerdict.UNKNOWN),
    (stay_silent, CancelVerdict.UNKNOWN),
]


@pytest.mark.parametrize(("handler", "verdict"), CANCELS)
async def test_cancel_verdicts(
    venue: FakeVenue, exchange: BinanceExchange, handler: Handler, verdict: CancelVerdict
) -> None:
    venue.script[CANCEL] = handler
    outcome = await exchange.trading.cancel(BTC, ID)
    assert outcome.verdict is verdict
    if verdict is CancelVerdict.CANCELLED:
        assert outcome.report is not None
        assert outcome.report.status is ExchangeOrderStatus.CANCELLED


async def test_query_tells_absence_from_failure(venue: FakeVenue, exchange: BinanceExchange) -> None:
    query = ("GET", "/fapi/v1/order")
    venue.script[query] = always({"code": -2013, "msg": "Order does not exist."}, 400)
    assert await exchange.trading.query(BTC, ID) is Absent.ABSENT
    venue.script[query] = always({"code": -1121, "msg": "Invalid symbol."}, 400)
    with pytest.raises(ExchangeRefusal):
        await exchange.trading.query(BTC, ID)
    venue.script[query] = always("<html>", 502)
    with pytest.raises(ExchangeUnavailable):
        await exchange.trading.query(BTC, ID)
    venue.script[query] = always("[]", 200)
    with pytest.raises(UnreadablePayload):
        await exchange.trading.query(BTC, ID)
    venue.script[query] = always(PLACED | {"status": "FILLED", "executedQty": "0.010", "avgPrice": "7"})
    report = await exchange.trading.query(BTC, ID)
    assert report is not Absent.ABSENT
    assert (report.status, report.average_price) == (ExchangeOrderStatus.FILLED, 7)


def trade(trade_id: int) -> dict[str, object]:
    row = {
        "symbol": "BTCUSDT",
        "id": trade_id,
        "orderId": trade_id // 1000,
        "side": "BUY",
        "price": "1",
        "qty": "1",
    }
    return row | {"commission": "0.1", "time": trade_id}


async def test_executions_are_read_page_by_page(venue: FakeVenue, exchange: BinanceExchange) -> None:
    async def trades(request: web.Request, body: bytes) -> web.StreamResponse:
        first, limit = int(request.query.get("fromId", "1")), int(request.query["limit"])
        order = request.query.get("orderId")
        ids = [n for n in range(first, 2501) if order is None or n // 1000 == int(order)]
        return answer([trade(n) for n in ids[:limit]])

    venue.script["GET", "/fapi/v1/userTrades"] = trades
    fills = await exchange.account.fills_since(BTC, TradeId(7), exchange.now_ms())
    assert [fill.trade_id for fill in fills] == list(range(8, 2501))
    assert venue.count("GET", "/fapi/v1/userTrades") == 3
    fills = await exchange.account.order_fills(BTC, ExchangeOrderId("1"))
    assert [fill.trade_id for fill in fills] == list(range(1000, 2000))


async def test_account_readings(venue: FakeVenue, exchange: BinanceExchange) -> None:
    venue.script["GET", "/fapi/v1/accountConfig"] = always(
        {"canTrade": True, "dualSidePosition": False, "multiAssetsMargin": True}
    )
    mode = await exchange.account.mode()
    assert (mode.one_way, mode.single_asset, mode.can_trade) == (True, False, True)
    symbol_config = {"symbol": "BTCUSDT", "marginType": "CROSSED", "leverage": 25}
    venue.script["GET", "/fapi/v1/symbolConfig"] = always([symbol_config])
    assert await exchange.account.leverage(BTC) == 25
    venue.script["GET", "/fapi/v1/symbolConfig"] = always(symbol_config | {"marginType": "ISOLATED"})
    with pytest.raises(AccountGuardError, match="ISOLATED"):
        await exchange.account.leverage(BTC)
    assert await exchange.account.epoch() == "binance"
    now = await exchange.account.server_time_ms()
    assert abs(now - exchange.now_ms()) < 500
    venue.script["GET", "/fapi/v1/time"] = always({"serverTime": 5}, 200, **{"x-pms-sim-epoch": "e7"})
    await exchange.account.server_time_ms()
    assert await exchange.account.epoch() == "e7"
    totals = dict.fromkeys((each.encode_name for each in fields(AccountInfo) if each.required), "0")
    purse = {"asset": "USDT", "walletBalance": "10", "availableBalance": "4", "marginBalance": "9"}
    margins = {"initialMargin": "5", "maintMargin": "1"}
    venue.script["GET", "/fapi/v3/account"] = always(
        totals | {"assets": [{"asset": "BNB"}, purse | margins], "positions": []}
    )
    wallet = await exchange.account.wallet()
    assert (wallet.wallet_balance, wallet.available_balance, wallet.margin_balance) == (10, 4, 9)
    assert (wallet.initial_margin, wallet.maintenance_margin) == (5, 1)
    venue.script["GET", "/fapi/v3/account"] = always(totals | {"assets": [{"asset": "BNB"}], "positions": []})
    with pytest.raises(UnreadablePayload, match="USDT"):
        await exchange.account.wallet()


async def test_a_position_on_a_new_listing_is_translated_after_a_refresh(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    row = {
        "symbol": "SOLUSDT",
        "positionSide": "BOTH",
        "positionAmt": "-2",
        "entryPrice": "9",
        "updateTime": 3,
    }
    venue.script["GET", "/fapi/v3/positionRisk"] = always([row])
    exchange._symbols._refreshed_at = float("-inf")
    venue.natives.append("SOLUSDT")
    positions = await exchange.account.positions()
    assert [(each.symbol, each.signed_quantity) for each in positions] == [("SOL/USDT:USDT", Decimal(-2))]


async def test_public_readings(venue: FakeVenue, exchange: BinanceExchange) -> None:
    candle = [1, "1.0", "2.0", "0.5", "1.5", "10", 59999, "15", 7, "5", "7.5", "0"]
    venue.script["GET", "/fapi/v1/klines"] = always([candle])
    assert await exchange.market.klines(BTC, "1m", 1) == [tuple(candle)]
    rows = [
        {"bracket": n, "initialLeverage": 50 // n, "notionalCap": 100 * n, "notionalFloor": 100 * (n - 1)}
        | {"maintMarginRatio": 0.004, "cum": 0.5}
        for n in (2, 1)
    ]
    venue.script["GET", "/fapi/v1/leverageBracket"] = always([{"symbol": "BTCUSDT", "brackets": rows}])
    brackets = (await exchange.market.brackets())[BTC]
    assert [each.leverage_max for each in brackets] == [50, 25]
    assert brackets[0].maintenance_rate == Decimal("0.004")
    assert {each.symbol for each in await exchange.market.symbols()} == {BTC, "ETH/USDT:USDT"}
