"""What the market offers: the levels that an incoming order can take, and what was already taken of them.

Level 0 is the displayed quote. Behind it stand the recorded levels where the recording has depth; otherwise
modelled ones, each one tick worse and twice as large.

What an order took of a level stays taken until the next update of that level: a change of the best price or
size of its side for the quote, the next depth event that names it for recorded levels, the next quote for
modelled ones. A scripted quote has no next update, so that every order sees it afresh. Nobody else reacts to
what was taken: the recording goes on as it was.
How resting orders fill is in `resting` and `queue_model`. Decision 0008.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from pms.simulator.state import ZERO, Market

LEVELS_MAX = 24
Fill = tuple[Decimal, Decimal]


def shown(market: Market, side: str, tick: Decimal) -> Iterator[tuple[Decimal, Decimal]]:
    """Yield the displayed (price, quantity) that an order of `side` could take, best first."""
    price, size = (market.ask, market.ask_quantity) if side == "BUY" else (market.bid, market.bid_quantity)
    if price <= 0 or size <= 0:
        return
    if market.deep and market.book is not None:
        yield price, size
        yield from market.book.side(side).worse_than(price)
        return
    step = tick if side == "BUY" else -tick
    for _ in range(LEVELS_MAX):
        if price <= 0:
            return
        yield price, size
        price += step
        size *= 2


def shown_at(market: Market, side: str, price: Decimal, tick: Decimal) -> Decimal | None:
    """Return what the book displays at a price on the side where an order of `side` rests.

    Zero inside the spread; None where nobody knows: behind the best quote of a recording without depth.
    """
    best, size = (market.bid, market.bid_quantity) if side == "BUY" else (market.ask, market.ask_quantity)
    if price == best:
        return size
    if (price > best) == (side == "BUY"):
        return ZERO
    if market.deep and market.book is not None:
        return market.book.side("SELL" if side == "BUY" else "BUY").get(price)
    return None


def modelled_at(market: Market, side: str, price: Decimal, tick: Decimal) -> Decimal:
    """Return the size that the ladder of `shown` has, or would have, where an order of `side` rests."""
    best, size = (market.bid, market.bid_quantity) if side == "BUY" else (market.ask, market.ask_quantity)
    steps = int(abs(best - price) / tick) if tick else 0
    return size * (1 << min(steps, LEVELS_MAX - 1))


def levels(market: Market, side: str, tick: Decimal) -> Iterator[tuple[Decimal, Decimal]]:
    """Yield (price, quantity) that an order of `side` can take now, best first."""
    for price, size in shown(market, side, tick):
        left = size - market.taken.get((side, price), ZERO)
        if left > 0:
            yield price, left


def take(
    market: Market, side: str, quantity: Decimal, tick: Decimal, limit: Decimal | None
) -> list[tuple[Decimal, Decimal]]:
    """Return the fills of a taker order: at most `quantity`, at no price worse than `limit`.

    Changes nothing: `consume` marks them as taken once they are executed.
    """
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


def consume(market: Market, side: str, fills: Iterable[Fill]) -> None:
    """Mark fills of an order of `side` against the book (not against own orders) as taken."""
    if market.scripted:
        return
    for price, quantity in fills:
        key = (side, price)
        market.taken[key] = market.taken.get(key, ZERO) + quantity


def would_take(market: Market, side: str, price: Decimal) -> bool:
    """True when a limit order at `price` would execute at once."""
    return market.live and (price >= market.ask if side == "BUY" else price <= market.bid)


def market_limit(market: Market, side: str, bound: Decimal) -> Decimal | None:
    """Return the worst price of a MARKET order: `marketTakeBound` away from the mark (spec section 3)."""
    reference = market.mark or market.mid
    return reference * (1 + bound) if side == "BUY" else max(reference * (1 - bound), ZERO)
