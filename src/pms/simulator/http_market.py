"""REST endpoints for market data (Binance spec 2.1)."""

from __future__ import annotations

from decimal import Decimal
from itertools import islice

import msgspec

from pms.exchange import messages as wire
from pms.simulator import matching
from pms.simulator.candles import INTERVAL_MS
from pms.simulator.errors import INVALID_SYMBOL, Reject, mandatory
from pms.simulator.state import Market, text
from pms.simulator.venue import Answer, Call, Endpoint, Venue

DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)
DAY_MS = 86_400_000


def ping(venue: Venue, call: Call) -> Answer:
    """GET ping."""
    return {}


def time(venue: Venue, call: Call) -> Answer:
    """GET time."""
    return wire.ServerTime(call.now_ms)


def exchange_info(venue: Venue, call: Call) -> Answer:
    """GET exchangeInfo: always the whole list."""
    return msgspec.structs.replace(venue.info, server_time=call.now_ms)


def _markets(venue: Venue, call: Call) -> list[Market] | Reject:
    symbol = call.params.get("symbol")
    if symbol is None:
        return [m for m in venue.engine.markets.values() if m.live]
    if symbol not in venue.engine.markets:
        return INVALID_SYMBOL
    return [venue.engine.markets[symbol]]


def _one_or_all(call: Call, rows: list[Answer]) -> Answer:
    return rows[0] if "symbol" in call.params else rows


def book_ticker(venue: Venue, call: Call) -> Answer:
    """GET ticker/bookTicker."""
    markets = _markets(venue, call)
    if isinstance(markets, Reject):
        return markets
    rows = [
        wire.BookTicker(
            symbol=m.symbol,
            bid_price=text(m.bid),
            bid_qty=text(m.bid_quantity),
            ask_price=text(m.ask),
            ask_qty=text(m.ask_quantity),
            time=m.time_ms,
            last_update_id=m.update_id,
        )
        for m in markets
    ]
    return _one_or_all(call, rows)


def premium_index(venue: Venue, call: Call) -> Answer:
    """GET premiumIndex."""
    markets = _markets(venue, call)
    if isinstance(markets, Reject):
        return markets
    rows = []
    for market in markets:
        event = venue.feed.mark_event(market, call.now_ms)
        rows.append(
            wire.PremiumIndex(
                symbol=market.symbol,
                mark_price=event.mark_price,
                index_price=event.index_price,
                estimated_settle_price=event.settle_price,
                last_funding_rate=event.funding_rate,
                interest_rate="0.00010000",
                next_funding_time=event.next_funding_time,
                time=call.now_ms,
            )
        )
    return _one_or_all(call, rows)


def _last_price(venue: Venue, market: Market) -> str:
    trade = venue.feed.last_trade.get(market.symbol)
    if trade is not None and market.symbol not in venue.feed.pinned_quotes:
        return trade[0]
    return text(market.mid) if market.live else "0"


def price_ticker(venue: Venue, call: Call) -> Answer:
    """GET ticker/price, v1 and v2."""
    markets = _markets(venue, call)
    if isinstance(markets, Reject):
        return markets
    rows = [wire.PriceTicker(m.symbol, _last_price(venue, m), m.time_ms) for m in markets]
    return _one_or_all(call, rows)


def ticker_24h(venue: Venue, call: Call) -> Answer:
    """GET ticker/24hr, from the candles of the last 24 hours."""
    markets = _markets(venue, call)
    if isinstance(markets, Reject):
        return markets
    return _one_or_all(call, [_ticker_24h(venue, market, call.now_ms) for market in markets])


def _ticker_24h(venue: Venue, market: Market, now_ms: int) -> wire.Ticker24h:
    opened = (now_ms - DAY_MS) // 60_000 * 60_000
    candle = venue.feed.candle(market.symbol, opened, DAY_MS + 60_000, now_ms)
    if candle is None:
        return wire.Ticker24h(symbol=market.symbol, last_price=_last_price(venue, market))
    show = [venue.feed.price_text(market.symbol, value) for value in candle[:4]]
    last = Decimal(_last_price(venue, market))
    change = last - Decimal(show[0])
    middle = (candle.high + candle.low) / 2
    return wire.Ticker24h(
        symbol=market.symbol,
        price_change=text(change),
        price_change_percent=f"{change / Decimal(show[0]) * 100:.3f}",
        weighted_avg_price=venue.feed.price_text(market.symbol, middle),
        last_price=text(last),
        last_qty=venue.feed.last_trade.get(market.symbol, ("0", "0"))[1],
        open_price=show[0],
        high_price=show[1],
        low_price=show[2],
        volume=f"{candle.volume:.3f}",
        quote_volume=f"{candle.volume * middle:.2f}",
        open_time=opened,
        close_time=now_ms,
        count=candle.trades,
    )


def depth(venue: Venue, call: Call) -> Answer:
    """GET depth: the displayed quote and the modelled levels behind it (see `matching`)."""
    symbol = call.params.get("symbol", "")
    if symbol not in venue.engine.markets:
        return INVALID_SYMBOL if symbol else mandatory("symbol")
    limit = call.limit(500, 1000)
    if limit not in DEPTH_LIMITS:
        return Reject(-4021, f"Illegal depth limit {limit}.")
    market, tick = venue.engine.markets[symbol], venue.engine.rules[symbol].price.step
    bids, asks = (
        [(text(p), text(q)) for p, q in islice(matching.levels(market, side, tick), limit)]
        for side in ("SELL", "BUY")
    )
    return wire.Depth(market.update_id, call.now_ms, market.time_ms, bids, asks)


def klines(venue: Venue, call: Call) -> Answer:
    """GET klines, from the recording itself: past loops are stamped back."""
    symbol, interval = call.params.get("symbol", ""), call.params.get("interval", "")
    if symbol not in venue.engine.markets:
        return INVALID_SYMBOL if symbol else mandatory("symbol")
    span = INTERVAL_MS.get(interval)
    if span is None:
        return Reject(-1120, "Invalid interval.") if interval else mandatory("interval")
    limit = min(call.limit(500, 1500), max(1, 200_000 * 60_000 // span))
    end = min(call.integer("endTime") or call.now_ms, call.now_ms)
    start = call.integer("startTime")
    last = end // span * span
    first = last - (limit - 1) * span
    if start is not None:
        first = max(-(-start // span) * span, 0)
        last = min(last, first + (limit - 1) * span)
    rows = []
    for opened in range(first, last + 1, span):
        candle = venue.feed.candle(symbol, opened, span, call.now_ms)
        if candle is None:
            continue
        quote_volume = candle.volume * (candle.open + candle.close) / 2
        rows.append(
            wire.KlineRow(
                open_time=opened,
                open=venue.feed.price_text(symbol, candle.open),
                high=venue.feed.price_text(symbol, candle.high),
                low=venue.feed.price_text(symbol, candle.low),
                close=venue.feed.price_text(symbol, candle.close),
                volume=f"{candle.volume:.3f}",
                close_time=opened + span - 1,
                quote_volume=f"{quote_volume:.5f}",
                trades=candle.trades,
            )
        )
    return rows


def funding_rate(venue: Venue, call: Call) -> Answer:
    """GET fundingRate: recorded settlements of the exchange, at their own times."""
    symbol = call.params.get("symbol")
    if symbol is not None and symbol not in venue.engine.markets:
        return INVALID_SYMBOL
    chosen = [symbol] if symbol else sorted(venue.engine.markets)
    start, end = call.integer("startTime") or 0, call.integer("endTime") or call.now_ms
    rows = [
        wire.FundingRate(name, rate, moment, mark_price="", rate_type="Regular")
        for name in chosen
        for moment, rate in venue.funding.get(name, ())
        if start <= moment <= end
    ]
    rows.sort(key=lambda row: row.funding_time)
    return rows[-call.limit(100, 1000) :]


def funding_info(venue: Venue, call: Call) -> Answer:
    """GET fundingInfo: every symbol here settles by the default of eight hours."""
    return []


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("GET", "/fapi/v1/ping"): Endpoint(ping, "NONE"),
    ("GET", "/fapi/v1/time"): Endpoint(time, "NONE"),
    ("GET", "/fapi/v1/exchangeInfo"): Endpoint(exchange_info, "NONE"),
    ("GET", "/fapi/v1/depth"): Endpoint(depth, "NONE", 10),
    ("GET", "/fapi/v1/klines"): Endpoint(klines, "NONE", 5),
    ("GET", "/fapi/v1/premiumIndex"): Endpoint(premium_index, "NONE", 1, 10),
    ("GET", "/fapi/v1/fundingRate"): Endpoint(funding_rate, "NONE", 0),
    ("GET", "/fapi/v1/fundingInfo"): Endpoint(funding_info, "NONE", 0),
    ("GET", "/fapi/v1/ticker/bookTicker"): Endpoint(book_ticker, "NONE", 2, 5),
    ("GET", "/fapi/v1/ticker/24hr"): Endpoint(ticker_24h, "NONE", 1, 40),
    ("GET", "/fapi/v1/ticker/price"): Endpoint(price_ticker, "NONE", 1, 2),
    ("GET", "/fapi/v2/ticker/price"): Endpoint(price_ticker, "NONE", 1, 2),
}
