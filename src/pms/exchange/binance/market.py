"""Public data: rules, candles and brackets by request, prices by stream."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import msgspec

from pms.exchange.binance.convert import bracket_of, number
from pms.exchange.binance.rest import RestClient, Security
from pms.exchange.binance.streams import MarketStreams
from pms.exchange.binance.symbols import SymbolDirectory
from pms.exchange.errors import UnreadablePayload
from pms.exchange.messages import Depth, ExchangeInfo, FundingInfo, SymbolBrackets
from pms.exchange.messages import FundingRate as WireFunding
from pms.model.bracket import LeverageBracket
from pms.model.income import (
    FundingKey,
    FundingRate,
    FundingType,
    FundingUnpriced,
    FundingUnreadable,
    ToldFunding,
)
from pms.model.money import Price
from pms.model.price import BookTicker, MarkPrice, OrderBook, PublicTrade
from pms.model.symbol import Symbol, SymbolRules

EXCHANGE_INFO_DEADLINE_SECONDS = 15.0
"""The list of all contracts is over a megabyte."""

FUNDINGS_PER_PAGE = 1000

FUNDING_TYPES = {"Regular": FundingType.REGULAR, "Special": FundingType.SPECIAL}

MINUTE_MS = 60_000
MARK_CANDLES = "/fapi/v1/markPriceKlines"

_info_decoder = msgspec.json.Decoder(ExchangeInfo)
_klines_decoder = msgspec.json.Decoder(list[tuple[str | int, ...]])
_depth_decoder = msgspec.json.Decoder(Depth)
_fundings_decoder = msgspec.json.Decoder(list[WireFunding])
_intervals_decoder = msgspec.json.Decoder(list[FundingInfo])
_brackets_decoder = msgspec.json.Decoder(list[SymbolBrackets] | SymbolBrackets)


async def load_exchange_info(rest: RestClient) -> ExchangeInfo:
    """Read exchangeInfo. Raises ExchangeError."""
    return await rest.read(
        "/fapi/v1/exchangeInfo",
        (),
        _info_decoder,
        Security.NONE,
        deadline_seconds=EXCHANGE_INFO_DEADLINE_SECONDS,
    )


async def load_depth(rest: RestClient, native: str) -> Depth:
    """Read an order book of 1000 levels a side, weight 20. Raises ExchangeError."""
    parameters = (("symbol", native), ("limit", "1000"))
    return await rest.read("/fapi/v1/depth", parameters, _depth_decoder, Security.NONE)


class BinanceMarket:
    """Implements `MarketData`."""

    def __init__(self, rest: RestClient, symbols: SymbolDirectory, streams: MarketStreams) -> None:
        self._rest = rest
        self._symbols = symbols
        self._streams = streams

    async def symbols(self) -> Sequence[SymbolRules]:
        """Return the rules of every perpetual that settles in our asset, read now. Raises ExchangeError."""
        return list((await self._symbols.refresh()).rules.values())

    def rules(self) -> dict[Symbol, SymbolRules]:
        """Return the rules as last read; refreshed in the background. A view: do not change it."""
        return self._symbols.map.rules

    async def klines(self, symbol: Symbol, interval: str, limit: int) -> Sequence[tuple[str | int, ...]]:
        """Return the newest candles, oldest first, as the venue's rows. Raises ExchangeError."""
        native = self._symbols.native(symbol)
        parameters = (("symbol", native), ("interval", interval), ("limit", str(limit)))
        return await self._rest.read("/fapi/v1/klines", parameters, _klines_decoder, Security.NONE)

    async def brackets(self) -> dict[Symbol, tuple[LeverageBracket, ...]]:
        """Return the brackets of every listed contract, lowest notional first. Raises ExchangeError."""
        rows = await self._rest.read("/fapi/v1/leverageBracket", (), _brackets_decoder)
        unified = self._symbols.map.unified
        return {
            unified[row.symbol]: tuple(
                bracket_of(each) for each in sorted(row.brackets, key=lambda one: one.notional_floor)
            )
            for row in (rows if isinstance(rows, list) else [rows])
            if row.symbol in unified
        }

    async def funding_rates(self, symbol: Symbol, since_ms: int, until_ms: int) -> Sequence[ToldFunding]:
        """Return the first settled fundings of a span, at most a page, oldest first. Raises ExchangeError."""
        native = self._symbols.native(symbol)
        times = (("startTime", str(since_ms)), ("endTime", str(until_ms)))
        parameters = (("symbol", native), *times, ("limit", str(FUNDINGS_PER_PAGE)))
        rows = await self._rest.read("/fapi/v1/fundingRate", parameters, _fundings_decoder, Security.NONE)
        rows.sort(key=lambda row: row.funding_time)
        return [await self._told(symbol, native, row) for row in rows]

    async def _told(self, symbol: Symbol, native: str, row: WireFunding) -> ToldFunding:
        key = FundingKey(symbol, row.funding_time)
        kind = FUNDING_TYPES.get((row.rate_type or "Regular").capitalize())
        if kind is None or not row.funding_rate:
            return FundingUnreadable(key, f"its type is {row.rate_type!r}, its rate {row.funding_rate!r}")
        key = replace(key, type=kind)
        try:
            rate = number(row.funding_rate, "funding rate")
        except UnreadablePayload as error:
            return FundingUnreadable(key, str(error))
        try:
            mark = await self._mark_at(native, row)
        except UnreadablePayload:
            mark = None
        return FundingUnpriced(key, rate) if mark is None else FundingRate(key, rate, mark)

    async def _mark_at(self, native: str, row: WireFunding) -> Price | None:
        """Return the mark price of a funding; a row that tells none has that of the minute's candle."""
        told = number(row.mark_price, "mark price")
        if told > 0:
            return Price(told)
        minute_ms = row.funding_time // MINUTE_MS * MINUTE_MS
        candle = await self._candle(MARK_CANDLES, native, ("startTime", str(minute_ms)))
        if candle is None or candle[0] != minute_ms:
            return None
        return _price(candle[1])

    async def price_before(self, symbol: Symbol, moment_ms: int) -> Price | None:
        native, minute_ms = self._symbols.native(symbol), moment_ms // MINUTE_MS * MINUTE_MS
        for path in (MARK_CANDLES, "/fapi/v1/klines"):
            candle = await self._candle(path, native, ("endTime", str(minute_ms - 1)))
            price = None if candle is None or int(candle[0]) >= minute_ms else _price(candle[4])
            if price is not None:
                return price
        return None

    async def _candle(self, path: str, native: str, bound: tuple[str, str]) -> tuple[str | int, ...] | None:
        """Return the one candle of a minute that a bound of time leads to, if any."""
        parameters = (("symbol", native), ("interval", "1m"), bound, ("limit", "1"))
        candles = await self._rest.read(path, parameters, _klines_decoder, Security.NONE)
        return candles[0] if candles else None

    async def funding_hours(self) -> Mapping[Symbol, int]:
        """Return the adjusted intervals between fundings, hours. Raises ExchangeError."""
        rows = await self._rest.read("/fapi/v1/fundingInfo", (), _intervals_decoder, Security.NONE)
        unified = self._symbols.map.unified
        return {unified[row.symbol]: row.funding_interval_hours for row in rows if row.symbol in unified}

    def subscribe(self, symbol: Symbol) -> None:
        self._streams.subscribe(symbol)

    def unsubscribe(self, symbol: Symbol) -> None:
        """Give up a symbol's streams; idempotent."""
        self._streams.unsubscribe(symbol)

    def subscribe_depth(self, symbol: Symbol) -> None:
        self._streams.subscribe_depth(symbol)

    def unsubscribe_depth(self, symbol: Symbol) -> None:
        self._streams.unsubscribe_depth(symbol)

    def depth(self, symbol: Symbol, levels: int) -> OrderBook | None:
        return self._streams.depth(symbol, levels)

    def subscribe_trades(self, symbol: Symbol) -> None:
        self._streams.subscribe_trades(symbol)

    def unsubscribe_trades(self, symbol: Symbol) -> None:
        self._streams.unsubscribe_trades(symbol)

    def on_mark(self, handler: Callable[[MarkPrice], None]) -> None:
        self._streams.on_mark(handler)

    def on_book(self, handler: Callable[[BookTicker], None]) -> None:
        self._streams.on_book(handler)

    def on_depth(self, handler: Callable[[Symbol], None]) -> None:
        self._streams.on_depth(handler)

    def on_trade(self, handler: Callable[[PublicTrade], None]) -> None:
        self._streams.on_trade(handler)


def _price(text: str | int) -> Price | None:
    """Return a price of a candle, None for one that is no price."""
    price = number(str(text), "price of a candle")
    return Price(price) if price > 0 else None
