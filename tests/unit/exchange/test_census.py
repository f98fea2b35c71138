"""The census: what is new is counted with a sample, bounded; what is known is not mentioned."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pms.exchange import census as module
from pms.exchange import messages as m
from pms.exchange.census import Census
from tests.support.paths import shared_data
from tests.unit.exchange.recorded import BATCH, FOLDERS


class Time:
    now_ms = 1000

    def __call__(self) -> int:
        return self.now_ms


ORDER: dict[str, Any] = {"orderId": 1, "symbol": "BTCUSDT", "status": "NEW", "side": "BUY", "type": "LIMIT"}
FILLED: dict[str, Any] = {
    "s": "BTCUSDT",
    "c": "a",
    "S": "BUY",
    "o": "LIMIT",
    "f": "GTC",
    "q": "1",
    "p": "5",
    "ap": "5",
}
FILLED |= {"x": "TRADE", "X": "FILLED", "i": 1, "l": "1", "z": "1", "L": "5", "T": 1, "t": 9}
BOOK: dict[str, Any] = {
    "e": "bookTicker",
    "u": 1,
    "s": "BTCUSDT",
    "b": "1",
    "B": "1",
    "a": "2",
    "A": "1",
    "T": 1,
    "E": 1,
}


def found(census: Census) -> list[tuple[str, str, str]]:
    return sorted((each.kind, each.message, each.name) for each in census.statistics().findings)


def raw(value: object) -> bytes:
    return json.dumps(value).encode()


def private(order: dict[str, Any]) -> dict[str, Any]:
    return {"e": "ORDER_TRADE_UPDATE", "E": 1, "T": 1, "o": order}


ANSWERS: list[tuple[str, str, str, object, list[tuple[str, str, str]]]] = [
    ("known", "GET", "/fapi/v1/order", ORDER, []),
    ("a new field", "GET", "/fapi/v1/order", ORDER | {"x": 1}, [("field", "OrderAnswer", "x")]),
    (
        "a new status",
        "GET",
        "/fapi/v1/openOrders",
        [ORDER | {"status": "HELD"}],
        [("value", "OrderAnswer", "status=HELD")],
    ),
    (
        "an error element",
        "POST",
        "/fapi/v1/batchOrders",
        [ORDER, {"code": -2011, "msg": "", "why": ""}],
        [("field", "ErrorBody", "why")],
    ),
    (
        "a new field of an error",
        "POST",
        "/fapi/v1/order",
        {"code": -1, "msg": "", "why": ""},
        [("field", "ErrorBody", "why")],
    ),
    (
        "a table by name",
        "GET",
        "/fapi/v1/apiTradingStatus",
        {"updateTime": 1, "indicators": {"BTCUSDT": [{"indicator": "UFR", "score": 1}]}},
        [("field", "TradingIndicator", "score")],
    ),
    (
        "words in a list",
        "GET",
        "/fapi/v1/exchangeInfo",
        {"symbols": [{"symbol": "A", "orderTypes": ["LIMIT", "PEGGED"]}]},
        [("value", "SymbolInfo", "orderTypes=PEGGED")],
    ),
    ("a longer candle", "GET", "/fapi/v1/klines", [[1, *["0"] * 12]], [("field", "KlineRow", "[12]")]),
    ("an unknown path", "GET", "/fapi/v9/tomorrow", {"x": 1}, []),
    ("an empty answer that is no more", "DELETE", "/fapi/v1/listenKey", {"x": 1}, [("field", "Empty", "x")]),
]


@pytest.mark.parametrize(
    ("name", "method", "path", "body", "expected"), ANSWERS, ids=[row[0] for row in ANSWERS]
)
def test_answers(name: str, method: str, path: str, body: Any, expected: list[tuple[str, str, str]]) -> None:
    census = Census(Time())
    census.answer(method, path, raw(body))
    assert found(census) == expected


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[1,", b'"text"', b"[" * 100_000, b"\xff\xfe", b'{"code":"?"}']
)
def test_what_is_no_answer_is_no_finding(body: bytes) -> None:
    census = Census(Time())
    census.answer("GET", "/fapi/v1/order", body)
    assert found(census) == []


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (private(FILLED), []),
        (
            private(FILLED | {"er": "12", "zz": "?"}),
            [("field", "OrderUpdate", "zz"), ("value", "OrderUpdate", "er=12")],
        ),
        ({"stream": "k", "data": private(FILLED | {"zz": "?"})}, [("field", "OrderUpdate", "zz")]),
        ({"e": "TOMORROW", "E": 1}, [("event", "TOMORROW", "")]),
        ({"e": "GRID_UPDATE", "E": 1}, [("event", "GRID_UPDATE", "unreadable")]),
        ({"nothing": 1}, [("event", "?", "")]),
    ],
)
def test_private_events(event: object, expected: list[tuple[str, str, str]]) -> None:
    census = Census(Time())
    census.user_event(m.decode_user_event(raw(event)), raw(event))
    assert found(census) == expected


def test_a_finding_tells_how_often_when_and_what_last() -> None:
    time = Time()
    census = Census(time)
    census.answer("GET", "/fapi/v1/order", raw(ORDER | {"x": "first"}))
    time.now_ms = 5000
    census.answer("GET", "/fapi/v1/order", raw(ORDER | {"x": "second" * 100}))
    (finding,) = census.statistics().findings
    assert (finding.count, finding.first_ms, finding.last_ms) == (2, 1000, 5000)
    assert finding.sample.startswith("'secondsecond")
    assert len(finding.sample) == module.SAMPLE_CHARACTERS_MAX


def test_the_table_is_bounded() -> None:
    census = Census(Time())
    for number in range(module.ENTRIES_MAX + 7):
        census.answer("GET", "/fapi/v1/order", raw(ORDER | {f"x{number}": 1}))
    told = census.statistics()
    assert (len(told.findings), told.overflowed) == (module.ENTRIES_MAX, 7)


def test_long_lists_are_sampled_evenly() -> None:
    census = Census(Time())
    rows = [ORDER | {f"x{number}": 1} for number in range(10 * module.ROWS_MAX)]
    census.answer("GET", "/fapi/v1/allOrders", raw(rows))
    assert len(found(census)) == module.ROWS_MAX


def test_market_frames_are_looked_at_by_sample() -> None:
    census = Census(Time())
    due = [number for number in range(1, 3001) if census.wants("bookTicker")]
    assert due == [*range(1, module.FIRST_FRAMES + 1), 1000, 2000, 3000]
    assert census.wants("aggTrade"), "each kind is counted by itself"


def test_a_market_frame_is_looked_at_as_its_type() -> None:
    census = Census(Time())
    census.look(m.BookTickerEvent, raw({"stream": "btcusdt@bookTicker", "data": BOOK | {"zz": 1}}))
    assert found(census) == [("field", "BookTickerEvent", "zz")]
    census.strange_frame(raw({"stream": "x", "data": {"e": "tomorrow"}}))
    census.strange_frame(b"{")
    assert found(census)[:2] == [("event", "no JSON", ""), ("event", "tomorrow", "")]


@pytest.mark.skipif(shared_data() is None, reason="shared reference data not present")
@pytest.mark.parametrize("folder", [name for name in FOLDERS if not name.startswith("binance_net")])
def test_recorded_payloads_hold_nothing_unknown(folder: str) -> None:
    shared = shared_data()
    assert shared is not None
    census = Census(Time())
    for name, kind in FOLDERS[folder].items():
        body = (shared / "binance" / folder / f"{name}.json").read_bytes()
        census.look(list[m.OrderAnswer] if kind is BATCH else kind, body)
    assert census.statistics().looked == len(FOLDERS[folder])
    assert found(census) == []
