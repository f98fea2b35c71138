"""Response shapes of gateway spec 5 and 6, as models, so that the OpenAPI page is complete."""

import json

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic.alias_generators import to_camel


class Wire(BaseModel):
    """Base: camelCase on the wire; what is not finite becomes null, never a bare word (H-31)."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, ser_json_inf_nan="null")


class ErrorReason(Wire):
    code: str
    message: str


class ErrorDetail(Wire):
    path: str
    message: str
    code: str


class ErrorBody(Wire):
    """The one error body; `error` is a text for people, `code` for machines."""

    ok: bool = False
    error: str
    code: str
    errors: list[ErrorReason]
    details: list[ErrorDetail] | None = None


class UserBody(Wire):
    id: str
    username: str
    role: str
    status: str


class LoginResult(Wire):
    token: str
    user: UserBody


class MeBody(UserBody):
    api_key: str | None = None
    created_at: str


class UserAccountBody(Wire):
    id: str
    name: str
    type: str
    status: str
    current_balance: float


class UserListItem(MeBody):
    sub_accounts: list[UserAccountBody]


class UserStatusBody(Wire):
    id: str
    username: str
    status: str


class RegisterResult(UserBody):
    message: str


class ApiKeyBody(Wire):
    api_key: str


class SubAccountBody(Wire):
    id: str
    user_id: str | None
    name: str
    type: str
    initial_balance: float
    current_balance: float
    owed: float
    status: str
    liquidation_mode: str
    maintenance_rate: float
    created_at: str
    updated_at: str


class RulesBody(Wire):
    """Rules in force; `id` and `subAccountId` are absent while no row exists and the defaults apply."""

    id: str | None = None
    sub_account_id: str | None = None
    is_global: bool = False
    max_leverage: float
    max_notional_per_trade: float
    max_total_exposure: float
    liquidation_threshold: float


class RulesListItem(RulesBody):
    sub_account: SubAccountBody | None = None


class LivePositionBody(Wire):
    """Union of the incumbent's VirtualPosition and LivePosition; `pnlPercent` is of the margin."""

    id: str
    sub_account_id: str
    symbol: str
    side: str
    entry_price: float
    mark_price: float
    quantity: float
    notional: float
    leverage: float
    margin: float
    liquidation_price: float
    unrealized_pnl: float
    pnl_percent: float
    status: str
    realized_pnl: float | None = None
    babysitter_excluded: bool
    taken_over: bool = False
    taken_over_by: str | None = None
    taken_over_at: str | None = None
    opened_at: str
    closed_at: str | None = None


class AccountListItem(SubAccountBody):
    risk_rule: RulesBody | None
    positions: list[LivePositionBody]


class SummaryBody(Wire):
    """`equity` is floored at 0; `marginRatio` is 999 when equity is not positive."""

    equity: float
    balance: float
    unrealized_pnl: float
    margin_used: float
    available_margin: float
    total_exposure: float
    maintenance_margin: float
    margin_ratio: float
    account_liq_price: float | None
    position_count: int
    liquidation_mode: str


class PositionsBody(Wire):
    account: SubAccountBody
    positions: list[LivePositionBody]
    summary: SummaryBody
    rules: RulesBody


class MarginBody(SummaryBody):
    account: SubAccountBody
    rules: RulesBody


class WaitingBody(Wire):
    symbol: str
    reason: str


class RealAccountBody(Wire):
    """The real account, in USDT. `level`: CALM, WARN, BLOCK (no entries) or SHED (positions are closed), by
    `marginRatio` = maintenance / margin balance. `known` false: not read for a minute, entries are refused.
    `coverage` = `virtualEquity` (of all sub-accounts) / margin balance. Counts are since the start.
    """

    level: str
    known: bool
    reading_age_ms: int
    margin_balance: float
    margin_available: float
    initial_margin: float
    maintenance_margin: float
    reserved_elsewhere: float
    margin_ratio: float
    virtual_equity: float
    coverage: float
    shed_steps: int
    shed_postponed: int
    shed_postponed_because: str | None
    exchange_liquidations: int
    exchange_deleveragings: int
    exchange_settlements: int
    settlements_waiting: list[WaitingBody]


class TradeBody(Wire):
    """A trade execution; `exchangeOrderId` is decimal text, never a number (H-20)."""

    id: str
    sub_account_id: str
    position_id: str | None
    exchange_order_id: str | None
    client_order_id: str | None
    symbol: str
    side: str
    type: str
    price: float
    quantity: float
    notional: float
    fee: float
    realized_pnl: float | None
    action: str
    origin_type: str
    status: str
    signature: str
    timestamp: str


class TradePositionBody(Wire):
    id: str
    symbol: str
    side: str
    entry_price: float
    status: str


class HistoryTradeBody(TradeBody):
    position: TradePositionBody | None


class HistoryBody(Wire):
    trades: list[HistoryTradeBody]
    total: int
    offset: int
    limit: int


class PendingOrderBody(Wire):
    id: str
    sub_account_id: str
    symbol: str
    side: str
    type: str
    price: float
    quantity: float
    leverage: float
    exchange_order_id: str | None
    client_order_id: str
    status: str
    reduce_only: bool
    filled_quantity: float
    created_at: str
    filled_at: str | None = None
    cancelled_at: str | None = None


class FlippedBody(Wire):
    closed_position: LivePositionBody
    close_pnl: float | None


class EstimateBody(Wire):
    """What an acknowledged order will probably execute; the books take what the exchange confirms (H6)."""

    quantity: float
    price: float | None
    fee: float | None


class TradeResult(Wire):
    """`confirmed` false: a fast answer (`fastExecution`). The exchange has the order, its executions are not
    booked yet: `trade` is null, `position` is as before, `estimate` is for display only."""

    success: bool = True
    confirmed: bool = True
    estimate: EstimateBody | None = None
    client_order_id: str | None = None
    position: LivePositionBody | None
    trade: TradeBody | None
    trades: list[TradeBody]
    server_latency_ms: float
    realized_pnl: float | None = None
    new_balance: float | None = None
    flipped: FlippedBody | None = None


class CloseResult(Wire):
    """`source` is `exchange`, or `virtual_only` when nothing was sent (decision 10)."""

    success: bool = True
    position: LivePositionBody | None
    position_id: str
    trade: TradeBody | None
    realized_pnl: float | None
    new_balance: float | None
    source: str
    reason: str | None = None
    server_latency_ms: float


class CloseAllItem(Wire):
    position_id: str
    symbol: str
    success: bool
    pnl: float | None = None
    error: str | None = None


class CloseAllResult(Wire):
    closed: int
    total: int
    results: list[CloseAllItem]


class LimitResult(Wire):
    success: bool = True
    order: PendingOrderBody
    server_latency_ms: float


class TakeoverResult(Wire):
    success: bool = True
    position: LivePositionBody | None
    realized_pnl: float | None
    new_balance: float | None


class SetBalanceResult(Wire):
    success: bool = True
    previous_balance: float
    new_balance: float


class TransferResult(Wire):
    success: bool = True
    from_account: SubAccountBody
    to_account: SubAccountBody


class EmptiedResult(Wire):
    success: bool = True
    message: str
    account: SubAccountBody


class SuccessBody(Wire):
    success: bool = True


class CancelAllResult(Wire):
    cancelled: int
    failed: int
    total: int


class ValidationBody(Wire):
    valid: bool
    errors: list[ErrorReason]
    computed_values: dict[str, float] | None = None


class PeriodBody(Wire):
    rpnl: float
    count: int
    wins: int
    losses: int
    total_fees: float


class PeriodsBody(Wire):
    today: PeriodBody
    week: PeriodBody
    month: PeriodBody
    all: PeriodBody


class ActivityBody(Wire):
    """`winRate` in percent; `profitFactor` is capped at 999."""

    total_trades: int
    total_fees: float
    win_rate: float
    avg_pnl: float
    best_trade: float
    worst_trade: float
    profit_factor: float


class StatsAccountBody(Wire):
    id: str
    name: str
    balance: float


class CurvePoint(Wire):
    time: str
    value: float


class StatsBody(Wire):
    account: StatsAccountBody
    periods: PeriodsBody
    activity: ActivityBody
    equity_curve: list[CurvePoint]


class ChartDataBody(Wire):
    positions: list[LivePositionBody]
    trades: list[TradeBody]
    open_orders: list[PendingOrderBody]


class SymbolBody(Wire):
    symbol: str
    base: str
    id: str


class SymbolInfoBody(Wire):
    """Precisions are digit counts; `tickSize` and `stepSize` are the exchange's steps."""

    symbol: str
    min_notional: float
    min_qty: float
    max_qty: float | None
    price_precision: int
    qty_precision: int
    contract_size: float = 1
    tick_size: float
    step_size: float
    trading: bool


class PriceBody(Wire):
    symbol: str
    mark: float
    last: float
    bid: float | None
    ask: float | None
    funding_rate: float | None
    next_funding_time: int | None
    timestamp: int
    source: str = "cache"


class DashboardBody(Wire):
    accounts: list[PositionsBody]
    main_account_balance: dict[str, float] | None


class AllPositionsItem(LivePositionBody):
    sub_account: SubAccountBody


class BalanceLogBody(Wire):
    id: str
    sub_account_id: str
    balance_before: float
    balance_after: float
    change_amount: float
    reason: str
    trade_id: str | None
    timestamp: str


class ExposureHolderBody(Wire):
    sub_account_id: str
    name: str
    side: str
    quantity: float


class ExposureBody(Wire):
    """Σ virtual + house = exchange, per symbol, in signed base units; null: the exchange is not known."""

    symbol: str
    virtual_net: float
    house_net: float
    exchange_net: float | None
    difference: float | None
    balanced: bool
    watermark_ms: int
    accounts: list[ExposureHolderBody]


class LeverageBody(Wire):
    symbol: str
    leverage: float


class RuleSetBody(Wire):
    """One version of further rules; `rules` null: an account that follows the global ones. `source` says
    whose rules are in force: `account`, `global`, or `none`."""

    version: int
    rules: dict[str, JsonValue] | None
    actor: str | None
    timestamp: str | None
    source: str


class BreachBody(Wire):
    rule: str
    action: str
    rules_version: int
    evidence: dict[str, str]
    timestamp: str


class RestrictionBody(Wire):
    """One restriction in force; `subAccountId` null: everywhere. `level` BLOCK_ENTRIES, REDUCE_ONLY, HALT or
    FLATTEN."""

    sub_account_id: str | None
    source: str
    level: str
    reason: str
    actor: str
    since: str


class RestrictionsBody(Wire):
    """What holds for an account: `level` is the strongest, NONE without any."""

    level: str
    entries: list[RestrictionBody]


class KillSwitchState(RestrictionsBody):
    """Everything in force; `level` is the global one. `working` accounts still have orders or positions that
    their restriction forbids."""

    working: list[str]


class EngineBody(Wire):
    ready: bool
    owner: str | None
    lease_age_ms: int | None
    halted_because: str | None


class UserStreamBody(Wire):
    connected: bool
    last_event_ts: int | None
    gaps_unreadable: int


class MarketDataBody(Wire):
    symbols: int
    oldest_tick_ms: int | None
    sockets: int
    streams_stale: int
    symbols_reduce_only: list[str]


class HealthBody(Wire):
    status: str
    exchange: bool
    redis: bool
    database: bool
    position_book_accounts: int
    timestamp: int
    engine: EngineBody
    user_stream: UserStreamBody
    market_data: MarketDataBody
    event_loop_lag_ms: float
    version: str


def json_text(body: object) -> str:
    """Return a body as JSON text; what is not finite is refused."""
    return json.dumps(body, allow_nan=False, separators=(",", ":"))
