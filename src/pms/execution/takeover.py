"""The house takes a position over: at a fresh mark, without an order (ledger spec 5.7, decision 9)."""

from collections.abc import Awaitable, Callable
from decimal import Decimal

from pms.execution.api import Executed
from pms.execution.live_orders import LiveOrders
from pms.execution.prices import Prices
from pms.ledger.api import Actor, Ledger
from pms.ledger.errors import PositionNotOpenError
from pms.model.ids import PositionId
from pms.model.money import Price
from pms.model.order import JournalOrder, OrderSide, OrderState, OrderType
from pms.model.refusal import RefusalCode, Refused


class Takeover:
    """Takes positions over for administrators and for liquidations. Event-loop thread only."""

    def __init__(
        self,
        ledger: Ledger,
        live_orders: LiveOrders,
        prices: Prices,
        cancel_order: Callable[[JournalOrder], Awaitable[object]],
    ) -> None:
        self._ledger = ledger
        self._live = live_orders
        self._prices = prices
        self._cancel_order = cancel_order

    async def take_over(self, position_id: PositionId, by: Actor) -> Executed | Refused:
        """Move a whole position to the house at the mark price.

        Resting orders that would close it are cancelled first; what is in flight then and fills later is the
        house's too. Refused without a fresh mark: nobody could say at what price.
        """
        position = self._ledger.position(position_id)
        if position is None:
            return Refused.because(RefusalCode.POSITION_NOT_FOUND)
        for live in list(self._live.of_account(position.sub_account_id)):
            closes = live.symbol == position.symbol and live.side is OrderSide.closing(position.side)
            order = self._ledger.order(live.client_order_id)
            resting = live.reduce_only and live.type is OrderType.LIMIT
            if closes and resting and order is not None and order.state is OrderState.LIVE:
                await self._cancel_order(order)
        mark = self._prices.mark_price(position.symbol)
        if mark is None or not self._prices.fresh(position.symbol):
            return Refused.because(
                RefusalCode.STALE_PRICE, "The house takes over at a fresh price only; retry."
            )
        try:
            done = await self._ledger.take_over(position_id, by, Price(Decimal(repr(mark))))
        except PositionNotOpenError:
            return Refused.because(RefusalCode.POSITION_CLOSED)
        account = self._ledger.account(position.sub_account_id)
        return Executed(
            order=None,
            position=done.positions[-1],
            trades=done.trades,
            closed=done.positions[-1],
            realized_pnl=done.trades[-1].realized_pnl,
            balance=account.balance if account else None,
        )
