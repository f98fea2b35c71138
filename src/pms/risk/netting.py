"""The netting of many sub-accounts on one real position.

All quantities are base units; signed ones are positive for LONG (BUY). Pure functions over plain values:
the caller takes the figures and uses the answer in one synchronous step (decision 12).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from pms.model.account import PositionSide
from pms.model.money import ZERO
from pms.model.order import OrderSide, OrderState, OrderType, TimeInForce


@dataclass(frozen=True, slots=True)
class SideOrder:
    """An order of any account on the symbol that is not known to be over. `remaining` is not booked yet."""

    side: OrderSide
    remaining: Decimal
    state: OrderState


@dataclass(frozen=True, slots=True)
class SymbolBook:
    """One symbol of the real account. `net` is its signed position, None when the exchange has not told it.

    `bids` and `asks` are Σ live, in-flight and unknown quantity of each side, of any account.
    """

    net: Decimal | None
    bids: Decimal = ZERO
    asks: Decimal = ZERO

    @staticmethod
    def of(net: Decimal | None, orders: Iterable[SideOrder]) -> "SymbolBook":
        """Sum the orders by side; unknown ones count like live ones, terminal ones do not (decision 2)."""
        bids, asks = ZERO, ZERO
        for order in orders:
            if order.state.terminal:
                continue
            if order.side is OrderSide.BUY:
                bids += order.remaining
            else:
                asks += order.remaining
        return SymbolBook(net, bids, asks)

    def on_side(self, side: OrderSide) -> Decimal:
        """Return the quantity that may still execute on a side."""
        return self.bids if side is OrderSide.BUY else self.asks

    def with_more(self, side: OrderSide, quantity: Decimal) -> "SymbolBook":
        """Return the book with another order on a side."""
        if side is OrderSide.BUY:
            return replace(self, bids=self.bids + quantity)
        return replace(self, asks=self.asks + quantity)

    def worst(self) -> Decimal:
        """Return max(|net + bids|, |net - asks|): what the real margin must carry (decision 19)."""
        net = self.net or ZERO
        return max(abs(net + self.bids), abs(net - self.asks))


def wire_reduce_only(
    book: SymbolBook,
    side: OrderSide,
    order_type: OrderType,
    time_in_force: TimeInForce,
    quantity: Decimal,
) -> bool:
    """Tell whether an order may carry `reduceOnly` on the wire (decision 12).

    Only MARKET and IOC, never a resting order; only against the net, and only if the quantity fits into
    what the net leaves beside everything that may execute on that side. An unknown net never carries it.
    """
    if order_type is not OrderType.MARKET and time_in_force is not TimeInForce.IOC:
        return False
    if book.net is None or book.net * side.sign >= 0:
        return False
    return quantity <= abs(book.net) - book.on_side(side)


def unbacked(side: PositionSide, net: Decimal, virtual_net: Decimal, house: Decimal) -> Decimal:
    """Return how much of the positions of a side the exchange does not back (decision 10).

    d = exchange net - expected net, and only where d lies against the side: a LONG with d < 0, a SHORT with
    d > 0. What the house holds of that side is the first to be without backing: an earlier difference lies
    there, and must not be taken from every later close again. The caller asks only with a known exchange net
    and a difference that has persisted: no answer means no virtual close at all (H3).
    """
    expected = virtual_net if house * side.sign > 0 else virtual_net + house
    return max(ZERO, (expected - net) * side.sign)


def expected_net(signed_virtual: Iterable[Decimal], house: Decimal) -> Decimal:
    """Return Σ signed virtual quantity + the house's signed quantity (decision 9)."""
    return sum(signed_virtual, house)
