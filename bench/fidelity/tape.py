"""The recorded tape, read on its own: nothing here uses the simulator, so that it can contradict it.

The bounds of a passive order: at the *front* of the queue it takes every trade at its price; at the *back* it
waits until everything displayed at its price when it was placed has traded, and nobody ahead ever cancels. A
trade beyond its price, or an opposite quote at or beyond it, fills it whole in both cases.
"""

from __future__ import annotations

import gzip
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

ZERO = Decimal(0)
PLAYED = ("bookTicker", "trade", "aggTrade", "markPriceUpdate")
Curve = list[tuple[int, Decimal]]


class Quote(NamedTuple):
    """Best bid and ask with their quantities, from `ms` after the start of the recording."""

    ms: int
    bid: Decimal
    bid_quantity: Decimal
    ask: Decimal
    ask_quantity: Decimal


class Trade(NamedTuple):
    """One public trade."""

    ms: int
    price: Decimal
    quantity: Decimal
    buyer_is_maker: bool


class Levels(NamedTuple):
    """A change of the order book (`whole`: all of it)."""

    ms: int
    rows: dict[str, list[list[str]]]
    whole: bool


@dataclass(slots=True)
class SymbolTape:
    """What was recorded of one symbol, in order of receipt."""

    events: list[Quote | Trade] = field(default_factory=list)
    levels: list[Levels] = field(default_factory=list)

    def after(self, ms: int) -> Iterator[Quote | Trade]:
        """Yield quotes and trades from `ms` on."""
        first = bisect_left(self.events, ms, key=lambda event: event.ms)
        return iter(self.events[first:])


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path) as file:
        for line in file:
            yield msgspec.json.decode(line)


def _first_ns(path: Path, kinds: tuple[str, ...]) -> int:
    """Return when the first line was received that is of one of the kinds (none given: of any)."""
    return next(
        int(line["recv_ns"])
        for line in _lines(path)
        if not kinds or line.get("frame", {}).get("data", {}).get("e") in kinds
    )


def read(path: Path, seconds: float = 1e9) -> dict[str, SymbolTape]:
    """Read a recording, and the depth file beside it, up to `seconds` after its start."""
    depth = path.with_name(path.name.removesuffix(".jsonl.gz") + ".depth.jsonl.gz")
    files = [path, *([depth] if depth.is_file() else [])]
    start_ns = min(_first_ns(path, PLAYED), *(_first_ns(name, ()) for name in files[1:]), 2**63)
    tapes: dict[str, SymbolTape] = {}
    for name in files:
        for line in _lines(name):
            ms = (line["recv_ns"] - start_ns) // 1_000_000
            if ms > seconds * 1000:
                break
            _take(tapes, line, ms)
    for tape in tapes.values():
        _start_at_snapshot(tape)
    return tapes


def _take(tapes: dict[str, SymbolTape], line: dict[str, Any], ms: int) -> None:
    if "rest_depth_symbol" in line:
        book = line["response"]
        rows = {"b": book["bids"], "a": book["asks"], "u": book["lastUpdateId"]}
        tapes.setdefault(line["rest_depth_symbol"], SymbolTape()).levels.append(Levels(ms, rows, True))
        return
    data = line["frame"]["data"]
    if data["e"] not in (*PLAYED, "depthUpdate"):
        return
    tape = tapes.setdefault(data["s"], SymbolTape())
    if data["e"] == "bookTicker":
        tape.events.append(Quote(ms, *(Decimal(data[name]) for name in "bBaA")))
    elif data["e"] in ("trade", "aggTrade"):
        tape.events.append(Trade(ms, Decimal(data["p"]), Decimal(data["q"]), data["m"]))
    elif data["e"] == "depthUpdate":
        tape.levels.append(Levels(ms, {"b": data["b"], "a": data["a"], "u": data["u"]}, False))


def _start_at_snapshot(tape: SymbolTape) -> None:
    """Put the snapshot first, and drop the events it already holds; without one there is no book."""
    snapshot = next((level for level in tape.levels if level.whole), None)
    if snapshot is None:
        tape.levels = []
        return
    last: Any = snapshot.rows["u"]
    newer: Any = [level for level in tape.levels if not level.whole and level.rows["u"] >= last]
    tape.levels = [snapshot._replace(ms=0), *newer]


class Displayed:
    """The displayed quantities of one symbol, followed forwards in time."""

    def __init__(self, tape: SymbolTape) -> None:
        self._tape = tape
        self._next_event = self._next_level = 0
        self.quote: Quote | None = None
        self._sides: dict[str, dict[Decimal, Decimal]] = {"b": {}, "a": {}}

    def advance(self, ms: int) -> None:
        """Take everything received before `ms`."""
        events, levels = self._tape.events, self._tape.levels
        while self._next_event < len(events) and events[self._next_event].ms < ms:
            event = events[self._next_event]
            self.quote = event if isinstance(event, Quote) else self.quote
            self._next_event += 1
        while self._next_level < len(levels) and levels[self._next_level].ms < ms:
            for side, known in self._sides.items():
                rows = levels[self._next_level].rows[side]
                known.update((Decimal(price), Decimal(quantity)) for price, quantity in rows)
            self._next_level += 1

    def at(self, side: str, price: Decimal) -> Decimal | None:
        """Return what is displayed at a price where a BUY or SELL order would rest, None if unknown."""
        if self.quote is None:
            return None
        bids = side == "BUY"
        if price == (self.quote.bid if bids else self.quote.ask):
            return self.quote.bid_quantity if bids else self.quote.ask_quantity
        book = self._sides["b" if bids else "a"]
        return book.get(price, ZERO) if book else None


def bounds(
    tape: SymbolTape, side: str, price: Decimal, quantity: Decimal, ahead: Decimal, span: tuple[int, int]
) -> tuple[Curve, Curve]:
    """Return how much a passive order has filled at the front and at the back of the queue, over time.

    `span` is when it was placed (after everything before that ms) and until when to look.
    """
    start, end = span
    front: Curve = [(start - 1, ZERO)]
    back: Curve = [(start - 1, ZERO)]
    filled_front = filled_back = ZERO
    queue, sign = ahead, 1 if side == "BUY" else -1
    for event in tape.after(start):
        if event.ms > end or filled_back >= quantity:
            break
        if isinstance(event, Quote):
            opposite = event.ask if side == "BUY" else event.bid
            through = (price - opposite) * sign >= 0
        else:
            mine = event.buyer_is_maker == (side == "BUY")
            through = mine and (price - event.price) * sign > 0
            if mine and event.price == price:
                taken = min(queue, event.quantity)
                queue -= taken
                filled_front = min(quantity, filled_front + event.quantity)
                filled_back = min(quantity, filled_back + event.quantity - taken)
        if through:
            filled_front = filled_back = quantity
        front.append((event.ms, filled_front))
        back.append((event.ms, filled_back))
    return front, back


def value_at(curve: Curve, ms: int) -> Decimal:
    """Return a curve's value after everything of `ms`."""
    found = ZERO
    for moment, value in curve:
        if moment > ms:
            break
        found = value
    return found


def filled_ms(curve: Curve, quantity: Decimal) -> int | None:
    """Return when a curve reached a quantity, None if it never did."""
    return next((ms for ms, value in curve if value >= quantity), None)
