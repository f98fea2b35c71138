"""REST endpoints for candles of every kind: last, continuous, index, mark, premium (Binance spec 2.1)."""

from __future__ import annotations

from collections.abc import Callable

from pms.simulator.candles import INTERVAL_MS, Candle, closing, opening
from pms.simulator.errors import INVALID_SYMBOL, Reject, mandatory
from pms.simulator.market_payloads import CandleView
from pms.simulator.venue import Answer, Call, Endpoint, Venue

CONTRACT_TYPES = frozenset(
    {"PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER", "CURRENT_MONTH", "NEXT_MONTH", "TRADIFI_PERPETUAL"}
)
MINUTES_MAX = 200_000
"""At most that many minutes are joined for one answer; longer ones hold fewer candles than asked for."""

Row = list[object]
Find = Callable[[Venue, str, int, int, int], Candle | None]


def _last(venue: Venue, symbol: str, open_ms: int, end_ms: int, now_ms: int) -> Candle | None:
    return venue.feed.history.candle(symbol, open_ms, end_ms, now_ms)


def _mark(venue: Venue, symbol: str, open_ms: int, end_ms: int, now_ms: int) -> Candle | None:
    """The marks really published; before them the last price stands in (decision 0013)."""
    emitted = venue.feed.mark_history.candle(symbol, open_ms, end_ms, now_ms)
    return emitted or _last(venue, symbol, open_ms, end_ms, now_ms)


def index_candle(venue: Venue, symbol: str, open_ms: int, end_ms: int, now_ms: int) -> Candle | None:
    """Return the candle of the index; before the first published one the last price stands in."""
    emitted = venue.feed.index_history.candle(symbol, open_ms, end_ms, now_ms)
    return emitted or _last(venue, symbol, open_ms, end_ms, now_ms)


def _premium(venue: Venue, symbol: str, open_ms: int, end_ms: int, now_ms: int) -> Candle | None:
    """Premium of the mark over the index, corner by corner: an estimate of the venue's own figure."""
    mark = venue.feed.mark_history.candle(symbol, open_ms, end_ms, now_ms)
    index = venue.feed.index_history.candle(symbol, open_ms, end_ms, now_ms)
    if mark is None or index is None:
        known = _last(venue, symbol, open_ms, end_ms, now_ms)
        return known and Candle(0.0, 0.0, 0.0, 0.0, 0.0, 0)
    corners = [m / i - 1 for m, i in zip(mark[:4], index[:4], strict=True)]
    return Candle(corners[0], max(corners), min(corners), corners[3], 0.0, 0)


def _openings(call: Call, interval: str, limit: int) -> list[int]:
    """Return the opening times asked for, oldest first."""
    limit = min(limit, max(1, MINUTES_MAX * 60_000 // INTERVAL_MS[interval]))
    end = min(call.integer("endTime") or call.now_ms, call.now_ms)
    start = call.integer("startTime")
    moments: list[int] = []
    if start is not None:
        moment = opening(interval, max(start, 0))
        moment = moment if moment >= start else closing(interval, moment)
        while moment <= end and len(moments) < limit:
            moments.append(moment)
            moment = closing(interval, moment)
        return moments
    moment = opening(interval, end)
    while len(moments) < limit and moment >= 0:
        moments.append(moment)
        moment = opening(interval, moment - 1)
    return moments[::-1]


def _volumes(view: CandleView) -> tuple[str, str, int, str, str]:
    volume, quote_volume, bought, bought_quote = view.volumes()
    return volume, quote_volume, view.candle.trades, bought, bought_quote


def _no_volumes(view: CandleView) -> tuple[str, str, int, str, str]:
    seconds = (view.close_time + 1 - view.open_time) // 1000
    return "0", "0", seconds, "0", "0"


def _rows(venue: Venue, call: Call, symbol: str, find: Find, places: int | None = None) -> Answer:
    interval = call.params.get("interval", "")
    if interval not in INTERVAL_MS:
        return Reject(-1120, "Invalid interval.") if interval else mandatory("interval")
    rules, rows = venue.engine.rules[symbol], []
    for moment in _openings(call, interval, call.limit(500, 1500)):
        end = closing(interval, moment)
        candle = find(venue, symbol, moment, end, call.now_ms)
        if candle is None:
            continue
        view = CandleView(interval, moment, end - 1, candle, end <= call.now_ms, rules)
        prices = view.prices() if places is None else [f"{price:.{places}f}" for price in candle[:4]]
        volume, quote_volume, trades, bought, bought_quote = (
            _volumes(view) if places is None else _no_volumes(view)
        )
        row: Row = [moment, *prices, volume, end - 1, quote_volume, trades, bought, bought_quote, "0"]
        rows.append(row)
    return rows


def _symbol(venue: Venue, call: Call, name: str = "symbol") -> str | Reject:
    symbol = call.params.get(name, "")
    if not symbol:
        return mandatory(name)
    return symbol if symbol in venue.engine.rules else INVALID_SYMBOL


def klines(venue: Venue, call: Call) -> Answer:
    """GET klines, from the recording itself: past loops are stamped back."""
    symbol = _symbol(venue, call)
    return symbol if isinstance(symbol, Reject) else _rows(venue, call, symbol, _last)


def continuous_klines(venue: Venue, call: Call) -> Answer:
    """GET continuousKlines: of the pair's contract of the kind asked for."""
    pair, kind = call.params.get("pair", ""), call.params.get("contractType", "")
    if not pair or not kind:
        return mandatory("contractType" if pair else "pair")
    if kind not in CONTRACT_TYPES:
        return Reject(-1128, "Combination of optional parameters invalid.")
    for symbol, rules in venue.engine.rules.items():
        if rules.info.pair == pair and rules.info.contract_type == kind:
            return _rows(venue, call, symbol, _last)
    return Reject(-1122, "Invalid symbol status.") if pair in venue.engine.rules else INVALID_SYMBOL


def index_klines(venue: Venue, call: Call) -> Answer:
    """GET indexPriceKlines."""
    symbol = _symbol(venue, call, "pair")
    return symbol if isinstance(symbol, Reject) else _rows(venue, call, symbol, index_candle, 8)


def mark_klines(venue: Venue, call: Call) -> Answer:
    """GET markPriceKlines."""
    symbol = _symbol(venue, call)
    return symbol if isinstance(symbol, Reject) else _rows(venue, call, symbol, _mark, 8)


def premium_klines(venue: Venue, call: Call) -> Answer:
    """GET premiumIndexKlines."""
    symbol = _symbol(venue, call)
    return symbol if isinstance(symbol, Reject) else _rows(venue, call, symbol, _premium, 8)


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("GET", "/fapi/v1/klines"): Endpoint(klines, "NONE", 5),
    ("GET", "/fapi/v1/continuousKlines"): Endpoint(continuous_klines, "NONE", 5),
    ("GET", "/fapi/v1/indexPriceKlines"): Endpoint(index_klines, "NONE", 5),
    ("GET", "/fapi/v1/markPriceKlines"): Endpoint(mark_klines, "NONE", 5),
    ("GET", "/fapi/v1/premiumIndexKlines"): Endpoint(premium_klines, "NONE", 5),
}
