"""Private events: each once, and orders that were confirmed without one."""

from typing import Any

import msgspec
import pytest

from pms.exchange.binance import user_inbox
from pms.exchange.binance.user_inbox import Expected, Seen
from pms.exchange.messages import AccountUpdate, OrderTradeUpdate

ORDER: dict[str, Any] = {"s": "BTCUSDT", "c": "a", "S": "BUY", "o": "LIMIT", "f": "GTC", "q": "2", "p": "5"}
ORDER |= {
    "ap": "0",
    "x": "TRADE",
    "X": "PARTIALLY_FILLED",
    "i": 7,
    "l": "1",
    "z": "1",
    "L": "5",
    "T": 9,
    "t": 3,
}


def order(time_ms: int = 9, event_ms: int = 9, **changes: object) -> OrderTradeUpdate:
    body = {"e": "ORDER_TRADE_UPDATE", "E": event_ms, "T": time_ms, "o": ORDER | changes}
    return msgspec.convert(body, OrderTradeUpdate)


def account(amount: str = "1", time_ms: int = 9) -> AccountUpdate:
    change = {
        "m": "ORDER",
        "B": [{"a": "USDT", "wb": "5", "cw": "5", "bc": "0"}],
        "P": [{"s": "BTCUSDT", "pa": amount, "ep": "5"}],
    }
    return msgspec.convert({"e": "ACCOUNT_UPDATE", "E": 9, "T": time_ms, "a": change}, AccountUpdate)


OTHERS: list[OrderTradeUpdate | AccountUpdate] = [
    order(t=4),
    order(i=8),
    order(x="AMENDMENT"),
    order(10),
    order(X="FILLED"),
    order(z="2"),
    order(q="3"),
    order(p="6"),
    order(s="ETHUSDT"),
    account(),
    account("2"),
    account(time_ms=10),
]


def test_an_event_is_told_by_all_that_it_says_but_its_arrival() -> None:
    seen = Seen()
    assert seen.first(order())
    assert not seen.first(order(event_ms=12)), "sent again later, the same event"
    for other in OTHERS:
        assert seen.first(other)
        assert not seen.first(other)
    assert seen.repeated == 1 + len(OTHERS)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_inbox, "SEEN_MAX", 2)
    monkeypatch.setattr(user_inbox, "EXPECTED_MAX", 2)
    seen = Seen()
    assert [seen.first(order(t=number)) for number in (1, 2, 3, 1, 3)] == [True, True, True, True, False]
    expected = Expected()
    for number in range(4):
        expected.told(str(number))
    expected.expect("0", 1.0)
    assert expected.overdue(9.0, 5.0), "forgotten that it came"


def test_an_order_is_overdue_only_when_no_event_of_it_came() -> None:
    expected = Expected()
    expected.told("7")
    expected.expect("7", 0.0)
    assert not expected.overdue(100.0, 10.0), "the event overtook the answer"
    expected.expect("8", 100.0)
    expected.expect("8", 109.0)
    assert not expected.overdue(110.0, 10.0)
    assert expected.overdue(110.1, 10.0)
    expected.told("8")
    assert not expected.overdue(200.0, 10.0)
    expected.expect("9", 0.0)
    expected.forget()
    assert not expected.overdue(200.0, 10.0)
