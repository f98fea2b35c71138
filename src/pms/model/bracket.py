"""The exchange's leverage brackets of a symbol: what a notional needs as maintenance margin."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class LeverageBracket:
    """One maintenance bracket; rates are fractions, notionals and `cumulative` in quote asset."""

    leverage_max: int
    notional_floor: Decimal
    notional_cap: Decimal
    maintenance_rate: Decimal
    cumulative: Decimal
