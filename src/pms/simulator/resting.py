"""Which resting orders fill, and how much, when the tape moves: trades, quotes and depth of one symbol.

* A trade at an order's price takes what stands ahead first (`queue_model`), then the order.
* A trade beyond the price, or an opposite best at or beyond it, fills the order whole: everybody who stood
  there is gone. Where sizes are modelled or scripted (`Market.capped`) an opposite quote gives all resting
  orders of that side together at most its displayed size, and a trade at most its own.
* Between the exchange's own orders: price, then time.

A resting order fills at its own price. Nothing here executes: the caller does, in the order returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_DOWN, Decimal

from pms.simulator import matching
from pms.simulator.queue_model import QueueModel, Waiting, risk_averse
from pms.simulator.state import ZERO, Market, Order

PassiveFill = tuple[Order, Decimal]


class RestingQueue:
    """The places of the resting orders of one symbol.

    An order joins lazily, before the first update that follows it: the book has not changed in between.
    Bounded by the open orders themselves: places of closed ones are dropped at every update.
    """

    def __init__(
        self, market: Market, tick: Decimal, lot_step: Decimal, model: QueueModel = risk_averse
    ) -> None:
        self._market = market
        self._tick = tick
        self._lot_step = lot_step
        self._model = model
        self._waiting: dict[int, Waiting] = {}
        self._sequence = 0

    def ahead_of(self, order_id: int) -> Decimal | None:
        """Return the estimated quantity ahead of an order in base asset, None when it has no place."""
        place = self._waiting.get(order_id)
        return place.ahead if place is not None else None

    def requeue(self, order_id: int) -> None:
        """Forget the place of an order: an amended one goes to the back (spec 2.2, PUT order)."""
        self._waiting.pop(order_id, None)

    def join(self, orders: Mapping[int, Order]) -> None:
        """Give a place to each order that has none; call it before the market changes."""
        for order_id in [known for known in self._waiting if known not in orders]:
            del self._waiting[order_id]
        for order_id, order in orders.items():
            known = self._waiting.get(order_id)
            if known is None or known.price != order.price:
                self._waiting[order_id] = self._place(order)

    def _place(self, order: Order) -> Waiting:
        shown = matching.shown_at(self._market, order.side, order.price, self._tick)
        ahead = shown
        if ahead is None:
            ahead = matching.modelled_at(self._market, order.side, order.price, self._tick)
        self._sequence += 1
        return Waiting(order.order_id, order.side, order.price, ahead, shown, self._sequence)

    def level_changed(self) -> None:
        """The displayed quantities may have changed: move every place accordingly."""
        for place in self._waiting.values():
            shown = matching.shown_at(self._market, place.side, place.price, self._tick)
            if shown is None:
                place.shown = None
            else:
                place.level(shown, self._model)

    def crossed(self, orders: Mapping[int, Order]) -> list[PassiveFill]:
        """Return the fills of orders that the opposite best has reached."""
        self.join(orders)
        market, fills = self._market, []
        for side, best, size in (
            ("BUY", market.ask, market.ask_quantity),
            ("SELL", market.bid, market.bid_quantity),
        ):
            sign = 1 if side == "BUY" else -1
            hit = [o for o in orders.values() if o.side == side and (o.price - best) * sign >= 0]
            left = size
            for order in self._by_priority(hit):
                part = min(left, order.remaining) if market.capped else order.remaining
                left -= part
                if part > 0:
                    fills.append((order, part))
        return fills

    def traded(
        self, orders: Mapping[int, Order], price: Decimal, quantity: Decimal, buyer_is_maker: bool
    ) -> list[PassiveFill]:
        """Return the fills that one public trade gives. Quantity in base asset."""
        self.join(orders)
        side = "BUY" if buyer_is_maker else "SELL"
        sign = 1 if side == "BUY" else -1
        hit = [o for o in orders.values() if o.side == side and (o.price - price) * sign >= 0]
        fills: list[PassiveFill] = []
        left = quantity
        for order in self._by_priority(hit):
            if order.price != price:
                part = min(left, order.remaining) if self._market.capped else order.remaining
            else:
                past = self._waiting[order.order_id].trade(quantity) - (quantity - left)
                part = min(order.remaining, self._lots(past))
            if part > 0:
                fills.append((order, part))
                left = max(ZERO, left - part) if self._market.capped or order.price == price else left
        return fills

    def _lots(self, quantity: Decimal) -> Decimal:
        if quantity <= 0 or not self._lot_step:
            return max(ZERO, quantity)
        return (quantity / self._lot_step).to_integral_value(ROUND_DOWN) * self._lot_step

    def _by_priority(self, orders: Iterable[Order]) -> list[Order]:
        def rank(order: Order) -> tuple[Decimal, int]:
            return -order.price * order.sign, self._waiting[order.order_id].sequence

        return sorted(orders, key=rank)
