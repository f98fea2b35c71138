"""The trading service: the one door through which gateway, algos and command line trade.

Every request takes one turn in its account's queue (gate and reservation, synchronous), then runs outside of
it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from pms.exchange.port import CancelVerdict, MarketData, Trading
from pms.execution.admission import Admission, Admitted, TradingSwitches
from pms.execution.amending import OrderAmending
from pms.execution.api import (
    AccountState,
    Cancelled,
    ClosedByPrice,
    Executed,
    Exposure,
    LimitRequest,
    MarketRequest,
    Resting,
    Validation,
)
from pms.execution.cash import CashDesk
from pms.execution.closing import Closer, Closing
from pms.execution.house_orders import HouseOrders
from pms.execution.live_orders import LiveOrders
from pms.execution.mass_close import Many, MassClose
from pms.execution.orders import Fast, OrderRunner
from pms.execution.previews import DeskPreview, Previews
from pms.execution.queues import AccountQueues
from pms.execution.resolver import DoubtResolver
from pms.execution.takeover import Takeover
from pms.execution.tracker import OrderTracker
from pms.execution.views import Views
from pms.execution.worlds import Worlds
from pms.ledger.api import Actor, Ledger
from pms.ledger.errors import CommitUnknownError
from pms.model.account import SubAccount
from pms.model.ids import PendingOrderId, PositionId, SubAccountId
from pms.model.money import Money, Price
from pms.model.order import JournalOrder, OrderCode, OrderState, Priority
from pms.model.price import BookTicker, MarkPrice
from pms.model.refusal import RefusalCode, Refused
from pms.model.symbol import Symbol, SymbolRules
from pms.risk.preview import AccountPreview, PriceMove

FIRST_PRICE_SECONDS = 3.0
"""How long an order on a symbol that nobody watched waits for its first mark price."""


class Trader:
    """Implements `TradingService`. Event-loop thread only; methods of one account may run at the same
    time."""

    def __init__(
        self,
        ledger: Ledger,
        trading: Trading,
        market_data: MarketData,
        worlds: Worlds,
        admission: Admission,
        runner: OrderRunner,
        tracker: OrderTracker,
        resolver: DoubtResolver,
        queues: AccountQueues,
        live_orders: LiveOrders,
        views: Views,
        previews: Previews,
        amending: OrderAmending,
        house_orders: HouseOrders,
        switches: TradingSwitches,
        house_offers: Callable[[Symbol], Decimal],
    ) -> None:
        self._ledger = ledger
        self._trading = trading
        self._market_data = market_data
        self._admission = admission
        self._runner = runner
        self._tracker = tracker
        self._resolver = resolver
        self._queues = queues
        self._views = views
        self._amending = amending
        self._cash = CashDesk(ledger, admission, queues, live_orders)
        self._takeover = Takeover(ledger, live_orders, views.prices, self.cancel_order)
        self._previews = previews
        self._closer = Closer(
            ledger,
            admission,
            runner,
            queues,
            live_orders,
            views.prices,
            worlds,
            self.cancel_order,
        )
        self._mass_close = MassClose(
            ledger,
            worlds,
            live_orders,
            house_orders,
            views.prices,
            switches,
            admission.symbol_rules,
            self._closer,
            house_offers,
        )

    # --- orders ---

    async def market(self, request: MarketRequest, actor: Actor) -> Executed | Refused:
        """Open, add, reduce or net-flip at market; see `TradingService.market`."""
        await self._priced(request.symbol)
        priority = Priority.USER_CLOSE if request.reduce_only else Priority.ENTRY
        admitted = await self._turn(request.sub_account_id, priority, lambda: self._admission.market(request))
        if isinstance(admitted, Refused):
            return admitted
        if not request.fast:
            return await self._runner.execute(admitted)
        named = request.fallback_price or self._views.prices.mark_price(request.symbol)
        price = Price(Decimal(str(named))) if named else None
        return await self._runner.execute(admitted, Fast(price))

    async def limit(self, request: LimitRequest, actor: Actor) -> Resting | Refused:
        """Rest a limit order; see `TradingService.limit`."""
        await self._priced(request.symbol)
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
        quantity: Decimal | None = None,
    ) -> Executed | Refused:
        """Close a position, or `quantity` of it, with the given trade action; see `Closer.close`."""
        wanted = Closing(position_id, code, action, priority, idempotency_key, quantity)
        try:
            return await self._closer.close(wanted)
        except asyncio.QueueFull:
            return _too_many()

    async def close_partly(
        self,
        position_id: PositionId,
        fraction: Decimal,
        actor: Actor,
        idempotency_key: str | None = None,
        *,
        action: str = "CLOSE",
    ) -> Executed | Refused:
        """Close a fraction of a position at market; see `TradingService.close_partly`."""
        wanted = Closing(position_id, OrderCode.CLOSE, action, Priority.USER_CLOSE, idempotency_key)
        try:
            return await self._closer.close_partly(wanted, fraction)
        except asyncio.QueueFull:
            return _too_many()

    async def close_by_price(
        self,
        position_id: PositionId,
        close_price: Decimal | None,
        reason: str,
        actor: Actor,
        idempotency_key: str | None = None,
    ) -> ClosedByPrice | Refused:
        """Close a position for a strategy; see `TradingService.close_by_price`."""
        try:
            return await self._closer.close_by_price(
                position_id, close_price, reason, idempotency_key, trusted=actor.via == "system"
            )
        except asyncio.QueueFull:
            return _too_many()

    async def close_many(
        self, position_ids: Sequence[PositionId], actor: Actor, idempotency_key: str | None = None
    ) -> Mapping[PositionId, Executed | Refused]:
        """Close many positions for their owners or an operator; see `TradingService.close_many`."""
        return await self.close_many_with(
            position_ids, OrderCode.CLOSE, "CLOSE", Priority.USER_CLOSE, idempotency_key
        )

    async def close_many_with(
        self,
        position_ids: Sequence[PositionId],
        code: OrderCode,
        action: str,
        priority: Priority,
        idempotency_key: str | None = None,
        quantities: Mapping[PositionId, Decimal] | None = None,
    ) -> Mapping[PositionId, Executed | Refused]:
        """Close many positions, or parts of them, with the given trade action; see `MassClose.close`."""
        how = Many(code, action, priority, idempotency_key)
        return await self._mass_close.close(position_ids, how, quantities)

    async def shed(
        self, quantities: Mapping[PositionId, Decimal], action: str
    ) -> Mapping[PositionId, Executed | Refused]:
        """Close parts of positions so that the real net shrinks: nothing of them meets what the house
        holds. See `MassClose.close`."""
        how = Many(OrderCode.LIQUIDATION, action, Priority.LIQUIDATION, meets_house=False)
        return await self._mass_close.close(tuple(quantities), how, quantities)

    async def amend(
        self,
        pending_order_id: PendingOrderId,
        actor: Actor,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
    ) -> Resting | Refused:
        """Change quantity (in all) or price of a resting order; see `OrderAmending.amend`."""
        order = self._ledger.order_by_pending(pending_order_id)
        if order is None:
            return Refused.because(RefusalCode.ORDER_NOT_PENDING)
        try:
            return await self._amending.amend(order, quantity, price)
        except asyncio.QueueFull:
            return _too_many()

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

    # --- cash and takeover; see `TradingService` ---

    async def withdraw(
        self, sub_account_id: SubAccountId, amount: Money, actor: Actor
    ) -> SubAccount | Refused:
        return await self._cash.withdraw(sub_account_id, amount, actor)

    async def transfer(
        self, from_id: SubAccountId, to_id: SubAccountId, amount: Money, actor: Actor
    ) -> tuple[SubAccount, SubAccount] | Refused:
        return await self._cash.transfer(from_id, to_id, amount, actor)

    async def set_balance(
        self, sub_account_id: SubAccountId, balance: Money, actor: Actor
    ) -> SubAccount | Refused:
        return await self._cash.set_balance(sub_account_id, balance, actor)

    async def reset_account(self, sub_account_id: SubAccountId, actor: Actor) -> SubAccount | Refused:
        return await self._cash.reset(sub_account_id, actor)

    async def close_account(self, sub_account_id: SubAccountId, actor: Actor) -> SubAccount | Refused:
        return await self._cash.close_account(sub_account_id, actor)

    async def take_over(self, position_id: PositionId, by: Actor) -> Executed | Refused:
        return await self._takeover.take_over(position_id, by)

    async def set_leverage(
        self, sub_account_id: SubAccountId, symbol: Symbol, leverage: Decimal, actor: Actor
    ) -> Refused | None:
        """Set an account's leverage of a symbol; see `TradingService.set_leverage`."""
        if self._admission.symbol_rules(symbol) is None:
            return Refused.because(RefusalCode.UNKNOWN_SYMBOL, symbol=symbol)
        try:
            refused = await self._queues.run(
                sub_account_id,
                Priority.ENTRY,
                lambda: self._admission.begin_leverage(sub_account_id, symbol, leverage),
                lambda refused: None if refused else self._admission.end_leverage(sub_account_id, symbol),
            )
        except asyncio.QueueFull:
            return _too_many()
        if refused is not None:
            return refused
        in_doubt = False
        try:
            await self._ledger.set_virtual_leverage(sub_account_id, symbol, leverage, actor)
        except CommitUnknownError:
            in_doubt = True  # it may be set: the lower of both counts until the ledger has looked
            raise
        finally:
            if in_doubt:
                self._admission.keep_until_known(lambda: self._admission.end_leverage(sub_account_id, symbol))
            else:
                self._admission.end_leverage(sub_account_id, symbol)
        return None

    def leverage_of(self, sub_account_id: SubAccountId, symbol: Symbol) -> Decimal:
        """Return the leverage of an order that names none; see `TradingService.leverage_of`."""
        chosen = self._ledger.virtual_leverage(sub_account_id, symbol)
        held = self._ledger.open_position(sub_account_id, symbol)
        return chosen or (held.leverage if held is not None else Decimal(1))

    def validate(self, request: MarketRequest) -> Validation:
        """Run the gate without reserving or sending anything."""
        return self._admission.validate(request)

    # --- reads ---

    def account_state(self, sub_account_id: SubAccountId) -> AccountState | None:
        return self._views.account_state(sub_account_id)

    def preview(self, sub_account_id: SubAccountId, move: PriceMove) -> AccountPreview | None:
        """See `TradingService.preview`."""
        return self._previews.account(sub_account_id, move)

    def preview_desk(self, moves: Sequence[PriceMove]) -> Sequence[DeskPreview]:
        """See `TradingService.preview_desk`."""
        return self._previews.desk(moves)

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

    async def _priced(self, symbol: Symbol) -> None:
        """Watch a listed symbol, and give its stream a moment to deliver the first price."""
        if self._admission.symbol_rules(symbol) is not None:
            self._market_data.subscribe(symbol)
            await self._views.prices.first_mark(symbol, FIRST_PRICE_SECONDS)

    async def _turn(
        self, account: SubAccountId, priority: Priority, step: Callable[[], Admitted | Refused]
    ) -> Admitted | Refused:
        try:
            return await self._queues.run(account, priority, step, self._admission.abandon)
        except asyncio.QueueFull:
            return _too_many()


def _too_many() -> Refused:
    return Refused.because(
        RefusalCode.BOUND_REACHED, "Too many requests wait for this account; retry in a moment."
    )


def _cancelled(order: JournalOrder) -> Cancelled | Refused:
    if order.state is OrderState.FILLED:
        return Refused.because(
            RefusalCode.ORDER_NOT_PENDING, "The order was filled before the cancel arrived."
        )
    return Cancelled(order)
