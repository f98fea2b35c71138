"""What execution offers to gateway, algos and command line: requests, results, and the service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from pms.execution.previews import DeskPreview
from pms.ledger.api import Actor, TradeRow
from pms.model.account import Position, PositionSide, SubAccount
from pms.model.ids import PendingOrderId, PositionId, SubAccountId
from pms.model.money import Money, Price, Quantity
from pms.model.order import JournalOrder, OrderCode, TimeInForce
from pms.model.price import BookTicker, MarkPrice
from pms.model.refusal import Refusal, Refused
from pms.model.symbol import Symbol, SymbolRules
from pms.risk.preview import AccountPreview, PriceMove
from pms.risk.view import AccountState, AccountSummary, LivePosition

__all__ = [
    "AccountState",
    "AccountSummary",
    "Cancelled",
    "ClosedByPrice",
    "Executed",
    "Exposure",
    "LimitRequest",
    "LivePosition",
    "MarketRequest",
    "Resting",
    "TradingService",
    "Validation",
]


@dataclass(frozen=True, slots=True)
class MarketRequest:
    """Open, add, reduce or net-flip at market. `quantity` in base units as the client sent it (unrounded)."""

    sub_account_id: SubAccountId
    symbol: Symbol
    side: PositionSide
    quantity: Decimal
    leverage: Decimal
    reduce_only: bool = False
    babysitter_excluded: bool = True
    origin: str = "MANUAL"
    code: OrderCode = OrderCode.MARKET
    idempotency_key: str | None = None
    fast: bool = False
    fallback_price: Decimal | None = None
    """`fast`: answer soon after the exchange has acknowledged the order, whether it is booked or not. The
    `fallback_price` values an estimate when the exchange names none; it is shown and never booked (H6)."""


@dataclass(frozen=True, slots=True)
class LimitRequest:
    """Rest a limit order. `time_in_force` GTX is post-only."""

    sub_account_id: SubAccountId
    symbol: Symbol
    side: PositionSide
    quantity: Decimal
    price: Decimal
    leverage: Decimal
    reduce_only: bool = False
    time_in_force: TimeInForce = TimeInForce.GTC
    origin: str = "MANUAL"
    code: OrderCode = OrderCode.LIMIT
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Executed:
    """A market order that is terminal and booked. `position` is the state after it; closed ones included.

    `order` None: the house took the position over at a stated price, and nothing was sent (decision 13).

    `closed` is the position that a flip or a reduction to zero closed, `realized_pnl` what it realised net of
    fee.

    `confirmed` False: a fast answer. The exchange has the order, but its executions are not booked yet; then
    there are no trades, `position` is as before, and `estimate` says what is to be expected.
    """

    order: JournalOrder | None
    position: Position | None
    trades: tuple[TradeRow, ...]
    closed: Position | None = None
    realized_pnl: Money | None = None
    balance: Money | None = None
    confirmed: bool = True
    estimate: "Estimate | None" = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an acknowledged order will probably execute: quantity in base units, average price per unit, fee
    in the settle asset. For display only; the books take what the exchange confirms (spec H6, D35)."""

    quantity: Quantity
    price: Price | None
    fee: Money | None


@dataclass(frozen=True, slots=True)
class Resting:
    """A limit order that the exchange accepted (or that filled at once: see `order.state`)."""

    order: JournalOrder


@dataclass(frozen=True, slots=True)
class Cancelled:
    order: JournalOrder


@dataclass(frozen=True, slots=True)
class ClosedByPrice:
    """What a close with a stated price did in truth (ledger spec 5.9, H24): `executed` with its trades, the
    average price per unit, and `source`: `exchange` when an order of ours filled, else `virtual_no_exchange`.
    """

    executed: Executed
    close_price: Price
    source: str


@dataclass(frozen=True, slots=True)
class HouseHolding:
    """What the house holds of a symbol. `passing_on` of it belongs to closers and is on its way to them;
    `limit` in USDT at mark."""

    symbol: Symbol
    signed_quantity: Decimal
    signed_cost: Decimal
    passing_on: Decimal
    mark: Price | None
    unrealized_pnl: Money | None
    limit: Money | None


@dataclass(frozen=True, slots=True)
class HouseClosed:
    """What an order of the house closed, and the signed rest."""

    symbol: Symbol
    quantity: Quantity
    left: Decimal
    orders: tuple[JournalOrder, ...]


@dataclass(frozen=True, slots=True)
class HouseAssigned:
    """What an account got from the house, and at which price; no trades: it had been assigned before."""

    symbol: Symbol
    quantity: Quantity
    price: Price
    trades: tuple[TradeRow, ...]


@dataclass(frozen=True, slots=True)
class Validation:
    """Outcome of the gate without sending. `computed` holds the figures of ledger spec 4.2, by their wire
    names."""

    valid: bool
    refusals: tuple[Refusal, ...]
    computed: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exposure:
    """The netting identity of one symbol: Σ virtual + house = exchange net (decision 9), at a watermark."""

    symbol: Symbol
    virtual_net: Decimal
    house_net: Decimal
    exchange_net: Decimal | None
    difference: Decimal | None
    balanced: bool
    watermark_ms: int
    holders: tuple[tuple[SubAccountId, str, PositionSide, Decimal], ...]


class HouseService(Protocol):
    """What the house holds, and what an administrator does with it (decision 6)."""

    def holdings(self) -> Sequence[HouseHolding]: ...
    async def close(
        self, symbol: Symbol, quantity: Decimal | None, actor: Actor
    ) -> HouseClosed | Refused: ...
    async def assign(
        self,
        symbol: Symbol,
        sub_account_id: SubAccountId,
        quantity: Decimal,
        leverage: Decimal,
        actor: Actor,
        reference: str | None = None,
    ) -> HouseAssigned | Refused: ...


class TradingService(Protocol):
    """Everything that trades. Expected refusals are returned; every method has a deadline inside.

    An answer is returned only after its events are queued and after reads reflect it (gateway spec 7.5). When
    the deadline passes with the order's outcome open, the refusal is EXECUTION_UNKNOWN and the order is
    settled later.
    """

    async def market(self, request: MarketRequest, actor: Actor) -> Executed | Refused: ...
    async def limit(self, request: LimitRequest, actor: Actor) -> Resting | Refused: ...
    async def close(
        self, position_id: PositionId, actor: Actor, idempotency_key: str | None = None
    ) -> Executed | Refused: ...
    async def close_partly(
        self, position_id: PositionId, fraction: Decimal, actor: Actor, idempotency_key: str | None = None
    ) -> Executed | Refused:
        """Close a fraction of a position at market, clamped to the whole and rounded down to lots (H23)."""
        ...

    async def close_by_price(
        self,
        position_id: PositionId,
        close_price: Decimal | None,
        reason: str,
        actor: Actor,
        idempotency_key: str | None = None,
    ) -> ClosedByPrice | Refused:
        """Close a position for a strategy that saw `close_price` (ledger spec 5.9); `reason` is the action.

        What the exchange backs is closed by a real order at its own price. The rest goes to the house at
        the worst of `close_price`, touch and fresh mark: nobody names the price at which the house pays,
        except a worker of the operator's own (`actor.via` is `system`, such as the babysitter): its price
        holds for what the exchange does not hold at all, and its reason is the action then.
        """
        ...

    async def close_many(
        self, position_ids: Sequence[PositionId], actor: Actor, idempotency_key: str | None = None
    ) -> Mapping[PositionId, Executed | Refused]:
        """Close many positions at once: opposite sides of a symbol meet at the fresh mark, only the net is
        sent (decision 13). Returns the outcome of each position, in the order given."""
        ...

    async def cancel(self, pending_order_id: PendingOrderId, actor: Actor) -> Cancelled | Refused: ...
    async def withdraw(
        self, sub_account_id: SubAccountId, amount: Money, actor: Actor
    ) -> SubAccount | Refused:
        """Move USDT (above 0) from an account to the house: what positions and orders need stays, and
        nothing admitted meanwhile counts on it."""
        ...

    async def transfer(
        self, from_id: SubAccountId, to_id: SubAccountId, amount: Money, actor: Actor
    ) -> tuple[SubAccount, SubAccount] | Refused:
        """Move USDT (above 0) from one account to another, at most what could be withdrawn; return both."""
        ...

    async def set_balance(
        self, sub_account_id: SubAccountId, balance: Money, actor: Actor
    ) -> SubAccount | Refused:
        """Bring a balance (USDT, 0 or more) to a figure against the house; what positions and orders need
        stays. Raises HouseCapitalInsufficient."""
        ...

    async def reset_account(self, sub_account_id: SubAccountId, actor: Actor) -> SubAccount | Refused:
        """Start an account anew with nothing; EXPOSURE_OPEN while anything of it is open (spec H14)."""
        ...

    async def close_account(self, sub_account_id: SubAccountId, actor: Actor) -> SubAccount | Refused:
        """Close an account: its money goes to the house, it is frozen; EXPOSURE_OPEN like a reset."""
        ...

    async def take_over(self, position_id: PositionId, by: Actor) -> Executed | Refused:
        """Let the house take a whole position over at a fresh mark; nothing is sent. `by.id` is an
        administrator or `SYSTEM_LIQ`."""
        ...

    async def set_leverage(
        self, sub_account_id: SubAccountId, symbol: Symbol, leverage: Decimal, actor: Actor
    ) -> Refused | None:
        """Set an account's leverage of a symbol, 1 to 125: later orders that name none take it, the open
        position and resting orders change with it. Refused when the margin does not suffice. Virtual: the
        exchange never hears of it."""
        ...

    def leverage_of(self, sub_account_id: SubAccountId, symbol: Symbol) -> Decimal:
        """Return the leverage of an order that names none: the one set, else the open position's, else 1."""
        ...

    def validate(self, request: MarketRequest) -> Validation: ...

    def account_state(self, sub_account_id: SubAccountId) -> AccountState | None: ...

    def preview(self, sub_account_id: SubAccountId, move: PriceMove) -> AccountPreview | None:
        """Return what an account would be, and what would be done with it, after a move of prices; None for
        an unknown account. Changes nothing."""
        ...

    def preview_desk(self, moves: Sequence[PriceMove]) -> Sequence[DeskPreview]:
        """Return all accounts, and the real one behind them, after each move."""
        ...

    def exposure(self) -> Sequence[Exposure]: ...
    def symbols(self) -> Sequence[SymbolRules]: ...
    def symbol_rules(self, symbol: Symbol) -> SymbolRules | None: ...
    def mark(self, symbol: Symbol) -> MarkPrice | None: ...
    def book(self, symbol: Symbol) -> BookTicker | None: ...
    async def klines(self, symbol: Symbol, interval: str, limit: int) -> Sequence[tuple[str | int, ...]]: ...
    def watch(self, symbol: Symbol) -> None:
        """Want live prices of a symbol (idempotent)."""
        ...
