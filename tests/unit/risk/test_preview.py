"""Previews: the evaluation and the decisions that act, at other prices, for one account and for all."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pms.model.account import LiquidationMode, Position, PositionSide, RiskRules
from pms.model.symbol import Symbol
from pms.risk import liquidation
from pms.risk.book import RiskBook
from pms.risk.liquidation import Level
from pms.risk.maintenance import bracket_tables
from pms.risk.preview import AccountPreview, PriceMove, preview
from pms.risk.scenario import Scenario
from tests.unit.risk.brackets import of_rows, tax_table
from tests.unit.risk.builders import BTC, ETH, account, position, symbol_rules

LONG, SHORT = PositionSide.LONG, PositionSide.SHORT
RULES = RiskRules()
SYMBOL_RULES = {BTC: symbol_rules(BTC), ETH: symbol_rules(ETH)}
TABLES = bracket_tables(
    of_rows({BTC: tax_table((0, "0.004"), (40_000, "0.02")), ETH: tax_table((0, "0.01"), (3_000, "0.1"))})
)
PERCENTS = st.integers(-9_900, 9_900).map(lambda each: Decimal(each) / 100)


def shown(
    balance: int,
    percent: str,
    *held: Position,
    mode: LiquidationMode = LiquidationMode.ADL_30,
    move: PriceMove | None = None,
    marks: dict[str, Decimal] | None = None,
    rules: RiskRules = RULES,
) -> AccountPreview:
    known = {one.symbol: Decimal(one.entry_price) for one in held}
    return preview(
        account(balance=balance, mode=mode),
        rules,
        held,
        dict(known.items()) if marks is None else marks,
        move or PriceMove(Decimal(percent)),
        SYMBOL_RULES,
        None,
    )


BTC_LONG = position(BTC, LONG, 1, 50_000)

LADDERS = [
    # 1 BTC at 50,000, cash 1,000, maintenance 250: bounds at equity 312.5, 277.8, 263.2 and 250
    ("0", Level.CALM, []),
    ("-1.38", Level.WARN, ["WARN"]),  # equity 310
    # Each step takes 30 %: after the second, maintenance is far below
    ("-1.45", Level.LIQUIDATE, ["ADL_TIER2"]),
    ("-1.48", Level.ESCALATE, ["ADL_TIER3"]),
    ("-1.52", Level.INSOLVENT, ["INSOLVENCY_GUARD"]),
    ("-2.5", Level.INSOLVENT, ["INSOLVENCY_GUARD"]),
    ("5", Level.CALM, []),
]


@pytest.mark.parametrize(("percent", "level", "ladder"), LADDERS)
def test_the_ladder_of_a_falling_price(percent: str, level: Level, ladder: list[str]) -> None:
    found = shown(1_000, percent, BTC_LONG)
    assert found.level is level
    assert [step.action for step in found.ladder] == ladder
    assert found.figures.equity_raw == 1_000 + 500 * Decimal(percent)
    assert found.legs[0].mark == 500 * (100 + Decimal(percent))
    assert (
        found.legs[0].liquidation_price
        == found.account_liquidation_price
        == pytest.approx(Decimal("49277.78"), rel=Decimal("1e-6"))
    )


def test_the_ladder_is_played_on_and_names_its_quantities() -> None:
    """Four equal positions need 500 together, so 30 % of one take 7.5 %: what follows a step is shown too."""
    symbols = [BTC, ETH, Symbol("SOL/USDT:USDT"), Symbol("XRP/USDT:USDT")]
    held = [position(symbol, LONG, 10, 2_500) for symbol in symbols]
    # 500 / 527 = 0.949, then 462.5 / 527 = 0.878
    second = shown(527, "0", *held).ladder
    assert [step.action for step in second] == ["ADL_TIER2", "WARN"]
    assert (second[0].symbol, second[0].quantity, second[0].closes_all) == (BTC, Decimal("3.000"), False)
    # 500 / 505 = 0.990, then 462.5 / 505 = 0.916: above the threshold after tier 3, so everything goes
    assert [step.action for step in shown(505, "0", *held).ladder] == ["ADL_TIER3", "ADL_30_ESCALATED"]
    # A threshold of 0.5 takes several steps: 0.533, 0.493
    several = shown(937, "0", *held, rules=replace(RULES, liquidation_threshold=Decimal("0.5"))).ladder
    assert [step.action for step in several] == ["ADL_TIER2", "WARN"]


MODES = [
    (LiquidationMode.INSTANT_CLOSE, "-1.45", "INSTANT_CLOSE"),
    (LiquidationMode.TAKEOVER, "-1.45", "VIRTUAL_LIQ"),
    (LiquidationMode.TAKEOVER, "-3", "INSOLVENCY_TAKEOVER"),
]


@pytest.mark.parametrize(("mode", "percent", "action"), MODES)
def test_other_modes(mode: LiquidationMode, percent: str, action: str) -> None:
    assert [step.action for step in shown(1_000, percent, BTC_LONG, mode=mode).ladder] == [action]


def test_symbols_move_by_their_own_and_unpriced_ones_from_their_entry() -> None:
    held = (BTC_LONG, position(ETH, SHORT, 10, 3_000))
    move = PriceMove(Decimal(-10), {ETH: Decimal(50)}, {BTC: Decimal(51_000)})
    found = shown(100_000, "0", *held, move=move, marks={BTC: Decimal(48_000)})
    assert [leg.mark for leg in found.legs] == [51_000, 4_500]
    assert [leg.unrealized_pnl for leg in found.legs] == [1_000, -15_000]
    assert found.unpriced == (ETH,)
    assert found.figures.equity_raw == 86_000


def test_an_account_without_positions_is_calm_whatever_it_owes() -> None:
    assert shown(0, "-50").level is Level.CALM
    assert shown(0, "-50").ladder == ()


@settings(max_examples=50)
@given(
    st.integers(-500, 9_000), st.integers(1, 300), st.booleans(), st.integers(1, 900), st.booleans(), PERCENTS
)
def test_an_account_is_previewed_as_the_live_book_would_find_it(
    cash: int, btc: int, btc_long: bool, eth: int, eth_long: bool, percent: Decimal
) -> None:
    """Preview, scenario of the desk, and the live book after the move agree, under both models."""
    holder = account(balance=cash)
    held = [
        position(BTC, LONG if btc_long else SHORT, Decimal(btc) / 100, 50_000),
        position(ETH, LONG if eth_long else SHORT, Decimal(eth) / 100, 3_000),
    ]
    marks = {BTC: Decimal(50_000), ETH: Decimal(3_100)}
    for tables in (None, TABLES):
        ticks, exact = (None, None) if tables is None else (tables.ticks, tables.exact)
        book = RiskBook(brackets=ticks)
        book.set_account(holder, RULES)
        for item in held:
            book.set_position(item)
        for symbol, mark in marks.items():
            book.on_mark(symbol, float(mark), 1)
        found = preview(holder, RULES, held, dict(marks.items()), PriceMove(percent), SYMBOL_RULES, exact)
        desk = book.scenario(PriceMove(percent), 10)
        for symbol, mark in marks.items():
            book.on_mark(symbol, float(PriceMove(percent).of(symbol, mark)), 2)
        live = book.evaluate(holder.id)
        assert float(found.figures.equity_raw) == pytest.approx(live.figures.equity_raw, abs=1e-6)
        assert float(found.figures.maintenance_margin) == pytest.approx(live.figures.maintenance_margin)
        assert desk.equity - desk.deficit == pytest.approx(live.figures.equity_raw, abs=1e-6)
        assert desk.maintenance == pytest.approx(live.figures.maintenance_margin)
        if not near_a_bound(float(found.figures.margin_ratio)):
            assert found.level is live.level
            assert desk.levels[live.level] == 1
            named = [(row.account_id, row.level) for row in desk.accounts]
            assert named == ([(holder.id, live.level)] if live.level >= Level.WARN else [])


def near_a_bound(ratio: float) -> bool:
    return any(abs(ratio - bound) < 1e-9 for bound in (0.8, 0.9, 0.95, 1.0))


def desk_of(count: int) -> RiskBook:
    """Accounts with 1 BTC at 50,000 and cash 1,000, 1,500, 2,000, ..."""
    book = RiskBook()
    for number in range(count):
        key = f"a{number}"
        book.set_account(account(key, 1_000 + 500 * number), RULES)
        book.set_position(position(BTC, LONG, 1, 50_000, owner=key))
    book.on_mark(BTC, 50_000.0, 1)
    return book


def counted(found: Scenario) -> dict[str, int]:
    return {level.name: count for level, count in found.levels.items() if count}


def test_a_desk_is_counted_and_the_worst_are_named_first() -> None:
    book = desk_of(20)
    before = book.statistics()
    assert counted(book.scenario(PriceMove(Decimal(0)), 5)) == {"CALM": 20}
    fallen = book.scenario(PriceMove(Decimal(-5)), 2)
    # -2,500: the accounts with 1,000, 1,500, 2,000 and 2,500 have nothing left, 3,000 keeps 500.
    assert counted(fallen) == {"INSOLVENT": 4, "CALM": 16}
    assert [row.account_id for row in fallen.accounts] == ["a0", "a1"]
    assert fallen.deficit == pytest.approx(1_500 + 1_000 + 500)
    assert book.statistics() == before, "a preview changes nothing"


def test_an_account_of_the_desk_without_positions_is_not_counted() -> None:
    book = desk_of(2)
    book.set_account(account("idle", -5), RULES)
    found = book.scenario(PriceMove(Decimal(0)), 5)
    assert counted(found) == {"CALM": 2}
    assert found.deficit == 5


def test_a_desk_in_which_nobody_has_a_price() -> None:
    book = RiskBook()
    book.set_account(account(balance=1_000), RULES)
    book.set_position(position(BTC, LONG, 1, 50_000))
    assert counted(book.scenario(PriceMove(Decimal(-10)), 5)) == {"INSOLVENT": 1}
    assert counted(book.scenario(PriceMove(prices={Symbol(BTC): Decimal(50_100)}), 5)) == {"CALM": 1}


def test_decisions_are_those_of_liquidation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preview has no ladder of its own."""
    monkeypatch.setattr(liquidation, "confirm", lambda *_: liquidation.Warn(Decimal("0.81")))
    assert [step.action for step in shown(1_000, "-1.45", BTC_LONG).ladder] == ["WARN"]
