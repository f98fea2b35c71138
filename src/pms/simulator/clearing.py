"""Money: fills, fees, deposits, positions and the income history, each booked once with its events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import takewhile

from pms.simulator import wire_events
from pms.simulator.changes import Journal
from pms.simulator.config import Fees
from pms.simulator.state import (
    BOTH,
    ZERO,
    Account,
    Income,
    Market,
    Order,
    Position,
    PositionKey,
    Trade,
    round_money,
)

FIRST_TRADE_ID = 5_000_000_001
TRADES_KEPT = 100_000
INCOME_KEPT = 100_000


class Clearing:
    """The clearing house: positions, trades and income of all accounts."""

    def __init__(self, journal: Journal, markets: Mapping[str, Market], fees: Fees) -> None:
        self._journal = journal
        self._markets = markets
        self.fees = fees
        self.positions: dict[PositionKey, Position] = {}
        self.trades: deque[Trade] = deque(maxlen=TRADES_KEPT)
        self.income: deque[Income] = deque(maxlen=INCOME_KEPT)
        self.next_income_id = 1
        self.next_trade_id: dict[str, int] = {}
        self._trades_of: dict[tuple[int, str], deque[Trade]] = {}

    # -- loading

    def restore_trade(self, trade: Trade) -> None:
        """Take over a stored trade."""
        self._remember(trade)
        self.reserve_trade_id(trade.symbol, trade.trade_id)

    def restore_income(self, row: Income) -> None:
        """Take over a stored line of income."""
        self.income.append(row)
        self.next_income_id = max(self.next_income_id, row.income_id + 1)

    # -- reading

    def position_of(self, account: Account, symbol: str, side: str = BOTH) -> Position:
        """Return the position of a side, a flat one when there is none."""
        key = (account.account_id, symbol, side)
        return self.positions.get(key) or Position(account.account_id, symbol, side=side)

    def trades_of(self, account: Account, symbol: str, first_id: int = 0) -> list[Trade]:
        """Return the remembered trades of a symbol from an id upwards, oldest first."""
        known = self._trades_of.get((account.account_id, symbol), ())
        newest_first = takewhile(lambda trade: trade.trade_id >= first_id, reversed(known))
        return list(newest_first)[::-1]

    def peek_trade_id(self, symbol: str) -> int:
        """Return the id that the next trade of a symbol gets."""
        return self.next_trade_id.get(symbol, FIRST_TRADE_ID)

    def draw_trade_id(self, symbol: str) -> int:
        """Return the id of a new trade of a symbol."""
        trade_id = self.peek_trade_id(symbol)
        self.reserve_trade_id(symbol, trade_id)
        return trade_id

    def reserve_trade_id(self, symbol: str, trade_id: int) -> None:
        """Never give this id again."""
        self.next_trade_id[symbol] = max(self.peek_trade_id(symbol), trade_id + 1)

    # -- booking

    def deposit(self, account: Account, amount: Decimal, now_ms: int) -> None:
        """Move USDT into (or, negative, out of) the wallet and tell the user stream."""
        account.wallet += amount
        account.updated_ms = now_ms
        self.add_income(account, "", "TRANSFER", amount, now_ms, info="TRANSFER")
        reason = "DEPOSIT" if amount >= 0 else "WITHDRAW"
        event = wire_events.account_update(account, None, ZERO, reason, amount, now_ms)
        self._journal.emit(account, event)

    def fill(
        self,
        account: Account,
        order: Order,
        price: Decimal,
        quantity: Decimal,
        maker: bool,
        now_ms: int,
        put: Callable[[Order], None],
        trade_id: int,
    ) -> Position:
        """Book one side of a trade: order, position, wallet, history and events, in the venue's order.

        `put` is told of the order's new state before any event is emitted; the caller drew `trade_id`.
        """
        position = self.position_of(account, order.symbol, order.position_side)
        key = (account.account_id, order.symbol, order.position_side)
        self.positions[key] = position
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
            position_side=order.position_side,
        )
        self._remember(trade)
        changes = self._journal.changes
        changes.trades.append(trade)
        changes.orders[order.order_id] = order
        changes.positions[key] = position
        put(order)
        if realized:
            self.add_income(account, order.symbol, "REALIZED_PNL", realized, now_ms, trade_id=str(trade_id))
        self.add_income(account, order.symbol, "COMMISSION", -fee, now_ms, trade_id=str(trade_id))
        if maker:
            lite = wire_events.trade_lite(order, price, quantity, trade_id, True, now_ms)
            self._journal.emit(account, lite)
        mark = self._markets[order.symbol].mark or price
        event = wire_events.account_update(account, position, mark, "ORDER", ZERO, now_ms)
        self._journal.emit(account, event)
        self._journal.emit(account, wire_events.order_update(order, "TRADE", trade, now_ms))
        return position

    def add_income(
        self,
        account: Account,
        symbol: str,
        kind: str,
        amount: Decimal,
        now_ms: int,
        info: str = "",
        trade_id: str = "",
    ) -> None:
        """Add one line to the account's money history; the wallet was moved by the caller."""
        row = Income(self.next_income_id, account.account_id, symbol, kind, amount, now_ms, info, trade_id)
        self.next_income_id += 1
        self.income.append(row)
        self._journal.changes.income.append(row)
        self._journal.changes.accounts[account.account_id] = account

    def _remember(self, trade: Trade) -> None:
        self.trades.append(trade)
        key = (trade.account_id, trade.symbol)
        self._trades_of.setdefault(key, deque(maxlen=TRADES_KEPT)).append(trade)
