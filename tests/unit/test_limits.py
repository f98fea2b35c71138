"""Bounds: each is positive, says what happens beyond it, and the design's figures are kept."""

import ast
import itertools
from pathlib import Path

import pytest

from pms import limits

NAMES = [name for name in vars(limits) if name.isupper()]


def explained() -> dict[str, str]:
    body = ast.parse(Path(limits.__file__).read_text()).body
    found: dict[str, str] = {}
    for statement, following in itertools.pairwise(body):
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            text = following.value if isinstance(following, ast.Expr) else None
            found[statement.targets[0].id] = str(text.value) if isinstance(text, ast.Constant) else ""
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_bound_is_a_positive_whole_number_with_an_overflow_rule(name: str) -> None:
    value = getattr(limits, name)
    assert type(value) is int
    assert value > 0
    assert "Overflow: " in explained()[name]


def test_the_figures_of_the_design_are_kept() -> None:
    assert limits.RECENT_FILLS_MAX == 500
    active = (limits.CHASES_MAX, limits.SCALPERS_MAX, limits.TWAPS_MAX, limits.TWAP_BASKETS_MAX)
    assert (*active, limits.TRAILING_STOPS_MAX) == (500, 50, 500, 100, 500)
    assert limits.OPEN_ORDERS_RESERVE == 20
    assert (limits.PNL_UPDATE_INTERVAL_MS, limits.MARGIN_UPDATE_INTERVAL_MS) == (50, 80)
    assert (limits.EVALUATION_INTERVAL_MS, limits.EVALUATION_DELAY_MS_MAX) == (100, 2_000)
    assert (limits.RECONCILE_LOCK_MS, limits.RECONCILE_DEBOUNCE_MS) == (30_000, 30_000)


def test_bounds_that_must_fit_together_do() -> None:
    assert limits.RECONCILE_RENEWAL_MS * 2 < limits.RECONCILE_LOCK_MS
    assert limits.BUS_CALL_DEADLINE_MS < limits.ORDER_RESULT_DEADLINE_MS
    assert limits.BUS_BATCH_MAX % 2 == 0, "a durable event takes two writes and must fill a batch exactly"
