"""Liquidation of accounts whose margin is used up, and what becomes of their positions (decision 0036).

An account passes through: warned (MARGIN_CALL), liquidating (its orders end, then forced IOC orders close
positions, largest maintenance first, until it is safe), taken over (what the book did not take goes to the
insurance fund at the bankruptcy price, or to opposite holders in the order of the deleveraging queue).
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from pms.simulator import wire_events
from pms.simulator.account_book import AccountBook
from pms.simulator.changes import Journal
from pms.simulator.clearing import Clearing
from pms.simulator.deleveraging import DeleveragingQueue
from pms.simulator.errors import SimulatorError
from pms.simulator.exchange_orders import ADL_PREFIX, LIQUIDATION_PREFIX, ExchangeOrders
from pms.simulator.margin import AccountMargin
from pms.simulator.margin_desk import MarginDesk
from pms.simulator.rules import SymbolRules
from pms.simulator.state import FUND_ID, USDT, ZERO, Account, Order, Position, round_money

CHECK_MS = 100
"""The shortest time between two looks at all accounts, and between two steps of one liquidation."""
WARN_RATIO = Decimal("0.8")
CALM_RATIO = Decimal("0.7")
"""A MARGIN_CALL is sent at the first ratio, once, until the account has been below the second."""


class Liquidator:
    """Watches the margin ratio of every account with positions; each step is one call of `tick`.

    An isolated position is watched by itself: only the orders of its symbol end and only it is closed, in one
    step, and what its wallet cannot pay the insurance fund does.
    `end_orders(account, reason, now_ms, symbol)` expires all open orders of an account, or of one symbol.
    `on_liquidation` callbacks are told of every forced order that traded on the book.
    """

    def __init__(
        self,
        journal: Journal,
        book: AccountBook,
        clearing: Clearing,
        margin_desk: MarginDesk,
        exchange_orders: ExchangeOrders,
        queue: DeleveragingQueue,
        rules: dict[str, SymbolRules],
        end_orders: Callable[[Account, str, int, str | None], None],
    ) -> None:
        self._journal = journal
        self._book = book
        self._clearing = clearing
        self._margin_desk = margin_desk
        self._exchange_orders = exchange_orders
        self._queue = queue
        self._rules = rules
        self._end_orders = end_orders
        self._warned: set[tuple[int, str]] = set()
        self._checked_ms = 0
        self.on_liquidation: list[Callable[[Order, int], None]] = []
        self.liquidations = 0
        self.deleveraged = 0

    def tick(self, now_ms: int) -> None:
        """Take the next step of every liquidation, and begin those that are due."""
        if 0 <= now_ms - self._checked_ms < CHECK_MS:
            return
        self._checked_ms = now_ms
        for account_id in self._clearing.holders():
            if account_id != FUND_ID:
                account = self._book.by_id[account_id]
                held = self._clearing.held_by(account)
                cross = [p for p in held if not account.isolates(p.symbol)]
                for asset in sorted({self._margin_desk.asset_of(p.symbol) for p in cross}):
                    self._step(account, asset, now_ms)
                for position in held:
                    if account.isolates(position.symbol) and position.quantity:
                        self._step_isolated(account, position, now_ms)
        for account in list(self._book.by_id.values()):  # covering may open the fund's account
            if account.account_id != FUND_ID:
                self._cover(account, now_ms)
                held = self._clearing.held_by(account)
                if account.liquidating and all(account.isolates(p.symbol) for p in held):
                    self._end(account, USDT, now_ms)  # the last position went another way meanwhile

    def _cover(self, account: Account, now_ms: int) -> None:
        """Fill up a wallet that a loss beyond its balance left negative, once nothing is open on it."""
        for position in self._clearing.isolated_of(account):
            if position.isolated_wallet < 0 and not position.quantity:
                asset, debt = self._margin_desk.asset_of(position.symbol), -position.isolated_wallet
                self._clear(account, asset, debt, position.symbol, now_ms, position)
        for asset in list(account.wallets):
            cross = self._clearing.cross_wallet(account, asset)
            if cross < 0 and not self._cross_positions(account, asset):
                self._clear(account, asset, -cross, "", now_ms)

    def _cross_positions(self, account: Account, asset: str) -> list[Position]:
        return [
            p
            for p in self._clearing.held_by(account)
            if not account.isolates(p.symbol) and self._margin_desk.asset_of(p.symbol) == asset
        ]

    def _step(self, account: Account, asset: str, now_ms: int) -> None:
        totals = self._margin_desk.of(account, asset)
        if account.liquidating:
            self._reduce(account, asset, now_ms)
            self._end(account, asset, now_ms)
        elif totals.ratio >= 1:
            self._begin(account, totals, now_ms)
        elif totals.ratio >= WARN_RATIO:
            self._warn(account, totals, now_ms)
        elif totals.ratio < CALM_RATIO:
            self._warned.discard((account.account_id, asset))

    def _step_isolated(self, account: Account, position: Position, now_ms: int) -> None:
        leg = self._margin_desk.leg(account, position.symbol, position.side)
        if leg.ratio >= WARN_RATIO:
            self._warn_isolated(account, position, now_ms)
        elif leg.ratio < CALM_RATIO:
            self._warned.discard((account.account_id, f"{position.symbol} {position.side}"))
        if leg.ratio < 1:
            return
        self._end_orders(account, "5", now_ms, position.symbol)
        self.liquidations += 1
        self._force(account, position, self.bankruptcy_price(account, position), now_ms)
        if position.quantity:
            self._hand_over(account, position, self.bankruptcy_price(account, position), now_ms)
        self._end_isolated(account, position, now_ms)

    def _end_isolated(self, account: Account, position: Position, now_ms: int) -> None:
        """The position is closed: the fund pays what its wallet could not."""
        self._cover(account, now_ms)
        self._warned.discard((account.account_id, f"{position.symbol} {position.side}"))

    def _warn_isolated(self, account: Account, position: Position, now_ms: int) -> None:
        key = (account.account_id, f"{position.symbol} {position.side}")
        if key not in self._warned:
            self._warned.add(key)
            leg = self._margin_desk.leg(account, position.symbol, position.side)
            row = (position, self._clearing.mark(position.symbol), leg.maintenance)
            self._journal.emit(account, wire_events.margin_call(account, None, [row], now_ms))

    def _warn(self, account: Account, totals: AccountMargin, now_ms: int) -> None:
        key = (account.account_id, totals.asset)
        if key in self._warned:
            return
        self._warned.add(key)
        rows = [
            (position, self._clearing.mark(position.symbol), leg.maintenance)
            for (symbol, side), leg in totals.legs.items()
            if (position := self._clearing.position_of(account, symbol, side)).quantity and not leg.isolated
        ]
        self._journal.emit(account, wire_events.margin_call(account, totals.cross_wallet, rows, now_ms))

    def _begin(self, account: Account, totals: AccountMargin, now_ms: int) -> None:
        self._warn(account, totals, now_ms)
        account.liquidating = True
        self._book.changed(account)
        self._end_orders(account, "5", now_ms, None)
        self.liquidations += 1

    def _end(self, account: Account, asset: str, now_ms: int) -> None:
        """The account is safe or flat: cover what it cannot pay, and let it trade again."""
        self._cover(account, now_ms)
        self._warned.discard((account.account_id, asset))
        account.liquidating = False
        self._book.changed(account)

    # -- closing

    def _reduce(self, account: Account, asset: str, now_ms: int) -> None:
        """Close positions on the book until the account is safe, then hand over what is left."""
        for position in self._largest_first(account, asset):
            if self._margin_desk.of(account, asset).ratio < 1:
                return
            price = self.bankruptcy_price(account, position)
            self._force(account, position, price, now_ms)
        for position in self._largest_first(account, asset):
            if self._margin_desk.of(account, asset).ratio < 1:
                return
            self._hand_over(account, position, self.bankruptcy_price(account, position), now_ms)

    def _largest_first(self, account: Account, asset: str) -> list[Position]:
        legs = self._margin_desk.of(account, asset).legs
        held = self._cross_positions(account, asset)
        return sorted(held, key=lambda p: (-legs[p.symbol, p.side].maintenance, p.symbol, p.side))

    def bankruptcy_price(self, account: Account, position: Position) -> Decimal:
        """Return the price at which closing this position uses up its share of the margin balance.

        Positions share the balance by notional, so that closing all of them at these prices leaves nothing.
        An isolated one has a balance of its own.
        """
        asset, mark = self._margin_desk.asset_of(position.symbol), self._clearing.mark(position.symbol)
        if account.isolates(position.symbol):
            balance = self._margin_desk.leg(account, position.symbol, position.side).isolated_margin
            return max(mark - balance / position.quantity, ZERO)
        totals = self._margin_desk.of(account, asset)
        whole = sum((abs(leg.notional) for leg in totals.legs.values() if not leg.isolated), ZERO)
        share = abs(position.quantity) * mark / whole if whole else ZERO
        return max(mark - totals.cross_equity * share / position.quantity, ZERO)

    def _force(self, account: Account, position: Position, price: Decimal, now_ms: int) -> None:
        """Close a whole position with a forced IOC order limited to `price`; take the liquidation fee."""
        tick = self._rules[position.symbol].price.step or Decimal("0.00000001")
        rounding = ROUND_CEILING if position.quantity > 0 else ROUND_FLOOR
        limit = max((price / tick).to_integral_value(rounding) * tick, tick)
        asset = self._margin_desk.asset_of(position.symbol)
        before = self._clearing.cross_wallet(account, asset)
        order = self._exchange_orders.on_book(
            account, position, limit, f"{LIQUIDATION_PREFIX}{now_ms}{position.side[0]}", now_ms
        )
        if not order.executed:
            return
        fee = round_money(order.cum_quote * Decimal(self._rules[position.symbol].info.liquidation_fee or 0))
        left = self._margin_desk.of(account, asset).cross_equity
        if account.isolates(position.symbol):  # what closing has released, and nothing else
            left = self._clearing.cross_wallet(account, asset) - before
        payable = min(fee, max(left, ZERO))
        if payable > 0:
            self._clear(account, asset, -round_money(payable), position.symbol, now_ms)
        for tell in self.on_liquidation:
            tell(order, now_ms)

    def _clear(
        self,
        account: Account,
        asset: str,
        amount: Decimal,
        symbol: str,
        now_ms: int,
        isolated: Position | None = None,
    ) -> None:
        """Move an amount from the insurance fund to an account or its isolated wallet (negative: back)."""
        fund, listed = self._book.fund(), [isolated] if isolated else []
        self._clearing.pay(account, symbol, "INSURANCE_CLEAR", asset, amount, now_ms, position=isolated)
        self._clearing.pay(fund, symbol, "INSURANCE_CLEAR", asset, -amount, now_ms)
        self._clearing.tell(account, listed, "INSURANCE_CLEAR", {asset: amount}, now_ms)

    def _hand_over(self, account: Account, position: Position, price: Decimal, now_ms: int) -> None:
        """Give a position to the fund at a price if it can bear it, else first to opposite holders."""
        price = price.quantize(Decimal("0.00000001"))
        symbol, asset = position.symbol, self._margin_desk.asset_of(position.symbol)
        gain = position.quantity * (self._clearing.mark(symbol) - price)
        if self._margin_desk.of(self._book.fund(), asset).cross_equity + gain < 0:
            for holder in self._queue.of(symbol, position.quantity < 0):
                quantity = min(abs(position.quantity), abs(holder.position.quantity))
                if quantity and holder.account is not account:
                    self._pair(account, position, quantity, price, holder.account, holder.position, now_ms)
        if position.quantity:
            self._pair(account, position, abs(position.quantity), price, None, None, now_ms)

    def _pair(
        self,
        account: Account,
        position: Position,
        quantity: Decimal,
        price: Decimal,
        other: Account | None,
        opposite: Position | None,
        now_ms: int,
    ) -> None:
        """Trade a quantity off the book between a liquidated account and another, or the fund."""
        trade_id = self._clearing.draw_trade_id(position.symbol)
        name = f"{LIQUIDATION_PREFIX}{now_ms}{position.side[0]}"
        order = self._exchange_orders.off_book(
            account, position, quantity, price, name, "LIQUIDATION", now_ms, trade_id
        )
        if other is None or opposite is None:
            self._exchange_orders.take_over(self._book.fund(), order, price, trade_id, now_ms)
            return
        self.deleveraged += 1
        self._exchange_orders.off_book(
            other, opposite, quantity, price, ADL_PREFIX, "MARKET", now_ms, trade_id
        )

    # -- by hand, for faults

    def force_liquidation(self, account: Account, symbol: str, now_ms: int) -> None:
        """Liquidate an account's position in a symbol at once, whatever its margin.

        What the book does not take, the fund takes at the mark. Raises `SimulatorError` without a position.
        """
        held = self._positions(account, symbol)
        asset = self._margin_desk.asset_of(symbol)
        isolated = account.isolates(symbol)
        if isolated:
            self._end_orders(account, "5", now_ms, symbol)
            self.liquidations += 1
        else:
            self._begin(account, self._margin_desk.of(account, asset), now_ms)
        mark, bound = self._clearing.mark(symbol), self._rules[symbol].take_bound
        for position in held:
            self._force(account, position, mark * (1 - bound if position.quantity > 0 else 1 + bound), now_ms)
            if position.quantity:
                self._pair(account, position, abs(position.quantity), mark, None, None, now_ms)
            if isolated:
                self._end_isolated(account, position, now_ms)
        if not isolated:
            self._end(account, asset, now_ms)

    def force_adl(self, account: Account, symbol: str, quantity: Decimal, now_ms: int) -> Decimal:
        """Deleverage up to a quantity of an account's position at the mark, with the fund as the other side.

        Returns what was closed. Raises `SimulatorError` without a position.
        """
        left = quantity
        for position in self._positions(account, symbol):
            part = min(left, abs(position.quantity))
            if part > 0:
                trade_id, mark = self._clearing.draw_trade_id(symbol), self._clearing.mark(symbol)
                order = self._exchange_orders.off_book(
                    account, position, part, mark, ADL_PREFIX, "MARKET", now_ms, trade_id
                )
                self._exchange_orders.take_over(self._book.fund(), order, mark, trade_id, now_ms)
                self.deleveraged += 1
                left -= part
        return quantity - left

    def _positions(self, account: Account, symbol: str) -> list[Position]:
        held = [p for p in self._clearing.held_by(account) if p.symbol == symbol]
        if not held:
            raise SimulatorError(f"The account has no position in {symbol}; open one first.")
        return held

    def statistics(self) -> dict[str, int]:
        """Return counters: liquidations begun, positions deleveraged, accounts being liquidated now."""
        running = sum(account.liquidating for account in self._book.by_id.values())
        return {"begun": self.liquidations, "deleveraged": self.deleveraged, "running": running}
