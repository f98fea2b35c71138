"""Maintenance by brackets: the exchange's own tables, the account's rate below them, and exact money."""

import gzip
import json
from decimal import Decimal
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pms.model.bracket import LeverageBracket
from pms.model.symbol import Symbol
from pms.risk.maintenance import Brackets, bracket_tables, curve
from tests.support.paths import PROJECT_ROOT
from tests.unit.risk.brackets import of_rows, tax_table
from tests.unit.risk.builders import BTC, ETH

TINY = Decimal("0.0000001")


@cache
def recorded() -> dict[Symbol, tuple[LeverageBracket, ...]]:
    """The exchange's answer of 2026-05: all symbols with up to a dozen brackets."""
    file = PROJECT_ROOT / "src/pms/simulator/recordings/leverageBracket_2026-05.json.gz"
    rows = json.loads(gzip.decompress(file.read_bytes()), parse_float=Decimal, parse_int=Decimal)
    return {
        Symbol(row["symbol"]): tuple(
            LeverageBracket(
                int(each["initialLeverage"]),
                Decimal(each["notionalFloor"]),
                Decimal(each["notionalCap"]),
                Decimal(each["maintMarginRatio"]),
                Decimal(each["cum"]),
            )
            for each in row["brackets"]
        )
        for row in rows
    }


def asked(rows: tuple[LeverageBracket, ...], notional: Decimal) -> Decimal:
    """What the exchange's page says: the bracket of the notional, rate x notional - cumulative."""
    found = [row for row in rows if row.notional_floor <= notional] or [rows[0]]
    return notional * found[-1].maintenance_rate - found[-1].cumulative


def test_every_recorded_bracket_is_kept_at_its_edges_and_inside() -> None:
    tables = bracket_tables(recorded())
    assert tables.symbols == len(recorded()) > 300
    for symbol, rows in recorded().items():
        edges = [edge for row in rows for edge in (row.notional_floor, row.notional_cap)]
        for notional in [
            *edges,
            *((low + high) / 2 for low, high in zip(edges[::2], edges[1::2], strict=True)),
        ]:
            expected = asked(rows, notional)
            assert tables.exact.maintenance(symbol, notional, TINY) == pytest.approx(
                expected, rel=Decimal("1e-6")
            )
            ticks = tables.ticks.maintenance(symbol, float(notional), float(TINY))
            assert ticks == pytest.approx(float(expected), rel=1e-6)


BOOK = of_rows({BTC: tax_table((0, "0.004"), (50_000, "0.005"), (600_000, "0.0065"), (3_000_000, "0.01"))})

CASES = [
    # account rate, notional, maintenance
    ("0.001", 10_000, 40),  # the first bracket alone
    ("0.005", 10_000, 50),  # the account's rate is stricter
    ("0.005", 600_000, 3_000),  # 0.5 % x 600,000 - 50 = 2,950 is less than the account's 3,000
    ("0.005", 1_000_000, 5_550),  # 0.65 % x 1,000,000 - 950
    ("0.02", 5_000_000, 100_000),  # stricter than every bracket
    ("0.001", 0, 0),
]


@pytest.mark.parametrize(("rate", "notional", "expected"), CASES)
def test_the_accounts_rate_is_the_least(rate: str, notional: int, expected: int) -> None:
    tables = bracket_tables(BOOK)
    assert tables.exact.maintenance(BTC, Decimal(notional), Decimal(rate)) == expected
    assert tables.ticks.maintenance(BTC, float(notional), float(rate)) == pytest.approx(expected)


def test_a_symbol_without_brackets_has_the_accounts_rate() -> None:
    assert bracket_tables(BOOK).exact.maintenance(ETH, Decimal(1_000), Decimal("0.02")) == 20


def test_curves_are_kept_once_and_boundedly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pms.risk.maintenance.MAINTENANCE_CURVES_MAX", 3)
    brackets: Brackets[float] = bracket_tables(BOOK).ticks
    first = brackets.curve(BTC, 0.005)
    assert brackets.curve(BTC, 0.005) is first
    for rate in (0.01, 0.02, 0.03, 0.04):
        assert brackets.curve(BTC, rate).pieces[0].rate == rate
    assert len(brackets._curves) <= 3


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e6)), min_size=0, max_size=14),
    st.floats(1e-4, 1),
    st.lists(st.floats(0, 1e9), min_size=1, max_size=5),
)
def test_a_curve_is_the_highest_of_its_lines(
    lines: list[tuple[float, float]], rate: float, notionals: list[float]
) -> None:
    """Whatever a table says, also one that is no tax table: never less than any of its lines."""
    edge = curve([(rate, 0.0), *lines], 0.0)
    assert edge.starts[0] == 0.0
    assert list(edge.starts) == sorted(set(edge.starts))
    for notional in notionals:
        highest = max(line_rate * notional - cumulative for line_rate, cumulative in [(rate, 0.0), *lines])
        assert edge.maintenance(notional) == pytest.approx(highest, rel=1e-9, abs=1e-6)
