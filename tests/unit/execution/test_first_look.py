"""First observations: one look at a symbol decides nothing, and a price of nothing is no price."""

from decimal import Decimal

import pytest

from pms.execution.exchange_net import PERSISTENCE_MS, ExchangeNet
from pms.execution.prices import Prices
from pms.model.price import MarkPrice
from tests.support.ledger import BTC, START_MS, ManualClock

ZERO = Decimal(0)


def test_the_first_look_at_a_symbol_is_no_verdict() -> None:
    # The first fill ever on the symbol is booked, its position report is still on the way.
    net = ExchangeNet()
    net.snapshot((), 1)
    first = net.judge(BTC, Decimal(1), ZERO, 1_000)
    assert first.balanced
    assert first.undecided, "and it is told to nobody"
    assert net.judge(BTC, Decimal(1), ZERO, 1_000 + PERSISTENCE_MS - 1).balanced
    late = net.judge(BTC, Decimal(1), ZERO, 1_000 + PERSISTENCE_MS)
    assert not late.balanced
    assert late.difference == -1
    assert not late.undecided


@pytest.mark.parametrize("price", [0.0, -1.0, float("nan"), float("inf")])
def test_a_mark_that_is_no_price_changes_nothing(price: float) -> None:
    clock = ManualClock()
    prices = Prices(clock)
    prices.take_mark(MarkPrice(BTC, 100.0, 0.0, 0, START_MS, START_MS))
    clock.advance(5_000)
    prices.take_mark(MarkPrice(BTC, price, 0.0, 0, START_MS, clock.now_ms()))
    assert prices.mark_price(BTC) == 100.0
    assert prices.mark_age_ms(BTC) == 5_000, "and it grows old"
