"""REST endpoints for market data: prices, book, trades, marks (Binance spec 2.1)."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from pms.exchange import messages as wire
from pms.simulator import http_indices, http_klines, http_statistics
from pms.simulator.errors import INVALID_SYMBOL, Reject, mandatory
from pms.simulator.market_payloads import CandleView, change_of
from pms.simulator.state import Market
from pms.simulator.trade_tape import PublicTrade
from pms.simulator.venue import Answer, Call, Endpoint, Venue

DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)
HOUR_MS = 3_600_000


def ping(venue: Venue, call: Call) -> Answer:
    """GET ping."""
    return {}


def time(venue: Venue, call: Call) -> Answer:
    """GET time."""
    return wire.ServerTime(call.now_ms)


def exchange_info(venue: Venue, call: Call) -> Answer:
    """GET exchangeInfo: always the whole list, with the status each symbol has now."""
    symbols = [venue.engine.rules[info.symbol].info for info in venue.info.symbols]
    return msgspec.structs.replace(venue.info, server_time=call.now_ms, symbols=symbols)


def _markets(venue: Venue, call: Call) -> list[Market] | Reject:
    symbol = call.params.get("symbol")
    if symbol is None:
        return [m for m in venue.engine.markets.values() if m.live]
    if symbol not in venue.engine.markets:
        return INVALID_SYMBOL
    return [venue.engine.markets[symbol]]


def _one_or_all(call: Call, rows: list[Answer]) -> Answer:
    return rows[0] if "symbol" in call.params else rows


def _price(venue: Venue, symbol: str, value: Decimal) -> str:
    return f"{value:.{venue.engine.rules[symbol].info.price_precision}f}"


def _size(venue: Venue, symbol: str, value: Decimal) -> str:
    return f"{value:.{venue.engine.rules[symbol].info.quantity_precision}f}"


def book_ticker(venue: Venue, call: Call) -> Answer:
    """GET ticker/bookTicker."""
    markets = _markets(venue, call)
    if isinstance(markets, Reject):
        return markets
    rows = [
        {
            "symbol": m.symbol,
            "bidPrice": _price(venue, m.symbol, m.bid),
            "bidQty": _size(venue, m.symbol, m.bid_quantity),
            "askPrice": _price(venue, m.symbol, m.ask),
            "askQty": _size(venue, m.symbol, m.ask_quantity),
            "time": m.time_ms,
            "lastUpdateId": m.update_id,
        }
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
        view = venue.feed.mark_event(market, call.now_ms)
        rows.append(
            {
                "symbol": market.symbol,
                "markPrice": view.mark_price,
                "indexPrice": view.index_price,
                "estimatedSettlePrice": view.settle_price,
                "lastFundingRate": view.funding_rate,
                "interestRate": "0.00010000",
                "nextFundingTime": view.next_funding_time,
                "time": call.now_ms,
            }
        )
    return _one_or_all(call, rows)


def _last_price(venue: Venue, market: Market) -> str:
    tape = venue.feed.tapes.get(market.symbol)
    if tape is not None and tape.trades and not market.scripted:
        return tape.trades[-1].price
    price = venue.engine.rules[market.symbol].traded_price(market)
    return _price(venue, market.symbol, price) if market.live else "0"


def price_ticker(venue: Venue, call: Call) -> Answer:
    """GET ticker/price, v1 and v2."""
    markets = _markets(venue, call)
    if isinstance(markets, Reject):
        return markets
    rows = [{"symbol": m.symbol, "price": _last_price(venue, m), "time": m.time_ms} for m in markets]
    return _one_or_all(call, rows)


def ticker_24h(venue: Venue, call: Call) -> Answer:
    """GET ticker/24hr, from the candles of the last 24 hours."""
    markets = _markets(venue, call)
    if isinstance(markets, Reject):
        return markets
    return _one_or_all(call, [_ticker_24h(venue, market, call.now_ms) for market in markets])


def _ticker_24h(venue: Venue, market: Market, now_ms: int) -> Answer:
    day = venue.feed.streams.day(market.symbol, now_ms)
    if day is None:
        return wire.Ticker24h(symbol=market.symbol, last_price=_last_price(venue, market))
    rules = venue.engine.rules[market.symbol]
    shown = CandleView("1d", day.open_time, day.close_time, day.candle, False, rules)
    opened, high, low, _ = shown.prices()
    volume, quote_volume, _, _ = shown.volumes()
    change, percent, average = change_of(day, rules)
    return {
        "symbol": market.symbol,
        "priceChange": change,
        "priceChangePercent": percent,
        "weightedAvgPrice": average,
        "lastPrice": day.last,
        "lastQty": day.last_quantity,
        "openPrice": opened,
        "highPrice": high,
        "lowPrice": low,
        "volume": volume,
        "quoteVolume": quote_volume,
        "openTime": day.open_time,
        "closeTime": now_ms,
        "firstId": day.first_id,
        "lastId": day.last_id,
        "count": day.candle.trades,
    }


def depth(venue: Venue, call: Call) -> Answer:
    """GET depth: fits the chains of the depth streams (see `depth_streams`)."""
    symbol = call.params.get("symbol", "")
    if symbol not in venue.engine.markets:
        return INVALID_SYMBOL if symbol else mandatory("symbol")
    limit = call.integer("limit") if "limit" in call.params else 500
    if limit not in DEPTH_LIMITS:
        return Reject(-4021, f"'{call.params['limit']}' is not valid depth limit.")
    return _book(venue, call, symbol, limit)


def rpi_depth(venue: Venue, call: Call) -> Answer:
    """GET rpiDepth: 1000 levels; nobody places RPI orders here but our own accounts."""
    symbol = call.params.get("symbol", "")
    if symbol not in venue.engine.markets:
        return INVALID_SYMBOL if symbol else mandatory("symbol")
    return _book(venue, call, symbol, 1000)


def _book(venue: Venue, call: Call, symbol: str, limit: int) -> Answer:
    number, bids, asks = venue.feed.depth.snapshot(symbol, limit, call.now_ms)
    moment = venue.engine.markets[symbol].time_ms
    return {"lastUpdateId": number, "E": call.now_ms, "T": moment, "bids": bids, "asks": asks}


# -- trades


def _trade_row(trade: PublicTrade) -> Answer:
    value = Decimal(trade.price) * Decimal(trade.quantity)
    return {
        "id": trade.number,
        "price": trade.price,
        "qty": trade.quantity,
        "quoteQty": f"{value:.2f}",
        "time": trade.time_ms,
        "isBuyerMaker": trade.buyer_is_maker,
        "isRPITrade": False,
    }


def _trades(venue: Venue, call: Call) -> list[PublicTrade] | Reject:
    symbol = call.params.get("symbol", "")
    if symbol not in venue.engine.markets:
        return INVALID_SYMBOL if symbol else mandatory("symbol")
    tape = venue.feed.tapes.get(symbol)
    return list(tape.trades) if tape is not None else []


def trades(venue: Venue, call: Call) -> Answer:
    """GET trades: the latest ones, oldest first."""
    found = _trades(venue, call)
    if isinstance(found, Reject):
        return found
    return [_trade_row(trade) for trade in found[-call.limit(500, 1000) :]]


def historical_trades(venue: Venue, call: Call) -> Answer:
    """GET historicalTrades: from an id upwards. The simulator remembers the last 1000 of a symbol."""
    found = _trades(venue, call)
    if isinstance(found, Reject):
        return found
    limit, first = call.limit(100, 500), call.integer("fromId")
    if first is None:
        return [_trade_row(trade) for trade in found[-limit:]]
    return [_trade_row(trade) for trade in found if trade.number >= first][:limit]


def aggregate_trades(venue: Venue, call: Call) -> Answer:
    """GET aggTrades. The simulator remembers the last 1000 of a symbol."""
    refused = _trades(venue, call)
    if isinstance(refused, Reject):
        return refused
    tape = venue.feed.tapes.get(call.params["symbol"])
    rows = list(tape.aggregates) if tape is not None else []
    limit, first = call.limit(500, 1000), call.integer("fromId")
    start, end = call.integer("startTime"), call.integer("endTime")
    if start is not None and end is not None and end - start > HOUR_MS:
        return Reject(-1127, "Lookup interval is too big. More than 1 hours between startTime and endTime.")
    if first is not None:
        return [row.row() for row in rows if row.number >= first][:limit]
    if start is not None or end is not None:
        low, high = start or 0, end if end is not None else call.now_ms
        return [row.row() for row in rows if low <= row.time_ms <= high][:limit]
    return [row.row() for row in rows[-limit:]]


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("GET", "/fapi/v1/ping"): Endpoint(ping, "NONE"),
    ("GET", "/fapi/v1/time"): Endpoint(time, "NONE"),
    ("GET", "/fapi/v1/exchangeInfo"): Endpoint(exchange_info, "NONE"),
    ("GET", "/fapi/v1/depth"): Endpoint(depth, "NONE", 10),
    ("GET", "/fapi/v1/rpiDepth"): Endpoint(rpi_depth, "NONE", 20),
    ("GET", "/fapi/v1/trades"): Endpoint(trades, "NONE", 5),
    ("GET", "/fapi/v1/historicalTrades"): Endpoint(historical_trades, "KEY", 200),
    ("GET", "/fapi/v1/aggTrades"): Endpoint(aggregate_trades, "NONE", 20),
    ("GET", "/fapi/v1/premiumIndex"): Endpoint(premium_index, "NONE", 1, 10),
    ("GET", "/fapi/v1/ticker/bookTicker"): Endpoint(book_ticker, "NONE", 2, 5),
    ("GET", "/fapi/v1/ticker/24hr"): Endpoint(ticker_24h, "NONE", 1, 40),
    ("GET", "/fapi/v1/ticker/price"): Endpoint(price_ticker, "NONE", 1, 2),
    ("GET", "/fapi/v2/ticker/price"): Endpoint(price_ticker, "NONE", 1, 2),
    **http_klines.ENDPOINTS,
    **http_indices.ENDPOINTS,
    **http_statistics.ENDPOINTS,
}
