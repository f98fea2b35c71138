"""Hash chain and outbox: nothing was altered, removed or slipped in by hand (decisions 7 and 27)."""

from collections import defaultdict
from itertools import pairwise

from pms.ledger.audit_tables import AuditRow, AuditTables, Check
from pms.ledger.rendering import chain_hash
from pms.ledger.rows import row_digest
from pms.ledger.schema import CHAINED, table_info


def check_chain(tables: AuditTables) -> list[Check]:
    """Recompute every link from its entries, and every row against its last entry."""
    links = Check("hash chain: links")
    last: dict[str, tuple[str, int]] = {}
    previous, expected = "", 1
    for link in sorted(tables.of("pms_commit_links"), key=lambda row: int(row["link"] or 0)):
        links.counted += 1
        number = int(link["link"] or 0)
        label = tables.label("pms_commit_links", link)
        if number != expected:
            links.fail(label, f"link {expected} is missing")
        if link["previous_hash"] != previous:
            links.fail(label, "its previous hash is not that of the link before")
        entries = str(link["entries"])
        if chain_hash(str(link["previous_hash"]), entries) != link["hash"]:
            links.fail(label, "its hash does not belong to its entries")
        for line in entries.splitlines():
            row, _, digest = line.rpartition(" ")
            last[row] = (digest, number)
        previous, expected = str(link["hash"]), number + 1
    return [links, _check_rows(tables, last), _check_outbox(tables)]


def _check_rows(tables: AuditTables, last: dict[str, tuple[str, int]]) -> Check:
    check = Check("hash chain: rows")
    seen: set[str] = set()
    adopted = tables.adopted()
    for table in CHAINED:
        keys = table_info(table).keys
        for row in tables.of(table):
            label = tables.label(table, row)
            entry = last.get(label)
            check.counted += 1
            if entry is None:
                if table.startswith("pms_") or _made_by_us(table, row, adopted):
                    check.fail(label, "no commit of the ledger wrote this row")
                continue
            seen.add(label)
            key = tuple(row[name] for name in keys)
            if row_digest(table, key, row) != entry[0]:
                check.fail(label, f"was altered after commit {entry[1]}")
    for label in last.keys() - seen:
        check.fail(label, f"was removed after commit {last[label][1]}")
    return check


def _made_by_us(table: str, row: AuditRow, adopted: set[str]) -> bool:
    """True for a balance log of an account that never belonged to an incumbent."""
    return table == "balance_logs" and str(row["sub_account_id"]) not in adopted


def _check_outbox(tables: AuditTables) -> Check:
    """Sequences are gap-free and increasing for each account; the oldest may be pruned."""
    check = Check("durable events: sequences")
    by_account: dict[str, list[int]] = defaultdict(list)
    for row in tables.of("pms_outbox"):
        by_account[str(row["sub_account_id"])].append(int(row["sequence"] or 0))
    for account, sequences in by_account.items():
        sequences.sort()
        check.counted += len(sequences)
        for before, after in pairwise(sequences):
            if after != before + 1:
                check.fail(f"pms_outbox/{account}/{after}", f"follows sequence {before}")
    return check
