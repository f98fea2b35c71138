"""The venue's rules on behaviour: ratios of an account's own orders, and the lock that follows (spec 1.6).

Orders count when they end, in windows of ten minutes aligned to the clock. A window with few orders judges
nobody. Exact definitions are not public (decision 0037).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from pms.simulator.rules import SymbolRules
from pms.simulator.state import Account, Order

WINDOW_MS = 600_000
LOCK_MS = 600_000
ORDERS_MIN = 300
TRIGGERS = {"UFR": 0.995, "IFER": 0.99, "GCR": 0.99, "DR": 0.99}
DUST_FACTOR = 2
"""An order below this multiple of the minimum notional is dust."""


@dataclass(slots=True)
class Tally:
    """Ended orders of one account and symbol in one window."""

    window: int = 0
    orders: int = 0
    unfilled: int = 0
    immediate: int = 0
    immediate_expired: int = 0
    resting: int = 0
    resting_cancelled: int = 0
    dust: int = 0
    locked_until_ms: int = 0
    locked_by: frozenset[str] = frozenset()

    def ratios(self) -> dict[str, float]:
        """Return the indicators: unfilled, IOC and FOK expired, GTC cancelled, dust."""
        return {
            "UFR": self.unfilled / self.orders if self.orders else 0.0,
            "IFER": self.immediate_expired / self.immediate if self.immediate else 0.0,
            "GCR": self.resting_cancelled / self.resting if self.resting else 0.0,
            "DR": self.dust / self.orders if self.orders else 0.0,
        }


class TradingRules:
    """Tallies for each (account, symbol); one entry for each pair that has traded, however long."""

    def __init__(self, rules: Mapping[str, SymbolRules]) -> None:
        self._rules = rules
        self._tallies: dict[tuple[int, str], Tally] = {}
        self.orders_min = ORDERS_MIN

    def watch(self, order: Order) -> None:
        """Count an order that has just ended; called at each change of any order."""
        if order.is_open or order.forced:
            return
        tally = self._tallies.setdefault((order.account_id, order.symbol), Tally())
        window = order.updated_ms // WINDOW_MS
        if window != tally.window:
            tally = self._tallies[order.account_id, order.symbol] = Tally(
                window, locked_until_ms=tally.locked_until_ms, locked_by=tally.locked_by
            )
        nothing = not order.executed
        tally.orders += 1
        tally.unfilled += nothing
        if order.time_in_force in ("IOC", "FOK"):
            tally.immediate += 1
            tally.immediate_expired += nothing
        elif order.type == "LIMIT":
            tally.resting += 1
            tally.resting_cancelled += nothing and order.status == "CANCELED"
        tally.dust += self._is_dust(order)
        violated = frozenset(name for name, value in tally.ratios().items() if value >= TRIGGERS[name])
        if tally.orders >= self.orders_min and violated:
            tally.locked_until_ms, tally.locked_by = order.updated_ms + LOCK_MS, violated

    def _is_dust(self, order: Order) -> bool:
        rules = self._rules.get(order.symbol)
        notional = max(order.quantity * order.price, order.cum_quote)
        return rules is not None and Decimal(0) < notional < rules.min_notional * DUST_FACTOR

    def locked(self, account: Account, symbol: str, now_ms: int) -> bool:
        """Tell whether the account may only reduce in a symbol (-4400)."""
        tally = self._tallies.get((account.account_id, symbol))
        return tally is not None and now_ms < tally.locked_until_ms

    def indicators(self, account: Account, symbol: str | None, now_ms: int) -> dict[str, list[object]]:
        """Return what apiTradingStatus shows: the ratios of each symbol traded in the current window."""
        shown: dict[str, list[object]] = {}
        for (account_id, name), tally in sorted(self._tallies.items()):
            current = tally.window == now_ms // WINDOW_MS or now_ms < tally.locked_until_ms
            if account_id != account.account_id or symbol not in (None, name) or not current:
                continue
            locked = now_ms < tally.locked_until_ms
            shown[name] = [
                {
                    # A ratio that has fallen since does not end the lock that it began.
                    "isLocked": locked and indicator in tally.locked_by,
                    "plannedRecoverTime": tally.locked_until_ms if locked else 0,
                    "indicator": indicator,
                    "value": round(value, 4),
                    "triggerValue": TRIGGERS[indicator],
                }
                for indicator, value in tally.ratios().items()
            ]
        return shown
