"""Whoever follows commits must be able to keep thresholds and reasons beside the money."""

from dataclasses import replace
from decimal import Decimal

from pms.ledger.api import Committed
from pms.ledger.ledger import LedgerService
from pms.model.account import RiskRules
from pms.model.money import Quantity
from pms.model.order import ExchangeOrderStatus, OrderSide, OrderState
from tests.support.ledger import ACTOR, Desk

NARROW = replace(RiskRules(), liquidation_threshold=Decimal("0.5"))


async def test_new_rules_of_an_account_are_heard_of(desk: Desk, ledger: LedgerService) -> None:
    account, _ = await desk.account(), await desk.account("B")
    heard: list[Committed] = []
    ledger.on_commit(heard.append)
    await ledger.set_rules(account.id, NARROW, ACTOR)
    assert [one.id for one in heard[0].accounts] == [account.id]


async def test_new_global_rules_are_heard_of_for_everybody_without_own_ones(
    desk: Desk, ledger: LedgerService
) -> None:
    account, own = await desk.account(), await desk.account("B")
    await ledger.set_rules(own.id, RiskRules(), ACTOR)
    heard: list[Committed] = []
    ledger.on_commit(heard.append)
    await ledger.set_rules(None, NARROW, ACTOR)
    assert [one.id for one in heard[0].accounts] == [account.id]


async def test_an_order_that_met_its_own_account_says_so(desk: Desk, ledger: LedgerService) -> None:
    account = await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "1")
    ended = await ledger.record_terminal(
        order.client_order_id, ExchangeOrderStatus.SELF_MATCH, Quantity(Decimal(0))
    )
    assert ended is not None
    assert (ended.state, ended.reject_code) == (OrderState.EXPIRED, "SELF_MATCH")


async def test_an_order_that_the_exchange_has_confirmed_cannot_be_proved_absent(
    desk: Desk, ledger: LedgerService
) -> None:
    account = await desk.account()
    order = await desk.order(account.id, OrderSide.BUY, "1")
    await ledger.record_not_executed(order.client_order_id, "two lagging answers")
    kept = ledger.order(order.client_order_id)
    assert kept is not None
    assert kept.state is OrderState.LIVE
