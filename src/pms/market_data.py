"""Phase 1: market data alone, published as prices in shared state; no ledger, no orders (decision 29)."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from random import SystemRandom

from pms.bus.prices import PriceBoard
from pms.bus.projection import StateProjection
from pms.bus.redis import RedisState
from pms.engine import EngineError, exchange_config, kept_bans
from pms.exchange.binance.adapter import BinanceExchange
from pms.limits import WATCHED_SYMBOLS_MAX
from pms.runtime import SystemClock, SystemIds
from pms.settings import Settings

EPOCH = "market-data"


async def run_market_data(
    settings: Settings, stopped: asyncio.Event, seconds: float | None, say: Callable[[str], None]
) -> int:
    """Publish mark prices and quotes of the busiest listed symbols until stopped. Raises PmsError."""
    address = settings.redis_address()
    if address is None:
        raise EngineError("phase 1 publishes prices to Redis; set REDIS_URL or --redis")
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        state = RedisState(address, clock, SystemIds())
        await state.start()
        stack.push_async_callback(state.close)
        config = exchange_config(settings)
        exchange = BinanceExchange(config, clock, SystemRandom(), bans=kept_bans(settings.data_dir, config))
        stack.push_async_callback(exchange.close)
        await exchange.start()
        projection = StateProjection(state, clock, EPOCH, prices=PriceBoard(settings.published_price))
        exchange.market.on_mark(projection.mark_changed)
        exchange.market.on_book(projection.book_changed)
        symbols = list(exchange.market.rules())[:WATCHED_SYMBOLS_MAX]
        for symbol in symbols:
            exchange.market.subscribe(symbol)
        say(f"publishing prices of {len(symbols)} symbols")
        works = [asyncio.ensure_future(exchange.run()), asyncio.ensure_future(projection.run())]
        ended = asyncio.ensure_future(stopped.wait())
        try:
            done, _ = await asyncio.wait(
                {*works, ended}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            for work in done & set(works):
                await work
        finally:
            for work in (*works, ended):
                work.cancel()
    return 0
