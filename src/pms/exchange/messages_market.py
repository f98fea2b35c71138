"""Market data by request (Binance spec 2.1): prices, books, trades, candles, funding, statistics."""

from __future__ import annotations

from decimal import Decimal

from msgspec import UNSET, Struct, UnsetType, field

from pms.exchange.messages_base import Wire, kept


class ServerTime(Wire, frozen=True):
    """GET /fapi/v1/time."""

    server_time: int


class PremiumIndex(Wire, frozen=True):
    """GET /fapi/v1/premiumIndex, one symbol."""

    symbol: str
    mark_price: str
    index_price: str = "0"
    estimated_settle_price: str = "0"
    last_funding_rate: str = "0"
    interest_rate: str = "0"
    next_funding_time: int = 0
    time: int = 0


class FundingRate(Wire, frozen=True, omit_defaults=True):
    """One row of GET /fapi/v1/fundingRate; `mark_price` is empty or absent in rows of the first years.

    `rate_type` (Regular, Special) is there since 2026-07-23.
    """

    symbol: str
    funding_rate: str
    funding_time: int
    mark_price: str | None = None
    rate_type: str | None = None


class FundingInfo(Wire, frozen=True, omit_defaults=True):
    """One row of GET /fapi/v1/fundingInfo: only symbols with adjusted values are listed.

    `update_time` is recorded, not documented, and null in some rows.
    """

    symbol: str
    adjusted_funding_rate_cap: str = kept("0")
    adjusted_funding_rate_floor: str = kept("0")
    funding_interval_hours: int = kept(8)
    disclaimer: bool = kept(False)
    update_time: int | UnsetType | None = UNSET


class BookTicker(Wire, frozen=True, omit_defaults=True):
    """GET /fapi/v1/ticker/bookTicker, one symbol; `last_update_id` came later than the other fields."""

    symbol: str
    bid_price: str
    bid_qty: str
    ask_price: str
    ask_qty: str
    time: int = kept(0)
    last_update_id: int | None = None


class PriceTicker(Wire, frozen=True):
    """GET /fapi/v2/ticker/price, one symbol."""

    symbol: str
    price: str
    time: int = 0


class Ticker24h(Wire, frozen=True):
    """GET /fapi/v1/ticker/24hr, one symbol."""

    symbol: str
    price_change: str = "0"
    price_change_percent: str = "0"
    weighted_avg_price: str = "0"
    last_price: str = "0"
    last_qty: str = "0"
    open_price: str = "0"
    high_price: str = "0"
    low_price: str = "0"
    volume: str = "0"
    quote_volume: str = "0"
    open_time: int = 0
    close_time: int = 0
    first_id: int = 0
    last_id: int = 0
    count: int = 0


class Depth(Wire, frozen=True):
    """GET /fapi/v1/depth and rpiDepth; levels are (price, quantity), best first."""

    last_update_id: int
    event_time: int = field(name="E", default=0)
    transaction_time: int = field(name="T", default=0)
    bids: list[tuple[str, str]] = field(default_factory=list)
    asks: list[tuple[str, str]] = field(default_factory=list)


class KlineRow(Struct, frozen=True, gc=False, array_like=True):
    """One candle of GET klines of every kind, an array on the wire. Times Unix ms; volume in base asset."""

    open_time: int
    open: str = "0"
    high: str = "0"
    low: str = "0"
    close: str = "0"
    volume: str = "0"
    close_time: int = 0
    quote_volume: str = "0"
    trades: int = 0
    taker_buy_volume: str = "0"
    taker_buy_quote_volume: str = "0"
    ignore: str = "0"


class PublicTrade(Wire, frozen=True, omit_defaults=True):
    """One row of GET trades or historicalTrades."""

    id: int
    price: str
    qty: str
    quote_qty: str
    time: int
    is_buyer_maker: bool
    is_rpi_trade: bool | None = field(name="isRPITrade", default=None)


class AggregateTrade(Struct, frozen=True, gc=False, omit_defaults=True):
    """One row of GET aggTrades; `quantity_without_rpi` is absent in answers before 2025-11-18."""

    aggregate_id: int = field(name="a")
    price: str = field(name="p")
    quantity: str = field(name="q")
    first_trade_id: int = field(name="f")
    last_trade_id: int = field(name="l")
    trade_time: int = field(name="T")
    buyer_is_maker: bool = field(name="m")
    quantity_without_rpi: str | None = field(name="nq", default=None)


class OpenInterest(Wire, frozen=True):
    """GET /fapi/v1/openInterest."""

    symbol: str
    open_interest: str
    time: int


class DeliveryPrice(Wire, frozen=True):
    """One row of the quarterly settlement prices."""

    delivery_time: int
    delivery_price: Decimal


# --- indices


class IndexConstituent(Wire, frozen=True):
    """One member of a price index: where its price comes from and its weight (a fraction)."""

    exchange: str
    symbol: str
    price: str
    weight: str


class IndexConstituents(Wire, frozen=True):
    """GET /fapi/v1/constituents."""

    symbol: str
    time: int
    constituents: list[IndexConstituent] = field(default_factory=list)


class CompositeIndexAsset(Wire, frozen=True):
    """One asset of a composite index."""

    base_asset: str
    quote_asset: str
    weight_in_quantity: str
    weight_in_percentage: str


class CompositeIndex(Wire, frozen=True):
    """One row of GET /fapi/v1/indexInfo."""

    symbol: str
    time: int
    component: str
    base_asset_list: list[CompositeIndexAsset] = field(default_factory=list)


class AssetIndex(Wire, frozen=True):
    """GET /fapi/v1/assetIndex, one asset of the multi-assets mode."""

    symbol: str
    time: int
    index: str
    bid_buffer: str
    ask_buffer: str
    bid_rate: str
    ask_rate: str
    auto_exchange_bid_buffer: str
    auto_exchange_ask_buffer: str
    auto_exchange_bid_rate: str
    auto_exchange_ask_rate: str


# --- risk of the market


class AdlRisk(Wire, frozen=True):
    """GET /fapi/v1/symbolAdlRisk, one symbol: low, medium or high, new every 30 minutes."""

    symbol: str
    adl_risk: str
    update_time: int


class InsuranceAsset(Wire, frozen=True):
    """What the insurance fund holds of one asset."""

    asset: str
    margin_balance: str
    update_time: int


class InsuranceFund(Wire, frozen=True):
    """GET /fapi/v1/insuranceBalance: one fund and the symbols that it stands for."""

    symbols: list[str]
    assets: list[InsuranceAsset]


# --- statistics under /futures/data


class OpenInterestRow(Wire, frozen=True, omit_defaults=True):
    """One row of GET /futures/data/openInterestHist; `timestamp` (Unix ms) is text or a number."""

    symbol: str
    sum_open_interest: str
    sum_open_interest_value: str
    timestamp: int | str
    circulating_supply: str | None = field(name="CMCCirculatingSupply", default=None)


class LongShortRatio(Wire, frozen=True):
    """One row of the long/short ratios, of all accounts or of the top traders."""

    symbol: str
    long_short_ratio: str
    long_account: str
    short_account: str
    timestamp: int | str


class TakerVolume(Wire, frozen=True):
    """One row of GET /futures/data/takerlongshortRatio."""

    buy_sell_ratio: str
    buy_vol: str
    sell_vol: str
    timestamp: int | str


class Basis(Wire, frozen=True):
    """One row of GET /futures/data/basis."""

    pair: str
    contract_type: str
    index_price: str
    futures_price: str
    basis: str
    basis_rate: str
    annualized_basis_rate: str
    timestamp: int
