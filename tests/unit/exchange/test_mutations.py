"""Whatever the venue changes in a message, reading it gives a message or the typed error, nothing else.

Each example takes a recorded message and drops fields, adds unknown ones, replaces words, numbers and texts
by strange ones, and puts null where something was. Decoding may refuse it (`msgspec.DecodeError`),
translating may refuse it (`UnreadablePayload`); what was decoded can be encoded again, and the census
survives it too.
"""

from __future__ import annotations

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from pms.exchange import messages as m
from pms.exchange.binance import convert
from pms.exchange.binance.symbols import SymbolDirectory, SymbolMap
from pms.exchange.census import Census
from pms.exchange.errors import UnreadablePayload
from tests.support.paths import shared_data
from tests.unit.exchange.recorded import BATCH, FOLDERS

pytestmark = pytest.mark.skipif(shared_data() is None, reason="shared reference data not present")

STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([2**53 + 1, 2**63, 2**64 + 1, -(2**70), 10**30, 0, -1]),
    st.sampled_from(["", "TOMORROW", "NaN", "Infinity", "1e400", "-0", "٣", "\u0000", "x" * 500, "0x10"]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.builds(list),
    st.builds(dict),
    st.builds(lambda: [[["1"]]]),
)
FOLDERS_USED = [
    name
    for name in FOLDERS
    if name not in ("exchangeInfo", "leverage_brackets") and "binance_net" not in name
]


def _samples() -> list[tuple[Any, Any]]:
    shared = shared_data()
    if shared is None:
        return [(None, None)]
    return [
        (kind, json.loads((shared / "binance" / folder / f"{name}.json").read_bytes()))
        for folder in FOLDERS_USED
        for name, kind in FOLDERS[folder].items()
    ]


SAMPLES = _samples()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all fields and elements inside."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, part in inside:
        found += [(*path, key), *places(part, (*path, key))]
    return found


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Any, Any]:
    """Draw a recorded message with up to three changes, and its type."""
    kind, recorded = draw(st.sampled_from(SAMPLES))
    value = json.loads(json.dumps(recorded))
    for _ in range(draw(st.integers(1, 3))):
        paths = places(value)
        assume(paths)
        *way, last = draw(st.sampled_from(paths))
        holder = value
        for key in way:
            holder = holder[key]
        match draw(st.sampled_from(["drop", "replace", "add", "null"])):
            case "drop":
                del holder[last]
            case "replace":
                holder[last] = draw(STRANGE)
            case "add" if isinstance(holder, dict):
                holder[draw(st.sampled_from(["zz", "newField", "", "e2"]))] = draw(STRANGE)
            case _:
                holder[last] = None
    return kind, value


def directory() -> SymbolDirectory:
    class Time:
        def monotonic(self) -> float:
            return 0.0

    async def nothing() -> m.ExchangeInfo:
        raise AssertionError("no request here")

    symbols = SymbolDirectory(nothing, "USDT", Time())  # type: ignore[arg-type]
    names = ("BTC", "ETH", "BNB", "ADA", "DOGE")
    contracts = [
        m.SymbolInfo(
            symbol=f"{name}USDT",
            contract_type="PERPETUAL",
            status="TRADING",
            base_asset=name,
            quote_asset="USDT",
            margin_asset="USDT",
        )
        for name in names
    ]
    symbols.map = SymbolMap.of(m.ExchangeInfo(symbols=contracts), "USDT")
    return symbols


SYMBOLS = directory()


def translate(message: object) -> None:
    """Turn a message into the words of the port, where it has any."""
    match message:
        case list():
            rows = [row for row in message if isinstance(row, m.PositionRisk)]
            convert.positions_of(rows, SYMBOLS)
            for row in message:
                translate(row)
        case m.Combined():
            translate(message.data)
        case m.ApiReply():
            translate(message.result)
        case m.OrderAnswer():
            convert.report_of_answer(message, SYMBOLS)
        case m.OrderTradeUpdate():
            convert.order_event(message, SYMBOLS)
        case m.AccountUpdate():
            convert.account_event(message, SYMBOLS, "USDT")
        case m.UserTrade():
            convert.fill_of_trade(message, SYMBOLS)
        case m.SymbolBrackets():
            for bracket in message.brackets:
                convert.bracket_of(bracket)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_a_changed_message_is_read_or_refused_by_type(case: tuple[Any, Any]) -> None:
    kind, value = case
    raw = json.dumps(value).encode()
    try:
        message = m.decode_message(msgspec.json.Decoder(list[m.OrderAnswer] if kind is BATCH else kind), raw)
    except msgspec.DecodeError:
        pass
    else:
        m.encode_message(message)
        with suppress(UnreadablePayload):
            translate(message)
    for read in (m.decode_user_event, m.decode_market_event, m.decode_market_frame):
        with suppress(msgspec.DecodeError):
            read(raw)
    Census(lambda: 0).look(list[m.OrderAnswer] if kind is BATCH else kind, raw)


READERS = (
    m.decode_user_event,
    m.decode_market_event,
    m.decode_market_array,
    m.decode_market_frame,
    lambda raw: m.decode_message(msgspec.json.Decoder(m.OrderAnswer), raw),
)
DEEP = b"[" * 100_000 + b"]" * 100_000


@settings(max_examples=200, deadline=None)
@example(b'{"e":"\xff"}')
@example(b'{"stream":"\xff","data":{"e":"bookTicker"}}')
@example(DEEP)
@example(b'{"e":"kline","zz":' + DEEP + b"}")
@example(b'{"stream":"x","data":{"e":"kline","zz":' + DEEP + b"}}")
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_bytes_that_are_no_message_are_refused_by_type(raw: bytes) -> None:
    for read in READERS:
        with suppress(msgspec.DecodeError):
            read(raw)
    Census(lambda: 0).strange_frame(raw)
    Census(lambda: 0).look(m.OrderAnswer, raw)


@given(st.integers(2**53, 2**200), st.decimals(allow_nan=False, allow_infinity=False, places=12))
def test_ids_and_numbers_of_any_size_are_exact(number: int, amount: Decimal) -> None:
    answer = msgspec.json.decode(
        b'{"orderId":%d,"symbol":"X","status":"NEW","price":"%s"}' % (number, str(amount).encode()),
        type=m.OrderAnswer,
    )
    assert (answer.order_id, Decimal(answer.price)) == (number, amount)
    assert msgspec.json.decode(m.encode_message(answer), type=m.OrderAnswer) == answer


def test_null_is_read_wherever_the_venue_sends_it() -> None:
    shared = shared_data()
    assert shared is not None
    path = shared / "binance/nautilus/ws_messages/ws_futures_order_update_liquidation_zero_qty.json"
    event = m.decode_user_event(path.read_bytes())
    assert isinstance(event, m.OrderTradeUpdate)
    assert (event.order.commission, event.order.commission_asset, event.order.stop_price) == (None,) * 3
    assert convert.order_event(event, SYMBOLS).fill is None
