"""What a source of market data gives: ticks at positions of its own time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from pms.simulator.candles import LoopCandles

QUOTE, TRADE, MARK, DEPTH = 0, 1, 2, 3


class Tick(NamedTuple):
    """One replayed message.

    QUOTE: bid, bid size, ask, ask size. TRADE: price, size, "m" when the buyer is maker. MARK: mark, index,
    estimated settle, funding rate. All decimal texts as recorded.
    """

    kind: int
    symbol: str
    a: str
    b: str
    c: str
    d: str


class DepthTick(NamedTuple):
    """One recorded depth event, or (`snapshot`) the whole book. Both sides are JSON `[[price, quantity]]`."""

    kind: int
    symbol: str
    bids: bytes
    asks: bytes
    snapshot: bool


AnyTick = Tick | DepthTick


class Source(Protocol):
    """One stream of market data, a function of its own position in ms.

    `kind` says what its quotes are: recorded, modelled, synthetic or relayed; `modelled` is true where their
    sizes were made up. `loop_ms` is the length after which it repeats.
    `deep` are the symbols with recorded depth; `quoted` those whose best quote the source itself tells.
    """

    path: Path
    symbols: tuple[str, ...]
    recorded_marks: frozenset[str]
    modelled: bool
    kind: str
    loop_ms: int
    history: dict[str, LoopCandles]
    deep: frozenset[str]
    quoted: frozenset[str]

    def between(self, start_ms: float, end_ms: float) -> Iterator[AnyTick]:
        """Yield the ticks with start <= position < end."""
        ...

    def books_at(self, position_ms: float) -> Iterator[DepthTick]:
        """Yield the whole recorded books as they stand at a position."""
        ...
