"""The one table of golden vectors that a correct system must not reproduce: predicates on their input (spec
11.1).

A vector is exempt because of what it asks, never because of its name or line. Each entry names the rule of
the table in ledger spec 11.1 that justifies it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Exemption:
    """`applies` sees the decoded input of vectors of that `fn`."""

    rule: str
    fn: str
    applies: Callable[[Any], bool]
    why: str


def _not_active(given: Any) -> bool:
    return bool(given["account"]["status"] != "ACTIVE")


def _opposite_position(given: Any) -> bool:
    opposite = "SHORT" if given["side"] == "LONG" else "LONG"
    return any(
        held["symbol"] == given["symbol"] and held["side"] == opposite
        for held in given.get("positions") or ()
    )


def _bad_number(given: Any) -> bool:
    return any(not math.isfinite(given[name]) or given[name] <= 0 for name in ("quantity", "leverage"))


EXEMPTIONS = (
    Exemption(
        "H10, H15",
        "evaluateAccount",
        _not_active,
        "frozen accounts stay under risk control; the incumbent is silent about them",
    ),
    Exemption(
        "H19, H20",
        "validateTrade",
        _opposite_position,
        "the incumbent counts the opposite position's PnL twice",
    ),
    Exemption(
        "H19, H20",
        "validateTrade",
        _bad_number,
        "the incumbent lets quantities and leverages pass that are not finite and positive",
    ),
)


def exemption(fn: str, given: Any) -> Exemption | None:
    """Return the entry that exempts a vector, None when it must hold."""
    for entry in EXEMPTIONS:
        if entry.fn == fn and entry.applies(given):
            return entry
    return None
