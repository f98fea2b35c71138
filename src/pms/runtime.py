"""Real time and real randomness: the effects behind `Clock` and `IdSource`."""

import asyncio
import gc
import secrets
import time
import uuid

GARBAGE_THRESHOLD = 20_000
"""New objects between two collections of the youngest; Python's 700 is for programs with little in memory."""


def spare_started_objects() -> None:
    """Keep what a started program holds out of later collections: a full one over the books of thousands of
    accounts would stop everybody for longer than a command may take. Call once, when all is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, 20, 50)


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SystemIds:
    """Identifiers from the operating system's randomness."""

    def uuid(self) -> str:
        return str(uuid.uuid4())

    def token(self, byte_count: int) -> str:
        return secrets.token_hex(byte_count)
