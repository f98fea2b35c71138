"""The data folder of one engine: created, checked for writing, and locked against a second process."""

import fcntl
import os
from pathlib import Path
from typing import IO

from pms.model.errors import PmsError


class DataFolderError(PmsError):
    """The data folder cannot be used; the text says why and what to do."""


class DataFolder:
    """An exclusive hold on a data folder. The lock belongs to the process: `kill -9` frees it."""

    def __init__(self, path: Path, lock: IO[str]) -> None:
        self.path = path
        self._lock = lock

    @staticmethod
    def open(path: Path) -> "DataFolder":
        """Create the folder if needed and take its lock. Raises DataFolderError."""
        try:
            # The ledger holds password hashes and everybody's positions: a new folder is its owner's alone.
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (path / "pms.lock").open("a+", encoding="ascii")
        except OSError as error:
            raise DataFolderError(
                f"the data folder {path} cannot be written ({error.strerror}); "
                "choose another with --data-dir, or make it writable"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise DataFolderError(
                f"another pms (process {holder}) uses the data folder {path}; "
                "stop it, or choose another with --data-dir"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return DataFolder(path, lock)

    @staticmethod
    def holder(path: Path) -> str | None:
        """Return the process id that holds the folder's lock, or None when it is free."""
        try:
            with (path / "pms.lock").open("r+", encoding="ascii") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    return lock.read().strip() or "unknown"
        except OSError:
            return None
        return None

    def secret(self, name: str, fresh: str) -> str:
        """Return the secret kept under `name` (file mode 0600), storing `fresh` on the first call.

        A file without a word is one whose maker died or found the disk full: nobody uses it, it is written
        again. Raises DataFolderError when the file cannot be used.
        """
        path = self.path / name
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "r+", encoding="ascii") as file:
                kept = file.read().strip()
                if not kept:
                    file.write(fresh)
                return kept or fresh
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is damaged"
            raise DataFolderError(
                f"{path} cannot be used ({reason}); make it readable and writable, or delete it: "
                "a new one is made"
            ) from error

    def close(self) -> None:
        """Give the folder back; idempotent."""
        self._lock.close()
