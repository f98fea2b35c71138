"""Symbols in the unified form and the exchange's trading filters; the one place where orders are rounded."""

from dataclasses import dataclass
from decimal import Decimal
from typing import NewType

from pms.model.money import ZERO, Price, Quantity, round_down, round_nearest

Symbol = NewType("Symbol", str)
"""Unified form, `BTC/USDT:USDT`; the native form exists only in the exchange adapter and the simulator."""


@dataclass(frozen=True, slots=True)
class SymbolRules:
    """What the exchange demands of orders on one symbol. All steps and bounds in exchange units.

    `price_tick`, `quantity_step`, `market_quantity_step` of 0 switch the rule off. `notional_min` in quote
    asset. `trading` is False when the symbol has left the exchange's TRADING state: then only reducing is
    allowed. `ended`: the contract is closed for good, and settled.
    """

    symbol: Symbol
    base: str
    quote: str
    settle: str
    price_tick: Decimal
    price_min: Decimal
    price_max: Decimal
    quantity_step: Decimal
    quantity_min: Decimal
    quantity_max: Decimal
    market_quantity_step: Decimal
    market_quantity_min: Decimal
    market_quantity_max: Decimal
    notional_min: Decimal
    price_precision: int
    quantity_precision: int
    open_orders_max: int = 200
    percent_price_up: Decimal = ZERO
    percent_price_down: Decimal = ZERO
    trading: bool = True
    ended: bool = False

    def round_quantity(self, quantity: Decimal, *, market: bool) -> Quantity:
        """Truncate a quantity to the lot step; the result may be 0, which the caller must refuse."""
        step = self.market_quantity_step if market and self.market_quantity_step else self.quantity_step
        return Quantity(round_down(quantity, step))

    def round_price(self, price: Decimal) -> Price:
        """Round a price to the tick, ties away from zero."""
        return Price(round_nearest(price, self.price_tick))

    def quantity_bounds(self, *, market: bool) -> tuple[Decimal, Decimal]:
        """Return the smallest and largest quantity of one order of that kind."""
        if market and self.market_quantity_max:
            return self.market_quantity_min, self.market_quantity_max
        return self.quantity_min, self.quantity_max
