"""The send queue of one browser: durable events complete and in order, of ephemeral ones the newest value."""

from dataclasses import dataclass

from pms.gateway.bounds import BACKLOG_BYTES_MAX, COALESCED_KEYS_MAX
from pms.gateway.frames import Frame


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """Counts since the start; `replaced` are values that a newer one overtook before they were sent."""

    waiting: int
    backlog_bytes: int
    replaced: int
    discarded: int


class SendQueue:
    """Frames in order of arrival. No I/O; bounded: `overflowed` says that the client must go (4008).

    A coalesced value moves to the end when it is replaced, so that it never arrives before a durable event
    that preceded it.
    """

    def __init__(self, bytes_max: int = BACKLOG_BYTES_MAX, keys_max: int = COALESCED_KEYS_MAX) -> None:
        self._bytes_max = bytes_max
        self._keys_max = keys_max
        self._frames: dict[str | int, Frame] = {}
        self._next = 0
        self._keys = 0
        self._bytes = 0
        self._replaced = 0
        self._discarded = 0
        self.overflowed = False

    def __bool__(self) -> bool:
        return bool(self._frames)

    def put_durable(self, frame: Frame) -> None:
        """Append a frame that must arrive."""
        self._frames[self._next] = frame
        self._next += 1
        self._bytes += len(frame.text)
        if self._bytes > self._bytes_max:
            self._overflow()

    def put_latest(self, key: str, frame: Frame) -> None:
        """Append a frame, dropping an earlier one of the same key that still waits."""
        if self._frames.pop(key, None) is not None:
            self._replaced += 1
        else:
            self._keys += 1
        self._frames[key] = frame
        if self._keys > self._keys_max:
            self._overflow()

    def discard(self, key: str) -> None:
        """Drop a waiting ephemeral value, because what it speaks of is over (spec 7.5)."""
        if self._frames.pop(key, None) is not None:
            self._keys -= 1
            self._discarded += 1

    def drain(self) -> list[Frame]:
        """Take everything that waits, in order."""
        frames = list(self._frames.values())
        self._reset()
        return frames

    def statistics(self) -> QueueStatistics:
        return QueueStatistics(len(self._frames), self._bytes, self._replaced, self._discarded)

    def _reset(self) -> None:
        self._frames = {}
        self._keys = 0
        self._bytes = 0

    def _overflow(self) -> None:
        self.overflowed = True
        self._reset()
