"""NumPy columns of the risk book: they grow by doubling and stay dense when a row leaves."""

import math

import numpy as np
from numpy.typing import NDArray

from pms.model.ids import PositionId
from pms.model.symbol import Symbol

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

INITIAL_CAPACITY = 16


def grown_floats(column: Floats, capacity: int) -> Floats:
    """Return a longer copy of a column, filled up with zeros."""
    longer = np.zeros(capacity, dtype=np.float64)
    longer[: column.size] = column
    return longer


class SymbolColumns:
    """The holders of one symbol: account index, signed quantity, entry, each in a dense column.

    An account holds a symbol at most once (invariant 4), so scattering by account index never meets one
    twice. With brackets a row's maintenance is slope x price - cumulative while the price is from `piece_low`
    to below `piece_high`, and `needs` holds its last value; without them these columns stay zero.
    """

    __slots__ = (
        "accounts",
        "count",
        "cumulatives",
        "entries",
        "needs",
        "piece_high",
        "piece_low",
        "position_ids",
        "price",
        "quantities",
        "received_ms",
        "slopes",
        "steady_from",
        "steady_until",
        "symbol",
    )

    def __init__(self, symbol: Symbol) -> None:
        self.symbol = symbol
        self.count = 0
        self.price = 0.0
        self.received_ms = 0
        self.accounts: Indices = np.zeros(INITIAL_CAPACITY, dtype=np.intp)
        self.quantities: Floats = np.zeros(INITIAL_CAPACITY)
        self.entries: Floats = np.zeros(INITIAL_CAPACITY)
        self.slopes: Floats = np.zeros(INITIAL_CAPACITY)
        self.cumulatives: Floats = np.zeros(INITIAL_CAPACITY)
        self.piece_low: Floats = np.zeros(INITIAL_CAPACITY)
        self.piece_high: Floats = np.zeros(INITIAL_CAPACITY)
        self.needs: Floats = np.zeros(INITIAL_CAPACITY)
        self.steady_from, self.steady_until = 0.0, -math.inf
        self.position_ids: list[PositionId] = []

    @property
    def priced(self) -> bool:
        """True once a mark was seen; until then positions count at their entry."""
        return self.price > 0.0

    def append(self, position_id: PositionId, account: int, quantity: float, entry: float) -> int:
        """Add a holder and return its row."""
        if self.count == self.accounts.size:
            self._grow()
        row = self.count
        self.count += 1
        self.position_ids.append(position_id)
        self.accounts[row] = account
        self.quantities[row] = quantity
        self.entries[row] = entry
        self.set_piece(row, 0.0, 0.0, 0.0, math.inf, 0.0)
        return row

    def set_piece(
        self, row: int, slope: float, cumulative: float, low: float, high: float, need: float
    ) -> None:
        """Set the straight line that a row's maintenance follows between the prices `low` and `high`."""
        self.slopes[row], self.cumulatives[row] = slope, cumulative
        self.piece_low[row], self.piece_high[row] = low, high
        self.needs[row] = need
        # Nothing is known about all rows together until somebody asks.
        self.steady_until = -math.inf

    def leaving_piece(self, price: float) -> list[int]:
        """Return the rows whose line ends before this price; without any, it costs no look at the rows while
        prices stay within what the last look found."""
        if self.steady_from <= price < self.steady_until:
            return []
        low, high = self.piece_low[: self.count], self.piece_high[: self.count]
        rows: list[int] = np.logical_or(low > price, high <= price).nonzero()[0].tolist()
        if not rows and self.count:
            self.steady_from, self.steady_until = float(low.max()), float(high.min())
        return rows

    def remove(self, row: int) -> PositionId | None:
        """Remove a row by moving the last one into it; return the position that moved, if any."""
        last = self.count - 1
        moved: PositionId | None = None
        if row != last:
            moved = self.position_ids[last]
            self.position_ids[row] = moved
            for column in (self.accounts, *self._floats()):
                column[row] = column[last]
        self.position_ids.pop()
        self.count = last
        return moved

    def _grow(self) -> None:
        capacity = self.accounts.size * 2
        accounts = np.zeros(capacity, dtype=np.intp)
        accounts[: self.accounts.size] = self.accounts
        self.accounts = accounts
        self.quantities = grown_floats(self.quantities, capacity)
        self.entries = grown_floats(self.entries, capacity)
        self.slopes = grown_floats(self.slopes, capacity)
        self.cumulatives = grown_floats(self.cumulatives, capacity)
        self.piece_low = grown_floats(self.piece_low, capacity)
        self.piece_high = grown_floats(self.piece_high, capacity)
        self.needs = grown_floats(self.needs, capacity)

    def _floats(self) -> tuple[Floats, ...]:
        return (
            self.quantities,
            self.entries,
            self.slopes,
            self.cumulatives,
            self.piece_low,
            self.piece_high,
            self.needs,
        )


class AccountColumns:
    """Equity and its alarm bounds by account index; freed rows are used again.

    `low` and `high`: an account is looked at when its equity is at or below `low`, or above `high`. With
    brackets maintenance moves too: the bounds are then `low_factor` x maintenance + `low`, and
    `high_factor` x maintenance + `high`. A freed row has quiet bounds.
    """

    __slots__ = (
        "_free",
        "cash",
        "count",
        "equity",
        "high",
        "high_factor",
        "low",
        "low_factor",
        "maintenance",
        "rate",
        "threshold",
    )

    def __init__(self) -> None:
        self.count = 0
        self.cash: Floats = np.zeros(INITIAL_CAPACITY)
        self.equity: Floats = np.zeros(INITIAL_CAPACITY)
        self.low: Floats = np.zeros(INITIAL_CAPACITY)
        self.high: Floats = np.zeros(INITIAL_CAPACITY)
        self.maintenance: Floats = np.zeros(INITIAL_CAPACITY)
        self.low_factor: Floats = np.zeros(INITIAL_CAPACITY)
        self.high_factor: Floats = np.zeros(INITIAL_CAPACITY)
        self.rate: Floats = np.zeros(INITIAL_CAPACITY)
        self.threshold: Floats = np.zeros(INITIAL_CAPACITY)
        self._free: list[int] = []

    @property
    def capacity(self) -> int:
        return int(self.equity.size)

    def allocate(self) -> int:
        """Return a free row."""
        if self._free:
            return self._free.pop()
        if self.count == self.equity.size:
            capacity = self.equity.size * 2
            self.cash = grown_floats(self.cash, capacity)
            self.equity = grown_floats(self.equity, capacity)
            self.low = grown_floats(self.low, capacity)
            self.high = grown_floats(self.high, capacity)
            self.maintenance = grown_floats(self.maintenance, capacity)
            self.low_factor = grown_floats(self.low_factor, capacity)
            self.high_factor = grown_floats(self.high_factor, capacity)
            self.rate = grown_floats(self.rate, capacity)
            self.threshold = grown_floats(self.threshold, capacity)
        self.count += 1
        return self.count - 1

    def release(self, row: int) -> None:
        """Free a row that no symbol column refers to any more."""
        self.cash[row] = self.equity[row] = 0.0
        self.maintenance[row] = self.low_factor[row] = self.high_factor[row] = 0.0
        self.low[row], self.high[row] = -np.inf, np.inf
        self._free.append(row)
