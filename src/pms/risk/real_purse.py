"""The real account's purse: its margin and caps as they are now, between and after readings (decision 19).

Pure and synchronous. A reading of the account and the private stream's events set what the exchange says;
marks, our own reservations and booked fills move it forward in the same step that makes them. Invariants:
1. For each symbol margin is reserved for the worse of "all bids fill" and "all asks fill", over the orders of
all sub-accounts and the house. 2. What the exchange reserves beyond what this book explains (orders of other
bots, open losses) stays reserved until the next reading. 3. An order that the gate admits never takes the sum
of all worst cases above the margin balance.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from pms.model.bracket import LeverageBracket
from pms.model.money import ZERO
from pms.model.order import OrderSide
from pms.model.refusal import Refusal, RefusalCode
from pms.model.symbol import Symbol
from pms.risk import messages

LEVERAGE_UNKNOWN = Decimal(1)
"""A symbol whose real leverage the exchange did not tell is reserved for in full."""


@dataclass(frozen=True, slots=True)
class SideLoad:
    """What the live orders of one side of a symbol amount to, of everybody: `quantity`, of which `unpriced`
    has no price of its own, and the value of the rest in USDT."""

    quantity: Decimal = ZERO
    value: Decimal = ZERO
    unpriced: Decimal = ZERO

    def at(self, mark: Decimal) -> Decimal:
        """Return the notional, what has no price valued at a mark."""
        return self.value + self.unpriced * mark

    def plus(self, quantity: Decimal, unit: Decimal | None) -> "SideLoad":
        """Return the load with a quantity more (negative: less), each unit worth `unit`."""
        if unit is None:
            return SideLoad(self.quantity + quantity, self.value, self.unpriced + quantity)
        return SideLoad(self.quantity + quantity, self.value + quantity * unit, self.unpriced)


NO_LOAD = SideLoad()


@dataclass(frozen=True, slots=True)
class RealPurse:
    """The real account on an order's symbol, in USDT. `net` is the signed notional of its position, `bids`
    and `asks` are the notionals of all live orders of everybody.

    `margin_available` may be negative. `notional_cap` is None when no bracket is known. `known` False: the
    account has not been read for too long. `blocked` True: the ladder forbids entries, at `margin_ratio`
    (maintenance / margin balance).
    """

    net: Decimal
    bids: Decimal
    asks: Decimal
    leverage: Decimal
    margin_available: Decimal
    margin_ratio: Decimal = ZERO
    notional_cap: Decimal | None = None
    known: bool = True
    blocked: bool = False


def worst_notional(net: Decimal, bids: Decimal, asks: Decimal) -> Decimal:
    """Return the notional that needs margin: as it is, all bids filled, or all asks filled."""
    return max(abs(net), abs(net + bids), abs(net - asks))


def real_refusals(
    real: RealPurse | None, side: OrderSide, quantity: Decimal, price: Decimal
) -> list[Refusal]:
    """Return why the real account cannot carry an order that opens exposure, valued at `price` for each unit.

    Margin and cap are asked only for what makes the worst case worse. Reductions must not be asked for here.
    """
    if real is None:
        return []
    if not real.known:
        text = "The real account's margin has not been read for too long; only reducing is possible. Retry."
        return [messages.refusal(RefusalCode.EXCHANGE_STATE_UNKNOWN, text)]
    if real.blocked:
        return [messages.refusal(RefusalCode.REAL_ENTRIES_BLOCKED, ratio=real.margin_ratio)]
    value = quantity * price
    before = worst_notional(real.net, real.bids, real.asks)
    bids = real.bids + (value if side is OrderSide.BUY else ZERO)
    asks = real.asks + (value if side is OrderSide.SELL else ZERO)
    after = worst_notional(real.net, bids, asks)
    if after <= before:
        return []
    found: list[Refusal] = []
    needed = (after - before) / real.leverage
    if needed > real.margin_available:
        found.append(
            messages.refusal(
                RefusalCode.REAL_MARGIN_INSUFFICIENT, needed=needed, available=real.margin_available
            )
        )
    if real.notional_cap is not None and after > real.notional_cap:
        found.append(
            messages.refusal(
                RefusalCode.REAL_NOTIONAL_CAP, notional=after, max=real.notional_cap, leverage=real.leverage
            )
        )
    return found


def maintenance_of(rows: Sequence[LeverageBracket], notional: Decimal) -> Decimal:
    """Return the exchange's maintenance of a notional: its brackets are lines of which the highest counts."""
    return max((notional * row.maintenance_rate - row.cumulative for row in rows), default=ZERO)


def rate_of(rows: Sequence[LeverageBracket], notional: Decimal) -> Decimal:
    """Return by how much maintenance falls with each USDT that a notional loses; 0 without brackets."""
    reached = [row.maintenance_rate for row in rows if row.notional_floor < notional]
    return max(reached, default=ZERO)


def cap_of(rows: Sequence[LeverageBracket], leverage: Decimal) -> Decimal | None:
    """Return the largest notional at a leverage (-2027 beyond it): the cap of the last bracket that allows
    it."""
    return max((row.notional_cap for row in rows if row.leverage_max >= leverage), default=None)


@dataclass(frozen=True, slots=True)
class RealPosition:
    """A position as the exchange tells it: signed quantity, average entry, and its time of that."""

    signed_quantity: Decimal
    entry_price: Decimal
    update_time_ms: int


@dataclass(frozen=True, slots=True)
class RealReading:
    """One answer of the exchange about the account, true at `as_of_ms` of its clock or a little later."""

    as_of_ms: int
    wallet_balance: Decimal
    margin_balance: Decimal
    available_balance: Decimal
    maintenance_margin: Decimal
    positions: Mapping[Symbol, RealPosition]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the purse asks of the rest of the engine, each answered at once.

    `net`: Σ virtual + house quantity as booked; `side`: what the live orders of one side amount to; `mark`:
    the newest mark of any age, None without one.
    """

    net: Callable[[Symbol], Decimal]
    side: Callable[[Symbol, OrderSide], SideLoad]
    mark: Callable[[Symbol], Decimal | None]


@dataclass(frozen=True, slots=True)
class RealFigures:
    """The account as of now, USDT. `margin_ratio` is maintenance / margin balance (999 without a positive
    balance); `initial_margin` counts every order's worst case; `reserved_elsewhere` is what the exchange
    holds beyond that."""

    margin_balance: Decimal
    margin_available: Decimal
    initial_margin: Decimal
    maintenance_margin: Decimal
    reserved_elsewhere: Decimal
    margin_ratio: Decimal


RATIO_WITHOUT_BALANCE = Decimal(999)


@dataclass(slots=True)
class _Symbol:
    """The parts of one symbol in the account's sums."""

    profit: Decimal = ZERO
    initial: Decimal = ZERO
    maintenance: Decimal = ZERO


@dataclass(slots=True)
class RealBook:
    """The account's sums, kept symbol by symbol; only touched symbols are computed again."""

    inputs: Inputs
    _brackets: Mapping[Symbol, tuple[LeverageBracket, ...]] = field(default_factory=dict)
    _leverages: dict[Symbol, Decimal] = field(default_factory=dict)
    _positions: dict[Symbol, RealPosition] = field(default_factory=dict)
    _parts: dict[Symbol, _Symbol] = field(default_factory=dict)
    _touched: dict[Symbol, None] = field(default_factory=dict)
    _wallet: Decimal = ZERO
    _wallet_time_ms: int = -1
    _elsewhere: Decimal = ZERO
    _maintenance_beyond: Decimal = ZERO
    _figures: RealFigures | None = None

    # --- what moves it ---

    def touch(self, symbol: Symbol) -> None:
        """Something of a symbol changed: its mark, its orders, or what is booked. Returns at once."""
        self._touched[symbol] = None

    def take_brackets(self, brackets: Mapping[Symbol, tuple[LeverageBracket, ...]]) -> None:
        self._brackets = brackets
        self._touch_all()

    def take_leverages(self, leverages: Mapping[Symbol, int]) -> None:
        """Take every symbol's real leverage."""
        self._leverages = {symbol: Decimal(leverage) for symbol, leverage in leverages.items()}
        self._touch_all()

    def take_leverage(self, symbol: Symbol, leverage: int) -> None:
        """Take one changed leverage, as the private stream tells it."""
        self._leverages[symbol] = Decimal(leverage)
        self.touch(symbol)

    def take_position(self, symbol: Symbol, position: RealPosition) -> None:
        """Take a reported position; an older one than the known is ignored."""
        known = self._positions.get(symbol)
        if known is not None and known.update_time_ms > position.update_time_ms:
            return
        self._positions[symbol] = position
        self.touch(symbol)

    def take_wallet(self, balance: Decimal, time_ms: int) -> None:
        """Take a reported wallet balance; an older one than the known is ignored."""
        if time_ms >= self._wallet_time_ms:
            self._wallet, self._wallet_time_ms = balance, time_ms
            self._figures = None

    def take_reading(self, reading: RealReading, initial_before: Decimal) -> None:
        """Take a whole answer. `initial_before` is `figures().initial_margin` when it was asked for: orders
        that ended meanwhile are no foreign reservation."""
        for symbol, known in list(self._positions.items()):
            if symbol not in reading.positions and known.update_time_ms <= reading.as_of_ms:
                self.take_position(symbol, RealPosition(ZERO, ZERO, reading.as_of_ms))
        for symbol, position in reading.positions.items():
            self.take_position(symbol, position)
        self.take_wallet(reading.wallet_balance, reading.as_of_ms)
        now = self.figures()
        explained = max(initial_before, now.initial_margin)
        held = reading.margin_balance - reading.available_balance
        self._elsewhere = max(ZERO, held - explained)
        modelled = now.maintenance_margin - self._maintenance_beyond
        self._maintenance_beyond = max(ZERO, reading.maintenance_margin - modelled)
        self._figures = None

    # --- what it answers ---

    def figures(self) -> RealFigures:
        """Return the account's figures as of now."""
        if self._touched:
            self._settle()
        if self._figures is None:
            self._figures = self._summed()
        return self._figures

    def purse(self, symbol: Symbol, *, known: bool, blocked: bool) -> RealPurse:
        """Return what the gate must know for an order on a symbol."""
        figures = self.figures()
        net, bids, asks = self._notionals(symbol)
        leverage = self.leverage(symbol)
        return RealPurse(
            net=net,
            bids=bids,
            asks=asks,
            leverage=leverage,
            margin_available=figures.margin_available,
            margin_ratio=figures.margin_ratio,
            notional_cap=cap_of(self._brackets.get(symbol, ()), leverage),
            known=known,
            blocked=blocked,
        )

    def leverage(self, symbol: Symbol) -> Decimal:
        return self._leverages.get(symbol, LEVERAGE_UNKNOWN)

    def brackets(self, symbol: Symbol) -> Sequence[LeverageBracket]:
        """Return the symbol's brackets, none when they are not known."""
        return self._brackets.get(symbol, ())

    def positions(self) -> Mapping[Symbol, RealPosition]:
        """Return the positions that the exchange tells, without flat ones."""
        return {symbol: held for symbol, held in self._positions.items() if held.signed_quantity}

    def maintenance(self, symbol: Symbol) -> Decimal:
        """Return the maintenance of the symbol's real position at its mark."""
        self._settle()
        part = self._parts.get(symbol)
        return ZERO if part is None else part.maintenance

    # --- inside ---

    def _summed(self) -> RealFigures:
        parts = self._parts.values()
        balance = self._wallet + sum((part.profit for part in parts), ZERO)
        initial = sum((part.initial for part in parts), ZERO)
        maintenance = self._maintenance_beyond + sum((part.maintenance for part in parts), ZERO)
        return RealFigures(
            margin_balance=balance,
            margin_available=balance - initial - self._elsewhere,
            initial_margin=initial,
            maintenance_margin=maintenance,
            reserved_elsewhere=self._elsewhere,
            margin_ratio=ratio(maintenance, balance),
        )

    def _touch_all(self) -> None:
        self._touched.update(dict.fromkeys((*self._positions, *self._parts)))

    def _settle(self) -> None:
        touched, self._touched = self._touched, {}
        for symbol in touched:
            part = self._part(symbol)
            if part is None:
                self._parts.pop(symbol, None)
            else:
                self._parts[symbol] = part
        self._figures = None

    def _part(self, symbol: Symbol) -> _Symbol | None:
        net, bids, asks = self._notionals(symbol)
        initial = worst_notional(net, bids, asks) / self.leverage(symbol)
        held = self._positions.get(symbol)
        if held is None or not held.signed_quantity:
            return _Symbol(initial=initial) if initial else None
        mark = self.inputs.mark(symbol) or held.entry_price
        notional = abs(held.signed_quantity) * mark
        return _Symbol(
            profit=held.signed_quantity * (mark - held.entry_price),
            initial=initial,
            maintenance=maintenance_of(self.brackets(symbol), notional),
        )

    def _notionals(self, symbol: Symbol) -> tuple[Decimal, Decimal, Decimal]:
        mark = self.inputs.mark(symbol)
        if mark is None:
            held = self._positions.get(symbol)
            mark = ZERO if held is None else held.entry_price
        bids = self.inputs.side(symbol, OrderSide.BUY).at(mark)
        asks = self.inputs.side(symbol, OrderSide.SELL).at(mark)
        return self.inputs.net(symbol) * mark, bids, asks


def ratio(maintenance: Decimal, balance: Decimal) -> Decimal:
    """Return maintenance / margin balance: 0 without positions, 999 when nothing is left to carry them."""
    if not maintenance:
        return ZERO
    return maintenance / balance if balance > 0 else RATIO_WITHOUT_BALANCE
