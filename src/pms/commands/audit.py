"""`pms audit`: proves the books of a data folder, with the exchange where it can be asked."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from random import SystemRandom

from pms.data_folder import DataFolder
from pms.engine import EMBEDDED_KEY, SIMULATOR_FILE, database_url, exchange_config, kept_bans
from pms.exchange.binance.adapter import BinanceExchange
from pms.ledger.audit import ExchangeFigures, ExchangePosition
from pms.ledger.audit import audit as audit_books
from pms.model.symbol import Symbol
from pms.runtime import SystemClock
from pms.settings import SIMULATOR, Settings, load_settings
from pms.simulator.errors import SimulatorError
from pms.simulator.recordings_index import reference_info
from pms.simulator.store import read_only_account

Say = Callable[[str], None]

EXCHANGE_CHECKS = ("conservation", "netting: exchange")
"""Checks that compare with the exchange as it is now."""


async def audit(overrides: Mapping[str, object], ask_exchange: bool, say: Say) -> int:
    """Check every figure; 0 when all checks pass, 1 otherwise.

    Raises PmsError when there is nothing to read.
    """
    settings = load_settings(overrides)
    figures = await _figures(settings, ask_exchange, say)
    report = await audit_books(database_url(settings), exchange=figures)
    for line in report.lines():
        say(line)
    failed = sum(not check.passed for check in report.checks)
    if figures is not None and any(
        not check.passed and check.name in EXCHANGE_CHECKS for check in report.checks
    ):
        say("note: what a crash left unbooked differs until the next start has booked it; audit again then")
    say("the books are clean" if report.passed else f"{failed} checks FAILED: the rows are named above")
    return 0 if report.passed else 1


async def _figures(settings: Settings, ask_exchange: bool, say: Say) -> ExchangeFigures | None:
    if ask_exchange:
        return await _asked(settings)
    file = settings.data_dir / SIMULATOR_FILE
    if settings.exchange != SIMULATOR or not file.exists():
        say("not compared with the exchange; --exchange asks it")
        return None
    if DataFolder.holder(settings.data_dir) is not None:
        say("not compared with the simulated exchange: an engine runs on it; stop that first")
        return None
    try:
        wallet, positions = read_only_account(file, EMBEDDED_KEY)
    except SimulatorError as error:
        # The books are proved without the exchange as far as they can be; the rest is named as skipped.
        say(f"not compared with the simulated exchange: {' '.join(str(error).split())}")
        return None
    unified = {each.symbol: _unified(each.base_asset, each.quote_asset) for each in reference_info().symbols}
    return ExchangeFigures(
        wallet, {unified[native]: ExchangePosition(*held) for native, held in positions.items()}
    )


async def _asked(settings: Settings) -> ExchangeFigures:
    config = exchange_config(settings)
    exchange = BinanceExchange(
        config, SystemClock(), SystemRandom(), bans=kept_bans(settings.data_dir, config)
    )
    try:
        await exchange.start()
        wallet = await exchange.account.wallet()
        positions = {
            each.symbol: ExchangePosition(each.signed_quantity, each.entry_price)
            for each in await exchange.account.positions()
        }
        return ExchangeFigures(Decimal(wallet.wallet_balance), positions)
    finally:
        await exchange.close()


def _unified(base: str, quote: str) -> Symbol:
    return Symbol(f"{base}/{quote}:{quote}")
