"""The life of a conditional order: accepted, watched, fired into an ordinary order, ended (spec 2.3, 5.5)."""

from __future__ import annotations

from decimal import Decimal

from pms.simulator import algo_triggers, errors, wire_events
from pms.simulator.algo_index import AlgoIndex
from pms.simulator.algo_params import TRAILING, NewAlgo
from pms.simulator.desk import Desk
from pms.simulator.errors import Reject, unwanted
from pms.simulator.order_checks import GOOD_TILL_LEAD_MS, GOOD_TILL_MS_MAX
from pms.simulator.order_flow import OrderFlow
from pms.simulator.order_params import NewOrder
from pms.simulator.rules import check_quantity, check_status, check_trigger
from pms.simulator.state import BOTH, Account, AlgoOrder, Market, Order, Position, closes

ALGOS_MAX = 200
"""Open conditional orders of an account over all symbols (-4045)."""


class AlgoFlow:
    """Conditional orders of all accounts. No margin is held for them; what they become is checked then."""

    def __init__(self, desk: Desk, flow: OrderFlow, index: AlgoIndex) -> None:
        self._desk = desk
        self._flow = flow
        self._index = index

    # -- placing and cancelling

    def place(self, account: Account, new: NewAlgo, now_ms: int) -> AlgoOrder | Reject:
        """Accept a conditional order, or refuse it without a trace."""
        algo = self._order_of(account, new, now_ms)
        market = self._desk.markets[new.symbol]
        price = algo_triggers.working_price(algo, market)
        refused = self._check(account, new, now_ms)
        if refused:
            return refused
        if algo_triggers.would_fire(algo, price):
            return errors.WOULD_TRIGGER
        self._index.draw_id()
        if algo.type == TRAILING and price and algo_triggers.activates(algo, price):
            algo.extreme = price
        self._save(account, algo, now_ms)
        return algo

    def _check(self, account: Account, new: NewAlgo, now_ms: int) -> Reject | None:
        rules = self._desk.rules[new.symbol]
        dated = new.time_in_force == "GTD"
        if dated and not now_ms + GOOD_TILL_LEAD_MS < new.good_till_ms < GOOD_TILL_MS_MAX:
            return errors.GOOD_TILL
        if account.liquidating:
            return errors.IN_LIQUIDATION
        closing = new.reduce_only or new.close_position or closes(new.side, new.position_side)
        refused = (
            check_status(rules, closing)
            or check_trigger(new.trigger_price if new.type != TRAILING else new.activate_price, rules)
            or (None if new.close_position else check_quantity(new.quantity, new.price, rules))
        )
        if refused:
            return refused
        if (new.position_side != BOTH) != account.hedge_mode:
            return errors.POSITION_SIDE
        if account.hedge_mode and new.reduce_only_sent:
            return unwanted("reduceOnly")
        if account.hedge_mode and new.close_position and not closes(new.side, new.position_side):
            return errors.close_position(new.type)
        mine = self._index.open_of(account)
        if new.client_algo_id and any(a.client_algo_id == new.client_algo_id for a in mine):
            return errors.DUPLICATE_ID
        return errors.MAX_ALGOS if len(mine) >= ALGOS_MAX else None

    def _order_of(self, account: Account, new: NewAlgo, now_ms: int) -> AlgoOrder:
        return AlgoOrder(
            algo_id=self._index.next_id,
            account_id=account.account_id,
            symbol=new.symbol,
            client_algo_id=new.client_algo_id or f"sim{self._index.next_id:x}",
            side=new.side,
            type=new.type,
            time_in_force=new.time_in_force,
            quantity=new.quantity,
            created_ms=now_ms,
            updated_ms=now_ms,
            price=new.price,
            trigger_price=new.trigger_price,
            position_side=new.position_side,
            working_type=new.working_type,
            price_match=new.price_match,
            price_protect=new.price_protect,
            close_position=new.close_position,
            reduce_only=new.reduce_only,
            activate_price=new.activate_price,
            callback_rate=new.callback_rate,
            stp_mode=new.stp_mode,
            good_till_ms=new.good_till_ms,
        )

    def cancel(self, account: Account, algo: AlgoOrder, now_ms: int) -> AlgoOrder | Reject:
        """Cancel an open conditional order; -2011 when it is not open any more."""
        if not algo.is_open:
            return errors.UNKNOWN_ORDER
        self._end(account, algo, "CANCELED", "", now_ms)
        return algo

    # -- watching

    def watch(self, market: Market, now_ms: int) -> None:
        """Fire what the present prices of a symbol fire; called after each of them has changed."""
        for algo in self._index.at(market.symbol):
            price = algo_triggers.working_price(algo, market)
            if not price or not algo.is_open:
                continue
            account = self._desk.accounts.by_id[algo.account_id]
            if algo.type == TRAILING and not algo.extreme:
                if algo_triggers.activates(algo, price):
                    algo.extreme = price
                    self._save(account, algo, now_ms)
                continue
            before = algo.extreme
            if algo_triggers.fires(algo, price):
                if not algo_triggers.protected(algo, market, self._desk.rules[algo.symbol]):
                    self._fire(account, algo, now_ms)
            elif algo.extreme != before:
                self._desk.journal.changes.algo_orders[algo.algo_id] = algo

    def tick(self, now_ms: int) -> None:
        """End what a date ends, and look at prices that moved without a quote (marks)."""
        for symbol in [s for s, book in self._index.open.items() if book]:
            for algo in self._index.at(symbol):
                if algo.time_in_force == "GTD" and algo.good_till_ms <= now_ms:
                    account = self._desk.accounts.by_id[algo.account_id]
                    self._end(account, algo, "EXPIRED", "", now_ms)
            market = self._desk.markets.get(symbol)
            if market is not None:
                self.watch(market, now_ms)

    def position_changed(self, account: Account, position: Position, change: Decimal, now_ms: int) -> None:
        """End closePosition orders whose position is gone: there is nothing left that they could close."""
        before = position.quantity - change
        for algo in self._index.open_of(account, position.symbol) if self._index.open else []:
            if not algo.close_position or algo.position_side != position.side:
                continue
            could, can = before * algo.sign < 0, position.quantity * algo.sign < 0
            if could and not can:
                self._end(account, algo, "EXPIRED", "Position closed", now_ms)

    def order_ended(self, account: Account, order: Order, now_ms: int) -> None:
        """The ordinary order of a conditional one has come to its end: FINISHED."""
        algo = self._index.find(account, order.algo_id, None)
        if algo is not None and algo.status == "TRIGGERED":
            algo.status = "FINISHED"
            self._save(account, algo, now_ms, order)

    # -- firing

    def _fire(self, account: Account, algo: AlgoOrder, now_ms: int) -> None:
        algo.status, algo.triggered_ms = "TRIGGERING", now_ms
        self._save(account, algo, now_ms)
        place = self._desk.journal.position
        placed = self._flow.place(account, self._ordinary(account, algo), now_ms)
        if isinstance(placed, Reject):
            self._end(account, algo, "REJECTED", placed.msg, now_ms)
            return
        algo.status, algo.order_id = "TRIGGERED", placed.order_id
        fresh = wire_events.algo_update(algo, now_ms, placed, as_new=True)
        self._desk.journal.insert(account, place, [fresh])
        self._keep(algo, now_ms)
        if not placed.is_open:
            self.order_ended(account, placed, now_ms)

    def _ordinary(self, account: Account, algo: AlgoOrder) -> NewOrder:
        """Return what a conditional order becomes; it keeps the client id unless an open order has it."""
        limit = algo.type in ("STOP", "TAKE_PROFIT")
        taken = self._desk.orders.has_open_client_id(account, algo.client_algo_id)
        held = self._desk.clearing.position_of(account, algo.symbol, algo.position_side).quantity
        quantity = abs(held) if algo.close_position else algo.quantity
        return NewOrder(
            symbol=algo.symbol,
            side=algo.side,
            type="LIMIT" if limit else "MARKET",
            time_in_force=algo.time_in_force if limit else "GTC",
            quantity=quantity,
            price=algo.price,
            reduce_only=algo.reduce_only or (algo.close_position and not account.hedge_mode),
            client_order_id="" if taken else algo.client_algo_id,
            response="ACK",
            stp_mode=algo.stp_mode,
            position_side=algo.position_side,
            price_match=algo.price_match,
            good_till_ms=algo.good_till_ms if limit else 0,
            close_position=algo.close_position,
            algo_id=algo.algo_id,
        )

    # -- bookkeeping

    def _end(self, account: Account, algo: AlgoOrder, status: str, reason: str, now_ms: int) -> None:
        algo.status, algo.reject_reason = status, reason
        self._save(account, algo, now_ms)

    def _save(self, account: Account, algo: AlgoOrder, now_ms: int, order: Order | None = None) -> None:
        self._keep(algo, now_ms)
        self._desk.journal.emit(account, wire_events.algo_update(algo, now_ms, order))

    def _keep(self, algo: AlgoOrder, now_ms: int) -> None:
        algo.updated_ms = now_ms
        self._index.put(algo)
        self._desk.journal.changes.algo_orders[algo.algo_id] = algo
