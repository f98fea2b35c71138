"""Every order endpoint is served, with the weights of spec 2.2 and 2.3, and a round of them over the wire."""

from __future__ import annotations

import json
from decimal import Decimal as D
from typing import Any

import aiohttp
import pytest

from pms.exchange import messages
from pms.simulator import Simulator, SimulatorConfig
from pms.simulator.endpoints import ENDPOINTS
from tests.unit.simulator.signed_client import KEY, SECRET, SignedClient, receive

WEIGHTS: list[tuple[str, str, int, int, tuple[int, int]]] = [
    ("POST", "order", 0, 0, (1, 1)),
    ("POST", "order/test", 0, 0, (0, 0)),
    ("PUT", "order", 0, 0, (1, 1)),
    ("DELETE", "order", 1, 0, (0, 0)),
    ("GET", "order", 1, 0, (0, 0)),
    ("GET", "openOrder", 1, 0, (0, 0)),
    ("GET", "openOrders", 1, 40, (0, 0)),
    ("GET", "allOrders", 5, 0, (0, 0)),
    ("GET", "orderAmendment", 1, 0, (0, 0)),
    ("POST", "batchOrders", 5, 0, (5, 1)),
    ("PUT", "batchOrders", 5, 0, (5, 1)),
    ("DELETE", "batchOrders", 1, 0, (0, 0)),
    ("DELETE", "allOpenOrders", 1, 0, (0, 0)),
    ("POST", "countdownCancelAll", 10, 0, (0, 0)),
    ("POST", "algoOrder", 0, 0, (1, 1)),
    ("DELETE", "algoOrder", 1, 0, (0, 0)),
    ("GET", "algoOrder", 1, 0, (0, 0)),
    ("GET", "openAlgoOrders", 1, 40, (0, 0)),
    ("GET", "allAlgoOrders", 5, 0, (0, 0)),
    ("DELETE", "algoOpenOrders", 1, 0, (0, 0)),
]


@pytest.mark.parametrize(("method", "path", "weight", "bare", "counts"), WEIGHTS)
def test_weight_and_order_counts(
    method: str, path: str, weight: int, bare: int, counts: tuple[int, int]
) -> None:
    endpoint = ENDPOINTS[method, f"/fapi/v1/{path}"]
    assert (endpoint.security, endpoint.weight, endpoint.weight_without_symbol) == ("SIGNED", weight, bare)
    assert (endpoint.orders_10s, endpoint.orders_1m) == counts


async def _events(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[str]:
    names = []
    for _ in range(count):
        event: dict[str, Any] = await receive(socket)
        messages.decode_user_event(json.dumps(event).encode())
        body = event.get("o", {})
        names.append(f"{event['e']}:{body['x']}" if "x" in body else f"{event['e']}:{body.get('X', '')}")
    return names


async def test_a_round_over_the_wire_with_its_events() -> None:
    config = SimulatorConfig(accounts=((KEY, SECRET, D(100_000)),), symbols=("BTCUSDT",))
    simulator = Simulator(config)
    await simulator.start()
    try:
        simulator.set_quote("BTCUSDT", D("60000.0"), D("60000.1"))
        async with aiohttp.ClientSession() as session:
            client = SignedClient(simulator.url, session)
            key = (await client.raw("POST", "/fapi/v1/listenKey")).body["listenKey"]
            async with session.ws_connect(f"{simulator.ws_url}/private/ws/{key}") as socket:
                limit = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
                placed = await client.order(**limit, price="59000", quantity="0.1")
                changed = await client.signed(
                    "PUT",
                    "/fapi/v1/order",
                    as_body=True,
                    symbol="BTCUSDT",
                    side="BUY",
                    orderId=placed.body["orderId"],
                    price="59100",
                    quantity="0.2",
                    modifyId=3,
                )
                assert (changed.body["origQty"], changed.body["modifyId"]) == ("0.200", 3)
                assert changed.headers["X-MBX-ORDER-COUNT-1M"] == "2"
                stop = await client.signed(
                    "POST",
                    "/fapi/v1/algoOrder",
                    algoType="CONDITIONAL",
                    symbol="BTCUSDT",
                    side="SELL",
                    type="STOP_MARKET",
                    quantity="0.1",
                    triggerPrice="59500",
                    workingType="MARK_PRICE",
                )
                assert stop.status == 200
                assert await _events(socket, 3) == [
                    "ORDER_TRADE_UPDATE:NEW",
                    "ORDER_TRADE_UPDATE:AMENDMENT",
                    "ALGO_UPDATE:NEW",
                ]
                simulator.set_mark("BTCUSDT", D("59500"))  # the exchange's own timer sees it
                assert await _events(socket, 7) == [
                    "ALGO_UPDATE:TRIGGERING",
                    "ALGO_UPDATE:TRIGGERED",
                    "TRADE_LITE:",
                    "ORDER_TRADE_UPDATE:NEW",
                    "ACCOUNT_UPDATE:",
                    "ORDER_TRADE_UPDATE:TRADE",
                    "ALGO_UPDATE:FINISHED",
                ]
                switch = await client.signed(
                    "POST", "/fapi/v1/countdownCancelAll", symbol="BTCUSDT", countdownTime=20
                )
                assert switch.status == 200
                assert await _events(socket, 1) == ["ORDER_TRADE_UPDATE:CANCELED"]
    finally:
        await simulator.stop()
