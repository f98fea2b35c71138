"""The parts of one running exchange, as the request handlers see them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pms.exchange.messages import ExchangeInfo
from pms.model.clock import Clock
from pms.simulator.committer import Committer
from pms.simulator.config import SimulatorConfig
from pms.simulator.core import Engine
from pms.simulator.errors import Reject
from pms.simulator.faults import FaultPlan
from pms.simulator.feed import Feed
from pms.simulator.hub import Hub
from pms.simulator.latency import Latency
from pms.simulator.state import Account

INTEGER = re.compile(r"^-?[0-9]{1,19}$")


@dataclass(slots=True)
class Venue:
    """Engine, feed, streams and settings of one exchange. `skew_ms` is set by the fault `clock_skew`."""

    config: SimulatorConfig
    clock: Clock
    info: ExchangeInfo
    engine: Engine
    feed: Feed
    hub: Hub
    committer: Committer
    funding: Mapping[str, list[tuple[int, str]]]
    epoch: str
    admin_token: str
    draw_listen_key: Callable[[], str]
    latency: Latency
    faults: FaultPlan = field(default_factory=FaultPlan)
    skew_ms: int = 0

    def now_ms(self) -> int:
        """Return the time as the exchange tells it: the clock, and the skew that a fault put on it."""
        return self.clock.now_ms() + self.skew_ms


@dataclass(frozen=True, slots=True)
class Call:
    """One request that passed the door: decoded parameters, its account, server time."""

    params: Mapping[str, str]
    account: Account
    now_ms: int

    def integer(self, name: str) -> int | None:
        """Return an integer parameter, None when absent or not an integer."""
        raw = self.params.get(name, "")
        return int(raw) if INTEGER.match(raw) else None

    def limit(self, default: int, largest: int) -> int:
        """Return `limit`, within 1 and the endpoint's largest."""
        value = self.integer("limit")
        return default if value is None else min(max(1, value), largest)


Answer = Any
Handler = Callable[[Venue, Call], Answer]
NOBODY = Account(account_id=0, api_key="", secret="")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path and method: handler, security (NONE, KEY, SIGNED), IP weight, orders in the two windows."""

    handler: Handler
    security: str = "SIGNED"
    weight: int = 1
    weight_without_symbol: int = 0
    orders_10s: int = 0
    orders_1m: int = 0


__all__ = ["NOBODY", "Answer", "Call", "Endpoint", "Handler", "Reject", "Venue"]
