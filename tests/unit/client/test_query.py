"""How the client words a preview: every amount exact, every move once."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import pytest

from pms.client import Amount, preview_query

CASES: list[tuple[Sequence[Amount], Mapping[str, str] | None, list[tuple[str, str]]]] = [
    ([], None, []),
    ([-5], None, [("percent", "-5")]),
    ([Decimal("-0.10"), 1.5], {}, [("percent", "-0.1"), ("percent", "1.5")]),
    (
        [0],
        {"BTC/USDT:USDT": "-10%", "ETH/USDT:USDT": "2500"},
        [("percent", "0"), ("move", "BTC/USDT:USDT=-10%"), ("move", "ETH/USDT:USDT=2500")],
    ),
]


@pytest.mark.parametrize(("percents", "moves", "query"), CASES)
def test_a_preview_is_asked_for_exactly(
    percents: Sequence[Amount], moves: Mapping[str, str] | None, query: list[tuple[str, str]]
) -> None:
    assert preview_query(percents, moves) == query
