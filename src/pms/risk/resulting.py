"""What an order makes of the account: how much of it closes, how much opens, and the load that results.

Decision 18: the margin that counts is that of the resulting position, beside everything that may still fill.
"""

from dataclasses import dataclass
from decimal import Decimal

from pms.model.account import Position, SubAccount
from pms.model.money import ZERO
from pms.model.order import OrderSide, OrderType
from pms.risk.admission import Admission
from pms.risk.formulas import maintenance_rate_or_default, validator_view
from pms.risk.gate_values import FlipMode, GateInput
from pms.risk.maintenance import Brackets
from pms.risk.reservations import (
    Load,
    OpenOrder,
    closing_capacity,
    side_outcome,
    taken_capacity,
    worst_load,
)


def held_position(given: GateInput) -> Position | None:
    """The account's open position on the order's symbol; there is at most one (invariant 4)."""
    for held in given.positions:
        if held.position.symbol == given.request.symbol:
            return held.position
    return None


@dataclass(frozen=True, slots=True)
class OrderSplit:
    """`sent` quantity of the order, of which `opening` opens exposure when everything on its side fills."""

    sent: Decimal
    opening: Decimal


def split_order(given: GateInput, side: OrderSide, quantity: Decimal) -> OrderSplit:
    """Split the order against the position, after the orders that rest on the same side (decision 16)."""
    held, symbol = held_position(given), given.request.symbol
    capacity = closing_capacity(held, side, given.closing_taken)
    before = side_outcome(held, given.orders, symbol, side, given.closing_taken)
    sent = quantity
    replaces = given.flip_mode is FlipMode.INCUMBENT and given.request.type is OrderType.MARKET
    if replaces and held is not None and OrderSide.closing(held.side) is side:
        sent = quantity + held.quantity
    free = max(ZERO, capacity - (before.ordered - before.opening))
    closed = min(sent, free)
    return OrderSplit(sent, sent - closed)


def resulting_admission(
    given: GateInput, account: SubAccount, split: OrderSplit, price: Decimal
) -> Admission[Decimal]:
    """Margin and exposure of the resulting position beside all other positions and orders (decision 18).

    An order of another leverage changes the margin of the whole position (ledger spec 5.2), and asks for it.
    """
    request, held = given.request, held_position(given)
    side, opened = OrderSide.opening(request.side), split.opening * price
    others = _other_loads(given)
    order = OpenOrder(request.symbol, side, split.sent, price, request.leverage)
    same = side_outcome(held, (*given.orders, order), request.symbol, side, given.closing_taken).load
    counter = side_outcome(
        held,
        given.orders,
        request.symbol,
        side.opposite,
        taken_capacity(given.orders, request.symbol, side.opposite),
    )
    margin = max(same.margin, counter.load.margin if counter.ordered else ZERO)
    required = opened / request.leverage
    growth = ZERO
    if held is not None and held.leverage != request.leverage:
        growth = margin - worst_load(held, given.orders, request.symbol).margin
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
        notional=opened,
        margin_required=required,
        exposure=others.exposure + same.exposure - opened,
        margin_used=others.margin + margin - required,
        equity=view.equity,
        maintenance_margin=maintenance,
        available_margin=view.equity - maintenance,
        margin_growth=growth,
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


def value_price(side: OrderSide, price: Decimal | None, mark: Decimal) -> Decimal:
    """A limit order is valued at its price; a marketable sell fills at the market, which is higher."""
    if price is None:
        return mark
    return max(price, mark) if side is OrderSide.SELL else price
