"""Which spans of time a reading of executions must ask for, within what the venue still tells. Pure.

`userTrades` reaches back three months, answers at most seven days at once, and cannot combine a first id with
times (Binance spec 2.4). So windows find the first execution, and ids lead on from there.
"""

from collections.abc import Iterator

DAY_MS = 86_400_000

REACH_MS = 89 * DAY_MS
"""Three months are 89 days at least; a day more would be a guess."""

WINDOW_MS = 7 * DAY_MS
"""Both ends are included, so a window is one millisecond shorter."""


def windows(since_ms: int, until_ms: int) -> Iterator[tuple[int, int]]:
    """Yield the windows, oldest first, that cover what the venue tells from `since_ms` to `until_ms`.

    Both ends of a window are included, Unix ms of the venue's clock; windows do not overlap.
    """
    start_ms = max(since_ms, until_ms - REACH_MS)
    while start_ms <= until_ms:
        end_ms = min(start_ms + WINDOW_MS - 1, until_ms)
        yield start_ms, end_ms
        start_ms = end_ms + 1


def within_reach(since_ms: int, until_ms: int) -> bool:
    """Tell whether the venue still tells everything since then."""
    return since_ms >= until_ms - REACH_MS
