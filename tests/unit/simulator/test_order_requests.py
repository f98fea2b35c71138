"""Placing, cancelling and reading orders at the handlers: modes, batches, timers, windows (spec 2.2, 7)."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest

from pms.simulator.config import SimulatorConfig
from pms.simulator.core import Engine
from pms.simulator.state import Account
from tests.unit.simulator.handler_support import ask
from tests.unit.simulator.market_support import NOW, engine_with, placed

DAY_MS = 86_400_000
LIMIT: dict[str, Any] = {
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "price": "59000",
    "quantity": "1",
}
MARKET: dict[str, Any] = {"side": "BUY", "type": "MARKET", "quantity": "1"}


def _place(engine: Engine, account: Account, base: dict[str, Any], **params: Any) -> Any:
    return ask(engine, account, "POST order", **{**base, **params})


def _hedged(wallet: str = "100000") -> tuple[Engine, Account]:
    engine, account = engine_with(wallet)
    account.hedge_mode = True
    return engine, account


ONE_WAY: list[tuple[dict[str, Any], int]] = [
    ({"positionSide": "LONG"}, -4061),
    ({"positionSide": "SIDEWAYS"}, -1102),
    ({"reduceOnly": "perhaps"}, -1102),
    ({"closePosition": "true"}, -4136),
    ({"price": "60000"}, -1106),
    ({"timeInForce": "GTC"}, -1106),
    ({"stopPrice": "60000"}, -1106),
    ({"priceMatch": "QUEUE"}, -5038),
    ({"selfTradePreventionMode": "EXPIRE_ME"}, -5039),
]


@pytest.mark.parametrize(("params", "code"), ONE_WAY, ids=[str(c) + "-".join(p) for p, c in ONE_WAY])
def test_market_parameters_that_are_refused_in_one_way_mode(params: dict[str, Any], code: int) -> None:
    engine, account = engine_with()
    assert _place(engine, account, MARKET, **params)["code"] == code


HEDGE: list[tuple[dict[str, Any], int]] = [
    ({}, -4061),
    ({"positionSide": "BOTH"}, -4061),
    ({"positionSide": "LONG", "reduceOnly": "true"}, -1106),
    ({"positionSide": "LONG", "side": "SELL", "quantity": "1.5"}, -2024),
    ({"positionSide": "SHORT", "side": "BUY"}, -2022),
]


@pytest.mark.parametrize(("params", "code"), HEDGE, ids=[str(c) + "-".join(p) for p, c in HEDGE])
def test_what_hedge_mode_refuses(params: dict[str, Any], code: int) -> None:
    engine, account = _hedged()
    assert _place(engine, account, MARKET, positionSide="LONG")["status"] == "NEW"
    assert _place(engine, account, MARKET, **params)["code"] == code


def test_hedge_mode_keeps_both_sides_apart_and_closes_each() -> None:
    engine, account = _hedged()
    _place(engine, account, MARKET, positionSide="LONG", quantity="2")
    _place(engine, account, MARKET, positionSide="SHORT", side="SELL", quantity="1")
    sides = {
        side: engine.position_of(account, "BTCUSDT", side).quantity for side in ("LONG", "SHORT", "BOTH")
    }
    assert sides == {"LONG": D(2), "SHORT": D(-1), "BOTH": D(0)}
    answer = _place(engine, account, MARKET, positionSide="SHORT", quantity="1", newOrderRespType="RESULT")
    assert (answer["positionSide"], answer["status"], answer["reduceOnly"]) == ("SHORT", "FILLED", False)
    assert engine.position_of(account, "BTCUSDT", "SHORT").quantity == 0
    assert engine.position_of(account, "BTCUSDT", "LONG").quantity == 2


def test_resting_closing_orders_of_a_hedge_shrink_with_their_side_only() -> None:
    engine, account = _hedged()
    _place(engine, account, MARKET, positionSide="LONG", quantity="2")
    resting = placed(
        engine, account, type="LIMIT", side="SELL", price="61000", quantity="2", positionSide="LONG"
    )
    _place(engine, account, MARKET, positionSide="SHORT", side="SELL", quantity="1")
    assert resting.quantity == 2
    engine.cancel(account, resting, NOW)
    resting = placed(
        engine, account, type="LIMIT", side="SELL", price="61000", quantity="1.5", positionSide="LONG"
    )
    assert _place(engine, account, MARKET, positionSide="LONG", side="SELL", quantity="1")["code"] == -2024
    _place(engine, account, MARKET, positionSide="LONG", side="SELL", quantity="0.5")
    assert (resting.status, resting.quantity) == ("NEW", D("1.5"))


@pytest.mark.parametrize(
    ("kind", "response", "status", "executed"),
    [
        (MARKET, "ACK", "NEW", "0.000"),
        (MARKET, "RESULT", "FILLED", "1.000"),
        ({**LIMIT, "timeInForce": "IOC", "price": "60000.1"}, "RESULT", "FILLED", "1.000"),
        ({**LIMIT, "timeInForce": "FOK", "price": "60000.1"}, "RESULT", "FILLED", "1.000"),
        ({**LIMIT, "timeInForce": "IOC"}, "RESULT", "EXPIRED", "0.000"),
        ({**LIMIT, "price": "60000.1"}, "RESULT", "NEW", "0.000"),
        (LIMIT, "ACK", "NEW", "0.000"),
    ],
)
def test_ack_says_new_and_result_the_final_state(
    kind: dict[str, Any], response: str, status: str, executed: str
) -> None:
    engine, account = engine_with()
    answer = _place(engine, account, kind, newOrderRespType=response)
    assert (answer["status"], answer["executedQty"], answer["cumQty"]) == (status, executed, executed)
    assert not {"avgPrice", "cumQuote", "time"} & set(answer)


def test_answers_before_june_2026_have_average_and_quote_sum() -> None:
    engine, account = engine_with()
    config = SimulatorConfig(order_fields_before_2026_06=True)
    answer = ask(engine, account, "POST order", config=config, **MARKET, newOrderRespType="RESULT")
    assert (answer["avgPrice"], answer["cumQuote"]) == ("60000.10000", "60000.10000")


def test_test_order_judges_and_does_nothing() -> None:
    engine, account = engine_with()
    assert ask(engine, account, "POST order/test", **MARKET)["status"] == "NEW"
    assert ask(engine, account, "POST order/test", **{**MARKET, "quantity": "100"})["code"] == -2019
    assert not engine.dirty


def test_batch_of_placements_has_an_answer_for_each_element() -> None:
    engine, account = engine_with()
    good = {"symbol": "BTCUSDT", **LIMIT, "newClientOrderId": "same"}
    rows = [good, good, {**good, "type": "STOP"}, {"symbol": "BTCUSDT"}, {**good, "newClientOrderId": "b"}]
    answer = ask(engine, account, "POST batchOrders", batchOrders=rows)
    assert [a.get("code", a.get("status")) for a in answer] == ["NEW", -4116, -4120, -1102, "NEW"]
    assert set(answer[1]) == {"code", "msg"}
    for bad, code in (([good] * 6, -4082), ([], -4082), (['{"symbol":"BTCUSDT"}'], -1102), ("{}", -1102)):
        assert ask(engine, account, "POST batchOrders", batchOrders=bad)["code"] == code


def test_batch_cancel_takes_both_spellings_and_answers_each() -> None:
    engine, account = engine_with()
    ids = [placed(engine, account, **LIMIT, newClientOrderId=f"c{n}").order_id for n in range(4)]
    answer = ask(engine, account, "DELETE batchOrders", orderIdList=[ids[0], 5, ids[1]])
    assert [a.get("code", a.get("status")) for a in answer] == ["CANCELED", -2011, "CANCELED"]
    answer = ask(engine, account, "DELETE batchOrders", origclientorderidlist=["c2", "c2"])
    assert [a.get("code", a.get("status")) for a in answer] == ["CANCELED", -2011]
    for params, code in (
        ({"orderidlist": list(range(1, 12))}, -4032),
        ({"orderIdList": [str(ids[3])]}, -1102),
        ({}, -1102),
        ({"orderIdList": [1], "symbol": None}, -1102),
    ):
        assert ask(engine, account, "DELETE batchOrders", **params)["code"] == code


def test_countdown_cancels_all_orders_of_its_symbol_unless_renewed_or_stopped() -> None:
    engine, account = engine_with()
    for symbol, price in (("BTCUSDT", "59000"), ("ETHUSDT", "2950")):
        placed(engine, account, type="LIMIT", symbol=symbol, price=price, quantity="1")
    for countdown in ("", "-1", "soon"):
        code = ask(engine, account, "POST countdownCancelAll", countdownTime=countdown)["code"]
        assert code == -1102
    answer = ask(engine, account, "POST countdownCancelAll", countdownTime=1000)
    assert answer == {"symbol": "BTCUSDT", "countdownTime": "1000"}
    engine.tick(NOW + 900)
    ask(engine, account, "POST countdownCancelAll", now_ms=NOW + 900, countdownTime=1000)
    engine.tick(NOW + 1899)
    assert len(engine.open_orders_of(account)) == 2
    engine.tick(NOW + 1900)
    assert [o.symbol for o in engine.open_orders_of(account)] == ["ETHUSDT"]
    placed(engine, account, **LIMIT)
    ask(engine, account, "POST countdownCancelAll", now_ms=NOW + 2000, countdownTime=10)
    ask(engine, account, "POST countdownCancelAll", now_ms=NOW + 2001, countdownTime=0)
    engine.tick(NOW + 9000)
    assert len(engine.open_orders_of(account)) == 2


def test_cancel_all_leaves_other_symbols() -> None:
    engine, account = engine_with()
    for symbol, price in (("BTCUSDT", "59000"), ("BTCUSDT", "59001"), ("ETHUSDT", "2950")):
        placed(engine, account, type="LIMIT", symbol=symbol, price=price, quantity="1")
    answer = ask(engine, account, "DELETE allOpenOrders")
    assert answer == {"code": 200, "msg": "The operation of cancel all open order is done."}
    assert [o.symbol for o in engine.open_orders_of(account)] == ["ETHUSDT"]
    assert ask(engine, account, "DELETE allOpenOrders", symbol=None)["code"] == -1102


def test_open_order_is_found_only_while_open() -> None:
    engine, account = engine_with()
    order = placed(engine, account, **LIMIT, newClientOrderId="mine")
    found = ask(engine, account, "GET openOrder", origClientOrderId="mine")
    assert (found["orderId"], found["avgPrice"], found["time"]) == (order.order_id, "0.00", NOW)
    assert "cumQty" not in found
    engine.cancel(account, order, NOW)
    assert ask(engine, account, "GET openOrder", origClientOrderId="mine")["code"] == -2013
    assert ask(engine, account, "GET order", origClientOrderId="mine")["status"] == "CANCELED"


@pytest.mark.parametrize(
    ("executed", "days", "found"),
    [(False, 3, True), (False, 3.1, False), (True, 3.1, True), (True, 90, True), (True, 90.1, False)],
)
def test_finished_orders_are_forgotten(executed: bool, days: float, found: bool) -> None:
    engine, account = engine_with()
    order = placed(engine, account) if executed else placed(engine, account, **LIMIT)
    if not executed:
        engine.cancel(account, order, NOW)
    later = NOW + int(days * DAY_MS)
    answer = ask(engine, account, "GET order", now_ms=later, orderId=order.order_id)
    assert answer.get("code") == (None if found else -2013)
    listed = ask(engine, account, "GET allOrders", now_ms=later, orderId=order.order_id)
    assert [row["orderId"] for row in listed] == ([order.order_id] if found else [])


def _day(engine: Engine, account: Account, day: int) -> int:
    order = placed(engine, account)
    order.created_ms = NOW + day * DAY_MS
    return order.order_id


def test_all_orders_windows_and_pages() -> None:
    engine, account = engine_with("10000000")
    ids = [_day(engine, account, day) for day in range(10)]
    now = NOW + 10 * DAY_MS
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({}, ids[3:]),
        ({"symbol": None}, ids[3:]),
        ({"limit": 2}, ids[8:]),
        ({"orderId": ids[1], "limit": 3}, ids[1:4]),
        ({"startTime": NOW, "limit": 2}, ids[:2]),
        ({"startTime": NOW, "endTime": NOW + 7 * DAY_MS}, ids[:8]),
        ({"endTime": NOW + 2 * DAY_MS}, ids[:3]),
    ]
    for params, wanted in cases:
        rows = ask(engine, account, "GET allOrders", now_ms=now, **params)
        assert [row["orderId"] for row in rows] == wanted, params
        assert (rows[0]["pair"], rows[0]["cumBase"]) == ("BTCUSDT", "1.000")
    for start, end in ((NOW, NOW + 7 * DAY_MS + 1), (NOW + 1, NOW)):
        refused = ask(engine, account, "GET allOrders", now_ms=now, startTime=start, endTime=end)
        assert refused["code"] == -4165


def test_countdown_and_amended_price_survive_in_the_records() -> None:
    engine, account = engine_with()
    order = placed(engine, account, **LIMIT)
    ask(engine, account, "PUT order", orderId=order.order_id, side="BUY", quantity="1", price="58000")
    engine.set_countdown(account, "BTCUSDT", 500, NOW)
    changes = engine.drain()
    again = Engine(engine.rules, engine.clearing.fees)
    again.restore([account, order, *changes.amendments])
    assert again.next_order_id > order.priority
    assert len(again.amendments_of(account, "BTCUSDT")) == 1
    again.tick(NOW + 500)
    assert again.open_orders_of(account) == []
