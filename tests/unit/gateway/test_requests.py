"""Request bodies: whatever JSON comes, it is valid within its bounds or refused."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pms.gateway import requests
from pms.gateway.strict_json import JsonError, parse_json

MODELS: list[type[requests.Body]] = [
    requests.MarketOrderBody,
    requests.LimitOrderBody,
    requests.NewAccountBody,
    requests.ChangeAccountBody,
    requests.RulesChangeBody,
    requests.LiquidationModeBody,
    requests.LoginBody,
    requests.RegisterBody,
]
FIELDS = sorted({field.alias or name for model in MODELS for name, field in model.model_fields.items()})
GOOD_VALUES = st.sampled_from(
    ["alice-1", "BTC/USDT:USDT", "LONG", "short", "0.01", 5, "5", True, "GTC", "ADL_30", 0.9]
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80) | GOOD_VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
BODIES = st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES | GOOD_VALUES, max_size=10)


@given(BODIES)
def test_any_json_is_valid_within_bounds_or_refused(body: dict[str, object]) -> None:
    try:
        parsed = parse_json(json.dumps(body).encode())
    except JsonError:
        return
    for model in MODELS:
        try:
            made = model.model_validate(parsed)
        except ValidationError:
            continue
        for name in ("quantity", "price", "max_total_exposure"):
            value = getattr(made, name, Decimal(1))
            assert value.is_finite()
            assert value > 0
        assert 1 <= getattr(made, "leverage", 1) <= 125
        assert "<" not in (getattr(made, "name", None) or "")


def test_numeric_texts_and_any_case_of_the_side_are_accepted_as_the_incumbent_did() -> None:
    body = {
        "subAccountId": "a",
        "symbol": "BTC/USDT:USDT",
        "side": "long",
        "quantity": "0.5",
        "leverage": "20",
    }
    made = requests.MarketOrderBody.model_validate(body)
    assert (made.side.value, made.quantity, made.leverage) == ("LONG", Decimal("0.5"), 20)


@pytest.mark.parametrize("name", ["<img src=x>", "a&b", 'say "x"', "line\nbreak", "\u202eevil", ""])
def test_account_names_carry_no_markup(name: str) -> None:
    with pytest.raises(ValidationError):
        requests.NewAccountBody.model_validate({"name": name})


def test_the_browsers_default_account_name_is_accepted() -> None:
    assert requests.NewAccountBody.model_validate({"name": " ann's Account "}).name == "ann\u2019s Account"
