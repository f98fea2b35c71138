"""Version 1: the incumbent's tables where they are missing, and the first of ours.

A table that exists is left alone, whatever its columns are: live databases of the incumbent differ from its
model (ledger spec 1.3), and adoption must keep every row and table of it byte-identical.
"""

from pms.ledger.migrations.tables import create_tables, drop_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_tables(revision)


def downgrade() -> None:
    """Drop our tables only; the incumbent's stay."""
    drop_tables(revision)
