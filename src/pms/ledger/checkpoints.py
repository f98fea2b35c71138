"""A checkpoint for each UTC day with commits, so that no question about the past reads all of it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from pms.ledger.errors import FenceLostError, LedgerError
from pms.ledger.history import NOTHING, CommitMark, History
from pms.ledger.journal import Totals
from pms.model.clock import Clock

log = structlog.get_logger(__name__)

AFTER_MIDNIGHT_MS = 60_000
"""A day is closed only then: no commit can still be stamped with its time."""

RETRY_SECONDS = 300
LOOK_SECONDS_MAX = 3_600
"""Longest sleep, so that a clock that was set is noticed."""


class CheckpointLedger(Protocol):
    """What checkpoints need of the ledger."""

    history: History

    async def write_checkpoint(self, day: str, last: CommitMark, totals: Totals) -> int:
        """Write what is missing of a day's checkpoint and return how many lines that were."""
        ...


@dataclass(frozen=True, slots=True)
class CheckpointStatistics:
    """`last_day` is the newest day that has a checkpoint, empty without one; counts are since the start."""

    last_day: str
    written: int
    failures: int


def day_of(moment_ms: int) -> str:
    """Return the UTC day of a moment as `YYYY-MM-DD`."""
    return (datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=moment_ms)).date().isoformat()


def day_end_ms(day: str) -> int:
    """Return the last millisecond of a UTC day."""
    midnight = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)
    return (midnight - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1) - 1


class Checkpointer:
    """Writes checkpoints in the background. One `run` at a time; a stop in the middle of one is taken up."""

    def __init__(self, ledger: CheckpointLedger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._last_day = ""
        self._written = self._failures = 0

    async def run(self) -> None:
        """Close every day that is over, then wait for the next one, until cancelled."""
        while True:
            try:
                await self.close_days()
            except FenceLostError:
                raise
            except LedgerError as error:
                # The past does not change: what is not written now is written later, and is the same.
                self._failures += 1
                log.warning("checkpoint_not_written", error=str(error))
                await self._clock.sleep(RETRY_SECONDS)
            else:
                await self._clock.sleep(self._seconds_to_next())

    async def close_days(self) -> None:
        """Write the checkpoint of every finished day that has commits and no checkpoint. Raises
        LedgerError."""
        history = self._ledger.history
        closed_until_ms = self._clock.now_ms() - AFTER_MIDNIGHT_MS
        newest = await history.last_commit()
        known = await history.checkpoint(newest.link)
        if known is not None:
            self._last_day = known.day
        mark = known.last if known is not None else NOTHING
        while True:
            first = await history.next_commit(mark.link)
            if first == NOTHING:
                return
            day = day_of(first.timestamp_ms)
            if day <= self._last_day:  # a clock that was set back: the commit belongs to the next day
                day = day_of(day_end_ms(self._last_day) + 1)
            if day_end_ms(day) > closed_until_ms:
                return
            mark = await history.last_commit(day_end_ms(day))
            if mark.link < first.link:
                return
            totals = await history.totals(mark.link)
            await self._ledger.write_checkpoint(day, mark, totals)
            self._last_day = day
            self._written += 1

    def _seconds_to_next(self) -> int:
        now_ms = self._clock.now_ms()
        due_ms = day_end_ms(day_of(now_ms)) + 1 + AFTER_MIDNIGHT_MS
        return min(LOOK_SECONDS_MAX, -((now_ms - due_ms) // 1000))

    def statistics(self) -> CheckpointStatistics:
        return CheckpointStatistics(self._last_day, self._written, self._failures)
