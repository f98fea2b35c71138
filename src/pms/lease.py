"""The engine lease: renewed while we live, with the time left as everybody's limit (decision 28)."""

import asyncio
from collections.abc import Callable

import structlog

from pms.ledger.api import Ledger
from pms.ledger.errors import LeaseHeldError, LedgerError
from pms.model.clock import Clock

log = structlog.get_logger(__name__)

LEASE_MS = 10_000
RENEWAL_SECONDS = 2.0


class LeaseKeeper:
    """Holds the engine lease of one exchange account in the ledger's database.

    Orders are signed only while `left_ms` is positive, with a recvWindow below it; so after a lost lease no
    request of ours can still act on the exchange when a successor begins.
    """

    def __init__(self, ledger: Ledger, owner: str, clock: Clock) -> None:
        self._ledger = ledger
        self._owner = owner
        self._clock = clock
        self._expires_ms = 0

    def left_ms(self) -> int:
        """Return how long the lease is still ours; 0 when it is lost."""
        return max(0, self._expires_ms - self._clock.now_ms())

    def age_ms(self) -> int:
        """Return how long ago the lease was last confirmed."""
        return LEASE_MS - self.left_ms()

    async def take(self, wait_seconds: float, say: Callable[[str], None]) -> None:
        """Take the lease, waiting for another holder's to expire. Raises LeaseHeldError after
        `wait_seconds`."""
        deadline = self._clock.monotonic() + wait_seconds
        told = False
        while True:
            asked_ms = self._clock.now_ms()
            try:
                await self._ledger.take_lease(self._owner, LEASE_MS)
            except LeaseHeldError as error:
                if self._clock.monotonic() >= deadline:
                    raise
                if not told:
                    say(f"waiting for the engine lease: {error}")
                    told = True
                await self._clock.sleep(0.5)
            else:
                self._expires_ms = asked_ms + LEASE_MS
                return

    async def run(self) -> None:
        """Renew until cancelled. Raises LedgerError when another engine has taken the lease."""
        while True:
            await self._clock.sleep(RENEWAL_SECONDS)
            asked_ms = self._clock.now_ms()
            try:
                async with asyncio.timeout(RENEWAL_SECONDS * 2):
                    await self._ledger.take_lease(self._owner, LEASE_MS)
            except LeaseHeldError:
                self._expires_ms = 0
                raise
            except (LedgerError, TimeoutError) as error:
                # The lease runs on; signing stops by itself when nothing is left of it.
                log.error("lease_renewal_failed", error=str(error), left_ms=self.left_ms())
            else:
                self._expires_ms = asked_ms + LEASE_MS
