"""JSON is read exactly, and what is not JSON is refused."""

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from pms.gateway.strict_json import JsonError, NotNegativeNumber, Number, PositiveNumber, parse_json

POSITIVE: TypeAdapter[Decimal] = TypeAdapter(PositiveNumber)
NUMBER: TypeAdapter[Decimal] = TypeAdapter(Number)
NOT_NEGATIVE: TypeAdapter[Decimal] = TypeAdapter(NotNegativeNumber)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=18, min_value=0, max_value=10**12))
def test_a_number_keeps_every_digit(value: Decimal) -> None:
    parsed = parse_json(f'{{"q": {value:f}}}'.encode())
    assert parsed == {"q": value}
    assert NUMBER.validate_python(str(value)) == value


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 2}',
        b'"\\ud800"',
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"a": 1e99999999999999999999}',
        b'{"a": ' + b"9" * 5_000 + b"}",
        b'{"a": 0.' + b"9" * 5_000 + b"}",
        b"",
        b"{'a': 1}",
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(JsonError):
        parse_json(body)


@settings(max_examples=30)
@given(st.recursive(st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(), st.lists))
def test_ordinary_json_is_read_as_the_standard_library_reads_it(value: object) -> None:
    text = json.dumps(value)
    try:
        text.encode().decode("unicode_escape").encode()
    except UnicodeError:
        return
    assert parse_json(text.encode()) == value


@pytest.mark.parametrize(
    "value",
    [None, True, False, "", " ", "abc", "NaN", "Infinity", "1_000", [], {}, "٣", 1.5, Decimal("-1e9999999")],
)
def test_a_number_is_not_coerced_from_other_types(value: object) -> None:
    with pytest.raises(ValidationError):
        NUMBER.validate_python(value)


@pytest.mark.parametrize("value", [0, -1, "0", "-0.1", Decimal("1e30"), Decimal("1e-60"), "1e400"])
def test_a_size_is_positive_and_of_sensible_magnitude(value: object) -> None:
    with pytest.raises(ValidationError):
        POSITIVE.validate_python(value)


def test_zero_is_not_negative() -> None:
    assert NOT_NEGATIVE.validate_python("0") == 0
    with pytest.raises(ValidationError):
        NOT_NEGATIVE.validate_python("-0.01")
