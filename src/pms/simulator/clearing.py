"""Money: fills, fees, deposits, positions and the income history, each booked once with its events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import takewhile

from pms.simulator import commission, wire_events
from pms.simulator.changes import Journal
from pms.simulator.config import Fees
from pms.simulator.exposure import Exposure
from pms.simulator.isolated import settle_fill
from pms.simulator.rules import SymbolRules
from pms.simulator.scale import scale_of
from pms.simulator.state import (
    BOTH,
    USDT,
    ZERO,
    Account,
    Income,
    MarginMove,
    Market,
    Order,
    Position,
    PositionKey,
    Trade,
)

FIRST_TRADE_ID = 5_000_000_001
TRADES_KEPT = 100_000
INCOME_KEPT = 100_000
FUNDING_KEPT = 50_000
MOVES_KEPT = 50_000
MONEY_DECIMALS = 8


class Clearing:
    """The clearing house: positions, trades and income of all accounts."""

    def __init__(
        self,
        journal: Journal,
        rules: Mapping[str, SymbolRules],
        markets: Mapping[str, Market],
        fees: Fees,
        leverage_of: Callable[[Account, str], int],
    ) -> None:
        self._journal = journal
        self._rules = rules
        self._markets = markets
        self.fees = fees
        self._leverage_of = leverage_of
        self.positions: dict[PositionKey, Position] = {}
        self.trades: deque[Trade] = deque(maxlen=TRADES_KEPT)
        self.income: deque[Income] = deque(maxlen=INCOME_KEPT)
        self.next_income_id = 1
        self.margin_moves: deque[MarginMove] = deque(maxlen=MOVES_KEPT)
        self.next_move_id = 1
        self.next_trade_id: dict[str, int] = {}
        self._held: dict[int, dict[tuple[str, str], Position]] = {}
        self._isolated: dict[int, dict[tuple[str, str], Position]] = {}
        self._trades_of: dict[tuple[int, str], deque[Trade]] = {}

    # -- loading

    def restore_position(self, position: Position) -> None:
        """Take over a stored position."""
        self.positions[position.account_id, position.symbol, position.side] = position
        self._index(position)

    def restore_trade(self, trade: Trade) -> None:
        """Take over a stored trade."""
        self._remember(trade)
        self.reserve_trade_id(trade.symbol, trade.trade_id)

    def restore_income(self, row: Income) -> None:
        """Take over a stored line of income."""
        self.income.append(row)
        self.next_income_id = max(self.next_income_id, row.income_id + 1)

    def restore_move(self, move: MarginMove) -> None:
        """Take over a stored movement of isolated margin."""
        self.margin_moves.append(move)
        self.next_move_id = max(self.next_move_id, move.move_id + 1)

    # -- reading

    def position_of(self, account: Account, symbol: str, side: str = BOTH) -> Position:
        """Return the position of a side, a flat one when there is none."""
        key = (account.account_id, symbol, side)
        return self.positions.get(key) or Position(account.account_id, symbol, side=side)

    def held_by(self, account: Account) -> list[Position]:
        """Return the open positions of an account."""
        return list(self._held.get(account.account_id, {}).values())

    def isolated_of(self, account: Account) -> list[Position]:
        """Return the positions with something in their isolated wallets, also flat ones with a debt."""
        return list(self._isolated.get(account.account_id, {}).values())

    def cross_wallet(self, account: Account, asset: str) -> Decimal:
        """Return the part of a wallet that is in no isolated wallet."""
        isolated = (p for p in self.isolated_of(account) if self.margin_asset(p.symbol) == asset)
        return account.wallets.get(asset, ZERO) - sum((p.isolated_wallet for p in isolated), ZERO)

    def cross_equity(self, account: Account, asset: str) -> Decimal:
        """Return the cross wallet with the unrealized profit of the positions on cross margin."""
        return self.cross_wallet(account, asset) + sum(
            (
                position.unrealized(self.mark(position.symbol) or position.entry)
                for position in self.held_by(account)
                if not account.isolates(position.symbol) and self.margin_asset(position.symbol) == asset
            ),
            ZERO,
        )

    def holders(self) -> list[int]:
        """Return the ids of the accounts that hold a position, lowest first."""
        return sorted(account_id for account_id, held in self._held.items() if held)

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

    def margin_asset(self, symbol: str) -> str:
        """Return the asset in which a symbol's profit, margin and (without BNB) fees are paid.

        Of a symbol that this run does not list, in which nothing can be held, it is USDT.
        """
        rules = self._rules.get(symbol)
        return (rules.info.margin_asset if rules else USDT) or USDT

    def mark(self, symbol: str) -> Decimal:
        """Return the mark price, before the first one the middle of the quote, else zero."""
        market = self._markets[symbol]
        return market.mark or (market.mid if market.live else ZERO)

    # -- booking

    def deposit(self, account: Account, amount: Decimal, now_ms: int, asset: str = USDT) -> None:
        """Move an asset into (or, negative, out of) the wallet and tell the user stream."""
        self.pay(account, "", "TRANSFER", asset, amount, now_ms, info="TRANSFER")
        reason = "DEPOSIT" if amount >= 0 else "WITHDRAW"
        self.tell(account, [], reason, {asset: amount}, now_ms)

    def fill(
        self,
        account: Account,
        order: Order,
        price: Decimal,
        quantity: Decimal,
        maker: bool,
        now_ms: int,
        put: Callable[[Order], Exposure],
        trade_id: int,
        execution: str = "TRADE",
    ) -> Position:
        """Book one side of a trade: order, position, wallet, history and events, in the venue's order.

        `put` is told of the order's new state before any event, and returns what the open orders sum up to.
        `execution` is the `x` of the event; CALCULATED did not pass the book and is free (decision 0036).
        """
        position = self.position_of(account, order.symbol, order.position_side)
        key = (account.account_id, order.symbol, order.position_side)
        self.positions[key] = position
        asset = self.margin_asset(order.symbol)
        held, spare = position.quantity, self._spare(account, order.symbol, asset)
        realized = position.apply(quantity * order.sign, price)
        notional = price * quantity if execution == "TRADE" else ZERO
        fee = commission.charge(self.fees, account, notional, maker, asset, self.bnb_price(asset))
        position.charge(fee.value)
        cash = realized - (fee.amount if fee.asset == asset else ZERO)
        self._isolate(account, position, held, price, cash, spare, now_ms)
        self._index(position)
        position.updated_ms = order.updated_ms = now_ms
        order.executed += quantity
        order.cum_quote += price * quantity
        order.status = "FILLED" if not order.remaining else "PARTIALLY_FILLED"
        trade = _trade(order, price, quantity, realized, fee, asset, maker, trade_id)
        self._remember(trade)
        changes = self._journal.changes
        changes.trades.append(trade)
        changes.orders[order.order_id], changes.positions[key] = order, position
        standing = put(order)
        moved = self._settle(account, trade, now_ms)
        if maker:
            scale = scale_of(self._rules, order.symbol)
            lite = wire_events.trade_lite(order, price, quantity, trade_id, True, now_ms, scale)
            self._journal.emit(account, lite)
        self.tell(account, [position], "ORDER", moved, now_ms)
        told = wire_events.order_update(order, execution, trade, now_ms, standing, asset)
        self._journal.emit(account, told)
        return position

    def _spare(self, account: Account, symbol: str, asset: str) -> Decimal:
        """Return what may become margin of an isolated position; zero, unread, on cross margin."""
        return self.cross_equity(account, asset) if account.isolates(symbol) else ZERO

    def _isolate(
        self,
        account: Account,
        position: Position,
        held: Decimal,
        price: Decimal,
        cash: Decimal,
        spare: Decimal,
        now_ms: int,
    ) -> None:
        """Move margin between the cross wallet and an isolated one as a fill demands."""
        if not account.isolates(position.symbol):
            return
        leverage = self._leverage_of(account, position.symbol)
        change = position.quantity - held
        after = settle_fill(position.isolated_wallet, held, change, price, leverage, cash, spare)
        position.isolated_wallet = after.wallet
        self.note_move(position, -after.released, False, now_ms)
        self.note_move(position, after.added, False, now_ms)

    def note_move(self, position: Position, amount: Decimal, by_user: bool, now_ms: int) -> None:
        """Write down a movement into (or, negative, out of) an isolated wallet; it is done already."""
        if not amount:
            return
        move = MarginMove(
            move_id=self.next_move_id,
            account_id=position.account_id,
            symbol=position.symbol,
            side=position.side,
            asset=self.margin_asset(position.symbol),
            amount=abs(amount),
            added=amount > 0,
            by_user=by_user,
            time_ms=now_ms,
        )
        self.restore_move(move)
        self._journal.changes.margin_moves.append(move)

    def move_margin(self, account: Account, position: Position, amount: Decimal, now_ms: int) -> None:
        """Move an amount from the cross wallet into an isolated one (negative: back) and tell of it."""
        self._change_isolated(position, amount)
        position.updated_ms = now_ms
        self.note_move(position, amount, True, now_ms)
        self.tell(account, [position], "MARGIN_TRANSFER", {self.margin_asset(position.symbol): ZERO}, now_ms)

    def _change_isolated(self, position: Position, amount: Decimal) -> None:
        position.isolated_wallet += amount
        self._index(position)
        self._journal.changes.positions[position.account_id, position.symbol, position.side] = position

    def _settle(self, account: Account, trade: Trade, now_ms: int) -> dict[str, Decimal]:
        """Pay profit and fee of a trade; return the assets that changed, as `tell` takes them."""
        moved: dict[str, Decimal] = {trade.margin_asset: ZERO} if account.isolates(trade.symbol) else {}
        for kind, asset, amount in (
            ("REALIZED_PNL", trade.margin_asset, trade.realized),
            ("COMMISSION", trade.commission_asset, -trade.commission),
        ):
            if amount:
                self.pay(account, trade.symbol, kind, asset, amount, now_ms, trade_id=str(trade.trade_id))
                moved[asset] = ZERO
        return moved

    def tell(
        self,
        account: Account,
        positions: list[Position],
        reason: str,
        moved: Mapping[str, Decimal],
        now_ms: int,
        symbol: str = "",
    ) -> None:
        """Emit ACCOUNT_UPDATE of the changed positions and assets.

        `moved` gives the change of each asset other than profit and commission (spec 5.4).
        """
        rows = [(p, self.mark(p.symbol) or p.entry, self.margin_asset(p.symbol)) for p in positions]
        changed = {asset: (change, self.cross_wallet(account, asset)) for asset, change in moved.items()}
        event = wire_events.account_update(account, rows, reason, changed, now_ms, symbol)
        self._journal.emit(account, event)

    def payable_price(self, symbol: str, price: Decimal) -> Decimal:
        """Return a price rounded so that a quantity times it has at most eight decimals, as money has."""
        digits = scale_of(self._rules, symbol).quantity_decimals
        return price.quantize(Decimal(1).scaleb(digits - MONEY_DECIMALS))

    def bnb_price(self, asset: str) -> Decimal:
        """Return the price of one BNB in a margin asset, zero when it is not known here."""
        market = self._markets.get(f"BNB{asset}") or self._markets.get("BNBUSDT")
        return market.mark if market is not None else ZERO

    def pay(
        self,
        account: Account,
        symbol: str,
        kind: str,
        asset: str,
        amount: Decimal,
        now_ms: int,
        info: str = "",
        trade_id: str = "",
        position: Position | None = None,
    ) -> None:
        """Move a wallet and write the line of income that says why: the only place that moves money.

        With `position` it is its isolated wallet, else the cross wallet.
        """
        account.credit(asset, amount)
        if position is not None:
            self._change_isolated(position, amount)
        account.updated_ms = now_ms
        row = Income(
            income_id=self.next_income_id,
            account_id=account.account_id,
            symbol=symbol,
            income_type=kind,
            amount=amount,
            time_ms=now_ms,
            info=info,
            trade_id=trade_id,
            asset=asset,
        )
        self.next_income_id += 1
        self.income.append(row)
        self._journal.changes.income.append(row)
        self._journal.changes.accounts[account.account_id] = account

    def _index(self, position: Position) -> None:
        held = self._held.setdefault(position.account_id, {})
        if position.quantity:
            held[position.symbol, position.side] = position
        else:
            held.pop((position.symbol, position.side), None)
        isolated = self._isolated.setdefault(position.account_id, {})
        if position.isolated_wallet:
            isolated[position.symbol, position.side] = position
        else:
            isolated.pop((position.symbol, position.side), None)

    def _remember(self, trade: Trade) -> None:
        self.trades.append(trade)
        key = (trade.account_id, trade.symbol)
        self._trades_of.setdefault(key, deque(maxlen=TRADES_KEPT)).append(trade)


def _trade(
    order: Order,
    price: Decimal,
    quantity: Decimal,
    realized: Decimal,
    fee: commission.Charge,
    asset: str,
    maker: bool,
    trade_id: int,
) -> Trade:
    """Return the record of a fill of an order, at the order's last update."""
    return Trade(
        trade_id=trade_id,
        account_id=order.account_id,
        symbol=order.symbol,
        order_id=order.order_id,
        side=order.side,
        price=price,
        quantity=quantity,
        realized=realized,
        commission=fee.amount,
        maker=maker,
        time_ms=order.updated_ms,
        position_side=order.position_side,
        commission_asset=fee.asset,
        margin_asset=asset,
    )
