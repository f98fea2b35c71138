"""The end of a contract: status changes, and settlement of all positions at one price (spec 5.3, er 7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import msgspec

from pms.simulator.account_book import AccountBook
from pms.simulator.changes import Journal
from pms.simulator.clearing import Clearing
from pms.simulator.exchange_orders import SETTLEMENT_PREFIX, ExchangeOrders
from pms.simulator.rules import SymbolRules
from pms.simulator.state import Listing


class ListingDesk:
    """Changes the status of symbols; `on_status` callbacks are told (symbol, status, time).

    `end_orders(symbol, reason, now_ms)` expires all open orders of a symbol.
    """

    def __init__(
        self,
        journal: Journal,
        book: AccountBook,
        clearing: Clearing,
        exchange_orders: ExchangeOrders,
        rules: dict[str, SymbolRules],
        end_orders: Callable[[str, str, int], None],
    ) -> None:
        self._journal = journal
        self._book = book
        self._clearing = clearing
        self._exchange_orders = exchange_orders
        self._rules = rules
        self._end_orders = end_orders
        self.on_status: list[Callable[[str, str, int], None]] = []

    def restore(self, listing: Listing) -> None:
        """Take over a stored status; of a symbol that is not listed any more it means nothing."""
        rules = self._rules.get(listing.symbol)
        if rules is not None:
            delivery = listing.delivery_ms or rules.info.delivery_date
            info = msgspec.structs.replace(rules.info, status=listing.status, delivery_date=delivery)
            self._rules[listing.symbol] = replace(rules, info=info)

    def set_status(self, symbol: str, status: str, now_ms: int, delivery_ms: int | None = None) -> None:
        """Give a symbol a status; exchangeInfo shows it and orders are judged by it from now on."""
        listing = Listing(symbol, status, delivery_ms or 0)
        self.restore(listing)
        self._journal.changes.listings[symbol] = listing
        for tell in self.on_status:
            tell(symbol, status, now_ms)

    def settle(self, symbol: str, price: Decimal, now_ms: int) -> int:
        """End all orders of a symbol and close all positions in it at a price; return how many closed."""
        self._end_orders(symbol, "7", now_ms)
        closed = 0
        for account_id in self._clearing.holders():
            account = self._book.by_id[account_id]
            for position in self._clearing.held_by(account):
                if position.symbol == symbol:
                    name = f"{SETTLEMENT_PREFIX}{now_ms}{position.side[0]}"
                    self._exchange_orders.off_book(
                        account, position, abs(position.quantity), price, name, "MARKET", now_ms
                    )
                    closed += 1
        return closed
