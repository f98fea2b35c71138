"""Rounding: multiples of the step, on the right side, never further than a step, exact at any size."""

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pms.model.money import CONTEXT, COST_SCALE, ZERO, plain, round_cost, round_down, round_nearest, round_up

VALUES = st.decimals(min_value=0, max_value=Decimal("1e12"), places=8)
STEPS = st.sampled_from(
    [Decimal(text) for text in ("1", "10", "0.1", "0.5", "0.001", "0.00000001", "0.25", "5")]
)


@given(VALUES, STEPS)
def test_down_is_the_largest_multiple_not_above(value: Decimal, step: Decimal) -> None:
    rounded = round_down(value, step)
    assert rounded <= value < rounded + step
    assert rounded % step == 0
    assert round_down(rounded, step) == rounded


@given(VALUES, STEPS)
def test_up_is_the_smallest_multiple_not_below(value: Decimal, step: Decimal) -> None:
    rounded = round_up(value, step)
    assert rounded - step < value <= rounded
    assert rounded % step == 0
    assert round_up(rounded, step) == rounded


@given(VALUES, STEPS)
def test_nearest_is_within_half_a_step_and_between_down_and_up(value: Decimal, step: Decimal) -> None:
    rounded = round_nearest(value, step)
    assert abs(rounded - value) <= step / 2
    assert rounded in (round_down(value, step), round_up(value, step))


@given(VALUES)
def test_a_step_of_zero_leaves_the_value_alone(value: Decimal) -> None:
    assert round_down(value, ZERO) == round_up(value, ZERO) == round_nearest(value, ZERO) == value


@pytest.mark.parametrize(
    ("value", "step", "down", "nearest", "up"),
    [
        ("0.0015", "0.001", "0.001", "0.002", "0.002"),
        ("0.00149999", "0.001", "0.001", "0.001", "0.002"),
        ("2.5", "1", "2", "3", "3"),  # ties go away from zero, not to even
        ("3.5", "1", "3", "4", "4"),
        ("0.0009", "0.001", "0", "0.001", "0.001"),
        ("0.3", "0.1", "0.3", "0.3", "0.3"),  # 3 × 0.1, which binary floats miss
        (
            "1234567890.12345678",
            "0.00000001",
            "1234567890.12345678",
            "1234567890.12345678",
            "1234567890.12345678",
        ),
    ],
)
def test_rounding_by_example(value: str, step: str, down: str, nearest: str, up: str) -> None:
    given_value, given_step = Decimal(value), Decimal(step)
    assert round_down(given_value, given_step) == Decimal(down)
    assert round_nearest(given_value, given_step) == Decimal(nearest)
    assert round_up(given_value, given_step) == Decimal(up)


@given(st.decimals(min_value=Decimal("-1e18"), max_value=Decimal("1e18"), places=25))
def test_cost_keeps_18_decimals_and_is_off_by_half_a_unit_at_most(value: Decimal) -> None:
    rounded = round_cost(value)
    exponent = rounded.as_tuple().exponent
    assert exponent == -COST_SCALE
    assert abs(CONTEXT.subtract(rounded, value)) <= Decimal("5e-19")
    assert round_cost(rounded) == rounded


def test_cost_of_the_largest_column_value_is_exact() -> None:
    largest = Decimal("99999999999999999999.999999999999999999")
    assert round_cost(largest) == largest
    assert round_cost(Decimal("-0.0000000000000000005")) == Decimal("-1e-18")
    assert CONTEXT.rounding == ROUND_HALF_UP


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1E+3", "1000"),
        ("1E-8", "0.00000001"),
        ("0.500", "0.5"),
        ("100", "100"),
        ("0E-18", "0"),
        ("-0.0", "0"),
        ("-1.50", "-1.5"),
    ],
)
def test_plain_text_has_no_exponent_and_no_trailing_zeros(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text


@given(
    st.decimals(allow_nan=False, allow_infinity=False, min_value=Decimal("-1e20"), max_value=Decimal("1e20"))
)
def test_plain_text_is_the_same_number(value: Decimal) -> None:
    text = plain(value)
    assert Decimal(text) == value
    assert "E" not in text
    assert "e" not in text
