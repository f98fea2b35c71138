"""`python -m tests.crash`: kill -9 at seeded moments under load; each restart must audit clean.

The engine is killed in every round, the simulated exchange in every third. After each restart and recovery
the audit compares with the exchange: netting identity, wallet and every fill. Exit 0 when all rounds are
clean, 1 otherwise.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random

from pms.client import PmsClient
from tests.crash.load import Load
from tests.support.servers import running_servers
from tests.support.system import ServedProcess, free_port, run_pms

KEY, SECRET = "crash-key", "crash-secret"
ACCOUNTS = ("Alice", "Bob", "Carol")
SETTLE_SECONDS = 20.0


@dataclass(slots=True)
class Plant:
    """The two processes under test and how to reach them."""

    folder: Path
    database: str | None
    password: str
    exchange: ServedProcess
    engine: ServedProcess
    exchange_url: str
    engine_url: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "BINANCE_API_KEY": KEY,
            "BINANCE_API_SECRET": SECRET,
            "PMS_LOG_LEVEL": "warning",
            "PMS_WRITES_PER_MINUTE": "100000",
            "PMS_READS_PER_MINUTE": "100000",
        }

    @property
    def store_arguments(self) -> list[str]:
        where = ["--data-dir", str(self.folder / "data")]
        return [*where, "--db", self.database] if self.database else where

    async def start_engine(self) -> None:
        await self.engine.start()
        await self.engine.until_answers(f"{self.engine_url}/api/health/ready")

    async def start_exchange(self) -> None:
        await self.exchange.start()
        await self.exchange.until_answers(f"{self.exchange_url}/fapi/v1/ping")

    async def audit(self) -> tuple[int, str]:
        return await run_pms(
            "audit", "--exchange", *self.store_arguments, **self.environment, PMS_EXCHANGE=self.exchange_url
        )


def plant(folder: Path, database: str | None) -> Plant:
    """Lay out a plant in a folder; nothing is started yet."""
    exchange_port, engine_port = free_port(), free_port()
    exchange_url, engine_url = f"http://127.0.0.1:{exchange_port}", f"http://127.0.0.1:{engine_port}"
    environment = {
        "BINANCE_API_KEY": KEY,
        "BINANCE_API_SECRET": SECRET,
        "PMS_LOG_LEVEL": "warning",
        "PMS_WRITES_PER_MINUTE": "100000",
        "PMS_READS_PER_MINUTE": "100000",
    }
    exchange = ServedProcess(
        [
            "simulate",
            "--port",
            str(exchange_port),
            "--data-path",
            str(folder / "sim.db"),
            "--recording",
            "calm",
        ],
        folder / "exchange.log",
        environment,
    )
    engine_arguments = ["up", "--data-dir", str(folder / "data"), "--port", str(engine_port)]
    engine_arguments += ["--exchange", exchange_url] + (["--db", database] if database else [])
    engine = ServedProcess(engine_arguments, folder / "engine.log", environment)
    return Plant(folder, database, secrets.token_hex(8), exchange, engine, exchange_url, engine_url)


async def prepare(under_test: Plant) -> dict[str, str]:
    """Create the administrator and the funded accounts; return their ids by name."""
    code, output = await run_pms(
        "user",
        "create",
        "admin",
        "--admin",
        "--password-stdin",
        *under_test.store_arguments,
        stdin=under_test.password + "\n",
    )
    if code != 0:
        raise RuntimeError(output)
    await under_test.start_exchange()
    await under_test.start_engine()
    ids: dict[str, str] = {}
    async with PmsClient(under_test.engine_url) as client:
        await client.login("admin", under_test.password)
        for name in ACCOUNTS:
            account = await client.create_account(name, initial_balance="50000")
            await client.set_rules(
                account.id,
                max_leverage=50,
                max_notional_per_trade=100_000,
                max_total_exposure=500_000,
                liquidation_threshold="0.9",
            )
            ids[name] = account.id
    return ids


async def one_round(under_test: Plant, accounts: list[str], random: Random, rate: float, number: int) -> bool:
    """Load, kill, restart, audit; True when the books are clean."""
    async with PmsClient(under_test.engine_url) as client:
        await client.login("admin", under_test.password)
        load = Load(client, accounts, random, rate)
        running = asyncio.create_task(load.run())
        await asyncio.sleep(random.uniform(0.4, 2.0))
        with_exchange = number % 3 == 2
        await under_test.engine.kill()
        if with_exchange:
            await under_test.exchange.kill()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    if with_exchange:
        await under_test.start_exchange()
    await under_test.start_engine()
    clean, report = await settled_audit(under_test)
    killed = "engine and exchange" if with_exchange else "engine"
    print(
        f"round {number}: killed {killed} after {load.sent} requests {dict(load.outcomes)}: "
        f"{'clean' if clean else 'NOT CLEAN'}",
        flush=True,
    )
    if not clean:
        print(report, flush=True)
    return clean


async def settled_audit(under_test: Plant) -> tuple[bool, str]:
    """Audit until clean: what the exchange still executes of resting orders needs a moment to be booked."""
    deadline = asyncio.get_running_loop().time() + SETTLE_SECONDS
    while True:
        code, report = await under_test.audit()
        if code == 0 or asyncio.get_running_loop().time() > deadline:
            return code == 0, report
        await asyncio.sleep(1.0)


async def rounds(count: int, seed: int, rate: float, database: str | None, folder: Path) -> int:
    """Run the whole test in a folder; return the number of rounds that were not clean."""
    random = Random(seed)
    under_test = plant(folder, database)
    failed = 0
    try:
        accounts = list((await prepare(under_test)).values())
        for number in range(count):
            failed += not await one_round(under_test, accounts, random, rate, number)
    finally:
        await under_test.engine.kill()
        await under_test.exchange.kill()
    return failed


def main() -> int:
    """Parse, run, and tell the seed: the same seed repeats the same moments."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--rate", type=float, default=25.0, help="requests a second")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL instead of SQLite")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.rounds} rounds at {options.rate} requests/s", flush=True)
    with tempfile.TemporaryDirectory(prefix="pms-crash-") as folder:
        if options.postgres:
            with running_servers(durable=True) as servers:
                url = servers.create_database("crash")
                failed = asyncio.run(rounds(options.rounds, options.seed, options.rate, url, Path(folder)))
        else:
            failed = asyncio.run(rounds(options.rounds, options.seed, options.rate, None, Path(folder)))
    print(f"{options.rounds - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
