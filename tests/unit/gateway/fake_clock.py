"""Real time that a test can shift."""

from pms.runtime import SystemClock


class ShiftedClock(SystemClock):
    """Real time with a switchable offset, so that expiry needs no waiting."""

    def __init__(self) -> None:
        self.shift_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.shift_ms

    def monotonic(self) -> float:
        return super().monotonic() + self.shift_ms / 1000
