"""Who spent what of the exchange's limits: by kind of request and by sub-account, bounded."""

from dataclasses import dataclass

from pms.exchange.binance.costs import Cost
from pms.limits import EXCHANGE_SPENDERS_MAX

SYSTEM = "system"
"""Spends what no sub-account asked for: reconciliation, clock, symbols, market data."""

OTHERS = "others"
"""Spends for the sub-accounts beyond the bound."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Totals since the start. `refused`: not sent, because a limit or a reserve stood against it."""

    requests: int = 0
    weight: int = 0
    orders: int = 0
    refused: int = 0


class Spending:
    """Counts by two keys. Event-loop thread only."""

    def __init__(self) -> None:
        self._groups: dict[str, Spent] = {}
        self._owners: dict[str, Spent] = {}

    def sent(self, group: str, owner: str, cost: Cost) -> None:
        """Count a request that is sent."""
        for table, key in self._places(group, owner):
            before = table.get(key, Spent())
            table[key] = Spent(
                before.requests + 1, before.weight + cost.weight, before.orders + cost.orders, before.refused
            )

    def refused(self, group: str, owner: str) -> None:
        """Count a request that was not sent."""
        for table, key in self._places(group, owner):
            before = table.get(key, Spent())
            table[key] = Spent(before.requests, before.weight, before.orders, before.refused + 1)

    def by_group(self) -> dict[str, Spent]:
        """Return the totals by kind of request."""
        return dict(self._groups)

    def by_owner(self) -> dict[str, Spent]:
        """Return the totals by the eight-character prefix of the sub-account (decision 23)."""
        return dict(self._owners)

    # The kinds are bounded by the table of endpoints.
    def _places(self, group: str, owner: str) -> tuple[tuple[dict[str, Spent], str], ...]:
        known = owner in self._owners or len(self._owners) < EXCHANGE_SPENDERS_MAX
        return (self._groups, group), (self._owners, owner if known else OTHERS)
