"""What the open orders of each account could add to its positions, kept current order by order."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from pms.simulator.state import ZERO, Order

ExposureKey = tuple[int, str, str]
"""(account id, symbol, position side)."""


@dataclass(slots=True)
class Exposure:
    """Open orders of one position side, in quote asset at their own prices.

    `bids` and `asks` are those that may open or enlarge a position and so need margin; `bid_notional` and
    `ask_notional` are all of them, as the answers show.
    """

    bids: Decimal = ZERO
    asks: Decimal = ZERO
    bid_notional: Decimal = ZERO
    ask_notional: Decimal = ZERO
    count: int = 0

    def add(self, part: Contribution, sign: int) -> None:
        """Add (+1) or take away (−1) the part of one order."""
        if part.buys:
            self.bids += sign * part.opening
            self.bid_notional += sign * part.notional
        else:
            self.asks += sign * part.opening
            self.ask_notional += sign * part.notional
        self.count += sign


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one order adds: its notional, and the part of it that may open."""

    key: ExposureKey
    buys: bool
    notional: Decimal
    opening: Decimal


def contribution(order: Order, price: Decimal) -> Contribution:
    """Return what an order adds at a price; one that can only reduce opens nothing."""
    notional = order.remaining * price
    buys = order.sign > 0
    opening = ZERO if order.closes else notional
    return Contribution((order.account_id, order.symbol, order.position_side), buys, notional, opening)


NOTHING = Exposure()


class Exposures:
    """Sums over open orders; cost O(1) for an order, whatever else is open."""

    def __init__(self) -> None:
        self._sums: dict[int, dict[tuple[str, str], Exposure]] = {}
        self._parts: dict[int, Contribution] = {}

    def update(self, order: Order) -> None:
        """Count an order as it is now: again after each change, no more once it is not open."""
        self.drop(order.order_id)
        if order.is_open and order.remaining > 0:
            new = contribution(order, order.price)
            self._parts[order.order_id] = new
            self._apply(new, 1)

    def drop(self, order_id: int) -> None:
        """Count an order no more."""
        old = self._parts.pop(order_id, None)
        if old is not None:
            self._apply(old, -1)

    def _apply(self, part: Contribution, sign: int) -> None:
        account_id, symbol, side = part.key
        mine = self._sums.setdefault(account_id, {})
        total = mine.setdefault((symbol, side), Exposure())
        total.add(part, sign)
        if not total.count:
            del mine[symbol, side]

    def of(self, account_id: int, symbol: str, side: str) -> Exposure:
        """Return the sums of one position side."""
        return self._sums.get(account_id, {}).get((symbol, side), NOTHING)

    def used(self, account_id: int) -> set[tuple[str, str]]:
        """Return the (symbol, position side) pairs with an open order."""
        return set(self._sums.get(account_id, ()))
