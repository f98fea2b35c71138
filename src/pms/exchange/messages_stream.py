"""Binance USDⓈ-M stream payloads: market frames and private events, tagged by `e` (Binance spec 4 and 5).

Decoding order: market frames in one pass through the tagged union; private events through their `e` first,
because the exchange adds event types and an unknown one must be tolerated, never fatal.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec
from msgspec import Raw, Struct, field

from pms.exchange.messages_rest import ErrorBody


class BookTickerEvent(Struct, frozen=True, gc=False, tag_field="e", tag="bookTicker"):
    """Best bid and ask; `update_id` strictly increases per symbol. Unix ms; quantities in base asset."""

    update_id: int = field(name="u")
    symbol: str = field(name="s")
    bid_price: str = field(name="b")
    bid_quantity: str = field(name="B")
    ask_price: str = field(name="a")
    ask_quantity: str = field(name="A")
    transaction_time: int = field(name="T", default=0)
    event_time: int = field(name="E", default=0)
    symbol_type: int = field(name="st", default=1)


class MarkPriceEvent(Struct, frozen=True, gc=False, tag_field="e", tag="markPriceUpdate"):
    """Mark price, index and funding. `funding_rate` is empty for delivery contracts."""

    event_time: int = field(name="E")
    symbol: str = field(name="s")
    mark_price: str = field(name="p")
    average_price: str = field(name="ap", default="")
    index_price: str = field(name="i", default="")
    settle_price: str = field(name="P", default="")
    funding_rate: str = field(name="r", default="")
    next_funding_time: int = field(name="T", default=0)
    symbol_type: int = field(name="st", default=1)


class AggTradeEvent(Struct, frozen=True, gc=False, tag_field="e", tag="aggTrade"):
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
    symbol_type: int = field(name="st", default=1)


class TradeEvent(Struct, frozen=True, gc=False, tag_field="e", tag="trade"):
    """One public trade (undocumented stream); `kind` is MARKET, or an insurance or ADL kind."""

    event_time: int = field(name="E")
    transaction_time: int = field(name="T")
    symbol: str = field(name="s")
    trade_id: int = field(name="t")
    price: str = field(name="p")
    quantity: str = field(name="q")
    kind: str = field(name="X", default="MARKET")
    buyer_is_maker: bool = field(name="m", default=False)


class DepthEvent(Struct, frozen=True, gc=False, tag_field="e", tag="depthUpdate"):
    """Order book difference; `previous_update_id` must equal the last event's `final_update_id`."""

    event_time: int = field(name="E")
    transaction_time: int = field(name="T")
    symbol: str = field(name="s")
    first_update_id: int = field(name="U")
    final_update_id: int = field(name="u")
    previous_update_id: int = field(name="pu")
    bids: list[list[str]] = field(name="b", default_factory=list)
    asks: list[list[str]] = field(name="a", default_factory=list)


class Kline(Struct, frozen=True, gc=False):
    """The candle inside a kline event."""

    open_time: int = field(name="t")
    close_time: int = field(name="T")
    symbol: str = field(name="s")
    interval: str = field(name="i")
    open: str = field(name="o")
    close: str = field(name="c")
    high: str = field(name="h")
    low: str = field(name="l")
    volume: str = field(name="v")
    trades: int = field(name="n", default=0)
    closed: bool = field(name="x", default=False)
    quote_volume: str = field(name="q", default="0")
    first_trade_id: int = field(name="f", default=0)
    last_trade_id: int = field(name="L", default=0)
    taker_buy_volume: str = field(name="V", default="0")
    taker_buy_quote_volume: str = field(name="Q", default="0")


class KlineEvent(Struct, frozen=True, gc=False, tag_field="e", tag="kline"):
    """Candle update."""

    event_time: int = field(name="E")
    symbol: str = field(name="s")
    kline: Kline = field(name="k")


MarketEvent = BookTickerEvent | MarkPriceEvent | AggTradeEvent | TradeEvent | DepthEvent | KlineEvent

DataT = TypeVar("DataT")


class Combined(Struct, Generic[DataT], frozen=True, gc=False):
    """The wrapper of `/stream` connections: `{"stream": name, "data": payload}`."""

    stream: str
    data: DataT


class CommandReply(Struct, frozen=True, gc=False):
    """Answer to SUBSCRIBE and the like: `result` None means done; `error` on refusal. Ids may be text."""

    id: int | str | None = None
    result: list[str] | bool | None = None
    error: ErrorBody | None = None


class CommandRequest(Struct, frozen=True, gc=False):
    """A client's message on a stream socket: SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS."""

    method: str
    params: list[str] = []
    id: int | str | None = None


# --- private events


class OrderUpdate(Struct, frozen=True, gc=False):
    """The order inside ORDER_TRADE_UPDATE (spec 5.3). Only rows with `trade_id` > 0 are fills."""

    symbol: str = field(name="s")
    client_order_id: str = field(name="c")
    side: str = field(name="S")
    order_type: str = field(name="o")
    time_in_force: str = field(name="f")
    original_quantity: str = field(name="q")
    price: str = field(name="p")
    average_price: str = field(name="ap")
    execution_type: str = field(name="x")
    status: str = field(name="X")
    order_id: int = field(name="i")
    last_quantity: str = field(name="l")
    cumulative_quantity: str = field(name="z")
    last_price: str = field(name="L")
    trade_time: int = field(name="T")
    trade_id: int = field(name="t")
    stop_price: str = field(name="sp", default="0")
    commission_asset: str | None = field(name="N", default=None)
    commission: str | None = field(name="n", default=None)
    bid_notional: str = field(name="b", default="0")
    ask_notional: str = field(name="a", default="0")
    is_maker: bool = field(name="m", default=False)
    reduce_only: bool = field(name="R", default=False)
    working_type: str = field(name="wt", default="CONTRACT_PRICE")
    original_type: str = field(name="ot", default="")
    position_side: str = field(name="ps", default="BOTH")
    close_all: bool = field(name="cp", default=False)
    price_protect: bool = field(name="pP", default=False)
    ignored_si: int = field(name="si", default=0)
    ignored_ss: int = field(name="ss", default=0)
    realized_profit: str = field(name="rp", default="0")
    self_trade_prevention_mode: str = field(name="V", default="NONE")
    price_match: str = field(name="pm", default="NONE")
    good_till_date: int = field(name="gtd", default=0)
    expiry_reason: str = field(name="er", default="0")


class OrderTradeUpdate(Struct, frozen=True, gc=False, tag_field="e", tag="ORDER_TRADE_UPDATE"):
    """An order changed or filled."""

    event_time: int = field(name="E")
    transaction_time: int = field(name="T")
    order: OrderUpdate = field(name="o")


class BalanceChange(Struct, frozen=True, gc=False):
    """One asset of ACCOUNT_UPDATE; `change` excludes PnL and commission."""

    asset: str = field(name="a")
    wallet_balance: str = field(name="wb")
    cross_wallet_balance: str = field(name="cw")
    change: str = field(name="bc", default="0")


class PositionChange(Struct, frozen=True, gc=False):
    """One position of ACCOUNT_UPDATE; `amount` is signed in one-way mode (side BOTH)."""

    symbol: str = field(name="s")
    amount: str = field(name="pa")
    entry_price: str = field(name="ep")
    accumulated_realized: str = field(name="cr", default="0")
    unrealized_profit: str = field(name="up", default="0")
    margin_type: str = field(name="mt", default="cross")
    isolated_wallet: str = field(name="iw", default="0")
    position_side: str = field(name="ps", default="BOTH")
    margin_asset: str = field(name="ma", default="")
    break_even_price: str = field(name="bep", default="0")


class AccountChange(Struct, frozen=True, gc=False):
    """Body of ACCOUNT_UPDATE: only what changed, and why (`reason`: ORDER, FUNDING_FEE, DEPOSIT, …)."""

    reason: str = field(name="m")
    balances: list[BalanceChange] = field(name="B", default_factory=list)
    positions: list[PositionChange] = field(name="P", default_factory=list)
    funding_symbol: str = field(name="S", default="")


class AccountUpdate(Struct, frozen=True, gc=False, tag_field="e", tag="ACCOUNT_UPDATE"):
    """Balances or positions changed."""

    event_time: int = field(name="E")
    transaction_time: int = field(name="T")
    account: AccountChange = field(name="a")


class TradeLite(Struct, frozen=True, gc=False, tag_field="e", tag="TRADE_LITE"):
    """Early notice of a fill: no fee, no status. A hint only (decision 3)."""

    event_time: int = field(name="E")
    transaction_time: int = field(name="T")
    symbol: str = field(name="s")
    original_quantity: str = field(name="q")
    price: str = field(name="p")
    is_maker: bool = field(name="m")
    client_order_id: str = field(name="c")
    side: str = field(name="S")
    last_price: str = field(name="L")
    last_quantity: str = field(name="l")
    trade_id: int = field(name="t")
    order_id: int = field(name="i")


class ListenKeyExpired(Struct, frozen=True, gc=False, tag_field="e", tag="listenKeyExpired"):
    """The listen key ended: no more events come although the socket stays open."""

    event_time: int = field(name="E")
    listen_key: str = field(name="listenKey", default="")


class MarginCallPosition(Struct, frozen=True, gc=False):
    """One position of MARGIN_CALL."""

    symbol: str = field(name="s")
    position_side: str = field(name="ps")
    amount: str = field(name="pa")
    margin_type: str = field(name="mt", default="")
    isolated_wallet: str = field(name="iw", default="0")
    mark_price: str = field(name="mp", default="0")
    unrealized_profit: str = field(name="up", default="0")
    maintenance_margin: str = field(name="mm", default="0")


class MarginCall(Struct, frozen=True, gc=False, tag_field="e", tag="MARGIN_CALL"):
    """Advisory; may come after the liquidation it warns of."""

    event_time: int = field(name="E")
    cross_wallet_balance: str = field(name="cw", default="0")
    positions: list[MarginCallPosition] = field(name="p", default_factory=list)


class LeverageConfig(Struct, frozen=True, gc=False):
    """New leverage of a symbol."""

    symbol: str = field(name="s")
    leverage: int = field(name="l")


class MultiAssetsConfig(Struct, frozen=True, gc=False):
    """New multi-assets mode."""

    multi_assets: bool = field(name="j")


class AccountConfigUpdate(Struct, frozen=True, gc=False, tag_field="e", tag="ACCOUNT_CONFIG_UPDATE"):
    """Leverage or multi-assets mode changed by somebody."""

    event_time: int = field(name="E")
    transaction_time: int = field(name="T")
    leverage: LeverageConfig | None = field(name="ac", default=None)
    multi_assets: MultiAssetsConfig | None = field(name="ai", default=None)


class UnknownEvent(Struct, frozen=True, gc=False):
    """A private event of a type this code does not know; counted, otherwise ignored."""

    event_type: str = field(name="e", default="")
    event_time: int = field(name="E", default=0)


UserEvent = (
    OrderTradeUpdate
    | AccountUpdate
    | TradeLite
    | ListenKeyExpired
    | MarginCall
    | AccountConfigUpdate
    | UnknownEvent
)


class _RawFrame(Struct, frozen=True, gc=False):
    stream: str | None = None
    data: Raw = Raw()
    event_type: str = field(name="e", default="")
    id: int | str | None = None


_market_decoder: msgspec.json.Decoder[MarketEvent] = msgspec.json.Decoder(MarketEvent)
_combined_decoder = msgspec.json.Decoder(Combined[MarketEvent])
_frame_decoder = msgspec.json.Decoder(_RawFrame)
_head_decoder = msgspec.json.Decoder(UnknownEvent)
_order_decoder = msgspec.json.Decoder(OrderTradeUpdate)
_account_decoder = msgspec.json.Decoder(AccountUpdate)
_lite_decoder = msgspec.json.Decoder(TradeLite)
_expired_decoder = msgspec.json.Decoder(ListenKeyExpired)
_call_decoder = msgspec.json.Decoder(MarginCall)
_config_decoder = msgspec.json.Decoder(AccountConfigUpdate)


def decode_market_event(raw: bytes | str) -> MarketEvent:
    """Decode one raw (unwrapped) market message. Raises `msgspec.DecodeError` for anything else."""
    return _market_decoder.decode(raw)


def decode_market_frame(raw: bytes | str | memoryview) -> Combined[MarketEvent] | None:
    """Decode one combined-stream message in one pass.

    Returns None for what is no known market event (command replies, new event types), so that the caller can
    count and skip it. Raises `msgspec.DecodeError` only when `raw` is not JSON at all.
    """
    try:
        return _combined_decoder.decode(raw)
    except msgspec.ValidationError:
        return None


def decode_user_event(raw: bytes | str) -> UserEvent:
    """Decode one private event, wrapped in `{"stream","data"}` or not.

    An unknown type gives `UnknownEvent`. Raises `msgspec.ValidationError` when a known type is malformed:
    the caller must then resynchronise by REST, because no event may be dropped silently (decision 22).
    """
    frame = _frame_decoder.decode(raw)
    if bytes(frame.data) and not frame.event_type:
        return decode_user_event(bytes(frame.data))
    match frame.event_type:
        case "ORDER_TRADE_UPDATE":
            return _order_decoder.decode(raw)
        case "ACCOUNT_UPDATE":
            return _account_decoder.decode(raw)
        case "TRADE_LITE":
            return _lite_decoder.decode(raw)
        case "listenKeyExpired":
            return _expired_decoder.decode(raw)
        case "MARGIN_CALL":
            return _call_decoder.decode(raw)
        case "ACCOUNT_CONFIG_UPDATE":
            return _config_decoder.decode(raw)
        case _:
            return _head_decoder.decode(raw)
