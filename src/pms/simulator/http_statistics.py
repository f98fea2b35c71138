"""REST endpoints under /futures/data: what the venue counts about its crowd, modelled here from the replay.

The crowd of a recording is unknown. Its long and short sides are taken to stand as its takers bought and
sold in the period, its open interest is what the accounts of this exchange hold now.
"""

from __future__ import annotations

from collections.abc import Callable

from pms.simulator.candles import INTERVAL_MS, Candle
from pms.simulator.errors import INVALID_SYMBOL, Reject, mandatory
from pms.simulator.http_indices import open_quantity
from pms.simulator.http_klines import CONTRACT_TYPES, index_candle
from pms.simulator.venue import Answer, Call, Endpoint, Venue

PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
KEPT_MS = 30 * 86_400_000
DEFAULT, LARGEST = 30, 500
SHARE_MIN, SHARE_MAX = 0.05, 0.95
"""Bounds of a side's share, so that every ratio is a number."""

Row = Callable[[Venue, str, int, Candle], dict[str, object]]


def _invalid(name: str) -> Reject:
    return Reject(-1130, f"parameter '{name}' is invalid.")


def _moments(call: Call, period: str) -> list[int] | Reject:
    """Return the ends of the periods asked for, oldest first; the venue keeps thirty days."""
    span = INTERVAL_MS[period]
    start, end = call.integer("startTime"), call.integer("endTime")
    if start is not None and start < call.now_ms - KEPT_MS:
        return _invalid("startTime")
    if start is not None and end is not None and start > end:
        return _invalid("endTime")
    limit = call.integer("limit") if "limit" in call.params else DEFAULT
    if limit is None or not 1 <= limit <= LARGEST:
        return _invalid("limit")
    last = min(call.now_ms if end is None else end, call.now_ms) // span * span
    earliest = call.now_ms - KEPT_MS if start is None else start
    first = max(-(-earliest // span) * span, last - (limit - 1) * span if start is None else 0)
    return list(range(first, last + 1, span))[:limit]


def _rows(venue: Venue, call: Call, symbol: str, row: Row) -> Answer:
    period = call.params.get("period", "")
    if period not in PERIODS:
        return _invalid("period") if period else mandatory("period")
    moments = _moments(call, period)
    if isinstance(moments, Reject):
        return moments
    rows = []
    for moment in moments:
        candle = venue.feed.history.candle(symbol, moment - INTERVAL_MS[period], moment, call.now_ms)
        if candle is not None:
            rows.append(row(venue, symbol, moment, candle) | {"timestamp": moment})
    return rows


def _of_symbol(row: Row) -> Callable[[Venue, Call], Answer]:
    def handler(venue: Venue, call: Call) -> Answer:
        symbol = call.params.get("symbol", "")
        if symbol not in venue.engine.rules:
            return INVALID_SYMBOL if symbol else mandatory("symbol")
        return _rows(venue, call, symbol, row)

    return handler


def _open_interest(venue: Venue, symbol: str, moment: int, candle: Candle) -> dict[str, object]:
    quantity = open_quantity(venue, symbol)
    value = float(quantity) * candle.close
    return {
        "symbol": symbol,
        "sumOpenInterest": f"{quantity:.8f}",
        "sumOpenInterestValue": f"{value:.8f}",
        "CMCCirculatingSupply": "0.00000000",
    }


def _buyers(candle: Candle) -> float:
    """Return the share of the volume that takers bought; a half where nobody traded."""
    share = candle.shown_taker_volume / candle.volume if candle.volume else 0.5
    return min(max(share, SHARE_MIN), SHARE_MAX)


def _crowd(venue: Venue, symbol: str, moment: int, candle: Candle) -> dict[str, object]:
    share = _buyers(candle)
    return {
        "symbol": symbol,
        "longShortRatio": f"{share / (1 - share):.4f}",
        "longAccount": f"{share:.4f}",
        "shortAccount": f"{1 - share:.4f}",
    }


def _takers(venue: Venue, symbol: str, moment: int, candle: Candle) -> dict[str, object]:
    share = _buyers(candle)
    bought = candle.shown_taker_volume
    return {
        "buySellRatio": f"{share / (1 - share):.4f}",
        "buyVol": f"{bought:.4f}",
        "sellVol": f"{candle.volume - bought:.4f}",
    }


def basis(venue: Venue, call: Call) -> Answer:
    """GET basis: the last price over the index; it has no annual rate, for a perpetual never expires."""
    pair, kind = call.params.get("pair", ""), call.params.get("contractType", "")
    if not pair or not kind:
        return mandatory("contractType" if pair else "pair")
    if kind not in CONTRACT_TYPES:
        return _invalid("contractType")
    pairs = {rules.info.pair for rules in venue.engine.rules.values()}
    if pair not in pairs:
        return INVALID_SYMBOL
    symbols = (
        s for s, r in venue.engine.rules.items() if (r.info.pair, r.info.contract_type) == (pair, kind)
    )
    symbol = next(symbols, None)
    if symbol is None:
        return []
    span = INTERVAL_MS.get(call.params.get("period", ""), 0)

    def row(venue: Venue, symbol: str, moment: int, candle: Candle) -> dict[str, object]:
        index = index_candle(venue, symbol, moment - span, moment, call.now_ms) or candle
        over = candle.close - index.close
        return {
            "indexPrice": f"{index.close:.8f}",
            "contractType": kind,
            "basisRate": f"{over / index.close:.4f}",
            "futuresPrice": f"{candle.close:.8f}".rstrip("0").rstrip("."),
            "annualizedBasisRate": "",
            "basis": f"{over:.8f}",
            "pair": pair,
        }

    return _rows(venue, call, symbol, row)


def delivery_price(venue: Venue, call: Call) -> Answer:
    """GET delivery-price: no quarterly contract has ever been delivered here."""
    pair = call.params.get("pair", "")
    if not pair:
        return mandatory("pair")
    known = any(rules.info.pair == pair for rules in venue.engine.rules.values())
    return [] if known else INVALID_SYMBOL


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("GET", "/futures/data/openInterestHist"): Endpoint(_of_symbol(_open_interest), "NONE", 0),
    ("GET", "/futures/data/topLongShortPositionRatio"): Endpoint(_of_symbol(_crowd), "NONE", 0),
    ("GET", "/futures/data/topLongShortAccountRatio"): Endpoint(_of_symbol(_crowd), "NONE", 0),
    ("GET", "/futures/data/globalLongShortAccountRatio"): Endpoint(_of_symbol(_crowd), "NONE", 0),
    ("GET", "/futures/data/takerlongshortRatio"): Endpoint(_of_symbol(_takers), "NONE", 0),
    ("GET", "/futures/data/basis"): Endpoint(basis, "NONE", 0),
    ("GET", "/futures/data/delivery-price"): Endpoint(delivery_price, "NONE", 0),
}
