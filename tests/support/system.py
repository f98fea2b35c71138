"""A whole running system for tests: `pms up` and `pms simulate` as processes, on ports and folders of their
own."""

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.support.waiting import until

START_SECONDS = 30.0
STOP_SECONDS = 10.0


def free_port() -> int:
    """Return a TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pms_command(*arguments: str) -> list[str]:
    """Return the command line of `pms` in this environment."""
    return [sys.executable, "-m", "pms.cli", *arguments]


def clean_environment(**extra: str) -> dict[str, str]:
    """Return the environment without settings of the outside, plus the given ones."""
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "TMPDIR")}
    return {**kept, **extra}


async def run_pms(*arguments: str, stdin: str = "", **environment: str) -> tuple[int, str]:
    """Run a `pms` command to its end; return exit code and everything it printed."""
    process = await asyncio.create_subprocess_exec(
        *pms_command(*arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=clean_environment(**environment),
    )
    output, _ = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
    return process.returncode or 0, output.decode()


@dataclass(slots=True)
class ServedProcess:
    """A long-running `pms` process whose output goes to a file."""

    arguments: Sequence[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; it gets a session of its own, so that a signal reaches only it."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *pms_command(*self.arguments),
                stdout=log,
                stderr=log,
                env=clean_environment(**self.environment),
                start_new_session=True,
            )

    async def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()

    async def stop(self) -> int:
        """Ask it to stop as Ctrl-C does; return its exit code."""
        if self.process is None:
            return 0
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
        return await asyncio.wait_for(self.process.wait(), STOP_SECONDS)

    async def until_says(self, text: str) -> None:
        """Wait until the process has printed `text`."""
        await until(lambda: text in self.log.read_text(), f"{text!r} in the output", START_SECONDS)

    async def until_answers(self, url: str) -> None:
        """Wait until a GET of `url` is answered with 200. Raises AssertionError with the log when it ends."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            deadline = asyncio.get_running_loop().time() + START_SECONDS
            while asyncio.get_running_loop().time() < deadline:
                assert self.process is not None
                if self.process.returncode is not None:
                    raise AssertionError(
                        f"{self.arguments} ended with {self.process.returncode}:\n{self._tail()}"
                    )
                try:
                    async with session.get(url) as answer:
                        if answer.status == 200:
                            return
                except (aiohttp.ClientError, TimeoutError):
                    pass
                await asyncio.sleep(0.05)
        raise AssertionError(f"{url} did not answer within {START_SECONDS} s:\n{self._tail()}")

    def _tail(self) -> str:
        return self.log.read_text()[-4000:]


@dataclass(frozen=True, slots=True)
class RunningSystem:
    """Where a running system is, and how to log in."""

    url: str
    username: str
    password: str
    folder: Path
    server: ServedProcess
    accounts: dict[str, str]


@asynccontextmanager
async def running_system(
    folder: Path, accounts: Sequence[str] = (), balance: str = "10000", *extra: str
) -> AsyncIterator[RunningSystem]:
    """Run `pms up` on the embedded simulator with an administrator and funded INSTANT_CLOSE accounts."""
    from pms.client import PmsClient

    data = folder / "data"
    password = secrets.token_hex(8)
    code, output = await run_pms(
        "user",
        "create",
        "admin",
        "--admin",
        "--password-stdin",
        "--data-dir",
        str(data),
        stdin=password + "\n",
    )
    assert code == 0, output
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = ServedProcess(
        ["up", "--data-dir", str(data), "--port", str(port), "--recording", "calm", *extra],
        folder / "pms.log",
    )
    await server.start()
    try:
        await server.until_answers(f"{url}/api/health/ready")
        ids: dict[str, str] = {}
        async with PmsClient(url) as client:
            await client.login("admin", password)
            for name in accounts:
                created = await client.create_account(name, initial_balance=balance)
                ids[name] = created.id
                await client.set_rules(
                    created.id,
                    max_leverage=50,
                    max_notional_per_trade=100_000,
                    max_total_exposure=500_000,
                    liquidation_threshold="0.9",
                )
                await client.set_liquidation_mode(created.id, "INSTANT_CLOSE")
        yield RunningSystem(url, "admin", password, folder, server, ids)
    finally:
        await server.kill()
