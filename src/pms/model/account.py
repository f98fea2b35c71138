"""Sub-accounts, their risk rules and their virtual positions, as plain frozen values."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from pms.model.ids import PositionId, SubAccountId, UserId
from pms.model.money import Money, Price, Quantity
from pms.model.symbol import Symbol


class AccountStatus(StrEnum):
    """`FROZEN` blocks new exposure only: frozen accounts stay under risk control (decision 21)."""

    ACTIVE = "ACTIVE"
    FROZEN = "FROZEN"
    LIQUIDATED = "LIQUIDATED"


class LiquidationMode(StrEnum):
    """What happens at the liquidation threshold; unknown text behaves as ADL_30 (ledger spec 1.2)."""

    ADL_30 = "ADL_30"
    INSTANT_CLOSE = "INSTANT_CLOSE"
    TAKEOVER = "TAKEOVER"


class PositionSide(StrEnum):
    """Direction of a virtual position."""

    LONG = "LONG"
    SHORT = "SHORT"

    @property
    def opposite(self) -> "PositionSide":
        return PositionSide.SHORT if self is PositionSide.LONG else PositionSide.LONG

    @property
    def sign(self) -> int:
        """+1 for LONG, -1 for SHORT."""
        return 1 if self is PositionSide.LONG else -1


class PositionStatus(StrEnum):
    OPEN = "OPEN"
    CLOSED = "CLOSED"
    LIQUIDATED = "LIQUIDATED"
    TAKEN_OVER = "TAKEN_OVER"


@dataclass(frozen=True, slots=True)
class RiskRules:
    """Limits of one sub-account (or the global default), ledger spec 4.1.

    `leverage_max` is a factor, the notionals are in USDT, `liquidation_threshold` is a margin ratio in (0,
    1].
    """

    leverage_max: Decimal = Decimal(100)
    notional_per_trade_max: Decimal = Decimal(200)
    exposure_max: Decimal = Decimal(500)
    liquidation_threshold: Decimal = Decimal("0.90")


@dataclass(frozen=True, slots=True)
class SubAccount:
    """One virtual account. `balance` is realised cash >= 0, `owed` what clamping left unpaid (decision 4)."""

    id: SubAccountId
    user_id: UserId | None
    name: str
    type: str
    initial_balance: Money
    balance: Money
    owed: Money
    status: AccountStatus
    liquidation_mode: LiquidationMode
    maintenance_rate: Decimal
    created_at_ms: int
    updated_at_ms: int

    @property
    def cash(self) -> Money:
        """Balance less what is owed: what risk equity and availability are computed from (decision 4)."""
        return Money(self.balance - self.owed)


@dataclass(frozen=True, slots=True)
class Position:
    """One virtual position; while open, exactly one per (sub-account, symbol).

    `cost` is the exact sum of price x quantity of what is open; the entry price is derived from it (decision
    5). `revision` grows with every change of the row.
    """

    id: PositionId
    sub_account_id: SubAccountId
    symbol: Symbol
    side: PositionSide
    quantity: Quantity
    cost: Money
    leverage: Decimal
    liquidation_price: Price
    status: PositionStatus
    babysitter_excluded: bool
    opened_at_ms: int
    revision: int

    @property
    def entry_price(self) -> Price:
        """Volume-weighted entry; 0 for an empty position."""
        return Price(self.cost / self.quantity) if self.quantity else Price(Decimal(0))

    @property
    def notional(self) -> Money:
        """Entry notional: entry x quantity, never marked (ledger spec 1.2)."""
        return self.cost

    @property
    def margin(self) -> Money:
        """Initial margin at entry: notional / leverage."""
        return Money(self.cost / self.leverage)

    @property
    def signed_quantity(self) -> Decimal:
        """Quantity with the sign of the side."""
        return self.quantity * self.side.sign
