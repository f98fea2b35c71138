"""Further rules: their versions, breaches with evidence, marks of equity, and the leverage of a symbol."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

import orjson

from pms.ledger.api import Actor
from pms.ledger.operations.accounts import existing
from pms.ledger.operations.control import GLOBAL_SCOPE, SYSTEM, set_restriction
from pms.ledger.operations.parts import position_data
from pms.ledger.plan import Plan
from pms.ledger.rendering import Cell
from pms.model.account import SubAccount
from pms.model.event import JsonValue
from pms.model.ids import SubAccountId
from pms.model.money import plain
from pms.model.restriction import Restriction
from pms.model.symbol import Symbol
from pms.model.trading_rules import (
    Breach,
    EquityMark,
    RuleAction,
    RuleName,
    RuleSet,
    TradingRules,
    rules_to_json,
)


def set_trading_rules(
    plan: Plan, sub_account_id: SubAccountId | None, rules: TradingRules | None, actor: Actor
) -> RuleSet:
    """Append the next version of a scope's rules, and end what the replaced ones restrict."""
    if sub_account_id is not None:
        existing(plan, sub_account_id)
    before = plan.book.rule_sets.get(sub_account_id)
    after = RuleSet(sub_account_id, 1 if before is None else before.version + 1, rules, actor.id, plan.now_ms)
    concerned = _governed(plan, sub_account_id)
    replaced = {account_id: plan.book.rule_set_of(account_id) for account_id in concerned}
    plan.insert_ours(
        "pms_rule_sets",
        {"scope": sub_account_id or GLOBAL_SCOPE, "version": after.version},
        {
            "rules": orjson.dumps(rules_to_json(rules)).decode(),
            "actor": actor.id,
            "timestamp": plan.now_ms,
            "link": plan.link,
        },
    )
    plan.book.rule_sets.set(sub_account_id, after)
    plan.note_rule_set(after)
    told = None if before is None else rules_to_json(before.rules)
    plan.action(actor, "trading_rules.set", sub_account_id or GLOBAL_SCOPE, told, rules_to_json(rules))
    for account_id, old in replaced.items():
        if old is not None and old.rules is not None:
            _end_replaced(plan, account_id, old.rules, actor)
    return after


def _governed(plan: Plan, scope: SubAccountId | None) -> list[SubAccountId]:
    """Return the accounts whose rules in force come from the scope."""
    if scope is not None:
        return [scope]
    accounts = [record.account.id for record in plan.book.accounts.values()]
    own = plan.book.rule_sets
    return [one for one in accounts if (found := own.get(one)) is None or found.rules is None]


def _end_replaced(plan: Plan, account_id: SubAccountId, old: TradingRules, actor: Actor) -> None:
    new = plan.book.rule_set_of(account_id)
    for name in RuleName:
        same = new is not None and new.rules is not None
        kept = new.rules if new is not None and new.rules is not None else TradingRules()
        if same and getattr(kept, name.value) == getattr(old, name.value):
            continue
        if old.action_of(name) is not RuleAction.LOCK:
            set_restriction(plan, account_id, name.source, Restriction.NONE, "the rule was changed", actor)


def record_breach(plan: Plan, sub_account_id: SubAccountId, breach: Breach, version: int) -> bool:
    """Write a breach and its restriction. False, and nothing written, when the rule restricts already."""
    existing(plan, sub_account_id)
    source = breach.rule.source
    entries = plan.book.restrictions_of(sub_account_id)
    level = breach.action.restriction
    if level and any(entry.source == source and entry.level >= level for entry in entries):
        return False
    evidence: dict[str, JsonValue] = {**breach.evidence}
    plan.insert_ours(
        "pms_rule_breaches",
        {"id": plan.uuid()},
        {
            "sub_account_id": sub_account_id,
            "rule": breach.rule.value,
            "action": breach.action.value,
            "rules_version": version,
            "evidence": orjson.dumps(evidence).decode(),
            "timestamp": plan.now_ms,
            "link": plan.link,
        },
    )
    data: dict[str, JsonValue] = {"rule": breach.rule.value, "action": breach.action.value}
    plan.event("rule_breached", sub_account_id, {**data, "evidence": evidence})
    if level:
        reason = ", ".join(f"{name} {value}" for name, value in breach.evidence.items())
        set_restriction(plan, sub_account_id, source, level, reason[:500], SYSTEM)
    return True


def release_rule(plan: Plan, sub_account_id: SubAccountId, source: str, reason: str) -> None:
    """End a rule's restriction because its own condition has come."""
    set_restriction(plan, sub_account_id, source, Restriction.NONE, reason, SYSTEM)


MarksSeen = Mapping[SubAccountId, tuple[SubAccount, EquityMark | None]]
"""What marks were made from: the account and its mark, as they were then."""


def put_equity_marks(plan: Plan, marks: Sequence[EquityMark], seen: MarksSeen | None = None) -> None:
    """Store marks; those of unknown accounts are skipped, and those whose account or mark is not as it was
    `seen` any more: a transfer that came between has moved what they were made from."""
    for mark in marks:
        owner = mark.sub_account_id
        account = plan.book.account(owner)
        if account is None:
            continue
        if seen is None or seen[owner] == (account, plan.book.equity_marks.get(owner)):
            plan.put_equity_mark(mark)


def set_virtual_leverage(
    plan: Plan, sub_account_id: SubAccountId, symbol: Symbol, leverage: Decimal, actor: Actor
) -> None:
    """Set a symbol's leverage: for later orders, the open position, and the orders that rest. It is never
    sent to the exchange (decision 15)."""
    existing(plan, sub_account_id)
    key = (sub_account_id, symbol)
    before = plan.book.virtual_leverage.get(key)
    values: dict[str, Cell] = {"leverage": leverage, "actor": actor.id, "updated_at": plan.now_ms}
    if before is None:
        plan.insert_ours("pms_virtual_leverage", {"sub_account_id": sub_account_id, "symbol": symbol}, values)
    else:
        plan.update("pms_virtual_leverage", (plan.ours, *key), values)
    plan.book.virtual_leverage.set(key, leverage)
    position = plan.book.open_position(sub_account_id, symbol)
    if position is not None and position.leverage != leverage:
        changed = plan.put_position(replace(position, leverage=leverage, revision=position.revision + 1))
        plan.event("position_updated", sub_account_id, position_data(changed))
    for order in [record.order for record in plan.book.orders.values()]:
        mine = order.sub_account_id == sub_account_id and order.symbol == symbol
        if mine and order.leverage != leverage:
            plan.change_order_leverage(order.client_order_id, leverage)
    told = None if before is None else {"leverage": plain(before)}
    plan.action(actor, "leverage.set", sub_account_id, told, {"symbol": symbol, "leverage": plain(leverage)})
