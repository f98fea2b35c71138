"""The composition root: builds the parts of the switched-on roles, starts and stops them in order."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from random import SystemRandom

import structlog

from pms.bus.memory import MemoryState
from pms.bus.port import BusMode, SharedState
from pms.bus.redis import RedisState
from pms.data_folder import DataFolder
from pms.exchange.binance.adapter import BinanceExchange
from pms.exchange.binance.bans import FileBans, wait_out
from pms.exchange.binance.config import BinanceConfig, Secret
from pms.execution.service import Trader
from pms.lease import LeaseKeeper
from pms.ledger.checkpoints import Checkpointer
from pms.ledger.ledger import LedgerService, open_ledger
from pms.limits import (
    SHUTDOWN_DEADLINE_MS,
)
from pms.model.clock import Clock
from pms.model.errors import PmsError
from pms.model.ids import ExchangeAccountId, IdSource
from pms.risk.formulas import static_liquidation_price_decimal
from pms.risk.kernel import kernel_named
from pms.settings import (
    SIMULATOR,
    ExchangeTrading,
    ForeignClose,
    Role,
    Settings,
    SettingsError,
)
from pms.simulator.config import SimulatorConfig
from pms.simulator.recordings_index import files_of
from pms.simulator.simulator import Simulator
from pms.sync.recovery import first_cause
from pms.wiring import Core, Wired, build_core, wire

log = structlog.get_logger(__name__)

Say = Callable[[str], None]

LEASE_WAIT_SECONDS = 30.0
READY_SECONDS_MAX = 60.0
SIMULATED_WALLET = Decimal(1_000_000)
EMBEDDED_KEY = "pms-embedded-simulator"
SIMULATOR_FILE = "simulator.db"
BAN_FILE = "exchange-ban.json"


class EngineError(PmsError):
    """The engine cannot start or go on; the text says why and what to do."""


class EngineResourceError(EngineError):
    """A port, folder, database or Redis server is missing or busy."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What only the command line decides. `recording` (a name or a file) is what the embedded simulator
    replays, at `speed`.

    `symbols` (native names) replays nothing instead: those symbols have the prices that somebody sets.
    """

    recording: str = "demo"
    speed: float = 1.0
    symbols: tuple[str, ...] = ()


@dataclass(slots=True)
class Parts:
    """The running parts, for the gateway, the demo, tests and statistics."""

    wired: Wired
    state: SharedState
    lease: LeaseKeeper
    checkpointer: Checkpointer
    simulator: Simulator | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def core(self) -> Core:
        return self.wired.core

    @property
    def ledger(self) -> LedgerService:
        return self.core.ledger

    @property
    def exchange(self) -> BinanceExchange:
        return self.core.exchange

    @property
    def trader(self) -> Trader:
        return self.wired.trader


def database_url(settings: Settings) -> str:
    """Return the ledger's address: as set, or `ledger.db` in the data folder."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return f"sqlite:///{settings.data_dir.resolve() / 'ledger.db'}"


def require_free_port(host: str, port: int) -> None:
    """Fail early, before anything is opened, when the port is taken. Raises EngineResourceError."""
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise EngineResourceError(
                f"port {port} on {host} cannot be used ({error.strerror}); "
                "stop the program that holds it, or choose another with --port"
            ) from error


class Engine:
    """One engine: owns one exchange account (decision 30). Use `running()` as an async context manager."""

    def __init__(
        self, settings: Settings, options: EngineOptions, clock: Clock, ids: IdSource, say: Say
    ) -> None:
        self._settings = settings
        self._options = options
        self._clock = clock
        self._ids = ids
        self._say = say
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopping = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Parts]:
        """Start everything in order, hand out the parts once trading is ready, stop everything in reverse.

        Raises PmsError when a part cannot start. Stops within `SHUTDOWN_DEADLINE_MS`; what is in flight then
        is settled by recovery at the next start.
        """
        if Role.ENGINE not in self._settings.roles:
            raise EngineError("this role set runs no engine; use market_data()")
        kernel_named(self._settings.risk_kernel)
        async with AsyncExitStack() as stack:
            folder = DataFolder.open(self._settings.data_dir)
            stack.callback(folder.close)
            simulator = await self._simulator(stack, folder)
            parts = await self._build(stack, simulator, folder)
            await self._start_tasks(stack, parts)
            await self._wait_ready(parts)
            try:
                yield parts
            finally:
                self._stopping = True
                parts.core.switches.ready = False
                await parts.wired.sender.drain(SHUTDOWN_DEADLINE_MS / 4000)
                await parts.core.projection.drain(SHUTDOWN_DEADLINE_MS // 8)

    async def wait_failed(self) -> None:
        """Wait until a part fails, and raise what it raised."""
        await asyncio.shield(self._failed)

    # --- building ---

    async def _simulator(self, stack: AsyncExitStack, folder: DataFolder) -> Simulator | None:
        if self._settings.exchange != SIMULATOR:
            return None
        secret = folder.secret("simulator-secret", self._ids.token(32))
        config = SimulatorConfig(
            data_path=folder.path / SIMULATOR_FILE,
            recordings=() if self._options.symbols else files_of(self._options.recording),
            symbols=self._options.symbols,
            speed=self._options.speed,
            accounts=((EMBEDDED_KEY, secret, SIMULATED_WALLET),),
        )
        simulator = Simulator(config, self._clock)
        self._say("starting the simulated exchange with recorded ticks")
        await simulator.start()
        stack.push_async_callback(simulator.stop)
        return simulator

    def _exchange_config(self, simulator: Simulator | None, folder: DataFolder) -> BinanceConfig:
        settings = self._settings
        if simulator is not None:
            secret = folder.secret("simulator-secret", "")
            config = BinanceConfig.at(simulator.url, simulator.ws_url, EMBEDDED_KEY, secret)
        else:
            config = exchange_config(settings)
        return replace(
            config,
            recv_window_ms=settings.recv_window_ms,
            symbols_refresh_seconds=float(settings.symbols_refresh_seconds),
            trade_by_socket=settings.exchange_trading is ExchangeTrading.WEBSOCKET,
        )

    async def _build(self, stack: AsyncExitStack, simulator: Simulator | None, folder: DataFolder) -> Parts:
        settings, clock = self._settings, self._clock
        config = self._exchange_config(simulator, folder)
        bans = kept_bans(folder.path, config)
        # Before the lease is taken: it would run out meanwhile.
        await wait_out(bans, clock, self._say)
        ledger = await open_ledger(
            database_url(settings),
            ExchangeAccountId(settings.exchange_account),
            clock,
            self._ids,
            static_liquidation_price_decimal,
            charge_open_fees=settings.charge_open_fees,
            foreign_close_allocates=settings.foreign_close is ForeignClose.ALLOCATE,
            exchange_close_allocates=settings.exchange_close is ForeignClose.ALLOCATE,
            liquidation_fee_rate=settings.liquidation_fee_rate,
        )
        stack.push_async_callback(ledger.close)
        lease = LeaseKeeper(ledger, f"{socket.gethostname()}:{folder.path.resolve()}", clock)
        await lease.take(LEASE_WAIT_SECONDS, self._say)
        stack.push_async_callback(ledger.release_lease)
        state = await self._shared_state(stack)
        exchange = BinanceExchange(config, clock, SystemRandom(), lease.left_ms, bans)
        stack.push_async_callback(exchange.close)
        self._say(f"connecting to the exchange ({settings.exchange})")
        await exchange.start()
        wired = wire(build_core(ledger, exchange, state, settings, clock), settings)
        await wired.core.brackets.read()
        await wired.guard.require()
        await wired.real.start()
        if not settings.funding:
            await wired.funding.forget()
        return Parts(wired, state, lease, Checkpointer(ledger, clock), simulator)

    async def _shared_state(self, stack: AsyncExitStack) -> SharedState:
        address = self._settings.redis_address()
        state: SharedState = (
            MemoryState(self._clock) if address is None else RedisState(address, self._clock, self._ids)
        )
        await state.start()
        stack.push_async_callback(state.close)
        if self._settings.redis_required and state.mode is BusMode.AWAY:
            raise EngineResourceError("Redis does not answer; start it, or leave PMS_REDIS_REQUIRED unset")
        return state

    # --- running ---

    async def _start_tasks(self, stack: AsyncExitStack, parts: Parts) -> None:
        wired = parts.wired
        heard = parts.exchange.observed(wired.income.observed(wired.events.handle))
        works = {
            "market streams": parts.exchange.run(),
            "user stream": parts.exchange.user_stream.run(heard),
            "income": wired.income.run(),
            "doubt resolver": parts.wired.resolver.run(),
            "publisher": parts.wired.publisher.run(),
            "liquidator": parts.wired.liquidator.run(),
            "restrictions": parts.wired.enforcer.run(),
            "rules": parts.wired.rule_watch.run(),
            "pooled closes": parts.wired.allocator.run(),
            "house": parts.wired.house.run(),
            "bus projection": parts.core.projection.run(),
            "engine lease": parts.lease.run(),
            "journal checkpoints": parts.checkpointer.run(),
            "account guard": parts.wired.guard.run(),
            "leverage brackets": parts.core.brackets.run(),
            "real account": parts.wired.real.run(),
            "real ladder": parts.wired.real_ladder.run(),
            "exchange closes": parts.wired.exchange_closes.run(),
        }
        if self._settings.funding:
            works["funding"] = wired.funding.run(wired.gap_filler.ready)
        if parts.simulator is not None:
            works["simulated exchange"] = parts.simulator.wait_failed()
        for name, work in works.items():
            task = asyncio.create_task(work, name=name)
            task.add_done_callback(self._task_done)
            parts.tasks.append(task)

        async def stop() -> None:
            self._stopping = True
            for task in parts.tasks:
                task.cancel()
            await asyncio.wait(parts.tasks, timeout=SHUTDOWN_DEADLINE_MS / 2000)

        stack.push_async_callback(stop)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        """A part never ends by itself: whatever ended it stops the whole engine, visibly."""
        if task.cancelled() and self._stopping:
            return
        # A cancellation that nobody asked for (a cancelled future inside the part) ends it all the same.
        error = None if task.cancelled() else task.exception()
        if error is None:
            error = EngineError(f"the part '{task.get_name()}' ended unexpectedly")
        if isinstance(error, ExceptionGroup):
            error = first_cause(error)
        log.error("part_failed", part=task.get_name(), error=repr(error))
        if not self._stopping and not self._failed.done():
            self._failed.set_exception(error)

    async def _wait_ready(self, parts: Parts) -> None:
        self._say("reconciling with the exchange")
        ready = asyncio.create_task(parts.wired.gap_filler.ready.wait())
        failed = asyncio.ensure_future(self.wait_failed())
        try:
            await asyncio.wait(
                {ready, failed}, timeout=READY_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED
            )
            if failed.done():
                await failed
            if not ready.done():
                raise EngineError(
                    f"start-up reconciliation did not finish within {READY_SECONDS_MAX:.0f} s; "
                    "see the log for what the exchange answered, and start again"
                )
        finally:
            ready.cancel()
            failed.cancel()
        parts.core.switches.ready = True


def kept_bans(data_dir: Path, config: BinanceConfig) -> FileBans:
    """Return the bans of a venue as the data folder keeps them, for everything that talks to it from here."""
    return FileBans(data_dir / BAN_FILE, config.rest_url)


def exchange_config(settings: Settings) -> BinanceConfig:
    """Return the adapter's configuration for a real venue or a simulator's address. Raises SettingsError."""
    key = settings.binance_api_key.get_secret_value() if settings.binance_api_key else ""
    secret = settings.binance_api_secret.get_secret_value() if settings.binance_api_secret else ""
    if not key or not secret:
        raise SettingsError(
            f"BINANCE_API_KEY, BINANCE_API_SECRET: exchange '{settings.exchange}' needs both, set them"
        )
    match settings.exchange:
        case "binance":
            config = BinanceConfig.production(key, secret)
        case "testnet":
            config = BinanceConfig.testnet(key, secret)
        case address:
            config = BinanceConfig.at(address, "ws" + address.removeprefix("http"), key, secret)
    return replace(
        config,
        rest_url=settings.binance_rest_url or config.rest_url,
        ws_public_url=settings.binance_ws_public_url or config.ws_public_url,
        ws_market_url=settings.binance_ws_market_url or config.ws_market_url,
        ws_private_url=settings.binance_ws_private_url or config.ws_private_url,
        ws_api_url=settings.binance_ws_api_url or config.ws_api_url,
        api_secret=Secret(secret),
    )
