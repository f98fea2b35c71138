"""Orders from intent to the end: sides, types, states, and the approved order that may be sent."""

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from pms.model.account import PositionSide
from pms.model.exchange_close import NEVER_REPLACED_CODES
from pms.model.ids import ClientOrderId, ExchangeOrderId, PendingOrderId, PositionId, SubAccountId
from pms.model.money import Price, Quantity
from pms.model.symbol import Symbol


class OrderSide(StrEnum):
    """Side on the exchange."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def opposite(self) -> "OrderSide":
        return OrderSide.SELL if self is OrderSide.BUY else OrderSide.BUY

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL."""
        return 1 if self is OrderSide.BUY else -1

    @property
    def opens(self) -> PositionSide:
        """The position side that this order opens or adds to."""
        return PositionSide.LONG if self is OrderSide.BUY else PositionSide.SHORT

    @staticmethod
    def opening(side: PositionSide) -> "OrderSide":
        """Opening LONG buys, opening SHORT sells (ledger spec 0.2)."""
        return OrderSide.BUY if side is PositionSide.LONG else OrderSide.SELL

    @staticmethod
    def closing(side: PositionSide) -> "OrderSide":
        """Closing LONG sells, closing SHORT buys."""
        return OrderSide.opening(side).opposite


class OrderType(StrEnum):
    MARKET = "MARKET"
    LIMIT = "LIMIT"


class TimeInForce(StrEnum):
    """GTX is post-only; MARKET orders carry GTC, which the adapter leaves out."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTX = "GTX"


class SelfMatchPrevention(StrEnum):
    """Decision 14: EXPIRE_MAKER for liquidation, close and stop; EXPIRE_TAKER for entries."""

    EXPIRE_MAKER = "EXPIRE_MAKER"
    EXPIRE_TAKER = "EXPIRE_TAKER"


class OrderCode(StrEnum):
    """Origin of an order inside its client order id (orders spec 1.3, decision 23)."""

    MARKET = "MK"
    LIMIT = "L"
    LIMIT_CLOSE = "LC"
    SCALE = "SL"
    BASKET = "BK"
    CHASE = "CL"
    SCALPER = "SC"
    TWAP = "TW"
    TWAP_BASKET = "TB"
    TRAILING_STOP = "TR"
    LIQUIDATION = "LQ"
    CLOSE = "CP"
    FAPI = "FA"
    RECONCILE = "RC"
    HOUSE = "HO"


FLIP_ACTION = "FLIP"
"""Journal action of a market entry of `flip_mode=incumbent` against a position: sent as old + new, its close
bears the whole fee (decision 17)."""


class Priority(StrEnum):
    """Order of service in a sub-account's queue, most urgent first (decision 16)."""

    LIQUIDATION = "LIQUIDATION"
    USER_CLOSE = "USER_CLOSE"
    TRAILING_STOP = "TRAILING_STOP"
    ALGO = "ALGO"
    ENTRY = "ENTRY"


class OrderState(StrEnum):
    """Life of an order in the journal.

    1. INTENT: committed; sent or not, no answer yet (a crash leaves nothing that tells the two apart). 2.
    UNKNOWN: the answer was lost; a state of its own that no path maps to failure (decision 2). 3. LIVE: the
    exchange has confirmed it. 4. FINISHING: the exchange says terminal, but not all executed quantity is
    booked yet. 5. FILLED, CANCELLED, EXPIRED: terminal and fully booked. 6. REJECTED: refused by the
    exchange. 7. NOT_EXECUTED: certainly not sent, or proved absent. What leads from one to another:
    `pms.model.order_life`.
    """

    INTENT = "INTENT"
    UNKNOWN = "UNKNOWN"
    LIVE = "LIVE"
    FINISHING = "FINISHING"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"
    NOT_EXECUTED = "NOT_EXECUTED"

    @property
    def terminal(self) -> bool:
        """True once no fill of the order can be outstanding."""
        return self in _TERMINAL


_TERMINAL = frozenset(
    {
        OrderState.FILLED,
        OrderState.CANCELLED,
        OrderState.EXPIRED,
        OrderState.REJECTED,
        OrderState.NOT_EXECUTED,
    }
)


class ExchangeOrderStatus(StrEnum):
    """The exchange's word on an order."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    SELF_MATCH = "SELF_MATCH"
    REJECTED = "REJECTED"

    @property
    def terminal(self) -> bool:
        return self not in (ExchangeOrderStatus.NEW, ExchangeOrderStatus.PARTIALLY_FILLED)


@dataclass(frozen=True, slots=True)
class ApprovedOrder:
    """An order that passed the gate. Only `pms.risk.gate` makes it (decision 18); the exchange port takes
    nothing else.

    `quantity` and `price` are already rounded to the symbol's filters. `reduce_only_wire` is the flag on the
    wire (decision 12); virtual reduce-only is kept in the journal and enforced when fills are booked.
    """

    client_order_id: ClientOrderId
    symbol: Symbol
    side: OrderSide
    type: OrderType
    quantity: Quantity
    price: Price | None
    time_in_force: TimeInForce
    reduce_only_wire: bool
    self_match: SelfMatchPrevention
    risk_reducing: bool

    def shrunk(self, quantity: Quantity) -> "ApprovedOrder":
        """Return the same order for a smaller quantity, which needs no new approval.

        Raises ValueError for a larger one, or for nothing.
        """
        if not 0 < quantity <= self.quantity:
            raise ValueError(f"{self.client_order_id} is approved for {self.quantity}, not for {quantity}")
        return replace(self, quantity=quantity)


@dataclass(frozen=True, slots=True)
class ApprovedAmendment:
    """A change of a resting limit order that passed the gate; only `pms.risk.gate` makes it (decision 18).

    `quantity` is the order's whole quantity after the change, what has executed already included; `price` is
    rounded to the filters. `modify_id` comes back in the exchange's answer.
    """

    client_order_id: ClientOrderId
    symbol: Symbol
    side: OrderSide
    quantity: Quantity
    price: Price
    risk_reducing: bool
    modify_id: int | None = None


@dataclass(frozen=True, slots=True)
class JournalOrder:
    """One row of the order journal: the intent, and what is known of its fate.

    `sub_account_id` None is the house. `executed_quantity` is the exchange's cumulative figure,
    `booked_quantity` the sum of allocations; the order is terminal only when both agree (decision 2).
    `position_side` is the side that the order opens or, with `reduce_only`, the side it reduces is the
    opposite one. `action` is the trade action of closing rows (`CLOSE`, `LIQUIDATE`, `LIMIT_CLOSE`, ...).
    `timestamp_ms` and `recv_window_ms` are what the request was signed with (proof of non-execution).
    """

    sequence: int
    client_order_id: ClientOrderId
    sub_account_id: SubAccountId | None
    symbol: Symbol
    side: OrderSide
    type: OrderType
    time_in_force: TimeInForce
    quantity: Quantity
    price: Price | None
    leverage: Decimal
    reduce_only: bool
    reduce_only_wire: bool
    code: OrderCode
    action: str
    origin: str
    state: OrderState
    executed_quantity: Quantity
    booked_quantity: Quantity
    created_at_ms: int
    timestamp_ms: int = 0
    recv_window_ms: int = 0
    exchange_order_id: ExchangeOrderId | None = None
    position_id: PositionId | None = None
    pending_order_id: PendingOrderId | None = None
    babysitter_excluded: bool = True
    idempotency_key: str | None = None
    reject_code: str | None = None
    reject_message: str | None = None

    @property
    def position_side(self) -> PositionSide:
        """The side that this order opens or adds to."""
        return self.side.opens

    @property
    def never_replaced(self) -> bool:
        """True when the exchange ended the order for good: nobody places it again (decision 11)."""
        return self.reject_code in NEVER_REPLACED_CODES

    @property
    def remaining_quantity(self) -> Quantity:
        """What can still execute beyond what is booked; never negative."""
        return Quantity(max(Decimal(0), self.quantity - self.booked_quantity))
