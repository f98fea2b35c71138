"""Checks the record of liquidations: one at a time, each ended once, none of an account that is over."""

from pms.ledger.audit_tables import AuditTables, Check
from pms.model.liquidation import LiquidationState


def check_liquidations(tables: AuditTables) -> Check:
    """At most one RUNNING for an account, none for a LIQUIDATED one; an end time for exactly those ended."""
    check = Check("liquidations: states")
    statuses = {str(row["id"]): str(row["status"]) for row in tables.of("sub_accounts")}
    running: dict[str, str] = {}
    for row in tables.of("pms_liquidations"):
        label, owner = tables.label("pms_liquidations", row), str(row["sub_account_id"])
        check.counted += 1
        runs = row["state"] == LiquidationState.RUNNING
        if runs != (row["ended_at"] is None):
            check.fail(label, f"is {row['state']} and ended at {row['ended_at']}")
        if not runs:
            continue
        if owner in running:
            check.fail(label, f"runs beside {running[owner]}")
        running[owner] = label
        if statuses.get(owner) == "LIQUIDATED":
            check.fail(label, "runs although its account is LIQUIDATED")
    return check
