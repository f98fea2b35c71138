"""Market stream payloads, tagged by `e`, and how a frame of a combined stream is decoded (Binance spec 4)."""

from __future__ import annotations

from decimal import Decimal
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct, field

from pms.exchange.messages_base import decode_message, kept

USDT_MARGINED = 1
"""Value of `st` for contracts of this family; 2 is COIN-M, which shares the all-market streams."""


def _no_levels() -> list[list[str]]:
    return []


class BookTickerEvent(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="e", tag="bookTicker"):
    """Best bid and ask; `update_id` strictly increases per symbol. Unix ms; quantities in base asset."""

    update_id: int = field(name="u")
    symbol: str = field(name="s")
    bid_price: str = field(name="b")
    bid_quantity: str = field(name="B")
    ask_price: str = field(name="a")
    ask_quantity: str = field(name="A")
    transaction_time: int = kept(0, "T")
    event_time: int = kept(0, "E")
    symbol_type: int | None = field(name="st", default=None)
    pair: str | None = field(name="ps", default=None)


class MarkPriceEvent(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="e", tag="markPriceUpdate"):
    """Mark price, index and funding. `funding_rate` is empty for delivery contracts."""

    event_time: int = field(name="E")
    symbol: str = field(name="s")
    mark_price: str = field(name="p")
    average_price: str | None = field(name="ap", default=None)
    index_price: str = kept("", "i")
    settle_price: str = kept("", "P")
    funding_rate: str = kept("", "r")
    next_funding_time: int = kept(0, "T")
    symbol_type: int | None = field(name="st", default=None)
    pair: str | None = field(name="ps", default=None)


class AggTradeEvent(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="e", tag="aggTrade"):
    """Trades of one taker order at one price, aggregated over 100 ms."""

    event_time: int = field(name="E")
    symbol: str = field(name="s")
    aggregate_id: int = field(name="a")
    price: str = field(name="p")
    quantity: str = field(name="q")
    first_trade_id: int = field(name="f")
    last_trade_id: int = field(name="l")
    trade_time: int = field(name="T")
    buyer_is_maker: bool = field(name="m")
    symbol_type: int | None = field(name="st", default=None)
    quantity_without_rpi: str | None = field(name="nq", default=None)


class TradeEvent(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="e", tag="trade"):
    """One public trade (undocumented stream); `kind` is MARKET, or an insurance or ADL kind."""

    event_time: int = field(name="E")
    transaction_time: int = field(name="T")
    symbol: str = field(name="s")
    trade_id: int = field(name="t")
    price: str = field(name="p")
    quantity: str = field(name="q")
    kind: str | None = field(name="X", default=None)
    buyer_is_maker: bool = kept(False, "m")
    symbol_type: int | None = field(name="st", default=None)


class DepthEvent(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="e", tag="depthUpdate"):
    """Order book difference; `previous_update_id` must equal the last event's `final_update_id`.

    Partial books (`depth5`, `depth10`, `depth20`) have the same shape and hold whole levels.
    """

    event_time: int = field(name="E")
    transaction_time: int = field(name="T")
    symbol: str = field(name="s")
    first_update_id: int = field(name="U")
    final_update_id: int = field(name="u")
    previous_update_id: int = field(name="pu")
    bids: list[list[str]] = field(name="b", default_factory=_no_levels)
    asks: list[list[str]] = field(name="a", default_factory=_no_levels)
    symbol_type: int | None = field(name="st", default=None)
    pair: str | None = field(name="ps", default=None)


class Kline(Struct, frozen=True, gc=False, omit_defaults=True):
    """The candle inside a kline event; one of a continuous contract names no symbol."""

    open_time: int = field(name="t")
    close_time: int = field(name="T")
    symbol: str | None = field(name="s", default=None)
    interval: str = kept("", "i")
    open: str = kept("0", "o")
    close: str = kept("0", "c")
    high: str = kept("0", "h")
    low: str = kept("0", "l")
    volume: str = kept("0", "v")
    trades: int = kept(0, "n")
    closed: bool = kept(False, "x")
    quote_volume: str = kept("0", "q")
    first_trade_id: int = kept(0, "f")
    last_trade_id: int = kept(0, "L")
    taker_buy_volume: str = kept("0", "V")
    taker_buy_quote_volume: str = kept("0", "Q")
    ignored: str = kept("0", "B")


class KlineEvent(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="e", tag="kline"):
    """Candle update."""

    event_time: int = field(name="E")
    symbol: str = field(name="s")
    kline: Kline = field(name="k")
    symbol_type: int | None = field(name="st", default=None)


class ContinuousKlineEvent(
    Struct, frozen=True, gc=False, omit_defaults=True, tag_field="e", tag="continuous_kline"
):
    """Candle update of a pair's contract of one kind (PERPETUAL, CURRENT_QUARTER, …)."""

    event_time: int = field(name="E")
    pair: str = field(name="ps")
    contract_type: str = field(name="ct")
    kline: Kline = field(name="k")
    symbol_type: int | None = field(name="st", default=None)


class MiniTickerEvent(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="e", tag="24hrMiniTicker"):
    """Rolling 24 hours, short form."""

    event_time: int = field(name="E")
    symbol: str = field(name="s")
    close: str = field(name="c")
    open: str = field(name="o")
    high: str = field(name="h")
    low: str = field(name="l")
    volume: str = field(name="v")
    quote_volume: str = field(name="q")
    symbol_type: int | None = field(name="st", default=None)
    pair: str | None = field(name="ps", default=None)


class TickerEvent(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="e", tag="24hrTicker"):
    """Rolling 24 hours."""

    event_time: int = field(name="E")
    symbol: str = field(name="s")
    price_change: str = field(name="p")
    price_change_percent: str = field(name="P")
    weighted_average_price: str = field(name="w")
    last_price: str = field(name="c")
    last_quantity: str = field(name="Q")
    open: str = field(name="o")
    high: str = field(name="h")
    low: str = field(name="l")
    volume: str = field(name="v")
    quote_volume: str = field(name="q")
    open_time: int = field(name="O")
    close_time: int = field(name="C")
    first_trade_id: int = field(name="F")
    last_trade_id: int = field(name="L")
    trades: int = field(name="n")
    symbol_type: int | None = field(name="st", default=None)
    pair: str | None = field(name="ps", default=None)


class ForcedOrder(Struct, frozen=True, gc=False, omit_defaults=True):
    """The liquidation order inside a forceOrder event; recorded frames of 2026-09 have `ps` and `st` here."""

    symbol: str = field(name="s")
    side: str = field(name="S")
    order_type: str = field(name="o")
    time_in_force: str = field(name="f")
    quantity: str = field(name="q")
    price: str = field(name="p")
    average_price: str = field(name="ap")
    status: str = field(name="X")
    last_quantity: str = field(name="l")
    cumulative_quantity: str = field(name="z")
    trade_time: int = field(name="T")
    pair: str | None = field(name="ps", default=None)
    symbol_type: int | None = field(name="st", default=None)


class ForceOrderEvent(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="e", tag="forceOrder"):
    """The largest liquidation of a symbol within a second; the documentation puts `ps` and `st` here."""

    event_time: int = field(name="E")
    order: ForcedOrder = field(name="o")
    symbol_type: int | None = field(name="st", default=None)
    pair: str | None = field(name="ps", default=None)


class ContractBracket(Struct, frozen=True, gc=False):
    """One leverage bracket of a contractInfo event; what are JSON numbers there is exact here."""

    bracket: int = field(name="bs")
    notional_floor: Decimal = field(name="bnf")
    notional_cap: Decimal = field(name="bnc")
    maintenance_rate: Decimal = field(name="mmr")
    cumulative: Decimal = field(name="cf")
    leverage_min: int = field(name="mi")
    leverage_max: int = field(name="ma")


class ContractInfoEvent(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="e", tag="contractInfo"):
    """A contract was listed, changed its status, or got other brackets (only then `brackets` is there)."""

    event_time: int = field(name="E")
    symbol: str = field(name="s")
    contract_type: str = field(name="ct")
    delivery_date: int = field(name="dt")
    onboard_date: int = field(name="ot")
    status: str = field(name="cs")
    pair: str | None = field(name="ps", default=None)
    brackets: list[ContractBracket] | None = field(name="bks", default=None)
    symbol_type: int | None = field(name="st", default=None)


class CompositeIndexPart(Struct, frozen=True, gc=False):
    """One asset of a composite index; weights in quantity and as a fraction."""

    base_asset: str = field(name="b")
    quote_asset: str = field(name="q")
    weight_in_quantity: str = field(name="w")
    weight_in_percentage: str = field(name="W")
    index_price: str = field(name="i")


class CompositeIndexEvent(
    Struct, frozen=True, gc=False, omit_defaults=True, tag_field="e", tag="compositeIndex"
):
    """A composite index and what it is made of."""

    event_time: int = field(name="E")
    symbol: str = field(name="s")
    price: str = field(name="p")
    component: str = field(name="C")
    parts: list[CompositeIndexPart] = field(name="c")
    symbol_type: int | None = field(name="st", default=None)


class AssetIndexEvent(Struct, frozen=True, gc=False, tag_field="e", tag="assetIndexUpdate"):
    """The index of an asset in multi-assets mode, with its buffers and rates."""

    event_time: int = field(name="E")
    symbol: str = field(name="s")
    index: str = field(name="i")
    bid_buffer: str = field(name="b")
    ask_buffer: str = field(name="a")
    bid_rate: str = field(name="B")
    ask_rate: str = field(name="A")
    auto_exchange_bid_buffer: str = field(name="q")
    auto_exchange_ask_buffer: str = field(name="g")
    auto_exchange_bid_rate: str = field(name="Q")
    auto_exchange_ask_rate: str = field(name="G")


class EquitySessionEvent(Struct, frozen=True, gc=False, tag_field="e", tag="EquityUpdate"):
    """The session of the equity market: `session` from `start_time` to `end_time` (Unix ms)."""

    event_time: int = field(name="E")
    start_time: int = field(name="t")
    end_time: int = field(name="T")
    session: str = field(name="S")


class CommoditySessionEvent(Struct, frozen=True, gc=False, tag_field="e", tag="CommodityUpdate"):
    """The session of the commodity market."""

    event_time: int = field(name="E")
    start_time: int = field(name="t")
    end_time: int = field(name="T")
    session: str = field(name="S")


MarketEvent = (
    BookTickerEvent
    | MarkPriceEvent
    | AggTradeEvent
    | TradeEvent
    | DepthEvent
    | KlineEvent
    | ContinuousKlineEvent
    | MiniTickerEvent
    | TickerEvent
    | ForceOrderEvent
    | ContractInfoEvent
    | CompositeIndexEvent
    | AssetIndexEvent
    | EquitySessionEvent
    | CommoditySessionEvent
)

DataT = TypeVar("DataT")


class Combined(Struct, Generic[DataT], frozen=True, gc=False):
    """The wrapper of `/stream` connections: `{"stream": name, "data": payload}`."""

    stream: str
    data: DataT


_market_decoder: msgspec.json.Decoder[MarketEvent] = msgspec.json.Decoder(MarketEvent)
_array_decoder: msgspec.json.Decoder[list[MarketEvent]] = msgspec.json.Decoder(list[MarketEvent])
_combined_decoder = msgspec.json.Decoder(Combined[MarketEvent])


def decode_market_event(raw: bytes | str) -> MarketEvent:
    """Decode one raw (unwrapped) market message. Raises `msgspec.DecodeError` for anything else."""
    return decode_message(_market_decoder, raw)


def decode_market_array(raw: bytes | str) -> list[MarketEvent]:
    """Decode one raw message of an all-market stream (`!…@arr`). Raises `msgspec.DecodeError`."""
    return decode_message(_array_decoder, raw)


def decode_market_frame(raw: bytes | str | memoryview) -> Combined[MarketEvent] | None:
    """Decode one combined-stream message in one pass.

    Returns None for what is no single known market event (command replies, arrays, new event types), so that
    the caller can count and skip it. Raises `msgspec.DecodeError` only when `raw` is no readable JSON at all.
    """
    try:
        return _combined_decoder.decode(raw)
    except msgspec.ValidationError:
        return None
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"{type(error).__name__}: {error}") from None
