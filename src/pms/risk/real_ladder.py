"""The real account's ladder: what its maintenance against its margin balance demands (decision 19). Pure.

A level is entered at its ratio and left 5 points below it, so that an account at the edge does not flutter.
Shedding acts only at 80 % and above, only on figures that the exchange has confirmed and only while every
held symbol has a fresh mark: one step, then a pause, then a look at what the step has done (decision 21).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum

from pms.model.account import Position
from pms.model.ids import PositionId
from pms.model.money import CONTEXT, ZERO, round_up
from pms.model.symbol import Symbol

WARN_RATIO = Decimal("0.50")
BLOCK_RATIO = Decimal("0.65")
SHED_RATIO = Decimal("0.80")
HYSTERESIS = Decimal("0.05")
SHED_TARGET = Decimal("0.78")
"""A step aims below 80 %, or the next tick would ask for another one."""

STEP_PAUSE_MS = 2_000
"""Between two steps of shedding, as between two of a liquidation (decision 21)."""


class RealLevel(IntEnum):
    """How near the real account is to its own liquidation. BLOCK: no entries; SHED: positions are closed."""

    CALM = 0
    WARN = 1
    BLOCK = 2
    SHED = 3


_ENTERED = {RealLevel.WARN: WARN_RATIO, RealLevel.BLOCK: BLOCK_RATIO, RealLevel.SHED: SHED_RATIO}


def level_after(before: RealLevel, ratio: Decimal) -> RealLevel:
    """Return the level at a ratio: up at once, down only when it is 5 points below where it began."""
    reached = RealLevel.CALM
    for level, entered in _ENTERED.items():
        if ratio >= entered or (level <= before and ratio >= entered - HYSTERESIS):
            reached = level
    return reached


@dataclass(frozen=True, slots=True)
class RealRisk:
    """One symbol of the real account: signed net as the exchange confirmed it, mark, maintenance in USDT, the
    maintenance rate of its bracket, and whether the mark is fresh. `step` is the lot of a market order."""

    symbol: Symbol
    net: Decimal
    mark: Decimal
    maintenance: Decimal
    rate: Decimal
    fresh: bool
    step: Decimal


@dataclass(frozen=True, slots=True)
class ShedPart:
    """A part of one position to close, in base units."""

    position_id: PositionId
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Shed:
    """One step: close these parts of one symbol. `house_quantity` is what no sub-account holds of it."""

    symbol: Symbol
    parts: tuple[ShedPart, ...]
    house_quantity: Decimal


@dataclass(frozen=True, slots=True)
class NoShed:
    """Nothing is closed now; `reason` is empty when the ratio is below the step."""

    reason: str = ""


def shed_step(
    risks: Sequence[RealRisk],
    holders: Mapping[Symbol, Sequence[Position]],
    maintenance: Decimal,
    balance: Decimal,
) -> Shed | NoShed:
    """Return the next step at the account's maintenance and margin balance.

    The symbol with the most maintenance is reduced by as many lots as bring the account to 78 % (all of its
    net when that is less), taken pro rata from the holders of the net's side; ties go to the earlier name and
    the earlier position.
    """
    if not maintenance or (balance > 0 and maintenance / balance < SHED_RATIO):
        return NoShed()
    held = [risk for risk in risks if risk.net]
    if not held:
        return NoShed("the exchange tells no position that could be closed")
    stale = sorted(risk.symbol for risk in held if not risk.fresh)
    if stale:
        return NoShed(f"the marks of {', '.join(stale)} are not fresh")
    for risk in sorted(held, key=lambda one: (-one.maintenance, one.symbol)):
        step = _of_symbol(risk, holders.get(risk.symbol, ()), maintenance, balance)
        if step.parts:
            return step
    return NoShed("no sub-account holds what the real account holds; the house does")


def _of_symbol(risk: RealRisk, positions: Sequence[Position], maintenance: Decimal, balance: Decimal) -> Shed:
    sign = 1 if risk.net > 0 else -1
    mine = sorted(
        (position for position in positions if position.side.sign == sign),
        key=lambda position: (position.opened_at_ms, position.id),
    )
    held = sum((Decimal(position.quantity) for position in mine), ZERO)
    wanted = wanted_quantity(risk, maintenance, balance)
    taken = min(wanted, held)
    shares = lots_pro_rata(taken, [Decimal(position.quantity) for position in mine], risk.step)
    parts = tuple(ShedPart(position.id, share) for position, share in zip(mine, shares, strict=True) if share)
    return Shed(risk.symbol, parts, wanted - taken)


def wanted_quantity(risk: RealRisk, maintenance: Decimal, balance: Decimal) -> Decimal:
    """Return how much of a symbol's net to close: lots, rounded up, at most the net."""
    whole = abs(risk.net)
    unit = risk.mark * risk.rate
    excess = maintenance - max(balance, ZERO) * SHED_TARGET
    if unit <= 0:
        return whole
    return min(whole, round_up(CONTEXT.divide(excess, unit), risk.step))


def lots_pro_rata(quantity: Decimal, holdings: Sequence[Decimal], step: Decimal) -> list[Decimal]:
    """Return shares of a quantity in proportion to the holdings, in whole lots; what the rounding leaves goes
    to the earlier holders, lot by lot, and never more than one holds.

    A holding that is no multiple of the lot gives its odd rest only when it is taken whole.
    """
    total = sum(holdings, ZERO)
    if quantity >= total or not step:
        return [min(held, quantity * held / total) if total else ZERO for held in holdings]
    shares = [CONTEXT.divide(quantity * held, total) // step * step for held in holdings]
    missing = quantity - sum(shares, ZERO)
    for place, held in enumerate(holdings):
        if missing <= 0:
            break
        more = min(missing, step, held - shares[place])
        if more > 0:
            shares[place] += more
            missing -= more
    return shares
