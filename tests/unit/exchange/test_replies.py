"""Answers to batches: every element ends in its own value, and what cannot be tied is unknown (spec 2.2)."""

from typing import Any

import msgspec
import pytest

from pms.exchange.binance.conversation import Answer, Silence
from pms.exchange.binance.outcome import Effect, Request, Verdict, judge
from pms.exchange.binance.replies import cancel_outcome, place_outcome, replies_of
from pms.exchange.binance.symbols import SymbolDirectory, SymbolMap
from pms.exchange.messages import ExchangeInfo, SymbolInfo
from pms.exchange.port import CancelVerdict, Confirmed, NotSent, OutcomeUnknown, RefusedByExchange
from pms.model.ids import ClientOrderId
from pms.model.refusal import RefusalCode
from tests.support.paths import data_file
from tests.unit.exchange.test_binance_parts import Clock

IDS = [ClientOrderId(f"PMSabcdefgh_L_{number}") for number in (1, 2, 3)]
NOW_MS = 1_700_000_052_500


def symbols() -> SymbolDirectory:
    async def load() -> ExchangeInfo:
        raise AssertionError("nothing is loaded here")

    directory = SymbolDirectory(load, "USDT", Clock())
    btc = SymbolInfo(
        symbol="BTCUSDT",
        contract_type="PERPETUAL",
        status="TRADING",
        base_asset="BTC",
        quote_asset="USDT",
        margin_asset="USDT",
    )
    directory.map = SymbolMap.of(ExchangeInfo(symbols=[btc]), "USDT")
    return directory


def placed(number: int, **more: object) -> dict[str, object]:
    order = {"orderId": 2**60 + number, "symbol": "BTCUSDT", "status": "NEW", "side": "BUY", "origQty": "1"}
    return order | {"clientOrderId": IDS[number - 1], "executedQty": "0", "price": "5"} | more


def answer(body: object, status: int = 200, code: int | None = None, message: str = "") -> Answer:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    verdict = judge(status, code, message, now_ms=NOW_MS)
    return Answer(status, raw, code, message, verdict, NOW_MS, 2000)


def error(code: int) -> dict[str, object]:
    return {"code": code, "msg": f"text of {code}"}


C, R, N, U = Confirmed, RefusedByExchange, NotSent, OutcomeUnknown

BATCHES: list[tuple[str, Any, list[type]]] = [
    ("all accepted", [placed(1), placed(2), placed(3)], [C, C, C]),
    ("one refused", [placed(1), error(-2022), placed(3)], [C, R, C]),
    ("all refused, with HTTP 200", [error(-2019), error(-4164), error(-1111)], [R, R, R]),
    ("an element of unknown fate", [placed(1), error(-1007), error(-4116)], [C, U, U]),
    ("an element too late", [placed(1), error(-5028), error(-1008)], [C, N, N]),
    ("an unreadable element", [placed(1), {"orderId": 7}, placed(3)], [C, U, C]),
    ("not even an object", [placed(1), 5, None], [C, U, U]),
    ("a short list: only what carries its id is tied", [placed(3), error(-2022)], [U, U, C]),
    ("a long list", [placed(1), placed(2), placed(3), error(-2022)], [C, C, C]),
    ("orders in another order are tied by their id", [placed(2), placed(1), placed(3)], [C, C, C]),
    ("the order of somebody else", [placed(1), placed(2, clientOrderId="x-other"), placed(3)], [C, U, C]),
    ("an order with a state of next year", [placed(1), placed(2, status="HALF"), placed(3)], [C, C, C]),
    ("an order on a side of next year", [placed(1), placed(2, side="HOLD"), placed(3)], [C, U, C]),
    ("an empty list", [], [U, U, U]),
    ("no list", {"hello": 1}, [U, U, U]),
    ("HTML with 200", b"<html>", [U, U, U]),
]


@pytest.mark.parametrize(("body", "kinds"), [row[1:] for row in BATCHES], ids=[row[0] for row in BATCHES])
def test_each_element_has_its_own_outcome(body: object, kinds: list[type]) -> None:
    replies = replies_of(answer(body), IDS, symbols(), Request.PLACE, NOW_MS)
    outcomes = [place_outcome(each) for each in replies]
    assert [type(each) for each in outcomes] == kinds
    for number, outcome in enumerate(outcomes, 1):
        if isinstance(outcome, Confirmed):
            assert outcome.report.client_order_id == IDS[number - 1]
            assert outcome.report.order_id == str(2**60 + number), "beyond 2**53, exact"
        else:
            assert outcome != NotSent("", 0)


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (400, -1022, "Signature for this request is not valid.", R),
        (400, -4082, "Invalid number of batch place orders.", R),
        (429, -1015, "Too many new orders; current limit is 300 orders per TEN_SECONDS.", N),
        (503, -1008, "Request throttled by system-level protection.", N),
        (400, -1021, "Timestamp for this request is outside of the recvWindow.", N),
        (408, -1007, "Timeout waiting for response from backend server.", U),
        (502, None, "<html>", U),
        (503, None, "Unknown error, please check your request or try again later.", U),
    ],
)
def test_an_error_of_the_whole_request_applies_to_each(
    status: int, code: int | None, message: str, kind: type
) -> None:
    replies = replies_of(answer({}, status, code, message), IDS, symbols(), Request.PLACE, NOW_MS)
    assert [type(place_outcome(each)) for each in replies] == [kind] * 3


def test_a_lost_answer_is_unknown_for_each_and_keeps_what_it_was_signed_with() -> None:
    assert place_outcome(Silence(True, "cut", 0, NOW_MS, 2000)) == OutcomeUnknown("cut", NOW_MS, 2000)
    assert place_outcome(Silence(False, "no route", 9, NOW_MS, 2000)) == NotSent("no route", 9)
    assert cancel_outcome(Silence(True, "cut", 0, NOW_MS, 2000)).verdict is CancelVerdict.UNKNOWN
    assert cancel_outcome(Silence(False, "no", 0, NOW_MS, 2000)).verdict is CancelVerdict.NOT_SENT


def test_cancelled_elements() -> None:
    body = [placed(1, status="CANCELED"), error(-2011), error(-1007)]
    replies = replies_of(answer(body), IDS, symbols(), Request.CANCEL, NOW_MS)
    verdicts = [cancel_outcome(each).verdict for each in replies]
    assert verdicts == [CancelVerdict.CANCELLED, CancelVerdict.NOT_OPEN, CancelVerdict.UNKNOWN]


@pytest.mark.parametrize("name", ["batch_place_partial_failure", "batch_cancel_partial_failure"])
def test_recorded_partial_failures(name: str) -> None:
    body = data_file(f"binance/constructed/{name}.json").read_bytes()
    count = len(msgspec.json.decode(body))
    ids = [ClientOrderId("batch-1"), ClientOrderId("batch-2"), ClientOrderId("batch-3")][:count]
    request = Request.PLACE if "place" in name else Request.CANCEL
    replies = replies_of(answer(body), ids, symbols(), request, NOW_MS)
    assert [each.verdict.effect for each in replies] == [Effect.ACCEPTED] + [Effect.REFUSED] * (count - 1)


def test_refusals_of_elements_are_ours() -> None:
    body = [error(-5025), error(-5026), error(-2013)]
    replies = replies_of(answer(body), IDS, symbols(), Request.AMEND, NOW_MS)
    refusals = [place_outcome(each).refusal for each in replies]  # type: ignore[union-attr]
    assert refusals == [RefusalCode.AMENDMENT_REFUSED] * 2 + [RefusalCode.ORDER_NOT_PENDING]
    assert replies[0].verdict == Verdict(Effect.REFUSED)
