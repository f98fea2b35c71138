"""The door over loopback: signatures, limits, streams and faults, with a plain HTTP and WebSocket client."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from decimal import Decimal as D
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
import pytest

from pms.exchange import messages as m
from pms.simulator import Simulator, SimulatorConfig, SimulatorError
from pms.simulator.config import Limits
from pms.simulator.gate import check_signature
from pms.simulator.http_orders import json_list
from pms.simulator.requests import signed_text
from tests.unit.simulator.signed_client import KEY, SECRET, SignedClient, receive

CONFIG = SimulatorConfig(
    accounts=((KEY, SECRET, D(100_000)), ("test-key-2", "secret-2", D(500))),
    symbols=("BTCUSDT", "ETHUSDT"),
    admin_token="token",
    limits=Limits(request_weight_1m=100_000, orders_10s=100_000, orders_1m=100_000),
)


@dataclass
class Wire:
    """A running exchange and a client of its first account."""

    simulator: Simulator
    client: SignedClient
    session: aiohttp.ClientSession

    async def socket(self, path: str) -> aiohttp.ClientWebSocketResponse:
        return await self.session.ws_connect(self.simulator.ws_url + path)

    async def listen_key(self) -> str:
        return str((await self.client.raw("POST", "/fapi/v1/listenKey")).body["listenKey"])


async def _run(config: SimulatorConfig) -> AsyncIterator[Wire]:
    simulator = Simulator(config)
    await simulator.start()
    try:
        if "BTCUSDT" in simulator.venue.engine.markets:
            simulator.set_quote("BTCUSDT", D("60000.0"), D("60000.1"), D(10), D(10))
        async with aiohttp.ClientSession() as session:
            yield Wire(simulator, SignedClient(simulator.url, session), session)
    finally:
        await simulator.stop()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async for running in _run(CONFIG):
        yield running


@pytest.fixture
async def strict() -> AsyncIterator[Wire]:
    limits = Limits(request_weight_1m=40, orders_10s=3, orders_1m=100)
    async for running in _run(replace(CONFIG, limits=limits)):
        yield running


ORDER: dict[str, Any] = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}
RESTING: dict[str, Any] = {**ORDER, "type": "LIMIT", "price": "59000", "timeInForce": "GTC"}


def test_signature_vectors_of_the_documentation() -> None:
    secret = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
    query = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC"
    body = "quantity=1&price=9000&recvWindow=5000&timestamp=1591702613943"
    signature = "30baaf0fab549bbeda7f5ef201898b34122da25fd23c646cac2c529aebe670a4"
    assert check_signature(secret, *signed_text(query, f"{body}&signature={signature.upper()}")) is None
    refused = check_signature(secret, *signed_text(query, f"{body}1&signature={signature}"))
    assert refused is not None
    assert refused.code == -1022
    assert check_signature(secret, *signed_text(query, f"{body}&signature=é")) is not None
    assert signed_text("a=1&signature=x&b=2", "c=3") == ("a=1&b=2c=3", "x")


@pytest.mark.parametrize("as_body", [False, True])
async def test_order_by_query_and_by_form_body(wire: Wire, as_body: bool) -> None:
    answer = await wire.client.signed("POST", "/fapi/v1/order", as_body, **ORDER, newOrderRespType="RESULT")
    assert answer.status == 200, answer
    assert (answer.body["status"], answer.body["executedQty"]) == ("FILLED", "0.100")
    assert "avgPrice" not in answer.body
    assert answer.headers["X-MBX-ORDER-COUNT-10S"] == "1"
    assert answer.headers["X-PMS-Sim-Epoch"] == wire.simulator.epoch
    query = await wire.client.signed(
        "GET", "/fapi/v1/order", symbol="BTCUSDT", orderId=answer.body["orderId"]
    )
    assert msgspec.convert(query.body, m.OrderAnswer).avg_price == "60000.10000"
    trades = await wire.client.signed("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")
    assert [t.commission for t in msgspec.convert(trades.body, list[m.UserTrade])] == ["3.00000500"]


async def test_acknowledgement_says_new_even_when_filled(wire: Wire) -> None:
    answer = await wire.client.order(**ORDER)
    assert (answer.body["status"], answer.body["executedQty"]) == ("NEW", "0.000")


async def test_keys_signature_and_time_are_checked_in_order(wire: Wire) -> None:
    client, now = wire.client, time.time_ns() // 1_000_000
    stale, early = now - 6000, now + 5000
    cases: list[tuple[SignedClient, dict[str, Any], int, int]] = [
        (SignedClient(client.url, client.session, key=""), {}, 401, -2014),
        (SignedClient(client.url, client.session, key="bad key"), {}, 401, -2014),
        (SignedClient(client.url, client.session, key="unknown"), {}, 401, -2015),
        (SignedClient(client.url, client.session, secret="wrong"), {"timestamp": stale}, 400, -1022),
        (client, {"timestamp": stale, "symbol": "NOPE"}, 400, -1021),
        (client, {"timestamp": early}, 400, -1021),
        (client, {"timestamp": "soon"}, 400, -1102),
        (client, {"timestamp": "²"}, 400, -1102),
        (client, {"recvWindow": "²"}, 400, -1131),
        (client, {"recvWindow": 70000}, 400, -1131),
        (client, {"symbol": "NOPE"}, 400, -1121),
        (client, {"quantity": ""}, 400, -1105),
    ]
    for sender, change, status, code in cases:
        answer = await sender.order(**{**ORDER, **change})
        assert (answer.status, answer.body["code"]) == (status, code), change
        assert answer.headers["Content-Type"].startswith("application/json")
    unsigned = await client.raw("POST", f"/fapi/v1/order?timestamp={now}")
    assert unsigned.body["code"] == -1102
    assert (await client.signed("GET", "/fapi/v1/openOrders")).body == []


async def test_unknown_path_and_malformed_parameters(wire: Wire) -> None:
    assert (await wire.client.raw("GET", "/fapi/v1/nothing")).status == 404
    assert (await wire.client.raw("GET", "/fapi/v1/depth?symbol=BTCUSDT&limit=7")).body["code"] == -4021
    assert (await wire.client.raw("GET", "/fapi/v1/depth?symbol=BTCUSDT&symbol=X")).body["code"] == -1101
    assert (await wire.client.raw("GET", "/fapi/v1/klines?symbol=BTCUSDT&interval=7x")).body["code"] == -1120
    assert (await wire.client.signed("GET", "/fapi/v1/order", symbol="BTCUSDT")).body["code"] == -1102
    for wrong in ("--5", "²", "9" * 30):
        answer = await wire.client.signed("GET", "/fapi/v1/order", symbol="BTCUSDT", orderId=wrong)
        assert answer.body["code"] == -1102
        assert (await wire.client.signed("GET", "/fapi/v1/allOrders", limit=wrong)).body == []


async def test_batch_raw_json_in_the_body_keeps_order_and_mixes_outcomes(wire: Wire) -> None:
    elements = [
        {**RESTING, "newClientOrderId": "one"},
        {**RESTING, "quantity": "-1"},
        {**RESTING, "reduceOnly": True},
    ]
    now = time.time_ns() // 1_000_000
    body = f"batchOrders={json.dumps(elements, separators=(',', ':'))}&timestamp={now}"
    answer = await wire.client.raw(
        "POST", "/fapi/v1/batchOrders", f"{body}&signature={wire.client.sign(body)}"
    )
    assert answer.status == 200
    assert [e.get("code") or e["clientOrderId"] for e in answer.body] == ["one", -4003, -2022]
    encoded = quote('["one","none"]')
    text = f"symbol=BTCUSDT&origclientorderidlist={encoded}&timestamp={now}"
    path = f"/fapi/v1/batchOrders?{text}&signature={wire.client.sign(text)}"
    cancelled = await wire.client.raw("DELETE", path)
    assert [e.get("code") or e["status"] for e in cancelled.body] == ["CANCELED", -2011]


async def test_order_life_by_rest(wire: Wire) -> None:
    client = wire.client
    order = (await client.order(**RESTING, newClientOrderId="life")).body
    listed = await client.signed("GET", "/fapi/v1/openOrders", symbol="BTCUSDT")
    assert [o["orderId"] for o in listed.body] == [order["orderId"]]
    account = msgspec.convert((await client.signed("GET", "/fapi/v3/account")).body, m.AccountInfo)
    assert account.total_open_order_initial_margin == "295.00000000"  # at the order's own price
    gone = await client.signed("DELETE", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="life")
    assert gone.body["status"] == "CANCELED"
    assert (await client.signed("DELETE", "/fapi/v1/order", symbol="BTCUSDT", orderId=order["orderId"])).body[
        "code"
    ] == -2011
    one = await client.signed("GET", "/fapi/v1/openOrder", symbol="BTCUSDT", origClientOrderId="life")
    assert one.body["code"] == -2013
    assert (await client.signed("GET", "/fapi/v1/order", symbol="BTCUSDT", orderId=1)).body["code"] == -2013
    everything = await client.signed("GET", "/fapi/v1/allOrders", symbol="BTCUSDT")
    assert [o["status"] for o in everything.body] == ["CANCELED"]


ACCOUNT_READS: list[tuple[str, Any]] = [
    ("/fapi/v2/balance", list[m.Balance]),
    ("/fapi/v3/balance", list[m.Balance]),
    ("/fapi/v2/account", m.AccountInfo),
    ("/fapi/v2/positionRisk", list[m.PositionRisk]),
    ("/fapi/v3/positionRisk", list[m.PositionRisk]),
    ("/fapi/v1/income", list[m.Income]),
    ("/fapi/v1/commissionRate?symbol=BTCUSDT", m.CommissionRate),
    ("/fapi/v1/leverageBracket", list[m.SymbolBrackets]),
    ("/fapi/v1/accountConfig", m.AccountConfig),
    ("/fapi/v1/symbolConfig", list[m.SymbolConfig]),
    ("/fapi/v1/positionSide/dual", m.PositionMode),
    ("/fapi/v1/multiAssetsMargin", m.MultiAssetsMode),
    ("/fapi/v1/rateLimit/order", list[m.RateLimit]),
    ("/fapi/v1/apiTradingStatus", dict[str, Any]),
]
MARKET_READS: list[tuple[str, Any]] = [
    ("/fapi/v1/exchangeInfo", m.ExchangeInfo),
    ("/fapi/v1/time", m.ServerTime),
    ("/fapi/v1/premiumIndex?symbol=BTCUSDT", m.PremiumIndex),
    ("/fapi/v1/premiumIndex", list[m.PremiumIndex]),
    ("/fapi/v1/ticker/bookTicker", list[m.BookTicker]),
    ("/fapi/v1/ticker/24hr?symbol=BTCUSDT", m.Ticker24h),
    ("/fapi/v2/ticker/price?symbol=BTCUSDT", m.PriceTicker),
    ("/fapi/v1/depth?symbol=BTCUSDT&limit=5", m.Depth),
    ("/fapi/v1/klines?symbol=BTCUSDT&interval=1m", list[m.KlineRow]),
    ("/fapi/v1/fundingRate?symbol=BTCUSDT", list[m.FundingRate]),
]


async def test_every_read_decodes_into_the_client_messages(wire: Wire) -> None:
    await wire.client.order(**ORDER)
    for path, kind in ACCOUNT_READS:
        plain, _, query = path.partition("?")
        params: dict[str, Any] = dict([query.split("=")]) if query else {}
        answer = await wire.client.signed("GET", plain, **params)
        assert answer.status == 200, (path, answer)
        assert msgspec.convert(answer.body, kind) is not None
    for path, kind in MARKET_READS:
        answer = await wire.client.raw("GET", path)
        assert answer.status == 200, (path, answer)
        assert msgspec.convert(answer.body, kind), path
    risk = (await wire.client.signed("GET", "/fapi/v3/positionRisk", symbol="BTCUSDT")).body
    assert [row["positionAmt"] for row in risk] == ["0.100"]


async def test_settings_answer_with_the_exchanges_codes(wire: Wire) -> None:
    signed = wire.client.signed
    leverage = await signed("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=10)
    assert msgspec.convert(leverage.body, m.LeverageAnswer).leverage == 10
    assert (await signed("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="CROSSED")).body[
        "code"
    ] == -4046
    assert (await signed("POST", "/fapi/v1/positionSide/dual", dualSidePosition="false")).body[
        "code"
    ] == -4059
    hedge = await wire.client.order(**{**ORDER, "positionSide": "LONG"})
    assert hedge.body["code"] == -4061


async def test_user_stream_order_of_events_and_wrapping(wire: Wire) -> None:
    key = await wire.listen_key()
    assert await wire.listen_key() == key
    raw = await wire.socket(f"/private/ws?listenKey={key}")
    wrapped = await wire.socket("/private/stream")
    await wrapped.send_json({"method": "SUBSCRIBE", "params": [key], "id": "uuid-1"})
    assert await receive(wrapped) == {"result": None, "id": "uuid-1"}
    await wire.client.order(**ORDER, newClientOrderId="mine")
    events = [await receive(raw) for _ in range(4)]
    names = [e["e"] for e in events]
    assert names == ["TRADE_LITE", "ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE"]
    assert [e["o"]["x"] for e in events if "o" in e] == ["NEW", "TRADE"]
    again = [await receive(wrapped) for _ in range(4)]
    assert [e["data"] for e in again] == events
    assert isinstance(m.decode_user_event(json.dumps(again[3])), m.OrderTradeUpdate)


async def test_listen_key_life(wire: Wire) -> None:
    raw = wire.client.raw
    assert (await raw("PUT", "/fapi/v1/listenKey")).body["code"] == -1125
    key = await wire.listen_key()
    assert (await raw("PUT", "/fapi/v1/listenKey")).body == {"listenKey": key}
    socket = await wire.socket(f"/private/ws/{key}")
    account = wire.simulator.venue.engine.account_by_key[KEY]
    wire.simulator.venue.engine.expire_listen_keys(account.listen_key_expires_ms)
    wire.simulator.venue.committer.touch()
    assert (await receive(socket))["e"] == "listenKeyExpired"
    assert await wire.listen_key() != key
    assert (await raw("DELETE", "/fapi/v1/listenKey")).body == {}


async def test_streams_by_class_and_silence_on_the_wrong_one(wire: Wire) -> None:
    right = await wire.socket("/public/stream?streams=btcusdt@bookTicker")
    mark = await wire.socket("/market/ws/btcusdt@markPrice@1s")
    wrong = await wire.socket("/market/stream?streams=btcusdt@bookTicker")
    for socket in (right, wrong):
        await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 3})
        assert (await receive(socket))["result"] == ["btcusdt@bookTicker"]
    wire.simulator.set_quote("BTCUSDT", D("61000.0"), D("61000.1"), D(1), D(2))
    frame = m.decode_market_frame(json.dumps(await receive(right)))
    assert frame is not None
    assert frame.stream == "btcusdt@bookTicker"
    assert isinstance(frame.data, m.BookTickerEvent)
    assert (frame.data.bid_price, frame.data.ask_quantity) == ("61000", "2")
    event = m.decode_market_event(json.dumps(await receive(mark)))
    assert isinstance(event, m.MarkPriceEvent)
    assert event.mark_price == "61000.05000000"
    with pytest.raises(asyncio.TimeoutError):
        await receive(wrong, 0.05)


async def test_stream_commands_that_are_wrong(wire: Wire) -> None:
    socket = await wire.socket("/public/ws")
    await socket.send_json({"method": "DANCE", "id": 1})
    assert (await receive(socket))["error"]["code"] == 2
    await socket.send_json({"method": "SET_PROPERTY", "params": ["colour", True], "id": 2})
    assert (await receive(socket))["error"]["code"] == 0
    await socket.send_str("{nonsense")
    assert (await receive(socket))["error"]["code"] == 3
    assert (await socket.receive(5)).type is aiohttp.WSMsgType.CLOSE


DEEP = "[" * 1150 + "]" * 1150


async def test_json_nested_without_end_is_refused_like_any_other_that_is_wrong(wire: Wire) -> None:
    """On every door: msgspec itself gives up with RecursionError, or UnicodeError for half a character."""
    socket = await wire.socket("/public/ws")
    await socket.send_str(f'{{"method":"LIST_SUBSCRIPTIONS","id":1,"zz":{DEEP}}}')
    assert (await receive(socket))["error"]["code"] == 3
    api = await wire.session.ws_connect(f"{wire.simulator.ws_url}/ws-fapi/v1")
    await api.send_str(f'{{"id":1,"method":"ping","zz":{DEEP}}}')
    assert (await receive(api))["status"] == 400
    answer = await wire.client.signed("POST", "/fapi/v1/batchOrders", batchOrders=DEEP)
    assert (answer.status, answer.body["code"]) == (400, -1102)
    assert json_list('["\udcff"]') is None, "bytes of a form that are no UTF-8"
    async with wire.session.post(
        f"{wire.simulator.url}/sim/fault", data=DEEP, headers={"X-PMS-Sim-Token": "token"}
    ) as response:
        assert response.status == 400


async def test_too_many_messages_disconnect(wire: Wire) -> None:
    socket = await wire.socket("/public/ws")
    for number in range(30):
        await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
    kinds = [(await socket.receive(5)).type for _ in range(12)]
    assert aiohttp.WSMsgType.CLOSE in kinds


async def test_reader_that_is_stuck_is_cut_off_when_user_events_overflow() -> None:
    config = replace(CONFIG, limits=replace(CONFIG.limits, socket_user_queue=5))
    async for wire in _run(config):
        key = await wire.listen_key()
        async with wire.session.ws_connect(f"{wire.simulator.ws_url}/private/ws/{key}", max_msg_size=0):
            streams = wire.simulator.doors.streams
            event = b'"' + b"x" * 2_000_000 + b'"'
            for _ in range(60):  # far more than the socket's buffers hold, nobody reads
                wire.simulator.venue.hub.publish_private(key, event)
                await asyncio.sleep(0)
            assert streams.statistics()["overflows"] >= 1
            async with asyncio.timeout(5):
                while streams.statistics()["open"]:  # noqa: ASYNC110 - the server has no event for it
                    await asyncio.sleep(0.02)


async def test_market_backlog_keeps_the_newest_of_each_stream() -> None:
    config = replace(CONFIG, limits=replace(CONFIG.limits, socket_market_queue=10))
    async for wire in _run(config):
        socket = await wire.socket("/public/ws/btcusdt@bookTicker")
        await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        await receive(socket)
        for number in range(100):  # without giving the writer a turn
            wire.simulator.set_quote("BTCUSDT", D(50000 + number), D(50001 + number), D(1), D(1))
        prices: list[str] = []
        while not prices or prices[-1] != "50099":
            prices.append((await receive(socket))["b"])
        assert len(prices) <= 12


async def test_limits_of_weight_and_orders(strict: Wire) -> None:
    codes = [
        (await strict.client.order(**RESTING, newClientOrderId=f"n{n}")).body.get("code") for n in range(5)
    ]
    assert -1015 in codes[3:] or codes.count(None) > 3  # a new 10 s window may have begun in between
    answers = [await strict.client.signed("GET", "/fapi/v3/balance") for _ in range(17)]
    refused = [a for a in answers if a.status == 429]
    assert refused
    assert refused[0].body["code"] == -1003
    assert int(refused[0].headers["Retry-After"]) >= 1


async def test_admin_needs_its_token_and_scripts_prices(wire: Wire) -> None:
    url, session = wire.simulator.url, wire.session
    body = {"symbol": "ETHUSDT", "bid": "2000", "ask": "2000.01", "bid_qty": "5", "ask_qty": "6"}
    async with session.post(f"{url}/sim/quote", json=body) as answer:
        assert answer.status == 401
    headers = {"X-PMS-Sim-Token": "token"}
    bad = [
        ("/sim/quote", {**body, "bid": "3000"}),
        ("/sim/quote", {"symbol": "ETHUSDT"}),
        ("/sim/mark", {"symbol": "ETHUSDT", "price": "NaN"}),
        ("/sim/deposit", {"api_key": "nobody", "amount": "1"}),
        ("/sim/fault", {"kind": "earthquake"}),
    ]
    for path, wrong in bad:
        async with session.post(url + path, json=wrong, headers=headers) as answer:
            assert answer.status == 400, path
    good = [
        ("/sim/quote", body),
        ("/sim/mark", {"symbol": "ETHUSDT", "price": "1990"}),
        ("/sim/deposit", {"api_key": "test-key-2", "amount": "250"}),
    ]
    for path, right in good:
        async with session.post(url + path, json=right, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
    async with session.get(f"{url}/sim/state") as answer:
        state = await answer.json()
    assert state["symbols"]["ETHUSDT"]["mark_source"] == "scripted"
    assert state["epoch"] == wire.simulator.epoch
    index = (await wire.client.raw("GET", "/fapi/v1/premiumIndex?symbol=ETHUSDT")).body
    assert index["markPrice"] == "1990.00000000"
    other = SignedClient(url, session, "test-key-2", "secret-2")
    assert (await other.signed("GET", "/fapi/v3/balance")).body[0]["balance"] == "750.00000000"


async def test_dropped_response_leaves_the_order_executed(wire: Wire) -> None:
    wire.simulator.fault("drop_response_after_execute")
    with pytest.raises(aiohttp.ClientError):
        await wire.client.order(**RESTING, newClientOrderId="lost")
    found = await wire.client.signed("GET", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="lost")
    assert found.body["status"] == "NEW"
    wire.simulator.fault("http_503")
    assert (await wire.client.order(**RESTING)).status == 503
    assert (await wire.client.order(**RESTING)).status == 200


async def test_busy_port_is_one_clear_line(wire: Wire) -> None:
    port = int(wire.simulator.url.rsplit(":", 1)[1])
    second = Simulator(replace(CONFIG, port=port))
    with pytest.raises(SimulatorError, match=f"cannot listen on 127.0.0.1:{port}"):
        await second.start()
