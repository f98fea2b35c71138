"""What an answer of the exchange proves about a request: the one table of HTTP status, text and code.

The rule behind the rows (Binance spec 1.5, 1.6 and section 3): an effect that is not *certainly* absent is
unknown, and unknown is never mapped to failure (decision 2). What a code means depends on the request: -2011
says nothing new of an order that was to be placed, but that one that was to be cancelled is not open.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from pms.exchange.binance.budget import BAN_MS_MAX
from pms.model.refusal import RefusalCode


class Request(Enum):
    """What was asked for. READ is everything that changes no order."""

    PLACE = auto()
    AMEND = auto()
    CANCEL = auto()
    READ = auto()


class Effect(StrEnum):
    """ACCEPTED: done. REFUSED: not executed, and repeating is useless. NONE: not executed, may be sent again.
    UNKNOWN: may or may not have been executed."""

    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"
    NONE = "NONE"
    UNKNOWN = "UNKNOWN"


class Finding(Enum):
    """What a refusal tells of the order itself. NOT_OPEN: it does not rest (any more); its end must be
    queried. UNCHANGED: it has the asked price and quantity already; its state must be queried. TAKEN: an open
    order has this client order id: most likely this very order, sent before."""

    NOTHING = auto()
    NOT_OPEN = auto()
    UNCHANGED = auto()
    TAKEN = auto()


class Blocks(Enum):
    """What must not be sent for a while: ORDERS placements and changes only, ALL everything."""

    NOTHING = auto()
    ORDERS = auto()
    ALL = auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """`retry_after_ms` is a hint for NONE and the length of a block. `resync`: our clock is off. `counted`
    False: the venue does not count the request in its limits."""

    effect: Effect
    retry_after_ms: int = 0
    resync: bool = False
    blocks: Blocks = Blocks.NOTHING
    finding: Finding = Finding.NOTHING
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """One row: it applies when every condition holds; an empty one always does. `status` holds the first and
    the last HTTP status; `text`, in lower case, is found in the message, with `whole` it is all of it."""

    verdict: Verdict
    codes: frozenset[int] = frozenset()
    status: tuple[int, int] | None = None
    text: str = ""
    whole: bool = False
    requests: frozenset[Request] = frozenset()

    def applies(self, status: int, code: int | None, text: str, request: Request) -> bool:
        """Tell whether all conditions of the row hold; `text` in lower case."""
        return (
            (not self.codes or code in self.codes)
            and (self.status is None or self.status[0] <= status <= self.status[1])
            and (not self.text or (self.text == text if self.whole else self.text in text))
            and (not self.requests or request in self.requests)
        )


def _codes(*codes: int) -> frozenset[int]:
    return frozenset(codes)


_PLACE, _AMEND, _CANCEL = (frozenset({one}) for one in (Request.PLACE, Request.AMEND, Request.CANCEL))

_REFUSED = Verdict(Effect.REFUSED)
_UNKNOWN = Verdict(Effect.UNKNOWN)
_LATER = Verdict(Effect.NONE, 1_000)
_UNCOUNTED = Verdict(Effect.NONE, 1_000, counted=False)
_CLOCK = Verdict(Effect.NONE, resync=True)
_LIMIT_ALL = Verdict(Effect.NONE, blocks=Blocks.ALL)
_LIMIT_ORDERS = Verdict(Effect.NONE, blocks=Blocks.ORDERS)
_NOT_OPEN = Verdict(Effect.REFUSED, finding=Finding.NOT_OPEN)

TABLE: tuple[Row, ...] = (
    # --- limits and bans: certain, and nothing goes on until the time that the answer names (spec 1.6)
    Row(_LIMIT_ALL, status=(418, 418)),
    Row(_LIMIT_ALL, _codes(-1003)),
    Row(_LIMIT_ORDERS, _codes(-1015)),
    # --- the venue itself does not know (spec 1.5): whatever the HTTP status
    Row(_UNKNOWN, _codes(-1000, -1006, -1007)),
    Row(_UNKNOWN, text="execution status unknown"),
    Row(_UNKNOWN, text="unknown error, please check your request"),
    Row(_UNKNOWN, text="request occur unknown error"),
    # --- certain, may be sent again
    Row(_CLOCK, _codes(-1021, -5028)),
    Row(_LATER, _codes(-1001)),
    Row(_UNCOUNTED, _codes(-1008)),
    Row(_UNCOUNTED, status=(503, 503), text="service unavailable.", whole=True),
    # --- by the status alone; a gateway's page (500, 502, 504, a 503 of another text) proves nothing.
    Row(_LIMIT_ALL, status=(429, 429)),
    Row(_UNKNOWN, status=(408, 408)),
    Row(_UNKNOWN, status=(500, 599)),
    Row(_UNKNOWN, status=(300, 399)),
    Row(_UNKNOWN, status=(0, 199)),
    # --- what is left is certain; some codes tell something of the order besides
    Row(Verdict(Effect.UNKNOWN, finding=Finding.TAKEN), _codes(-4116), requests=_PLACE),
    Row(_NOT_OPEN, _codes(-2011, -2013), requests=_AMEND | _CANCEL),
    Row(Verdict(Effect.REFUSED, finding=Finding.UNCHANGED), _codes(-5027), requests=_AMEND),
    Row(Verdict(Effect.NONE, 500), _codes(-5043), requests=_AMEND),
    # A batch cancel that failed as a whole may have cancelled a part.
    Row(_UNKNOWN, _codes(-2012), requests=_CANCEL),
)
"""The first row that applies decides; then `judge` ends with what is left: 2xx and 4xx."""

REFUSALS: Mapping[int, RefusalCode] = {
    -4164: RefusalCode.EXCHANGE_MIN_NOTIONAL,
    -5029: RefusalCode.EXCHANGE_MIN_NOTIONAL,
    -2018: RefusalCode.EXCHANGE_MARGIN_INSUFFICIENT,
    -2019: RefusalCode.EXCHANGE_MARGIN_INSUFFICIENT,
    -2027: RefusalCode.EXCHANGE_MARGIN_INSUFFICIENT,
    -1111: RefusalCode.EXCHANGE_PRECISION,
    -4014: RefusalCode.EXCHANGE_PRECISION,
    -4023: RefusalCode.EXCHANGE_PRECISION,
    -1115: RefusalCode.EXCHANGE_INVALID_ORDER,
    -1116: RefusalCode.EXCHANGE_INVALID_ORDER,
    -1117: RefusalCode.EXCHANGE_INVALID_ORDER,
    -4120: RefusalCode.EXCHANGE_INVALID_ORDER,
    -5025: RefusalCode.AMENDMENT_REFUSED,
    -5026: RefusalCode.AMENDMENT_REFUSED,
    -4003: RefusalCode.EXCHANGE_QTY_TOO_SMALL,
    -4004: RefusalCode.EXCHANGE_QTY_TOO_SMALL,
    -2022: RefusalCode.REDUCE_ONLY_REJECTED,
    -2024: RefusalCode.REDUCE_ONLY_REJECTED,
    -4118: RefusalCode.REDUCE_ONLY_REJECTED,
    -5022: RefusalCode.POST_ONLY_REJECTED,
    -1121: RefusalCode.UNKNOWN_SYMBOL,
    -1122: RefusalCode.UNKNOWN_SYMBOL,
    -4140: RefusalCode.UNKNOWN_SYMBOL,
    -4141: RefusalCode.UNKNOWN_SYMBOL,
    -5024: RefusalCode.UNKNOWN_SYMBOL,
    -4087: RefusalCode.EXCHANGE_REDUCES_ONLY,
    -4400: RefusalCode.EXCHANGE_REDUCES_ONLY,
    -4401: RefusalCode.EXCHANGE_REDUCES_ONLY,
    -2025: RefusalCode.OPEN_ORDERS_LIMIT,
    -2011: RefusalCode.ORDER_NOT_PENDING,
    -2013: RefusalCode.ORDER_NOT_PENDING,
}
"""Ledger spec 4.4, with the codes that this system tells apart."""

_BANNED_UNTIL = re.compile(r"banned until (\d{13})")
_FORBIDDEN_MS = 10_000
_OVER_MS = 10_000
"""The wait after a ban that is over by our clock: that it was told shows that our clock is ahead."""
_BAN_MS_MIN = 120_000
"""The shortest ban (spec 1.6), for one that does not say how long it is."""


def refusal_of(code: int) -> RefusalCode:
    """Return our refusal for a code of the exchange; EXCHANGE_REJECTED for all without one of their own."""
    return REFUSALS.get(code, RefusalCode.EXCHANGE_REJECTED)


def judge(
    status: int,
    code: int | None,
    message: str,
    *,
    now_ms: int,
    retry_after_ms: int | None = None,
    request: Request = Request.PLACE,
) -> Verdict:
    """Return what an answer proves. `now_ms` is the exchange's time, `retry_after_ms` the header, if any.

    `code` is None for a body without one (HTML, plain text); `message` then is the body's text. An element of
    a batch answer is judged with status 400 when it has a negative code.
    """
    if code is None and not message and 200 <= status < 300:
        return Verdict(Effect.ACCEPTED)
    text = message.strip().lower()
    for row in TABLE:
        if row.applies(status, code, text, request):
            if row.verdict.blocks is Blocks.NOTHING:
                return row.verdict
            return _limited(row.verdict, status, message, now_ms, retry_after_ms)
    if 200 <= status < 300:
        return Verdict(Effect.REFUSED if code is not None and code < 0 else Effect.ACCEPTED)
    if code is not None:
        return _REFUSED
    # 4xx without a code comes from something before the exchange: a firewall (403) or a wrong path (404).
    return Verdict(Effect.NONE, _FORBIDDEN_MS) if status == 403 else _LATER


# Limits are fixed windows aligned to the clock (spec 1.6), so the next window is a sound retry time.
def _limited(verdict: Verdict, status: int, message: str, now_ms: int, retry_after_ms: int | None) -> Verdict:
    banned = _BANNED_UNTIL.search(message)
    if banned:
        left_ms = int(banned.group(1)) - now_ms
        wait_ms = left_ms if left_ms > 0 else _OVER_MS
    elif retry_after_ms:
        wait_ms = retry_after_ms
    elif status == 418:
        wait_ms = _BAN_MS_MIN
    else:
        orders_only = verdict.blocks is Blocks.ORDERS
        window_ms = 10_000 if orders_only and "TEN_SECONDS" in message.upper() else 60_000
        wait_ms = window_ms - now_ms % window_ms
    return Verdict(Effect.NONE, min(wait_ms, BAN_MS_MAX), blocks=verdict.blocks)
