"""Where all accounts would be at other prices, in vectorised steps over the columns of the risk book.

The figures are those of `formulas.account_figures` and the levels those of `liquidation.level_of`; what would
be done with one account is `preview`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from pms.model.ids import SubAccountId
from pms.risk.columns import AccountColumns, Floats, SymbolColumns
from pms.risk.formulas import ESCALATION_STEP, RATIO_WITHOUT_EQUITY, WARNING_STEP
from pms.risk.liquidation import Level
from pms.risk.maintenance import Brackets
from pms.risk.preview import HUNDRED, PriceMove


@dataclass(frozen=True, slots=True)
class AccountAt:
    """One account after the move. `margin_ratio` is 999 when equity is not positive."""

    account_id: SubAccountId
    level: Level
    margin_ratio: float
    equity_raw: float
    maintenance_margin: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """All accounts after a move. `levels` counts those with positions; `equity` sums what accounts would own
    (an account below zero counts as nothing), `deficit` what those below zero would owe; in USDT."""

    levels: Mapping[Level, int]
    equity: float
    deficit: float
    maintenance: float
    accounts: tuple[AccountAt, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A scenario by column rows: those named, the worst first."""

    levels: dict[Level, int]
    equity: float
    deficit: float
    maintenance: float
    rows: list[tuple[int, Level, float, float, float]]

    def named(self, name_of: Callable[[int], SubAccountId | None]) -> Scenario:
        """Return it with the accounts' ids."""
        accounts = tuple(
            AccountAt(account_id, level, ratio, equity, maintenance)
            for row, level, ratio, equity, maintenance in self.rows
            if (account_id := name_of(row)) is not None
        )
        return Scenario(self.levels, self.equity, self.deficit, self.maintenance, accounts)


def scenario(
    accounts: AccountColumns,
    symbols: Iterable[SymbolColumns],
    brackets: Brackets[float] | None,
    move: PriceMove,
    named_max: int,
) -> Found:
    """Evaluate every account after a move; the columns stay as they are."""
    equity, holds = accounts.cash.copy(), np.zeros(accounts.capacity, dtype=np.bool_)
    needed = accounts.maintenance.copy() if brackets is None else np.zeros(accounts.capacity)
    for column in symbols:
        if column.count == 0:
            continue
        rows, quantities = column.accounts[: column.count], column.quantities[: column.count]
        entries = column.entries[: column.count]
        prices = _prices(column, move)
        equity[rows] += (prices - entries) * quantities
        holds[rows] = True
        if brackets is not None:
            needed[rows] += _needed(brackets, column.symbol, np.abs(quantities) * prices, accounts.rate[rows])
    ratio = np.full(accounts.capacity, float(RATIO_WITHOUT_EQUITY))
    np.divide(needed, equity, out=ratio, where=equity > 0)
    level = _levels(equity, ratio, accounts.threshold)
    level[~holds] = Level.CALM
    worst = np.flatnonzero(level >= Level.WARN)
    worst = worst[np.lexsort((equity[worst], -ratio[worst]))][:named_max]
    named = [
        (int(row), Level(int(level[row])), float(ratio[row]), float(equity[row]), float(needed[row]))
        for row in worst
    ]
    counts = np.bincount(level[holds], minlength=len(Level))
    return Found(
        {each: int(counts[each]) for each in Level},
        float(np.maximum(equity, 0).sum()),
        float(-np.minimum(equity, 0).sum()),
        float(needed[holds].sum()),
        named,
    )


def _prices(column: SymbolColumns, move: PriceMove) -> Floats:
    """Return the moved price of each row: of the mark, or of the entry while there is no mark."""
    if column.priced:
        return np.full(column.count, float(move.of(column.symbol, Decimal(repr(column.price)))))
    price = move.prices.get(column.symbol)
    if price is not None:
        return np.full(column.count, float(price))
    percent = move.percents.get(column.symbol, move.percent)
    return column.entries[: column.count] * float((HUNDRED + percent) / HUNDRED)


def _needed(brackets: Brackets[float], symbol: str, notionals: Floats, rates: Floats) -> Floats:
    needed = np.zeros(notionals.size)
    for rate in np.unique(rates).tolist():
        pieces = brackets.curve(symbol, rate).pieces
        chosen = rates == rate
        index = np.searchsorted([piece.start for piece in pieces], notionals[chosen], side="right") - 1
        slope = np.array([piece.rate for piece in pieces])[index]
        needed[chosen] = slope * notionals[chosen] - np.array([piece.cumulative for piece in pieces])[index]
    return needed


def _levels(equity: Floats, ratio: Floats, threshold: Floats) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The levels of `liquidation.level_of`, for all rows."""
    level = np.full(equity.size, int(Level.CALM), dtype=np.int64)
    level[ratio >= threshold - float(WARNING_STEP)] = Level.WARN
    level[ratio >= threshold] = Level.LIQUIDATE
    level[ratio >= threshold + float(ESCALATION_STEP)] = Level.ESCALATE
    level[(equity <= 0) | (ratio >= 1)] = Level.INSOLVENT
    return level
