"""Every order the exchange remembers, by id, by client id, and open ones by symbol."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from pms.simulator.exposure import Exposures
from pms.simulator.state import Account, Order

FIRST_ORDER_ID = 8_000_000_001
CLOSED_ORDERS_KEPT = 50_000
CLOSED_ALGOS_KEPT = 10_000
AMENDMENTS_KEPT = 10_000


class OrderIndex:
    """Orders of all accounts. Closed ones beyond `CLOSED_ORDERS_KEPT` are forgotten, oldest first."""

    def __init__(self) -> None:
        self.open: dict[str, dict[int, Order]] = {}
        self.closed: OrderedDict[int, Order] = OrderedDict()
        self.exposures = Exposures()
        self.next_id = FIRST_ORDER_ID
        self._latest_by_client_id: dict[tuple[int, str, str], int] = {}

    def restore(self, order: Order) -> None:
        """Take over a stored order."""
        self.put(order)
        self.next_id = max(self.next_id, order.order_id + 1)

    def draw_id(self) -> int:
        """Return the next order id."""
        self.next_id += 1
        return self.next_id - 1

    def put(self, order: Order) -> None:
        """Take a new order, or a known one whose state or quantity has changed."""
        self.exposures.update(order)
        if order.client_order_id:
            key = (order.account_id, order.symbol, order.client_order_id)
            self._latest_by_client_id[key] = max(self._latest_by_client_id.get(key, 0), order.order_id)
        if order.is_open:
            self.open.setdefault(order.symbol, {})[order.order_id] = order
            return
        self.open.get(order.symbol, {}).pop(order.order_id, None)
        self.closed[order.order_id] = order
        if len(self.closed) > CLOSED_ORDERS_KEPT:
            _, old = self.closed.popitem(last=False)
            key = (old.account_id, old.symbol, old.client_order_id)
            if self._latest_by_client_id.get(key) == old.order_id:
                del self._latest_by_client_id[key]

    def open_of(self, account: Account, symbol: str | None = None) -> list[Order]:
        """Return the open orders of an account, oldest first."""
        books = self.open.values() if symbol is None else [self.open.get(symbol, {})]
        found = [o for book in books for o in book.values() if o.account_id == account.account_id]
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
        return bool(client_id) and any(o.client_order_id == client_id for o in self.open_of(account))
