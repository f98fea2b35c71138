"""Every conditional order the exchange remembers, by id, client id, symbol and the order it became."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from pms.simulator.order_index import CLOSED_ALGOS_KEPT
from pms.simulator.state import Account, AlgoOrder

FIRST_ALGO_ID = 3_000_000_000_000_001


class AlgoIndex:
    """Conditional orders of all accounts; closed ones beyond `CLOSED_ALGOS_KEPT` are forgotten."""

    def __init__(self) -> None:
        self.open: dict[str, dict[int, AlgoOrder]] = {}
        self.closed: OrderedDict[int, AlgoOrder] = OrderedDict()
        self.next_id = FIRST_ALGO_ID
        self._latest_by_client_id: dict[tuple[int, str], int] = {}

    def restore(self, algo: AlgoOrder) -> None:
        """Take over a stored conditional order."""
        self.put(algo)
        self.next_id = max(self.next_id, algo.algo_id + 1)

    def draw_id(self) -> int:
        """Return the next id."""
        self.next_id += 1
        return self.next_id - 1

    def put(self, algo: AlgoOrder) -> None:
        """Take a new one, or a known one whose state has changed."""
        key = (algo.account_id, algo.client_algo_id)
        self._latest_by_client_id[key] = max(self._latest_by_client_id.get(key, 0), algo.algo_id)
        if algo.is_open:
            self.open.setdefault(algo.symbol, {})[algo.algo_id] = algo
            return
        self.open.get(algo.symbol, {}).pop(algo.algo_id, None)
        self.closed[algo.algo_id] = algo
        if len(self.closed) > CLOSED_ALGOS_KEPT:
            _, old = self.closed.popitem(last=False)
            name = (old.account_id, old.client_algo_id)
            if self._latest_by_client_id.get(name) == old.algo_id:
                del self._latest_by_client_id[name]

    def at(self, symbol: str) -> list[AlgoOrder]:
        """Return the open ones of a symbol, of all accounts, oldest first."""
        return list(self.open.get(symbol, {}).values())

    def open_of(self, account: Account, symbol: str | None = None) -> list[AlgoOrder]:
        """Return the open ones of an account, oldest first."""
        books = self.open.values() if symbol is None else [self.open.get(symbol, {})]
        mine = [a for book in books for a in book.values() if a.account_id == account.account_id]
        return sorted(mine, key=lambda a: a.algo_id)

    def find(self, account: Account, algo_id: int | None, client_id: str | None) -> AlgoOrder | None:
        """Return one by id, or the latest one with a client id."""
        if algo_id is None:
            algo_id = self._latest_by_client_id.get((account.account_id, client_id or ""), -1)
        found = self.closed.get(algo_id)
        for book in [] if found else self.open.values():
            found = found or book.get(algo_id)
        return found if found is not None and found.account_id == account.account_id else None

    def all_of(self, account: Account) -> Iterator[AlgoOrder]:
        """Yield every one still remembered, oldest first."""
        everything = [*self.closed.values(), *(a for book in self.open.values() for a in book.values())]
        for algo in sorted(everything, key=lambda a: a.algo_id):
            if algo.account_id == account.account_id:
                yield algo
