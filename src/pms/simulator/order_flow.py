"""The life of an order: accepted or refused, executed, rested, cancelled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from pms.simulator import errors, matching, wire_events
from pms.simulator.account_book import AccountBook
from pms.simulator.changes import Journal
from pms.simulator.clearing import Clearing
from pms.simulator.errors import Reject
from pms.simulator.margin_desk import MarginDesk
from pms.simulator.order_index import OrderIndex
from pms.simulator.rules import NewOrder, SymbolRules, check_filters
from pms.simulator.state import ZERO, Account, Market, Order, Position


class OrderFlow:
    """Takes orders of all accounts to their end; `margin_desk` tells what an account can afford."""

    def __init__(
        self,
        journal: Journal,
        accounts: AccountBook,
        orders: OrderIndex,
        clearing: Clearing,
        rules: Mapping[str, SymbolRules],
        markets: Mapping[str, Market],
        margin_desk: MarginDesk,
    ) -> None:
        self._journal = journal
        self._accounts = accounts
        self._orders = orders
        self._clearing = clearing
        self._rules = rules
        self._markets = markets
        self._margin_desk = margin_desk

    def place(self, account: Account, new: NewOrder, now_ms: int) -> Order | Reject:
        """Accept an order and execute what can be executed at once, or refuse it without a trace."""
        rules, market = self._rules[new.symbol], self._markets[new.symbol]
        refused = check_filters(new, rules, market)
        if refused:
            return refused
        quantity = self._reduce_only_quantity(account, new) if new.reduce_only else new.quantity
        if not quantity:
            return errors.REDUCE_ONLY
        if self._orders.has_open_client_id(account, new.client_order_id):
            return errors.DUPLICATE_ID
        if new.type == "LIMIT" and len(self._orders.open_of(account, new.symbol)) >= rules.open_orders_max:
            return errors.MAX_ORDERS
        order = self._new_order(account, new, quantity, now_ms)
        refused = self._margin_desk.check_new(account, order) or self._check_execution(order, market, rules)
        if refused:
            return refused
        self._orders.draw_id()
        self._execute_new(account, order, market, rules, now_ms)
        return order

    def cancel(self, account: Account, order: Order, now_ms: int) -> Order | Reject:
        """Cancel an open order; -2011 when it is not open any more."""
        if not order.is_open:
            return errors.UNKNOWN_ORDER
        self._finish(account, order, "CANCELED", "CANCELED", now_ms)
        return order

    def fill_resting(self, fills: Iterable[tuple[Order, Decimal]], now_ms: int) -> None:
        """Execute fills of resting orders at their own prices (see `resting`), while they are still open."""
        for order, quantity in fills:
            part = min(quantity, order.remaining)
            if part > 0 and order.is_open:
                self._fill(self._accounts.by_id[order.account_id], order, order.price, part, True, now_ms)

    def _reduce_only_quantity(self, account: Account, new: NewOrder) -> Decimal:
        """Return what a reduce-only order may still close: the position less other reduce-only orders."""
        held = self._clearing.position_of(account, new.symbol).quantity
        if not held or (held > 0) == (new.side == "BUY"):
            return ZERO
        covered = sum(
            (
                o.remaining
                for o in self._orders.open_of(account, new.symbol)
                if o.reduce_only and o.side == new.side
            ),
            ZERO,
        )
        return max(ZERO, min(new.quantity, abs(held) - covered))

    def _new_order(self, account: Account, new: NewOrder, quantity: Decimal, now_ms: int) -> Order:
        return Order(
            order_id=self._orders.next_id,
            account_id=account.account_id,
            symbol=new.symbol,
            client_order_id=new.client_order_id or f"sim{self._orders.next_id:x}",
            side=new.side,
            type=new.type,
            time_in_force=new.time_in_force,
            price=new.price,
            quantity=quantity,
            created_ms=now_ms,
            updated_ms=now_ms,
            reduce_only=new.reduce_only,
            stp_mode=new.stp_mode,
        )

    def _check_execution(self, order: Order, market: Market, rules: SymbolRules) -> Reject | None:
        if order.time_in_force == "GTX" and matching.would_take(market, order.side, order.price):
            return errors.WOULD_TAKE
        if order.time_in_force == "FOK":
            fills = matching.take(market, order.side, order.quantity, rules.price.step, order.price)
            if sum((q for _, q in fills), ZERO) < order.quantity:
                return errors.FOK_KILLED
        return None

    def _execute_new(
        self, account: Account, order: Order, market: Market, rules: SymbolRules, now_ms: int
    ) -> None:
        if order.type == "MARKET":
            limit = matching.market_limit(market, order.side, rules.take_bound)
        else:
            limit = order.price
        fills = matching.take(market, order.side, order.quantity, rules.price.step, limit)
        matching.consume(market, order.side, fills)
        first_id = self._clearing.peek_trade_id(order.symbol)
        for offset, (price, quantity) in enumerate(fills):
            self._journal.emit(
                account, wire_events.trade_lite(order, price, quantity, first_id + offset, False, now_ms)
            )
        self._orders.put(order)
        self._journal.changes.orders[order.order_id] = order
        self._journal.emit(account, wire_events.order_update(order, "NEW", None, now_ms))
        for price, quantity in fills:
            self._fill(account, order, price, quantity, False, now_ms)
        if not order.is_open:
            return
        if order.type == "MARKET":
            order.expiry_reason = "9"
            self._finish(account, order, "EXPIRED", "EXPIRED", now_ms)
        elif order.time_in_force in ("IOC", "FOK"):
            order.expiry_reason = "2"
            self._finish(account, order, "EXPIRED", "EXPIRED", now_ms)

    def _finish(self, account: Account, order: Order, execution: str, status: str, now_ms: int) -> None:
        order.status, order.updated_ms = status, now_ms
        self._orders.put(order)
        self._journal.changes.orders[order.order_id] = order
        self._journal.emit(account, wire_events.order_update(order, execution, None, now_ms))

    def _fill(
        self, account: Account, order: Order, price: Decimal, quantity: Decimal, maker: bool, now_ms: int
    ) -> None:
        trade_id = self._clearing.draw_trade_id(order.symbol)
        position = self._clearing.fill(
            account, order, price, quantity, maker, now_ms, self._orders.put, trade_id
        )
        self._cut_reduce_only(account, position, now_ms)

    def _cut_reduce_only(self, account: Account, position: Position, now_ms: int) -> None:
        """Cut or expire resting reduce-only orders that the position no longer covers (spec 7, er 4)."""
        room = abs(position.quantity)
        closing_side = "SELL" if position.quantity > 0 else "BUY"
        for order in self._orders.open_of(account, position.symbol):
            if not order.reduce_only:
                continue
            allowed = min(room, order.remaining) if order.side == closing_side else ZERO
            room -= allowed
            if allowed == order.remaining:
                continue
            if allowed:
                order.quantity = order.executed + allowed
                order.updated_ms = now_ms
                self._orders.put(order)
                self._journal.changes.orders[order.order_id] = order
                self._journal.emit(account, wire_events.order_update(order, "AMENDMENT", None, now_ms))
            else:
                order.expiry_reason = "4"
                self._finish(account, order, "EXPIRED", "EXPIRED", now_ms)
