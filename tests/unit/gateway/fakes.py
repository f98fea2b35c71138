"""In-memory twins of what stands behind the gateway: service, ledger, directory, queries, probes."""

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import TracebackType
from typing import Any, Self, cast

import bcrypt

from pms.bus.hub import EventHub
from pms.exchange.errors import ExchangeUnavailable
from pms.execution.api import (
    AccountState,
    AccountSummary,
    Cancelled,
    Executed,
    LimitRequest,
    LivePosition,
    MarketRequest,
    Resting,
    Validation,
)
from pms.gateway.context import GatewayDependencies
from pms.gateway.ports import (
    BalanceLogRow,
    ClosingTrade,
    EngineHealth,
    HistoryFilter,
    HistoryPage,
    PendingRow,
    PositionRef,
    Role,
    RulesRow,
    User,
    UserStatus,
)
from pms.gateway.server import GatewayServer
from pms.gateway.settings import GatewaySettings
from pms.ledger.api import Actor, NewAccount, TradeRow
from pms.model.account import (
    AccountStatus,
    LiquidationMode,
    Position,
    PositionSide,
    PositionStatus,
    RiskRules,
    SubAccount,
)
from pms.model.event import DurableEvent, JsonValue
from pms.model.ids import (
    ClientOrderId,
    ExchangeOrderId,
    PendingOrderId,
    PositionId,
    SubAccountId,
    TradeExecutionId,
    UserId,
)
from pms.model.money import Money, Price, Quantity
from pms.model.order import JournalOrder, OrderCode, OrderSide, OrderState, OrderType, TimeInForce
from pms.model.price import BookTicker, MarkPrice
from pms.model.refusal import RefusalCode, Refused
from pms.model.symbol import Symbol, SymbolRules
from pms.runtime import SystemIds
from tests.unit.gateway.fake_cash import FakeCash
from tests.unit.gateway.fake_clock import ShiftedClock
from tests.unit.gateway.fake_closing import FakeClosing
from tests.unit.gateway.fake_control import FakeControl, FakeLeverage, FakeRuleHistory
from tests.unit.gateway.fake_house import FakeHouse
from tests.unit.gateway.fake_keys import FakeKeys
from tests.unit.gateway.fake_previews import FakePreviews

BTC = Symbol("BTC/USDT:USDT")
PRICE = Decimal(50_000)
SECRET = "s" * 32
PASSWORD = "correct-horse-1"
PASSWORD_HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
START_MS = 1_764_000_000_000


def rules_of(symbol: Symbol) -> SymbolRules:
    number = Decimal
    return SymbolRules(
        symbol,
        "BTC",
        "USDT",
        "USDT",
        number("0.10"),
        number("1"),
        number(10**6),
        number("0.001"),
        number("0.001"),
        number(1000),
        number("0.001"),
        number("0.001"),
        number(120),
        number(5),
        2,
        3,
    )


class FakeDirectory:
    def __init__(self) -> None:
        self.rows: dict[str, User] = {}
        self.rules: list[RulesRow] = []
        self.reads = 0

    def add(self, name: str, role: Role = Role.USER, status: UserStatus = UserStatus.APPROVED) -> User:
        user = User(
            UserId(f"user-{name}"), name, PASSWORD_HASH, role, status, None, START_MS + len(self.rows)
        )
        self.rows[user.id] = user
        return user

    async def user(self, user_id: UserId) -> User | None:
        self.reads += 1
        return self.rows.get(user_id)

    async def user_named(self, username: str) -> User | None:
        return next((row for row in self.rows.values() if row.username == username), None)

    async def user_with_key(self, stored: Sequence[str]) -> User | None:
        return next((row for row in self.rows.values() if row.api_key in stored), None)

    async def users(self) -> Sequence[User]:
        return sorted(self.rows.values(), key=lambda row: -row.created_at_ms)

    async def add_user(self, user: User) -> bool:
        if await self.user_named(user.username):
            return False
        self.rows[user.id] = user
        return True

    def _change(self, user_id: UserId, **fields: Any) -> User | None:
        row = self.rows.get(user_id)
        if row is None:
            return None
        self.rows[user_id] = dataclasses.replace(row, **fields)
        return self.rows[user_id]

    async def set_user_status(self, user_id: UserId, status: UserStatus) -> User | None:
        return self._change(user_id, status=status)

    async def set_password_hash(self, user_id: UserId, password_hash: str) -> User | None:
        return self._change(user_id, password_hash=password_hash)

    async def set_api_key(self, user_id: UserId, stored: str | None) -> User | None:
        return self._change(user_id, api_key=stored)

    async def rules_rows(self) -> Sequence[RulesRow]:
        return self.rules


class FakeLedger(FakeControl):
    """Accounts, positions and orders in dictionaries, with the ledger's method names."""

    def __init__(self, directory: FakeDirectory) -> None:
        super().__init__()
        self.directory = directory
        self.rows: dict[str, SubAccount] = {}
        self.open: dict[str, Position] = {}
        self.journal: dict[str, JournalOrder] = {}
        self.changes = 0

    def house_cash(self) -> Money:
        return Money(Decimal(1_000_000))

    def add(self, account_id: str, owner: User, balance: int = 1_000) -> SubAccount:
        money = Money(Decimal(balance))
        account = SubAccount(
            SubAccountId(account_id),
            owner.id,
            account_id,
            "USER",
            money,
            money,
            Money(Decimal(0)),
            AccountStatus.ACTIVE,
            LiquidationMode.ADL_30,
            Decimal("0.005"),
            START_MS + len(self.rows),
            START_MS,
        )
        self.rows[account_id] = account
        return account

    def account(self, sub_account_id: SubAccountId) -> SubAccount | None:
        return self.rows.get(sub_account_id)

    def accounts(self) -> Sequence[SubAccount]:
        return list(self.rows.values())

    def position(self, position_id: PositionId) -> Position | None:
        return self.open.get(position_id)

    def order_by_pending(self, pending_order_id: PendingOrderId) -> JournalOrder | None:
        return self.journal.get(pending_order_id)

    def open_orders(self) -> Sequence[JournalOrder]:
        return list(self.journal.values())

    def _change(self, sub_account_id: SubAccountId, **fields: Any) -> SubAccount:
        self.changes += 1
        self.rows[sub_account_id] = dataclasses.replace(self.rows[sub_account_id], **fields)
        return self.rows[sub_account_id]

    async def create_account(self, account: NewAccount, actor: Actor) -> SubAccount:
        self.changes += 1
        owner = self.directory.rows[account.user_id or ""]
        made = self.add(f"account-{len(self.rows)}", owner)
        return self._change(
            made.id,
            name=account.name,
            balance=account.initial_balance,
            initial_balance=account.initial_balance,
        )

    async def deposit(self, sub_account_id: SubAccountId, amount: Money, actor: Actor) -> SubAccount:
        return self._change(sub_account_id, balance=Money(self.rows[sub_account_id].balance + amount))

    async def write_off(self, sub_account_id: SubAccountId, actor: Actor) -> SubAccount:
        return self._change(sub_account_id, owed=Money(Decimal(0)))

    async def set_status(
        self, sub_account_id: SubAccountId, status: AccountStatus, actor: Actor
    ) -> SubAccount:
        return self._change(sub_account_id, status=status)

    async def set_liquidation_mode(
        self, sub_account_id: SubAccountId, mode: LiquidationMode, actor: Actor
    ) -> SubAccount:
        return self._change(sub_account_id, liquidation_mode=mode)

    async def rename(self, sub_account_id: SubAccountId, name: str, actor: Actor) -> SubAccount:
        return self._change(sub_account_id, name=name)

    async def set_rules(self, sub_account_id: SubAccountId | None, rules: RiskRules, actor: Actor) -> None:
        self.changes += 1
        rows = self.directory.rules
        rows[:] = [row for row in rows if row.sub_account_id != sub_account_id]
        rows.append(RulesRow(f"rule-{len(rows)}", sub_account_id, rules))


class FakeQueries(FakeRuleHistory, FakeKeys):
    def __init__(self) -> None:
        super().__init__()
        self.closed: dict[str, PositionRef] = {}
        self.pending: dict[str, PendingRow] = {}
        self.logs: list[BalanceLogRow] = []
        self.filters: list[HistoryFilter] = []

    async def position(self, position_id: PositionId) -> PositionRef | None:
        return self.closed.get(position_id)

    async def pending_order(self, pending_order_id: PendingOrderId) -> PendingRow | None:
        return self.pending.get(pending_order_id)

    async def history(self, sub_account_id: SubAccountId, filter: HistoryFilter) -> HistoryPage:
        self.filters.append(filter)
        rows = [row for row in reversed(self.trades) if row.sub_account_id == sub_account_id]
        return HistoryPage(tuple(rows[filter.offset :][: filter.limit]), dict(self.closed_by_id()), len(rows))

    def closed_by_id(self) -> dict[PositionId, PositionRef]:
        return {row.id: row for row in self.closed.values()}

    async def balance_logs(self, sub_account_id: SubAccountId, limit: int) -> Sequence[BalanceLogRow]:
        return [row for row in self.logs if row.sub_account_id == sub_account_id][:limit]

    async def all_trades(self, sub_account_id: SubAccountId) -> Sequence[ClosingTrade]:
        rows = [row for row in self.trades if row.sub_account_id == sub_account_id]
        return [ClosingTrade(row.timestamp_ms, row.action, row.realized_pnl, row.fee) for row in rows]


class FakeService(FakeClosing, FakeCash, FakeLeverage, FakePreviews):
    """Fills every order at once at 50,000; counts calls; refuses what `refusal` says."""

    def __init__(self, ledger: FakeLedger, queries: FakeQueries, hub: EventHub) -> None:
        super().__init__()
        self.ledger = ledger
        self.queries = queries
        self.hub = hub
        self.refusal: Refused | None = None
        self.failure: Exception | None = None
        self.market_requests: list[MarketRequest] = []
        self.limit_requests: list[LimitRequest] = []
        self.closes: list[PositionId] = []
        self.sequences: dict[SubAccountId, int] = {}
        self.marks: dict[Symbol, float] = {BTC: float(PRICE)}
        self.watched: set[Symbol] = set()
        self.known = {BTC: rules_of(BTC)}
        self.klines_calls = 0
        self.gate: asyncio.Event | None = None
        self.started = asyncio.Event()

    # --- orders ---------------------------------------------------------------------------------------------

    async def market(self, request: MarketRequest, actor: Actor) -> Executed | Refused:
        self.market_requests.append(request)
        self.started.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        if self.refusal is not None:
            return self.refusal
        if request.symbol not in self.known:
            return Refused.because(RefusalCode.UNKNOWN_SYMBOL)
        position = self.open(request.sub_account_id, request.side, request.quantity, request.leverage)
        trade = self.trade(position, "OPEN")
        return Executed(self.order(position, f"{len(self.market_requests)}"), position, (trade,))

    def open(
        self,
        account: SubAccountId,
        side: PositionSide = PositionSide.LONG,
        quantity: Decimal = Decimal("0.1"),
        leverage: Decimal = Decimal(10),
    ) -> Position:
        position = Position(
            PositionId(f"position-{len(self.ledger.open)}-{account}"),
            account,
            BTC,
            side,
            Quantity(quantity),
            Money(quantity * PRICE),
            leverage,
            Price(Decimal(40_000)),
            PositionStatus.OPEN,
            True,
            START_MS,
            1,
        )
        self.ledger.open[position.id] = position
        self.emit(account, "position_updated", {"positionId": position.id, "symbol": BTC})
        return position

    def trade(self, position: Position, action: str) -> TradeRow:
        row = TradeRow(
            TradeExecutionId(f"trade-{len(self.queries.trades)}"),
            position.sub_account_id,
            position.id,
            ExchangeOrderId("9223372036854775807"),
            ClientOrderId("PMSx_MK_1"),
            BTC,
            OrderSide.BUY,
            OrderType.MARKET,
            Price(PRICE),
            position.quantity,
            position.notional,
            Money(Decimal("0.5")),
            None if action == "OPEN" else Money(Decimal(10)),
            action,
            "MANUAL",
            "FILLED",
            "sig",
            START_MS,
        )
        self.queries.trades.append(row)
        return row

    def order(self, position: Position, name: str, *, resting: bool = False) -> JournalOrder:
        return JournalOrder(
            len(self.ledger.journal) + 1,
            ClientOrderId(f"PMS_{name}"),
            position.sub_account_id,
            BTC,
            OrderSide.BUY,
            OrderType.LIMIT if resting else OrderType.MARKET,
            TimeInForce.GTC,
            position.quantity,
            Price(PRICE),
            Decimal(10),
            False,
            False,
            OrderCode.LIMIT,
            "OPEN",
            "MANUAL",
            OrderState.LIVE if resting else OrderState.FILLED,
            Quantity(Decimal(0)),
            Quantity(Decimal(0)),
            START_MS,
            exchange_order_id=ExchangeOrderId("9223372036854775807"),
            pending_order_id=PendingOrderId(f"order-{name}") if resting else None,
        )

    def rest(self, account: SubAccountId, name: str) -> JournalOrder:
        position = Position(
            PositionId("none"),
            account,
            BTC,
            PositionSide.LONG,
            Quantity(Decimal("0.1")),
            Money(Decimal(5_000)),
            Decimal(10),
            Price(Decimal(1)),
            PositionStatus.OPEN,
            True,
            START_MS,
            1,
        )
        order = self.order(position, name, resting=True)
        self.ledger.journal[f"order-{name}"] = order
        return order

    async def limit(self, request: LimitRequest, actor: Actor) -> Resting | Refused:
        self.limit_requests.append(request)
        if self.refusal is not None:
            return self.refusal
        return Resting(self.rest(request.sub_account_id, f"limit-{len(self.limit_requests)}"))

    async def close(
        self, position_id: PositionId, actor: Actor, idempotency_key: str | None = None
    ) -> Executed | Refused:
        self.closes.append(position_id)
        position = self.ledger.open.pop(position_id, None)
        if position is None:
            return Refused.because(RefusalCode.POSITION_CLOSED)
        closed = dataclasses.replace(position, status=PositionStatus.CLOSED)
        self.queries.closed[position.id] = PositionRef(
            position.id,
            position.sub_account_id,
            BTC,
            position.side,
            position.entry_price,
            PositionStatus.CLOSED,
        )
        trade = self.trade(position, "CLOSE")
        data: dict[str, JsonValue] = {"positionId": position.id, "symbol": BTC, "realizedPnl": 10.0}
        self.emit(position.sub_account_id, "position_closed", data)
        return Executed(
            self.order(position, "close"), None, (trade,), closed, Money(Decimal(10)), Money(Decimal(1010))
        )

    async def cancel(self, pending_order_id: PendingOrderId, actor: Actor) -> Cancelled | Refused:
        order = self.ledger.journal.pop(pending_order_id, None)
        if order is None:
            return Refused.because(RefusalCode.ORDER_NOT_PENDING)
        return Cancelled(order)

    def validate(self, request: MarketRequest) -> Validation:
        return Validation(True, (), {"price": 50_000.0, "requiredMargin": 500.0})

    # --- reads ----------------------------------------------------------------------------------------------

    def emit(self, account: SubAccountId, kind: str, data: dict[str, JsonValue]) -> None:
        self.sequences[account] = self.sequences.get(account, 0) + 1
        self.hub.publish(DurableEvent(kind, account, self.sequences[account], data, START_MS))

    def account_state(self, sub_account_id: SubAccountId) -> AccountState | None:
        account = self.ledger.account(sub_account_id)
        if account is None:
            return None
        rows = [row for row in self.ledger.open.values() if row.sub_account_id == sub_account_id]
        live = tuple(LivePosition(row, float(PRICE), 1.5, 0.3, float("inf")) for row in rows)
        balance = float(account.balance)
        summary = AccountSummary(balance, balance, balance, 0.0, 0.0, balance, 0.0, 0.0, 0.1, None, len(live))
        return AccountState(account, live, summary, RiskRules(), self.sequences.get(sub_account_id, 0))

    def held(self) -> tuple[Sequence[SubAccount], Sequence[Position]]:
        return self.ledger.accounts(), list(self.ledger.open.values())

    def symbols(self) -> Sequence[SymbolRules]:
        return list(self.known.values())

    def symbol_rules(self, symbol: Symbol) -> SymbolRules | None:
        return self.known.get(symbol)

    def mark(self, symbol: Symbol) -> MarkPrice | None:
        price = self.marks.get(symbol)
        return None if price is None else MarkPrice(symbol, price, 0.0001, START_MS, START_MS, START_MS)

    def book(self, symbol: Symbol) -> BookTicker | None:
        price = self.marks.get(symbol)
        return (
            None if price is None else BookTicker(symbol, price - 1, 1, price + 1, 1, 1, START_MS, START_MS)
        )

    async def klines(self, symbol: Symbol, interval: str, limit: int) -> Sequence[tuple[str | int, ...]]:
        self.klines_calls += 1
        await asyncio.sleep(0.01)
        if limit == 13:
            raise ExchangeUnavailable("banned")
        row = (START_MS, "1", "2", "0.5", "1.5", "10", START_MS + 59_999, "15", 7, "5", "7", "0")
        return [row] * min(limit, 3)

    def watch(self, symbol: Symbol) -> None:
        self.watched.add(symbol)


class FakeProbes:
    def __init__(self) -> None:
        self.up = True
        self.redis_hangs = False

    async def exchange(self) -> bool:
        return self.up

    async def redis(self) -> bool:
        if self.redis_hangs:
            await asyncio.sleep(5)
        return True

    async def database(self) -> bool:
        if not self.up:
            raise OSError("the database is away")
        return True

    def engine(self) -> EngineHealth:
        return EngineHealth(self.up)


@dataclass
class World:
    """A running gateway with two users, an admin and their accounts; `async with` starts and stops it."""

    settings: GatewaySettings = field(
        default_factory=lambda: GatewaySettings(SECRET, port=0, logins_per_minute=1000)
    )
    clock: ShiftedClock = field(default_factory=ShiftedClock)

    def __post_init__(self) -> None:
        self.directory = FakeDirectory()
        self.admin = self.directory.add("root", Role.ADMIN)
        self.alice = self.directory.add("alice")
        self.bob = self.directory.add("bob")
        self.ledger = FakeLedger(self.directory)
        self.ledger.add("alice-1", self.alice)
        self.ledger.add("bob-1", self.bob)
        self.queries = FakeQueries()
        self.hub = EventHub()
        self.service = FakeService(self.ledger, self.queries, self.hub)
        self.probes = FakeProbes()
        self.house = FakeHouse()
        self.server = GatewayServer(
            GatewayDependencies(
                self.settings,
                self.service,
                cast("Any", self.ledger),
                self.directory,
                self.queries,
                self.hub,
                self.probes,
                self.clock,
                SystemIds(),
                "0.1.0",
                house=self.house,
            )
        )

    def token(self, user: User) -> str:
        return self.server.gateway.tokens.issue(user.id, user.username, user.role.value)

    def state(self) -> tuple[object, ...]:
        """Everything that a refused request must leave alone."""
        return (
            dict(self.ledger.rows),
            dict(self.ledger.open),
            dict(self.ledger.journal),
            tuple(self.house.asked),
            self.ledger.changes,
            list(self.directory.rules),
            dict(self.directory.rows),
            list(self.queries.trades),
            len(self.service.market_requests),
            len(self.service.limit_requests),
            len(self.service.closes),
        )

    async def __aenter__(self) -> Self:
        await self.server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.server.stop()
