"""Private events between socket and handler: in order, each once, never dropped without a word.

The same event can come on two connections that overlap (Binance spec 5.2). What tells one from another is
everything that an event says, not its time of arrival.
"""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass

from pms.exchange.messages import AccountConfigUpdate, AccountUpdate, OrderTradeUpdate

SEEN_MAX = 8192
"""Keys of the newest events. Overflow: the oldest are forgotten; what is booked twice is told apart by the
ledger's own key (decision 3)."""

TOGETHER_MAX = 64
"""Events handed over together. Overflow: the others come right after them."""

EXPECTED_MAX = 4096
"""Orders remembered. Overflow: the oldest are forgotten; a silent stream is known by the others."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message of a known kind that could not be read; the truth must be asked for in its place."""

    reason: str


@dataclass(frozen=True, slots=True)
class Missed:
    """Events may be missing here; the truth must be asked for in their place."""

    reason: str


Event = OrderTradeUpdate | AccountUpdate | AccountConfigUpdate
Item = Event | Unreadable | Missed


def key_of(event: Event) -> tuple[object, ...]:
    """Return what makes an event this one and no other."""
    match event:
        case OrderTradeUpdate():
            order = event.order
            return (
                order.symbol,
                order.trade_id,
                order.order_id,
                order.client_order_id,
                order.execution_type,
                event.transaction_time,
                order.status,
                order.cumulative_quantity,
                order.original_quantity,
                order.price,
            )
        case AccountUpdate():
            change = event.account
            balances = tuple((row.asset, row.wallet_balance, row.change) for row in change.balances)
            positions = tuple(
                (row.symbol, row.position_side, row.amount, row.entry_price) for row in change.positions
            )
            return change.reason, event.transaction_time, balances, positions
        case AccountConfigUpdate():
            leverage = (event.leverage.symbol, event.leverage.leverage) if event.leverage else None
            multi_assets = event.multi_assets.multi_assets if event.multi_assets else None
            return event.transaction_time, leverage, multi_assets


class Seen:
    """The newest events, to recognise one that comes again."""

    def __init__(self) -> None:
        self._keys: OrderedDict[tuple[object, ...], None] = OrderedDict()
        self.repeated = 0

    def first(self, event: Event) -> bool:
        """Tell whether an event is seen for the first time, and remember it."""
        key = (type(event), *key_of(event))
        if key in self._keys:
            self.repeated += 1
            return False
        self._keys[key] = None
        if len(self._keys) > SEEN_MAX:
            self._keys.popitem(last=False)
        return True


class Expected:
    """Orders that were confirmed by request and whose event has not come: what a silent stream is known by.

    The event often overtakes the answer, so the newest orders of events are remembered too.
    """

    def __init__(self) -> None:
        self._told: OrderedDict[str, None] = OrderedDict()
        self._waiting: OrderedDict[str, float] = OrderedDict()

    def expect(self, order_id: str, now: float) -> None:
        """Wait for an event of the order, unless it has come already."""
        if order_id not in self._told:
            self._waiting.setdefault(order_id, now)
            if len(self._waiting) > EXPECTED_MAX:
                self._waiting.popitem(last=False)

    def told(self, order_id: str) -> None:
        """An event of the order has come."""
        self._waiting.pop(order_id, None)
        self._told[order_id] = None
        if len(self._told) > EXPECTED_MAX:
            self._told.popitem(last=False)

    def overdue(self, now: float, seconds_max: float) -> bool:
        """Tell whether an order has waited longer than that."""
        return bool(self._waiting) and now - next(iter(self._waiting.values())) > seconds_max

    def forget(self) -> None:
        """Wait for none: what was missed is asked for by request."""
        self._waiting.clear()


class Inbox:
    """Events of one connection. A full one is emptied and ends: the gap of the next connection covers it."""

    def __init__(self, bound: int) -> None:
        self._items: deque[Item] = deque()
        self._bound = bound
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, item: Item) -> bool:
        """Take an item; False when the inbox is full, which ends it."""
        if self._closed:
            return True
        if len(self._items) >= self._bound:
            self._items.clear()
            self.close()
            return False
        self._items.append(item)
        self._changed.set()
        return True

    def answered(self) -> None:
        """Forget what only says that the truth must be asked for: asking now answers all of it."""
        kept = [item for item in self._items if not isinstance(item, Unreadable | Missed)]
        self._items.clear()
        self._items.extend(kept)

    def close(self) -> None:
        """Take no more; what is there can still be got."""
        self._closed = True
        self._changed.set()

    async def get(self) -> Item | None:
        """Return the next item, or None at the end."""
        while not self._items:
            if self._closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._items.popleft()

    def together_with(self, first: Item) -> list[Item]:
        """Take what waits right behind an event and may be handed over with it: events of orders, each of
        another one, and the account's changes by them. At most `TOGETHER_MAX` with the first."""
        orders: set[str] = set()
        taken: list[Item] = []
        if not _joins(first, orders):
            return taken
        while self._items and len(taken) + 1 < TOGETHER_MAX and _joins(self._items[0], orders):
            taken.append(self._items.popleft())
        return taken

    def __len__(self) -> int:
        return len(self._items)


def _joins(item: Item, orders: set[str]) -> bool:
    """Tell whether an item may join events of those orders, and note its own."""
    match item:
        case OrderTradeUpdate() if item.order.client_order_id not in orders:
            orders.add(item.order.client_order_id)
            return True
        case AccountUpdate():
            return item.account.reason == "ORDER"
        case _:
            return False
