"""How many decimals the numbers of a symbol have in answers and events (decision 0039)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from pms.simulator.rules import SymbolRules


@dataclass(frozen=True, slots=True)
class Scale:
    """Decimals of a symbol's prices and quantities."""

    price_decimals: int
    quantity_decimals: int

    def price(self, value: Decimal) -> str:
        """Return a price in the symbol's own scale, zeros kept."""
        return f"{value:.{self.price_decimals}f}"

    def quantity(self, value: Decimal) -> str:
        """Return a quantity in the symbol's own scale, zeros kept."""
        return f"{value:.{self.quantity_decimals}f}"

    def quote(self, value: Decimal) -> str:
        """Return a quote amount or an average price: with the decimals of price and quantity together."""
        return f"{value:.{self.price_decimals + self.quantity_decimals}f}"


NOT_LISTED = Scale(8, 8)
"""Of a symbol that this run does not list, but whose history the data file holds."""


def scale_of(rules: Mapping[str, SymbolRules], symbol: str) -> Scale:
    """Return the scale of a symbol."""
    found = rules.get(symbol)
    return Scale(found.info.price_precision, found.info.quantity_precision) if found else NOT_LISTED
