"""`pms doctor`: checks what a run needs, one line each, and changes nothing."""

import os
import platform
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import SystemRandom

from pms.bus.port import BusMode
from pms.bus.redis import RedisState
from pms.data_folder import DataFolder
from pms.engine import database_url, exchange_config, kept_bans
from pms.exchange.binance.adapter import BinanceExchange
from pms.ledger.inspect import inspect_database
from pms.model.errors import PmsError
from pms.runtime import SystemClock, SystemIds
from pms.settings import SIMULATOR, Settings, load_settings
from pms.simulator.recordings_index import reference_info
from pms.sync.account_guard import require_mode

FREE_BYTES_MIN = 200 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its name, whether it passed, and what was found or what to do."""

    name: str
    passed: bool
    text: str


async def doctor(overrides: Mapping[str, object], say: Callable[[str], None]) -> int:
    """Run every check; return 0 when all pass, 1 otherwise. Raises SettingsError."""
    settings = load_settings(overrides)
    checks: list[tuple[str, Callable[[Settings], Awaitable[str]]]] = [
        ("python", _python),
        ("data folder", _folder),
        ("database", _database),
        ("redis", _redis),
        ("exchange", _exchange),
    ]
    failed = 0
    for name, check in checks:
        finding = await _checked(name, check, settings)
        failed += not finding.passed
        say(f"{'ok  ' if finding.passed else 'FAIL'}  {finding.name:12} {finding.text}")
    return 1 if failed else 0


async def _checked(name: str, check: Callable[[Settings], Awaitable[str]], settings: Settings) -> Finding:
    try:
        return Finding(name, True, await check(settings))
    except (PmsError, OSError) as error:
        return Finding(name, False, str(error))


async def _python(settings: Settings) -> str:
    return f"{platform.python_implementation()} {platform.python_version()} on {sys.platform}"


async def _folder(settings: Settings) -> str:
    path = settings.data_dir.resolve()
    existing = path
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK):
        raise OSError(f"{existing} is not writable; choose another with --data-dir")
    free = shutil.disk_usage(existing).free
    if free < FREE_BYTES_MIN:
        raise OSError(f"only {free // 2**20} MiB are free on {existing}; make room")
    holder = DataFolder.holder(path) if path.exists() else None
    state = "not made yet" if not path.exists() else f"in use by process {holder}" if holder else "free"
    return f"{path} ({state}, {free // 2**20} MiB left)"


async def _database(settings: Settings) -> str:
    return await inspect_database(database_url(settings))


async def _redis(settings: Settings) -> str:
    address = settings.redis_address()
    if address is None:
        return "not set; the in-memory twin serves"
    state = RedisState(address, SystemClock(), SystemIds())
    await state.start()
    try:
        if state.mode is BusMode.AWAY:
            raise OSError("Redis does not answer; start it, or leave --redis out")
        return "answers"
    finally:
        await state.close()


async def _exchange(settings: Settings) -> str:
    if settings.exchange == SIMULATOR:
        return f"embedded simulator, {len(reference_info().symbols)} symbols packaged"
    config = exchange_config(settings)
    exchange = BinanceExchange(
        config, SystemClock(), SystemRandom(), bans=kept_bans(settings.data_dir, config)
    )
    try:
        await exchange.start()
        await require_mode(exchange.account)
        wallet = await exchange.account.wallet()
        symbols = len(exchange.market.rules())
        purse = f"{wallet.wallet_balance} {wallet.asset}"
        return f"{settings.exchange}: one-way, single-asset, {purse}, {symbols} symbols"
    finally:
        await exchange.close()
