"""Orders over the WebSocket API: signatures, replies by id, lost sockets, and REST for the rest (spec 6)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pms.exchange.binance import BinanceExchange
from pms.exchange.binance.config import Secret
from pms.exchange.binance.signing import Signer
from pms.exchange.binance.ws_api import SocketApiStatistics, payload
from pms.exchange.port import Absent, CancelVerdict, Confirmed, NotSent, OutcomeUnknown, RefusedByExchange
from pms.model.ids import ClientOrderId
from pms.model.money import Price, Quantity
from pms.model.order import ApprovedAmendment, OrderSide, OrderType
from pms.runtime import SystemClock
from tests.integration.exchange.fake_api import FakeApi, Reply, error, running_api
from tests.integration.exchange.fake_venue import SECRET, FakeVenue, running, running_venue, until
from tests.integration.exchange.test_batches import BATCH, echoing, orders
from tests.integration.exchange.test_rest import BTC, ID, ORDER, PLACED, always, market_order

ED25519 = (
    Ed25519PrivateKey.from_private_bytes(bytes(32))
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)
CHANGE = ApprovedAmendment(
    ID, BTC, OrderSide.SELL, Quantity(Decimal("0.110")), Price(Decimal("43769.10")), False, 1
)


@dataclass
class Bench:
    venue: FakeVenue
    api: FakeApi
    exchange: BinanceExchange

    @property
    def statistics(self) -> SocketApiStatistics:
        found = self.exchange.statistics().trading_socket
        assert found is not None
        return found

    def sent(self, method: str) -> list[dict[str, Any]]:
        return [each["params"] for each in self.api.requests if each["method"] == method]


@asynccontextmanager
async def bench(secret: str = SECRET, connected: bool = True, **changes: Any) -> AsyncIterator[Bench]:
    async with running_venue() as venue, running_api(Signer(secret)) as (api, url):
        if changes.pop("refuse_logon", False):
            api.refuse_logon = True
        api.refuse_handshakes = changes.pop("refuse_handshakes", 0)
        config = replace(
            venue.config(), ws_api_url=url, trade_by_socket=True, api_secret=Secret(secret), **changes
        )
        exchange = BinanceExchange(config, SystemClock(), Random(1))
        await exchange.start()
        assert exchange._socket is not None
        async with running(exchange._socket.run()):
            one = Bench(venue, api, exchange)
            if connected:
                await until(lambda: one.statistics.connected)
            yield one
        await exchange.close()


@pytest.fixture
async def desk() -> AsyncIterator[Bench]:
    async with bench() as one:
        yield one
        assert not one.api.faults


def test_parameters_are_signed_sorted_and_raw() -> None:
    # The documented shape: names in alphabetical order, values as they are.
    assert payload({"timestamp": 5, "symbol": "币安人生USDT", "apiKey": "k", "price": "1.0"}) == (
        "apiKey=k&price=1.0&symbol=币安人生USDT&timestamp=5"
    )


async def test_single_orders_travel_by_socket(desk: Bench) -> None:
    trading = desk.exchange.trading
    limit = market_order(type=OrderType.LIMIT, price=Price(Decimal("43187.00")), risk_reducing=True)
    placed = await trading.place(limit)
    assert isinstance(placed, Confirmed)
    assert placed.report.order_id == "325078477"
    assert isinstance(await trading.amend(CHANGE), Confirmed)
    assert (await trading.cancel(BTC, ID)).verdict is CancelVerdict.CANCELLED
    assert await trading.query(BTC, ID) is not Absent.ABSENT
    assert [each[1] for each in desk.venue.requests if "rder" in each[1]] == [], "nothing went by REST"
    fields = desk.sent("order.place")[0]
    assert fields["timestamp"] == placed.timestamp_ms
    assert fields["recvWindow"] == placed.recv_window_ms == 2000
    assert fields["price"] == "43187"
    assert desk.sent("order.modify")[0]["modifyId"] == 1
    assert desk.statistics.requests == 4


async def test_replies_may_come_in_any_order(desk: Bench) -> None:
    gate = asyncio.Event()

    async def slow_first(request: dict[str, Any]) -> dict[str, Any]:
        if request["params"]["newClientOrderId"].endswith("_0"):
            await gate.wait()
        else:
            gate.set()
        return desk.api.recorded("order.place", request["params"])

    desk.api.script["order.place"] = slow_first
    outcomes = await asyncio.gather(*(desk.exchange.trading.place(each) for each in orders(2)))
    ids = [each.report.client_order_id for each in outcomes if isinstance(each, Confirmed)]
    assert ids == [each.client_order_id for each in orders(2)]


OUTCOMES: list[tuple[str, Reply, type]] = [
    ("refused", error(400, -2019, "Margin is insufficient."), RefusedByExchange),
    ("too late", error(400, -1021, "Timestamp for this request is outside of the recvWindow."), NotSent),
    ("unknown", error(400, -1007, "execution status unknown"), OutcomeUnknown),
    ("throttled", error(503, -1008, "Request throttled"), NotSent),
    ("backend", error(500, -1000, ""), OutcomeUnknown),
]


@pytest.mark.parametrize(("reply", "kind"), [row[1:] for row in OUTCOMES], ids=[row[0] for row in OUTCOMES])
async def test_outcomes_are_those_of_the_one_table(desk: Bench, reply: Reply, kind: type) -> None:
    desk.api.script["order.place"] = reply
    outcome = await desk.exchange.trading.place(market_order())
    assert isinstance(outcome, kind)
    assert desk.venue.count(*ORDER) == 0, "an answered request is never sent again by REST"


async def test_an_order_of_another_id_is_no_answer(desk: Bench) -> None:
    async def other(request: dict[str, Any]) -> dict[str, Any]:
        return desk.api.recorded("order.place", request["params"] | {"newClientOrderId": "x-other"})

    desk.api.script["order.place"] = other
    assert isinstance(await desk.exchange.trading.place(market_order()), OutcomeUnknown)


async def test_a_lost_socket_leaves_its_requests_in_doubt_and_a_new_one_serves(desk: Bench) -> None:
    arrived = asyncio.Event()

    async def never(request: dict[str, Any]) -> None:
        arrived.set()

    desk.api.script["order.place"] = desk.api.script["order.cancel"] = never
    place = asyncio.create_task(desk.exchange.trading.place(market_order()))
    cancel = asyncio.create_task(desk.exchange.trading.cancel(BTC, ID))
    await until(lambda: len(desk.api.requests) == 2)
    await desk.api.cut()
    outcome = await place
    assert isinstance(outcome, OutcomeUnknown)
    assert outcome.timestamp_ms > 0
    assert (await cancel).verdict is CancelVerdict.UNKNOWN
    assert desk.venue.count(*ORDER) == 0, "what is in doubt is not sent by REST"
    desk.api.script.clear()
    await until(lambda: desk.statistics.connections == 2 and desk.statistics.connected)
    assert isinstance(await desk.exchange.trading.place(market_order()), Confirmed)
    assert (desk.statistics.lost, desk.statistics.pending) == (2, 0)


async def test_a_passed_deadline_is_in_doubt_and_the_late_reply_is_only_counted(desk: Bench) -> None:
    async def late(request: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0.5)
        return desk.api.recorded("order.place", request["params"])

    desk.api.script["order.place"] = late
    outcome = await desk.exchange.trading.place(market_order())
    assert isinstance(outcome, OutcomeUnknown)
    assert "deadline" in outcome.reason
    await until(lambda: desk.statistics.late == 1)
    assert desk.statistics.connected


async def test_a_socket_on_which_a_deadline_passed_is_not_used_until_something_comes(desk: Bench) -> None:
    gate = asyncio.Event()

    async def late(request: dict[str, Any]) -> dict[str, Any]:
        await gate.wait()
        return desk.api.recorded("order.place", request["params"])

    desk.api.script["order.place"] = late
    assert isinstance(await desk.exchange.trading.place(market_order()), OutcomeUnknown)
    desk.venue.script[ORDER] = always(PLACED)
    other = market_order(client_order_id=ClientOrderId(str(PLACED["clientOrderId"])))
    assert isinstance(await desk.exchange.trading.place(other), Confirmed)
    assert desk.venue.count(*ORDER) == 1, "by REST, at once, not in doubt for as long as the socket is dead"
    gate.set()
    await until(lambda: desk.statistics.late == 1)
    desk.api.script.clear()
    assert isinstance(await desk.exchange.trading.place(market_order()), Confirmed)
    assert desk.venue.count(*ORDER) == 1


async def test_limits_of_both_ways_are_one_budget(desk: Bench) -> None:
    async def counted(request: dict[str, Any]) -> dict[str, Any]:
        limit = {
            "rateLimitType": "ORDERS",
            "interval": "SECOND",
            "intervalNum": 10,
            "limit": 300,
            "count": 240,
        }
        return desk.api.recorded("order.place", request["params"]) | {"rateLimits": [limit]}

    desk.api.script["order.place"] = counted
    assert isinstance(await desk.exchange.trading.place(market_order()), Confirmed)
    assert isinstance(await desk.exchange.trading.place(market_order()), NotSent)
    assert desk.exchange.statistics().rest.orders_used_10s == 240
    desk.api.script["order.place"] = error(429, -1003, "Too many requests")
    assert isinstance(await desk.exchange.trading.place(market_order(risk_reducing=True)), NotSent)
    assert (await desk.exchange.trading.cancel(BTC, ID)).verdict is CancelVerdict.NOT_SENT
    assert not desk.sent("order.cancel")


async def test_batches_go_by_rest(desk: Bench) -> None:
    desk.venue.script["POST", BATCH] = echoing()
    outcomes = await desk.exchange.trading.place_many(orders(3))
    assert [type(each) for each in outcomes] == [Confirmed] * 3
    assert desk.venue.count("POST", BATCH) == 1


async def test_without_a_socket_orders_go_by_rest() -> None:
    async with bench(connected=False, refuse_handshakes=1) as desk:
        desk.venue.script[ORDER] = always(PLACED)
        assert isinstance(await desk.exchange.trading.place(market_order()), Confirmed)
        assert desk.statistics.by_rest == 1
        await until(lambda: desk.statistics.connected)
        desk.venue.script.clear()
        assert isinstance(await desk.exchange.trading.place(market_order()), Confirmed)
        assert desk.venue.count(*ORDER) == 1


async def test_an_ed25519_key_logs_on_and_signs_no_more() -> None:
    async with bench(ED25519) as desk:
        await until(lambda: desk.statistics.logged_on)
        assert isinstance(await desk.exchange.trading.place(market_order()), Confirmed)
        assert {"apiKey", "signature"}.isdisjoint(desk.sent("order.place")[0])
        assert not desk.api.faults
        spent = desk.exchange.statistics().rest.control.spent_by_group["trading socket"]
        assert (spent.requests, spent.weight) == (2, 7)


async def test_a_session_that_the_venue_forgot_is_signed_again() -> None:
    async with bench(ED25519) as desk:
        await until(lambda: desk.statistics.logged_on)
        desk.api.script["order.place"] = error(401, -2015, "Invalid API-key, IP, or permissions for action.")
        assert isinstance(await desk.exchange.trading.place(market_order()), RefusedByExchange)
        desk.api.script.clear()
        desk.api.sessions.clear()
        assert isinstance(await desk.exchange.trading.place(market_order()), Confirmed)
        assert desk.sent("order.place")[-1]["signature"]
        assert not desk.api.faults


async def test_without_a_session_each_request_is_signed() -> None:
    async with bench(ED25519, refuse_logon=True) as desk:
        assert isinstance(await desk.exchange.trading.place(market_order()), Confirmed)
        assert desk.sent("order.place")[0]["signature"]
        assert not desk.api.faults


async def test_a_revoked_session_is_opened_anew(desk: Bench) -> None:
    async def revoked(request: dict[str, Any]) -> dict[str, Any]:
        return {"id": None, "status": 401, "error": {"code": -2015, "msg": "Invalid API-key"}}

    desk.api.script["order.place"] = revoked
    assert isinstance(await desk.exchange.trading.place(market_order()), OutcomeUnknown)
    await until(lambda: desk.statistics.connections == 2)


async def test_a_connection_is_replaced_before_its_day_is_over_without_a_loss() -> None:
    gate = asyncio.Event()
    async with bench(socket_rotation_seconds=0.1, deadline_seconds=5.0) as desk:

        async def slow(request: dict[str, Any]) -> dict[str, Any]:
            await gate.wait()
            return desk.api.recorded("order.place", request["params"])

        desk.api.script["order.place"] = slow
        waiting = asyncio.create_task(desk.exchange.trading.place(market_order()))
        await until(lambda: desk.statistics.connections >= 2)
        desk.api.script.clear()
        other = ClientOrderId("PMSabcdefgh_MK_2")
        assert isinstance(await desk.exchange.trading.place(market_order(client_order_id=other)), Confirmed)
        gate.set()
        assert isinstance(await waiting, Confirmed), "the old connection finishes what it began"
        assert desk.statistics.lost == 0
