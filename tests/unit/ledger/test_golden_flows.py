"""The incumbent's whole operations on the product's parts, and that the runner can fail."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.golden.runner import run
from tests.golden_exempt import exemption
from tests.support.paths import golden_file

FLOWS = 110
FLOWS_EXEMPT = 46


def vectors() -> list[dict[str, Any]]:
    text = golden_file("ledger_flows.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_all_of_ledger_flows_holds() -> None:
    totals = run([golden_file("ledger_flows.jsonl")])
    assert totals.failures == []
    assert (totals.passed, totals.exempt) == (FLOWS - FLOWS_EXEMPT, FLOWS_EXEMPT)


def changed(vector: dict[str, Any], **output: Any) -> str:
    return json.dumps({**vector, "output": {**vector["output"], **output}})


def test_every_part_that_is_compared_can_fail(tmp_path: Path) -> None:
    """One vector of each operation with one wrong part."""
    held = [vector for vector in vectors() if exemption("ledger_flow", vector["input"]) is None]
    opens = next(one for one in held if one["name"] == "open_long")
    closes = next(one for one in held if one["name"] == "close_long_profit")
    refused = next(one for one in held if one["name"] == "exchange_rejects_margin")
    position = opens["output"]["dbAfter"]["virtualPosition"][0]
    log = next(item for item in closes["output"]["writes"] if item["op"] == "balanceLog.create")
    wrong = [
        changed(opens, result={"success": False}),
        changed(refused, result={"success": False, "errors": [{"code": "NO_PRICE"}]}),
        changed(opens, dbAfter={"virtualPosition": [{**position, "quantity": 3}]}),
        changed(opens, dbAfter={"virtualPosition": []}),
        changed(closes, writes=[{**log, "data": {**log["data"], "reason": "ELSE"}}]),
        changed(opens, events=[{"type": "position_closed", "data": {"subAccountId": "sub-00001"}}]),
        json.dumps({**opens, "input": {**opens["input"], "call": ["nobodyKnows"]}}),
    ]
    path = tmp_path / "wrong.jsonl"
    path.write_text("\n".join(wrong))
    totals = run([path])
    assert (totals.passed, totals.failed) == (0, len(wrong)), totals.failures


X = {"subAccountId": "a", "symbol": "X/USDT:USDT"}
LONG = {**X, "id": "p1", "side": "LONG", "entryPrice": 90, "quantity": 2}
ACCOUNT = {"id": "a", "name": "a", "initialBalance": 100, "currentBalance": 100}


def given(call: list[Any], *positions: dict[str, Any], **changes: Any) -> dict[str, Any]:
    db = {"subAccount": [ACCOUNT], "virtualPosition": list(positions), **changes.pop("db", {})}
    return {"db": db, "prices": {"X/USDT:USDT": 100}, "call": call, **changes}


BACKED = [{"symbol": "X/USDT:USDT", "side": "long", "contracts": 2}]
DONE = {"orderId": "1", "price": 100, "quantity": 2, "fee": 0}
PENDING = {**X, "id": "o", "side": "SHORT", "type": "LIMIT", "exchangeOrderId": "7"}
SHORT = {**LONG, "id": "p2", "subAccountId": "b", "side": "SHORT"}


def closing(**changes: Any) -> dict[str, Any]:
    """A close that the exchange backs."""
    return given(
        ["closePosition", "p1"], LONG, exchangePositions=BACKED, **{"marketOrders": [DONE], **changes}
    )


FILLED = ["handleExchangeOrderUpdate", {"orderId": "7", "status": "FILLED", "filledQty": 2}]


@pytest.mark.parametrize(
    ("rule", "vector"),
    [
        (None, closing()),
        (None, given(["closePosition", "p1"], LONG, exchangePositions=[])),
        ("H1, H1a", given(["closePosition", "p1"], LONG, SHORT, exchangePositions=[])),
        ("H1, H1a", given(["reconcilePosition", "X/USDT:USDT", 100], LONG, SHORT)),
        (None, given(["reconcilePosition", "X/USDT:USDT", 100], LONG)),
        ("H3, H8b", given(["closePosition", "p1"], LONG, exchangePositions="throw")),
        (
            "H3, H8b",
            given(
                ["closePosition", "p1"], LONG, exchangePositions=BACKED, marketOrders=[{"error": "Unknown"}]
            ),
        ),
        (
            None,
            closing(marketOrders=[{"error": "boom"}]),
        ),
        (
            "H1b, H2, H2b",
            given(
                ["closePosition", "p1"],
                LONG,
                exchangePositions=BACKED,
                marketOrders=[{**DONE, "quantity": 1}],
            ),
        ),
        ("H1b, H2, H2b", given(FILLED, LONG, db={"pendingOrder": [PENDING]})),
        (None, given(FILLED, db={"pendingOrder": [PENDING]})),
        (
            "H7, H8",
            closing(failOn="x"),
        ),
        ("H23, H24", given(["partialClose", "p1", 1.2], LONG, marketOrders=[{**DONE, "quantity": 9}])),
        (None, given(["partialClose", "p1", 0.5], LONG, marketOrders=[{**DONE, "quantity": 1}])),
        ("decisions 1, 2", given(["liquidatePosition", "p1"], LONG, marketOrders=[{"error": "down"}])),
        (None, given(["takeoverPosition", "p1", "admin"], LONG)),
        ("H28", given(["takeoverPosition", "p1", "admin"], LONG, prices={})),
    ],
)
def test_a_vector_is_exempt_because_of_what_it_asks(rule: str | None, vector: dict[str, Any]) -> None:
    found = exemption("ledger_flow", vector)
    assert (None if found is None else found.rule) == rule
