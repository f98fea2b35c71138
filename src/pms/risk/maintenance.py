"""Maintenance margin by the exchange's brackets, on mark notional, never below the account's own rate.

Decision 20 and docs/decisions on brackets. For a notional n the exchange wants max over its brackets of
rate x n - cumulative; the account's rate is one more such line, so the whole is the upper edge of straight
lines: it rises with n, is continuous and convex. Every function here counts on that.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic, TypeVar

from pms.limits import MAINTENANCE_CURVES_MAX
from pms.model.bracket import LeverageBracket
from pms.model.symbol import Symbol

Number = TypeVar("Number", float, Decimal)


@dataclass(frozen=True, slots=True)
class Piece(Generic[Number]):
    """From notional `start` on, maintenance is rate x notional - cumulative."""

    start: Number
    rate: Number
    cumulative: Number

    def maintenance(self, notional: Number) -> Number:
        """Return the maintenance of a notional within this piece."""
        return self.rate * notional - self.cumulative


@dataclass(frozen=True, slots=True)
class Curve(Generic[Number]):
    """Maintenance as a function of notional: pieces by rising start, the first at 0, rates rising."""

    pieces: tuple[Piece[Number], ...]
    starts: tuple[Number, ...]

    def piece(self, notional: Number) -> Piece[Number]:
        """Return the piece of a notional; whatever is below 0 or NaN gets the first."""
        return self.pieces[max(0, bisect_right(self.starts, notional) - 1)]

    def after(self, piece: Piece[Number]) -> Piece[Number] | None:
        """Return the piece that follows, None after the last."""
        index = bisect_right(self.starts, piece.start)
        return self.pieces[index] if index < len(self.pieces) else None

    def maintenance(self, notional: Number) -> Number:
        """Return the maintenance of a notional (unsigned)."""
        return self.piece(notional).maintenance(notional)


def curve(lines: Iterable[tuple[Number, Number]], zero: Number) -> Curve[Number]:
    """Return the upper edge of lines (rate, cumulative) for notionals from `zero` on."""
    kept: list[Piece[Number]] = []
    for rate, cumulative in sorted(lines, key=lambda line: (line[0], -line[1])):
        start = zero
        while kept:
            last = kept[-1]
            # Of parallel lines the higher one counts; a line that starts before the last one covers it.
            if rate > last.rate:
                start = max(zero, (cumulative - last.cumulative) / (rate - last.rate))
                if start > last.start:
                    break
            elif cumulative >= last.cumulative:
                break
            kept.pop()
            start = zero
        if not kept or rate > kept[-1].rate:
            kept.append(Piece(start, rate, cumulative))
    return Curve(tuple(kept), tuple(piece.start for piece in kept))


class Brackets(Generic[Number]):
    """The brackets of all symbols in one number type, joined with the rates of accounts.

    Immutable to its users: fresh brackets are a new object. A symbol without brackets has the account's rate
    alone.
    """

    def __init__(self, lines: Mapping[str, Sequence[tuple[Number, Number]]], zero: Number) -> None:
        self._lines: Mapping[str, Sequence[tuple[Number, Number]]] = lines
        self._zero: Number = zero
        self._curves: dict[tuple[str, Number], Curve[Number]] = {}

    def curve(self, symbol: str, rate: Number) -> Curve[Number]:
        """Return the curve of a symbol for accounts of that rate (already defaulted)."""
        key = (symbol, rate)
        known = self._curves.get(key)
        if known is None:
            if len(self._curves) >= MAINTENANCE_CURVES_MAX:
                self._curves.clear()
            lines: list[tuple[Number, Number]] = [(rate, self._zero)]
            lines.extend(self._lines.get(symbol, ()))
            known = self._curves[key] = curve(lines, self._zero)
        return known

    def maintenance(self, symbol: str, notional: Number, rate: Number) -> Number:
        """Return the maintenance of a mark notional (unsigned)."""
        return self.curve(symbol, rate).maintenance(notional)


@dataclass(frozen=True, slots=True)
class BracketTables:
    """The same brackets for ticks and for money. `symbols` counts those that have brackets."""

    ticks: Brackets[float]
    exact: Brackets[Decimal]
    symbols: int


def bracket_tables(brackets: Mapping[Symbol, Sequence[LeverageBracket]]) -> BracketTables:
    """Return both tables from what the exchange answered."""
    exact = {
        str(symbol): [(row.maintenance_rate, row.cumulative) for row in rows]
        for symbol, rows in brackets.items()
    }
    ticks = {
        symbol: [(float(rate), float(cumulative)) for rate, cumulative in lines]
        for symbol, lines in exact.items()
    }
    return BracketTables(Brackets(ticks, 0.0), Brackets(exact, Decimal(0)), len(exact))


class MaintenanceBasis:
    """By what maintenance is computed now: brackets, or nothing but the account's rate (`tables` None).

    Shared by everything that computes it, so that all parts change at once when brackets are read anew.
    """

    def __init__(self, tables: BracketTables | None = None) -> None:
        self._tables = tables

    def take(self, tables: BracketTables) -> None:
        """Use these brackets from now on."""
        self._tables = tables

    @property
    def ticks(self) -> Brackets[float] | None:
        return None if self._tables is None else self._tables.ticks

    @property
    def exact(self) -> Brackets[Decimal] | None:
        return None if self._tables is None else self._tables.exact
