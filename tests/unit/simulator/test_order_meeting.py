"""Orders of the exchange's own accounts meet each other, and special kinds (spec 5.3, 7; decision 0034)."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pms.simulator.core import Engine
from pms.simulator.errors import Reject
from pms.simulator.state import Account, Order
from pms.simulator.store import Store, rows_of
from tests.unit.simulator.market_support import NOW, engine_with, place, placed, quote

DAY_MS = 86_400_000


def _wide() -> tuple[Engine, Account, Account]:
    """Two accounts and a wide quote: 59900 / 60100, so that own orders meet inside it."""
    engine, first = engine_with("10000000")
    second = engine.open_account("other", "secret", D(10_000_000), NOW)
    engine.set_listen_key(second, "o" * 64, NOW + 3_600_000)
    quote(engine, "BTCUSDT", "59900.0", "60100.0")
    engine.drain()
    return engine, first, second


def _limit(engine: Engine, account: Account, side: str, price: str, quantity: str, **params: str) -> Order:
    return placed(engine, account, type="LIMIT", side=side, price=price, quantity=quantity, **params)


def _events(engine: Engine, account: Account) -> list[dict[str, Any]]:
    return [json.loads(event) for key, event in engine.drain().events if key == account.listen_key]


def _names(events: list[dict[str, Any]]) -> list[str]:
    return [e["e"] + (f":{e['o']['x']}" if "o" in e else "") for e in events]


def test_two_accounts_trade_at_the_makers_price_under_one_trade_id() -> None:
    engine, seller, buyer = _wide()
    maker = _limit(engine, seller, "SELL", "60000", "1")
    taker = _limit(engine, buyer, "BUY", "60050", "1")
    assert (maker.status, taker.status, taker.average_price) == ("FILLED", "FILLED", D(60000))
    bought, sold = engine.trades
    assert (bought.trade_id, bought.order_id) == (sold.trade_id, taker.order_id)
    assert (sold.order_id, sold.maker, bought.maker) == (maker.order_id, True, False)
    assert engine.position_of(seller, "BTCUSDT").quantity == -1
    assert engine.position_of(buyer, "BTCUSDT").quantity == 1
    following = placed(engine, buyer, quantity="0.01")
    assert engine.trades[-1].order_id == following.order_id
    assert engine.trades[-1].trade_id == bought.trade_id + 1


def test_both_sides_of_a_trade_are_stored(tmp_path: Path) -> None:
    engine, seller, buyer = _wide()
    _limit(engine, seller, "SELL", "60000", "1", selfTradePreventionMode="NONE")
    _limit(engine, seller, "BUY", "60000", "0.4", selfTradePreventionMode="NONE")
    _limit(engine, buyer, "BUY", "60000", "0.6")
    store = Store(tmp_path / "exchange.db")
    store.write(rows_of(engine.drain()))
    rows = [t for t in store.load() if type(t).__name__ == "Trade"]
    store.close()
    assert rows == list(engine.trades)
    assert [t.trade_id for t in engine.trades] == [5_000_000_001] * 2 + [5_000_000_002] * 2


def test_price_then_time_among_own_orders_and_the_market_between_them() -> None:
    engine, seller, buyer = _wide()
    late = _limit(engine, seller, "SELL", "60000", "1")
    early = _limit(engine, seller, "SELL", "59990", "1")
    same = _limit(engine, seller, "SELL", "60000", "1")
    beyond = _limit(engine, seller, "SELL", "60100.1", "1")
    taker = placed(engine, buyer, quantity="13.5")
    mine = [t.order_id for t in engine.trades if t.maker]
    assert mine == [early.order_id, late.order_id, same.order_id, beyond.order_id]
    assert taker.status == "FILLED"
    assert [(t.price, t.quantity) for t in engine.trades if not t.maker][3] == (D("60100.0"), D(10))
    assert beyond.executed == D("0.5")


def test_at_one_price_the_market_ahead_in_the_queue_comes_first() -> None:
    engine, seller, buyer = _wide()
    maker = _limit(engine, seller, "SELL", "60100.0", "1")
    engine.before_update(engine.markets["BTCUSDT"])
    placed(engine, buyer, quantity="9")
    assert maker.executed == 0
    placed(engine, buyer, quantity="1.5")
    assert maker.executed == D("0.5")
    engine.markets["BTCUSDT"].scripted = True
    placed(engine, buyer, quantity="0.5")
    assert maker.status == "FILLED"


PREVENTION = [
    ("EXPIRE_MAKER", "GTC", ("EXPIRED_IN_MATCH", "1"), ("NEW", "0")),
    ("EXPIRE_TAKER", "GTC", ("NEW", "0"), ("EXPIRED_IN_MATCH", "1")),
    ("EXPIRE_BOTH", "GTC", ("EXPIRED_IN_MATCH", "1"), ("EXPIRED_IN_MATCH", "1")),
    ("EXPIRE_TAKER", "IOC", ("NEW", "0"), ("EXPIRED_IN_MATCH", "3")),
    ("EXPIRE_MAKER", "IOC", ("EXPIRED_IN_MATCH", "1"), ("EXPIRED", "2")),
    ("NONE", "GTC", ("FILLED", "0"), ("FILLED", "0")),
    ("EXPIRE_MAKER", "FOK", ("FILLED", "0"), ("FILLED", "0")),
]


@pytest.mark.parametrize(("mode", "force", "maker_end", "taker_end"), PREVENTION)
def test_self_trade_prevention_by_the_takers_mode(
    mode: str, force: str, maker_end: tuple[str, str], taker_end: tuple[str, str]
) -> None:
    engine, account, _ = _wide()
    maker = _limit(engine, account, "SELL", "60000", "1", selfTradePreventionMode="EXPIRE_BOTH")
    taker = _limit(engine, account, "BUY", "60000", "1", selfTradePreventionMode=mode, timeInForce=force)
    assert (maker.status, maker.expiry_reason) == maker_end
    assert (taker.status, taker.expiry_reason) == taker_end


def test_prevention_keeps_what_was_traded_with_others_before() -> None:
    engine, account, other = _wide()
    _limit(engine, other, "SELL", "59990", "1")
    maker = _limit(engine, account, "SELL", "60000", "1")
    engine.drain()
    taker = _limit(engine, account, "BUY", "60000", "2", selfTradePreventionMode="EXPIRE_TAKER")
    assert (taker.status, taker.executed, maker.status) == ("EXPIRED_IN_MATCH", 1, "NEW")
    events = _events(engine, account)
    assert _names(events)[-1] == "ORDER_TRADE_UPDATE:EXPIRED"
    assert (events[-1]["o"]["X"], events[-1]["o"]["z"], events[-1]["o"]["er"]) == (
        "EXPIRED_IN_MATCH",
        "1",
        "1",
    )


def test_accounts_are_not_prevented_from_trading_with_each_other() -> None:
    engine, seller, buyer = _wide()
    _limit(engine, seller, "SELL", "60000", "1")
    taker = placed(engine, buyer, quantity="1", selfTradePreventionMode="EXPIRE_BOTH")
    assert (taker.status, taker.average_price) == ("FILLED", D(60000))


def test_self_trade_has_one_id_on_both_orders_and_events_in_order() -> None:
    engine, account, _ = _wide()
    _limit(engine, account, "SELL", "60000", "1")
    engine.drain()
    _limit(engine, account, "BUY", "60000", "1", selfTradePreventionMode="NONE")
    events = _events(engine, account)
    assert _names(events) == [
        "TRADE_LITE",
        "ORDER_TRADE_UPDATE:NEW",
        "ACCOUNT_UPDATE",
        "ORDER_TRADE_UPDATE:TRADE",
        "TRADE_LITE",
        "ACCOUNT_UPDATE",
        "ORDER_TRADE_UPDATE:TRADE",
    ]
    trades = [e["o"] for e in events if e["e"] == "ORDER_TRADE_UPDATE" and e["o"]["x"] == "TRADE"]
    assert len({t["t"] for t in trades}) == 1
    assert len({t["i"] for t in trades}) == 2
    assert [t["m"] for t in trades] == [False, True]
    assert {e["T"] for e in events} == {NOW}
    assert engine.position_of(account, "BTCUSDT").quantity == 0


@pytest.mark.parametrize("force", ["GTX", "RPI"])
def test_post_only_meets_own_orders_too(force: str) -> None:
    engine, seller, buyer = _wide()
    _limit(engine, seller, "SELL", "60000", "1")
    refused = place(engine, buyer, type="LIMIT", side="BUY", price="60000", quantity="1", timeInForce=force)
    assert isinstance(refused, Reject)
    assert refused.code == -5022
    assert _limit(engine, buyer, "BUY", "59999.9", "1", timeInForce=force).status == "NEW"


def test_fill_or_kill_counts_own_orders() -> None:
    engine, seller, buyer = _wide()
    _limit(engine, seller, "SELL", "60000", "3")
    wanted = {"type": "LIMIT", "side": "BUY", "price": "60050", "timeInForce": "FOK"}
    refused = place(engine, buyer, **wanted, quantity="3.1")
    assert isinstance(refused, Reject)
    assert refused.code == -5021
    assert placed(engine, buyer, **wanted, quantity="3").status == "FILLED"


PRICE_MATCH = [
    ("BUY", "OPPONENT", "60100"),
    ("BUY", "OPPONENT_5", "60100.4"),
    ("BUY", "QUEUE", "59900"),
    ("BUY", "QUEUE_20", "59898.1"),
    ("SELL", "OPPONENT_5", "59899.6"),
    ("SELL", "QUEUE_10", "60100.9"),
]


@pytest.mark.parametrize(("side", "mode", "price"), PRICE_MATCH)
def test_price_match_takes_a_level_of_the_book(side: str, mode: str, price: str) -> None:
    engine, account, _ = _wide()
    order = placed(engine, account, type="LIMIT", side=side, quantity="1", priceMatch=mode)
    assert (order.price, order.price_match) == (D(price), mode)


def test_price_match_counts_own_orders_and_misses_what_is_not_there() -> None:
    engine, seller, buyer = _wide()
    _limit(engine, seller, "SELL", "60000", "1")
    order = placed(engine, buyer, type="LIMIT", side="BUY", quantity="1", priceMatch="OPPONENT")
    assert (order.price, order.status) == (D(60000), "FILLED")
    engine.markets["ETHUSDT"].bid = engine.markets["ETHUSDT"].ask = D(0)
    refused = place(
        engine, buyer, symbol="ETHUSDT", type="LIMIT", side="BUY", quantity="1", priceMatch="QUEUE"
    )
    assert isinstance(refused, Reject)
    assert refused.code == -5041


@pytest.mark.parametrize(
    ("lead_ms", "accepted"), [(600_999, False), (601_000, True), (601_999, True), (599_000, False)]
)
def test_good_till_date_is_ten_minutes_ahead_in_whole_seconds(lead_ms: int, accepted: bool) -> None:
    engine, account, _ = _wide()
    wanted = {"type": "LIMIT", "side": "BUY", "price": "59000", "quantity": "1", "timeInForce": "GTD"}
    result = place(engine, account, **wanted, goodTillDate=str(NOW + lead_ms))
    if accepted:
        assert isinstance(result, Order)
        assert result.good_till_ms == NOW + 601_000
    else:
        assert isinstance(result, Reject)
        assert result.code == -5040
    missing = place(engine, account, **wanted)
    assert isinstance(missing, Reject)
    assert missing.code == -1102


def test_dated_order_expires_at_its_date_and_any_order_after_a_year() -> None:
    engine, account, _ = _wide()
    dated = _limit(engine, account, "BUY", "59000", "1", timeInForce="GTD", goodTillDate=str(NOW + 700_000))
    resting = _limit(engine, account, "BUY", "59000", "1")
    engine.drain()
    engine.tick(NOW + 699_999)
    assert not engine.dirty
    engine.tick(NOW + 700_000)
    (event,) = _events(engine, account)
    assert (event["o"]["x"], event["o"]["X"], event["o"]["i"]) == ("EXPIRED", "EXPIRED", dated.order_id)
    assert (event["o"]["gtd"], event["o"]["f"]) == (NOW + 700_000, "GTD")
    engine.tick(NOW + 365 * DAY_MS)
    assert resting.status == "CANCELED"


@pytest.mark.parametrize(
    ("status", "opening", "closing"),
    [("PRE_SETTLE", -4140, None), ("SETTLING", -4108, -4108), ("CLOSE", -4108, -4108)],
)
def test_symbol_that_leaves_trading(status: str, opening: int, closing: int | None) -> None:
    engine, account, _ = _wide()
    placed(engine, account, quantity="1")
    rules = engine.rules["BTCUSDT"]
    engine.rules["BTCUSDT"] = replace(rules, info=msgspec.structs.replace(rules.info, status=status))
    for params, code in (({}, opening), ({"side": "SELL", "reduceOnly": "true"}, closing)):
        result = place(engine, account, quantity="0.1", **params)
        assert (result.code if isinstance(result, Reject) else None) == code


def test_resting_reduce_only_of_the_maker_is_cut_by_its_own_fill() -> None:
    engine, account, other = _wide()
    placed(engine, account, quantity="2")
    first = _limit(engine, account, "SELL", "60050", "1", reduceOnly="true")
    second = _limit(engine, account, "SELL", "60060", "1", reduceOnly="true")
    placed(engine, account, side="SELL", quantity="0.5")
    assert (first.quantity, second.quantity) == (D(1), D("0.5"))
    placed(engine, other, quantity="3")
    assert (first.status, second.status) == ("FILLED", "FILLED")
    assert engine.position_of(account, "BTCUSDT").quantity == 0
