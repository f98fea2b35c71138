"""The reconcile lock: exclusion, debounce, renewal, loss, and Redis being away."""

import pytest

from pms import limits
from pms.bus import keys
from pms.bus.locks import HeldLock, NotHeld, ReconcileLocks
from pms.model.symbol import Symbol
from tests.unit.bus.twins import CountedIds, FailingState, ManualClock

BTC = Symbol("BTC/USDT:USDT")
ETH = Symbol("ETH/USDT:USDT")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def state(clock: ManualClock) -> FailingState:
    return FailingState(clock)


def locks_of(state: FailingState, *, javascript: bool = False) -> ReconcileLocks:
    return ReconcileLocks(state, state.clock, CountedIds(), shared_with_javascript=javascript)


async def test_one_holder_at_a_time_for_a_symbol(state: FailingState) -> None:
    ours, theirs = locks_of(state), locks_of(state)
    async with ours.held(BTC) as lock:
        assert isinstance(lock, HeldLock)
        assert lock.shared
        assert await state.get("lock:reconcile:BTC/USDT:USDT") == lock.token
        async with ours.held(BTC) as again, theirs.held(BTC) as other, theirs.held(ETH) as elsewhere:
            assert (again, other) == (NotHeld.BUSY, NotHeld.BUSY)
            assert isinstance(elsewhere, HeldLock)
    async with theirs.held(BTC) as lock:
        assert isinstance(lock, HeldLock)


async def test_a_lock_of_javascript_is_respected_and_not_deleted(state: FailingState) -> None:
    await state.set_if_absent(keys.reconcile_lock(BTC), b"1", 5_000)
    async with locks_of(state).held(BTC) as lock:
        assert lock is NotHeld.BUSY
    assert await state.get(keys.reconcile_lock(BTC)) == b"1"


async def test_a_reconciliation_starts_the_shared_debounce(state: FailingState, clock: ManualClock) -> None:
    ours, theirs = locks_of(state), locks_of(state)
    async with ours.held(BTC) as lock:
        assert isinstance(lock, HeldLock)
        lock.reconciled = True
    for locks in (ours, theirs):
        async with locks.held(BTC) as lock:
            assert lock is NotHeld.DEBOUNCED
    await clock.advance(limits.RECONCILE_DEBOUNCE_MS)
    async with ours.held(BTC) as lock:
        assert isinstance(lock, HeldLock)
        lock.reconciled = True


async def test_a_held_lock_outlives_its_life_by_renewal(state: FailingState, clock: ManualClock) -> None:
    async with locks_of(state).held(BTC) as lock:
        assert isinstance(lock, HeldLock)
        for _ in range(7):
            await clock.advance(limits.RECONCILE_RENEWAL_MS)
        assert await state.get(keys.reconcile_lock(BTC)) == lock.token
        assert not lock.lost
    assert await state.get(keys.reconcile_lock(BTC)) is None


async def test_a_stolen_lock_is_noticed_and_the_thief_keeps_it(
    state: FailingState, clock: ManualClock
) -> None:
    async with locks_of(state).held(BTC) as lock:
        assert isinstance(lock, HeldLock)
        await state.set(keys.reconcile_lock(BTC), b"1", 60_000)
        await clock.advance(limits.RECONCILE_RENEWAL_MS)
        assert lock.lost
    assert await state.get(keys.reconcile_lock(BTC)) == b"1"


async def test_an_unreachable_redis_loses_the_lock_before_its_life_is_over(
    state: FailingState, clock: ManualClock
) -> None:
    async with locks_of(state).held(BTC) as lock:
        assert isinstance(lock, HeldLock)
        state.away = True
        await clock.advance(limits.RECONCILE_RENEWAL_MS)
        assert not lock.lost
        await clock.advance(limits.RECONCILE_RENEWAL_MS)
        assert lock.lost, "the next renewal would come too late"


async def test_without_redis_it_fails_closed_only_while_javascript_shares_it(state: FailingState) -> None:
    state.away = True
    async with locks_of(state, javascript=True).held(BTC) as lock:
        assert lock is NotHeld.UNAVAILABLE
    alone = locks_of(state)
    async with alone.held(BTC) as lock, alone.held(BTC) as again:
        assert isinstance(lock, HeldLock)
        assert not lock.shared
        assert again is NotHeld.BUSY
        lock.reconciled = True
    async with alone.held(BTC) as lock:
        assert lock is NotHeld.DEBOUNCED


async def test_the_lock_is_released_when_the_work_fails(state: FailingState) -> None:
    locks = locks_of(state)
    with pytest.raises(ZeroDivisionError):
        async with locks.held(BTC):
            raise ZeroDivisionError
    async with locks.held(BTC) as lock:
        assert isinstance(lock, HeldLock)


async def test_held_locks_are_bounded(state: FailingState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECONCILE_LOCKS_MAX", 1)
    locks = locks_of(state)
    async with locks.held(BTC), locks.held(ETH) as lock:
        assert lock is NotHeld.BUSY
