"""Follows single orders from intent to end for those who wait for them."""

import asyncio
from dataclasses import dataclass

from pms.ledger.api import Committed, TradeRow
from pms.model.account import Position, PositionStatus
from pms.model.ids import ClientOrderId
from pms.model.money import ZERO, Money
from pms.model.order import JournalOrder, OrderState


class OrderProgress:
    """What is known of one followed order. The events are set on the commit that made them true."""

    __slots__ = ("acknowledged", "closed", "finished", "followers", "order", "positions", "trades")

    def __init__(self) -> None:
        self.followers = 0
        self.order: JournalOrder | None = None
        self.trades: list[TradeRow] = []
        self.positions: list[Position] = []
        self.closed: Position | None = None
        self.acknowledged = asyncio.Event()
        self.finished = asyncio.Event()

    @property
    def realized_pnl(self) -> Money | None:
        """Σ realised PnL of the order's closing trades, net of fees; None when it closed nothing."""
        realized = [trade.realized_pnl for trade in self.trades if trade.realized_pnl is not None]
        return Money(sum(realized, ZERO)) if realized else None

    def _take(self, order: JournalOrder) -> None:
        self.order = order
        if order.state is not OrderState.INTENT:
            self.acknowledged.set()
        if order.state.terminal:
            self.finished.set()


@dataclass(frozen=True, slots=True)
class TrackerStatistics:
    followed: int


class OrderTracker:
    """Order progress by client order id. Bounded by the live orders: `forget` follows every `follow`."""

    def __init__(self) -> None:
        self._progress: dict[ClientOrderId, OrderProgress] = {}

    def follow(self, client_order_id: ClientOrderId) -> OrderProgress:
        """Start to follow an order, before its intent is journaled. All who follow it share one progress: a
        cancel must not take the end of the order from the request that waits for it."""
        progress = self._progress.get(client_order_id)
        if progress is None:
            progress = self._progress[client_order_id] = OrderProgress()
        progress.followers += 1
        return progress

    def forget(self, client_order_id: ClientOrderId) -> None:
        """End one `follow`; the last one ends the progress."""
        progress = self._progress.get(client_order_id)
        if progress is None:
            return
        progress.followers -= 1
        if progress.followers == 0:
            del self._progress[client_order_id]

    def on_commit(self, committed: Committed) -> None:
        """Take one commit; called synchronously after it."""
        if not self._progress:
            return
        for trade in committed.trades:
            progress = self._progress.get(trade.client_order_id) if trade.client_order_id else None
            if progress is not None:
                progress.trades.append(trade)
                for position in committed.positions:
                    if position.id == trade.position_id:
                        _remember(progress, position)
        for order in committed.orders:
            progress = self._progress.get(order.client_order_id)
            if progress is not None:
                progress._take(order)

    def statistics(self) -> TrackerStatistics:
        return TrackerStatistics(len(self._progress))


def _remember(progress: OrderProgress, position: Position) -> None:
    progress.positions.append(position)
    if position.status is not PositionStatus.OPEN:
        progress.closed = position
