"""The queue of auto-deleveraging: who is closed first when a bankrupt position finds no taker (spec 7)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from pms.simulator.account_book import AccountBook
from pms.simulator.clearing import Clearing
from pms.simulator.margin_desk import MarginDesk
from pms.simulator.state import FUND_ID, ZERO, Account, Position

QUANTILES = 5


@dataclass(frozen=True, slots=True)
class Holder:
    """A position in the queue with its rank: profit and leverage together, higher is closed earlier."""

    account: Account
    position: Position
    score: Decimal


def score(position: Position, mark: Decimal, equity: Decimal) -> Decimal:
    """Return profit ratio × effective leverage of a winner; a loser's ratio divided by its leverage."""
    cost, notional = abs(position.cost), abs(position.quantity) * mark
    if not cost or not notional or equity <= 0:
        return ZERO
    profit, leverage = position.unrealized(mark) / cost, notional / equity
    return profit * leverage if profit > 0 else profit / leverage


class DeleveragingQueue:
    """Ranks the holders of one direction of a symbol; the insurance fund is not in the queue."""

    def __init__(self, book: AccountBook, clearing: Clearing, margin_desk: MarginDesk) -> None:
        self._book = book
        self._clearing = clearing
        self._margin_desk = margin_desk

    def of(self, symbol: str, long: bool) -> list[Holder]:
        """Return the holders of a direction, first to be closed first."""
        mark, asset = self._clearing.mark(symbol), self._margin_desk.asset_of(symbol)
        found = []
        for account_id in self._clearing.holders():
            account = self._book.by_id[account_id]
            mine = [
                p
                for p in self._clearing.held_by(account)
                if p.symbol == symbol and (p.quantity > 0) == long and account_id != FUND_ID
            ]
            if mine:
                totals = self._margin_desk.of(account, asset)
                for p in mine:
                    leg = totals.legs[symbol, p.side]
                    equity = leg.isolated_margin if leg.isolated else totals.cross_equity
                    found.append(Holder(account, p, score(p, mark, equity)))
        return sorted(found, key=lambda h: (-h.score, h.account.account_id, h.position.side))

    def quantile(self, account: Account, symbol: str, side: str) -> int:
        """Return the fifth of the queue in which a position stands: 4 is closed first; 0 when flat."""
        position = self._clearing.position_of(account, symbol, side)
        if not position.quantity:
            return 0
        queue = self.of(symbol, position.quantity > 0)
        behind = next((len(queue) - 1 - n for n, h in enumerate(queue) if h.position is position), 0)
        return behind * QUANTILES // len(queue)
