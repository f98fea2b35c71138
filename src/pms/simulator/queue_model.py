"""How far an order stands from the front of the queue at its price, seen through aggregated levels only.

A recording shows how much stands at a price, not whose. The displayed quantity at placement is ahead of
the order. Trades at the price take from the front. A decrease that no trade explains is cancellations, and
their place in the queue is the model's guess.

* `risk_averse`: every cancellation was behind the order.
* `power(n)`: with a quantity ahead and b behind, the share bⁿ / (aⁿ + bⁿ) of a cancellation was behind; the
  more there is behind, the likelier it was there. This is the estimator of Rigtorp ("Estimating order queue
  position", 2013) as hftbacktest knows it (`RiskAdverseQueueModel`, `PowerProbQueueFunc`; MIT); no code of
  either is used. Expected shares instead of draws keep it deterministic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

ZERO = Decimal(0)
EXACT = Decimal("0.00000001")
QueueModel = Callable[[Decimal, Decimal, Decimal], Decimal]


def risk_averse(ahead: Decimal, before: Decimal, decrease: Decimal) -> Decimal:
    """Return the quantity ahead after `decrease` of `before` was cancelled: all of it behind, if it fits."""
    return min(ahead, before - decrease)


def power(exponent: int) -> QueueModel:
    """Return the model that splits cancellations by powers of what is ahead and behind (n >= 1)."""

    def after(ahead: Decimal, before: Decimal, decrease: Decimal) -> Decimal:
        behind = max(ZERO, before - ahead)
        weight_ahead, weight_behind = ahead**exponent, behind**exponent
        if not weight_ahead + weight_behind:
            return ZERO
        cancelled_behind = min(behind, decrease * weight_behind / (weight_ahead + weight_behind))
        left = ahead - (decrease - cancelled_behind)
        return max(ZERO, min(left, before - decrease)).quantize(EXACT)

    return after


MODELS: dict[str, QueueModel] = {"power": power(2), "risk_averse": risk_averse}


@dataclass(slots=True)
class Waiting:
    """The place of one resting order. Quantities in base asset.

    `shown` is what the level last displayed (None: never seen), `traded` what traded there since, so that
    a decrease is not counted twice.
    """

    order_id: int
    side: str
    price: Decimal
    ahead: Decimal
    shown: Decimal | None
    sequence: int
    traded: Decimal = ZERO

    def level(self, shown: Decimal, model: QueueModel) -> None:
        """The level displays `shown` now."""
        if self.shown is not None:
            before = max(ZERO, self.shown - self.traded)
            decrease = before - shown
            if decrease > 0:
                self.ahead = model(self.ahead, before, decrease)
        self.ahead = min(self.ahead, shown)
        self.shown, self.traded = shown, ZERO

    def trade(self, quantity: Decimal) -> Decimal:
        """A trade of `quantity` at the price; returns what of it came past everybody ahead."""
        self.traded += quantity
        taken = min(self.ahead, quantity)
        self.ahead -= taken
        return quantity - taken
