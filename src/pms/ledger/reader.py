"""Typed access to one row of a known table, whatever the database stores."""

from decimal import Decimal

from pms.ledger.rendering import Cell, Row, decode
from pms.ledger.schema import table_info


class Reader:
    """Typed access to the columns of one row of a known table."""

    __slots__ = ("_kinds", "_row")

    def __init__(self, table: str, row: Row) -> None:
        self._kinds = table_info(table).kinds
        self._row = row

    def cell(self, name: str) -> Cell:
        return decode(self._kinds[name], self._row[name])

    def text(self, name: str) -> str:
        return str(self._row[name])

    def text_or_none(self, name: str) -> str | None:
        value = self._row[name]
        return None if value is None else str(value)

    def exact(self, name: str) -> Decimal:
        return Decimal(self.cell(name) or 0)

    def exact_or_none(self, name: str) -> Decimal | None:
        value = self.cell(name)
        return None if value is None else Decimal(value)

    def number(self, name: str) -> int:
        return int(self.cell(name) or 0)

    def flag(self, name: str) -> bool:
        return bool(self._row[name])
