"""Every answer and event of the simulator is a message of the venue: read by its type, nothing lost.

The types and their words come from the payloads of the real exchange: the simulator is held to them here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal as D
from typing import Any

import aiohttp
import msgspec
import pytest

from pms.exchange import messages as m
from pms.exchange.census import Census
from pms.exchange.messages_answers import ANSWERS
from pms.simulator import Simulator, SimulatorConfig, http_refused
from pms.simulator.endpoints import ENDPOINTS
from tests.unit.simulator.signed_client import KEY, SECRET, Answer, SignedClient, receive

BATCHES = "/fapi/v1/batchOrders"
"""Elements of its answers are orders or errors: read one by one."""
COMMON: dict[str, Any] = {"symbol": "BTCUSDT"}
GIVEN: dict[str, dict[str, Any]] = {
    "klines": {"interval": "1m", "limit": 3},
    "markPriceKlines": {"interval": "1m", "limit": 3},
    "premiumIndexKlines": {"interval": "1m", "limit": 3},
    "indexPriceKlines": {"pair": "BTCUSDT", "interval": "1m", "limit": 3},
    "continuousKlines": {"pair": "BTCUSDT", "contractType": "PERPETUAL", "interval": "1m", "limit": 3},
    "depth": {"limit": 5},
    "basis": {"pair": "BTCUSDT", "contractType": "PERPETUAL", "period": "5m"},
    "delivery-price": {"pair": "BTCUSDT"},
}
RESTING: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "price": "59000",
    "quantity": "0.1",
    "timeInForce": "GTC",
}
MARKET: dict[str, Any] = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}
STOP: dict[str, Any] = {
    "algoType": "CONDITIONAL",
    "symbol": "BTCUSDT",
    "side": "SELL",
    "type": "STOP_MARKET",
    "quantity": "0.1",
    "triggerPrice": "50000",
}


@dataclass
class Venue:
    """A running simulator, a client, and what the census thinks of its answers."""

    simulator: Simulator
    client: SignedClient
    session: aiohttp.ClientSession
    census: Census

    async def asked(self, method: str, path: str, **params: Any) -> Any:
        """Send; hold the answer to its type; return its body."""
        answer: Answer = await self.client.signed(method, path, **params)
        assert answer.status == 200, (method, path, answer.body)
        if path == BATCHES:
            for element in answer.body:
                self.hold(m.ErrorBody if "code" in element else m.OrderAnswer, element)
        else:
            self.hold(ANSWERS[method, path], answer.body)
        return answer.body

    def hold(self, kind: Any, body: Any) -> None:
        raw = json.dumps(body).encode()
        message = msgspec.json.decode(raw, type=kind)
        assert json.loads(m.encode_message(message)) == body
        self.census.look(kind, raw)
        found = [(each.message, each.name, each.sample) for each in self.census.statistics().findings]
        assert not found, found


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    simulator = Simulator(SimulatorConfig(accounts=((KEY, SECRET, D(100_000)),), symbols=("BTCUSDT",)))
    await simulator.start()
    try:
        simulator.set_quote("BTCUSDT", D("60000.0"), D("60000.1"), D(10), D(10))
        async with aiohttp.ClientSession() as session:
            yield Venue(simulator, SignedClient(simulator.url, session), session, Census(lambda: 0))
    finally:
        await simulator.stop()


def test_every_endpoint_has_a_message() -> None:
    assert not ENDPOINTS.keys() - ANSWERS.keys() - http_refused.ENDPOINTS.keys()


async def test_answers_to_reading(venue: Venue) -> None:
    order = await venue.asked("POST", "/fapi/v1/order", **RESTING)
    await venue.asked("POST", "/fapi/v1/order", **MARKET, newOrderRespType="RESULT")
    algo = await venue.asked("POST", "/fapi/v1/algoOrder", **STOP)
    ids = {"orderId": order["orderId"]}
    special = {
        "/fapi/v1/order": COMMON | ids,
        "/fapi/v1/openOrder": COMMON | ids,
        "/fapi/v1/orderAmendment": COMMON | ids,
        "/fapi/v1/algoOrder": {"algoId": algo["algoId"]},
    }
    unsymbolled = (
        "/fapi/v1/ping",
        "/fapi/v1/time",
        "/fapi/v1/exchangeInfo",
        "/fapi/v1/assetIndex",
        "/fapi/v1/indexInfo",
    )
    asked = 0
    for method, path in sorted(ENDPOINTS):
        if method == "GET" and (method, path) not in http_refused.ENDPOINTS:
            given = {"period": "5m"} if path.startswith("/futures/data/") else {}
            params = special.get(path, COMMON | given | GIVEN.get(path.rpartition("/")[2], {}))
            await venue.asked(method, path, **({} if path in unsymbolled else params))
            asked += 1
    assert asked >= 40


async def test_answers_to_acting(venue: Venue) -> None:
    order = await venue.asked("POST", "/fapi/v1/order", **RESTING)
    ids = {"symbol": "BTCUSDT", "orderId": order["orderId"]}
    await venue.asked("PUT", "/fapi/v1/order", **ids, side="BUY", quantity="0.2", price="58000")
    await venue.asked("GET", "/fapi/v1/orderAmendment", **ids)
    await venue.asked("DELETE", "/fapi/v1/order", **ids)
    batch = json.dumps([RESTING, RESTING | {"price": "1"}, MARKET])
    placed = await venue.asked("POST", "/fapi/v1/batchOrders", batchOrders=batch)
    listed = json.dumps([placed[0]["orderId"], 1], separators=(",", ":"))
    await venue.asked("DELETE", "/fapi/v1/batchOrders", symbol="BTCUSDT", orderIdList=listed)
    await venue.asked("POST", "/fapi/v1/order/test", **RESTING)
    algo = await venue.asked("POST", "/fapi/v1/algoOrder", **STOP)
    await venue.asked("DELETE", "/fapi/v1/algoOrder", algoId=algo["algoId"])
    await venue.asked("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=5)
    await venue.asked("POST", "/fapi/v1/countdownCancelAll", symbol="BTCUSDT", countdownTime=0)
    await venue.asked("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")
    await venue.asked("DELETE", "/fapi/v1/algoOpenOrders", symbol="BTCUSDT")


async def test_private_events(venue: Venue) -> None:
    key = (await venue.client.raw("POST", "/fapi/v1/listenKey")).body["listenKey"]
    socket = await venue.session.ws_connect(f"{venue.simulator.ws_url}/private/ws/{key}")
    order = await venue.asked("POST", "/fapi/v1/order", **RESTING)
    ids = {"symbol": "BTCUSDT", "orderId": order["orderId"]}
    await venue.asked("PUT", "/fapi/v1/order", **ids, side="BUY", quantity="0.2", price="58000")
    await venue.asked("DELETE", "/fapi/v1/order", **ids)
    await venue.asked("POST", "/fapi/v1/order", **MARKET)
    algo = await venue.asked("POST", "/fapi/v1/algoOrder", **STOP)
    await venue.asked("DELETE", "/fapi/v1/algoOrder", algoId=algo["algoId"])
    await venue.asked("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=5)
    kinds = set()
    while m.AccountConfigUpdate not in kinds:
        body = await receive(socket)
        event = m.decode_user_event(json.dumps(body))
        venue.hold(type(event), body)
        kinds.add(type(event))
    assert kinds >= {m.OrderTradeUpdate, m.AccountUpdate, m.TradeLite, m.AlgoOrderUpdate}


STREAMS = {
    "public": ["btcusdt@bookTicker", "btcusdt@depth@100ms", "btcusdt@depth5@100ms"],
    "market": [
        "btcusdt@markPrice@1s",
        "!markPrice@arr@1s",
        "btcusdt@kline_1m",
        "btcusdt_perpetual@continuousKline_1m",
        "btcusdt@ticker",
        "!ticker@arr",
        "btcusdt@miniTicker",
        "!miniTicker@arr",
    ],
}


@pytest.mark.parametrize("traffic", STREAMS)
async def test_market_events(venue: Venue, traffic: str) -> None:
    names = set(STREAMS[traffic])
    url = f"{venue.simulator.ws_url}/{traffic}/stream?streams={'/'.join(sorted(names))}"
    socket = await venue.session.ws_connect(url)
    price = D("60000.0")
    while names:
        venue.simulator.set_quote("BTCUSDT", price, price + D("0.1"), D(10), D(10))
        price += D("0.1")
        body = await receive(socket)
        data = body["data"]
        for each in data if isinstance(data, list) else [data]:
            venue.hold(type(m.decode_market_event(json.dumps(each))), each)
        names.discard(body["stream"])
