"""The golden vectors of the incumbent, and that the runner can fail."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pms.model.account import AccountStatus, PositionSide, RiskRules
from pms.model.symbol import Symbol
from pms.risk.gate import GateInput, MarkedPosition, assess
from tests.golden.__main__ import main
from tests.golden.compare import decoded, differences
from tests.golden.runner import run
from tests.golden_exempt import exemption
from tests.incumbent.prices import validation_price
from tests.support.paths import golden_file
from tests.unit.risk.builders import account, market, position, symbol_rules

RISK_MATH_LINES = 385
RISK_MATH_EXEMPT = 14


def test_all_of_risk_math_holds() -> None:
    totals = run([golden_file("risk_math.jsonl")])
    assert totals.failures == []
    assert (totals.passed, totals.exempt) == (RISK_MATH_LINES - RISK_MATH_EXEMPT, RISK_MATH_EXEMPT)


@pytest.fixture
def vectors() -> dict[str, dict[str, object]]:
    """The first vector of each fn."""
    found: dict[str, dict[str, object]] = {}
    for line in golden_file("risk_math.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        found.setdefault(record["fn"], record)
    return found


def test_the_gate_agrees_with_the_incumbent_where_no_rule_differs() -> None:
    """The same trades through the product's gate in Decimal: the same refusals and figures."""
    compared = 0
    for line in golden_file("risk_math.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        given, expected = decoded(record["input"]), decoded(record["output"])
        if record["fn"] != "validateTrade" or exemption("validateTrade", given) is not None:
            continue
        unpriced = any(held["symbol"] not in given["exchangePrices"] for held in given["positions"])
        if unpriced or not 1 <= given["leverage"] <= 125:
            continue  # the gate wants a fresh price of every position, and a leverage that the exchange has
        outcome = assess(_gate_input(given))
        assert [refusal.code.name for refusal in outcome.refusals] == [
            item["code"] for item in expected["errors"]
        ]
        if "computedValues" in expected:
            assert outcome.computed == pytest.approx(expected["computedValues"], rel=1e-9, abs=1e-9)
        compared += 1
    assert compared == 39


def _gate_input(given: Any) -> GateInput:
    rules, owner, prices = given["rules"], given["account"], given["exchangePrices"]
    held = []
    for item in given["positions"]:
        row = position(
            Symbol(item["symbol"]),
            PositionSide(item["side"]),
            repr(item["quantity"]),
            repr(item["entryPrice"]),
            leverage=repr(item["leverage"]),
        )
        held.append(MarkedPosition(row, Decimal(repr(prices[item["symbol"]]))))
    price = validation_price(given)
    request = replace(
        market(repr(given["quantity"]), PositionSide(given["side"]), leverage=repr(given["leverage"])),
        symbol=Symbol(given["symbol"]),
    )
    free = dict.fromkeys(
        ("quantity_step", "quantity_min", "quantity_max", "market_quantity_max", "notional_min"), Decimal(0)
    )
    return GateInput(
        None
        if owner is None
        else account(
            balance=repr(owner["currentBalance"]),
            status=AccountStatus(owner["status"]),
            rate=repr(owner["maintenanceRate"]),
        ),
        RiskRules(
            *(
                Decimal(repr(rules[name]))
                for name in ("maxLeverage", "maxNotionalPerTrade", "maxTotalExposure")
            )
        ),
        symbol_rules(request.symbol, **{**free, "market_quantity_step": Decimal(0)}),
        request,
        None if price is None else Decimal(repr(price)),
        0,
        tuple(held),
    )


def test_every_fn_fails_on_a_wrong_output(vectors: dict[str, dict[str, object]], tmp_path: Path) -> None:
    path = tmp_path / "wrong.jsonl"
    wrong = [{**record, "output": {"wrong": 1}} for record in vectors.values()]
    path.write_text("\n".join(map(json.dumps, wrong)))
    totals = run([path])
    assert (totals.passed, totals.failed) == (0, len(vectors))


def test_command_line(
    vectors: dict[str, dict[str, object]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text(json.dumps(vectors["computePnl"]) + "\n\n")
    bad.write_text('{"fn":"nobodyKnows","input":{},"output":1}\nnot json\n')
    assert main([str(good)]) == 0
    assert capsys.readouterr().out == "1 passed, 0 failed, 0 exempt\n"
    assert main([str(good), str(bad)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 2 failed, 0 exempt"
    assert main([str(tmp_path / "missing.jsonl")]) == 2
    assert main([]) == 2


def test_comparison() -> None:
    assert differences(1.0, 1.0 + 1e-13) == []
    assert differences(1.0, 1.0 + 1e-11) != []
    assert differences(decoded({"$num": "NaN"}), float("nan")) == []
    assert differences(True, 1) != []
    assert differences(None, 0) != []
    assert differences({"a": 1}, {"a": 1, "b": 2}) != []
    assert differences({"a": 1}, {"a": 1, "b": 2}, superset=True) == []
    assert differences([1], [1, 2], superset=True) != []
    assert differences({"a": "x"}, {}) != []
