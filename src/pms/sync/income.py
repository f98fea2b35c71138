"""Reads the real account's income history and posts it to the house: no movement of the wallet is lost.

Read every ten minutes, and soon after the private stream tells of money that no order moved. The watermark is
kept in the ledger; each reading begins a quarter of an hour before it, because the exchange writes some lines
late. A line posts exactly once by its key, so reading twice costs weight only.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

import structlog

from pms.exchange.errors import ExchangeError
from pms.exchange.port import AccountEvent, AccountView, StreamGap, UserEvent, UserEventHandler
from pms.ledger.api import Ledger
from pms.ledger.errors import FenceLostError, LedgerError
from pms.limits import INCOME_REMEMBERED_MAX
from pms.model.clock import Clock, set_within
from pms.model.income import TRADE_INCOME, Income
from pms.model.symbol import Symbol

log = structlog.get_logger(__name__)

WATERMARK = "income"

INTERVAL_SECONDS = 600.0
OVERLAP_MS = 900_000

SETTLING_SECONDS = 1.0
"""The stream tells first; many events of one moment cause one reading."""

RETRY_SECONDS = 5.0

EXPECTED_SECONDS = (2.0, 5.0, 10.0, 30.0, 60.0, 60.0)
"""Pauses between readings while a line that the stream told of does not show; then the interval again."""

NO_MONEY = frozenset({"ORDER", "MARGIN_TYPE_CHANGE", "MARGIN_TRANSFER"})
"""Reasons of account events that write no line, or lines that executions explain."""

REACH_MS = 89 * 86_400_000
"""Three months are told (Binance spec 2.4)."""


@dataclass(frozen=True, slots=True)
class IncomeStatistics:
    """Counts since the start; `expected`: lines that the stream told of and that are not read yet."""

    readings: int
    failures: int
    posted: int
    other_assets: int
    expected: int
    read_until_ms: int


class IncomeReader:
    """Posts what moved the wallet without an execution. One `run` at a time."""

    def __init__(self, ledger: Ledger, account: AccountView, settle_asset: str, clock: Clock) -> None:
        self._ledger = ledger
        self._account = account
        self._settle_asset = settle_asset
        self._clock = clock
        self._told = asyncio.Event()
        self._known: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._expected = self._tries = 0
        self._readings = self._failures = self._posted = self._other_assets = 0

    def observed(self, handler: UserEventHandler) -> UserEventHandler:
        """Return the handler, with a reading asked for after an event that tells of money."""

        async def heard(event: UserEvent) -> None:
            await handler(event)
            if isinstance(event, AccountEvent) and event.reason not in NO_MONEY:
                self._expected += 1
                self._tries = 0
                self._told.set()
            elif isinstance(event, StreamGap):
                self._told.set()

        return heard

    async def run(self) -> None:
        """Read until cancelled. Raises FenceLostError."""
        pause = INTERVAL_SECONDS
        while True:
            if await set_within(self._told, self._clock, pause):
                await self._clock.sleep(SETTLING_SECONDS)
                self._told.clear()
            try:
                await self.read()
            except (ExchangeError, LedgerError) as error:
                if isinstance(error, FenceLostError):
                    raise
                self._failures += 1
                log.warning("income_unread", error=str(error))
                pause = RETRY_SECONDS
            else:
                pause = self._next_pause()

    def _next_pause(self) -> float:
        if not self._expected:
            return INTERVAL_SECONDS
        if self._tries == len(EXPECTED_SECONDS):
            log.warning("income_not_told", lines=self._expected)
            self._expected = self._tries = 0
            return INTERVAL_SECONDS
        self._tries += 1
        return EXPECTED_SECONDS[self._tries - 1]

    async def read(self) -> int:
        """Post everything that is new since the watermark; return how many lines.

        Part by part: what is posted stays when a later part cannot be read. Raises ExchangeError,
        LedgerError.
        """
        if self._ledger.adopted_epoch() is None:
            return 0  # what is in the wallet at the adoption is capital
        until_ms = await self._account.server_time_ms()
        since_ms = await self._start(until_ms)
        posted = 0
        while since_ms <= until_ms:
            part = await self._account.income(since_ms, until_ms)
            for line in part.rows:
                posted += await self._post(line)
            since_ms = part.whole_until_ms + 1
            if part.whole_until_ms > self._ledger.watermark(WATERMARK):
                await self._ledger.set_watermark(WATERMARK, part.whole_until_ms)
        self._readings += 1
        self._expected = max(0, self._expected - posted)
        return posted

    async def _start(self, until_ms: int) -> int:
        """Return from when on to read. Lines up to the adoption are in the wallet that was adopted."""
        read_ms, first_ms = self._ledger.watermark(WATERMARK), self._ledger.adopted_at_ms() + 1
        told_from_ms = until_ms - REACH_MS
        since_ms = max(read_ms - OVERLAP_MS, first_ms)
        if since_ms >= told_from_ms:
            return since_ms
        if max(read_ms, first_ms) < told_from_ms:
            log.error("income_beyond_reach", since_ms=read_ms, until_ms=told_from_ms)
            await self._ledger.record_unreadable(Symbol(WATERMARK), max(read_ms, first_ms), told_from_ms)
        return told_from_ms

    async def _post(self, line: Income) -> bool:
        if line.type in TRADE_INCOME:
            return False
        if line.asset != self._settle_asset:
            self._other_assets += 1  # not a movement of the wallet that the books follow
            return False
        key = (line.type, line.transaction_id, line.native_symbol)
        if key in self._known:
            return False
        posted = await self._ledger.book_income(line)
        self._known[key] = None
        if len(self._known) > INCOME_REMEMBERED_MAX:
            self._known.popitem(last=False)
        if posted:
            self._posted += 1
            log.info("income_posted", type=line.type, amount=str(line.amount), symbol=line.native_symbol)
        return posted

    def statistics(self) -> IncomeStatistics:
        return IncomeStatistics(
            self._readings,
            self._failures,
            self._posted,
            self._other_assets,
            self._expected,
            self._ledger.watermark(WATERMARK),
        )
