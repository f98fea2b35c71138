"""An exchange account that answers what a test has put down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from pms.exchange.errors import ExchangeUnavailable
from pms.exchange.port import (
    Absent,
    AccountMode,
    AmendOutcome,
    CancelOutcome,
    CancelVerdict,
    ExchangePosition,
    IncomePart,
    OrderReport,
    OutcomeUnknown,
    PlaceOutcome,
    SymbolSettings,
    WalletState,
)
from pms.model.fill import ExchangeFill
from pms.model.ids import ClientOrderId, ExchangeOrderId, TradeId
from pms.model.income import Income
from pms.model.money import Money, Price
from pms.model.order import ApprovedAmendment, ApprovedOrder
from pms.model.symbol import Symbol

RIGHT_MODE = AccountMode(one_way=True, single_asset=True, can_trade=True)
_PRICE = Price(Decimal(100))


@dataclass(slots=True)
class ScriptedExchange:
    """Implements `Trading` and `AccountView`; `asked` counts the queries, `failures` refuses that many
    first."""

    wallet_balance: Decimal = Decimal(100_000)
    venue_epoch: str = "one"
    now_ms: int = 0
    net: dict[Symbol, Decimal] = field(default_factory=dict)
    orders: dict[str, OrderReport] = field(default_factory=dict)
    fills: list[ExchangeFill] = field(default_factory=list)
    income_lines: list[Income] = field(default_factory=list)
    placed: dict[str, ClientOrderId] = field(default_factory=dict)
    settings: dict[Symbol, SymbolSettings] = field(default_factory=dict)
    account_mode: AccountMode = RIGHT_MODE
    part: int = 1000
    reach_ms: int = 90 * 86_400_000
    failures: int = 0
    asked: list[str] = field(default_factory=list)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.failures:
            self.failures -= 1
            raise ExchangeUnavailable("scripted outage")

    async def place(self, order: ApprovedOrder) -> PlaceOutcome:
        return OutcomeUnknown("scripted", self.now_ms, 2000)

    async def cancel(self, symbol: Symbol, client_order_id: ClientOrderId) -> CancelOutcome:
        return CancelOutcome(CancelVerdict.UNKNOWN, None, "scripted")

    async def amend(self, change: ApprovedAmendment) -> AmendOutcome:
        return OutcomeUnknown("scripted", self.now_ms, 2000)

    async def place_many(self, orders: Sequence[ApprovedOrder]) -> Sequence[PlaceOutcome]:
        return [await self.place(each) for each in orders]

    async def amend_many(self, changes: Sequence[ApprovedAmendment]) -> Sequence[AmendOutcome]:
        return [await self.amend(each) for each in changes]

    async def cancel_many(self, orders: Sequence[tuple[Symbol, ClientOrderId]]) -> Sequence[CancelOutcome]:
        return [await self.cancel(*each) for each in orders]

    async def query(self, symbol: Symbol, client_order_id: ClientOrderId) -> OrderReport | Absent:
        self._ask("query")
        return self.orders.get(client_order_id, Absent.ABSENT)

    async def server_time_ms(self) -> int:
        self._ask("time")
        return self.now_ms

    async def epoch(self) -> str:
        return self.venue_epoch

    async def mode(self) -> AccountMode:
        self._ask("mode")
        return self.account_mode

    async def positions(self) -> Sequence[ExchangePosition]:
        self._ask("positions")
        return [
            ExchangePosition(symbol, quantity, _PRICE, self.now_ms)
            for symbol, quantity in self.net.items()
            if quantity
        ]

    async def wallet(self) -> WalletState:
        self._ask("wallet")
        balance = Money(self.wallet_balance)
        return WalletState("USDT", balance, balance, balance, Money(Decimal(0)), Money(Decimal(0)))

    async def leverage(self, symbol: Symbol) -> int:
        return 20

    async def symbol_settings(self) -> Mapping[Symbol, SymbolSettings]:
        self._ask("settings")
        return self.settings

    async def open_orders(self) -> Sequence[OrderReport]:
        return []

    async def client_order_id(self, symbol: Symbol, order_id: ExchangeOrderId) -> ClientOrderId | None:
        self._ask("client order id")
        return self.placed.get(order_id)

    async def order_fills(self, symbol: Symbol, order_id: ExchangeOrderId) -> Sequence[ExchangeFill]:
        self._ask("order fills")
        return [fill for fill in self.fills if fill.order_id == order_id]

    async def income(self, since_ms: int, until_ms: int) -> IncomePart:
        self._ask("income")
        rows = sorted(
            (row for row in self.income_lines if since_ms <= row.time_ms <= until_ms),
            key=lambda row: row.time_ms,
        )
        whole_ms = until_ms if len(rows) <= self.part else rows[self.part - 1].time_ms
        return IncomePart(tuple(row for row in rows if row.time_ms <= whole_ms), whole_ms)

    async def fills_since(self, symbol: Symbol, trade_id: TradeId, since_ms: int) -> Sequence[ExchangeFill]:
        self._ask("fills since")
        return [
            fill
            for fill in self.fills
            if fill.symbol == symbol and fill.trade_id > trade_id
            if trade_id or fill.trade_time_ms >= since_ms
        ][: self.part]

    def fills_reach_ms(self) -> int:
        return self.reach_ms
