"""Orders of the house: approved, reserved, sent, and followed until their fills are booked and passed on."""

from dataclasses import dataclass
from decimal import Decimal

from pms.execution.admission import Admitted
from pms.execution.live_orders import LiveOrders
from pms.execution.orders import OrderRunner
from pms.execution.pools import PoolAllocator
from pms.execution.prices import Prices
from pms.execution.tracker import OrderTracker
from pms.ledger.api import Ledger, NewIntent, PoolShare, TradeRow
from pms.model.account import Position
from pms.model.ids import client_order_id
from pms.model.money import Price, Quantity
from pms.model.order import JournalOrder, OrderCode, OrderType, TimeInForce
from pms.model.refusal import RefusalCode, Refused
from pms.model.symbol import Symbol
from pms.risk import gate
from pms.risk.netting_plan import PlannedOrder


@dataclass(frozen=True, slots=True)
class HouseExecuted:
    """An order of the house that has ended; `trades` and `positions` are those of its closers."""

    order: JournalOrder
    trades: tuple[TradeRow, ...]
    positions: tuple[Position, ...]


class HouseOrders:
    """Sends for the house: the net of mass closes, and what it trades away. Event-loop thread only."""

    def __init__(
        self,
        ledger: Ledger,
        live_orders: LiveOrders,
        runner: OrderRunner,
        tracker: OrderTracker,
        allocator: PoolAllocator,
        prices: Prices,
        deadline_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._live = live_orders
        self._runner = runner
        self._tracker = tracker
        self._allocator = allocator
        self._prices = prices
        self._deadline_seconds = deadline_seconds

    def admit(
        self, symbol: Symbol, order: PlannedOrder, action: str, shares: tuple[PoolShare, ...] = ()
    ) -> Admitted:
        """Approve and reserve a planned order; called in the same synchronous step as its plan."""
        sequence = self._ledger.allocate_sequence()
        client_id = client_order_id(None, OrderCode.HOUSE, self._ledger.fence, sequence)
        quantity = Quantity(order.quantity)
        intent = NewIntent(
            sequence=sequence,
            client_order_id=client_id,
            sub_account_id=None,
            symbol=symbol,
            side=order.side,
            type=OrderType.MARKET,
            time_in_force=TimeInForce.GTC,
            quantity=quantity,
            price=None,
            leverage=Decimal(1),
            reduce_only=True,
            reduce_only_wire=order.reduce_only,
            code=OrderCode.HOUSE,
            action=action,
            origin="SYSTEM",
            shares=shares,
        )
        mark = self._prices.mark_price(symbol)
        self._live.reserve(intent, None if mark is None else Price(Decimal(repr(mark))))
        approved = gate.approve_house(
            client_id, symbol, order.side, quantity, reduce_only_wire=order.reduce_only
        )
        return Admitted(intent, approved)

    def abandon(self, admitted: Admitted) -> None:
        """Give back what an order reserved that will not be sent."""
        self._live.release(admitted.intent.client_order_id)

    async def execute(self, admitted: Admitted) -> HouseExecuted | Refused:
        """Send, and return when the order has ended and its fills are booked and passed on.

        Refused with EXECUTION_UNKNOWN when the deadline passes first: it is settled later all the same.
        """
        client_id = admitted.intent.client_order_id
        progress = self._tracker.follow(client_id)
        try:
            row = await self._runner.complete(admitted, progress)
            if isinstance(row, Refused):
                return row
            if not await self._allocator.settled(client_id, self._deadline_seconds):
                return Refused.because(RefusalCode.EXECUTION_UNKNOWN, client_order_id=client_id)
            return HouseExecuted(row, tuple(progress.trades), tuple(progress.positions))
        finally:
            self._tracker.forget(client_id)
