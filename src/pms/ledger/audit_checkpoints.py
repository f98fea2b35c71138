"""Checkpoint checks: each is what the lines up to its last commit sum to (issue of the daily checkpoint)."""

from pms.ledger.audit_tables import AuditRow, AuditTables, Check
from pms.ledger.journal import JournalKey, Total, Totals, add_totals
from pms.ledger.journal_rows import MOVING, Part, checkpoint_part


def check_checkpoints(tables: AuditTables) -> Check:
    """Recompute every checkpoint from all lines before it, and its hash from the chain."""
    check = Check("checkpoints")
    hashes = {int(row["link"] or 0): str(row["hash"]) for row in tables.of("pms_commit_links")}
    stored: dict[str, dict[JournalKey, Total]] = {}
    for row in tables.of("pms_checkpoint_lines"):
        key, amount, quantity = checkpoint_part(row)
        stored.setdefault(str(row["day"]), {})[key] = Total(amount, quantity)
    moved = _moved(tables) if tables.of("pms_checkpoints") else []
    totals: Totals = {}
    place = 0
    for head in sorted(tables.of("pms_checkpoints"), key=_last_link):
        label, last = tables.label("pms_checkpoints", head), _last_link(head)
        check.counted += 1
        if hashes.get(last) != head["last_hash"]:
            check.fail(label, f"its hash is not that of commit {last}")
        while place < len(moved) and moved[place][0] <= last:
            add_totals(totals, [moved[place][1]])
            place += 1
        _compare(check, label, stored.get(str(head["day"]), {}), totals)
    return check


def _moved(tables: AuditTables) -> list[tuple[int, Part]]:
    """Return what every row moved, by commit."""
    moved: list[tuple[int, Part]] = []
    for table, read in MOVING.items():
        for row in tables.of(table):
            part = read(row)
            if part is not None:
                moved.append((int(row["link"] or 0), part))
    return sorted(moved, key=lambda item: item[0])


def totals_of(tables: AuditTables) -> Totals:
    """Return what every account of the double entry holds after all rows."""
    totals: Totals = {}
    add_totals(totals, (part for _, part in _moved(tables)))
    return totals


def _last_link(row: AuditRow) -> int:
    return int(row["last_link"] or 0)


def _compare(check: Check, label: str, found: dict[JournalKey, Total], wanted: Totals) -> None:
    for key in found.keys() | wanted.keys():
        one, other = found.get(key, Total()), wanted.get(key, Total())
        name = "/".join(part for part in (key.account, key.sub_account_id, key.symbol, key.detail) if part)
        check.equal(f"{label}/{name}", "amount", one.amount, other.amount)
        check.equal(f"{label}/{name}", "quantity", one.signed_quantity, other.signed_quantity)
