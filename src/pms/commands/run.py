"""`pms up`: the engine with its gateway, until Ctrl-C, a failure, or the given time."""

import asyncio
import resource
import signal
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from pms import __version__, demo
from pms.commands import running
from pms.engine import Engine, EngineOptions, Parts, require_free_port
from pms.gateway.auth import create_admin_if_none
from pms.gateway.context import GatewayDependencies
from pms.gateway.server import GatewayServer
from pms.gateway.settings import GatewaySettings
from pms.gateway.settings import Registration as GatewayRegistration
from pms.logging import configure_logging
from pms.market_data import run_market_data
from pms.model.ids import UserId
from pms.probes import EngineProbes
from pms.runtime import SystemClock, SystemIds, spare_started_objects
from pms.settings import (
    SIMULATOR,
    Role,
    Settings,
    SettingsError,
    load_settings,
    session_secret,
)

Say = Callable[[str], None]

OPEN_FILES = 8_192

INTERRUPTED = 130
"""Exit code of a start that a signal ended."""


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What only the command line decides. `seconds` None: until a signal."""

    demo: bool
    seconds: float | None
    recording: str
    speed: float


async def up(overrides: Mapping[str, object], options: UpOptions, say: Say) -> int:
    """Run the system; return the exit code. Raises PmsError when it cannot start or a part fails."""
    settings = load_settings(overrides)
    configure_logging(settings.log_level)
    if options.demo and settings.exchange != SIMULATOR:
        raise SettingsError(
            f"PMS_EXCHANGE: --demo works with the simulator only, was {settings.exchange!r}; leave --demo out"
        )
    _refuse_unkept(settings)
    _allow_open_files()
    stopped = asyncio.Event()
    _stop_on_signals(stopped)
    if settings.roles == {Role.MARKET_DATA}:
        return await run_market_data(settings, stopped, options.seconds, say)
    if not {Role.MARKET_DATA, Role.USER_STREAM, Role.ENGINE} <= settings.roles:
        raise SettingsError(
            "PMS_ROLES: this version runs either market-data alone (phase 1) or the engine with market-data "
            "and user-stream (phases 3 to 5, or no phase)"
        )
    if Role.GATEWAY in settings.roles:
        require_free_port(settings.host, settings.port)
    engine = Engine(
        settings, EngineOptions(options.recording, options.speed), SystemClock(), SystemIds(), say
    )
    async with AsyncExitStack() as stack:
        parts = await _started(stack, engine, stopped)
        if parts is None:
            say("stopped before it was ready; nothing is lost, the next start goes on from here")
            return INTERRUPTED
        spare_started_objects()
        await _serve(stack, engine, parts, settings, options, stopped, say)
    say("stopped")
    return 0


async def _started(stack: AsyncExitStack, engine: Engine, stopped: asyncio.Event) -> Parts | None:
    """Start the engine; None when a signal came first. What was begun is undone by then."""
    starting = asyncio.ensure_future(stack.enter_async_context(engine.running()))
    signalled = asyncio.ensure_future(stopped.wait())
    try:
        await asyncio.wait({starting, signalled}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            return await starting
        starting.cancel()
        await asyncio.wait({starting})
        return None
    finally:
        signalled.cancel()


async def _serve(
    stack: AsyncExitStack,
    engine: Engine,
    parts: Parts,
    settings: Settings,
    options: UpOptions,
    stopped: asyncio.Event,
    say: Say,
) -> None:
    address, login = None, None
    if Role.GATEWAY in settings.roles:
        login = await create_admin_if_none(parts.ledger.directory, SystemIds(), SystemClock())
        address = await start_gateway(stack, settings, parts)
    if options.demo:
        await _wait_for_price(parts)
        await demo.seed(parts.ledger, parts.trader, await _first_user(parts), say)
    _greet(say, address, login)
    await _until_end(engine, stopped, options.seconds)
    say("stopping")


async def start_gateway(stack: AsyncExitStack, settings: Settings, parts: Parts) -> str:
    secret = settings.jwt_secret
    gateway_settings = GatewaySettings(
        jwt_secret=secret.get_secret_value() if secret else session_secret(settings.data_dir, SystemIds()),
        host=settings.host,
        port=settings.port,
        registration=GatewayRegistration(settings.registration.value),
        allowed_origins=settings.cors_origins,
        trusted_proxies=settings.trusted_proxies,
        default_account_grant=settings.default_account_grant,
        reads_per_minute=settings.reads_per_minute,
        writes_per_minute=settings.writes_per_minute,
    )
    probes = EngineProbes(parts, SystemClock())
    server = GatewayServer(
        GatewayDependencies(
            settings=gateway_settings,
            service=parts.trader,
            ledger=parts.ledger,
            directory=parts.ledger.directory,
            queries=parts.ledger.queries,
            hub=parts.core.hub,
            probes=probes,
            clock=SystemClock(),
            ids=SystemIds(),
            version=__version__,
            epoch=parts.ledger.event_epoch,
            main_account=parts.exchange.account,
            exchange_statistics=parts.exchange.statistics,
            real_account=probes.real_account,
            house=parts.wired.house,
            unfinished_restrictions=parts.wired.enforcer.working,
        )
    )
    if settings.phase is None:
        # Standing alone, only our own browsers take ephemeral events: unwatched accounts cost nothing.
        parts.wired.publisher.interested = server.gateway.sockets.subscribed_accounts
    await server.start()
    stack.push_async_callback(server.stop)
    running.note_address(settings.data_dir, server.url)
    return server.url


async def _first_user(parts: Parts) -> UserId | None:
    users = await parts.ledger.directory.users()
    return users[-1].id if users else None


async def _wait_for_price(parts: Parts) -> None:
    """Wait for the first mark of the demo's symbol, at most 10 s; without it the gate refuses and says so."""
    parts.trader.watch(demo.DEMO_SYMBOL)
    for _ in range(200):
        if parts.core.prices.mark(demo.DEMO_SYMBOL) is not None:
            return
        await asyncio.sleep(0.05)


def _greet(say: Say, address: str | None, login: tuple[str, str] | None) -> None:
    say("")
    say("PMS is running." + (f" Open {address}" if address else ""))
    if login is not None:
        say(f"Login: {login[0]}   password: {login[1]}")
        say("The password is shown only this once; `pms user passwd` sets another.")
    elif address is not None:
        say("Log in as before; `pms user passwd admin` sets a new password.")
    say("Ctrl-C stops it; the next start goes on from here.")


async def _until_end(engine: Engine, stopped: asyncio.Event, seconds: float | None) -> None:
    failed = asyncio.ensure_future(engine.wait_failed())
    ended = asyncio.ensure_future(stopped.wait())
    try:
        await asyncio.wait({failed, ended}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            await failed
    finally:
        failed.cancel()
        ended.cancel()


def _refuse_unkept(settings: Settings) -> None:
    """Refuse what was set and is not done yet: with money, ignoring a setting is worse than not starting."""
    if settings.worker_secret is not None:
        raise SettingsError("PMS_WORKER_SECRET: this version has no callback of workers; leave it unset")


def _allow_open_files() -> None:
    """Raise the process's own limit as far as it may: a thousand browsers are more than the usual 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _stop_on_signals(stopped: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
