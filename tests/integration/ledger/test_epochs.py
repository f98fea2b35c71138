"""When the real account is adopted, and what an epoch of the exchange takes with it."""

from pms.ledger.audit import audit
from pms.ledger.ledger import LedgerService
from pms.model.order import OrderSide
from tests.support.ledger import START_MS, Desk, ManualClock, money, opened


async def test_executions_count_from_the_adoption_on_not_from_the_first_start(
    database_url: str, clock: ManualClock
) -> None:
    ledger = await opened(database_url, clock=clock)  # a first start that adopts nothing
    clock.advance(3_600_000)
    await ledger.adopt_wallet(money("1000"), "one", START_MS + 3_600_000)
    assert ledger.adopted_at_ms() == START_MS + 3_600_000
    await ledger.close()
    again = await opened(database_url, clock=clock)
    assert again.adopted_at_ms() == START_MS + 3_600_000
    await again.adopt_wallet(money("1000"), "two", START_MS + 7_200_000)
    assert again.adopted_at_ms() == START_MS + 7_200_000
    await again.close()


async def test_orders_end_with_the_epoch_that_they_rested_in(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account()
    resting = await desk.order(account.id, OrderSide.BUY, "1", price="90")
    doubted = await desk.order(account.id, OrderSide.BUY, "1", acknowledge=False)
    await ledger.record_unknown(doubted.client_order_id, START_MS, 2000)
    await ledger.adopt_wallet(money("100000"), "epoch-2")
    assert not ledger.open_orders()
    assert resting.pending_order_id is not None
    assert ledger.order_by_pending(resting.pending_order_id) is None
    await ledger.mark_liquidated(account.id)  # nothing keeps the account from its end
    await ledger.close()
    assert (await audit(database_url)).passed
