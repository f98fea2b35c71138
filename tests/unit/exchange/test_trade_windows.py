"""Spans of time that a reading of executions asks for: at most seven days each, three months back."""

from itertools import pairwise

import pytest

from pms.exchange.binance.trade_windows import DAY_MS, REACH_MS, windows, within_reach

NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000

GAPS = [
    (HOUR_MS, 1),
    (4 * DAY_MS, 1),
    (7 * DAY_MS, 2),
    (8 * DAY_MS, 2),
    (89 * DAY_MS, 13),
    (100 * DAY_MS, 13),
]


@pytest.mark.parametrize(("gap_ms", "count"), GAPS)
def test_windows_cover_the_gap_without_a_hole(gap_ms: int, count: int) -> None:
    spans = list(windows(NOW_MS - gap_ms, NOW_MS))
    assert len(spans) == count
    assert spans[0][0] == NOW_MS - min(gap_ms, REACH_MS)
    assert spans[-1][1] == NOW_MS
    assert all(end - start < 7 * DAY_MS for start, end in spans)
    assert all(end + 1 == start for (_, end), (start, _) in pairwise(spans))


def test_what_is_within_reach() -> None:
    assert within_reach(NOW_MS - REACH_MS, NOW_MS)
    assert not within_reach(NOW_MS - REACH_MS - 1, NOW_MS)
    assert list(windows(NOW_MS + 1, NOW_MS)) == []
