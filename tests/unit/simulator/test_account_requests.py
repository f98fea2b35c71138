"""The account endpoints in both position modes, and settings with the venue's refusals (spec 2.4, 2.5)."""

from __future__ import annotations

from decimal import Decimal as D
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from pms.simulator import http_account
from pms.simulator.config import SimulatorConfig
from pms.simulator.core import Engine
from pms.simulator.errors import Reject
from pms.simulator.order_params import parse_order
from pms.simulator.state import LONG, SHORT, Account
from pms.simulator.venue import Call, Venue
from tests.unit.simulator.market_support import NOW, RULES, placed, quote
from tests.unit.simulator.money_support import engine_of

DAY = 86_400_000


def ask(engine: Engine, account: Account, request: str, now_ms: int = NOW, **params: Any) -> Any:
    """Return the JSON answer to e.g. "GET v3/balance"; of a refusal, its code."""
    method, path = request.split()
    endpoint = http_account.ENDPOINTS[method, f"/fapi/{path}"]
    venue = cast("Venue", SimpleNamespace(engine=engine, config=SimulatorConfig()))
    answer = endpoint.handler(venue, Call({k: str(v) for k, v in params.items()}, account, now_ms))
    if isinstance(answer, Reject):
        return answer.code
    return msgspec.json.decode(msgspec.json.Encoder(decimal_format="number").encode(answer))


def _hedged() -> tuple[Engine, Account]:
    engine, (account,) = engine_of("20000")
    assert ask(engine, account, "POST v1/positionSide/dual", dualSidePosition="true") == {
        "code": 200,
        "msg": "success",
    }
    placed(engine, account, quantity="2", positionSide=LONG)
    placed(engine, account, side="SELL", quantity="1", positionSide=SHORT)
    placed(engine, account, type="LIMIT", price="59000", quantity="0.5", positionSide=LONG)
    return engine, account


def test_hedge_mode_shows_both_legs_each_with_its_own_figures() -> None:
    engine, account = _hedged()
    rows = ask(engine, account, "GET v3/positionRisk")
    assert [(r["symbol"], r["positionSide"], r["positionAmt"]) for r in rows] == [
        ("BTCUSDT", "LONG", "2.000"),
        ("BTCUSDT", "SHORT", "-1.000"),
    ]
    assert rows[0]["liquidationPrice"] == rows[1]["liquidationPrice"] != "0"
    assert [r["notional"] for r in rows] == ["120000.10000000", "-60000.05000000"]
    assert [r["openOrderInitialMargin"] for r in rows] == ["1475.00000000", "0"]
    assert "leverage" not in rows[0]
    old = ask(engine, account, "GET v2/positionRisk", symbol="BTCUSDT")
    assert [r["positionSide"] for r in old] == ["BOTH", "LONG", "SHORT"]
    assert {(r["leverage"], r["marginType"], r["isAutoAddMargin"]) for r in old} == {("20", "cross", "false")}
    new = ask(engine, account, "GET v3/account")
    assert [p["positionSide"] for p in new["positions"]] == ["LONG", "SHORT"]
    assert ask(engine, account, "GET v1/positionSide/dual") == {"dualSidePosition": True}
    assert ask(engine, account, "GET v1/accountConfig")["dualSidePosition"] is True
    assert ask(engine, account, "GET v1/adlQuantile") == [
        {"symbol": "BTCUSDT", "adlQuantile": {"LONG": 0, "SHORT": 0, "HEDGE": 0}}
    ]
    sides = {t["positionSide"] for t in ask(engine, account, "GET v1/userTrades", symbol="BTCUSDT")}
    assert sides == {"LONG", "SHORT"}


def test_one_way_mode_shows_one_row() -> None:
    engine, (account,) = engine_of("100000")
    placed(engine, account, side="SELL", quantity="1")
    (row,) = ask(engine, account, "GET v3/positionRisk")
    assert (row["positionSide"], row["positionAmt"], row["adl"]) == ("BOTH", "-1.000", 0)
    assert row["breakEvenPrice"] == "59970"  # 60000 less the taker fee
    assert len(ask(engine, account, "GET v2/positionRisk")) == len(engine.rules)
    assert len(ask(engine, account, "GET v2/account")["positions"]) == len(engine.rules)
    quantiles = ask(engine, account, "GET v1/adlQuantile", symbol="BTCUSDT")[0]["adlQuantile"]
    assert quantiles == {"LONG": 0, "SHORT": 0, "BOTH": 0}


def test_every_asset_has_its_row() -> None:
    engine, (account,) = engine_of("1000")
    engine.deposit(account, D("1.5"), NOW, "BNB")
    engine.deposit(account, D(7), NOW, "FDUSD")
    rows = {r["asset"]: r["balance"] for r in ask(engine, account, "GET v3/balance")}
    assert rows == {
        "USDT": "1000.00000000",
        "BNB": "1.50000000",
        "USDC": "0.00000000",
        "FDUSD": "7.00000000",
    }
    answer = ask(engine, account, "GET v3/account")
    assert answer["totalWalletBalance"] == "1000.00000000"  # single-asset mode: USDT alone
    assert [a["asset"] for a in answer["assets"]] == ["USDT", "BNB", "USDC", "FDUSD"]
    assert "marginAvailable" not in answer["assets"][0]
    assert ask(engine, account, "GET v2/account")["assets"][0]["marginAvailable"] is True


REFUSED: list[tuple[str, dict[str, Any], int]] = [
    ("POST v1/positionSide/dual", {}, -1102),
    ("POST v1/positionSide/dual", {"dualSidePosition": "maybe"}, -1102),
    ("POST v1/positionSide/dual", {"dualSidePosition": "false"}, -4059),
    ("POST v1/marginType", {"marginType": "CROSSED"}, -1102),
    ("POST v1/marginType", {"symbol": "NOPE", "marginType": "CROSSED"}, -1121),
    ("POST v1/marginType", {"symbol": "BTCUSDT", "marginType": "crossed"}, -1102),
    ("POST v1/marginType", {"symbol": "BTCUSDT", "marginType": "CROSSED"}, -4046),
    ("POST v1/multiAssetsMargin", {"multiAssetsMargin": "false"}, -4171),
    ("POST v1/multiAssetsMargin", {"multiAssetsMargin": "true"}, -4084),
    ("POST v1/leverage", {"symbol": "BTCUSDT"}, -1102),
    ("POST v1/leverage", {"symbol": "BTCUSDT", "leverage": "0"}, -4028),
    ("POST v1/leverage", {"symbol": "BTCUSDT", "leverage": "151"}, -4028),
    ("POST v1/positionMargin", {"symbol": "BTCUSDT", "amount": "5"}, -1102),
    ("POST v1/positionMargin", {"symbol": "BTCUSDT", "amount": "0", "type": "1"}, -4055),
    ("POST v1/positionMargin", {"symbol": "BTCUSDT", "amount": "5", "type": "1"}, -4049),
    ("POST v1/feeBurn", {"feeBurn": "yes"}, -1102),
    ("GET v1/userTrades", {"symbol": "BTCUSDT", "fromId": "1", "startTime": "5"}, -1128),
    ("GET v1/userTrades", {"symbol": "BTCUSDT", "startTime": "1", "endTime": str(8 * DAY)}, -4165),
    ("GET v1/userTrades", {"symbol": "BTCUSDT", "startTime": "2", "endTime": "1"}, -1023),
    ("GET v1/income", {"symbol": "NOPE"}, -1121),
    ("GET v1/forceOrders", {"autoCloseType": "X"}, -1130),
]


@pytest.mark.parametrize(("request_line", "params", "code"), REFUSED)
def test_refusals_of_a_fresh_account(request_line: str, params: dict[str, Any], code: int) -> None:
    engine, (account,) = engine_of("1000")
    assert ask(engine, account, request_line, **params) == code
    assert not engine.dirty


def test_modes_change_only_without_orders_and_positions() -> None:
    engine, (account,) = engine_of("100000")
    order = placed(engine, account, type="LIMIT", price="59000", quantity="0.1")

    def codes() -> list[int]:
        return [
            ask(engine, account, "POST v1/positionSide/dual", dualSidePosition="true"),
            ask(engine, account, "POST v1/marginType", symbol="BTCUSDT", marginType="ISOLATED"),
        ]

    assert codes() == [-4067, -4047]
    assert ask(engine, account, "POST v1/multiAssetsMargin", multiAssetsMargin="true") == -4170
    engine.cancel(account, order, NOW)
    placed(engine, account, quantity="0.1")
    assert codes() == [-4068, -4048]


def test_settings_are_kept_and_shown() -> None:
    engine, (account,) = engine_of("1000")
    answer = ask(engine, account, "POST v1/leverage", symbol="BTCUSDT", leverage=50)
    assert answer == {"leverage": 50, "maxNotionalValue": "12000000", "symbol": "BTCUSDT"}
    assert ask(engine, account, "GET v1/symbolConfig", symbol="BTCUSDT")[0]["leverage"] == 50
    assert ask(engine, account, "GET v1/feeBurn") == {"feeBurn": False}
    ask(engine, account, "POST v1/feeBurn", feeBurn="true")
    assert ask(engine, account, "GET v1/feeBurn") == {"feeBurn": True}
    engine.settings.set_fee_tier(account, 2)
    assert ask(engine, account, "GET v1/commissionRate", symbol="BTCUSDT") == {
        "symbol": "BTCUSDT",
        "makerCommissionRate": "0.00014",
        "takerCommissionRate": "0.00035",
        "rpiCommissionRate": "0.00014",
    }
    assert ask(engine, account, "GET v1/accountConfig")["feeTier"] == 2
    bracket = ask(engine, account, "GET v1/leverageBracket", symbol="BTCUSDT")[0]["brackets"][1]
    assert (bracket["notionalFloor"], bracket["cum"]) == (300000, 300)  # numbers, not texts


def test_trades_and_income_by_their_windows() -> None:
    engine, (account,) = engine_of("100000")
    for day in range(12):
        engine.place(account, _market("BUY" if day % 2 == 0 else "SELL"), NOW + day * DAY)
    now_ms = NOW + 12 * DAY

    def days(path: str, **params: Any) -> list[int]:
        rows = ask(engine, account, f"GET v1/{path}", now_ms, symbol="BTCUSDT", **params)
        return [(r["time"] - NOW) // DAY for r in rows]

    assert days("userTrades") == [5, 6, 7, 8, 9, 10, 11]
    assert days("userTrades", startTime=NOW + DAY) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert days("userTrades", endTime=NOW + 8 * DAY, limit=2) == [7, 8]
    assert days("userTrades", startTime=NOW + DAY, limit=2) == [1, 2]
    first = engine.trades[0]
    assert days("userTrades", fromId=first.trade_id + 3, limit=3) == [3, 4, 5]
    assert days("userTrades", orderId=first.order_id) == [0]
    assert days("income", incomeType="COMMISSION") == [5, 6, 7, 8, 9, 10, 11]
    assert days("income", incomeType="REALIZED_PNL", startTime=NOW) == [1, 3, 5, 7, 9, 11]
    late = ask(engine, account, "GET v1/income", NOW + 120 * DAY, startTime=NOW)
    assert late == []  # three months are kept


def _market(side: str) -> Any:
    wanted = {"symbol": "BTCUSDT", "side": side, "type": "MARKET", "quantity": "0.1"}
    return parse_order(wanted, RULES)


def test_forced_orders_are_listed_by_kind() -> None:
    engine, (account,) = engine_of("100000")
    placed(engine, account, quantity="1")
    engine.force_adl(account, "BTCUSDT", D("0.2"), NOW)
    engine.force_liquidation(account, "BTCUSDT", NOW + 1)
    both = ask(engine, account, "GET v1/forceOrders", NOW + 2)
    assert [(o["clientOrderId"][:9], o["type"], o["executedQty"]) for o in both] == [
        ("adl_autoc", "LIMIT", "0.200"),
        ("autoclose", "LIMIT", "0.800"),
    ]
    (only,) = ask(engine, account, "GET v1/forceOrders", NOW + 2, autoCloseType="LIQUIDATION")
    assert (only["timeInForce"], only["status"], only["side"]) == ("IOC", "FILLED", "SELL")
    assert ask(engine, account, "GET v1/forceOrders", NOW + 2, symbol="ETHUSDT") == []
    types = {i["incomeType"] for i in ask(engine, account, "GET v1/income", NOW + 2)}
    assert types == {"TRANSFER", "COMMISSION", "REALIZED_PNL", "INSURANCE_CLEAR"}


def test_trading_status_shows_the_ratios() -> None:
    engine, (account,) = engine_of("100000")
    order = placed(engine, account, type="LIMIT", price="59000", quantity="0.1")
    engine.cancel(account, order, NOW)
    rows = ask(engine, account, "GET v1/apiTradingStatus")["indicators"]["BTCUSDT"]
    assert {r["indicator"]: (r["value"], r["isLocked"]) for r in rows} == {
        "UFR": (1.0, False),
        "IFER": (0.0, False),
        "GCR": (1.0, False),
        "DR": (0.0, False),
    }


def test_margin_shown_follows_the_mark() -> None:
    engine, (account,) = engine_of("100000")
    placed(engine, account, quantity="1")
    quote(engine, "BTCUSDT", "61000.0", "61000.1")
    answer = ask(engine, account, "GET v3/account")
    assert answer["totalUnrealizedProfit"] == "999.95000000"
    assert answer["totalPositionInitialMargin"] == "3050.00250000"
    assert answer["maxWithdrawAmount"] == "96919.99745000"  # profit that is not realized does not count
    assert answer["availableBalance"] == "97919.94745000"
