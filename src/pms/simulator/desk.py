"""What the parts of the order side share: books, rules, prices and the journal of one exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pms.simulator.account_book import AccountBook
from pms.simulator.changes import Journal
from pms.simulator.clearing import Clearing
from pms.simulator.errors import Reject
from pms.simulator.order_index import OrderIndex
from pms.simulator.resting import RestingQueue
from pms.simulator.rules import SymbolRules
from pms.simulator.state import Account, Market, Order


@dataclass(frozen=True, slots=True)
class Desk:
    """`check_margin(account, order)` refuses an order, not yet open, that the account cannot afford."""

    journal: Journal
    accounts: AccountBook
    orders: OrderIndex
    clearing: Clearing
    rules: Mapping[str, SymbolRules]
    markets: Mapping[str, Market]
    resting: Mapping[str, RestingQueue]
    check_margin: Callable[[Account, Order], Reject | None]

    def resting_of(self, symbol: str) -> list[Order]:
        """Return the open orders of all accounts in a symbol."""
        return list(self.orders.open.get(symbol, {}).values())
