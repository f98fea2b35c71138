"""The records of the simulated exchange: accounts, positions, orders, trades, income, and the live market."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

from msgspec import Struct, field

from pms.simulator.recorded_book import RecordedBook

ZERO = Decimal(0)
MONEY = Decimal("0.00000001")
OPEN = frozenset({"NEW", "PARTIALLY_FILLED"})
ISOLATED = "ISOLATED"
CROSSED = "CROSSED"
BOTH = "BOTH"
LONG = "LONG"
SHORT = "SHORT"
USDT = "USDT"
BNB = "BNB"
FUND_ID = 0
"""Account id of the insurance fund, which has no key."""
PositionKey = tuple[int, str, str]
"""(account id, symbol, position side); the side is BOTH in one-way mode, LONG or SHORT in hedge mode."""


def text(value: Decimal) -> str:
    """Return the shortest plain notation: no exponent, no trailing zeros."""
    return f"{value.normalize():f}" if value else "0"


def _unsigned_zero(shown: str) -> str:
    return "0.00000000" if shown == "-0.00000000" else shown


def money(value: Decimal) -> str:
    """Return an amount with the exchange's eight decimals."""
    return _unsigned_zero(f"{value:.8f}")


def round_money(value: Decimal) -> Decimal:
    """Round an amount to eight decimals, half up, as fees and realized profit are."""
    return value.quantize(MONEY, rounding=ROUND_HALF_UP)


def margin_text(value: Decimal) -> str:
    """Return a margin figure with eight decimals, cut off as the venue does (recorded positionRisk rows)."""
    return _unsigned_zero(f"{value.quantize(MONEY, rounding=ROUND_DOWN):f}") if value else "0"


def closes(side: str, position_side: str) -> bool:
    """Tell whether a hedge-mode order closes: LONG sold, or SHORT bought."""
    return (side, position_side) in (("SELL", "LONG"), ("BUY", "SHORT"))


class Position(Struct):
    """The position of one side (BOTH in one-way mode).

    `cost` is the signed exact Σ price × quantity of what is held; entry is derived. `outlay` is the signed
    Σ price × quantity of all its trades since it was last flat, plus their fees: what break-even must return.
    `isolated_wallet` is the part of the account's wallet that it has for itself; zero on cross margin.
    """

    account_id: int
    symbol: str
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    realized: Decimal = ZERO
    updated_ms: int = 0
    side: str = BOTH
    outlay: Decimal = ZERO
    isolated_wallet: Decimal = ZERO

    @property
    def break_even(self) -> Decimal:
        """The price at which closing returns everything spent, fees so far included; zero when flat.

        Funding is not part of it, the fee of the closing trade neither (checked on recorded rows).
        """
        return self.outlay / self.quantity if self.quantity else ZERO

    @property
    def entry(self) -> Decimal:
        """Average entry price, zero when flat."""
        return self.cost / self.quantity if self.quantity else ZERO

    def unrealized(self, mark: Decimal) -> Decimal:
        """Return the unrealized profit in USDT at a mark price."""
        return self.quantity * mark - self.cost

    def apply(self, signed_quantity: Decimal, price: Decimal) -> Decimal:
        """Book a fill and return its realized profit (before fee), rounded to eight decimals.

        The rounding stays in `cost`, so that Σ realized − cost moves by exactly −quantity × price.
        """
        traded = signed_quantity * price
        opposite = signed_quantity * self.quantity < 0
        closing = min(abs(signed_quantity), abs(self.quantity)) if opposite else ZERO
        realized = ZERO
        if closing:
            share = self.cost if closing == abs(self.quantity) else self.cost * closing / abs(self.quantity)
            closed_value = closing * price * (1 if self.quantity > 0 else -1)
            realized = closed_value - share
            if closing != abs(self.quantity):
                realized = round_money(realized)
        flipped = opposite and abs(signed_quantity) > abs(self.quantity)
        self.quantity += signed_quantity
        self.cost = self.cost + traded + realized
        self.outlay = self.cost if flipped else self.outlay + traded
        if not self.quantity:
            self.cost = self.outlay = ZERO
        self.realized += realized
        return realized

    def charge(self, fee: Decimal) -> None:
        """Count a fee, in the margin asset, into the break-even price."""
        if self.quantity:
            self.outlay += fee


class Order(Struct):
    """One order, from acceptance on. Quantities in base asset; `cum_quote` is Σ price × quantity traded."""

    order_id: int
    account_id: int
    symbol: str
    client_order_id: str
    side: str
    type: str
    time_in_force: str
    price: Decimal
    quantity: Decimal
    created_ms: int
    updated_ms: int
    reduce_only: bool = False
    executed: Decimal = ZERO
    cum_quote: Decimal = ZERO
    status: str = "NEW"
    stp_mode: str = "EXPIRE_MAKER"
    price_match: str = "NONE"
    good_till_ms: int = 0
    expiry_reason: str = "0"
    position_side: str = BOTH
    amendments: int = 0
    priority: int = 0
    close_position: bool = False
    algo_id: int = 0
    original_type: str = ""
    forced: bool = False

    @property
    def queue_key(self) -> int:
        """Place in the queue of its price: the id, or what replaced it when an amendment lost the place."""
        return self.priority or self.order_id

    @property
    def remaining(self) -> Decimal:
        """Quantity not yet executed."""
        return self.quantity - self.executed

    @property
    def is_open(self) -> bool:
        """True while the order rests on the book."""
        return self.status in OPEN

    @property
    def sign(self) -> int:
        """+1 buy, −1 sell."""
        return 1 if self.side == "BUY" else -1

    @property
    def closes(self) -> bool:
        """True when the order can only reduce: by its flag, or in hedge mode by its side (spec section 7)."""
        return self.reduce_only or closes(self.side, self.position_side)

    @property
    def average_price(self) -> Decimal:
        """Average of its fills, zero without any."""
        return self.cum_quote / self.executed if self.executed else ZERO


class Amendment(Struct, frozen=True):
    """One change of a resting order's price or quantity. `modify_id` is the client's, None without one."""

    amendment_id: int
    account_id: int
    symbol: str
    order_id: int
    client_order_id: str
    price_before: Decimal
    price_after: Decimal
    quantity_before: Decimal
    quantity_after: Decimal
    count: int
    time_ms: int
    modify_id: int | None = None
    price_match: str = "NONE"


class AlgoOrder(Struct):
    """One conditional order, from acceptance on; `order_id` is its ordinary order once it has fired, else 0.

    `extreme` is the best price since a trailing order became active; zero while it is not.
    """

    algo_id: int
    account_id: int
    symbol: str
    client_algo_id: str
    side: str
    type: str
    time_in_force: str
    quantity: Decimal
    created_ms: int
    updated_ms: int
    price: Decimal = ZERO
    trigger_price: Decimal = ZERO
    position_side: str = BOTH
    working_type: str = "CONTRACT_PRICE"
    price_match: str = "NONE"
    price_protect: bool = False
    close_position: bool = False
    reduce_only: bool = False
    activate_price: Decimal = ZERO
    callback_rate: Decimal = ZERO
    stp_mode: str = "EXPIRE_MAKER"
    good_till_ms: int = 0
    status: str = "NEW"
    order_id: int = 0
    triggered_ms: int = 0
    reject_reason: str = ""
    extreme: Decimal = ZERO

    @property
    def is_open(self) -> bool:
        """True until it fires or ends."""
        return self.status == "NEW"

    @property
    def sign(self) -> int:
        """+1 buy, −1 sell."""
        return 1 if self.side == "BUY" else -1


class Trade(Struct, frozen=True):
    """One side of a fill. `trade_id` is unique for a symbol; the two orders of one trade share it."""

    trade_id: int
    account_id: int
    symbol: str
    order_id: int
    side: str
    price: Decimal
    quantity: Decimal
    realized: Decimal
    commission: Decimal
    maker: bool
    time_ms: int
    position_side: str = BOTH
    commission_asset: str = USDT
    margin_asset: str = USDT


class Income(Struct, frozen=True):
    """One line of the account's money history."""

    income_id: int
    account_id: int
    symbol: str
    income_type: str
    amount: Decimal
    time_ms: int
    info: str = ""
    trade_id: str = ""
    asset: str = USDT


class MarginMove(Struct, frozen=True):
    """One movement between the cross wallet and an isolated one; `amount` is positive, `added` its direction.

    `by_user` tells a change of position margin from what a trade moved.
    """

    move_id: int
    account_id: int
    symbol: str
    side: str
    asset: str
    amount: Decimal
    added: bool
    by_user: bool
    time_ms: int


class Funding(Struct, frozen=True):
    """One settled funding of a symbol; `rate` is a fraction, positive when longs pay."""

    symbol: str
    time_ms: int
    rate: Decimal
    mark: Decimal


class Listing(Struct, frozen=True):
    """A symbol whose status was changed here; the exchangeInfo answer shows it. Delivery in Unix ms."""

    symbol: str
    status: str
    delivery_ms: int = 0


class Account(Struct):
    """One exchange account with one API key; `wallets` holds its balance of each asset, isolated or not.

    `margin_type` holds ISOLATED or CROSSED of the symbols it was set for; the others are on cross margin.
    `hedge_mode` keeps LONG and SHORT apart. `countdowns` are the times, by symbol, at which all orders of the
    symbol are cancelled unless the client asks for a later one first.
    `fee_burn` has fees paid in BNB, `fee_tier` is its row of the fee table.
    `liquidating` is set from the cancelling of its orders until it is safe or flat (-2023 meanwhile).
    """

    account_id: int
    api_key: str
    secret: str
    wallets: dict[str, Decimal] = field(default_factory=dict)
    listen_key: str = ""
    listen_key_expires_ms: int = 0
    leverage: dict[str, int] = field(default_factory=dict)
    margin_type: dict[str, str] = field(default_factory=dict)
    updated_ms: int = 0
    hedge_mode: bool = False
    countdowns: dict[str, int] = field(default_factory=dict)
    fee_burn: bool = False
    fee_tier: int = 0
    liquidating: bool = False

    @property
    def wallet(self) -> Decimal:
        """Balance in USDT."""
        return self.wallets.get(USDT, ZERO)

    def isolates(self, symbol: str) -> bool:
        """Tell whether positions of a symbol have their own wallets."""
        return self.margin_type.get(symbol, CROSSED) == ISOLATED

    def credit(self, asset: str, amount: Decimal) -> None:
        """Move an amount into (or, negative, out of) the balance of an asset."""
        self.wallets[asset] = self.wallets.get(asset, ZERO) + amount


class Market(Struct):
    """The live prices of one symbol, as the replay or a script last set them; `last` is the latest trade's.

    `book` holds the recorded levels behind the quote, `taken` what was taken of displayed levels by (side of
    the taker, price). `scripted` while a script holds the quote; `capped` when sizes are modelled.
    """

    symbol: str
    bid: Decimal = ZERO
    bid_quantity: Decimal = ZERO
    ask: Decimal = ZERO
    ask_quantity: Decimal = ZERO
    mark: Decimal = ZERO
    last: Decimal = ZERO
    update_id: int = 0
    time_ms: int = 0
    book: RecordedBook | None = None
    taken: dict[tuple[str, Decimal], Decimal] = field(default_factory=dict)
    scripted: bool = False
    capped: bool = True

    @property
    def deep(self) -> bool:
        """True when recorded levels stand behind the quote."""
        return self.book is not None and self.book.applied > 0 and not self.scripted

    @property
    def live(self) -> bool:
        """True once a quote has arrived."""
        return self.bid > 0 and self.ask > 0

    @property
    def mid(self) -> Decimal:
        """Middle of the quote."""
        return (self.bid + self.ask) / 2
