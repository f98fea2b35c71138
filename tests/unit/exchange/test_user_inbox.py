"""Private events: each once, and orders that were confirmed without one."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from pms.exchange.binance import user_inbox
from pms.exchange.binance.user_inbox import Expected, Inbox, Item, Missed, Seen
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


def names(items: Sequence[Item]) -> list[str]:
    return [item.order.client_order_id if isinstance(item, OrderTradeUpdate) else "acct" for item in items]


def test_events_of_different_orders_come_together_and_those_of_one_order_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inbox = Inbox(100)
    for item in (order(c="b"), account(), order(c="c"), order(c="a"), order(c="d")):
        inbox.put(item)
    assert names(inbox.together_with(order(c="a"))) == ["b", "acct", "c"]
    assert len(inbox) == 2, "a second event of an order waits until the first is handled"
    monkeypatch.setattr(user_inbox, "TOGETHER_MAX", 2)
    assert len(inbox.together_with(order(c="e"))) == 1


def test_what_asks_for_the_truth_or_moves_money_otherwise_comes_alone() -> None:
    change = msgspec.structs.replace(account().account, reason="FUNDING_FEE")
    for alone in (Missed("test"), msgspec.structs.replace(account(), account=change)):
        inbox = Inbox(100)
        inbox.put(alone)
        inbox.put(order(c="b"))
        assert inbox.together_with(order(c="a")) == []
        assert inbox.together_with(alone) == []
