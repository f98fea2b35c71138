"""Brackets for the tests, and maintenance looked up in them row by row, as the exchange's page tells it."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from pms.model.account import Position
from pms.model.bracket import LeverageBracket
from pms.model.symbol import Symbol

BracketRow = tuple[Decimal, Decimal, Decimal]
"""Notional floor, rate, cumulative."""


def tax_table(*steps: tuple[int, str]) -> list[BracketRow]:
    """Return rows with the exchange's cumulatives: cum = cum before + floor x (rate - rate before)."""
    rows: list[BracketRow] = []
    cumulative, before = Decimal(0), None
    for floor, text in steps:
        rate = Decimal(text)
        cumulative += 0 if before is None else floor * (rate - before)
        rows.append((Decimal(floor), rate, cumulative))
        before = rate
    return rows


def of_rows(
    rows: Mapping[Symbol, Sequence[BracketRow]],
) -> dict[Symbol, tuple[LeverageBracket, ...]]:
    """Return the port's form."""
    return {
        symbol: tuple(LeverageBracket(20, floor, floor * 10, rate, cum) for floor, rate, cum in table)
        for symbol, table in rows.items()
    }


def looked_up(held: Position, mark: float, rows: Sequence[BracketRow] | None, rate: float = 0.005) -> float:
    """Return a position's maintenance; `rows` None: the account's rate on entry notional."""
    if rows is None:
        return float(held.cost) * rate
    notional = float(held.quantity) * mark
    bracket = 0.0
    for floor, bracket_rate, cumulative in rows:
        if notional >= float(floor):
            bracket = float(bracket_rate) * notional - float(cumulative)
    return max(rate * notional, bracket)
