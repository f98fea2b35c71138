"""SQL text for both databases from merged row writes: few statements, each with a row count."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from pms.ledger.rendering import Cell, DatabaseValue, Encoder, Kind, encoder
from pms.ledger.rows import RowWrite
from pms.ledger.schema import metadata, table_info

Dialect = Literal["sqlite", "postgresql"]

_ARRAY = {
    Kind.TEXT: "text[]",
    Kind.INT: "bigint[]",
    Kind.BOOL: "boolean[]",
    Kind.FLOAT: "double precision[]",
    Kind.TIME: "timestamp[]",
    Kind.EXACT: "numeric[]",
}


_PARAMETER = re.compile(r"\$(\d+)")


@dataclass(frozen=True, slots=True)
class Batch:
    """One statement over `rows`; it must change exactly one row of `table` for each."""

    table: str
    insert: bool
    sql: str
    rows: list[tuple[DatabaseValue, ...]]


@lru_cache(maxsize=512)
def _insert_sql(dialect: Dialect, table: str, columns: tuple[str, ...]) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    if dialect == "sqlite":
        return f'INSERT INTO "{table}" ({names}) VALUES ({", ".join("?" * len(columns))})'  # noqa: S608
    kinds = table_info(table).kinds
    arrays = ", ".join(f"${number}::{_ARRAY[kinds[name]]}" for number, name in enumerate(columns, 1))
    return f'INSERT INTO "{table}" ({names}) SELECT * FROM unnest({arrays})'  # noqa: S608


@lru_cache(maxsize=512)
def _update_sql(dialect: Dialect, table: str, columns: tuple[str, ...], wheres: tuple[str, ...]) -> str:
    if dialect == "sqlite":
        sets = ", ".join(f'"{name}" = ?' for name in columns)
        where = " AND ".join(f'"{name}" = ?' for name in wheres)
        return f'UPDATE "{table}" SET {sets} WHERE {where}'  # noqa: S608
    kinds = table_info(table).kinds
    everything = columns + wheres
    arrays = ", ".join(f"${number}::{_ARRAY[kinds[name]]}" for number, name in enumerate(everything, 1))
    aliases = ", ".join(f"v{number}" for number in range(len(everything)))
    sets = ", ".join(f'"{name}" = v.v{number}' for number, name in enumerate(columns))
    offset = len(columns)
    where = " AND ".join(f't."{name}" = v.v{offset + number}' for number, name in enumerate(wheres))
    source = f"unnest({arrays}) AS v({aliases})"
    return f'UPDATE "{table}" AS t SET {sets} FROM {source} WHERE {where}'  # noqa: S608


@lru_cache(maxsize=1)
def _table_order() -> dict[str, int]:
    return {table.name: number for number, table in enumerate(metadata.sorted_tables)}


@dataclass(frozen=True, slots=True)
class _Shape:
    """What all writes of the same columns of a table share. `place` orders the statements."""

    place: tuple[bool, int, str, tuple[str, ...], tuple[str, ...]]
    sql: str
    encoders: tuple[Encoder, ...]


@lru_cache(maxsize=512)
def _shape(
    dialect: Dialect, table: str, insert: bool, columns: tuple[str, ...], conditions: tuple[str, ...]
) -> _Shape:
    info = table_info(table)
    wheres = () if insert else (*info.keys, *conditions)
    sql = _insert_sql(dialect, table, columns) if insert else _update_sql(dialect, table, columns, wheres)
    encoders = [encoder(info.kinds[name], sqlite=dialect == "sqlite") for name in columns + wheres]
    return _Shape((insert, _table_order()[table], table, columns, wheres), sql, tuple(encoders))


class Batches:
    """Collects merged writes into statements; in pieces, so that a large commit leaves room for others."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect: Dialect = dialect
        self._groups: dict[str, tuple[_Shape, list[tuple[DatabaseValue, ...]]]] = {}

    def add(self, writes: Sequence[RowWrite]) -> None:
        """Take writes; each row is written once."""
        for write in writes:
            columns, conditions = tuple(write.values), tuple(write.condition)
            shape = _shape(self._dialect, write.table, write.insert, columns, conditions)
            cells: tuple[Cell, ...] = tuple(write.values.values())
            if not write.insert:
                cells += write.key + tuple(write.condition.values())
            row = tuple([encode(cell) for encode, cell in zip(shape.encoders, cells, strict=True)])
            known = self._groups.get(shape.sql)
            if known is None:
                self._groups[shape.sql] = (shape, [row])
            else:
                known[1].append(row)

    def ordered(self) -> list[Batch]:
        """Return the statements: updates first (a position closes before its successor opens), then inserts
        in the order of the foreign keys."""
        ordered = sorted(self._groups.values(), key=lambda group: group[0].place)
        return [Batch(shape.place[2], shape.place[0], shape.sql, rows) for shape, rows in ordered]


def batches(dialect: Dialect, writes: Sequence[RowWrite]) -> list[Batch]:
    """Return the statements of merged writes; see `Batches`."""
    collected = Batches(dialect)
    collected.add(writes)
    return collected.ordered()


@lru_cache(maxsize=512)
def together(statements: tuple[str, ...]) -> str:
    """Return one PostgreSQL statement of several that write: it answers with the row count of each. None may
    need what another one of them does."""
    parts, given = [], 0
    for number, sql in enumerate(statements):
        pieces = _PARAMETER.split(sql)  # text and parameter numbers take turns
        pieces[1::2] = [f"${given + int(parameter)}" for parameter in pieces[1::2]]
        parts.append(f"b{number} AS ({''.join(pieces)} RETURNING 1)")
        given += len(pieces) // 2
    counts = ", ".join(f"(SELECT count(*) FROM b{number})" for number in range(len(statements)))  # noqa: S608
    return f"WITH {', '.join(parts)} SELECT {counts}"


@lru_cache(maxsize=512)
def placeholders(dialect: Dialect, sql: str) -> str:
    """Return SQL written with `?` in the form that the database takes."""
    if dialect == "sqlite":
        return sql
    parts = sql.split("?")
    return "".join(f"{part}${number}" for number, part in enumerate(parts[:-1], 1)) + parts[-1]
