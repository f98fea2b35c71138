"""REST endpoints of /futures/data: statistics of all traders, which do not exist here (spec 1.1)."""

from __future__ import annotations

from pms.simulator.errors import INVALID_SYMBOL, Reject, mandatory
from pms.simulator.venue import Answer, Call, Endpoint, Venue

PERIODS = frozenset({"5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d"})


def no_figures(venue: Venue, call: Call) -> Answer:
    """A series that nothing here produces: parameters are checked, the list is empty."""
    params = call.params
    pair = params.get("pair") or params.get("symbol")
    if not pair:
        return mandatory("symbol")
    if pair not in venue.engine.rules:
        return INVALID_SYMBOL
    if params.get("period", "") not in PERIODS:
        return Reject(-1130, "Data sent for parameter 'period' is not valid.")
    return []


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("GET", f"/futures/data/{name}"): Endpoint(no_figures, "NONE", 0)
    for name in (
        "openInterestHist",
        "topLongShortAccountRatio",
        "topLongShortPositionRatio",
        "globalLongShortAccountRatio",
        "takerlongshortRatio",
        "basis",
    )
}
