"""An exchange in memory that outlives the engine's loop: every request has a step before its effect and one
before its answer, and what it tells on the private stream reaches only who listens.

It implements the exchange port as `pms.exchange` does for Binance; matching is at one price for each symbol.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_DOWN, Decimal

from pms.exchange.port import (
    Absent,
    AccountEvent,
    CancelOutcome,
    CancelVerdict,
    Confirmed,
    ExchangePosition,
    OrderEvent,
    OrderReport,
    PlaceOutcome,
    StreamGap,
    UserEvent,
    UserEventHandler,
    WalletState,
)
from pms.model.fill import ExchangeFill, FillSource
from pms.model.ids import ClientOrderId, ExchangeOrderId, TradeId
from pms.model.money import Money, Price, Quantity
from pms.model.order import ApprovedOrder, ExchangeOrderStatus, OrderSide, OrderType
from pms.model.symbol import Symbol
from tests.golden.flow_exchange import ScriptedExchange, native
from tests.support.stepped_loop import StepClock

FEE_RATE = Decimal("0.0004")
WALLET = Decimal(1_000_000)


@dataclass(slots=True)
class VenueState:
    """What the exchange keeps, whatever happens to who trades there."""

    prices: dict[Symbol, Decimal]
    orders: dict[ClientOrderId, OrderReport] = field(default_factory=dict)
    trades: list[ExchangeFill] = field(default_factory=list)
    net: dict[Symbol, Decimal] = field(default_factory=dict)
    cost: dict[Symbol, Decimal] = field(default_factory=dict)
    wallet: Decimal = WALLET
    placed: int = 0
    pieces: int = 2
    """In how many executions a market order is filled."""


class MemoryVenue(ScriptedExchange):
    """The venue as one life of the engine sees it; `state` is shared with the next life."""

    def __init__(self, clock: StepClock, state: VenueState) -> None:
        super().__init__(clock, (), list(state.prices), state.net)
        self.state = state
        self.told: asyncio.Queue[UserEvent] = asyncio.Queue()

    async def stream(self, handler: UserEventHandler) -> None:
        """Tell everything since the beginning of time as a gap, then each event in order."""
        await handler(StreamGap(0, self.clock.now_ms()))
        while True:
            await handler(await self.told.get())

    # --- orders ---
    async def place(self, order: ApprovedOrder) -> PlaceOutcome:
        await asyncio.sleep(0)  # on its way there
        self.state.placed += 1
        order_id = ExchangeOrderId(str(9_000_000 + self.state.placed))
        report = self.report(
            order_id,
            order.client_order_id,
            order.symbol,
            order.side,
            ExchangeOrderStatus.NEW,
            order.quantity,
        )
        report = replace(report, price=order.price or Price(Decimal(0)))
        self._note(report, None)
        if order.type is OrderType.MARKET:
            part = (order.quantity / self.state.pieces).quantize(Decimal("0.001"), ROUND_DOWN)
            pieces = self.state.pieces if part else 1
            for piece in range(pieces):
                last = piece == pieces - 1
                self.execute_resting(
                    order.client_order_id, order.quantity - part * (pieces - 1) if last else part
                )
        await asyncio.sleep(0)  # the answer on its way back
        return Confirmed(self.state.orders[order.client_order_id], self.clock.now_ms(), 2_000)

    def execute_resting(self, client_order_id: ClientOrderId, quantity: Decimal) -> None:
        """Execute a part of an order at the symbol's price, and tell it."""
        report = self.state.orders[client_order_id]
        price = self.state.prices[report.symbol]
        executed = Quantity(report.executed_quantity + quantity)
        whole = executed == report.quantity
        status = ExchangeOrderStatus.FILLED if whole else ExchangeOrderStatus.PARTIALLY_FILLED
        fee = (price * quantity * FEE_RATE).quantize(Decimal("1e-8"))
        now_ms = self.clock.now_ms()
        fill = ExchangeFill(
            native(report.symbol),
            report.symbol,
            TradeId(len(self.state.trades) + 1),
            report.order_id,
            client_order_id,
            report.side,
            Price(price),
            Quantity(quantity),
            fee,
            "USDT",
            False,
            now_ms,
            FillSource.STREAM,
        )
        self._move(fill)
        self._note(
            replace(report, status=status, executed_quantity=executed, average_price=Price(price)), fill
        )
        entry = Price(Decimal(0))
        held = ExchangePosition(report.symbol, self.state.net[report.symbol], entry, now_ms)
        wallet = Money(self.state.wallet)
        self.told.put_nowait(AccountEvent((held,), wallet, Money(Decimal(0)), "ORDER", now_ms, now_ms))

    def foreign(self, symbol: Symbol, signed_quantity: Decimal, prefix: str = "web_") -> None:
        """Somebody trades on the real account by hand, at the symbol's price; the exchange itself by its
        prefix."""
        side = OrderSide.BUY if signed_quantity > 0 else OrderSide.SELL
        self.state.placed += 1
        order_id = ExchangeOrderId(str(9_000_000 + self.state.placed))
        quantity = Quantity(abs(signed_quantity))
        client_id = ClientOrderId(f"{prefix}{order_id}")
        report = self.report(order_id, client_id, symbol, side, ExchangeOrderStatus.NEW, quantity)
        self.state.orders[client_id] = report
        self.execute_resting(client_id, quantity)

    def _move(self, fill: ExchangeFill) -> None:
        """Realise at average cost what reduces, as the venue does."""
        from pms.ledger.operations.costs import apply_fill

        state, symbol = self.state, fill.symbol
        nothing = Decimal(0)
        signed = fill.side.sign * fill.quantity
        after = apply_fill(
            state.net.get(symbol, nothing), state.cost.get(symbol, nothing), signed, fill.price
        )
        state.net[symbol], state.cost[symbol] = after.signed_quantity, after.signed_cost
        state.wallet += after.realized - fill.fee
        state.trades.append(fill)

    def _note(self, report: OrderReport, fill: ExchangeFill | None) -> None:
        now_ms = self.clock.now_ms()
        self.state.orders[report.client_order_id] = report
        self.told.put_nowait(OrderEvent(report, fill, now_ms, now_ms))

    async def cancel(self, symbol: Symbol, client_order_id: ClientOrderId) -> CancelOutcome:
        await asyncio.sleep(0)
        report = self.state.orders.get(client_order_id)
        if report is None or report.status.terminal:
            await asyncio.sleep(0)
            return CancelOutcome(CancelVerdict.NOT_OPEN, report, "not open")
        report = replace(report, status=ExchangeOrderStatus.CANCELLED)
        self._note(report, None)
        await asyncio.sleep(0)
        return CancelOutcome(CancelVerdict.CANCELLED, report, "")

    async def query(self, symbol: Symbol, client_order_id: ClientOrderId) -> OrderReport | Absent:
        await asyncio.sleep(0)
        return self.state.orders.get(client_order_id) or Absent.ABSENT

    # --- the real account ---
    async def positions(self) -> Sequence[ExchangePosition]:
        await asyncio.sleep(0)
        now_ms = self.clock.now_ms()
        return [
            ExchangePosition(symbol, net, Price(self.state.cost[symbol] / net), now_ms)
            for symbol, net in self.state.net.items()
            if net
        ]

    async def wallet(self) -> WalletState:
        wallet, nothing = Money(self.state.wallet), Money(Decimal(0))
        return WalletState("USDT", wallet, wallet, wallet, nothing, nothing)

    async def open_orders(self) -> Sequence[OrderReport]:
        return [report for report in self.state.orders.values() if not report.status.terminal]

    async def client_order_id(self, symbol: Symbol, order_id: ExchangeOrderId) -> ClientOrderId | None:
        for report in self.state.orders.values():
            if report.order_id == order_id:
                return report.client_order_id
        return None

    async def order_fills(self, symbol: Symbol, order_id: ExchangeOrderId) -> Sequence[ExchangeFill]:
        return [
            replace(one, source=FillSource.QUERY) for one in self.state.trades if one.order_id == order_id
        ]

    async def fills_since(self, symbol: Symbol, trade_id: TradeId, since_ms: int) -> Sequence[ExchangeFill]:
        await asyncio.sleep(0)
        unknown = ClientOrderId("")
        return [
            replace(one, source=FillSource.RECOVERY, client_order_id=unknown)
            for one in self.state.trades
            if one.symbol == symbol and one.trade_id > trade_id
        ]
