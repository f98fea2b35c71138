"""What the fault plan decides, fault by fault, and what stream events become under it."""

from __future__ import annotations

import json
import tomllib
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest

from pms.simulator import scenario
from pms.simulator.canned import VARIANTS, Canned
from pms.simulator.errors import Reject, SimulatorError
from pms.simulator.fault_kinds import KINDS, Fault
from pms.simulator.faults import FaultPlan, RequestEffects
from pms.simulator.stream_faults import WAITING_MAX, StreamFaults, crossed
from tests.support.paths import PROJECT_ROOT

NOW = 1_795_000_000_000
ORDER = ("POST", "/fapi/v1/order")


def plan(*faults: dict[str, Any], seed: int = 1) -> FaultPlan:
    made = FaultPlan(seed)
    made.arm_all((scenario.fault_of(fault) for fault in faults), NOW)
    return made


def ask(made: FaultPlan, now_ms: int = NOW, key: str = "k", **params: str) -> RequestEffects | None:
    return made.for_request(*ORDER, params, key, now_ms)


@pytest.mark.parametrize(
    ("fault", "struck"),
    [
        ({}, [0]),  # once, when neither count nor for_ms says otherwise
        ({"count": 2}, [0, 100]),
        ({"count": 0}, [0, 100, 200, 300, 400, 500]),
        ({"at_ms": 150}, [200]),
        ({"at_ms": 150, "for_ms": 200}, [200, 300]),
        ({"for_ms": 200, "count": 1}, [0]),
        ({"path": "/fapi/v1/batchOrders"}, []),
        ({"path": "/fapi/v1/o*|/x"}, [0]),
        ({"path": "orders"}, [0]),
        ({"method": "GET|DELETE"}, []),
        ({"account": "other"}, []),
        ({"account": "k*"}, [0]),
        ({"probability": 0}, []),
    ],
)
def test_when_a_fault_strikes(fault: dict[str, Any], struck: list[int]) -> None:
    made = plan({"kind": "too_many", **fault})
    assert [t for t in range(0, 600, 100) if ask(made, NOW + t)] == struck


def test_the_seed_decides_and_faults_do_not_disturb_each_other() -> None:
    flaky = {"kind": "too_many", "count": 0, "probability": 0.3}
    other = {"kind": "drop", "count": 0, "probability": 0.5}

    def strikes(made: FaultPlan) -> list[bool]:
        struck = []
        for number in range(200):
            struck.append(ask(made, NOW + number) is not None)
            made.for_event("private", "key", "ORDER_TRADE_UPDATE", "k", NOW + number)
        return struck

    first = strikes(plan(flaky))
    assert strikes(plan(flaky, other)) == first
    assert strikes(plan(flaky, seed=2)) != first
    assert 30 < sum(first) < 90


def test_effects_of_request_faults() -> None:
    def only(**fault: Any) -> RequestEffects:
        effects = ask(plan(fault))
        assert effects is not None
        return effects

    assert only(kind="delay", ms=5, stage="engine").delay_engine_ms == 5
    assert 5 <= only(kind="delay", ms=5, ms_max=9, stage="answer").delay_answer_ms <= 9
    lost = only(kind="lose", executed=True)
    assert (lost.lost, lost.executed) == (True, True)
    assert only(kind="ban", ms=1000).ban_ms == 1000
    assert only(kind="refuse", code=-2027, msg="no").answer == Reject(-2027, "no")
    assert only(kind="fail_elements", elements=[1], code=-4003, msg="bad").failing == {
        1: Reject(-4003, "bad")
    }
    for name, answer in VARIANTS.items():
        assert only(kind="answer", variant=name).answer is answer


def test_throttling_spares_what_only_reduces() -> None:
    made = plan({"kind": "answer", "variant": "503C", "count": 0})
    assert isinstance(getattr(ask(made), "answer", None), Canned)
    assert ask(made, reduceOnly="true") is None
    assert ask(made, closePosition="true") is None
    assert made.for_request("DELETE", "/fapi/v1/allOpenOrders", {}, "k", NOW) is None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kind": "earthquake"}, "Unknown fault earthquake"),
        ({"kind": "drop", "ms": 5}, "has no field ms"),
        ({"kind": "delay"}, "needs the field ms"),
        ({"kind": "answer", "variant": "503B", "executed": True}, "never answers 503B"),
        ({"kind": "answer", "variant": "999"}, "Unknown variant 999"),
        ({"kind": "delay", "ms": 5, "stage": "moon"}, "stage must be one of"),
        ({"kind": "too_many", "probability": 2}, "probability must be between"),
        ({"kind": "too_many", "at_ms": -1}, "at_ms must not be negative"),
        ({"kind": "drop", "traffic": "secret"}, "traffic must be one of"),
        (
            {"kind": "manual_order", "account": "k", "symbol": "X", "side": "UP", "quantity": 1},
            "side must be",
        ),
        ({"kind": "set_mark", "symbol": "X", "price": "NaN"}, "must be finite"),
        ({"kind": "drop", "colour": 1}, "unknown field `colour`"),
        ({"kind": "delay", "ms": "soon"}, "Expected `int`"),
    ],
)
def test_a_wrong_fault_is_refused_in_one_line(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(SimulatorError) as refused:
        scenario.fault_of(wrong)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_every_field_of_a_kind_exists() -> None:
    fields = set(Fault.__struct_fields__)
    for name, kind in KINDS.items():
        assert kind.takes <= fields, name
        assert kind.needs <= kind.takes, name


# -- stream events


class Lane:
    """A private stream with a plan in front of it."""

    def __init__(self, *faults: dict[str, Any]) -> None:
        self.now_ms = NOW
        self.sent: list[str] = []
        self.plan = plan(*faults)
        self.faults = StreamFaults(self.plan, lambda: self.now_ms, lambda key: "k", self.deliver)

    def deliver(self, traffic: str, stream: str, payload: bytes, conflate: bool) -> None:
        self.sent.append(json.loads(payload)["n"])

    def emit(self, *names: str, event: str = "ORDER_TRADE_UPDATE") -> Lane:
        for name in names:
            self.faults.publish("private", "key", msgspec.json.encode({"e": event, "n": name}), False)
        return self

    def wait(self, milliseconds: int) -> Lane:
        self.now_ms += milliseconds
        self.faults.step(self.now_ms)
        return self


def test_stream_events_are_lost_late_twice_and_swapped() -> None:
    assert Lane().emit("a", "b").sent == ["a", "b"]
    assert Lane({"kind": "drop"}).emit("a", "b").sent == ["b"]
    assert Lane({"kind": "drop", "stream": "ACCOUNT_*"}).emit("a").emit("b", event="ACCOUNT_UPDATE").sent == [
        "a"
    ]
    assert Lane({"kind": "drop", "traffic": "public"}).emit("a").sent == ["a"]
    assert Lane({"kind": "duplicate", "copies": 2}).emit("a", "b").sent == ["a", "a", "a", "b"]
    assert Lane({"kind": "reorder"}).emit("a", "b", "c").sent == ["b", "a", "c"]
    alone = Lane({"kind": "reorder"}).emit("a")
    assert alone.wait(999).sent == []
    assert alone.wait(1).sent == ["a"]
    late = Lane({"kind": "delay_events", "ms": 500}).emit("a", "b")
    assert late.wait(499).sent == []  # b keeps its place behind a
    assert late.wait(1).sent == ["a", "b"]
    assert late.emit("c").sent == ["a", "b", "c"]


def test_a_silent_stream_carries_nothing_for_its_time() -> None:
    lane = Lane({"kind": "silence", "for_ms": 1000, "traffic": "private"}).emit("a")
    lane.wait(1000).emit("b")
    assert lane.sent == ["b"]
    assert lane.faults.statistics() == {"lost": 1, "waiting": 0}


def test_waiting_events_are_bounded_and_none_is_lost() -> None:
    lane = Lane({"kind": "delay_events", "ms": 500, "count": 0})
    names = [str(number) for number in range(WAITING_MAX + 3)]
    lane.emit(*names)
    assert lane.sent == names[:3]
    assert lane.wait(500).sent == names


def test_a_crossed_quote_has_its_bid_above_its_ask() -> None:
    message = json.loads(crossed(b'{"e":"bookTicker","b":"100.0","a":"100.1"}', D("0.01")))
    assert D(message["b"]) > D(message["a"])


def test_scenarios_that_ship_are_right(tmp_path: Any) -> None:
    assert scenario.shipped()
    for name in scenario.shipped():
        loaded = scenario.load(name)
        assert loaded.fault
        assert loaded.about
    path = tmp_path / "one.json"
    path.write_text('{"seed": 3, "fault": [{"kind": "drop", "count": 2}]}')
    assert scenario.load(str(path)).fault[0].count == 2
    for text, says in (("{", "cannot be read"), ('{"fault": [{"kind": "no"}]}', "fault 1: Unknown fault no")):
        path.write_text(text)
        with pytest.raises(SimulatorError, match=says):
            scenario.load(str(path))
    with pytest.raises(SimulatorError, match="no scenario 'nothing'"):
        scenario.load("nothing")


def test_the_example_of_the_documentation_is_a_scenario() -> None:
    page = (PROJECT_ROOT / "docs" / "simulator.md").read_text()
    example = page.split("```toml\n", 1)[1].split("```", 1)[0]
    loaded = scenario.parse(tomllib.loads(example), "docs/simulator.md")
    assert [fault.kind for fault in loaded.fault] == ["lose", "expire_listen_key", "manual_order"]
    assert all(f"`{name}`" in page for name in scenario.shipped())
