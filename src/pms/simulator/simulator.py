"""Builds one exchange from its configuration, starts it, stops it: the embedding interface."""

from __future__ import annotations

import asyncio
import math
import secrets
import ssl
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import msgspec
from aiohttp import web

from pms.exchange.messages import ExchangeInfo, RateLimit
from pms.model.clock import Clock
from pms.simulator import money_hooks, recordings_index, replay
from pms.simulator.committer import Committer
from pms.simulator.config import Limits, SimulatorConfig
from pms.simulator.core import Engine
from pms.simulator.doors import Doors
from pms.simulator.errors import SimulatorError
from pms.simulator.fault_kinds import ALIASES
from pms.simulator.feed import SLICE_SECONDS, Feed
from pms.simulator.http_admin import legacy_fault
from pms.simulator.http_indices import asset_rows
from pms.simulator.http_server import BODY_BYTES_MAX, http_log
from pms.simulator.hub import Hub
from pms.simulator.latency import EventLine, Latency
from pms.simulator.relay import RelaySource
from pms.simulator.rules import SymbolRules
from pms.simulator.scenario import fault_of
from pms.simulator.store import Store
from pms.simulator.synthetic import SyntheticSource
from pms.simulator.venue import Venue
from pms.simulator.virtual_clock import VirtualClock

EXPIRY_SECONDS = 1.0
STOP_SECONDS = 1.0
LINGER_SECONDS = 0.2
"""How long the rest of a body is still read after its request was answered."""


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Return Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running loop."""
        await asyncio.sleep(seconds)


class Simulator:
    """A Binance-compatible USDⓈ-M exchange on one port. Use from one event loop only."""

    def __init__(self, config: SimulatorConfig, clock: Clock | None = None) -> None:
        self.config = config
        self._racing = math.isinf(config.speed)
        self.clock: Clock = clock or SystemClock()
        if self._racing and clock is None:
            self.clock = VirtualClock(self.clock.now_ms())
        self.url = ""
        self.ws_url = ""
        self.admin_token = config.admin_token or secrets.token_urlsafe(24)
        self._venue: Venue | None = None
        self._store: Store | None = None
        self._doors: Doors | None = None
        self._runner: web.AppRunner | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] | None = None
        self._line: EventLine | None = None
        self._relay: RelaySource | None = None

    # -- life

    async def start(self, serve: bool = True) -> None:
        """Open the file, read the recordings, serve. Raises `SimulatorError` with one clear line.

        Without `serve` there is no port and no task of its own time: requests go to `doors`, and the caller
        lets time pass by calling `step`.
        """
        self._failed = asyncio.get_running_loop().create_future()
        try:
            venue = await asyncio.get_running_loop().run_in_executor(None, self._build)
            self._venue = venue
            now_ms = self.clock.now_ms()
            for key, secret, wallet in self.config.accounts:
                venue.engine.open_account(key, secret, wallet, now_ms)
            venue.feed.prime(now_ms)
            self._spawn(venue.committer.run())
            if self._line is not None:
                self._spawn(self._line.run())
            await venue.committer.settled()
            self._doors = Doors(venue)
            if serve:
                await self._listen(self._doors)
                if self._racing:
                    self._spawn(self._race())
                else:
                    self._spawn(self._every(SLICE_SECONDS, self._play))
                    self._spawn(self._every(EXPIRY_SECONDS, self._expire))
            if self._relay is not None:
                await self._relay.start()
        except BaseException:
            await self.stop()
            raise

    def _build(self) -> Venue:
        """Blocking part of the start: reference data, recordings, the stored exchange."""
        config = self.config
        if not config.speed > 0:
            raise SimulatorError(f"The replay speed {config.speed} must be above zero.")
        every = recordings_index.reference_info()
        rules = recordings_index.reference_rules(every)
        sources: list[replay.Source] = []
        taken: set[str] = set()
        for path in config.recordings:
            source = replay.load(path, rules, taken)
            sources.append(source)
            taken.update(source.symbols)
        if config.synthetic is not None:
            wanted = tuple(s for s in config.synthetic.symbols if s not in taken)
            sources.append(SyntheticSource(replace(config.synthetic, symbols=wanted), rules))
            taken.update(wanted)
        if config.relay is not None:
            wanted = tuple(s for s in config.relay.symbols if s not in taken)
            self._relay = RelaySource(replace(config.relay, symbols=wanted), self.clock)
            sources.append(self._relay)
            taken.update(wanted)
        listed = taken | set(config.symbols) or set(rules)
        unknown = listed - set(rules)
        if unknown:
            names = ", ".join(sorted(unknown))
            raise SimulatorError(f"The symbols {names} are not in the recorded exchangeInfo.")
        rules = {symbol: rule for symbol, rule in rules.items() if symbol in listed}
        store = self._store = Store(config.data_path)
        engine = Engine(rules, config.fees, config.default_leverage, config.queue_model)
        engine.funding.charged = config.funding
        engine.restore(store.load())
        _check_symbols(engine, rules)
        latency = Latency(config.latency, self.clock)
        line = self._line = EventLine(latency, self.clock)
        hub = Hub(line)
        funding = recordings_index.reference_funding()
        origin_ms = int(store.meta("origin_ms", str(self.clock.now_ms())))
        intervals = recordings_index.reference_funding_info()
        feed = Feed(engine, hub, sources, funding, origin_ms, config.speed, intervals)
        money_hooks.join(engine, feed, config.limits)
        assets = [asset.asset for asset in every.assets]
        feed.streams.index_assets(assets, lambda now_ms: asset_rows(every, engine.markets, now_ms))
        return Venue(
            config=config,
            clock=self.clock,
            info=_info(every, listed, config.limits),
            engine=engine,
            feed=feed,
            hub=hub,
            committer=Committer(engine, store, hub.publish_private),
            funding=funding,
            epoch=store.epoch,
            admin_token=self.admin_token,
            draw_listen_key=lambda: secrets.token_hex(32),
            latency=latency,
        )

    async def _listen(self, doors: Doors) -> None:
        secured = None if self.config.tls is None else _tls(*self.config.tls)
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_route("*", "/{path:.*}", doors.handle)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=http_log,
            lingering_time=LINGER_SECONDS,
            shutdown_timeout=STOP_SECONDS,
        )
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, self.config.host, self.config.port, reuse_address=True, ssl_context=secured
        )
        try:
            await site.start()
        except OSError as error:
            where = f"{self.config.host}:{self.config.port}"
            advice = "Take another port, or stop the program that holds it."
            raise SimulatorError(
                f"The simulator cannot listen on {where}: {error.strerror}. {advice}"
            ) from error
        port = self._runner.addresses[0][1]
        where, letter = f"{self.config.host}:{port}", "s" if secured else ""
        self.url, self.ws_url = f"http{letter}://{where}", f"ws{letter}://{where}"

    async def stop(self) -> None:
        """End all connections and tasks and close the file; safe to call twice."""
        if self._relay is not None:
            await self._relay.stop()
            self._relay = None
        if self._doors is not None:
            await self._doors.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._venue is not None:
            self._venue.committer.close()
            self._venue = None
            self._doors = None
        if self._store is not None:
            self._store.close()
            self._store = None
        if self._failed is not None and not self._failed.done():
            self._failed.set_result(None)

    async def wait_failed(self) -> None:
        """Return after `stop`; raise what ended one of the exchange's own tasks before that."""
        if self._failed is not None:
            await asyncio.shield(self._failed)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    def _play(self) -> None:
        now_ms = self.clock.now_ms()
        self.venue.feed.advance(now_ms)
        self.venue.engine.tick(now_ms)
        self.doors.faults.step(now_ms)
        self.venue.committer.touch()

    def _expire(self) -> None:
        self.venue.engine.expire_listen_keys(self.clock.now_ms())
        self.venue.committer.touch()

    def step(self) -> None:
        """Do what is due by the clock: quotes, timers, faults. For exchanges started without `serve`."""
        self._play()
        self._expire()

    async def fast_forward(self, seconds: float) -> None:
        """Let simulated time pass as fast as the work allows. Needs a `VirtualClock`, which it moves.

        Everything due happens at its own moment; between two slices the tasks of this process run.
        """
        if not isinstance(self.clock, VirtualClock):
            raise SimulatorError("Only an exchange on a VirtualClock can be run ahead of time.")
        for _ in range(round(seconds / SLICE_SECONDS)):
            self.clock.advance(SLICE_SECONDS * 1000)
            self.step()
            await asyncio.sleep(0)
        await self.venue.committer.settled()

    async def _race(self) -> None:
        while True:
            await self.fast_forward(1.0)

    async def _every(self, seconds: float, action: Callable[[], None]) -> None:
        while True:
            await self.clock.sleep(seconds)
            action()

    # -- scripting, in process

    @property
    def venue(self) -> Venue:
        """The running parts. Raises `SimulatorError` before `start` and after `stop`."""
        if self._venue is None:
            raise SimulatorError("The simulator is not running.")
        return self._venue

    @property
    def doors(self) -> Doors:
        """The running doors. Raises `SimulatorError` before `start`."""
        if self._doors is None:
            raise SimulatorError("The simulator is not running.")
        return self._doors

    @property
    def epoch(self) -> str:
        """Identity of the stored exchange."""
        return self.venue.epoch

    def set_quote(
        self,
        symbol: str,
        bid: Decimal,
        ask: Decimal,
        bid_qty: Decimal = Decimal(1000),
        ask_qty: Decimal = Decimal(1000),
    ) -> None:
        """Pin the best quote of a symbol (native name) until `release`; the mark follows to the mid."""
        self.venue.feed.set_quote(symbol, bid, ask, bid_qty, ask_qty, self.clock.now_ms())
        self.venue.committer.touch()

    def set_mark(self, symbol: str, price: Decimal) -> None:
        """Pin the mark price of a symbol until `release`."""
        self.venue.feed.set_mark(symbol, price, self.clock.now_ms())

    def release(self, symbol: str | None = None) -> None:
        """Give a symbol (None: all) back to the replay."""
        self.venue.feed.release(symbol)

    def deposit(self, api_key: str, amount: Decimal) -> None:
        """Move USDT into an account. Raises `SimulatorError` for an unknown key."""
        account = self.venue.engine.account_by_key.get(api_key)
        if account is None:
            raise SimulatorError("There is no account with this API key.")
        self.venue.engine.deposit(account, amount, self.clock.now_ms())
        self.venue.committer.touch()

    def fault(self, kind: str, count: int = 1, ms: int = 0) -> None:
        """Arm a fault of the first version for the next `count` requests (0: disarm it).

        drop_response_after_execute, http_503 or delay_ms, or any kind that needs no more than `ms`.
        """
        if count > 0:
            self.doors.faults.arm(legacy_fault(kind, count, ms))
        else:
            self.doors.faults.clear(ALIASES.get(kind, {"kind": kind})["kind"])

    def arm(self, **fault: object) -> int:
        """Arm any fault by its fields, from now on; return its number. Raises `SimulatorError`."""
        return self.doors.faults.arm(fault_of(fault))

    def statistics(self) -> dict[str, int]:
        """Return counters of all parts, names prefixed by the part."""
        if self._venue is None:
            return {}
        parts: dict[str, dict[str, int]] = {
            "feed": self._venue.feed.statistics(),
            "commit": {"groups": self._venue.committer.groups, "events": self._venue.committer.events},
            "hub": {"published": self._venue.hub.published},
            "liquidation": self._venue.engine.liquidator.statistics(),
            "line": self._line.statistics() if self._line else {},
            "relay": self._relay.statistics() if self._relay else {},
            **(self._doors.statistics() if self._doors else {}),
        }
        return {f"{part}_{name}": value for part, values in parts.items() for name, value in values.items()}


def _tls(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        why = "they cannot be read" if isinstance(error, FileNotFoundError) else str(error)
        raise SimulatorError(
            f"TLS cannot use the certificate {certificate} with the key {key}: {why}."
        ) from error
    return context


def _check_symbols(engine: Engine, rules: dict[str, SymbolRules]) -> None:
    used = {symbol for (_, symbol, _), position in engine.positions.items() if position.quantity}
    missing = sorted((used | {s for s, book in engine.open_orders.items() if book}) - set(rules))
    if missing:
        raise SimulatorError(
            f"The data file holds positions or orders in {', '.join(missing)}, which the chosen recordings "
            "do not price. Add these recordings, or choose another data file."
        )


def _info(info: ExchangeInfo, listed: set[str], limits: Limits) -> ExchangeInfo:
    return msgspec.structs.replace(
        info,
        symbols=[s for s in info.symbols if s.symbol in listed],
        rate_limits=[
            RateLimit("REQUEST_WEIGHT", "MINUTE", 1, limits.request_weight_1m),
            RateLimit("ORDERS", "MINUTE", 1, limits.orders_1m),
            RateLimit("ORDERS", "SECOND", 10, limits.orders_10s),
        ],
    )
