"""Recordings: loops, stamping to now, modelled candles and marks, damaged files."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal as D
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pms.simulator import RECORDINGS, SimulatorError, recording, recordings
from pms.simulator.config import Fees
from pms.simulator.core import Engine
from pms.simulator.feed import CANDLE_PHASE_MS, Feed
from pms.simulator.hub import Hub
from pms.simulator.replay import QUOTE, TRADE, Source, Tick, load
from pms.simulator.ticks import DepthTick
from tests.unit.simulator.market_support import NOW, RULES


def _frame(kind: str, offset_ms: int, **data: Any) -> bytes:
    body = {"stream": "x", "data": {"e": kind, "s": "BTCUSDT", "E": 1, "T": 1, **data}}
    return json.dumps({"recv_ns": 10**18 + offset_ms * 10**6, "frame": body}).encode() + b"\n"


def _quote(offset_ms: int, bid: str = "100.0", ask: str = "100.1") -> bytes:
    return _frame("bookTicker", offset_ms, u=offset_ms + 1, b=bid, B="1", a=ask, A="2")


def _file(folder: Path, *lines: bytes, name: str = "ticks.jsonl.gz") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(b"".join(lines)))
    return path


class Listener:
    """Collects what the hub publishes."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def push_market(self, stream: str, payload: bytes, conflate: bool) -> None:
        self.messages.append(json.loads(payload))

    def push_user(self, key: str, payload: bytes) -> None:
        raise AssertionError("no private events here")

    def key_ended(self, key: str) -> None:
        raise AssertionError("no listen keys here")


def _feed(*sources: Source, speed: float = 1.0) -> tuple[Feed, Listener]:
    symbols = {s for source in sources for s in source.symbols}
    hub, listener = Hub(), Listener()
    for symbol in symbols:
        hub.subscribe(listener, "public", f"{symbol.lower()}@bookTicker")
        hub.subscribe(listener, "market", f"{symbol.lower()}@markPrice@1s")
    engine = Engine({s: RULES[s] for s in symbols}, Fees())
    return Feed(engine, hub, sources, {}, NOW, speed), listener


def test_ticks_loop_without_a_gap(tmp_path: Path) -> None:
    source = load(_file(tmp_path, _quote(0), _quote(400), _quote(999)), RULES)
    assert source.loop_ms == 1000
    assert len(list(source.between(0, 1000))) == 3
    assert len(list(source.between(-2500, 2500))) == 15
    assert len(list(source.between(399, 401))) == 1
    split = [t for start in range(0, 5000, 7) for t in source.between(start, min(start + 7, 5000))]
    assert len(split) == 15


def test_replay_is_stamped_to_now_with_growing_ids(tmp_path: Path) -> None:
    lines = [
        _quote(ms, bid=f"{100 + ms / 1000:.1f}", ask=f"{101 + ms / 1000:.1f}") for ms in range(0, 1000, 100)
    ]
    lines.append(_quote(999))
    feed, listener = _feed(load(_file(tmp_path, *lines), RULES), speed=2.0)
    feed.prime(NOW)
    for step in range(1, 151):
        feed.advance(NOW + step * 20)
    quotes = [message for message in listener.messages if message["e"] == "bookTicker"]
    assert 66 <= len(quotes) <= 68  # 6 loops of eleven quotes, and the opening quote
    assert all(a["u"] < b["u"] and a["E"] <= b["E"] for a, b in pairwise(quotes))
    assert quotes[0]["E"] >= NOW
    assert quotes[-1]["T"] <= NOW + 3000


def test_mark_is_the_average_of_the_mid_where_none_was_recorded(tmp_path: Path) -> None:
    lines = [_quote(0, "100.0", "101.0"), _quote(500, "200.0", "201.0"), _quote(999, "200.0", "201.0")]
    feed, listener = _feed(load(_file(tmp_path, *lines), RULES))
    feed.prime(NOW)
    for step in range(1, 52):
        feed.advance(NOW + step * 20)
    marks = [D(message["p"]) for message in listener.messages if message["e"] == "markPriceUpdate"]
    assert marks[-1] == ((D("100.5") + D("200.5") * 2) / 3).quantize(D("0.00000001"))
    assert "BTCUSDT" not in feed.recorded_marks


def test_recorded_marks_are_used(tmp_path: Path) -> None:
    feed, _ = _feed(load(recording("funding"), RULES))
    feed.prime(NOW)
    assert feed.recorded_marks == {"BTCUSDT"}
    for step in range(1, 100):
        feed.advance(NOW + step * 20)
    mark = feed.mark_event(feed._engine.markets["BTCUSDT"], NOW)
    assert D("28138") < D(mark.mark_price) < D("28159")
    assert mark.index_price != mark.mark_price
    assert mark.funding_rate == "0.00002754"


def test_stall_is_skipped_not_caught_up(tmp_path: Path) -> None:
    lines = [_quote(ms) for ms in range(0, 1000, 10)]
    feed, listener = _feed(load(_file(tmp_path, *lines), RULES))
    feed.prime(NOW)
    before = len(listener.messages)
    feed.advance(NOW + 3_600_000)
    assert len(listener.messages) - before <= 204
    assert feed.skipped_ms == 3_600_000 - 2000


def test_candles_become_quotes_that_pass_the_filters() -> None:
    source = load(recording("crash"), RULES)
    assert source.modelled
    assert source.symbols == ("BNBUSDT", "LAYERUSDT", "SOLUSDT", "XRPUSDT")
    start = 1920 * 60_000.0
    seen: dict[str, list[tuple[D, D]]] = {}
    for tick in source.between(start, start + 3_600_000):
        if isinstance(tick, Tick) and tick.kind == QUOTE:
            rules = RULES[tick.symbol]
            bid, size, ask = D(tick.a), D(tick.b), D(tick.c)
            assert ask - bid == rules.price.step
            assert (bid - rules.price.low) % rules.price.step == 0
            assert size > 0
            assert size % rules.lot.step == 0
            seen.setdefault(tick.symbol, []).append((bid, ask))
    assert len(seen["LAYERUSDT"]) == 3600 * 4
    layer = [bid for bid, _ in seen["LAYERUSDT"]]
    assert layer[0] == D("2.2451")
    assert min(layer) == pytest.approx(D("1.8919"), abs=D("0.01"))


def test_candle_loop_has_no_seam() -> None:
    source = load(recording("crash"), RULES)
    for edge in (source.loop_ms / 2, source.loop_ms):
        prices = [
            float(t.a)
            for t in source.between(edge - 1000, edge + 1000)
            if isinstance(t, Tick) and t.kind == QUOTE and t.symbol == "LAYERUSDT"
        ]
        assert max(prices) / min(prices) < 1.001


def test_history_has_500_minutes_at_once_and_agrees_with_what_is_played() -> None:
    feed, _ = _feed(load(recording("calm"), RULES), load(recording("crash"), RULES))
    feed.prime(NOW)
    for symbol in ("BTCUSDT", "LAYERUSDT"):
        for minute in range(NOW - 500 * 60_000, NOW, 60_000):
            candle = feed.minute(symbol, minute // 60_000 * 60_000)
            assert candle is not None
            assert (
                candle.low <= min(candle.open, candle.close) <= max(candle.open, candle.close) <= candle.high
            )
    minute = (NOW // 60_000 + 2) * 60_000
    source = feed.source_of["BTCUSDT"]
    position = feed.position(source, minute)
    trades = [
        float(t.a)
        for t in source.between(position, position + 60_000)
        if isinstance(t, Tick) and t.kind == TRADE and t.symbol == "BTCUSDT"
    ]
    candle = feed.minute("BTCUSDT", minute)
    assert candle is not None
    assert candle.high == pytest.approx(max(trades), rel=1e-4)
    assert candle.low == pytest.approx(min(trades), rel=1e-4)


def test_pinned_quote_holds_until_release(tmp_path: Path) -> None:
    feed, _ = _feed(load(_file(tmp_path, *[_quote(ms) for ms in range(0, 1000, 100)]), RULES))
    feed.prime(NOW)
    market = feed._engine.markets["BTCUSDT"]
    feed.set_quote("BTCUSDT", D(50), D(51), D(1), D(1), NOW)
    feed.advance(NOW + 1500)
    assert (market.bid, market.mark) == (D(50), D("50.5"))
    feed.release("BTCUSDT")
    feed.advance(NOW + 3000)
    assert market.bid == D("100.0")
    for bid, ask in ((D("NaN"), D(1)), (D(2), D(1)), (D(0), D(1))):
        with pytest.raises(SimulatorError, match="impossible"):
            feed.set_quote("BTCUSDT", bid, ask, D(1), D(1), NOW)


DAMAGED: list[tuple[list[bytes], str]] = [
    ([_quote(0), b"{half a li\n"], "line 2"),
    ([_quote(0), _frame("bookTicker", 1, u=1, b="1", B="1", a="2")], "line 2"),
    ([_quote(0), _quote(1, bid="0")], "line 2: impossible quote"),
    ([_quote(0), _quote(1, bid="100.1", ask="100.1")], "line 2: impossible quote"),
    ([_quote(0, bid="nan")], "line 1: impossible quote"),
    ([_quote(5), _quote(4)], "line 2: recv_ns goes backwards"),
    ([], "holds no tick"),
]


@pytest.mark.parametrize(("lines", "message"), DAMAGED)
def test_damaged_ticks_name_file_and_line(tmp_path: Path, lines: list[bytes], message: str) -> None:
    with pytest.raises(SimulatorError, match=message) as caught:
        load(_file(tmp_path, *lines), RULES)
    assert "ticks.jsonl.gz" in str(caught.value)
    assert "\n" not in str(caught.value)


HEADER = b"open_time_ms,symbol,open,high,low,close,volume\n"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([b"a,b,c\n"], "line 1"),
        ([HEADER, b"0,BTCUSDT,1,2,0.5\n"], "line 2"),
        ([HEADER, b"0,BTCUSDT,1,2,1.5,1,10\n"], "line 2: impossible candle"),
        ([HEADER, b"0,BTCUSDT,1,2,nan,1,10\n"], "line 2: impossible candle"),
        (
            [HEADER, *(b"%d,BTCUSDT,1,2,1,1,10\n" % opened for opened in (0, 60_000, 180_000))],
            "line 4: BTCUSDT does not follow",
        ),
        ([HEADER, b"0,BTCUSDT,1,2,1,1,10\n", b"250,BTCUSDT,1,2,1,1,10\n"], "line 3"),
        ([HEADER, b"0,NOPEUSDT,1,2,1,1,10\n"], "holds no candle"),
    ],
)
def test_damaged_candles_name_file_and_line(tmp_path: Path, lines: list[bytes], message: str) -> None:
    with pytest.raises(SimulatorError, match=message):
        load(_file(tmp_path, *lines, name="candles.csv.gz"), RULES)


def test_cut_off_or_missing_file(tmp_path: Path) -> None:
    path = _file(tmp_path, *[_quote(ms) for ms in range(3000)])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(SimulatorError, match="damaged after line"):
        load(path, RULES)
    with pytest.raises(SimulatorError, match=r"absent.jsonl.gz"):
        load(tmp_path / "absent.jsonl.gz", RULES)
    with pytest.raises(SimulatorError, match="unknown format"):
        load(tmp_path / "ticks.txt", RULES)


def test_built_in_names() -> None:
    assert all(path.is_file() for name in RECORDINGS for path in recordings(name))
    with pytest.raises(SimulatorError, match="Known: calm"):
        recordings("stormy")
    with pytest.raises(SimulatorError, match="set of files"):
        recording("demo")
    assert load(recording("crash"), RULES).loop_ms > CANDLE_PHASE_MS


def test_other_kinds_of_events_are_passed_over(tmp_path: Path) -> None:
    lines = [
        b'{"recv_ns": 1, "rest_depth_symbol": "BTCUSDT", "response": {"bids": []}}\n',
        b'{"recv_ns": 2, "frame": {"stream": "x", "data": {"e": "depthUpdate", "s": "BTCUSDT"}}}\n',
        _quote(0),
        b'{"recv_ns": 3, "frame": {"stream": "x", "data": {"e": "kline", "k": {}}}}\n',
        _quote(5),
    ]
    source = load(_file(tmp_path, *lines), RULES)
    assert [tick.symbol for tick in source.between(0, source.loop_ms)] == ["BTCUSDT", "BTCUSDT"]


@pytest.mark.parametrize("minutes", [1, 3, 5])
def test_candles_of_any_interval_take_their_time(tmp_path: Path, minutes: int) -> None:
    rows = [
        b"%d,BTCUSDT,%d,%d,%d,%d,600\n" % (number * minutes * 60_000, price, price + 2, price - 2, price + 1)
        for number, price in enumerate((50_000, 50_001, 50_002))
    ]
    source = load(_file(tmp_path, HEADER, *rows, name="candles.csv.gz"), RULES)
    assert source.loop_ms == 2 * 3 * minutes * 60_000, "forwards and backwards"
    ticks = source.between(0, minutes * 60_000)
    quotes = [tick for tick in ticks if isinstance(tick, Tick) and tick.kind == QUOTE]
    assert len(quotes) == minutes * 240
    bids = [float(tick.a) for tick in quotes]
    assert min(bids) == pytest.approx(49_998, abs=0.2)
    assert max(bids) == pytest.approx(50_002, abs=0.2)


def _book(offset_ms: int, first: int, final: int, previous: int, bid: str = "99.0", size: str = "1") -> bytes:
    sides = {"b": [[bid, size]], "a": [["101.0", "2"]]}
    return _frame("depthUpdate", offset_ms, U=first, u=final, pu=previous, **sides)


def _snapshot(last: int) -> bytes:
    book = {"lastUpdateId": last, "bids": [["99.5", "3"], ["99.0", "1"]], "asks": [["100.5", "4"]]}
    line = {"recv_ns": 10**18, "rest_depth_symbol": "BTCUSDT", "response": book}
    return json.dumps(line).encode() + b"\n"


def test_depth_alone_tells_the_quotes(tmp_path: Path) -> None:
    lines = [_snapshot(10), _book(100, 5, 8, 4), _book(200, 9, 12, 8), _book(300, 13, 14, 12, "99.5", "0")]
    source = load(_file(tmp_path, *lines, name="ticks.depth.jsonl.gz"), RULES)
    assert (source.deep, source.quoted) == ({"BTCUSDT"}, set())
    assert [t.snapshot for t in source.between(0, 301) if isinstance(t, DepthTick)] == [True, False, False]
    feed, listener = _feed(source)
    feed.prime(NOW)
    market = feed._engine.markets["BTCUSDT"]
    feed.advance(NOW + 250)
    assert (market.bid, market.bid_quantity, market.ask) == (D("99.5"), D(3), D("100.5"))
    feed.advance(NOW + 301)
    assert (market.bid, market.ask) == (D("99.0"), D("100.5"))
    assert [m["b"] for m in listener.messages if m["e"] == "bookTicker"][-1] == "99"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([_snapshot(10), _book(100, 11, 12, 9)], "line 2: BTCUSDT has a gap after its snapshot"),
        ([_snapshot(10), _book(100, 9, 12, 8), _book(200, 14, 15, 13)], "line 3: BTCUSDT has a gap: pu 13"),
        ([_snapshot(10), _book(100, 9, 12, 8), b"{half\n"], "line 3"),
        ([_book(5, 1, 2, 0), _book(4, 3, 4, 2)], "line 2: recv_ns goes backwards"),
    ],
)
def test_damaged_depth_names_file_and_line(tmp_path: Path, lines: list[bytes], message: str) -> None:
    _file(tmp_path, *lines, name="ticks.depth.jsonl.gz")
    with pytest.raises(SimulatorError, match=message) as caught:
        load(_file(tmp_path, _quote(0), _quote(9)), RULES)
    assert "ticks.depth.jsonl.gz" in str(caught.value)


def test_depth_without_a_snapshot_is_no_book(tmp_path: Path) -> None:
    _file(tmp_path, _book(0, 1, 2, 0), _book(1, 3, 4, 2), name="ticks.depth.jsonl.gz")
    path = _file(tmp_path, _quote(0), _quote(9))
    assert load(path, RULES).deep == frozenset()
    assert load(path, RULES, depth=False).deep == frozenset()
