"""What the ledger offers: operations that move money, their results, and the commit that everybody hears of.

Invariants kept by every operation (design, "Invariants"): one transaction for each commit group, acknowledged
after commit; balance >= 0 with the clamped part owed; conservation; each exchange fill booked once; at most
one open position for a (sub-account, symbol). No operation awaits the network. After a cancelled or failed
call the book equals the database.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from pms.ledger.api_control import Actor as Actor
from pms.ledger.api_control import ControlLedger
from pms.ledger.kinds import HouseLineKind as HouseLineKind
from pms.ledger.pools import Pool as Pool
from pms.ledger.pools import PoolShare as PoolShare
from pms.model.account import AccountStatus, LiquidationMode, Position, PositionSide, RiskRules, SubAccount
from pms.model.event import DurableEvent, JsonValue
from pms.model.fill import ExchangeFill, FillKey
from pms.model.ids import (
    ClientOrderId,
    ExchangeAccountId,
    ExchangeOrderId,
    Fence,
    PendingOrderId,
    PositionId,
    SubAccountId,
    TradeExecutionId,
    TradeId,
    UserId,
)
from pms.model.income import FundingKey, FundingRate, Income
from pms.model.liquidation import LiquidationRecord, LiquidationState
from pms.model.money import Money, Price, Quantity
from pms.model.order import ExchangeOrderStatus, JournalOrder, OrderCode, OrderSide, OrderType, TimeInForce
from pms.model.restriction import RestrictionEntry
from pms.model.symbol import Symbol
from pms.model.trading_rules import EquityMark, RuleSet

LiquidationPriceOf = Callable[[PositionSide, Decimal, Decimal, Decimal, Decimal, Decimal], Decimal]
"""(side, entry, cash, notional, maintenance rate, threshold) -> static liquidation price (ledger spec
3.4)."""


@dataclass(frozen=True, slots=True)
class NewIntent:
    """An order about to be sent. `sequence` comes from `Ledger.allocate_sequence`, the id is derived from
    it. An order of the house with `shares` is a pooled close: its fills are passed on to them."""

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
    position_id: PositionId | None = None
    babysitter_excluded: bool = True
    idempotency_key: str | None = None
    shares: tuple[PoolShare, ...] = ()


@dataclass(frozen=True, slots=True)
class RestingRow:
    """A PENDING row of `pending_orders` that no journal order stands behind: the incumbent placed it.
    `leverage` as a factor, `type` as in ledger spec 1.2."""

    id: PendingOrderId
    sub_account_id: SubAccountId
    symbol: Symbol
    side: PositionSide
    type: str
    price: Price
    quantity: Quantity
    leverage: Decimal
    exchange_order_id: ExchangeOrderId
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class TradeRow:
    """A `trade_executions` row as written (ledger spec 1.2); `side` BUY or SELL, `realized_pnl` None on
    opens."""

    id: TradeExecutionId
    sub_account_id: SubAccountId
    position_id: PositionId | None
    exchange_order_id: ExchangeOrderId | None
    client_order_id: ClientOrderId | None
    symbol: Symbol
    side: OrderSide
    type: OrderType
    price: Price
    quantity: Quantity
    notional: Money
    fee: Money
    realized_pnl: Money | None
    action: str
    origin_type: str
    status: str
    signature: str
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class HousePosition:
    """Net house holding of a symbol: signed quantity and signed cost (Σ signed quantity x price)."""

    symbol: Symbol
    signed_quantity: Decimal
    signed_cost: Decimal


@dataclass(frozen=True, slots=True)
class Committed:
    """Everything that one operation changed, handed to listeners after the commit, in commit order.

    `positions` holds the new state of each changed position, closed ones included (status not OPEN). `orders`
    likewise. `expected_net` maps each changed symbol to Σ virtual + house after the commit.
    """

    accounts: tuple[SubAccount, ...] = ()
    positions: tuple[Position, ...] = ()
    orders: tuple[JournalOrder, ...] = ()
    trades: tuple[TradeRow, ...] = ()
    house: tuple[HousePosition, ...] = ()
    expected_net: Mapping[Symbol, Decimal] | None = None
    events: tuple[DurableEvent, ...] = ()
    restrictions: tuple[RestrictionEntry, ...] = ()
    rule_sets: tuple[RuleSet, ...] = ()
    equity_marks: tuple[EquityMark, ...] = ()
    pools: tuple[Pool, ...] = ()


@dataclass(frozen=True, slots=True)
class BookedFill:
    """Result of booking. `duplicate` True: the fill was already in the ledger and nothing changed."""

    duplicate: bool
    committed: Committed


@dataclass(frozen=True, slots=True)
class BookedFunding:
    """Result of booking a funding. `duplicate` True: it was booked before and nothing changed. `amount` is
    what the accounts received together (negative: paid)."""

    duplicate: bool
    accounts: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class NewAccount:
    """A sub-account to create; it opens at 0 and receives `initial_balance` as a DEPOSIT from the house."""

    name: str
    user_id: UserId | None
    initial_balance: Money
    type: str = "USER"
    liquidation_mode: LiquidationMode = LiquidationMode.ADL_30
    maintenance_rate: Decimal = Decimal("0.005")


CommitListener = Callable[[Committed], None]
"""Synchronous, called on the event loop after commit and before the awaiting caller resumes."""


class Ledger(ControlLedger, Protocol):
    """The single writer of money. All methods are for the event loop's thread."""

    # --- identity, lease, sequences -------------------------------------------------------------------------
    exchange_account_id: ExchangeAccountId
    fence: Fence

    def allocate_sequence(self) -> int:
        """Return the next journal sequence; never repeats within a fence, gaps are allowed."""
        ...

    async def take_lease(self, owner: str, duration_ms: int) -> Fence:
        """Take or renew the engine lease and return its fence. Raises LeaseHeldError naming the holder."""
        ...

    async def release_lease(self) -> None: ...

    def on_commit(self, listener: CommitListener) -> None: ...

    # --- the book, as committed -----------------------------------------------------------------------------
    def account(self, sub_account_id: SubAccountId) -> SubAccount | None: ...
    def accounts(self) -> Sequence[SubAccount]: ...
    def rules(self, sub_account_id: SubAccountId) -> RiskRules: ...
    def position(self, position_id: PositionId) -> Position | None:
        """Return an open position by id; None when it is unknown or no longer open."""
        ...

    def open_position(self, sub_account_id: SubAccountId, symbol: Symbol) -> Position | None: ...
    def open_positions(self) -> Sequence[Position]: ...
    def order(self, client_order_id: ClientOrderId) -> JournalOrder | None:
        """Return a journal order that is not terminal."""
        ...

    def order_by_pending(self, pending_order_id: PendingOrderId) -> JournalOrder | None: ...
    def open_orders(self) -> Sequence[JournalOrder]:
        """Return every order that is not terminal, by sequence."""
        ...

    def virtual_net(self, symbol: Symbol) -> Decimal:
        """Return Σ signed virtual quantity of a symbol, without the house."""
        ...

    def expected_net(self, symbol: Symbol) -> Decimal:
        """Return Σ signed virtual + house quantity of a symbol."""
        ...

    def house_positions(self) -> Sequence[HousePosition]: ...
    def house_cash(self) -> Money: ...
    def last_trade_id(self, symbol: Symbol) -> TradeId:
        """Return the trade id up to which the symbol's executions are known without a gap: the highest that
        came by the stream or by gap filling. Single orders that were asked for do not move it."""
        ...

    def is_booked(self, fill: ExchangeFill) -> bool:
        """True when the execution is known to be booked, as far as memory reaches back."""
        ...

    def adopted_epoch(self) -> str | None:
        """Return the exchange epoch whose wallet was adopted, None before the first adoption."""
        ...

    def adopted_at_ms(self) -> int:
        """Return when the wallet of that epoch was adopted; executions before that are not ours to book."""
        ...

    def fill_symbols(self) -> Sequence[Symbol]:
        """Return every symbol that ever had a fill or an intent: where gap filling must look."""
        ...

    # --- orders ---------------------------------------------------------------------------------------------
    async def record_intent(self, intent: NewIntent) -> JournalOrder:
        """Journal an order before it is sent (decision 2)."""
        ...

    async def record_acknowledged(
        self, client_order_id: ClientOrderId, exchange_order_id: ExchangeOrderId
    ) -> JournalOrder | None:
        """Note the exchange's id; a LIMIT order gets its `pending_orders` row and `order_placed`.
        Idempotent."""
        ...

    async def record_unknown(
        self, client_order_id: ClientOrderId, timestamp_ms: int, recv_window_ms: int
    ) -> None: ...

    async def record_rejected(self, client_order_id: ClientOrderId, code: str, message: str) -> None:
        """End an order that the exchange refused. One that it has confirmed otherwise stays: it is asked."""
        ...

    async def record_not_executed(
        self, client_order_id: ClientOrderId, reason: str, *, proved_absent: bool = False
    ) -> None:
        """End an order that was certainly not sent, or is proved absent on the exchange (decision 2). One
        that the exchange has confirmed meanwhile stays."""
        ...

    async def record_terminal(
        self,
        client_order_id: ClientOrderId,
        status: ExchangeOrderStatus,
        executed_quantity: Quantity,
        expiry_reason: str = "0",
        exchange_order_id: ExchangeOrderId | None = None,
    ) -> JournalOrder | None:
        """Note that the exchange calls the order terminal, and acknowledge it with `exchange_order_id` when
        that is given. It ends here only when Σ booked equals what
        executed; until then its state is FINISHING, and the booking of the last fill ends it (decision 2).
        `expiry_reason` is the exchange's `er`: 5, 6 and 7 become the `reject_code` of an order that is never
        placed again (decision 11)."""
        ...

    async def ask_amendment(self, client_order_id: ClientOrderId, quantity: Quantity) -> JournalOrder | None:
        """Note, before it is asked for, that an order may execute `quantity` in all; None when it is over."""
        ...

    async def record_amended(
        self, client_order_id: ClientOrderId, quantity: Quantity, price: Price
    ) -> JournalOrder | None:
        """Note quantity and price that a resting order has on the exchange now. Idempotent."""
        ...

    async def resting_of_the_incumbent(self) -> Sequence[RestingRow]:
        """Return the incumbent's resting orders that are not in the journal yet."""
        ...

    async def adopt_order(
        self, row: RestingRow, client_order_id: ClientOrderId, executed: Quantity
    ) -> JournalOrder:
        """Journal a resting order of the incumbent under the client order id that it rests by. `executed` is
        what it executed before the wallet was adopted. Idempotent."""
        ...

    async def adopt_repriced(
        self,
        old: ClientOrderId,
        client_order_id: ClientOrderId,
        exchange_order_id: ExchangeOrderId,
    ) -> JournalOrder | None:
        """Let an adopted order go on under the ids of the one that replaced it on the exchange (H33); None
        when the old one has ended."""
        ...

    # --- money ----------------------------------------------------------------------------------------------
    async def book_fill(self, fill: ExchangeFill, fee: Money) -> BookedFill:
        """Book one exchange execution with all its effects, exactly once (decisions 1, 3, 16, 17).

        `fee` is the commission in the account's asset. Own order of a sub-account: reduce, then open (unless
        reduce-only: the surplus goes to the house as LATE_FILL). Frozen accounts book all the same; a
        LIQUIDATED account's fill is transferred to the house. House order or foreign client order id: house
        suspense, and a foreign fill is allocated at once to the holders of the reduced side at its own price
        and fee (decision 11).
        """
        ...

    async def transfer_to_house(
        self,
        position_id: PositionId,
        quantity: Decimal,
        price: Price,
        kind: HouseLineKind,
        action: str,
        reference: str | None = None,
    ) -> Committed:
        """Close `quantity` of a position against the house at a stated price: two legs, no fee, no exchange
        fill, so that Σ virtual + house stays (decision 9). Raises PositionNotOpenError; a larger quantity
        closes all.

        A `reference` names the movement for good, in all these operations: a second run of the same one
        changes nothing and returns an empty result, also when the position is closed by then.
        """
        ...

    async def take_over(
        self,
        position_id: PositionId,
        by: Actor,
        price: Price,
        quantity: Decimal | None = None,
        reference: str | None = None,
    ) -> Committed:
        """Let the house take a position over at a stated price: TAKEN_OVER by `by.id` (an administrator, or
        `SYSTEM_LIQ`), trade action TAKEOVER, reason ADMIN_TAKEOVER, `position_takeover` and
        `position_closed`. With a smaller `quantity` only that part moves and the row stays open. Nothing is
        sent. Raises PositionNotOpenError, InvalidAmountError."""
        ...

    async def net_internally(
        self,
        closes: Sequence[tuple[PositionId, Decimal]],
        price: Price,
        action: str,
        reference: str | None = None,
    ) -> Committed:
        """Close positions of both sides of one symbol against each other at one price in one transaction, as
        one fill of kind CROSS without fee; the house is not touched. On each side the closes are served in
        the order given; what does not cancel stays open for the caller. Raises PositionNotOpenError when any
        of them is not open, InvalidAmountError, RequestError for several symbols: then nothing changed."""
        ...

    async def assign_from_house(
        self,
        symbol: Symbol,
        sub_account_id: SubAccountId,
        quantity: Decimal,
        price: Price,
        leverage: Decimal,
        actor: Actor,
        reference: str | None = None,
    ) -> Committed:
        """Give `quantity` (base units, above 0) of the house's position to an account at a stated price: two
        legs, no fee. It reduces an opposite position first (action ASSIGN) and opens or adds with the rest.
        The account's margin is the caller's to check. Raises AccountNotFoundError, InvalidAmountError,
        RequestError when the house holds less or the account may not open."""
        ...

    async def record_action(
        self, actor: Actor, action: str, target: str | None, facts: Mapping[str, JsonValue]
    ) -> None:
        """Record who asked for what, for acts that no other operation records."""
        ...

    def pools(self) -> Sequence[Pool]:
        """Return the pooled orders that are live or not wholly passed on yet."""
        ...

    def passing_on(self, symbol: Symbol) -> Decimal:
        """Return the signed quantity that the house holds of a symbol only to pass it on to closers."""
        ...

    async def allocate_pool(self, client_order_id: ClientOrderId, parts_max: int) -> Committed:
        """Pass on the next parts of a pooled order's booked fills, at their own price and fee, each exactly
        once: how far it went is committed with it. Nothing happens when nothing is pending."""
        ...

    async def set_house_limit(self, symbol: Symbol | None, notional_max: Money | None, actor: Actor) -> None:
        """Bound what the house may hold of a symbol, in USDT at mark (None: of every symbol without a limit
        of its own); a `notional_max` of None removes the bound."""
        ...

    def house_limits(self) -> Mapping[Symbol | None, Money]: ...
    def house_limit(self, symbol: Symbol) -> Money | None:
        """Return the bound of a symbol in USDT, None when there is none. The ledger takes over beyond it all
        the same (closing is always possible, decision 13): whoever acts for the house alarms and unwinds."""
        ...

    async def settle_holders(self, symbol: Symbol, price: Price) -> Committed:
        """Close every position left on a settled symbol against the house at `price`, in one transaction
        (decision 11): opposite holders whose net is flat, of whom the exchange knows nothing. Changes nothing
        while Σ virtual + house is not flat."""
        ...

    def fill_key(self, fill: ExchangeFill) -> FillKey: ...

    async def book_funding(self, funding: FundingRate) -> BookedFunding:
        """Settle a funding with every sub-account that held the symbol then, exactly once, also when the net
        is zero (decision 8): each receives -signed quantity x mark x rate, the house is the counterpart.

        Held by exchange trade time: executions before the moment count, those of its own millisecond do not.
        A fill that is booked later with an earlier trade time corrects what it changes in its own
        transaction. A crash in the middle leaves whole accounts; calling again goes on with the rest.
        """
        ...

    async def skip_funding(self, key: FundingKey, reason: str) -> None:
        """Record that a funding cannot be booked, as an action of the audit trail (`funding.unreadable`), and
        keep that it is done with: its money stays with the house."""
        ...

    def funding_read_ms(self, symbol: Symbol) -> int:
        """Return up to when the symbol's fundings are booked or recorded as unreadable; 0 before the
        first."""
        ...

    def funding_skipped_ms(self, symbol: Symbol) -> int:
        """Return the time of the symbol's last funding that was recorded as unreadable; 0 for none."""
        ...

    async def book_income(self, income: Income) -> bool:
        """Post a line of the real account's income to the house, exactly once (decision 8). False: it was
        posted before, or an execution explains it. Only lines in the settlement asset."""
        ...

    async def set_watermark(self, name: str, moment_ms: int) -> None:
        """Keep up to which moment something outside was read; 0 forgets it."""
        ...

    def watermark(self, name: str) -> int:
        """Return the moment kept under the name, Unix ms; 0 when there is none."""
        ...

    def last_funding_ms(self, symbol: Symbol) -> int:
        """Return the time of the symbol's last booked funding; 0 before the first."""
        ...

    async def held_since(self, symbol: Symbol, since_ms: int) -> int | None:
        """Return from when on, not before `since_ms`, some sub-account held the symbol; None for nobody.
        Exchange trade time, Unix ms."""
        ...

    async def create_account(self, account: NewAccount, actor: Actor) -> SubAccount: ...
    async def deposit(self, sub_account_id: SubAccountId, amount: Money, actor: Actor) -> SubAccount:
        """Move `amount` > 0 from the house to the account; repays what is owed first. Reason DEPOSIT."""
        ...

    async def withdraw(self, sub_account_id: SubAccountId, amount: Money, actor: Actor) -> SubAccount:
        """Move `amount` > 0 from the account to the house. Raises InsufficientBalance beyond balance -
        owed."""
        ...

    async def set_balance(
        self, sub_account_id: SubAccountId, balance: Money, actor: Actor, debit_max: Decimal | None = None
    ) -> SubAccount:
        """Bring the balance to a figure (USDT, 0 or more) against the house, reason ADMIN_SET; the account
        owes nothing after it, and an initial balance of 0 becomes the figure too. Raises InsufficientBalance
        when more than `debit_max` would leave the account, HouseCapitalInsufficient."""
        ...

    async def transfer_between(
        self, from_id: SubAccountId, to_id: SubAccountId, amount: Money, actor: Actor
    ) -> tuple[SubAccount, SubAccount]:
        """Move `amount` > 0 from one account to another, reasons TRANSFER_OUT and TRANSFER_IN; it repays what
        the target owes first. Return both. Raises InsufficientBalance beyond balance - owed."""
        ...

    async def reset_account(self, sub_account_id: SubAccountId, actor: Actor) -> SubAccount:
        """Start an account anew: cash to the house (reason RESET), what it owes written off, both balances 0,
        ACTIVE; no history is deleted. Raises AccountExposedError while anything of it is open."""
        ...

    async def close_account(self, sub_account_id: SubAccountId, actor: Actor) -> SubAccount:
        """Close an account for good: cash to the house (reason WITHDRAWAL), what it owes written off, FROZEN;
        its history stays. Raises AccountExposedError while anything of it is open."""
        ...

    async def write_off(self, sub_account_id: SubAccountId, actor: Actor) -> SubAccount:
        """Write off what a flat account owes, insurance first, then the house. Raises AccountExposedError."""
        ...

    async def set_status(
        self, sub_account_id: SubAccountId, status: AccountStatus, actor: Actor
    ) -> SubAccount: ...
    async def set_liquidation_mode(
        self, sub_account_id: SubAccountId, mode: LiquidationMode, actor: Actor
    ) -> SubAccount: ...
    async def rename(self, sub_account_id: SubAccountId, name: str, actor: Actor) -> SubAccount: ...
    async def set_rules(
        self, sub_account_id: SubAccountId | None, rules: RiskRules, actor: Actor
    ) -> None: ...
    async def mark_liquidated(self, sub_account_id: SubAccountId) -> SubAccount:
        """Set LIQUIDATED, write off what the account owes and end its running liquidation as DONE. Raises
        InvariantError while a row or an order of the account is open (decision 21)."""
        ...

    def running_liquidation(self, sub_account_id: SubAccountId) -> LiquidationRecord | None: ...
    def running_liquidations(self) -> Sequence[LiquidationRecord]:
        """Return every liquidation that was decided and has not ended, at most one for an account."""
        ...

    async def begin_liquidation(
        self,
        sub_account_id: SubAccountId,
        label: str,
        margin_ratio: Decimal,
        evidence: Mapping[str, JsonValue],
        event: str,
        data: Mapping[str, JsonValue],
    ) -> LiquidationRecord:
        """Record a decision to act on an account before anything is done, with the durable event that tells
        it (`full_liquidation` or `adl_triggered`). A running one of the account is RELEASED by it. Raises
        RequestError when the account is LIQUIDATED."""
        ...

    async def end_liquidation(self, sub_account_id: SubAccountId, state: LiquidationState) -> None:
        """End the account's running liquidation as DONE or RELEASED; nothing happens when none runs."""
        ...

    async def finish_liquidation(self, sub_account_id: SubAccountId) -> SubAccount:
        """`mark_liquidated`, what is still owed is written off, and the running liquidation ends as DONE, in
        one transaction."""
        ...

    async def emit(
        self, sub_account_id: SubAccountId, type: str, data: Mapping[str, JsonValue]
    ) -> DurableEvent:
        """Write a durable event that no money movement carries (`full_liquidation`, ...)."""
        ...

    async def adopt_wallet(self, wallet_balance: Money, epoch: str, as_of_ms: int | None = None) -> None:
        """Record the real account's wallet as house capital, once for each epoch; a later difference between
        the wallet and the ledger's expectation is a house line OPENING_DIFFERENCE above 1e-6, never
        absorbed. Executions before `as_of_ms` (the exchange's clock; now if not given) are in that wallet;
        orders of an earlier epoch end."""
        ...

    async def last_trade_time_ms(self, symbol: Symbol) -> int:
        """Return when the execution behind `last_trade_id` was made, or 0 when the symbol has none."""
        ...

    async def record_unreadable(self, symbol: Symbol, since_ms: int, until_ms: int) -> None:
        """Record that the exchange does not tell the symbol's executions of a span of time any more: what was
        executed then is in nobody's book. An action of the audit trail (`exchange.unreadable`)."""
        ...

    async def update_liquidation_prices(self, prices: Mapping[PositionId, Price]) -> None:
        """Store dynamic liquidation prices (relative change above 1e-4 only, spec H40)."""
        ...

    async def close(self) -> None: ...
