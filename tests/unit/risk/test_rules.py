"""The further rules: what each refuses, what breaks it, and when its restriction ends."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pms.model.ids import SubAccountId
from pms.model.restriction import Restriction
from pms.model.trading_rules import (
    CountRule,
    EquityMark,
    LossRule,
    RuleAction,
    RuleName,
    SymbolRule,
    TradingRules,
    rules_from_json,
    rules_to_json,
)
from pms.risk.rules import day_of, entry_refusals, judge_equity, judge_holdings, judge_rate, releases
from pms.risk.watch import LossWatch
from tests.unit.risk.builders import BTC, ETH

WARN, BLOCK, REDUCE, FLATTEN, LOCK = RuleAction
ALICE = SubAccountId("alice")
OFF = TradingRules()


def mark(start: str = "1000", peak: str = "1000") -> EquityMark:
    return EquityMark(ALICE, "2026-11-25", Decimal(start), Decimal(peak))


def loss(amount: str | None = None, fraction: str | None = None, action: RuleAction = BLOCK) -> LossRule:
    return LossRule(
        action, None if amount is None else Decimal(amount), None if fraction is None else Decimal(fraction)
    )


def test_every_rule_is_off_by_default() -> None:
    assert entry_refusals(OFF, BTC, [ETH] * 50, 10_000) == ()
    assert judge_rate(OFF, 10_000) is None
    assert judge_holdings(OFF, [BTC, ETH]) == ()
    assert judge_equity(OFF, mark(), Decimal(-5)) == ()


@pytest.mark.parametrize(
    ("rule", "equity", "broken"),
    [
        (loss(amount="100"), "900.01", False),
        (loss(amount="100"), "900", True),
        (loss(fraction="0.05"), "950.01", False),
        (loss(fraction="0.05"), "950", True),
        (loss(amount="100", fraction="0.05"), "940", True),
        (loss(amount="10", fraction="0.5"), "990", True),
    ],
)
def test_a_daily_loss_counts_from_the_start_of_the_day(rule: LossRule, equity: str, broken: bool) -> None:
    found = judge_equity(TradingRules(daily_loss=rule), mark(peak="5000"), Decimal(equity))
    assert [breach.rule for breach in found] == ([RuleName.DAILY_LOSS] if broken else [])
    if broken:
        assert found[0].evidence["equity"] == equity
        assert found[0].evidence["from"] == "1000"


@pytest.mark.parametrize(("equity", "broken"), [("1080.01", False), ("1080", True)])
def test_a_drawdown_counts_from_the_peak(equity: str, broken: bool) -> None:
    rules = TradingRules(trailing_drawdown=loss(fraction="0.1"))
    assert bool(judge_equity(rules, mark(peak="1200"), Decimal(equity))) is broken


@pytest.mark.parametrize(
    ("rules", "refused"),
    [
        (TradingRules(symbols=SymbolRule(BLOCK, allowed=frozenset({ETH}))), ["SYMBOL_NOT_ALLOWED"]),
        (TradingRules(symbols=SymbolRule(BLOCK, denied=frozenset({BTC}))), ["SYMBOL_NOT_ALLOWED"]),
        (TradingRules(symbols=SymbolRule(WARN, denied=frozenset({BTC}))), []),
        (TradingRules(symbols=SymbolRule(LOCK, allowed=frozenset({BTC}))), []),
        (TradingRules(position_count=CountRule(REDUCE, 1)), ["POSITION_COUNT_EXCEEDED"]),
        (TradingRules(position_count=CountRule(REDUCE, 2)), []),
        (TradingRules(order_rate=CountRule(BLOCK, 5)), ["ORDER_RATE_EXCEEDED"]),
        (TradingRules(order_rate=CountRule(WARN, 5)), []),
        (TradingRules(order_rate=CountRule(BLOCK, 6)), []),
    ],
)
def test_what_an_entry_on_btc_meets(rules: TradingRules, refused: list[str]) -> None:
    """ETH is held; five orders came within the minute."""
    assert [one.code.name for one in entry_refusals(rules, BTC, [ETH], 5)] == refused


def test_adding_to_a_position_is_no_further_position() -> None:
    assert entry_refusals(TradingRules(position_count=CountRule(BLOCK, 1)), ETH, [ETH], 0) == ()


def test_what_is_held_is_judged_whatever_brought_it() -> None:
    rules = TradingRules(
        symbols=SymbolRule(FLATTEN, denied=frozenset({ETH})), position_count=CountRule(WARN, 1)
    )
    assert [(one.rule, one.action, one.evidence) for one in judge_holdings(rules, [BTC, ETH])] == [
        (RuleName.SYMBOLS, FLATTEN, {"symbols": ETH}),
        (RuleName.POSITION_COUNT, WARN, {"positions": "2", "max": "1"}),
    ]


@pytest.mark.parametrize(
    ("name", "action", "new_day", "still_broken", "age_ms", "ends"),
    [
        (RuleName.DAILY_LOSS, BLOCK, False, False, 10**9, False),
        (RuleName.DAILY_LOSS, BLOCK, True, True, 1, True),
        (RuleName.DAILY_LOSS, LOCK, True, False, 10**9, False),
        (RuleName.TRAILING_DRAWDOWN, BLOCK, True, False, 10**9, False),
        (RuleName.ORDER_RATE, REDUCE, False, True, 59_999, False),
        (RuleName.ORDER_RATE, REDUCE, False, True, 60_000, True),
        (RuleName.ORDER_RATE, LOCK, True, False, 60_000, False),
        (RuleName.SYMBOLS, REDUCE, True, True, 10**9, False),
        (RuleName.SYMBOLS, REDUCE, False, False, 1, True),
        (RuleName.POSITION_COUNT, FLATTEN, False, False, 1, True),
    ],
)
def test_when_a_restriction_ends_by_itself(
    name: RuleName, action: RuleAction, new_day: bool, still_broken: bool, age_ms: int, ends: bool
) -> None:
    assert releases(name, action, new_day=new_day, still_broken=still_broken, age_ms=age_ms) is ends


def test_actions_as_restrictions() -> None:
    assert [action.restriction for action in RuleAction] == [
        Restriction.NONE,
        Restriction.BLOCK_ENTRIES,
        Restriction.REDUCE_ONLY,
        Restriction.FLATTEN,
        Restriction.FLATTEN,
    ]


def test_a_day_is_utc() -> None:
    assert [day_of(1_764_028_799_999), day_of(1_764_028_800_000)] == ["2025-11-24", "2025-11-25"]


def test_rules_survive_their_stored_form() -> None:
    rules = TradingRules(
        loss("100", "0.05", LOCK),
        loss(fraction="0.1"),
        CountRule(WARN, 60),
        SymbolRule(REDUCE, frozenset({BTC}), frozenset({ETH})),
        CountRule(BLOCK, 5),
    )
    assert rules_from_json(rules_to_json(rules)) == rules
    assert rules_from_json(rules_to_json(OFF)) == OFF
    assert rules_from_json(None) is None


amounts = st.integers(1, 2000).map(Decimal)


@given(
    st.lists(
        st.tuples(
            amounts, amounts, st.booleans(), st.sampled_from([None, "0.05", "0.3"]), st.integers(-500, 3000)
        ),
        min_size=1,
        max_size=8,
    ),
    st.data(),
)
def test_the_vectorised_watch_names_whoever_the_exact_judgement_would(
    accounts: list[tuple[Decimal, Decimal, bool, str | None, int]], data: st.DataObject
) -> None:
    watch = LossWatch()
    exact: dict[SubAccountId, tuple[TradingRules, EquityMark, Decimal]] = {}
    for number, (start, peak, daily, share, equity) in enumerate(accounts):
        owner = SubAccountId(f"a{number}")
        rules = TradingRules(
            daily_loss=loss(amount="50") if daily else None,
            trailing_drawdown=None if share is None else loss(fraction=share),
        )
        owned = EquityMark(owner, "d", start, peak)
        watch.set(owner, number, rules, owned)
        exact[owner] = (rules, owned, Decimal(equity))
    gone = data.draw(st.sampled_from(sorted(exact)))
    watch.drop(gone)
    del exact[gone]
    equities = np.array([float(accounts[row][4]) for row in watch.rows])
    named = set(watch.step(equities))
    broken = {owner for owner, judged in exact.items() if judge_equity(*judged)}
    assert broken == named
    for owner, (_, owned, now) in exact.items():
        assert watch.peak(owner) == max(float(owned.peak_equity), float(now), 0.0)
