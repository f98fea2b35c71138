"""The `pms` command: parses, calls, and turns every error into one line and a stable exit code."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from pms import __version__
from pms.commands import simulate_options as of_simulate
from pms.model.errors import PmsError

T = TypeVar("T")

EXIT_CHECK_FAILED = 1
EXIT_USAGE = 2
EXIT_RESOURCE = 3
EXIT_EXCHANGE = 4
EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="pms",
    help="Virtual sub-accounts on one Binance USDⓈ-M futures account.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
user_app = typer.Typer(help="Users of the dashboard and the API.", no_args_is_help=True)
account_app = typer.Typer(help="Sub-accounts.", no_args_is_help=True)
app.add_typer(user_app, name="user")
app.add_typer(account_app, name="account")
house_app = typer.Typer(help="What the house holds.", no_args_is_help=True)
app.add_typer(house_app, name="house")


def _folder(text: str) -> Path:
    """Read --data-dir; without a word it would be the present folder, which nobody meant."""
    if not text.strip() or "\0" in text:
        raise typer.BadParameter("must name a folder")
    try:
        os.stat(text)
    except (FileNotFoundError, NotADirectoryError):
        return Path(text)
    except OSError as error:
        raise typer.BadParameter(f"{text} cannot be read ({error.strerror})") from error
    if not os.access(text, os.R_OK):
        raise typer.BadParameter(f"{text} cannot be read (Permission denied)")
    return Path(text)


DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Folder of ledger and simulator.",
        show_default="data",
        parser=_folder,
        metavar="<path>",
    ),
]
Speed = Annotated[float, typer.Option(min=0.01, max=1000, help="Replay speed; 1 is real time.")]
Database = Annotated[str | None, typer.Option("--db", help="sqlite:///file or postgresql://user@host/name.")]


def say(text: str) -> None:
    """Tell a person something, at once."""
    typer.echo(text)


@app.command()
def up(
    demo: Annotated[bool, typer.Option("--demo", help="Three funded accounts on the simulator.")] = False,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop by itself after so long.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="HTTP port; 0 takes a free one.", show_default="3900")
    ] = None,
    data_dir: DataDir = None,
    db: Database = None,
    redis: Annotated[str | None, typer.Option(help="redis:// address; without it memory serves.")] = None,
    exchange: Annotated[
        str | None, typer.Option(help="simulator, testnet, binance, or a simulator's address.")
    ] = None,
    roles: Annotated[str | None, typer.Option(help="Comma list of roles.")] = None,
    phase: Annotated[int | None, typer.Option(help="Migration phase 1 to 5 beside the incumbent.")] = None,
    recording: Annotated[
        str, typer.Option(help="What the simulator replays: calm, funding, crash, demo, or a file.")
    ] = "demo",
    speed: Speed = 1.0,
) -> None:
    """Run the whole system until Ctrl-C."""
    from pms.commands import run

    overrides = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "database_url": db,
        "redis_url": redis,
        "exchange": exchange,
        "roles": roles,
        "phase": phase,
    }
    _guarded(lambda: run.up(overrides, run.UpOptions(demo, seconds, recording, speed), say))


@app.command(help=of_simulate.HELP, epilog=of_simulate.EPILOG)
def simulate(
    host: of_simulate.Host = "127.0.0.1",
    port: of_simulate.Port = 3910,
    stream_routing: of_simulate.StreamRouting = "routed",
    tls_cert: of_simulate.TlsCert = None,
    tls_key: of_simulate.TlsKey = None,
    admin_token: of_simulate.AdminToken = "",
    data_path: of_simulate.DataPath = None,
    api_key: of_simulate.ApiKey = "demo",
    api_secret: of_simulate.ApiSecret = "demo",  # noqa: S107 the simulator's, for demos
    wallet: of_simulate.Wallet = "1000000",
    account: of_simulate.Accounts = None,
    key: of_simulate.Keys = None,
    recording: of_simulate.Recording = "demo",
    symbols: of_simulate.Symbols = "",
    synthetic: of_simulate.Synthetic = "",
    relay: of_simulate.Relay = "",
    speed: of_simulate.Speed = "1",
    queue_model: of_simulate.QueueModel = "power",
    latency: of_simulate.Latency = "0,0,0",
    leverage: of_simulate.Leverage = 20,
    maker_fee: of_simulate.MakerFee = "0.0002",
    taker_fee: of_simulate.TakerFee = "0.0005",
    limits: of_simulate.Limits = "venue",
    old_order_fields: of_simulate.OldOrderFields = False,
    no_funding: of_simulate.NoFunding = False,
    faults: of_simulate.Faults = "",
    seed: of_simulate.Seed = None,
) -> None:
    """Run only the exchange simulator until a signal."""
    options = dict(locals())  # each option is a field of the same name
    from pms.commands import simulate as command

    _guarded(lambda: command.simulate(command.SimulateOptions(**options), say))


@app.command()
def audit(
    data_dir: DataDir = None,
    db: Database = None,
    exchange: Annotated[
        bool, typer.Option("--exchange", help="Compare with the exchange too (keys from the environment).")
    ] = False,
    export: Annotated[
        Path | None, typer.Option("--export", help="Write the books to this new folder, for other eyes.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", help="Show what the books said then (2026-01-31T12:00:00Z) instead.")
    ] = None,
    account: Annotated[str | None, typer.Option("--account", help="With --at: this account only.")] = None,
) -> None:
    """Prove the books. Exit 1 when a check fails, naming the rows."""
    from pms.commands import audit as command

    overrides = {"data_dir": data_dir, "database_url": db}
    if at is not None:
        _guarded(lambda: command.state_at(overrides, at, account, say))
    else:
        _guarded(lambda: command.audit(overrides, exchange, export, say))


@app.command()
def doctor(
    data_dir: DataDir = None,
    db: Database = None,
    redis: Annotated[str | None, typer.Option(help="redis:// address to check.")] = None,
    exchange: Annotated[str | None, typer.Option(help="simulator, testnet or binance.")] = None,
) -> None:
    """Check machine, folder, database, Redis and exchange; changes nothing. Exit 1 when one fails."""
    from pms.commands import doctor as command

    overrides = {"data_dir": data_dir, "database_url": db, "redis_url": redis, "exchange": exchange}
    _guarded(lambda: command.doctor(overrides, say))


@app.command()
def version() -> None:
    """Print the version."""
    say(__version__)


@user_app.command("create")
def user_create(
    username: str,
    admin: Annotated[bool, typer.Option("--admin", help="May do everything.")] = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    data_dir: DataDir = None,
    db: Database = None,
) -> None:
    """Create a user; without --password-stdin a random password is printed once."""
    from pms.commands import users

    password = sys.stdin.readline().rstrip("\n") if password_stdin else None
    _guarded(lambda: users.create({"data_dir": data_dir, "database_url": db}, username, password, admin, say))


@user_app.command("list")
def user_list(data_dir: DataDir = None, db: Database = None) -> None:
    """List users."""
    from pms.commands import users

    _guarded(lambda: users.show({"data_dir": data_dir, "database_url": db}, say))


@user_app.command("passwd")
def user_passwd(
    username: str,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    data_dir: DataDir = None,
    db: Database = None,
) -> None:
    """Set a user's password; without --password-stdin a random one is printed once."""
    from pms.commands import users

    password = sys.stdin.readline().rstrip("\n") if password_stdin else None
    _guarded(lambda: users.set_password({"data_dir": data_dir, "database_url": db}, username, password, say))


@account_app.command("create")
def account_create(
    name: str,
    owner: Annotated[str | None, typer.Option(help="Username of the owner.")] = None,
    balance: Annotated[str, typer.Option(help="Opening deposit from the house, USDT.")] = "0",
    mode: Annotated[str, typer.Option(help="ADL_30, INSTANT_CLOSE or TAKEOVER.")] = "ADL_30",
    data_dir: DataDir = None,
    db: Database = None,
) -> None:
    """Create a sub-account."""
    from pms.commands import accounts

    overrides = {"data_dir": data_dir, "database_url": db}
    _guarded(lambda: accounts.create(overrides, name, owner, balance, mode, say))


@account_app.command("list")
def account_list(data_dir: DataDir = None, db: Database = None) -> None:
    """List sub-accounts with their balances."""
    from pms.commands import accounts

    _guarded(lambda: accounts.show({"data_dir": data_dir, "database_url": db}, say))


@account_app.command("deposit")
def account_deposit(account: str, amount: str, data_dir: DataDir = None, db: Database = None) -> None:
    """Move AMOUNT USDT from the house to ACCOUNT (name or id)."""
    from pms.commands import accounts

    _guarded(lambda: accounts.deposit({"data_dir": data_dir, "database_url": db}, account, amount, say))


@account_app.command("withdraw")
def account_withdraw(account: str, amount: str, data_dir: DataDir = None, db: Database = None) -> None:
    """Move AMOUNT USDT from ACCOUNT (name or id) to the house."""
    from pms.commands import accounts

    _guarded(lambda: accounts.withdraw({"data_dir": data_dir, "database_url": db}, account, amount, say))


@account_app.command("set-balance")
def account_set_balance(account: str, balance: str, data_dir: DataDir = None, db: Database = None) -> None:
    """Bring the balance of ACCOUNT (name or id) to BALANCE USDT, against the house."""
    from pms.commands import accounts

    _guarded(lambda: accounts.set_balance({"data_dir": data_dir, "database_url": db}, account, balance, say))


@account_app.command("transfer")
def account_transfer(
    source: str, target: str, amount: str, data_dir: DataDir = None, db: Database = None
) -> None:
    """Move AMOUNT USDT from the account SOURCE to the account TARGET (names or ids)."""
    from pms.commands import accounts

    overrides = {"data_dir": data_dir, "database_url": db}
    _guarded(lambda: accounts.transfer(overrides, source, target, amount, say))


@account_app.command("reset")
def account_reset(account: str, data_dir: DataDir = None, db: Database = None) -> None:
    """Start ACCOUNT (name or id) anew: its cash goes to the house; refused while anything of it is open."""
    from pms.commands import accounts

    _guarded(lambda: accounts.reset({"data_dir": data_dir, "database_url": db}, account, say))


@account_app.command("close")
def account_close(account: str, data_dir: DataDir = None, db: Database = None) -> None:
    """Close ACCOUNT (name or id): its cash goes to the house and it is frozen; its history stays."""
    from pms.commands import accounts

    _guarded(lambda: accounts.close({"data_dir": data_dir, "database_url": db}, account, say))


@account_app.command("write-off")
def account_write_off(account: str, data_dir: DataDir = None, db: Database = None) -> None:
    """Let the insurance, then the house bear what ACCOUNT (name or id) owes; it must be flat."""
    from pms.commands import accounts

    _guarded(lambda: accounts.write_off({"data_dir": data_dir, "database_url": db}, account, say))


@account_app.command("freeze")
def account_freeze(
    account: str,
    thaw: Annotated[bool, typer.Option("--thaw", help="Lift the freeze instead.")] = False,
    data_dir: DataDir = None,
    db: Database = None,
) -> None:
    """Block new exposure of ACCOUNT (name or id); closing and risk control go on."""
    from pms.commands import accounts

    _guarded(lambda: accounts.freeze({"data_dir": data_dir, "database_url": db}, account, thaw, say))


@house_app.command("list")
def house_list(data_dir: DataDir = None, db: Database = None) -> None:
    """List what the house holds, and its cash."""
    from pms.commands import house

    _guarded(lambda: house.show({"data_dir": data_dir, "database_url": db}, say))


@house_app.command("close")
def house_close(
    symbol: Annotated[str, typer.Argument(help="For example BTC/USDT:USDT.")],
    quantity: Annotated[str | None, typer.Option(help="A part only, in base units.")] = None,
    data_dir: DataDir = None,
    db: Database = None,
) -> None:
    """Trade away what the house holds of SYMBOL, through the running engine."""
    from pms.commands import house

    _guarded(lambda: house.close({"data_dir": data_dir, "database_url": db}, symbol, quantity, say))


@house_app.command("limit")
def house_limit(
    symbol: Annotated[str, typer.Argument(help="BTC/USDT:USDT, or * for every other symbol.")],
    notional: Annotated[str, typer.Argument(help="Most USDT at the mark, or none.")],
    data_dir: DataDir = None,
    db: Database = None,
) -> None:
    """Bound what the house may hold of SYMBOL; what is beyond it is traded away."""
    from pms.commands import house

    _guarded(lambda: house.limit({"data_dir": data_dir, "database_url": db}, symbol, notional, say))


@house_app.command("assign")
def house_assign(
    symbol: Annotated[str, typer.Argument(help="For example BTC/USDT:USDT.")],
    account: Annotated[str, typer.Argument(help="Name or id of the sub-account.")],
    quantity: Annotated[str, typer.Argument(help="In base units.")],
    leverage: Annotated[str, typer.Option(help="Leverage of what it opens.")] = "1",
    data_dir: DataDir = None,
    db: Database = None,
) -> None:
    """Give a part of what the house holds to ACCOUNT at the fresh mark, through the running engine."""
    from pms.commands import house

    overrides = {"data_dir": data_dir, "database_url": db}
    _guarded(lambda: house.assign(overrides, symbol, account, quantity, leverage, say))


@app.command()
def kill(
    level: Annotated[str, typer.Argument(help="reduce-only, halt, flatten or release; show tells.")],
    account: Annotated[str | None, typer.Option(help="One sub-account (name or id) instead of all.")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit trail.")] = "",
    source: Annotated[
        str, typer.Option(help="Whose restriction to release: operator, exchange or rule:<name>.")
    ] = "operator",
    data_dir: DataDir = None,
    db: Database = None,
) -> None:
    """The kill switch: through the running engine if there is one, else in the ledger for its next start."""
    from pms.commands import control

    overrides = {"data_dir": data_dir, "database_url": db}
    _guarded(lambda: control.kill(overrides, level, account, reason, source, say))


@app.command()
def rules(
    set_to: Annotated[
        str | None,
        typer.Option("--set", help="JSON as PUT /api/admin/rules takes it; what is left out is off."),
    ] = None,
    account: Annotated[
        str | None, typer.Option(help="One sub-account (name or id); else the global ones.")
    ] = None,
    data_dir: DataDir = None,
    db: Database = None,
) -> None:
    """Show or set further rules: daily loss, drawdown, order rate, symbols, position count."""
    from pms.commands import control

    _guarded(lambda: control.rules({"data_dir": data_dir, "database_url": db}, set_to, account, say))


def _guarded(work: Callable[[], Coroutine[object, object, int]]) -> None:
    """Run a command to its exit code; an expected error is one line on standard error."""
    from pms.logging import configure_logging

    # `up` sets its own level; in the short commands a log line would only repeat what the command tells.
    configure_logging("critical")
    try:
        code = _run(work())
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except PmsError as error:
        # SQLite and the exchange may say several lines; a person gets one.
        typer.echo(f"pms: {' '.join(str(error).split())}", err=True)
        code = exit_code(error)
    except Exception as error:  # the last line of defence: a person gets one line, a developer the rest
        typer.echo(f"pms: internal error: {error!r}; run again with PMS_DEBUG=1 to see where", err=True)
        if os.environ.get("PMS_DEBUG"):
            raise
        code = EXIT_INTERNAL
    raise typer.Exit(code)


def _run(work: Coroutine[object, object, T]) -> T:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


def exit_code(error: PmsError) -> int:
    """Return the documented exit code of an error (README, "The pms command")."""
    from pms.data_folder import DataFolderError
    from pms.engine import EngineResourceError
    from pms.exchange.errors import ExchangeError
    from pms.gateway.errors import GatewayError
    from pms.ledger.errors import LedgerError, RequestError
    from pms.settings import SettingsError
    from pms.simulator.errors import SimulatorError

    if isinstance(error, SettingsError):
        return EXIT_USAGE
    if isinstance(error, RequestError):
        return EXIT_CHECK_FAILED
    if isinstance(error, DataFolderError | EngineResourceError | LedgerError | SimulatorError | GatewayError):
        return EXIT_RESOURCE
    if isinstance(error, ExchangeError):
        return EXIT_EXCHANGE
    return EXIT_CHECK_FAILED


def main() -> None:
    """Entry point of the `pms` script."""
    # The ledger holds password hashes; the folder it is given may be open to others, so its files are not.
    os.umask(0o077)
    app()


if __name__ == "__main__":
    main()
