"""Reads the recorded depth of a tick recording: one snapshot for each symbol and the events that follow it.

The rule is that of a client (spec 4.3): events older than the snapshot are dropped, the first applied one
spans it, afterwards every `pu` is the previous `u`. A symbol whose recording holds no snapshot has no depth:
its book would be full of holes. A broken chain is an error: a book behind a gap is wrong for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import Raw, Struct, field

from pms.simulator.recording_file import bad_line
from pms.simulator.ticks import DEPTH, DepthTick

SUFFIX = ".depth.jsonl.gz"
Rows = list[tuple[str, str]]
_rows = msgspec.json.Decoder(Rows)


class DepthData(Struct):
    """The parts of a depth event that the replay uses."""

    symbol: str = field(name="s")
    first: int = field(name="U")
    final: int = field(name="u")
    previous: int = field(name="pu")
    bids: Raw = field(name="b")
    asks: Raw = field(name="a")


class _Frame(Struct):
    data: DepthData


class _Snapshot(Struct):
    last: int = field(name="lastUpdateId")
    bids: Raw = Raw(b"[]")
    asks: Raw = Raw(b"[]")


class DepthLine(Struct):
    """One line: a frame as received, or the REST snapshot of a symbol."""

    recv_ns: int
    frame: _Frame | None = None
    rest_depth_symbol: str | None = None
    response: _Snapshot | None = None


_lines = msgspec.json.Decoder(DepthLine)


def sibling(path: Path) -> Path | None:
    """Return the depth file that belongs to a tick recording, None when there is none beside it."""
    name = path.name.removesuffix(".jsonl.gz") + SUFFIX
    found = path.with_name(name)
    return found if not path.name.endswith(SUFFIX) and found.is_file() else None


def decode_rows(rows: bytes) -> Rows:
    """Return the levels of one side."""
    return _rows.decode(rows)


def read(lines: Iterable[tuple[int, bytes]], path: Path) -> list[tuple[int, DepthTick]]:
    """Return (recv_ns, tick) of every usable line, snapshots first at the time of the file's first line.

    Raises `SimulatorError` (file, line) for a damaged line or a broken chain.
    """
    events: list[tuple[int, int, DepthData]] = []
    snapshots: dict[str, _Snapshot] = {}
    start_ns = last_ns = -1
    for number, raw in lines:
        try:
            line = _lines.decode(raw)
        except msgspec.DecodeError as error:
            raise bad_line(path, number, str(error)) from error
        if line.recv_ns < last_ns:
            raise bad_line(path, number, "recv_ns goes backwards")
        last_ns = line.recv_ns
        start_ns = last_ns if start_ns < 0 else start_ns
        if line.frame is not None:
            events.append((number, last_ns, line.frame.data))
        elif line.rest_depth_symbol and line.response is not None:
            snapshots.setdefault(line.rest_depth_symbol, line.response)
    ticks = [
        (start_ns, DepthTick(DEPTH, symbol, bytes(book.bids), bytes(book.asks), True))
        for symbol, book in sorted(snapshots.items())
    ]
    return ticks + list(_chained(events, snapshots, path))


def _chained(
    events: Iterable[tuple[int, int, DepthData]], snapshots: Mapping[str, _Snapshot], path: Path
) -> Iterator[tuple[int, DepthTick]]:
    previous: dict[str, int] = {}
    for number, recv_ns, event in events:
        snapshot = snapshots.get(event.symbol)
        if snapshot is None or event.final < snapshot.last:
            continue
        known = previous.get(event.symbol)
        if known is None and event.first > snapshot.last:
            raise bad_line(path, number, f"{event.symbol} has a gap after its snapshot")
        if known is not None and event.previous != known:
            raise bad_line(path, number, f"{event.symbol} has a gap: pu {event.previous} after u {known}")
        previous[event.symbol] = event.final
        yield recv_ns, DepthTick(DEPTH, event.symbol, bytes(event.bids), bytes(event.asks), False)


def books(ticks: Iterable[DepthTick]) -> Iterator[DepthTick]:
    """Yield, for each symbol, the book that a run of ticks leaves, as one snapshot."""
    sides: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
    for tick in ticks:
        bids, asks = sides.setdefault(tick.symbol, ({}, {}))
        if tick.snapshot:
            bids.clear()
            asks.clear()
        bids.update(decode_rows(tick.bids))
        asks.update(decode_rows(tick.asks))
    for symbol, (bids, asks) in sides.items():
        yield DepthTick(DEPTH, symbol, _standing(bids), _standing(asks), True)


def _standing(side: Mapping[str, str]) -> bytes:
    return msgspec.json.encode([row for row in side.items() if float(row[1])])
