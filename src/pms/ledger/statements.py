"""SQL text for both databases from merged row writes: few statements, each with a row count."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from pms.ledger.rendering import Cell, DatabaseValue, Kind, encode
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


@dataclass(frozen=True, slots=True)
class Batch:
    """One statement over `rows`; it must change exactly one row of `table` for each."""

    table: str
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


def batches(dialect: Dialect, writes: list[RowWrite]) -> list[Batch]:
    """Return the statements of merged writes: updates first (a position closes before its successor opens),
    then inserts in the order of the foreign keys."""
    groups: dict[
        tuple[bool, int, str, tuple[str, ...], tuple[str, ...]], list[tuple[DatabaseValue, ...]]
    ] = {}
    order = _table_order()
    sqlite = dialect == "sqlite"
    for write in writes:
        info = table_info(write.table)
        columns = tuple(write.values)
        wheres: tuple[str, ...] = ()
        cells: list[tuple[Kind, Cell]] = [(info.kinds[name], write.values[name]) for name in columns]
        if not write.insert:
            wheres = (*info.keys, *write.condition)
            tests = (*write.key, *write.condition.values())
            cells += [(info.kinds[name], value) for name, value in zip(wheres, tests, strict=True)]
        row = tuple(encode(kind, value, sqlite=sqlite) for kind, value in cells)
        groups.setdefault((write.insert, order[write.table], write.table, columns, wheres), []).append(row)
    result = []
    for insert, _, table, columns, wheres in sorted(groups):
        sql = _insert_sql(dialect, table, columns) if insert else _update_sql(dialect, table, columns, wheres)
        result.append(Batch(table, sql, groups[(insert, _, table, columns, wheres)]))
    return result


@lru_cache(maxsize=512)
def placeholders(dialect: Dialect, sql: str) -> str:
    """Return SQL written with `?` in the form that the database takes."""
    if dialect == "sqlite":
        return sql
    parts = sql.split("?")
    return "".join(f"{part}${number}" for number, part in enumerate(parts[:-1], 1)) + parts[-1]
