"""Client order ids: unique, recognisable, and never longer than the exchange takes (decision 23)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pms.model.ids import Fence, SubAccountId, base36, client_order_id, owner_prefix
from pms.model.order import OrderCode

ALICE = SubAccountId("a11ce000-0000-4000-8000-000000000001")
SEQUENCES = st.integers(min_value=0, max_value=2**48 - 1)
FENCES = st.integers(min_value=0, max_value=10**6)


@given(st.integers(min_value=0))
def test_base36_is_what_python_reads_back(number: int) -> None:
    assert int(base36(number), 36) == number
    assert re.fullmatch("0|[1-9a-z][0-9a-z]*", base36(number))


def test_base36_refuses_negative_numbers() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        base36(-1)


@given(st.sampled_from(OrderCode), FENCES, SEQUENCES)
def test_an_id_fits_the_exchange_and_names_its_owner(code: OrderCode, fence: int, sequence: int) -> None:
    text = client_order_id(ALICE, code.value, Fence(fence), sequence)
    assert len(text) <= 35
    assert re.fullmatch(r"[.A-Z:/a-z0-9_-]{1,36}", text), "Binance's pattern"
    assert text.startswith(f"PMSa11ce000_{code.value}_")
    assert owner_prefix(text) == "a11ce000"


@given(FENCES, SEQUENCES, FENCES, SEQUENCES)
def test_two_engines_never_make_the_same_id(fence: int, sequence: int, other: int, later: int) -> None:
    same = client_order_id(ALICE, "MK", Fence(fence), sequence) == client_order_id(
        ALICE, "MK", Fence(other), later
    )
    assert same == ((fence, sequence) == (other, later))


def test_the_house_has_a_prefix_of_its_own() -> None:
    text = client_order_id(None, OrderCode.HOUSE, Fence(1), 1)
    assert text == f"PMS00000000_HO_{base36(2**48 + 1)}"
    assert owner_prefix(text) == "00000000"


def test_an_id_beyond_the_bound_is_refused_rather_than_cut() -> None:
    with pytest.raises(ValueError, match="bound is 35"):
        client_order_id(ALICE, "MK", Fence(2**63), 1)


@pytest.mark.parametrize(
    "foreign", ["", "web_abc", "PMS", "PMSabc_MK_1", "PMSa11ce000", "x-PMSa11ce000_MK_1"]
)
def test_foreign_ids_have_no_owner(foreign: str) -> None:
    assert owner_prefix(foreign) is None
