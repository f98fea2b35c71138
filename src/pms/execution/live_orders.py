"""Every order that may still execute, from the gate's approval to its booked end: the reservations.

Invariants: 1. An order is here from the synchronous step that approved it until the commit that made it
terminal, so no two decisions see the same free margin or closing capacity (decisions 12 and 16). 2. Its
remaining quantity is what is not booked yet: until booked it counts as filled for exposure and as live for
closing capacity (decision 2).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TypeVar

from pms.ledger.api import NewIntent, Pool
from pms.model.account import PositionSide
from pms.model.ids import ClientOrderId, SubAccountId
from pms.model.money import ZERO, Price, Quantity
from pms.model.order import JournalOrder, OrderSide, OrderType
from pms.model.symbol import Symbol
from pms.risk.real_purse import NO_LOAD, SideLoad

_K = TypeVar("_K")


@dataclass(frozen=True, slots=True)
class LiveOrder:
    """An order that may still execute. `price` None for MARKET; `mark_at_approval` values it then."""

    client_order_id: ClientOrderId
    sub_account_id: SubAccountId | None
    symbol: Symbol
    side: OrderSide
    type: OrderType
    remaining: Quantity
    price: Price | None
    leverage: Decimal
    reduce_only: bool
    reduce_only_wire: bool
    mark_at_approval: Price | None


@dataclass(frozen=True, slots=True)
class Claim:
    """Closing capacity of an account's position (None: of the house's) that something without an order of
    its own will use: a share of a pooled order, or a transfer that is not booked yet. `side` is that of the
    close."""

    sub_account_id: SubAccountId | None
    symbol: Symbol
    side: OrderSide
    quantity: Decimal


class LiveOrders:
    """Live orders indexed by sub-account and by symbol, and claims. Event-loop thread only."""

    def __init__(self) -> None:
        self._orders: dict[ClientOrderId, LiveOrder] = {}
        self._by_account: dict[SubAccountId | None, dict[ClientOrderId, None]] = {}
        self._by_symbol: dict[Symbol, dict[ClientOrderId, None]] = {}
        self._sides: dict[tuple[Symbol, OrderSide], SideLoad] = {}
        self._on_change: Callable[[Symbol], None] | None = None
        self._asked: dict[ClientOrderId, tuple[Quantity, Price]] = {}
        self._claims: dict[str, tuple[Claim, ...]] = {}
        self._claimed: dict[tuple[SubAccountId | None, Symbol, OrderSide], Decimal] = {}

    def on_change(self, listener: Callable[[Symbol], None]) -> None:
        """Tell one listener of each symbol whose orders changed, in the step that changed them."""
        self._on_change = listener

    def __len__(self) -> int:
        return len(self._orders)

    def reserve(self, intent: NewIntent, mark: Price | None) -> None:
        """Count an order from now on; called in the same synchronous step as the gate."""
        if intent.shares:
            self.claim(
                intent.client_order_id,
                [
                    Claim(share.sub_account_id, intent.symbol, intent.side, share.quantity)
                    for share in intent.shares
                ],
            )
        self._put(
            LiveOrder(
                intent.client_order_id,
                intent.sub_account_id,
                intent.symbol,
                intent.side,
                intent.type,
                intent.quantity,
                intent.price,
                intent.leverage,
                intent.reduce_only,
                intent.reduce_only_wire,
                mark,
            )
        )

    def release(self, client_order_id: ClientOrderId) -> None:
        """Forget an order that never left: its intent could not be journaled."""
        self.unclaim(client_order_id)
        self._asked.pop(client_order_id, None)
        self._remove(client_order_id)

    def take_out(self, client_order_id: ClientOrderId) -> LiveOrder | None:
        """Leave an order out of account for the rest of a synchronous step, which puts it back."""
        return self._remove(client_order_id)

    def put_back(self, order: LiveOrder) -> None:
        """Count an order again that `take_out` gave."""
        self._put(order)

    def ask_amendment(self, order: LiveOrder, booked: Quantity, left: Quantity, price: Price) -> None:
        """Count an order that `take_out` gave with the larger of its old and new quantity and price, until
        `settle_amendment`. `left` is what is to execute after the change, beside what is `booked`."""
        worst = max(price, order.price or price)
        self._asked[order.client_order_id] = (Quantity(booked + left), worst)
        self._put(replace(order, remaining=max(order.remaining, left), price=worst))

    def settle_amendment(self, client_order_id: ClientOrderId, row: JournalOrder | None) -> None:
        """The exchange has spoken on a change: count the order as the journal has it now."""
        self._asked.pop(client_order_id, None)
        if row is not None:
            self.apply([row])

    def _following(self, known: LiveOrder, row: JournalOrder) -> LiveOrder:
        asked = self._asked.get(row.client_order_id)
        if asked is None:
            price, left = known.price if row.price is None else row.price, row.remaining_quantity
        else:
            price, left = asked[1], Quantity(max(row.remaining_quantity, asked[0] - row.booked_quantity))
        return replace(known, remaining=left, price=price, leverage=row.leverage)

    def _remove(self, client_order_id: ClientOrderId) -> LiveOrder | None:
        order = self._orders.pop(client_order_id, None)
        if order is None:
            return None
        _discard(self._by_account, order.sub_account_id, client_order_id)
        _discard(self._by_symbol, order.symbol, client_order_id)
        self._count(order, -order.remaining)
        return order

    def apply(self, orders: Sequence[JournalOrder]) -> None:
        """Follow committed journal rows: shrink by what is booked, drop what is terminal."""
        for row in orders:
            if row.state.terminal:
                self.release(row.client_order_id)
                continue
            known = self._orders.get(row.client_order_id)
            if known is None:
                self._put(_from_journal(row))
                continue
            follows = self._following(known, row)
            if follows.price != known.price:
                self._remove(row.client_order_id)
                self._put(follows)
            elif follows != known:
                self._orders[row.client_order_id] = follows
                self._count(known, follows.remaining - known.remaining)

    def apply_pools(self, pools: Sequence[Pool]) -> None:
        """Follow committed pooled orders: each claims what it may still close of its shares."""
        for pool in pools:
            self.claim(
                pool.client_order_id,
                [Claim(share.sub_account_id, pool.symbol, pool.side, left) for share, left in pool.claims()],
            )

    def claim(self, name: str, claims: Sequence[Claim]) -> None:
        """Hold closing capacity under a name; what that name held before is given back."""
        self.unclaim(name)
        if claims:
            self._claims[name] = tuple(claims)
        for one in claims:
            key = (one.sub_account_id, one.symbol, one.side)
            self._claimed[key] = self._claimed.get(key, ZERO) + one.quantity

    def claimed(self, symbol: Symbol) -> bool:
        """True while something without an order of the account's own closes positions of a symbol. What one
        name holds is of one symbol."""
        return any(claims[0].symbol == symbol for claims in self._claims.values())

    def unclaim(self, name: str) -> None:
        """Give back what a name holds."""
        for one in self._claims.pop(name, ()):
            key = (one.sub_account_id, one.symbol, one.side)
            left = self._claimed[key] - one.quantity
            if left:
                self._claimed[key] = left
            else:
                del self._claimed[key]

    def of_the_house(self, symbol: Symbol, side: OrderSide) -> Decimal:
        """Return Σ remaining of the house's own orders on one side, and of what closes are meeting of it:
        pooled ones are the closers'."""
        return self._claimed.get((None, symbol, side), ZERO) + sum(
            (
                self._orders[key].remaining
                for key in self._by_account.get(None, ())
                if key not in self._claims
                and self._orders[key].symbol == symbol
                and self._orders[key].side is side
            ),
            ZERO,
        )

    def of_account(self, account: SubAccountId) -> Iterator[LiveOrder]:
        return (self._orders[key] for key in self._by_account.get(account, ()))

    def of_symbol(self, symbol: Symbol) -> Iterator[LiveOrder]:
        return (self._orders[key] for key in self._by_symbol.get(symbol, ()))

    def resting_count(self, symbol: Symbol) -> int:
        """Return how many limit orders of any account may rest on the symbol."""
        return sum(order.type is OrderType.LIMIT for order in self.of_symbol(symbol))

    def entries_count(self, symbol: Symbol, account: SubAccountId) -> int:
        """Return how many limit orders of an account may rest on the symbol that do not only reduce."""
        return sum(
            order.symbol == symbol and order.type is OrderType.LIMIT and not order.reduce_only
            for order in self.of_account(account)
        )

    def on_side(self, symbol: Symbol, side: OrderSide) -> Decimal:
        """Return Σ live, in-flight and unknown quantity on one side of a symbol, of any account (decision
        12)."""
        return self.side(symbol, side).quantity

    def side(self, symbol: Symbol, side: OrderSide) -> SideLoad:
        """Return quantity and value of one side of a symbol, of any account, in time that does not grow with
        its orders (decision 19)."""
        return self._sides.get((symbol, side), NO_LOAD)

    def closing(self, account: SubAccountId, symbol: Symbol, side: PositionSide) -> Decimal:
        """Return Σ quantity of the account's reduce-only orders that would close its position of that
        side, and of the claims on it."""
        closes = OrderSide.closing(side)
        return self._claimed.get((account, symbol, closes), ZERO) + sum(
            (
                order.remaining
                for order in self.of_account(account)
                if order.symbol == symbol and order.side is closes and order.reduce_only
            ),
            ZERO,
        )

    def crossing(self, account: SubAccountId, symbol: Symbol, side: PositionSide) -> Decimal:
        """Return Σ quantity of the account's in-flight market orders that reduce its position of that side
        before they open anything: a close beside them would reduce the same quantity twice."""
        closes = OrderSide.closing(side)
        return sum(
            (
                order.remaining
                for order in self.of_account(account)
                if order.symbol == symbol
                and order.side is closes
                and order.type is OrderType.MARKET
                and not order.reduce_only
            ),
            ZERO,
        )

    def _put(self, order: LiveOrder) -> None:
        self._orders[order.client_order_id] = order
        self._by_account.setdefault(order.sub_account_id, {})[order.client_order_id] = None
        self._by_symbol.setdefault(order.symbol, {})[order.client_order_id] = None
        self._count(order, order.remaining)

    def _count(self, order: LiveOrder, change: Decimal) -> None:
        key = (order.symbol, order.side)
        load = self._sides.get(key, NO_LOAD).plus(change, _unit_value(order))
        if load.quantity:
            self._sides[key] = load
        else:
            self._sides.pop(key, None)
        if self._on_change is not None:
            self._on_change(order.symbol)


def _discard(index: dict[_K, dict[ClientOrderId, None]], key: _K, order_id: ClientOrderId) -> None:
    group = index.get(key)
    if group is not None:
        group.pop(order_id, None)
        if not group:
            del index[key]


def _unit_value(order: LiveOrder) -> Decimal | None:
    """What the gate values a unit at: the limit price, but a sell never below the mark it was approved at;
    None for a market order whose mark is not known any more (a restart)."""
    price, mark = order.price, order.mark_at_approval
    if price is None or (mark is not None and order.side is OrderSide.SELL and mark > price):
        return mark
    return price


def _from_journal(row: JournalOrder) -> LiveOrder:
    return LiveOrder(
        row.client_order_id,
        row.sub_account_id,
        row.symbol,
        row.side,
        row.type,
        row.remaining_quantity,
        row.price,
        row.leverage,
        row.reduce_only,
        row.reduce_only_wire,
        None,
    )
