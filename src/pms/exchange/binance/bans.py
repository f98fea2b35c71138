"""Bans that outlive a restart: going on after a 418 earns a longer one (Binance spec 1.6)."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from pms.exchange.binance.budget import Ban
from pms.model.clock import Clock

BAN_WAIT_MS_MAX = 150_000
"""The first ban of the exchange lasts two minutes."""

log = logging.getLogger("pms.exchange.binance")


class BanStore(Protocol):
    """Keeps the newest ban."""

    def load(self) -> Ban:
        """Return what was saved; an empty ban when nothing was, or when it cannot be read."""
        ...

    def save(self, ban: Ban) -> None: ...


async def wait_out(store: BanStore, clock: Clock, say: Callable[[str], None]) -> None:
    """Wait for the end of a ban that is left from before, if it ends within `BAN_WAIT_MS_MAX`.

    Asking the exchange within a ban would make it longer. A longer one is left to whoever asks then.
    """
    left_ms = store.load().all_until_ms - clock.now_ms()
    if 0 < left_ms <= BAN_WAIT_MS_MAX:
        say(f"the exchange has banned this address; waiting {left_ms / 1000:.0f} s until that is over")
        await clock.sleep(left_ms / 1000)


class MemoryBans:
    """Forgets at the end of the process; for tools and tests."""

    def __init__(self) -> None:
        self._ban = Ban()

    def load(self) -> Ban:
        return self._ban

    def save(self, ban: Ban) -> None:
        self._ban = ban


class _Kept(msgspec.Struct, frozen=True):
    venue: str
    all_until_ms: int
    orders_until_ms: int


class FileBans:
    """One small file, replaced as a whole. A ban counts only at the venue that spoke it.

    A file that cannot be read or written is reported and does not stop the engine: the exchange would tell
    its ban again.
    """

    def __init__(self, path: Path, venue: str) -> None:
        self._path = path
        self._venue = venue

    def load(self) -> Ban:
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return Ban()
        except (OSError, msgspec.DecodeError) as error:
            log.warning("the file of bans %s cannot be read: %s", self._path, error)
            return Ban()
        return Ban(kept.all_until_ms, kept.orders_until_ms) if kept.venue == self._venue else Ban()

    def save(self, ban: Ban) -> None:
        """Write at once: this blocks for a disk write, at a moment when nothing may be sent anyway.

        A longer ban that another process has kept meanwhile stays.
        """
        before = self.load()
        all_until_ms = max(ban.all_until_ms, before.all_until_ms)
        orders_until_ms = max(ban.orders_until_ms, before.orders_until_ms)
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            with draft.open("wb") as file:
                file.write(msgspec.json.encode(_Kept(self._venue, all_until_ms, orders_until_ms)))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError as error:
            log.warning("the ban could not be kept in %s: %s", self._path, error)
