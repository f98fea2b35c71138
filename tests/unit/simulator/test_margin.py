"""Margin figures: against recorded positionRisk rows, and against the equations they solve (spec 7)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal as D

import pytest

from pms.exchange.messages import Bracket
from pms.simulator import margin
from pms.simulator.exposure import Exposure
from pms.simulator.state import BOTH, LONG, SHORT, ZERO, Account, Order, Position, margin_text
from tests.unit.simulator.market_support import NOW, RULES, engine_with, placed

RECORDED = [  # rest_docs_2026-05/Position-Information-V3.json and user_stream_docs/Margin-Call.json
    ("30", "0.385", "0.41047590", 20, "0.0065", "12.31427700", "0.76427700", "0.61571385", "0.08004280"),
    (
        "-1.000",
        "70.92841",
        "49.72023376",
        20,
        "0.01",
        "-49.72023376",
        "21.20817624",
        "2.48601168",
        "0.49720233",
    ),
    ("1.327", "188.05", "187.17127", 20, "0.0065", "248.37627529", None, "12.41881376", "1.61444578"),
]


@pytest.mark.parametrize(("quantity", "entry", "mark", "leverage", "rate", *"nuim"), RECORDED)
def test_figures_of_recorded_positions(
    quantity: str, entry: str, mark: str, leverage: int, rate: str, n: str, u: str | None, i: str, m: str
) -> None:
    bracket = Bracket(
        bracket=1,
        initial_leverage=75,
        notional_cap=D(5000),
        notional_floor=ZERO,
        maint_margin_ratio=D(rate),
        cum=ZERO,
    )
    rules = replace(RULES["ETHUSDT"], brackets=(bracket,))
    position = Position(1, "ETHUSDT", D(quantity), D(quantity) * D(entry))
    leg = margin.leg_margin(position, Exposure(), D(mark), rules, leverage)
    assert margin_text(leg.notional) == n
    assert u is None or f"{leg.unrealized:.8f}" == u
    assert (margin_text(leg.position_initial), margin_text(leg.maintenance)) == (i, m)


def test_break_even_is_what_the_recorded_rows_say() -> None:
    for quantity, price, rate, expected in (
        ("30", "0.385", "0.0002", "0.385077"),
        ("-1", "70.92841", "0.0004", "70.900038636"),
    ):
        position = Position(1, "X")
        position.apply(D(quantity), D(price))
        position.charge(abs(D(quantity)) * D(price) * D(rate))
        assert position.break_even == D(expected)


def test_break_even_counts_what_was_taken_out_and_starts_anew_with_a_flip() -> None:
    position = Position(1, "X")
    position.apply(D(2), D(100))
    position.apply(D(-1), D(110))
    assert (position.entry, position.break_even) == (D(100), D(90))
    position.apply(D(-2), D(105))
    assert (position.entry, position.break_even) == (D(105), D(105))


POSITIONS: list[tuple[str, list[tuple[str, str, str]], str]] = [
    ("long", [(BOTH, "1", "60000")], "5000"),
    ("short", [(BOTH, "-1", "60000")], "5000"),
    ("long in a higher bracket at the price", [(BOTH, "30", "60000")], "150000"),
    ("short that grows into a higher bracket", [(BOTH, "-40", "60000")], "900000"),
    ("hedge, net long", [(LONG, "3", "60000"), (SHORT, "-1", "61000")], "9000"),
    ("hedge, net short", [(LONG, "1", "58000"), (SHORT, "-4", "60000")], "20000"),
    ("hedge in different brackets", [(LONG, "40", "60000"), (SHORT, "-2", "60000")], "300000"),
]


@pytest.mark.parametrize(("legs", "wallet"), [p[1:] for p in POSITIONS], ids=[p[0] for p in POSITIONS])
def test_at_the_liquidation_price_margin_balance_is_maintenance(
    legs: list[tuple[str, str, str]], wallet: str
) -> None:
    rules = RULES["BTCUSDT"]
    positions = [Position(1, "BTCUSDT", D(q), D(q) * D(e), side=side) for side, q, e in legs]
    other = margin.leg_margin(
        Position(1, "ETHUSDT", D(5), D(15100)), Exposure(), D(3000), RULES["ETHUSDT"], 20
    )
    parts = [margin.leg_margin(p, Exposure(), D(60000), rules, 20) for p in positions]
    account = margin.total("USDT", D(wallet), [other, *parts])
    price = margin.liquidation_price(positions, account, rules)
    assert price > 0
    equity = D(wallet) + other.unrealized + sum(p.unrealized(price) for p in positions)
    maintenance = other.maintenance + sum(rules.maintenance(abs(p.quantity) * price) for p in positions)
    assert abs(equity - maintenance) < D("0.000001")


def test_there_is_no_liquidation_price_where_none_is_possible() -> None:
    for legs, wallet, expected in (
        ([(BOTH, "0.1", "60000")], "50000", 0),  # would be below zero
        ([(LONG, "1", "60000"), (SHORT, "-1", "60000")], "5000", 560_000),  # only maintenance grows
        ([], "5", 0),
    ):
        positions = [Position(1, "BTCUSDT", D(q), D(q) * D(e), side=side) for side, q, e in legs]
        rules = RULES["BTCUSDT"]
        parts = [margin.leg_margin(p, Exposure(), D(60000), rules, 20) for p in positions]
        price = margin.liquidation_price(positions, margin.total("USDT", D(wallet), parts), rules)
        assert price == expected


def _order(side: str, quantity: str, position_side: str = BOTH, reduce_only: bool = False) -> Order:
    return Order(
        order_id=8_000_000_500,
        account_id=1,
        symbol="BTCUSDT",
        client_order_id="x",
        side=side,
        type="LIMIT",
        time_in_force="GTC",
        price=D(60000),
        quantity=D(quantity),
        created_ms=NOW,
        updated_ms=NOW,
        reduce_only=reduce_only,
        position_side=position_side,
    )


WORST_SIDE = [  # held, bids, asks -> initial margin of the open orders, in thousands at 60000 and 20x
    ("1", "1", "0", "3000"),
    ("1", "0", "1", "0"),
    ("1", "0", "2", "0"),
    ("1", "0", "3", "3000"),
    ("1", "2", "4", "6000"),
    ("0", "2", "3", "9000"),
]


@pytest.mark.parametrize(("held", "bids", "asks", "expected"), WORST_SIDE)
def test_open_orders_need_margin_for_their_worse_side_only(
    held: str, bids: str, asks: str, expected: str
) -> None:
    position = Position(1, "BTCUSDT", D(held), D(held) * 60000)
    exposure = Exposure(bids=D(bids) * 60000, asks=D(asks) * 60000)
    leg = margin.leg_margin(position, exposure, D(60000), RULES["BTCUSDT"], 20)
    assert leg.order_initial == D(expected)


def test_each_leg_of_a_hedge_pays_for_itself() -> None:
    engine, account = engine_with("1000000")
    account.hedge_mode = True
    for side, position_side, quantity in (("BUY", LONG, "2"), ("SELL", SHORT, "1"), ("SELL", LONG, "0.5")):
        order = _order(side, quantity, position_side)
        order.order_id += engine.orders.draw_id()
        engine.clearing.fill(
            account,
            order,
            D(60000),
            D(quantity),
            False,
            NOW,
            engine.orders.put,
            engine.clearing.draw_trade_id("BTCUSDT"),
        )
    held = {p.side: p.quantity for p in engine.clearing.held_by(account)}
    assert held == {LONG: D("1.5"), SHORT: D(-1)}
    totals = engine.margin_of(account)
    mark = engine.markets["BTCUSDT"].mark
    assert totals.position_initial == D("2.5") * mark / 20
    rules = engine.rules["BTCUSDT"]
    assert totals.maintenance == rules.maintenance(D("1.5") * mark) + rules.maintenance(mark)


def test_reduce_only_is_refused_where_a_resting_order_would_then_open_without_margin() -> None:
    engine, account = engine_with("3075")
    placed(engine, account, quantity="1")
    resting = placed(engine, account, type="LIMIT", side="SELL", price="61000", quantity="1")
    assert resting.is_open
    refused = engine.margin_desk.check_new(account, _order("SELL", "1", reduce_only=True))
    assert refused is not None
    assert refused.code == -4118
    engine.deposit(account, D(5000), NOW)
    assert engine.margin_desk.check_new(account, _order("SELL", "1", reduce_only=True)) is None


def test_figures_follow_the_orders_and_equal_a_naive_sum() -> None:
    engine, account = engine_with("1000000")
    other = engine.open_account("other", "secret", D(1000), NOW)
    placed(engine, other, type="LIMIT", price="59000", quantity="0.01")
    orders = [placed(engine, account, type="LIMIT", price=str(58000 + n), quantity="0.1") for n in range(5)]
    engine.cancel(account, orders[0], NOW)
    leg = engine.leg_of(account, "BTCUSDT")
    assert leg.bid_notional == sum((o.remaining * o.price for o in orders[1:]), ZERO)
    for order in orders[1:]:
        engine.cancel(account, order, NOW)
    assert engine.margin_desk.used(account) == set()


def test_leverage_that_the_margin_does_not_carry_is_refused_and_unchanged() -> None:
    engine, account = engine_with("3100")
    placed(engine, account, quantity="1")
    refused = engine.set_leverage(account, "BTCUSDT", 5, NOW)
    assert refused is not None
    assert refused.code == -2028
    assert engine.leverage_of(account, "BTCUSDT") == 20


def test_withdrawable_leaves_out_what_is_not_realized() -> None:
    legs = [
        margin.leg_margin(Position(1, "BTCUSDT", D(1), D(50000)), Exposure(), D(60000), RULES["BTCUSDT"], 20)
    ]
    account = margin.total("USDT", D(4000), legs)
    assert (account.available, account.withdrawable) == (D(11000), D(1000))
    assert margin.total("USDT", Account(1, "k", "s").wallet, []).ratio == 0
