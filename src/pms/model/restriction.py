"""What may still be traded: the levels of the kill switch, of rules, and of the real account's ladder."""

from dataclasses import dataclass
from enum import IntEnum

from pms.model.ids import SubAccountId


class Restriction(IntEnum):
    """How far trading is restricted, by severity; of several sources the strongest counts.

    1. BLOCK_ENTRIES: nothing new opens or adds; what rests stays. 2. REDUCE_ONLY: resting orders that could
    open are cancelled too. 3. HALT: nobody but liquidation and the house sends orders, and resting orders are
    cancelled. 4. FLATTEN: like HALT, and every position is closed.
    """

    NONE = 0
    BLOCK_ENTRIES = 1
    REDUCE_ONLY = 2
    HALT = 3
    FLATTEN = 4


@dataclass(frozen=True, slots=True)
class RestrictionEntry:
    """One restriction in force. `sub_account_id` None: everywhere. `source`: `operator`, `exchange` (the real
    account was liquidated), or `rule:<name>`."""

    sub_account_id: SubAccountId | None
    source: str
    level: Restriction
    reason: str
    actor: str
    since_ms: int
