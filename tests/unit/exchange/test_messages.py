"""The wire payloads decode from recorded and documented samples; unknown fields and events are tolerated."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pms.exchange import messages as m
from tests.support.paths import data_file


def _data(name: str) -> Path:
    """Return a sample file or folder; the test is skipped where its licence keeps it out of the project."""
    try:
        return data_file(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))


def _events(folder: str) -> Iterator[dict[str, Any]]:
    for path in sorted(_data(f"binance/{folder}").glob("*.json")):
        value = json.loads(path.read_bytes())
        yield from value if isinstance(value, list) else [value]


def test_documented_user_events_decode_and_unknown_ones_are_tolerated() -> None:
    kinds = {type(m.decode_user_event(json.dumps(event))).__name__ for event in _events("user_stream_docs")}
    assert kinds == {
        "OrderTradeUpdate",
        "AccountUpdate",
        "TradeLite",
        "ListenKeyExpired",
        "MarginCall",
        "AccountConfigUpdate",
        "AlgoOrderUpdate",
        "ConditionalOrderReject",
        "StrategyUpdate",
        "GridUpdate",
    }
    assert m.decode_user_event(b'{"e":"TOMORROW","E":7,"x":[]}') == m.UnknownEvent("TOMORROW", 7)


def test_recorded_user_events_decode() -> None:
    count = 0
    for path in sorted(_data("market/user-stream").glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            event = m.decode_user_event(b'{"stream":"key","data":' + line + b"}")
            assert not isinstance(event, m.UnknownEvent)
            if isinstance(event, m.OrderTradeUpdate) and event.order.execution_type == "TRADE":
                assert event.order.trade_id > 0
                assert Decimal(event.order.last_quantity) > 0
            count += 1
    assert count == 17


def test_what_is_no_single_known_market_event_is_told_from_what_is_no_json() -> None:
    for strange in (
        '{"stream":"x","data":{"e":"tomorrow","s":"BTCUSDT"}}',
        '{"stream":"!markPrice@arr","data":[]}',
        '{"result":null,"id":1}',
    ):
        assert m.decode_market_frame(strange) is None
    with pytest.raises(msgspec.DecodeError):
        m.decode_market_frame("{")


def test_current_frames_decode() -> None:
    path = _data("market/ticks/2026-09-27_current_schema_frames.jsonl.gz")
    decoded = 0
    with gzip.open(path) as lines:
        for line in lines:
            frame = json.loads(line)["frame"]
            decoded += m.decode_market_frame(json.dumps(frame)) is not None
    assert decoded == 60


def test_brackets_decode_exactly_from_numbers_and_text() -> None:
    as_number = b'{"bracket":1,"initialLeverage":75,"notionalCap":5000,"notionalFloor":0,'
    number = as_number + b'"maintMarginRatio":0.015,"cum":0.1}'
    text = as_number + b'"maintMarginRatio":"0.015","cum":"0.1"}'
    first, second = (msgspec.json.decode(raw, type=m.Bracket) for raw in (number, text))
    assert first == second
    assert first.maint_margin_ratio == Decimal("0.015")


def test_order_answer_since_2026_06_30_has_no_average_price() -> None:
    answer = msgspec.json.decode(
        b'{"orderId":8886774123456789012,"symbol":"X","status":"NEW"}', type=m.OrderAnswer
    )
    assert answer.avg_price is None
    assert answer.cum_quote is None
    assert answer.order_id == 8886774123456789012
    assert b"avgPrice" not in msgspec.json.encode(answer)


def test_malformed_known_user_event_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError):
        m.decode_user_event(b'{"e":"ORDER_TRADE_UPDATE","E":1,"T":1,"o":{"s":"BTCUSDT"}}')
