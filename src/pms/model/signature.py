"""Trade signatures of the incumbent's format, and the number texts inside them (ledger spec 0.3 and 3.13).

The random part makes every signature unique: they cannot detect duplicates, and nothing compares them (spec
D7).
"""

import hashlib
import math
from decimal import ROUND_HALF_UP, Decimal

from pms.model.ids import PendingOrderId, PositionId, SubAccountId
from pms.model.money import CONTEXT

_PLAIN_MAX_EXPONENT = 21
_PLAIN_MIN_EXPONENT = -6


def number_text(value: float | Decimal) -> str:
    """Return the shortest text of a number as the incumbent prints it (spec 0.3.6): `10`, `1e-7`, `1e+21`.

    Non-finite values print as `NaN`, `Infinity`, `-Infinity`; zero of either sign as `0`.
    """
    if not math.isfinite(value):
        return _non_finite_text(value)
    exact = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
    sign, digit_tuple, exponent = exact.as_tuple()
    digits = "".join(map(str, digit_tuple)).lstrip("0").rstrip("0")
    if not digits:
        return "0"
    point = len("".join(map(str, digit_tuple)).lstrip("0")) + int(exponent)
    return ("-" if sign else "") + _layout(digits, point)


def fixed_text(value: float | Decimal, places: int) -> str:
    """Return `value` with that many decimals, exact ties away from zero (spec 0.3.5)."""
    if not math.isfinite(value):
        return _non_finite_text(value)
    if abs(value) >= 10**_PLAIN_MAX_EXPONENT:
        return number_text(value)
    exact = Decimal(value)
    if exact == 0:
        exact = abs(exact)
    quantum = Decimal(1).scaleb(-places)
    return format(exact.quantize(quantum, rounding=ROUND_HALF_UP, context=CONTEXT), "f")


def close_signature(
    sub_account_id: SubAccountId, tag: str, position_id: PositionId, now_ms: int, uuid: str
) -> str:
    """Return the signature of a closing trade.

    `tag` is CLOSE, LIQUIDATE, ADL, FLIP_CLOSE, RECONCILE, or the reason of a virtual-only close.
    """
    return _digest(f"{sub_account_id}:{tag}:{position_id}:{now_ms}:{uuid}")


def open_signature(
    sub_account_id: SubAccountId, symbol: str, side: str, quantity_text: str, now_ms: int, uuid: str
) -> str:
    """Return the signature of an opening trade; `quantity_text` is `number_text` of what was requested."""
    return _digest(f"{sub_account_id}:{symbol}:{side}:{quantity_text}:{now_ms}:{uuid}")


def limit_fill_signature(
    sub_account_id: SubAccountId, pending_order_id: PendingOrderId, now_ms: int, uuid: str
) -> str:
    """Return the signature of a fill of a resting limit order."""
    return close_signature(sub_account_id, "LIMIT_FILL", PositionId(pending_order_id), now_ms, uuid)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _non_finite_text(value: float | Decimal) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _layout(digits: str, point: int) -> str:
    """Lay out significant digits whose decimal point stands after `point` of them."""
    if not _PLAIN_MIN_EXPONENT < point <= _PLAIN_MAX_EXPONENT:
        mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
        exponent = point - 1
        return f"{mantissa}e{'+' if exponent >= 0 else '-'}{abs(exponent)}"
    if point <= 0:
        return "0." + "0" * -point + digits
    if point >= len(digits):
        return digits + "0" * (point - len(digits))
    return digits[:point] + "." + digits[point:]
