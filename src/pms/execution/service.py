"""The trading service: the one door through which gateway, algos and command line trade.

Every request takes one turn in its account's queue (gate and reservation, synchronous), then runs outside of
it.
"""

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal

from pms.exchange.port import CancelVerdict, MarketData, Trading
from pms.execution.admission import Admission, Admitted
from pms.execution.api import (
    AccountState,
    Cancelled,
    Executed,
    Exposure,
    LimitRequest,
    MarketRequest,
    Resting,
    Validation,
)
from pms.execution.live_orders import LiveOrder, LiveOrders
from pms.execution.orders import OrderRunner
from pms.execution.queues import AccountQueues
from pms.execution.resolver import DoubtResolver
from pms.execution.tracker import OrderTracker
from pms.execution.views import Views
from pms.ledger.api import Actor, Ledger
from pms.model.account import Position
from pms.model.ids import PendingOrderId, PositionId, SubAccountId
from pms.model.money import Money
from pms.model.order import JournalOrder, OrderCode, OrderSide, OrderState, OrderType, Priority
from pms.model.price import BookTicker, MarkPrice
from pms.model.refusal import RefusalCode, Refused
from pms.model.symbol import Symbol, SymbolRules

SLICES_MAX = 20
"""Market orders that one close may take (MARKET_LOT_SIZE bounds each); beyond it the close is refused for
now."""


class Trader:
    """Implements `TradingService`. Event-loop thread only; methods of one account may run at the same
    time."""

    def __init__(
        self,
        ledger: Ledger,
        trading: Trading,
        market_data: MarketData,
        admission: Admission,
        runner: OrderRunner,
        tracker: OrderTracker,
        resolver: DoubtResolver,
        queues: AccountQueues,
        live_orders: LiveOrders,
        views: Views,
    ) -> None:
        self._ledger = ledger
        self._trading = trading
        self._market_data = market_data
        self._admission = admission
        self._runner = runner
        self._tracker = tracker
        self._resolver = resolver
        self._queues = queues
        self._live = live_orders
        self._views = views

    # --- orders ---

    async def market(self, request: MarketRequest, actor: Actor) -> Executed | Refused:
        """Open, add, reduce or net-flip at market; see `TradingService.market`."""
        self.watch(request.symbol)
        priority = Priority.USER_CLOSE if request.reduce_only else Priority.ENTRY
        admitted = await self._turn(request.sub_account_id, priority, lambda: self._admission.market(request))
        return admitted if isinstance(admitted, Refused) else await self._runner.execute(admitted)

    async def limit(self, request: LimitRequest, actor: Actor) -> Resting | Refused:
        """Rest a limit order; see `TradingService.limit`."""
        self.watch(request.symbol)
        priority = Priority.USER_CLOSE if request.reduce_only else Priority.ENTRY
        admitted = await self._turn(request.sub_account_id, priority, lambda: self._admission.limit(request))
        if isinstance(admitted, Refused):
            return admitted
        row = await self._runner.rest(admitted)
        return row if isinstance(row, Refused) else Resting(row)

    async def close(
        self, position_id: PositionId, actor: Actor, idempotency_key: str | None = None
    ) -> Executed | Refused:
        """Close a whole position at market, at user priority; see `TradingService.close`."""
        return await self.close_with(
            position_id, OrderCode.CLOSE, "CLOSE", Priority.USER_CLOSE, idempotency_key
        )

    async def close_with(
        self,
        position_id: PositionId,
        code: OrderCode,
        action: str,
        priority: Priority,
        idempotency_key: str | None = None,
    ) -> Executed | Refused:
        """Close a whole position with the given trade action, in slices that the symbol's filters allow.

        Resting closing orders of the account are cancelled first when they hold the capacity (decision 16).
        """
        position = self._ledger.position(position_id)
        if position is None:
            return Refused.because(RefusalCode.POSITION_CLOSED)
        await self._free_capacity(position)
        done: Executed | None = None
        for _ in range(SLICES_MAX):
            admitted = await self._turn(
                position.sub_account_id,
                priority,
                lambda: self._admission.close(position_id, code, action, idempotency_key),
            )
            if isinstance(admitted, Refused):
                return done if done is not None else admitted
            result = await self._runner.execute(admitted)
            if isinstance(result, Refused):
                return result
            done = result if done is None else _joined(done, result)
            if self._ledger.position(position_id) is None:
                return done
        return done or Refused.because(RefusalCode.BOUND_REACHED)

    async def cancel(self, pending_order_id: PendingOrderId, actor: Actor) -> Cancelled | Refused:
        """Cancel a resting order; its final state is the exchange's word only (gateway spec H-23)."""
        order = self._ledger.order_by_pending(pending_order_id)
        if order is None:
            return Refused.because(RefusalCode.ORDER_NOT_PENDING)
        return await self.cancel_order(order)

    async def cancel_order(self, order: JournalOrder) -> Cancelled | Refused:
        """Cancel one live journal order and wait until its end is booked."""
        progress = self._tracker.follow(order.client_order_id)
        try:
            outcome = await self._trading.cancel(order.symbol, order.client_order_id)
            match outcome.verdict:
                case CancelVerdict.NOT_SENT:
                    return Refused.because(
                        RefusalCode.EXCHANGE_STATE_UNKNOWN,
                        f"The cancel was not sent: {outcome.reason}. Retry.",
                    )
                case CancelVerdict.CANCELLED if outcome.report is not None:
                    await self._ledger.record_terminal(
                        order.client_order_id, outcome.report.status, outcome.report.executed_quantity
                    )
                case _:
                    pass
            if self._ledger.order(order.client_order_id) is not None:
                self._resolver.watch(order.client_order_id)
                if not await self._runner.finish(order.client_order_id, progress):
                    return Refused.because(RefusalCode.CANCEL_PENDING)
            return _cancelled(progress.order or order)
        finally:
            self._tracker.forget(order.client_order_id)

    def validate(self, request: MarketRequest) -> Validation:
        """Run the gate without reserving or sending anything."""
        return self._admission.validate(request)

    # --- reads ---

    def account_state(self, sub_account_id: SubAccountId) -> AccountState | None:
        return self._views.account_state(sub_account_id)

    def exposure(self) -> Sequence[Exposure]:
        return self._views.exposure()

    def symbols(self) -> Sequence[SymbolRules]:
        return self._admission.symbols()

    def symbol_rules(self, symbol: Symbol) -> SymbolRules | None:
        return self._admission.symbol_rules(symbol)

    def mark(self, symbol: Symbol) -> MarkPrice | None:
        return self._views.prices.mark(symbol)

    def book(self, symbol: Symbol) -> BookTicker | None:
        return self._views.prices.book(symbol)

    async def klines(self, symbol: Symbol, interval: str, limit: int) -> Sequence[tuple[str | int, ...]]:
        return await self._market_data.klines(symbol, interval, limit)

    def watch(self, symbol: Symbol) -> None:
        if self._admission.symbol_rules(symbol) is not None:
            self._market_data.subscribe(symbol)

    # --- inside ---

    async def _turn(
        self, account: SubAccountId, priority: Priority, step: Callable[[], Admitted | Refused]
    ) -> Admitted | Refused:
        try:
            return await self._queues.run(account, priority, step)
        except asyncio.QueueFull:
            return Refused.because(
                RefusalCode.BOUND_REACHED, "Too many requests wait for this account; retry in a moment."
            )

    async def _free_capacity(self, position: Position) -> None:
        """Cancel resting reduce-only orders that hold the closing capacity of the position."""
        closing = OrderSide.closing(position.side)
        holding = [
            order
            for order in self._live.of_account(position.sub_account_id)
            if order.symbol == position.symbol and order.side is closing and _resting_close(order)
        ]
        for live in holding:
            order = self._ledger.order(live.client_order_id)
            if order is not None and order.state is OrderState.LIVE:
                await self.cancel_order(order)


def _resting_close(order: LiveOrder) -> bool:
    return order.reduce_only and order.type is OrderType.LIMIT


def _cancelled(order: JournalOrder) -> Cancelled | Refused:
    if order.state is OrderState.FILLED:
        return Refused.because(
            RefusalCode.ORDER_NOT_PENDING, "The order was filled before the cancel arrived."
        )
    return Cancelled(order)


def _joined(first: Executed, second: Executed) -> Executed:
    """Join two slices of one close: trades of both, realised PnL summed, the later state."""
    realized = [pnl for pnl in (first.realized_pnl, second.realized_pnl) if pnl is not None]
    return Executed(
        order=second.order,
        position=second.position,
        trades=first.trades + second.trades,
        closed=second.closed or first.closed,
        realized_pnl=Money(sum(realized, Decimal(0))) if realized else None,
        balance=second.balance,
    )
