"""Version 1: the incumbent's tables where they are missing, and all of ours.

A table that exists is left alone, whatever its columns are: live databases of the incumbent differ from its
model (ledger spec 1.3), and adoption must keep every row and table of it byte-identical.
"""

import sqlalchemy as sa
from alembic import op

from pms.ledger.schema import metadata

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    present = set(sa.inspect(connection).get_table_names())
    for table in metadata.sorted_tables:
        if table.name not in present:
            table.create(connection)


def downgrade() -> None:
    """Drop our tables only; the incumbent's stay."""
    for table in reversed(metadata.sorted_tables):
        if table.name.startswith("pms_"):
            table.drop(op.get_bind(), checkfirst=True)
