"""The vectorised part of the loss rules: one step over all watched accounts says who may have broken one.

Floats only; whoever is named here is judged exactly before anything is done (`pms.risk.rules`).
"""

from collections.abc import Sequence

import numpy as np

from pms.model.ids import SubAccountId
from pms.model.trading_rules import EquityMark, LossRule, TradingRules
from pms.risk.columns import Floats, Indices

SLACK = 1e-9
"""Relative: rounding of the incremental equity may cost an exact judgement, never a breach."""


class LossWatch:
    """Rows of watched accounts with the floors of their equity. Peaks follow equity upwards by themselves."""

    def __init__(self) -> None:
        self._accounts: list[SubAccountId] = []
        self._slots: dict[SubAccountId, int] = {}
        self._rows: Indices = np.zeros(0, dtype=np.intp)
        self._figures: Floats = np.zeros((4, 0))  # daily floor, peak, drawdown amount, drawdown share

    def __len__(self) -> int:
        return len(self._accounts)

    @property
    def rows(self) -> Indices:
        """Rows of the risk book, in the order of `step`'s equities."""
        return self._rows

    def set(self, account_id: SubAccountId, row: int, rules: TradingRules, mark: EquityMark) -> None:
        """Watch an account, or take its new rules and marks. A rule that has acted is given as off."""
        slot = self._slots.get(account_id)
        if slot is None:
            slot = self._slots[account_id] = len(self._accounts)
            self._accounts.append(account_id)
            self._rows = np.append(self._rows, np.intp(row))
            self._figures = np.append(self._figures, np.zeros((4, 1)), axis=1)
            self._figures[1, slot] = float(mark.peak_equity)
        peak = max(float(mark.peak_equity), 0.0)
        amount, share = _limits(rules.trailing_drawdown)
        self._figures[:, slot] = (_floor(rules.daily_loss, float(mark.day_start_equity)), peak, amount, share)

    def drop(self, account_id: SubAccountId) -> None:
        """Watch an account no more; the last one takes its slot."""
        slot = self._slots.pop(account_id, None)
        if slot is None:
            return
        last = len(self._accounts) - 1
        if slot != last:
            moved = self._accounts[last]
            self._accounts[slot], self._slots[moved] = moved, slot
            self._rows[slot] = self._rows[last]
            self._figures[:, slot] = self._figures[:, last]
        self._accounts.pop()
        self._rows, self._figures = self._rows[:last].copy(), self._figures[:, :last].copy()

    def peak(self, account_id: SubAccountId) -> float | None:
        """Return the highest equity seen of a watched account."""
        slot = self._slots.get(account_id)
        return None if slot is None else float(self._figures[1, slot])

    def set_peak(self, account_id: SubAccountId, peak: float) -> None:
        """Replace the highest equity seen of a watched account; nothing for others."""
        slot = self._slots.get(account_id)
        if slot is not None:
            self._figures[1, slot] = max(peak, 0.0)

    def step(self, equities: Floats) -> Sequence[SubAccountId]:
        """Take the equities of all rows: raise peaks, and return who is at or below a floor."""
        daily, peak, amount, share = self._figures
        np.maximum(peak, equities, out=peak)
        floor = np.maximum(daily, np.maximum(peak - amount, np.where(peak > 0, peak * (1 - share), -np.inf)))
        hit = equities <= floor + SLACK * np.maximum(1.0, np.abs(equities))
        return [self._accounts[slot] for slot in np.flatnonzero(hit)] if hit.any() else ()


def peak_after(seen: float, before: EquityMark, after: EquityMark) -> float:
    """Return the highest equity seen once a stored mark has changed.

    The stored peak is older than the one in memory, so a transfer, which moves both figures of a day alike,
    moves that one along. A stored peak of 0 begins anew; every other change leaves it.
    """
    if not after.peak_equity:
        return 0.0
    moved = after.peak_equity - before.peak_equity
    transferred = after.day == before.day and moved == after.day_start_equity - before.day_start_equity
    return seen + float(moved) if transferred else seen


def _limits(rule: LossRule | None) -> tuple[float, float]:
    """Return (amount, share) of a rule; infinite where it has none."""
    if rule is None:
        return np.inf, np.inf
    amount = np.inf if rule.amount_max is None else float(rule.amount_max)
    return amount, np.inf if rule.fraction_max is None else float(rule.fraction_max)


def _floor(rule: LossRule | None, base: float) -> float:
    amount, share = _limits(rule)
    return max(base - amount, base * (1 - share) if base > 0 and share < np.inf else -np.inf)
