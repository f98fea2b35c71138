"""Events for browsers and buses: what happened, to whom, with which sequence (decision 27)."""

from collections.abc import Mapping
from dataclasses import dataclass

from pms.model.ids import SubAccountId

DURABLE_TYPES = frozenset(
    {
        "order_placed",
        "order_filled",
        "order_cancelled",
        "position_updated",
        "position_closed",
        "position_reduced",
        "position_takeover",
        "adl_triggered",
        "full_liquidation",
        "account_updated",
    }
)
"""Types written through the outbox; they own the per-account sequence."""

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]


@dataclass(frozen=True, slots=True)
class DurableEvent:
    """An event of a committed change. `sequence` is per sub-account, gap-free and strictly increasing."""

    type: str
    sub_account_id: SubAccountId
    sequence: int
    data: Mapping[str, JsonValue]
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class EphemeralEvent:
    """A coalescable event. `key` names what a newer one replaces; `after_sequence` orders it behind durable
    ones.

    `sub_account_id` None goes to every authenticated socket that asked for it.
    """

    type: str
    sub_account_id: SubAccountId | None
    key: str
    data: Mapping[str, JsonValue]
    timestamp_ms: int
    after_sequence: int = 0
