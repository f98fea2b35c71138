"""Keeps the exchange's leverage brackets up to date: they decide maintenance where the setting says so.

Read at the start and every hour after: Binance changes brackets a few times a month, with notice. What cannot
be read leaves the last ones in use.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from pms.exchange.errors import ExchangeError
from pms.exchange.port import MarketData
from pms.model.bracket import LeverageBracket
from pms.model.clock import Clock
from pms.model.symbol import Symbol

log = structlog.get_logger(__name__)

REFRESH_SECONDS = 3600.0

BracketsBySymbol = Mapping[Symbol, tuple[LeverageBracket, ...]]


@dataclass(frozen=True, slots=True)
class BracketStatistics:
    """`symbols` that have brackets; counts of readings and failures since the start."""

    symbols: int
    readings: int
    changes: int
    failures: int


class BracketReader:
    """Reads the brackets and hands changed ones on. One `run` at a time."""

    def __init__(self, market: MarketData, clock: Clock, interval_seconds: float = REFRESH_SECONDS) -> None:
        self._market = market
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._takers: list[Callable[[BracketsBySymbol], None]] = []
        self.brackets: BracketsBySymbol = {}
        """As last read; empty before the first reading."""
        self._readings = self._changes = self._failures = 0

    def on_change(self, take: Callable[[BracketsBySymbol], None]) -> None:
        """Call this, synchronously, with every reading that differs from the one before."""
        self._takers.append(take)

    async def read(self) -> None:
        """Read once. Raises ExchangeError."""
        read = await self._market.brackets()
        self._readings += 1
        if read != self.brackets:
            self._changes += 1
            self.brackets = read
            for take in self._takers:
                take(read)

    async def run(self) -> None:
        """Read again every hour until cancelled."""
        while True:
            await self._clock.sleep(self._interval_seconds)
            try:
                await self.read()
            except ExchangeError as error:
                self._failures += 1
                log.warning("brackets_not_read", error=str(error))

    def statistics(self) -> BracketStatistics:
        return BracketStatistics(len(self.brackets), self._readings, self._changes, self._failures)
