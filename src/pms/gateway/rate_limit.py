"""Rate limits: fixed windows of 60 s in a bounded table, one counter for each key (gateway spec 2.3)."""

from collections import OrderedDict
from dataclasses import dataclass

from pms.gateway.bounds import RATE_WINDOWS_MAX
from pms.gateway.errors import ApiError
from pms.model.clock import Clock

WINDOW_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Allowance:
    """State of a counter after a request was counted; `reset_seconds` until the window ends."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int

    def headers(self) -> dict[str, str]:
        named = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_seconds),
            "RateLimit-Policy": f"{self.limit};w={WINDOW_SECONDS}",
        }
        if not self.allowed:
            named["Retry-After"] = str(max(1, self.reset_seconds))
        return named


class RateLimiter:
    """Counts requests by key. Event-loop thread only; beyond the bound the oldest window is forgotten."""

    def __init__(self, clock: Clock, windows_max: int = RATE_WINDOWS_MAX) -> None:
        self._clock = clock
        self._windows_max = windows_max
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def count(self, key: str, limit: int) -> Allowance:
        """Count one request against `key` and say whether it is within `limit` per window."""
        now = self._clock.monotonic()
        started, used = self._windows.get(key, (now, 0))
        if now - started >= WINDOW_SECONDS:
            started, used = now, 0
        if used == 0:
            self._windows.pop(key, None)
        used = min(used + 1, limit + 1)
        self._windows[key] = (started, used)
        while len(self._windows) > self._windows_max:
            self._windows.popitem(last=False)
        reset = max(0, round(started + WINDOW_SECONDS - now))
        return Allowance(used <= limit, limit, max(0, limit - used), reset)

    def size(self) -> int:
        return len(self._windows)


def too_many(allowance: Allowance) -> ApiError:
    """429 with the headers that say when to come back."""
    return ApiError(
        429,
        "RATE_LIMITED",
        f"More than {allowance.limit} requests in {WINDOW_SECONDS} s; retry in {allowance.reset_seconds} s.",
        headers=allowance.headers(),
    )
