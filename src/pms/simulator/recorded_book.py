"""The order book of a recording: absolute quantities by price, applied as the depth events came."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

ZERO = Decimal(0)
Level = tuple[Decimal, Decimal]
LEVELS_MAX = 5000


class Side:
    """One side of a book, sorted by price. `sign` +1 for asks (best is lowest), −1 for bids."""

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._keys: list[Decimal] = []
        self._quantities: dict[Decimal, Decimal] = {}

    def __len__(self) -> int:
        """Number of levels."""
        return len(self._keys)

    def set(self, price: Decimal, quantity: Decimal) -> None:
        """Set a level; zero removes it, and removing an absent one is normal (spec 4.3)."""
        known = price in self._quantities
        if quantity > 0:
            self._quantities[price] = quantity
            if not known:
                insort(self._keys, price * self._sign)
                self._bound()
        elif known:
            del self._quantities[price]
            del self._keys[bisect_left(self._keys, price * self._sign)]

    def _bound(self) -> None:
        """Forget the worst level beyond `LEVELS_MAX`: nobody's order walks that far."""
        if len(self._keys) > LEVELS_MAX:
            del self._quantities[self._keys.pop() * self._sign]

    def get(self, price: Decimal) -> Decimal:
        """Return the quantity at a price, zero when there is none."""
        return self._quantities.get(price, ZERO)

    def best(self) -> Level | None:
        """Return the best level, None of an empty side."""
        if not self._keys:
            return None
        price = self._keys[0] * self._sign
        return price, self._quantities[price]

    def worse_than(self, price: Decimal) -> Iterator[Level]:
        """Yield the levels strictly worse than a price, best first."""
        for key in self._keys[bisect_right(self._keys, price * self._sign) :]:
            level = key * self._sign
            yield level, self._quantities[level]

    def clear(self) -> None:
        """Forget every level."""
        self._keys.clear()
        self._quantities.clear()


class RecordedBook:
    """Both sides of one symbol. `applied` counts updates; until the first one the book says nothing."""

    def __init__(self) -> None:
        self.bids = Side(-1)
        self.asks = Side(1)
        self.applied = 0

    def side(self, taker_side: str) -> Side:
        """Return what an order of `taker_side` takes from: asks for BUY, bids for SELL."""
        return self.asks if taker_side == "BUY" else self.bids

    def apply(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Apply one difference."""
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for price, quantity in levels:
                side.set(price, quantity)
        self.applied += 1

    def replace(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Take a snapshot instead of everything known."""
        self.bids.clear()
        self.asks.clear()
        self.apply(bids, asks)


def levels_of(rows: Sequence[Sequence[str]]) -> list[Level]:
    """Return wire rows `[price, quantity]` as numbers. Raises `ValueError` for anything else."""
    try:
        return [(Decimal(row[0]), Decimal(row[1])) for row in rows]
    except (ArithmeticError, IndexError, TypeError) as error:
        raise ValueError(f"impossible level in {rows!r}") from error
