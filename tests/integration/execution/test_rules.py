"""Further rules of accounts act: orders are refused, losses are seen at the tick, evidence is kept."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pms.execution.api import Executed, MarketRequest, Resting
from pms.model.money import Money
from pms.model.refusal import RefusalCode, Refused
from pms.model.restriction import Restriction
from pms.model.trading_rules import (
    CountRule,
    EquityMark,
    LossRule,
    RuleAction,
    SymbolRule,
    TradingRules,
)
from tests.support.laboratory import ACTOR, BTC, ETH, LONG, SHORT, Laboratory, laboratory
from tests.support.waiting import until


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path) as running:
        await running.account("Alice", balance=10_000)
        await running.account("Bob", balance=10_000)
        yield running


async def rule(lab: Laboratory, account: str, **rules: object) -> None:
    await lab.parts.ledger.set_trading_rules(
        lab.accounts[account],
        TradingRules(**rules),  # type: ignore[arg-type]
        ACTOR,
    )


def code_of(outcome: object) -> RefusalCode:
    assert isinstance(outcome, Refused), outcome
    return outcome.refusals[0].code


def level(lab: Laboratory, account: str) -> Restriction:
    return lab.parts.ledger.restriction_of(lab.accounts[account])


async def marked(lab: Laboratory, account: str) -> EquityMark:
    ledger, owner = lab.parts.ledger, lab.accounts[account]
    await until(lambda: ledger.equity_mark(owner) is not None, "a mark of equity")
    mark = ledger.equity_mark(owner)
    assert mark is not None
    return mark


async def test_a_daily_loss_flattens_at_the_tick_and_stays_until_it_is_released(lab: Laboratory) -> None:
    ledger, alice = lab.parts.ledger, lab.accounts["Alice"]
    await rule(lab, "Alice", daily_loss=LossRule(RuleAction.LOCK, Decimal(500)))
    assert (await marked(lab, "Alice")).day_start_equity == 10_000
    await ledger.withdraw(alice, Money(Decimal(1000)), ACTOR)
    assert (await marked(lab, "Alice")).day_start_equity == 9_000, "transfers are no loss"
    await ledger.deposit(alice, Money(Decimal(1000)), ACTOR)
    assert (await marked(lab, "Alice")).day_start_equity == 10_000
    assert isinstance(await lab.market("Alice", LONG, "0.5"), Executed)
    await lab.price(BTC, "59199.9", "59200.1")
    assert level(lab, "Alice") is Restriction.NONE, "400 are lost, 500 are allowed"
    await lab.price(BTC, "58899.9", "58900.1")
    await until(lambda: lab.held("Alice") == 0, "flattened")
    assert level(lab, "Alice") is Restriction.FLATTEN
    (breach,) = await ledger.queries.breaches(alice, 10)
    assert (breach.rule, breach.action) == ("daily_loss", "LOCK")
    assert '"from":"10000"' in breach.evidence
    await lab.reset_prices()
    assert code_of(await lab.market("Alice", LONG, "0.01")) is RefusalCode.TRADING_RESTRICTED
    await ledger.set_restriction(alice, "rule:daily_loss", Restriction.NONE, "talked", ACTOR)
    before = ledger.account(alice)
    assert before is not None
    await until(
        lambda: (mark := ledger.equity_mark(alice)) is not None and mark.day_start_equity == before.cash,
        "the loss is measured anew",
    )
    assert isinstance(await lab.market("Alice", LONG, "0.01"), Executed)


async def test_a_drawdown_follows_the_peak_and_blocks_entries(lab: Laboratory) -> None:
    await rule(lab, "Bob", trailing_drawdown=LossRule(RuleAction.BLOCK_ENTRIES, None, Decimal("0.05")))
    await marked(lab, "Bob")
    await lab.market("Bob", LONG, "0.5")
    await lab.price(BTC, "61999.9", "62000.1")  # equity about 11,000
    await lab.price(BTC, "61099.9", "61100.1")  # 450 below the peak: 4 %
    assert level(lab, "Bob") is Restriction.NONE
    await lab.price(BTC, "60899.9", "60900.1")  # 550: 5 %, though the day is in profit
    await until(lambda: level(lab, "Bob") is Restriction.BLOCK_ENTRIES, "entries are blocked")
    assert lab.held("Bob") == Decimal("0.5"), "what is held stays"


async def test_a_day_that_is_over_begins_a_new_one(lab: Laboratory) -> None:
    ledger, bob = lab.parts.ledger, lab.accounts["Bob"]
    await ledger.put_equity_marks([EquityMark(bob, "2001-01-01", Decimal(99), Decimal(99))])
    await rule(lab, "Bob", daily_loss=LossRule(RuleAction.WARN, Decimal(500)))
    await until(
        lambda: (mark := ledger.equity_mark(bob)) is not None and mark.day_start_equity == 10_000, "today"
    )


async def test_rules_on_orders_refuse_and_a_rate_restricts_for_a_minute(lab: Laboratory) -> None:
    await rule(
        lab,
        "Alice",
        symbols=SymbolRule(RuleAction.BLOCK_ENTRIES, None, frozenset({ETH})),
        position_count=CountRule(RuleAction.BLOCK_ENTRIES, 1),
        order_rate=CountRule(RuleAction.REDUCE_ONLY, 2),
    )
    refused = await lab.market("Alice", LONG, "0.1", symbol=ETH)
    assert code_of(refused) is RefusalCode.SYMBOL_NOT_ALLOWED
    assert isinstance(await lab.market("Alice", LONG, "0.01"), Executed)
    assert isinstance(await lab.limit("Alice", LONG, "0.01", "50000"), Resting)
    assert level(lab, "Alice") is Restriction.NONE
    assert code_of(await lab.market("Alice", LONG, "0.01")) is RefusalCode.ORDER_RATE_EXCEEDED
    await until(lambda: level(lab, "Alice") is Restriction.REDUCE_ONLY, "the attempt restricts")
    await until(lambda: not lab.parts.ledger.open_orders(), "what could open is cancelled")
    assert isinstance(await lab.market("Alice", SHORT, "0.01", reduce_only=True), Executed)


async def test_a_held_symbol_that_is_forbidden_later_is_only_warned_of(lab: Laboratory) -> None:
    ledger, bob = lab.parts.ledger, lab.accounts["Bob"]
    await lab.market("Bob", LONG, "0.1", symbol=ETH)
    await rule(lab, "Bob", symbols=SymbolRule(RuleAction.WARN, frozenset({BTC})))
    for _ in range(3):
        await lab.market("Bob", LONG, "0.1", symbol=ETH)
    breaches = await ledger.queries.breaches(bob, 10)
    assert [(row.rule, row.action) for row in breaches] == [("symbols", "WARN")], "once"
    assert level(lab, "Bob") is Restriction.NONE


async def test_leverage_of_a_symbol_goes_through_the_gate(lab: Laboratory) -> None:
    trader, alice = lab.parts.trader, lab.accounts["Alice"]
    assert await trader.set_leverage(alice, BTC, Decimal(20), ACTOR) is None
    assert trader.leverage_of(alice, BTC) == 20
    request = MarketRequest(alice, BTC, LONG, Decimal("0.5"), trader.leverage_of(alice, BTC))
    assert isinstance(await trader.market(request, ACTOR), Executed)
    refused = await trader.set_leverage(alice, BTC, Decimal(3), ACTOR)  # 30,000 / 3 of 10,000
    assert code_of(refused) is RefusalCode.INSUFFICIENT_MARGIN
    assert await trader.set_leverage(alice, BTC, Decimal(4), ACTOR) is None
    position = lab.position("Alice")
    assert position is not None
    assert (position.leverage, trader.leverage_of(alice, BTC)) == (4, 4)
    for wrong in ("0", "126", "101"):
        outcome = await trader.set_leverage(alice, BTC, Decimal(wrong), ACTOR)
        assert code_of(outcome) in (RefusalCode.INVALID_LEVERAGE, RefusalCode.MAX_LEVERAGE_EXCEEDED)


async def test_orders_that_rest_count_as_positions(lab: Laboratory) -> None:
    await rule(lab, "Bob", position_count=CountRule(RuleAction.FLATTEN, 1))
    resting = await lab.limit("Bob", LONG, "0.01", "50000")
    assert isinstance(resting, Resting)
    assert code_of(await lab.market("Bob", LONG, "0.1", symbol=ETH)) is RefusalCode.POSITION_COUNT_EXCEEDED
    assert isinstance(await lab.market("Bob", LONG, "0.01"), Executed), "the same symbol is no further one"
    await lab.flatten()
    assert isinstance(await lab.market("Bob", LONG, "0.1", symbol=ETH), Executed)


async def test_a_lower_leverage_that_is_being_set_counts_for_resting_orders_at_once(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    trader, alice, ledger = lab.parts.trader, lab.accounts["Alice"], lab.parts.ledger
    assert isinstance(await lab.limit("Alice", LONG, "0.5", "50000"), Resting)  # 2,500 at 10x
    outcomes: list[object] = []
    write = ledger.set_virtual_leverage

    async def slow(*given: Any) -> None:
        outcomes.append(await lab.market("Alice", LONG, "10", symbol=ETH))  # 3,000 beside 8,333 at 3x
        await write(*given)

    monkeypatch.setattr(ledger, "set_virtual_leverage", slow)
    assert await trader.set_leverage(alice, BTC, Decimal(3), ACTOR) is None
    assert code_of(outcomes[0]) is RefusalCode.MARGIN_RATIO_EXCEEDED
    await lab.flatten()
