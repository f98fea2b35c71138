"""Orders that the exchange itself places: liquidation, deleveraging, settlement (spec 5.3 and 7)."""

from __future__ import annotations

from decimal import Decimal

from pms.simulator.changes import Journal
from pms.simulator.clearing import Clearing
from pms.simulator.order_flow import OrderFlow
from pms.simulator.order_index import OrderIndex
from pms.simulator.state import Account, Order, Position

LIQUIDATION_PREFIX = "autoclose-"
ADL_PREFIX = "adl_autoclose"
SETTLEMENT_PREFIX = "settlement_autoclose-"


class ExchangeOrders:
    """Places closing orders without any check; on the book as IOC, or off the book at a stated price."""

    def __init__(
        self,
        journal: Journal,
        orders: OrderIndex,
        clearing: Clearing,
        flow: OrderFlow,
    ) -> None:
        self._journal = journal
        self._orders = orders
        self._clearing = clearing
        self._flow = flow

    def on_book(
        self, account: Account, position: Position, price: Decimal, client_id: str, now_ms: int
    ) -> Order:
        """Close a whole position with a LIQUIDATION IOC order limited to `price`; x NEW, then TRADE."""
        quantity = abs(position.quantity)
        order = self._order(account, position, quantity, client_id, "LIQUIDATION", now_ms)
        order.time_in_force, order.price = "IOC", price
        place = self._journal.position
        self._accept(account, order, now_ms)
        self._flow.execute(account, order, now_ms, place)
        return order

    def off_book(
        self,
        account: Account,
        position: Position,
        quantity: Decimal,
        price: Decimal,
        client_id: str,
        kind: str,
        now_ms: int,
        trade_id: int | None = None,
    ) -> Order:
        """Close a quantity at a price outside the book, free of commission; x NEW, then CALCULATED.

        `trade_id` is the other side's when there is one.
        """
        order = self._order(account, position, quantity, client_id, kind, now_ms)
        self._accept(account, order, now_ms)
        self._settle(account, order, price, trade_id, now_ms)
        return order

    def take_over(self, fund: Account, other: Order, price: Decimal, trade_id: int, now_ms: int) -> None:
        """Let the insurance fund take the other side of an off-book order."""
        order = Order(
            order_id=self._orders.draw_id(),
            account_id=fund.account_id,
            symbol=other.symbol,
            client_order_id=other.client_order_id,
            side="SELL" if other.side == "BUY" else "BUY",
            type=other.type,
            time_in_force="GTC",
            price=Decimal(0),
            quantity=other.quantity,
            created_ms=now_ms,
            updated_ms=now_ms,
            forced=True,
        )
        self._settle(fund, order, price, trade_id, now_ms)

    def _order(
        self, account: Account, position: Position, quantity: Decimal, client_id: str, kind: str, now_ms: int
    ) -> Order:
        return Order(
            order_id=self._orders.draw_id(),
            account_id=account.account_id,
            symbol=position.symbol,
            client_order_id=client_id,
            side="SELL" if position.quantity > 0 else "BUY",
            type=kind,
            time_in_force="GTC",
            price=Decimal(0),
            quantity=quantity,
            created_ms=now_ms,
            updated_ms=now_ms,
            reduce_only=True,
            stp_mode="NONE",
            position_side=position.side,
            forced=True,
        )

    def _accept(self, account: Account, order: Order, now_ms: int) -> None:
        self._orders.put(order)
        self._journal.changes.orders[order.order_id] = order
        self._flow.tell(account, order, "NEW", now_ms)

    def _settle(
        self, account: Account, order: Order, price: Decimal, trade_id: int | None, now_ms: int
    ) -> None:
        number = self._clearing.draw_trade_id(order.symbol) if trade_id is None else trade_id
        price = self._clearing.payable_price(order.symbol, price)
        self._flow.fill_off_book(account, order, price, number, now_ms)
