"""The liquidation decision: every mode at every level, stale prices, pauses, lots."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pms.model.account import LiquidationMode, PositionSide
from pms.model.price import STALE_AFTER_MS
from pms.risk.formulas import Figures, Leg
from pms.risk.liquidation import (
    Label,
    Level,
    LiquidateAll,
    Nothing,
    PartialClose,
    Postponed,
    StepAction,
    TakeOverAll,
    Timing,
    Warn,
    after_escalation,
    confirm,
    decide,
    level_of,
    may_mark_liquidated,
    step_quantity,
)
from tests.unit.risk.builders import BTC, ETH, account, position, symbol_rules

ADL, INSTANT, TAKEOVER = LiquidationMode.ADL_30, LiquidationMode.INSTANT_CLOSE, LiquidationMode.TAKEOVER
NOW = 1_000_000
FRESH = Timing(NOW, {BTC: 0, ETH: STALE_AFTER_MS})
LEGS = [
    Leg("small", ETH, True, 10.0, 1.0, 10.0, 1.0),
    Leg("large", BTC, True, 100.0, 2.0, 200.0, 20.0),
]


def figures(ratio: float, equity: float = 100.0) -> Figures[float]:
    return Figures(equity, equity, 0.0, 21.0, 210.0, ratio * equity, ratio, 2)


@pytest.mark.parametrize(
    ("ratio", "level"),
    [
        (0.7999, Level.CALM),
        (0.8, Level.WARN),
        (0.8999, Level.WARN),
        (0.9, Level.LIQUIDATE),
        (0.95, Level.LIQUIDATE),
        (0.9500000000000001, Level.ESCALATE),
        (0.9999, Level.ESCALATE),
        (1.0, Level.INSOLVENT),
        (999.0, Level.INSOLVENT),
    ],
)
def test_levels_are_double_arithmetic(ratio: float, level: Level) -> None:
    assert level_of(ratio, 1.0, 0.9) is level


def test_levels_without_equity_and_above_one() -> None:
    assert level_of(0.1, 0.0, 0.9) is Level.INSOLVENT
    assert level_of(0.99, 1.0, 1.2) is Level.CALM
    assert level_of(Decimal("0.95"), Decimal(1), Decimal("0.9")) is Level.ESCALATE


DECISIONS = [
    (ADL, 0.7, Nothing()),
    (ADL, 0.85, Warn(0.85)),
    (INSTANT, 0.85, Nothing()),
    (TAKEOVER, 0.85, Nothing()),
    (INSTANT, 0.9, LiquidateAll(Label.INSTANT_CLOSE, 0.9)),
    (INSTANT, 0.97, LiquidateAll(Label.INSTANT_CLOSE, 0.97)),
    (TAKEOVER, 0.9, TakeOverAll(Label.VIRTUAL_LIQ, 0.9)),
    (ADL, 1.0, LiquidateAll(Label.INSOLVENCY_GUARD, 1.0)),
    (INSTANT, 1.0, LiquidateAll(Label.INSOLVENCY_GUARD, 1.0)),
    (TAKEOVER, 1.0, TakeOverAll(Label.INSOLVENCY_TAKEOVER, 1.0)),
]


@pytest.mark.parametrize(("mode", "ratio", "expected"), DECISIONS)
def test_decisions(mode: LiquidationMode, ratio: float, expected: object) -> None:
    assert decide(mode, 0.9, figures(ratio), LEGS, {}, FRESH) == expected


@pytest.mark.parametrize(
    ("ratio", "tier", "action"), [(0.92, 2, StepAction.ADL_TIER2), (0.97, 3, StepAction.ADL_TIER3)]
)
def test_steps_take_the_largest_position(ratio: float, tier: int, action: StepAction) -> None:
    step = decide(ADL, 0.9, figures(ratio), LEGS, {BTC: symbol_rules()}, FRESH)
    assert step == PartialClose("large", BTC, 0.6, False, tier, action, ratio)  # type: ignore[arg-type]


@pytest.mark.parametrize("ratio", [0.92, 0.97, 1.0])
@pytest.mark.parametrize("mode", list(LiquidationMode))
def test_nothing_acts_on_a_stale_or_missing_price_and_says_so(mode: LiquidationMode, ratio: float) -> None:
    cases: list[tuple[dict[str, int | None], str]] = [
        ({BTC: 0, ETH: STALE_AFTER_MS + 1}, "11 s old"),
        ({BTC: 0}, "no price"),
    ]
    for ages, text in cases:
        decision = decide(mode, 0.9, figures(ratio), LEGS, {}, Timing(NOW, ages))
        assert isinstance(decision, Postponed)
        assert text in decision.reason
        assert ETH in decision.reason
        assert decision.act == decide(mode, 0.9, figures(ratio), LEGS, {}, FRESH)


def test_steps_pause_but_the_guard_does_not() -> None:
    soon = Timing(NOW, {BTC: 0, ETH: 0}, NOW - 1_999)
    assert isinstance(decide(ADL, 0.9, figures(0.92), LEGS, {}, soon), Postponed)
    assert isinstance(decide(ADL, 0.9, figures(1.5), LEGS, {}, soon), LiquidateAll)
    later = Timing(NOW, {BTC: 0, ETH: 0}, NOW - 2_000)
    assert isinstance(decide(ADL, 0.9, figures(0.92), LEGS, {}, later), PartialClose)


def test_after_a_tier_three_step() -> None:
    assert after_escalation(0.9, figures(0.89), LEGS, FRESH) == Nothing()
    assert after_escalation(0.9, figures(0.97), [], FRESH) == Nothing()
    assert after_escalation(0.9, figures(0.9), LEGS, FRESH) == LiquidateAll(Label.ADL_30_ESCALATED, 0.9)
    assert isinstance(after_escalation(0.9, figures(0.9), LEGS, Timing(NOW, {})), Postponed)


def test_an_account_without_positions_is_left_alone() -> None:
    assert decide(ADL, 0.9, figures(999.0, -1.0), [], {}, FRESH) == Nothing()


@pytest.mark.parametrize(
    ("quantity", "price", "expected"),
    [
        ("1", "100", ("0.3", False)),
        ("0.101", "10000", ("0.031", False)),
        ("0.001", "100000", ("0.001", True)),
        ("0.002", "100000", ("0.001", False)),
        ("0.07", "100", ("0.07", True)),
        ("0.08", "100", ("0.024", False)),
    ],
)
def test_steps_round_up_to_a_lot_and_leave_no_dust(
    quantity: str, price: str, expected: tuple[str, bool]
) -> None:
    amount, closes_all = step_quantity(Decimal(quantity), Decimal(price), symbol_rules())
    assert (amount, closes_all) == (Decimal(expected[0]), expected[1])


def test_a_step_is_no_smaller_than_the_smallest_order() -> None:
    rules = symbol_rules(market_quantity_min=Decimal("0.01"))
    assert step_quantity(Decimal("0.03"), Decimal(1000), rules) == (Decimal("0.01"), False)
    assert step_quantity(Decimal("0.019"), Decimal(1000), rules) == (Decimal("0.019"), True)
    assert step_quantity(0.03, 1000.0, rules) == (0.01, False)


@given(st.integers(1, 10**6))
def test_steps_stay_on_the_lot(lots: int) -> None:
    whole = Decimal(lots) / 1000
    amount, closes_all = step_quantity(whole, Decimal(500), symbol_rules())
    assert amount % Decimal("0.001") == 0
    assert whole * Decimal("0.3") <= amount <= whole
    assert closes_all is (amount == whole)
    if not closes_all:
        assert (whole - amount) * 500 >= 5


def test_a_breach_is_confirmed_exactly() -> None:
    """At equity = maintenance / T exactly, Decimal acts; one unit above it does not."""
    held = [position(BTC, PositionSide.LONG, 1, 50_000, leverage=50)]
    owner = account(balance=1000, mode=INSTANT)
    timing = Timing(NOW, {BTC: 0})
    at = Decimal(50_000) - 1000 + Decimal(250) / Decimal("0.9")
    acting = confirm(owner, Decimal("0.9"), held, {BTC: at - Decimal("1e-9")}, {}, timing)
    assert isinstance(acting, LiquidateAll)
    waiting = confirm(owner, Decimal("0.9"), held, {BTC: at + Decimal("1e-9")}, {}, timing)
    assert waiting == Nothing()


def test_liquidated_needs_an_empty_account() -> None:
    assert may_mark_liquidated(0, 0)
    assert not may_mark_liquidated(1, 0)
    assert not may_mark_liquidated(0, 1)
