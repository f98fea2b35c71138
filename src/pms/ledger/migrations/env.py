"""Alembic's entry: runs the migrations on the connection that `pms.ledger.migrate` hands over."""

from alembic import context
from sqlalchemy import Connection

from pms.ledger.migrate import VERSION_TABLE
from pms.ledger.schema import metadata


def run() -> None:
    connection = context.config.attributes["connection"]
    assert isinstance(connection, Connection)  # noqa: S101 -- narrows the type; only migrate.py calls this
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


run()
