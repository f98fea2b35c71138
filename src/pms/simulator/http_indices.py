"""REST endpoints around the market: funding, open interest, indices, insurance fund, ADL risk (spec 2.1)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from pms.exchange.messages import ExchangeInfo
from pms.simulator.errors import INVALID_SYMBOL, Reject, mandatory
from pms.simulator.state import ZERO, Market, money
from pms.simulator.venue import Answer, Call, Endpoint, Venue

BUFFERS = {"USDT": "0.00010000", "USDC": "0.00010000", "BTC": "0.05000000", "ETH": "0.05000000"}
OTHER_BUFFER = "0.10000000"
EIGHT = Decimal("0.00000001")
HALF_HOUR_MS = 1_800_000


def _unknown(venue: Venue, call: Call, needed: bool = False) -> Reject | None:
    symbol = call.params.get("symbol")
    if symbol is None:
        return mandatory("symbol") if needed else None
    return None if symbol in venue.engine.rules else INVALID_SYMBOL


def _row(symbol: str, rate: str, moment: int, mark: str) -> Answer:
    return {
        "symbol": symbol,
        "fundingRate": rate,
        "fundingTime": moment,
        "markPrice": mark,
        "rateType": "Regular",
    }


def funding_rate(venue: Venue, call: Call) -> Answer:
    """GET fundingRate: recorded settlements at their own times, then those that happened here."""
    refused = _unknown(venue, call)
    if refused:
        return refused
    symbol = call.params.get("symbol")
    chosen = [symbol] if symbol else sorted(venue.engine.markets)
    start, end = call.integer("startTime"), call.integer("endTime") or call.now_ms
    rows = [
        _row(name, rate, moment, "")
        for name in chosen
        for moment, rate in venue.funding.get(name, ())
        if (start or 0) <= moment <= end
    ]
    rows += [
        _row(name, f"{settled.rate:.8f}", settled.time_ms, money(settled.mark))
        for name in chosen
        for settled in venue.engine.funding.settled.get(name, ())
        if (start or 0) <= settled.time_ms <= end
    ]
    rows.sort(key=lambda row: int(row["fundingTime"]))
    limit = call.limit(100, 1000)
    return rows[:limit] if start is not None else rows[-limit:]


def funding_info(venue: Venue, call: Call) -> Answer:
    """GET fundingInfo: only symbols whose interval or bounds differ from the default."""
    return venue.feed.funding_info()


def open_quantity(venue: Venue, symbol: str) -> Decimal:
    """Return what the accounts of this exchange hold long in a symbol, in the base asset."""
    longs = (p.quantity for p in venue.engine.positions.values() if p.symbol == symbol and p.quantity > 0)
    return sum(longs, ZERO)


def open_interest(venue: Venue, call: Call) -> Answer:
    """GET openInterest: what the accounts of this exchange hold; the crowd of the recording is unknown."""
    refused = _unknown(venue, call, needed=True)
    if refused:
        return refused
    symbol = call.params["symbol"]
    places = venue.engine.rules[symbol].info.quantity_precision
    return {
        "openInterest": f"{open_quantity(venue, symbol):.{places}f}",
        "symbol": symbol,
        "time": call.now_ms,
    }


def adl_risk(venue: Venue, call: Call) -> Answer:
    """GET symbolAdlRisk: always low; new every half hour."""
    refused = _unknown(venue, call)
    if refused:
        return refused
    moment = call.now_ms // HALF_HOUR_MS * HALF_HOUR_MS
    names = [call.params["symbol"]] if "symbol" in call.params else sorted(venue.engine.rules)
    rows = [{"symbol": name, "adlRisk": "low", "updateTime": moment} for name in names]
    return rows[0] if "symbol" in call.params else rows


def constituents(venue: Venue, call: Call) -> Answer:
    """GET constituents: the index here is one price, so that it has one member."""
    refused = _unknown(venue, call, needed=True)
    if refused:
        return refused
    symbol = call.params["symbol"]
    view = venue.feed.mark_event(venue.engine.markets[symbol], call.now_ms)
    member = {"exchange": "binance", "symbol": symbol, "price": view.index_price, "weight": "1.00000000"}
    return {"symbol": symbol, "time": call.now_ms, "constituents": [member]}


def insurance_balance(venue: Venue, call: Call) -> Answer:
    """GET insuranceBalance: one fund for every symbol."""
    refused = _unknown(venue, call)
    if refused:
        return refused
    fund = venue.engine.accounts.get(0)
    balance = f"{fund.wallet:.8f}" if fund is not None else "0.00000000"
    asset = {"asset": "USDT", "marginBalance": balance, "updateTime": call.now_ms}
    answer = {"symbols": sorted(venue.engine.rules), "assets": [asset]}
    return answer if "symbol" in call.params else [answer]


def index_info(venue: Venue, call: Call) -> Answer:
    """GET indexInfo: no composite index is listed here."""
    return INVALID_SYMBOL if "symbol" in call.params else []


def asset_index(venue: Venue, call: Call) -> Answer:
    """GET assetIndex: what an asset counts in multi-assets mode, from the marks of this exchange."""
    rows = asset_rows(venue.info, venue.engine.markets, call.now_ms)
    wanted = call.params.get("symbol")
    if wanted is None:
        return rows
    return next((row for row in rows if row["symbol"] == wanted), INVALID_SYMBOL)


def asset_rows(info: ExchangeInfo, markets: Mapping[str, Market], now_ms: int) -> list[dict[str, object]]:
    """Return the index of every asset that can be margin and has a price here."""
    rows = []
    for asset in info.assets:
        market = markets.get(f"{asset.asset}USDT")
        if asset.asset not in BUFFERS and (market is None or not market.live):
            continue
        stable = asset.asset in ("USDT", "USDC")
        index = Decimal(1) if stable else market.mark if market is not None else ZERO
        if index:
            rows.append(_asset_row(asset.asset, index, now_ms))
    return rows


def _asset_row(asset: str, index: Decimal, now_ms: int) -> dict[str, object]:
    buffer = Decimal(BUFFERS.get(asset, OTHER_BUFFER))
    half = buffer / 2 if buffer > Decimal("0.01") else buffer
    values = {
        "index": index,
        "bidBuffer": buffer,
        "askBuffer": buffer,
        "bidRate": index * (1 - buffer),
        "askRate": index * (1 + buffer),
        "autoExchangeBidBuffer": half,
        "autoExchangeAskBuffer": half,
        "autoExchangeBidRate": index * (1 - half),
        "autoExchangeAskRate": index * (1 + half),
    }
    shown = {name: f"{value.quantize(EIGHT):f}" for name, value in values.items()}
    return {"symbol": f"{asset}USD", "time": now_ms, **shown}


def trading_schedule(venue: Venue, call: Call) -> Answer:
    """GET tradingSchedule: sessions of TradFi perpetuals are not modelled, their markets are always open."""
    return {"updateTime": call.now_ms, "marketSchedules": {}}


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("GET", "/fapi/v1/fundingRate"): Endpoint(funding_rate, "NONE", 0),
    ("GET", "/fapi/v1/fundingInfo"): Endpoint(funding_info, "NONE", 0),
    ("GET", "/fapi/v1/openInterest"): Endpoint(open_interest, "NONE", 1),
    ("GET", "/fapi/v1/symbolAdlRisk"): Endpoint(adl_risk, "NONE", 1),
    ("GET", "/fapi/v1/constituents"): Endpoint(constituents, "NONE", 2),
    ("GET", "/fapi/v1/insuranceBalance"): Endpoint(insurance_balance, "NONE", 1),
    ("GET", "/fapi/v1/indexInfo"): Endpoint(index_info, "NONE", 1, 10),
    ("GET", "/fapi/v1/assetIndex"): Endpoint(asset_index, "NONE", 1, 10),
    ("GET", "/fapi/v1/tradingSchedule"): Endpoint(trading_schedule, "NONE", 5),
}
