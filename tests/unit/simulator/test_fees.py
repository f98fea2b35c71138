"""Commissions: tiers, contracts margined in USDC, rebates, BNB; and the behaviour rules (spec 1.6 and 7)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal as D

import pytest

from pms.simulator.commission import Charge, charge
from pms.simulator.config import Fees, Tier
from pms.simulator.core import Engine
from pms.simulator.errors import Reject
from pms.simulator.state import FUND_ID, Account
from tests.unit.simulator.market_support import NOW, RULES, place, placed, quote
from tests.unit.simulator.money_support import check_money, engine_of, events_of, income_of, told

CHARGES: list[tuple[str, dict[str, object], bool, str, str, Charge]] = [
    ("regular taker", {}, False, "USDT", "0", Charge("USDT", D(5), D(5))),
    ("regular maker", {}, True, "USDT", "0", Charge("USDT", D(2), D(2))),
    ("tier 3 taker", {"fee_tier": 3}, False, "USDT", "0", Charge("USDT", D("3.2"), D("3.2"))),
    ("beyond the table", {"fee_tier": 99}, False, "USDT", "0", Charge("USDT", D("1.7"), D("1.7"))),
    ("USDC taker", {}, False, "USDC", "0", Charge("USDC", D(4), D(4))),
    (
        "BNB, tenth off",
        {"fee_burn": True, "wallets": {"BNB": D(1)}},
        False,
        "USDT",
        "600",
        Charge("BNB", D("0.0075"), D("4.5")),
    ),
    (
        "BNB too short",
        {"fee_burn": True, "wallets": {"BNB": D("0.0074")}},
        False,
        "USDT",
        "600",
        Charge("USDT", D(5), D(5)),
    ),
    (
        "BNB without price",
        {"fee_burn": True, "wallets": {"BNB": D(1)}},
        False,
        "USDT",
        "0",
        Charge("USDT", D(5), D(5)),
    ),
    ("BNB not wanted", {"wallets": {"BNB": D(1)}}, False, "USDT", "600", Charge("USDT", D(5), D(5))),
    ("the fund", {"account_id": FUND_ID}, False, "USDT", "0", Charge("USDT", D(0), D(0))),
]


@pytest.mark.parametrize(
    ("fields", "maker", "asset", "bnb", "expected"), [c[1:] for c in CHARGES], ids=[c[0] for c in CHARGES]
)
def test_what_a_trade_of_ten_thousand_costs(
    fields: dict[str, object], maker: bool, asset: str, bnb: str, expected: Charge
) -> None:
    account = Account(account_id=1, api_key="k", secret="s")
    for name, value in fields.items():
        setattr(account, name, value)
    assert charge(Fees(), account, D(10_000), maker, asset, D(bnb)) == expected


def test_a_rebate_is_negative_and_never_in_bnb() -> None:
    fees = Fees(tiers=(Tier(D("0.0002"), D("0.0005")), Tier(D("-0.0001"), D("0.0003"))))
    account = Account(1, "k", "s", {"BNB": D(1)}, fee_burn=True, fee_tier=1)
    assert charge(fees, account, D(10_000), True, "USDT", D(600)) == Charge("USDT", D(-1), D(-1))


def _with_bnb() -> tuple[Engine, Account]:
    engine = Engine({s: RULES[s] for s in ("BTCUSDT", "ETHUSDT", "BNBUSDT")}, Fees())
    account = engine.open_account("key", "secret", D(100_000), NOW)
    engine.set_listen_key(account, "k" * 64, NOW + 3_600_000)
    quote(engine, "BTCUSDT", "60000.0", "60000.1")
    quote(engine, "BNBUSDT", "599.99", "600.01")
    engine.deposit(account, D("0.05"), NOW, "BNB")
    engine.settings.set_fee_burn(account, True)
    engine.drain()
    return engine, account


def test_fees_in_bnb_show_in_event_trade_and_income_until_bnb_is_short() -> None:
    engine, account = _with_bnb()
    placed(engine, account, quantity="1")
    events = events_of(engine, account)
    assert [row["a"] for row in events[2]["a"]["B"]] == ["BNB"]
    order = events[3]["o"]
    assert (order["N"], order["n"]) == ("BNB", "0.04500008")
    assert events[2]["a"]["P"][0]["bep"] == "60027.100045"  # the fee counts with what it is worth
    assert account.wallet == 100_000
    placed(engine, account, quantity="1")
    events = events_of(engine, account)
    assert [row["a"] for row in events[2]["a"]["B"]] == ["USDT"]
    assert events[3]["o"]["N"] == "USDT"
    assert [t.commission_asset for t in engine.trades] == ["BNB", "USDT"]
    assert income_of(engine, account, "COMMISSION", "BNB") == D("-0.04500008")
    check_money(engine)


def test_a_closing_trade_tells_of_both_assets() -> None:
    engine, account = _with_bnb()
    placed(engine, account, quantity="0.1")
    engine.drain()
    placed(engine, account, side="SELL", quantity="0.1")
    events = events_of(engine, account)
    assert sorted(row["a"] for row in events[2]["a"]["B"]) == ["BNB", "USDT"]
    assert events[2]["a"]["P"][0]["pa"] == "0"


def test_a_maker_with_a_rebate_is_paid() -> None:
    engine, account = _with_bnb()
    engine.clearing.fees = replace(engine.clearing.fees, maker=D("-0.00005"))
    placed(engine, account, type="LIMIT", price="59990", quantity="1")
    engine.drain()
    quote(engine, "BTCUSDT", "59980.0", "59985.0")
    assert events_of(engine, account)[-1]["o"]["n"] == "-2.99950000"
    assert account.wallet == D("100002.9995")


def test_behaviour_is_measured_and_locks_all_but_reducing() -> None:
    engine, (account,) = engine_of("100000")
    placed(engine, account, symbol="ETHUSDT", quantity="1")
    engine.trading_rules.orders_min = 20
    for _ in range(20):
        order = placed(engine, account, type="LIMIT", price="59000", quantity="0.01")
        engine.cancel(account, order, NOW)
    rows = engine.trading_rules.indicators(account, "BTCUSDT", NOW)["BTCUSDT"]
    assert rows[0] == {
        "isLocked": True,
        "plannedRecoverTime": NOW + 600_000,
        "indicator": "UFR",
        "value": 1.0,
        "triggerValue": 0.995,
    }
    refused = place(engine, account, quantity="0.01")
    assert isinstance(refused, Reject)
    assert refused.code == -4400
    assert placed(engine, account, symbol="ETHUSDT", side="SELL", quantity="1").status == "FILLED"
    assert set(engine.trading_rules.indicators(account, None, NOW)) == {"BTCUSDT", "ETHUSDT"}


def test_a_lock_lasts_although_its_ratio_has_fallen() -> None:
    engine, (account,) = engine_of("100000")
    placed(engine, account, quantity="1")
    engine.trading_rules.orders_min = 20
    for _ in range(19):
        engine.cancel(account, placed(engine, account, type="LIMIT", price="59000", quantity="0.01"), NOW)
    placed(engine, account, side="SELL", type="LIMIT", price="59000", quantity="0.1", reduceOnly="true")
    row = {"plannedRecoverTime": NOW + 600_000}
    unfilled, _, cancelled, _ = engine.trading_rules.indicators(account, "BTCUSDT", NOW)["BTCUSDT"]
    assert cancelled == row | {"isLocked": True, "indicator": "GCR", "value": 0.95, "triggerValue": 0.99}
    assert unfilled == row | {"isLocked": False, "indicator": "UFR", "value": 0.9048, "triggerValue": 0.995}
    refused = place(engine, account, quantity="0.01")
    assert isinstance(refused, Reject)
    assert refused.code == -4400


RATIOS = [
    (
        {"type": "LIMIT", "timeInForce": "IOC", "price": "59000", "quantity": "0.01"},
        {"UFR": 1.0, "IFER": 1.0},
    ),
    ({"type": "MARKET", "quantity": "0.01"}, {}),
    ({"type": "MARKET", "quantity": "0.001"}, {"DR": 1.0}),
]


@pytest.mark.parametrize(("params", "expected"), RATIOS)
def test_each_ratio_counts_its_own_orders(params: dict[str, str], expected: dict[str, float]) -> None:
    engine, (account,) = engine_of("100000")
    placed(engine, account, **params)
    rows = engine.trading_rules.indicators(account, "BTCUSDT", NOW)["BTCUSDT"]
    values = {str(row["indicator"]): row["value"] for row in rows if isinstance(row, dict) and row["value"]}
    assert values == expected


def test_delisting_settles_every_position_and_ends_the_orders() -> None:
    engine, (first, second) = engine_of("100000", "100000")
    placed(engine, first, quantity="1")
    placed(engine, second, side="SELL", quantity="2")
    placed(engine, first, type="LIMIT", price="59000", quantity="0.1")
    seen: list[tuple[str, str, int]] = []
    engine.listings.on_status.append(lambda *told_of: seen.append(told_of))
    engine.drain()
    engine.set_status("BTCUSDT", "SETTLING", NOW + 1)
    assert seen == [("BTCUSDT", "SETTLING", NOW + 1)]
    refused = place(engine, first, quantity="1")
    assert isinstance(refused, Reject)
    assert refused.code == -4108
    assert engine.settle("BTCUSDT", D(59000), NOW + 2) == 2
    events = events_of(engine, first)
    assert told(events) == [
        "order EXPIRED/EXPIRED er7",
        "order NEW/NEW",
        "account ORDER",
        "order CALCULATED/FILLED",
    ]
    assert events[-1]["o"]["c"].startswith("settlement_autoclose-")
    assert events[-1]["o"]["rp"] == "-1000.10000000"
    assert engine.clearing.holders() == []
    check_money(engine)


def test_a_status_outlives_a_restart() -> None:
    engine, _ = engine_of("1")
    engine.set_status("BTCUSDT", "SETTLING", NOW)
    stored = list(engine.drain().listings.values())
    again = Engine({s: RULES[s] for s in ("BTCUSDT", "ETHUSDT")}, Fees())
    again.restore(stored)
    assert [again.rules[s].info.status for s in ("BTCUSDT", "ETHUSDT")] == ["SETTLING", "TRADING"]
