"""Funding: at each interval longs pay shorts, or the other way round, exactly once (Binance spec 7)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal

from pms.simulator.account_book import AccountBook
from pms.simulator.changes import Journal
from pms.simulator.clearing import Clearing
from pms.simulator.state import ZERO, Account, Funding, Market, Position, round_money

HOUR_MS = 3_600_000
DEFAULT_HOURS = 8
DEFAULT_RATE = "0.00010000"
CAUGHT_UP_MAX = 24
"""Intervals that one step settles at most when time has jumped; older ones are left out."""
SETTLED_KEPT = 400


class FundingDesk:
    """Settles every symbol at its own interval; a settled instant is stored, so no restart repeats it.

    `rate_of(symbol)` tells the rate in force, as a fraction in text, `hours_of(symbol)` the interval.
    """

    def __init__(
        self, journal: Journal, book: AccountBook, clearing: Clearing, markets: Mapping[str, Market]
    ) -> None:
        self._journal = journal
        self._book = book
        self._clearing = clearing
        self._markets = markets
        self.rate_of: Callable[[str], str] = lambda symbol: DEFAULT_RATE
        self.hours_of: Callable[[str], int] = lambda symbol: DEFAULT_HOURS
        self.settled: dict[str, deque[Funding]] = {}
        self.charged = True
        """False: rates are settled and told, and nobody pays."""
        self._next_ms = 0
        self._ticked_ms = 0

    def restore(self, row: Funding) -> None:
        """Take over a settled instant."""
        self.settled.setdefault(row.symbol, deque(maxlen=SETTLED_KEPT)).append(row)

    def interval_ms(self, symbol: str) -> int:
        """Return the time between two settlements of a symbol."""
        return self.hours_of(symbol) * HOUR_MS

    def next_ms(self, symbol: str, now_ms: int) -> int:
        """Return the next settlement of a symbol after a time."""
        interval = self.interval_ms(symbol)
        return (now_ms // interval + 1) * interval

    def tick(self, now_ms: int) -> None:
        """Settle what has become due since the last call; cheap between the full hours."""
        if now_ms < self._next_ms and now_ms >= self._ticked_ms:
            self._ticked_ms = now_ms
            return
        for symbol in sorted(self._markets):
            if self._clearing.mark(symbol) > 0:
                self._settle_due(symbol, now_ms)
        self._ticked_ms = now_ms
        live = any(self._clearing.mark(symbol) > 0 for symbol in self._markets)
        self._next_ms = (now_ms // HOUR_MS + 1) * HOUR_MS if live else 0

    def _settle_due(self, symbol: str, now_ms: int) -> None:
        interval = self.interval_ms(symbol)
        latest = now_ms // interval * interval
        known = self.settled.get(symbol)
        if not known:  # a new listing: nothing is owed for the time before the exchange saw it
            self._record(symbol, latest)
            return
        first = max(known[-1].time_ms // interval * interval + interval, latest - CAUGHT_UP_MAX * interval)
        if not self._ticked_ms:  # just started: the exchange was closed at the earlier ones
            first = max(first, latest)
        for time_ms in range(first, latest + 1, interval):
            row = self._record(symbol, time_ms)
            if self.charged:
                self._settle(row, now_ms)

    def _record(self, symbol: str, time_ms: int) -> Funding:
        row = Funding(symbol, time_ms, Decimal(self.rate_of(symbol) or 0), self._clearing.mark(symbol))
        self.restore(row)
        self._journal.changes.funding.append(row)
        return row

    def _settle(self, row: Funding, now_ms: int) -> None:
        """Pay every holder of a symbol; a hedge pays its net, and no net means no line and no event.

        Isolated positions pay each from its own wallet, and their events list them (spec 5.4).
        """
        for account_id in self._clearing.holders():
            account = self._book.by_id[account_id]
            held = [p for p in self._clearing.held_by(account) if p.symbol == row.symbol]
            if account.isolates(row.symbol):
                for position in held:
                    self._pay(account, row, [position], position, now_ms)
            else:
                self._pay(account, row, held, None, now_ms)

    def _pay(
        self, account: Account, row: Funding, held: list[Position], isolated: Position | None, now_ms: int
    ) -> None:
        amount = payment(held, row)
        if amount:
            asset, listed = self._clearing.margin_asset(row.symbol), [isolated] if isolated else []
            self._clearing.pay(
                account, row.symbol, "FUNDING_FEE", asset, amount, row.time_ms, position=isolated
            )
            self._clearing.tell(account, listed, "FUNDING_FEE", {asset: amount}, now_ms, row.symbol)


def payment(positions: list[Position], row: Funding) -> Decimal:
    """Return what the positions of one account in a symbol receive (negative: pay)."""
    return round_money(-sum((p.quantity for p in positions), ZERO) * row.mark * row.rate)
