"""Reads the lines of a packed recording, with errors that name file and line."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from pms.simulator.errors import SimulatorError


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line). Raises `SimulatorError` when the file is missing, cut off or no gzip."""
    number = 0
    try:
        with gzip.open(path) as file:
            for number, line in enumerate(file, 1):
                yield number, line
    except (OSError, EOFError, zlib.error) as error:
        raise SimulatorError(f"The recording {path} is damaged after line {number}: {error}.") from error


def bad_line(path: Path, number: int, what: str) -> SimulatorError:
    """Return the error of a damaged line."""
    return SimulatorError(f"The recording {path} is damaged at line {number}: {what}.")
