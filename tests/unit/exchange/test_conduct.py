"""Whose orders endanger the right to trade: counting the parts, and who waits first (decision 0026)."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from pms.exchange.binance.conduct import ACCOUNT, ORDERS_MIN, OTHERS, Conduct, Contributions, Reading
from pms.exchange.port import OrderReport
from pms.limits import (
    CONDUCT_ORDERS_MAX,
    CONDUCT_PAIRS_MAX,
    CONDUCT_WINDOW_MS,
    TRADING_STATUS_INTERVAL_MS,
)
from pms.model.ids import ClientOrderId, ExchangeOrderId
from pms.model.money import Price, Quantity
from pms.model.order import ApprovedOrder, ExchangeOrderStatus, OrderType, TimeInForce
from pms.model.symbol import Symbol
from tests.unit.exchange.test_amending import REPLACEMENT

BTC, ETH = Symbol("BTC/USDT:USDT"), Symbol("ETH/USDT:USDT")
NOW = 1_700_000_100_000 // CONDUCT_WINDOW_MS * CONDUCT_WINDOW_MS
STATUS = ExchangeOrderStatus


def order(number: int, symbol: Symbol = BTC, **changes: Any) -> ApprovedOrder:
    one = replace(REPLACEMENT, client_order_id=ClientOrderId(f"o{number}"), symbol=symbol)
    return replace(one, **changes)


def end(one: ApprovedOrder, status: STATUS, executed: str = "0") -> OrderReport:
    amounts = one.quantity, one.price or Price(Decimal(0)), Quantity(Decimal(executed))
    return OrderReport(
        one.symbol, ExchangeOrderId("1"), one.client_order_id, one.side, status, *amounts, None, 0
    )


IOC: dict[str, Any] = {"time_in_force": TimeInForce.IOC}
MARKET: dict[str, Any] = {"type": OrderType.MARKET, "price": None}
TINY: dict[str, Any] = {"quantity": Quantity(Decimal("0.1"))}

ENDS: list[tuple[str, dict[str, Any], STATUS, str, set[str]]] = [
    ("filled", {}, STATUS.FILLED, "5", set()),
    ("partly filled, then cancelled", {}, STATUS.CANCELLED, "1", set()),
    ("cancelled without a fill", {}, STATUS.CANCELLED, "0", {"UFR", "GCR"}),
    ("expired by a self match", {}, STATUS.SELF_MATCH, "0", {"UFR"}),
    ("an IOC without a fill", IOC, STATUS.EXPIRED, "0", {"UFR", "IFER"}),
    ("a market order without a fill", MARKET, STATUS.EXPIRED, "0", {"UFR", "IFER"}),
    ("an IOC with a fill", IOC, STATUS.EXPIRED, "2", set()),
    ("dust", TINY, STATUS.FILLED, "0.1", {"DR"}),
    ("still open", {}, STATUS.PARTIALLY_FILLED, "1", set()),
]


@pytest.mark.parametrize(
    ("changes", "status", "executed", "ratios"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS]
)
def test_what_an_order_contributes_to(
    changes: dict[str, Any], status: STATUS, executed: str, ratios: set[str]
) -> None:
    parts = Contributions()
    one = order(1, **changes)
    parts.placed(one, "aaaaaaaa", NOW)
    for _ in range(2):  # the answer and the stream both tell it
        parts.ended(end(one, status, executed), NOW)
    found = {name: parts.ranking(BTC, name, NOW) for name in ("UFR", "IFER", "GCR", "DR")}
    assert {name for name, ranking in found.items() if ranking} == ratios
    assert all(ranking in ([], [("aaaaaaaa", 1)]) for ranking in found.values())


def test_an_order_that_the_exchange_did_not_take_counts_for_nothing() -> None:
    parts = Contributions()
    one = order(1, **TINY)
    parts.placed(one, "aaaaaaaa", NOW)
    parts.withdrawn(one, "aaaaaaaa", NOW)
    parts.ended(end(one, STATUS.CANCELLED), NOW)
    assert parts.ranking(BTC, "UFR", NOW) == parts.ranking(BTC, "DR", NOW) == []


def cancel(conduct: Conduct, owner: str, count: int, symbol: Symbol = BTC, now_ms: int = NOW) -> None:
    for number in range(count):
        one = replace(order(number, symbol), client_order_id=ClientOrderId(f"{owner}{symbol}{number}"))
        conduct.contributions.placed(one, owner, now_ms)
        conduct.contributions.ended(end(one, STATUS.CANCELLED), now_ms)


def test_parts_are_forgotten_after_the_window_and_bounded() -> None:
    conduct = Conduct()
    cancel(conduct, "aaaaaaaa", 3)
    parts = conduct.contributions
    assert parts.ranking(BTC, "GCR", NOW + CONDUCT_WINDOW_MS // 2) == [("aaaaaaaa", 3)]
    assert parts.ranking(BTC, "GCR", NOW + CONDUCT_WINDOW_MS) == []
    for number in range(CONDUCT_PAIRS_MAX + 3):
        one = order(number)
        parts.placed(one, f"{number:08}", NOW + CONDUCT_WINDOW_MS)
        parts.ended(end(one, STATUS.CANCELLED), NOW + CONDUCT_WINDOW_MS)
    assert len(parts) == CONDUCT_PAIRS_MAX + 1
    assert parts.ranking(BTC, "GCR", NOW + CONDUCT_WINDOW_MS)[0] == (OTHERS, 3)
    for number in range(CONDUCT_ORDERS_MAX + 3):
        parts.placed(order(number), "aaaaaaaa", NOW)
    assert len(parts._open) == CONDUCT_ORDERS_MAX


def reading(value: str, scope: str = BTC, indicator: str = "GCR", locked: bool = False) -> Reading:
    return Reading(scope, indicator, Decimal(value), Decimal("0.99"), locked, NOW + 900_000 if locked else 0)


def waiting(conduct: Conduct, symbol: Symbol = BTC, now_ms: int = NOW) -> str:
    owners = ("aaaaaaaa", "bbbbbbbb", "cccccccc")
    return "".join(owner[0] for owner in owners if conduct.pause(symbol, owner, now_ms) is not None)


SEQUENCES: list[tuple[str, list[str], list[str]]] = [
    ("far from the limit", ["0.5", "0.7"], ["", ""]),
    ("near it: the biggest waits", ["0.9"], ["a"]),
    ("it falls: nobody else waits", ["0.95", "0.94", "0.93", "0.92"], ["a", "a", "a", "a"]),
    ("between calm and near: as it was", ["0.95", "0.85"], ["a", "a"]),
    ("calm: everybody goes on", ["0.95", "0.78"], ["a", ""]),
    ("it does not help: the next one waits too", ["0.95", "0.95", "0.95"], ["a", "a", "ab"]),
    (
        "nor that: all who have a part",
        ["0.95", "0.96", "0.96", "0.97", "0.97"],
        ["a", "a", "ab", "ab", "abc"],
    ),
    ("it rises, then falls", ["0.95", "0.96", "0.90", "0.90"], ["a", "a", "a", "a"]),
]


@pytest.mark.parametrize(
    ("values", "expected"), [row[1:] for row in SEQUENCES], ids=[row[0] for row in SEQUENCES]
)
def test_who_waits(values: list[str], expected: list[str]) -> None:
    conduct = Conduct()
    for owner, count in (("aaaaaaaa", 90), ("bbbbbbbb", 40), ("cccccccc", 10)):
        cancel(conduct, owner, count)
    seen = []
    for value in values:
        conduct.read([reading(value)], NOW)
        seen.append(waiting(conduct))
    assert seen == expected


def test_nobody_waits_for_a_ratio_of_a_few_orders() -> None:
    conduct = Conduct()
    cancel(conduct, "aaaaaaaa", ORDERS_MIN - 1)
    conduct.read([reading("1")], NOW)
    assert waiting(conduct) == ""
    cancel(conduct, "bbbbbbbb", 1)
    conduct.read([reading("1")], NOW)
    assert waiting(conduct) == "a"


def test_the_refusal_says_why_and_until_when() -> None:
    conduct = Conduct()
    cancel(conduct, "aaaaaaaa", ORDERS_MIN)
    conduct.read([reading("0.95")], NOW)
    pause = conduct.pause(BTC, "aaaaaaaa", NOW + 10_000)
    assert pause is not None
    assert "GCR" in pause.reason
    assert pause.retry_after_ms == TRADING_STATUS_INTERVAL_MS - 10_000
    assert conduct.pause(ETH, "aaaaaaaa", NOW) is None, "other symbols are not concerned"
    assert conduct.statistics().held == {f"{BTC} GCR": ("aaaaaaaa",)}


def test_nobody_waits_for_ever_when_the_readings_stop() -> None:
    conduct = Conduct()
    cancel(conduct, "aaaaaaaa", ORDERS_MIN)
    conduct.read([reading("0.95")], NOW)
    assert conduct.pause(BTC, "aaaaaaaa", NOW + 7 * TRADING_STATUS_INTERVAL_MS) is None


def test_a_locked_symbol_takes_only_reducing_orders_of_anybody_until_it_recovers() -> None:
    conduct = Conduct()
    conduct.read([reading("0.99", locked=True)], NOW)
    pause = conduct.pause(BTC, "zzzzzzzz", NOW)
    assert pause is not None
    assert pause.retry_after_ms == 900_000
    assert conduct.pause(ETH, "zzzzzzzz", NOW) is None
    assert conduct.pause(BTC, "zzzzzzzz", NOW + 900_000) is None
    conduct.read([reading("10", ACCOUNT, "TMV", locked=True)], NOW)
    assert conduct.pause(ETH, "zzzzzzzz", NOW) is not None
    conduct.read([], NOW)
    assert conduct.pause(ETH, "zzzzzzzz", NOW) is None


def test_after_a_refusal_by_the_rules_a_symbol_waits_even_if_the_reading_knows_of_no_lock() -> None:
    conduct = Conduct()
    conduct.refused(BTC, NOW)
    conduct.read([reading("0.5")], NOW + 1)
    pause = conduct.pause(BTC, "zzzzzzzz", NOW + 1_000)
    assert pause is not None
    assert pause.retry_after_ms == TRADING_STATUS_INTERVAL_MS - 1_000
    assert conduct.pause(ETH, "zzzzzzzz", NOW) is None
    assert conduct.pause(BTC, "zzzzzzzz", NOW + TRADING_STATUS_INTERVAL_MS) is None


def test_ratios_of_the_account_count_all_symbols() -> None:
    conduct = Conduct()
    cancel(conduct, "aaaaaaaa", 60)
    cancel(conduct, "bbbbbbbb", 70, ETH)
    conduct.read([reading("0.95", ACCOUNT, "TMV")], NOW)
    assert waiting(conduct, BTC) == waiting(conduct, ETH) == "b"
