"""Position checks: allocations, replays, identities, house, netting, orders (decisions 3, 6, 9)."""

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal

import orjson

from pms.ledger.audit_tables import AuditRow, AuditTables, Check, number, signed
from pms.ledger.load import TERMINAL_STATES
from pms.ledger.operations.adopted_orders import ORDER_ADOPTED
from pms.ledger.operations.costs import cost_removed
from pms.ledger.operations.house import EPOCH_ENDED
from pms.ledger.rendering import agrees
from pms.model.money import ZERO, plain, round_cost
from pms.model.symbol import Symbol

INTERNAL_KINDS = ("TRANSFER", "CROSS")
HOUSE_TRANSFERS = ("DEPOSIT", "WITHDRAWAL", "ADMIN_SET", "RESET")
"""Reasons whose cash the house has on a line TRANSFER of its own."""


def check_allocations(tables: AuditTables) -> Check:
    """Σ allocations of a fill = the fill, in quantity and fee, at its own side and price."""
    check = Check("fills: allocations")
    by_fill: dict[str, list[AuditRow]] = defaultdict(list)
    for row in tables.of("pms_fill_allocations"):
        by_fill[str(row["fill_id"])].append(row)
    roundings = sum(
        (-number(row, "cash") for row in tables.of("pms_house_lines") if row["kind"] == "ROUNDING"), ZERO
    )
    fee_rest = ZERO
    for fill in tables.of("pms_fills"):
        label = tables.label("pms_fills", fill)
        parts = by_fill.pop(str(fill["id"]), [])
        if fill["kind"] in INTERNAL_KINDS:  # legs that cancel, of the stated size on either side
            check.equal(label, "sum of its legs", sum((signed(part) for part in parts), ZERO), ZERO)
            total = sum((number(part, "quantity") for part in parts), ZERO) / 2
        else:
            total = sum((number(part, "quantity") for part in parts), ZERO)
        check.equal(label, "sum of its allocations", total, number(fill, "quantity"))
        fee_rest += number(fill, "fee") - sum((number(part, "fee") for part in parts), ZERO)
        for part in parts:
            same = ("symbol", "price") if fill["kind"] in INTERNAL_KINDS else ("side", "symbol", "price")
            if any(part[name] != fill[name] for name in same):
                check.fail(
                    tables.label("pms_fill_allocations", part), "side, symbol or price differ from its fill"
                )
    check.equal("pms_fill_allocations", "fees not allocated", fee_rest, roundings)
    for fill_id, parts in by_fill.items():
        check.fail(tables.label("pms_fill_allocations", parts[0]), f"its fill {fill_id} does not exist")
    return check


def check_positions(tables: AuditTables) -> list[Check]:
    """Replay each position from its opening entry and its allocations; compare rows with exact figures."""
    replay, rendered = Check("positions: replay"), Check("positions: rendering")
    opening = {
        str(row["position_id"]): row for row in tables.of("pms_opening_entries") if row["kind"] == "POSITION"
    }
    parts: dict[str, list[AuditRow]] = defaultdict(list)
    for row in tables.of("pms_fill_allocations"):
        if row["position_id"] is not None:
            parts[str(row["position_id"])].append(row)
    shown = {str(row["id"]): row for row in tables.of("virtual_positions")}
    for exact in tables.of("pms_position_exact"):
        position = str(exact["position_id"])
        label = tables.label("pms_position_exact", exact)
        _replay(replay, label, exact, opening.get(position), parts.pop(position, []))
        visible = shown.get(position)
        rendered.counted += 1
        if visible is None:
            rendered.fail(label, "its virtual_positions row is gone")
        else:
            _compare(rendered, f"virtual_positions/{position}", exact, visible)
    for position in parts:
        replay.fail(f"pms_position_exact/{position}", "has allocations but no row")
    return [replay, rendered]


def _replay(
    check: Check, label: str, exact: AuditRow, opening: AuditRow | None, parts: list[AuditRow]
) -> None:
    quantity = abs(number(opening, "signed_quantity")) if opening else ZERO
    cost = abs(number(opening, "signed_cost")) if opening else ZERO
    closed = False
    for part in sorted(parts, key=lambda row: int(row["position_revision"] or 0)):
        size = number(part, "quantity")
        if closed:
            check.fail(label, "has an allocation after its close")
        if part["effect"] == "OPEN":
            quantity += size
            cost += round_cost(size * number(part, "price"))
        elif size == quantity:
            closed = True  # a closed row keeps its last quantity and cost (ledger spec 1.2)
        else:
            removed = cost_removed(cost, quantity, size) if quantity else ZERO
            quantity, cost = quantity - size, cost - removed
    check.equal(label, "quantity", number(exact, "quantity"), quantity)
    check.equal(label, "cost", number(exact, "cost"), cost)
    if (exact["status"] != "OPEN") != closed:
        check.fail(
            label, f"status is {exact['status']}, its allocations say {'closed' if closed else 'open'}"
        )


def _compare(check: Check, label: str, exact: AuditRow, row: AuditRow) -> None:
    for name, wanted in (
        ("quantity", number(exact, "quantity")),
        ("notional", number(exact, "cost")),
        ("leverage", number(exact, "leverage")),
    ):
        if not agrees(number(row, name), wanted):
            check.fail(label, f"{name} is {row[name]}, exactly {plain(wanted)}")
    for name in ("sub_account_id", "symbol", "side", "status"):
        if row[name] != exact[name]:
            check.fail(label, f"{name} is {row[name]}, the ledger has {exact[name]}")


def check_shapes(tables: AuditTables) -> Check:
    """Invariant 4 and 6: identities of open rows, one open position for a (sub-account, symbol), LIQUIDATED
    is flat."""
    check = Check("positions: identities")
    liquidated = {str(row["id"]) for row in tables.of("sub_accounts") if row["status"] == "LIQUIDATED"}
    seen: dict[tuple[str, str], str] = {}
    for row in tables.of("virtual_positions"):
        if row["status"] != "OPEN":
            continue
        label = tables.label("virtual_positions", row)
        check.counted += 1
        quantity, entry, leverage = (
            number(row, "quantity"),
            number(row, "entry_price"),
            number(row, "leverage"),
        )
        if quantity <= 0 or leverage <= 0:
            check.fail(label, f"is open with quantity {row['quantity']} and leverage {row['leverage']}")
            continue
        if not agrees(number(row, "notional"), entry * quantity):
            check.fail(
                label, f"notional {row['notional']} is not entry {row['entry_price']} x {row['quantity']}"
            )
        if not agrees(number(row, "margin"), number(row, "notional") / leverage):
            check.fail(label, f"margin {row['margin']} is not notional {row['notional']} / {row['leverage']}")
        place = (str(row["sub_account_id"]), str(row["symbol"]))
        if place in seen:
            check.fail(label, f"is a second open position beside {seen[place]}")
        seen[place] = label
        if place[0] in liquidated:
            check.fail(label, "is open although its account is LIQUIDATED")
    return check


def check_house(tables: AuditTables) -> Check:
    """House lines re-derived: those of fills from their allocations, transfers from the double entry."""
    check = Check("house: lines")
    wanted: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in tables.of("pms_fill_allocations"):
        if row["sub_account_id"] is None:
            wanted[(str(row["effect"]), str(row["symbol"]))] += signed(row)
    found: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in tables.of("pms_house_lines"):
        if row["symbol"] is not None and row["reference"] != EPOCH_ENDED:
            found[(str(row["kind"]), str(row["symbol"]))] += number(row, "signed_quantity")
        elif row["kind"] == "TRANSFER" and row["sub_account_id"] is None:
            check.fail(tables.label("pms_house_lines", row), "is a transfer with nobody")
    for place in found.keys() | wanted.keys():
        check.equal(f"pms_house_lines of {place[0]} {place[1]}", "quantity", found[place], wanted[place])
    _check_house_cash(tables, check)
    return check


def _check_house_cash(tables: AuditTables, check: Check) -> None:
    """What accounts gave and got is, by account and purpose, what the house's lines say of it."""
    moved: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in tables.of("pms_house_lines"):
        purpose = (
            "WRITE_OFF"
            if row["reference"] == "WRITE_OFF"
            else "LIQUIDATION_FEE"
            if row["kind"] == "INSURANCE"
            else str(row["kind"])
        )
        # The exchange's own insurance clearance concerns no account.
        if purpose in ("TRANSFER", "WRITE_OFF", "LIQUIDATION_FEE") and row["sub_account_id"] is not None:
            moved[(purpose, str(row["sub_account_id"]))] -= number(row, "cash")
    for line in tables.of("pms_journal_lines"):
        purpose = "TRANSFER" if line["detail"] in HOUSE_TRANSFERS else str(line["detail"])
        counted = purpose in ("TRANSFER", "WRITE_OFF", "LIQUIDATION_FEE")
        if counted and line["sub_account_id"] is not None:
            moved[(purpose, str(line["sub_account_id"]))] += number(line, "amount")
    for (purpose, account), rest in moved.items():
        check.equal(
            f"pms_house_lines of {purpose} {account}", f"{purpose} less the account's side", rest, ZERO
        )


def check_netting(tables: AuditTables, exchange: Mapping[Symbol, Decimal] | None) -> list[Check]:
    """Σ virtual + house = Σ signed exchange fills (with openings and epochs), and = the exchange's net when
    given."""
    derived, real = Check("netting: fills"), Check("netting: exchange")
    net: dict[str, Decimal] = defaultdict(Decimal)
    for row in tables.of("pms_position_exact"):
        if row["status"] == "OPEN":
            net[str(row["symbol"])] += signed(row)
    fills: dict[str, Decimal] = defaultdict(Decimal)
    for row in tables.of("pms_house_lines"):
        if row["symbol"] is not None:
            net[str(row["symbol"])] += number(row, "signed_quantity")
            if row["reference"] == EPOCH_ENDED:
                fills[str(row["symbol"])] += number(row, "signed_quantity")
    for row in tables.of("pms_fills"):
        if row["kind"] == "EXCHANGE":
            fills[str(row["symbol"])] += signed(row)
    for row in tables.of("pms_opening_entries"):
        if row["symbol"] is not None:
            fills[str(row["symbol"])] += number(row, "signed_quantity")
    mirror = {
        str(row["symbol"]): number(row, "signed_quantity") for row in tables.of("pms_exchange_positions")
    }
    for symbol in net.keys() | fills.keys() | mirror.keys():
        derived.equal(symbol, "Σ virtual + house", net[symbol], fills[symbol])
        derived.equal(
            f"pms_exchange_positions/{symbol}", "derived net", mirror.get(symbol, ZERO), fills[symbol]
        )
    if exchange is None:
        real.skipped = "the exchange was not asked"
    else:
        for symbol in net.keys() | {str(name) for name in exchange}:
            real.equal(symbol, "Σ virtual + house", net[symbol], exchange.get(Symbol(symbol), ZERO))
    return [derived, real, _check_suspense(tables)]


def _check_suspense(tables: AuditTables) -> Check:
    """What nobody here ordered and no holder bears: each line is a share of an execution; what is left of a
    symbol is said."""
    check = Check("netting: suspense")
    wanted: dict[str, Decimal] = defaultdict(Decimal)
    for row in tables.of("pms_fill_allocations"):
        if row["effect"] == "SUSPENSE":
            wanted[str(row["symbol"])] += signed(row)
    found: dict[str, Decimal] = defaultdict(Decimal)
    for row in tables.of("pms_house_lines"):
        if row["kind"] == "SUSPENSE" and row["symbol"] is not None:
            found[str(row["symbol"])] += number(row, "signed_quantity")
    for symbol in sorted(found.keys() | wanted.keys()):
        check.equal(symbol, "quantity in suspense", found[symbol], wanted[symbol])
        if found[symbol]:
            check.notes.append(f"{symbol}: the house holds {plain(found[symbol])} of others' executions")
    return check


def check_orders(tables: AuditTables) -> Check:
    """Σ booked of each order = the fills that carry its id; unsettled orders are listed as notes."""
    check = Check("orders: booked")
    booked: dict[str, Decimal] = defaultdict(Decimal)
    for fill in tables.of("pms_fills"):
        booked[str(fill["client_order_id"])] += number(fill, "quantity")
    for action in tables.of("pms_actions"):
        if action["action"] == ORDER_ADOPTED:  # executed for the incumbent, whose house bears it
            facts = orjson.loads(str(action["after"]))
            booked[facts["clientOrderId"]] += Decimal(facts["executed"])
    for row in tables.of("pms_order_journal"):
        client_id = str(row["client_order_id"])
        label = tables.label("pms_order_journal", row)
        check.equal(label, "booked quantity", number(row, "booked_quantity"), booked[client_id])
        executed = number(row, "executed_quantity")
        if executed != booked[client_id]:
            state = "ended" if row["state"] in TERMINAL_STATES else "waits for fills"
            check.notes.append(
                f"{label} {state}: executed {plain(executed)}, booked {plain(booked[client_id])}"
            )
    return check
