"""The liquidity model: what a quote offers to a taker and to resting orders.

A recording holds the best quote only, so depth behind it is modelled. Level 0 is the displayed price and
size; each deeper level is one tick worse and twice as large. Every incoming order sees all levels afresh:
liquidity that was taken is there again for the next order, because the replay cannot know what our trading
would have changed.
A resting order fills at its own price once the opposite best reaches or crosses it; each quote gives the
resting orders of that side, together, at most its displayed size, in price-time priority.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from pms.simulator.state import ZERO, Market

LEVELS_MAX = 24


def levels(market: Market, side: str, tick: Decimal) -> Iterator[tuple[Decimal, Decimal]]:
    """Yield (price, quantity) that an order of `side` can take, best first."""
    price, size = (market.ask, market.ask_quantity) if side == "BUY" else (market.bid, market.bid_quantity)
    step = tick if side == "BUY" else -tick
    for _ in range(LEVELS_MAX):
        if price <= 0 or size <= 0:
            return
        yield price, size
        price += step
        size *= 2


def take(
    market: Market, side: str, quantity: Decimal, tick: Decimal, limit: Decimal | None
) -> list[tuple[Decimal, Decimal]]:
    """Return the fills of a taker order: at most `quantity`, at no price worse than `limit`."""
    fills: list[tuple[Decimal, Decimal]] = []
    left = quantity
    for price, size in levels(market, side, tick):
        beyond = limit is not None and (price > limit if side == "BUY" else price < limit)
        if left <= 0 or beyond:
            break
        part = min(left, size)
        fills.append((price, part))
        left -= part
    return fills


def would_take(market: Market, side: str, price: Decimal) -> bool:
    """True when a limit order at `price` would execute at once."""
    return market.live and (price >= market.ask if side == "BUY" else price <= market.bid)


def market_limit(market: Market, side: str, bound: Decimal) -> Decimal | None:
    """Return the worst price of a MARKET order: `marketTakeBound` away from the mark (spec section 3)."""
    reference = market.mark or market.mid
    return reference * (1 + bound) if side == "BUY" else max(reference * (1 - bound), ZERO)
