"""The gate on virtual time: keys of three kinds, windows, weights, bans, requests in trouble."""

from __future__ import annotations

import asyncio
import base64
import json
from decimal import Decimal as D
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pms.simulator import SimulatorError, scenario
from pms.simulator.config import Limits
from pms.simulator.limits import BAN_REMEMBERED_MS, Bans
from tests.unit.simulator.in_process import ADDRESS, KEY, SECRET, WALLET, Exchange, Listener, exchange

ORDER: dict[str, Any] = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}
RESTING: dict[str, Any] = {**ORDER, "type": "LIMIT", "price": "59000", "timeInForce": "GTC"}
OPEN_ORDERS = ("GET", "/fapi/v1/openOrders")


# -- keys


def _sign(key: Ed25519PrivateKey | RSAPrivateKey, text: str) -> str:
    if isinstance(key, RSAPrivateKey):
        return base64.b64encode(key.sign(text.encode(), PKCS1v15(), SHA256())).decode()
    return base64.b64encode(key.sign(text.encode())).decode()


@pytest.mark.parametrize("kind", ["Ed25519", "RSA"])
async def test_public_keys_verify_signatures_in_every_encoding(kind: str) -> None:
    private = Ed25519PrivateKey.generate() if kind == "Ed25519" else generate_private_key(65537, 2048)
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    async with exchange(accounts=((KEY, pem, WALLET),), further_keys=((KEY, "second", SECRET),)) as venue:
        text = f"timestamp={venue.clock.now_ms()}"
        good = _sign(private, text)
        for signature in (quote_plus(good), good):  # encoded as the spec says, and left as it is
            answer = await venue.raw(*OPEN_ORDERS, f"{text}&signature={signature}")
            assert answer.body == []
        for wrong in (quote_plus(_sign(private, text + "0")), quote_plus(good.swapcase()), "%%%", "ab"):
            answer = await venue.raw(*OPEN_ORDERS, f"{text}&signature={wrong}")
            assert (answer.status, answer.code) == (400, -1022)
        assert (await venue.signed(*OPEN_ORDERS)).code == -1022  # the HMAC secret belongs to the other key
        assert (await venue.signed(*OPEN_ORDERS, key="second")).body == []


async def test_a_key_that_cannot_be_read_stops_the_start_with_one_line() -> None:
    with pytest.raises(SimulatorError, match="Give the PEM text of an RSA or Ed25519 public key"):
        async with exchange(accounts=((KEY, "-----BEGIN PUBLIC KEY-----\nnonsense", WALLET),)):
            pass
    with pytest.raises(SimulatorError, match="no account 'nobody'"):
        async with exchange(further_keys=(("nobody", "k", "s"),)):
            pass


# -- placement and encoding of parameters


async def test_parameters_may_stand_in_query_body_or_both_and_the_query_wins() -> None:
    async with exchange() as venue:
        now = venue.clock.now_ms()
        path = ("POST", "/fapi/v1/order/test")
        whole = f"symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=9000&timestamp={now}"
        first, rest = whole.split("&type", 1)
        rest = "type" + rest
        for query, body in ((whole, ""), ("", whole), (first, rest)):
            signature = f"signature={venue.sign(query + body)}"
            at_the_end = (query, f"{body}&{signature}") if body else (f"{query}&{signature}", "")
            assert (await venue.raw(*path, *at_the_end)).status == 200, at_the_end
        signature = f"&signature={venue.sign(first + rest)}"  # in the query, although the body is signed too
        assert (await venue.raw(*path, first + signature, rest)).status == 200
        query, body = f"symbol=BTCUSDT&timestamp={now}", "symbol=NOPE&side=BUY&type=MARKET&quantity=1"
        answer = await venue.raw(*path, f"{query}&signature={venue.sign(query + body)}", body)
        assert answer.status == 200


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("symbol=BTCUSDT&symbol=BTCUSDT", -1101),
        ("symbol=BTCUSDT&orderId=", -1105),
        ("symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT", -1121),  # decoded, and not listed here
    ],
)
async def test_parameters_are_read_after_the_signature(text: str, code: int) -> None:
    async with exchange() as venue:
        text += f"&timestamp={venue.clock.now_ms()}"
        answer = await venue.raw(*OPEN_ORDERS, f"{text}&signature={venue.sign(text)}")
        assert answer.code == code
        assert (await venue.raw(*OPEN_ORDERS, f"{text}&signature={'0' * 64}")).code == -1022


async def test_a_body_that_is_no_text_is_only_a_wrong_signature() -> None:
    async with exchange() as venue:
        answer = await venue.raw(
            "POST", "/fapi/v1/order", "", b"\xff\xfe=1".decode("utf-8", "surrogateescape") + "&signature=0"
        )
        assert answer.code == -1022


async def test_unknown_paths_are_json_below_the_api_and_html_elsewhere() -> None:
    async with exchange() as venue:
        assert (await venue.raw("GET", "/fapi/v1/nothing")).code == -5000
        elsewhere = await venue.raw("GET", "/nothing")
        assert elsewhere.status == 404
        assert elsewhere.body.startswith("<html>")


# -- time


async def test_a_request_delayed_past_its_recv_window_is_refused_and_not_executed() -> None:
    """On its way to the exchange: -1021 (spec 1.3). The time that counts is when it is processed."""
    async with exchange() as venue:
        venue.simulator.arm(kind="delay", stage="request", ms=5_001)
        venue.simulator.arm(kind="delay", stage="request", ms=4_999, at_ms=1)
        late = asyncio.create_task(venue.order(**RESTING, newClientOrderId="late"))
        await asyncio.sleep(0)
        await venue.clock.advance(1)
        in_time = asyncio.create_task(venue.order(**RESTING, newClientOrderId="in-time"))
        await asyncio.sleep(0)
        await venue.wait(6_000)
        assert ((await late).status, (await late).code) == (400, -1021)
        assert (await in_time).body["clientOrderId"] == "in-time"
        opened = await venue.signed(*OPEN_ORDERS)
        assert [o["clientOrderId"] for o in opened.body] == ["in-time"]
        gone = await venue.signed("GET", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="late")
        assert gone.code == -2013


@pytest.mark.parametrize("batch", [False, True])
async def test_an_order_delayed_before_the_matching_engine_is_refused_by_its_second_check(
    batch: bool,
) -> None:
    """Between the gateway and the matching engine: -5028, for single orders and batches (spec 1.3)."""
    async with exchange() as venue:
        venue.simulator.arm(kind="delay", stage="engine", ms=1_001)
        path = "/fapi/v1/batchOrders" if batch else "/fapi/v1/order"
        params: dict[str, Any] = {"batchOrders": json.dumps([RESTING])} if batch else RESTING
        sent = asyncio.create_task(venue.signed("POST", path, **params, recvWindow=1000))
        await asyncio.sleep(0)
        await venue.wait(2_000)
        answer = await sent
        assert (answer.status, answer.code) == (400, -5028)
        assert answer.passed.orders_10s == (5 if batch else 1)  # it had passed the gateway, and counts
        assert (await venue.signed(*OPEN_ORDERS)).body == []


async def test_a_skewed_clock_moves_the_window_and_goes_back() -> None:
    async with exchange() as venue:
        venue.simulator.arm(kind="clock_skew", ms=-3000, for_ms=10_000)
        assert (await venue.raw("GET", "/fapi/v1/time")).body["serverTime"] == venue.clock.now_ms() - 3000
        assert (await venue.signed(*OPEN_ORDERS)).code == -1021
        behind = await venue.signed(*OPEN_ORDERS, timestamp=venue.clock.now_ms() - 3000)
        assert behind.body == []
        await venue.wait(10_000, step_ms=1000)
        assert (await venue.signed(*OPEN_ORDERS)).body == []


# -- limits


@pytest.mark.parametrize(
    ("path", "query", "weight"),
    [
        ("/fapi/v1/ping", "", 1),
        ("/fapi/v1/depth", "symbol=BTCUSDT&limit=5", 2),
        ("/fapi/v1/depth", "symbol=BTCUSDT&limit=50", 2),
        ("/fapi/v1/depth", "symbol=BTCUSDT&limit=100", 5),
        ("/fapi/v1/depth", "symbol=BTCUSDT", 10),
        ("/fapi/v1/depth", "symbol=BTCUSDT&limit=1000", 20),
        ("/fapi/v1/klines", "symbol=BTCUSDT&interval=1m&limit=99", 1),
        ("/fapi/v1/klines", "symbol=BTCUSDT&interval=1m&limit=100", 2),
        ("/fapi/v1/klines", "symbol=BTCUSDT&interval=1m", 5),
        ("/fapi/v1/klines", "symbol=BTCUSDT&interval=1m&limit=1500", 10),
        ("/fapi/v1/premiumIndex", "", 10),
        ("/fapi/v1/premiumIndex", "symbol=BTCUSDT", 1),
        ("/fapi/v1/fundingRate", "", 0),
    ],
)
async def test_weights(path: str, query: str, weight: int) -> None:
    async with exchange() as venue:
        assert (await venue.raw("GET", path, query)).passed.used_weight == weight


@pytest.mark.parametrize(
    ("method", "path", "params", "weight", "counts"),
    [
        ("POST", "/fapi/v1/order", RESTING, 0, (1, 1)),
        ("POST", "/fapi/v1/batchOrders", {"batchOrders": json.dumps([RESTING] * 2)}, 5, (5, 1)),
        ("DELETE", "/fapi/v1/order", {"symbol": "BTCUSDT", "orderId": 1}, 1, (None, None)),
        ("GET", "/fapi/v1/openOrders", {"symbol": "BTCUSDT"}, 1, (None, None)),
        ("GET", "/fapi/v1/openOrders", {}, 40, (None, None)),
    ],
)
async def test_orders_count_in_their_own_windows(
    method: str, path: str, params: dict[str, Any], weight: int, counts: tuple[int | None, int | None]
) -> None:
    async with exchange() as venue:
        passed = (await venue.signed(method, path, **params)).passed
        assert (passed.used_weight, (passed.orders_10s, passed.orders_1m)) == (weight, counts)


async def test_the_order_limit_is_the_accounts_and_ends_with_its_window() -> None:
    async with exchange(limits=Limits(orders_10s=2), further_keys=((KEY, "second", SECRET),)) as venue:
        answers = [await venue.order(**RESTING, key=key) for key in (KEY, "second", KEY)]
        assert [a.status for a in answers] == [200, 200, 429]
        assert answers[2].body == {
            "code": -1015,
            "msg": "Too many new orders; current limit is 2 orders per TEN_SECONDS.",
        }
        await venue.wait(10_000, step_ms=1000)
        assert (await venue.order(**RESTING)).status == 200


async def test_who_goes_on_after_429_is_banned_twice_as_long_each_time() -> None:
    async with exchange(limits=Limits(request_weight_1m=3, refusals_before_ban=2)) as venue:

        async def ping() -> tuple[int, str]:
            answer = await venue.raw("GET", "/fapi/v1/ping")
            return answer.status, answer.body.get("msg", "")

        statuses = [(await ping())[0] for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        for minutes in (2, 4, 8):
            until_ms = venue.clock.now_ms() + minutes * 60_000
            banned = (
                418,
                f"Way too many requests; IP({ADDRESS}) banned until {until_ms}. "
                "Please use the websocket for live updates to avoid bans.",
            )
            assert await ping() == banned
            assert (await venue.raw("GET", "/fapi/v1/ping", address="198.51.100.1")).status == 200
            await venue.clock.advance(minutes * 60_000 - 1)
            answer = await venue.raw("GET", "/fapi/v1/ping")
            assert (answer.status, answer.passed.retry_after_s) == (418, 1)
            await venue.clock.advance(60_001)
            assert [(await ping())[0] for _ in range(5)] == statuses


def test_bans_end_at_three_days_and_are_forgiven() -> None:
    bans = Bans(refused_max=0, shortest_ms=120_000, longest_ms=BAN_REMEMBERED_MS)
    now, lengths = 0, []
    for _ in range(14):
        lengths.append(bans.refused("a", now) - now)
        now += lengths[-1]
    assert lengths[:3] == [120_000, 240_000, 480_000]
    assert lengths[-1] == BAN_REMEMBERED_MS
    assert bans.refused("a", now + BAN_REMEMBERED_MS + 1) - now == BAN_REMEMBERED_MS + 1 + 120_000


async def test_funding_and_statistics_have_pools_of_their_own() -> None:
    async with exchange(limits=Limits(funding_5m=2)) as venue:
        answers = [await venue.raw("GET", "/fapi/v1/fundingRate", "symbol=BTCUSDT") for _ in range(3)]
        assert [a.status for a in answers] == [200, 200, 429]
        assert answers[2].passed.used_weight == 0
        assert answers[2].passed.retry_after_s == 300 - venue.clock.now_ms() // 1000 % 300
        assert (await venue.raw("GET", "/fapi/v1/ping")).status == 200


# -- trouble


@pytest.mark.parametrize("executed", [False, True])
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ({"kind": "answer", "variant": "503A"}, 503),
        ({"kind": "answer", "variant": "408"}, 408),
        ({"kind": "answer", "variant": "502"}, 502),
        ({"kind": "answer", "variant": "504"}, 504),
        ({"kind": "lose"}, 0),
    ],
)
async def test_an_unknown_answer_may_hide_an_executed_order(
    fault: dict[str, Any], status: int, executed: bool
) -> None:
    async with exchange() as venue:
        venue.simulator.arm(**fault, executed=executed, path="orders")
        answer = await venue.order(**RESTING, newClientOrderId="mine")
        assert answer.status == status
        if status in (502, 504):
            assert answer.body.startswith("<html>")
        opened = (await venue.signed(*OPEN_ORDERS)).body
        assert [o["clientOrderId"] for o in opened] == (["mine"] if executed else [])


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        ({"kind": "answer", "variant": "503B"}, 503, {"code": 0, "msg": "Service Unavailable."}),
        ({"kind": "answer", "variant": "503D"}, 503, {"code": -1001}),
        ({"kind": "answer", "variant": "503C"}, 503, {"code": -1008}),
        ({"kind": "refuse", "code": -2027, "msg": "no"}, 400, {"code": -2027, "msg": "no"}),
        ({"kind": "too_many"}, 429, {"code": -1003}),
        ({"kind": "answer", "variant": "403"}, 403, None),
    ],
)
async def test_certain_failures_execute_nothing_and_count_nothing(
    fault: dict[str, Any], status: int, body: dict[str, Any] | None
) -> None:
    async with exchange() as venue:
        venue.simulator.arm(**fault, path="orders")
        answer = await venue.order(**RESTING)
        assert answer.status == status
        if body is not None:
            assert body.items() <= answer.body.items()
        assert answer.passed.orders_10s is None
        assert (await venue.order(**RESTING)).passed.orders_10s == 1
        assert len((await venue.signed(*OPEN_ORDERS)).body) == 1


async def test_a_ban_by_fault_ends_by_itself() -> None:
    async with exchange() as venue:
        venue.simulator.arm(kind="ban", ms=120_000)
        assert (await venue.signed(*OPEN_ORDERS)).status == 418
        await venue.clock.advance(119_999)
        assert (await venue.order(**RESTING)).status == 418
        await venue.clock.advance(1)
        assert (await venue.order(**RESTING)).status == 200


async def test_part_of_a_batch_fails_and_answers_keep_their_places() -> None:
    async with exchange() as venue:
        fails = {"code": -1001, "msg": "Internal error"}
        venue.simulator.arm(kind="fail_elements", elements=[0, 2], count=2, **fails)
        elements = [{**RESTING, "newClientOrderId": f"n{n}"} for n in range(4)]
        answer = await venue.signed("POST", "/fapi/v1/batchOrders", batchOrders=json.dumps(elements))
        assert [e.get("code") or e["clientOrderId"] for e in answer.body] == [-1001, "n1", -1001, "n3"]
        names = quote('["n1","n3"]')
        text = f"symbol=BTCUSDT&origClientOrderIdList={names}&timestamp={venue.clock.now_ms()}"
        cancelled = await venue.raw("DELETE", "/fapi/v1/batchOrders", f"{text}&signature={venue.sign(text)}")
        assert [e.get("code") or e["clientOrderId"] for e in cancelled.body] == [-1001, "n3"]
        opened = (await venue.signed(*OPEN_ORDERS)).body
        assert [o["clientOrderId"] for o in opened] == ["n1"]


async def test_a_maintenance_window_answers_pages_then_everything_is_as_before() -> None:
    async with exchange() as venue:
        listener, key = await venue.listen()
        await venue.order(**RESTING)
        venue.simulator.arm(kind="maintenance", for_ms=600_000, sockets="silent", lose_keys=True)
        answers = [await venue.order(**ORDER) for _ in range(40)]
        assert {a.status for a in answers} == {502, 503, 504}
        assert any(isinstance(a.body, str) for a in answers)
        heard = len(listener.events)
        await venue.wait(600_000, step_ms=5000)
        assert len(listener.events) == heard
        assert len((await venue.signed(*OPEN_ORDERS)).body) == 1
        assert (await venue.raw("PUT", "/fapi/v1/listenKey")).code == -1125
        assert (await venue.raw("POST", "/fapi/v1/listenKey")).body["listenKey"] != key


# -- what happens at the exchange


async def test_a_manual_order_is_one_that_no_client_sent() -> None:
    async with exchange() as venue:
        listener, _ = await venue.listen()
        venue.simulator.arm(kind="manual_order", account=KEY, symbol="BTCUSDT", side="SELL", quantity="0.2")
        await venue.wait(20)
        trades = [
            e["o"] for e in listener.events if e["e"] == "ORDER_TRADE_UPDATE" and e["o"]["x"] == "TRADE"
        ]
        assert [(t["S"], t["l"], t["c"][:4]) for t in trades] == [("SELL", "0.2", "web_")]
        risk = (await venue.signed("GET", "/fapi/v3/positionRisk", symbol="BTCUSDT")).body
        assert [row["positionAmt"] for row in risk] == ["-0.200"]
        with pytest.raises(SimulatorError, match="manual_order was refused: -4003"):
            venue.simulator.arm(kind="manual_order", account=KEY, symbol="BTCUSDT", side="BUY", quantity="-1")
        with pytest.raises(SimulatorError, match="there is no account nobody"):
            venue.simulator.arm(
                kind="manual_order", account="nobody", symbol="BTCUSDT", side="BUY", quantity="1"
            )
        with pytest.raises(SimulatorError, match="NOPE is not listed"):
            venue.simulator.arm(kind="set_mark", symbol="NOPE", price="1")


async def test_a_listen_key_ends_with_its_event_and_stale_quotes_stand_still() -> None:
    async with exchange() as venue:
        listener, key = await venue.listen()
        venue.simulator.arm(kind="expire_listen_key", at_ms=1000)
        await venue.wait(1020)
        assert [e for e in listener.events if e["e"] == "listenKeyExpired"] == [
            {"e": "listenKeyExpired", "E": listener.events[0]["E"], "listenKey": key}
        ]
        venue.simulator.release()
        venue.simulator.arm(kind="stale_quotes", for_ms=1000, symbol="BTCUSDT")
        assert venue.simulator.venue.feed.pinned_quotes == {"BTCUSDT"}
        venue.simulator.arm(kind="deposit", account=KEY, quantity="50")
        await venue.wait(1020)
        assert venue.simulator.venue.feed.pinned_quotes == set()
        balance = (await venue.signed("GET", "/fapi/v3/balance")).body
        assert [b["balance"] for b in balance if b["asset"] == "USDT"] == ["100050.00000000"]


# -- what the exchange does to positions


async def _long(venue: Exchange) -> Listener:
    listener, _ = await venue.listen()
    assert (await venue.order(**{**ORDER, "quantity": "1"})).status == 200
    assert (await venue.order(**RESTING)).status == 200
    listener.events.clear()
    return listener


def _reports(listener: Listener) -> list[tuple[str, str, str]]:
    orders = [e["o"] for e in listener.events if e["e"] == "ORDER_TRADE_UPDATE"]
    return [(o["c"].split("-")[0], o["x"], o["X"]) for o in orders if not o["c"].startswith("sim")]


async def _held(venue: Exchange) -> D:
    rows = (await venue.signed("GET", "/fapi/v3/positionRisk", symbol="BTCUSDT")).body
    return sum((D(row["positionAmt"]) for row in rows), D(0))


async def test_liquidation_ends_orders_and_the_position() -> None:
    async with exchange() as venue:
        listener = await _long(venue)
        venue.simulator.arm(kind="liquidate", account=KEY)
        await venue.wait(20)
        assert await _held(venue) == 0
        assert (await venue.signed(*OPEN_ORDERS)).body == []
        reports = _reports(listener)
        assert {name for name, _, _ in reports} == {"autoclose"}
        assert reports[-1][2] == "FILLED"
        forced = (await venue.signed("GET", "/fapi/v1/forceOrders", symbol="BTCUSDT")).body
        assert sum((D(o["executedQty"]) for o in forced), D(0)) == 1
        with pytest.raises(SimulatorError, match="holds no position"):
            venue.simulator.arm(kind="liquidate", account=KEY)


async def test_deleveraging_takes_a_part() -> None:
    async with exchange() as venue:
        listener = await _long(venue)
        venue.simulator.arm(kind="adl", account=KEY, symbol="BTCUSDT", quantity="0.4")
        await venue.wait(20)
        assert await _held(venue) == D("0.6")
        assert {name for name, _, _ in _reports(listener)} == {"adl_autoclose"}


async def test_a_delisted_symbol_is_settled_and_closed() -> None:
    async with exchange() as venue:
        listener = await _long(venue)
        venue.simulator.arm(kind="settle", symbol="BTCUSDT", price="59000")
        await venue.wait(20)
        assert await _held(venue) == 0
        assert (await venue.signed(*OPEN_ORDERS)).body == []
        assert "settlement_autoclose" in {name for name, _, _ in _reports(listener)}
        assert (await venue.order(**ORDER)).code == -4108
        info = (await venue.raw("GET", "/fapi/v1/exchangeInfo")).body
        assert [s["status"] for s in info["symbols"] if s["symbol"] == "BTCUSDT"] == ["CLOSE"]


async def test_a_halt_lasts_as_long_as_the_maintenance() -> None:
    async with exchange() as venue:
        venue.simulator.arm(kind="maintenance", for_ms=1000, halt=True, sockets="keep")
        rules = venue.simulator.venue.engine.rules
        assert {rules[s].info.status for s in ("BTCUSDT", "ETHUSDT")} == {"TRADING_HALT"}
        await venue.wait(1020)
        assert {rules[s].info.status for s in ("BTCUSDT", "ETHUSDT")} == {"TRADING"}
        venue.simulator.arm(kind="symbol_status", symbol="ETHUSDT", status="PRE_SETTLE")
        assert rules["ETHUSDT"].info.status == "PRE_SETTLE"
        with pytest.raises(SimulatorError, match="NOPE is no status"):
            venue.simulator.arm(kind="symbol_status", symbol="ETHUSDT", status="NOPE")


@pytest.mark.parametrize("name", scenario.shipped())
async def test_a_shipped_scenario_runs_through(name: str) -> None:
    """Ten minutes of each, with an order now and then; afterwards the account still answers."""
    accounts = (("demo", SECRET, WALLET),)
    async with exchange(accounts=accounts, scenario=scenario.load(name)) as venue:
        statuses = set[int]()
        pending = []
        for _ in range(24):
            pending.append(asyncio.create_task(venue.order(key="demo", **ORDER)))
            await venue.wait(30_000, step_ms=500)
            statuses |= {task.result().status for task in pending if task.done()}
        assert venue.simulator.doors.faults.statistics()["struck"] >= 1
        assert 200 in statuses
        assert venue.simulator.doors.faults.last_refusal == ""
        assert (await venue.signed("GET", "/fapi/v3/balance", key="demo")).status == 200
