"""Wire payloads become the port's values exactly: recorded private events, documented answers."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from pms.exchange import messages as m
from pms.exchange.binance import convert
from pms.exchange.binance.symbols import SymbolDirectory, SymbolMap
from pms.exchange.errors import UnreadablePayload
from pms.exchange.port import AccountEvent, OrderEvent
from pms.model.order import ExchangeOrderStatus, OrderSide
from pms.model.symbol import Symbol
from pms.runtime import SystemClock
from tests.support.paths import data_file, shared_data

needs_shared = pytest.mark.skipif(shared_data() is None, reason="shared reference data not present")


def directory(*natives: str) -> SymbolDirectory:
    async def load() -> m.ExchangeInfo:
        raise AssertionError("no refresh expected")

    symbols = SymbolDirectory(load, "USDT", SystemClock())
    contracts = [
        m.SymbolInfo(
            symbol=native,
            base_asset=native[:-4],
            quote_asset=native[-4:],
            margin_asset=native[-4:],
            contract_type="PERPETUAL",
            status="TRADING",
        )
        for native in natives
    ]
    symbols.map = SymbolMap.of(m.ExchangeInfo(symbols=contracts), "USDT")
    return symbols


def recorded(name: str) -> list[OrderEvent | AccountEvent]:
    symbols = directory("BTCUSDT", "ETHUSDC")
    events: list[OrderEvent | AccountEvent] = []
    for line in data_file(f"market/user-stream/{name}").read_bytes().splitlines():
        event = m.decode_user_event(line)
        if isinstance(event, m.OrderTradeUpdate):
            events.append(convert.order_event(event, symbols))
        elif isinstance(event, m.AccountUpdate):
            events.append(convert.account_event(event, symbols, "USDT"))
    return events


@needs_shared
def test_recorded_round_trip() -> None:
    events = recorded("2024-11-18_BTCUSDT_open_close.jsonl")
    orders = [event for event in events if isinstance(event, OrderEvent)]
    assert [event.report.status for event in orders] == [
        ExchangeOrderStatus.NEW,
        ExchangeOrderStatus.FILLED,
    ] * 2
    assert [event.fill is not None for event in orders] == [False, True] * 2
    first = orders[1].fill
    assert first is not None
    assert (first.native_symbol, first.symbol, first.side) == ("BTCUSDT", "BTC/USDT:USDT", OrderSide.BUY)
    assert (first.trade_id, first.order_id) == (5612428004, "482255808281")
    assert (first.price, first.quantity, first.fee, first.fee_asset) == (
        Decimal("91739.90"),
        Decimal("0.002"),
        Decimal("0.09173990"),
        "USDT",
    )
    assert not first.maker
    accounts = [event for event in events if isinstance(event, AccountEvent)]
    assert accounts[0].positions[0].signed_quantity == Decimal("0.002")
    assert accounts[-1].positions[0].signed_quantity == 0
    assert accounts[0].wallet_balance == Decimal("642.76097079")


@needs_shared
def test_recorded_life_cycle_in_another_asset() -> None:
    events = recorded("2026-04-21_ETHUSDC_lifecycle.jsonl")
    accounts = [event for event in events if isinstance(event, AccountEvent)]
    assert [event.reason for event in accounts[:3]] == ["DEPOSIT", "WITHDRAW", "FUNDING_FEE"]
    assert all(event.wallet_balance is None for event in accounts), "USDC is not our settlement asset"
    statuses = {event.report.status for event in events if isinstance(event, OrderEvent)}
    assert ExchangeOrderStatus.CANCELLED in statuses
    fills = [event.fill for event in events if isinstance(event, OrderEvent) and event.fill]
    assert len(fills) == 1
    assert fills[0].maker
    assert fills[0].symbol == "ETH/USDC:USDC"


ORDER = {
    "s": "BTCUSDT",
    "c": "PMSabcdefgh_MK_1",
    "S": "SELL",
    "o": "LIQUIDATION",
    "f": "IOC",
    "q": "1",
    "p": "100",
    "ap": "0",
    "x": "CALCULATED",
    "X": "FILLED",
    "i": 8886774004994236429,
    "l": "1",
    "z": "1",
    "L": "99.5",
    "T": 5,
    "t": 7,
}


def order_event(**changes: object) -> OrderEvent:
    raw = json.dumps({"e": "ORDER_TRADE_UPDATE", "E": 10, "T": 9, "o": ORDER | changes})
    event = m.decode_user_event(raw)
    assert isinstance(event, m.OrderTradeUpdate)
    return convert.order_event(event, directory("BTCUSDT"))


def test_execution_without_trade_type_books_by_trade_id() -> None:
    event = order_event()
    assert event.fill is not None
    assert event.fill.order_id == "8886774004994236429", "64 bits, exactly"
    assert event.fill.fee == 0
    assert event.fill.trade_time_ms == 5
    assert (event.event_time_ms, event.transaction_time_ms) == (10, 9)


@pytest.mark.parametrize("changes", [{"t": 0}, {"l": "0"}, {"t": -1}])
def test_no_fill_without_trade_id_and_quantity_whatever_the_type(changes: dict[str, object]) -> None:
    assert order_event(x="TRADE", **changes).fill is None


def test_rebate_is_negative_and_self_match_has_its_own_status() -> None:
    event = order_event(n="-0.5", N="BNB", X="EXPIRED_IN_MATCH", er="1", m=True)
    assert event.fill is not None
    assert (event.fill.fee, event.fill.fee_asset, event.fill.maker) == (Decimal("-0.5"), "BNB", True)
    assert event.report.status is ExchangeOrderStatus.SELF_MATCH
    assert event.report.expiry_reason == "1"


@pytest.mark.parametrize("changes", [{"S": "UP"}, {"q": "many"}, {"l": "NaN"}, {"s": "XYZUSDT"}])
def test_unreadable_events_are_said_to_be(changes: dict[str, object]) -> None:
    with pytest.raises(UnreadablePayload):
        order_event(**changes)


def test_account_event_leaves_hedge_rows_out() -> None:
    raw = {
        "e": "ACCOUNT_UPDATE",
        "E": 2,
        "T": 1,
        "a": {
            "m": "ORDER",
            "B": [{"a": "USDT", "wb": "12.5", "cw": "12.5", "bc": "-1"}],
            "P": [
                {"s": "BTCUSDT", "pa": "-3", "ep": "10", "ps": "BOTH"},
                {"s": "BTCUSDT", "pa": "4", "ep": "10", "ps": "LONG"},
            ],
        },
    }
    update = m.decode_user_event(json.dumps(raw))
    assert isinstance(update, m.AccountUpdate)
    event = convert.account_event(update, directory("BTCUSDT"), "USDT")
    assert [row.signed_quantity for row in event.positions] == [Decimal(-3)]
    assert (event.wallet_balance, event.balance_change) == (Decimal("12.5"), Decimal(-1))


@pytest.mark.parametrize("old", [True, False])
def test_order_answer_with_and_without_average_price(old: bool) -> None:
    fields: dict[str, object] = {
        "orderId": 1,
        "symbol": "BTCUSDT",
        "status": "PARTIALLY_FILLED",
        "clientOrderId": "x",
        "side": "BUY",
        "origQty": "2",
        "executedQty": "1",
        "price": "5",
        "updateTime": 7,
    }
    if old:
        fields |= {"avgPrice": "5.5", "cumQuote": "5.5"}
    report = convert.report_of_answer(msgspec.convert(fields, m.OrderAnswer), directory("BTCUSDT"))
    assert report.average_price == (Decimal("5.5") if old else None)
    assert (report.quantity, report.executed_quantity, report.update_time_ms) == (2, 1, 7)


def test_positions_are_netted_and_empty_ones_left_out() -> None:
    rows = [
        _position("BTCUSDT", "LONG", "2"),
        _position("BTCUSDT", "SHORT", "-0.5"),
        _position("ETHUSDT", "BOTH", "0.000"),
    ]
    positions = convert.positions_of(rows, directory("BTCUSDT", "ETHUSDT"))
    assert [(row.symbol, row.signed_quantity) for row in positions] == [("BTC/USDT:USDT", Decimal("1.5"))]


def _position(native: str, side: str, amount: str) -> m.PositionRisk:
    return m.PositionRisk(symbol=native, position_side=side, position_amt=amount, entry_price="10")


def test_trade_row() -> None:
    row = m.UserTrade(
        symbol="BTCUSDT", id=3, order_id=4, side="SELL", price="10", qty="2", commission="0.1", time=9
    )
    fill = convert.fill_of_trade(row, directory("BTCUSDT"))
    assert (fill.trade_id, fill.order_id, fill.side, fill.fee) == (3, "4", OrderSide.SELL, Decimal("0.1"))


@needs_shared
@pytest.mark.parametrize("folder", ["binance/nautilus/user_data_json", "binance/user_stream_docs"])
def test_every_reference_event_converts(folder: str) -> None:
    seen = 0
    for path in sorted(data_file(folder).glob("*.json")):
        decoded = json.loads(path.read_bytes())
        for raw in decoded if isinstance(decoded, list) else [decoded]:
            event = m.decode_user_event(json.dumps(raw))
            if isinstance(event, m.OrderTradeUpdate):
                converted = convert.order_event(event, Everything())
                assert (converted.fill is not None) is (
                    event.order.trade_id > 0 and Decimal(event.order.last_quantity) > 0
                )
                seen += 1
            elif isinstance(event, m.AccountUpdate):
                convert.account_event(event, Everything(), "USDT")
                seen += 1
    assert seen >= 2


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("new_order", m.OrderAnswer),
        ("cancel_order", m.OrderAnswer),
        ("query_order", m.OrderAnswer),
        ("current_all_open_orders", list[m.OrderAnswer]),
        ("account_trade_list", list[m.UserTrade]),
        ("position_information_v3", list[m.PositionRisk]),
    ],
)
def test_every_reference_answer_converts(name: str, kind: Any) -> None:
    raw = msgspec.json.decode(data_file(f"binance/rest_sdk/{name}.json").read_bytes(), type=kind)
    rows = raw if isinstance(raw, list) else [raw]
    assert rows
    for row in rows:
        match row:
            case m.OrderAnswer():
                assert convert.report_of_answer(row, Everything()).order_id == str(row.order_id)
            case m.UserTrade():
                assert convert.fill_of_trade(row, Everything()).trade_id == row.id
            case m.PositionRisk():
                assert len(convert.positions_of([row], Everything())) == bool(Decimal(row.position_amt))


class Everything(SymbolDirectory):
    """Lists every symbol one may ask for."""

    def __init__(self) -> None:
        super().__init__(directory()._load, "USDT", SystemClock())

    def unified(self, native: str) -> Symbol:
        return Symbol(f"{native}:USDT")
