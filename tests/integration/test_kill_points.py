"""A real kill -9 at ten points of an order's life, on each database; `make test-crash` takes every point."""

import asyncio
import sys

import pytest

from tests.support.paths import PROJECT_ROOT
from tests.support.servers import Servers


async def killed_at_ten_points(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.crash.points",
        "--points",
        "10",
        *arguments,
        cwd=PROJECT_ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


@pytest.mark.timeout(180)
async def test_the_books_after_a_kill_are_those_without_it_on_sqlite() -> None:
    code, output = await killed_at_ten_points()
    assert code == 0, output
    assert output.count("the same books") == 10


@pytest.mark.postgres
@pytest.mark.timeout(180)
async def test_the_books_after_a_kill_are_those_without_it_on_postgresql(servers: Servers) -> None:
    code, output = await killed_at_ten_points("--postgres", "--keeper", servers.address)
    assert code == 0, output
    assert output.count("the same books") == 10
