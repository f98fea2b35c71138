"""Funding checks: each payment from the executions again, and the exchange's income (decision 8)."""

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal

from pms.ledger.audit_tables import AuditRow, AuditTables, Check, number, signed
from pms.ledger.funding_views import FundingLine, residues
from pms.ledger.operations.funding import kind_of_income, payment
from pms.model.money import ZERO, plain

RESIDUES_TOLD = 5

_Key = tuple[str, int, str]


def check_funding(tables: AuditTables) -> list[Check]:
    """Every payment equals what the account's executions before that moment say, and nobody was left out."""
    check = Check("funding: payments")
    events = {_key(row): row for row in tables.of("pms_funding_events")}
    paid: dict[_Key, dict[str, tuple[Decimal, Decimal]]] = defaultdict(dict)
    logs = {str(row["id"]): row for row in tables.of("balance_logs")}
    for row in tables.of("pms_funding_payments"):
        account, of_event = str(row["sub_account_id"]), paid[_key(row)]
        quantity, amount = of_event.get(account, (ZERO, ZERO))
        of_event[account] = (quantity + number(row, "signed_quantity"), amount + number(row, "amount"))
        _check_log(check, tables.label("pms_funding_payments", row), row, logs)
    for key in sorted(paid.keys() - events.keys()):
        check.notes.append(f"the funding of {key[0]} at {key[1]} is paid in part; the engine goes on with it")
    for key, held in _holdings(tables, sorted(events)):
        event = events[key]
        for account in sorted(held.keys() | paid[key].keys()):
            quantity, amount = paid[key].get(account, (ZERO, ZERO))
            label = f"pms_funding_payments/{key[0]}/{key[1]}/{key[2]}/{account}"
            wanted = held.get(account, ZERO)
            check.equal(label, "quantity", quantity, wanted)
            mark, rate = number(event, "mark_price"), number(event, "rate")
            check.equal(label, "amount", amount, payment(wanted, mark, rate))
    return [check, _check_house(tables)]


def _key(row: AuditRow) -> _Key:
    return str(row["symbol"]), int(row["funding_time"] or 0), str(row["type"])


def _check_log(check: Check, label: str, row: AuditRow, logs: dict[str, AuditRow]) -> None:
    amount, log = number(row, "amount"), logs.get(str(row["balance_log_id"]))
    check.counted += 1
    if log is None:
        if amount:
            check.fail(label, "its balance log does not exist")
    elif (log["sub_account_id"], log["reason"]) != (row["sub_account_id"], "FUNDING"):
        check.fail(label, "its balance log is not a funding of its account")
    elif abs(number(log, "change_amount") - amount) > max(abs(amount), Decimal(1)) * Decimal("1e-12"):
        check.fail(label, f"its balance log has {plain(number(log, 'change_amount'))}, not {plain(amount)}")


def _holdings(tables: AuditTables, events: list[_Key]) -> Iterator[tuple[_Key, dict[str, Decimal]]]:
    """Yield each funding, in the order of `events`, with what accounts held just before it."""
    moves: dict[str, list[tuple[int, str, Decimal]]] = defaultdict(list)
    times = {str(row["id"]): int(row["trade_time"] or 0) for row in tables.of("pms_fills")}
    for row in tables.of("pms_fill_allocations"):
        if row["sub_account_id"] is not None:
            move = (times.get(str(row["fill_id"]), 0), str(row["sub_account_id"]), signed(row))
            moves[str(row["symbol"])].append(move)
    for row in tables.of("pms_opening_entries"):
        if row["symbol"] is not None:
            opened = (int(row["timestamp"] or 0), str(row["sub_account_id"]), number(row, "signed_quantity"))
            moves[str(row["symbol"])].append(opened)
    held: dict[str, Decimal] = {}
    of_symbol, place = "", 0
    for key in events:
        if key[0] != of_symbol:
            of_symbol, place, held = key[0], 0, defaultdict(Decimal)
            moves[of_symbol].sort()
        known = moves[of_symbol]
        while place < len(known) and known[place][0] < key[1]:
            held[known[place][1]] += known[place][2]
            place += 1
        yield key, {account: quantity for account, quantity in held.items() if quantity}


def _check_house(tables: AuditTables) -> Check:
    """The house's lines and the double entry of funding and income are those of the rows they come from."""
    check = Check("funding: house and exchange")
    income: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    journal: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    by_reference: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in tables.of("pms_income"):
        kind, account = kind_of_income(str(row["income_type"]))
        label = tables.label("pms_income", row)
        if row["kind"] != kind.value:
            check.fail(label, f"its kind is {row['kind']}, must be {kind.value}")
        income[(account, str(row["income_type"]))] += number(row, "amount")
        by_reference[(kind.value, f"{row['income_type']}:{row['transaction_id']}")] += number(row, "amount")
    for row in tables.of("pms_funding_payments"):
        by_reference[("FUNDING", f"{row['symbol']}:{row['funding_time']}")] -= number(row, "amount")
    for line in tables.of("pms_journal_lines"):
        place = (str(line["account"]), str(line["detail"]))
        # The wallet has other lines too: those of adoption and epochs.
        if place in income or place[0] == "EXCHANGE_FUNDING":
            journal[place] += number(line, "amount")
    found: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in tables.of("pms_house_lines"):
        place = (str(row["kind"]), str(row["reference"]))
        if place in by_reference or place[0] in ("FUNDING", "INCOME"):
            found[place] += number(row, "cash")
    for place in sorted(found.keys() | by_reference.keys()):
        check.equal(f"pms_house_lines of {place[0]} {place[1]}", "cash", found[place], by_reference[place])
    for place in sorted(income.keys() | journal.keys()):
        check.equal(f"pms_income of {place[1]}", f"journal account {place[0]}", journal[place], income[place])
    _note_residues(check, residues(*(tables.of(name) for name in FundingLine.TABLES)))
    return check


def _note_residues(check: Check, lines: list[FundingLine]) -> None:
    """Say what the exchange paid and the accounts did not, or the other way round: it is the house's."""
    left = [line for line in lines if line.residue]
    total = sum((line.residue for line in left), ZERO)
    if left:
        check.notes.append(f"{len(left)} fundings leave {plain(total)} with the house")
    for line in left[-RESIDUES_TOLD:]:
        check.notes.append(
            f"{line.symbol} at {line.time_ms}: exchange {plain(line.exchange)}, accounts"
            f" {plain(line.accounts)}, house {plain(line.residue)}"
        )
