"""Public data: rules, candles and brackets by request, prices by stream."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from pms.exchange.binance.convert import bracket_of, number
from pms.exchange.binance.rest import RestClient, Security
from pms.exchange.binance.streams import MarketStreams
from pms.exchange.binance.symbols import SymbolDirectory
from pms.exchange.errors import UnreadablePayload
from pms.exchange.messages import Depth, ExchangeInfo, FundingInfo, SymbolBrackets
from pms.exchange.messages import FundingRate as WireFunding
from pms.model.bracket import LeverageBracket
from pms.model.income import FundingKey, FundingRate, FundingType
from pms.model.money import Price
from pms.model.price import BookTicker, MarkPrice, OrderBook, PublicTrade
from pms.model.symbol import Symbol, SymbolRules

EXCHANGE_INFO_DEADLINE_SECONDS = 15.0
"""The list of all contracts is over a megabyte."""

FUNDINGS_PER_PAGE = 1000

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

    async def funding_rates(self, symbol: Symbol, since_ms: int, until_ms: int) -> Sequence[FundingRate]:
        """Return the first settled fundings of a span, at most a page, oldest first. Raises ExchangeError."""
        native = self._symbols.native(symbol)
        times = (("startTime", str(since_ms)), ("endTime", str(until_ms)))
        parameters = (("symbol", native), *times, ("limit", str(FUNDINGS_PER_PAGE)))
        rows = await self._rest.read("/fapi/v1/fundingRate", parameters, _fundings_decoder, Security.NONE)
        rows.sort(key=lambda row: row.funding_time)
        return [
            FundingRate(
                FundingKey(symbol, row.funding_time, FundingType((row.rate_type or "Regular").upper())),
                number(row.funding_rate, "funding rate"),
                await self._mark_at(native, row),
            )
            for row in rows
        ]

    async def _mark_at(self, native: str, row: WireFunding) -> Price:
        """Return the mark price of a funding; a row that tells none has that of the minute's candle."""
        if row.mark_price:
            return Price(number(row.mark_price, "mark price"))
        minute_ms = row.funding_time // 60_000 * 60_000
        parameters = (("symbol", native), ("interval", "1m"), ("startTime", str(minute_ms)), ("limit", "1"))
        candles = await self._rest.read(
            "/fapi/v1/markPriceKlines", parameters, _klines_decoder, Security.NONE
        )
        if not candles or candles[0][0] != minute_ms:
            raise UnreadablePayload(f"the exchange tells no mark price of {native} at {row.funding_time}")
        return Price(number(str(candles[0][1]), "mark price"))

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
