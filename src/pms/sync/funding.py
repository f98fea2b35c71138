"""Books each funding of what sub-accounts hold, on the exchange's schedule, missed ones too, oldest first.

When: the mark price tells each symbol's next funding, the hour grid of its interval what passed unseen. What:
the exchange's history tells time, rate and mark price; nothing is computed from what we saw. A funding is
booked after the executions before it are read; should one come later all the same, the ledger corrects.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from pms.exchange.errors import ExchangeError, UnreadablePayload
from pms.ledger.api import Ledger
from pms.ledger.errors import FenceLostError, LedgerError, RequestError
from pms.model.clock import Clock
from pms.model.ids import TradeId
from pms.model.income import FundingKey, FundingRate, FundingUnpriced, FundingUnreadable, ToldFunding
from pms.model.money import Price
from pms.model.price import MarkPrice
from pms.model.symbol import Symbol
from pms.sync.recovery import GapFiller

log = structlog.get_logger(__name__)

SINCE = "funding"
"""Watermark: from when on fundings are booked; what was before the first start with funding is nobody's."""

HOUR_MS = 3_600_000
DEFAULT_HOURS = 8

DELAY_MS = 10_000
"""After the moment: its last executions arrive, and the exchange writes its history."""

TOLD_LATER_MS = 1_000
"""Settled times are some milliseconds past those of the schedule (recorded histories)."""

STREAM_ORDER_MS = 1_000
"""By so much two events of the private stream may be out of order."""

LOOK_SECONDS = 60.0
RETRY_SECONDS = 15.0
INTERVALS_SECONDS = 3_600.0

PATIENCE_MS = 600_000
"""So long after a moment of the schedule its funding is asked for; then the schedule had no such moment. So
long, too, its price is waited for; then the last one before it counts."""

PAGES_MAX = 100
"""Of one symbol in one round (100,000 fundings). The next round goes on."""


@dataclass(frozen=True, slots=True)
class FundingStatistics:
    """Counts since the start; `waiting` symbols have a funding due that is not booked yet. `priced_before`
    were booked with the last price before them, `unreadable` could not be booked and were recorded."""

    booked: int
    duplicates: int
    failures: int
    given_up: int
    priced_before: int
    unreadable: int
    waiting: tuple[Symbol, ...]


class FundingHistory(Protocol):
    """The part of `MarketData` that tells fundings; see there."""

    async def funding_rates(self, symbol: Symbol, since_ms: int, until_ms: int) -> Sequence[ToldFunding]: ...

    async def price_before(self, symbol: Symbol, moment_ms: int) -> Price | None: ...

    async def funding_hours(self) -> Mapping[Symbol, int]: ...


class ExecutionsRead:
    """Makes sure that every execution of a symbol before a moment is booked.

    An event of the private stream from after the moment proves it, for events are handled in order and gaps
    are filled before later ones. While the stream is silent the exchange is asked, once for each moment.
    """

    def __init__(
        self, gap_filler: GapFiller, last_event_ms: Callable[[], int], now_ms: Callable[[], int]
    ) -> None:
        self._gap_filler = gap_filler
        self._last_event_ms = last_event_ms
        self._now_ms = now_ms
        self._read: dict[Symbol, int] = {}

    async def through(self, symbol: Symbol, moment_ms: int) -> None:
        """Return once the executions before the moment are booked. Raises ExchangeError, LedgerError."""
        if max(self._last_event_ms() - STREAM_ORDER_MS, self._read.get(symbol, 0)) > moment_ms:
            return
        asked_ms = self._now_ms()
        await self._gap_filler.read_symbol(symbol)
        self._read[symbol] = asked_ms


class FundingBooker:
    """Keeps the ledger's fundings up to date. One `run` at a time.

    `used`: symbols that may be held. `mark`: the newest mark price. `read_through(symbol, moment)`: returns
    once every execution of the symbol before the moment is booked. `now_ms`: the exchange's clock.
    """

    def __init__(
        self,
        ledger: Ledger,
        history: FundingHistory,
        used: Callable[[], Iterable[Symbol]],
        mark: Callable[[Symbol], MarkPrice | None],
        read_through: Callable[[Symbol, int], Awaitable[None]],
        now_ms: Callable[[], int],
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._history = history
        self._used = used
        self._mark = mark
        self._read_through = read_through
        self._now_ms = now_ms
        self._clock = clock
        self._hours: dict[Symbol, int] = {}
        self._hours_read_at = float("-inf")
        self._next: dict[Symbol, int] = {}
        self._passed: dict[Symbol, int] = {}
        self._settled: dict[Symbol, tuple[int, TradeId]] = {}
        self._waiting: tuple[Symbol, ...] = ()
        self._booked = self._duplicates = self._failures = self._given_up = 0
        self._priced_before = self._unreadable = 0

    async def forget(self) -> None:
        """Book none, and none of this time later either: the setting is off."""
        if self._ledger.watermark(SINCE):
            await self._ledger.set_watermark(SINCE, 0)

    async def run(self, ready: asyncio.Event) -> None:
        """Book until cancelled, from when `ready` is set. Raises FenceLostError."""
        await ready.wait()
        while True:
            try:
                await self.settle()
            except (ExchangeError, LedgerError) as error:
                self._fail(None, error)
            await self._clock.sleep(self._pause())

    async def settle(self) -> None:
        """Book what is due now. A symbol that fails waits for the next call; the others go on.

        Raises FenceLostError, LedgerError when the ledger cannot even begin.
        """
        if not self._ledger.watermark(SINCE):
            await self._ledger.set_watermark(SINCE, self._now_ms())
        await self._read_intervals()
        now_ms = self._now_ms() - DELAY_MS
        waiting: list[Symbol] = []
        for symbol in self._used():
            due_ms = self._due(symbol, now_ms)
            seen = (due_ms, self._ledger.last_trade_id(symbol))
            if due_ms <= self._ledger.funding_read_ms(symbol) or self._settled.get(symbol) == seen:
                continue
            try:
                done = await self._settle(symbol, due_ms, now_ms)
            except UnreadablePayload as error:
                self._fail(symbol, error)
                done = False
            except (ExchangeError, LedgerError) as error:
                self._fail(symbol, error)
                waiting.append(symbol)
                continue
            if not done and now_ms - due_ms < PATIENCE_MS:
                waiting.append(symbol)
                continue
            if not done:
                self._given_up += 1
                log.warning("funding_not_told", symbol=symbol, funding_time_ms=due_ms)
            self._settled[symbol] = seen
        self._waiting = tuple(waiting)

    async def _settle(self, symbol: Symbol, due_ms: int, until_ms: int) -> bool:
        """Book a symbol's fundings through the one that is due; False while the exchange does not tell it."""
        since_ms = max(self._ledger.funding_read_ms(symbol), self._ledger.watermark(SINCE))
        start_ms = await self._ledger.held_since(symbol, since_ms)
        if start_ms is None or start_ms > due_ms + TOLD_LATER_MS:
            return True
        for _ in range(PAGES_MAX):
            rates = await self._history.funding_rates(symbol, start_ms, until_ms)
            for told in rates:
                if not await self._take(told):
                    return False
            if not rates or rates[-1].key.time_ms >= due_ms:
                break
            start_ms = rates[-1].key.time_ms + 1
        return self._ledger.funding_read_ms(symbol) >= due_ms

    async def _take(self, told: ToldFunding) -> bool:
        """Book one line of the history, or record that it cannot be; False: wait for it, and book none of
        the later ones before."""
        symbol, moment_ms = told.key.symbol, told.key.time_ms
        if isinstance(told, FundingRate):
            try:
                await self._book(told)
            except RequestError as error:  # figures that are no money; they will be the same next time
                told = FundingUnreadable(told.key, str(error))
            else:
                return True
        if moment_ms <= self._ledger.funding_skipped_ms(symbol):
            return True
        if self._now_ms() - moment_ms < PATIENCE_MS:
            return False
        if isinstance(told, FundingUnpriced):
            price = await self._price_before(told.key)
            if price is not None:
                self._priced_before += 1
                log.warning(
                    "funding_priced_before", symbol=symbol, funding_time_ms=moment_ms, price=str(price)
                )
                await self._book(FundingRate(told.key, told.rate, price))
                return True
        reason = told.reason if isinstance(told, FundingUnreadable) else "no price of it is told"
        self._unreadable += 1
        log.error("funding_unreadable", symbol=symbol, funding_time_ms=moment_ms, reason=reason)
        await self._ledger.skip_funding(told.key, reason)
        return True

    async def _price_before(self, key: FundingKey) -> Price | None:
        try:
            return await self._history.price_before(key.symbol, key.time_ms)
        except UnreadablePayload as error:
            log.warning("funding_price_unreadable", symbol=key.symbol, error=str(error))
            return None

    async def _book(self, rate: FundingRate) -> None:
        symbol, moment_ms = rate.key.symbol, rate.key.time_ms
        await self._read_through(symbol, moment_ms)
        booked = await self._ledger.book_funding(rate)
        if booked.duplicate:
            self._duplicates += 1
            return
        self._booked += 1
        log.info(
            "funding_booked",
            symbol=symbol,
            funding_time_ms=moment_ms,
            rate=str(rate.rate),
            accounts=booked.accounts,
            amount=str(booked.amount),
        )

    def _due(self, symbol: Symbol, now_ms: int) -> int:
        """Return the last moment of the symbol's schedule that is past."""
        told = self._next.get(symbol, 0)
        if 0 < told <= now_ms:
            self._passed[symbol] = told
        mark, just_now = self._mark(symbol), now_ms < told <= now_ms + DELAY_MS
        if mark is not None and mark.next_funding_time_ms > 0 and not just_now:
            self._next[symbol] = mark.next_funding_time_ms
        interval_ms = self._hours.get(symbol, DEFAULT_HOURS) * HOUR_MS
        return max(now_ms // interval_ms * interval_ms, self._passed.get(symbol, 0))

    async def _read_intervals(self) -> None:
        if self._clock.monotonic() - self._hours_read_at < INTERVALS_SECONDS:
            return
        try:
            self._hours = dict(await self._history.funding_hours())
            self._hours_read_at = self._clock.monotonic()
        except ExchangeError as error:  # the marks tell the schedule too
            log.warning("funding_intervals_unread", error=str(error))

    def _pause(self) -> float:
        if self._waiting:
            return RETRY_SECONDS
        now_ms = self._now_ms()
        left = (moment + DELAY_MS - now_ms for moment in self._next.values() if moment + DELAY_MS > now_ms)
        return min(LOOK_SECONDS, min(left, default=HOUR_MS) / 1000)

    def _fail(self, symbol: Symbol | None, error: ExchangeError | LedgerError) -> None:
        if isinstance(error, FenceLostError):
            raise error
        self._failures += 1
        log.warning("funding_unbooked", symbol=symbol, error=str(error))

    def statistics(self) -> FundingStatistics:
        return FundingStatistics(
            self._booked,
            self._duplicates,
            self._failures,
            self._given_up,
            self._priced_before,
            self._unreadable,
            self._waiting,
        )
