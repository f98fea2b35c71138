"""What the gate is given and what it answers, as plain frozen values."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from pms.model.account import Position, PositionSide, RiskRules, SubAccount
from pms.model.money import ZERO, Price, Quantity
from pms.model.order import OrderCode, OrderSide, OrderType, TimeInForce
from pms.model.refusal import Refusal
from pms.model.restriction import Restriction
from pms.model.symbol import Symbol, SymbolRules
from pms.risk.formulas import pnl
from pms.risk.maintenance import Brackets
from pms.risk.real_purse import RealPurse
from pms.risk.reservations import OpenOrder


class FlipMode(StrEnum):
    """NET: an order against a position closes first and opens the remainder. INCUMBENT: a market entry's
    quantity is the new position, sent as old + new (decision 17)."""

    NET = "net"
    INCUMBENT = "incumbent"


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """An order as asked for. `quantity` unrounded, base units; `price` None for MARKET."""

    symbol: Symbol
    side: PositionSide
    type: OrderType
    quantity: Decimal
    leverage: Decimal
    code: OrderCode
    price: Decimal | None = None
    reduce_only: bool = False
    time_in_force: TimeInForce = TimeInForce.GTC


@dataclass(frozen=True, slots=True)
class MarkedPosition:
    """An open position with its mark; `mark` None when no price was ever seen, the age in ms."""

    position: Position
    mark: Decimal | None
    mark_age_ms: int = 0

    @property
    def unrealized_pnl(self) -> Decimal:
        """Profit (+) or loss at the mark, USDT; 0 without a mark."""
        position = self.position
        entry = position.entry_price
        return pnl(position.side is PositionSide.LONG, entry, self.mark or entry, position.quantity)


@dataclass(frozen=True, slots=True)
class GateInput:
    """Everything the gate decides from, read in one synchronous step.

    `positions` and `orders` are all open ones of the account; `orders` includes in-flight and unknown ones
    (MARKET valued at the mark of their approval). `closing_taken` is the reduce-only quantity promised
    already against the position that this order would close, `crossing_taken` that of market orders in flight
    which close it before they open: a pure close must leave them theirs. `open_orders` counts the symbol's
    open orders on the real account, `account_open_orders` those of them that are the account's; None as a
    limit: no bound. `restriction` is the strongest in force, `restriction_source` whose it is.
    `rule_refusals` is what the account's further rules say against an entry (`pms.risk.rules`).
    """

    account: SubAccount | None
    rules: RiskRules
    symbol_rules: SymbolRules | None
    request: OrderRequest
    mark: Decimal | None
    mark_age_ms: int
    positions: tuple[MarkedPosition, ...] = ()
    orders: tuple[OpenOrder, ...] = ()
    closing_taken: Decimal = ZERO
    crossing_taken: Decimal = ZERO
    liquidating: bool = False
    halted: bool = False
    ready: bool = True
    open_orders: int = 0
    open_orders_limit: int | None = None
    account_open_orders: int = 0
    account_open_orders_max: int | None = None
    flip_mode: FlipMode = FlipMode.NET
    real: RealPurse | None = None
    brackets: Brackets[Decimal] | None = None
    restriction: Restriction = Restriction.NONE
    restriction_source: str = ""
    rule_refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class Approved:
    """The gate's yes. `quantity` = `closing` + `opening`, rounded to the filters, as is `price`.

    `reduce_only` may be set although it was not asked for: new exposure was blocked and the order only
    reduces. `margin_required` is reserved for the opening part; `computed` holds the figures of spec 4.2 by
    wire name.
    """

    side: OrderSide
    quantity: Quantity
    price: Price | None
    closing: Decimal
    opening: Decimal
    margin_required: Decimal
    reduce_only: bool
    computed: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assessment:
    """The whole outcome: either `approved`, or `refusals` with the figures as far as they could be
    computed.
    """

    approved: Approved | None
    refusals: tuple[Refusal, ...]
    computed: dict[str, float]
