"""The exchange itself: accounts, orders, matching and money, without clock, socket or database.

Every method takes the time as an argument and is synchronous and deterministic. What it changed is collected:
`drain()` returns the rows to make durable and the private events to emit after that (decision 25).
Not safe for use from several threads.

Its parts: `account_book` (accounts and keys), `order_index` (orders by id), `order_flow` (the life of an
order), `clearing` (positions and money), `margin_desk` (what an account can afford), `liquidation`, `funding`
and `settlement` (what the exchange does by itself). They share one journal of changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from msgspec import Struct

from pms.simulator import margin
from pms.simulator.account_book import AccountBook
from pms.simulator.account_settings import AccountSettings
from pms.simulator.algo_flow import AlgoFlow
from pms.simulator.algo_index import AlgoIndex
from pms.simulator.algo_params import NewAlgo
from pms.simulator.changes import Changes, Journal
from pms.simulator.clearing import Clearing
from pms.simulator.config import Fees
from pms.simulator.deleveraging import DeleveragingQueue
from pms.simulator.desk import Desk
from pms.simulator.errors import Reject
from pms.simulator.exchange_orders import ExchangeOrders
from pms.simulator.funding import FundingDesk
from pms.simulator.liquidation import Liquidator
from pms.simulator.margin_desk import MarginDesk
from pms.simulator.order_amend import OrderAmender
from pms.simulator.order_flow import OrderFlow
from pms.simulator.order_index import OrderIndex
from pms.simulator.order_params import NewOrder, OrderChange
from pms.simulator.order_timers import OrderTimers
from pms.simulator.queue_model import MODELS
from pms.simulator.resting import RestingQueue
from pms.simulator.rules import SymbolRules
from pms.simulator.settlement import ListingDesk
from pms.simulator.state import (
    BOTH,
    USDT,
    Account,
    AlgoOrder,
    Amendment,
    Funding,
    Income,
    Listing,
    MarginMove,
    Market,
    Order,
    Position,
    PositionKey,
    Trade,
)
from pms.simulator.trading_rules import TradingRules


class Engine:
    """The matching engine and clearing house of one simulated venue."""

    def __init__(
        self,
        rules: Mapping[str, SymbolRules],
        fees: Fees,
        default_leverage: int = 20,
        queue_model: str = "power",
    ) -> None:
        self.rules = dict(rules)
        self.markets: dict[str, Market] = {symbol: Market(symbol) for symbol in rules}
        self.resting = {
            symbol: RestingQueue(self.markets[symbol], rule.price.step, rule.lot.step, MODELS[queue_model])
            for symbol, rule in rules.items()
        }
        self.journal = Journal()
        self.book = AccountBook(self.journal, self.rules, default_leverage)
        self.orders = OrderIndex()
        self.clearing = Clearing(self.journal, self.rules, self.markets, fees, self.book.leverage_of)
        self.trading_rules = TradingRules(self.rules)
        self.orders.watchers.append(self.trading_rules.watch)
        self.margin_desk = MarginDesk(
            self.clearing,
            self.orders.exposures,
            self.rules,
            self.markets,
            self.book.leverage_of,
            self.trading_rules,
        )
        self.settings = AccountSettings(
            self.journal, self.book, self.orders, self.clearing, self.margin_desk, self.rules
        )
        desk = Desk(
            journal=self.journal,
            accounts=self.book,
            orders=self.orders,
            clearing=self.clearing,
            rules=self.rules,
            markets=self.markets,
            resting=self.resting,
            check_margin=self.margin_desk.check_new,
        )
        self.flow = OrderFlow(desk)
        self.amender = OrderAmender(desk, self.flow)
        self.timers = OrderTimers(desk, self.flow)
        self.algos = AlgoIndex()
        self.algo_flow = self.flow.listener = AlgoFlow(desk, self.flow, self.algos)
        self._open_money_desks()

    def _open_money_desks(self) -> None:
        """The parts that move money without an order of the client."""
        self.funding = FundingDesk(self.journal, self.book, self.clearing, self.markets)
        placing = ExchangeOrders(self.journal, self.orders, self.clearing, self.flow)
        self.queue = DeleveragingQueue(self.book, self.clearing, self.margin_desk)
        self.liquidator = Liquidator(
            self.journal,
            self.book,
            self.clearing,
            self.margin_desk,
            placing,
            self.queue,
            self.rules,
            self._end_orders_of,
        )
        self.listings = ListingDesk(
            self.journal, self.book, self.clearing, placing, self.rules, self._end_orders_in
        )

    def _end_orders_of(self, account: Account, reason: str, now_ms: int, symbol: str | None) -> None:
        for algo in self.algos.open_of(account, symbol):
            self.algo_flow.cancel(account, algo, now_ms)
        for order in self.orders.open_of(account, symbol):
            self.flow.expire(account, order, reason, now_ms)

    def _end_orders_in(self, symbol: str, reason: str, now_ms: int) -> None:
        for algo in self.algos.at(symbol):
            self.algo_flow.cancel(self.book.by_id[algo.account_id], algo, now_ms)
        for order in list(self.orders.open.get(symbol, {}).values()):
            self.flow.expire(self.book.by_id[order.account_id], order, reason, now_ms)

    # -- loading and draining

    def restore(self, records: Iterable[Struct]) -> None:
        """Take over stored records, oldest first; called once, before anything else."""
        for record in records:
            match record:
                case Account():
                    self.book.restore(record)
                case Position():
                    self.clearing.restore_position(record)
                case Order():
                    self.orders.restore(record)
                case Trade():
                    self.clearing.restore_trade(record)
                case Income():
                    self.clearing.restore_income(record)
                case MarginMove():
                    self.clearing.restore_move(record)
                case Funding():
                    self.funding.restore(record)
                case Listing():
                    self.listings.restore(record)
                case Amendment():
                    self.orders.restore_amendment(record)
                case AlgoOrder():
                    self.algos.restore(record)

    def drain(self) -> Changes:
        """Return and forget what changed since the last call."""
        return self.journal.drain()

    @property
    def dirty(self) -> bool:
        """True when `drain` would return something."""
        return not self.journal.changes.empty

    # -- views

    @property
    def accounts(self) -> dict[int, Account]:
        """All accounts by id."""
        return self.book.by_id

    @property
    def account_by_key(self) -> dict[str, Account]:
        """All accounts by API key."""
        return self.book.by_key

    @property
    def positions(self) -> dict[PositionKey, Position]:
        """All positions by (account id, symbol, position side)."""
        return self.clearing.positions

    @property
    def trades(self) -> deque[Trade]:
        """All trades still remembered, oldest first."""
        return self.clearing.trades

    @property
    def income(self) -> deque[Income]:
        """All lines of income still remembered, oldest first."""
        return self.clearing.income

    @property
    def open_orders(self) -> dict[str, dict[int, Order]]:
        """Open orders of all accounts, by symbol and id."""
        return self.orders.open

    @property
    def next_order_id(self) -> int:
        """The id of the next order."""
        return self.orders.next_id

    @property
    def next_trade_id(self) -> dict[str, int]:
        """The id of the next trade, by symbol that has traded."""
        return self.clearing.next_trade_id

    # -- accounts

    def open_account(self, api_key: str, secret: str, wallet: Decimal, now_ms: int) -> Account:
        """Return the account of a key, created with `wallet` USDT if it is new; its secret is updated."""
        account, new = self.book.open(api_key, secret)
        if new and wallet:
            self.deposit(account, wallet, now_ms)
        return account

    def deposit(self, account: Account, amount: Decimal, now_ms: int, asset: str = USDT) -> None:
        """Move an asset into (or, negative, out of) the wallet and tell the user stream."""
        self.clearing.deposit(account, amount, now_ms, asset)

    def set_leverage(self, account: Account, symbol: str, leverage: int, now_ms: int) -> Reject | None:
        """Set the leverage of a symbol; refused when the position or the margin does not allow it."""
        return self.settings.set_leverage(account, symbol, leverage, now_ms)

    def set_listen_key(self, account: Account, key: str, expires_ms: int) -> None:
        """Store the listen key of an account; an empty key ends it."""
        self.book.set_listen_key(account, key, expires_ms)

    def expire_listen_keys(self, now_ms: int) -> None:
        """End the keys whose time is over, each with its `listenKeyExpired` event."""
        self.book.expire_listen_keys(now_ms)

    def leverage_of(self, account: Account, symbol: str) -> int:
        """Return the leverage in force."""
        return self.book.leverage_of(account, symbol)

    def position_of(self, account: Account, symbol: str, side: str = BOTH) -> Position:
        """Return the position, a flat one when there is none."""
        return self.clearing.position_of(account, symbol, side)

    def open_orders_of(self, account: Account, symbol: str | None = None) -> list[Order]:
        """Return the open orders, oldest first."""
        return self.orders.open_of(account, symbol)

    def margin_of(self, account: Account, asset: str = USDT) -> margin.AccountMargin:
        """Return the account's margin figures in one margin asset."""
        return self.margin_desk.of(account, asset)

    def leg_of(self, account: Account, symbol: str, side: str = BOTH) -> margin.LegMargin:
        """Return the margin figures of one position side."""
        return self.margin_desk.leg(account, symbol, side)

    def adl_quantile(self, account: Account, symbol: str, side: str = BOTH) -> int:
        """Return the place of a position in the deleveraging queue: 0, and 4 for those closed first."""
        return self.queue.quantile(account, symbol, side)

    # -- orders

    def place(self, account: Account, new: NewOrder, now_ms: int) -> Order | Reject:
        """Accept an order and execute what can be executed at once, or refuse it without a trace."""
        return self.flow.place(account, new, now_ms)

    def cancel(self, account: Account, order: Order, now_ms: int) -> Order | Reject:
        """Cancel an open order; -2011 when it is not open any more."""
        return self.flow.cancel(account, order, now_ms)

    def amend(self, account: Account, order: Order, change: OrderChange, now_ms: int) -> Order | Reject:
        """Change an open limit order; it may end cancelled (see `order_amend`)."""
        return self.amender.amend(account, order, change, now_ms)

    def cancel_all(self, account: Account, symbol: str | None, now_ms: int) -> list[Order]:
        """Cancel every open order of a symbol (None: of all) and return them."""
        return self.flow.cancel_all(account, symbol, now_ms)

    def set_countdown(self, account: Account, symbol: str, countdown_ms: int, now_ms: int) -> None:
        """Cancel all orders of a symbol in `countdown_ms`, unless this is called again first; 0 stops."""
        self.timers.set_countdown(account, symbol, countdown_ms, now_ms)

    def amendments_of(self, account: Account, symbol: str) -> list[Amendment]:
        """Return the remembered amendments of a symbol, newest first."""
        return self.orders.amendments_of(account, symbol)

    def tick(self, now_ms: int) -> None:
        """Do everything that only time makes due."""
        self.timers.tick(now_ms)
        self.algo_flow.tick(now_ms)
        self.funding.tick(now_ms)
        self.liquidator.tick(now_ms)

    # -- forced by the exchange, for faults and scripts

    def force_liquidation(self, account: Account, symbol: str, now_ms: int) -> None:
        """Liquidate a position at once. Raises `SimulatorError` when there is none."""
        self.liquidator.force_liquidation(account, symbol, now_ms)

    def force_adl(self, account: Account, symbol: str, quantity: Decimal, now_ms: int) -> Decimal:
        """Deleverage up to a quantity (base asset) of a position; return what was closed.

        Raises `SimulatorError` when there is no position.
        """
        return self.liquidator.force_adl(account, symbol, quantity, now_ms)

    def settle(self, symbol: str, price: Decimal, now_ms: int) -> int:
        """End all orders of a symbol and close all positions at a price; return how many closed."""
        return self.listings.settle(symbol, price, now_ms)

    def set_status(self, symbol: str, status: str, now_ms: int, delivery_ms: int | None = None) -> None:
        """Give a symbol another status, such as SETTLING, and delivery time; both are stored."""
        self.listings.set_status(symbol, status, now_ms, delivery_ms)

    # -- orders

    def check(self, account: Account, new: NewOrder, now_ms: int) -> Order | Reject:
        """Judge a placement without doing it; returns the order that it would be."""
        return self.flow.check(account, new, now_ms)

    def find_order(
        self, account: Account, symbol: str, order_id: int | None, client_id: str | None
    ) -> Order | None:
        """Return an order by id, or the latest one with a client id."""
        return self.orders.find(account, symbol, order_id, client_id)

    def all_orders(self, account: Account) -> Iterator[Order]:
        """Yield every order still remembered, oldest first."""
        return self.orders.all_of(account)

    def trades_of(self, account: Account, symbol: str, first_id: int = 0) -> list[Trade]:
        """Return the remembered trades of a symbol from an id upwards, oldest first."""
        return self.clearing.trades_of(account, symbol, first_id)

    # -- conditional orders

    def place_algo(self, account: Account, new: NewAlgo, now_ms: int) -> AlgoOrder | Reject:
        """Accept a conditional order, or refuse it without a trace."""
        return self.algo_flow.place(account, new, now_ms)

    def cancel_algo(self, account: Account, algo: AlgoOrder, now_ms: int) -> AlgoOrder | Reject:
        """Cancel an open conditional order; -2011 when it is not open any more."""
        return self.algo_flow.cancel(account, algo, now_ms)

    def find_algo(self, account: Account, algo_id: int | None, client_id: str | None) -> AlgoOrder | None:
        """Return a conditional order by id, or the latest one with a client id."""
        return self.algos.find(account, algo_id, client_id)

    def open_algos_of(self, account: Account, symbol: str | None = None) -> list[AlgoOrder]:
        """Return the open conditional orders, oldest first."""
        return self.algos.open_of(account, symbol)

    def all_algos(self, account: Account) -> Iterator[AlgoOrder]:
        """Yield every conditional order still remembered, oldest first."""
        return self.algos.all_of(account)

    # -- market

    def quote(self, market: Market, now_ms: int) -> None:
        """Match the resting orders of a symbol against its new quote; `before_update` came before it."""
        self.resting[market.symbol].level_changed()
        if market.live and self.orders.open.get(market.symbol):
            fills = self.resting[market.symbol].crossed(self.orders.open[market.symbol])
            self.flow.fill_resting(fills, now_ms)
        self.algo_flow.watch(market, now_ms)

    def public_trade(
        self, market: Market, price: Decimal, quantity: Decimal, buyer_is_maker: bool, now_ms: int
    ) -> None:
        """Let a trade of the tape take from the queues in which orders rest, and fire what waits for it."""
        orders = self.orders.open.get(market.symbol)
        if orders:
            fills = self.resting[market.symbol].traded(orders, price, quantity, buyer_is_maker)
            self.flow.fill_resting(fills, now_ms)
        market.last = price
        self.algo_flow.watch(market, now_ms)

    def before_update(self, market: Market) -> None:
        """Give new resting orders their place in the queue, before the market changes."""
        self.resting[market.symbol].join(self.orders.open.get(market.symbol, {}))
