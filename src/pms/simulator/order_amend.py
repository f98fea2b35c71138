"""Changing a resting order's price or quantity (PUT order, Binance spec 2.2; decision 0034)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import msgspec

from pms.simulator import errors, order_checks
from pms.simulator.desk import Desk
from pms.simulator.errors import Reject
from pms.simulator.order_flow import OrderFlow
from pms.simulator.order_params import OrderChange
from pms.simulator.rules import check_limit
from pms.simulator.state import Account, Amendment, Order, text

AMENDMENTS_MAX = 10_000


class OrderAmender:
    """Judges and applies changes; the order keeps its id, and loses its place in the queue."""

    def __init__(self, desk: Desk, flow: OrderFlow) -> None:
        self._desk = desk
        self._flow = flow

    def amend(self, account: Account, order: Order, change: OrderChange, now_ms: int) -> Order | Reject:
        """Change an open order, cancel it where the rules say so, or refuse and leave it as it was."""
        if not order.is_open:
            return errors.NO_SUCH_ORDER
        if account.liquidating:
            return errors.IN_LIQUIDATION
        refused = self._check_kind(order, change)
        if refused:
            return refused
        if change.price_match != "NONE":
            price = order_checks.matched_price(self._desk, order.symbol, order.side, change.price_match)
            if isinstance(price, Reject):
                return price
            change = replace(change, price=price)
        refused = self._check_figures(order, change)
        if refused:
            return refused
        if order.executed and change.quantity <= order.executed:
            return self._flow.cancel(account, order, now_ms)
        post_only = order.time_in_force in order_checks.POST_ONLY
        if post_only and order_checks.would_take(
            self._desk, order.symbol, order.side, change.price, order.order_id
        ):
            return self._flow.cancel(account, order, now_ms)
        quantity = self._affordable(account, order, change)
        if isinstance(quantity, Reject):
            return quantity
        self._apply(account, order, change, quantity, now_ms)
        return order

    def _check_kind(self, order: Order, change: OrderChange) -> Reject | None:
        if order.type != "LIMIT":
            return errors.AMEND_TYPE
        if self._desk.rules[order.symbol].info.status != "TRADING":
            return errors.AMEND_STATUS
        if change.side != order.side:
            return errors.INVALID_SIDE
        if change.reduce_only and not order.reduce_only:
            return errors.AMEND_REDUCE_ONLY
        return errors.AMEND_COUNT if order.amendments >= AMENDMENTS_MAX else None

    def _check_figures(self, order: Order, change: OrderChange) -> Reject | None:
        rules, market = self._desk.rules[order.symbol], self._desk.markets[order.symbol]
        refused = check_limit(change.price, change.quantity, order.side, rules, market)
        if refused:
            return refused
        if (change.price, change.quantity) == (order.price, order.quantity):
            return errors.AMEND_SAME
        exempt = change.reduce_only or (order.closes and not order.reduce_only)
        if not exempt and change.price * change.quantity < rules.min_notional:
            return Reject(-5029, f"Order's notional must be no smaller than {text(rules.min_notional)}")
        return None

    def _affordable(self, account: Account, order: Order, change: OrderChange) -> Decimal | Reject:
        """Return the quantity that the position (closing orders) and the margin allow."""
        quantity = change.quantity
        if order.closes:
            _, room = order_checks.closing_room(self._desk, account, order)
            if quantity - order.executed > room:
                if not order.reduce_only:
                    return errors.NOT_SUFFICIENT
                quantity = order.executed + room
        candidate = msgspec.structs.replace(order, price=change.price, quantity=quantity)
        with self._desk.orders.without(order):
            refused = self._desk.check_margin(account, candidate)
        return refused or quantity

    def _apply(
        self, account: Account, order: Order, change: OrderChange, quantity: Decimal, now_ms: int
    ) -> None:
        desk = self._desk
        order.amendments += 1
        amendment = Amendment(
            amendment_id=desk.orders.draw_amendment_id(),
            account_id=account.account_id,
            symbol=order.symbol,
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            price_before=order.price,
            price_after=change.price,
            quantity_before=order.quantity,
            quantity_after=quantity,
            count=order.amendments,
            time_ms=now_ms,
            modify_id=change.modify_id,
            price_match=change.price_match,
        )
        order.price, order.quantity, order.price_match = change.price, quantity, change.price_match
        order.priority, order.updated_ms = desk.orders.draw_id(), now_ms
        desk.orders.amendments.append(amendment)
        desk.journal.changes.amendments.append(amendment)
        desk.orders.put(order)
        desk.journal.changes.orders[order.order_id] = order
        desk.resting[order.symbol].requeue(order.order_id)
        place = desk.journal.position
        self._flow.tell(account, order, "AMENDMENT", now_ms, change.modify_id)
        self._flow.execute(account, order, now_ms, place)
