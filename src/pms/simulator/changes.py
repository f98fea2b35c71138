"""What operations changed: rows to make durable, and private events to emit after that (decision 25)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pms.simulator.state import (
    Account,
    AlgoOrder,
    Amendment,
    Funding,
    Income,
    Listing,
    MarginMove,
    Order,
    Position,
    PositionKey,
    Trade,
)


@dataclass(slots=True)
class Changes:
    """Everything one or more operations changed: rows by kind, and events as (listen key, JSON)."""

    accounts: dict[int, Account] = field(default_factory=dict)
    positions: dict[PositionKey, Position] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    income: list[Income] = field(default_factory=list)
    funding: list[Funding] = field(default_factory=list)
    listings: dict[str, Listing] = field(default_factory=dict)
    amendments: list[Amendment] = field(default_factory=list)
    margin_moves: list[MarginMove] = field(default_factory=list)
    algo_orders: dict[int, AlgoOrder] = field(default_factory=dict)
    events: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """True when there is nothing to commit and nothing to emit."""
        rows = (self.accounts, self.positions, self.orders, self.trades, self.income)
        more = (self.funding, self.listings, self.amendments, self.algo_orders, self.events)
        return not any(rows) and not any(more) and not self.margin_moves


class Journal:
    """Collects changes until they are drained; every part of the exchange writes into the same one."""

    def __init__(self) -> None:
        self.changes = Changes()

    def emit(self, account: Account, event: bytes) -> None:
        """Add a private event, when somebody may listen to the account."""
        if account.listen_key:
            self.changes.events.append((account.listen_key, event))

    @property
    def position(self) -> int:
        """Where the next event will stand, for `insert`."""
        return len(self.changes.events)

    def insert(self, account: Account, position: int, events: Sequence[bytes]) -> None:
        """Add private events before those that came after `position` was asked for."""
        if account.listen_key:
            self.changes.events[position:position] = [(account.listen_key, event) for event in events]

    def drain(self) -> Changes:
        """Return and forget what changed since the last call."""
        changes, self.changes = self.changes, Changes()
        return changes
