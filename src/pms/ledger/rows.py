"""Typed row writes: what a planner wants changed, before any database is involved."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

from pms.ledger.errors import LedgerError
from pms.ledger.rendering import Cell, canonical_form, digest
from pms.ledger.schema import table_info


@dataclass(slots=True)
class RowWrite:
    """One row to insert, or to update by primary key and `condition` (equalities that must still hold).

    `values` of an insert hold every column that is not NULL, keys included. A write to a table under the hash
    chain carries all its chained columns, so that the row's digest is known without reading it.
    """

    table: str
    key: tuple[Cell, ...]
    values: dict[str, Cell]
    insert: bool
    condition: dict[str, Cell] = field(default_factory=dict)


@cache
def _chained(table: str) -> tuple[tuple[str, Callable[[Cell], str]], ...]:
    """Return a table's chained columns, each with what gives its cells their text."""
    info = table_info(table)
    return tuple((name, canonical_form(info.kinds[name])) for name in info.chained)


def row_digest(table: str, key: tuple[Cell, ...], values: dict[str, Cell]) -> str:
    """Return the digest of a row's chained columns."""
    keyed: dict[str, Cell] | None = None
    parts = []
    for name, text in _chained(table):
        if name in values:
            parts.append(text(values[name]))
            continue
        if keyed is None:
            keyed = dict(zip(table_info(table).keys, key, strict=True))
        parts.append(text(keyed.get(name)))
    return digest(parts)


def row_label(table: str, key: tuple[Cell, ...]) -> str:
    """Return the name of a row in reports and links: its table and key without the exchange account."""
    info = table_info(table)
    parts = [str(part) for name, part in zip(info.keys, key, strict=True) if name != "exchange_account_id"]
    return f"{table}/{'/'.join(parts)}"


def merge_writes(writes: list[RowWrite]) -> list[RowWrite]:
    """Return one write for each row, in order of first mention: the last value of each column wins.

    A row inserted and then updated in one group stays an insert; two updates keep the first one's condition.
    """
    merged: dict[tuple[str, tuple[Cell, ...]], RowWrite] = {}
    for write in writes:
        place = (write.table, write.key)
        known = merged.get(place)
        if known is None:
            merged[place] = RowWrite(
                write.table, write.key, dict(write.values), write.insert, write.condition
            )
        elif write.insert:
            raise LedgerError(
                f"Invariant: a row is inserted once; {row_label(write.table, write.key)} was twice"
            )
        else:
            known.values.update(write.values)
    return list(merged.values())


def chain_entries(writes: Sequence[RowWrite]) -> str:
    """Return the text of a link: one line for each chained row, its label and its digest after the group."""
    lines = []
    for write in writes:
        info = table_info(write.table)
        if not info.chained:
            continue
        missing = not write.insert and [
            name for name in info.chained if name not in write.values and name not in info.keys
        ]
        if missing:
            raise LedgerError(f"Invariant: a chained update of {write.table} carries {missing}")
        lines.append(
            f"{row_label(write.table, write.key)} {row_digest(write.table, write.key, write.values)}"
        )
    return "\n".join(lines)
