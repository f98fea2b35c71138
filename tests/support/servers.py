"""The tests' side of the real servers: starts the keeper once a run and asks it for addresses.

Pytest workers share the keeper of their controller. Programs outside pytest (benchmarks, crash runs) use
`running_servers`.
"""

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

KEEPER = Path(__file__).with_name("keeper.py")
ANSWER_SECONDS_MAX = 50.0
END_SECONDS_MAX = 15.0


class ServerUnavailable(RuntimeError):
    """A test server could not be had; the message says what to install."""


@dataclass(frozen=True)
class Servers:
    """Asks the keeper at `address` (a Unix socket) for servers, for one pytest worker. Calls block."""

    address: str
    worker: str = "main"

    def redis(self, name: str = "", *, flush: bool = True) -> str:
        """The address of this worker's Redis-protocol server `name`, started and, if `flush` is set, emptied.

        Each worker has servers of its own, because published messages know no database number.
        """
        return cast("str", self._ask("redis_flush" if flush else "redis", self._server(name))["url"])

    def kill_redis(self, name: str = "") -> None:
        """Kills that server with SIGKILL; the next `redis` of that name starts it empty on the same port."""
        self._ask("redis_kill", self._server(name))

    def create_database(self, name: str) -> str:
        """The address of a new, empty PostgreSQL database of this worker, replacing one of the same name."""
        return cast("str", self._ask("create", self._database(name))["url"])

    def copy_database(self, source: str, name: str) -> str:
        """The address of a copy of a database of this worker, to which nobody may be connected."""
        return cast("str", self._ask("copy", f"{self._database(source)} {self._database(name)}")["url"])

    def drop_database(self, name: str) -> None:
        """Drops that database and cuts whoever is still connected to it."""
        self._ask("drop", self._database(name))

    def processes(self) -> list[int]:
        """The process ids of the servers that run now."""
        return cast("list[int]", self._ask("processes", "")["processes"])

    def _server(self, name: str) -> str:
        return re.sub(r"\W", "_", f"{self.worker}{name and '-'}{name}")

    def _database(self, name: str) -> str:
        return re.sub(r"\W", "_", f"{self.worker}_{name}").lower()[:60]

    def _ask(self, action: str, name: str) -> dict[str, object]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS_MAX)
            try:
                connection.connect(self.address)
                connection.sendall(json.dumps({"do": action, "name": name}).encode() + b"\n")
                with connection.makefile("rb") as stream:
                    line = stream.readline()
            except OSError as error:
                raise ServerUnavailable(f"the keeper of the test servers does not answer: {error}") from error
        line = line or b'{"error": "the keeper of the test servers ended"}'
        answer = cast("dict[str, object]", json.loads(line))
        if "error" in answer:
            raise ServerUnavailable(str(answer["error"]))
        return answer


class Keeper:
    """A running keeper process. It, and every server, ends with `stop`, or when this process is gone."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.address = str(folder / "keeper.sock")

    def stop(self) -> None:
        """Ends the keeper and its servers; returns when they are gone."""
        cast("IO[bytes]", self.process.stdin).close()
        try:
            self.process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def start_keeper(*, durable: bool = False) -> Keeper:
    """Starts a keeper, without a server yet. `durable` makes PostgreSQL sync to disk, as benchmarks need."""
    folder = Path(tempfile.mkdtemp(prefix=f"pms-servers-{os.geteuid()}-", dir=_temporary_folder()))
    folder.chmod(0o711)  # `nobody` must be able to pass through to the folder of PostgreSQL
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "keeper.sock"))
        (folder / "keeper.sock").chmod(0o600)
        listener.listen(64)
        arguments = [str(folder), str(listener.fileno()), "durable" if durable else "fast"]
        process = subprocess.Popen(
            [sys.executable, "-P", str(KEEPER), *arguments],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C goes to the tests; the keeper follows when they are gone
        )
    return Keeper(process, folder)


@contextmanager
def running_servers(*, durable: bool = False) -> Iterator[Servers]:
    """Servers for a program outside pytest; they are gone at the end of the block."""
    keeper = start_keeper(durable=durable)
    try:
        yield Servers(keeper.address)
    finally:
        keeper.stop()


def _temporary_folder() -> str:
    """The usual temporary folder, unless it is too deep for a socket or closed to other accounts."""
    for candidate in (tempfile.gettempdir(), "/var/tmp"):
        path = Path(candidate).resolve()
        open_to_all = all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents))
        if len(str(path)) < 60 and (open_to_all or os.geteuid() != 0):
            return str(path)
    raise ServerUnavailable(
        "no temporary folder for the test servers: set TMPDIR to a short path, open to all"
    )
