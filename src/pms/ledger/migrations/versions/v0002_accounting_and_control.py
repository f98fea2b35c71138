"""Version 2: funding, income, checkpoints; restrictions, rules, liquidations, leverage, house limits."""

from pms.ledger.migrations.tables import create_tables, drop_tables

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_tables(revision)


def downgrade() -> None:
    drop_tables(revision)
