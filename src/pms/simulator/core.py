"""The exchange itself: accounts, orders, matching and money, without clock, socket or database.

Every method takes the time as an argument and is synchronous and deterministic. What it changed is collected:
`drain()` returns the rows to make durable and the private events to emit after that (decision 25).
Not safe for use from several threads.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import takewhile

from msgspec import Struct

from pms.simulator import errors, margin, matching, wire_events
from pms.simulator.config import Fees
from pms.simulator.errors import Reject
from pms.simulator.rules import NewOrder, SymbolRules, check_filters
from pms.simulator.state import ZERO, Account, Income, Market, Order, Position, Trade, round_money

FIRST_ORDER_ID = 8_000_000_001
FIRST_TRADE_ID = 5_000_000_001
CLOSED_ORDERS_KEPT = 50_000
TRADES_KEPT = 100_000
INCOME_KEPT = 100_000


@dataclass(slots=True)
class Changes:
    """Everything one or more operations changed: rows by kind, and events as (listen key, JSON)."""

    accounts: dict[int, Account] = field(default_factory=dict)
    positions: dict[tuple[int, str], Position] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    income: list[Income] = field(default_factory=list)
    events: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """True when there is nothing to commit and nothing to emit."""
        return not (
            self.accounts or self.positions or self.orders or self.trades or self.income or self.events
        )


class Engine:
    """The matching engine and clearing house of one simulated venue."""

    def __init__(self, rules: Mapping[str, SymbolRules], fees: Fees, default_leverage: int = 20) -> None:
        self.rules = dict(rules)
        self.fees = fees
        self.default_leverage = default_leverage
        self.markets: dict[str, Market] = {symbol: Market(symbol) for symbol in rules}
        self.accounts: dict[int, Account] = {}
        self.account_by_key: dict[str, Account] = {}
        self.positions: dict[tuple[int, str], Position] = {}
        self.open_orders: dict[str, dict[int, Order]] = {}
        self.closed_orders: OrderedDict[int, Order] = OrderedDict()
        self.trades: deque[Trade] = deque(maxlen=TRADES_KEPT)
        self._trades_of: dict[tuple[int, str], deque[Trade]] = {}
        self.income: deque[Income] = deque(maxlen=INCOME_KEPT)
        self.next_order_id = FIRST_ORDER_ID
        self.next_income_id = 1
        self.next_trade_id: dict[str, int] = {}
        self._latest_by_client_id: dict[tuple[int, str, str], int] = {}
        self._changes = Changes()

    # -- loading and draining

    def restore(self, records: Iterable[Struct]) -> None:
        """Take over stored records, oldest first; called once, before anything else."""
        for record in records:
            match record:
                case Account():
                    self._add_account(record)
                case Position():
                    self.positions[record.account_id, record.symbol] = record
                case Order():
                    self._index(record)
                    self.next_order_id = max(self.next_order_id, record.order_id + 1)
                case Trade():
                    self._remember(record)
                    self._reserve_trade_id(record.symbol, record.trade_id)
                case Income():
                    self.income.append(record)
                    self.next_income_id = max(self.next_income_id, record.income_id + 1)

    def drain(self) -> Changes:
        """Return and forget what changed since the last call."""
        changes, self._changes = self._changes, Changes()
        return changes

    @property
    def dirty(self) -> bool:
        """True when `drain` would return something."""
        return not self._changes.empty

    # -- accounts

    def open_account(self, api_key: str, secret: str, wallet: Decimal, now_ms: int) -> Account:
        """Return the account of a key, created with `wallet` USDT if it is new; its secret is updated."""
        known = self.account_by_key.get(api_key)
        if known is not None:
            if known.secret != secret:
                known.secret = secret
                self._changes.accounts[known.account_id] = known
            return known
        account = Account(account_id=max(self.accounts, default=0) + 1, api_key=api_key, secret=secret)
        self._add_account(account)
        if wallet:
            self.deposit(account, wallet, now_ms)
        self._changes.accounts[account.account_id] = account
        return account

    def deposit(self, account: Account, amount: Decimal, now_ms: int) -> None:
        """Move USDT into (or, negative, out of) the wallet and tell the user stream."""
        account.wallet += amount
        account.updated_ms = now_ms
        self._add_income(account, "", "TRANSFER", amount, now_ms, info="TRANSFER")
        reason = "DEPOSIT" if amount >= 0 else "WITHDRAW"
        self._emit(account, wire_events.account_update(account, None, ZERO, reason, amount, now_ms))

    def set_leverage(self, account: Account, symbol: str, leverage: int, now_ms: int) -> Reject | None:
        """Set the leverage of a symbol; refused when the position or the margin does not allow it."""
        rules = self.rules[symbol]
        if not 1 <= leverage <= rules.leverage_max:
            return Reject(-4028, f"Leverage {leverage} is not valid")
        before = account.leverage.get(symbol)
        account.leverage[symbol] = leverage
        over = abs(self.margin_of(account).symbols[symbol].notional) > rules.max_notional(leverage)
        if over or self.margin_of(account).free < 0:
            account.leverage.pop(symbol)
            if before is not None:
                account.leverage[symbol] = before
            return (
                Reject(-2027, errors.MAX_POSITION.msg)
                if over
                else Reject(-2028, "Leverage is smaller than permitted: insufficient margin balance.")
            )
        self._changes.accounts[account.account_id] = account
        self._emit(account, wire_events.leverage_update(symbol, leverage, now_ms))
        return None

    def set_listen_key(self, account: Account, key: str, expires_ms: int) -> None:
        """Store the listen key of an account; an empty key ends it."""
        account.listen_key, account.listen_key_expires_ms = key, expires_ms
        self._changes.accounts[account.account_id] = account

    def expire_listen_keys(self, now_ms: int) -> None:
        """End the keys whose time is over, each with its `listenKeyExpired` event."""
        for account in self.accounts.values():
            if account.listen_key and account.listen_key_expires_ms <= now_ms:
                self._emit(account, wire_events.listen_key_expired(account.listen_key, now_ms))
                self.set_listen_key(account, "", 0)

    def leverage_of(self, account: Account, symbol: str) -> int:
        """Return the leverage in force."""
        default = min(self.default_leverage, self.rules[symbol].leverage_max)
        return account.leverage.get(symbol, default)

    def position_of(self, account: Account, symbol: str) -> Position:
        """Return the position, a flat one when there is none."""
        return self.positions.get((account.account_id, symbol)) or Position(account.account_id, symbol)

    def open_orders_of(self, account: Account, symbol: str | None = None) -> list[Order]:
        """Return the open orders, oldest first."""
        books = self.open_orders.values() if symbol is None else [self.open_orders.get(symbol, {})]
        found = [o for book in books for o in book.values() if o.account_id == account.account_id]
        return sorted(found, key=lambda o: o.order_id)

    def margin_of(self, account: Account, extra: Order | None = None) -> margin.AccountMargin:
        """Return the account's margin figures, with `extra` counted as one more open order."""
        orders: dict[str, list[Order]] = {}
        for order in self.open_orders_of(account):
            orders.setdefault(order.symbol, []).append(order)
        if extra is not None:
            orders.setdefault(extra.symbol, []).append(extra)
        held = {s for (owner, s), p in self.positions.items() if owner == account.account_id and p.quantity}
        parts = [
            margin.symbol_margin(
                self.position_of(account, symbol),
                orders.get(symbol, ()),
                self.markets[symbol],
                self.rules[symbol],
                self.leverage_of(account, symbol),
            )
            for symbol in sorted({*held, *orders, *account.leverage})
            if symbol in self.rules
        ]
        return margin.total(account, parts)

    # -- orders

    def place(self, account: Account, new: NewOrder, now_ms: int) -> Order | Reject:
        """Accept an order and execute what can be executed at once, or refuse it without a trace."""
        rules, market = self.rules[new.symbol], self.markets[new.symbol]
        refused = check_filters(new, rules, market)
        if refused:
            return refused
        quantity = self._reduce_only_quantity(account, new) if new.reduce_only else new.quantity
        if not quantity:
            return errors.REDUCE_ONLY
        if self._has_open_client_id(account, new):
            return errors.DUPLICATE_ID
        if new.type == "LIMIT" and len(self.open_orders_of(account, new.symbol)) >= rules.open_orders_max:
            return errors.MAX_ORDERS
        order = self._new_order(account, new, quantity, now_ms)
        refused = self._check_margin(account, order, market, rules) or self._check_execution(
            order, market, rules
        )
        if refused:
            return refused
        self.next_order_id += 1
        self._execute_new(account, order, market, rules, now_ms)
        return order

    def cancel(self, account: Account, order: Order, now_ms: int) -> Order | Reject:
        """Cancel an open order; -2011 when it is not open any more."""
        if not order.is_open:
            return errors.UNKNOWN_ORDER
        self._finish(account, order, "CANCELED", "CANCELED", now_ms)
        return order

    def find_order(
        self, account: Account, symbol: str, order_id: int | None, client_id: str | None
    ) -> Order | None:
        """Return an order by id, or the latest one with a client id."""
        if order_id is None:
            order_id = self._latest_by_client_id.get((account.account_id, symbol, client_id or ""), -1)
        order = self.open_orders.get(symbol, {}).get(order_id) or self.closed_orders.get(order_id)
        mine = order is not None and order.account_id == account.account_id and order.symbol == symbol
        return order if mine else None

    def all_orders(self, account: Account) -> Iterator[Order]:
        """Yield every order still remembered, oldest first."""
        opened = (o for book in self.open_orders.values() for o in book.values())
        everything = [*self.closed_orders.values(), *opened]
        for order in sorted(everything, key=lambda o: o.order_id):
            if order.account_id == account.account_id:
                yield order

    def trades_of(self, account: Account, symbol: str, first_id: int = 0) -> list[Trade]:
        """Return the remembered trades of a symbol from an id upwards, oldest first."""
        known = self._trades_of.get((account.account_id, symbol), ())
        newest_first = takewhile(lambda trade: trade.trade_id >= first_id, reversed(known))
        return list(newest_first)[::-1]

    # -- market

    def quote(self, market: Market, now_ms: int) -> None:
        """Match the resting orders of a symbol against its new quote."""
        book = self.open_orders.get(market.symbol)
        if not book or not market.live:
            return
        for side, best, size in (
            ("BUY", market.ask, market.ask_quantity),
            ("SELL", market.bid, market.bid_quantity),
        ):
            sign = 1 if side == "BUY" else -1
            hit = [o for o in book.values() if o.side == side and (o.price - best) * sign >= 0]
            left = size
            for order in sorted(hit, key=lambda o: (-o.price * sign, o.order_id)):
                part = min(left, order.remaining)
                if part <= 0 or not order.is_open:
                    continue
                left -= part
                self._fill(self.accounts[order.account_id], order, order.price, part, True, now_ms)

    # -- inside

    def _add_account(self, account: Account) -> None:
        self.accounts[account.account_id] = account
        self.account_by_key[account.api_key] = account

    def _emit(self, account: Account, event: bytes) -> None:
        if account.listen_key:
            self._changes.events.append((account.listen_key, event))

    def _remember(self, trade: Trade) -> None:
        self.trades.append(trade)
        key = (trade.account_id, trade.symbol)
        self._trades_of.setdefault(key, deque(maxlen=TRADES_KEPT)).append(trade)

    def _reserve_trade_id(self, symbol: str, trade_id: int) -> None:
        self.next_trade_id[symbol] = max(self.next_trade_id.get(symbol, FIRST_TRADE_ID), trade_id + 1)

    def _index(self, order: Order) -> None:
        if order.client_order_id:
            key = (order.account_id, order.symbol, order.client_order_id)
            self._latest_by_client_id[key] = max(self._latest_by_client_id.get(key, 0), order.order_id)
        if order.is_open:
            self.open_orders.setdefault(order.symbol, {})[order.order_id] = order
            return
        self.open_orders.get(order.symbol, {}).pop(order.order_id, None)
        self.closed_orders[order.order_id] = order
        if len(self.closed_orders) > CLOSED_ORDERS_KEPT:
            _, old = self.closed_orders.popitem(last=False)
            key = (old.account_id, old.symbol, old.client_order_id)
            if self._latest_by_client_id.get(key) == old.order_id:
                del self._latest_by_client_id[key]

    def _has_open_client_id(self, account: Account, new: NewOrder) -> bool:
        if not new.client_order_id:
            return False
        return any(o.client_order_id == new.client_order_id for o in self.open_orders_of(account))

    def _reduce_only_quantity(self, account: Account, new: NewOrder) -> Decimal:
        """Return what a reduce-only order may still close: the position less other reduce-only orders."""
        held = self.position_of(account, new.symbol).quantity
        if not held or (held > 0) == (new.side == "BUY"):
            return ZERO
        covered = sum(
            (
                o.remaining
                for o in self.open_orders_of(account, new.symbol)
                if o.reduce_only and o.side == new.side
            ),
            ZERO,
        )
        return max(ZERO, min(new.quantity, abs(held) - covered))

    def _new_order(self, account: Account, new: NewOrder, quantity: Decimal, now_ms: int) -> Order:
        return Order(
            order_id=self.next_order_id,
            account_id=account.account_id,
            symbol=new.symbol,
            client_order_id=new.client_order_id or f"sim{self.next_order_id:x}",
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

    def _check_margin(
        self, account: Account, order: Order, market: Market, rules: SymbolRules
    ) -> Reject | None:
        """-2027 and -2019: the order may not need more margin than there is (spec section 7, cost check)."""
        if order.reduce_only:
            return None
        before, after = self.margin_of(account), self.margin_of(account, extra=order)
        own = after.symbols[order.symbol]
        earlier = before.symbols.get(order.symbol)
        grown = own.position_initial + own.order_initial
        if earlier is not None and grown <= earlier.position_initial + earlier.order_initial:
            return None
        if grown * self.leverage_of(account, order.symbol) > rules.max_notional(
            self.leverage_of(account, order.symbol)
        ):
            return errors.MAX_POSITION
        if order.type == "MARKET":
            assumed = market.ask * Decimal("1.0005") if order.sign > 0 else max(market.bid, market.mark)
        else:
            assumed = order.price
        open_loss = order.quantity * max(ZERO, (assumed - (market.mark or assumed)) * order.sign)
        return errors.MARGIN if after.free - open_loss < 0 else None

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
        first_id = self.next_trade_id.get(order.symbol, FIRST_TRADE_ID)
        for offset, (price, quantity) in enumerate(fills):
            self._emit(
                account, wire_events.trade_lite(order, price, quantity, first_id + offset, False, now_ms)
            )
        self._index(order)
        self._changes.orders[order.order_id] = order
        self._emit(account, wire_events.order_update(order, "NEW", None, now_ms))
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
        self._index(order)
        self._changes.orders[order.order_id] = order
        self._emit(account, wire_events.order_update(order, execution, None, now_ms))

    def _fill(
        self, account: Account, order: Order, price: Decimal, quantity: Decimal, maker: bool, now_ms: int
    ) -> None:
        """Book one trade: order, position, wallet, history and events, in the venue's order of events."""
        trade_id = self.next_trade_id.get(order.symbol, FIRST_TRADE_ID)
        self._reserve_trade_id(order.symbol, trade_id)
        key = (account.account_id, order.symbol)
        position = self.positions.setdefault(key, Position(*key))
        realized = position.apply(quantity * order.sign, price)
        position.updated_ms = account.updated_ms = order.updated_ms = now_ms
        fee = round_money(price * quantity * (self.fees.maker if maker else self.fees.taker))
        account.wallet += realized - fee
        order.executed += quantity
        order.cum_quote += price * quantity
        order.status = "FILLED" if not order.remaining else "PARTIALLY_FILLED"
        trade = Trade(
            trade_id=trade_id,
            account_id=account.account_id,
            symbol=order.symbol,
            order_id=order.order_id,
            side=order.side,
            price=price,
            quantity=quantity,
            realized=realized,
            commission=fee,
            maker=maker,
            time_ms=now_ms,
        )
        self._remember(trade)
        self._changes.trades.append(trade)
        self._changes.orders[order.order_id] = order
        self._changes.positions[key] = position
        self._index(order)
        if realized:
            self._add_income(account, order.symbol, "REALIZED_PNL", realized, now_ms, trade_id=str(trade_id))
        self._add_income(account, order.symbol, "COMMISSION", -fee, now_ms, trade_id=str(trade_id))
        if maker:
            self._emit(account, wire_events.trade_lite(order, price, quantity, trade_id, True, now_ms))
        mark = self.markets[order.symbol].mark or price
        self._emit(account, wire_events.account_update(account, position, mark, "ORDER", ZERO, now_ms))
        self._emit(account, wire_events.order_update(order, "TRADE", trade, now_ms))
        self._cut_reduce_only(account, position, now_ms)

    def _add_income(
        self,
        account: Account,
        symbol: str,
        kind: str,
        amount: Decimal,
        now_ms: int,
        info: str = "",
        trade_id: str = "",
    ) -> None:
        row = Income(self.next_income_id, account.account_id, symbol, kind, amount, now_ms, info, trade_id)
        self.next_income_id += 1
        self.income.append(row)
        self._changes.income.append(row)
        self._changes.accounts[account.account_id] = account

    def _cut_reduce_only(self, account: Account, position: Position, now_ms: int) -> None:
        """Cut or expire resting reduce-only orders that the position no longer covers (spec 7, er 4)."""
        room = abs(position.quantity)
        closing_side = "SELL" if position.quantity > 0 else "BUY"
        for order in self.open_orders_of(account, position.symbol):
            if not order.reduce_only:
                continue
            allowed = min(room, order.remaining) if order.side == closing_side else ZERO
            room -= allowed
            if allowed == order.remaining:
                continue
            if allowed:
                order.quantity = order.executed + allowed
                order.updated_ms = now_ms
                self._changes.orders[order.order_id] = order
                self._emit(account, wire_events.order_update(order, "AMENDMENT", None, now_ms))
            else:
                order.expiry_reason = "4"
                self._finish(account, order, "EXPIRED", "EXPIRED", now_ms)
