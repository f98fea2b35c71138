"""What an incoming order meets, step by step: the market's levels and the exchange's own resting orders.

Better price first. At one price an own order waits for what stands ahead of it in the queue (decision 0034);
own orders among themselves go by price, then by the time at which they took their place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from pms.simulator import matching
from pms.simulator.state import ZERO, Market, Order

AheadOf = Callable[[int], Decimal | None]


@dataclass(frozen=True, slots=True)
class Offer:
    """One step: a price, at most this quantity, and the own resting order behind it (None: the market)."""

    price: Decimal
    quantity: Decimal
    maker: Order | None


class Walk:
    """Walks one incoming order through what it can take. `limit` None takes any price."""

    def __init__(
        self,
        market: Market,
        side: str,
        limit: Decimal | None,
        tick: Decimal,
        own: Iterable[Order],
        ahead: AheadOf,
    ) -> None:
        self._sign = 1 if side == "BUY" else -1
        self._market = market
        self._side = side
        self._limit = limit
        self._ahead = ahead
        self._levels = matching.levels(market, side, tick)
        self._price, self._left, self._used = ZERO, ZERO, ZERO
        crossing = [o for o in own if o.side != side and not self._beyond(o.price)]
        self._own = sorted(crossing, key=lambda o: (o.price * self._sign, o.queue_key))
        self.fills: list[matching.Fill] = []
        self._next_level()

    def _beyond(self, price: Decimal) -> bool:
        return self._limit is not None and (price - self._limit) * self._sign > 0

    def _next_level(self) -> None:
        self._used = ZERO
        self._price, self._left = next(self._levels, (ZERO, ZERO))
        if self._left and self._beyond(self._price):
            self._left = ZERO

    def next(self, wanted: Decimal) -> Offer | None:
        """Return the next step of at most `wanted`, None when there is nothing more at this limit.

        A step against the market counts as taken; one against an own order is the caller's to execute, or
        to take that order off the book.
        """
        while self._own and not self._own[0].is_open:
            self._own.pop(0)
        maker = self._own[0] if self._own else None
        if maker is not None and (not self._left or (maker.price - self._price) * self._sign < 0):
            return Offer(maker.price, min(wanted, maker.remaining), maker)
        if not self._left:
            return None
        most = self._left
        if maker is not None and maker.price == self._price:
            most = min(most, self._front(maker))
            if not most:
                return Offer(maker.price, min(wanted, maker.remaining), maker)
        price, part = self._price, min(wanted, most)
        self.fills.append((price, part))
        self._left -= part
        self._used += part
        if not self._left:
            self._next_level()
        return Offer(price, part, None)

    def _front(self, maker: Order) -> Decimal:
        """Return what of the level still stands before an own order; a scripted level has no queue."""
        ahead = ZERO if self._market.scripted else self._ahead(maker.order_id) or ZERO
        taken = self._market.taken.get((self._side, self._price), ZERO)
        return max(ZERO, ahead - taken - self._used)

    def consume(self) -> None:
        """Mark the steps against the market as taken from its levels."""
        matching.consume(self._market, self._side, self.fills)


def best_own(side: str, own: Iterable[Order]) -> Decimal | None:
    """Return the best price at which an order of `side` would meet an own resting order."""
    prices = [o.price for o in own if o.side != side]
    if not prices:
        return None
    return min(prices) if side == "BUY" else max(prices)


def fillable(
    market: Market, side: str, quantity: Decimal, tick: Decimal, limit: Decimal, own: Iterable[Order]
) -> bool:
    """Tell whether an order could be executed whole at once (FOK)."""
    sign = 1 if side == "BUY" else -1
    there = sum((q for _, q in matching.take(market, side, quantity, tick, limit)), ZERO)
    there += sum((o.remaining for o in own if o.side != side and (o.price - limit) * sign <= 0), ZERO)
    return there >= quantity
