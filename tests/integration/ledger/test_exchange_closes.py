"""What the exchange does to the real account is booked under its own name, and to whom (decision 11)."""

from decimal import Decimal
from pathlib import Path

import pytest

from pms.ledger.api import HousePosition
from pms.ledger.audit import audit
from pms.ledger.ledger import LedgerService
from pms.model.ids import ClientOrderId, SubAccountId
from pms.model.money import Price, Quantity
from pms.model.order import ExchangeOrderStatus, OrderSide
from pms.model.restriction import Restriction
from tests.integration.ledger.conftest import CAPITAL
from tests.support.ledger import ACTOR, BTC, Desk, ManualClock, opened, sqlite_url

SELL, BUY = OrderSide.SELL, OrderSide.BUY
LIQUIDATION = ClientOrderId("autoclose-1768478400000B")
ADL = ClientOrderId("adl_autoclose")
SETTLEMENT = ClientOrderId("settlement_autoclose-1768478400000B")
SYSTEM = "system"


def held(ledger: LedgerService, *accounts: SubAccountId) -> list[Decimal]:
    positions = (ledger.open_position(account, BTC) for account in accounts)
    return [Decimal(0) if position is None else position.signed_quantity for position in positions]


async def clean(url: str) -> None:
    report = await audit(url)
    assert report.passed, "\n".join(report.lines())


@pytest.mark.parametrize(
    ("client_id", "action"),
    [
        (LIQUIDATION, "EXCHANGE_LIQUIDATION"),
        (ADL, "EXCHANGE_ADL"),
        (SETTLEMENT, "EXCHANGE_SETTLEMENT"),
        (ClientOrderId("delivery_autoclose-7"), "EXCHANGE_SETTLEMENT"),
        (ClientOrderId("web_autoclose-"), "RECONCILE"),
    ],
)
async def test_each_close_of_the_exchange_has_its_own_action(
    desk: Desk, ledger: LedgerService, database_url: str, client_id: ClientOrderId, action: str
) -> None:
    account = await desk.account()
    await desk.buy(account.id, "2", "100")
    booked = await desk.book(desk.foreign(SELL, "90", "1", client_id=client_id), "0.1")
    assert [(trade.action, trade.quantity, trade.fee) for trade in booked.committed.trades] == [
        (action, Decimal(1), Decimal("0.1"))
    ]
    log = (await ledger.queries.balance_logs(account.id, 1))[0]
    assert (log.reason, log.change_amount) == (action, Decimal("-10.1"))
    assert held(ledger, account.id) == [Decimal(1)]
    await clean(database_url)


async def test_the_real_account_is_liquidated_with_two_holders(
    desk: Desk, ledger: LedgerService, database_url: str, clock: ManualClock
) -> None:
    big, small = await desk.account("A"), await desk.account("B")
    await desk.buy(big.id, "0.6", "100")
    await desk.buy(small.id, "0.3", "100")
    booked = await desk.book(desk.foreign(SELL, "80", "0.9", client_id=LIQUIDATION), "0.09")
    assert held(ledger, big.id, small.id) == [0, 0]
    assert [(trade.quantity, trade.fee) for trade in booked.committed.trades] == [
        (Decimal("0.6"), Decimal("0.06")),
        (Decimal("0.3"), Decimal("0.03")),
    ]
    halts = [(one.source, one.level, one.actor) for one in booked.committed.restrictions]
    assert halts == [("exchange", Restriction.HALT, SYSTEM)]
    assert ledger.restriction_of(small.id) is Restriction.HALT
    await ledger.close()
    again = await opened(database_url, clock=clock)
    try:
        assert again.restriction_of(big.id) is Restriction.HALT, "it survives a restart"
        await again.set_restriction(None, "exchange", Restriction.NONE, "added margin", ACTOR)
        assert again.restriction_of(big.id) is Restriction.NONE
    finally:
        await again.close()
    await clean(database_url)


async def test_the_real_account_is_liquidated_with_opposite_holders(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    long, longer, short = [await desk.account(name) for name in "ABC"]
    await desk.buy(long.id, "1", "100")
    await desk.buy(longer.id, "3", "100")
    await desk.sell(short.id, "1.6", "100")
    booked = await desk.book(desk.foreign(SELL, "80", "2.4", client_id=LIQUIDATION))
    # The exchange closed its net of 2.4; only the holders of that side lost anything, pro rata by lots.
    assert held(ledger, long.id, longer.id, short.id) == [Decimal("0.4"), Decimal("1.2"), Decimal("-1.6")]
    assert {trade.sub_account_id for trade in booked.committed.trades} == {long.id, longer.id}
    assert ledger.expected_net(BTC) == 0
    assert not ledger.house_positions()
    await clean(database_url)


async def test_a_liquidation_beyond_the_holders_leaves_the_rest_to_the_house(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account()
    await desk.buy(account.id, "1", "100")
    await desk.book(desk.foreign(SELL, "80", "1.5", client_id=LIQUIDATION))
    assert ledger.house_positions() == [HousePosition(BTC, Decimal("-0.5"), Decimal(-40))]
    await clean(database_url)


@pytest.mark.parametrize(
    ("setting", "client_id"),
    [("exchange_close_allocates", LIQUIDATION), ("foreign_close_allocates", ClientOrderId("web_1"))],
)
async def test_the_house_bears_it_where_the_setting_says_so(
    tmp_path: Path, sqlite_template: Path, setting: str, client_id: ClientOrderId
) -> None:
    url = sqlite_url(tmp_path, sqlite_template)
    exchange, foreign = setting != "exchange_close_allocates", setting != "foreign_close_allocates"
    ledger = await opened(url, exchange_close_allocates=exchange, foreign_close_allocates=foreign)
    await ledger.adopt_wallet(CAPITAL, "epoch-1")
    desk = Desk(ledger)
    account = await desk.account()
    await desk.buy(account.id, "1", "100")
    booked = await desk.book(desk.foreign(SELL, "80", "1", client_id=client_id))
    assert not booked.committed.trades
    assert held(ledger, account.id) == [Decimal(1)]
    assert ledger.house_positions() == [HousePosition(BTC, Decimal(-1), Decimal(-80))]
    await ledger.close()
    await clean(url)


async def test_a_settlement_ends_the_opposite_holders_too(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    long, short = await desk.account("A"), await desk.account("B")
    await desk.buy(long.id, "3", "100")
    await desk.sell(short.id, "1", "100")
    await desk.book(desk.foreign(SELL, "90", "2", client_id=SETTLEMENT))
    assert held(ledger, long.id, short.id) == [0, 0]
    assert ledger.house_positions() == [HousePosition(BTC, Decimal(0), Decimal(0))]
    results = [(await ledger.queries.balance_logs(each.id, 5)) for each in (long, short)]
    moved = [
        sum(log.change_amount for log in logs if log.reason == "EXCHANGE_SETTLEMENT") for logs in results
    ]
    assert moved == [Decimal(-30), Decimal(10)], "everybody at the settlement price"
    assert ledger.restriction_of(long.id) is Restriction.NONE, "a delisting halts nobody"
    await clean(database_url)


async def test_holders_of_a_flat_net_are_settled_without_any_fill(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    long, short = await desk.account("A"), await desk.account("B")
    await desk.buy(long.id, "2", "100")
    refused = await ledger.settle_holders(BTC, Price(Decimal(95)))
    assert not refused.positions, "the net is not flat: the exchange's own settlement is still to come"
    await desk.sell(short.id, "2", "100")
    settled = await ledger.settle_holders(BTC, Price(Decimal(95)))
    assert {trade.action for trade in settled.trades} == {"EXCHANGE_SETTLEMENT"}
    assert held(ledger, long.id, short.id) == [0, 0]
    assert ledger.expected_net(BTC) == 0
    await clean(database_url)


@pytest.mark.parametrize(
    ("reason", "code"),
    [("5", "ACCOUNT_LIQUIDATED"), ("6", "CONDITION_NOT_MET"), ("7", "SYMBOL_DELISTED"), ("4", None)],
)
async def test_an_order_that_is_never_placed_again_says_so(
    desk: Desk, ledger: LedgerService, reason: str, code: str | None
) -> None:
    account = await desk.account()
    order = await desk.order(account.id, BUY, "1", price="90")
    ended = await ledger.record_terminal(
        order.client_order_id, ExchangeOrderStatus.EXPIRED, Quantity(Decimal(0)), reason
    )
    assert ended is not None
    assert (ended.reject_code, ended.never_replaced) == (code, code is not None)
