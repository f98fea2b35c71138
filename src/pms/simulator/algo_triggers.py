"""When a conditional order fires: pure decisions over one price (Binance spec 2.3)."""

from __future__ import annotations

from decimal import Decimal

from pms.simulator.rules import SymbolRules
from pms.simulator.state import ZERO, AlgoOrder, Market

TRAILING = "TRAILING_STOP_MARKET"
PERCENT = Decimal(100)


def contract_price(market: Market) -> Decimal:
    """Return the last price: that of the last trade, drawn into the present quote; zero without both."""
    if not market.live:
        return market.last
    return min(max(market.last or market.mid, market.bid), market.ask)


def working_price(algo: AlgoOrder, market: Market) -> Decimal:
    """Return the price that the order watches; zero when there is none yet."""
    return market.mark if algo.working_type == "MARK_PRICE" else contract_price(market)


def reached(algo: AlgoOrder, price: Decimal) -> bool:
    """STOP buys at or above its trigger and sells at or below; TAKE_PROFIT the other way round."""
    rising = (algo.sign > 0) == algo.type.startswith("STOP")
    return price >= algo.trigger_price if rising else price <= algo.trigger_price


def activates(algo: AlgoOrder, price: Decimal) -> bool:
    """Tell whether a trailing order starts to follow: a buy at or below its price, a sell at or above."""
    if not algo.activate_price:
        return True
    return price <= algo.activate_price if algo.sign > 0 else price >= algo.activate_price


def follow(algo: AlgoOrder, price: Decimal) -> bool:
    """Move the extreme of an active trailing order; True when the price came back by the callback rate."""
    better = price < algo.extreme if algo.sign > 0 else price > algo.extreme
    if better:
        algo.extreme = price
    return (price - trailing_trigger(algo)) * algo.sign >= 0


def trailing_trigger(algo: AlgoOrder) -> Decimal:
    """Return the price at which an active trailing order fires now."""
    return algo.extreme * (1 + algo.sign * algo.callback_rate / PERCENT)


def fires(algo: AlgoOrder, price: Decimal) -> bool:
    """Tell whether the order fires at a price; an inactive trailing order never does."""
    if algo.type == TRAILING:
        return bool(algo.extreme) and follow(algo, price)
    return reached(algo, price)


def protected(algo: AlgoOrder, market: Market, rules: SymbolRules) -> bool:
    """Tell whether price protection holds the order back: last and mark price are too far apart."""
    threshold = Decimal(rules.info.trigger_protect or 0)
    if not algo.price_protect or not threshold or not market.mark:
        return False
    return abs(contract_price(market) - market.mark) / market.mark > threshold


def would_fire(algo: AlgoOrder, price: Decimal) -> bool:
    """Tell whether a new order is refused with -2021 at the present price."""
    if algo.type != TRAILING:
        return bool(price) and reached(algo, price)
    wrong = algo.activate_price and (algo.activate_price - price) * algo.sign >= ZERO
    return bool(price and wrong)
