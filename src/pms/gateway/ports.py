"""What the gateway needs beside execution and ledger: users, history, health, the real account's purse."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pms.exchange.port import WalletState
from pms.execution.real_account import RealAccountStatistics
from pms.execution.real_ladder import RealLadderStatistics
from pms.ledger.api import TradeRow
from pms.ledger.queries import BreachRow
from pms.ledger.records import (
    BalanceLogRow,
    ClosingTrade,
    HistoryFilter,
    HistoryPage,
    PendingRow,
    PositionRef,
    Role,
    RulesRow,
    StoredResult,
    User,
    UserStatus,
)
from pms.model.ids import PendingOrderId, PositionId, SubAccountId, UserId
from pms.model.order import JournalOrder
from pms.model.trading_rules import RuleSet
from pms.sync.exchange_closes import ExchangeCloseStatistics

__all__ = [
    "BalanceLogRow",
    "ClosingTrade",
    "Directory",
    "EngineHealth",
    "HealthProbes",
    "HistoryFilter",
    "HistoryPage",
    "MainAccount",
    "PendingRow",
    "PositionRef",
    "Queries",
    "RealAccountView",
    "Role",
    "RulesRow",
    "StoredResult",
    "User",
    "UserStatus",
]


class Directory(Protocol):
    """Users and risk-rule rows. Usernames are case-sensitive and unique."""

    async def user(self, user_id: UserId) -> User | None: ...
    async def user_named(self, username: str) -> User | None: ...
    async def user_with_key(self, stored: Sequence[str]) -> User | None:
        """Return the user whose `api_key` column equals one of the given texts."""
        ...

    async def users(self) -> Sequence[User]:
        """Return all users, newest first."""
        ...

    async def add_user(self, user: User) -> bool:
        """Insert a user; False when the name is taken (nothing changes)."""
        ...

    async def set_user_status(self, user_id: UserId, status: UserStatus) -> User | None: ...
    async def set_password_hash(self, user_id: UserId, password_hash: str) -> User | None: ...
    async def set_api_key(self, user_id: UserId, stored: str | None) -> User | None: ...
    async def rules_rows(self) -> Sequence[RulesRow]: ...


class Queries(Protocol):
    """Read-only history, and the table of idempotency keys."""

    async def position(self, position_id: PositionId) -> PositionRef | None: ...
    async def pending_order(self, pending_order_id: PendingOrderId) -> PendingRow | None: ...
    async def history(self, sub_account_id: SubAccountId, filter: HistoryFilter) -> HistoryPage: ...
    async def balance_logs(self, sub_account_id: SubAccountId, limit: int) -> Sequence[BalanceLogRow]:
        """Return the newest rows, newest first."""
        ...

    async def all_trades(self, sub_account_id: SubAccountId) -> Sequence[ClosingTrade]: ...

    async def rule_sets(self, scope: SubAccountId | None, limit: int) -> Sequence[RuleSet]: ...
    async def breaches(self, sub_account_id: SubAccountId, limit: int) -> Sequence[BreachRow]: ...

    async def orders_with_key(self, idempotency_key: str) -> Sequence[JournalOrder]:
        """Return the journal orders that a request with this key made, oldest first."""
        ...

    async def trades_of(self, orders: Sequence[JournalOrder]) -> Sequence[TradeRow]:
        """Return the executions of some orders, oldest first."""
        ...

    async def begin_idempotent(self, key: str, fingerprint: str, now_ms: int) -> StoredResult | None:
        """Reserve a key. None: reserved now; else what is stored for it. Older than 24 h does not count."""
        ...

    async def finish_idempotent(self, key: str, status: int, body: str) -> None: ...
    async def forget_idempotent(self, key: str) -> None: ...


@dataclass(frozen=True, slots=True)
class EngineHealth:
    """Figures for `/api/health`; ages and lags in ms, None when not known."""

    ready: bool
    owner: str | None = None
    lease_age_ms: int | None = None
    user_stream_connected: bool = False
    user_stream_last_event_ms: int | None = None
    market_symbols: int = 0
    oldest_tick_age_ms: int | None = None
    halted_because: str | None = None
    market_sockets: int = 0
    market_streams_stale: int = 0
    symbols_reduce_only: tuple[str, ...] = ()
    gaps_unreadable: int = 0


class HealthProbes(Protocol):
    """Real probes; the gateway gives each 500 ms and counts a late one as failed."""

    async def exchange(self) -> bool: ...
    async def redis(self) -> bool: ...
    async def database(self) -> bool: ...
    def engine(self) -> EngineHealth: ...


@dataclass(frozen=True, slots=True)
class RealAccountView:
    """The real account behind everybody, and what its ladder and the exchange have done since the start."""

    account: RealAccountStatistics
    ladder: RealLadderStatistics
    exchange_closes: ExchangeCloseStatistics


class MainAccount(Protocol):
    """The real account's purse for the admin's dashboard."""

    async def wallet(self) -> WalletState: ...
