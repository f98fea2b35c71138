"""Average cost, fee splits and shares: exact whatever the numbers are."""

from decimal import Decimal, localcontext

from hypothesis import given
from hypothesis import strategies as st

from pms.ledger.operations.costs import apply_fill, cost_removed, pro_rata, split_fee, step_of
from pms.model.money import CONTEXT, ZERO, round_cost

quantities = st.decimals("0.00000001", "1000000", places=8)
prices = st.decimals("0.00000001", "1000000", places=8)
signed_quantities = st.one_of(quantities, quantities.map(lambda value: -value))


@given(st.lists(st.tuples(signed_quantities, prices), min_size=1, max_size=12))
def test_no_fill_creates_or_destroys_money(fills: list[tuple[Decimal, Decimal]]) -> None:
    with localcontext(CONTEXT):
        quantity = cost = realized = paid = net = ZERO
        for size, price in fills:
            held = apply_fill(quantity, cost, size, price)
            realized += held.realized
            paid += round_cost(size * price)
            net += size
            quantity, cost = held.signed_quantity, held.signed_cost
            assert quantity == net
            assert (quantity == 0) <= (cost == 0)
            assert quantity * cost >= 0
        assert realized - cost == -paid


def test_a_turn_over_closes_first_and_opens_the_rest_at_the_price() -> None:
    held = apply_fill(Decimal(2), Decimal(200), Decimal(-5), Decimal(110))
    assert (held.signed_quantity, held.signed_cost, held.realized) == (-3, -330, 20)


@given(quantities, st.decimals("0", "1000000", places=18), st.integers(1, 99))
def test_parts_of_a_cost_sum_to_it(quantity: Decimal, cost: Decimal, percent: int) -> None:
    with localcontext(CONTEXT):
        part = round_cost(quantity * percent / 100)
        removed = cost_removed(cost, quantity, part)
        assert 0 <= removed <= cost
        assert removed + cost_removed(cost - removed, quantity - part, quantity - part) == cost


def test_fee_splits() -> None:
    assert split_fee(Decimal("0.3"), Decimal(1), Decimal(3)) == Decimal("0.1")
    assert split_fee(Decimal("0.3"), Decimal(3), Decimal(3)) == Decimal("0.3")


def test_steps_come_from_the_quantities() -> None:
    assert step_of(Decimal("0.4"), Decimal("0.300"), Decimal(12)) == Decimal("0.1")
    assert step_of(Decimal("100")) == 1


@given(st.lists(st.integers(1, 500), min_size=1, max_size=8), st.data())
def test_shares_are_lots_that_sum_and_fit(lots: list[int], data: st.DataObject) -> None:
    holdings = [Decimal(lot) / 1000 for lot in lots]
    quantity = Decimal(data.draw(st.integers(1, sum(lots)))) / 1000
    shares = pro_rata(quantity, holdings)
    assert sum(shares, ZERO) == quantity
    for share, holding in zip(shares, holdings, strict=True):
        assert 0 <= share <= holding
        assert share % Decimal("0.001") == 0
        assert abs(share - quantity * holding / sum(holdings, ZERO)) < step_of(quantity, *holdings)


def test_the_largest_remainders_get_the_rest() -> None:
    assert pro_rata(Decimal("0.4"), [Decimal("0.6"), Decimal("0.3")]) == [Decimal("0.3"), Decimal("0.1")]
