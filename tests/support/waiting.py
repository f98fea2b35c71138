"""Waiting for a condition of a live system, with a deadline that names what did not happen."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], what: str, seconds: float = 5.0) -> None:
    """Return as soon as `condition` holds. Raises AssertionError naming `what` after the deadline."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        if loop.time() > deadline:
            raise AssertionError(f"{what} did not come within {seconds} s")
        await asyncio.sleep(0.01)
