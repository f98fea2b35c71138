"""Restrictions: the kill switch, the exchange's and the rules' own, each set and released with its audit row.

A row is never deleted: releasing sets its level to NONE, so that the hash chain covers it (decision 7).
"""

import re
from dataclasses import replace

from pms.ledger.api import Actor
from pms.ledger.errors import RequestError
from pms.ledger.operations.accounts import existing
from pms.ledger.plan import Plan
from pms.ledger.rendering import Cell
from pms.model.event import JsonValue
from pms.model.ids import SubAccountId
from pms.model.money import ZERO
from pms.model.restriction import Restriction, RestrictionEntry
from pms.model.trading_rules import NO_DAY, RuleName

SYSTEM = Actor("system", "system")

GLOBAL_SCOPE = "global"
"""The scope of a row that is for every account."""

REASON_CHARACTERS_MAX = 500

_SOURCE = re.compile(r"operator|exchange|rule:[a-z][a-z_]{0,40}")


def set_restriction(
    plan: Plan,
    sub_account_id: SubAccountId | None,
    source: str,
    level: Restriction,
    reason: str,
    actor: Actor,
) -> RestrictionEntry:
    """Put one source's restriction in force for an account, or everywhere (None); NONE releases it.

    The same level and reason again change nothing. Raises AccountNotFoundError, RequestError.
    """
    if sub_account_id is not None:
        existing(plan, sub_account_id)
    if not _SOURCE.fullmatch(source):
        raise RequestError(f"a restriction comes from operator, exchange or rule:<name>, not from {source!r}")
    if len(reason) > REASON_CHARACTERS_MAX:
        raise RequestError(f"a reason has at most {REASON_CHARACTERS_MAX} characters, this has {len(reason)}")
    known = plan.book.restrictions.get(sub_account_id) or ()
    before = next((entry for entry in known if entry.source == source), None)
    if before is None and level is Restriction.NONE:
        return RestrictionEntry(sub_account_id, source, level, reason, actor.id, plan.now_ms)
    if before is not None and before.level is level and (before.reason == reason or not level):
        return before
    after = RestrictionEntry(sub_account_id, source, level, reason, actor.id, plan.now_ms)
    _write(plan, after, fresh=before is None)
    if level is Restriction.NONE and sub_account_id is not None and actor != SYSTEM:
        _measure_anew(plan, sub_account_id, source)
    others = tuple(entry for entry in known if entry.source != source)
    plan.book.restrictions.set(sub_account_id, (*others, after))
    plan.note_restriction(after)
    target = sub_account_id or GLOBAL_SCOPE
    plan.action(actor, "restriction.set", target, None if before is None else _facts(before), _facts(after))
    for account_id in _concerned(plan, sub_account_id):
        plan.event("restriction_updated", account_id, restriction_data(plan, account_id, after))
    return after


def restriction_data(plan: Plan, account_id: SubAccountId, changed: RestrictionEntry) -> dict[str, JsonValue]:
    """Return the data of `restriction_updated`: what holds for the account now, and what changed."""
    return {
        "level": plan.book.restriction_of(account_id).name,
        "scope": GLOBAL_SCOPE if changed.sub_account_id is None else "account",
        "source": changed.source,
        "sourceLevel": changed.level.name,
        "reason": changed.reason,
    }


def _write(plan: Plan, entry: RestrictionEntry, *, fresh: bool) -> None:
    key: dict[str, Cell] = {"scope": entry.sub_account_id or GLOBAL_SCOPE, "source": entry.source}
    values: dict[str, Cell] = {
        "level": entry.level.name,
        "reason": entry.reason,
        "actor": entry.actor,
        "updated_at": entry.since_ms,
        "link": plan.link,
    }
    if fresh:
        plan.insert_ours("pms_restrictions", key, values)
    else:
        plan.update("pms_restrictions", (plan.ours, *key.values()), values)


def _measure_anew(plan: Plan, sub_account_id: SubAccountId, source: str) -> None:
    """Let a loss count from the release on: in its transaction, or a process that dies after it would break
    the rule again at its next start."""
    mark = plan.book.equity_marks.get(sub_account_id)
    if mark is None:
        return
    if source == RuleName.DAILY_LOSS.source:
        plan.put_equity_mark(replace(mark, day=NO_DAY))
    elif source == RuleName.TRAILING_DRAWDOWN.source:
        plan.put_equity_mark(replace(mark, peak_equity=ZERO))


def _concerned(plan: Plan, sub_account_id: SubAccountId | None) -> list[SubAccountId]:
    if sub_account_id is not None:
        return [sub_account_id]
    return [record.account.id for record in plan.book.accounts.values()]


def _facts(entry: RestrictionEntry) -> dict[str, JsonValue]:
    return {"source": entry.source, "level": entry.level.name, "reason": entry.reason}
