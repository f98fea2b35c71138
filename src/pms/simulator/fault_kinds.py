"""The vocabulary of faults: every kind, what it does and which fields it takes. The docs show it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from msgspec import Struct

from pms.simulator import canned

REQUEST, STREAM, SOCKET, ACTION = "request", "stream", "socket", "action"

EVERY = frozenset({"kind", "at_ms"})
REPEATED = frozenset({"for_ms", "count", "probability"})
AIMED_REQUEST = REPEATED | {"method", "path", "account"}
AIMED_STREAM = REPEATED | {"traffic", "stream", "account"}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `lasts`: in force for `for_ms`, then undone. `needs` are fields that must be given."""

    group: str
    meaning: str
    takes: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    lasts: bool = False


def _kind(
    group: str, meaning: str, takes: frozenset[str] = frozenset(), needs: str = "", lasts: bool = False
) -> Kind:
    needed = frozenset(needs.split())
    return Kind(group, meaning, takes | needed, needed, lasts)


_MS = frozenset({"ms", "ms_max"})

KINDS: dict[str, Kind] = {
    # -- requests
    "delay": _kind(
        REQUEST,
        "The request waits `ms` (drawn up to `ms_max`): `stage` request = on the way there (then"
        " a window that ran out is -1021), engine = before the matching engine (-5028), answer = back.",
        AIMED_REQUEST | _MS | {"stage"},
        "ms",
    ),
    "lose": _kind(
        REQUEST,
        "The connection ends without an answer, `ms` later; `executed` says if the request was executed.",
        AIMED_REQUEST | _MS | {"executed"},
    ),
    "answer": _kind(
        REQUEST,
        "The answer is replaced by `variant`; `executed` says whether the request was executed before.",
        AIMED_REQUEST | {"executed"},
        "variant",
    ),
    "refuse": _kind(
        REQUEST,
        "The request is refused with `code`, `msg` and HTTP status `http` (400), and not executed.",
        AIMED_REQUEST | {"msg", "http"},
        "code",
    ),
    "ban": _kind(
        REQUEST, "The address of the request is banned for `ms`: 418 until then.", AIMED_REQUEST | _MS, "ms"
    ),
    "too_many": _kind(REQUEST, "The request is answered 429 with -1003.", AIMED_REQUEST),
    "fail_elements": _kind(
        REQUEST,
        "In a batch, the elements at the places `elements` (from 0) fail with `code` and `msg`."
        " The others go on.",
        AIMED_REQUEST | {"code", "msg"},
        "elements",
    ),
    # -- stream events
    "drop": _kind(STREAM, "The event is lost.", AIMED_STREAM),
    "delay_events": _kind(
        STREAM,
        "The event comes `ms` late (drawn up to `ms_max`); later ones of the stream wait behind it.",
        AIMED_STREAM | _MS,
        "ms",
    ),
    "duplicate": _kind(STREAM, "The event comes `copies` times more.", AIMED_STREAM | {"copies"}),
    "reorder": _kind(
        STREAM, "The event comes after the next one of the same stream (or after 1 s).", AIMED_STREAM
    ),
    # -- sockets
    "cut": _kind(
        SOCKET,
        "The sockets of a class (and account) end without a closing handshake.",
        frozenset({"traffic", "account"}),
    ),
    "silence": _kind(
        SOCKET,
        "The sockets of a class (and account) stay open and carry no data; `pings` says whether pings go on.",
        frozenset({"traffic", "account", "pings"}),
        "for_ms",
        lasts=True,
    ),
    # -- things that happen at the exchange
    "expire_listen_key": _kind(
        ACTION, "The account's listen key ends, with its event.", frozenset({"account"})
    ),
    "maintenance": _kind(
        ACTION,
        "Every request is answered 502, 503 or 504, mostly HTML; sockets are dropped or silent (`sockets`:"
        " drop, silent, keep); `lose_keys` ends every listen key without an event; `halt` halts trading in"
        " every symbol meanwhile.",
        frozenset({"sockets", "halt", "lose_keys"}),
        "for_ms",
        lasts=True,
    ),
    "stale_quotes": _kind(
        ACTION,
        "Quotes, trades and mark of `symbol` (all when omitted) stand still.",
        frozenset({"symbol"}),
        "for_ms",
        lasts=True,
    ),
    "crossed_quotes": _kind(
        ACTION,
        "The published bid of `symbol` stands above the ask by the fraction `ratio` of the price.",
        frozenset({"ratio"}),
        "symbol for_ms",
        lasts=True,
    ),
    "clock_skew": _kind(
        ACTION,
        "The exchange's clock is off by `ms` (negative: behind), for `for_ms` or until it is cleared.",
        frozenset({"for_ms"}),
        "ms",
        lasts=True,
    ),
    "set_quote": _kind(ACTION, "Pins bid and ask of `symbol`.", frozenset(), "symbol bid ask"),
    "set_mark": _kind(ACTION, "Pins the mark price of `symbol`.", frozenset(), "symbol price"),
    "release": _kind(ACTION, "Gives `symbol` (all when omitted) back to its source.", frozenset({"symbol"})),
    "deposit": _kind(
        ACTION,
        "Moves `quantity` USDT into the account (negative: out of it).",
        frozenset(),
        "account quantity",
    ),
    "manual_order": _kind(
        ACTION,
        "An order that no API client sent: `side` and `quantity` of `symbol`, at `price` or at market.",
        frozenset({"price", "position_side"}),
        "account symbol side quantity",
    ),
    "liquidate": _kind(
        ACTION,
        "The exchange liquidates the account's position in `symbol` (all of them when omitted).",
        frozenset({"symbol"}),
        "account",
    ),
    "adl": _kind(
        ACTION,
        "Auto-deleveraging takes `quantity` (all when omitted) off the account's position in `symbol`.",
        frozenset({"quantity"}),
        "account symbol",
    ),
    "settle": _kind(
        ACTION,
        "Delisting: `symbol` goes through SETTLING to CLOSE, its orders expire, its positions are settled"
        " at `price` (the mark when omitted).",
        frozenset({"price"}),
        "symbol",
    ),
    "symbol_status": _kind(
        ACTION, "The status of `symbol` becomes `status`, for example SETTLING.", frozenset(), "symbol status"
    ),
}

ALIASES: dict[str, dict[str, Any]] = {
    "drop_response_after_execute": {"kind": "lose", "executed": True, "path": "orders"},
    "http_503": {"kind": "answer", "variant": "503A"},
    "delay_ms": {"kind": "delay"},
}
"""Names of the first version, still accepted by `Simulator.fault` and `POST /sim/fault`."""

STAGES = ("request", "engine", "answer")
TRAFFIC = ("public", "market", "private", "trading", "*")
SOCKETS = ("drop", "silent", "keep")


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fault as a scenario states it. Times in milliseconds of exchange time; `at_ms` from the start.

    `count` is how often it strikes at most (0: no limit). Without `count` and `for_ms` it strikes once; with
    `for_ms` alone it strikes as long as that. `path`, `method`, `stream` and `account` (an API key) are shell
    patterns, several separated by `|`; `path = "orders"` means placing and modifying orders of any kind.
    On the private class `stream` is matched with the event's name. The class `trading` is the WebSocket API.
    """

    kind: str
    at_ms: int = 0
    for_ms: int | None = None
    count: int | None = None
    probability: float = 1.0
    method: str = "*"
    path: str = "*"
    traffic: str = "*"
    stream: str = "*"
    account: str = "*"
    ms: int = 0
    ms_max: int = 0
    stage: str = "request"
    executed: bool = False
    variant: str = ""
    code: int = -1000
    msg: str = "An unknown error occured while processing the request."
    http: int = 400
    elements: tuple[int, ...] = ()
    copies: int = 1
    pings: bool = True
    sockets: str = "drop"
    halt: bool = False
    lose_keys: bool = False
    symbol: str = ""
    side: str = ""
    position_side: str = "BOTH"
    quantity: Decimal = Decimal(0)
    price: Decimal = Decimal(0)
    bid: Decimal = Decimal(0)
    ask: Decimal = Decimal(0)
    ratio: Decimal = Decimal("0.001")
    status: str = ""

    def given(self) -> set[str]:
        """Return the names of the fields that differ from their defaults."""
        fields = self.__struct_fields__
        defaults = self.__struct_defaults__
        offset = len(fields) - len(defaults)
        return {
            name
            for place, name in enumerate(fields)
            if place < offset or getattr(self, name) != defaults[place - offset]
        }

    def problem(self) -> str:
        """Return what is wrong with it in one line, empty when nothing is."""
        kind = KINDS.get(self.kind)
        if kind is None:
            return f"Unknown fault {self.kind}. Known: {', '.join(sorted(KINDS))}."
        given = self.given()
        unused = sorted(given - kind.takes - EVERY)
        missing = sorted(kind.needs - given)
        if unused:
            return f"The fault {self.kind} has no field {unused[0]}."
        if missing:
            return f"The fault {self.kind} needs the field {missing[0]}."
        for wrong, text in (
            (not 0 <= self.probability <= 1, "probability must be between 0 and 1"),
            (self.at_ms < 0, "at_ms must not be negative"),
            (self.for_ms is not None and self.for_ms <= 0, "for_ms must be above zero"),
            (self.count is not None and self.count < 0, "count must not be negative"),
            (self.ms < 0 and self.kind != "clock_skew", "ms must not be negative"),
            (self.stage not in STAGES, f"stage must be one of {', '.join(STAGES)}"),
            (self.traffic not in TRAFFIC, f"traffic must be one of {', '.join(TRAFFIC)}"),
            (self.sockets not in SOCKETS, f"sockets must be one of {', '.join(SOCKETS)}"),
            (not 1 <= self.copies <= 100, "copies must be between 1 and 100"),
            (not 400 <= self.http <= 599, "http must be between 400 and 599"),
            (any(place < 0 for place in self.elements), "elements count from 0"),
            (
                not all(v.is_finite() for v in (self.quantity, self.price, self.bid, self.ask, self.ratio)),
                "numbers must be finite",
            ),
            (self.kind == "manual_order" and self.side not in ("BUY", "SELL"), "side must be BUY or SELL"),
        ):
            if wrong:
                return f"The fault {self.kind}: {text}."
        return self._variant_problem()

    def _variant_problem(self) -> str:
        if self.kind != "answer":
            return ""
        answer = canned.VARIANTS.get(self.variant)
        if answer is None:
            return f"Unknown variant {self.variant}. Known: {', '.join(canned.VARIANTS)}."
        if self.executed and not answer.executable:
            return f"The exchange never answers {self.variant} to a request that it executed."
        return ""
