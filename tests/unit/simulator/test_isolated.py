"""Isolated margin: each position has a wallet of its own and loses no more than that (spec 2.5, 5.4, 7)."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest

from pms.simulator.changes import Changes
from pms.simulator.config import Fees
from pms.simulator.core import Engine
from pms.simulator.isolated import IsolatedFill, settle_fill
from pms.simulator.state import LONG, SHORT, ZERO, Account
from pms.simulator.store import Store, rows_of
from tests.unit.simulator.market_support import NOW, placed, quote
from tests.unit.simulator.money_support import AT, HOUR, check_money, engine_of, events_of, set_mark, told
from tests.unit.simulator.test_account_requests import ask

FILLS: list[tuple[str, tuple[str, ...], tuple[str, str, str]]] = [
    # wallet, held, change, price, leverage, cash, spare -> wallet, added, released
    ("opens with its initial margin", ("0", "0", "1", "100", "10", "-1", "50"), ("10", "10", "0")),
    ("grows by the margin of the new part", ("10", "1", "1", "120", "10", "-1", "50"), ("22", "12", "0")),
    ("a short opens alike", ("0", "0", "-2", "100", "10", "-1", "50"), ("20", "20", "0")),
    ("a fee beyond the cross wallet", ("0", "0", "1", "100", "10", "-1", "10.4"), ("9.4", "10", "0")),
    ("no more margin than there is", ("0", "0", "1", "100", "10", "-1", "8"), ("7", "8", "0")),
    ("a rebate stays in the cross wallet", ("0", "0", "1", "100", "10", "0.5", "50"), ("10", "10", "0")),
    ("half closed, with a profit", ("10", "2", "-1", "105", "10", "4", "0"), ("5", "0", "9")),
    ("closed: all of it, less loss and fee", ("10", "-1", "1", "105", "10", "-6", "0"), ("0", "0", "4")),
    ("a loss beyond the share eats the rest", ("10", "2", "-1", "90", "10", "-7", "99"), ("3", "0", "0")),
    ("a loss beyond the wallet is a debt", ("10", "1", "-1", "80", "10", "-21", "99"), ("-11", "0", "0")),
    ("a flip releases, then opens", ("10", "1", "-3", "100", "10", "-2", "50"), ("20", "20", "8")),
    ("what a flip releases may be its margin", ("10", "1", "-2", "100", "10", "-2", "3"), ("10", "10", "8")),
]  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), [f[1:] for f in FILLS], ids=[f[0] for f in FILLS])
def test_what_a_fill_moves(given: tuple[str, ...], expected: tuple[str, str, str]) -> None:
    wallet, held, change, price, leverage, cash, spare = (D(text) for text in given)
    after = settle_fill(wallet, held, change, price, int(leverage), cash, spare)
    assert after == IsolatedFill(*(D(text) for text in expected))


def _isolated(wallet: str = "10000", *symbols: str) -> tuple[Engine, Account]:
    engine, (account,) = engine_of(wallet)
    for symbol in symbols or ("BTCUSDT",):
        assert engine.settings.set_margin_type(account, symbol, "ISOLATED", NOW) is None
    engine.drain()
    return engine, account


def _wallets(engine: Engine, account: Account, side: str = "BOTH") -> tuple[D, D, D]:
    """Return wallet, cross wallet and the isolated wallet of BTCUSDT."""
    position = engine.position_of(account, "BTCUSDT", side)
    return account.wallet, engine.clearing.cross_wallet(account, "USDT"), position.isolated_wallet


def _account_update(events: list[dict[str, Any]]) -> dict[str, Any]:
    (update,) = (e["a"] for e in events if e["e"] == "ACCOUNT_UPDATE")
    return {**update, "B": update["B"][0], "P": update["P"][0] if update["P"] else None}


def test_opening_reducing_and_closing_by_hand() -> None:
    engine, account = _isolated()
    placed(engine, account, quantity="1")  # at 60000.1, leverage 20, fee 0.05 %
    events = events_of(engine, account)
    assert told(events) == ["TRADE_LITE", "order NEW/NEW", "account ORDER", "order TRADE/FILLED"]
    update = _account_update(events)
    assert update["B"] == {"a": "USDT", "wb": "9969.99995000", "cw": "6969.99495000", "bc": "0"}
    assert (update["P"]["mt"], update["P"]["iw"]) == ("isolated", "3000.00500000")
    placed(engine, account, side="SELL", quantity="0.5")  # at 60000.0: loss 0.05, fee 15, half of the wallet
    update = _account_update(events_of(engine, account))
    assert update["B"] == {"a": "USDT", "wb": "9954.94995000", "cw": "8454.94745000", "bc": "0"}
    assert update["P"]["iw"] == "1500.00250000"
    placed(engine, account, side="SELL", quantity="0.5", reduceOnly="true")
    update = _account_update(events_of(engine, account))
    assert (update["B"]["wb"], update["B"]["cw"]) == ("9939.89995000", "9939.89995000")
    assert (update["P"]["pa"], update["P"]["mt"], update["P"]["iw"]) == ("0", "isolated", "0")
    check_money(engine)


def test_the_answers_keep_isolated_and_cross_apart() -> None:
    engine, account = _isolated()
    placed(engine, account, quantity="1")
    placed(engine, account, symbol="ETHUSDT", quantity="2")  # 6000.02 on cross margin, fee 3.00001
    placed(engine, account, type="LIMIT", price="59000", quantity="0.1")
    cross, upnl_eth = D("6966.99494"), D("-0.01")  # ETH's mark is 3000.005
    ((usdt, *_),) = (ask(engine, account, "GET v3/balance"),)
    assert usdt["balance"] == "9966.99994000"
    assert (D(usdt["crossWalletBalance"]), D(usdt["crossUnPnl"])) == (cross, upnl_eth)
    available = cross + upnl_eth - D("300.0005") - 295  # ETH's position, BTC's open order
    assert D(usdt["availableBalance"]) == D(usdt["maxWithdrawAmount"]) == available
    for version in ("v2", "v3"):
        answer = ask(engine, account, f"GET {version}/account")
        assert D(answer["totalWalletBalance"]) == D("9966.99994")
        assert (D(answer["totalCrossWalletBalance"]), D(answer["totalCrossUnPnl"])) == (cross, upnl_eth)
        assert D(answer["totalUnrealizedProfit"]) == D("-0.06")
        assert D(answer["totalMarginBalance"]) == D("9966.93994")
        assert D(answer["totalInitialMargin"]) == D("3000.0025") + D("300.0005") + 295
        assert D(answer["availableBalance"]) == available
        rows = {p["symbol"]: p for p in answer["positions"] if D(p["positionAmt"])}
        assert (rows["BTCUSDT"]["isolatedWallet"], rows["BTCUSDT"]["isolatedMargin"]) == (
            "3000.00500000",
            "2999.95500000",
        )
        assert (rows["ETHUSDT"]["isolatedWallet"], rows["ETHUSDT"]["isolatedMargin"]) == ("0", "0.00000000")
        if version == "v2":
            assert (rows["BTCUSDT"]["isolated"], rows["ETHUSDT"]["isolated"]) == (True, False)
    (btc,) = ask(engine, account, "GET v2/positionRisk", symbol="BTCUSDT")
    (eth,) = ask(engine, account, "GET v2/positionRisk", symbol="ETHUSDT")
    assert (btc["marginType"], btc["isolatedWallet"], btc["isolatedMargin"], btc["isAutoAddMargin"]) == (
        "isolated",
        "3000.00500000",
        "2999.95500000",
        "false",
    )
    assert (eth["marginType"], eth["isolatedWallet"], eth["isolatedMargin"]) == ("cross", "0", "0")
    kinds = {r["symbol"]: r["marginType"] for r in ask(engine, account, "GET v1/symbolConfig")}
    assert kinds == {"BTCUSDT": "ISOLATED", "ETHUSDT": "CROSSED"}


def test_liquidation_prices_do_not_depend_on_each_other() -> None:
    engine, account = _isolated()
    placed(engine, account, quantity="1")
    placed(engine, account, symbol="ETHUSDT", quantity="30")

    def prices() -> tuple[D, D]:
        rows = ask(engine, account, "GET v3/positionRisk")
        return D(rows[0]["liquidationPrice"]), D(rows[1]["liquidationPrice"])

    btc = (D("60000.1") - D("3000.005")) / (1 - D("0.004"))  # first bracket: 0.4 %
    assert abs(prices()[0] - btc) < D("0.00000001")
    eth = prices()[1]
    set_mark(engine, "BTCUSDT", "59000")
    assert prices()[1] == eth
    engine.deposit(account, D(1000), NOW)
    assert abs(prices()[0] - btc) < D("0.00000001")
    assert prices()[1] < eth


def test_only_the_isolated_position_is_liquidated_and_the_cross_wallet_is_untouched() -> None:
    engine, account = _isolated()
    placed(engine, account, quantity="1")
    placed(engine, account, symbol="ETHUSDT", quantity="2")
    kept = placed(engine, account, symbol="ETHUSDT", type="LIMIT", price="2900", quantity="1")
    ended = placed(engine, account, type="LIMIT", price="50000", quantity="0.01")
    before = _wallets(engine, account)
    engine.drain()
    quote(engine, "BTCUSDT", "57100.0", "57100.1")  # above the bankruptcy price 57000.095
    engine.tick(NOW + 1000)
    events = events_of(engine, account)
    assert told(events) == [
        "MARGIN_CALL",
        "order EXPIRED/EXPIRED er5",
        "TRADE_LITE",
        "order NEW/NEW",
        "account ORDER",
        "order TRADE/FILLED",
        "account INSURANCE_CLEAR",
    ]
    assert "cw" not in events[0]
    (warned,) = events[0]["p"]
    assert (warned["s"], warned["mt"], warned["iw"]) == ("BTCUSDT", "ISOLATED", "3000.00500000")
    assert events[3]["o"]["c"].startswith("autoclose-")
    assert (kept.is_open, ended.status) == (True, "EXPIRED")
    assert engine.position_of(account, "ETHUSDT").quantity == 2
    # 3000.005 - 2900.1 loss - 28.55 fee = 71.355 is less than the liquidation fee
    assert _wallets(engine, account) == (before[1], before[1], ZERO)
    assert not account.liquidating
    check_money(engine)


def test_a_gap_costs_the_isolated_wallet_and_the_fund_bears_the_rest() -> None:
    engine, account = _isolated()
    placed(engine, account, quantity="1")
    before = _wallets(engine, account)
    quote(engine, "BTCUSDT", "50000.0", "50000.1")
    engine.tick(NOW + 1000)
    assert engine.position_of(account, "BTCUSDT").quantity == 0
    assert _wallets(engine, account) == (before[1], before[1], ZERO)
    fund = engine.clearing.held_by(engine.book.fund())
    assert [(p.quantity, p.entry) for p in fund] == [(D(1), D("57000.095"))]  # its bankruptcy price


def test_closing_beyond_the_wallet_oneself_costs_no_more_either() -> None:
    engine, account = _isolated()
    placed(engine, account, quantity="1")
    before = _wallets(engine, account)
    quote(engine, "BTCUSDT", "50000.0", "50000.1")
    placed(engine, account, side="SELL", quantity="1", reduceOnly="true")
    assert _wallets(engine, account)[2] == D("3000.005") - D("10000.1") - 25
    engine.drain()
    engine.tick(NOW + 1000)
    update = _account_update(events_of(engine, account))
    assert (update["m"], update["B"]["bc"], update["P"]["iw"]) == ("INSURANCE_CLEAR", "7025.09500000", "0")
    assert _wallets(engine, account) == (before[1], before[1], ZERO)
    check_money(engine)


def test_cross_liquidation_leaves_isolated_positions_alone() -> None:
    engine, account = _isolated("5000", "ETHUSDT")
    placed(engine, account, symbol="ETHUSDT", quantity="10")
    placed(engine, account, quantity="1")
    quote(engine, "BTCUSDT", "56500.0", "56500.1")
    for step in range(4):
        engine.tick(NOW + 1000 + 200 * step)
    assert [p.symbol for p in engine.clearing.held_by(account)] == ["ETHUSDT"]
    assert engine.position_of(account, "ETHUSDT").isolated_wallet == D("1500.005")
    assert engine.clearing.cross_wallet(account, "USDT") >= 0


def test_funding_is_taken_from_the_isolated_wallet_and_lists_its_position() -> None:
    engine, account = _isolated()
    placed(engine, account, quantity="1")
    before = _wallets(engine, account)
    engine.drain()
    engine.set_listen_key(account, "k" * 64, AT + HOUR)
    engine.tick(AT)
    update = _account_update([e for e in events_of(engine, account) if e["e"] == "ACCOUNT_UPDATE"])
    assert (update["m"], update["S"], update["B"]["bc"]) == ("FUNDING_FEE", "BTCUSDT", "-6.00000500")
    assert (update["P"]["s"], update["P"]["mt"], update["P"]["iw"]) == (
        "BTCUSDT",
        "isolated",
        "2994.00499500",
    )
    assert _wallets(engine, account) == (before[0] - D("6.000005"), before[1], before[2] - D("6.000005"))


def test_each_hedge_side_has_its_wallet_its_price_and_its_funding() -> None:
    engine, (account,) = engine_of("20000")
    engine.settings.set_position_mode(account, True)
    engine.settings.set_margin_type(account, "BTCUSDT", "ISOLATED", NOW)
    (update,) = (e["a"] for e in events_of(engine, account))
    assert [p["ps"] for p in update["P"]] == ["BOTH", "LONG", "SHORT"]
    placed(engine, account, quantity="2", positionSide=LONG)
    placed(engine, account, side="SELL", quantity="1", positionSide=SHORT)
    rows = {r["positionSide"]: r for r in ask(engine, account, "GET v3/positionRisk")}
    assert {side: r["isolatedWallet"] for side, r in rows.items()} == {
        LONG: "6000.01000000",
        SHORT: "3000.00000000",
    }
    long, short = D(rows[LONG]["liquidationPrice"]), D(rows[SHORT]["liquidationPrice"])
    assert abs(long - D("57000.095") / D("0.996")) < D("0.00000001")
    assert abs(short - D(63000) / D("1.004")) < D("0.00000001")
    engine.drain()
    engine.set_listen_key(account, "k" * 64, AT + HOUR)
    engine.tick(AT)
    updates = [e["a"] for e in events_of(engine, account) if e["e"] == "ACCOUNT_UPDATE"]
    assert [(u["B"][0]["bc"], u["P"][0]["ps"]) for u in updates] == [
        ("-12.00001000", "LONG"),
        ("6.00000500", "SHORT"),
    ]
    set_mark(engine, "BTCUSDT", "63000")
    engine.tick(AT + 1000)
    assert [(p.side, p.quantity) for p in engine.clearing.held_by(account)] == [(LONG, D(2))]


def test_margin_type_changes_as_the_venue_tells_it() -> None:
    engine, (account,) = engine_of("1000")
    change: dict[str, Any] = {"symbol": "BTCUSDT", "marginType": "ISOLATED"}
    assert ask(engine, account, "POST v1/marginType", **change) == {"code": 200, "msg": "success"}
    assert _account_update(events_of(engine, account)) == {
        "m": "MARGIN_TYPE_CHANGE",
        "B": {"a": "USDT", "wb": "1000.00000000", "cw": "1000.00000000", "bc": "0"},
        "P": {
            "s": "BTCUSDT",
            "pa": "0",
            "ep": "0",
            "cr": "0.00000000",
            "up": "0.00000000",
            "mt": "isolated",
            "iw": "0",
            "ps": "BOTH",
            "ma": "USDT",
            "bep": "0",
        },
    }
    assert ask(engine, account, "POST v1/marginType", **change) == -4046
    assert ask(engine, account, "POST v1/multiAssetsMargin", multiAssetsMargin="true") == -4167
    assert not engine.dirty
    order = placed(engine, account, type="LIMIT", price="59000", quantity="0.01")
    back = change | {"marginType": "CROSSED"}
    assert ask(engine, account, "POST v1/marginType", **back) == -4047
    engine.cancel(account, order, NOW)
    placed(engine, account, quantity="0.01")
    assert ask(engine, account, "POST v1/marginType", **back) == -4048
    assert ask(engine, account, "POST v1/leverage", symbol="BTCUSDT", leverage=19) == -4161
    assert ask(engine, account, "POST v1/leverage", symbol="BTCUSDT", leverage=21)["leverage"] == 21
    placed(engine, account, side="SELL", quantity="0.01")
    assert ask(engine, account, "POST v1/leverage", symbol="BTCUSDT", leverage=5)["leverage"] == 5
    assert ask(engine, account, "POST v1/marginType", **back)["code"] == 200


def test_position_margin_is_added_and_taken_out_within_its_bounds() -> None:
    engine, account = _isolated()

    def change(kind: int, amount: str, **more: str) -> Any:
        params: dict[str, Any] = {"symbol": "BTCUSDT", "type": kind, "amount": amount, **more}
        return ask(engine, account, "POST v1/positionMargin", **params)

    assert [change(1, "5"), change(2, "5")] == [-4054, -4051]
    assert change(1, "5", symbol="ETHUSDT") == -4049
    assert change(1, "5", positionSide="LONG") == -4061
    assert change(1, "0.000000001") == -1111
    placed(engine, account, quantity="1")  # isolated 3000.005, cross 6969.99495
    placed(engine, account, type="LIMIT", price="59000", quantity="0.1")  # 295 of margin
    engine.drain()
    assert change(1, "6674.99496") == -4050
    assert change(2, "0.00000001") == -4051  # the mark is below the entry
    assert not engine.dirty
    assert change(1, "100") == {
        "amount": 100,
        "code": 200,
        "msg": "Successfully modify position margin.",
        "type": 1,
    }
    update = _account_update(events_of(engine, account))
    assert (update["m"], update["P"]["iw"]) == ("MARGIN_TRANSFER", "3100.00500000")
    assert update["B"] == {"a": "USDT", "wb": "9969.99995000", "cw": "6869.99495000", "bc": "0"}
    # 3100.005 - 0.05 unrealized - 3000.0025 initial margin at the mark
    assert [change(2, "99.95250001"), change(2, "99.9525")["code"]] == [-4051, 200]
    assert change(1, "6674.94745")["code"] == 200
    assert ask(engine, account, "GET v3/balance")[0]["availableBalance"] == "0.00000000"
    rows = ask(engine, account, "GET v1/positionMargin/history", symbol="BTCUSDT")
    assert [(r["type"], r["deltaType"], r["amount"]) for r in rows] == [
        (1, "TRADE", "3000.00500000"),
        (1, "USER_ADJUST", "100.00000000"),
        (2, "USER_ADJUST", "99.95250000"),
        (1, "USER_ADJUST", "6674.94745000"),
    ]
    taken = ask(engine, account, "GET v1/positionMargin/history", symbol="BTCUSDT", type=2)
    assert [r["amount"] for r in taken] == ["99.95250000"]
    assert ask(engine, account, "GET v1/positionMargin/history", symbol="BTCUSDT", type=3) == -1130
    check_money(engine)


def test_margin_of_an_isolated_order_is_held_on_the_cross_wallet_until_it_fills() -> None:
    engine, account = _isolated("4000")
    order = placed(engine, account, type="LIMIT", price="59000", quantity="1")
    assert engine.margin_of(account).available == 1050
    quote(engine, "BTCUSDT", "58999.9", "59000.0")
    assert order.status == "FILLED"
    assert _wallets(engine, account) == (D("3988.2"), D("1038.2"), D(2950))  # maker fee 0.02 %
    assert engine.margin_of(account).available == D("1038.2")


def test_isolated_wallets_and_their_history_outlive_a_restart() -> None:
    engine, account = _isolated()
    placed(engine, account, quantity="1")
    engine.settings.change_position_margin(account, engine.position_of(account, "BTCUSDT"), D(100), NOW)
    placed(engine, account, side="SELL", quantity="0.5")
    store = Store(None)
    store.write(rows_of(Changes(accounts=engine.accounts)))
    store.write(rows_of(engine.drain()))
    again = Engine(engine.rules, Fees())
    again.restore(store.load())
    store.close()
    quote(again, "BTCUSDT", "60000.0", "60000.1")
    assert again.positions == engine.positions
    assert list(again.clearing.margin_moves) == list(engine.clearing.margin_moves)
    known = again.account_by_key["key"]
    assert again.margin_of(known) == engine.margin_of(account)
    placed(again, known, side="SELL", quantity="0.5")
    assert [(m.move_id, m.added) for m in again.clearing.margin_moves] == [
        (1, True),
        (2, True),
        (3, False),
        (4, False),
    ]
    assert again.clearing.isolated_of(known) == []
