"""`pms audit`: proves the books of a data folder, with the exchange where it can be asked."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import SystemRandom

from pms.data_folder import DataFolder
from pms.engine import EMBEDDED_KEY, SIMULATOR_FILE, database_url, exchange_config, kept_bans
from pms.exchange.binance.adapter import BinanceExchange
from pms.ledger.audit import ExchangeFigures, ExchangePosition, check_books, read_books
from pms.ledger.audit_export import export_books
from pms.ledger.databases import open_store, require_database
from pms.ledger.history import History
from pms.ledger.journal import AccountAt, accounts_of
from pms.model.ids import ExchangeAccountId
from pms.model.money import plain
from pms.model.symbol import Symbol
from pms.runtime import SystemClock
from pms.settings import SIMULATOR, Settings, SettingsError, load_settings
from pms.simulator.errors import SimulatorError
from pms.simulator.recordings_index import reference_info
from pms.simulator.store import read_only_account

Say = Callable[[str], None]

EXCHANGE_CHECKS = ("conservation", "netting: exchange")
"""Checks that compare with the exchange as it is now."""


async def audit(overrides: Mapping[str, object], ask_exchange: bool, export_to: Path | None, say: Say) -> int:
    """Check every figure, and write the books to a new folder where one is named; 0 when all checks pass, 1
    otherwise.

    Raises PmsError when there is nothing to read, or the folder cannot be written.
    """
    settings = load_settings(overrides)
    figures = await _figures(settings, ask_exchange, say)
    books = await read_books(database_url(settings))
    report = check_books(books, figures)
    for line in report.lines():
        say(line)
    if export_to is not None:
        files = export_books(books, report, export_to)
        say(f"{len(files)} files are in {export_to}")
    failed = sum(not check.passed for check in report.checks)
    if figures is not None and any(
        not check.passed and check.name in EXCHANGE_CHECKS for check in report.checks
    ):
        say("note: what a crash left unbooked differs until the next start has booked it; audit again then")
    say("the books are clean" if report.passed else f"{failed} checks FAILED: the rows are named above")
    return 0 if report.passed else 1


async def state_at(overrides: Mapping[str, object], at: str, account: str | None, say: Say) -> int:
    """Print the trial balance and the accounts (or one, by id or name) as of a moment. Raises SettingsError
    for a moment or account that makes no sense."""
    settings = load_settings(overrides)
    until_ms = moment_ms(at)
    url = database_url(settings)
    require_database(url)
    store = await open_store(url, read_only=True)
    try:
        async with store.snapshot() as snapshot:
            ours = ExchangeAccountId(settings.exchange_account)
            history = History(snapshot, ours, sqlite=store.dialect == "sqlite")
            balance = await history.trial_balance(until_ms)
            rows = await snapshot.fetch("SELECT id, name FROM sub_accounts ORDER BY name, id")
    finally:
        await store.close()
    names = {str(row["id"]): str(row["name"]) for row in rows}
    if account is not None and account not in names and account not in names.values():
        raise SettingsError(f"--account: no sub-account has the id or name {account!r}")
    when = datetime.fromtimestamp(until_ms / 1000, UTC).isoformat(timespec="milliseconds")
    say(f"after commit {balance.link}, the last one at or before {when}")
    for category, amount in balance.categories().items():
        say(f"{category:16}{plain(amount):>36}")
    say(f"{'sum':16}{plain(balance.difference):>36}")
    for sub_account_id, state in accounts_of(balance.totals).items():
        name = names.get(sub_account_id, "?")
        if account is None or account in (sub_account_id, name):
            _say_account(name, state, say)
    return 0


def _say_account(name: str, state: AccountAt, say: Say) -> None:
    owed = f", owes {plain(state.owed)}" if state.owed else ""
    say(f"{state.sub_account_id}  {name}: balance {plain(state.balance)}{owed}")
    for held in state.positions:
        side = "LONG" if held.signed_quantity > 0 else "SHORT"
        say(f"    {held.symbol} {side} {plain(abs(held.signed_quantity))}, entry {held.entry_price:.10g}")


def moment_ms(text: str) -> int:
    """Return Unix milliseconds of an ISO-8601 moment; a date alone is its last millisecond, without an
    offset it is UTC. Raises SettingsError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"--at: must be a date or a time like 2026-01-31 or 2026-01-31T12:00:00Z, was {text!r}"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    whole_day = len(text) <= len("2026-01-31")
    return round(moment.timestamp() * 1000) + (86_400_000 - 1 if whole_day else 0)


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
