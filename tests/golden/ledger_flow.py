"""Runs and judges a vector of `ledger_flows.jsonl` by the rules of ledger spec 11.1."""

import asyncio
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from tests.golden.compare import RELATIVE_TOLERANCE
from tests.golden.flow_database import column_of, rows_after, scratch_folder
from tests.golden.flow_operations import OPERATIONS
from tests.golden.flow_world import world

ABSOLUTE_TOLERANCE = 1e-9
"""The vectors' doubles lose digits where the product's decimals do not."""

_UNCOMPARED = frozenset({"liquidationPrice", "signature"})
_SIGNATURE = re.compile(r"[0-9a-f]{16,64}")
_SHOWN_ONLY = frozenset({"pnl_update", "margin_update"})
Row = Mapping[str, Any]


@cache
def _loop() -> asyncio.Runner:
    """One event loop for all vectors of a run."""
    return asyncio.Runner()


def check(given: Any, expected: Any) -> list[str]:
    """Carry out the vector's operation on the product; what differs, one line each."""
    scratch_folder()
    return _loop().run(_check(given, expected))


async def _check(given: Any, expected: Any) -> list[str]:
    name, *arguments = given["call"]
    if name not in OPERATIONS:
        return [f"unknown operation {name!r}"]
    async with world(given) as running:
        result = await running.clock.until_done(OPERATIONS[name](running, *arguments))
        path, events = running.path, running.events
    rows = rows_after(path)
    told = [(event.type, event.data) for event in events]
    return [
        *_result(expected.get("result"), result),
        *_Rows(given, rows).compare(expected),
        *_events(expected["events"], told),
    ]


def _result(expected: Any, actual: Any) -> Iterator[str]:
    if not isinstance(expected, dict):
        if expected is not None and expected != actual:
            yield f"result: {actual!r}, not {expected!r}"
        return
    wanted = {key: expected[key] for key in ("success", "source", "closed") if key in expected}
    if "errors" in expected:
        wanted["codes"] = [error["code"] for error in expected["errors"]]
    for key, value in wanted.items():
        if (actual or {}).get(key) != value:
            yield f"result.{key}: {actual!r}, not {value!r}"


def _events(expected: Sequence[Row], told: list[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    left = [(kind, data) for kind, data in told if kind not in _SHOWN_ONLY]
    for event in expected:
        if event["type"] in _SHOWN_ONLY:
            continue
        for index, (kind, data) in enumerate(left):
            same = all(data.get(key) == event["data"].get(key) for key in ("subAccountId", "symbol"))
            if kind == event["type"] and same and set(event["data"]) <= set(data):
                del left[index]
                break
        else:
            yield f"no event {event['type']} with {sorted(event['data'])}; told {[kind for kind, _ in told]}"


class _Rows:
    """The database afterwards against `dbAfter` and the rows that the vector writes, as subsets."""

    def __init__(self, given: Any, rows: Mapping[str, Sequence[Row]]) -> None:
        self._rows = rows
        self._known = {str(row["id"]) for model in given["db"].values() for row in model if "id" in row}
        self._ids: dict[str, str] = {}
        self._taken: set[str] = set()

    def compare(self, expected: Any) -> Iterator[str]:
        for model, wanted in expected["dbAfter"].items():
            for row in wanted:
                yield from self._match(model, row)
            if len(wanted) != len(self._rows[model]):
                yield f"{len(self._rows[model])} rows of {model}, not {len(wanted)}"
        written = [item for item in expected["writes"] if "data" in item]
        for model in ("tradeExecution", "balanceLog"):
            for item in written:
                if item["op"] == f"{model}.create":
                    yield from self._match(model, {"id": item["id"], **item["data"]})

    def _match(self, model: str, wanted: Row) -> Iterator[str]:
        """Find the row that a vector's row describes: by its id, or among the new ones by its content."""
        named = str(wanted["id"]) in self._known
        candidates = [
            row
            for row in self._rows[model]
            if (row["id"] == wanted["id"] if named else row["id"] not in self._known | self._taken)
        ]
        closest: list[str] = ["no such row"]
        for row in candidates:
            found = list(self._differences(wanted, row))
            if not found:
                self._ids[str(wanted["id"])] = row["id"]
                self._taken.add(row["id"])
                return
            if closest == ["no such row"] or len(found) < len(closest):
                closest = found
        yield f"{model} {wanted['id']}: " + ", ".join(closest)

    def _differences(self, wanted: Row, row: Row) -> Iterator[str]:
        for name, value in wanted.items():
            if name == "id" or name in _UNCOMPARED:
                if name == "signature" and not _SIGNATURE.fullmatch(str(row["signature"])):
                    yield f"signature: {row['signature']!r}"
                continue
            there = row[column_of(name)]
            if isinstance(value, str) and name.endswith("Id"):
                value = self._ids.get(value, value)
            if not _same(value, there):
                yield f"{name}: {there!r}, not {value!r}"


def _same(wanted: Any, there: Any) -> bool:
    if isinstance(wanted, bool):
        return bool(there) is wanted
    if isinstance(wanted, int | float) and isinstance(there, int | float):
        return math.isclose(wanted, there, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)
    return bool(wanted == there)


CHECKS = {"ledger_flow": check}
