"""The record of a liquidation: what was decided for an account, on which evidence, and how it ended."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from pms.model.ids import SubAccountId


class LiquidationState(StrEnum):
    """RUNNING: decided, not carried out to its end; looked at again after a restart. DONE: carried out.
    RELEASED: the account recovered, or another decision took its place, before it was."""

    RUNNING = "RUNNING"
    DONE = "DONE"
    RELEASED = "RELEASED"


@dataclass(frozen=True, slots=True)
class LiquidationRecord:
    """One decision to act on an account; at most one of an account is RUNNING.

    `label` is the mode of `full_liquidation` or the trade action of a partial close, `evidence` a JSON text:
    equity, marks and positions as they were when it was decided.
    """

    id: str
    sub_account_id: SubAccountId
    label: str
    margin_ratio: Decimal
    state: LiquidationState
    evidence: str
    started_at_ms: int
    ended_at_ms: int | None = None
