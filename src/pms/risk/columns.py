"""NumPy columns of the risk book: they grow by doubling and stay dense when a row leaves."""

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
    twice.
    """

    __slots__ = (
        "accounts",
        "count",
        "entries",
        "position_ids",
        "price",
        "quantities",
        "received_ms",
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
        return row

    def remove(self, row: int) -> PositionId | None:
        """Remove a row by moving the last one into it; return the position that moved, if any."""
        last = self.count - 1
        moved: PositionId | None = None
        if row != last:
            moved = self.position_ids[last]
            self.position_ids[row] = moved
            for column in (self.accounts, self.quantities, self.entries):
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


class AccountColumns:
    """Equity and its alarm bounds by account index; freed rows are used again.

    `low` and `high`: an account is looked at when its equity is at or below `low`, or above `high`. A freed
    row has quiet bounds.
    """

    __slots__ = ("_free", "cash", "count", "equity", "high", "low")

    def __init__(self) -> None:
        self.count = 0
        self.cash: Floats = np.zeros(INITIAL_CAPACITY)
        self.equity: Floats = np.zeros(INITIAL_CAPACITY)
        self.low: Floats = np.zeros(INITIAL_CAPACITY)
        self.high: Floats = np.zeros(INITIAL_CAPACITY)
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
        self.count += 1
        return self.count - 1

    def release(self, row: int) -> None:
        """Free a row that no symbol column refers to any more."""
        self.cash[row] = self.equity[row] = 0.0
        self.low[row], self.high[row] = -np.inf, np.inf
        self._free.append(row)
