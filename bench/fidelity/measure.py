"""Sends orders to a simulated exchange while it replays a recording, and compares them with the tape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from pathlib import Path

from bench.fidelity import tape as recorded
from pms.simulator.config import Fees
from pms.simulator.core import Engine
from pms.simulator.errors import Reject
from pms.simulator.feed import Feed
from pms.simulator.hub import Hub
from pms.simulator.order_params import parse_order
from pms.simulator.recordings_index import reference_info, reference_rules
from pms.simulator.replay import Source, load
from pms.simulator.rules import SymbolRules
from pms.simulator.state import Account, Order

NOW = 1_795_000_000_000
WARM_UP_MS = 1000
PASSIVE_MS = 20_000
PASSIVE_EVERY_MS = 500
PASSIVE_DEPTHS = (0, 1, 3)
WALLET = Decimal(10**10)


@dataclass(slots=True)
class Aggressive:
    """What became of orders sent beside the tape's own takers, each of at most the displayed quantity.

    `ticks` counts orders by the worst distance of their fills from the best opposite quote, in ticks; `short`
    the orders that did not fill whole; `small` those not sent, because the quote displays less than the
    smallest order; `tape_ticks` the same distance of the tape's own trades.
    """

    orders: int = 0
    short: int = 0
    small: int = 0
    ticks: Counter[int] = field(default_factory=Counter)
    tape_ticks: Counter[int] = field(default_factory=Counter)

    @property
    def share(self) -> float:
        """Share of orders filled whole at exactly the best opposite quote."""
        return (self.ticks[0] - self.short) / self.orders if self.orders else 0.0


@dataclass(slots=True)
class PassiveOrder:
    """One resting order beside its bounds; times in ms after it was placed, None when it never filled."""

    symbol: str
    filled: int | None
    front: int | None
    back: int | None
    inside: bool


@dataclass(slots=True)
class Result:
    """The figures of one recording. Each order of `aggressive` finds what the exchange displayed; those of
    `in_sequence` find what the ones before them have left of it."""

    path: Path
    symbols: tuple[str, ...]
    deep: bool
    seconds: float
    aggressive: Aggressive = field(default_factory=Aggressive)
    in_sequence: Aggressive = field(default_factory=Aggressive)
    passive: list[PassiveOrder] = field(default_factory=list)


class Replay:
    """A simulated exchange without clock and sockets, moved through a recording ms by ms."""

    def __init__(self, source: Source, rules: dict[str, SymbolRules], queue_model: str) -> None:
        self.engine = Engine(rules, Fees(), queue_model=queue_model)
        self.feed = Feed(self.engine, Hub(), [source], {}, NOW, 1.0)
        self.engine.trading_rules.orders_min = 10**9  # an experiment is no client's behaviour
        self.account: Account = self.engine.open_account("key", "secret", WALLET, NOW)
        self.feed.prime(NOW)
        for symbol in rules:
            self.engine.set_leverage(self.account, symbol, 1, NOW)
        self._ms = 0

    def advance(self, ms: int) -> None:
        """Play everything received before `ms`."""
        while self._ms < ms:
            self._ms = min(ms, self._ms + 1000)
            self.feed.advance(NOW + self._ms)
        if self.engine.dirty:
            self.engine.drain()

    def place(
        self, symbol: str, side: str, quantity: Decimal, price: Decimal | None = None
    ) -> Order | Reject:
        """Place a MARKET order, or a post-only one at a price."""
        params = {"symbol": symbol, "side": side, "type": "MARKET", "quantity": f"{quantity:f}"}
        if price is not None:
            params |= {"type": "LIMIT", "timeInForce": "GTX", "price": f"{price:f}"}
        new = parse_order(params, self.engine.rules)
        if isinstance(new, Reject):
            return new
        return self.engine.place(self.account, new, NOW + self._ms)


def measure(path: Path, seconds: float = 1e9, queue_model: str = "power") -> Result:
    """Measure one recording (its first `seconds`)."""
    every = reference_rules(reference_info())
    source = load(path, every)
    tapes = {s: t for s, t in recorded.read(path, seconds).items() if s in source.symbols}
    rules = {symbol: every[symbol] for symbol in source.symbols}
    last = max((tape.events[-1].ms for tape in tapes.values() if tape.events), default=0)
    result = Result(path, source.symbols, bool(source.deep), last / 1000)
    _aggressive(Replay(source, rules, queue_model), tapes, result.aggressive, alone=True)
    _aggressive(Replay(source, rules, queue_model), tapes, result.in_sequence, alone=False)
    _passive(Replay(source, rules, queue_model), tapes, result.passive, last)
    return result


def _lots(quantity: Decimal, rules: SymbolRules) -> Decimal:
    step = rules.market_lot.step or rules.lot.step
    return (quantity / step).to_integral_value(ROUND_DOWN) * step


# -- aggressive


def _bursts(tapes: dict[str, recorded.SymbolTape]) -> Iterator[tuple[int, str, str, list[recorded.Trade]]]:
    """Yield the tape's takers in order of time: trades of one symbol, side and ms count as one order."""
    groups: dict[tuple[int, str, str], list[recorded.Trade]] = {}
    for symbol, tape in tapes.items():
        for event in tape.events:
            if isinstance(event, recorded.Trade) and event.ms >= WARM_UP_MS:
                side = "SELL" if event.buyer_is_maker else "BUY"
                groups.setdefault((event.ms, symbol, side), []).append(event)
    for (ms, symbol, side), trades in sorted(groups.items()):
        yield ms, symbol, side, trades


def _aggressive(
    replay: Replay, tapes: dict[str, recorded.SymbolTape], result: Aggressive, *, alone: bool
) -> None:
    """Send an order beside each taker.

    `alone` gives back first what earlier orders took: none of ours was on the tape.
    """
    shown = {symbol: recorded.Displayed(tape) for symbol, tape in tapes.items()}
    for ms, symbol, side, trades in _bursts(tapes):
        replay.advance(ms)
        shown[symbol].advance(ms)
        quote, rules = shown[symbol].quote, replay.engine.rules[symbol]
        if quote is None:
            continue
        best, size = (quote.ask, quote.ask_quantity) if side == "BUY" else (quote.bid, quote.bid_quantity)
        sign = 1 if side == "BUY" else -1
        result.tape_ticks[int((trades[0].price - best) * sign / rules.price.step)] += 1
        wanted = sum((trade.quantity for trade in trades), Decimal(0))
        quantity = _lots(min(wanted, size, rules.market_lot.high), rules)
        if quantity * best < rules.min_notional * Decimal("1.01"):
            quantity = _lots(min(size, rules.market_lot.high), rules)
        if quantity <= 0 or quantity * best < rules.min_notional * Decimal("1.01"):
            result.small += 1
            continue
        if alone:
            replay.engine.markets[symbol].taken.clear()
        _take(replay, (symbol, side, quantity, best, sign), result)


def _take(replay: Replay, wanted: tuple[str, str, Decimal, Decimal, int], result: Aggressive) -> None:
    symbol, side, quantity, best, sign = wanted
    first = replay.engine.next_trade_id.get(symbol, 0)
    order = replay.place(symbol, side, quantity)
    if isinstance(order, Reject):
        raise RuntimeError(f"The simulator refused {side} {quantity} {symbol}: {order}")
    step = replay.engine.rules[symbol].price.step
    fills = replay.engine.trades_of(replay.account, symbol, first)
    result.orders += 1
    result.ticks[max((int((f.price - best) * sign / step) for f in fills), default=0)] += 1
    result.short += order.executed != quantity


# -- passive


@dataclass(slots=True)
class _Resting:
    order: Order
    ahead: Decimal
    start: int
    curve: recorded.Curve


def _passive(
    replay: Replay, tapes: dict[str, recorded.SymbolTape], found: list[PassiveOrder], last: int
) -> None:
    """Keep one post-only order at each of some distances from the best, on both sides of every symbol."""
    shown = {symbol: recorded.Displayed(tape) for symbol, tape in tapes.items()}
    slots: dict[tuple[str, str, int], _Resting] = {}
    due: dict[tuple[str, str, int], int] = {}
    moments = sorted({event.ms for tape in tapes.values() for event in tape.events})
    for ms in moments:
        replay.advance(ms)
        for slot in [(s, side, d) for s in tapes for side in ("BUY", "SELL") for d in PASSIVE_DEPTHS]:
            if slot not in slots and max(WARM_UP_MS, due.get(slot, 0)) <= ms <= last - 1000:
                shown[slot[0]].advance(ms)
                resting = _rest(replay, shown[slot[0]], slot, ms)
                if resting is not None:
                    slots[slot] = resting
                    due[slot] = (ms // PASSIVE_EVERY_MS + 1) * PASSIVE_EVERY_MS
        replay.advance(ms + 1)
        for slot, resting in list(slots.items()):
            if resting.order.executed != resting.curve[-1][1]:
                resting.curve.append((ms, resting.order.executed))
            if not resting.order.is_open or ms - resting.start >= PASSIVE_MS:
                _end(replay, tapes[slot[0]], slot, resting, ms, found)
                del slots[slot]
    for slot, resting in slots.items():
        _end(replay, tapes[slot[0]], slot, resting, last, found)


def _rest(replay: Replay, shown: recorded.Displayed, slot: tuple[str, str, int], ms: int) -> _Resting | None:
    symbol, side, distance = slot
    rules, quote = replay.engine.rules[symbol], shown.quote
    if quote is None:
        return None
    best = quote.bid if side == "BUY" else quote.ask
    price = best - distance * rules.price.step * (1 if side == "BUY" else -1)
    ahead = shown.at(side, price)
    own = replay.engine.open_orders_of(replay.account, symbol)
    if ahead is None or any(o.side == side and o.price == price for o in own):
        return None  # two own orders at one price would share trades, and the bounds know one order only
    least = (rules.min_notional * Decimal("1.1") / price / rules.lot.step).to_integral_value() + 1
    order = replay.place(symbol, side, max(least * rules.lot.step, rules.lot.low), price)
    if isinstance(order, Reject):
        return None
    return _Resting(order, ahead, ms, [(ms - 1, Decimal(0))])


def _end(
    replay: Replay,
    tape: recorded.SymbolTape,
    slot: tuple[str, str, int],
    resting: _Resting,
    ms: int,
    found: list[PassiveOrder],
) -> None:
    order = resting.order
    if order.is_open:
        replay.engine.cancel(replay.account, order, NOW + ms)
    span = (resting.start, ms)
    front, back = recorded.bounds(tape, slot[1], order.price, order.quantity, resting.ahead, span)
    inside = all(
        recorded.value_at(back, moment)
        <= recorded.value_at(resting.curve, moment)
        <= recorded.value_at(front, moment)
        for moment in {m for curve in (front, back, resting.curve) for m, _ in curve}
    )
    times = [recorded.filled_ms(curve, order.quantity) for curve in (resting.curve, front, back)]
    filled, first, latest = (None if t is None else t - resting.start for t in times)
    found.append(PassiveOrder(slot[0], filled, first, latest, inside))
