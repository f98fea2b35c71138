"""Number texts and signatures of the incumbent's format."""

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pms.model.ids import PendingOrderId, PositionId, SubAccountId
from pms.model.signature import close_signature, fixed_text, limit_fill_signature, number_text, open_signature


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (10, "10"),
        (10.5, "10.5"),
        (1e-7, "1e-7"),
        (0.000001, "0.000001"),
        (1.5e-7, "1.5e-7"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (0.1 + 0.2, "0.30000000000000004"),
        (-0.0, "0"),
        (-2.50, "-2.5"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (Decimal("10.00"), "10"),
        (Decimal("1E+2"), "100"),
        (Decimal("0.0000001"), "1e-7"),
        (Decimal("0.00"), "0"),
        (Decimal("100.010"), "100.01"),
    ],
)
def test_number_text(value: float | Decimal, text: str) -> None:
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (0.125, 2, "0.13"),
        (0.001953125, 8, "0.00195313"),
        (200.005, 2, "200.00"),
        (-0.001, 2, "-0.00"),
        (-0.0, 2, "0.00"),
        (1e21, 2, "1e+21"),
        (math.inf, 1, "Infinity"),
        (Decimal("2.345"), 2, "2.35"),
    ],
)
def test_fixed_text(value: float | Decimal, places: int, text: str) -> None:
    assert fixed_text(value, places) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_number_text_round_trips(value: float) -> None:
    assert float(number_text(value)) == value


def test_signatures_differ_by_every_part() -> None:
    account, row = SubAccountId("a"), PositionId("p")
    texts = {
        close_signature(account, "CLOSE", row, 1, "u"),
        close_signature(account, "ADL", row, 1, "u"),
        close_signature(account, "CLOSE", row, 2, "u"),
        close_signature(account, "CLOSE", row, 1, "v"),
        open_signature(account, "BTC/USDT:USDT", "LONG", "1", 1, "u"),
        limit_fill_signature(account, PendingOrderId("p"), 1, "u"),
    }
    assert len(texts) == 6
    assert all(len(text) == 64 for text in texts)
