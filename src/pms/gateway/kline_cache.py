"""Candles for many browsers at the price of one request: a small cache, one fetch for each key (H-18)."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence

from pms.exchange.errors import ExchangeError
from pms.execution.api import TradingService
from pms.gateway.bounds import KLINES_CACHED_MAX
from pms.gateway.errors import ApiError
from pms.model.clock import Clock
from pms.model.symbol import Symbol

log = logging.getLogger(__name__)

AGE_SECONDS_MAX = 2.0
FETCH_SECONDS_MAX = 10.0

Rows = Sequence[tuple[str | int, ...]]


class KlineCache:
    """Answers of `TradingService.klines`. Event-loop thread only; beyond the bound the oldest answer goes."""

    def __init__(self, service: TradingService, clock: Clock) -> None:
        self._service = service
        self._clock = clock
        self._known: OrderedDict[tuple[Symbol, str, int], tuple[float, asyncio.Task[Rows]]] = OrderedDict()

    async def get(self, symbol: Symbol, interval: str, limit: int) -> Rows:
        """Return candles at most 2 s old. Raises ApiError 502 when the exchange cannot be asked."""
        key = (symbol, interval, limit)
        now = self._clock.monotonic()
        known = self._known.get(key)
        if known is None or (known[1].done() and now - known[0] >= AGE_SECONDS_MAX):
            task = asyncio.create_task(self._fetch(symbol, interval, limit), name=f"klines {symbol}")
            # A failure that nobody waits for any more is not an error of the loop.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._known.pop(key, None)
            self._known[key] = known = (now, task)
            while len(self._known) > KLINES_CACHED_MAX:
                self._known.popitem(last=False)
        try:
            return await asyncio.shield(known[1])
        except (ExchangeError, TimeoutError) as error:
            self._known.pop(key, None)
            log.warning("candles of %s could not be read: %s", symbol, error)
            raise ApiError(
                502, "EXCHANGE_UNAVAILABLE", "The exchange did not return candles; retry."
            ) from error

    async def _fetch(self, symbol: Symbol, interval: str, limit: int) -> Rows:
        async with asyncio.timeout(FETCH_SECONDS_MAX):
            return await self._service.klines(symbol, interval, limit)
