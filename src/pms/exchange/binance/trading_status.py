"""Asks the exchange how it judges the account's trading, and hands the answer to the conduct policy."""

import asyncio
import logging

import msgspec

from pms.exchange.binance.conduct import ACCOUNT, Conduct, Reading
from pms.exchange.binance.rest import RestClient
from pms.exchange.binance.symbols import SymbolDirectory
from pms.exchange.errors import ExchangeError
from pms.exchange.messages import TradingStatus
from pms.limits import TRADING_STATUS_INTERVAL_MS
from pms.model.clock import Clock, set_within

log = logging.getLogger("pms.exchange.binance")

STATUS_PATH = "/fapi/v1/apiTradingStatus"
SOON_SECONDS = 0.2
"""Pause after a refusal by the trading rules (-4400) until the reading that tells which rule it was."""

_decoder = msgspec.json.Decoder(TradingStatus)


class TradingStatusPoller:
    """Reads the indicators every `TRADING_STATUS_INTERVAL_MS`; sooner after `soon`."""

    def __init__(self, rest: RestClient, symbols: SymbolDirectory, conduct: Conduct, clock: Clock) -> None:
        self._rest = rest
        self._symbols = symbols
        self._conduct = conduct
        self._clock = clock
        self._wake = asyncio.Event()
        self._failing = False

    def soon(self) -> None:
        """Read again at once: an order was refused by the rules."""
        self._wake.set()

    async def run(self) -> None:
        """Read until cancelled. A venue that cannot be asked is reported once, and asked again."""
        while True:
            try:
                await self.poll()
                self._failing = False
            except ExchangeError as error:
                if not self._failing:
                    log.warning("the trading status could not be read: %s", error)
                self._failing = True
            self._wake.clear()
            await self._pause()

    async def _pause(self) -> None:
        if await set_within(self._wake, self._clock, TRADING_STATUS_INTERVAL_MS / 1000):
            await self._clock.sleep(SOON_SECONDS)

    async def poll(self) -> None:
        """Read once. Raises ExchangeError."""
        status = await self._rest.read(STATUS_PATH, (), _decoder)
        readings = []
        for native, rows in status.indicators.items():
            scope = ACCOUNT if native == ACCOUNT else self._symbols.map.unified.get(native, native)
            readings += [
                Reading(
                    scope,
                    row.indicator,
                    row.value,
                    row.trigger_value,
                    row.is_locked,
                    row.planned_recover_time,
                )
                for row in rows
            ]
        self._conduct.read(readings, self._rest.time.exchange_now_ms())
