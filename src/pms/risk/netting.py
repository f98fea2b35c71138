"""The netting of many sub-accounts on one real position.

All quantities are base units; signed ones are positive for LONG (BUY). Pure functions over plain values:
the caller takes the figures and uses the answer in one synchronous step (decision 12).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pms.model.account import PositionSide
from pms.model.ids import SubAccountId
from pms.model.money import ZERO, round_down
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


@dataclass(frozen=True, slots=True)
class CloseSplit:
    """How a close is carried out: `real` as an order, `virtual` as a transfer to the house
    (`DESYNC_CLOSE`).
    """

    real: Decimal
    virtual: Decimal


def split_close(
    side: PositionSide, quantity: Decimal, exchange_net: Decimal, expected_net: Decimal
) -> CloseSplit:
    """Split a close of `quantity` of a position by what the exchange does not back (decision 10).

    d = exchange net - expected net. Only min(quantity, |d|) is virtual, and only where d lies against the
    position: a LONG with d < 0, a SHORT with d > 0. The caller asks only with a known exchange net: no
    answer means no virtual close at all (H3).
    """
    difference = exchange_net - expected_net
    if difference * side.sign >= 0:
        return CloseSplit(quantity, ZERO)
    virtual = min(quantity, abs(difference))
    return CloseSplit(quantity - virtual, virtual)


@dataclass(frozen=True, slots=True)
class Holder:
    """A virtual position on the symbol of a foreign fill; `quantity` is unsigned."""

    sub_account_id: SubAccountId
    side: PositionSide
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Share:
    """What one holder gets of a foreign fill: `quantity` of its position is closed."""

    sub_account_id: SubAccountId
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Allocation:
    """Shares whose sum plus `house` (signed) is the fill exactly (decision 3)."""

    shares: tuple[Share, ...]
    house: Decimal


def allocate_foreign(signed_quantity: Decimal, holders: Sequence[Holder], step: Decimal) -> Allocation:
    """Allocate a foreign fill to the holders of the side that it reduces (decision 11).

    A sole holder takes all that fits; several take pro rata, rounded down to lots of `step`, and what
    rounding leaves goes lot by lot to the largest remainders (the order of `holders` breaks ties). Nobody
    gets more than it holds; the rest stays with the house.
    """
    reduced = PositionSide.SHORT if signed_quantity > 0 else PositionSide.LONG
    eligible = [holder for holder in holders if holder.side is reduced and holder.quantity > 0]
    held = sum((holder.quantity for holder in eligible), ZERO)
    target = min(abs(signed_quantity), held)
    if len(eligible) == 1 or target == held:
        shares = [Share(holder.sub_account_id, min(target, holder.quantity)) for holder in eligible]
    else:
        shares = _pro_rata(target, eligible, held, step)
    given = sum((share.quantity for share in shares), ZERO)
    sign = 1 if signed_quantity > 0 else -1
    return Allocation(tuple(share for share in shares if share.quantity > 0), signed_quantity - given * sign)


def expected_net(signed_virtual: Iterable[Decimal], house: Decimal) -> Decimal:
    """Return Σ signed virtual quantity + the house's signed quantity (decision 9)."""
    return sum(signed_virtual, house)


def _pro_rata(target: Decimal, holders: Sequence[Holder], held: Decimal, step: Decimal) -> list[Share]:
    exact = [target * holder.quantity / held for holder in holders]
    given = [round_down(part, step) for part in exact]
    left = target - sum(given, ZERO)
    order = sorted(range(len(holders)), key=lambda index: given[index] - exact[index])
    for index in order:
        if step == 0 or left < step:
            break
        extra = min(step, holders[index].quantity - given[index], left)
        if extra == step:
            given[index] += extra
            left -= extra
    return [Share(holder.sub_account_id, part) for holder, part in zip(holders, given, strict=True)]
