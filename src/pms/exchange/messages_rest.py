"""Binance USDⓈ-M REST payloads, exactly as they travel; unknown fields are ignored (Binance spec 2, 3).

Prices, quantities and money stay `str`, as on the wire: conversion to `Decimal` happens once, in the adapter.
Ids and times (Unix ms) are `int`. Fields which some answers lack carry a default.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct, field


class Wire(Struct, frozen=True, gc=False, rename="camel", kw_only=True):
    """Base of all REST payloads: immutable, snake_case here and camelCase on the wire."""


class ErrorBody(Struct, frozen=True, gc=False):
    """`{"code": -1121, "msg": "Invalid symbol."}`; also the success answer of settings calls (code 200)."""

    code: int
    msg: str = ""


class ServerTime(Wire, frozen=True):
    """GET /fapi/v1/time."""

    server_time: int


# --- exchangeInfo


class RateLimit(Wire, frozen=True):
    """One limit of exchangeInfo.rateLimits or GET rateLimit/order; `limit` per `interval_num` `interval`s."""

    rate_limit_type: str
    interval: str
    interval_num: int
    limit: int


class AssetInfo(Wire, frozen=True):
    """One margin asset."""

    asset: str
    margin_available: bool = True
    auto_asset_exchange: str | None = None


class SymbolFilter(Wire, frozen=True, omit_defaults=True):
    """One filter of a symbol; which fields are present depends on `filter_type` (spec section 3)."""

    filter_type: str
    min_price: str | None = None
    max_price: str | None = None
    tick_size: str | None = None
    min_qty: str | None = None
    max_qty: str | None = None
    step_size: str | None = None
    limit: int | None = None
    notional: str | None = None
    multiplier_up: str | None = None
    multiplier_down: str | None = None
    multiplier_decimal: str | None = None
    position_control_side: str | None = None


class SymbolInfo(Wire, frozen=True):
    """One symbol of exchangeInfo. `price_precision` is a maximum of decimals, not the tick."""

    symbol: str
    pair: str = ""
    contract_type: str = ""
    delivery_date: int = 0
    onboard_date: int = 0
    status: str = ""
    maint_margin_percent: str = ""
    required_margin_percent: str = ""
    base_asset: str = ""
    quote_asset: str = ""
    margin_asset: str = ""
    price_precision: int = 0
    quantity_precision: int = 0
    base_asset_precision: int = 8
    quote_precision: int = 8
    underlying_type: str = ""
    underlying_sub_type: list[str] = []
    settle_plan: int = 0
    trigger_protect: str = ""
    liquidation_fee: str = ""
    market_take_bound: str = ""
    max_move_order_limit: int = 10000
    filters: list[SymbolFilter] = []
    order_types: list[str] = []
    time_in_force: list[str] = []
    permission_sets: list[str] = []


class ExchangeInfo(Wire, frozen=True):
    """GET /fapi/v1/exchangeInfo."""

    timezone: str = "UTC"
    server_time: int = 0
    futures_type: str = "U_MARGINED"
    rate_limits: list[RateLimit] = []
    assets: list[AssetInfo] = []
    symbols: list[SymbolInfo] = []


# --- market data


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


class FundingRate(Wire, frozen=True):
    """One row of GET /fapi/v1/fundingRate; `mark_price` is empty in rows of the first years."""

    symbol: str
    funding_rate: str
    funding_time: int
    mark_price: str = ""
    rate_type: str = "Regular"


class FundingInfo(Wire, frozen=True):
    """One row of GET /fapi/v1/fundingInfo."""

    symbol: str
    adjusted_funding_rate_cap: str = "0"
    adjusted_funding_rate_floor: str = "0"
    funding_interval_hours: int = 8
    disclaimer: bool = False


class BookTicker(Wire, frozen=True):
    """GET /fapi/v1/ticker/bookTicker, one symbol."""

    symbol: str
    bid_price: str
    bid_qty: str
    ask_price: str
    ask_qty: str
    time: int = 0
    last_update_id: int = 0


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
    """GET /fapi/v1/depth; levels are (price, quantity), best first."""

    last_update_id: int
    event_time: int = field(name="E", default=0)
    transaction_time: int = field(name="T", default=0)
    bids: list[tuple[str, str]] = []
    asks: list[tuple[str, str]] = []


class KlineRow(Struct, frozen=True, gc=False, array_like=True):
    """One candle of GET /fapi/v1/klines, an array on the wire. Times Unix ms; volume in base asset."""

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


class Bracket(Wire, frozen=True):
    """One leverage bracket; numbers in today's answers, strings in older ones: both decode to `Decimal`."""

    bracket: int
    initial_leverage: int
    notional_cap: Decimal
    notional_floor: Decimal
    maint_margin_ratio: Decimal
    cum: Decimal


class SymbolBrackets(Wire, frozen=True, omit_defaults=True):
    """GET /fapi/v1/leverageBracket, one symbol. With a symbol the answer may be an object or an array."""

    symbol: str
    notional_coef: Decimal | None = None
    brackets: list[Bracket] = []


# --- orders


class OrderAnswer(Wire, frozen=True, omit_defaults=True):
    """An order, as placing, cancelling and querying answer it.

    Since 2026-06-30 placing, modifying and cancelling answer without `avgPrice` and `cumQuote` (None then);
    queries have them, and `time`, but no `cumQty`.
    """

    order_id: int
    symbol: str
    status: str
    client_order_id: str = ""
    price: str = ""
    avg_price: str | None = None
    orig_qty: str = ""
    executed_qty: str = ""
    cum_qty: str | None = None
    cum_quote: str | None = None
    time_in_force: str = ""
    type: str = ""
    reduce_only: bool | None = None
    close_position: bool | None = None
    side: str = ""
    position_side: str = ""
    stop_price: str = ""
    working_type: str = ""
    price_protect: bool | None = None
    orig_type: str = ""
    price_match: str = ""
    self_trade_prevention_mode: str = ""
    good_till_date: int | None = None
    time: int | None = None
    update_time: int | None = None


class BatchElement(Wire, frozen=True):
    """One element of a batch answer: an order, or `code` and `msg` (then `order_id` is None)."""

    code: int | None = None
    msg: str | None = None
    order_id: int | None = None
    symbol: str | None = None
    client_order_id: str | None = None
    status: str | None = None
    orig_qty: str | None = None
    executed_qty: str | None = None
    price: str | None = None
    update_time: int | None = None


class UserTrade(Wire, frozen=True, kw_only=True):
    """One row of GET /fapi/v1/userTrades. `realized_pnl` is before the fee."""

    symbol: str
    pair: str = ""
    id: int
    order_id: int
    side: str
    price: str
    qty: str
    quote_qty: str = "0"
    base_qty: str = "0"
    realized_pnl: str = "0"
    margin_asset: str = "USDT"
    commission: str = "0"
    commission_asset: str = "USDT"
    time: int = 0
    position_side: str = "BOTH"
    buyer: bool = False
    maker: bool = False


# --- account


class PositionRisk(Wire, frozen=True, omit_defaults=True):
    """One row of GET /fapi/v3/positionRisk; v2 adds leverage and margin type."""

    symbol: str
    position_side: str
    position_amt: str
    entry_price: str
    break_even_price: str = ""
    mark_price: str = ""
    unrealized_profit: str = field(name="unRealizedProfit", default="")
    liquidation_price: str = ""
    isolated_margin: str = ""
    notional: str = ""
    margin_asset: str = ""
    isolated_wallet: str = ""
    initial_margin: str = ""
    maint_margin: str = ""
    position_initial_margin: str = ""
    open_order_initial_margin: str = ""
    adl: int | None = None
    bid_notional: str = ""
    ask_notional: str = ""
    update_time: int | None = None
    leverage: str | None = None
    margin_type: str | None = None
    is_auto_add_margin: str | None = None
    max_notional_value: str | None = None


class AccountAsset(Wire, frozen=True):
    """One asset of the account answer."""

    asset: str
    wallet_balance: str = "0"
    unrealized_profit: str = "0"
    margin_balance: str = "0"
    maint_margin: str = "0"
    initial_margin: str = "0"
    position_initial_margin: str = "0"
    open_order_initial_margin: str = "0"
    cross_wallet_balance: str = "0"
    cross_un_pnl: str = "0"
    available_balance: str = "0"
    max_withdraw_amount: str = "0"
    update_time: int = 0


class AccountPosition(Wire, frozen=True, omit_defaults=True):
    """One position of the account answer; v2 adds leverage, isolated, entryPrice, maxNotional."""

    symbol: str
    position_side: str
    position_amt: str
    unrealized_profit: str = ""
    isolated_margin: str = ""
    notional: str = ""
    isolated_wallet: str = ""
    initial_margin: str = ""
    maint_margin: str = ""
    update_time: int | None = None
    leverage: str | None = None
    isolated: bool | None = None
    entry_price: str | None = None
    break_even_price: str | None = None
    max_notional: str | None = None
    bid_notional: str | None = None
    ask_notional: str | None = None
    position_initial_margin: str | None = None
    open_order_initial_margin: str | None = None


class AccountInfo(Wire, frozen=True, omit_defaults=True):
    """GET /fapi/v3/account (totals in USDT in single-asset mode); v2 adds the permission fields."""

    total_initial_margin: str
    total_maint_margin: str
    total_wallet_balance: str
    total_unrealized_profit: str
    total_margin_balance: str
    total_position_initial_margin: str = ""
    total_open_order_initial_margin: str = ""
    total_cross_wallet_balance: str = ""
    total_cross_un_pnl: str = ""
    available_balance: str = ""
    max_withdraw_amount: str = ""
    assets: list[AccountAsset] = field(default_factory=list)
    positions: list[AccountPosition] = field(default_factory=list)
    fee_tier: int | None = None
    fee_burn: bool | None = None
    can_trade: bool | None = None
    can_deposit: bool | None = None
    can_withdraw: bool | None = None
    multi_assets_margin: bool | None = None
    trade_group_id: int | None = None
    update_time: int | None = None


class Balance(Wire, frozen=True, kw_only=True):
    """One row of GET /fapi/v3/balance."""

    account_alias: str = ""
    asset: str
    balance: str
    cross_wallet_balance: str = "0"
    cross_un_pnl: str = "0"
    available_balance: str = "0"
    max_withdraw_amount: str = "0"
    margin_available: bool = True
    update_time: int = 0


class AccountConfig(Wire, frozen=True):
    """GET /fapi/v1/accountConfig."""

    fee_tier: int = 0
    can_trade: bool = True
    can_deposit: bool = True
    can_withdraw: bool = True
    dual_side_position: bool = False
    update_time: int = 0
    multi_assets_margin: bool = False
    trade_group_id: int = -1


class SymbolConfig(Wire, frozen=True):
    """One row of GET /fapi/v1/symbolConfig; `margin_type` is CROSSED or ISOLATED."""

    symbol: str
    margin_type: str
    is_auto_add_margin: bool = False
    leverage: int = 20
    max_notional_value: str = "0"


class PositionMode(Wire, frozen=True):
    """GET /fapi/v1/positionSide/dual: True is hedge mode."""

    dual_side_position: bool


class MultiAssetsMode(Wire, frozen=True):
    """GET /fapi/v1/multiAssetsMargin."""

    multi_assets_margin: bool


class LeverageAnswer(Wire, frozen=True):
    """POST /fapi/v1/leverage."""

    leverage: int
    max_notional_value: str
    symbol: str


class ListenKey(Wire, frozen=True):
    """POST or PUT /fapi/v1/listenKey."""

    listen_key: str


class CommissionRate(Wire, frozen=True):
    """GET /fapi/v1/commissionRate; fractions, 0.0002 = 0.02 %."""

    symbol: str
    maker_commission_rate: str
    taker_commission_rate: str
    rpi_commission_rate: str = "0"


class Income(Wire, frozen=True):
    """One row of GET /fapi/v1/income."""

    symbol: str
    income_type: str
    income: str
    asset: str
    info: str = ""
    time: int = 0
    tran_id: int = 0
    trade_id: str = ""
