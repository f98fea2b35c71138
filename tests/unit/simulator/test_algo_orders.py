"""Conditional orders: what is accepted, when they fire, what they become, how they end (spec 2.3, 5.5)."""

from __future__ import annotations

import json
from decimal import Decimal as D
from typing import Any

import pytest

from pms.simulator.core import Engine
from pms.simulator.state import Account
from pms.simulator.store import Store, rows_of
from tests.unit.simulator.handler_support import ask
from tests.unit.simulator.market_support import NOW, engine_with, placed, quote

STOP_MARKET: dict[str, Any] = {
    "algoType": "CONDITIONAL",
    "side": "SELL",
    "type": "STOP_MARKET",
    "quantity": "1",
    "triggerPrice": "59000",
}
STOP = {**STOP_MARKET, "type": "STOP", "price": "58900"}
TRAIL: dict[str, Any] = {
    "algoType": "CONDITIONAL",
    "side": "SELL",
    "type": "TRAILING_STOP_MARKET",
    "quantity": "1",
    "callbackRate": "1",
}
CLOSE = {**STOP_MARKET, "quantity": None, "closePosition": "true"}


def _place(engine: Engine, account: Account, base: dict[str, Any], **params: Any) -> Any:
    return ask(engine, account, "POST algoOrder", **{**base, **params})


def _events(engine: Engine) -> list[dict[str, Any]]:
    return [json.loads(event) for _, event in engine.drain().events]


def _names(events: list[dict[str, Any]]) -> list[str]:
    return [e["e"] + (f":{e['o'].get('x', e['o']['X'])}" if "o" in e else "") for e in events]


def _move(engine: Engine, middle: str) -> None:
    price = D(middle)
    quote(engine, "BTCUSDT", str(price - D("0.1")), str(price + D("0.1")))


REFUSALS: list[tuple[dict[str, Any], int]] = [
    ({**STOP_MARKET, "algoType": None}, -1102),
    ({**STOP_MARKET, "algoType": "VP"}, -1130),
    ({**STOP_MARKET, "symbol": None}, -1102),
    ({**STOP_MARKET, "symbol": "NOPEUSDT"}, -1121),
    ({**STOP_MARKET, "side": "HOLD"}, -1117),
    ({**STOP_MARKET, "type": "LIMIT"}, -1116),
    ({**STOP_MARKET, "quantity": None}, -1102),
    ({**STOP_MARKET, "triggerPrice": None, "stopPrice": "59000"}, -1102),
    ({**STOP_MARKET, "triggerPrice": "-1"}, -4006),
    ({**STOP_MARKET, "triggerPrice": "59000.001"}, -1111),
    ({**STOP_MARKET, "triggerPrice": "59000.05"}, -4014),
    ({**STOP_MARKET, "triggerPrice": "99999999"}, -4007),
    ({**STOP_MARKET, "quantity": "0.0001"}, -1111),
    ({**STOP_MARKET, "quantity": "121"}, -4005),
    ({**STOP_MARKET, "workingType": "LAST"}, -4031),
    ({**STOP_MARKET, "clientAlgoId": "bad id"}, -4015),
    ({**STOP_MARKET, "positionSide": "LONG"}, -4061),
    ({**STOP_MARKET, "price": "58900"}, -1106),
    ({**STOP_MARKET, "priceMatch": "QUEUE"}, -5038),
    ({**STOP, "price": None}, -1102),
    ({**STOP, "priceMatch": "QUEUE"}, -1106),
    ({**STOP, "timeInForce": "GTD"}, -1102),
    ({**STOP, "timeInForce": "GTD", "goodTillDate": NOW + 600_000}, -5040),
    ({**STOP, "closePosition": "true", "quantity": None}, -4136),
    ({**CLOSE, "quantity": "1"}, -4137),
    ({**CLOSE, "reduceOnly": "true"}, -1106),
    ({**TRAIL, "callbackRate": None}, -1102),
    ({**TRAIL, "callbackRate": "0.09"}, -2007),
    ({**TRAIL, "callbackRate": "20.1"}, -2007),
    ({**TRAIL, "activatePrice": "60000.0"}, -2021),
    ({**TRAIL, "side": "BUY", "activatePrice": "60000.1"}, -2021),
    ({**STOP_MARKET, "triggerPrice": "60001"}, -2021),
    ({**STOP_MARKET, "side": "BUY"}, -2021),
    ({**STOP_MARKET, "type": "TAKE_PROFIT_MARKET"}, -2021),
    ({**STOP, "type": "TAKE_PROFIT", "side": "BUY", "triggerPrice": "61000"}, -2021),
]


@pytest.mark.parametrize(("params", "code"), REFUSALS, ids=[f"{c}-{n}" for n, (_, c) in enumerate(REFUSALS)])
def test_refusal_leaves_no_trace(params: dict[str, Any], code: int) -> None:
    engine, account = engine_with()
    assert _place(engine, account, params)["code"] == code
    assert not engine.dirty


def test_duplicates_and_the_limit_of_two_hundred_over_all_symbols() -> None:
    engine, account = engine_with()
    for number in range(200):
        symbol, trigger = ("BTCUSDT", "59000") if number % 2 else ("ETHUSDT", "2900")
        made = _place(
            engine, account, STOP_MARKET, symbol=symbol, triggerPrice=trigger, clientAlgoId=f"a{number}"
        )
        assert made["algoStatus"] == "NEW"
    assert _place(engine, account, STOP_MARKET)["code"] == -4045
    assert _place(engine, account, STOP_MARKET, clientAlgoId="a7")["code"] == -4116
    assert ask(engine, account, "DELETE algoOrder", clientAlgoId="a7")["code"] == "200"
    assert _place(engine, account, STOP_MARKET, clientAlgoId="a7")["algoStatus"] == "NEW"


def test_nothing_is_held_back_for_it() -> None:
    engine, account = engine_with("10")
    before = engine.margin_of(account).available
    assert _place(engine, account, STOP_MARKET, quantity="100")["algoStatus"] == "NEW"
    assert engine.margin_of(account).available == before


FIRING = [
    ("STOP_MARKET", "BUY", "61000", ("60999.9", "61000")),
    ("STOP_MARKET", "SELL", "59000", ("59000.1", "59000")),
    ("TAKE_PROFIT_MARKET", "BUY", "59000", ("59000.1", "59000")),
    ("TAKE_PROFIT_MARKET", "SELL", "61000", ("60999.9", "61000")),
    ("STOP", "BUY", "61000", ("60999.9", "61000.1")),
    ("TAKE_PROFIT", "SELL", "61000", ("60999.9", "61000")),
]


@pytest.mark.parametrize("working", ["CONTRACT_PRICE", "MARK_PRICE"])
@pytest.mark.parametrize(("kind", "side", "trigger", "path"), FIRING)
def test_fires_at_its_price_and_not_before(
    kind: str, side: str, trigger: str, path: tuple[str, str], working: str
) -> None:
    engine, account = engine_with()
    price = {"price": "60000"} if kind in ("STOP", "TAKE_PROFIT") else {}
    _place(
        engine, account, STOP_MARKET, side=side, type=kind, triggerPrice=trigger, workingType=working, **price
    )
    for middle, fired in zip(path, (False, True), strict=True):
        _move(engine, middle)
        assert (not engine.open_algos_of(account)) == fired, middle


def test_each_working_type_watches_its_own_price() -> None:
    engine, account = engine_with()
    mark = _place(engine, account, STOP_MARKET, workingType="MARK_PRICE")["algoId"]
    last = _place(engine, account, STOP_MARKET)["algoId"]
    market = engine.markets["BTCUSDT"]
    market.mark = D(58999)
    engine.tick(NOW + 1)
    assert [a.algo_id for a in engine.open_algos_of(account)] == [last]
    market.bid, market.ask = D("58998"), D("58999")
    engine.quote(market, NOW + 2)
    assert engine.open_algos_of(account) == []
    assert ask(engine, account, "GET algoOrder", algoId=mark)["triggerTime"] == NOW + 1


def test_a_trade_inside_the_quote_is_the_last_price() -> None:
    engine, account = engine_with()
    quote(engine, "BTCUSDT", "59900", "60100")
    _place(engine, account, STOP_MARKET, triggerPrice="59950")
    market = engine.markets["BTCUSDT"]
    for price, left in (("60000", 1), ("59951", 1), ("59949", 0)):
        engine.public_trade(market, D(price), D("0.1"), buyer_is_maker=True, now_ms=NOW)
        assert len(engine.open_algos_of(account)) == left


def test_market_stop_tells_every_step_and_becomes_an_order_of_its_own() -> None:
    engine, account = engine_with()
    made = _place(engine, account, STOP_MARKET, clientAlgoId="stop-1")
    engine.drain()
    _move(engine, "58999")
    events = _events(engine)
    assert _names(events) == [
        "ALGO_UPDATE:TRIGGERING",
        "ALGO_UPDATE:TRIGGERED",
        "TRADE_LITE",
        "ORDER_TRADE_UPDATE:NEW",
        "ACCOUNT_UPDATE",
        "ORDER_TRADE_UPDATE:TRADE",
        "ALGO_UPDATE:FINISHED",
    ]
    triggering, triggered, finished = (events[n]["o"] for n in (0, 1, 6))
    assert (triggering["ai"], "ap" in triggering, triggering["tt"]) == ("", False, NOW)
    assert (triggered["aq"], triggered["act"], triggered["ai"]) == ("0", "MARKET", str(events[3]["o"]["i"]))
    assert (finished["ap"], finished["aq"], finished["tp"]) == ("58998.9", "1", "59000")
    assert events[3]["o"]["c"] == "stop-1"
    assert {event["T"] for event in events} == {NOW}
    answer = ask(engine, account, "GET algoOrder", algoId=made["algoId"])
    assert (answer["algoStatus"], answer["actualOrderId"], answer["actualPrice"], answer["actualQty"]) == (
        "FINISHED",
        str(events[3]["o"]["i"]),
        "58998.90000",
        "1",
    )


def test_limit_stop_rests_as_an_ordinary_order_until_that_ends() -> None:
    engine, account = engine_with()
    algo_id = _place(engine, account, STOP, side="BUY", triggerPrice="60500", price="60400")["algoId"]
    _move(engine, "60500")
    (order,) = engine.open_orders_of(account)
    assert (order.type, order.price, order.algo_id) == ("LIMIT", D("60400"), algo_id)
    assert ask(engine, account, "GET algoOrder", algoId=algo_id)["algoStatus"] == "TRIGGERED"
    assert ask(engine, account, "DELETE algoOrder", algoId=algo_id)["code"] == -2011
    engine.drain()
    engine.cancel(account, order, NOW)
    assert _names(_events(engine)) == ["ORDER_TRADE_UPDATE:CANCELED", "ALGO_UPDATE:FINISHED"]


def test_limit_stop_that_fills_while_resting_is_finished_with_its_average() -> None:
    engine, account = engine_with()
    algo_id = _place(engine, account, STOP, side="BUY", triggerPrice="60500", price="60400")["algoId"]
    _move(engine, "60500")
    engine.drain()
    _move(engine, "60399.9")
    assert _names(_events(engine)) == [
        "TRADE_LITE",
        "ACCOUNT_UPDATE",
        "ORDER_TRADE_UPDATE:TRADE",
        "ALGO_UPDATE:FINISHED",
    ]
    answer = ask(engine, account, "GET algoOrder", algoId=algo_id)
    assert (answer["algoStatus"], answer["actualPrice"], answer["actualQty"]) == (
        "FINISHED",
        "60400.00000",
        "1",
    )


def test_what_the_account_cannot_afford_is_rejected_when_it_fires() -> None:
    engine, account = engine_with("100")
    _place(engine, account, STOP_MARKET)
    engine.drain()
    _move(engine, "58999")
    events = _events(engine)
    assert _names(events) == ["ALGO_UPDATE:TRIGGERING", "ALGO_UPDATE:REJECTED"]
    assert events[1]["o"]["rm"] == "Margin is insufficient."
    assert list(engine.all_orders(account)) == []


def test_reduce_only_without_a_position_is_rejected_and_never_opens() -> None:
    engine, account = engine_with()
    algo_id = _place(engine, account, STOP_MARKET, reduceOnly="true")["algoId"]
    _move(engine, "58999")
    assert ask(engine, account, "GET algoOrder", algoId=algo_id)["algoStatus"] == "REJECTED"
    assert engine.position_of(account, "BTCUSDT").quantity == 0


def test_close_position_closes_whatever_is_there_and_knocks_out_reduce_only_orders() -> None:
    engine, account = engine_with("100000000")
    placed(engine, account, quantity="120")
    placed(engine, account, quantity="5")
    resting = placed(
        engine, account, type="LIMIT", side="SELL", price="62000", quantity="50", reduceOnly="true"
    )
    _place(engine, account, CLOSE)
    _move(engine, "58999")
    assert engine.position_of(account, "BTCUSDT").quantity == 0
    assert (resting.status, resting.expiry_reason) == ("EXPIRED", "4")


def test_close_position_order_ends_with_the_position_but_not_before_there_is_one() -> None:
    engine, account = engine_with()
    stop = _place(engine, account, CLOSE)["algoId"]
    profit = _place(engine, account, CLOSE, type="TAKE_PROFIT_MARKET", triggerPrice="61000")["algoId"]
    other = _place(engine, account, STOP_MARKET)["algoId"]
    placed(engine, account, quantity="1")
    assert len(engine.open_algos_of(account)) == 3
    placed(engine, account, side="SELL", quantity="0.4")
    assert len(engine.open_algos_of(account)) == 3
    placed(engine, account, side="SELL", quantity="0.6")
    assert [a.algo_id for a in engine.open_algos_of(account)] == [other]
    for algo_id in (stop, profit):
        assert ask(engine, account, "GET algoOrder", algoId=algo_id)["algoStatus"] == "EXPIRED"


@pytest.mark.parametrize(("side", "closes"), [("SELL", True), ("BUY", False)])
def test_close_position_in_hedge_mode_has_the_closing_side(side: str, closes: bool) -> None:
    engine, account = engine_with()
    account.hedge_mode = True
    trigger = "59000" if side == "SELL" else "61000"
    answer = _place(engine, account, CLOSE, positionSide="LONG", side=side, triggerPrice=trigger)
    assert answer.get("code") == (None if closes else -4136)


def test_closing_stop_of_a_hedge_is_cut_to_its_side() -> None:
    engine, account = engine_with()
    account.hedge_mode = True
    placed(engine, account, quantity="1", positionSide="LONG")
    _place(engine, account, STOP_MARKET, positionSide="LONG", quantity="3")
    _move(engine, "58999")
    assert engine.position_of(account, "BTCUSDT", "LONG").quantity == 0


def test_price_protection_waits_while_last_and_mark_price_are_apart() -> None:
    engine, account = engine_with()
    _place(engine, account, STOP_MARKET, priceProtect="true")
    market = engine.markets["BTCUSDT"]
    market.bid, market.ask = D("54998"), D("54999")
    engine.quote(market, NOW)
    assert len(engine.open_algos_of(account)) == 1
    market.mark = D("55000")
    engine.tick(NOW)
    assert engine.open_algos_of(account) == []


def test_trailing_order_follows_from_its_activation_and_fires_at_the_callback() -> None:
    engine, account = engine_with()
    _place(engine, account, TRAIL, activatePrice="60500")
    assert _events(engine)[0]["o"]["ia"] is False
    for middle in ("60400", "59000", "60499"):
        _move(engine, middle)
    assert not engine.dirty
    _move(engine, "60500")
    (activated,) = _events(engine)
    assert (activated["o"]["X"], activated["o"]["ia"]) == ("NEW", True)
    for middle in ("61000", "60500", "60390.1"):  # 1 % below 61000 is 60390
        _move(engine, middle)
        assert engine.open_algos_of(account), middle
    _move(engine, "60390")
    assert engine.open_algos_of(account) == []


def test_trailing_buy_without_activation_price_follows_at_once() -> None:
    engine, account = engine_with()
    _place(engine, account, TRAIL, side="BUY", callbackRate="2")
    assert _events(engine)[0]["o"]["ia"] is True
    for middle in ("59000", "60179.9"):  # 2 % above 59000 is 60180
        _move(engine, middle)
        assert engine.open_algos_of(account), middle
    _move(engine, "60180")
    assert engine.open_algos_of(account) == []


def test_good_till_date_ends_it_and_price_match_is_taken_when_it_fires() -> None:
    engine, account = engine_with()
    date = NOW + 700_000
    _place(engine, account, STOP, timeInForce="GTD", goodTillDate=date)
    engine.tick(date - 1)
    assert len(engine.open_algos_of(account)) == 1
    engine.tick(date)
    assert engine.open_algos_of(account) == []
    _place(engine, account, STOP, price=None, priceMatch="QUEUE")
    _move(engine, "58999")
    assert engine.open_orders_of(account)[0].price == D("58999.1")


def test_lists_and_cancel_of_all_of_a_symbol() -> None:
    engine, account = engine_with()
    ids = [_place(engine, account, STOP_MARKET)["algoId"] for _ in range(3)]
    eth = _place(engine, account, STOP_MARKET, symbol="ETHUSDT", triggerPrice="2900")["algoId"]
    listed = ask(engine, account, "GET openAlgoOrders", symbol=None)
    assert [row["algoId"] for row in listed] == [*ids, eth]
    assert [row["algoId"] for row in ask(engine, account, "GET openAlgoOrders", algoId=ids[1])] == [ids[1]]
    ask(engine, account, "DELETE allOpenOrders")
    assert len(engine.open_algos_of(account)) == 4
    answer = ask(engine, account, "DELETE algoOpenOrders")
    assert answer == {"code": 200, "msg": "The operation of cancel all open order is done."}
    assert [a.algo_id for a in engine.open_algos_of(account)] == [eth]
    rows = ask(engine, account, "GET allAlgoOrders", limit=2)
    assert [(row["algoId"], row["algoStatus"]) for row in rows] == [(i, "CANCELED") for i in ids[1:]]
    assert ask(engine, account, "GET allAlgoOrders", symbol=None)["code"] == -1102
    assert ask(engine, account, "GET algoOrder", algoId=1)["code"] == -2013
    assert ask(engine, account, "GET algoOrder")["code"] == -1102


def test_survives_a_restart_and_fires_after_it() -> None:
    store = Store(None)
    engine, account = engine_with()
    _place(engine, account, STOP_MARKET, clientAlgoId="kept")
    _place(engine, account, STOP, side="BUY", triggerPrice="60500", price="60400", clientAlgoId="resting")
    _move(engine, "60500")
    changes = engine.drain()
    changes.accounts[account.account_id] = account
    store.write(rows_of(changes))
    again = Engine(engine.rules, engine.clearing.fees)
    again.restore(store.load())
    store.close()
    again.markets["BTCUSDT"] = engine.markets["BTCUSDT"]
    owner = again.account_by_key["key"]
    assert again.algos.next_id == engine.algos.next_id
    assert [a.client_algo_id for a in again.open_algos_of(owner)] == ["kept"]
    (order,) = again.open_orders_of(owner)
    again.cancel(owner, order, NOW)
    resting = again.find_algo(owner, None, "resting")
    assert resting is not None
    assert resting.status == "FINISHED"
    market = again.markets["BTCUSDT"]
    market.bid, market.ask = D("58998"), D("58999")
    again.algo_flow.watch(market, NOW)
    assert again.position_of(owner, "BTCUSDT").quantity == -1
