"""Order validation: the exchange's filters, its codes, texts and order of checks (Binance spec 3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from pms.exchange.messages import Bracket, SymbolInfo
from pms.simulator import errors
from pms.simulator.errors import Reject
from pms.simulator.state import ZERO, Market, text

NUMBER = re.compile(r"^-?\d{1,20}(\.\d{1,20})?$")


@dataclass(frozen=True, slots=True)
class Range:
    """Minimum, maximum and step of a price or quantity; zero disables a bound."""

    low: Decimal
    high: Decimal
    step: Decimal


@dataclass(frozen=True, slots=True)
class SymbolRules:
    """The filters of one symbol as numbers."""

    symbol: str
    info: SymbolInfo
    price: Range
    lot: Range
    market_lot: Range
    min_notional: Decimal
    multiplier_up: Decimal
    multiplier_down: Decimal
    open_orders_max: int
    take_bound: Decimal
    brackets: tuple[Bracket, ...]

    def max_notional(self, leverage: int) -> Decimal:
        """Return the largest notional allowed at a leverage (spec section 7)."""
        caps = [b.notional_cap for b in self.brackets if b.initial_leverage >= leverage]
        return max(caps) if caps else ZERO

    def traded_price(self, market: Market) -> Decimal:
        """Return where a trade may have been between the best quotes: the middle, cut to a valid price."""
        tick = self.price.step
        return market.mid // tick * tick if tick else market.mid

    @property
    def leverage_max(self) -> int:
        """Highest leverage of the first bracket."""
        return max((b.initial_leverage for b in self.brackets), default=20)

    def maintenance(self, notional: Decimal) -> Decimal:
        """Return the maintenance margin of a notional: notional × rate − cum of its bracket."""
        for bracket in self.brackets:
            if notional <= bracket.notional_cap:
                return notional * bracket.maint_margin_ratio - bracket.cum
        last = self.brackets[-1] if self.brackets else None
        return notional * last.maint_margin_ratio - last.cum if last else ZERO


def rules_of(info: SymbolInfo, brackets: tuple[Bracket, ...]) -> SymbolRules:
    """Read the filters of a symbol."""
    filters = {f.filter_type: f for f in info.filters}

    def spread(kind: str, low: str, high: str, step: str) -> Range:
        item = filters.get(kind)
        values = (Decimal(getattr(item, name, None) or 0) for name in (low, high, step))
        return Range(*values)

    notional, percent, count = (filters.get(k) for k in ("MIN_NOTIONAL", "PERCENT_PRICE", "MAX_NUM_ORDERS"))
    return SymbolRules(
        symbol=info.symbol,
        info=info,
        price=spread("PRICE_FILTER", "min_price", "max_price", "tick_size"),
        lot=spread("LOT_SIZE", "min_qty", "max_qty", "step_size"),
        market_lot=spread("MARKET_LOT_SIZE", "min_qty", "max_qty", "step_size"),
        min_notional=Decimal((notional and notional.notional) or 0),
        multiplier_up=Decimal((percent and percent.multiplier_up) or 0),
        multiplier_down=Decimal((percent and percent.multiplier_down) or 0),
        open_orders_max=(count and count.limit) or 200,
        take_bound=Decimal(info.market_take_bound or "0.05"),
        brackets=brackets,
    )


def decimals(value: Decimal) -> int:
    """Return the number of decimals that matter (trailing zeros do not)."""
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def number(raw: str | None) -> Decimal | None:
    """Return a plain decimal, or None for anything else (exponents, NaN, infinities, blanks)."""
    if raw is None or not NUMBER.match(raw):
        return None
    try:
        return Decimal(raw)
    except InvalidOperation:
        return None


def check_status(rules: SymbolRules, closing: bool) -> Reject | None:
    """Only a symbol in TRADING takes orders that open; one on its way out takes closing ones."""
    status = rules.info.status
    if status == "TRADING" or (closing and status.startswith("PRE_")):
        return None
    if status.startswith("PRE_"):
        return Reject(-4140, "Invalid symbol status for opening position")
    return Reject(-4108, "Symbol is on delivering or delivered or settling or closed or pre-trading.")


def check_limit(
    price: Decimal, quantity: Decimal, side: str, rules: SymbolRules, market: Market
) -> Reject | None:
    """Check precision, price and lot filters of a limit order; the minimum notional is apart."""
    if decimals(quantity) > rules.info.quantity_precision or decimals(price) > rules.info.price_precision:
        return errors.PRECISION
    return _check_price(price, side, rules, market) or _check_lot(quantity, rules.lot)


def check_market(quantity: Decimal, side: str, rules: SymbolRules, market: Market) -> Reject | None:
    """Check precision and lot filters of a market order, and the counterparty's best price (-4131)."""
    if decimals(quantity) > rules.info.quantity_precision:
        return errors.PRECISION
    refused = _check_lot(quantity, rules.market_lot)
    if refused:
        return refused
    if not market.live:
        return errors.NO_COUNTERPARTY
    if market.mark and rules.multiplier_up:
        too_high = side == "BUY" and market.ask > market.mark * rules.multiplier_up
        too_low = side == "SELL" and market.bid < market.mark * rules.multiplier_down
        if too_high or too_low:
            return errors.NO_COUNTERPARTY
    return None


def check_trigger(price: Decimal, rules: SymbolRules) -> Reject | None:
    """Check precision, range and tick of a trigger or activation price; zero stands for none."""
    if price < 0:
        return Reject(-4006, "Stop price less than zero.")
    if decimals(price) > rules.info.price_precision:
        return errors.PRECISION
    if rules.price.high and price > rules.price.high:
        return Reject(-4007, "Stop price greater than max price.")
    off_tick = price and rules.price.step and (price - rules.price.low) % rules.price.step
    return Reject(-4014, "Price not increased by tick size.") if off_tick else None


def check_quantity(quantity: Decimal, price: Decimal, rules: SymbolRules) -> Reject | None:
    """Check precision, lot and tick of a conditional order; its price limits hold when it fires.

    A zero price is a market order or a price match.
    """
    if decimals(quantity) > rules.info.quantity_precision or decimals(price) > rules.info.price_precision:
        return errors.PRECISION
    if price < 0:
        return Reject(-4001, "Price less than 0.")
    if price and rules.price.step and (price - rules.price.low) % rules.price.step:
        return Reject(-4014, "Price not increased by tick size.")
    return _check_lot(quantity, rules.lot if price else rules.market_lot)


def check_notional(reference: Decimal, quantity: Decimal, rules: SymbolRules) -> Reject | None:
    """-4164 below the symbol's minimum; without a reference price nothing can be said."""
    if not reference or reference * quantity >= rules.min_notional:
        return None
    advice = "(unless you choose reduce only)."
    return Reject(-4164, f"Order's notional must be no smaller than {text(rules.min_notional)} {advice}")


def _check_price(price: Decimal, side: str, rules: SymbolRules, market: Market) -> Reject | None:
    limits = rules.price
    if price <= 0:
        return Reject(-4001, "Price less than 0.")
    if limits.low and price < limits.low:
        return Reject(-4013, "Price less than min price.")
    if limits.high and price > limits.high:
        return Reject(-4002, "Price greater than max price.")
    if limits.step and (price - limits.low) % limits.step:
        return Reject(-4014, "Price not increased by tick size.")
    if market.mark and rules.multiplier_up:
        highest, lowest = market.mark * rules.multiplier_up, market.mark * rules.multiplier_down
        if side == "BUY" and price > highest:
            return Reject(-4016, f"Limit price can't be higher than {_shown(highest, rules)}.")
        if side == "SELL" and price < lowest:
            return Reject(-4024, f"Limit price can't be lower than {_shown(lowest, rules)}.")
    return None


def _shown(value: Decimal, rules: SymbolRules) -> str:
    return text(value.quantize(Decimal(1).scaleb(-rules.info.price_precision)))


def _check_lot(quantity: Decimal, lot: Range) -> Reject | None:
    if quantity <= 0:
        return Reject(-4003, "Quantity less than zero.")
    if lot.low and quantity < lot.low:
        return Reject(-4004, "Quantity less than min quantity.")
    if lot.high and quantity > lot.high:
        return Reject(-4005, "Quantity greater than max quantity.")
    if lot.step and (quantity - lot.low) % lot.step:
        return Reject(-4023, "Qty not increased by step size.")
    return None
