"""The order gate: decides from plain values whether an order may be sent, and alone makes `ApprovedOrder`s.

Every order passes here (decision 18). The order of the checks is ledger spec 4.2 with the numeric
validation first (H20). What blocks new exposure (a frozen account, a liquidation, a halt, a stale price, a
symbol that left trading) never blocks reducing: such an order is approved as reduce-only (decisions 13, 20
and 21).
"""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from pms.model.account import AccountStatus, Position, PositionSide, RiskRules, SubAccount
from pms.model.ids import ClientOrderId
from pms.model.money import ZERO, Price, Quantity, plain
from pms.model.order import (
    ApprovedAmendment,
    ApprovedOrder,
    OrderCode,
    OrderSide,
    OrderType,
    SelfMatchPrevention,
    TimeInForce,
)
from pms.model.price import STALE_AFTER_MS
from pms.model.refusal import Refusal, RefusalCode, Refused
from pms.model.signature import fixed_text
from pms.model.symbol import Symbol, SymbolRules
from pms.risk import messages
from pms.risk.admission import Admission, decimal_limits, limit_refusals
from pms.risk.formulas import maintenance_rate_or_default, pnl, validator_view
from pms.risk.maintenance import Brackets
from pms.risk.real_purse import RealPurse, real_refusals
from pms.risk.reservations import (
    Load,
    OpenOrder,
    closing_capacity,
    side_outcome,
    taken_capacity,
    worst_load,
)

LEVERAGE_MIN = Decimal(1)
LEVERAGE_MAX = Decimal(125)
LIMIT_NOTIONAL_MIN = Decimal(5)
"""A limit order is never smaller than this, whatever the symbol's filter says (spec D33)."""

_CLOSING_CODES = frozenset(
    {OrderCode.LIQUIDATION, OrderCode.CLOSE, OrderCode.TRAILING_STOP, OrderCode.LIMIT_CLOSE}
)


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
    (MARKET valued at the mark of their approval). `closing_taken` is the closing quantity already promised
    against the position that this order would close. `open_orders` counts the symbol's open orders on the
    real account.
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
    liquidating: bool = False
    halted: bool = False
    ready: bool = True
    open_orders: int = 0
    open_orders_limit: int | None = None
    flip_mode: FlipMode = FlipMode.NET
    real: RealPurse | None = None
    brackets: Brackets[Decimal] | None = None


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


def decide(given: GateInput) -> Approved | Refused:
    """Return the approval, or every refusal found in the order of the checks. Pure and synchronous."""
    outcome = assess(given)
    return outcome.approved if outcome.approved is not None else Refused(outcome.refusals)


def assess(given: GateInput) -> Assessment:
    """Decide like `decide`, and return the computed figures also when the order is refused."""
    invalid = _number_refusals(given.request, given.rules)
    if invalid:
        return _refused(*invalid)
    if not given.ready:
        return _refused(messages.refusal(RefusalCode.NOT_READY))
    if given.account is None:
        return _refused(messages.refusal(RefusalCode.ACCOUNT_NOT_FOUND))
    if given.symbol_rules is None:
        return _refused(messages.refusal(RefusalCode.UNKNOWN_SYMBOL, symbol=given.request.symbol))
    blockers = _exposure_blockers(given, given.account, given.symbol_rules)
    held = _held(given)
    side = OrderSide.opening(given.request.side)
    capacity = closing_capacity(held, side, given.closing_taken)
    fits = given.request.quantity <= capacity
    if given.request.reduce_only or (blockers and fits):
        return _assess_reduction(given, given.symbol_rules, side, capacity)
    if blockers and blockers[0].code in (RefusalCode.ACCOUNT_FROZEN, RefusalCode.NO_PRICE):
        return _refused(*blockers)
    return _assess_exposure(given, given.account, given.symbol_rules, blockers)


def approve(
    client_order_id: ClientOrderId, request: OrderRequest, approved: Approved, *, reduce_only_wire: bool
) -> ApprovedOrder:
    """Make the order that the exchange port takes. `reduce_only_wire` comes from `netting` (decision 12)."""
    reducing = approved.reduce_only or approved.opening == 0
    return ApprovedOrder(
        client_order_id=client_order_id,
        symbol=request.symbol,
        side=approved.side,
        type=request.type,
        quantity=approved.quantity,
        price=approved.price,
        time_in_force=request.time_in_force,
        reduce_only_wire=reduce_only_wire,
        self_match=_self_match(request.code, reducing),
        risk_reducing=reducing,
    )


def approve_amendment(
    client_order_id: ClientOrderId,
    request: OrderRequest,
    approved: Approved,
    executed: Quantity,
    *,
    modify_id: int | None = None,
) -> ApprovedAmendment:
    """Make the change of a resting limit order that the exchange port takes.

    `approved` is the decision on what the order would still have to execute after the change, asked for as a
    new order, without the old one among the open orders. `executed` is what it has executed when it is asked:
    more by the time the change arrives only leaves less to execute. Raises ValueError without a price.
    """
    if approved.price is None:
        raise ValueError(f"{client_order_id} has no price: only limit orders are amended")
    return ApprovedAmendment(
        client_order_id=client_order_id,
        symbol=request.symbol,
        side=approved.side,
        quantity=Quantity(executed + approved.quantity),
        price=approved.price,
        risk_reducing=approved.reduce_only or approved.opening == 0,
        modify_id=modify_id,
    )


def approve_house(
    client_order_id: ClientOrderId,
    symbol: Symbol,
    side: OrderSide,
    quantity: Quantity,
    *,
    reduce_only_wire: bool,
) -> ApprovedOrder:
    """Make a market order of the house: the net of a mass close or of a takeover (decisions 6 and 13).

    `quantity` is already rounded to the filters. The house is never refused by sub-account rules.
    """
    return ApprovedOrder(
        client_order_id=client_order_id,
        symbol=symbol,
        side=side,
        type=OrderType.MARKET,
        quantity=quantity,
        price=None,
        time_in_force=TimeInForce.GTC,
        reduce_only_wire=reduce_only_wire,
        self_match=SelfMatchPrevention.EXPIRE_MAKER,
        risk_reducing=True,
    )


def _self_match(code: OrderCode, reducing: bool) -> SelfMatchPrevention:
    """Decision 14."""
    if reducing or code in _CLOSING_CODES:
        return SelfMatchPrevention.EXPIRE_MAKER
    return SelfMatchPrevention.EXPIRE_TAKER


def _refused(*refusals: Refusal, computed: dict[str, float] | None = None) -> Assessment:
    return Assessment(None, refusals, computed or {})


def _number_refusals(request: OrderRequest, rules: RiskRules) -> list[Refusal]:
    """Numbers that no rule could judge (H20). The leverage of a reduction is never used; one that the
    account's rule forbids anyway is left to that rule and its code."""
    found: list[Refusal] = []
    if not request.quantity.is_finite() or request.quantity <= 0:
        found.append(messages.refusal(RefusalCode.INVALID_QUANTITY, quantity=str(request.quantity)))
    if request.type is OrderType.LIMIT or request.price is not None:
        price = request.price
        if price is None or not price.is_finite() or price <= 0:
            found.append(messages.refusal(RefusalCode.INVALID_PRICE, price=str(price)))
    leverage = request.leverage
    largest = LEVERAGE_MAX if leverage.is_finite() and leverage <= rules.leverage_max else Decimal("Infinity")
    if not request.reduce_only and not (leverage.is_finite() and LEVERAGE_MIN <= leverage <= largest):
        found.append(messages.refusal(RefusalCode.INVALID_LEVERAGE, leverage=str(leverage)))
    return found


def _exposure_blockers(given: GateInput, account: SubAccount, rules: SymbolRules) -> list[Refusal]:
    """What forbids new exposure whatever its size; reducing is not concerned."""
    found: list[Refusal] = []
    if account.status is not AccountStatus.ACTIVE:
        return [messages.account_frozen(account.status)]
    if given.mark is None or given.mark <= 0:
        found.append(messages.refusal(RefusalCode.NO_PRICE))
    if given.halted:
        found.append(messages.refusal(RefusalCode.TRADING_HALTED))
    if given.liquidating:
        found.append(messages.refusal(RefusalCode.LIQUIDATION_IN_PROGRESS))
    if not rules.trading:
        found.append(messages.refusal(RefusalCode.SYMBOL_NOT_TRADING, symbol=rules.symbol))
    stale = (
        [str(given.request.symbol)] if given.mark is not None and given.mark_age_ms > STALE_AFTER_MS else []
    )
    stale += [
        str(held.position.symbol)
        for held in given.positions
        if (held.mark is None or held.mark_age_ms > STALE_AFTER_MS)
        and held.position.symbol != given.request.symbol
    ]
    if stale:
        found.append(messages.refusal(RefusalCode.STALE_PRICE, symbols=",".join(stale)))
    return found


def _held(given: GateInput) -> Position | None:
    """The account's open position on the order's symbol; there is at most one (invariant 4)."""
    for held in given.positions:
        if held.position.symbol == given.request.symbol:
            return held.position
    return None


def _assess_reduction(given: GateInput, rules: SymbolRules, side: OrderSide, capacity: Decimal) -> Assessment:
    """Cap to the free closing capacity; exempt from limits and minimum notional."""
    request = given.request
    if capacity <= 0:
        return _refused(messages.refusal(RefusalCode.REDUCE_ONLY_REJECTED, capacity=capacity))
    price = rules.round_price(request.price) if request.price is not None else None
    quantity = rules.round_quantity(min(request.quantity, capacity), market=request.type is OrderType.MARKET)
    found = _quantity_refusals(rules, request, quantity)
    if price is not None:
        found += _price_refusals(rules, side, price, given.mark)
    found += _count_refusals(given)
    if found:
        return _refused(*found)
    approved = Approved(side, quantity, price, quantity, ZERO, ZERO, reduce_only=True)
    return Assessment(approved, (), {})


def _assess_exposure(
    given: GateInput, account: SubAccount, rules: SymbolRules, blockers: list[Refusal]
) -> Assessment:
    request, side = given.request, OrderSide.opening(given.request.side)
    mark = given.mark or ZERO
    market = request.type is OrderType.MARKET
    price = rules.round_price(request.price) if request.price is not None else None
    quantity = rules.round_quantity(request.quantity, market=market)
    split = _split(given, side, quantity)
    found = [*blockers, *_quantity_refusals(rules, request, quantity)]
    if price is not None:
        found += _price_refusals(rules, side, price, mark)
    if quantity <= 0 or (price is not None and price <= 0):
        return _refused(*found)
    value_price = _value_price(side, price, mark)
    notional = split.sent * value_price
    found += _notional_refusals(rules, request, notional)
    admission = _admission(given, account, split, value_price)
    computed = admission.computed(notional)
    if split.opening > 0:
        limits = given.rules
        found += limit_refusals(
            admission,
            decimal_limits(limits.leverage_max, limits.notional_per_trade_max, limits.exposure_max),
        )
    elif request.leverage > LEVERAGE_MAX:
        found.append(messages.refusal(RefusalCode.INVALID_LEVERAGE, leverage=str(request.leverage)))
    found += _count_refusals(given)
    if split.opening > 0:
        found += real_refusals(given.real, side, split.sent, value_price)
    if found:
        return _refused(*found, computed=computed)
    approved = Approved(
        side,
        Quantity(split.sent),
        price,
        split.sent - split.opening,
        split.opening,
        admission.margin_required,
        reduce_only=False,
        computed=computed,
    )
    return Assessment(approved, (), computed)


@dataclass(frozen=True, slots=True)
class _Split:
    """`sent` quantity of the order, of which `opening` opens exposure when everything on its side fills."""

    sent: Decimal
    opening: Decimal
    load: Load


def _split(given: GateInput, side: OrderSide, quantity: Decimal) -> _Split:
    """Split the order against the position, after the orders that rest on the same side (decision 16)."""
    held, symbol = _held(given), given.request.symbol
    capacity = closing_capacity(held, side, given.closing_taken)
    before = side_outcome(held, given.orders, symbol, side, given.closing_taken)
    sent = quantity
    replaces = given.flip_mode is FlipMode.INCUMBENT and given.request.type is OrderType.MARKET
    if replaces and held is not None and OrderSide.closing(held.side) is side:
        sent = quantity + held.quantity
    free = max(ZERO, capacity - (before.ordered - before.opening))
    closed = min(sent, free)
    load = before.load
    if held is not None and closed:
        share = closed / held.quantity
        load = Load(load.exposure - held.notional * share, load.margin - held.margin * share)
    return _Split(sent, sent - closed, load)


def _admission(given: GateInput, account: SubAccount, split: _Split, price: Decimal) -> Admission[Decimal]:
    """Margin and exposure of the resulting position beside all other positions and orders (decision 18)."""
    request, held = given.request, _held(given)
    required = split.opening * price / request.leverage
    others = _other_loads(given)
    counter_side = OrderSide.opening(request.side).opposite
    opposite = side_outcome(
        held,
        given.orders,
        request.symbol,
        counter_side,
        taken_capacity(given.orders, request.symbol, counter_side),
    )
    used = max(split.load.margin, opposite.load.margin - required if opposite.ordered else ZERO)
    profit = sum((marked.unrealized_pnl for marked in given.positions), ZERO)
    notional = sum((marked.position.notional for marked in given.positions), ZERO)
    closed = ZERO
    if held is not None and held.side is not request.side:
        closed = held.notional * min(split.sent - split.opening, held.quantity) / held.quantity
    rate = maintenance_rate_or_default(account.maintenance_rate)
    # The opposite position's PnL is in `profit` once; the incumbent counts it twice (H19).
    view = validator_view(account.cash, rate, profit, notional, closed, ZERO)
    maintenance = view.maintenance_margin
    if given.brackets is not None:
        maintenance = _bracket_maintenance(given, given.brackets, rate, closed)
    return Admission(
        leverage=request.leverage,
        price=price,
        notional=split.opening * price,
        margin_required=required,
        exposure=others.exposure + split.load.exposure,
        margin_used=others.margin + used,
        equity=view.equity,
        maintenance_margin=maintenance,
        available_margin=view.equity - maintenance,
    )


def _bracket_maintenance(
    given: GateInput, brackets: Brackets[Decimal], rate: Decimal, closed: Decimal
) -> Decimal:
    """Σ of what the brackets need for the positions at their marks, without the part that the trade closes
    (`closed`: entry notional)."""
    needed = ZERO
    for marked in given.positions:
        position = marked.position
        kept = Decimal(position.quantity)
        if closed and position.symbol == given.request.symbol:
            kept -= kept * closed / position.notional
        notional = kept * (marked.mark or position.entry_price)
        needed += brackets.maintenance(position.symbol, notional, rate)
    return needed


def _other_loads(given: GateInput) -> Load:
    """Σ worst case of every other symbol on which the account holds a position or an order."""
    positions = {marked.position.symbol: marked.position for marked in given.positions}
    symbols = dict.fromkeys([*positions, *(order.symbol for order in given.orders)])
    exposure, margin = ZERO, ZERO
    for symbol in symbols:
        if symbol != given.request.symbol:
            load = worst_load(positions.get(symbol), given.orders, symbol)
            exposure, margin = exposure + load.exposure, margin + load.margin
    return Load(exposure, margin)


def _value_price(side: OrderSide, price: Decimal | None, mark: Decimal) -> Decimal:
    """A limit order is valued at its price; a marketable sell fills at the market, which is higher."""
    if price is None:
        return mark
    return max(price, mark) if side is OrderSide.SELL else price


def _quantity_refusals(rules: SymbolRules, request: OrderRequest, quantity: Decimal) -> list[Refusal]:
    smallest, largest = rules.quantity_bounds(market=request.type is OrderType.MARKET)
    if quantity > 0 and quantity >= smallest and (largest == 0 or quantity <= largest):
        return []
    text = f"Quantity {plain(request.quantity)} is outside {plain(smallest)} to {plain(largest)}"
    return [
        messages.refusal(
            RefusalCode.INVALID_QUANTITY, text, quantity=request.quantity, min=smallest, max=largest
        )
    ]


def _price_refusals(
    rules: SymbolRules, side: OrderSide, price: Decimal, mark: Decimal | None
) -> list[Refusal]:
    """PRICE_FILTER and PERCENT_PRICE of the exchange; a bound of 0 is switched off."""
    low, high = rules.price_min, rules.price_max
    if mark is not None and mark > 0:
        if side is OrderSide.BUY and rules.percent_price_up:
            high = min(high or Decimal("Infinity"), mark * rules.percent_price_up)
        if side is OrderSide.SELL and rules.percent_price_down:
            low = max(low, mark * rules.percent_price_down)
    if price > 0 and price >= low and (high == 0 or price <= high):
        return []
    text = f"Price {plain(price)} is outside {plain(low)} to {plain(high) if high else 'unbounded'}"
    return [messages.refusal(RefusalCode.INVALID_PRICE, text, price=price, min=low, max=high)]


def _notional_refusals(rules: SymbolRules, request: OrderRequest, notional: Decimal) -> list[Refusal]:
    smallest = rules.notional_min
    if request.type is OrderType.LIMIT:
        smallest = max(smallest, LIMIT_NOTIONAL_MIN)
    if notional >= smallest:
        return []
    text = f"Notional ${fixed_text(notional, 2)} is below the minimum ${fixed_text(smallest, 2)}"
    return [messages.refusal(RefusalCode.EXCHANGE_MIN_NOTIONAL, text, notional=notional, min=smallest)]


def _count_refusals(given: GateInput) -> list[Refusal]:
    """Only orders that rest count against the symbol's bound."""
    limit = given.open_orders_limit
    rests = given.request.type is OrderType.LIMIT and given.request.time_in_force in (
        TimeInForce.GTC,
        TimeInForce.GTX,
    )
    if not rests or limit is None or given.open_orders < limit:
        return []
    return [messages.refusal(RefusalCode.OPEN_ORDERS_LIMIT, open=str(given.open_orders), max=str(limit))]
