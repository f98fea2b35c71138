"""No sequence of orders, changes, quotes and time makes orders, trades, positions and events disagree.

Three accounts, one of them in hedge mode, trade one symbol with the market and with each other.
"""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import Decimal as D
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pms.simulator.core import Engine
from pms.simulator.order_params import OrderChange
from pms.simulator.state import Order, Trade
from pms.simulator.store import Store, rows_of
from tests.unit.simulator.handler_support import ask
from tests.unit.simulator.market_support import NOW, engine_with

SYMBOL = "BTCUSDT"
TICK = D("0.1")
ACCOUNTS = st.sampled_from([0, 0, 1, 2, 2])
SIDES = st.sampled_from(["BUY", "SELL"])
STEPS = st.integers(-6, 6)
LOTS = st.integers(1, 30)
IDS = st.sampled_from([None, "one", "two"])
MODES = st.sampled_from(["NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"])
FORCES = st.sampled_from(["GTC", "GTC", "GTC", "IOC", "FOK", "GTX", "GTD"])
LIMITS = st.tuples(ACCOUNTS, SIDES, STEPS, LOTS, FORCES, MODES, IDS, st.sampled_from([False, False, True]))
PICK = st.integers(0, 1000)


class Orders(RuleBasedStateMachine):
    """Random life of an exchange."""

    @initialize()
    def start(self) -> None:
        """Open the exchange with three accounts, all listened to and stored."""
        self.engine, first = engine_with("3000000", (SYMBOL,))
        self.accounts = [first]
        for name in ("second", "hedged"):
            account = self.engine.open_account(name, "secret", D(3_000_000), NOW)
            self.engine.set_listen_key(account, name * 8, NOW + 10**12)
            self.accounts.append(account)
        self.engine.set_listen_key(first, "first" * 8, NOW + 10**12)
        self.accounts[2].hedge_mode = True
        self.now = NOW
        self.middle = D("60000")
        self.store = Store(None)
        self.events: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self.quote(0, 20)
        for side, long in (("BUY", True), ("SELL", False)):
            self.ask(0, "POST order", side=side, type="MARKET", quantity="1.5" if long else "0.5")
            self.ask(2, "POST order", side=side, type="MARKET", quantity="2", **self.side_of(2, long))
        self.keep()

    def keep(self) -> None:
        """Write what changed, and remember the order events by order."""
        changes = self.engine.drain()
        self.store.write(rows_of(changes))
        for _, raw in changes.events:
            event = json.loads(raw)
            if event["e"] == "ORDER_TRADE_UPDATE":
                self.events[event["o"]["i"]].append(event["o"])

    def ask(self, who: int, request: str, **params: Any) -> Any:
        """Send a request as one of the accounts."""
        return ask(self.engine, self.accounts[who], request, now_ms=self.now, **params)

    def side_of(self, who: int, long: bool) -> dict[str, str]:
        """Return the position side that an account must send."""
        return {"positionSide": "LONG" if long else "SHORT"} if self.accounts[who].hedge_mode else {}

    @rule(orders=st.lists(LIMITS, min_size=1, max_size=5))
    def limits(self, orders: list[tuple[int, str, int, int, str, str, str | None, bool]]) -> None:
        """Place limit orders near the market; the flag is reduceOnly, or the position side of the hedge."""
        for who, side, step, lots, force, mode, name, flag in orders:
            sent = self.side_of(who, flag) or {"reduceOnly": str(flag).lower()}
            date = {"goodTillDate": self.now + 700_000} if force == "GTD" else {}
            self.ask(
                who,
                "POST order",
                side=side,
                type="LIMIT",
                timeInForce=force,
                price=str(self.middle + step * TICK),
                quantity=str(D(lots) / 10),
                selfTradePreventionMode=mode,
                newClientOrderId=name,
                **sent,
                **date,
            )

    @rule(orders=st.lists(st.tuples(ACCOUNTS, SIDES, LOTS, MODES, st.booleans()), min_size=1, max_size=3))
    def market(self, orders: list[tuple[int, str, int, str, bool]]) -> None:
        """Place market orders."""
        for who, side, lots, mode, flag in orders:
            self.ask(
                who,
                "POST order",
                side=side,
                type="MARKET",
                quantity=str(D(lots) / 10),
                selfTradePreventionMode=mode,
                **(self.side_of(who, flag) or {"reduceOnly": str(flag).lower()}),
            )

    @rule(
        who=ACCOUNTS,
        side=SIDES,
        step=STEPS,
        lots=LOTS,
        kind=st.sampled_from(["STOP", "STOP_MARKET", "TAKE_PROFIT", "TRAILING_STOP_MARKET"]),
        flag=st.booleans(),
        close=st.booleans(),
    )
    def conditional(
        self, who: int, side: str, step: int, lots: int, kind: str, flag: bool, close: bool
    ) -> None:
        """Place a conditional order."""
        params: dict[str, Any] = self.side_of(who, flag)
        if kind == "TRAILING_STOP_MARKET":
            params["callbackRate"] = "0.1"
        else:
            params["triggerPrice"] = str(self.middle + step * TICK)
        if kind in ("STOP", "TAKE_PROFIT"):
            params["price"] = str(self.middle - step * TICK)
        if close and kind == "STOP_MARKET":
            params["closePosition"] = "true"
        else:
            params["quantity"] = str(D(lots) / 10)
        self.ask(who, "POST algoOrder", algoType="CONDITIONAL", side=side, type=kind, **params)

    @rule(changes=st.lists(st.tuples(ACCOUNTS, PICK, STEPS, LOTS), min_size=1, max_size=4))
    def amend(self, changes: list[tuple[int, int, int, int]]) -> None:
        """Change open orders."""
        for who, pick, step, lots in changes:
            opened = self.engine.open_orders_of(self.accounts[who])
            if opened:
                order = opened[pick % len(opened)]
                change = OrderChange(order.side, D(lots) / 10, self.middle + step * TICK)
                self.engine.amend(self.accounts[who], order, change, self.now)

    @rule(who=ACCOUNTS, pick=PICK)
    def cancel(self, who: int, pick: int) -> None:
        """Cancel an open order."""
        opened = self.engine.open_orders_of(self.accounts[who])
        if opened:
            self.engine.cancel(self.accounts[who], opened[pick % len(opened)], self.now)

    @rule(move=st.integers(-8, 8), size=LOTS)
    def quote(self, move: int, size: int) -> None:
        """Move the market by some ticks."""
        self.middle += move * TICK
        market = self.engine.markets[SYMBOL]
        self.engine.before_update(market)
        market.bid, market.ask = self.middle - 4 * TICK, self.middle + 4 * TICK
        market.bid_quantity = market.ask_quantity = D(size) / 10
        market.mark = self.middle
        market.taken.clear()
        self.engine.quote(market, self.now)

    @rule(side=st.booleans(), lots=LOTS)
    def tape(self, side: bool, lots: int) -> None:
        """Let the market trade at its best price."""
        market = self.engine.markets[SYMBOL]
        market.last = market.bid if side else market.ask
        self.engine.public_trade(market, market.last, D(lots) / 10, side, self.now)

    @rule(who=ACCOUNTS, seconds=st.sampled_from([1, 60, 800]), countdown=st.booleans())
    def wait(self, who: int, seconds: int, countdown: bool) -> None:
        """Let time pass, perhaps with a dead man's switch set before."""
        if countdown:
            self.engine.set_countdown(self.accounts[who], SYMBOL, 30_000, self.now)
        self.now += seconds * 1000
        self.engine.tick(self.now)

    # -- what must hold after every step

    def every_order(self) -> list[Order]:
        """Return the orders of all accounts."""
        return [o for account in self.accounts for o in self.engine.all_orders(account)]

    @invariant()
    def orders_are_what_their_trades_say(self) -> None:
        """Executed quantity and quote sum are those of the trades; the status fits."""
        done: dict[int, list[Trade]] = defaultdict(list)
        for trade in self.engine.trades:
            done[trade.order_id].append(trade)
        for order in self.every_order():
            trades = done[order.order_id]
            assert order.executed == sum((t.quantity for t in trades), D(0))
            assert order.cum_quote == sum((t.quantity * t.price for t in trades), D(0))
            assert (order.status == "FILLED") == (order.remaining == 0)
            if order.is_open:
                assert (order.status == "PARTIALLY_FILLED") == bool(trades)
            if order.type == "LIMIT":
                assert all((t.price - order.price) * order.sign <= 0 for t in trades) or order.amendments

    @invariant()
    def no_order_of_ours_crosses_another(self) -> None:
        """What could trade has traded."""
        opened = [o for o in self.every_order() if o.is_open]
        bids = [o.price for o in opened if o.side == "BUY"]
        asks = [o.price for o in opened if o.side == "SELL"]
        assert not bids or not asks or max(bids) < min(asks)

    @invariant()
    def closing_orders_never_open_and_never_exceed(self) -> None:
        """Replaying the trades gives the positions; a closing order only ever made one smaller."""
        orders = {o.order_id: o for o in self.every_order()}
        held: dict[tuple[int, str], D] = defaultdict(D)
        for trade in self.engine.trades:
            key = (trade.account_id, trade.position_side)
            before = held[key]
            held[key] += trade.quantity if trade.side == "BUY" else -trade.quantity
            if orders[trade.order_id].closes:
                assert before * held[key] >= 0
                assert abs(held[key]) < abs(before)
        for account in self.accounts:
            for side in ("BOTH", "LONG", "SHORT"):
                quantity = self.engine.position_of(account, SYMBOL, side).quantity
                assert quantity == held[account.account_id, side]
                assert not quantity or side == "BOTH" or (quantity > 0) == (side == "LONG")
                resting = [
                    o for o in self.engine.open_orders_of(account) if o.closes and o.position_side == side
                ]
                assert sum((o.remaining for o in resting), D(0)) <= abs(quantity)
                assert all(o.sign * quantity < 0 for o in resting)

    @invariant()
    def ids_are_unique_and_ascending(self) -> None:
        """Trade ids ascend; two rows share one only as the two sides of a trade; open client ids differ."""
        rows: dict[int, list[Trade]] = defaultdict(list)
        for trade in self.engine.trades:
            rows[trade.trade_id].append(trade)
        numbers = [t.trade_id for t in self.engine.trades]
        assert numbers == sorted(numbers)
        for pair in rows.values():
            assert len(pair) <= 2
            if len(pair) == 2:
                taker, maker = pair
                assert {taker.side, maker.side} == {"BUY", "SELL"}
                assert (taker.price, taker.quantity) == (maker.price, maker.quantity)
                assert (taker.maker, maker.maker) == (False, True)
                assert taker.order_id != maker.order_id
        for account in self.accounts:
            names = [o.client_order_id for o in self.engine.open_orders_of(account)]
            assert len(names) == len(set(names))

    @invariant()
    def events_tell_the_whole_story(self) -> None:
        """NEW first, quantities never fall, nothing after the end, and the last event is the order."""
        self.keep()
        for order in self.every_order():
            told = self.events[order.order_id]
            assert told[0]["x"] == "NEW"
            filled = [D(e["z"]) for e in told]
            assert filled == sorted(filled)
            assert all(e["X"] in ("NEW", "PARTIALLY_FILLED") for e in told[:-1])
            last = told[-1]
            assert (last["X"], D(last["z"]), D(last["q"]), D(last["p"])) == (
                order.status,
                order.executed,
                order.quantity,
                order.price,
            )

    @invariant()
    def conditional_orders_follow_what_they_became(self) -> None:
        """TRIGGERED while the ordinary order lives, FINISHED afterwards."""
        for account in self.accounts:
            for algo in self.engine.all_algos(account):
                assert algo.status != "TRIGGERING"
                if algo.order_id:
                    order = self.engine.find_order(account, SYMBOL, algo.order_id, None)
                    assert order is not None
                    assert algo.status == ("TRIGGERED" if order.is_open else "FINISHED")

    @invariant()
    def money_is_the_sum_of_its_lines(self) -> None:
        """A wallet is the sum of the account's income."""
        for account in self.accounts:
            lines = (i.amount for i in self.engine.income if i.account_id == account.account_id)
            # The first account's deposit was drained by `engine_with`, but is remembered like the others.
            assert account.wallet == sum(lines, D(0))

    @rule()
    def restart(self) -> None:
        """What is stored is the same exchange."""
        self.keep()
        again = Engine(self.engine.rules, self.engine.clearing.fees)
        again.restore(self.store.load())
        assert again.open_orders.get(SYMBOL, {}) == self.engine.open_orders.get(SYMBOL, {})
        assert again.positions == self.engine.positions
        assert list(again.trades) == list(self.engine.trades)
        owners = [again.accounts[a.account_id] for a in self.accounts]
        for owner, account in zip(owners, self.accounts, strict=True):
            assert list(again.all_algos(owner)) == list(self.engine.all_algos(account))
            assert owner == account

    def teardown(self) -> None:
        """Close the file."""
        if hasattr(self, "store"):
            self.store.close()


TestOrders = Orders.TestCase
TestOrders.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
