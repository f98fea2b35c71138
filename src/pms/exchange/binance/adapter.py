"""The adapter as one thing: builds its parts from a configuration, starts, runs and closes them in order."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from pms.exchange.binance.account import BinanceAccount
from pms.exchange.binance.bans import BanStore
from pms.exchange.binance.conduct import Conduct, ConductStatistics
from pms.exchange.binance.config import BinanceConfig
from pms.exchange.binance.market import BinanceMarket, load_depth, load_exchange_info
from pms.exchange.binance.market_socket import SocketStatistics
from pms.exchange.binance.rest import RestClient, RestStatistics
from pms.exchange.binance.streams import MarketStreams, MarketStreamStatistics
from pms.exchange.binance.supervisor import SupervisorStatistics
from pms.exchange.binance.symbols import FILTER_CODES, SymbolDirectory
from pms.exchange.binance.trading import BinanceTrading
from pms.exchange.binance.trading_status import TradingStatusPoller
from pms.exchange.binance.user_stream import BinanceUserStream, UserStreamStatistics
from pms.exchange.binance.ws_api import SocketApiStatistics, SocketTradingClient
from pms.exchange.census import CensusStatistics
from pms.exchange.messages import Depth, ExchangeInfo
from pms.exchange.port import (
    Confirmed,
    OrderEvent,
    PlaceOutcome,
    RefusedByExchange,
    UserEvent,
    UserEventHandler,
)
from pms.model.clock import Clock
from pms.model.symbol import Symbol

log = logging.getLogger("pms.exchange.binance")

CLOCK_LOOK_SECONDS = 1.0
"""How often our own clock is looked at: after it was set, signatures and ages of prices are wrong."""


@dataclass(frozen=True, slots=True)
class ExchangeStatistics:
    """What the adapter did since start."""

    rest: RestStatistics
    conduct: ConductStatistics
    trading_socket: SocketApiStatistics | None
    supervisor: SupervisorStatistics
    market_sockets: tuple[SocketStatistics, ...]
    market_streams: MarketStreamStatistics
    user_stream: UserStreamStatistics
    symbols: int
    symbols_reduce_only: tuple[Symbol, ...]
    census: CensusStatistics


class BinanceExchange:
    """One exchange account at one venue: `market`, `trading`, `account`, `user_stream` of the exchange port.

    `await start()`, then `run()` as an owned task for prices and `user_stream.run(handler)` as another;
    `close()` last.
    """

    def __init__(
        self,
        config: BinanceConfig,
        clock: Clock,
        random: Random,
        lease_left_ms: Callable[[], int | None] | None = None,
        bans: BanStore | None = None,
    ) -> None:
        self.config = config
        self._clock = clock
        self._rest = RestClient(config, clock, lease_left_ms, bans)
        self._symbols = SymbolDirectory(self._load_symbols, config.settle_asset, clock)
        self._streams = MarketStreams(
            config, self._symbols, clock, random, self.now_ms, self._load_depth, self._rest.census
        )
        self.market = BinanceMarket(self._rest, self._symbols, self._streams)
        self._conduct = Conduct()
        self._status = TradingStatusPoller(self._rest, self._symbols, self._conduct, clock)
        self._socket = (
            SocketTradingClient(config, self._rest, clock, random) if config.trade_by_socket else None
        )
        self.trading = BinanceTrading(
            self._socket or self._rest,
            self._rest,
            self._symbols,
            self._rest.control,
            self._conduct,
            self._status.soon,
        )
        self.account = BinanceAccount(self._rest, self._symbols, config.settle_asset)
        self.user_stream = BinanceUserStream(
            config,
            self._rest,
            self._symbols,
            clock,
            random,
            self._streams.supervisor.pacer,
            lease_left_ms,
        )
        self.trading.on_outcome = self._placed

    def _placed(self, outcome: PlaceOutcome) -> None:
        if isinstance(outcome, Confirmed):
            self.user_stream.expect(outcome.report.order_id)
        elif isinstance(outcome, RefusedByExchange) and outcome.code in FILTER_CODES:
            self._symbols.doubt()

    async def _load_symbols(self) -> ExchangeInfo:
        info = await load_exchange_info(self._rest)
        self._rest.control.budget.configure(info.rate_limits)
        return info

    async def _load_depth(self, symbol: Symbol) -> Depth:
        return await load_depth(self._rest, self._symbols.native(symbol))

    async def start(self) -> None:
        """Open connections, measure the clock, load the symbols. Raises ExchangeError; `close` it then.

        Within a ban it fails at once, and says until when; see `pms.exchange.binance.bans.wait_out`.
        """
        await self._rest.open()
        await self._rest.time.measure()
        await self._symbols.refresh()

    async def run(self) -> None:
        """Keep prices, clock and symbols fresh until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._streams.run(), name="market streams")
            group.create_task(self._keep_clock(), name="exchange clock")
            group.create_task(
                self._symbols.keep(self.config.symbols_refresh_seconds), name="exchange symbols"
            )
            group.create_task(self._status.run(), name="exchange trading status")
            if self._socket is not None:
                group.create_task(self._socket.run(), name="exchange trading socket")

    async def close(self) -> None:
        """Close the connections. Idempotent; cancel the running tasks before."""
        await self._rest.close()

    def observed(self, handler: UserEventHandler) -> UserEventHandler:
        """Return the handler, with the ends of orders counted before it is called."""

        async def counted(event: UserEvent) -> None:
            if isinstance(event, OrderEvent):
                self._conduct.contributions.ended(event.report, self.now_ms())
            await handler(event)

        return counted

    def now_ms(self) -> int:
        """Return the venue's time as estimated now, Unix ms, without asking."""
        return self._rest.time.exchange_now_ms()

    def statistics(self) -> ExchangeStatistics:
        """Return the counters of all parts as they are now."""
        return ExchangeStatistics(
            rest=self._rest.statistics(),
            conduct=self._conduct.statistics(),
            trading_socket=self._socket.statistics() if self._socket is not None else None,
            supervisor=self._streams.supervisor.statistics(),
            market_sockets=self._streams.supervisor.sockets(),
            market_streams=self._streams.statistics(),
            user_stream=self.user_stream.statistics(),
            symbols=len(self._symbols.map.rules),
            symbols_reduce_only=self._symbols.reduce_only,
            census=self._rest.census.statistics(),
        )

    async def _keep_clock(self) -> None:
        while True:
            due_at = self._clock.monotonic() + self.config.clock_sync_seconds
            while self._clock.monotonic() < due_at and not self._rest.time.stepped():
                await self._clock.sleep(min(CLOCK_LOOK_SECONDS, self.config.clock_sync_seconds))
            await self._rest.resync()
            await self._clock.sleep(min(CLOCK_LOOK_SECONDS, self.config.clock_sync_seconds))
