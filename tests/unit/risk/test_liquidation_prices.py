"""Static, dynamic and account liquidation prices against a numeric solver of the evaluation itself.

The solver knows no formula of a price: it halves an interval of marks until the level of the account, as
ticks and liquidation compute it, changes.
"""

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pms.model.account import PositionSide
from pms.model.symbol import Symbol
from pms.risk.formulas import (
    Leg,
    account_figures,
    account_liquidation_price,
    dynamic_liquidation_prices,
    static_liquidation_price,
    static_liquidation_price_decimal,
)
from pms.risk.liquidation import Level, level_of
from pms.risk.maintenance import Brackets, bracket_tables
from tests.unit.risk.brackets import of_rows, tax_table
from tests.unit.risk.builders import BTC, ETH

SYMBOLS = [BTC, ETH, Symbol("SOL/USDT:USDT"), Symbol("XRP/USDT:USDT")]
TABLES = bracket_tables(
    of_rows(
        {
            BTC: tax_table((0, "0.004"), (2_000, "0.005"), (9_000, "0.01"), (20_000, "0.05")),
            ETH: tax_table((0, "0.01"), (5_000, "0.025"), (12_000, "0.125")),
            SYMBOLS[2]: tax_table((0, "0.02")),
        }
    )
)
FAR = Decimal(10) ** 9
CLOSE = Decimal("1e-9")

Legs = list[Leg[Decimal]]


def leg(number: int, is_long: bool, entry: Decimal, quantity: Decimal) -> Leg[Decimal]:
    notional = entry * quantity
    return Leg(f"p{number}", SYMBOLS[number], is_long, entry, quantity, notional, notional / 10)


def float_of(item: Leg[Decimal]) -> Leg[float]:
    numbers = (float(each) for each in (item.entry, item.quantity, item.notional, item.margin))
    return Leg(item.id, item.symbol, item.is_long, *numbers)


def safe_when(
    moved: Leg[Decimal],
    cash: Decimal,
    rate: Decimal,
    legs: Legs,
    marks: dict[str, Decimal],
    threshold: Decimal,
    brackets: Brackets[Decimal] | None,
) -> Callable[[Decimal], bool]:
    """Return whether the account stays below the threshold while one symbol has another mark."""

    def safe(mark: Decimal) -> bool:
        figures = account_figures(cash, rate, legs, {**marks, moved.symbol: mark}, brackets)
        level = level_of(figures.margin_ratio, figures.equity_raw, threshold)
        return level < Level.LIQUIDATE

    return safe


def boundary(safe: Callable[[Decimal], bool], low: Decimal, high: Decimal) -> Decimal:
    """Halve an interval, one end of which is safe, until it is as narrow as can be told."""
    safe_low = safe(low)
    assert safe_low is not safe(high)
    while high - low > CLOSE * max(high, CLOSE):
        middle = (low + high) / 2
        if safe(middle) is safe_low:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def solved(safe: Callable[[Decimal], bool], is_long: bool) -> Decimal:
    """Return what the formulas promise: the end of the safe prices on the losing side; 0 where there is none
    above 0."""
    lowest = Decimal("1e-12")
    if is_long is safe(lowest):
        return Decimal(0)
    return boundary(safe, lowest, FAR)


legs_of_an_account = st.lists(
    st.tuples(st.booleans(), st.integers(1, 4_000), st.integers(1, 9_000), st.integers(50, 150)),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("brackets", [None, TABLES.exact], ids=["incumbent", "brackets"])
@settings(max_examples=60)
@given(
    legs_of_an_account,
    st.integers(-2_000, 20_000),
    st.sampled_from(["0.001", "0.005", "0.03"]),
    st.sampled_from(["0.5", "0.9", "0.95", "1"]),
)
def test_dynamic_and_account_prices_are_where_the_evaluation_changes(
    brackets: Brackets[Decimal] | None,
    drawn: list[tuple[bool, int, int, int]],
    cash: int,
    rate_text: str,
    threshold_text: str,
) -> None:
    """Many positions on two sides; each symbol's price alone is moved, the others stay at their marks."""
    rate, threshold, balance = Decimal(rate_text), Decimal(threshold_text), Decimal(cash)
    legs = [
        leg(number, is_long, Decimal(entry) / 10, Decimal(quantity) / 100)
        for number, (is_long, entry, quantity, _) in enumerate(drawn)
    ]
    marks = {item.symbol: item.entry * percent / 100 for item, (*_, percent) in zip(legs, drawn, strict=True)}
    prices = dynamic_liquidation_prices(balance, rate, legs, marks, threshold, brackets)
    ticks = None if brackets is None else TABLES.ticks
    floats = dynamic_liquidation_prices(
        float(balance),
        float(rate),
        [float_of(item) for item in legs],
        {symbol: float(mark) for symbol, mark in marks.items()},
        float(threshold),
        ticks,
    )
    for item in legs:
        safe = safe_when(item, balance, rate, legs, marks, threshold, brackets)
        expected = solved(safe, item.is_long)
        assert prices[item.id] == pytest.approx(expected, rel=Decimal("1e-7"), abs=Decimal("1e-7"))
        assert floats[item.id] == pytest.approx(float(expected), rel=1e-6, abs=1e-6)
    largest = max(legs, key=lambda item: item.notional)
    assert account_liquidation_price(balance, rate, legs, marks, threshold, brackets) == prices[largest.id]


@settings(max_examples=80)
@given(
    st.booleans(),
    st.integers(1, 4_000),
    st.integers(1, 9_000),
    st.integers(-2_000, 20_000),
    st.sampled_from(["0.001", "0.005", "0.03"]),
    st.sampled_from(["0.05", "0.5", "0.9", "1"]),
)
def test_the_static_price_is_where_a_position_alone_changes(
    is_long: bool, entry: int, quantity: int, cash: int, rate_text: str, threshold_text: str
) -> None:
    rate, threshold, balance = Decimal(rate_text), Decimal(threshold_text), Decimal(cash)
    item = leg(0, is_long, Decimal(entry) / 10, Decimal(quantity) / 100)
    safe = safe_when(item, balance, rate, [item], {}, threshold, None)
    price = static_liquidation_price(is_long, item.entry, balance, item.notional, rate, threshold)
    side = PositionSide.LONG if is_long else PositionSide.SHORT
    stored = static_liquidation_price_decimal(side, item.entry, balance, item.notional, rate, threshold)
    expected = solved(safe, is_long)
    assert stored == pytest.approx(expected, rel=Decimal("1e-7"), abs=Decimal("1e-7"))
    assert price == stored or (price < 0 and not is_long)


UNREACHABLE = [
    # side, cash, threshold, price: nothing below 0 and no price at all
    (True, 1_000_000, "0.9", Decimal(0)),  # a LONG that no price can hurt
    (False, -1_000_000, "0.9", Decimal(0)),  # a SHORT in breach at every price
    (True, -1_000, "0.004", Decimal(100)),  # a LONG that no price saves: shown at its entry
]


@pytest.mark.parametrize(("is_long", "cash", "threshold", "expected"), UNREACHABLE)
def test_prices_that_cannot_be_reached(is_long: bool, cash: int, threshold: str, expected: Decimal) -> None:
    item = leg(0, is_long, Decimal(100), Decimal(1))
    limit = Decimal(threshold)
    prices = dynamic_liquidation_prices(Decimal(cash), Decimal("0.005"), [item], {}, limit, TABLES.exact)
    assert prices == {item.id: expected}
    safe = safe_when(item, Decimal(cash), Decimal("0.005"), [item], {}, limit, TABLES.exact)
    reached = {safe(mark) for mark in (Decimal("0.01"), Decimal(50), Decimal(100), Decimal(10_000))}
    assert reached == {is_long and expected == 0}


@given(st.integers(1, 4_000), st.integers(-50_000, 50_000), st.sampled_from(["0.03", "0.1", "0.9"]))
def test_below_the_brackets_rates_a_long_is_safe_in_an_interval(
    quantity: int, cash: int, threshold_text: str
) -> None:
    """With a threshold below a bracket's rate a rising price hurts a LONG too: its price is the lower end."""
    item = leg(0, True, Decimal(100), Decimal(quantity) / 10)
    threshold, balance, rate = Decimal(threshold_text), Decimal(cash), Decimal("0.001")
    price = dynamic_liquidation_prices(balance, rate, [item], {}, threshold, TABLES.exact)[item.id]
    safe = safe_when(item, balance, rate, [item], {}, threshold, TABLES.exact)
    assume(price > 0)
    if price == item.entry and not safe(price * (1 + CLOSE)):
        assert not any(safe(Decimal(mark)) for mark in range(1, 2_000, 50))
    else:
        assert safe(price * (1 + CLOSE))
        assert not safe(price * (1 - CLOSE))


def test_a_position_without_quantity_or_mark_is_shown_at_its_entry() -> None:
    empty = leg(0, True, Decimal(100), Decimal(0))
    other = leg(1, False, Decimal(50), Decimal(1))
    prices = dynamic_liquidation_prices(
        Decimal(100), Decimal("0.005"), [empty, other], {}, Decimal("0.9"), TABLES.exact
    )
    assert prices[empty.id] == 100
    assert prices[other.id] > 50
    assert dynamic_liquidation_prices(Decimal(1), Decimal("0.005"), [], {}, Decimal(1), TABLES.exact) == {}
