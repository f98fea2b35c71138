"""The scripted exchange of a vector: an implementation of the exchange port that answers as the script says.

An order that the script executes is told on the private stream first and confirmed then, as a venue does it:
one execution with the script's price, quantity and fee. A script that is used up goes on with its last entry.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from pms.exchange.binance.outcome import refusal_of
from pms.exchange.errors import ExchangeError
from pms.exchange.port import (
    Absent,
    AccountEvent,
    AmendOutcome,
    CancelOutcome,
    CancelVerdict,
    Confirmed,
    ExchangePosition,
    OrderEvent,
    OrderReport,
    OutcomeUnknown,
    PlaceOutcome,
    RefusedByExchange,
    UserEvent,
    WalletState,
)
from pms.model.bracket import LeverageBracket
from pms.model.clock import Clock
from pms.model.fill import ExchangeFill, FillSource
from pms.model.ids import ClientOrderId, ExchangeOrderId, TradeId
from pms.model.money import Money, Price, Quantity, round_nearest
from pms.model.order import ApprovedAmendment, ApprovedOrder, ExchangeOrderStatus, OrderSide
from pms.model.refusal import RefusalCode
from pms.model.symbol import Symbol, SymbolRules
from tests.incumbent.prices import exchange_error

WALLET = Money(Decimal(1_000_000_000))
EPOCH = "golden"
LOT = Decimal("0.00000001")
"""The incumbent rounds quantities to 8 decimals; so does this exchange."""


def exact(number: Any) -> Decimal:
    """Return the decimal that a number of a vector says."""
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(number)


def symbol_rules(symbol: Symbol) -> SymbolRules:
    """Rules that refuse nothing: the vectors know no filters (H20 is the gate's own business)."""
    free = Decimal(0)
    base = symbol.partition("/")[0]
    lots = (LOT, free, free)
    return SymbolRules(symbol, base, "USDT", "USDT", free, free, free, *lots, *lots, free, 8, 8)


def native(symbol: Symbol) -> str:
    return symbol.replace("/", "", 1).replace(":USDT", "", 1)


@dataclass(slots=True)
class ScriptedExchange:
    """Prices, positions and order results of one vector. `deliver` is the engine's stream handler."""

    clock: Clock
    script: Sequence[Mapping[str, Any]]
    symbols: Sequence[Symbol]
    held: dict[Symbol, Decimal]
    unreachable: bool = False
    client_ids: dict[ExchangeOrderId, ClientOrderId] = field(default_factory=dict)
    reports: dict[ClientOrderId, OrderReport] = field(default_factory=dict)
    executions: list[ExchangeFill] = field(default_factory=list)
    deliver: Callable[[UserEvent], Awaitable[None]] | None = None
    used: int = 0

    # The adapter's parts, by the names that the wiring knows.
    @property
    def trading(self) -> "ScriptedExchange":
        return self

    @property
    def account(self) -> "ScriptedExchange":
        return self

    @property
    def market(self) -> "ScriptedExchange":
        return self

    @property
    def config(self) -> Any:
        return SimpleNamespace(settle_asset="USDT")

    def now_ms(self) -> int:
        return self.clock.now_ms()

    # --- market ---
    def rules(self) -> dict[Symbol, SymbolRules]:
        return {symbol: symbol_rules(symbol) for symbol in self.symbols}

    async def brackets(self) -> dict[Symbol, tuple[LeverageBracket, ...]]:
        free = Decimal(0)
        one = LeverageBracket(125, free, Decimal(10) ** 12, Decimal("0.004"), free)
        return dict.fromkeys(self.symbols, (one,))

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("on_", "subscribe", "unsubscribe")):
            return lambda *_: None
        raise AttributeError(name)

    # --- orders ---
    async def place(self, order: ApprovedOrder) -> PlaceOutcome:
        if not self.script:
            return _refused(self.clock, "the script has no order")
        entry = self.script[min(self.used, len(self.script) - 1)]
        self.used += 1
        if "error" in entry:
            return _refused(self.clock, str(entry["error"]))
        report = await self.execute(order, entry)
        return Confirmed(report, self.clock.now_ms(), 2_000)

    async def execute(self, order: ApprovedOrder, entry: Mapping[str, Any]) -> OrderReport:
        """Let an order execute as the script says: at most what was asked, in whole lots."""
        asked = exact(entry.get("quantity") or order.quantity)
        quantity = Quantity(min(order.quantity, round_nearest(asked, LOT)))
        whole = quantity == order.quantity
        status = ExchangeOrderStatus.FILLED if whole else ExchangeOrderStatus.EXPIRED
        order_id = ExchangeOrderId(str(entry["orderId"]))
        price = Price(exact(entry["price"]))
        told = self.report(order_id, order.client_order_id, order.symbol, order.side, status, order.quantity)
        report = replace(told, average_price=price, executed_quantity=quantity)
        await self.tell(report, price, quantity, exact(entry.get("fee") or 0))
        return report

    def report(
        self,
        order_id: ExchangeOrderId,
        client_order_id: ClientOrderId,
        symbol: Symbol,
        side: OrderSide,
        status: ExchangeOrderStatus,
        quantity: Quantity,
    ) -> OrderReport:
        nothing = Quantity(Decimal(0))
        now_ms = self.clock.now_ms()
        return OrderReport(
            symbol, order_id, client_order_id, side, status, quantity, Price(nothing), nothing, None, now_ms
        )

    async def tell(self, report: OrderReport, price: Price, quantity: Quantity, fee: Decimal) -> None:
        """Tell an order's execution (none with quantity 0) and the position that it leaves."""
        now_ms = self.clock.now_ms()
        fill = None
        self.reports[report.client_order_id] = report
        self.client_ids[report.order_id] = report.client_order_id
        if quantity:
            trade_id = TradeId(len(self.executions) + 1)
            fill = ExchangeFill(
                native(report.symbol), report.symbol, trade_id, report.order_id, report.client_order_id,
                report.side, price, quantity, fee, "USDT", False, now_ms, FillSource.STREAM,
            )  # fmt: skip
            self.executions.append(fill)
        assert self.deliver is not None
        await self.deliver(OrderEvent(report, fill, now_ms, now_ms))
        if quantity:
            net = self.held.get(report.symbol, Decimal(0)) + report.side.sign * quantity
            await self.move(report.symbol, net)

    async def move(self, symbol: Symbol, net: Decimal) -> None:
        """Report a net position on the stream."""
        now_ms = self.clock.now_ms()
        self.held[symbol] = net
        position = ExchangePosition(symbol, net, Price(Decimal(0)), now_ms)
        assert self.deliver is not None
        await self.deliver(AccountEvent((position,), None, Money(Decimal(0)), "ORDER", now_ms, now_ms))

    async def amend(self, change: ApprovedAmendment) -> AmendOutcome:
        return OutcomeUnknown("the scripts amend nothing", self.clock.now_ms(), 0)

    async def cancel(self, symbol: Symbol, client_order_id: ClientOrderId) -> CancelOutcome:
        return CancelOutcome(CancelVerdict.NOT_OPEN, self.reports.get(client_order_id), "not open")

    async def query(self, symbol: Symbol, client_order_id: ClientOrderId) -> OrderReport | Absent:
        return self.reports.get(client_order_id) or Absent.ABSENT

    # --- the real account ---
    async def server_time_ms(self) -> int:
        return self.clock.now_ms()

    async def epoch(self) -> str:
        return EPOCH

    async def positions(self) -> Sequence[ExchangePosition]:
        if self.unreachable:
            raise ExchangeError("the script's exchange does not answer")
        now_ms, price = self.clock.now_ms(), Price(Decimal(0))
        return [ExchangePosition(symbol, net, price, now_ms) for symbol, net in self.held.items() if net]

    async def wallet(self) -> WalletState:
        nothing = Money(Decimal(0))
        return WalletState("USDT", WALLET, WALLET, WALLET, nothing, nothing)

    async def leverage(self, symbol: Symbol) -> int:
        return 125

    async def open_orders(self) -> Sequence[OrderReport]:
        return [report for report in self.reports.values() if not report.status.terminal]

    async def client_order_id(self, symbol: Symbol, order_id: ExchangeOrderId) -> ClientOrderId | None:
        return self.client_ids.get(order_id)

    async def order_fills(self, symbol: Symbol, order_id: ExchangeOrderId) -> Sequence[ExchangeFill]:
        return [fill for fill in self.executions if fill.order_id == order_id]

    async def fills_since(self, symbol: Symbol, trade_id: TradeId, since_ms: int) -> Sequence[ExchangeFill]:
        return [fill for fill in self.executions if fill.symbol == symbol and fill.trade_id > trade_id]

    def fills_reach_ms(self) -> int:
        return 180 * 86_400_000


def _refused(clock: Clock, text: str) -> RefusedByExchange:
    """An error of the script as the exchange's refusal: what has no code is refused without a reason."""
    code, message = exchange_error(text)
    refusal = refusal_of(code) if code else RefusalCode.EXCHANGE_REJECTED
    return RefusedByExchange(code or 0, message, refusal, clock.now_ms(), 2_000)
