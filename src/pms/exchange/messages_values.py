"""The words that the venue is known to use in a field (Binance spec 2, 3 and 5); others are counted.

What this version acts on is decided where it acts (`convert`); this is only what somebody has heard of.
"""

from __future__ import annotations

from pms.exchange.messages_account import AccountPosition, Income, PositionRisk, SymbolConfig, UserTrade
from pms.exchange.messages_orders import AlgoOrder, OrderAnswer
from pms.exchange.messages_stream import ContractInfoEvent, ForcedOrder, TradeEvent
from pms.exchange.messages_symbols import RateLimit, SymbolFilter, SymbolInfo
from pms.exchange.messages_user import AccountChange, AlgoUpdate, OrderUpdate, PositionChange, TradeLite


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SIDES = _words("BUY SELL")
POSITION_SIDES = _words("BOTH LONG SHORT")
ORDER_TYPES = _words(
    "LIMIT MARKET STOP STOP_MARKET TAKE_PROFIT TAKE_PROFIT_MARKET TRAILING_STOP_MARKET LIQUIDATION"
)
TIMES_IN_FORCE = _words("GTC IOC FOK GTX GTD RPI GTE_GTC HIDDEN")
STATUSES = _words(
    "NEW PARTIALLY_FILLED FILLED CANCELED EXPIRED EXPIRED_IN_MATCH REJECTED PENDING_CANCEL "
    "NEW_INSURANCE NEW_ADL"
)
EXECUTIONS = _words("NEW CANCELED CALCULATED EXPIRED TRADE AMENDMENT")
WORKING_TYPES = _words("CONTRACT_PRICE MARK_PRICE")
PRICE_MATCHES = _words("NONE OPPONENT OPPONENT_5 OPPONENT_10 OPPONENT_20 QUEUE QUEUE_5 QUEUE_10 QUEUE_20")
SELF_TRADE_MODES = _words("NONE EXPIRE_TAKER EXPIRE_MAKER EXPIRE_BOTH")
EXPIRY_REASONS = _words("0 1 2 3 4 5 6 7 8 9")
ALGO_STATUSES = _words("NEW CANCELED TRIGGERING TRIGGERED FINISHED REJECTED EXPIRED")
REASONS = _words(
    "DEPOSIT WITHDRAW ORDER FUNDING_FEE WITHDRAW_REJECT ADJUSTMENT INSURANCE_CLEAR ADMIN_DEPOSIT "
    "ADMIN_WITHDRAW MARGIN_TRANSFER MARGIN_TYPE_CHANGE ASSET_TRANSFER OPTIONS_PREMIUM_FEE "
    "OPTIONS_SETTLE_PROFIT AUTO_EXCHANGE COIN_SWAP_DEPOSIT COIN_SWAP_WITHDRAW"
)
INCOME_TYPES = _words(
    "TRANSFER WELCOME_BONUS REALIZED_PNL FUNDING_FEE SPECIAL_FUNDING_FEE COMMISSION INSURANCE_CLEAR "
    "REFERRAL_KICKBACK COMMISSION_REBATE API_REBATE CONTEST_REWARD CROSS_COLLATERAL_TRANSFER "
    "OPTIONS_PREMIUM_FEE OPTIONS_SETTLE_PROFIT INTERNAL_TRANSFER AUTO_EXCHANGE DELIVERED_SETTELMENT "
    "COIN_SWAP_DEPOSIT COIN_SWAP_WITHDRAW POSITION_LIMIT_INCREASE_FEE STRATEGY_UMFUTURES_TRANSFER "
    "FEE_RETURN BFUSD_REWARD"
)
CONTRACT_TYPES = _words(
    "PERPETUAL CURRENT_QUARTER NEXT_QUARTER CURRENT_MONTH NEXT_MONTH PERPETUAL_DELIVERING TRADIFI_PERPETUAL"
) | {"", "CURRENT_QUARTER DELIVERING"}
SYMBOL_STATUSES = _words(
    "PENDING_TRADING TRADING PRE_DELIVERING DELIVERING DELIVERED PRE_SETTLE SETTLING CLOSE TRADING_HALT "
    "TRADING_CANCEL_ONLY"
)
FILTER_TYPES = _words(
    "PRICE_FILTER LOT_SIZE MARKET_LOT_SIZE MIN_NOTIONAL PERCENT_PRICE MAX_NUM_ORDERS "
    "MAX_NUM_ALGO_ORDERS POSITION_RISK_CONTROL"
)
_ORDER = {
    "side": SIDES,
    "position_side": POSITION_SIDES,
    "time_in_force": TIMES_IN_FORCE,
    "self_trade_prevention_mode": SELF_TRADE_MODES,
    "price_match": PRICE_MATCHES,
    "working_type": WORKING_TYPES,
}

KNOWN_VALUES: dict[type, dict[str, frozenset[str]]] = {
    OrderAnswer: _ORDER | {"status": STATUSES, "type": ORDER_TYPES, "orig_type": ORDER_TYPES},
    AlgoOrder: _ORDER
    | {
        "algo_status": ALGO_STATUSES,
        "order_type": ORDER_TYPES,
        "algo_type": frozenset({"CONDITIONAL"}),
        "actual_type": ORDER_TYPES,
    },
    OrderUpdate: _ORDER
    | {
        "status": STATUSES,
        "order_type": ORDER_TYPES,
        "original_type": ORDER_TYPES,
        "execution_type": EXECUTIONS,
        "expiry_reason": EXPIRY_REASONS,
    },
    AlgoUpdate: _ORDER | {"status": ALGO_STATUSES, "order_type": ORDER_TYPES},
    TradeLite: {"side": SIDES},
    AccountChange: {"reason": REASONS},
    PositionChange: {"position_side": POSITION_SIDES, "margin_type": _words("cross isolated")},
    UserTrade: {"side": SIDES, "position_side": POSITION_SIDES},
    Income: {"income_type": INCOME_TYPES},
    PositionRisk: {"position_side": POSITION_SIDES, "margin_type": _words("cross isolated")},
    AccountPosition: {"position_side": POSITION_SIDES},
    SymbolConfig: {"margin_type": _words("CROSSED ISOLATED")},
    SymbolInfo: {
        "contract_type": CONTRACT_TYPES,
        "status": SYMBOL_STATUSES,
        "order_types": ORDER_TYPES,
        "time_in_force": TIMES_IN_FORCE,
    },
    SymbolFilter: {"filter_type": FILTER_TYPES},
    RateLimit: {
        "rate_limit_type": _words("REQUEST_WEIGHT ORDERS RAW_REQUESTS"),
        "interval": _words("SECOND MINUTE HOUR DAY"),
    },
    ContractInfoEvent: {"contract_type": CONTRACT_TYPES, "status": SYMBOL_STATUSES},
    ForcedOrder: {"side": SIDES, "time_in_force": TIMES_IN_FORCE, "status": STATUSES},
    TradeEvent: {"kind": _words("MARKET INSURANCE_FUND ADL NA")},
}
"""By type and attribute: the words in use."""
