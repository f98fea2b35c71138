"""The exchange port: what the engine needs from an exchange, in words that know no venue.

One adapter stands behind it. Prices come through `MarketData`, orders through
`Trading`, the real account through `AccountView`, private events through `UserStream`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from pms.model.bracket import LeverageBracket
from pms.model.fill import ExchangeFill
from pms.model.ids import ClientOrderId, ExchangeOrderId, TradeId
from pms.model.income import Income, ToldFunding
from pms.model.money import Money, Price, Quantity
from pms.model.order import ApprovedAmendment, ApprovedOrder, ExchangeOrderStatus, OrderSide
from pms.model.price import BookTicker, MarkPrice, OrderBook, PublicTrade
from pms.model.refusal import RefusalCode
from pms.model.symbol import Symbol, SymbolRules


@dataclass(frozen=True, slots=True)
class OrderReport:
    """The exchange's word on one order. `executed_quantity` is cumulative; `average_price` None when not
    told."""

    symbol: Symbol
    order_id: ExchangeOrderId
    client_order_id: ClientOrderId
    side: OrderSide
    status: ExchangeOrderStatus
    quantity: Quantity
    price: Price
    executed_quantity: Quantity
    average_price: Price | None
    update_time_ms: int
    expiry_reason: str = "0"


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The exchange answered with the order's state."""

    report: OrderReport
    timestamp_ms: int
    recv_window_ms: int


@dataclass(frozen=True, slots=True)
class RefusedByExchange:
    """The exchange refused: nothing executed. `code` is the venue's number, `refusal` ours."""

    code: int
    message: str
    refusal: RefusalCode
    timestamp_ms: int
    recv_window_ms: int


@dataclass(frozen=True, slots=True)
class NotSent:
    """Certain failure without effect (could not connect, certain 503, ban, budget): may be tried again
    later."""

    reason: str
    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """The request may or may not have had its effect. `timestamp_ms` + `recv_window_ms` bound its
    validity."""

    reason: str
    timestamp_ms: int
    recv_window_ms: int


PlaceOutcome = Confirmed | RefusedByExchange | NotSent | OutcomeUnknown

AmendOutcome = PlaceOutcome
"""Confirmed: the report is the order after the change; it may be CANCELLED by it (exchange spec 2.2).
RefusedByExchange with ORDER_NOT_PENDING: the order does not rest any more; query it. NotSent: unchanged."""


class CancelVerdict(StrEnum):
    """CANCELLED: confirmed with the report. NOT_OPEN: the exchange does not know it as open; query it."""

    CANCELLED = "CANCELLED"
    NOT_OPEN = "NOT_OPEN"
    NOT_SENT = "NOT_SENT"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class CancelOutcome:
    verdict: CancelVerdict
    report: OrderReport | None
    reason: str


class Absent(StrEnum):
    """The exchange answered that no such order exists (not yet proof of non-execution, decision 2)."""

    ABSENT = "ABSENT"


@dataclass(frozen=True, slots=True)
class ExchangePosition:
    """Net position of the real account on one symbol; `signed_quantity` > 0 is long."""

    symbol: Symbol
    signed_quantity: Decimal
    entry_price: Price
    update_time_ms: int


@dataclass(frozen=True, slots=True)
class WalletState:
    """The real account's purse in the settlement asset."""

    asset: str
    wallet_balance: Money
    available_balance: Money
    margin_balance: Money
    initial_margin: Money
    maintenance_margin: Money


@dataclass(frozen=True, slots=True)
class AccountMode:
    """What decision 15 demands: `one_way` and `single_asset` and every used symbol on cross margin."""

    one_way: bool
    single_asset: bool
    can_trade: bool


@dataclass(frozen=True, slots=True)
class SymbolSettings:
    """The real account's settings on one symbol, which PMS never changes."""

    cross_margin: bool
    leverage: int


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """A private order event. `fill` is set only for an execution with a trade id and a quantity above 0."""

    report: OrderReport
    fill: ExchangeFill | None
    event_time_ms: int
    transaction_time_ms: int


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """A private account event: changed positions and the wallet balance (None when not listed)."""

    positions: tuple[ExchangePosition, ...]
    wallet_balance: Money | None
    balance_change: Money
    reason: str
    event_time_ms: int
    transaction_time_ms: int


@dataclass(frozen=True, slots=True)
class StreamGap:
    """The stream was (re)connected; everything between the two times may be missing and must be queried."""

    since_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class AccountConfigEvent:
    """Somebody changed the real account's settings; read them again (decision 15).

    `symbol` and `leverage` when it was the leverage of a symbol, else both None.
    """

    symbol: Symbol | None
    leverage: int | None
    event_time_ms: int
    transaction_time_ms: int


UserEvent = OrderEvent | AccountEvent | AccountConfigEvent | StreamGap

UserEventHandler = Callable[[UserEvent], Awaitable[None]]
"""Called in order. Events of one order come one after the other, each when the one before is handled; those
of different orders may overlap, begun in their order. A StreamGap is handled completely before later live
events are released, and with nothing beside it."""


class MarketData(Protocol):
    """Public data. Streams are conflated per symbol: only the newest value is kept (decision 22)."""

    async def symbols(self) -> Sequence[SymbolRules]:
        """Return the rules of every perpetual that settles in the account's asset. Raises ExchangeError."""
        ...

    def rules(self) -> dict[Symbol, SymbolRules]:
        """Return the rules as last read, without asking; a view that must not be changed."""
        ...

    async def klines(self, symbol: Symbol, interval: str, limit: int) -> Sequence[tuple[str | int, ...]]:
        """Return candles, oldest first, as the venue's 12-element rows. Raises ExchangeError."""
        ...

    async def brackets(self) -> dict[Symbol, tuple[LeverageBracket, ...]]:
        """Return the brackets of every listed contract, lowest notional first. Raises ExchangeError."""
        ...

    async def funding_rates(self, symbol: Symbol, since_ms: int, until_ms: int) -> Sequence[ToldFunding]:
        """Return the fundings of a symbol that were settled between two times (both included), oldest first:
        a bounded part of them, and none only when there are none. A line that cannot be read, or has no
        price, holds no other up. Raises ExchangeError."""
        ...

    async def price_before(self, symbol: Symbol, moment_ms: int) -> Price | None:
        """Return the last mark price of the minutes before a moment's own, else the last price traded before
        it; None when the exchange tells neither. Raises ExchangeError."""
        ...

    async def funding_hours(self) -> Mapping[Symbol, int]:
        """Return the hours between two fundings of each symbol where they are not the default of eight.
        Raises ExchangeError."""
        ...

    def subscribe(self, symbol: Symbol) -> None:
        """Want mark price and book ticker of a symbol from now on; idempotent, returns at once."""
        ...

    def unsubscribe(self, symbol: Symbol) -> None:
        """Give up mark price and book ticker; idempotent."""
        ...

    def subscribe_depth(self, symbol: Symbol) -> None:
        """Want the whole order book of a symbol from now on; idempotent, returns at once."""
        ...

    def unsubscribe_depth(self, symbol: Symbol) -> None: ...

    def depth(self, symbol: Symbol, levels: int) -> OrderBook | None:
        """Return the best levels of a wanted book; None while it is not known to be the exchange's."""
        ...

    def subscribe_trades(self, symbol: Symbol) -> None:
        """Want every public trade of a symbol from now on; idempotent, returns at once."""
        ...

    def unsubscribe_trades(self, symbol: Symbol) -> None: ...

    def on_mark(self, handler: Callable[[MarkPrice], None]) -> None:
        """Register the synchronous consumer of mark prices (the risk book)."""
        ...

    def on_book(self, handler: Callable[[BookTicker], None]) -> None: ...

    def on_depth(self, handler: Callable[[Symbol], None]) -> None:
        """Register the synchronous consumer that is told whose order book changed; it reads `depth`."""
        ...

    def on_trade(self, handler: Callable[[PublicTrade], None]) -> None: ...


class Trading(Protocol):
    """Orders. Takes only approved ones; never raises for an expected outcome."""

    async def place(self, order: ApprovedOrder) -> PlaceOutcome: ...

    async def amend(self, change: ApprovedAmendment) -> AmendOutcome:
        """Change price and quantity of a resting limit order, which loses its place in the queue."""
        ...

    async def cancel(self, symbol: Symbol, client_order_id: ClientOrderId) -> CancelOutcome: ...

    async def query(self, symbol: Symbol, client_order_id: ClientOrderId) -> OrderReport | Absent:
        """Return the order's state. Raises ExchangeError when the exchange cannot be asked."""
        ...

    async def place_many(self, orders: Sequence[ApprovedOrder]) -> Sequence[PlaceOutcome]:
        """Place any number of orders; one outcome for each, in order, independent of one another.

        A lost answer is unknown for each order of its part. The venue may work on them in any order.
        """
        ...

    async def amend_many(self, changes: Sequence[ApprovedAmendment]) -> Sequence[AmendOutcome]:
        """Change any number of orders; as `place_many`."""
        ...

    async def cancel_many(self, orders: Sequence[tuple[Symbol, ClientOrderId]]) -> Sequence[CancelOutcome]:
        """Cancel any number of orders; as `place_many`."""
        ...


@dataclass(frozen=True, slots=True)
class IncomePart:
    """A part of the real account's income history, oldest first. `whole_until_ms`: nothing up to and with
    that time is missing."""

    rows: tuple[Income, ...]
    whole_until_ms: int


class AccountView(Protocol):
    """The real account, by request. Every method raises ExchangeError when the exchange cannot be asked."""

    async def server_time_ms(self) -> int: ...

    async def epoch(self) -> str:
        """Return the venue's epoch: constant until a simulator is reset (decision 3)."""
        ...

    async def mode(self) -> AccountMode: ...

    async def positions(self) -> Sequence[ExchangePosition]:
        """Return all non-zero net positions."""
        ...

    async def wallet(self) -> WalletState: ...

    async def leverage(self, symbol: Symbol) -> int:
        """Return the real leverage of the symbol, which PMS never changes."""
        ...

    async def symbol_settings(self) -> Mapping[Symbol, SymbolSettings]:
        """Return margin mode and leverage of every symbol."""
        ...

    async def open_orders(self) -> Sequence[OrderReport]: ...

    async def client_order_id(self, symbol: Symbol, order_id: ExchangeOrderId) -> ClientOrderId | None:
        """Return under which client order id an order was placed, None when the exchange has forgotten it."""
        ...

    async def order_fills(self, symbol: Symbol, order_id: ExchangeOrderId) -> Sequence[ExchangeFill]: ...

    async def fills_since(self, symbol: Symbol, trade_id: TradeId, since_ms: int) -> Sequence[ExchangeFill]:
        """Return the account's next executions on the symbol with a trade id above the given one, oldest
        first: a bounded part of them, and none only when there are none.

        `since_ms` (the exchange's clock) is a time before the first of them; it bounds the search when the
        trade id cannot. What lies further back than `fills_reach_ms` is not told by the exchange any more.
        """
        ...

    def fills_reach_ms(self) -> int:
        """Return how far back from now the exchange tells executions."""
        ...

    async def income(self, since_ms: int, until_ms: int) -> IncomePart:
        """Return the next part of the income between two times of the exchange's clock, both included. Ask
        again from behind `whole_until_ms` until that is `until_ms`."""
        ...


class UserStream(Protocol):
    """Private events. `run` owns key, socket and reconnects until cancelled."""

    async def run(self, handler: UserEventHandler) -> None: ...
