"""What the exchange takes in one market order of a symbol: lots, bounds, slices, dust."""

from dataclasses import dataclass
from decimal import Decimal

from pms.model.money import CONTEXT, ZERO, round_down
from pms.model.symbol import SymbolRules


@dataclass(frozen=True, slots=True)
class Lots:
    """Market-order filters in base units; `notional_min` in quote units. A bound of 0 is switched off."""

    step: Decimal
    quantity_min: Decimal
    quantity_max: Decimal
    notional_min: Decimal

    @staticmethod
    def of(rules: SymbolRules) -> "Lots":
        """Return the filters of market orders (MARKET_LOT_SIZE, else LOT_SIZE)."""
        smallest, largest = rules.quantity_bounds(market=True)
        step = rules.market_quantity_step or rules.quantity_step
        return Lots(step, smallest, largest, rules.notional_min)

    def whole(self, quantity: Decimal) -> Decimal:
        """Return the part of a quantity that lies on lots."""
        return round_down(quantity, self.step)

    def too_small(self, quantity: Decimal, mark: Decimal | None, *, reduce_only: bool) -> bool:
        """Tell whether the exchange refuses an order as dust; reducing ones need no minimum notional.

        Without a mark nothing is known of the notional, and the exchange is let decide.
        """
        if quantity <= 0 or quantity < self.quantity_min:
            return True
        return not reduce_only and mark is not None and quantity * mark < self.notional_min

    def slices(self, quantity: Decimal) -> tuple[Decimal, ...]:
        """Cut a quantity on lots into the fewest orders, all nearly the same size: none is dust unless the
        whole is."""
        if not self.quantity_max or quantity <= self.quantity_max:
            return (quantity,) if quantity > 0 else ()
        largest = self.whole(self.quantity_max)
        if largest <= 0:
            return ()
        count = int(CONTEXT.divide(quantity, largest).to_integral_value(rounding="ROUND_UP"))
        even = self.whole(CONTEXT.divide(quantity, Decimal(count)))
        parts = [even] * count
        left = quantity - even * count
        for index in range(count):
            extra = min(left, self.step or left, largest - even)
            parts[index] += extra
            left -= extra
        return tuple(parts) if left == ZERO else (*parts, left)
