"""The reconcile lock of a symbol: token, 30 s, renewal, compare-and-delete, shared debounce (decision 28)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from pms import limits
from pms.bus import keys
from pms.bus.errors import BusUnavailable
from pms.bus.port import SharedState
from pms.logging import get_logger
from pms.model.clock import Clock
from pms.model.ids import IdSource
from pms.model.symbol import Symbol

_log = get_logger(__name__)


class NotHeld(StrEnum):
    """Why a reconcile lock was not granted: somebody works, somebody just did, or nobody can tell."""

    BUSY = "BUSY"
    DEBOUNCED = "DEBOUNCED"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(slots=True)
class HeldLock:
    """A granted lock. `lost` turns True when its life cannot be extended: stop before the next mutation.

    `shared` is False when only this process's own lock stands behind it. Set `reconciled` after a
    reconciliation was done, so that the debounce starts at the release.
    """

    symbol: Symbol
    token: bytes
    shared: bool
    lost: bool = False
    reconciled: bool = False


@dataclass(slots=True)
class ReconcileLocks:
    """Grants reconcile locks, first in this process, then in shared state.

    With a JavaScript owner about (`shared_with_javascript`) an absent Redis means no lock: it fails closed.
    Without one, the process's own lock serves (decision 26). Protective closing takes no such lock. The lock
    alone does not prevent a double reconciliation: the transaction re-checks the rows (spec 5.1).
    """

    state: SharedState
    clock: Clock
    ids: IdSource
    shared_with_javascript: bool = False
    _held: set[Symbol] = field(default_factory=set)
    _debounce_until_ms: dict[Symbol, int] = field(default_factory=dict)

    @asynccontextmanager
    async def held(self, symbol: Symbol) -> AsyncIterator[HeldLock | NotHeld]:
        """Hold the lock for the block, renewed every 10 s; yields NotHeld when it is not granted.

        Cancellation releases it. Never waits for another holder.
        """
        lock = await self._acquire(symbol)
        if isinstance(lock, NotHeld):
            yield lock
            return
        renewal = asyncio.create_task(self._renew(lock), name=f"reconcile-lock {symbol}")
        try:
            yield lock
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)
            await self._release(lock)

    async def _acquire(self, symbol: Symbol) -> HeldLock | NotHeld:
        now_ms = self.clock.now_ms()
        if symbol in self._held or len(self._held) >= limits.RECONCILE_LOCKS_MAX:
            return NotHeld.BUSY
        if self._debounce_until_ms.get(symbol, 0) > now_ms:
            return NotHeld.DEBOUNCED
        token = self.ids.token(16).encode()
        self._held.add(symbol)
        outcome: HeldLock | NotHeld = NotHeld.BUSY
        try:
            outcome = await self._acquire_shared(symbol, token)
        finally:
            if isinstance(outcome, NotHeld):
                self._held.discard(symbol)
        return outcome

    async def _acquire_shared(self, symbol: Symbol, token: bytes) -> HeldLock | NotHeld:
        try:
            if await self.state.get(keys.reconciled(symbol)) is not None:
                return NotHeld.DEBOUNCED
            if not await self.state.set_if_absent(
                keys.reconcile_lock(symbol), token, limits.RECONCILE_LOCK_MS
            ):
                return NotHeld.BUSY
        except BusUnavailable as error:
            if self.shared_with_javascript:
                _log.warning("reconcile lock not granted: redis is away", symbol=symbol, reason=str(error))
                return NotHeld.UNAVAILABLE
            return HeldLock(symbol, token, shared=False)
        return HeldLock(symbol, token, shared=True)

    async def _renew(self, lock: HeldLock) -> None:
        if not lock.shared:
            return
        renewed_at_ms = self.clock.now_ms()
        while not lock.lost:
            await self.clock.sleep(limits.RECONCILE_RENEWAL_MS / 1000)
            try:
                ours = await self.state.compare_and_extend(
                    keys.reconcile_lock(lock.symbol), lock.token, limits.RECONCILE_LOCK_MS
                )
            except BusUnavailable:
                # Unknown, not lost: it is ours until its life has run out.
                next_ms = self.clock.now_ms() + limits.RECONCILE_RENEWAL_MS
                lock.lost = next_ms >= renewed_at_ms + limits.RECONCILE_LOCK_MS
            else:
                lock.lost = not ours
                renewed_at_ms = self.clock.now_ms()
            if lock.lost:
                _log.warning("reconcile lock lost", symbol=lock.symbol)

    async def _release(self, lock: HeldLock) -> None:
        self._held.discard(lock.symbol)
        now_ms = self.clock.now_ms()
        if lock.reconciled:
            self._forget_old_debounces(now_ms)
            self._debounce_until_ms[lock.symbol] = now_ms + limits.RECONCILE_DEBOUNCE_MS
        try:
            if lock.reconciled:
                await self.state.set(
                    keys.reconciled(lock.symbol), str(now_ms).encode(), limits.RECONCILE_DEBOUNCE_MS
                )
            if lock.shared:
                await self.state.compare_and_delete(keys.reconcile_lock(lock.symbol), lock.token)
        except BusUnavailable as error:
            # It ends by itself when its life has run out.
            _log.warning("reconcile lock left to expire", symbol=lock.symbol, reason=str(error))

    def _forget_old_debounces(self, now_ms: int) -> None:
        for symbol in [symbol for symbol, until in self._debounce_until_ms.items() if until <= now_ms]:
            del self._debounce_until_ms[symbol]
