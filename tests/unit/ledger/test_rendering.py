"""Stored forms: sixteen digits, types of both databases, digests that survive a round trip."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pms.ledger.errors import LedgerError
from pms.ledger.rendering import (
    Kind,
    agrees,
    canonical,
    chain_hash,
    decode,
    digest,
    encode,
    render_float,
    signature,
    signature_text,
    time_ms,
)


@pytest.mark.parametrize(
    ("exact", "stored"),
    [
        ("0.30000000000000004", 0.3),
        ("49277.777777777774", 49277.77777777777),
        ("33.333333333333336", 33.33333333333334),
        ("-0.0", 0.0),
        ("100.4677796215", 100.4677796215),
    ],
)
def test_floats_keep_sixteen_digits(exact: str, stored: float) -> None:
    assert repr(render_float(Decimal(exact))) == repr(stored)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_non_finite_numbers_are_refused(value: str) -> None:
    with pytest.raises(LedgerError, match="finite"):
        render_float(Decimal(value))


@given(
    st.sampled_from([Kind.EXACT, Kind.FLOAT]),
    st.decimals(-(10**9), 10**9, places=18, allow_nan=False),
    st.booleans(),
)
def test_a_digest_survives_the_database(kind: Kind, value: Decimal, sqlite: bool) -> None:
    stored = encode(kind, value, sqlite=sqlite)
    assert canonical(kind, decode(kind, stored)) == canonical(kind, value)


@given(st.integers(0, 4_102_444_800_000), st.booleans())
def test_times_survive_the_database(moment_ms: int, sqlite: bool) -> None:
    stored = encode(Kind.TIME, moment_ms, sqlite=sqlite)
    assert isinstance(stored, int if sqlite else datetime)
    assert decode(Kind.TIME, stored) == moment_ms


def test_dates_as_text_are_read_too() -> None:
    wanted = round(datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC).timestamp() * 1000)
    for text in ("2026-05-06 07:08:09", "2026-05-06T07:08:09Z", "2026-05-06T09:08:09+02:00"):
        assert time_ms(text) == wanted
    assert time_ms("2026-05-06T07:08:09.123Z") == wanted + 123
    with pytest.raises(LedgerError):
        time_ms(None)


def test_stored_types() -> None:
    assert encode(Kind.EXACT, Decimal("1.50"), sqlite=True) == "1.5"
    assert encode(Kind.EXACT, Decimal("1.5"), sqlite=False) == Decimal("1.5")
    assert (encode(Kind.BOOL, True, sqlite=True), encode(Kind.BOOL, True, sqlite=False)) == (1, True)
    assert encode(Kind.INT, 7, sqlite=True) == 7
    assert encode(Kind.FLOAT, None, sqlite=True) is None
    assert canonical(Kind.TEXT, None) != canonical(Kind.TEXT, "")


def test_agreement_is_relative() -> None:
    assert agrees(Decimal("1000000.0005"), Decimal("1000000"))
    assert not agrees(Decimal("1000000.01"), Decimal("1000000"))
    assert agrees(Decimal(0), Decimal("1e-13"))
    assert not agrees(Decimal(0), Decimal("0.00001"))


def test_digests_cannot_be_shifted_between_columns() -> None:
    assert digest(["ab", "c"]) != digest(["a", "bc"])
    assert digest(["1|2:x"]) != digest(["1", "x"])
    assert chain_hash("", "a") != chain_hash("a", "")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("10", "10"),
        ("10.50", "10.5"),
        ("1e-7", "1e-7"),
        ("0.000001", "0.000001"),
        ("1e21", "1e+21"),
        ("123000000000000000000", "123000000000000000000"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("-0", "0"),
        ("1.5e-9", "1.5e-9"),
    ],
)
def test_numbers_inside_signatures(value: str, text: str) -> None:
    assert signature_text(Decimal(value)) == text


def test_signatures_hash_the_joined_parts() -> None:
    assert signature("a", "CLOSE", "p") == signature("a:CLOSE:p")
    assert len(signature("a")) == 64
