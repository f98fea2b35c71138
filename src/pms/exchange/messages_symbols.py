"""Contracts and their rules: exchangeInfo, limits and leverage brackets (Binance spec section 3)."""

from __future__ import annotations

from decimal import Decimal

from msgspec import UNSET, Raw, UnsetType, field

from pms.exchange.messages_base import Wire


class RateLimit(Wire, frozen=True, omit_defaults=True):
    """One limit: `limit` per `interval_num` `interval`s; WebSocket API replies add the `count` used."""

    rate_limit_type: str
    interval: str
    interval_num: int
    limit: int
    count: int | None = None


class AssetInfo(Wire, frozen=True):
    """One margin asset; `auto_asset_exchange` is null, text, or in older answers a number."""

    asset: str
    margin_available: bool = True
    auto_asset_exchange: str | int | UnsetType | None = UNSET


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
    multiplier_decimal: str | int | None = None
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
    underlying_sub_type: list[str] = field(default_factory=list)
    settle_plan: int | UnsetType = UNSET
    trigger_protect: str = ""
    liquidation_fee: str = ""
    market_take_bound: str = ""
    max_move_order_limit: int | UnsetType = UNSET
    filters: list[SymbolFilter] = field(default_factory=list)
    order_types: list[str] = field(default_factory=list)
    time_in_force: list[str] = field(default_factory=list)
    permission_sets: list[str] | UnsetType = UNSET


class ExchangeInfo(Wire, frozen=True):
    """GET /fapi/v1/exchangeInfo. Its `server_time` is not the clock to synchronise with (spec section 3)."""

    timezone: str = "UTC"
    server_time: int = 0
    futures_type: str | UnsetType = UNSET
    rate_limits: list[RateLimit] = field(default_factory=list)
    exchange_filters: list[Raw] = field(default_factory=list)
    assets: list[AssetInfo] = field(default_factory=list)
    symbols: list[SymbolInfo] = field(default_factory=list)


class Bracket(Wire, frozen=True):
    """One leverage bracket; numbers in today's answers, strings in older ones: both decode to `Decimal`."""

    bracket: int
    initial_leverage: int
    notional_cap: Decimal
    notional_floor: Decimal
    maint_margin_ratio: Decimal
    cum: Decimal


class SymbolBrackets(Wire, frozen=True, omit_defaults=True, kw_only=True):
    """GET /fapi/v1/leverageBracket, one symbol. With a symbol the answer may be an object or an array.

    `notional_coef` is there only for an account with adjusted brackets.
    """

    symbol: str
    notional_coef: Decimal | None = None
    brackets: list[Bracket]


class TradingSession(Wire, frozen=True):
    """One session of a market: PRE_MARKET, REGULAR, AFTER_MARKET, OVERNIGHT, NO_TRADING. Unix ms."""

    start_time: int
    end_time: int
    type: str


class MarketSchedule(Wire, frozen=True):
    """The sessions of one market."""

    sessions: list[TradingSession] = field(default_factory=list)


class TradingSchedule(Wire, frozen=True):
    """GET /fapi/v1/tradingSchedule: sessions of the TradFi perpetuals, by market (EQUITY, COMMODITY, …)."""

    update_time: int
    market_schedules: dict[str, MarketSchedule] = field(default_factory=dict)
