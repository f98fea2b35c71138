"""Money that comes without an execution: funding rates, and the exchange's own income lines."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from pms.model.money import Price
from pms.model.symbol import Symbol


class FundingType(StrEnum):
    """SPECIAL pays for stock dividends on TradFi perpetuals, beside or between the regular ones (Binance spec
    7)."""

    REGULAR = "REGULAR"
    SPECIAL = "SPECIAL"


@dataclass(frozen=True, slots=True)
class FundingKey:
    """Identity of one funding of a symbol; `time_ms` is the exchange's, Unix ms."""

    symbol: Symbol
    time_ms: int
    type: FundingType = FundingType.REGULAR


@dataclass(frozen=True, slots=True)
class FundingRate:
    """One funding as settled. `rate` is a fraction: when positive longs pay, shorts receive."""

    key: FundingKey
    rate: Decimal
    mark_price: Price


@dataclass(frozen=True, slots=True)
class FundingUnpriced:
    """A funding whose mark price the exchange tells nowhere, or not yet."""

    key: FundingKey
    rate: Decimal


@dataclass(frozen=True, slots=True)
class FundingUnreadable:
    """A line of the funding history that does not say what was settled; the key's type is a guess."""

    key: FundingKey
    reason: str


ToldFunding = FundingRate | FundingUnpriced | FundingUnreadable
"""A line of the exchange's funding history."""


@dataclass(frozen=True, slots=True)
class Income:
    """One line of the real account's income history. `amount` is positive when received, in `asset`.

    `symbol` is None where the line names none, or one that the exchange lists no more; `native_symbol` keeps
    what it said. `transaction_id` is unique for each type.
    """

    type: str
    transaction_id: str
    native_symbol: str
    symbol: Symbol | None
    asset: str
    amount: Decimal
    time_ms: int


TRADE_INCOME = frozenset({"REALIZED_PNL", "COMMISSION", "DELIVERED_SETTELMENT"})
"""Types that an execution explains; booking the execution books them (decision 1). The last is the exchange's
spelling."""
