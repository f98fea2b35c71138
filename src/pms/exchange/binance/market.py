"""Public data: rules, candles and brackets by request, prices by stream."""

from collections.abc import Callable, Sequence

import msgspec

from pms.exchange.binance.convert import bracket_of
from pms.exchange.binance.rest import RestClient, Security
from pms.exchange.binance.streams import MarketStreams
from pms.exchange.binance.symbols import SymbolDirectory
from pms.exchange.messages import Depth, ExchangeInfo, SymbolBrackets
from pms.model.bracket import LeverageBracket
from pms.model.price import BookTicker, MarkPrice, OrderBook, PublicTrade
from pms.model.symbol import Symbol, SymbolRules

EXCHANGE_INFO_DEADLINE_SECONDS = 15.0
"""The list of all contracts is over a megabyte."""

_info_decoder = msgspec.json.Decoder(ExchangeInfo)
_klines_decoder = msgspec.json.Decoder(list[tuple[str | int, ...]])
_depth_decoder = msgspec.json.Decoder(Depth)
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
