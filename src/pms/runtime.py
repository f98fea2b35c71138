"""Real time and real randomness: the effects behind `Clock` and `IdSource`."""

import asyncio
import secrets
import time
import uuid


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
