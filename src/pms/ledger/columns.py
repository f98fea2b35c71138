"""Column builders of the schema: one database type for each storage kind, on both databases."""

from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import TextClause

from pms.ledger.rendering import Kind

metadata = sa.MetaData()

_Type = (
    sa.Text
    | sa.BigInteger
    | sa.Boolean
    | sa.Numeric[Decimal]
    | postgresql.DOUBLE_PRECISION[float]
    | sa.TIMESTAMP
)


def _sqlite_date() -> sqlite.DATETIME:
    return sqlite.DATETIME()  # type: ignore[no-untyped-call]


_TYPES: dict[Kind, _Type] = {
    Kind.TEXT: sa.Text(),
    Kind.INT: sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
    Kind.BOOL: sa.Boolean(),
    Kind.FLOAT: postgresql.DOUBLE_PRECISION().with_variant(sqlite.REAL(), "sqlite"),
    Kind.TIME: postgresql.TIMESTAMP(precision=3).with_variant(_sqlite_date(), "sqlite"),
    Kind.EXACT: sa.Numeric(38, 18).with_variant(sa.Text(), "sqlite"),
}
_INT32 = sa.Integer()


def column(
    name: str,
    kind: Kind,
    *constraints: sa.ForeignKey,
    nullable: bool = False,
    key: bool = False,
    default: str | TextClause | None = None,
    small: bool = False,
) -> sa.Column[object]:
    """Return a column that knows its storage kind; `small` is the 32-bit integer of the incumbent."""
    kind_type = _INT32 if small else _TYPES[kind]
    return sa.Column(
        name,
        kind_type,
        *constraints,
        nullable=nullable and not key,
        primary_key=key,
        server_default=default,
        autoincrement=False,
        info={"kind": kind},
    )


def text(
    name: str, *, nullable: bool = False, key: bool = False, default: str | None = None
) -> sa.Column[object]:
    """Return a TEXT column."""
    return column(name, Kind.TEXT, nullable=nullable, key=key, default=default)


def real(name: str, default: str | None = None, *, nullable: bool = False) -> sa.Column[object]:
    """Return one of the incumbent's Float columns."""
    return column(name, Kind.FLOAT, nullable=nullable, default=None if default is None else sa.text(default))


def flag(name: str, default: str = "false") -> sa.Column[object]:
    """Return a BOOLEAN column."""
    return column(name, Kind.BOOL, default=sa.text(default))


def moment(name: str, *, nullable: bool = False, now: bool = False) -> sa.Column[object]:
    """Return a date column: integer milliseconds or TIMESTAMP(3)."""
    return column(name, Kind.TIME, nullable=nullable, default=sa.text("CURRENT_TIMESTAMP") if now else None)


def exact(name: str, *, nullable: bool = False) -> sa.Column[object]:
    """Return an exact money column."""
    return column(name, Kind.EXACT, nullable=nullable)


def integer(name: str, *, nullable: bool = False, key: bool = False) -> sa.Column[object]:
    """Return a 64-bit integer column."""
    return column(name, Kind.INT, nullable=nullable, key=key)


def foreign(
    table: str, column: str, target: str, on_delete: str, *, nullable: bool = False
) -> tuple[sa.Column[object], sa.ForeignKeyConstraint]:
    """Return a TEXT column and its foreign key, named as the ORM names it."""
    return text(column, nullable=nullable), sa.ForeignKeyConstraint(
        [column], [f"{target}.id"], name=f"{table}_{column}_fkey", ondelete=on_delete, onupdate="CASCADE"
    )


def index(table: str, *columns: str, unique: bool = False) -> sa.Index:
    """Return an index, named as the ORM names it."""
    suffix = "key" if unique else "idx"
    return sa.Index(f"{table}_{'_'.join(columns)}_{suffix}", *columns, unique=unique)


def ours(name: str, *items: sa.schema.SchemaItem, since: str = "0001") -> None:
    """Register a table of ours: prefix `pms_`, the exchange account first in its key (decision 30).

    `since` is the migration that makes it; a table never changes after that, a later migration changes it.
    """
    sa.Table(f"pms_{name}", metadata, text("exchange_account_id", key=True), *items, info={"since": since})
