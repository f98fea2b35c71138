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


REST_SAMPLES: list[tuple[str, Any]] = [
    ("account_information_v3", m.AccountInfo),
    ("account_information_v2", m.AccountInfo),
    ("new_order", m.OrderAnswer),
    ("cancel_order", m.OrderAnswer),
    ("query_order", m.OrderAnswer),
    ("query_current_open_order", m.OrderAnswer),
    ("current_all_open_orders", list[m.OrderAnswer]),
    ("all_orders", list[m.OrderAnswer]),
    ("place_multiple_orders", list[m.BatchElement]),
    ("account_trade_list", list[m.UserTrade]),
    ("position_information_v3", list[m.PositionRisk]),
    ("position_information_v2", list[m.PositionRisk]),
    ("futures_account_balance_v3", list[m.Balance]),
    ("futures_account_configuration", m.AccountConfig),
    ("symbol_configuration", list[m.SymbolConfig]),
    ("get_current_position_mode", m.PositionMode),
    ("get_current_multi_assets_mode", m.MultiAssetsMode),
    ("mark_price", m.PremiumIndex),
    ("symbol_order_book_ticker", m.BookTicker),
    ("kline_candlestick_data", list[m.KlineRow]),
    ("get_funding_rate_history", list[m.FundingRate]),
    ("get_funding_rate_info", list[m.FundingInfo]),
    ("notional_and_leverage_brackets", list[m.SymbolBrackets]),
    ("start_user_data_stream", m.ListenKey),
    ("user_commission_rate", m.CommissionRate),
    ("get_income_history", list[m.Income]),
    ("exchange_information", m.ExchangeInfo),
    ("change_initial_leverage", m.LeverageAnswer),
    ("check_server_time", m.ServerTime),
    ("order_book", m.Depth),
    ("ticker24hr_price_change_statistics", m.Ticker24h),
    ("symbol_price_ticker_v2", m.PriceTicker),
    ("query_user_rate_limit", list[m.RateLimit]),
    ("change_margin_type", m.ErrorBody),
]


@pytest.mark.parametrize(("name", "kind"), REST_SAMPLES, ids=[name for name, _ in REST_SAMPLES])
def test_rest_sample_decodes(name: str, kind: Any) -> None:
    value = msgspec.json.decode(_data(f"binance/rest_sdk/{name}.json").read_bytes(), type=kind)
    assert value


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Query-Order", m.OrderAnswer),
        ("Position-Information-V3", list[m.PositionRisk]),
        ("Exchange-Information", m.ExchangeInfo),
        ("Futures-Account-Balance-V3", list[m.Balance]),
        ("Symbol-Config", list[m.SymbolConfig]),
    ],
)
def test_documentation_sample_decodes(name: str, kind: Any) -> None:
    raw = json.loads(_data(f"binance/rest_docs_2026-05/{name}.json").read_bytes())
    examples = raw if isinstance(raw, list) and kind in (m.OrderAnswer, m.ExchangeInfo) else [raw]
    if kind not in (m.OrderAnswer, m.ExchangeInfo) and raw and isinstance(raw[0], list):
        examples = raw
    for example in examples:
        assert msgspec.convert(example, kind)


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
        "UnknownEvent",
    }


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


def test_stream_samples_decode() -> None:
    known = {"bookTicker", "markPriceUpdate", "aggTrade", "trade", "depthUpdate", "kline"}
    seen: set[str] = set()
    for event in _events("streams_sdk"):
        frame = m.decode_market_frame(json.dumps({"stream": "x", "data": event}))
        if event.get("e") in known:
            assert frame is not None, event
            seen.add(event["e"])
        else:
            assert frame is None
    assert {"bookTicker", "markPriceUpdate", "aggTrade", "depthUpdate", "kline"} <= seen


def test_current_frames_decode() -> None:
    path = _data("market/ticks/2026-09-27_current_schema_frames.jsonl.gz")
    decoded = 0
    with gzip.open(path) as lines:
        for line in lines:
            frame = json.loads(line)["frame"]
            decoded += m.decode_market_frame(json.dumps(frame)) is not None
    assert decoded == 39  # 60 lines, 21 of them forceOrder


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
