"""Liquidation, takeover and deleveraging: steps, events, prices and money (spec 7, decision 0036)."""

from __future__ import annotations

import json
from decimal import Decimal as D

import pytest

from pms.simulator.core import Engine
from pms.simulator.errors import Reject, SimulatorError
from pms.simulator.state import FUND_ID, ZERO, Account
from tests.unit.simulator.market_support import NOW, place, placed, quote
from tests.unit.simulator.money_support import (
    check_money,
    engine_of,
    events_of,
    income_of,
    set_mark,
    told,
)


def _long_with_order(wallet: str = "3200") -> tuple[Engine, Account]:
    engine, (account,) = engine_of(wallet)
    placed(engine, account, quantity="1")
    placed(engine, account, type="LIMIT", side="SELL", price="63000", quantity="0.5")
    engine.drain()
    return engine, account


def test_a_margin_call_comes_once_until_the_account_has_been_calm() -> None:
    engine, account = _long_with_order()
    names = []
    for step, mark in enumerate(("57100", "57090", "59500", "57100")):
        set_mark(engine, "BTCUSDT", mark)
        engine.tick(NOW + 1000 * (step + 1))
        names.append(told(events_of(engine, account)))
    assert names == [["MARGIN_CALL"], [], [], ["MARGIN_CALL"]]


def test_the_margin_call_shows_the_position() -> None:
    engine, account = _long_with_order()
    set_mark(engine, "BTCUSDT", "57100")
    engine.tick(NOW + 1000)
    call = events_of(engine, account)[0]
    assert call["cw"] == "3169.99995000"
    maintenance = engine.rules["BTCUSDT"].maintenance(D(57100))
    assert call["p"] == [
        {
            "s": "BTCUSDT",
            "ps": "BOTH",
            "pa": "1",
            "mt": "CROSSED",
            "iw": "0",
            "mp": "57100",
            "up": "-2900.10000000",
            "mm": f"{maintenance:.8f}",
        }
    ]


def test_orders_end_first_and_the_account_refuses_new_ones_meanwhile() -> None:
    engine, account = _long_with_order()
    set_mark(engine, "BTCUSDT", "56900")
    engine.tick(NOW + 1000)
    assert told(events_of(engine, account)) == ["MARGIN_CALL", "order EXPIRED/EXPIRED er5"]
    refused = place(engine, account, side="SELL", quantity="1", reduceOnly="true")
    assert isinstance(refused, Reject)
    assert refused.code == -2023


def test_the_forced_order_closes_on_the_book_and_pays_the_fund() -> None:
    engine, account = _long_with_order()
    quote(engine, "BTCUSDT", "57000.0", "57000.1")
    set_mark(engine, "BTCUSDT", "56950")
    told_of = []
    engine.liquidator.on_liquidation.append(lambda order, now_ms: told_of.append(order))
    engine.tick(NOW + 1000)
    events_of(engine, account)
    engine.tick(NOW + 1100)
    events = events_of(engine, account)
    assert told(events) == [
        "TRADE_LITE",
        "order NEW/NEW",
        "account ORDER",
        "order TRADE/FILLED",
        "account INSURANCE_CLEAR",
    ]
    order = events[3]["o"]
    assert order["c"].startswith("autoclose-")
    assert (order["o"], order["f"], order["S"], order["l"], order["L"]) == (
        "LIQUIDATION",
        "IOC",
        "SELL",
        "1",
        "57000",
    )
    fee = D(57000) * D("0.0125")
    left = D(3200) - D("30.00005") - D("3000.1") - D("28.5")
    assert events[4]["a"]["B"][0]["bc"] == f"-{min(fee, left):.8f}"
    assert [o.order_id for o in told_of] == [order["i"]]
    assert account.wallet == left - min(fee, left) >= 0
    assert engine.accounts[FUND_ID].wallet == min(fee, left)
    assert not account.liquidating
    assert isinstance(
        place(engine, account, quantity="0.001"), Reject
    )  # -2019, not -2023: it may trade again
    check_money(engine)


def test_only_as_much_as_needed_is_closed() -> None:
    engine, (account,) = engine_of("14000000")
    assert engine.set_leverage(account, "BTCUSDT", 10, NOW) is None
    for _ in range(20):
        quote(engine, "BTCUSDT", "60000.0", "60000.1")
        placed(engine, account, quantity="100")
    placed(engine, account, symbol="ETHUSDT", quantity="6")
    quote(engine, "BTCUSDT", "54300.0", "54300.1", size="2000")
    set_mark(engine, "BTCUSDT", "54200")
    engine.tick(NOW + 1000)
    assert account.liquidating
    engine.tick(NOW + 1200)
    assert engine.position_of(account, "BTCUSDT").quantity == 0
    assert engine.position_of(account, "ETHUSDT").quantity == 6
    assert account.wallet > 0
    assert not account.liquidating


def _bankrupt(fund: str, opposite: tuple[str, ...] = ()) -> tuple[Engine, list[Account]]:
    """A long of 1 BTC with nothing left; the book shows no bids near its bankruptcy price."""
    engine, accounts = engine_of("3200", *opposite)
    if D(fund):
        engine.deposit(engine.book.fund(), D(fund), NOW)
    placed(engine, accounts[0], quantity="1")
    for account in accounts[1:]:
        placed(engine, account, side="SELL", quantity="1")
    quote(engine, "BTCUSDT", "55000.0", "55000.1")
    engine.drain()
    engine.tick(NOW + 1000)
    engine.drain()
    engine.tick(NOW + 2000)
    return engine, accounts


def test_the_fund_takes_over_at_the_bankruptcy_price() -> None:
    engine, (account,) = _bankrupt("10000")
    fund = engine.accounts[FUND_ID]
    assert account.wallet == 0
    assert engine.position_of(account, "BTCUSDT").quantity == 0
    taken = engine.position_of(fund, "BTCUSDT")
    assert (taken.quantity, taken.entry) == (D(1), D("56830.10005"))  # 60000.1 − 3169.99995
    events = events_of(engine, account)
    last = [e["o"] for e in events if e["e"] == "ORDER_TRADE_UPDATE"][-1]
    assert (last["x"], last["X"], last["o"], last["n"]) == (
        "CALCULATED",
        "FILLED",
        "LIQUIDATION",
        "0.00000000",
    )
    both = [t for t in engine.trades if t.trade_id == last["t"]]
    assert {t.account_id for t in both} == {FUND_ID, account.account_id}
    check_money(engine)


def test_an_empty_fund_deleverages_the_most_profitable_leverage_first() -> None:
    engine, (account, rich, lean) = _bankrupt("0", ("500000", "5000"))
    assert engine.position_of(account, "BTCUSDT").quantity == 0
    assert engine.position_of(rich, "BTCUSDT").quantity == -1
    assert engine.position_of(lean, "BTCUSDT").quantity == 0
    closing = [t for t in engine.trades if t.account_id == lean.account_id][-1]
    assert (closing.price, closing.side) == (D("56830.10005"), "BUY")
    events = events_of(engine, lean)
    assert told(events) == ["order NEW/NEW", "account ORDER", "order CALCULATED/FILLED"]
    assert (events[-1]["o"]["c"], events[-1]["o"]["o"]) == ("adl_autoclose", "MARKET")
    assert FUND_ID not in engine.accounts or not engine.clearing.held_by(engine.accounts[FUND_ID])
    assert engine.liquidator.statistics()["deleveraged"] == 1
    check_money(engine)


def test_beyond_bankruptcy_the_fund_pays_and_no_wallet_stays_negative() -> None:
    engine, (account,) = engine_of("3200")
    placed(engine, account, quantity="1")
    quote(engine, "BTCUSDT", "50000.0", "50000.1")
    engine.tick(NOW + 1000)
    engine.tick(NOW + 2000)
    assert account.wallet == 0
    assert engine.position_of(engine.book.fund(), "BTCUSDT").quantity == 1
    check_money(engine)


def test_a_forced_liquidation_needs_no_margin_reason() -> None:
    engine, account = _long_with_order("100000")
    engine.force_liquidation(account, "BTCUSDT", NOW + 5)
    assert told(events_of(engine, account)) == [
        "MARGIN_CALL",
        "order EXPIRED/EXPIRED er5",
        "TRADE_LITE",
        "order NEW/NEW",
        "account ORDER",
        "order TRADE/FILLED",
        "account INSURANCE_CLEAR",
    ]
    assert engine.clearing.held_by(account) == []
    assert income_of(engine, account, "INSURANCE_CLEAR") == -D(60000) * D("0.0125")
    assert isinstance(place(engine, account, quantity="0.01"), Reject) is False
    with pytest.raises(SimulatorError, match="no position"):
        engine.force_liquidation(account, "ETHUSDT", NOW)


def test_a_forced_deleveraging_closes_the_quantity_at_the_mark() -> None:
    engine, account = _long_with_order("100000")
    assert engine.force_adl(account, "BTCUSDT", D("0.4"), NOW) == D("0.4")
    position = engine.position_of(account, "BTCUSDT")
    assert (position.quantity, position.realized) == (D("0.6"), D("0.4") * (D("60000.05") - D("60000.1")))
    assert engine.force_adl(account, "BTCUSDT", D(5), NOW) == D("0.6")
    check_money(engine)


def test_quantiles_rank_the_holders_of_one_side() -> None:
    engine, accounts = engine_of("100000", "50000", "20000", "10000", "5000")
    for account in accounts:
        placed(engine, account, quantity="1")
    quote(engine, "BTCUSDT", "61000.0", "61000.1")
    assert [engine.adl_quantile(a, "BTCUSDT") for a in accounts] == [0, 1, 2, 3, 4]
    assert engine.adl_quantile(accounts[0], "ETHUSDT") == 0


def test_a_restart_in_the_middle_goes_on_with_the_liquidation() -> None:
    engine, account = _long_with_order()
    set_mark(engine, "BTCUSDT", "56900")
    engine.tick(NOW + 1000)
    again = Engine(engine.rules, engine.clearing.fees)
    again.restore(
        [
            *engine.accounts.values(),
            *engine.positions.values(),
            *engine.orders.closed.values(),
            *engine.trades,
            *engine.income,
        ]
    )
    quote(again, "BTCUSDT", "56900.0", "56900.1")
    again.tick(NOW + 2000)
    restored = again.accounts[account.account_id]
    assert again.position_of(restored, "BTCUSDT").quantity == ZERO
    assert not restored.liquidating


def test_money_off_the_book_has_eight_decimals_like_all_other() -> None:
    """A price with many decimals, times the quantity, leaves no dust in a wallet and no "-0.00000000"."""
    engine, (long, short) = engine_of("1000", "100000")
    placed(engine, long, quantity="0.31")
    placed(engine, short, side="SELL", quantity="0.5")
    engine.drain()
    quote(engine, "BTCUSDT", "56700.0", "56700.1", size="0.001")
    engine.tick(NOW + 1000)
    engine.tick(NOW + 2000)
    texts = json.dumps(events_of(engine, long) + events_of(engine, short))
    assert "CALCULATED" in texts
    assert "-0.00000000" not in texts
    engine.force_adl(short, "BTCUSDT", D("0.1"), NOW + 3000)
    for account in engine.accounts.values():
        assert all(amount == round(amount, 8) for amount in account.wallets.values())
    assert engine.position_of(short, "BTCUSDT").entry == D("60000")
    check_money(engine)
