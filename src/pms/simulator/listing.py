"""Changes the status of a listed symbol: exchangeInfo, the rules of placing, and the `!contractInfo` event.

A delisting is TRADING → PRE_SETTLE or SETTLING → CLOSE; what happens to positions is not decided here.
"""

from __future__ import annotations

from pms.simulator.errors import SimulatorError
from pms.simulator.venue import Venue

BEFORE_AND_AFTER = ("PENDING_TRADING", "PRE_DELIVERING", "DELIVERING", "DELIVERED", "CLOSE")
STATUSES = {"TRADING", "PRE_SETTLE", "SETTLING", "TRADING_HALT", "TRADING_CANCEL_ONLY", *BEFORE_AND_AFTER}


def set_status(venue: Venue, symbol: str, status: str, now_ms: int, delivery_ms: int | None = None) -> None:
    """Set the status of a symbol, and its delivery time (Unix ms) when given; tells every client.

    Raises `SimulatorError` for an unknown symbol or status.
    """
    rules = venue.engine.rules.get(symbol)
    if rules is None:
        raise SimulatorError(f"The symbol {symbol} is not listed here.")
    if status not in STATUSES:
        raise SimulatorError(f"{status} is no status. Known: {', '.join(sorted(STATUSES))}.")
    venue.engine.set_status(symbol, status, now_ms, delivery_ms)
    venue.feed.streams.contract_info(venue.engine.rules[symbol], now_ms)
