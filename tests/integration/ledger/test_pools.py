"""Pooled closes: fills of the house, passed on to many, exactly once over restarts (decisions 3, 9, 13)."""

from dataclasses import replace
from decimal import Decimal

import pytest

from pms.ledger.api import PoolShare
from pms.ledger.audit import audit
from pms.ledger.ledger import LedgerService
from pms.model.account import PositionStatus, SubAccount
from pms.model.ids import ClientOrderId
from pms.model.income import FundingKey, FundingRate
from pms.model.money import Price, Quantity
from pms.model.order import ExchangeOrderStatus, JournalOrder, OrderCode, OrderSide, OrderState
from tests.support.ledger import ACTOR, BTC, START_MS, Desk, ManualClock, opened

SELL, BUY = OrderSide.SELL, OrderSide.BUY


async def clean(url: str) -> None:
    report = await audit(url)
    assert report.passed, "\n".join(report.lines())


async def holders(desk: Desk, *sizes: str) -> list[SubAccount]:
    accounts = [await desk.account(name, "1000") for name in "ABCDEFGH"[: len(sizes)]]
    for account, size in zip(accounts, sizes, strict=True):
        await desk.buy(account.id, size, "100")
    return accounts


async def pooled(
    desk: Desk,
    ledger: LedgerService,
    accounts: list[SubAccount],
    action: str = "CLOSE",
    *,
    acknowledge: bool = True,
) -> JournalOrder:
    """Send one order of the house that closes everything the accounts hold."""
    shares = []
    for account in accounts:
        position = ledger.open_position(account.id, BTC)
        assert position is not None
        shares.append(PoolShare(position.id, account.id, position.quantity))
    total = sum((share.quantity for share in shares), Decimal(0))
    return await desk.order(
        None,
        SELL,
        str(total),
        reduce_only=True,
        code=OrderCode.HOUSE,
        action=action,
        shares=tuple(shares),
        acknowledge=acknowledge,
    )


async def pass_on(ledger: LedgerService, pool: ClientOrderId, parts_max: int = 50) -> None:
    while any(one.client_order_id == pool and one.pending for one in ledger.pools()):
        await ledger.allocate_pool(pool, parts_max)


def cash(ledger: LedgerService, account: SubAccount) -> Decimal:
    found = ledger.account(account.id)
    assert found is not None
    return found.cash


async def test_fills_go_to_the_shares_in_order_at_their_own_price_and_fee(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    first, second, third = await holders(desk, "2", "1", "1")
    order = await pooled(desk, ledger, [first, second, third], "LIQUIDATE")
    await desk.book(desk.fill(order, "110", "2.5"), "5")
    assert ledger.open_position(first.id, BTC) is not None, "booked, and not passed on yet"
    assert ledger.passing_on(BTC) == Decimal("-2.5")
    done = await ledger.allocate_pool(order.client_order_id, 50)
    assert [(trade.quantity, trade.price, trade.fee) for trade in done.trades] == [
        (2, 110, 4),
        (Decimal("0.5"), 110, 1),
    ]
    assert {trade.exchange_order_id for trade in done.trades} == {order.exchange_order_id}
    assert {trade.client_order_id for trade in done.trades} == {order.client_order_id}
    assert done.positions[0].status is PositionStatus.LIQUIDATED
    assert cash(ledger, first) == 1000 + 20 - 4
    await desk.book(desk.fill(order, "90", "1.5"), "0")
    await pass_on(ledger, order.client_order_id)
    assert cash(ledger, second) == 1000 + 5 - 1 - 5
    assert cash(ledger, third) == 1000 - 10
    assert not ledger.pools()
    assert ledger.passing_on(BTC) == 0
    assert [held.signed_quantity for held in ledger.house_positions()] == [0]
    await clean(database_url)


@pytest.mark.parametrize("parts", [0, 1, 2])
async def test_a_restart_between_fill_and_allocation_goes_on_with_the_next_part(
    desk: Desk, ledger: LedgerService, database_url: str, parts: int
) -> None:
    accounts = await holders(desk, "1", "1", "1")
    order = await pooled(desk, ledger, accounts)
    await desk.book(desk.fill(order, "110", "3"), "0.1")
    for _ in range(parts):
        await ledger.allocate_pool(order.client_order_id, 1)
    await ledger.close()
    again = await opened(database_url, seed=8)
    try:
        (pool,) = again.pools()
        assert pool.ended
        assert pool.pending == 3 - parts
        assert [left for _, left in pool.claims()] == [1] * (3 - parts)
        await pass_on(again, order.client_order_id, 1)
        fees = Decimal("0.1")
        assert sum((cash(again, one) for one in accounts), Decimal(0)) == 3000 + 30 - fees
        assert not again.open_positions()
        assert not again.pools()
    finally:
        await again.close()
    await clean(database_url)


async def test_an_order_that_ends_short_leaves_the_rest_of_the_shares_open(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    first, second = await holders(desk, "2", "2")
    order = await pooled(desk, ledger, [first, second])
    await desk.book(desk.fill(order, "110", "3"))
    await ledger.record_terminal(order.client_order_id, ExchangeOrderStatus.EXPIRED, Quantity(Decimal(3)))
    (pool,) = ledger.pools()
    assert [(share.sub_account_id, left) for share, left in pool.claims()] == [(first.id, 2), (second.id, 1)]
    await pass_on(ledger, order.client_order_id)
    left = ledger.open_position(second.id, BTC)
    assert left is not None
    assert left.quantity == 1
    assert not ledger.pools()
    await clean(database_url)


async def test_a_refused_order_holds_nothing(desk: Desk, ledger: LedgerService, database_url: str) -> None:
    accounts = await holders(desk, "1")
    order = await pooled(desk, ledger, accounts, acknowledge=False)
    await ledger.record_rejected(order.client_order_id, "-2019", "Margin is insufficient.")
    assert not ledger.pools()
    await clean(database_url)


async def test_what_a_position_cannot_take_any_more_stays_with_the_house(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    first, second = await holders(desk, "1", "1")
    order = await pooled(desk, ledger, [first, second])
    position = ledger.open_position(first.id, BTC)
    assert position is not None
    await ledger.take_over(position.id, ACTOR, Price(Decimal(105)))
    await desk.book(desk.fill(order, "110", "2"), "2")
    await pass_on(ledger, order.client_order_id)
    assert cash(ledger, first) == 1005
    assert cash(ledger, second) == 1000 + 10 - 1
    assert [held.signed_quantity for held in ledger.house_positions()] == [0], "taken over, and sold"
    await clean(database_url)


async def test_an_unknown_order_is_proved_absent_and_its_pool_with_it(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    accounts = await holders(desk, "1")
    order = await pooled(desk, ledger, accounts)
    (pool,) = ledger.pools()
    assert not pool.ended
    await ledger.record_terminal(order.client_order_id, ExchangeOrderStatus.EXPIRED, Quantity(Decimal(0)))
    assert not ledger.pools()
    found = ledger.order(order.client_order_id)
    assert found is None or found.state is OrderState.EXPIRED
    await clean(database_url)


async def test_what_the_house_only_passes_on_stands_in_no_holders_way(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    """A foreign sell that reduces the real net is the long holders', also while shorts are being closed."""
    holder, closer = await desk.account("Holder", "1000"), await desk.account("Closer", "1000")
    await desk.buy(holder.id, "4", "100")
    await desk.sell(closer.id, "2", "100")
    position = ledger.open_position(closer.id, BTC)
    assert position is not None
    share = PoolShare(position.id, closer.id, position.quantity)
    order = await desk.order(
        None, BUY, "2", reduce_only=True, code=OrderCode.HOUSE, action="CLOSE", shares=(share,)
    )
    await desk.book(desk.fill(order, "100", "2"))
    assert ledger.passing_on(BTC) == 2
    await desk.book(desk.foreign(SELL, "90", "1"))
    left = ledger.open_position(holder.id, BTC)
    assert left is not None
    assert left.quantity == 3
    await pass_on(ledger, order.client_order_id)
    assert [held.signed_quantity for held in ledger.house_positions()] == [0]
    await clean(database_url)


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("booked_before", [False, True], ids=["funding-after-passing-on", "funding-before"])
async def test_a_funding_between_a_pooled_fill_and_its_passing_on_is_not_the_closers(
    desk: Desk,
    ledger: LedgerService,
    clock: ManualClock,
    database_url: str,
    *,
    booked_before: bool,
    restarts: bool,
) -> None:
    """A closer holds until the fill's own time, whenever the ledger gets to giving him his part of it."""
    first, second, third = await holders(desk, "1", "1", "2")
    order = await pooled(desk, ledger, [first, second, third])
    moment_ms = START_MS + 1_000
    funding = FundingRate(FundingKey(BTC, moment_ms), Decimal("0.01"), Price(Decimal(100)))
    # Of the third position one half was closed before the funding and one half after it.
    before = replace(desk.fill(order, "100", "3"), trade_time_ms=moment_ms - 1)
    after = replace(desk.fill(order, "100", "1"), trade_time_ms=moment_ms + 1)
    await desk.book(before)
    await desk.book(after)
    await ledger.allocate_pool(order.client_order_id, 1)
    clock.advance(5_000)
    again = ledger
    if booked_before:
        await ledger.book_funding(funding)
        assert cash(ledger, second) == 999, "still open in the ledger"
        await clean(database_url)
    if restarts:
        await ledger.close()
        again = await opened(database_url, seed=8, clock=clock)
    try:
        await pass_on(again, order.client_order_id)
        if not booked_before:
            await again.book_funding(funding)
        assert [cash(again, one) for one in (first, second, third)] == [1000, 1000, 999]
    finally:
        if restarts:
            await again.close()
    await clean(database_url)


async def test_the_audit_tells_a_passing_on_that_counts_from_another_time(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    order = await pooled(desk, ledger, await holders(desk, "1"))
    await desk.book(desk.fill(order, "100", "1"))
    await pass_on(ledger, order.client_order_id)
    await clean(database_url)
    sql = "UPDATE pms_fills SET trade_time = (SELECT max(booked_at) FROM pms_fills), price = '101'"
    await ledger.store.write([(sql + " WHERE kind = 'TRANSFER'", ())])
    report = await audit(database_url)
    assert any("price and time of what it passes on" in line for line in report.lines())
