"""The life of an order: accepted or refused, executed, rested, cancelled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Protocol

from pms.simulator import errors, matching, order_checks, wire_events
from pms.simulator.crossing import Offer, Walk
from pms.simulator.desk import Desk
from pms.simulator.errors import Reject
from pms.simulator.order_params import NewOrder
from pms.simulator.scale import scale_of
from pms.simulator.state import ZERO, Account, Order, Position

PREVENTED = "EXPIRED_IN_MATCH"
STP_APPLIES = frozenset({"GTC", "IOC", "GTD"})
IMMEDIATE = frozenset({"IOC", "FOK"})


class FlowListener(Protocol):
    """Who follows what orders do: the conditional orders."""

    def position_changed(self, account: Account, position: Position, change: Decimal, now_ms: int) -> None:
        """A fill has moved a position by `change`."""

    def order_ended(self, account: Account, order: Order, now_ms: int) -> None:
        """An order that was a conditional one has come to its end."""


class OrderFlow:
    """Takes orders of all accounts to their end."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._journal = desk.journal
        self._orders = desk.orders
        self.listener: FlowListener | None = None

    # -- placing

    def place(self, account: Account, new: NewOrder, now_ms: int) -> Order | Reject:
        """Accept an order and execute what can be executed at once, or refuse it without a trace."""
        order = self._accept(account, new, now_ms)
        if isinstance(order, Reject):
            return order
        self._orders.draw_id()
        self._orders.put(order)
        self._journal.changes.orders[order.order_id] = order
        place = self._journal.position
        self.tell(account, order, "NEW", now_ms)
        self.execute(account, order, now_ms, place)
        return order

    def _accept(self, account: Account, new: NewOrder, now_ms: int) -> Order | Reject:
        """The checks in the exchange's order (spec section 3); returns the order that is not yet open."""
        if new.forced:
            return self._new_order(account, new, new.quantity, now_ms)
        if account.liquidating:
            return errors.IN_LIQUIDATION
        rules, market = self._desk.rules[new.symbol], self._desk.markets[new.symbol]
        if new.price_match != "NONE":
            price = order_checks.matched_price(self._desk, new.symbol, new.side, new.price_match)
            if isinstance(price, Reject):
                return price
            new = replace(new, price=price)
        refused = order_checks.check_new(new, rules, market, now_ms)
        refused = refused or order_checks.check_position_side(account, new)
        if refused:
            return refused
        quantity: Decimal | Reject = new.quantity
        if order_checks.closing(new):
            quantity = order_checks.closing_quantity(self._desk, account, new)
        if isinstance(quantity, Reject):
            return quantity
        if self._orders.has_open_client_id(account, new.client_order_id):
            return errors.DUPLICATE_ID
        if new.type == "LIMIT" and len(self._orders.open_of(account, new.symbol)) >= rules.open_orders_max:
            return errors.MAX_ORDERS
        order = self._new_order(account, new, quantity, now_ms)
        refused = self._desk.check_margin(account, order) or order_checks.check_execution(self._desk, order)
        return refused or order

    def check(self, account: Account, new: NewOrder, now_ms: int) -> Order | Reject:
        """Judge a placement without doing it; returns the order that it would be (POST order/test)."""
        return self._accept(account, new, now_ms)

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
            price_match=new.price_match,
            good_till_ms=new.good_till_ms,
            position_side=new.position_side,
            close_position=new.close_position,
            algo_id=new.algo_id,
            original_type=new.original_type,
            forced=new.forced,
        )

    # -- executing

    def execute(self, account: Account, order: Order, now_ms: int, place: int) -> None:
        """Let an open order take what it can, then rest or expire.

        TRADE_LITE of its fills goes to `place` in the journal: it is the faster event (spec 5.5).
        """
        market, rules = self._desk.markets[order.symbol], self._desk.rules[order.symbol]
        limit: Decimal | None = order.price
        if order.type == "MARKET":
            limit = matching.market_limit(market, order.side, rules.take_bound)
        others = [o for o in self._desk.resting_of(order.symbol) if o.order_id != order.order_id]
        ahead = self._desk.resting[order.symbol].ahead_of
        walk = Walk(market, order.side, limit, rules.price.step, others, ahead)
        lites: list[bytes] = []
        while order.is_open and order.remaining > 0:
            offer = walk.next(order.remaining)
            if offer is None:
                break
            if offer.maker is not None and self._prevents(order, offer.maker):
                self._prevent(account, order, offer.maker, now_ms)
                continue
            lites.append(self._trade(account, order, offer, now_ms))
        walk.consume()
        self._journal.insert(account, place, lites)
        if not order.is_open:
            return
        if order.type == "MARKET":
            self.expire(account, order, "9", now_ms)
        elif order.time_in_force in IMMEDIATE:
            self.expire(account, order, "2", now_ms)

    def _prevents(self, order: Order, maker: Order) -> bool:
        """The taker's mode decides, within one account (spec section 7, STP)."""
        same = maker.account_id == order.account_id
        return same and order.stp_mode != "NONE" and order.time_in_force in STP_APPLIES

    def _prevent(self, account: Account, order: Order, maker: Order, now_ms: int) -> None:
        if order.stp_mode in ("EXPIRE_MAKER", "EXPIRE_BOTH"):
            self._expire_in_match(account, maker, "1", now_ms)
        if order.stp_mode in ("EXPIRE_TAKER", "EXPIRE_BOTH"):
            reason = "3" if order.time_in_force == "IOC" else "1"
            self._expire_in_match(account, order, reason, now_ms)

    def _expire_in_match(self, account: Account, order: Order, reason: str, now_ms: int) -> None:
        order.expiry_reason = reason
        self.finish(account, order, "EXPIRED", PREVENTED, now_ms)

    def _trade(self, account: Account, order: Order, offer: Offer, now_ms: int) -> bytes:
        """Execute one step of a taker and return its TRADE_LITE; both sides have the same trade id."""
        trade_id = self._desk.clearing.draw_trade_id(order.symbol)
        quantity, maker = offer.quantity, offer.maker
        scale = scale_of(self._desk.rules, order.symbol)
        lite = wire_events.trade_lite(order, offer.price, quantity, trade_id, False, now_ms, scale)
        touched = [(order, self._book(account, order, offer.price, quantity, False, now_ms, trade_id))]
        if maker is not None:
            other = self._desk.accounts.by_id[maker.account_id]
            touched.append((maker, self._book(other, maker, offer.price, quantity, True, now_ms, trade_id)))
        for side, position in touched:
            self._settle(side, position, quantity, now_ms)
        return lite

    def fill_resting(self, fills: Iterable[tuple[Order, Decimal]], now_ms: int) -> None:
        """Execute fills of resting orders at their own prices (see `resting`), while they are still open."""
        for order, quantity in fills:
            part = min(quantity, order.remaining)
            if part > 0 and order.is_open:
                account = self._desk.accounts.by_id[order.account_id]
                trade_id = self._desk.clearing.draw_trade_id(order.symbol)
                position = self._book(account, order, order.price, part, True, now_ms, trade_id)
                self._settle(order, position, part, now_ms)

    def _settle(self, order: Order, position: Position, quantity: Decimal, now_ms: int) -> None:
        """What a fill means for other orders, once all sides of its trade are booked."""
        account = self._desk.accounts.by_id[order.account_id]
        self._cut_closing(account, position, now_ms)
        if self.listener is not None:
            self.listener.position_changed(account, position, quantity * order.sign, now_ms)
            if order.algo_id and not order.is_open:
                self.listener.order_ended(account, order, now_ms)

    def _book(
        self,
        account: Account,
        order: Order,
        price: Decimal,
        quantity: Decimal,
        maker: bool,
        now_ms: int,
        trade_id: int,
    ) -> Position:
        return self._desk.clearing.fill(
            account, order, price, quantity, maker, now_ms, self._orders.put, trade_id
        )

    def fill_off_book(
        self, account: Account, order: Order, price: Decimal, trade_id: int, now_ms: int
    ) -> None:
        """Execute an order of the exchange itself whole, outside the book (`exchange_orders`)."""
        position = self._desk.clearing.fill(
            account, order, price, order.quantity, False, now_ms, self._orders.put, trade_id, "CALCULATED"
        )
        self._settle(order, position, order.quantity, now_ms)

    def tell(
        self, account: Account, order: Order, execution: str, now_ms: int, modify_id: int | None = None
    ) -> None:
        """Emit ORDER_TRADE_UPDATE of anything but a fill; `execution` is its `x`."""
        standing, asset = self._orders.standing(order), self._desk.clearing.margin_asset(order.symbol)
        event = wire_events.order_update(order, execution, None, now_ms, standing, asset, modify_id)
        self._journal.emit(account, event)

    # -- ending

    def cancel(self, account: Account, order: Order, now_ms: int) -> Order | Reject:
        """Cancel an open order; -2011 when it is not open any more."""
        if not order.is_open:
            return errors.UNKNOWN_ORDER
        self.finish(account, order, "CANCELED", "CANCELED", now_ms)
        return order

    def cancel_all(self, account: Account, symbol: str | None, now_ms: int) -> list[Order]:
        """Cancel every open order of a symbol (None: of all) and return them, oldest first."""
        orders = self._orders.open_of(account, symbol)
        for order in orders:
            self.cancel(account, order, now_ms)
        return orders

    def expire(self, account: Account, order: Order, reason: str, now_ms: int) -> None:
        """End an open order as EXPIRED, with the `er` of spec 5.3."""
        order.expiry_reason = reason
        self.finish(account, order, "EXPIRED", "EXPIRED", now_ms)

    def finish(self, account: Account, order: Order, execution: str, status: str, now_ms: int) -> None:
        """Give an order its last state and tell the user stream."""
        order.status, order.updated_ms = status, now_ms
        self._orders.put(order)
        self._journal.changes.orders[order.order_id] = order
        self.tell(account, order, execution, now_ms)
        if order.algo_id and self.listener is not None:
            self.listener.order_ended(account, order, now_ms)

    def _cut_closing(self, account: Account, position: Position, now_ms: int) -> None:
        """Cut or expire resting closing orders that the position no longer covers (spec 7, er 4).

        A market order under way keeps its part, the oldest of the others come next.
        """
        room = abs(position.quantity)
        side = "SELL" if position.quantity > 0 else "BUY"
        mine = self._orders.open_of(account, position.symbol)
        for order in sorted(mine, key=lambda o: o.type != "MARKET"):
            if not order.closes or order.position_side != position.side or not order.remaining:
                continue
            allowed = min(room, order.remaining) if order.side == side else ZERO
            room -= allowed
            if allowed == order.remaining:
                continue
            if allowed:
                order.quantity = order.executed + allowed
                order.updated_ms = now_ms
                self._orders.put(order)
                self._journal.changes.orders[order.order_id] = order
                self.tell(account, order, "AMENDMENT", now_ms)
            else:
                self.expire(account, order, "4", now_ms)
