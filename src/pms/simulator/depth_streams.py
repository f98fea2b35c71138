"""Publishes the order book: differences with their U/u/pu chain, partial books, and snapshots that fit them.

Every variant (100, 250, 500 ms; RPI) of a symbol is a chain of its own: what it last sent, and that id.
An event carries the absolute quantities of the levels that differ since then, and covers all ids from the one
after the last event to its own. A snapshot draws a fresh id, so that it always falls inside the next event of
every chain: the rule of spec 4.3 holds whatever the client does first. A chain begins with the first snapshot
or subscriber and is dropped a minute after the last one left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice

from pms.simulator import market_payloads as payloads
from pms.simulator import matching
from pms.simulator.hub import Hub
from pms.simulator.rules import SymbolRules
from pms.simulator.state import Market

STEP_MS = 50
IDLE_MS_MAX = 60_000
REAL_TIME = "depth@0ms"
"""No longer documented, but programs ask for it; as often as the books are looked at here."""
DIFFERENCES = {
    REAL_TIME: STEP_MS,
    "depth": 250,
    "depth@100ms": 100,
    "depth@250ms": 250,
    "depth@500ms": 500,
    "rpiDepth@500ms": 500,
}
PARTIALS = {
    f"depth{levels}{suffix}": (levels, period)
    for levels in (5, 10, 20)
    for suffix, period in (("", 250), ("@100ms", 100), ("@250ms", 250), ("@500ms", 500))
}
Rows = list[tuple[str, str]]
Sides = tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]


@dataclass(slots=True)
class _Chain:
    """One variant of one symbol: the levels last told, their id, when somebody last wanted it (Unix ms).

    `shown` are the levels of snapshots since: who joined one to this chain holds them, so the next event must
    say what became of each, also when it was not there before and is gone again.
    """

    sent: Sides
    last_id: int
    wanted_ms: int
    shown: Sides = field(default_factory=lambda: ({}, {}))


class DepthStreams:
    """All book streams of one exchange. `draw_id` returns the next update id of the exchange."""

    def __init__(
        self,
        hub: Hub,
        rules: Mapping[str, SymbolRules],
        markets: Mapping[str, Market],
        draw_id: Callable[[], int],
    ) -> None:
        self._hub = hub
        self._rules = rules
        self._markets = markets
        self._draw_id = draw_id
        self._chains: dict[tuple[str, str], _Chain] = {}
        self._partial_ids: dict[tuple[str, str], int] = {}
        self._names = {
            symbol: {variant: f"{symbol.lower()}@{variant}" for variant in (*DIFFERENCES, *PARTIALS)}
            for symbol in rules
        }
        self._flushed_ms = 0
        self.events = 0

    def snapshot(self, symbol: str, limit: int, now_ms: int) -> tuple[int, Rows, Rows]:
        """Return update id, bids and asks, best first, at most `limit` levels of each side."""
        market = self._markets[symbol]
        for variant in DIFFERENCES:
            chain = self._chains.get((symbol, variant))
            if chain is None and variant == REAL_TIME and not self._wanted(symbol, variant):
                continue
            if chain is None:
                self._chains[symbol, variant] = self._begin(market, now_ms)
            else:
                chain.wanted_ms = now_ms
                for shown, side in zip(chain.shown, self._sides(market), strict=True):
                    shown.update(side)
        tick = self._rules[symbol].price.step
        bids, asks = (
            self._rows(symbol, dict(islice(matching.shown(market, side, tick), limit)))
            for side in ("SELL", "BUY")
        )
        return self._draw_id(), bids, asks

    def flush(self, now_ms: int) -> None:
        """Publish whatever is due; called at least every `STEP_MS`."""
        before, self._flushed_ms = self._flushed_ms, now_ms
        if before // STEP_MS == now_ms // STEP_MS:
            return
        due = {period for period in (STEP_MS, 100, 250, 500) if before // period != now_ms // period}
        for symbol, market in self._markets.items():
            if market.live:
                self._flush_symbol(symbol, market, due, now_ms)

    def _flush_symbol(self, symbol: str, market: Market, due: set[int], now_ms: int) -> None:
        now: Sides | None = None
        for variant, period in DIFFERENCES.items():
            if period not in due:
                continue
            chain = self._chains.get((symbol, variant))
            wanted = self._wanted(symbol, variant)
            if wanted or chain is not None:
                now = now or self._sides(market)
                self._flush_chain(symbol, variant, chain, wanted, now, now_ms)
        for variant, (levels, period) in PARTIALS.items():
            if period in due and self._wanted(symbol, variant):
                self._publish_partial(symbol, variant, market, levels, now_ms)

    def _wanted(self, symbol: str, variant: str) -> bool:
        return self._hub.wants("public", self._names[symbol][variant])

    def _flush_chain(
        self, symbol: str, variant: str, chain: _Chain | None, wanted: bool, now: Sides, now_ms: int
    ) -> None:
        if chain is None:
            self._chains[symbol, variant] = _Chain(now, self._draw_id(), now_ms)
            return
        if wanted:
            chain.wanted_ms = now_ms
        elif now_ms - chain.wanted_ms > IDLE_MS_MAX:
            del self._chains[symbol, variant]
            return
        changed = [
            {
                **{price: size for price, size in new.items() if old.get(price) != size},
                **{price: Decimal(0) for price in (*old, *shown) if price not in new},
                **{price: new[price] for price, size in shown.items() if new.get(price, size) != size},
            }
            for new, old, shown in zip(now, chain.sent, chain.shown, strict=True)
        ]
        if not any(changed):
            return
        ids = (chain.last_id + 1, self._draw_id(), chain.last_id)
        chain.sent, chain.last_id, chain.shown = now, ids[1], ({}, {})
        if wanted:
            bids, asks = (self._rows(symbol, side) for side in changed)
            self._publish(symbol, variant, payloads.depth(symbol, ids, bids, asks, now_ms), False)

    def _publish_partial(self, symbol: str, variant: str, market: Market, levels: int, now_ms: int) -> None:
        tick = self._rules[symbol].price.step
        bids, asks = (
            self._rows(symbol, dict(islice(matching.shown(market, side, tick), levels)))
            for side in ("SELL", "BUY")
        )
        number = self._draw_id()
        previous = self._partial_ids.get((symbol, variant), number - 1)
        self._partial_ids[symbol, variant] = number
        ids = (previous + 1, number, previous)
        self._publish(symbol, variant, payloads.depth(symbol, ids, bids, asks, now_ms), True)

    def _publish(self, symbol: str, variant: str, payload: payloads.Payload, conflate: bool) -> None:
        self.events += 1
        self._hub.publish("public", self._names[symbol][variant], payloads.encode(payload), conflate)

    def _begin(self, market: Market, now_ms: int) -> _Chain:
        return _Chain(self._sides(market), self._draw_id(), now_ms)

    def _sides(self, market: Market) -> Sides:
        tick = self._rules[market.symbol].price.step
        return dict(matching.shown(market, "SELL", tick)), dict(matching.shown(market, "BUY", tick))

    def _rows(self, symbol: str, levels: Mapping[Decimal, Decimal]) -> Rows:
        info = self._rules[symbol].info
        places, lots = info.price_precision, info.quantity_precision
        return [(f"{price:.{places}f}", f"{size:.{lots}f}") for price, size in levels.items()]
