"""What each row moved on the accounts of the double entry: amounts, and the quantities behind them."""

from collections.abc import Callable, Mapping
from decimal import Decimal

from pms.ledger.journal import JournalAccount, JournalKey
from pms.ledger.rendering import Cell, Row, decode
from pms.ledger.schema import table_info
from pms.model.money import ZERO

Cells = Mapping[str, Cell]
"""A decoded row."""

Part = tuple[JournalKey, Decimal, Decimal]
"""An account, the amount that moved, the signed quantity that moved."""


def decoded(table: str, row: Row) -> dict[str, Cell]:
    """Return the row of a known table with its values decoded."""
    return {name: decode(kind, row[name]) for name, kind in table_info(table).kinds.items() if name in row}


def checkpoint_part(cells: Cells) -> Part:
    """Return what a line of a checkpoint holds."""
    key = JournalKey(*(_text(cells, name) for name in ("account", "sub_account_id", "symbol", "detail")))
    return key, _exact(cells, "amount"), _exact(cells, "signed_quantity")


def _line(cells: Cells) -> Part | None:
    key = JournalKey(*(_text(cells, name) for name in ("account", "sub_account_id", "symbol", "detail")))
    return key, _exact(cells, "amount"), ZERO


def _allocation(cells: Cells) -> Part | None:
    """The quantity that an allocation moved; the house's are in its own lines."""
    if cells["sub_account_id"] is None:
        return None
    sign = 1 if cells["side"] == "BUY" else -1
    return _held(cells), ZERO, sign * _exact(cells, "quantity")


def _opening(cells: Cells) -> Part | None:
    return None if cells["symbol"] is None else (_held(cells), ZERO, _exact(cells, "signed_quantity"))


def _house(cells: Cells) -> Part | None:
    if cells["symbol"] is None:
        return None
    key = JournalKey(JournalAccount.HOUSE_POSITION, "", _text(cells, "symbol"), _text(cells, "kind"))
    return key, ZERO, _exact(cells, "signed_quantity")


MOVING: Mapping[str, Callable[[Cells], Part | None]] = {
    "pms_journal_lines": _line,
    "pms_fill_allocations": _allocation,
    "pms_opening_entries": _opening,
    "pms_house_lines": _house,
}
"""Tables whose rows moved something, with what reads them; each row carries its commit in `link`."""


def _held(cells: Cells) -> JournalKey:
    return JournalKey(JournalAccount.POSITION, _text(cells, "sub_account_id"), _text(cells, "symbol"))


def _text(cells: Cells, name: str) -> str:
    value = cells[name]
    return "" if value is None else str(value)


def _exact(cells: Cells, name: str) -> Decimal:
    return Decimal(cells[name] or 0)
