"""The real account's ladder: levels with hysteresis, and what a step of shedding closes (decision 19)."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pms.model.account import Position, PositionSide
from pms.model.symbol import Symbol
from pms.risk.real_ladder import (
    NoShed,
    RealLevel,
    RealRisk,
    Shed,
    level_after,
    lots_pro_rata,
    shed_step,
    wanted_quantity,
)
from tests.unit.risk.builders import BTC, ETH, position

LONG, SHORT = PositionSide.LONG, PositionSide.SHORT
CALM, WARN, BLOCK, SHED = RealLevel


@pytest.mark.parametrize(
    ("before", "ratio", "after"),
    [
        (CALM, "0.4999", CALM),
        (CALM, "0.50", WARN),
        (CALM, "0.65", BLOCK),
        (CALM, "0.80", SHED),
        (CALM, "999", SHED),
        (WARN, "0.46", WARN),
        (WARN, "0.45", WARN),
        (WARN, "0.4499", CALM),
        (WARN, "0.65", BLOCK),
        (BLOCK, "0.60", BLOCK),
        (BLOCK, "0.5999", WARN),
        (BLOCK, "0.47", WARN),
        (BLOCK, "0.44", CALM),
        (SHED, "0.75", SHED),
        (SHED, "0.7499", BLOCK),
        (SHED, "0.61", BLOCK),
        (SHED, "0.59", WARN),
        (SHED, "0.1", CALM),
    ],
)
def test_levels(before: RealLevel, ratio: str, after: RealLevel) -> None:
    assert level_after(before, Decimal(ratio)) is after


@given(st.lists(st.decimals("0", "1.2", places=3), max_size=40))
def test_a_level_never_lags_behind_its_ratio(ratios: list[Decimal]) -> None:
    level = CALM
    for ratio in ratios:
        level = level_after(level, ratio)
        assert level >= level_after(CALM, ratio), "upwards at once"
        assert level <= level_after(CALM, ratio + Decimal("0.05")), "never more than 5 points late"


def risk(
    symbol: Symbol = BTC,
    net: str = "10",
    mark: str = "100",
    rate: str = "0.1",
    *,
    fresh: bool = True,
    step: str = "0.1",
) -> RealRisk:
    maintenance = abs(Decimal(net)) * Decimal(mark) * Decimal(rate)
    return RealRisk(symbol, Decimal(net), Decimal(mark), maintenance, Decimal(rate), fresh, Decimal(step))


def owned(owner: str, quantity: str, side: PositionSide = LONG, symbol: Symbol = BTC) -> Position:
    return position(symbol, side, quantity, owner=owner)


def taken(step: Shed | NoShed) -> dict[str, Decimal]:
    assert isinstance(step, Shed), step
    return {part.position_id.split("-")[0]: part.quantity for part in step.parts}


def test_below_eighty_percent_nothing_is_closed() -> None:
    assert shed_step([risk()], {BTC: [owned("a", "10")]}, Decimal(79), Decimal(100)) == NoShed()
    assert shed_step([], {}, Decimal(0), Decimal(0)) == NoShed()


def test_as_many_lots_as_bring_it_to_the_target() -> None:
    # Maintenance 100 of balance 120 is 83 %; 78 % is 93.6, so 6.4 of 10 for each unit, rounded up to lots.
    assert wanted_quantity(risk(), Decimal(100), Decimal(120)) == Decimal("0.7")
    step = shed_step([risk()], {BTC: [owned("a", "6"), owned("b", "4")]}, Decimal(100), Decimal(120))
    assert taken(step) == {"a": Decimal("0.5"), "b": Decimal("0.2")}
    after = (100 - Decimal("0.7") * 10) / 120
    assert after < Decimal("0.78")


def test_the_largest_real_risk_goes_first_and_only_the_side_of_the_net() -> None:
    risks = [risk(ETH, "-50"), risk(BTC, "10")]
    holders = {
        BTC: [owned("a", "10")],
        ETH: [owned("b", "60", SHORT, ETH), owned("c", "10", LONG, ETH)],
    }
    step = shed_step(risks, holders, Decimal(600), Decimal(650))
    assert isinstance(step, Shed)
    assert step.symbol == ETH
    assert taken(step) == {"b": Decimal("9.3")}


def test_one_after_the_other_when_the_first_is_not_enough() -> None:
    step = shed_step([risk(net="1")], {BTC: [owned("a", "1")]}, Decimal(500), Decimal(100))
    assert taken(step) == {"a": Decimal(1)}, "all of the net, and a look at what that did"


def test_without_a_balance_everything_of_the_largest_goes() -> None:
    assert taken(shed_step([risk()], {BTC: [owned("a", "12")]}, Decimal(100), Decimal(-5))) == {
        "a": Decimal(10)
    }


def test_nothing_on_a_stale_price() -> None:
    risks = [risk(), risk(ETH, "1", fresh=False)]
    step = shed_step(risks, {BTC: [owned("a", "10")]}, Decimal(110), Decimal(120))
    assert step == NoShed("the marks of ETH/USDT:USDT are not fresh")


def test_what_the_house_holds_is_said() -> None:
    step = shed_step([risk()], {BTC: [owned("a", "0.3")]}, Decimal(100), Decimal(120))
    assert isinstance(step, Shed)
    assert (taken(step), step.house_quantity) == ({"a": Decimal("0.3")}, Decimal("0.4"))
    alone = shed_step([risk()], {BTC: [owned("a", "3", SHORT)]}, Decimal(100), Decimal(120))
    assert isinstance(alone, NoShed)
    assert "the house does" in alone.reason


def test_a_flat_account_cannot_shed() -> None:
    assert isinstance(shed_step([risk(net="0")], {}, Decimal(90), Decimal(100)), NoShed)


QUANTITIES = st.integers(1, 400).map(lambda number: Decimal(number) / 10)


@given(st.lists(QUANTITIES, min_size=1, max_size=12), st.data())
def test_shares_are_lots_and_add_up(holdings: list[Decimal], data: st.DataObject) -> None:
    total = sum(holdings, Decimal(0))
    quantity = Decimal(data.draw(st.integers(0, int(total * 10)))) / 10
    step = Decimal("0.1")
    shares = lots_pro_rata(quantity, holdings, step)
    assert sum(shares, Decimal(0)) == quantity
    for share, held in zip(shares, holdings, strict=True):
        assert 0 <= share <= held
        assert share % step == 0
        assert abs(share - quantity * held / total) <= step
