"""Between which equities an account's level stays: what the step over the columns compares with."""

import math
from dataclasses import dataclass

from pms.risk.formulas import ESCALATION_STEP, WARNING_STEP
from pms.risk.liquidation import Level

BOUND_SLACK = 1e-9
"""Relative slack of the alarm bounds; a thousand times the drift of a million ticks."""


@dataclass(frozen=True, slots=True)
class Bound:
    """An equity as a straight line over maintenance."""

    factor: float
    offset: float

    def at(self, maintenance: float) -> float:
        """Return the equity for a maintenance; a negative or undefined one counts as 0."""
        return self.factor * maintenance + self.offset if maintenance > 0.0 else self.offset


def level_bounds(level: Level, threshold: float) -> tuple[Bound, Bound]:
    """Return (low, high): equity at or below `low` may be worse than `level`, above `high` may be better."""
    factors = {
        Level.WARN: _factor(threshold - float(WARNING_STEP)),
        Level.LIQUIDATE: _factor(threshold),
        Level.ESCALATE: _factor(threshold + float(ESCALATION_STEP)),
        Level.INSOLVENT: 1.0,
    }
    worse = [factor for reached, factor in factors.items() if reached > level]
    if not worse:
        low = Bound(0.0, -math.inf)
    elif max(worse) == math.inf:
        low = Bound(0.0, math.inf)
    else:
        low = Bound(max(worse) * (1.0 + BOUND_SLACK), BOUND_SLACK)
    reached_at = math.inf if level is Level.CALM else factors[level]
    if reached_at == math.inf:
        return low, Bound(0.0, math.inf)
    return low, Bound(reached_at * (1.0 - BOUND_SLACK), -BOUND_SLACK)


def _factor(ratio: float) -> float:
    """Return equity / maintenance at a margin ratio; a ratio of 0 or less is always reached."""
    return 1.0 / ratio if ratio > 0.0 else math.inf
