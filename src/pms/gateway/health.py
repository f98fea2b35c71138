"""Probes with a budget of 500 ms each, run at most twice a second however many ask (gateway spec 2.4)."""

import asyncio
import logging
from collections.abc import Awaitable

from pms.gateway.ports import HealthProbes
from pms.model.clock import Clock

log = logging.getLogger(__name__)

PROBE_SECONDS_MAX = 0.5
AGE_SECONDS_MAX = 0.5

Outcome = tuple[bool, bool, bool]


class HealthCheck:
    """Remembers the last outcome of exchange, Redis and database. Event-loop thread only."""

    def __init__(self, probes: HealthProbes, clock: Clock) -> None:
        self._probes = probes
        self._clock = clock
        self._known: Outcome = (False, False, False)
        self._known_at = float("-inf")
        self._asking = asyncio.Lock()

    async def outcome(self) -> Outcome:
        """Return (exchange, redis, database), at most 0.5 s old."""
        async with self._asking:
            if self._clock.monotonic() - self._known_at >= AGE_SECONDS_MAX:
                exchange, redis, database = await asyncio.gather(
                    _probe("exchange", self._probes.exchange()),
                    _probe("redis", self._probes.redis()),
                    _probe("database", self._probes.database()),
                )
                self._known = (exchange, redis, database)
                self._known_at = self._clock.monotonic()
            return self._known


async def _probe(name: str, probe: Awaitable[bool]) -> bool:
    try:
        async with asyncio.timeout(PROBE_SECONDS_MAX):
            return await probe
    except Exception as error:
        # Whatever a probe raises means "not healthy"; the reason is for the log, not for the public answer.
        log.warning("health probe %s failed: %r", name, error)
        return False
