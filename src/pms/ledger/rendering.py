"""How values are stored: one kind for each column; the only ledger module with floats.

Ledger spec 1.1: floats keep 16 significant digits, dates are integer milliseconds (SQLite) or naive UTC
(PostgreSQL), booleans 0/1, exact values NUMERIC(38,18) on PostgreSQL and TEXT on SQLite.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from pms.ledger.errors import LedgerError
from pms.model.money import plain, round_cost

Cell = str | int | Decimal | bool | None
"""A value as the ledger thinks of it: money is `Decimal`, time is Unix milliseconds."""

DatabaseValue = str | int | float | bool | Decimal | datetime | None
"""A value as a driver takes or gives it."""

Row = Mapping[str, DatabaseValue]

_RELATIVE_MAX = Decimal("1e-9")
_ABSOLUTE_MAX = Decimal("1e-12")
# Naive UTC is what the incumbent's columns hold (ledger spec 1.1 rule 3).
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001


class Kind(StrEnum):
    """Storage kind of a column."""

    TEXT = "TEXT"
    INT = "INT"
    BOOL = "BOOL"
    FLOAT = "FLOAT"
    TIME = "TIME"
    EXACT = "EXACT"


def render_float(value: Decimal | int) -> float:
    """Return the double that the incumbent's ORM would store: 16 significant digits, never non-finite or
    -0."""
    if not math.isfinite(value):
        raise LedgerError(f"{value} cannot be stored: money columns take finite numbers only")
    return float(f"{value:.15e}") + 0.0


def json_number(value: Decimal) -> float:
    """Return a number for a JSON event (gateway spec 7.4)."""
    return render_float(value)


def float_to_decimal(value: float) -> Decimal:
    """Return the shortest decimal that the double prints as."""
    return Decimal(repr(float(value)))


def agrees(rendered: Decimal, exact: Decimal) -> bool:
    """True when a Float column agrees with the exact value (decision 5: 1e-9 relative)."""
    return abs(rendered - exact) <= max(abs(exact) * _RELATIVE_MAX, _ABSOLUTE_MAX)


Encoder = Callable[[Cell], DatabaseValue]
"""Gives a column's cell the form that a database's driver takes."""


def _number(value: int | Decimal | str) -> Decimal:
    return value if type(value) is Decimal else Decimal(value)


def _exact(value: Cell) -> DatabaseValue:
    return None if value is None else round_cost(_number(value))


def _exact_text(value: Cell) -> DatabaseValue:
    return None if value is None else plain(round_cost(_number(value)))


def _float(value: Cell) -> DatabaseValue:
    return None if value is None else render_float(_number(value))


def _moment(value: Cell) -> DatabaseValue:
    return None if value is None else _EPOCH + timedelta(milliseconds=int(value))


def _bit(value: Cell) -> DatabaseValue:
    return None if value is None else int(bool(value))


def _flag(value: Cell) -> DatabaseValue:
    return None if value is None else bool(value)


def _integer(value: Cell) -> DatabaseValue:
    return None if value is None else int(value)


def _text(value: Cell) -> DatabaseValue:
    return None if value is None else str(value)


_ENCODERS: Mapping[Kind, tuple[Encoder, Encoder]] = {
    Kind.EXACT: (_exact_text, _exact),
    Kind.FLOAT: (_float, _float),
    Kind.TIME: (_integer, _moment),
    Kind.BOOL: (_bit, _flag),
    Kind.INT: (_integer, _integer),
    Kind.TEXT: (_text, _text),
}


def encoder(kind: Kind, *, sqlite: bool) -> Encoder:
    """Return what encodes the cells of a column; callers keep it, a commit has thousands of cells."""
    return _ENCODERS[kind][0 if sqlite else 1]


def encode(kind: Kind, value: Cell, *, sqlite: bool) -> DatabaseValue:
    """Return one cell in the form that the database's driver takes."""
    return encoder(kind, sqlite=sqlite)(value)


def decode(kind: Kind, value: DatabaseValue) -> Cell:
    """Return a driver's value as a cell. Accepts the incumbent's text dates (spec 1.1 rule 1)."""
    if value is None:
        return None
    if kind is Kind.EXACT or kind is Kind.FLOAT:
        return float_to_decimal(value) if isinstance(value, float) else Decimal(str(value))
    if kind is Kind.TIME:
        return time_ms(value)
    if kind is Kind.BOOL:
        return bool(value)
    if kind is Kind.INT:
        return int(str(value))
    return str(value)


def time_ms(value: DatabaseValue) -> int:
    """Return Unix milliseconds of a date as either database, or the incumbent, stores it."""
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return round(aware.timestamp() * 1000)
    if isinstance(value, str):
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        return time_ms(moment)
    if isinstance(value, int | float | Decimal):
        return int(value)
    raise LedgerError(f"{value!r} is not a date")


def _canonical_exact(value: Cell) -> str:
    return "~" if value is None else plain(round_cost(_number(value)))


def _canonical_float(value: Cell) -> str:
    return "~" if value is None else repr(render_float(_number(value)))


def _canonical_flag(value: Cell) -> str:
    return "~" if value is None else "1" if value else "0"


def _canonical_text(value: Cell) -> str:
    return "~" if value is None else str(value)


_CANONICAL: Mapping[Kind, Callable[[Cell], str]] = {
    Kind.EXACT: _canonical_exact,
    Kind.FLOAT: _canonical_float,
    Kind.BOOL: _canonical_flag,
}


def canonical_form(kind: Kind) -> Callable[[Cell], str]:
    """Return what gives the text that stands for a column's cell in digests; equal on both databases and
    after a round trip."""
    return _CANONICAL.get(kind, _canonical_text)


def canonical(kind: Kind, value: Cell) -> str:
    """Return the text that stands for one cell in digests."""
    return canonical_form(kind)(value)


def digest(parts: list[str]) -> str:
    """Return 20 hex characters over texts; the separator cannot be forged by content (lengths are
    included)."""
    text = "|".join([f"{len(part)}:{part}" for part in parts])
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def chain_hash(previous: str, entries: str) -> str:
    """Return the hash of one commit link over its predecessor and its entries."""
    return hashlib.sha256(f"{previous}\n{entries}".encode()).hexdigest()


def signature_text(value: Decimal) -> str:
    """Return a number as signatures carry it: shortest round-trip double without `.0` (spec 0.3.6)."""
    number = float(value)
    if number == 0:
        return "0"
    magnitude = abs(number)
    if 1e-6 <= magnitude < 1e21:
        return plain(Decimal(repr(number)))
    mantissa, _, exponent = repr(number).partition("e")
    if not exponent:  # below 1e-6 repr always has an exponent; at 1e21 and above as well
        return plain(Decimal(repr(number)))
    power = int(exponent)
    return f"{mantissa.removesuffix('.0')}e{'+' if power > 0 else '-'}{abs(power)}"


def signature(*parts: str) -> str:
    """Return the 64 hex characters of a trade signature (spec 3.13) over `:`-joined parts."""
    return hashlib.sha256(":".join(parts).encode()).hexdigest()
