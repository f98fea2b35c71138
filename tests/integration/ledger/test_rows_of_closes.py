"""What each kind of close writes, in the words of ledger spec 5.4 to 5.10: a table."""

from dataclasses import dataclass
from decimal import Decimal

import pytest

from pms.ledger.api import Actor, Committed, HouseLineKind
from pms.ledger.audit import audit
from pms.ledger.ledger import LedgerService
from pms.model.account import Position
from pms.model.money import Price
from pms.model.order import OrderCode, OrderSide
from tests.support.ledger import BTC, Desk, ManualClock

CLOSED, REDUCED = ["position_closed"], ["position_reduced", "position_updated"]
TAKEN = ["position_takeover", "position_closed"]


@dataclass(frozen=True)
class Case:
    """A LONG 2 at 100 of an account with 1000 is closed by `way`, at 90, in `quantity`."""

    way: str
    action: str
    quantity: str
    status: str
    reason: str
    events: list[str]
    type: str = "MARKET"


CASES = [
    # An order of its own (5.4): TRADE_PNL, LIQUIDATION for a liquidation.
    Case("order", "CLOSE", "2", "CLOSED", "TRADE_PNL", CLOSED),
    Case("order", "TRAIL_STOP", "2", "CLOSED", "TRADE_PNL", CLOSED),
    Case("order", "BABYSITTER_TP", "2", "CLOSED", "TRADE_PNL", CLOSED),
    Case("order", "LIQUIDATE", "2", "LIQUIDATED", "LIQUIDATION", CLOSED),
    # Partial closes (5.6): the action is the reason; the row stays open, or is finished properly (H23).
    Case("order", "ADL_TIER2", "0.6", "OPEN", "ADL_TIER2", REDUCED),
    Case("order", "ADL_TIER3", "0.6", "OPEN", "ADL_TIER3", REDUCED),
    Case("order", "PARTIAL_LIQUIDATION", "0.6", "OPEN", "PARTIAL_LIQUIDATION", REDUCED),
    Case("order", "ADL_TIER3", "2", "LIQUIDATED", "ADL_TIER3", CLOSED),
    Case("limit", "LIMIT_CLOSE", "0.5", "OPEN", "LIMIT_CLOSE", [*REDUCED, "order_filled"], "LIMIT"),
    Case("limit", "LIMIT_CLOSE", "2", "CLOSED", "LIMIT_CLOSE", [*CLOSED, "order_filled"], "LIMIT"),
    # Virtual closes (5.8 to 5.10): the action is the reason, no order, no fee.
    Case("house", "DESYNC_CLOSE", "2", "CLOSED", "DESYNC_CLOSE", CLOSED),
    Case("house", "DESYNC_CLOSE", "0.5", "OPEN", "DESYNC_CLOSE", REDUCED),
    Case("house", "BABYSITTER_TP", "2", "CLOSED", "BABYSITTER_TP", CLOSED),
    Case("house", "BABYSITTER_NOVA_TP", "2", "CLOSED", "BABYSITTER_NOVA_TP", CLOSED),
    Case("house", "RECONCILE", "2", "CLOSED", "RECONCILE", CLOSED),
    Case("foreign", "RECONCILE", "2", "CLOSED", "RECONCILE", CLOSED),
    Case("takeover", "TAKEOVER", "2", "TAKEN_OVER", "ADMIN_TAKEOVER", TAKEN),
]


async def carry_out(desk: Desk, case: Case, position: Position) -> Committed:
    ledger, quantity, price = desk.ledger, Decimal(case.quantity), Price(Decimal(90))
    match case.way:
        case "house":
            kind = HouseLineKind.NETTING_DIFFERENCE
            return await ledger.transfer_to_house(position.id, quantity, price, kind, case.action)
        case "takeover":
            return await ledger.take_over(position.id, Actor("SYSTEM_LIQ", "system"), price)
        case "foreign":
            return (await desk.book(desk.foreign(OrderSide.SELL, "90", case.quantity))).committed
    order = await desk.order(
        position.sub_account_id,
        OrderSide.SELL,
        case.quantity,
        price="90" if case.way == "limit" else None,
        reduce_only=True,
        code=OrderCode.LIMIT_CLOSE if case.way == "limit" else OrderCode.CLOSE,
        action=case.action,
    )
    return (await desk.book(desk.fill(order, "90"))).committed


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.way} {case.action} {case.quantity}")
async def test_a_close_writes_its_rows(
    case: Case, desk: Desk, ledger: LedgerService, clock: ManualClock, database_url: str
) -> None:
    account = await desk.account("A", "1000")
    await desk.buy(account.id, "2", "100")
    position = ledger.open_position(account.id, BTC)
    assert position is not None
    clock.advance(5_000)
    done = await carry_out(desk, case, position)

    loss = -10 * Decimal(case.quantity)
    full = case.status != "OPEN"
    (row,) = await ledger.store.fetch("SELECT * FROM virtual_positions")
    assert row["status"] == case.status
    assert (row["closed_at"] is not None, row["realized_pnl"]) == (full, float(loss) if full else None)
    # A full close keeps quantity and notional of the row; a partial one leaves the rest at the same entry.
    left = Decimal(2) if full else 2 - Decimal(case.quantity)
    assert (row["quantity"], row["entry_price"], row["notional"]) == (float(left), 100, float(left * 100))
    (trade,) = done.trades
    assert (trade.action, trade.side, trade.type, trade.status) == (
        case.action,
        OrderSide.SELL,
        case.type,
        "FILLED",
    )
    assert (trade.quantity, trade.realized_pnl) == (Decimal(case.quantity), loss)
    ours = case.way in ("order", "limit", "foreign")
    assert (trade.exchange_order_id is not None, len(trade.signature)) == (ours, 64)
    log = (await ledger.queries.balance_logs(account.id, 1))[0]
    assert (log.reason, log.change_amount, log.trade_id) == (case.reason, loss, trade.id)
    assert [event.type for event in done.events] == case.events
    told = next(event.data for event in done.events if event.type in ("position_closed", "position_reduced"))
    assert (told["reason"], told["newBalance"]) == (case.action, float(1000 + loss))
    report = await audit(database_url)
    assert report.passed, "\n".join(report.lines())
