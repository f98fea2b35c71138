"""Plain records that directory and queries return: users, history, stored results."""

from dataclasses import dataclass
from enum import StrEnum

from pms.ledger.api import TradeRow
from pms.model.account import PositionSide, PositionStatus, RiskRules
from pms.model.ids import BalanceLogId, PendingOrderId, PositionId, SubAccountId, TradeExecutionId, UserId
from pms.model.money import Money, Price
from pms.model.symbol import Symbol


class Role(StrEnum):
    ADMIN = "ADMIN"
    USER = "USER"


class UserStatus(StrEnum):
    PENDING = "PENDING"
    APPROVED = "APPROVED"
    BANNED = "BANNED"


@dataclass(frozen=True, slots=True)
class User:
    """A `users` row. `api_key` is `sha256:<hex>`, a legacy clear-text key, or None; it is never sent out."""

    id: UserId
    username: str
    password_hash: str
    role: Role
    status: UserStatus
    api_key: str | None
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class RulesRow:
    """A `risk_rules` row; `sub_account_id` None is the global one."""

    id: str
    sub_account_id: SubAccountId | None
    rules: RiskRules


@dataclass(frozen=True, slots=True)
class PositionRef:
    """What history says of a position, open or not."""

    id: PositionId
    sub_account_id: SubAccountId
    symbol: Symbol
    side: PositionSide
    entry_price: Price
    status: PositionStatus


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A `pending_orders` row as stored."""

    id: PendingOrderId
    sub_account_id: SubAccountId
    status: str


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Which executions; times in epoch ms, `until_ms` exclusive."""

    limit: int
    offset: int = 0
    symbol: Symbol | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    action: str | None = None
    filled_only: bool = False


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Newest first; `positions` maps the ids in `trades`, `total` counts without limit and offset."""

    trades: tuple[TradeRow, ...]
    positions: dict[PositionId, PositionRef]
    total: int


@dataclass(frozen=True, slots=True)
class BalanceLogRow:
    """A `balance_logs` row; `change_amount` is the requested delta, before clamping (decision 4)."""

    id: BalanceLogId
    sub_account_id: SubAccountId
    balance_before: Money
    balance_after: Money
    change_amount: Money
    reason: str
    trade_id: TradeExecutionId | None
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class ClosingTrade:
    """What statistics need of one execution."""

    timestamp_ms: int
    action: str
    realized_pnl: Money | None
    fee: Money


@dataclass(frozen=True, slots=True)
class StoredResult:
    """The first result of an idempotency key. `status` None: begun, and its outcome was never stored."""

    fingerprint: str
    status: int | None
    body: str
