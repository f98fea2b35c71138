"""PUT order and its batch: what may change, what is refused, and what ends cancelled (spec 2.2)."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest

from pms.simulator.core import Engine
from pms.simulator.order_amend import AMENDMENTS_MAX
from pms.simulator.state import Account, Order
from tests.unit.simulator.handler_support import ask
from tests.unit.simulator.market_support import NOW, engine_with, placed, quote


def _resting(engine: Engine, account: Account, **params: str) -> Order:
    wanted = {"type": "LIMIT", "side": "BUY", "price": "59000.0", "quantity": "1", **params}
    order = placed(engine, account, **wanted)
    engine.drain()
    return order


def _amend(engine: Engine, account: Account, order: Order, **params: Any) -> Any:
    wanted = {"orderId": order.order_id, "side": order.side, "quantity": "1", "price": "59100", **params}
    return ask(engine, account, "PUT order", **wanted)


def _events(engine: Engine) -> list[dict[str, Any]]:
    return [json.loads(event) for _, event in engine.drain().events]


def test_new_price_and_quantity_are_answered_told_and_remembered() -> None:
    engine, account = engine_with()
    order = _resting(engine, account)
    answer = _amend(engine, account, order, quantity="2", price="59100.1", modifyId=77)
    (event,) = _events(engine)
    assert answer["pair"] == "BTCUSDT"
    assert (answer["status"], answer["modifyId"], answer["price"], answer["origQty"]) == (
        "NEW",
        77,
        "59100.10",
        "2.000",
    )
    assert "avgPrice" not in answer
    body = event["o"]
    assert (body["x"], body["X"], body["M"], body["q"], body["p"]) == (
        "AMENDMENT",
        "NEW",
        77,
        "2",
        "59100.1",
    )
    _amend(engine, account, order, quantity="2", price="59100.2")
    assert "M" not in _events(engine)[0]["o"]
    history = ask(engine, account, "GET orderAmendment", orderId=order.order_id)
    assert [row["amendment"]["count"] for row in history] == [2, 1]
    assert history[1]["amendment"] == {
        "price": {"before": "59000", "after": "59100.1"},
        "origQty": {"before": "1", "after": "2"},
        "count": 1,
        "modifyId": 77,
    }
    assert len(ask(engine, account, "GET orderAmendment", orderId=order.order_id, limit=1)) == 1


REFUSALS: list[tuple[dict[str, Any], int]] = [
    ({"symbol": None}, -1102),
    ({"symbol": "NOPEUSDT"}, -1121),
    ({"orderId": None}, -1102),
    ({"orderId": 1}, -2013),
    ({"side": None}, -1102),
    ({"side": "SELL"}, -1117),
    ({"quantity": None}, -1102),
    ({"price": None}, -1102),
    ({"price": "59000.001"}, -1111),
    ({"price": "59000.05"}, -4014),
    ({"price": "70000"}, -4016),
    ({"quantity": "0"}, -4003),
    ({"quantity": "1", "price": "59000.0"}, -5027),
    ({"quantity": "0.001", "price": "30000"}, -5029),
    ({"reduceOnly": "true"}, -5047),
    ({"priceMatch": "QUEUE"}, -1106),
    ({"priceMatch": "OPPONENT_20", "price": None}, -5037),
    ({"quantity": "900"}, -2019),
]


@pytest.mark.parametrize(("params", "code"), REFUSALS, ids=[f"{c}-{n}" for n, (_, c) in enumerate(REFUSALS)])
def test_refused_change_leaves_the_order_as_it_was(params: dict[str, Any], code: int) -> None:
    engine, account = engine_with()
    order = _resting(engine, account)
    before = msgspec.structs.replace(order)
    assert _amend(engine, account, order, **params)["code"] == code
    assert order == before
    assert engine.open_orders_of(account) == [order]
    assert not engine.dirty


def test_kind_status_and_number_of_changes() -> None:
    engine, account = engine_with()
    order = _resting(engine, account)
    order.amendments = AMENDMENTS_MAX
    assert _amend(engine, account, order)["code"] == -5026
    order.amendments = 0
    rules = engine.rules["BTCUSDT"]
    engine.rules["BTCUSDT"] = replace(rules, info=msgspec.structs.replace(rules.info, status="SETTLING"))
    assert _amend(engine, account, order)["code"] == -5024
    order.type = "MARKET"
    assert _amend(engine, account, order)["code"] == -5025
    engine.cancel(account, order, NOW)
    assert _amend(engine, account, order)["code"] == -2013


def test_partly_filled_and_cut_to_what_is_executed_ends_cancelled() -> None:
    engine, account = engine_with()
    order = _resting(engine, account, price="59990.0", quantity="3")
    quote(engine, "BTCUSDT", "59985.0", "59990.0", size="2")
    assert order.executed == 2
    engine.drain()
    answer = _amend(engine, account, order, quantity="2", price="59990.0")
    assert (answer["status"], answer["executedQty"]) == ("CANCELED", "2.000")
    assert [(e["o"]["x"], e["o"]["z"]) for e in _events(engine)] == [("CANCELED", "2")]


def test_partly_filled_and_grown_goes_on() -> None:
    engine, account = engine_with()
    order = _resting(engine, account, price="59990.0", quantity="3")
    quote(engine, "BTCUSDT", "59985.0", "59990.0", size="2")
    answer = _amend(engine, account, order, quantity="4", price="59980.0")
    assert (answer["status"], answer["origQty"], answer["executedQty"]) == (
        "PARTIALLY_FILLED",
        "4.000",
        "2.000",
    )


def test_post_only_that_would_take_ends_cancelled() -> None:
    engine, account = engine_with()
    order = _resting(engine, account, timeInForce="GTX")
    assert _amend(engine, account, order, price="60000.1")["status"] == "CANCELED"
    assert not engine.trades


def test_price_beyond_the_market_executes_as_taker() -> None:
    engine, account = engine_with()
    order = _resting(engine, account)
    answer = _amend(engine, account, order, price="60000.1")
    assert (answer["status"], answer["executedQty"]) == ("FILLED", "1.000")
    names = [e["e"] + (":" + e["o"]["x"] if "o" in e else "") for e in _events(engine)]
    assert names == [
        "TRADE_LITE",
        "ORDER_TRADE_UPDATE:AMENDMENT",
        "ACCOUNT_UPDATE",
        "ORDER_TRADE_UPDATE:TRADE",
    ]


def test_changed_order_loses_its_place() -> None:
    engine, account = engine_with()
    first = _resting(engine, account, price="59990.0")
    second = _resting(engine, account, price="59990.0")
    engine.before_update(engine.markets["BTCUSDT"])
    _amend(engine, account, first, quantity="2", price="59990.0")
    quote(engine, "BTCUSDT", "59980.0", "59990.0", size="1.5")
    assert (first.executed, second.executed) == (D("0.5"), D(1))


def test_reduce_only_grows_only_as_far_as_the_position() -> None:
    engine, account = engine_with()
    placed(engine, account, quantity="2")
    order = _resting(engine, account, side="SELL", price="60500", quantity="1", reduceOnly="true")
    answer = _amend(engine, account, order, price="60400", quantity="5", reduceOnly="true")
    assert (answer["origQty"], answer["reduceOnly"]) == ("2.000", True)


def test_batch_answers_each_element_in_order() -> None:
    engine, account = engine_with()
    one, two = _resting(engine, account), _resting(engine, account)
    rows = [
        {"symbol": "BTCUSDT", "orderId": o.order_id, "side": "BUY", "quantity": q, "price": "59000"}
        for o, q in ((one, "2"), (two, "1"), (two, "3"))
    ]
    answer = ask(engine, account, "PUT batchOrders", batchOrders=rows)
    assert [a.get("code", a.get("origQty")) for a in answer] == ["2.000", -5027, "3.000"]
    assert ask(engine, account, "PUT batchOrders", batchOrders=rows * 2)["code"] == -4082
