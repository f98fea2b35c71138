"""The account by request (Binance spec 2.4 to 2.6): balances, positions, settings, trades, income."""

from __future__ import annotations

from decimal import Decimal

from msgspec import field

from pms.exchange.messages_base import Wire, kept


class PositionRisk(Wire, frozen=True, omit_defaults=True):
    """One row of positionRisk. Version 3 tells margins and no leverage; version 2 the other way round.

    `is_auto_add_margin` is text ("false"). One public fixture writes `unrealizedProfit` with a small r, which
    is kept apart; the venue writes a capital one.
    """

    symbol: str
    position_side: str
    position_amt: str
    entry_price: str
    break_even_price: str | None = None
    mark_price: str | None = None
    unrealized_profit: str | None = field(name="unRealizedProfit", default=None)
    unrealized_profit_small: str | None = field(name="unrealizedProfit", default=None)
    liquidation_price: str | None = None
    isolated_margin: str | None = None
    notional: str | None = None
    margin_asset: str | None = None
    isolated_wallet: str | None = None
    initial_margin: str | None = None
    maint_margin: str | None = None
    position_initial_margin: str | None = None
    open_order_initial_margin: str | None = None
    adl: int | None = None
    bid_notional: str | None = None
    ask_notional: str | None = None
    update_time: int | None = None
    leverage: str | None = None
    margin_type: str | None = None
    is_auto_add_margin: str | bool | None = None
    max_notional_value: str | None = None


class AccountAsset(Wire, frozen=True, omit_defaults=True):
    """One asset of the account answer; `margin_available` is told by version 2 only."""

    asset: str
    wallet_balance: str = kept("0")
    unrealized_profit: str = kept("0")
    margin_balance: str = kept("0")
    maint_margin: str = kept("0")
    initial_margin: str = kept("0")
    position_initial_margin: str = kept("0")
    open_order_initial_margin: str = kept("0")
    cross_wallet_balance: str = kept("0")
    cross_un_pnl: str = kept("0")
    available_balance: str = kept("0")
    max_withdraw_amount: str = kept("0")
    margin_available: bool | None = None
    update_time: int = kept(0)


class AccountPosition(Wire, frozen=True, omit_defaults=True):
    """One position of the account answer; v2 adds leverage, isolated, entryPrice, maxNotional."""

    symbol: str
    position_side: str
    position_amt: str
    unrealized_profit: str | None = None
    isolated_margin: str | None = None
    notional: str | None = None
    isolated_wallet: str | None = None
    initial_margin: str | None = None
    maint_margin: str | None = None
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


class AccountInfo(Wire, frozen=True, omit_defaults=True, kw_only=True):
    """GET /fapi/v3/account (totals in USDT in single-asset mode); v2 adds the permission fields."""

    total_initial_margin: str
    total_maint_margin: str
    total_wallet_balance: str
    total_unrealized_profit: str
    total_margin_balance: str
    total_position_initial_margin: str = kept("0")
    total_open_order_initial_margin: str = kept("0")
    total_cross_wallet_balance: str = kept("0")
    total_cross_un_pnl: str = kept("0")
    available_balance: str = kept("0")
    max_withdraw_amount: str = kept("0")
    assets: list[AccountAsset]
    positions: list[AccountPosition]
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


class PortfolioMarginAccount(Wire, frozen=True):
    """GET /fapi/v1/pmAccountInfo, one asset."""

    asset: str
    max_withdraw_amount: str
    max_withdraw_amount_usd: str = field(name="maxWithdrawAmountUSD")


class UserTrade(Wire, frozen=True, kw_only=True, omit_defaults=True):
    """One row of GET /fapi/v1/userTrades. `realized_pnl` is before the fee; pair and base came in 2026-08."""

    symbol: str
    pair: str | None = None
    id: int
    order_id: int
    side: str
    price: str
    qty: str
    quote_qty: str = kept("0")
    base_qty: str | None = None
    realized_pnl: str = kept("0")
    margin_asset: str | None = None
    commission: str = kept("0")
    commission_asset: str = kept("USDT")
    time: int = kept(0)
    position_side: str = kept("BOTH")
    buyer: bool = kept(False)
    maker: bool = kept(False)


class Income(Wire, frozen=True):
    """One row of GET /fapi/v1/income. `tran_id` is unique per type; ids are numbers or text, by age."""

    symbol: str
    income_type: str
    income: str
    asset: str
    info: str = ""
    time: int = 0
    tran_id: int | str = 0
    trade_id: str | int = ""


class CommissionRate(Wire, frozen=True, omit_defaults=True):
    """GET /fapi/v1/commissionRate; fractions, 0.0002 = 0.02 %."""

    symbol: str
    maker_commission_rate: str
    taker_commission_rate: str
    rpi_commission_rate: str | None = None


class AdlQuantile(Wire, frozen=True):
    """One row of GET /fapi/v1/adlQuantile: 0 to 4 for LONG, SHORT and BOTH (HEDGE in hedge mode)."""

    symbol: str
    adl_quantile: dict[str, int]


# --- settings


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
    is_auto_add_margin: bool | str = False
    leverage: int = 20
    max_notional_value: str = "0"


class PositionMode(Wire, frozen=True):
    """GET /fapi/v1/positionSide/dual: True is hedge mode."""

    dual_side_position: bool


class MultiAssetsMode(Wire, frozen=True):
    """GET /fapi/v1/multiAssetsMargin."""

    multi_assets_margin: bool


class FeeBurn(Wire, frozen=True):
    """GET /fapi/v1/feeBurn: True pays fees in BNB."""

    fee_burn: bool


class LeverageAnswer(Wire, frozen=True):
    """POST /fapi/v1/leverage."""

    leverage: int
    max_notional_value: str
    symbol: str


class PositionMarginAnswer(Wire, frozen=True):
    """POST /fapi/v1/positionMargin; `type` 1 added and 2 took away `amount` of the margin asset."""

    amount: Decimal
    code: int
    msg: str
    type: int


class PositionMarginChange(Wire, frozen=True):
    """One row of GET /fapi/v1/positionMargin/history."""

    symbol: str
    type: int
    delta_type: str
    amount: str
    asset: str
    time: int
    position_side: str


class ListenKey(Wire, frozen=True):
    """POST or PUT /fapi/v1/listenKey. Older answers to PUT are `{}`: read those as `Empty`."""

    listen_key: str


# --- how the venue judges the account's trading


class TradingIndicator(Wire, frozen=True):
    """One ratio of GET apiTradingStatus: UFR, IFER, GCR, DR of a symbol, or TMV of the account.

    The account may only reduce until `planned_recover_time` (Unix ms) while `is_locked`.
    """

    indicator: str
    value: Decimal
    trigger_value: Decimal
    planned_recover_time: int
    is_locked: bool


class TradingStatus(Wire, frozen=True):
    """GET /fapi/v1/apiTradingStatus: the indicators by symbol, or under ACCOUNT."""

    indicators: dict[str, list[TradingIndicator]]
    update_time: int


# --- downloads of the history


class DownloadId(Wire, frozen=True):
    """The number under which a history is being prepared."""

    avg_cost_timestamp: int = field(name="avgCostTimestampOfLast30d")
    download_id: str


class DownloadLink(Wire, frozen=True):
    """The state of a history being prepared: `url` once `status` is completed."""

    download_id: str
    status: str
    url: str
    notified: bool
    expiration_timestamp: int
    is_expired: bool | str | None
