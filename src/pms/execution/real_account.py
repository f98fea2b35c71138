"""The real account behind all sub-accounts: its purse for the gate, its level, its coverage (decision 19).

The account is read at the start, every `READ_SECONDS`, and soon after the exchange tells of a change; between
readings marks, booked fills and our own reservations move the figures in the step that makes them. An account
that has not been read for `READING_AGE_MS_MAX` is unknown: entries are refused, reducing goes on.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

import structlog

from pms.exchange.errors import ExchangeError
from pms.exchange.port import AccountEvent, AccountView, MarketData
from pms.execution.admission import TradingSwitches
from pms.execution.coverage import Coverage
from pms.execution.live_orders import LiveOrders
from pms.execution.prices import Prices
from pms.ledger.api import Committed, Ledger
from pms.model.bracket import LeverageBracket
from pms.model.clock import Clock, set_within
from pms.model.money import ZERO
from pms.model.price import MarkPrice
from pms.model.symbol import Symbol
from pms.risk.real_ladder import RealLevel, level_after
from pms.risk.real_purse import Inputs, RealBook, RealFigures, RealPosition, RealPurse, RealReading

log = structlog.get_logger(__name__)

READ_SECONDS = 10.0
READ_SECONDS_MIN = 5.0
"""Least time between two readings, each of weight 11: at most a twentieth of the minute's budget, however
much is traded. What an event tells is exact at once; a reading adds what no event tells."""

READING_AGE_MS_MAX = 60_000
"""Older figures admit no entry: a withdrawal or another bot may have used the margin since."""

LevelListener = Callable[[RealLevel, RealFigures], None]


@dataclass(frozen=True, slots=True)
class RealAccountStatistics:
    """The account as of now: its figures in USDT, the ladder's level, the age of the last reading (-1 before
    the first), Σ virtual equity and coverage = Σ virtual equity / real margin balance (0 without a balance).
    `readings` and `failures` since the start."""

    level: RealLevel
    known: bool
    reading_age_ms: int
    margin_balance: Decimal
    margin_available: Decimal
    initial_margin: Decimal
    maintenance_margin: Decimal
    reserved_elsewhere: Decimal
    margin_ratio: Decimal
    virtual_equity: Decimal
    coverage: Decimal
    readings: int
    failures: int


class RealAccount:
    """Follows the real account. `run` must be active; everything else is synchronous, event-loop thread
    only."""

    def __init__(
        self,
        account: AccountView,
        market: MarketData,
        ledger: Ledger,
        live_orders: LiveOrders,
        prices: Prices,
        switches: TradingSwitches,
        clock: Clock,
    ) -> None:
        self._account = account
        self._market = market
        self._prices = prices
        self._switches = switches
        self._clock = clock
        self._book = RealBook(Inputs(ledger.expected_net, live_orders.side, self._mark))
        self._coverage = Coverage(ledger.accounts(), ledger.open_positions(), self._mark)
        self._changed = asyncio.Event()
        self._read_at: float | None = None
        self._level = RealLevel.CALM
        self._listeners: list[LevelListener] = []
        self._readings = self._failures = 0
        live_orders.on_change(self._book.touch)
        for symbol in ledger.fill_symbols():
            self._book.touch(symbol)

    # --- what moves it: synchronous, never waiting ---

    def take_mark(self, mark: MarkPrice) -> None:
        """A mark moved; the figures follow when they are asked for."""
        self._book.touch(mark.symbol)

    def on_commit(self, committed: Committed) -> None:
        """Fills were booked: nets and virtual equity changed."""
        for symbol in committed.expected_net or ():
            self._book.touch(symbol)
        self._coverage.apply(committed)

    def on_account_event(self, event: AccountEvent) -> None:
        """The exchange tells of changed positions and money: exact at once, read again soon."""
        for position in event.positions:
            at = RealPosition(position.signed_quantity, position.entry_price, position.update_time_ms)
            self._book.take_position(position.symbol, at)
        if event.wallet_balance is not None:
            self._book.take_wallet(event.wallet_balance, event.transaction_time_ms)
        self._changed.set()

    def take_brackets(self, brackets: Mapping[Symbol, tuple[LeverageBracket, ...]]) -> None:
        """Take every symbol's brackets: maintenance and caps follow."""
        self._book.take_brackets(brackets)

    def take_leverages(self, leverages: Mapping[Symbol, int]) -> None:
        """Take every symbol's real leverage, as the account guard read it."""
        self._book.take_leverages(leverages)

    def take_leverage(self, symbol: Symbol, leverage: int) -> None:
        """Somebody changed a leverage on the exchange: it holds for the next order."""
        self._book.take_leverage(symbol, leverage)
        self._changed.set()

    def recheck(self) -> None:
        """Read again soon: the stream was away, and what it would have told is missing here."""
        self._changed.set()

    def on_level(self, listener: LevelListener) -> None:
        """Tell a listener of each change of the level, in the step that found it."""
        self._listeners.append(listener)

    # --- what it answers ---

    @property
    def known(self) -> bool:
        """True while the last reading is young enough to admit entries."""
        age_ms = self.reading_age_ms()
        return 0 <= age_ms <= READING_AGE_MS_MAX

    @property
    def book(self) -> RealBook:
        return self._book

    def reading_age_ms(self) -> int:
        """Return the age of the last reading, -1 before the first."""
        return -1 if self._read_at is None else int((self._clock.monotonic() - self._read_at) * 1000)

    def figures(self) -> RealFigures:
        return self._book.figures()

    def purse(self, symbol: Symbol) -> RealPurse:
        """Return what the gate must know of the real account for an order on a symbol, as of now."""
        level = self.judge()
        return self._book.purse(symbol, known=self.known, blocked=level >= RealLevel.BLOCK)

    def judge(self) -> RealLevel:
        """Return the ladder's level as of now, and set the switches by it."""
        if self._read_at is None:
            return self._level
        figures = self._book.figures()
        before, self._level = self._level, level_after(self._level, figures.margin_ratio)
        if self._level is not before:
            self._switches.real_level = self._level
            for listener in self._listeners:
                listener(self._level, figures)
        return self._level

    # --- reading ---

    async def start(self) -> None:
        """Read once before trading; what cannot be read is unknown, and entries wait for it."""
        try:
            await self.read()
        except ExchangeError as error:
            self._failed(error)

    async def read(self) -> None:
        """Read the account now. Raises ExchangeError; then nothing changed."""
        began, initial_before = self._clock.monotonic(), self._book.figures().initial_margin
        as_of_ms = await self._account.server_time_ms()
        wallet = await self._account.wallet()
        positions = await self._account.positions()
        for position in positions:
            self._market.subscribe(position.symbol)  # nothing is judged, or shed, without its mark
        held = {
            each.symbol: RealPosition(each.signed_quantity, each.entry_price, each.update_time_ms)
            for each in positions
        }
        reading = RealReading(
            as_of_ms,
            wallet.wallet_balance,
            wallet.margin_balance,
            wallet.available_balance,
            wallet.maintenance_margin,
            held,
        )
        self._book.take_reading(reading, initial_before)
        self._read_at = began
        self._readings += 1

    async def run(self) -> None:
        """Read every `READ_SECONDS` and soon after each change, until cancelled."""
        while True:
            told = await set_within(self._changed, self._clock, READ_SECONDS)
            self._changed.clear()
            try:
                await self.read()
            except ExchangeError as error:
                self._failed(error)
                if told:
                    self._changed.set()
            self.judge()
            await self._clock.sleep(READ_SECONDS_MIN)

    def statistics(self) -> RealAccountStatistics:
        figures = self._book.figures()
        equity, balance = self._coverage.equity(), figures.margin_balance
        return RealAccountStatistics(
            level=self._level,
            known=self.known,
            reading_age_ms=self.reading_age_ms(),
            margin_balance=balance,
            margin_available=figures.margin_available,
            initial_margin=figures.initial_margin,
            maintenance_margin=figures.maintenance_margin,
            reserved_elsewhere=figures.reserved_elsewhere,
            margin_ratio=figures.margin_ratio,
            virtual_equity=equity,
            coverage=equity / balance if balance > 0 else ZERO,
            readings=self._readings,
            failures=self._failures,
        )

    # --- inside ---

    def _failed(self, error: ExchangeError) -> None:
        self._failures += 1
        log.warning("real_account_unread", error=str(error), age_ms=self.reading_age_ms(), known=self.known)

    def _mark(self, symbol: Symbol) -> Decimal | None:
        mark = self._prices.mark_price(symbol)
        return None if mark is None else Decimal(repr(mark))
