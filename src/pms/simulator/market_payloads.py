"""Market stream messages as the venue writes them: the fields of spec 4.2, in the venue's order.

Written out here, not made from the adapter's types: a simulator that shares its client's types would repeat
its client's mistakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from pms.simulator.candles import Candle
from pms.simulator.rules import SymbolRules

_encoder = msgspec.json.Encoder(decimal_format="number")
USD_MARGINED = 1
Payload = dict[str, Any]


def encode(payload: Payload | Sequence[Payload]) -> bytes:
    """Return the message as JSON."""
    return _encoder.encode(payload)


@dataclass(frozen=True, slots=True)
class MarkView:
    """Mark price, index and funding of one symbol at one moment; prices as texts."""

    symbol: str
    mark_price: str
    average_price: str
    index_price: str
    settle_price: str
    funding_rate: str
    next_funding_time: int


@dataclass(frozen=True, slots=True)
class DayView:
    """The last 24 hours of one symbol. Times Unix ms."""

    symbol: str
    last: str
    last_quantity: str
    candle: Candle
    open_time: int
    close_time: int
    first_id: int
    last_id: int


def book_ticker(symbol: str, update_id: int, quote: tuple[str, str, str, str], now_ms: int) -> Payload:
    """Return bookTicker; `quote` is bid, bid quantity, ask, ask quantity."""
    bid, bid_quantity, ask, ask_quantity = quote
    return {
        "e": "bookTicker",
        "u": update_id,
        "s": symbol,
        "ps": symbol,
        "b": bid,
        "B": bid_quantity,
        "a": ask,
        "A": ask_quantity,
        "T": now_ms,
        "E": now_ms,
        "st": USD_MARGINED,
    }


def trade(symbol: str, number: int, price: str, quantity: str, buyer_is_maker: bool, now_ms: int) -> Payload:
    """Return trade."""
    return {
        "e": "trade",
        "E": now_ms,
        "T": now_ms,
        "s": symbol,
        "t": number,
        "p": price,
        "q": quantity,
        "X": "MARKET",
        "m": buyer_is_maker,
        "st": USD_MARGINED,
    }


def depth(
    symbol: str,
    ids: tuple[int, int, int],
    bids: Sequence[tuple[str, str]],
    asks: Sequence[tuple[str, str]],
    now_ms: int,
) -> Payload:
    """Return depthUpdate; `ids` are U, u and pu."""
    first, final, previous = ids
    return {
        "e": "depthUpdate",
        "E": now_ms,
        "T": now_ms,
        "s": symbol,
        "ps": symbol,
        "U": first,
        "u": final,
        "pu": previous,
        "b": bids,
        "a": asks,
        "st": USD_MARGINED,
    }


ASSET_INDEX = {
    "i": "index",
    "b": "bidBuffer",
    "a": "askBuffer",
    "B": "bidRate",
    "A": "askRate",
    "q": "autoExchangeBidBuffer",
    "g": "autoExchangeAskBuffer",
    "Q": "autoExchangeBidRate",
    "G": "autoExchangeAskRate",
}


def asset_index(row: Payload, now_ms: int) -> Payload:
    """Return assetIndexUpdate of a row of GET assetIndex."""
    event = {"e": "assetIndexUpdate", "E": now_ms, "s": row["symbol"]}
    return event | {short: row[name] for short, name in ASSET_INDEX.items()}


def mark_price(view: MarkView, now_ms: int) -> Payload:
    """Return markPriceUpdate."""
    return {
        "e": "markPriceUpdate",
        "E": now_ms,
        "s": view.symbol,
        "p": view.mark_price,
        "ap": view.average_price,
        "P": view.settle_price,
        "i": view.index_price,
        "r": view.funding_rate,
        "T": view.next_funding_time,
        "st": USD_MARGINED,
    }


@dataclass(frozen=True, slots=True)
class CandleView:
    """One candle with its times, and how its symbol writes prices and quantities."""

    interval: str
    open_time: int
    close_time: int
    candle: Candle
    closed: bool
    rules: SymbolRules
    first_id: int = 0
    last_id: int = 0

    def prices(self) -> tuple[str, str, str, str]:
        """Return open, high, low, close as texts."""
        places = self.rules.info.price_precision
        first, high, low, last = (f"{price:.{places}f}" for price in self.candle[:4])
        return first, high, low, last

    def volumes(self) -> tuple[str, str, str, str]:
        """Return volume, quote volume, taker buy volume, taker buy quote volume as texts."""
        candle, places = self.candle, self.rules.info.quantity_precision
        bought = candle.shown_taker_volume
        share = bought / candle.volume if candle.volume else 0.0
        return (
            f"{candle.volume:.{places}f}",
            f"{candle.shown_quote_volume:.5f}",
            f"{bought:.{places}f}",
            f"{candle.shown_quote_volume * share:.5f}",
        )


def _kline_body(view: CandleView, symbol: str | None) -> Payload:
    first, high, low, last = view.prices()
    volume, quote_volume, bought, bought_quote = view.volumes()
    body: Payload = {"t": view.open_time, "T": view.close_time}
    if symbol is not None:
        body["s"] = symbol
    return body | {
        "i": view.interval,
        "f": view.first_id,
        "L": view.last_id,
        "o": first,
        "c": last,
        "h": high,
        "l": low,
        "v": volume,
        "n": view.candle.trades,
        "x": view.closed,
        "q": quote_volume,
        "V": bought,
        "Q": bought_quote,
        "B": "0",
    }


def kline(view: CandleView, now_ms: int) -> Payload:
    """Return kline."""
    symbol = view.rules.symbol
    return {"e": "kline", "E": now_ms, "s": symbol, "k": _kline_body(view, symbol), "st": USD_MARGINED}


def continuous_kline(view: CandleView, now_ms: int) -> Payload:
    """Return continuous_kline of the perpetual contract of the pair."""
    return {
        "e": "continuous_kline",
        "E": now_ms,
        "ps": view.rules.info.pair,
        "ct": "PERPETUAL",
        "k": _kline_body(view, None),
        "st": USD_MARGINED,
    }


def mini_ticker(view: DayView, rules: SymbolRules, now_ms: int) -> Payload:
    """Return 24hrMiniTicker."""
    shown = CandleView("1d", view.open_time, view.close_time, view.candle, False, rules)
    first, high, low, _ = shown.prices()
    volume, quote_volume, _, _ = shown.volumes()
    return {
        "e": "24hrMiniTicker",
        "E": now_ms,
        "s": view.symbol,
        "ps": view.symbol,
        "c": view.last,
        "o": first,
        "h": high,
        "l": low,
        "v": volume,
        "q": quote_volume,
        "st": USD_MARGINED,
    }


def change_of(view: DayView, rules: SymbolRules) -> tuple[str, str, str]:
    """Return price change, change in percent and volume-weighted average price as texts."""
    candle, places = view.candle, rules.info.price_precision
    opened = Decimal(repr(candle.open))
    change = Decimal(view.last) - opened
    average = candle.shown_quote_volume / candle.volume if candle.volume else candle.close
    return f"{change:.{places}f}", f"{change / opened * 100:.3f}", f"{average:.{places}f}"


def ticker(view: DayView, rules: SymbolRules, now_ms: int) -> Payload:
    """Return 24hrTicker."""
    small = mini_ticker(view, rules, now_ms)
    change, percent, average = change_of(view, rules)
    return {
        "e": "24hrTicker",
        "E": now_ms,
        "s": view.symbol,
        "ps": view.symbol,
        "p": change,
        "P": percent,
        "w": average,
        "c": view.last,
        "Q": view.last_quantity,
        "o": small["o"],
        "h": small["h"],
        "l": small["l"],
        "v": small["v"],
        "q": small["q"],
        "O": view.open_time,
        "C": view.close_time,
        "F": view.first_id,
        "L": view.last_id,
        "n": view.candle.trades,
        "st": USD_MARGINED,
    }


@dataclass(frozen=True, slots=True)
class Liquidation:
    """One order by which the exchange closes a position. Prices and quantities as texts, time Unix ms."""

    symbol: str
    side: str
    quantity: str
    price: str
    average_price: str
    last_quantity: str
    filled: str
    time_ms: int
    status: str = "FILLED"


def force_order(order: Liquidation, now_ms: int) -> Payload:
    """Return forceOrder."""
    body = {
        "s": order.symbol,
        "S": order.side,
        "o": "LIMIT",
        "f": "IOC",
        "q": order.quantity,
        "p": order.price,
        "ap": order.average_price,
        "X": order.status,
        "l": order.last_quantity,
        "z": order.filled,
        "T": order.time_ms,
        "ps": order.symbol,
        "st": USD_MARGINED,
    }
    return {"e": "forceOrder", "E": now_ms, "o": body}


def contract_info(rules: SymbolRules, now_ms: int, with_brackets: bool = False) -> Payload:
    """Return contractInfo; brackets are sent only when they changed."""
    info = rules.info
    payload: Payload = {
        "e": "contractInfo",
        "E": now_ms,
        "s": info.symbol,
        "ps": info.pair,
        "ct": info.contract_type,
        "dt": info.delivery_date,
        "ot": info.onboard_date,
        "cs": info.status,
    }
    if with_brackets:
        lower = [*(bracket.initial_leverage + 1 for bracket in rules.brackets[1:]), 1]
        payload["bks"] = [
            {
                "bs": bracket.bracket,
                "bnf": bracket.notional_floor,
                "bnc": bracket.notional_cap,
                "mmr": bracket.maint_margin_ratio,
                "cf": bracket.cum,
                "mi": low,
                "ma": bracket.initial_leverage,
            }
            for bracket, low in zip(rules.brackets, lower, strict=False)
        ]
    return payload | {"st": USD_MARGINED}
