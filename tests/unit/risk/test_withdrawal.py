"""What may leave an account: a table, and the rule that money withdrawn backs nothing that is open."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pms.model.account import PositionSide, SubAccount
from pms.model.money import Money
from pms.model.order import OrderSide
from pms.model.price import STALE_AFTER_MS
from pms.model.refusal import RefusalCode
from pms.risk.gate import MarkedPosition
from pms.risk.reservations import OpenOrder
from pms.risk.withdrawal import refuse_withdrawal, withdrawable
from tests.unit.risk.builders import ETH, account, position, resting

BUY = OrderSide.BUY


def held(mark: int | str, quantity: int = 10, age_ms: int = 0) -> MarkedPosition:
    """A long position entered at 100 with 10x: 1,000 of notional, 100 of margin for quantity 10."""
    return MarkedPosition(position(quantity=quantity, entry=100, leverage=10), Decimal(mark), age_ms)


@pytest.mark.parametrize(
    ("own", "positions", "orders", "expected"),
    [
        (account(), [], [], 1000),
        (account(owed=50), [], [], 950),
        (account(), [held(100)], [], 900),
        (account(), [held(130)], [], 900),  # profit is not money yet
        (account(), [held(70)], [], 600),
        (account(), [held(1)], [], 0),
        (account(), [], [resting(BUY, 10, 100)], 900),
        (account(), [held(100)], [resting(BUY, 10, 100)], 800),
        (account(), [held(100)], [resting(OrderSide.SELL, 10, 100)], 900),  # it closes
        (account(), [held(100)], [resting(BUY, 5, 100, symbol=ETH)], 850),
    ],
)
def test_margin_losses_and_orders_stay_covered(
    own: SubAccount, positions: list[MarkedPosition], orders: list[OpenOrder], expected: int
) -> None:
    assert withdrawable(own, positions, orders) == expected


@pytest.mark.parametrize(
    ("own", "amount", "positions", "liquidating", "ready", "code"),
    [
        (account(), 1000, [], False, True, None),
        (account(), "1000.00000001", [], False, True, RefusalCode.INSUFFICIENT_BALANCE),
        (None, 1, [], False, True, RefusalCode.ACCOUNT_NOT_FOUND),
        (account(), 1, [], False, False, RefusalCode.NOT_READY),
        (account(), 1, [], True, True, RefusalCode.LIQUIDATION_IN_PROGRESS),
        (account(), 1, [held(100, age_ms=STALE_AFTER_MS)], False, True, None),
        (account(), 1, [held(100, age_ms=STALE_AFTER_MS + 1)], False, True, RefusalCode.STALE_PRICE),
        (account(), 1, [MarkedPosition(position(), None)], False, True, RefusalCode.STALE_PRICE),
    ],
)
def test_refusals(
    own: SubAccount | None,
    amount: int | str,
    positions: list[MarkedPosition],
    liquidating: bool,
    ready: bool,
    code: RefusalCode | None,
) -> None:
    refused = refuse_withdrawal(
        own, Money(Decimal(amount)), positions, [], liquidating=liquidating, ready=ready
    )
    assert (refused.refusals[0].code if refused else None) is code


@given(
    st.sampled_from(list(PositionSide)),
    st.decimals("0.001", 20, places=3),
    st.decimals(1, 500, places=1),
    st.decimals(0, 10_000, places=2),
)
def test_what_is_left_covers_margin_and_losses(
    side: PositionSide, quantity: Decimal, mark: Decimal, balance: Decimal
) -> None:
    marked = MarkedPosition(position(side=side, quantity=quantity, entry=100, leverage=10), mark)
    amount = withdrawable(account(balance=balance), [marked], [])
    assert 0 <= amount <= balance
    if amount:
        equity = balance - amount + min(Decimal(0), marked.unrealized_pnl)
        assert equity == marked.position.margin
