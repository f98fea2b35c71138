"""`make run` as a newcomer has it: starts, resumes, stops on Ctrl-C, and leaves clean books."""

import re
import socket
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

import pytest

from pms.client import PmsClient
from tests.support.system import ServedProcess, free_port, run_pms

pytestmark = pytest.mark.timeout(120)


def served(folder: Path, port: int) -> ServedProcess:
    arguments = ["up", "--demo", "--data-dir", str(folder / "data"), "--port", str(port)]
    return ServedProcess(arguments, folder / "pms.log")


async def state(url: str, password: str) -> dict[str, list[tuple[str, str, float]]]:
    async with PmsClient(url) as client:
        await client.login("admin", password)
        accounts = await client.accounts()
        exposure = await client.exposure()
        assert all(one.balanced for one in exposure)
        return {
            account.name: [(held.symbol, held.side, held.quantity) for held in account.positions]
            for account in accounts
        }


async def test_the_demo_starts_resumes_and_stops(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = served(tmp_path, port)
    await server.start()
    await server.until_answers(f"{url}/api/health/ready")
    await server.until_says("PMS is running")
    output = server.log.read_text()
    assert url in output
    login = re.search(r"Login: admin +password: (\S+)", output)
    assert login is not None, output
    before = await state(url, login.group(1))
    assert set(before) == {"Alice", "Bob", "Carol"}
    assert {before["Alice"][0][1], before["Bob"][0][1]} == {"LONG", "SHORT"}
    assert before["Alice"][0][0] == before["Bob"][0][0]

    started = time.monotonic()
    assert await server.stop() == 0
    assert time.monotonic() - started < 2.0

    again = served(tmp_path, port)
    await again.start()
    await again.until_answers(f"{url}/api/health/ready")
    assert await state(url, login.group(1)) == before
    code, text = await run_pms("audit", "--data-dir", str(tmp_path / "data"))
    assert code == 0, text
    code, text = await run_pms("account", "deposit", "Carol", "5", "--data-dir", str(tmp_path / "data"))
    assert code == 3, "a second writer on the folder is refused"
    assert "another pms" in text
    assert await again.stop() == 0


TAMPERINGS = {
    "balance": "UPDATE sub_accounts SET current_balance = current_balance + 1 WHERE name = 'Alice'",
    "fill": "UPDATE pms_fills SET price = '1' WHERE id = (SELECT min(id) FROM pms_fills)",
    "allocation": "UPDATE pms_fill_allocations SET quantity = '9' WHERE rowid = 1",
    "position": "UPDATE virtual_positions SET quantity = quantity * 2 WHERE side = 'LONG'",
    "house row": "DELETE FROM pms_house_lines WHERE kind = 'CAPITAL'",
}


async def test_headless_seconds_then_an_audit_that_finds_every_altered_row(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    code, output = await run_pms("up", "--demo", "--seconds", "1", "--port", "0", "--data-dir", str(data))
    assert code == 0, output
    open_to_others = [file.name for file in data.iterdir() if stat.S_IMODE(file.stat().st_mode) & 0o077]
    assert not open_to_others, "files of an open folder are still their owner's alone"
    code, output = await run_pms("audit", "--data-dir", str(data))
    assert code == 0, output
    assert "the books are clean" in output
    code, output = await run_pms("account", "withdraw", "Alice", "1", "--data-dir", str(data))
    assert code == 2, "without prices nobody knows what the open position needs"
    assert "open positions" in output
    whole = (data / "ledger.db").read_bytes()
    for what, statement in TAMPERINGS.items():
        (data / "ledger.db").write_bytes(whole)
        with closing(sqlite3.connect(data / "ledger.db")) as database, database:
            assert database.execute(statement).rowcount == 1, what
        code, output = await run_pms("audit", "--data-dir", str(data))
        assert code == 1, f"{what}: {output}"
        table = statement.split()[1] if statement.startswith("UPDATE") else statement.split()[2]
        assert table in output, f"{what}: {output}"


async def test_a_signal_during_the_start_ends_it_at_once(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        keys = {"BINANCE_API_KEY": "key", "BINANCE_API_SECRET": "secret"}
        where = ["--data-dir", str(tmp_path / "data"), "--port", "0"]
        server = ServedProcess(["up", "--exchange", address, *where], tmp_path / "pms.log", keys)
        await server.start()
        await server.until_says("connecting to the exchange")
        started = time.monotonic()
        assert await server.stop() == 130
        assert time.monotonic() - started < 2.0
    assert "stopped before it was ready" in server.log.read_text()
    code, text = await run_pms("account", "list", *where[:2])
    assert code == 0, text
