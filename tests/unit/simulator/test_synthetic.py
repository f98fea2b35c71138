"""Synthetic markets: the same for the same seed, each regime with its character, playable without a seam."""

from __future__ import annotations

import statistics
from decimal import Decimal as D
from itertools import pairwise

import pytest

from pms.simulator.config import Fees
from pms.simulator.core import Engine
from pms.simulator.errors import SimulatorError
from pms.simulator.feed import Feed
from pms.simulator.hub import Hub
from pms.simulator.synthetic import SyntheticConfig, SyntheticSource, parse_schedule
from pms.simulator.ticks import MARK, QUOTE, TRADE, Tick
from tests.unit.simulator.market_support import NOW, RULES

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def _source(schedule: str, seed: int = 7, symbols: tuple[str, ...] = SYMBOLS) -> SyntheticSource:
    return SyntheticSource(SyntheticConfig(seed, symbols, parse_schedule(schedule)), RULES)


def _ticks(source: SyntheticSource, kind: int, symbol: str, seconds: float) -> list[Tick]:
    return [t for t in source.between(0, seconds * 1000) if (t.kind, t.symbol) == (kind, symbol)]


def _mids(source: SyntheticSource, symbol: str, seconds: float) -> list[float]:
    return [(float(t.a) + float(t.c)) / 2 for t in _ticks(source, QUOTE, symbol, seconds)]


def test_a_seed_decides_everything_whatever_is_asked_first() -> None:
    schedule = "calm:5,gap:5,crash:5"
    once = list(_source(schedule).between(0, 30_000))
    pieces = _source(schedule)
    again = [
        t for start in range(29_000, -1, -1000) for t in reversed(list(pieces.between(start, start + 1000)))
    ]
    assert once == again[::-1]
    assert once != list(_source(schedule, seed=8).between(0, 30_000))


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_every_tick_passes_the_filters(symbol: str) -> None:
    source, rules = _source("calm:5,crash:20"), RULES[symbol]
    for quote in _ticks(source, QUOTE, symbol, 25):
        bid, size, ask = D(quote.a), D(quote.b), D(quote.c)
        assert bid < ask
        assert not (bid - rules.price.low) % rules.price.step
        assert not (ask - rules.price.low) % rules.price.step
        assert size >= rules.lot.low
        assert not size % rules.lot.step
    for trade in _ticks(source, TRADE, symbol, 25):
        assert not D(trade.b) % rules.lot.step
        assert trade.c in ("", "m")


def _spread(source: SyntheticSource, symbol: str) -> float:
    quotes = _ticks(source, QUOTE, symbol, 20)
    return statistics.fmean((float(q.c) - float(q.a)) / float(q.a) for q in quotes)


def test_each_regime_has_its_character() -> None:
    made = {name: _source(f"{name}:60") for name in ("calm", "trend", "-trend", "gap", "crash")}
    moved = {name: _mids(s, "BTCUSDT", 60)[-1] / _mids(s, "BTCUSDT", 60)[0] - 1 for name, s in made.items()}
    assert abs(moved["calm"]) < 0.005
    assert 0.01 < moved["trend"] < 0.04
    assert -0.04 < moved["-trend"] < -0.01
    crashed = _mids(made["crash"], "BTCUSDT", 60)
    assert min(crashed) / crashed[0] < 0.85
    assert crashed[-1] > min(crashed) * 1.02
    assert _spread(made["calm"], "BTCUSDT") < 0.0001 < _spread(made["gap"], "BTCUSDT")
    assert len(_ticks(made["crash"], TRADE, "BTCUSDT", 20)) > 5 * len(
        _ticks(made["calm"], TRADE, "BTCUSDT", 20)
    )


def test_a_gap_is_one_jump() -> None:
    mids = _mids(_source("calm:10,gap:10"), "ETHUSDT", 20)
    steps = [later / earlier - 1 for earlier, later in pairwise(mids)]
    assert min(steps) < -0.04
    assert sorted(steps)[1] > -0.01


def test_symbols_move_together() -> None:
    source = _source("calm:300")
    returns = [
        [later / earlier - 1 for earlier, later in pairwise(_mids(source, symbol, 300)[::10])]
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    assert 0.4 < statistics.correlation(*returns) < 0.9


def test_it_is_played_forwards_and_backwards_without_a_seam() -> None:
    source = _source("trend:10,crash:10")
    assert source.loop_ms == 40_000
    for edge in (20_000, 40_000):
        around = [float(t.a) for t in source.between(edge - 300, edge + 300) if t[:2] == (QUOTE, "BTCUSDT")]
        assert max(around) / min(around) < 1.02


def test_a_feed_plays_it_with_marks_index_and_funding() -> None:
    source = _source("calm:30")
    engine = Engine({s: RULES[s] for s in SYMBOLS}, Fees())
    feed = Feed(engine, Hub(), [source], {}, NOW, 1.0)
    feed.prime(NOW)
    for step in range(1, 300):
        feed.advance(NOW + step * 20)
    view = feed.mark_event(engine.markets["ETHUSDT"], NOW + 6000)
    assert 0.99 < float(view.mark_price) / float(engine.markets["ETHUSDT"].mid) < 1.01
    assert view.index_price != view.mark_price
    assert abs(float(view.funding_rate)) <= 0.0075
    assert len(feed.tapes["BTCUSDT"].trades) > 5
    assert len(_ticks(source, MARK, "BTCUSDT", 30)) == 30


@pytest.mark.parametrize(
    ("schedule", "symbols", "message"),
    [
        ("storm:10", SYMBOLS, "Regimes: calm"),
        ("calm", SYMBOLS, "like calm:120"),
        ("calm:0", SYMBOLS, "like calm:120"),
        ("calm:10", ("NOPEUSDT",), "NOPEUSDT"),
        ("calm:90000", SYMBOLS, "86400"),
    ],
)
def test_what_cannot_be_made_is_named(schedule: str, symbols: tuple[str, ...], message: str) -> None:
    with pytest.raises(SimulatorError, match=message):
        _source(schedule, symbols=symbols)
