"""Checks of pooled closes: shares, fills, and how far they were passed on (decisions 3 and 9)."""

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from pms.ledger.audit_tables import AuditRow, AuditTables, Check, number
from pms.ledger.load import TERMINAL_STATES


def check_pools(tables: AuditTables) -> Check:
    """Σ shares = the order; its fills are the booked ones; what was passed on is no more than that; and a
    pool is DONE when, and only when, nothing more can come of it."""
    check = Check("orders: pools")
    orders = {str(row["client_order_id"]): row for row in tables.of("pms_order_journal")}
    booked = {str(row["id"]): row for row in tables.of("pms_fills")}
    shares, fills = _sums(tables, "pms_pool_shares"), _sums(tables, "pms_pool_fills")
    executed: dict[str, set[tuple[Decimal, int]]] = defaultdict(set)
    for row in tables.of("pms_pool_fills"):
        fill = booked.get(str(row["fill_id"]))
        names = ("client_order_id", "price", "quantity", "fee")
        if fill is None or any(row[name] != fill[name] for name in names):
            check.fail(tables.label("pms_pool_fills", row), "is not the execution that was booked")
            continue
        executed[str(row["client_order_id"])].add((number(fill, "price"), int(fill["trade_time"] or 0)))
    for row in booked.values():
        pool = str(row["order_id"]).partition(":")[0]
        moment = (number(row, "price"), int(row["trade_time"] or 0))
        if row["kind"] == "TRANSFER" and pool in executed and moment not in executed[pool]:
            check.fail(tables.label("pms_fills", row), "has not the price and time of what it passes on")
    given = _given(booked.values())
    for row in tables.of("pms_pools"):
        label, client_id = tables.label("pms_pools", row), str(row["client_order_id"])
        check.counted += 1
        order = orders.get(client_id)
        if order is None:
            check.fail(label, "has no order in the journal")
            continue
        check.equal(label, "sum of its shares", shares[client_id], number(order, "quantity"))
        allocated = number(row, "allocated")
        if not given[client_id] <= allocated <= fills[client_id]:
            check.fail(
                label, f"has passed {given[client_id]} on, says {allocated}, and got {fills[client_id]}"
            )
        done = order["state"] in TERMINAL_STATES and allocated == fills[client_id]
        if done is not (row["state"] == "DONE"):
            check.fail(label, f"is {row['state']} with {allocated} of {fills[client_id]} passed on")
    return check


def _sums(tables: AuditTables, table: str) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in tables.of(table):
        sums[str(row["client_order_id"])] += number(row, "quantity")
    return sums


def _given(fills: Iterable[AuditRow]) -> dict[str, Decimal]:
    """Return what the transfers named by each pool moved."""
    given: dict[str, Decimal] = defaultdict(Decimal)
    for row in fills:
        pool, separator, _ = str(row["order_id"]).partition(":")
        if separator and row["kind"] == "TRANSFER":
            given[pool] += number(row, "quantity")
    return given
