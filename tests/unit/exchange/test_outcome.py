"""The outcome table, row by row (Binance spec 1.5, 1.6 and section 3; ledger spec 4.4)."""

import pytest

from pms.exchange.binance.outcome import Effect, judge, refusal_of
from pms.model.refusal import RefusalCode

NOW_MS = 1_699_999_992_500  # 2.5 s into a 10 s window, 12.5 s into a minute

ROWS: list[tuple[int, int | None, str, Effect]] = [
    (200, None, "", Effect.ACCEPTED),
    (200, 200, "success", Effect.ACCEPTED),
    (200, -2019, "Margin is insufficient.", Effect.REFUSED),
    (302, None, "moved", Effect.UNKNOWN),
    (400, -1102, "Mandatory parameter", Effect.REFUSED),
    (400, -2019, "Margin is insufficient.", Effect.REFUSED),
    (400, -4116, "ClientOrderId is duplicated.", Effect.UNKNOWN),
    (400, -1000, "An unknown error occured while processing the request.", Effect.UNKNOWN),
    (400, -1006, "execution status unknown", Effect.UNKNOWN),
    (400, -1007, "send status unknown; execution status unknown", Effect.UNKNOWN),
    (400, -1021, "Timestamp for this request is outside of the recvWindow.", Effect.NONE),
    (400, -5028, "", Effect.NONE),
    (400, None, "<html>bad request</html>", Effect.NONE),
    (400, -1000, "Request occur unknown error.", Effect.UNKNOWN),
    (400, None, "Request occur unknown error.", Effect.UNKNOWN),
    (401, -2015, "Invalid API-key, IP, or permissions for action.", Effect.REFUSED),
    (401, -2014, "API-key format invalid.", Effect.REFUSED),
    (403, None, "<html>WAF</html>", Effect.NONE),
    (404, None, "<html>", Effect.NONE),
    (408, -1007, "Timeout waiting for response from backend server.", Effect.UNKNOWN),
    (408, None, "", Effect.UNKNOWN),
    (418, -1003, "Way too many requests; IP(1) banned until 1700000000000.", Effect.NONE),
    (429, -1003, "Too many requests", Effect.NONE),
    (429, -1015, "Too many new orders; current limit is 300 orders per TEN_SECONDS.", Effect.NONE),
    (429, None, "", Effect.NONE),
    (500, None, "<html>", Effect.UNKNOWN),
    (502, None, "<html>Bad Gateway</html>", Effect.UNKNOWN),
    (504, -1007, "", Effect.UNKNOWN),
    (503, None, "Unknown error, please check your request or try again later.", Effect.UNKNOWN),
    (503, -1000, "Unknown error, please check your request or try again later.", Effect.UNKNOWN),
    (503, None, "Service Unavailable.", Effect.NONE),
    (503, 0, "Service Unavailable.", Effect.NONE),
    (503, None, "<html><h1>503 Service Temporarily Unavailable</h1></html>", Effect.UNKNOWN),
    (503, -1008, "Request throttled by system-level protection.", Effect.NONE),
    (503, -1001, "Internal error; unable to process your request. Please try again.", Effect.NONE),
]


@pytest.mark.parametrize(("status", "code", "message", "effect"), ROWS)
def test_effect(status: int, code: int | None, message: str, effect: Effect) -> None:
    assert judge(status, code, message, now_ms=NOW_MS).effect is effect


@pytest.mark.parametrize("code", [-1021, -5028])
def test_clock_refusals_ask_for_a_measurement(code: int) -> None:
    assert judge(400, code, "", now_ms=NOW_MS).resync


@pytest.mark.parametrize(
    ("code", "message", "header_ms", "wait_ms"),
    [
        (-1003, "Way too many requests; IP(203.0.113.7) banned until 1700000000000.", None, 7_500),
        (-1003, "banned until 1699999990000", None, 0),
        (-1003, "Too many requests", 3_000, 3_000),
        (-1003, "Too many requests", None, 47_500),
        (-1015, "Too many new orders; current limit is 300 orders per TEN_SECONDS.", None, 7_500),
        (-1015, "Too many new orders; current limit is 1200 orders per MINUTE.", None, 47_500),
    ],
)
def test_waiting_time_of_limits(code: int, message: str, header_ms: int | None, wait_ms: int) -> None:
    verdict = judge(429, code, message, now_ms=NOW_MS, retry_after_ms=header_ms)
    assert verdict.retry_after_ms == wait_ms
    assert verdict.blocks_orders is (code == -1015)
    assert verdict.blocks_all is (code == -1003)


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        (-4164, RefusalCode.EXCHANGE_MIN_NOTIONAL),
        (-2019, RefusalCode.EXCHANGE_MARGIN_INSUFFICIENT),
        (-1111, RefusalCode.EXCHANGE_PRECISION),
        (-1116, RefusalCode.EXCHANGE_INVALID_ORDER),
        (-4003, RefusalCode.EXCHANGE_QTY_TOO_SMALL),
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
