"""Version 2: funding, income, checkpoints; restrictions, rules, liquidations, leverage, house limits."""

from alembic import op

from pms.ledger.migrations.tables import create_tables, drop_tables

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


BY_LINK = ("journal_lines", "fill_allocations", "house_lines", "opening_entries")
"""Tables that are read by the commits that wrote them, for the state as of a moment."""


def upgrade() -> None:
    create_tables(revision)
    for name in BY_LINK:
        op.create_index(
            f"pms_{name}_link_idx", f"pms_{name}", ["exchange_account_id", "link"], if_not_exists=True
        )
    op.create_index(
        "pms_commit_links_time_idx",
        "pms_commit_links",
        ["exchange_account_id", "timestamp"],
        if_not_exists=True,
    )
    # What was executed since a funding: asked for at each one.
    op.create_index(
        "pms_fills_time_idx", "pms_fills", ["exchange_account_id", "symbol", "trade_time"], if_not_exists=True
    )


def downgrade() -> None:
    op.drop_index("pms_fills_time_idx", "pms_fills")
    op.drop_index("pms_commit_links_time_idx", "pms_commit_links")
    for name in BY_LINK:
        op.drop_index(f"pms_{name}_link_idx", f"pms_{name}")
    drop_tables(revision)
