"""`pms kill` with and without a running engine, and `kill -9` in the middle of a flatten."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from pms.client import ClientError, PmsClient
from tests.support.system import RunningSystem, run_pms, running_system

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
FLAT_SECONDS = 20.0


def open_rows(folder: Path) -> int:
    with sqlite3.connect(f"file:{folder / 'data' / 'ledger.db'}?mode=ro", uri=True) as database:
        found = database.execute("SELECT count(*) FROM virtual_positions WHERE status = 'OPEN'").fetchone()
    return int(found[0])


async def flat(client: PmsClient, accounts: list[str]) -> bool:
    """Wait until nobody holds anything and nothing is left to do."""
    async with asyncio.timeout(FLAT_SECONDS):
        while True:
            held = [await client.positions(account) for account in accounts]
            if not any(held) and not (await client.kill_switch_state()).working:
                return True
            await asyncio.sleep(0.05)


async def fill_up(client: PmsClient, accounts: list[str]) -> None:
    for number, account in enumerate(accounts):
        side = "SHORT" if number % 2 else "LONG"
        await client.market(account, BTC, side, "0.02", leverage=10)
        await client.market(account, ETH, side, "0.3", leverage=10)
        mark = await client.price(BTC)
        await client.limit(account, BTC, "LONG", "0.01", f"{mark * 0.9:.1f}", leverage=10)


async def pms(system: RunningSystem, *arguments: str) -> tuple[int, str]:
    return await run_pms(*arguments, "--data-dir", str(system.folder / "data"))


@pytest.mark.timeout(120)
async def test_kill_9_in_the_middle_of_a_flatten_is_finished_by_the_next_start(tmp_path: Path) -> None:
    names = ["Alice", "Bob", "Carol"]
    async with running_system(tmp_path, names) as system:
        accounts = list(system.accounts.values())
        async with PmsClient(system.url) as client:
            await client.login(system.username, system.password)
            await fill_up(client, accounts)
            code, output = await pms(system, "kill", "halt", "--account", "Alice", "--reason", "drill")
            assert (code, "drill" in output) == (0, True), output
            assert not await client.orders(accounts[0])
            assert (await client.kill_switch("release", accounts[0])).entries == ()
            state = await client.kill_switch("flatten", reason="the middle", idempotency_key="flatten-1")
            assert len(state.working) == len(names), "it has only begun"
        await system.server.kill()
        left = open_rows(tmp_path)
        assert left > 0, "killed too late to show anything"

        await system.server.start()
        await system.server.until_answers(f"{system.url}/api/health/ready")
        async with PmsClient(system.url) as client:
            await client.login(system.username, system.password)
            assert (await client.kill_switch_state()).level == "FLATTEN", "it has survived"
            assert await flat(client, accounts)
            for account in accounts:
                assert not await client.orders(account)
            with pytest.raises(ClientError, match="FLATTEN") as refused:
                await client.market(accounts[0], BTC, "LONG", "0.01", leverage=10)
            assert (refused.value.status, refused.value.code) == (409, "TRADING_RESTRICTED")
        assert await system.server.stop() == 0
        code, output = await pms(system, "kill", "release", "--reason", "drill over")
        assert (code, "nothing is restricted" in output) == (0, True), output
        code, output = await pms(system, "audit")
        assert code == 0, output
