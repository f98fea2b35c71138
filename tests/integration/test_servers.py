"""The servers under the tests are real, private, separate for each worker, and gone when the tests are."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.support.paths import PROJECT_ROOT
from tests.support.servers import Servers, ServerUnavailable, running_servers

# A test run in small: it starts both servers, says which processes there are, and waits to be killed.
VICTIM = """
import time
from tests.support.servers import Servers, start_keeper
keeper = start_keeper()
servers = Servers(keeper.address)
servers.redis()
servers.create_database("victim")
print(keeper.folder, keeper.process.pid, *servers.processes(), flush=True)
time.sleep(60)
"""


def gone(pid: int) -> bool:
    """True when no process of that id runs (one that ended and was not collected yet does not run)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Polls `condition` for at most `seconds`; returns its last answer."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.fixture
def victim() -> "Iterator[tuple[subprocess.Popen[str], Path, int, list[int]]]":
    """A program with servers of its own: its process, their folder, their keeper, the servers' ids."""
    process = subprocess.Popen(
        [sys.executable, "-c", VICTIM], stdout=subprocess.PIPE, text=True, cwd=PROJECT_ROOT
    )
    assert process.stdout is not None
    try:
        folder, keeper, *servers = process.stdout.readline().split()
        yield process, Path(folder), int(keeper), [int(pid) for pid in servers]
    finally:
        process.kill()
        process.communicate()


async def test_redis_is_real_and_starts_empty(redis_url: str, servers: Servers) -> None:
    async with Redis.from_url(redis_url) as client:
        assert await client.dbsize() == 0
        assert await client.set("lock", "token", nx=True, px=30_000)
        assert not await client.set("lock", "other", nx=True)
        assert await client.get("lock") == b"token"
        assert servers.redis() == redis_url
        assert await client.dbsize() == 0


async def test_redis_can_be_killed_and_comes_back_empty_on_its_port(servers: Servers) -> None:
    url = servers.redis("dying")
    async with Redis.from_url(url, retry=None) as client:
        await client.set("key", "value")
        servers.kill_redis("dying")
        with pytest.raises(RedisConnectionError):
            await client.ping()
        assert servers.redis("dying") == url
        assert await client.dbsize() == 0


async def test_postgres_is_real_and_each_database_is_separate(
    postgres_url: str, fresh_database: Callable[[], str]
) -> None:
    other_url = fresh_database()
    assert other_url != postgres_url
    first, second = await asyncpg.connect(postgres_url), await asyncpg.connect(other_url)
    try:
        assert "PostgreSQL" in await first.fetchval("SELECT version()")
        await first.execute("CREATE TABLE money (amount numeric(38, 18))")
        assert await second.fetchval("SELECT count(*) FROM pg_tables WHERE tablename = 'money'") == 0
    finally:
        await first.close()
        await second.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_servers_are_gone_after_sigkill_of_the_tests(
    victim: tuple["subprocess.Popen[str]", Path, int, list[int]],
) -> None:
    process, folder, keeper, servers = victim
    assert len(servers) == 2
    assert not any(gone(pid) for pid in (keeper, *servers))
    process.send_signal(signal.SIGKILL)
    assert wait_until(lambda: all(gone(pid) for pid in (keeper, *servers)), 10)
    assert wait_until(lambda: not folder.exists(), 5)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_servers_are_gone_after_sigkill_of_their_keeper(
    victim: tuple["subprocess.Popen[str]", Path, int, list[int]],
) -> None:
    process, folder, keeper, servers = victim
    os.kill(keeper, signal.SIGKILL)
    assert wait_until(lambda: all(gone(pid) for pid in servers), 10)
    process.kill()
    process.wait()
    with running_servers():  # the next keeper clears the folder that the killed one left
        assert wait_until(lambda: not folder.exists(), 5)


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMS_TEST_REDIS_SERVER", "/nonexistent/redis-server")
    monkeypatch.setenv("PMS_TEST_POSTGRES_BIN", "/nonexistent")
    with running_servers() as servers:
        with pytest.raises(ServerUnavailable, match="PMS_TEST_REDIS_SERVER names /nonexistent/redis-server"):
            servers.redis()
        with pytest.raises(ServerUnavailable, match="PMS_TEST_POSTGRES_BIN names /nonexistent/postgres"):
            servers.create_database("any")
