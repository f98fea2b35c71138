"""Creates and drops the tables that came with one schema version."""

import sqlalchemy as sa
from alembic import op

from pms.ledger.schema import metadata


def tables_since(revision: str) -> list[str]:
    """Return the names of the tables that a version made, in an order that satisfies their foreign keys."""
    return [table.name for table in metadata.sorted_tables if table.info.get("since", "0001") == revision]


def create_tables(revision: str) -> None:
    """Create the tables of a version; one that exists is left alone."""
    connection = op.get_bind()
    present = set(sa.inspect(connection).get_table_names())
    for name in tables_since(revision):
        if name not in present:
            metadata.tables[name].create(connection)


def drop_tables(revision: str) -> None:
    """Drop the tables of a version, our own only."""
    for name in reversed(tables_since(revision)):
        if name.startswith("pms_"):
            metadata.tables[name].drop(op.get_bind(), checkfirst=True)
