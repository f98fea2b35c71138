"""Funding: who pays what, when, with which event, and never twice (spec 7)."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from pms.simulator.core import Engine
from pms.simulator.funding import payment
from pms.simulator.state import BOTH, LONG, SHORT, Account, Funding, Position
from tests.unit.simulator.market_support import placed
from tests.unit.simulator.money_support import AT, HOUR, check_money, engine_of, events_of, income_of

PAYMENTS = [
    ("long pays a positive rate", [(BOTH, "1")], "0.0001", "-6.00000000"),
    ("short receives a positive rate", [(BOTH, "-2")], "0.0001", "12.00000000"),
    ("long receives a negative rate", [(BOTH, "1")], "-0.00025", "15.00000000"),
    ("a hedge pays its net", [(LONG, "3"), (SHORT, "-1")], "0.0001", "-12.00000000"),
    ("equal legs pay nothing", [(LONG, "3"), (SHORT, "-3")], "0.0001", "0"),
]


@pytest.mark.parametrize(
    ("legs", "rate", "expected"), [p[1:] for p in PAYMENTS], ids=[p[0] for p in PAYMENTS]
)
def test_payment_is_position_times_mark_times_rate(
    legs: list[tuple[str, str]], rate: str, expected: str
) -> None:
    held = [Position(1, "BTCUSDT", D(quantity), side=side) for side, quantity in legs]
    assert payment(held, Funding("BTCUSDT", AT, D(rate), D(60000))) == D(expected)


def _with_position() -> tuple[Engine, Account]:
    engine, (account,) = engine_of("100000")
    engine.funding.rate_of = lambda symbol: "0.00010000"
    placed(engine, account, quantity="1")
    engine.drain()
    return engine, account


def test_one_event_with_the_asset_alone_at_the_interval() -> None:
    engine, account = _with_position()
    engine.tick(AT - 1)
    assert events_of(engine, account) == []
    engine.tick(AT + 20)
    (event,) = events_of(engine, account)
    assert event["a"] == {
        "m": "FUNDING_FEE",
        "B": [{"a": "USDT", "wb": "99963.99994500", "cw": "99963.99994500", "bc": "-6.00000500"}],
        "P": [],
        "S": "BTCUSDT",
    }
    row = engine.income[-1]
    assert (row.income_type, row.symbol, row.time_ms) == ("FUNDING_FEE", "BTCUSDT", AT)
    settled = engine.funding.settled["BTCUSDT"][-1]
    assert (settled.time_ms, settled.rate, settled.mark) == (AT, D("0.0001"), D("60000.05"))
    check_money(engine)


def test_nothing_is_settled_twice_and_every_interval_once() -> None:
    engine, _ = _with_position()
    for time_ms in (AT, AT, AT + 1000, AT + 8 * HOUR - 1, AT + 24 * HOUR):
        engine.tick(time_ms)
    times = [i.time_ms for i in engine.income if i.income_type == "FUNDING_FEE"]
    assert times == [AT, AT + 8 * HOUR, AT + 16 * HOUR, AT + 24 * HOUR]


def test_symbols_with_their_own_interval() -> None:
    engine, account = _with_position()
    engine.funding.hours_of = lambda symbol: 4 if symbol == "BTCUSDT" else 8
    placed(engine, account, symbol="ETHUSDT", quantity="1")
    engine.tick(AT - 4 * HOUR + 5)
    engine.tick(AT)
    rows = [(i.symbol, i.time_ms) for i in engine.income if i.income_type == "FUNDING_FEE"]
    assert rows == [("BTCUSDT", AT - 4 * HOUR), ("BTCUSDT", AT), ("ETHUSDT", AT)]
    assert engine.funding.next_ms("BTCUSDT", AT) == AT + 4 * HOUR


def test_no_event_and_no_line_where_the_net_is_zero() -> None:
    engine, account = _with_position()
    placed(engine, account, side="SELL", quantity="1")
    engine.drain()
    engine.tick(AT)
    assert events_of(engine, account) == []
    assert income_of(engine, account, "FUNDING_FEE") == 0


@pytest.mark.parametrize(("back_ms", "expected"), [(AT + 5, 1), (AT + 16 * HOUR + 5, 1), (AT - 5, 0)])
def test_a_restart_settles_the_last_missed_instant_only(back_ms: int, expected: int) -> None:
    engine, _ = _with_position()
    again = Engine(engine.rules, engine.clearing.fees)
    settled = [row for rows in engine.funding.settled.values() for row in rows]
    again.restore([*engine.accounts.values(), *engine.positions.values(), *engine.income, *settled])
    for symbol, market in engine.markets.items():
        again.markets[symbol].mark = market.mark
    for _ in range(2):
        again.tick(back_ms)
    assert sum(i.income_type == "FUNDING_FEE" for i in again.income) == expected


def test_a_new_exchange_owes_nothing_for_the_time_before_it() -> None:
    engine, account = _with_position()
    assert income_of(engine, account, "FUNDING_FEE") == 0
    assert [row.time_ms for row in engine.funding.settled["BTCUSDT"]] == [AT - 8 * HOUR]


def test_without_charging_rates_are_settled_and_nobody_pays() -> None:
    engine, account = _with_position()
    engine.funding.charged = False
    wallet = account.wallet
    engine.tick(AT - 1)
    engine.tick(AT + 20)
    assert (events_of(engine, account), account.wallet) == ([], wallet)
    assert engine.funding.settled["BTCUSDT"][-1].time_ms == AT
