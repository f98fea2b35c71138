"""What a request costs, where that depends on its parameters, and which pool pays (spec 1.6 and 2)."""

from __future__ import annotations

from collections.abc import Mapping

from pms.simulator.venue import INTEGER, Endpoint

MINUTE_MS = 60_000
FIVE_MINUTES_MS = 300_000

# Path: default limit, then (largest limit, weight) in rising order; the last entry serves anything larger.
BY_LIMIT: dict[str, tuple[int, tuple[tuple[int, int], ...]]] = {
    "/fapi/v1/depth": (500, ((50, 2), (100, 5), (500, 10), (1000, 20))),
    "/fapi/v1/rpiDepth": (1000, ((1000, 20),)),
    **{
        f"/fapi/v1/{name}": (500, ((99, 1), (499, 2), (1000, 5), (1500, 10)))
        for name in (
            "klines",
            "continuousKlines",
            "indexPriceKlines",
            "markPriceKlines",
            "premiumIndexKlines",
        )
    },
}
FUNDING_PATHS = frozenset({"/fapi/v1/fundingRate", "/fapi/v1/fundingInfo"})


def weight_of(path: str, endpoint: Endpoint, params: Mapping[str, str]) -> int:
    """Return the IP weight of a request."""
    if path in BY_LIMIT:
        default, steps = BY_LIMIT[path]
        raw = params.get("limit", "")
        limit = int(raw) if INTEGER.match(raw) else default
        return next((weight for largest, weight in steps if limit <= largest), steps[-1][1])
    if endpoint.weight_without_symbol and "symbol" not in params:
        return endpoint.weight_without_symbol
    return endpoint.weight


def pool_of(path: str) -> str:
    """Return which allowance of the address a path uses: weight, funding or statistics."""
    if path in FUNDING_PATHS:
        return "funding"
    return "statistics" if path.startswith("/futures/data/") else "weight"
