"""Market prices: mark and book kept apart, each with its age (decision 20, spec H28 and H29)."""

from dataclasses import dataclass

from pms.model.symbol import Symbol

STALE_AFTER_MS = 10_000
"""A price older than this blocks new exposure and never liquidates silently (decision 20)."""


@dataclass(frozen=True, slots=True)
class MarkPrice:
    """The exchange's mark price. `exchange_time_ms` is the venue's clock, `received_ms` ours."""

    symbol: Symbol
    price: float
    funding_rate: float
    next_funding_time_ms: int
    exchange_time_ms: int
    received_ms: int


@dataclass(frozen=True, slots=True)
class BookTicker:
    """Best bid and ask with sizes in base units. `update_id` grows per symbol."""

    symbol: Symbol
    bid: float
    bid_quantity: float
    ask: float
    ask_quantity: float
    update_id: int
    exchange_time_ms: int
    received_ms: int

    @property
    def mid(self) -> float:
        """Arithmetic middle of bid and ask; display only, risk uses the mark (spec H29)."""
        return (self.bid + self.ask) / 2.0


@dataclass(frozen=True, slots=True)
class OrderBook:
    """The best levels of both sides, best first, as (price, quantity in base units).

    `update_id` grows per symbol. `exchange_time_ms` is 0 until the first change after the snapshot.
    """

    symbol: Symbol
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]
    update_id: int
    exchange_time_ms: int
    received_ms: int


@dataclass(frozen=True, slots=True)
class PublicTrade:
    """Executions of one taker order at one price, by anybody. `number` grows by one per symbol."""

    symbol: Symbol
    number: int
    price: float
    quantity: float
    buyer_is_maker: bool
    trade_time_ms: int
    received_ms: int
