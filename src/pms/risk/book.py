"""The columnar risk book: one tick updates every holder of a symbol and yields who crossed.

Decision 20. Floats only; a breach found here is confirmed in Decimal (`liquidation.confirm`) before
anything acts. Single-threaded: all calls come from the event loop's thread. Plain Python floats go in and
out, never `np.float64`.

Each level is a bound on equity: a factor times maintenance. Without brackets maintenance is constant between
changes (rate x entry notional); with them it follows the mark in straight lines, kept in a column beside
equity. The step over the holders (`kernel`: compiled, or NumPy) only compares equity with two bounds; the few
accounts that hit one are evaluated exactly, in Python, by the same formulas as everything else. The bounds
have a little slack, so rounding drift can cost an evaluation but never a crossing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pms.model.account import (
    AccountStatus,
    LiquidationMode,
    Position,
    PositionStatus,
    RiskRules,
    SubAccount,
)
from pms.model.ids import PositionId, SubAccountId
from pms.model.price import STALE_AFTER_MS
from pms.model.symbol import Symbol
from pms.risk.bounds import level_bounds
from pms.risk.columns import AccountColumns, Floats, Indices, SymbolColumns
from pms.risk.errors import RiskError, UnknownAccount
from pms.risk.formulas import (
    Figures,
    account_figures,
    maintenance_rate_or_default,
    safe_threshold,
)
from pms.risk.kernel import Kernel, NumpyKernel
from pms.risk.liquidation import Level, level_of
from pms.risk.maintenance import Brackets
from pms.risk.preview import PriceMove
from pms.risk.scenario import Scenario, scenario
from pms.risk.view import AccountSummary, Holding, MarkedLeg, holding, mark_account


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """An account evaluated now. `unpriced` names symbols without any mark: they count at entry (H28)."""

    account_id: SubAccountId
    figures: Figures[float]
    level: Level
    threshold: float
    mode: LiquidationMode
    status: AccountStatus
    unpriced: tuple[Symbol, ...]


@dataclass(frozen=True, slots=True)
class Crossing:
    """An account whose level changed; `after` < `before` is a recovery."""

    account_id: SubAccountId
    before: Level
    after: Level
    figures: Figures[float]


@dataclass(frozen=True, slots=True)
class Decisions:
    """What a tick did: how many accounts it moved, and who crossed a threshold."""

    holders: int
    crossings: tuple[Crossing, ...]


@dataclass(frozen=True, slots=True)
class BookStatistics:
    """Counters of the book. `elevated` accounts are at WARN or worse; `evaluations` are the exact ones."""

    accounts: int
    positions: int
    symbols: int
    elevated: int
    ticks: int
    evaluations: int
    rejected_marks: int
    account_capacity: int
    kernel: str


@dataclass(slots=True)
class _Account:
    id: SubAccountId
    row: int
    cash: float
    rate: float
    threshold: float
    mode: LiquidationMode
    status: AccountStatus
    level: Level
    holdings: dict[PositionId, Holding]


_QUIET = Decisions(0, ())


class RiskBook:
    """Accounts and open positions of one exchange account, kept for ticks.

    Invariants: 1. A position belongs to an account in the book, and an account holds a symbol at most once.
    2. The equity column equals cash + Σ PnL at the last marks, up to rounding (`recompute` measures and
    removes it).
    """

    def __init__(self, kernel: Kernel | None = None, brackets: Brackets[float] | None = None) -> None:
        """Make an empty book; without a kernel it steps by NumPy, without brackets by the account's rate."""
        self._kernel = NumpyKernel() if kernel is None else kernel
        self._brackets = brackets
        self._accounts: dict[SubAccountId, _Account] = {}
        self._by_row: list[_Account | None] = []
        self._columns = AccountColumns()
        self._symbols: dict[str, SymbolColumns] = {}
        self._slots: dict[PositionId, tuple[SymbolColumns, int, _Account]] = {}
        self._marks: dict[str, float] = {}
        self._elevated: dict[SubAccountId, None] = {}
        self._ticks = self._evaluations = self._rejected = 0

    # --- accounts and positions ---------------------------------------------------------------------------

    def set_account(self, account: SubAccount, rules: RiskRules) -> None:
        """Add an account, or take its new cash, status, mode, rate and rules (H16, H18)."""
        known = self._accounts.get(account.id)
        if known is None:
            known = self._add_account(account)
        known.cash = float(account.cash)
        rate = maintenance_rate_or_default(float(account.maintenance_rate))
        if rate != known.rate:
            known.rate = rate
            self._set_pieces(known)
        known.threshold = safe_threshold(float(rules.liquidation_threshold))
        known.mode, known.status = account.liquidation_mode, account.status
        columns = self._columns
        columns.cash[known.row] = known.cash
        columns.rate[known.row], columns.threshold[known.row] = known.rate, known.threshold
        self._refresh(known)

    def remove_account(self, account_id: SubAccountId) -> None:
        """Forget an account; unknown ids are ignored. Raises RiskError while it holds positions."""
        account = self._accounts.get(account_id)
        if account is None:
            return
        if account.holdings:
            raise RiskError(f"account {account_id} still holds positions; remove them first")
        del self._accounts[account_id]
        self._elevated.pop(account_id, None)
        self._by_row[account.row] = None
        self._columns.release(account.row)

    def set_position(self, position: Position) -> None:
        """Add or replace a position; one that is not open any more is removed. Raises UnknownAccount."""
        if position.status is not PositionStatus.OPEN or position.quantity <= 0:
            self.remove_position(position.id)
            return
        account = self._account(position.sub_account_id)
        held = holding(position)
        quantity = held.leg.quantity * position.side.sign
        slot = self._slots.get(position.id)
        if slot is None:
            self._add_position(account, position, quantity, held.leg.entry)
        else:
            column, row, _ = slot
            column.quantities[row], column.entries[row] = quantity, held.leg.entry
        account.holdings[position.id] = held
        self._set_piece(position.id)
        self._refresh(account)

    def remove_position(self, position_id: PositionId) -> None:
        """Forget a position; unknown ids are ignored."""
        slot = self._slots.pop(position_id, None)
        if slot is None:
            return
        column, row, account = slot
        moved = column.remove(row)
        if moved is not None:
            other = self._slots[moved]
            self._slots[moved] = (column, row, other[2])
        del account.holdings[position_id]
        self._refresh(account)

    def set_brackets(self, brackets: Brackets[float]) -> list[Crossing]:
        """Compute maintenance by these brackets from now on; return the accounts whose level it changes."""
        self._brackets = brackets
        crossings = []
        for account in self._accounts.values():
            self._set_pieces(account)
            self._refresh(account)
            if account.holdings:
                crossings.append(self._check(account))
        return [crossing for crossing in crossings if crossing is not None]

    # --- ticks --------------------------------------------------------------------------------------------

    def on_mark(self, symbol: Symbol, price: float, received_ms: int) -> Decisions:
        """Take a mark price and return who crossed a threshold.

        A price that is not finite and positive is counted and ignored (H27). O(holders) in vectorised steps.
        """
        if not 0.0 < price < math.inf:
            self._rejected += 1
            return _QUIET
        self._ticks += 1
        self._marks[symbol] = price
        column = self._symbols.get(symbol)
        if column is None:
            column = self._symbols[symbol] = SymbolColumns(symbol)
        before, column.price, column.received_ms = column.price, price, received_ms
        count = column.count
        if count == 0:
            return _QUIET
        if self._brackets is None:
            hits = self._kernel.step(column, self._columns, price, before)
        else:
            for row in column.leaving_piece(price):
                self._turn_piece(column, row, price)
            hits = self._kernel.step_with_brackets(column, self._columns, price, before)
        if not hits:
            return Decisions(count, ())
        crossed = [self._check_row(row) for row in hits]
        return Decisions(count, tuple(crossing for crossing in crossed if crossing is not None))

    def check(self, account_id: SubAccountId) -> Crossing | None:
        """Evaluate an account exactly now and return its crossing, if its level changed.

        Call it after a change of the account or its positions; otherwise the next tick of a held symbol
        does it.
        """
        return self._check(self._account(account_id))

    def at_or_above(self, level: Level) -> list[SubAccountId]:
        """Return the accounts at that level or worse, as last evaluated: for the retries of liquidation."""
        return [key for key in self._elevated if self._accounts[key].level >= level]

    def recompute(self) -> float:
        """Recompute every equity and maintenance from cash and marks; return the largest drift that was
        found, in USDT."""
        columns = self._columns
        full, needed = columns.cash.copy(), np.zeros_like(columns.maintenance)
        for column in self._symbols.values():
            if column.priced and column.count:
                count = column.count
                profit = (column.price - column.entries[:count]) * column.quantities[:count]
                full[column.accounts[:count]] += profit
            needed[column.accounts[: column.count]] += column.needs[: column.count]
        drift = float(np.abs(full - columns.equity).max())
        columns.equity[:] = full
        if self._brackets is not None:
            drift = max(drift, float(np.abs(needed - columns.maintenance).max()))
            columns.maintenance[:] = needed
        return drift

    # --- questions ----------------------------------------------------------------------------------------

    def mark(self, symbol: Symbol) -> float | None:
        """Return the last mark of a symbol, None when none was seen."""
        return self._marks.get(symbol)

    def price_age_ms(self, symbol: Symbol, now_ms: int) -> int | None:
        """Return how old the last mark is; None when none was seen. Never negative."""
        column = self._symbols.get(symbol)
        return max(0, now_ms - column.received_ms) if column is not None and column.priced else None

    def price_ages_ms(self, account_id: SubAccountId, now_ms: int) -> dict[str, int | None]:
        """Return the price age of every symbol that the account holds, for `liquidation.Timing`."""
        held = self._account(account_id).holdings.values()
        return {item.leg.symbol: self.price_age_ms(Symbol(item.leg.symbol), now_ms) for item in held}

    def stale_symbols(self, now_ms: int) -> list[Symbol]:
        """Return the held symbols whose mark is missing or older than 10 s: to alarm about (H28)."""
        return [
            column.symbol
            for column in self._symbols.values()
            if column.count and (not column.priced or now_ms - column.received_ms > STALE_AFTER_MS)
        ]

    def account_ids_holding(self, symbol: Symbol) -> list[SubAccountId]:
        """Return the accounts with an open position on the symbol."""
        column = self._symbols.get(symbol)
        if column is None:
            return []
        return [self._slots[position_id][2].id for position_id in column.position_ids]

    def equity(self, account_id: SubAccountId) -> float:
        """Return the incrementally kept equity. Raises UnknownAccount."""
        return float(self._columns.equity[self._account(account_id).row])

    def row(self, account_id: SubAccountId) -> int:
        """Return the row of an account for `equities`; it stays while the account is in the book."""
        return self._account(account_id).row

    def equities(self, rows: Indices) -> Floats:
        """Return the incrementally kept equities of some rows, in one vectorised step."""
        return np.take(self._columns.equity, rows)

    def evaluate(self, account_id: SubAccountId) -> AccountFigures:
        """Evaluate an account exactly at the last marks. Raises UnknownAccount."""
        account = self._account(account_id)
        figures = self._figures(account)
        level = _level(account, figures)
        unpriced = tuple(
            Symbol(held.leg.symbol)
            for held in account.holdings.values()
            if held.leg.symbol not in self._marks
        )
        return AccountFigures(
            account.id, figures, level, account.threshold, account.mode, account.status, unpriced
        )

    def view(self, account_id: SubAccountId) -> tuple[AccountSummary, tuple[MarkedLeg, ...]]:
        """Return the display view of an account at the last marks, for events. Raises UnknownAccount."""
        account = self._account(account_id)
        holdings: Sequence[Holding] = list(account.holdings.values())
        return mark_account(
            account.cash, account.rate, holdings, self._marks, account.threshold, self._brackets
        )

    def scenario(self, move: PriceMove, named_max: int) -> Scenario:
        """Return where every account would be after a move of prices; nothing changes. At most `named_max`
        accounts are named, the worst first. O(positions) in vectorised steps."""
        found = scenario(self._columns, self._symbols.values(), self._brackets, move, named_max)
        return found.named(lambda row: None if (account := self._by_row[row]) is None else account.id)

    def statistics(self) -> BookStatistics:
        """Return the book's counters."""
        return BookStatistics(
            accounts=len(self._accounts),
            positions=len(self._slots),
            symbols=len(self._symbols),
            elevated=len(self._elevated),
            ticks=self._ticks,
            evaluations=self._evaluations,
            rejected_marks=self._rejected,
            account_capacity=self._columns.capacity,
            kernel=self._kernel.name,
        )

    # --- inside -------------------------------------------------------------------------------------------

    def _account(self, account_id: SubAccountId) -> _Account:
        account = self._accounts.get(account_id)
        if account is None:
            raise UnknownAccount(f"account {account_id} is not in the risk book; set it before its positions")
        return account

    def _add_account(self, account: SubAccount) -> _Account:
        row = self._columns.allocate()
        added = _Account(
            account.id, row, 0.0, 0.0, 0.0, account.liquidation_mode, account.status, Level.CALM, {}
        )
        self._accounts[account.id] = added
        if row == len(self._by_row):
            self._by_row.append(added)
        else:
            self._by_row[row] = added
        return added

    def _add_position(self, account: _Account, position: Position, quantity: float, entry: float) -> None:
        if any(held.leg.symbol == position.symbol for held in account.holdings.values()):
            raise RiskError(
                f"account {account.id} already holds {position.symbol}: "
                f"remove that position before setting {position.id}"
            )
        column = self._symbols.get(position.symbol)
        if column is None:
            column = self._symbols[position.symbol] = SymbolColumns(position.symbol)
        row = column.append(position.id, account.row, quantity, entry)
        self._slots[position.id] = (column, row, account)

    def _set_pieces(self, account: _Account) -> None:
        for position_id in account.holdings:
            self._set_piece(position_id)

    def _set_piece(self, position_id: PositionId) -> None:
        """Put a position on its line, at its mark, or at its entry while there is none."""
        if self._brackets is not None:
            column, row, _ = self._slots[position_id]
            price = column.price if column.priced else float(column.entries[row])
            need = self._turn_piece(column, row, price)
            column.needs[row] = need

    def _turn_piece(self, column: SymbolColumns, row: int, price: float) -> float:
        """Put a row on the line of this price, and return its maintenance there. `needs` stays: the step to
        the price changes it, and the account's sum with it."""
        if self._brackets is None:
            return 0.0
        account = self._slots[column.position_ids[row]][2]
        size = abs(float(column.quantities[row]))
        curve = self._brackets.curve(column.symbol, account.rate)
        piece = curve.piece(size * price)
        after = curve.after(piece)
        slope = piece.rate * size
        low, high = piece.start / size, math.inf if after is None else after.start / size
        # The ends are rounded: a price that a line was chosen for is always within it.
        low, high = min(low, price), high if high > price else math.nextafter(price, math.inf)
        column.set_piece(row, slope, piece.cumulative, low, high, float(column.needs[row]))
        return slope * price - piece.cumulative

    def _figures(self, account: _Account) -> Figures[float]:
        legs = [held.leg for held in account.holdings.values()]
        return account_figures(account.cash, account.rate, legs, self._marks, self._brackets)

    def _refresh(self, account: _Account) -> None:
        """Set the exact equity after a change, and have the next tick look at the account whatever it is."""
        columns, row = self._columns, account.row
        figures = self._figures(account)
        columns.equity[row], columns.maintenance[row] = figures.equity_raw, figures.maintenance_margin
        columns.low_factor[row], columns.low[row] = 0.0, math.inf
        if not account.holdings:
            self._settle(account, Level.CALM, 0.0)

    def _check_row(self, row: int) -> Crossing | None:
        account = self._by_row[row]
        return None if account is None else self._check(account)

    def _check(self, account: _Account) -> Crossing | None:
        self._evaluations += 1
        figures = self._figures(account)
        before, after = account.level, _level(account, figures)
        self._columns.equity[account.row] = figures.equity_raw
        self._columns.maintenance[account.row] = figures.maintenance_margin
        self._settle(account, after, figures.maintenance_margin)
        return Crossing(account.id, before, after, figures) if after is not before else None

    def _settle(self, account: _Account, level: Level, maintenance: float) -> None:
        """Note the level and set the bounds of equity between which it stays."""
        account.level = level
        if level is Level.CALM:
            self._elevated.pop(account.id, None)
        else:
            self._elevated[account.id] = None
        columns, row = self._columns, account.row
        low, high = level_bounds(level, account.threshold)
        if self._brackets is None:
            columns.low[row], columns.high[row] = low.at(maintenance), high.at(maintenance)
        else:
            columns.low_factor[row], columns.low[row] = low.factor, low.offset
            columns.high_factor[row], columns.high[row] = high.factor, high.offset


def _level(account: _Account, figures: Figures[float]) -> Level:
    if not account.holdings:
        return Level.CALM
    return level_of(figures.margin_ratio, figures.equity_raw, account.threshold)
