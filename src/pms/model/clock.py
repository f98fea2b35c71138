"""Time as an argument: the protocol that every part receives instead of reading a clock (decision 24)."""

import asyncio
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


async def set_within(event: asyncio.Event, clock: Clock, seconds: float | None) -> bool:
    """Wait until the event is set, at most `seconds` by the clock (None: no limit); tell whether it is.

    Cancellation ends the wait and leaves nothing behind.
    """
    if event.is_set():
        return True
    if seconds is None:
        return await event.wait()
    waits = (asyncio.create_task(event.wait()), asyncio.create_task(clock.sleep(seconds)))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    return event.is_set()
