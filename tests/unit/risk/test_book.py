"""The columnar book: compiled and NumPy steps equal full recompute equal one object at a time, and no
crossing is missed, under both maintenance models.
"""

import math
from decimal import Decimal
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pms.model.account import (
    AccountStatus,
    LiquidationMode,
    Position,
    PositionSide,
    PositionStatus,
    RiskRules,
)
from pms.model.ids import PositionId, SubAccountId
from pms.model.symbol import Symbol
from pms.risk.book import Crossing, RiskBook
from pms.risk.bounds import level_bounds
from pms.risk.errors import RiskError, UnknownAccount
from pms.risk.formulas import pnl
from pms.risk.kernel import Kernel, NativeKernel, NumpyKernel, native_module
from pms.risk.liquidation import Level, level_of
from pms.risk.maintenance import bracket_tables
from tests.unit.risk.brackets import BracketRow, looked_up, of_rows, tax_table
from tests.unit.risk.builders import BTC, ETH, WIDE_RULES, account, position

ONE = SubAccountId("acct-1")
SYMBOLS = [BTC, ETH, Symbol("SOL/USDT:USDT")]


def book_of(balance: str, *held: Position, mode: LiquidationMode = LiquidationMode.ADL_30) -> RiskBook:
    book = RiskBook()
    book.set_account(account(balance=balance, mode=mode), WIDE_RULES)
    for item in held:
        book.set_position(item)
    return book


def levels(crossings: tuple[Crossing, ...]) -> list[tuple[Level, Level]]:
    return [(crossing.before, crossing.after) for crossing in crossings]


def test_a_falling_price_crosses_every_level_once_and_comes_back() -> None:
    """1 BTC at 50,000 with 1,000 cash: maintenance 250, so equity 312.5, 277.8, 263.2 and 250 are the
    bounds.
    """
    book = book_of("1000", position(BTC, quantity=1, entry=50_000))
    seen = []
    for price in (50_000, 49_900, 49_313, 49_312, 49_311, 49_277, 49_263, 49_249, 48_000):
        decisions = book.on_mark(BTC, float(price), 1)
        assert decisions.holders == 1
        seen += levels(decisions.crossings)
    assert seen == [
        (Level.CALM, Level.WARN),
        (Level.WARN, Level.LIQUIDATE),
        (Level.LIQUIDATE, Level.ESCALATE),
        (Level.ESCALATE, Level.INSOLVENT),
    ]
    assert book.at_or_above(Level.INSOLVENT) == [ONE]
    assert levels(book.on_mark(BTC, 49_270.0, 2).crossings) == [(Level.INSOLVENT, Level.LIQUIDATE)]
    assert levels(book.on_mark(BTC, 50_000.0, 2).crossings) == [(Level.LIQUIDATE, Level.CALM)]
    assert book.at_or_above(Level.WARN) == []


@pytest.mark.parametrize("price", [49_312.5, 49_312.500001])
def test_the_bound_itself_counts(price: float) -> None:
    book = book_of("1000", position(BTC, quantity=1, entry=50_000))
    book.on_mark(BTC, 50_000.0, 1)
    expected = level_of(250.0 / (1000.0 + (price - 50_000.0)), 1000.0 + (price - 50_000.0), 0.9)
    crossings = book.on_mark(BTC, price, 1).crossings
    assert [crossing.after for crossing in crossings] == ([expected] if expected is not Level.CALM else [])


def test_a_withdrawal_is_noticed_at_once_and_at_the_next_tick() -> None:
    book = book_of("1000", position(BTC, quantity=1, entry=50_000))
    book.on_mark(BTC, 50_000.0, 1)
    book.set_account(account(balance=300), WIDE_RULES)
    crossing = book.check(ONE)
    assert crossing is not None
    assert crossing.after is Level.WARN
    book.set_account(account(balance=270), WIDE_RULES)
    assert levels(book.on_mark(BTC, 50_000.0, 2).crossings) == [(Level.WARN, Level.LIQUIDATE)]


def test_owed_counts_against_equity() -> None:
    book = RiskBook()
    book.set_account(account(balance=0, owed=40), WIDE_RULES)
    assert book.equity(ONE) == -40.0


def test_frozen_accounts_stay_monitored() -> None:
    book = RiskBook()
    book.set_account(account(balance=260, status=AccountStatus.FROZEN), WIDE_RULES)
    book.set_position(position(BTC, quantity=1, entry=50_000))
    assert levels(book.on_mark(BTC, 50_000.0, 1).crossings) == [(Level.CALM, Level.ESCALATE)]
    assert book.evaluate(ONE).status is AccountStatus.FROZEN


@pytest.mark.parametrize("price", [0.0, -1.0, math.nan, math.inf])
def test_impossible_prices_change_nothing(price: float) -> None:
    book = book_of("1000", position())
    book.on_mark(BTC, 100.0, 5)
    assert book.on_mark(BTC, price, 9).holders == 0
    assert book.mark(BTC) == 100.0
    assert book.price_age_ms(BTC, 10) == 5
    assert book.statistics().rejected_marks == 1


def test_prices_and_their_ages() -> None:
    book = book_of("1000", position(BTC), position(ETH))
    assert book.mark(BTC) is None
    assert book.stale_symbols(0) == [BTC, ETH]
    book.on_mark(BTC, 100.0, 1_000)
    assert book.price_ages_ms(ONE, 3_000) == {BTC: 2_000, ETH: None}
    assert book.stale_symbols(11_000) == [ETH]
    assert book.stale_symbols(11_001) == [BTC, ETH]
    assert book.price_age_ms(BTC, 0) == 0
    assert book.evaluate(ONE).unpriced == (ETH,)


def test_an_unpriced_position_counts_at_entry_until_its_first_mark() -> None:
    book = book_of("1000", position(BTC, quantity=2, entry=100))
    assert book.equity(ONE) == 1000.0
    book.on_mark(BTC, 110.0, 1)
    assert book.equity(ONE) == 1020.0


def test_rules_of_use() -> None:
    book = book_of("1000", position(BTC))
    with pytest.raises(UnknownAccount):
        book.set_position(position(owner="nobody"))
    with pytest.raises(RiskError, match="already holds"):
        book.set_position(position(BTC, key="second"))
    with pytest.raises(RiskError, match="still holds"):
        book.remove_account(ONE)
    with pytest.raises(UnknownAccount):
        book.evaluate(SubAccountId("nobody"))
    book.set_position(position(BTC, status=PositionStatus.CLOSED))
    book.remove_position(PositionId("unknown"))
    book.remove_account(ONE)
    book.remove_account(ONE)
    assert book.statistics().accounts == 0
    assert book.account_ids_holding(BTC) == []
    assert book.account_ids_holding(ETH) == []


def test_rows_are_used_again_and_columns_grow() -> None:
    book = RiskBook()
    for number in range(100):
        key = f"a{number}"
        book.set_account(account(key), WIDE_RULES)
        book.set_position(position(BTC, owner=key))
    capacity = book.statistics().account_capacity
    for number in range(100):
        key = f"a{number}"
        book.remove_position(position(BTC, owner=key).id)
        book.remove_account(SubAccountId(key))
        book.set_account(account(f"b{number}"), WIDE_RULES)
    assert book.statistics().account_capacity == capacity == 128
    assert book.on_mark(BTC, 100.0, 1).holders == 0
    assert book.recompute() == 0.0


def test_no_numpy_number_leaves_the_book() -> None:
    book = book_of("300", position(BTC, quantity=1, entry=50_000))
    crossing = book.on_mark(BTC, 49_990.0, 1).crossings[0]
    figures = book.evaluate(ONE).figures
    summary, marked = book.view(ONE)
    for value in (
        crossing.figures.equity_raw,
        crossing.figures.margin_ratio,
        figures.equity_raw,
        summary.equity,
        marked[0].liquidation_price,
        book.equity(ONE),
        book.recompute(),
        book.mark(BTC),
    ):
        assert type(value) is float
    assert type(book.statistics().account_capacity) is int


@given(
    st.floats(1e-3, 1e6),
    st.sampled_from([0.05, 0.1, 0.5, 0.9, 0.95, 0.98, 1.0, 1.2]),
    st.floats(-1.0, 25.0),
    st.floats(-1.0, 25.0),
)
def test_bounds_never_hide_a_change_of_level(
    maintenance: float, threshold: float, first: float, second: float
) -> None:
    """`first` and `second` are equities in units of the maintenance."""
    before, after = (_level_at(maintenance, threshold, maintenance * equity) for equity in (first, second))
    low, high = level_bounds(before, threshold)
    if after > before:
        assert maintenance * second <= low.at(maintenance)
    if after < before:
        assert maintenance * second > high.at(maintenance)


def _level_at(maintenance: float, threshold: float, equity: float) -> Level:
    return level_of(maintenance / equity if equity > 0 else 999.0, equity, threshold)


def test_bounds_leave_a_calm_account_alone() -> None:
    low, high = level_bounds(Level.CALM, 0.9)
    assert low.at(100.0) == pytest.approx(125.0, rel=1e-8)
    assert high.at(100.0) == math.inf


def kernels() -> list[Kernel]:
    """NumPy, and the compiled one where it was built (test_kernel says where it must be)."""
    module = native_module()
    return [NumpyKernel()] if module is None else [NumpyKernel(), NativeKernel(module)]


class BookMachine(RuleBasedStateMachine):
    """Random changes and ticks; after each, columns, full recompute and plain objects agree, and the books of
    all kernels hold the same bits."""

    accounts: ClassVar = [SubAccountId(f"a{number}") for number in range(5)]
    rows: ClassVar[dict[Symbol, list[BracketRow]] | None] = None

    @initialize()
    def start(self) -> None:
        brackets = None if self.rows is None else bracket_tables(of_rows(self.rows)).ticks
        self.books = [RiskBook(kernel, brackets) for kernel in kernels()]
        self.book = self.books[0]
        self.cash: dict[SubAccountId, float] = {}
        self.held: dict[tuple[str, str], Position] = {}
        self.marks: dict[str, float] = {}
        self.level: dict[str, Level] = {}
        for index in range(len(self.accounts)):
            self.set_account(index, 400 * index)

    @rule(index=st.integers(0, 4), cash=st.integers(-50, 3000))
    def set_account(self, index: int, cash: int) -> None:
        key = self.accounts[index]
        for book in self.books:
            book.set_account(account(key, cash), RiskRules())
        self.cash[key] = float(cash)
        self.level.setdefault(key, Level.CALM)

    @precondition(lambda self: self.cash)
    @rule(
        data=st.data(),
        symbol=st.sampled_from(SYMBOLS),
        side=st.sampled_from(list(PositionSide)),
        quantity=st.decimals("0.001", 40, places=3),
        entry=st.decimals(1, 500, places=2),
    )
    def set_position(
        self, data: st.DataObject, symbol: Symbol, side: PositionSide, quantity: Decimal, entry: Decimal
    ) -> None:
        key = data.draw(st.sampled_from(sorted(self.cash)))
        known = self.held.get((key, symbol))
        side = known.side if known is not None else side
        changed = position(symbol, side, quantity, entry, owner=key)
        for book in self.books:
            book.set_position(changed)
        self.held[key, symbol] = changed

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def remove_position(self, data: st.DataObject) -> None:
        pair = data.draw(st.sampled_from(sorted(self.held)))
        self.forget(pair)
        if not any(key == pair[0] for key, _ in self.held):
            self.level[pair[0]] = Level.CALM

    @precondition(lambda self: self.cash)
    @rule(data=st.data())
    def remove_account(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.cash)))
        for pair in [pair for pair in self.held if pair[0] == key]:
            self.forget(pair)
        for book in self.books:
            book.remove_account(key)
        del self.cash[key], self.level[key]

    @rule(symbol=st.sampled_from(SYMBOLS), price=st.floats(0.5, 700))
    def tick(self, symbol: Symbol, price: float) -> None:
        decisions, *others = [book.on_mark(symbol, price, 1) for book in self.books]
        assert all(other == decisions for other in others)
        self.marks[symbol] = price
        holders = {key for key, held_symbol in self.held if held_symbol == symbol}
        assert decisions.holders == len(holders)
        told = {crossing.account_id: crossing for crossing in decisions.crossings}
        for key in holders:
            before, after = self.level[key], self.naive_level(key)
            self.level[key] = after
            assert (key in told) is (before is not after)
            if key in told:
                assert (told[SubAccountId(key)].before, told[SubAccountId(key)].after) == (before, after)

    def forget(self, pair: tuple[str, str]) -> None:
        position_id = self.held.pop(pair).id
        for book in self.books:
            book.remove_position(position_id)

    def naive_equity(self, key: str) -> float:
        equity = self.cash[SubAccountId(key)]
        for (owner, symbol), held in self.held.items():
            if owner == key and symbol in self.marks:
                entry, quantity = float(held.entry_price), float(held.quantity)
                equity += pnl(held.side is PositionSide.LONG, entry, self.marks[symbol], quantity)
        return equity

    def naive_level(self, key: str) -> Level:
        figures = self.book.evaluate(SubAccountId(key)).figures
        equity, maintenance = figures.equity_raw, self.naive_maintenance(key)
        assert equity == pytest.approx(self.naive_equity(key), rel=1e-9, abs=1e-6)
        assert figures.maintenance_margin == pytest.approx(maintenance, rel=1e-12)
        # The level is that of the exact figures: at a bound the last bit decides.
        maintenance = figures.maintenance_margin
        return level_of(maintenance / equity if equity > 0 else 999.0, equity, 0.9)

    def naive_maintenance(self, key: str) -> float:
        needed = 0.0
        for (owner, symbol), held in self.held.items():
            if owner == key:
                mark = self.marks.get(symbol, float(held.entry_price))
                rows = None if self.rows is None else self.rows.get(Symbol(symbol), [])
                needed += looked_up(held, mark, rows)
        return needed

    @invariant()
    def all_three_agree(self) -> None:
        for key in self.cash:
            assert self.book.equity(key) == pytest.approx(self.naive_equity(key), rel=1e-9, abs=1e-6)
        for book in self.books[1:]:
            assert {key: book.equity(key) for key in self.cash} == {
                key: self.book.equity(key) for key in self.cash
            }
            assert book.recompute() < 1e-6
        incremental = {key: self.book.equity(key) for key in self.cash}
        assert self.book.recompute() < 1e-6
        for key, equity in incremental.items():
            assert self.book.equity(key) == pytest.approx(equity, rel=1e-9, abs=1e-6)

    @invariant()
    def indices_agree(self) -> None:
        for symbol in SYMBOLS:
            holding = {key for key, held_symbol in self.held if held_symbol == symbol}
            assert set(self.book.account_ids_holding(symbol)) == holding
        statistics = self.book.statistics()
        assert (statistics.accounts, statistics.positions) == (len(self.cash), len(self.held))


class BracketBookMachine(BookMachine):
    """The same with brackets: narrow ones, so that a tick takes positions across several."""

    rows: ClassVar[dict[Symbol, list[BracketRow]] | None] = {
        BTC: tax_table((0, "0.004"), (300, "0.005"), (1_000, "0.01"), (2_500, "0.025"), (9_000, "0.1")),
        ETH: tax_table((0, "0.01"), (5_000, "0.5")),
    }


TestBookMachine = BookMachine.TestCase
TestBookMachine.settings = settings(max_examples=40, stateful_step_count=30)
TestBracketBookMachine = BracketBookMachine.TestCase
TestBracketBookMachine.settings = settings(max_examples=40, stateful_step_count=30)
