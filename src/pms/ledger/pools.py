"""A pooled close: one order of the house whose fills belong to the positions that it closes, in their order.

Shares and fills are two lines of quantities laid side by side: what is allocated is one number, up to which
both are used up. So an allocation may stop after any part, and go on after a restart with the next one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from pms.model.ids import ClientOrderId, ExchangeOrderId, PositionId, SubAccountId
from pms.model.money import ZERO, Price, round_cost
from pms.model.order import OrderSide
from pms.model.symbol import Symbol

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PoolShare:
    """A position that a pooled order closes, and how much of it, in base units."""

    position_id: PositionId
    sub_account_id: SubAccountId
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class PoolFill:
    """An execution of the pooled order that is booked; `fee` in the account's asset, of the whole fill;
    `trade_time_ms` is the exchange's: by it the closers held their positions no more."""

    exchange_order_id: ExchangeOrderId
    price: Price
    quantity: Decimal
    fee: Decimal
    trade_time_ms: int


@dataclass(frozen=True, slots=True)
class PoolPart:
    """What one share gets of one fill; `before` is what was allocated before it, which names it for good."""

    share: PoolShare
    fill: PoolFill
    before: Decimal
    quantity: Decimal
    fee: Decimal


@dataclass(frozen=True, slots=True)
class Pool:
    """A pooled order. `allocated` of what is booked has been given to the shares; `ended`: the order is
    terminal, and nothing more will be booked."""

    client_order_id: ClientOrderId
    symbol: Symbol
    side: OrderSide
    action: str
    shares: tuple[PoolShare, ...]
    fills: tuple[PoolFill, ...] = ()
    allocated: Decimal = ZERO
    ended: bool = False
    revision: int = 1

    @property
    def booked(self) -> Decimal:
        return sum((fill.quantity for fill in self.fills), ZERO)

    @property
    def pending(self) -> Decimal:
        """What the house holds of this order and passes on."""
        return self.booked - self.allocated

    @property
    def done(self) -> bool:
        return self.ended and self.pending == 0

    def pending_since_ms(self) -> int | None:
        """Return the trade time of the oldest execution that is not wholly passed on; None for none."""
        left = _from(((fill, fill.quantity) for fill in self.fills), self.allocated)
        return min((fill.trade_time_ms for fill, _ in left), default=None)

    def parts(self, count_max: int) -> Iterator[PoolPart]:
        """Yield what is to be allocated next, in order."""
        at, booked = self.allocated, self.booked
        shares = _from(((share, share.quantity) for share in self.shares), at)
        fills = _from(((fill, fill.quantity) for fill in self.fills), at)
        share, share_end = next(shares, (None, ZERO))
        fill, fill_end = next(fills, (None, ZERO))
        while share is not None and fill is not None and at < booked and count_max > 0:
            end = min(share_end, fill_end)
            start_of_fill = fill_end - fill.quantity
            yield PoolPart(share, fill, at, end - at, _fee(fill, at - start_of_fill, end - start_of_fill))
            at, count_max = end, count_max - 1
            if end == share_end:
                share, share_end = next(shares, (None, ZERO))
            if end == fill_end:
                fill, fill_end = next(fills, (None, ZERO))

    def claims(self) -> Iterator[tuple[PoolShare, Decimal]]:
        """Yield each share with what this order may still close of it."""
        limit = self.booked if self.ended else None
        end = ZERO
        for share in self.shares:
            start, end = end, end + share.quantity
            left = (end if limit is None else min(end, limit)) - max(start, self.allocated)
            if left > 0:
                yield share, left


def _from(line: Iterator[tuple[_T, Decimal]], at: Decimal) -> Iterator[tuple[_T, Decimal]]:
    """Yield (item, where it ends on the line) of those that end behind `at`."""
    end = ZERO
    for item, quantity in line:
        end += quantity
        if end > at:
            yield item, end


def _fee(fill: PoolFill, start: Decimal, end: Decimal) -> Decimal:
    """Return the fee of a stretch of a fill, so that the stretches of a whole fill sum to its fee exactly."""
    return round_cost(fill.fee * end / fill.quantity) - round_cost(fill.fee * start / fill.quantity)
