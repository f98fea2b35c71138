"""Which fault applies to this request, this event, this moment: decisions from a seed, no clock, no socket.

Every fault draws from a generator of its own, seeded by the plan's seed and its number: what one fault does
never changes what another draws, and the same seed and the same traffic give the same faults.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from pms.simulator import canned
from pms.simulator.canned import Canned
from pms.simulator.errors import Reject, SimulatorError
from pms.simulator.fault_kinds import ACTION, KINDS, REQUEST, SOCKET, STREAM, Fault

FAULTS_MAX = 1000
"""Armed at one time; more are refused."""

ORDER_PATHS = ("/fapi/v1/order", "/fapi/v1/batchOrders", "/fapi/v1/algoOrder")


@dataclass(slots=True)
class RequestEffects:
    """What happens to one request. Times in milliseconds, `failing` by place in the batch."""

    delay_request_ms: int = 0
    delay_engine_ms: int = 0
    delay_answer_ms: int = 0
    answer: Canned | Reject | None = None
    executed: bool = False
    lost: bool = False
    ban_ms: int = 0
    failing: dict[int, Reject] = field(default_factory=dict)


@dataclass(slots=True)
class EventEffects:
    """What happens to one stream event. `held` waits for the next event of the stream and goes after it."""

    dropped: bool = False
    delay_ms: int = 0
    copies: int = 1
    held: bool = False


@dataclass(slots=True)
class Armed:
    """A fault with its window in exchange time; `left` None means no limit of uses."""

    number: int
    fault: Fault
    from_ms: int
    until_ms: int | None
    left: int | None
    draw: random.Random
    used: int = 0
    started: bool = False

    def over(self, now_ms: int) -> bool:
        """True when it can never apply again."""
        return self.left == 0 or (self.until_ms is not None and now_ms >= self.until_ms)

    def takes(self, now_ms: int) -> bool:
        """Say whether it strikes now, and count it."""
        if now_ms < self.from_ms or self.over(now_ms):
            return False
        if self.fault.probability < 1 and self.draw.random() >= self.fault.probability:
            return False
        self.used += 1
        if self.left is not None:
            self.left -= 1
        return True

    def milliseconds(self) -> int:
        """Return `ms`, or a draw between `ms` and `ms_max`."""
        fault = self.fault
        return self.draw.randint(fault.ms, fault.ms_max) if fault.ms_max > fault.ms else fault.ms


class FaultPlan:
    """All armed faults of one exchange, in the order of arming."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._armed: list[Armed] = []
        self._numbers = 0
        self.struck = 0

    # -- arming

    def arm(self, fault: Fault, now_ms: int) -> int:
        """Arm a fault whose `at_ms` counts from `now_ms`; return its number.

        Raises `SimulatorError` when its fields make no sense, or too many are armed.
        """
        problem = fault.problem()
        if problem:
            raise SimulatorError(problem)
        self._armed = [one for one in self._armed if not one.over(now_ms) or self._undo_waits(one)]
        if len(self._armed) >= FAULTS_MAX:
            raise SimulatorError(f"{FAULTS_MAX} faults are armed already. Clear them first.")
        self._numbers += 1
        from_ms = now_ms + fault.at_ms
        until = None if fault.for_ms is None else from_ms + fault.for_ms
        left: int | None = fault.count
        if left is None and fault.for_ms is None and not KINDS[fault.kind].lasts:
            left = 1
        draw = random.Random(f"{self.seed}:{self._numbers}")  # noqa: S311 - not for secrets
        self._armed.append(Armed(self._numbers, fault, from_ms, until, left or None, draw))
        return self._numbers

    def arm_all(self, faults: Iterable[Fault], now_ms: int) -> None:
        """Arm the faults of a scenario."""
        for fault in faults:
            self.arm(fault, now_ms)

    def clear(self, kind: str | None = None) -> list[Armed]:
        """Disarm everything, or one kind; return what was disarmed."""
        gone = [one for one in self._armed if kind in (None, one.fault.kind)]
        self._armed = [one for one in self._armed if one not in gone]
        return gone

    @staticmethod
    def _undo_waits(armed: Armed) -> bool:
        return armed.started and KINDS[armed.fault.kind].lasts

    # -- asking

    def _of(self, group: str) -> Iterable[Armed]:
        return (one for one in self._armed if KINDS[one.fault.kind].group == group)

    def for_request(
        self, method: str, path: str, params: Mapping[str, str], api_key: str, now_ms: int
    ) -> RequestEffects | None:
        """Return what happens to a request, None when nothing does."""
        if not self._armed:
            return None
        effects = RequestEffects()
        struck = False
        for armed in self._of(REQUEST):
            fault = armed.fault
            if not _matches_request(fault, method, path, api_key) or _exempt(fault, path, params):
                continue
            if armed.takes(now_ms):
                struck = True
                _apply(armed, effects)
        self.struck += struck
        return effects if struck else None

    def for_event(
        self, traffic: str, stream: str, event: str, api_key: str, now_ms: int
    ) -> EventEffects | None:
        """Return what happens to one event of a stream, None when it simply passes."""
        if not self._armed:
            return None
        effects = EventEffects()
        struck = False
        for armed in self._of(STREAM):
            fault = armed.fault
            name = event if traffic == "private" else stream
            if not (glob(fault.traffic, traffic) and glob(fault.stream, name)):
                continue
            if not glob(fault.account, api_key) or not armed.takes(now_ms):
                continue
            struck = True
            effects.dropped = effects.dropped or fault.kind == "drop"
            effects.held = effects.held or fault.kind == "reorder"
            if fault.kind == "delay_events":
                effects.delay_ms += armed.milliseconds()
            if fault.kind == "duplicate":
                effects.copies += fault.copies
        self.struck += struck
        return effects if struck else None

    @property
    def idle(self) -> bool:
        """True when nothing is armed."""
        return not self._armed

    def active(self, kind: str, now_ms: int) -> list[Armed]:
        """Return the faults of a kind that last and are in force now."""
        return [
            one
            for one in self._armed
            if one.fault.kind == kind and one.from_ms <= now_ms and not one.over(now_ms)
        ]

    def silenced(self, traffic: str, api_key: str, now_ms: int) -> bool:
        """True when sockets of a class (and account, on private) carry no data now."""
        if not self._armed:
            return False
        quiet = any(
            glob(one.fault.traffic, traffic) and (traffic != "private" or glob(one.fault.account, api_key))
            for one in self.active("silence", now_ms)
        )
        return quiet or any(one.fault.sockets == "silent" for one in self.active("maintenance", now_ms))

    def pings_stopped(self, traffic: str, now_ms: int) -> bool:
        """True when sockets of a class send not even pings."""
        if not self._armed:
            return False
        return any(
            glob(one.fault.traffic, traffic) and not one.fault.pings for one in self.active("silence", now_ms)
        )

    def maintenance_answer(self, now_ms: int) -> Canned | None:
        """Return what the exchange answers to everything during a maintenance window, None outside."""
        if not self._armed:
            return None
        for one in self.active("maintenance", now_ms):
            return canned.VARIANTS[one.draw.choice(canned.MAINTENANCE)]
        return None

    def refuses_sockets(self, now_ms: int) -> bool:
        """True when no new socket is accepted: a maintenance window that does not keep them."""
        return any(one.fault.sockets != "keep" for one in self.active("maintenance", now_ms))

    def starting(self, now_ms: int) -> list[Armed]:
        """Return the actions that are due, each once, in order of their time."""
        due = [
            one
            for one in self._armed
            if KINDS[one.fault.kind].group in (ACTION, SOCKET) and not one.started and one.from_ms <= now_ms
        ]
        for one in due:
            one.started = True
            self.struck += 1
            if not KINDS[one.fault.kind].lasts:
                one.left = 0
        return sorted(due, key=lambda one: (one.from_ms, one.number))

    def ending(self, now_ms: int) -> list[Armed]:
        """Return the lasting actions whose time is over, each once: what they changed is to be undone."""
        over = [one for one in self._armed if one.over(now_ms)]
        if over:
            self._armed = [one for one in self._armed if one not in over]
        return [one for one in over if self._undo_waits(one)]

    def listing(self, now_ms: int) -> list[dict[str, object]]:
        """Return the armed faults for people: number, kind, window relative to now, uses."""
        return [
            {
                "number": one.number,
                "kind": one.fault.kind,
                "from_ms": one.from_ms - now_ms,
                "until_ms": None if one.until_ms is None else one.until_ms - now_ms,
                "left": one.left,
                "used": one.used,
            }
            for one in self._armed
            if not one.over(now_ms)
        ]


def glob(patterns: str, value: str) -> bool:
    """Say whether a value fits shell patterns that are separated by `|`."""
    return patterns == "*" or any(fnmatchcase(value, pattern) for pattern in patterns.split("|"))


def _matches_request(fault: Fault, method: str, path: str, api_key: str) -> bool:
    if fault.path == "orders":
        aimed = path in ORDER_PATHS and method in ("POST", "PUT")
    else:
        aimed = glob(fault.path, path)
    return aimed and glob(fault.method, method) and glob(fault.account, api_key)


def _exempt(fault: Fault, path: str, params: Mapping[str, str]) -> bool:
    """Throttling (503 C) strikes new orders only, and none that only reduces (spec 1.5)."""
    if fault.kind != "answer" or fault.variant != "503C":
        return False
    reducing = any(params.get(name, "").lower() == "true" for name in ("reduceOnly", "closePosition"))
    return path not in ("/fapi/v1/order", "/fapi/v1/order/test", "/fapi/v1/batchOrders") or reducing


def _apply(armed: Armed, effects: RequestEffects) -> None:
    fault = armed.fault
    match fault.kind:
        case "delay":
            waited = armed.milliseconds()
            effects.delay_request_ms += waited if fault.stage == "request" else 0
            effects.delay_engine_ms += waited if fault.stage == "engine" else 0
            effects.delay_answer_ms += waited if fault.stage == "answer" else 0
        case "lose":
            effects.lost, effects.executed = True, fault.executed
            effects.delay_answer_ms += armed.milliseconds()
        case "answer":
            effects.answer, effects.executed = canned.VARIANTS[fault.variant], fault.executed
        case "refuse":
            effects.answer, effects.executed = Reject(fault.code, fault.msg, fault.http), False
        case "ban":
            effects.ban_ms = armed.milliseconds()
        case "too_many":
            effects.answer, effects.executed = TOO_MANY, False
        case "fail_elements":
            effects.failing.update({place: Reject(fault.code, fault.msg) for place in fault.elements})
        case _:
            raise AssertionError(f"no request fault: {fault.kind}")


TOO_MANY = Reject(
    -1003,
    "Too many requests; current limit is 2400 requests per minute. "
    "Please use the websocket for live updates to avoid polling the API.",
    429,
)
