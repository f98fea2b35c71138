"""The outcome table, row by row (Binance spec 1.5, 1.6 and section 3; ledger spec 4.4)."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pms.exchange.binance.outcome import Blocks, Effect, Finding, Request, judge, refusal_of
from pms.model.refusal import RefusalCode
from tests.support.paths import data_file

NOW_MS = 1_699_999_992_500  # 2.5 s into a 10 s window, 12.5 s into a minute

PLACE, AMEND, CANCEL, READ = Request.PLACE, Request.AMEND, Request.CANCEL, Request.READ
A, R, N, U = Effect.ACCEPTED, Effect.REFUSED, Effect.NONE, Effect.UNKNOWN
VAGUE = "Unknown error, please check your request or try again later."
THROTTLED = (
    "Request throttled by system-level protection. Reduce-only/close-position orders are exempt. "
    "Please try again."
)
INTERNAL = "Internal error; unable to process your request. Please try again."
NO_WINDOW = "Timestamp for this request is outside of the recvWindow."

ROWS: list[tuple[int, int | None, str, Effect]] = [
    (200, None, "", A),
    (200, 200, "success", A),
    (200, 200, "The operation of cancel all open order is done.", A),
    (200, -2019, "Margin is insufficient.", R),
    (200, -1007, "Timeout waiting for response from backend server.", U),
    (302, None, "moved", U),
    # --- 4xx: certain
    (400, None, "<html>bad request</html>", N),
    (401, -2015, "Invalid API-key, IP, or permissions for action., request ip: 203.0.113.7", R),
    (401, -2014, "API-key format invalid.", R),
    (403, None, "<html>WAF</html>", N),
    (404, None, "<html>", N),
    # --- unknown whatever the status
    (400, -1000, "An unknown error occured while processing the request.", U),
    (400, -1006, "An unexpected response was received from the message bus. Execution status unknown.", U),
    (400, -1007, "Timeout ... Send status unknown; execution status unknown.", U),
    (400, None, "send status unknown; execution status unknown", U),
    (400, None, "Request occur unknown error.", U),
    (503, None, " Request occur unknown error.\n", U),
    (408, -1007, "Timeout waiting for response from backend server.", U),
    (408, None, "", U),
    (500, None, "<html>", U),
    (500, -2019, "Margin is insufficient.", U),
    (502, None, "<html>Bad Gateway</html>", U),
    (504, None, "<html>Gateway Time-out</html>", U),
    (504, -1007, "", U),
    # --- the four kinds of 503, and what only looks like one of them
    (503, None, VAGUE, U),
    (503, -1000, VAGUE, U),
    (503, None, "Service Unavailable.", N),
    (503, 0, "Service Unavailable.", N),
    (503, None, "<html><h1>503 Service Temporarily Unavailable</h1></html>", U),
    (503, None, "<html>Service Unavailable.</html>", U),
    (503, None, "", U),
    (503, -1008, THROTTLED, N),
    (503, -1001, INTERNAL, N),
    (400, -1001, INTERNAL, N),
    (429, -1008, "Server is currently overloaded with other requests.", N),
    # --- limits
    (418, -1003, "Way too many requests; IP(1) banned until 1700000000000.", N),
    (418, None, "<html>", N),
    (429, -1003, "Too many requests", N),
    (400, -1003, "Too many requests", N),
    (429, -1015, "Too many new orders; current limit is 300 orders per TEN_SECONDS.", N),
    (429, None, "", N),
    # --- the clock
    (400, -1021, NO_WINDOW, N),
    (400, -1021, "Timestamp for this request was 1000ms ahead of the server's time.", N),
    (400, -5028, "Timestamp for this request is outside of the ME recvWindow.", N),
    # --- codes of orders
    (400, -1002, "You are not authorized to execute this request.", R),
    (400, -1004, "This IP is already on the white list", R),
    (400, -1005, "No such IP has been white listed", R),
    (400, -1102, "Mandatory parameter 'quantity' was not sent, was empty/null, or malformed.", R),
    (400, -1022, "Signature for this request is not valid.", R),
    (400, -2010, "NEW_ORDER_REJECTED", R),
    (400, -2018, "Balance is insufficient.", R),
    (400, -2019, "Margin is insufficient.", R),
    (400, -2020, "Unable to fill.", R),
    (400, -2022, "ReduceOnly Order is rejected.", R),
    (400, -2023, "User in liquidation mode now.", R),
    (400, -2025, "Reach max open order limit.", R),
    (400, -2027, "Exceeded the maximum allowable position at current leverage.", R),
    (400, -4015, "Client order id is not valid.", R),
    (400, -4016, "Limit price can't be higher than 0.7720058.", R),
    (400, -4061, "Order's position side does not match user's setting.", R),
    (400, -4116, "ClientOrderId is duplicated.", U),
    (400, -4118, "ReduceOnly Order Failed. Please check your existing position and open orders", R),
    (400, -4120, "Order type not supported for this endpoint. Please use the Algo Order API", R),
    (400, -4131, "The counterparty's best price does not meet the PERCENT_PRICE filter limit", R),
    (400, -4164, "Order's notional must be no smaller than 5.0 (unless you choose reduce only)", R),
    (400, -4192, "Trade forbidden due to Cooling-off Period.", R),
    (400, -4400, "Futures Trading Quantitative Rules violated, only reduceOnly order is allowed", R),
    (400, -5021, "Due to the order could not be filled immediately, the FOK order has been rejected.", R),
    (400, -5022, "Due to the order could not be executed as maker, the Post Only order will be rejected", R),
    (400, -9999, "a code of next year", R),
    (503, -9999, "a code of next year", U),
]


@pytest.mark.parametrize(("status", "code", "message", "effect"), ROWS)
def test_effect_on_a_placement(status: int, code: int | None, message: str, effect: Effect) -> None:
    assert judge(status, code, message, now_ms=NOW_MS).effect is effect


BY_REQUEST: list[tuple[Request, int, int, Effect, Finding]] = [
    (CANCEL, 400, -2011, R, Finding.NOT_OPEN),
    (CANCEL, 400, -2013, R, Finding.NOT_OPEN),
    (CANCEL, 400, -2012, U, Finding.NOTHING),
    (CANCEL, 502, -2011, U, Finding.NOTHING),
    (AMEND, 400, -2011, R, Finding.NOT_OPEN),
    (AMEND, 400, -2013, R, Finding.NOT_OPEN),
    (AMEND, 400, -5024, R, Finding.NOTHING),
    (AMEND, 400, -5025, R, Finding.NOTHING),
    (AMEND, 400, -5026, R, Finding.NOTHING),
    (AMEND, 400, -5027, R, Finding.UNCHANGED),
    (AMEND, 400, -5028, N, Finding.NOTHING),
    (AMEND, 400, -5029, R, Finding.NOTHING),
    (AMEND, 400, -5043, N, Finding.NOTHING),
    (AMEND, 400, -5047, R, Finding.NOTHING),
    (AMEND, 503, -5027, U, Finding.NOTHING),
    (AMEND, 300, -2011, U, Finding.NOTHING),
    (CANCEL, 408, -2011, U, Finding.NOTHING),
    (CANCEL, 429, -2011, N, Finding.NOTHING),
    (AMEND, 302, -5043, U, Finding.NOTHING),
    (PLACE, 400, -4116, U, Finding.TAKEN),
    (PLACE, 503, -4116, U, Finding.NOTHING),
    (PLACE, 400, -2013, R, Finding.NOTHING),
    (READ, 400, -2013, R, Finding.NOTHING),
    (READ, 400, -1121, R, Finding.NOTHING),
]


@pytest.mark.parametrize(("request_kind", "status", "code", "effect", "finding"), BY_REQUEST)
def test_a_code_means_what_was_asked_for(
    request_kind: Request, status: int, code: int, effect: Effect, finding: Finding
) -> None:
    verdict = judge(status, code, "", now_ms=NOW_MS, request=request_kind)
    assert (verdict.effect, verdict.finding) == (effect, finding)


@pytest.mark.parametrize(("status", "message"), [(503, "Service Unavailable."), (503, THROTTLED)])
def test_what_the_venue_turned_away_is_not_counted(status: int, message: str) -> None:
    code = -1008 if message is THROTTLED else None
    assert not judge(status, code, message, now_ms=NOW_MS).counted


OBSERVED = msgspec.json.decode(data_file("binance/errors/observed_bodies.json").read_bytes())
CODES = msgspec.json.decode(data_file("binance/errors/error_codes.json").read_bytes())
MAY_HAVE_EXECUTED = {-1000, -1006, -1007}
TAKEN_BACK = {-1001, -1003, -1008, -1015, -1021, -5028}


@pytest.mark.parametrize("seen", OBSERVED, ids=lambda seen: f"{seen['http']} {seen['body']['code']}")
def test_every_observed_body_is_certain(seen: dict[str, Any]) -> None:
    code = seen["body"]["code"]
    verdict = judge(seen["http"], code, seen["body"]["msg"], now_ms=NOW_MS)
    assert verdict.effect is (N if code in TAKEN_BACK else R)
    assert verdict.resync is (code == -1021)


def test_all_documented_codes_have_a_sane_verdict() -> None:
    assert len(CODES) == 207, "the file holds two more than its description says"
    for entry in CODES:
        for message in entry["messages"]:
            for kind in Request:
                verdict = judge(400, entry["code"], message, now_ms=NOW_MS, request=kind)
                if entry["code"] in MAY_HAVE_EXECUTED or (entry["code"], kind) in (
                    (-4116, PLACE),
                    (-2012, CANCEL),
                ):
                    assert verdict.effect is U, entry
                elif entry["code"] in TAKEN_BACK or (entry["code"], kind) == (-5043, AMEND):
                    assert verdict.effect is N, entry
                else:
                    assert verdict.effect is R, entry


@settings(max_examples=400)
@given(
    status=st.integers(100, 599),
    code=st.none() | st.sampled_from([entry["code"] for entry in CODES]) | st.integers(-9999, 999),
    message=st.text(max_size=40) | st.sampled_from([row[2] for row in ROWS]),
    kind=st.sampled_from(Request),
)
def test_no_uncertain_answer_becomes_a_failure(
    status: int, code: int | None, message: str, kind: Request
) -> None:
    verdict = judge(status, code, message, now_ms=NOW_MS, request=kind)
    assert verdict.retry_after_ms >= 0
    uncertain = status >= 500 or status == 408 or 300 <= status < 400 or status < 200
    named = code in {-1001, -1003, -1008, -1015, -1021, -5028} or (
        status == 503 and message.strip() == "Service Unavailable."
    )
    if status != 418 and (code in MAY_HAVE_EXECUTED or (uncertain and not named)):
        assert verdict.effect is U
    if verdict.effect is A:
        assert 200 <= status < 300


@pytest.mark.parametrize("code", [-1021, -5028])
def test_clock_refusals_ask_for_a_measurement(code: int) -> None:
    assert judge(400, code, "", now_ms=NOW_MS).resync


@pytest.mark.parametrize(
    ("code", "message", "header_ms", "wait_ms"),
    [
        (-1003, "Way too many requests; IP(203.0.113.7) banned until 1700000000000.", None, 7_500),
        # Over by our clock, yet it was told: our clock is ahead, and asking at once would make it longer.
        (-1003, "banned until 1699999990000", None, 10_000),
        # No ban lasts longer than three days.
        (-1003, "banned until 9999999999999", None, 3 * 86_400_000 + 3_600_000),
        (-1003, "Too many requests", 3_000, 3_000),
        (-1003, "Way too many requests; IP banned.", None, 120_000),
        (-1003, "Way too many requests; IP banned.", 9_000, 9_000),
        (-1003, "Too many requests", None, 47_500),
        (-1015, "Too many new orders; current limit is 300 orders per TEN_SECONDS.", None, 7_500),
        (-1015, "Too many new orders; current limit is 1200 orders per MINUTE.", None, 47_500),
    ],
)
def test_waiting_time_of_limits(code: int, message: str, header_ms: int | None, wait_ms: int) -> None:
    status = 418 if "Way" in message or "ban" in message else 429
    verdict = judge(status, code, message, now_ms=NOW_MS, retry_after_ms=header_ms)
    assert verdict.retry_after_ms == wait_ms
    assert verdict.blocks is (Blocks.ORDERS if code == -1015 else Blocks.ALL)


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        (-4164, RefusalCode.EXCHANGE_MIN_NOTIONAL),
        (-2019, RefusalCode.EXCHANGE_MARGIN_INSUFFICIENT),
        (-1111, RefusalCode.EXCHANGE_PRECISION),
        (-1116, RefusalCode.EXCHANGE_INVALID_ORDER),
        (-4003, RefusalCode.EXCHANGE_QTY_TOO_SMALL),
        (-4400, RefusalCode.EXCHANGE_REDUCES_ONLY),
        (-4401, RefusalCode.EXCHANGE_REDUCES_ONLY),
        (-2022, RefusalCode.REDUCE_ONLY_REJECTED),
        (-4118, RefusalCode.REDUCE_ONLY_REJECTED),
        (-5022, RefusalCode.POST_ONLY_REJECTED),
        (-1121, RefusalCode.UNKNOWN_SYMBOL),
        (-2025, RefusalCode.OPEN_ORDERS_LIMIT),
        (-4015, RefusalCode.EXCHANGE_REJECTED),
        (0, RefusalCode.EXCHANGE_REJECTED),
    ],
)
def test_refusal_codes(code: int, refusal: RefusalCode) -> None:
    assert refusal_of(code) is refusal
