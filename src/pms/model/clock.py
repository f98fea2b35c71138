"""Time as an argument: the protocol that every part receives instead of reading a clock (decision 24)."""

from typing import Protocol


class Clock(Protocol):
    """Wall time, monotonic time and sleeping, real or virtual."""

    def now_ms(self) -> int:
        """Return the Unix time in milliseconds (UTC)."""
        ...

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes backwards; only differences have a meaning."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that many seconds; cancellation ends the wait at once."""
        ...
