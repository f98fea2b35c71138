"""Versions of rules, breaches with evidence, equity marks and leverage in the ledger, on both databases."""

from decimal import Decimal

from pms.ledger.api import Committed
from pms.ledger.audit import audit
from pms.ledger.ledger import LedgerService
from pms.model.money import Money
from pms.model.order import OrderSide
from pms.model.restriction import Restriction
from pms.model.trading_rules import (
    Breach,
    CountRule,
    EquityMark,
    LossRule,
    RuleAction,
    RuleName,
    TradingRules,
)
from tests.support.ledger import ACTOR, BTC, Desk, ManualClock, money, opened

TIGHT = TradingRules(daily_loss=LossRule(RuleAction.REDUCE_ONLY, Decimal(100)))
LOCKED = TradingRules(daily_loss=LossRule(RuleAction.LOCK, Decimal(100)))
LOSS = Breach(RuleName.DAILY_LOSS, RuleAction.REDUCE_ONLY, {"equity": "890", "from": "1000"})


async def test_own_rules_stand_before_the_global_ones_until_they_are_given_up(desk: Desk) -> None:
    ledger = desk.ledger
    alice, bob = (await desk.account("alice")).id, (await desk.account("bob")).id
    assert ledger.rule_set_of(alice) is None
    await ledger.set_trading_rules(None, TradingRules(order_rate=CountRule(RuleAction.WARN, 9)), ACTOR)
    first = await ledger.set_trading_rules(alice, TIGHT, ACTOR)
    assert (first.version, ledger.rule_set_of(alice)) == (1, first)
    assert ledger.rule_set_of(bob) == ledger.rule_set(None)
    assert (await ledger.set_trading_rules(alice, None, ACTOR)).version == 2
    assert ledger.rule_set_of(alice) == ledger.rule_set(None)
    history = await ledger.queries.rule_sets(alice, 10)
    assert [(row.version, row.rules) for row in history] == [(2, None), (1, TIGHT)]


async def test_a_breach_is_kept_with_its_evidence_and_restricts_once(
    database_url: str, ledger: LedgerService, clock: ManualClock
) -> None:
    alice = (await Desk(ledger).account("alice")).id
    heard: list[Committed] = []
    ledger.on_commit(heard.append)
    await ledger.set_trading_rules(alice, TIGHT, ACTOR)
    assert await ledger.record_breach(alice, LOSS, 1)
    assert not await ledger.record_breach(alice, LOSS, 1), "it restricts already"
    types = [event.type for committed in heard for event in committed.events]
    assert types == ["rule_breached", "restriction_updated"]
    await ledger.close()
    again = await opened(database_url, clock=clock, seed=8)
    assert again.restriction_of(alice) is Restriction.REDUCE_ONLY
    (row,) = await again.queries.breaches(alice, 10)
    assert (row.rule, row.action, row.rules_version) == ("daily_loss", "REDUCE_ONLY", 1)
    assert '"equity":"890"' in row.evidence
    await again.close()
    report = await audit(database_url)
    assert report.passed, "\n".join(report.lines())


async def test_other_rules_end_what_the_old_ones_restrict_a_lock_excepted(desk: Desk) -> None:
    ledger = desk.ledger
    alice, bob = (await desk.account("alice")).id, (await desk.account("bob")).id
    await ledger.set_trading_rules(alice, TIGHT, ACTOR)
    await ledger.record_breach(alice, LOSS, 1)
    await ledger.set_trading_rules(alice, TIGHT, ACTOR)
    assert ledger.restriction_of(alice) is Restriction.REDUCE_ONLY, "the same rule again"
    await ledger.set_trading_rules(alice, TradingRules(), ACTOR)
    assert ledger.restriction_of(alice) is Restriction.NONE
    await ledger.set_trading_rules(bob, LOCKED, ACTOR)
    await ledger.record_breach(bob, Breach(RuleName.DAILY_LOSS, RuleAction.LOCK, {}), 1)
    await ledger.set_trading_rules(bob, TradingRules(), ACTOR)
    assert ledger.restriction_of(bob) is Restriction.FLATTEN
    await ledger.set_restriction(bob, "rule:daily_loss", Restriction.NONE, "talked to him", ACTOR)
    assert ledger.restriction_of(bob) is Restriction.NONE


async def test_transfers_move_the_marks_and_results_do_not(desk: Desk) -> None:
    ledger = desk.ledger
    alice = (await desk.account("alice", "1000")).id
    await ledger.put_equity_marks([EquityMark(alice, "2026-01-15", Decimal(1000), Decimal(1200))])
    await ledger.deposit(alice, money("500"), ACTOR)
    await ledger.withdraw(alice, money("100"), ACTOR)
    await desk.buy(alice, "1", "100", fee="2")
    await desk.trade_at(alice, OrderSide.SELL, "1", "90", reduce_only=True)
    mark = ledger.equity_mark(alice)
    assert mark is not None
    assert (mark.day_start_equity, mark.peak_equity) == (1400, 1600)


async def test_leverage_of_a_symbol_is_kept_with_its_position_and_orders(
    database_url: str, ledger: LedgerService, clock: ManualClock
) -> None:
    desk = Desk(ledger)
    alice = (await desk.account("alice", "1000")).id
    await desk.buy(alice, "2", "100")
    rests = await desk.order(alice, OrderSide.BUY, "1", price="90")
    await ledger.set_virtual_leverage(alice, BTC, Decimal(4), ACTOR)
    position = ledger.open_position(alice, BTC)
    assert position is not None
    assert (position.leverage, position.margin) == (4, Money(Decimal(50)))
    await ledger.close()
    again = await opened(database_url, clock=clock, seed=8)
    assert again.virtual_leverage(alice, BTC) == 4
    kept, order = again.open_position(alice, BTC), again.order(rests.client_order_id)
    assert kept is not None
    assert order is not None
    assert (kept.leverage, order.leverage) == (4, 4)
    await again.close()
    report = await audit(database_url)
    assert report.passed, "\n".join(report.lines())
