"""Margin of a simulated account: initial, maintenance, availability, liquidation price (Binance spec 7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from pms.simulator.rules import SymbolRules
from pms.simulator.state import ZERO, Account, Market, Order, Position


@dataclass(frozen=True, slots=True)
class SymbolMargin:
    """Margin figures of one symbol in USDT."""

    symbol: str
    notional: Decimal
    unrealized: Decimal
    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal
    bid_notional: Decimal
    ask_notional: Decimal


@dataclass(frozen=True, slots=True)
class AccountMargin:
    """Totals of an account in USDT; `available` is floored at zero."""

    wallet: Decimal
    unrealized: Decimal
    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal
    symbols: Mapping[str, SymbolMargin]

    @property
    def free(self) -> Decimal:
        """Margin balance minus initial margins; may be negative."""
        return self.wallet + self.unrealized - self.position_initial - self.order_initial

    @property
    def available(self) -> Decimal:
        """`free`, floored at zero."""
        return max(self.free, ZERO)


def symbol_margin(
    position: Position, orders: Iterable[Order], market: Market, rules: SymbolRules, leverage: int
) -> SymbolMargin:
    """Return the figures of one symbol; open orders count as max(|pos + bids|, |pos − asks|)."""
    reference = market.mark or (market.mid if market.live else position.entry)
    bids = asks = bid_notional = ask_notional = ZERO
    for order in orders:
        value = order.remaining * (order.price or reference)
        if order.side == "BUY":
            bid_notional += value
            bids += ZERO if order.reduce_only else order.remaining
        else:
            ask_notional += value
            asks += ZERO if order.reduce_only else order.remaining
    held = abs(position.quantity)
    worst = max(abs(position.quantity + bids), abs(position.quantity - asks), held)
    notional = position.quantity * reference
    return SymbolMargin(
        symbol=rules.symbol,
        notional=notional,
        unrealized=position.unrealized(reference),
        position_initial=held * reference / leverage,
        order_initial=(worst - held) * reference / leverage,
        maintenance=rules.maintenance(abs(notional)),
        bid_notional=bid_notional,
        ask_notional=ask_notional,
    )


def total(account: Account, parts: Iterable[SymbolMargin]) -> AccountMargin:
    """Sum the symbols of an account (single-asset mode, cross margin)."""
    by_symbol = {part.symbol: part for part in parts}
    values = by_symbol.values()
    return AccountMargin(
        wallet=account.wallet,
        unrealized=sum((p.unrealized for p in values), ZERO),
        position_initial=sum((p.position_initial for p in values), ZERO),
        order_initial=sum((p.order_initial for p in values), ZERO),
        maintenance=sum((p.maintenance for p in values), ZERO),
        symbols=by_symbol,
    )


def liquidation_price(position: Position, margin: AccountMargin, rules: SymbolRules) -> Decimal:
    """Return the cross liquidation price, zero when there is none (spec section 7, bracket iterated)."""
    if not position.quantity:
        return ZERO
    own = margin.symbols[position.symbol]
    others = margin.unrealized - own.unrealized - (margin.maintenance - own.maintenance)
    held, direction = abs(position.quantity), 1 if position.quantity > 0 else -1
    price = ZERO
    notional = abs(own.notional)
    for _ in range(4):
        bracket = next((b for b in rules.brackets if notional <= b.notional_cap), None)
        if bracket is None:
            return ZERO
        divisor = held * (bracket.maint_margin_ratio - direction)
        price = (margin.wallet + others + bracket.cum - position.cost) / divisor
        if price <= 0:
            return ZERO
        notional = held * price
    return price
