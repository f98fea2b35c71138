"""Runs golden files: every line through the product code that answers it, exemptions by predicate on its
input.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.golden import ledger_flow, risk_math
from tests.golden.compare import decoded
from tests.golden_exempt import exemption

Check = Callable[[Any, Any], list[str]]
"""(input, expected output) -> what differs; empty when the vector holds."""

CHECKS: dict[str, Check] = {**risk_math.CHECKS, **ledger_flow.CHECKS}
"""Every known `fn`; whole-operation traces (lines with a `name`) are the fn `ledger_flow`."""


@dataclass(slots=True)
class Totals:
    """The outcome of a run. `failures` holds one text for each failed line."""

    passed: int = 0
    exempt: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return len(self.failures)

    def line(self) -> str:
        """Return `N passed, M failed, K exempt`."""
        return f"{self.passed} passed, {self.failed} failed, {self.exempt} exempt"


def run(paths: Iterable[Path]) -> Totals:
    """Run every line of the files. A line that cannot be read, or whose fn is unknown, is a failure."""
    totals = Totals()
    for path in paths:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    _run_line(f"{path.name}:{number}", line, totals)
    return totals


def _run_line(place: str, line: str, totals: Totals) -> None:
    try:
        record = json.loads(line)
        fn = str(record.get("fn", "ledger_flow" if "name" in record else None))
        given, expected = decoded(record["input"]), decoded(record["output"])
    except (ValueError, KeyError, TypeError) as error:
        totals.failures.append(f"{place}: not a golden vector: {error!r}")
        return
    check = CHECKS.get(fn)
    if check is None:
        totals.failures.append(f"{place}: unknown fn {fn!r}")
        return
    if exemption(fn, given) is not None:
        totals.exempt += 1
        return
    try:
        found = check(given, expected)
    except Exception as error:
        found = [f"raised {error!r}"]
    if found:
        totals.failures.append(f"{place}: {fn}: " + "; ".join(found[:5]))
    else:
        totals.passed += 1
