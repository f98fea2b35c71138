"""Decides what an account can afford: margin of its positions and orders, cost of a new one (spec 7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal

from pms.simulator import errors, margin
from pms.simulator.clearing import Clearing
from pms.simulator.errors import Reject
from pms.simulator.exposure import Exposure, Exposures, contribution
from pms.simulator.rules import SymbolRules
from pms.simulator.state import BOTH, USDT, ZERO, Account, Market, Order, Position
from pms.simulator.trading_rules import TradingRules

MARKET_BUY_FACTOR = Decimal("1.0005")
"""A market buy is assumed to pay this much above the best ask (spec section 7, assumed price)."""


class MarginDesk:
    """Reads positions and open orders of one account at a time; cost O(symbols in use by the account)."""

    def __init__(
        self,
        clearing: Clearing,
        exposures: Exposures,
        rules: Mapping[str, SymbolRules],
        markets: Mapping[str, Market],
        leverage_of: Callable[[Account, str], int],
        trading_rules: TradingRules,
    ) -> None:
        self._clearing = clearing
        self._exposures = exposures
        self._rules = rules
        self._markets = markets
        self._leverage_of = leverage_of
        self._trading_rules = trading_rules

    def asset_of(self, symbol: str) -> str:
        """Return the margin asset of a symbol."""
        return self._clearing.margin_asset(symbol)

    def used(self, account: Account) -> set[tuple[str, str]]:
        """Return the (symbol, side) pairs with a position or an open order."""
        held = {(p.symbol, p.side) for p in self._clearing.held_by(account)}
        return held | self._exposures.used(account.account_id)

    def leg(self, account: Account, symbol: str, side: str) -> margin.LegMargin:
        """Return the margin figures of one position side."""
        position = self._clearing.position_of(account, symbol, side)
        return self._leg(account, position, self._exposures.of(account.account_id, symbol, side))

    def _leg(self, account: Account, position: Position, exposure: Exposure) -> margin.LegMargin:
        symbol = position.symbol
        reference = margin.reference_price(position, self._markets[symbol])
        leverage = self._leverage_of(account, symbol)
        isolated = account.isolates(symbol)
        return margin.leg_margin(position, exposure, reference, self._rules[symbol], leverage, isolated)

    def of(self, account: Account, asset: str = USDT) -> margin.AccountMargin:
        """Return the account's totals in one margin asset."""
        legs = [
            self.leg(account, symbol, side)
            for symbol, side in sorted(self.used(account))
            if symbol in self._rules and self.asset_of(symbol) == asset
        ]
        cross = self._clearing.cross_wallet(account, asset)
        return margin.total(asset, account.wallets.get(asset, ZERO), legs, cross)

    def liquidation_price(
        self, account: Account, symbol: str, totals: margin.AccountMargin, side: str = BOTH
    ) -> Decimal:
        """Return the price of a symbol at which a position would be liquidated, zero when none.

        On cross margin that is the account's, whatever the side; an isolated position has its wallet alone.
        """
        held = [p for p in self._clearing.held_by(account) if p.symbol == symbol]
        if account.isolates(symbol):
            held = [p for p in held if p.side == side]
            alone = [replace(self.leg(account, symbol, side), isolated=False)]
            wallet = self._clearing.position_of(account, symbol, side).isolated_wallet
            totals = margin.total(totals.asset, wallet, alone)
        return margin.liquidation_price(held, totals, self._rules[symbol])

    def check_new(self, account: Account, order: Order) -> Reject | None:
        """-2023 and -4400, then -2027, -2019 and -4118: an order may not need more margin than there is."""
        refused = self._check_standing(account, order)
        if refused:
            return refused
        symbol, side = order.symbol, order.position_side
        before = self.of(account, self.asset_of(symbol))
        price = self._assumed_price(order)
        exposure = replace(self._exposures.of(account.account_id, symbol, side))
        position = self._clearing.position_of(account, symbol, side)
        old = self._leg(account, position, exposure)
        if order.reduce_only:
            return self._check_reduce_only(account, order, before, position, old)
        exposure.add(contribution(order, price), 1)
        new = self._leg(account, position, exposure)
        grown = new.initial - old.initial
        if grown <= 0:
            return None
        leverage = self._leverage_of(account, symbol)
        if new.initial * leverage > self._rules[symbol].max_notional(leverage):
            return errors.MAX_POSITION
        mark = self._markets[symbol].mark or price
        open_loss = order.quantity * max(ZERO, (price - mark) * order.sign)
        return errors.MARGIN if before.free - grown - open_loss < 0 else None

    def _check_standing(self, account: Account, order: Order) -> Reject | None:
        if account.liquidating:
            return errors.IN_LIQUIDATION
        locked = self._trading_rules.locked(account, order.symbol, order.created_ms)
        return errors.QUANTITATIVE_RULE if locked and not order.closes else None

    def _check_reduce_only(
        self,
        account: Account,
        order: Order,
        before: margin.AccountMargin,
        position: Position,
        old: margin.LegMargin,
    ) -> Reject | None:
        """-4118: with the position reduced, a resting order of the same side would open the other way."""
        after = Position(position.account_id, position.symbol, position.quantity, side=position.side)
        after.quantity += order.quantity * order.sign
        after.cost = position.entry * after.quantity
        exposure = self._exposures.of(account.account_id, order.symbol, order.position_side)
        grown = self._leg(account, after, exposure).initial - old.initial
        return errors.REDUCE_ONLY_MARGIN if grown > 0 and before.free - grown < 0 else None

    def _assumed_price(self, order: Order) -> Decimal:
        market = self._markets[order.symbol]
        if order.sign > 0:
            return order.price or (market.ask * MARKET_BUY_FACTOR)
        return max(market.bid, order.price or market.mark)
