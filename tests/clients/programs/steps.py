"""What every client program reports: one JSON line for each step, which the driver reads.

Standard library only: it runs inside the environments of the clients.
"""

import asyncio
import contextlib
import json
import os
import time
import traceback
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import TypeVar

T = TypeVar("T")

HTTP = os.environ["PMS_SIMULATOR_HTTP"]
WS = os.environ["PMS_SIMULATOR_WS"]
KEY = os.environ["PMS_API_KEY"]
SECRET = os.environ["PMS_API_SECRET"]
STEP_SECONDS = 20.0


class Stop(Exception):
    """A step that later ones build on has failed; it is reported already."""


class Note:
    """What a step found, for the line that reports it."""

    text = ""

    def __call__(self, *parts: object) -> None:
        self.text = " ".join(str(part) for part in parts)


class Steps:
    """Reports the steps of one position mode (`mode` empty: of both)."""

    def __init__(self, mode: str = "") -> None:
        self.mode = mode
        self.failed = 0

    @contextlib.asynccontextmanager
    async def step(self, name: str, seconds: float = STEP_SECONDS) -> AsyncIterator[Note]:
        """One step of the flow. Raises Stop when its body fails or takes longer than `seconds`."""
        note, started = Note(), time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                yield note
        except Exception as error:
            self._report("step", name, started, note, error)
            raise Stop(name) from error
        self._report("step", name, started, note, None)

    async def call(
        self, name: str, call: Callable[[], Awaitable[T]], check: Callable[[T], object], seconds: float = 10.0
    ) -> None:
        """One method of the library by itself: called, and its answer checked; a failure stops nothing."""
        note, started = Note(), time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                answer = await call()
            if not check(answer):
                raise AssertionError(f"not the answer expected: {answer!r:.600}")
        except Exception as error:
            self._report("call", name, started, note, error)
        else:
            self._report("call", name, started, note, None)

    def _report(self, kind: str, name: str, started: float, note: Note, error: Exception | None) -> None:
        if error is not None:
            self.failed += 1
        row = {
            "kind": kind,
            "mode": self.mode,
            "name": name,
            "ok": error is None,
            "note": note.text,
            "seconds": round(time.monotonic() - started, 3),
            "traceback": "" if error is None else "".join(traceback.format_exception(error)),
        }
        print("STEP " + json.dumps(row), flush=True)


async def until(found: Callable[[], T], what: str, seconds: float = 8.0) -> T:
    """Return what `found` returns as soon as that is true. Raises AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        await asyncio.sleep(0.02)
    return value


def same(left: object, right: object) -> bool:
    """Compare two amounts as decimals, whatever their spelling."""
    return Decimal(str(left)) == Decimal(str(right))


async def move_market(symbol: str, factor: str = "1") -> None:
    """Move the simulated market to its price times `factor`; with "1" give it back to its recording.

    The moved price stands until the recording's next quote, which is waited for. Raises AssertionError when
    none comes.
    """
    if factor == "1":
        pinned = (await _book(symbol))["bidPrice"]
        await asyncio.to_thread(_ask, "/sim/release", {"symbol": symbol})
        deadline = time.monotonic() + 5
        while (await _book(symbol))["bidPrice"] == pinned:
            if time.monotonic() > deadline:
                raise AssertionError(f"{symbol} did not go on with its recording within 5 s")
            await asyncio.sleep(0.01)
        return
    price = await asyncio.to_thread(_ask, f"/fapi/v2/ticker/price?symbol={symbol}")
    bid = (Decimal(price["price"]) * Decimal(factor)).quantize(Decimal("0.1"))
    quote = {"symbol": symbol, "bid": str(bid), "ask": str(bid + Decimal("0.1"))}
    await asyncio.to_thread(_ask, "/sim/quote", quote)


async def _book(symbol: str) -> dict[str, str]:
    return await asyncio.to_thread(_ask, f"/fapi/v1/ticker/bookTicker?symbol={symbol}")


def _ask(path: str, body: dict[str, str] | None = None) -> dict[str, str]:
    request = urllib.request.Request(
        HTTP + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"X-PMS-Sim-Token": os.environ["PMS_ADMIN_TOKEN"]},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, str] = json.load(answer)
    return found
