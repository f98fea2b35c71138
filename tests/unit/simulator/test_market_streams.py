"""What the market streams carry: book chains that a client can follow, trades, candles, figures, notices."""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal as D
from itertools import pairwise
from typing import Any

import pytest

from pms.exchange.messages import decode_market_event, encode_message
from pms.simulator import recording
from pms.simulator.candles import INTERVAL_MS, closing, opening
from pms.simulator.config import Fees
from pms.simulator.core import Engine
from pms.simulator.feed import Feed
from pms.simulator.hub import Hub, class_of
from pms.simulator.market_payloads import Liquidation
from pms.simulator.matching import shown
from pms.simulator.replay import Source, load
from tests.unit.simulator.in_process import Listener as Socketless
from tests.unit.simulator.in_process import exchange
from tests.unit.simulator.market_support import NOW, RULES

Message = dict[str, Any]


class Listener:
    """Collects what the hub publishes, by stream."""

    def __init__(self) -> None:
        self.messages: dict[str, list[Any]] = {}

    def push_market(self, stream: str, payload: bytes, conflate: bool) -> None:
        self.messages.setdefault(stream, []).append(json.loads(payload))

    def push_user(self, key: str, payload: bytes) -> None:
        raise AssertionError("no private events here")

    def key_ended(self, key: str) -> None:
        raise AssertionError("no listen keys here")


@pytest.fixture(scope="module")
def funding() -> Source:
    return load(recording("funding"), RULES)


@pytest.fixture(scope="module")
def calm() -> Source:
    return load(recording("calm"), RULES)


def _feed(source: Source, *streams: str) -> tuple[Feed, Engine, Listener]:
    hub, listener = Hub(), Listener()
    for stream in streams:
        hub.subscribe(listener, class_of(stream), stream)
    engine = Engine({s: RULES[s] for s in source.symbols}, Fees())
    feed = Feed(engine, hub, [source], {}, NOW, 1.0)
    feed.prime(NOW)
    return feed, engine, listener


def _run(feed: Feed, start_ms: int, seconds: float, step_ms: int = 20) -> int:
    end = start_ms + int(seconds * 1000)
    for now in range(start_ms + step_ms, end + 1, step_ms):
        feed.advance(now)
    return end


class LocalBook:
    """A client's book by the rule of spec 4.3."""

    def __init__(self, snapshot: tuple[int, Iterable[tuple[str, str]], Iterable[tuple[str, str]]]) -> None:
        self.last, bids, asks = snapshot
        self.sides = {"b": dict(bids), "a": dict(asks)}
        self.applied = 0

    def take(self, event: Message) -> None:
        if event["u"] < self.last:
            return
        if not self.applied:
            assert event["U"] <= self.last <= event["u"], "the first event does not span the snapshot"
        else:
            assert event["pu"] == self.last, "gap"
        for side, levels in self.sides.items():
            for price, quantity in event[side]:
                levels[price] = quantity
                if not D(quantity):
                    del levels[price]
        self.last = event["u"]
        self.applied += 1

    def top(self, side: str, count: int) -> list[tuple[D, D]]:
        levels = sorted((D(p), D(q)) for p, q in self.sides[side].items())
        return levels[:count] if side == "a" else levels[::-1][:count]


@pytest.mark.parametrize(
    ("variant", "snapshot_first"),
    [
        ("depth", True),
        ("depth", False),
        ("depth@0ms", False),
        ("depth@100ms", False),
        ("depth@500ms", True),
        ("rpiDepth@500ms", False),
    ],
)
def test_a_client_keeps_the_recorded_book_without_a_gap(
    funding: Source, variant: str, snapshot_first: bool
) -> None:
    stream = f"btcusdt@{variant}"
    feed, engine, listener = _feed(funding, stream)
    now = NOW if snapshot_first else _run(feed, NOW, 2.03)
    book = LocalBook(feed.depth.snapshot("BTCUSDT", 1000, now))
    _run(feed, now, 8)
    for event in listener.messages[stream]:
        book.take(event)
    assert book.applied >= 10
    market = engine.markets["BTCUSDT"]
    for side, taker in (("b", "SELL"), ("a", "BUY")):
        displayed = list(shown(market, taker, RULES["BTCUSDT"].price.step))
        assert len(displayed) > 500
        assert market.deep
        assert book.top(side, 1)[0][0] > 0
    feed.depth.flush(now + 9_000)
    last = listener.messages[stream][-1]
    if last["u"] > book.last:
        book.take(last)
    for side, taker in (("b", "SELL"), ("a", "BUY")):
        displayed = list(shown(market, taker, RULES["BTCUSDT"].price.step))
        assert book.top(side, 200) == displayed[:200]


def test_a_book_without_recorded_depth_is_followed_too(calm: Source) -> None:
    feed, engine, listener = _feed(calm, "ethusdt@depth@100ms", "ethusdt@depth5@100ms")
    book = LocalBook(feed.depth.snapshot("ETHUSDT", 1000, NOW))
    end = _run(feed, NOW, 10)
    feed.depth.flush(end + 500)
    for event in listener.messages["ethusdt@depth@100ms"]:
        book.take(event)
    displayed = list(shown(engine.markets["ETHUSDT"], "BUY", RULES["ETHUSDT"].price.step))
    assert book.top("a", 1000) == displayed
    partial = listener.messages["ethusdt@depth5@100ms"]
    assert all(len(event["b"]) == len(event["a"]) == 5 for event in partial)
    assert all(a["u"] == b["pu"] for a, b in pairwise(partial))


def test_a_pinned_quote_and_a_stall_leave_no_hole_in_the_recorded_book(funding: Source) -> None:
    feed, engine, _ = _feed(funding)
    market = engine.markets["BTCUSDT"]
    feed.set_quote("BTCUSDT", D(20_000), D(20_001), D(1), D(1), NOW)
    assert not market.deep
    now = _run(feed, NOW, 3)
    feed.release("BTCUSDT")
    feed.advance(now + 60_000)
    straight, direct, _ = _feed(funding)
    position = feed.position(funding, now + 60_000)
    for tick in funding.books_at(position):
        straight._play(tick, NOW)
    book = direct.markets["BTCUSDT"].book
    assert market.book is not None
    assert book is not None
    far = D("28000")
    assert list(market.book.bids.worse_than(far)) == list(book.bids.worse_than(far))


def test_trades_and_their_aggregates(calm: Source) -> None:
    feed, _, listener = _feed(calm, "btcusdt@trade", "btcusdt@aggTrade")
    _run(feed, NOW, 5)
    trades, aggregates = listener.messages["btcusdt@trade"], listener.messages["btcusdt@aggTrade"]
    assert set(trades[0]) == {"e", "E", "T", "s", "t", "p", "q", "X", "m", "st"}
    assert set(aggregates[0]) == {"e", "E", "s", "a", "p", "q", "nq", "f", "l", "T", "m", "st"}
    assert [t["t"] for t in trades] == list(range(trades[0]["t"], trades[0]["t"] + len(trades)))
    assert len(aggregates) < len(trades)
    by_id = {t["t"]: t for t in trades}
    for one, other in pairwise(aggregates):
        assert other["f"] == one["l"] + 1
        members = [by_id[number] for number in range(one["f"], one["l"] + 1)]
        assert {(m["p"], m["m"]) for m in members} == {(one["p"], one["m"])}
        assert sum(D(m["q"]) for m in members) == D(one["q"])


@pytest.mark.parametrize(
    ("stream", "event", "fields"),
    [
        ("btcusdt@bookTicker", "bookTicker", "e u s ps b B a A T E st"),
        ("!bookTicker", "bookTicker", "e u s ps b B a A T E st"),
        ("btcusdt@depth@100ms", "depthUpdate", "e E T s ps U u pu b a st"),
        ("btcusdt@depth20", "depthUpdate", "e E T s ps U u pu b a st"),
        ("btcusdt@markPrice", "markPriceUpdate", "e E s p ap P i r T st"),
        ("btcusdt@markPrice@1s", "markPriceUpdate", "e E s p ap P i r T st"),
        ("btcusdt@kline_1m", "kline", "e E s k st"),
        ("btcusdt_perpetual@continuousKline_1M", "continuous_kline", "e E ps ct k st"),
        ("btcusdt@miniTicker", "24hrMiniTicker", "e E s ps c o h l v q st"),
        ("btcusdt@ticker", "24hrTicker", "e E s ps p P w c Q o h l v q O C F L n st"),
    ],
)
def test_fields_of_a_stream(calm: Source, stream: str, event: str, fields: str) -> None:
    feed, _, listener = _feed(calm, stream)
    _run(feed, NOW, 5.2, step_ms=50)
    first = listener.messages[stream][0]
    assert first["e"] == event
    assert list(first) == fields.split()
    decoded = decode_market_event(json.dumps(first))
    assert json.loads(encode_message(decoded)) == first, "the adapter's types know every field of it"


@pytest.mark.parametrize("stream", ["!markPrice@arr", "!markPrice@arr@1s", "!ticker@arr", "!miniTicker@arr"])
def test_arrays_hold_every_symbol_that_changed(calm: Source, stream: str) -> None:
    feed, _, listener = _feed(calm, stream)
    _run(feed, NOW, 3.2)
    assert {row["s"] for row in listener.messages[stream][0]} == {"BTCUSDT", "ETHUSDT"}


def test_a_candle_closes_once_and_agrees_with_the_trades(calm: Source) -> None:
    feed, _, listener = _feed(calm, "btcusdt@kline_1m", "btcusdt@trade")
    minute = opening("1m", NOW) + 60_000
    _run(feed, NOW, (minute + 60_300 - NOW) / 1000, step_ms=100)
    [closed] = [
        m["k"] for m in listener.messages["btcusdt@kline_1m"] if m["k"]["x"] and m["k"]["t"] == minute
    ]
    trades = [m for m in listener.messages["btcusdt@trade"] if minute <= m["T"] < minute + 60_000]
    assert closed["n"] == len(trades)
    assert D(closed["v"]) == sum(D(t["q"]) for t in trades)
    assert D(closed["V"]) == sum(D(t["q"]) for t in trades if not t["m"])
    assert D(closed["q"]) == pytest.approx(sum(D(t["q"]) * D(t["p"]) for t in trades), rel=D("1e-6"))
    assert D(closed["h"]) == max(D(t["p"]) for t in trades)
    assert closed["T"] == minute + 59_999


def test_the_largest_liquidation_of_a_second_is_told(calm: Source) -> None:
    feed, engine, listener = _feed(calm, "!forceOrder@arr", "btcusdt@forceOrder", "!contractInfo")
    for quantity in ("0.5", "2.5", "1"):
        feed.publish_liquidation(
            Liquidation("BTCUSDT", "SELL", quantity, "60000.0", "60010.0", quantity, quantity, NOW)
        )
    _run(feed, NOW, 2.5)
    [event] = listener.messages["!forceOrder@arr"]
    assert listener.messages["btcusdt@forceOrder"] == [event]
    assert event["o"]["q"] == "2.5"
    assert list(event["o"]) == ["s", "S", "o", "f", "q", "p", "ap", "X", "l", "z", "T", "ps", "st"]
    feed.streams.contract_info(engine.rules["BTCUSDT"], NOW, with_brackets=True)
    [info] = listener.messages["!contractInfo"]
    assert info["cs"] == "TRADING"
    assert info["bks"][0]["mi"] < info["bks"][0]["ma"]


@pytest.mark.parametrize(
    ("interval", "moment", "opened", "closed"),
    [
        ("1m", 1_700_000_030_000, 1_699_999_980_000, 1_700_000_040_000),
        ("1w", 1_700_000_000_000, 1_699_833_600_000, 1_700_438_400_000),  # Tuesday: opened on Monday
        ("1M", 1_700_000_000_000, 1_698_796_800_000, 1_701_388_800_000),  # November 2023
        ("1M", 1_701_388_800_000, 1_701_388_800_000, 1_704_067_200_000),
    ],
)
def test_candles_open_with_the_calendar(interval: str, moment: int, opened: int, closed: int) -> None:
    assert opening(interval, moment) == opened
    assert closing(interval, opened) == closed
    assert len(INTERVAL_MS) == 15


async def test_asset_indices_come_every_second_alone_and_together() -> None:
    async with exchange() as venue:
        alone, together = Socketless(), Socketless()
        hub = venue.simulator.venue.hub
        hub.subscribe(alone, "market", "usdtusd@assetIndex")
        hub.subscribe(together, "market", "!assetIndex@arr")
        await venue.wait(3000)
        rows = (await venue.raw("GET", "/fapi/v1/assetIndex", "")).body
    assert [event["s"] for event in alone.events] == ["USDTUSD"] * 3
    assert list(alone.events[0]) == ["e", "E", "s", "i", "b", "a", "B", "A", "q", "g", "Q", "G"]
    latest: Any = together.events[-1]
    assert [event["s"] for event in latest] == [row["symbol"] for row in rows]
    assert {event["s"]: event["B"] for event in latest} == {row["symbol"]: row["bidRate"] for row in rows}
