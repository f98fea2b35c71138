"""Every order the exchange remembers, by id, by client id, and open ones by symbol and by account."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pms.simulator.exposure import Exposure, Exposures
from pms.simulator.state import Account, Amendment, Order

FIRST_ORDER_ID = 8_000_000_001
CLOSED_ORDERS_KEPT = 50_000
CLOSED_ALGOS_KEPT = 10_000
AMENDMENTS_KEPT = 10_000
YEAR_MS = 365 * 86_400_000
NEVER_MS = 1 << 62


def due_ms(order: Order) -> int:
    """Return when an open order ends by time: its good-till date, or after a year (spec section 7)."""
    return order.good_till_ms if order.time_in_force == "GTD" else order.created_ms + YEAR_MS


class OrderIndex:
    """Orders of all accounts. Closed ones beyond `CLOSED_ORDERS_KEPT` are forgotten, oldest first."""

    def __init__(self) -> None:
        self.open: dict[str, dict[int, Order]] = {}
        self.closed: OrderedDict[int, Order] = OrderedDict()
        self.exposures = Exposures()
        self.watchers: list[Callable[[Order], None]] = []
        self.amendments: deque[Amendment] = deque(maxlen=AMENDMENTS_KEPT)
        self.next_id = FIRST_ORDER_ID
        self.next_amendment_id = 1
        self._next_due_ms = NEVER_MS
        self._open_of: dict[int, dict[int, Order]] = {}
        self._open_client_ids: dict[tuple[int, str], int] = {}
        self._latest_by_client_id: dict[tuple[int, str, str], int] = {}

    def restore(self, order: Order) -> None:
        """Take over a stored order."""
        self.put(order)
        self.next_id = max(self.next_id, order.order_id + 1, order.priority + 1)

    def restore_amendment(self, amendment: Amendment) -> None:
        """Take over a stored amendment."""
        self.amendments.append(amendment)
        self.next_amendment_id = max(self.next_amendment_id, amendment.amendment_id + 1)

    def draw_id(self) -> int:
        """Return the next order id."""
        self.next_id += 1
        return self.next_id - 1

    def draw_amendment_id(self) -> int:
        """Return the next amendment id."""
        self.next_amendment_id += 1
        return self.next_amendment_id - 1

    def standing(self, order: Order) -> Exposure:
        """Return what the open orders of an order's account, symbol and side sum up to now."""
        return self.exposures.of(order.account_id, order.symbol, order.position_side)

    def put(self, order: Order) -> Exposure:
        """Take a new order, or a known one whose state or quantity has changed; return `standing` of it."""
        self.exposures.update(order)
        for watch in self.watchers:
            watch(order)
        if order.client_order_id:
            key = (order.account_id, order.symbol, order.client_order_id)
            self._latest_by_client_id[key] = max(self._latest_by_client_id.get(key, 0), order.order_id)
        if order.is_open:
            self.open.setdefault(order.symbol, {})[order.order_id] = order
            self._open_of.setdefault(order.account_id, {})[order.order_id] = order
            self._open_client_ids[order.account_id, order.client_order_id] = order.order_id
            self._next_due_ms = min(self._next_due_ms, due_ms(order))
            return self.standing(order)
        self._leave(order)
        self.closed[order.order_id] = order
        if len(self.closed) > CLOSED_ORDERS_KEPT:
            _, old = self.closed.popitem(last=False)
            key = (old.account_id, old.symbol, old.client_order_id)
            if self._latest_by_client_id.get(key) == old.order_id:
                del self._latest_by_client_id[key]
        return self.standing(order)

    def _leave(self, order: Order) -> None:
        self.open.get(order.symbol, {}).pop(order.order_id, None)
        self._open_of.get(order.account_id, {}).pop(order.order_id, None)
        name = (order.account_id, order.client_order_id)
        if self._open_client_ids.get(name) == order.order_id:
            del self._open_client_ids[name]

    def due(self, now_ms: int) -> list[Order]:
        """Return the open orders whose time is over, oldest first; O(1) while none can be."""
        if now_ms < self._next_due_ms:
            return []
        opened = [o for book in self.open.values() for o in book.values()]
        ended = sorted((o for o in opened if due_ms(o) <= now_ms), key=lambda o: o.order_id)
        self._next_due_ms = min((due_ms(o) for o in opened if due_ms(o) > now_ms), default=NEVER_MS)
        return ended

    @contextmanager
    def without(self, order: Order) -> Iterator[None]:
        """Leave an open order out of the open ones for a moment, to judge what would replace it."""
        self._leave(order)
        self.exposures.drop(order.order_id)
        try:
            yield
        finally:
            self.put(order)

    def open_of(self, account: Account, symbol: str | None = None) -> list[Order]:
        """Return the open orders of an account, oldest first."""
        mine = self._open_of.get(account.account_id, {}).values()
        found = [o for o in mine if symbol is None or o.symbol == symbol]
        return sorted(found, key=lambda o: o.order_id)

    def find(
        self, account: Account, symbol: str, order_id: int | None, client_id: str | None
    ) -> Order | None:
        """Return an order by id, or the latest one with a client id."""
        if order_id is None:
            order_id = self._latest_by_client_id.get((account.account_id, symbol, client_id or ""), -1)
        order = self.open.get(symbol, {}).get(order_id) or self.closed.get(order_id)
        mine = order is not None and order.account_id == account.account_id and order.symbol == symbol
        return order if mine else None

    def all_of(self, account: Account) -> Iterator[Order]:
        """Yield every order still remembered, oldest first."""
        opened = (o for book in self.open.values() for o in book.values())
        everything = [*self.closed.values(), *opened]
        for order in sorted(everything, key=lambda o: o.order_id):
            if order.account_id == account.account_id:
                yield order

    def has_open_client_id(self, account: Account, client_id: str) -> bool:
        """Tell whether an open order of the account has the client id (-4116)."""
        return bool(client_id) and (account.account_id, client_id) in self._open_client_ids

    def amendments_of(self, account: Account, symbol: str) -> list[Amendment]:
        """Return the remembered amendments of a symbol, newest first, as the venue lists them."""
        mine = account.account_id
        return [a for a in reversed(self.amendments) if a.account_id == mine and a.symbol == symbol]
