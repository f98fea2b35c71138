"""Fast answers: early when the booking is late, never booked before the exchange's executions are here."""

from decimal import Decimal
from pathlib import Path

from pms.execution.api import Executed, MarketRequest
from pms.model.clock import Clock
from pms.model.order import OrderState
from tests.support.laboratory import ACTOR, BTC, LONG, laboratory
from tests.support.waiting import until


async def test_a_fast_answer_comes_before_a_late_booking_and_books_nothing(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        account = await lab.account("A")
        wanted = MarketRequest(
            account, BTC, LONG, Decimal("0.01"), Decimal(10), fast=True, fallback_price=Decimal(1)
        )
        in_time = await lab.parts.trader.market(wanted, ACTOR)
        assert isinstance(in_time, Executed)
        assert in_time.confirmed
        assert in_time.trades[0].price == Decimal("60000.1"), "the exchange's price, never the client's"

        lab.exchange.arm(kind="silence", traffic="private", for_ms=2_000)
        clock: Clock = lab.parts.core.clock
        began = clock.monotonic()
        early = await lab.parts.trader.market(wanted, ACTOR)
        assert clock.monotonic() - began < 0.65, "before the resolver's first look"
        assert isinstance(early, Executed)
        assert (early.confirmed, early.trades) == (False, ())
        assert early.order is not None
        assert early.order.state is OrderState.FINISHING
        assert early.estimate is not None
        assert early.estimate.price == 1, "the exchange's answer names no average: shown, never booked (H6)"
        assert early.estimate.quantity == Decimal("0.01")
        assert lab.held("A") == Decimal("0.01"), "nothing is booked on an acknowledgement"

        await until(lambda: lab.held("A") == Decimal("0.02"), "the booking")
        assert lab.parts.ledger.order(early.order.client_order_id) is None
        position = lab.position("A")
        assert position is not None
        assert position.entry_price == Decimal("60000.1")
