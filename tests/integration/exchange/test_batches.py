"""Batches and amendments on the wire: what is sent, how it is split, and what each answer proves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from aiohttp import web

from pms.exchange.binance import BinanceExchange
from pms.exchange.port import CancelVerdict, Confirmed, NotSent, OutcomeUnknown, RefusedByExchange
from pms.model.ids import ClientOrderId
from pms.model.money import Price, Quantity
from pms.model.order import ApprovedAmendment, ApprovedOrder, ExchangeOrderStatus, OrderSide
from pms.model.refusal import RefusalCode
from pms.model.symbol import Symbol
from pms.runtime import SystemClock
from tests.integration.exchange.fake_venue import FakeVenue, Handler, answer, running_venue
from tests.integration.exchange.test_rest import BTC, PLACED, always, hang_up, market_order

ETH = Symbol("ETH/USDT:USDT")
BATCH = "/fapi/v1/batchOrders"


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


def ids(count: int) -> list[ClientOrderId]:
    return [ClientOrderId(f"PMSabcdefgh_L_{number}") for number in range(count)]


def orders(count: int, **changes: Any) -> list[ApprovedOrder]:
    return [market_order(client_order_id=each, **changes) for each in ids(count)]


def change(client_order_id: ClientOrderId, symbol: Symbol = BTC) -> ApprovedAmendment:
    return ApprovedAmendment(
        client_order_id,
        symbol,
        OrderSide.BUY,
        Quantity(Decimal("0.020")),
        Price(Decimal("50000.10")),
        False,
        4,
    )


def sent(venue: FakeVenue, method: str, path: str) -> list[dict[str, str]]:
    return [
        {name: values[0] for name, values in parse_qs(raw).items()}
        for asked, at, raw, _ in venue.requests
        if (asked, at) == (method, path)
    ]


def echoing(status: str = "NEW", fail: Callable[[str], bool] = lambda _: False) -> Handler:
    """Answers every element of a batch, or one order, under the id that was sent."""

    async def handler(request: web.Request, body: bytes) -> web.StreamResponse:
        fields = {name: values[0] for name, values in parse_qs(request.query_string + body.decode()).items()}
        if "batchOrders" in fields:
            elements = msgspec.json.decode(fields["batchOrders"])
            wanted = [each.get("newClientOrderId") or each["origClientOrderId"] for each in elements]
        elif "origClientOrderIdList" in fields:
            wanted = msgspec.json.decode(fields["origClientOrderIdList"])
        else:
            wanted = [fields.get("newClientOrderId") or fields["origClientOrderId"]]
        rows = [
            {"code": -2011, "msg": "Unknown order sent."}
            if fail(each)
            else PLACED | {"clientOrderId": each, "status": status}
            for each in wanted
        ]
        return answer(rows if request.path == BATCH else rows[0])

    return handler


async def test_placements_are_split_in_order_and_a_rest_of_one_travels_alone(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    venue.script["POST", BATCH] = venue.script["POST", "/fapi/v1/order"] = echoing()
    outcomes = await exchange.trading.place_many(orders(11))
    assert [each.report.client_order_id for each in outcomes if isinstance(each, Confirmed)] == ids(11)
    batches = [msgspec.json.decode(each["batchOrders"]) for each in sent(venue, "POST", BATCH)]
    assert [[each["newClientOrderId"] for each in batch] for batch in batches] == [ids(5), ids(10)[5:]]
    assert [each["newClientOrderId"] for each in sent(venue, "POST", "/fapi/v1/order")] == ids(11)[10:]
    assert batches[0][0] == {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "MARKET",
        "quantity": "0.01",
        "selfTradePreventionMode": "EXPIRE_TAKER",
        "newClientOrderId": ids(1)[0],
        "newOrderRespType": "RESULT",
    }
    assert venue.bad_signatures == 0
    windows = exchange.statistics().rest.windows
    assert windows["orders, 10 s"].used == 11
    assert windows["orders, 1 min"].used == 3


async def test_what_is_not_listed_is_refused_and_the_others_are_sent(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    venue.script["POST", BATCH] = echoing()
    batch = orders(3)
    batch[0] = replace(batch[0], symbol=Symbol("XYZ/USDT:USDT"))
    outcomes = await exchange.trading.place_many(batch)
    assert [type(each) for each in outcomes] == [RefusedByExchange, Confirmed, Confirmed]
    assert isinstance(outcomes[0], RefusedByExchange)
    assert outcomes[0].refusal is RefusalCode.UNKNOWN_SYMBOL


async def test_what_reduces_risk_goes_when_the_rest_must_wait(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    venue.script["POST", BATCH] = echoing()
    counts = {"X-MBX-ORDER-COUNT-10S": "240"}
    venue.script["POST", "/fapi/v1/order"] = always(PLACED, 200, **counts)
    await exchange.trading.place(market_order())
    mixed = [*orders(2), *orders(4, risk_reducing=True)[2:]]
    outcomes = await exchange.trading.place_many(mixed)
    assert [type(each) for each in outcomes] == [NotSent, NotSent, Confirmed, Confirmed]
    assert venue.count("POST", BATCH) == 1


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (hang_up, OutcomeUnknown),
        (always("<html>", 502), OutcomeUnknown),
        (always({"code": -1007, "msg": "Timeout"}, 408), OutcomeUnknown),
        (always("<html>", 200), OutcomeUnknown),
        (always("Service Unavailable.", 503), NotSent),
        (always({"code": -1022, "msg": "Signature for this request is not valid."}, 400), RefusedByExchange),
    ],
)
async def test_an_answer_to_the_whole_batch_is_one_for_each(
    venue: FakeVenue, exchange: BinanceExchange, handler: Handler, kind: type
) -> None:
    for method in ("POST", "PUT"):
        venue.script[method, BATCH] = handler
    placed = await exchange.trading.place_many(orders(3))
    changed = await exchange.trading.amend_many([change(each) for each in ids(3)])
    assert [type(each) for each in (*placed, *changed)] == [kind] * 6
    assert all(each.timestamp_ms > 0 for each in placed if isinstance(each, OutcomeUnknown))
    assert venue.count("POST", BATCH) == 1


async def test_a_limit_in_one_element_stops_what_follows(venue: FakeVenue, exchange: BinanceExchange) -> None:
    text = "Too many new orders; current limit is 300 orders per TEN_SECONDS."
    first = PLACED | {"clientOrderId": ids(1)[0]}
    venue.script["POST", BATCH] = always([first, *[{"code": -1015, "msg": text}] * 4])
    outcomes = await exchange.trading.place_many(orders(10))
    assert [type(each) for each in outcomes] == [Confirmed] + [NotSent] * 9
    assert venue.count("POST", BATCH) == 1


async def test_cancels_of_several_symbols_keep_their_order(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    venue.script["DELETE", BATCH] = echoing("CANCELED", lambda each: each.endswith("_3"))
    venue.script["DELETE", "/fapi/v1/order"] = echoing("CANCELED")
    wanted = [(ETH if number == 7 else BTC, each) for number, each in enumerate(ids(13))]
    outcomes = await exchange.trading.cancel_many(wanted)
    verdicts = [each.verdict for each in outcomes]
    assert verdicts == [
        CancelVerdict.NOT_OPEN if number == 3 else CancelVerdict.CANCELLED for number in range(13)
    ]
    reports = [each.report.client_order_id for each in outcomes if each.report is not None]
    assert reports == [each for number, each in enumerate(ids(13)) if number != 3]
    lists = [each["origClientOrderIdList"] for each in sent(venue, "DELETE", BATCH)]
    assert [len(msgspec.json.decode(each)) for each in lists] == [10, 2]
    assert all(" " not in each for each in lists)
    assert [each["symbol"] for each in sent(venue, "DELETE", "/fapi/v1/order")] == ["ETHUSDT"]
    assert venue.bad_signatures == 0


async def test_an_amendment_on_the_wire(venue: FakeVenue, exchange: BinanceExchange) -> None:
    venue.script["PUT", "/fapi/v1/order"] = echoing()
    outcome = await exchange.trading.amend(change(ids(1)[0]))
    assert isinstance(outcome, Confirmed)
    fields = sent(venue, "PUT", "/fapi/v1/order")[0]
    assert int(fields.pop("timestamp")) == outcome.timestamp_ms
    fields.pop("signature")
    assert fields == {
        "symbol": "BTCUSDT",
        "origClientOrderId": ids(1)[0],
        "side": "BUY",
        "quantity": "0.02",
        "price": "50000.1",
        "modifyId": "4",
        "recvWindow": "2000",
    }
    assert exchange.statistics().rest.orders_used_10s == 1


QUERY = ("GET", "/fapi/v1/order")
AMENDED = PLACED | {"clientOrderId": ids(1)[0], "origQty": "0.020", "price": "50000.1"}


def code(number: int) -> Handler:
    return always({"code": number, "msg": ""}, 400)


Ours = RefusalCode
AMENDMENTS: list[tuple[str, Handler, Handler | None, type, RefusalCode | None]] = [
    ("cancelled by it", echoing("CANCELED"), None, Confirmed, None),
    ("not a limit order", code(-5025), None, RefusedByExchange, Ours.AMENDMENT_REFUSED),
    ("too many changes", code(-5026), None, RefusedByExchange, Ours.AMENDMENT_REFUSED),
    ("too small", code(-5029), None, RefusedByExchange, Ours.EXCHANGE_MIN_NOTIONAL),
    ("not reduce-only", code(-5047), None, RefusedByExchange, Ours.EXCHANGE_REJECTED),
    ("not open", code(-2013), None, RefusedByExchange, Ours.ORDER_NOT_PENDING),
    ("one is pending", code(-5043), None, NotSent, None),
    ("too late", code(-5028), None, NotSent, None),
    ("nothing to change", code(-5027), always(AMENDED), Confirmed, None),
    ("nothing to change, not found", code(-5027), code(-2013), OutcomeUnknown, None),
    ("nothing to change, not asked", code(-5027), always("<html>", 502), OutcomeUnknown, None),
    ("lost", hang_up, None, OutcomeUnknown, None),
]


@pytest.mark.parametrize(
    ("handler", "query", "kind", "refusal"),
    [row[1:] for row in AMENDMENTS],
    ids=[row[0] for row in AMENDMENTS],
)
async def test_amendments(
    venue: FakeVenue,
    exchange: BinanceExchange,
    handler: Handler,
    query: Handler | None,
    kind: type,
    refusal: RefusalCode | None,
) -> None:
    venue.script["PUT", "/fapi/v1/order"] = handler
    if query is not None:
        venue.script[QUERY] = query
    outcome = await exchange.trading.amend(change(ids(1)[0]))
    assert isinstance(outcome, kind)
    if isinstance(outcome, RefusedByExchange):
        assert outcome.refusal is refusal
    assert venue.count("PUT", "/fapi/v1/order") == 1, "a change is never repeated by the adapter"
    assert venue.count(*QUERY) == (query is not None)


async def test_amendments_are_split_and_each_has_its_own_outcome(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    venue.script["PUT", BATCH] = echoing(fail=lambda each: each.endswith("_1"))
    venue.script["PUT", "/fapi/v1/order"] = echoing()
    outcomes = await exchange.trading.amend_many([change(each) for each in ids(6)])
    kinds = [Confirmed, RefusedByExchange, *[Confirmed] * 4]
    assert [type(each) for each in outcomes] == kinds
    assert venue.count("PUT", BATCH) == 1
    assert venue.count("PUT", "/fapi/v1/order") == 1


async def test_batches_at_the_same_time_do_not_mix(venue: FakeVenue, exchange: BinanceExchange) -> None:
    venue.script["POST", BATCH] = echoing()
    first, second = await asyncio.gather(
        exchange.trading.place_many(orders(5)), exchange.trading.place_many(orders(9)[5:])
    )
    for outcomes, wanted in ((first, ids(5)), (second, ids(9)[5:])):
        reports = [each.report for each in outcomes if isinstance(each, Confirmed)]
        assert [each.client_order_id for each in reports] == wanted
        assert {each.status for each in reports} == {ExchangeOrderStatus.NEW}
