"""Made-up markets from a seed: calm, trend, gap and crash; correlated symbols, a tape, marks, funding.

A schedule of regimes is walked once and then played forwards and backwards in turn, so that it has no seam.
The path of the prices is drawn at the start; what happens within a step of 100 ms is drawn from seed, symbol
and step alone, so that any moment looks the same whenever it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random

from pms.simulator.candles import Candle, LoopCandles
from pms.simulator.errors import SimulatorError
from pms.simulator.rules import SymbolRules
from pms.simulator.ticks import MARK, QUOTE, TRADE, DepthTick, Tick

STEP_MS = 100
SECONDS_MAX = 86_400
CORRELATION = 0.65
INDEX_SECONDS = 5.0
PRICES = {
    "BTCUSDT": 60_000.0,
    "ETHUSDT": 3_000.0,
    "BNBUSDT": 600.0,
    "SOLUSDT": 150.0,
    "XRPUSDT": 0.6,
    "DOGEUSDT": 0.12,
    "ADAUSDT": 0.45,
    "LTCUSDT": 80.0,
}


@dataclass(frozen=True, slots=True)
class Regime:
    """How a market behaves.

    `volatility` is the standard deviation of one second's return, `drift` the return of the whole regime,
    spread over it (`jump`: at once, at its start); both as fractions. `rebound` is the part of the drift that
    comes back in its last third. `spread` is a fraction of the price, `depth` the quote's value in USDT,
    `trades` their number in a second.
    """

    volatility: float
    drift: float
    spread: float
    depth: float
    trades: float
    jump: bool = False
    rebound: float = 0.0


REGIMES: dict[str, Regime] = {
    "calm": Regime(0.00008, 0.0, 0.00001, 250_000.0, 4.0),
    "trend": Regime(0.00015, 0.02, 0.00002, 150_000.0, 12.0),
    "gap": Regime(0.0004, -0.06, 0.0008, 30_000.0, 20.0, jump=True),
    "crash": Regime(0.0015, -0.25, 0.0015, 12_000.0, 40.0, rebound=0.4),
}


@dataclass(frozen=True, slots=True)
class SyntheticConfig:
    """A synthetic market: seed, symbols (native names), and the regimes with their lengths in seconds.

    A regime name with a minus sign (`-trend`) goes the other way. `prices` are opening prices; symbols
    without one open at a usual price.
    """

    seed: int = 1
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    schedule: tuple[tuple[str, int], ...] = (("calm", 120), ("trend", 120), ("gap", 60), ("crash", 90))
    prices: Mapping[str, float] | None = None


def parse_schedule(text: str) -> tuple[tuple[str, int], ...]:
    """Read `calm:120,-trend:60,crash:30`. Raises `SimulatorError` naming the part that is wrong."""
    schedule = []
    for part in text.split(","):
        name, _, seconds = part.strip().partition(":")
        if name.removeprefix("-") not in REGIMES or not seconds.isdigit() or not int(seconds):
            known = ", ".join(sorted(REGIMES))
            raise SimulatorError(f"'{part}' is no regime with its seconds, like calm:120. Regimes: {known}.")
        schedule.append((name, int(seconds)))
    return tuple(schedule)


class SyntheticSource:
    """The ticks of a synthetic market."""

    modelled: bool = True
    kind: str = "synthetic"

    def __init__(self, config: SyntheticConfig, rules: Mapping[str, SymbolRules]) -> None:
        missing = sorted(set(config.symbols) - set(rules))
        seconds = sum(length for _, length in config.schedule)
        if missing or not config.symbols:
            raise SimulatorError(f"A synthetic market needs symbols of exchangeInfo; unknown: {missing}.")
        if not 0 < seconds <= SECONDS_MAX:
            raise SimulatorError(f"A synthetic market lasts 1 to {SECONDS_MAX} s, not {seconds} s.")
        self.path = Path(f"synthetic-{config.seed}")
        self.symbols = tuple(config.symbols)
        self.recorded_marks = self.quoted = frozenset(config.symbols)
        self.deep: frozenset[str] = frozenset()
        self._seed = config.seed
        self._rules = {symbol: rules[symbol] for symbol in config.symbols}
        self._regimes = _regimes_of(config.schedule)
        self._steps = len(self._regimes)
        self.loop_ms = 2 * self._steps * STEP_MS
        self._prices = _paths(config, self._rules, self._regimes)
        self._index = {symbol: _smoothed(path) for symbol, path in self._prices.items()}
        self.history = {symbol: _history(path) for symbol, path in self._prices.items()}

    def between(self, start_ms: float, end_ms: float) -> Iterator[Tick]:
        """Yield the ticks of every step in the span: a quote and trades, and each second a mark."""
        step = math.ceil(start_ms / STEP_MS)
        while step * STEP_MS < end_ms:
            place = step % (2 * self._steps)
            place = place if place < self._steps else 2 * self._steps - 1 - place
            for symbol in self.symbols:
                yield from self._step(symbol, place, step)
                if step % 10 == 0:
                    yield self._mark(symbol, place)
            step += 1

    def books_at(self, position_ms: float) -> Iterator[DepthTick]:
        """A synthetic market has quotes and trades only; the ladder stands behind them."""
        return iter(())

    def _step(self, symbol: str, place: int, step: int) -> Iterator[Tick]:
        draw = Random(f"{self._seed}:{symbol}:{step}")  # noqa: S311 - a market, no secret
        rules, regime = self._rules[symbol], self._regimes[place]
        price = self._prices[symbol][place]
        tick = rules.price.step
        wide = max(1, round(price * regime.spread * draw.lognormvariate(0, 0.3) / float(tick)))
        bid = (Decimal(repr(price)) / tick).to_integral_value() * tick
        ask = bid + wide * tick
        sizes = [self._lots(rules, regime.depth * draw.lognormvariate(0, 0.6) / price) for _ in range(2)]
        yield Tick(QUOTE, symbol, f"{bid:f}", f"{sizes[0]:f}", f"{ask:f}", f"{sizes[1]:f}")
        before = self._prices[symbol][max(0, place - 1)]
        buying = 0.5 + max(-0.4, min(0.4, (price / before - 1) / (regime.volatility or 1e-9) / 2))
        for _ in range(_poisson(draw, regime.trades * STEP_MS / 1000)):
            bought = draw.random() < buying
            value = min(regime.depth, 400.0 * draw.paretovariate(1.3))
            quantity = self._lots(rules, value / price)
            yield Tick(
                TRADE, symbol, f"{ask if bought else bid:f}", f"{quantity:f}", "" if bought else "m", ""
            )

    @staticmethod
    def _lots(rules: SymbolRules, quantity: float) -> Decimal:
        lots = (Decimal(repr(round(quantity, 8))) / rules.lot.step).to_integral_value() * rules.lot.step
        return min(max(lots, rules.lot.low), rules.lot.high)

    def _mark(self, symbol: str, place: int) -> Tick:
        price, index = self._prices[symbol][place], self._index[symbol][place]
        premium = price / index - 1
        rate = max(-0.0075, min(0.0075, premium + max(-0.0005, min(0.0005, 0.0001 - premium))))
        mark = index * (1 + premium / 3)
        return Tick(MARK, symbol, f"{mark:.8f}", f"{index:.8f}", f"{index:.8f}", f"{rate:.8f}")


def _regimes_of(schedule: Sequence[tuple[str, int]]) -> list[Regime]:
    """Return the regime of every step. Raises `SimulatorError` for an unknown one."""
    steps: list[Regime] = []
    for name, seconds in schedule:
        known = REGIMES.get(name.removeprefix("-"))
        if known is None:
            raise SimulatorError(f"There is no regime {name}. Known: {', '.join(sorted(REGIMES))}.")
        steps += [known] * (seconds * 1000 // STEP_MS)
    return steps


def _drifts(schedule: Sequence[tuple[str, int]]) -> list[float]:
    """Return the logarithmic drift of every step."""
    drifts: list[float] = []
    for name, seconds in schedule:
        regime = REGIMES[name.removeprefix("-")]
        total = math.log1p(regime.drift if not name.startswith("-") else -regime.drift)
        count = seconds * 1000 // STEP_MS
        if regime.jump:
            drifts += [total] + [0.0] * (count - 1)
            continue
        last = count // 3 if regime.rebound else 0
        back = total * regime.rebound
        drifts += [total / (count - last)] * (count - last) + ([-back / last] * last if last else [])
    return drifts


def _paths(
    config: SyntheticConfig, rules: Mapping[str, SymbolRules], regimes: Sequence[Regime]
) -> dict[str, list[float]]:
    """Draw the prices of every symbol at every step: one common shock, and one of each symbol's own."""
    drifts = _drifts(config.schedule)
    common = Random(f"{config.seed}:market")  # noqa: S311
    shocks = [common.gauss(0, 1) for _ in regimes]
    paths: dict[str, list[float]] = {}
    for symbol in config.symbols:
        own = Random(f"{config.seed}:{symbol}:path")  # noqa: S311
        beta = 0.8 + 0.4 * own.random()
        level = math.log((config.prices or {}).get(symbol) or _usual_price(symbol, rules[symbol]))
        path = []
        for regime, drift, shock in zip(regimes, drifts, shocks, strict=True):
            noise = math.sqrt(CORRELATION) * shock + math.sqrt(1 - CORRELATION) * own.gauss(0, 1)
            level += beta * drift + regime.volatility * math.sqrt(STEP_MS / 1000) * noise
            path.append(math.exp(level))
        paths[symbol] = path
    return paths


def _usual_price(symbol: str, rules: SymbolRules) -> float:
    return PRICES.get(symbol) or min(float(rules.price.step) * 20_000, float(rules.price.high) / 10)


def _smoothed(path: Sequence[float]) -> list[float]:
    share = STEP_MS / 1000 / INDEX_SECONDS
    level, result = path[0], []
    for price in path:
        level += (price - level) * share
        result.append(level)
    return result


def _history(path: Sequence[float]) -> LoopCandles:
    """Return candles of one second, forwards and backwards as the market is played."""
    size = 1000 // STEP_MS
    seconds = [path[i : i + size] for i in range(0, len(path), size)]
    candles = [Candle(part[0], max(part), min(part), part[-1], 1.0, size) for part in seconds]
    return LoopCandles([*candles, *(candle.reversed() for candle in reversed(candles))], 1000)


def _poisson(draw: Random, mean: float) -> int:
    limit, product, count = math.exp(-mean), draw.random(), 0
    while product > limit and count < 200:
        product *= draw.random()
        count += 1
    return count
