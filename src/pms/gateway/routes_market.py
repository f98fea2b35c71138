"""`/api/trade` market data, from caches and never from the exchange on each call (gateway spec 6.5)."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from pms.gateway import render, wire
from pms.gateway.context import Gateway, GatewayOf
from pms.gateway.errors import ApiError, not_found
from pms.gateway.requests import SYMBOL_CHARACTERS_MAX
from pms.gateway.routing import UserRoute, router
from pms.model.refusal import RefusalCode
from pms.model.symbol import Symbol, SymbolRules

market = router("/api/trade", "market data", UserRoute)
ROUTERS: tuple[APIRouter, ...] = (market,)

PRICE_WAIT_SECONDS = 1.5
SEARCH_MAX = 20

Interval = Literal[
    "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"
]


def _rules(gateway: Gateway, symbol: str) -> SymbolRules:
    if not gateway.deps.service.symbols():
        raise ApiError(
            503,
            "NOT_READY",
            "The exchange's symbols are not loaded yet; retry.",
            extra={"exchangeReady": False},
        )
    rules = (
        gateway.deps.service.symbol_rules(Symbol(symbol)) if len(symbol) <= SYMBOL_CHARACTERS_MAX else None
    )
    if rules is None:
        raise not_found("The symbol")
    return rules


@market.get("/symbols/all", operation_id="symbols")
async def symbols(gateway: GatewayOf) -> list[wire.SymbolBody]:
    """List the perpetuals that can be traded."""
    return [render.symbol_item(row) for row in gateway.deps.service.symbols() if row.trading]


@market.get("/symbols/search", operation_id="search_symbols")
async def search(gateway: GatewayOf, q: Annotated[str, Query(max_length=64)] = "") -> list[wire.SymbolBody]:
    """Find symbols by a part of their name, at most 20."""
    wanted = q.strip().upper()
    found = [row for row in gateway.deps.service.symbols() if row.trading and wanted in row.symbol.upper()]
    return [render.symbol_item(row) for row in found[:SEARCH_MAX]]


@market.get("/symbol-info/{symbol:path}", operation_id="symbol_info")
async def symbol_info(symbol: str, gateway: GatewayOf) -> wire.SymbolInfoBody:
    """Return the trading filters of a symbol."""
    return render.symbol_info(_rules(gateway, symbol))


@market.get("/price/{symbol:path}", operation_id="price")
async def price(symbol: str, gateway: GatewayOf) -> wire.PriceBody:
    """Return mark and touch of a symbol; a symbol that nobody watched before is waited for, 1.5 s at most."""
    rules = _rules(gateway, symbol)
    service, clock = gateway.deps.service, gateway.deps.clock
    service.watch(rules.symbol)
    until = clock.monotonic() + PRICE_WAIT_SECONDS
    while (mark := service.mark(rules.symbol)) is None:
        if clock.monotonic() >= until:
            raise ApiError(503, RefusalCode.NO_PRICE.name, "No price of the symbol is known yet; retry.")
        await clock.sleep(0.05)
    book = service.book(rules.symbol)
    return wire.PriceBody(
        symbol=rules.symbol,
        mark=mark.price,
        last=round(book.mid, 10) if book else mark.price,
        bid=book.bid if book else None,
        ask=book.ask if book else None,
        funding_rate=mark.funding_rate,
        next_funding_time=mark.next_funding_time_ms or None,
        timestamp=mark.exchange_time_ms,
    )


@market.get("/klines", operation_id="klines")
async def klines(
    gateway: GatewayOf,
    symbol: Annotated[str, Query(min_length=1, max_length=SYMBOL_CHARACTERS_MAX)],
    interval: Interval,
    limit: Annotated[int, Query(ge=1, le=1500)] = 500,
    start_time: Annotated[int | None, Query(alias="startTime", ge=0, le=10**15)] = None,
    end_time: Annotated[int | None, Query(alias="endTime", ge=0, le=10**15)] = None,
) -> list[list[int | str]]:
    """Return candles, oldest first, as the exchange's rows of 12; cached for 2 s (H-18)."""
    rules = _rules(gateway, symbol)
    rows = await gateway.klines.get(rules.symbol, interval, limit)
    return [list(row) for row in rows if _within(row, start_time, end_time)]


def _within(row: Sequence[int | str], start: int | None, end: int | None) -> bool:
    open_time = int(row[0])
    return (start is None or open_time >= start) and (end is None or open_time <= end)
