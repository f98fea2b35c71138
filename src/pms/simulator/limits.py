"""Fixed request windows, aligned to the clock as the venue's are (Binance spec 1.4 and 1.6)."""

from __future__ import annotations


class Windows:
    """Counters by key in windows of one length; only the current window is remembered."""

    def __init__(self, length_ms: int) -> None:
        self._length_ms = length_ms
        self._window = -1
        self._counts: dict[str, int] = {}

    def add(self, key: str, amount: int, now_ms: int) -> int:
        """Count and return the total of the current window."""
        window = now_ms // self._length_ms
        if window != self._window:
            self._window, self._counts = window, {}
        total = self._counts.get(key, 0) + amount
        self._counts[key] = total
        return total

    def remaining_seconds(self, now_ms: int) -> int:
        """Return the whole seconds until the window ends, at least one."""
        return max(1, -(-(self._length_ms - now_ms % self._length_ms) // 1000))
