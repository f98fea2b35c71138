"""Fixed request windows, aligned to the clock as the venue's are, and bans of those who go on (spec 1.6)."""

from __future__ import annotations

from dataclasses import dataclass

BAN_REMEMBERED_MS = 3 * 86_400_000
ADDRESSES_KEPT = 10_000


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


@dataclass(slots=True)
class _Offender:
    refused: int = 0
    until_ms: int = 0
    length_ms: int = 0


class Bans:
    """Addresses that went on after 429: banned for two minutes, twice as long each time, three days at most.

    An address is forgiven three days after its last ban. At most `ADDRESSES_KEPT` are remembered; beyond
    that the oldest are forgotten.
    """

    def __init__(self, refused_max: int, shortest_ms: int, longest_ms: int) -> None:
        self._refused_max = refused_max
        self._shortest_ms = shortest_ms
        self._longest_ms = longest_ms
        self._offenders: dict[str, _Offender] = {}
        self.banned = 0

    def until_ms(self, address: str, now_ms: int) -> int:
        """Return the end of the ban in force, zero when there is none."""
        offender = self._offenders.get(address)
        return offender.until_ms if offender is not None and offender.until_ms > now_ms else 0

    def refused(self, address: str, now_ms: int) -> int:
        """Note one more request above the limit; return the end of the ban that it brings, or zero."""
        offender = self._offender(address, now_ms)
        offender.refused += 1
        if offender.refused <= self._refused_max:
            return 0
        offender.length_ms = min(max(self._shortest_ms, 2 * offender.length_ms), self._longest_ms)
        return self._ban(offender, now_ms + offender.length_ms)

    def ban(self, address: str, until_ms: int, now_ms: int) -> None:
        """Ban an address until a time, whatever it did."""
        self._ban(self._offender(address, now_ms), until_ms)

    def lift(self) -> None:
        """Forget every address."""
        self._offenders.clear()

    def _offender(self, address: str, now_ms: int) -> _Offender:
        offender = self._offenders.get(address)
        if offender is None or (offender.until_ms and now_ms - offender.until_ms > BAN_REMEMBERED_MS):
            while len(self._offenders) >= ADDRESSES_KEPT:
                self._offenders.pop(next(iter(self._offenders)))
            offender = self._offenders[address] = _Offender()
        return offender

    def _ban(self, offender: _Offender, until_ms: int) -> int:
        offender.until_ms, offender.refused = until_ms, 0
        self.banned += 1
        return until_ms
