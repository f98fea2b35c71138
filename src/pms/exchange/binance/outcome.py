"""What an answer of the exchange proves about an order: the one table of HTTP status, text and code.

Rows are those of Binance spec 1.5 and section 3. The rule behind them: an effect that is not *certainly*
absent is unknown, and unknown is never mapped to failure (decision 2).
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from pms.model.refusal import RefusalCode


class Effect(StrEnum):
    """ACCEPTED: done. REFUSED: not executed, and repeating is useless. NONE: not executed, may be sent again.
    UNKNOWN: may or may not have been executed."""

    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"
    NONE = "NONE"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`retry_after_ms` is a hint for NONE. `resync`: our clock is off. `blocks_*`: stop such requests."""

    effect: Effect
    retry_after_ms: int = 0
    resync: bool = False
    blocks_all: bool = False
    blocks_orders: bool = False


UNKNOWN_CODES = frozenset({-1000, -1006, -1007, -4116})
"""Execution status unknown; -4116: an open order has this id, so it must be looked up, not refused."""

CLOCK_CODES = frozenset({-1021, -5028})
"""Outside the receive window, seen at the door or by the matching engine: nothing executed."""

REFUSALS = {
    -4164: RefusalCode.EXCHANGE_MIN_NOTIONAL,
    -2019: RefusalCode.EXCHANGE_MARGIN_INSUFFICIENT,
    -1111: RefusalCode.EXCHANGE_PRECISION,
    -1116: RefusalCode.EXCHANGE_INVALID_ORDER,
    -4003: RefusalCode.EXCHANGE_QTY_TOO_SMALL,
    -2022: RefusalCode.REDUCE_ONLY_REJECTED,
    -4118: RefusalCode.REDUCE_ONLY_REJECTED,
    -5022: RefusalCode.POST_ONLY_REJECTED,
    -1121: RefusalCode.UNKNOWN_SYMBOL,
    -2025: RefusalCode.OPEN_ORDERS_LIMIT,
}
"""Ledger spec 4.4, with the codes that this system tells apart."""

NOT_OPEN_CODES = frozenset({-2011, -2013})

_BANNED_UNTIL = re.compile(r"banned until (\d{13})")
_RETRY_MS = 1_000
_FORBIDDEN_MS = 10_000
_SERVICE_UNAVAILABLE = "Service Unavailable."
_VAGUE_ERROR = "Request occur unknown error."


def refusal_of(code: int) -> RefusalCode:
    """Return our refusal for a code of the exchange; EXCHANGE_REJECTED for all without one of their own."""
    return REFUSALS.get(code, RefusalCode.EXCHANGE_REJECTED)


def judge(
    status: int, code: int | None, message: str, *, now_ms: int, retry_after_ms: int | None = None
) -> Verdict:
    """Return what an answer proves. `now_ms` is the exchange's time, `retry_after_ms` the header, if any.

    `code` is None for a body without one (HTML, plain text); `message` then is the body's text.
    """
    if status in (418, 429) or code in (-1003, -1015):
        return _limited(code, message, now_ms, retry_after_ms)
    if code in UNKNOWN_CODES or message.strip() == _VAGUE_ERROR:
        return Verdict(Effect.UNKNOWN)
    if code in CLOCK_CODES:
        return Verdict(Effect.NONE, resync=True)
    if code in (-1001, -1008) or (status == 503 and message.strip() == _SERVICE_UNAVAILABLE):
        return Verdict(Effect.NONE, _RETRY_MS)
    if 200 <= status < 300:
        return Verdict(Effect.REFUSED if code is not None and code < 0 else Effect.ACCEPTED)
    if status == 408 or status >= 500 or status < 400:
        return Verdict(Effect.UNKNOWN)
    if code is not None:
        return Verdict(Effect.REFUSED)
    return Verdict(Effect.NONE, _FORBIDDEN_MS if status == 403 else _RETRY_MS)


# Limits are fixed windows aligned to the clock (spec 1.6), so the next window is a sound retry time.
def _limited(code: int | None, message: str, now_ms: int, retry_after_ms: int | None) -> Verdict:
    banned = _BANNED_UNTIL.search(message)
    orders_only = code == -1015
    if banned:
        wait_ms = max(0, int(banned.group(1)) - now_ms)
    elif retry_after_ms is not None:
        wait_ms = retry_after_ms
    else:
        window_ms = 10_000 if orders_only and "TEN_SECONDS" in message.upper() else 60_000
        wait_ms = window_ms - now_ms % window_ms
    return Verdict(Effect.NONE, wait_ms, blocks_all=not orders_only, blocks_orders=orders_only)
