"""The one table of golden vectors that a correct system must not reproduce: predicates on their input (spec
11.1).

A vector is exempt because of what it asks, never because of its name or line. Each entry names the rule of
the table in ledger spec 11.1 that justifies it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pms.model.signature import fixed_text


@dataclass(frozen=True, slots=True)
class Exemption:
    """`applies` sees the decoded input of vectors of that `fn`."""

    rule: str
    fn: str
    applies: Callable[[Any], bool]
    why: str


def _not_active(given: Any) -> bool:
    return bool(given["account"]["status"] != "ACTIVE")


def _opposite_position(given: Any) -> bool:
    opposite = "SHORT" if given["side"] == "LONG" else "LONG"
    return any(
        held["symbol"] == given["symbol"] and held["side"] == opposite
        for held in given.get("positions") or ()
    )


def _bad_number(given: Any) -> bool:
    return any(not math.isfinite(given[name]) or given[name] <= 0 for name in ("quantity", "leverage"))


# --- whole operations (`ledger_flows.jsonl`) ---

_CLOSES = ("closePosition", "closeVirtualPositionByPrice")
_FILLS = ("handleExchangeOrderUpdate", "processChaseOrderFill")
_CLOSED = ("CANCELED", "CANCELLED", "EXPIRED", "REJECTED")
_GHOST_TEXTS = ("Invalid quantity", "Position", "-2022", "Unknown", "insufficient", "reduceOnly")
"""What the incumbent takes for "the exchange has no such position" (5.4 step 7)."""


def _operation(given: Any) -> str:
    return str(given["call"][0])


def _argument(given: Any, index: int, default: Any = None) -> Any:
    call = given["call"]
    return call[index] if len(call) > index else default


def _open_rows(given: Any, symbol: str | None = None) -> list[Any]:
    return [
        row
        for row in given["db"].get("virtualPosition") or ()
        if row.get("status", "OPEN") == "OPEN" and symbol in (None, row["symbol"])
    ]


def _asked_position(given: Any) -> Any:
    """The open row that the operation names first, None when there is none."""
    return next((row for row in _open_rows(given) if row["id"] == _argument(given, 1)), None)


def _first_order(given: Any) -> Any:
    """The script's answer to the first order, None without one."""
    return next(iter(given.get("marketOrders") or ()), None)


def _error(given: Any) -> str | None:
    order = _first_order(given)
    return None if order is None else order.get("error")


def _backed(given: Any) -> bool:
    """The exchange lists a position of the side that is closed: the incumbent then sends an order."""
    row, listed = _asked_position(given), given.get("exchangePositions")
    if row is None or not isinstance(listed, list):
        return False
    first = next((item for item in listed if item["symbol"] == row["symbol"]), None)
    return first is not None and str(first["side"]).upper() == row["side"]


def _priced(given: Any, symbol: str) -> bool:
    return any((given.get(name) or {}).get(symbol) for name in ("prices", "servicePrices"))


def _resting_order(given: Any) -> Any:
    """The pending row that an order's report speaks of."""
    report = _argument(given, 1)
    named = report.get("orderId", report.get("exchangeOrderId"))
    rows = given["db"].get("pendingOrder") or ()
    exact = next((row for row in rows if row.get("exchangeOrderId") == named), None)
    if exact is not None or _operation(given) == "handleExchangeOrderUpdate":
        return exact
    place = (report.get("subAccountId"), report.get("symbol"))
    return next((row for row in rows if (row["subAccountId"], row["symbol"]) == place), None)


def _executes(given: Any) -> bool:
    """The report says that a resting order executed to its end."""
    if _operation(given) == "processChaseOrderFill":
        return _resting_order(given) is not None
    if _operation(given) != "handleExchangeOrderUpdate":
        return False
    status = str(_argument(given, 1).get("status")).upper()
    return status in ("FILLED", "CLOSED") and _resting_order(given) is not None


def _explained_by_others(given: Any) -> bool:
    if _operation(given) in _CLOSES:
        row = _asked_position(given)
        symbols = set() if row is None or _backed(given) else {row["symbol"]}
    elif _operation(given) == "reconcilePosition":
        symbols = {_argument(given, 1)}
    elif _operation(given) == "userStream":
        symbols = {row["symbol"] for row in _open_rows(given)}
    else:
        return False
    return any(len({row["side"] for row in _open_rows(given, symbol)}) > 1 for symbol in symbols)


def _one_observation(given: Any) -> bool:
    """A single report of a flat position closes everything at once, of whomever it is; H1 wants a difference
    that persists over two observations. (The shared file has two vectors of this very input, one of which
    does nothing.)"""
    if _operation(given) != "userStream":
        return False
    flat = [
        position["s"]
        for event in given["call"][1:]
        if event.get("e") == "ACCOUNT_UPDATE"
        for position in event["a"]["P"]
        if float(position["pa"]) == 0
    ]
    locked = {key.rpartition(":reconcile:")[2] for key in given.get("redis") or {}}
    return any(
        row["symbol"].replace("/USDT:USDT", "USDT") in flat
        and row["symbol"] not in locked
        and _priced(given, row["symbol"])
        and row.get("babysitterExcluded")
        for row in _open_rows(given)
    )


def _sends_a_second_order(given: Any) -> bool:
    """The report's order closes a position: the incumbent closes it once more, at market."""
    if not _executes(given):
        return False
    order = _resting_order(given)
    return any(
        row["subAccountId"] == order["subAccountId"] and row["side"] != order["side"]
        for row in _open_rows(given, order["symbol"])
    )


def _requested(given: Any) -> float | None:
    """The quantity of the order that the operation sends when it closes something, else None."""
    if _operation(given) == "executeTrade":
        opposite = [
            row
            for row in _open_rows(given, _argument(given, 2))
            if row["subAccountId"] == _argument(given, 1) and row["side"] != _argument(given, 3)
        ]
        return opposite[0]["quantity"] + _argument(given, 4) if opposite else None
    row = _asked_position(given)
    if row is None:
        return None
    if _operation(given) == "partialClose":
        return float(fixed_text(row["quantity"] * _argument(given, 2), 8))
    return float(row["quantity"]) if _operation(given) in (*_CLOSES, "liquidatePosition") else None


def _executes_less(given: Any) -> bool:
    order, requested = _first_order(given), _requested(given)
    if order is None or requested is None or "error" in order:
        return False
    executed = order.get("quantity") or requested
    return bool(float(fixed_text(float(executed), 8)) < requested)


def _ends_with_a_filled_part(given: Any) -> bool:
    if _operation(given) != "handleExchangeOrderUpdate":
        return False
    report = _argument(given, 1)
    status = str(report.get("status")).upper()
    return status == "PARTIALLY_FILLED" or (status in _CLOSED and bool(report.get("filledQty")))


def _state_unknown(given: Any) -> bool:
    return _operation(given) in _CLOSES and given.get("exchangePositions") == "throw"


def _taken_for_gone(given: Any) -> bool:
    """An order is refused and closed virtually all the same, although the exchange lists the position.

    A refusal for margin is not among them: there the house takes the position over (decision 13).
    """
    error = _error(given)
    if _operation(given) not in _CLOSES or error is None or not _backed(given):
        return False
    legacy = str((given.get("env") or {}).get("BBS_ALLOW_VIRTUAL_CLOSE_FALLBACK", "")).lower()
    if _operation(given) == "closeVirtualPositionByPrice" and legacy in ("1", "true", "yes", "on"):
        return isinstance(_argument(given, 2), int | float) and _argument(given, 2) > 0
    return any(text in error for text in _GHOST_TEXTS) and "-2019" not in error


def _option(given: Any, name: str) -> Any:
    options = _argument(given, 7) if _operation(given) == "executeTrade" else None
    return (options or {}).get(name)


def _reduce_only_or_pre_filled(given: Any) -> bool:
    return bool(_option(given, "reduceOnly") or _option(given, "skipExchange"))


def _database_fails(given: Any) -> bool:
    return bool(given.get("failOn"))


def _no_fill_price(given: Any) -> bool:
    order = _first_order(given)
    return order is not None and "error" not in order and not order.get("price")


def _fill_of_an_inactive_account(given: Any) -> bool:
    if not _executes(given):
        return False
    owner = _resting_order(given)["subAccountId"]
    return any(
        row["id"] == owner and row.get("status", "ACTIVE") != "ACTIVE" for row in given["db"]["subAccount"]
    )


def _whole_by_partial_close(given: Any) -> bool:
    row = _asked_position(given)
    if _operation(given) != "partialClose" or row is None:
        return False
    closing = float(fixed_text(row["quantity"] * _argument(given, 2), 8))
    return closing > 0 and float(fixed_text(row["quantity"] - closing, 8)) <= 0


def _misreported_source(given: Any) -> bool:
    """Closed by price while the exchange holds the symbol, and yet closed virtually inside (5.9 step 4)."""
    row, listed = _asked_position(given), given.get("exchangePositions")
    if _operation(given) != "closeVirtualPositionByPrice" or row is None or not isinstance(listed, list):
        return False
    if not any(item["symbol"] == row["symbol"] for item in listed):
        return False
    return not _backed(given) or any(text in (_error(given) or "") for text in _GHOST_TEXTS)


def _acts_without_a_price(given: Any) -> bool:
    if _operation(given) == "executeTrade":  # the positions beside it count at their entry
        others = [row for row in _open_rows(given) if row["subAccountId"] == _argument(given, 1)]
        return any(not _priced(given, row["symbol"]) for row in others)
    row = _asked_position(given)
    if row is None or _priced(given, row["symbol"]):
        return False
    if _operation(given) == "closePosition":
        return not _backed(given) or _error(given) is not None
    return _operation(given) in ("takeoverPosition", "liquidatePosition")


def _liquidated_without_a_fill(given: Any) -> bool:
    if _operation(given) != "liquidatePosition" or _asked_position(given) is None:
        return False
    return _error(given) is not None or _no_fill_price(given) or _first_order(given) is None


def _all_managed(given: Any) -> bool:
    if _operation(given) != "userStream":
        return False
    rows = _open_rows(given)
    return bool(rows) and not any(row.get("babysitterExcluded") for row in rows)


def _bypasses_the_gate(given: Any) -> bool:
    return bool(_option(given, "skipValidation")) and any(
        row["id"] == _argument(given, 1) for row in given["db"]["subAccount"]
    )


_FLOWS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    (
        "H1, H1a",
        _explained_by_others,
        "positions on both sides net out on the exchange: a flat or opposite net is no desync",
    ),
    ("H1, H1a", _one_observation, "one flat report is no desync: it must persist, and is shown until then"),
    ("H1b, H2, H2b", _sends_a_second_order, "a fill that happened is booked as it is, never closed again"),
    ("H1b, H2, H2b", _executes_less, "what executed is booked, not what was asked for"),
    ("H1b, H2, H2b", _ends_with_a_filled_part, "partial executions are booked as they come"),
    ("H3, H8b", _state_unknown, "an unknown exchange state is never `no position`"),
    ("H3, H8b", _taken_for_gone, "a refused order does not prove that the exchange has no position"),
    ("H4, H5, D11", _reduce_only_or_pre_filled, "reducing never opens, and no fill comes from the caller"),
    ("H7, H8", _database_fails, "a fill that could not be committed is booked again, not forgotten"),
    ("H7, H8", _no_fill_price, "an order without a price is in doubt, not failed"),
    ("H10, H15", _fill_of_an_inactive_account, "frozen accounts book fills that happened"),
    ("H23, H24", _whole_by_partial_close, "a full reduction ends as a close"),
    ("H23, H24", _misreported_source, "a virtual close inside is reported as what it was"),
    ("H28", _acts_without_a_price, "nothing is closed at its entry price because none is known"),
    ("decisions 1, 2", _liquidated_without_a_fill, "only fills change positions and money"),
    ("R-6", _all_managed, "the babysitter's flag does not hide a position from reconciliation"),
    ("skip-validation", _bypasses_the_gate, "every order passes the gate"),
)

EXEMPTIONS = (
    *(Exemption(rule, "ledger_flow", applies, why) for rule, applies, why in _FLOWS),
    Exemption(
        "H10, H15",
        "evaluateAccount",
        _not_active,
        "frozen accounts stay under risk control; the incumbent is silent about them",
    ),
    Exemption(
        "H19, H20",
        "validateTrade",
        _opposite_position,
        "the incumbent counts the opposite position's PnL twice",
    ),
    Exemption(
        "H19, H20",
        "validateTrade",
        _bad_number,
        "the incumbent lets quantities and leverages pass that are not finite and positive",
    ),
)


def exemption(fn: str, given: Any) -> Exemption | None:
    """Return the entry that exempts a vector, None when it must hold."""
    for entry in EXEMPTIONS:
        if entry.fn == fn and entry.applies(given):
            return entry
    return None
