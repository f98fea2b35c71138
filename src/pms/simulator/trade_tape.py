"""The public trades of each symbol: ids, the last ones for requests, and their aggregation (spec 4.2)."""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import NamedTuple

from pms.simulator.market_payloads import USD_MARGINED, Payload

KEPT = 1000
AGGREGATION_MS = 100


class PublicTrade(NamedTuple):
    """One trade. Texts as recorded, time Unix ms."""

    number: int
    price: str
    quantity: str
    time_ms: int
    buyer_is_maker: bool


class Aggregate(NamedTuple):
    """Trades at one price of one side within 100 ms."""

    number: int
    price: str
    quantity: str
    first: int
    last: int
    time_ms: int
    buyer_is_maker: bool

    def payload(self, symbol: str, now_ms: int) -> Payload:
        """Return aggTrade."""
        return {"e": "aggTrade", "E": now_ms, "s": symbol} | self.row() | {"st": USD_MARGINED}

    def row(self) -> Payload:
        """Return the fields that the stream and GET aggTrades share; nothing here is RPI, so nq is q."""
        return {
            "a": self.number,
            "p": self.price,
            "q": self.quantity,
            "nq": self.quantity,
            "f": self.first,
            "l": self.last,
            "T": self.time_ms,
            "m": self.buyer_is_maker,
        }


class SymbolTape:
    """The trades of one symbol, the last `KEPT` of them. Ids are consecutive and grow over restarts."""

    def __init__(self, now_ms: int) -> None:
        self.trades: deque[PublicTrade] = deque(maxlen=KEPT)
        self.aggregates: deque[Aggregate] = deque(maxlen=KEPT)
        self._next_trade = now_ms * 100
        self._next_aggregate = now_ms * 50
        self._open: list[PublicTrade] = []

    def breaks(self, price: str, buyer_is_maker: bool, now_ms: int) -> bool:
        """True when a trade like this must wait until the open aggregate has been closed."""
        if not self._open:
            return False
        first = self._open[0]
        same = first.price == price and first.buyer_is_maker == buyer_is_maker
        return not same or now_ms - first.time_ms >= AGGREGATION_MS

    def add(self, price: str, quantity: str, buyer_is_maker: bool, now_ms: int) -> PublicTrade:
        """Take a trade into the open aggregate, and return it with its id."""
        trade = PublicTrade(self._next_trade, price, quantity, now_ms, buyer_is_maker)
        self._next_trade += 1
        self._open.append(trade)
        self.trades.append(trade)
        return trade

    def due(self, now_ms: int) -> bool:
        """True when the open aggregate has lasted 100 ms."""
        return bool(self._open) and now_ms - self._open[0].time_ms >= AGGREGATION_MS

    def close(self) -> Aggregate:
        """End the open aggregate (there must be one) and return it."""
        trades, self._open = self._open, []
        quantity = trades[0].quantity if len(trades) == 1 else _sum(trades)
        first, last = trades[0], trades[-1]
        ended = Aggregate(
            self._next_aggregate,
            first.price,
            quantity,
            first.number,
            last.number,
            last.time_ms,
            first.buyer_is_maker,
        )
        self._next_aggregate += 1
        self.aggregates.append(ended)
        return ended


def _sum(trades: list[PublicTrade]) -> str:
    return f"{sum(Decimal(trade.quantity) for trade in trades):f}"
