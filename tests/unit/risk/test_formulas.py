"""The formulas: what the golden vectors cannot say, above all that Decimal and float agree."""

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pms.model.account import PositionSide
from pms.risk.formulas import (
    Leg,
    account_figures,
    account_liquidation_price,
    decimal_leg,
    divide,
    dynamic_liquidation_prices,
    float_leg,
    largest_leg,
    maintenance_rate_or_default,
    positive_part,
    static_liquidation_price,
    static_liquidation_price_decimal,
    unrealized_pnl,
)
from tests.unit.risk.builders import BTC, ETH, position

money = st.decimals(min_value="-5000", max_value="5000", places=4)
prices = st.decimals(min_value="0.01", max_value="90000", places=4)
quantities = st.decimals(min_value="0.001", max_value="100", places=3)
rates = st.sampled_from([Decimal("0.004"), Decimal("0.005"), Decimal("0.025")])
thresholds = st.sampled_from([Decimal("0.5"), Decimal("0.8"), Decimal("0.9"), Decimal(1)])


@st.composite
def decimal_legs(draw: st.DrawFn) -> list[Leg[Decimal]]:
    legs = []
    for index in range(draw(st.integers(1, 4))):
        entry, quantity = draw(prices), draw(quantities)
        notional = entry * quantity
        leverage = draw(st.sampled_from([Decimal(1), Decimal(3), Decimal(20)]))
        legs.append(
            Leg(
                f"p{index}",
                f"S{index % 3}",
                draw(st.booleans()),
                entry,
                quantity,
                notional,
                notional / leverage,
            )
        )
    return legs


def in_floats(legs: list[Leg[Decimal]]) -> list[Leg[float]]:
    return [
        Leg(leg.id, leg.symbol, leg.is_long, *map(float, (leg.entry, leg.quantity, leg.notional, leg.margin)))
        for leg in legs
    ]


@given(money, rates, decimal_legs(), st.lists(prices, min_size=3, max_size=3))
def test_float_and_decimal_figures_agree(
    balance: Decimal, rate: Decimal, legs: list[Leg[Decimal]], marks: list[Decimal]
) -> None:
    exact_marks = {f"S{index}": mark for index, mark in enumerate(marks)}
    exact = account_figures(balance, rate, legs, exact_marks)
    rough_marks = {key: float(mark) for key, mark in exact_marks.items()}
    rough = account_figures(float(balance), float(rate), in_floats(legs), rough_marks)
    scale = 1e-9 * (1 + float(exact.total_exposure))
    assert rough.equity_raw == pytest.approx(float(exact.equity_raw), abs=scale)
    assert rough.maintenance_margin == pytest.approx(float(exact.maintenance_margin), rel=1e-12)
    assert rough.margin_used == pytest.approx(float(exact.margin_used), rel=1e-12)
    assert rough.available_margin == rough.equity - rough.margin_used
    if exact.equity_raw > 1:
        assert rough.margin_ratio == pytest.approx(float(exact.margin_ratio), rel=1e-4)


@given(money, rates, decimal_legs(), st.lists(prices, min_size=3, max_size=3), thresholds)
def test_at_its_dynamic_price_the_account_is_at_the_threshold(
    balance: Decimal, rate: Decimal, legs: list[Leg[Decimal]], marks: list[Decimal], threshold: Decimal
) -> None:
    legs = [leg for index, leg in enumerate(legs) if leg.symbol not in {held.symbol for held in legs[:index]}]
    known = {f"S{index}": mark for index, mark in enumerate(marks)}
    solved = dynamic_liquidation_prices(balance, rate, legs, known, threshold)
    for leg in legs:
        if solved[leg.id] > 0:
            there = account_figures(balance, rate, legs, {**known, leg.symbol: solved[leg.id]})
            assert there.maintenance_margin == pytest.approx(
                there.equity_raw * threshold, rel=Decimal("1e-12")
            )


@given(st.booleans(), prices, money, quantities, rates, thresholds)
def test_static_price_agrees_between_types(
    is_long: bool, entry: Decimal, cash: Decimal, quantity: Decimal, rate: Decimal, threshold: Decimal
) -> None:
    arguments = (entry, cash, entry * quantity, rate, threshold)
    exact = static_liquidation_price(is_long, *arguments)
    rough = static_liquidation_price(is_long, *map(float, arguments))
    assert rough == pytest.approx(float(exact), rel=1e-9, abs=1e-9 * float(abs(cash) / quantity + entry))


def test_stored_static_price_is_always_a_number() -> None:
    side = PositionSide.SHORT
    zero, rate, threshold = Decimal(0), Decimal("0.005"), Decimal("0.9")
    assert static_liquidation_price_decimal(side, zero, Decimal(50), zero, rate, threshold) == 0
    negative = static_liquidation_price_decimal(
        side, Decimal(100), Decimal(-100_000), Decimal(100), rate, threshold
    )
    assert negative == 0
    price = static_liquidation_price_decimal(
        PositionSide.LONG, Decimal(50_000), Decimal(100), Decimal(5_000), Decimal(0), threshold
    )
    assert price == pytest.approx(Decimal("49277.7777777777777777"))


@pytest.mark.parametrize(
    ("numerator", "denominator", "answer"),
    [(1.0, 0.0, math.inf), (-1.0, 0.0, -math.inf), (1.0, -0.0, -math.inf), (6.0, 3.0, 2.0)],
)
def test_division_never_raises(numerator: float, denominator: float, answer: float) -> None:
    assert divide(numerator, denominator) == answer
    exact = divide(Decimal(numerator), Decimal(repr(denominator)))
    assert float(exact) == answer


def test_nan_propagates() -> None:
    assert math.isnan(divide(0.0, 0.0))
    assert divide(Decimal(0), Decimal(0)).is_nan()
    assert math.isnan(positive_part(math.nan))
    assert positive_part(-1.0) == 0.0


def test_rate_of_zero_means_the_default() -> None:
    assert maintenance_rate_or_default(0.0) == 0.005
    assert maintenance_rate_or_default(Decimal(0)) == Decimal("0.005")
    assert maintenance_rate_or_default(0.02) == 0.02


def test_no_equity_means_ratio_999() -> None:
    leg = decimal_leg(position(quantity=1, entry=100))
    assert account_figures(Decimal(0), Decimal("0.005"), [leg], {}).margin_ratio == 999
    assert account_liquidation_price(Decimal(1), Decimal("0.005"), [], {}, Decimal("0.9")) is None


def test_positions_become_legs_in_both_types() -> None:
    held = position(ETH, PositionSide.SHORT, "0.3", "3000", leverage=3)
    exact, rough = decimal_leg(held), float_leg(held)
    assert (exact.entry, exact.quantity, exact.notional, exact.margin) == (3000, Decimal("0.3"), 900, 300)
    assert (rough.entry, rough.quantity, rough.notional, rough.margin) == (3000.0, 0.3, 900.0, 300.0)
    assert not exact.is_long
    assert type(rough.entry) is float


def test_largest_is_the_first_of_equals() -> None:
    legs = [float_leg(position(BTC, key="a")), float_leg(position(ETH, key="b"))]
    largest = largest_leg(legs)
    assert largest is not None
    assert largest.id == "a"


def test_unpriced_positions_are_skipped_in_the_list_pnl() -> None:
    legs = [float_leg(position(BTC)), float_leg(position(ETH))]
    assert unrealized_pnl(legs, {BTC: 103.0}, 0.0) == 3.0
