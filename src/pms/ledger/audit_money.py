"""Money checks: balances, what is owed, the double entry, conservation, the wallet (decisions 4, 5, 7)."""

from collections import defaultdict
from decimal import Decimal

from pms.ledger.audit_tables import AuditTables, Check, number, signed
from pms.ledger.rendering import agrees
from pms.model.money import SETTLE_ASSET, ZERO, plain, round_cost

WALLET_TOLERANCE = Decimal("1e-6")
"""The exchange rounds each realised amount to 8 decimals; more than this is a difference."""


def check_balances(tables: AuditTables) -> list[Check]:
    """Balance = opening + Σ(after - before), >= 0, and the Float column renders the exact value."""
    derived, rendered = Check("balances: opening + logs"), Check("balances: rendering")
    opening = {
        str(row["sub_account_id"]): number(row, "balance")
        for row in tables.of("pms_opening_entries")
        if row["kind"] == "BALANCE"
    }
    moved: dict[str, Decimal] = defaultdict(Decimal)
    for log in _own_logs(tables):
        moved[str(log["sub_account_id"])] += number(log, "balance_after") - number(log, "balance_before")
    shown = {str(row["id"]): row for row in tables.of("sub_accounts")}
    for row in tables.of("pms_account_exact"):
        label = tables.label("pms_account_exact", row)
        account, balance = str(row["sub_account_id"]), number(row, "balance")
        derived.counted += 1
        if balance < 0:
            derived.fail(label, f"balance {plain(balance)} is below zero")
        wanted = opening.get(account, ZERO) + moved[account]
        if not agrees(wanted, balance) and abs(wanted - balance) > Decimal("1e-7"):
            derived.fail(label, f"balance is {plain(balance)}, opening and logs give {plain(wanted)}")
        rendered.counted += 1
        if account not in shown:
            rendered.fail(label, "its sub_accounts row is gone")
        elif not agrees(number(shown[account], "current_balance"), balance):
            text = f"current_balance is {shown[account]['current_balance']}, exactly {plain(balance)}"
            rendered.fail(f"sub_accounts/{account}", text)
    return [derived, rendered]


def _own_logs(tables: AuditTables) -> list[dict[str, str | int | Decimal | bool | None]]:
    """Return the logs that belong to the ledger: an adopted account's older ones are the incumbent's."""
    adopted = {
        str(row["sub_account_id"]): int(row["timestamp"] or 0)
        for row in tables.of("pms_opening_entries")
        if row["kind"] == "BALANCE"
    }
    linked = _linked_labels(tables) if adopted else set()
    return [
        log
        for log in tables.of("balance_logs")
        if str(log["sub_account_id"]) not in adopted or tables.label("balance_logs", log) in linked
    ]


def _linked_labels(tables: AuditTables) -> set[str]:
    return {
        line.rpartition(" ")[0]
        for link in tables.of("pms_commit_links")
        for line in str(link["entries"]).splitlines()
    }


def check_owed(tables: AuditTables) -> Check:
    """Every clamp and every repayment is a line of what is owed, and the lines sum to it."""
    check = Check("owed: lines and clamps")
    lines: dict[str, Decimal] = defaultdict(Decimal)
    by_log: dict[str, Decimal] = defaultdict(Decimal)
    for line in tables.of("pms_owed_lines"):
        lines[str(line["sub_account_id"])] += number(line, "amount")
        by_log[str(line["balance_log_id"])] += number(line, "amount")
    owed = {str(row["sub_account_id"]): number(row, "amount") for row in tables.of("pms_owed")}
    for account in owed.keys() | lines.keys():
        check.equal(f"pms_owed/{account}", "amount owed", owed.get(account, ZERO), lines[account])
    for log in _own_logs(tables):
        unpaid = number(log, "balance_after") - number(log, "balance_before") - number(log, "change_amount")
        recorded = by_log[str(log["id"])]
        check.counted += 1
        scale = max(abs(number(log, "balance_before")), abs(number(log, "change_amount")), Decimal(1))
        if abs(unpaid - recorded) > scale * Decimal("1e-12"):
            label = tables.label("balance_logs", log)
            check.fail(
                label,
                f"{plain(unpaid)} of its change is not in the balance, owed lines have {plain(recorded)}",
            )
    return check


def check_journal(tables: AuditTables) -> list[Check]:
    """Every entry sums to zero, and every account of the double entry agrees with the state it stands for."""
    entries, trial = Check("double entry: entries"), Check("double entry: trial balance")
    sums: dict[str, Decimal] = {str(row["id"]): ZERO for row in tables.of("pms_journal_entries")}
    totals: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for line in tables.of("pms_journal_lines"):
        entry = str(line["entry_id"])
        if entry not in sums:
            entries.fail(tables.label("pms_journal_lines", line), "belongs to no entry")
        sums[entry] = sums.get(entry, ZERO) + number(line, "amount")
        account = str(line["account"])
        owner = (
            line["symbol"]
            if account == "HOUSE_POSITION"
            else line["detail"]
            if account == "HOUSE_CASH"
            else None
        )
        key = str(owner or line["sub_account_id"] or "")
        totals[(account, key)] += number(line, "amount")
    for entry, total in sums.items():
        entries.equal(f"pms_journal_entries/{entry}", "sum of its lines", total, ZERO)
    for (account, key), (label, wanted) in _states(tables).items():
        trial.equal(label, f"journal account {account}", totals.pop((account, key), ZERO), wanted)
    rest = {
        place: total for place, total in totals.items() if not place[0].startswith(("EXCHANGE", "OPENING"))
    }
    for (account, key), total in rest.items():
        trial.equal(f"pms_journal_lines/{account}/{key}", "journal account without a state", total, ZERO)
    _check_exchange_lines(tables, totals, trial)
    return [entries, trial]


def _states(tables: AuditTables) -> dict[tuple[str, str], tuple[str, Decimal]]:
    """Return what each account of the double entry must show, with the row that says so."""
    states: dict[tuple[str, str], tuple[str, Decimal]] = {}
    for row in tables.of("pms_account_exact"):
        account = str(row["sub_account_id"])
        states[("CASH", account)] = (tables.label("pms_account_exact", row), -number(row, "balance"))
        states[("POSITION", account)] = (f"pms_position_exact of {account}", ZERO)
    for row in tables.of("pms_owed"):
        states[("OWED", str(row["sub_account_id"]))] = (tables.label("pms_owed", row), number(row, "amount"))
    for row in tables.of("pms_position_exact"):
        if row["status"] == "OPEN":
            place = ("POSITION", str(row["sub_account_id"]))
            label, cost = states.get(place, ("", ZERO))
            states[place] = (label, cost + number(row, "cost") * (1 if row["side"] == "LONG" else -1))
    for row in tables.of("pms_house_lines"):
        place = ("HOUSE_CASH", str(row["kind"]))
        states[place] = (
            f"pms_house_lines of {row['kind']}",
            states.get(place, ("", ZERO))[1] - number(row, "cash"),
        )
        if row["symbol"] is not None:
            place = ("HOUSE_POSITION", str(row["symbol"]))
            known = states.get(place, ("", ZERO))[1]
            states[place] = (f"pms_house_lines of {row['symbol']}", known + number(row, "signed_cost"))
    return states


def _check_exchange_lines(tables: AuditTables, totals: dict[tuple[str, str], Decimal], trial: Check) -> None:
    """Trades and fees of the double entry are those of the fills' allocations, to the last decimal."""
    trades = sum(
        (round_cost(signed(row) * number(row, "price")) for row in tables.of("pms_fill_allocations")), ZERO
    )
    fees, elsewhere = ZERO, ZERO
    for row in tables.of("pms_fills"):
        if row["fee_asset"] in ("", SETTLE_ASSET):
            fees += number(row, "fee")
        else:  # the exchange took it from another asset, and the house got it here
            elsewhere += number(row, "fee")
    given = sum(
        (number(row, "cash") for row in tables.of("pms_house_lines") if row["kind"] == "FEE_ASSET"), ZERO
    )
    trial.equal("pms_house_lines of FEE_ASSET", "commissions taken in other assets", given, elsewhere)
    trial.equal(
        "pms_fill_allocations", "journal account EXCHANGE_TRADE", totals[("EXCHANGE_TRADE", "")], -trades
    )
    trial.equal("pms_fills", "journal account EXCHANGE_FEE", totals[("EXCHANGE_FEE", "")], -fees)


def check_wallet(tables: AuditTables, value: Decimal | None, tolerance: Decimal = ZERO) -> Check:
    """Conservation (decision 7): Σ(cash - owed - signed cost) of everybody = wallet - Σ signed Q x E.

    `value` is the right side as the exchange has it; `tolerance` what its rounding of entry prices leaves
    open. The wallet alone proves nothing while a position is open: the split into realised profit and cost
    depends on the order of the executions, their sum does not.
    """
    check = Check("conservation")
    outside = sum(
        (
            number(line, "amount")
            for line in tables.of("pms_journal_lines")
            if str(line["account"]).startswith(("EXCHANGE", "OPENING"))
        ),
        ZERO,
    )
    inside = sum((number(row, "balance") for row in tables.of("pms_account_exact")), ZERO)
    inside -= sum((number(row, "amount") for row in tables.of("pms_owed")), ZERO)
    for row in tables.of("pms_position_exact"):
        if row["status"] == "OPEN":
            inside -= number(row, "cost") * (1 if row["side"] == "LONG" else -1)
    for row in tables.of("pms_house_lines"):
        inside += number(row, "cash") - number(row, "signed_cost")
    check.equal(tables.exchange_account_id, "Σ(cash - signed cost)", inside, outside)
    if value is None:
        check.notes.append(f"wallet less cost must be {plain(inside)}; the exchange was not read")
    else:
        check.counted += 1
        if abs(value - inside) > WALLET_TOLERANCE + tolerance:
            told = f"the exchange has wallet less cost {plain(value)}, the books {plain(inside)}"
            check.fail(tables.exchange_account_id, told)
    return check
