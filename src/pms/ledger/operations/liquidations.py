"""The record of liquidations: each decision with its evidence, written before anything is done about it."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import orjson

from pms.ledger.api import Actor
from pms.ledger.errors import RequestError
from pms.ledger.operations.accounts import existing, mark_liquidated, write_off
from pms.ledger.plan import Plan
from pms.ledger.rendering import Cell
from pms.model.account import AccountStatus, SubAccount
from pms.model.event import JsonValue
from pms.model.ids import SubAccountId
from pms.model.liquidation import LiquidationRecord, LiquidationState
from pms.model.money import round_cost

SYSTEM = Actor("system", "system")


def begin_liquidation(
    plan: Plan,
    account_id: SubAccountId,
    label: str,
    margin_ratio: Decimal,
    evidence: Mapping[str, JsonValue],
    event: str,
    data: Mapping[str, JsonValue],
) -> LiquidationRecord:
    """Record a decision to act, and tell it by `event`. One that runs already is released by it.

    Raises AccountNotFoundError, and RequestError for an account that is LIQUIDATED: nothing is left to do.
    """
    if existing(plan, account_id).status is AccountStatus.LIQUIDATED:
        raise RequestError(f"account {account_id} is LIQUIDATED already; no liquidation of it can begin")
    end_liquidation(plan, account_id, LiquidationState.RELEASED)
    record = LiquidationRecord(
        id=plan.uuid(),
        sub_account_id=account_id,
        label=label,
        margin_ratio=round_cost(margin_ratio),
        state=LiquidationState.RUNNING,
        evidence=orjson.dumps(dict(evidence)).decode(),
        started_at_ms=plan.now_ms,
    )
    plan.insert_ours("pms_liquidations", {"id": record.id}, _values(plan, record))
    plan.book.liquidations.set(account_id, record)
    plan.event(event, account_id, data)
    return record


def end_liquidation(plan: Plan, account_id: SubAccountId, state: LiquidationState) -> None:
    """End the account's running liquidation; does nothing when none runs."""
    record = plan.book.liquidations.get(account_id)
    if record is None:
        return
    ended = replace(record, state=state, ended_at_ms=plan.now_ms)
    plan.update(
        "pms_liquidations", (plan.ours, record.id), _values(plan, ended), {"state": LiquidationState.RUNNING}
    )
    plan.book.liquidations.set(account_id, None)


def finish_liquidation(plan: Plan, account_id: SubAccountId) -> SubAccount:
    """Set LIQUIDATED, write off what is still owed (decision 4), and end the running liquidation as DONE.

    Raises InvariantError unless the account is flat and without live orders (decision 21).
    """
    mark_liquidated(plan, account_id)
    account = write_off(plan, account_id, SYSTEM)
    end_liquidation(plan, account_id, LiquidationState.DONE)
    return account


def _values(plan: Plan, record: LiquidationRecord) -> dict[str, Cell]:
    return {
        "sub_account_id": record.sub_account_id,
        "label": record.label,
        "margin_ratio": record.margin_ratio,
        "state": record.state,
        "evidence": record.evidence,
        "started_at": record.started_at_ms,
        "ended_at": record.ended_at_ms,
        "link": plan.link,
    }
