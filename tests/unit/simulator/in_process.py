"""An exchange without sockets on virtual time, its client and its listeners, for tests of the doors."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal as D
from typing import Any
from urllib.parse import urlencode

from pms.simulator import Simulator, SimulatorConfig
from pms.simulator.gate import Passed
from pms.simulator.http_server import rendered
from tests.support.clocks import SleepersClock

KEY, SECRET = "key-1", "secret-1"
START_MS = 1_795_000_020_000
"""A whole minute, so that request windows begin with the test."""
WALLET = D(100_000)
ADDRESS = "203.0.113.7"


class VirtualClock(SleepersClock):
    """Time that passes only by `advance`."""

    def __init__(self, start_ms: int = START_MS) -> None:
        super().__init__(start_ms)

    async def advance(self, milliseconds: float) -> None:
        """Let time pass; everything that was waiting for it runs until it waits again."""
        end = self._now_ms + milliseconds
        woken = True
        while woken:
            woken = self.wake_next(end)
            await asyncio.sleep(0)
        self._now_ms = end


@dataclass
class Answer:
    """What a client gets: nothing of it when the connection was lost."""

    status: int
    body: Any
    passed: Passed

    @property
    def code(self) -> int:
        return int(self.body["code"]) if isinstance(self.body, dict) and "code" in self.body else 0


class Listener:
    """A stream connection without a socket."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def push_market(self, stream: str, payload: bytes, conflate: bool) -> None:
        self.events.append(json.loads(payload))

    def push_user(self, key: str, payload: bytes) -> None:
        self.events.append(json.loads(payload))

    def key_ended(self, key: str) -> None:
        self.events.append({"e": "ended"})


class Exchange:
    """A running exchange, and its client."""

    def __init__(self, simulator: Simulator, clock: VirtualClock) -> None:
        self.simulator, self.clock = simulator, clock

    def sign(self, text: str, secret: str = SECRET) -> str:
        return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()

    async def raw(
        self, method: str, path: str, query: str = "", body: str = "", key: str = KEY, address: str = ADDRESS
    ) -> Answer:
        """Send exactly this text."""
        passed = await self.simulator.doors.rest.answer(method, path, query, body, key, address)
        if passed.lost:
            return Answer(0, None, passed)
        status, text, content_type = rendered(passed)
        return Answer(status, json.loads(text) if content_type.endswith("json") else text.decode(), passed)

    async def signed(self, method: str, path: str, key: str = KEY, **params: Any) -> Answer:
        """Send a signed request, its time stamped now unless it says otherwise."""
        params.setdefault("timestamp", self.clock.now_ms())
        text = urlencode(params)
        return await self.raw(method, path, f"{text}&signature={self.sign(text)}", key=key)

    async def order(self, **params: Any) -> Answer:
        return await self.signed("POST", "/fapi/v1/order", **params)

    async def wait(self, milliseconds: int, step_ms: int = 20) -> None:
        """Let time pass in slices, with everything that the exchange does by itself."""
        left = milliseconds
        while left > 0:
            await self.clock.advance(min(step_ms, left))
            left -= step_ms
            self.simulator.step()
            await asyncio.sleep(0)
        await self.simulator.venue.committer.settled()
        await asyncio.sleep(0)

    async def listen(self) -> tuple[Listener, str]:
        """Return a listener of the account's private events, and its key."""
        key = str((await self.raw("POST", "/fapi/v1/listenKey")).body["listenKey"])
        listener = Listener()
        self.simulator.venue.hub.subscribe(listener, "private", key)
        return listener, key


@asynccontextmanager
async def exchange(start_ms: int = START_MS, quoted: bool = True, **config: Any) -> AsyncIterator[Exchange]:
    """Run an exchange with one account and, if `quoted`, BTCUSDT at 60000.0 / 60000.1 and ETHUSDT at 3000."""
    clock = VirtualClock(start_ms)
    config.setdefault("accounts", ((KEY, SECRET, WALLET),))
    config.setdefault("symbols", ("BTCUSDT", "ETHUSDT"))
    simulator = Simulator(SimulatorConfig(**config), clock)
    await simulator.start(serve=False)
    try:
        if quoted:
            simulator.set_quote("BTCUSDT", D("60000.0"), D("60000.1"), D(10), D(10))
            simulator.set_quote("ETHUSDT", D("3000.00"), D("3000.01"), D(100), D(100))
        yield Exchange(simulator, clock)
    finally:
        await simulator.stop()
