"""The exchange's rules: codes, matching, reduce-only, margin, and the order of private events."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal as D
from typing import Any

import pytest

from pms.simulator.core import Engine
from pms.simulator.errors import Reject
from pms.simulator.rules import Range
from tests.unit.simulator.market_support import NOW, engine_with, place, placed, quote

LIMIT = {"type": "LIMIT", "price": "59000"}

REFUSALS: list[tuple[dict[str, str], int]] = [
    ({"side": ""}, -1102),
    ({"quantity": ""}, -1102),
    ({"quantity": "abc"}, -1102),
    ({"quantity": "NaN"}, -1102),
    ({"quantity": "1e3"}, -1102),
    ({"type": "LIMIT", "price": ""}, -1102),
    ({"symbol": "NOPEUSDT"}, -1121),
    ({"type": "STOP_MARKET"}, -4120),
    ({"type": "LIMIT", "price": "59000", "timeInForce": "XXX"}, -1115),
    ({"type": "ICEBERG"}, -1116),
    ({"side": "HOLD"}, -1117),
    ({"newOrderRespType": "FULL"}, -1136),
    ({"newClientOrderId": "a" * 37}, -4015),
    ({"newClientOrderId": "bad id!"}, -4015),
    ({"quantity": "0.0001"}, -1111),
    ({**LIMIT, "price": "59000.001"}, -1111),
    ({**LIMIT, "price": "-5"}, -4001),
    ({**LIMIT, "price": "100"}, -4013),
    ({**LIMIT, "price": "9999999"}, -4002),
    ({**LIMIT, "price": "59000.05"}, -4014),
    ({**LIMIT, "price": "64000"}, -4016),
    ({**LIMIT, "side": "SELL", "price": "56000"}, -4024),
    ({"quantity": "0"}, -4003),
    ({"quantity": "-1"}, -4003),
    ({"quantity": "121"}, -4005),
    ({**LIMIT, "quantity": "1001"}, -4005),
    ({**LIMIT, "quantity": "0.000"}, -4003),
    ({**LIMIT, "quantity": "0.0004"}, -1111),
    ({**LIMIT, "quantity": "0.000", "price": "59000.05"}, -4014),
    ({"symbol": "ETHUSDT", "quantity": "0.005"}, -4164),
    ({"reduceOnly": "true"}, -2022),
    ({"quantity": "100"}, -2019),
    ({**LIMIT, "quantity": "100"}, -2019),
    ({**LIMIT, "timeInForce": "GTX", "price": "60000.1"}, -5022),
    ({**LIMIT, "timeInForce": "FOK", "price": "60000.1", "quantity": "11"}, -5021),
]


@pytest.mark.parametrize(("params", "code"), REFUSALS, ids=[f"{c}-{n}" for n, (_, c) in enumerate(REFUSALS)])
def test_refusal_leaves_no_trace(params: dict[str, str], code: int) -> None:
    engine, account = engine_with()
    refused = place(engine, account, **params)
    assert isinstance(refused, Reject)
    assert refused.code == code
    assert not engine.dirty
    assert engine.next_order_id == placed(engine, account, quantity="0.01").order_id


def test_step_and_minimum_quantity() -> None:
    engine, account = engine_with()
    rules = engine.rules["BTCUSDT"]
    coarse = Range(D("0.010"), D(100), D("0.005"))
    engine.rules["BTCUSDT"] = replace(rules, lot=coarse, market_lot=coarse)
    for quantity, code in (("0.009", -4004), ("0.011", -4023)):
        refused = place(engine, account, quantity=quantity)
        assert isinstance(refused, Reject)
        assert refused.code == code


def test_open_orders_of_a_symbol_are_bounded() -> None:
    engine, account = engine_with("10000000")
    for _ in range(200):
        placed(engine, account, **LIMIT, quantity="0.01")
    refused = place(engine, account, **LIMIT, quantity="0.01")
    assert isinstance(refused, Reject)
    assert refused.code == -2025
    assert placed(engine, account, quantity="0.01").status == "FILLED"


def test_minimum_notional_names_the_symbols_figure() -> None:
    engine, account = engine_with()
    refused = place(engine, account, **LIMIT, quantity="0.0")
    assert isinstance(refused, Reject)
    refused = place(engine, account, type="LIMIT", price="30000", quantity="0.001")
    assert refused == Reject(
        -4164, "Order's notional must be no smaller than 50 (unless you choose reduce only)."
    )


def test_open_client_id_is_refused_and_free_again_after_the_end() -> None:
    engine, account = engine_with()
    first = placed(engine, account, **LIMIT, newClientOrderId="one")
    again = place(engine, account, **LIMIT, newClientOrderId="one")
    assert isinstance(again, Reject)
    assert again.code == -4116
    engine.cancel(account, first, NOW)
    second = placed(engine, account, **LIMIT, newClientOrderId="one")
    assert engine.find_order(account, "BTCUSDT", None, "one") is second


def test_cancel_of_a_finished_order_is_unknown() -> None:
    engine, account = engine_with()
    order = placed(engine, account, quantity="0.01")
    refused = engine.cancel(account, order, NOW)
    assert isinstance(refused, Reject)
    assert refused.code == -2011


def test_market_order_walks_one_tick_a_level() -> None:
    engine, account = engine_with()
    order = placed(engine, account, quantity="25")
    assert [(t.price, t.quantity) for t in engine.trades] == [(D("60000.1"), D(10)), (D("60000.2"), D(15))]
    assert order.status == "FILLED"
    assert len({t.trade_id for t in engine.trades}) == 2


def test_market_order_stops_at_the_take_bound() -> None:
    engine, account = engine_with("100000000")
    quote(engine, "BTCUSDT", "60000.0", "62999.9", size="1")
    engine.markets["BTCUSDT"].mark = D(60000)
    order = placed(engine, account, quantity="5")
    assert (order.status, order.executed, order.expiry_reason) == ("EXPIRED", 3, "9")


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_market_order_is_refused_when_the_best_price_is_outside_percent_price(side: str) -> None:
    engine, account = engine_with("100000000")
    quote(engine, "BTCUSDT", "56000.0", "66000.0", size="1")
    engine.markets["BTCUSDT"].mark = D(60000)
    refused = place(engine, account, quantity="1", side=side)
    assert isinstance(refused, Reject)
    assert refused.code == -4131


def test_immediate_or_cancel_expires_its_remainder() -> None:
    engine, account = engine_with()
    order = placed(engine, account, type="LIMIT", timeInForce="IOC", price="60000.1", quantity="11")
    assert (order.status, order.executed, order.expiry_reason) == ("EXPIRED", D(10), "2")


def test_limit_rests_and_fills_in_parts_at_its_own_price_as_maker() -> None:
    engine, account = engine_with()
    order = placed(engine, account, type="LIMIT", price="59990.0", quantity="3")
    quote(engine, "BTCUSDT", "59985.0", "59990.1", size="2")
    assert order.status == "NEW"
    quote(engine, "BTCUSDT", "59985.0", "59989.0", size="2")
    assert (order.status, order.executed) == ("PARTIALLY_FILLED", D(2))
    quote(engine, "BTCUSDT", "59985.0", "59989.0", size="2")
    assert (order.status, order.average_price) == ("FILLED", D("59990.0"))
    first = engine.trades[0]
    assert first.maker
    assert first.commission == D("59990.0") * 2 * D("0.0002")


def test_resting_orders_share_the_displayed_size_by_price_then_time() -> None:
    engine, account = engine_with()
    late = placed(engine, account, type="LIMIT", price="59990.0", quantity="1")
    early = placed(engine, account, type="LIMIT", price="59991.0", quantity="1")
    same = placed(engine, account, type="LIMIT", price="59990.0", quantity="1")
    quote(engine, "BTCUSDT", "59980.0", "59990.0", size="1.5")
    assert (early.executed, late.executed, same.executed) == (D(1), D("0.5"), D(0))


def test_reduce_only_is_cut_to_the_position_and_refused_when_covered() -> None:
    engine, account = engine_with()
    placed(engine, account, quantity="1")
    resting = placed(
        engine, account, type="LIMIT", side="SELL", price="60500", quantity="5", reduceOnly="true"
    )
    assert resting.quantity == D(1)
    refused = place(engine, account, side="SELL", quantity="0.5", reduceOnly="true")
    assert isinstance(refused, Reject)
    assert refused.code == -2022


def test_resting_reduce_only_shrinks_with_the_position_and_ends_with_it() -> None:
    engine, account = engine_with()
    placed(engine, account, quantity="1")
    resting = placed(
        engine, account, type="LIMIT", side="SELL", price="60500", quantity="1", reduceOnly="true"
    )
    placed(engine, account, side="SELL", quantity="0.6")
    assert (resting.status, resting.quantity) == ("NEW", D("0.4"))
    placed(engine, account, side="SELL", quantity="0.6")
    assert (resting.status, resting.expiry_reason) == ("EXPIRED", "4")


def test_reduce_only_below_minimum_notional_passes() -> None:
    engine, account = engine_with()
    placed(engine, account, quantity="0.001")
    assert placed(engine, account, side="SELL", quantity="0.001", reduceOnly="true").status == "FILLED"


def test_flip_needs_margin_for_the_excess_only() -> None:
    engine, account = engine_with("4000")
    placed(engine, account, quantity="1")
    assert placed(engine, account, side="SELL", quantity="2").status == "FILLED"
    refused = place(engine, account, side="SELL", quantity="1")
    assert isinstance(refused, Reject)
    assert refused.code == -2019


def test_open_orders_hold_margin_back() -> None:
    engine, account = engine_with("3100")
    placed(engine, account, **LIMIT, quantity="1")
    refused = place(engine, account, **LIMIT, quantity="0.1")
    assert isinstance(refused, Reject)
    assert refused.code == -2019


def test_position_limit_of_the_leverage() -> None:
    engine, account = engine_with("100000000")
    assert engine.set_leverage(account, "BTCUSDT", 150, NOW) is None
    refused = place(engine, account, quantity="6")
    assert isinstance(refused, Reject)
    assert refused.code == -2027


def test_leverage_outside_the_brackets_is_refused() -> None:
    engine, account = engine_with()
    refused = engine.set_leverage(account, "BTCUSDT", 151, NOW)
    assert refused is not None
    assert refused.code == -4028


def test_trade_ids_grow_by_symbol() -> None:
    engine, account = engine_with()
    for symbol, quantity in (("BTCUSDT", "0.01"), ("ETHUSDT", "1"), ("BTCUSDT", "0.01")):
        placed(engine, account, symbol=symbol, quantity=quantity)
    ids = [(t.symbol, t.trade_id - 5_000_000_001) for t in engine.trades]
    assert ids == [("BTCUSDT", 0), ("ETHUSDT", 0), ("BTCUSDT", 1)]


def _events(engine: Engine) -> list[dict[str, Any]]:
    return [json.loads(event) for _, event in engine.drain().events]


def _names(events: list[dict[str, Any]]) -> list[str]:
    return [e["e"] + (":" + e["o"]["x"] if "o" in e else "") for e in events]


def test_taker_events_come_in_the_venues_order() -> None:
    engine, account = engine_with()
    placed(engine, account, quantity="1")
    events = _events(engine)
    assert _names(events) == [
        "TRADE_LITE",
        "ORDER_TRADE_UPDATE:NEW",
        "ACCOUNT_UPDATE",
        "ORDER_TRADE_UPDATE:TRADE",
    ]
    new, trade = events[1]["o"], events[3]["o"]
    assert (new["X"], new["z"], new["t"]) == ("NEW", "0", 0)
    assert (trade["X"], trade["l"], trade["t"]) == ("FILLED", "1", 5_000_000_001)
    assert trade["n"] == "30.00005000"
    assert events[2]["a"]["B"][0]["wb"] == "99969.99995000"
    assert events[2]["a"]["P"][0]["ep"] == "60000.1"


def test_maker_and_cancel_events() -> None:
    engine, account = engine_with()
    order = placed(engine, account, type="LIMIT", price="59990.0", quantity="3")
    quote(engine, "BTCUSDT", "59985.0", "59990.0", size="2")
    engine.cancel(account, order, NOW)
    assert _names(_events(engine)) == [
        "ORDER_TRADE_UPDATE:NEW",
        "TRADE_LITE",
        "ACCOUNT_UPDATE",
        "ORDER_TRADE_UPDATE:TRADE",
        "ORDER_TRADE_UPDATE:CANCELED",
    ]


def test_expired_listen_key_says_so_once() -> None:
    engine, account = engine_with()
    engine.expire_listen_keys(account.listen_key_expires_ms)
    engine.expire_listen_keys(account.listen_key_expires_ms + 1)
    assert [e["e"] for e in _events(engine)] == ["listenKeyExpired"]
