"""The record of liquidations on both databases: written before anything is done, ended once, read again."""

import orjson
import pytest

from pms.ledger.audit import audit
from pms.ledger.errors import AccountNotFoundError, RequestError
from pms.ledger.ledger import LedgerService
from pms.model.account import AccountStatus
from pms.model.errors import InvariantError
from pms.model.event import JsonValue
from pms.model.ids import SubAccountId
from pms.model.liquidation import LiquidationRecord, LiquidationState
from pms.model.money import ZERO, Quantity
from pms.model.order import ExchangeOrderStatus, OrderSide
from tests.support.ledger import Desk, ManualClock, money, opened

RATIO = money("0.9123456789")
EVIDENCE: dict[str, JsonValue] = {"equity": "12.5", "marks": {"BTC/USDT:USDT": "60000"}}


async def begun(ledger: LedgerService, account: SubAccountId, label: str) -> LiquidationRecord:
    data: dict[str, JsonValue] = {"marginRatio": float(RATIO), "mode": label}
    return await ledger.begin_liquidation(account, label, RATIO, EVIDENCE, "full_liquidation", data)


async def test_a_decision_is_recorded_with_its_evidence_and_its_event(
    desk: Desk, ledger: LedgerService
) -> None:
    account = await desk.account()
    record = await begun(ledger, account.id, "INSTANT_CLOSE")
    assert ledger.running_liquidation(account.id) == record
    (row,) = await ledger.queries.liquidations(account.id)
    assert row == record
    assert (row.label, row.margin_ratio, row.state) == ("INSTANT_CLOSE", RATIO, LiquidationState.RUNNING)
    assert orjson.loads(row.evidence) == EVIDENCE
    event = (await ledger.queries.events_after(account.id, 0))[-1]
    assert (event.type, event.data["mode"]) == ("full_liquidation", "INSTANT_CLOSE")


async def test_a_later_decision_takes_the_place_of_the_one_that_runs(
    desk: Desk, ledger: LedgerService, clock: ManualClock, database_url: str
) -> None:
    account = await desk.account()
    await begun(ledger, account.id, "ADL_TIER2")
    clock.advance(2_000)
    second = await begun(ledger, account.id, "ADL_TIER3")
    assert ledger.running_liquidations() == [second]
    states = {row.label: row.state for row in await ledger.queries.liquidations(account.id)}
    assert states == {"ADL_TIER2": LiquidationState.RELEASED, "ADL_TIER3": LiquidationState.RUNNING}
    await ledger.end_liquidation(account.id, LiquidationState.DONE)
    await ledger.end_liquidation(account.id, LiquidationState.RELEASED)  # nothing runs: nothing changes
    newest, _ = await ledger.queries.liquidations(account.id)
    assert (newest.state, newest.ended_at_ms) == (LiquidationState.DONE, clock.now_ms())
    assert ledger.running_liquidation(account.id) is None
    assert (await audit(database_url)).passed


async def test_an_account_is_liquidated_and_the_record_done_in_one_step(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account()
    await begun(ledger, account.id, "INSTANT_CLOSE")
    order = await desk.order(account.id, OrderSide.BUY, "1", price="100")
    with pytest.raises(InvariantError):
        await ledger.finish_liquidation(account.id)
    assert ledger.running_liquidation(account.id) is not None
    await ledger.record_terminal(order.client_order_id, ExchangeOrderStatus.CANCELLED, Quantity(ZERO))
    assert (await ledger.finish_liquidation(account.id)).status is AccountStatus.LIQUIDATED
    assert ledger.running_liquidation(account.id) is None
    (row,) = await ledger.queries.liquidations(account.id)
    assert row.state is LiquidationState.DONE
    assert (await audit(database_url)).passed


async def test_no_liquidation_runs_for_an_account_that_is_liquidated(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    account = await desk.account()
    await begun(ledger, account.id, "ADL_TIER2")
    assert (await ledger.mark_liquidated(account.id)).status is AccountStatus.LIQUIDATED
    assert ledger.running_liquidation(account.id) is None
    with pytest.raises(RequestError, match="LIQUIDATED already"):
        await begun(ledger, account.id, "ADL_TIER3")
    (row,) = await ledger.queries.liquidations(account.id)
    assert row.state is LiquidationState.DONE
    assert (await audit(database_url)).passed


async def test_what_runs_is_known_after_a_restart(
    desk: Desk, ledger: LedgerService, database_url: str, clock: ManualClock
) -> None:
    first, second = await desk.account("A"), await desk.account("B")
    record = await begun(ledger, first.id, "ADL_TIER2")
    await begun(ledger, second.id, "INSTANT_CLOSE")
    await ledger.end_liquidation(second.id, LiquidationState.RELEASED)
    await ledger.release_lease()
    reopened = await opened(database_url, clock=clock, seed=8)
    try:
        assert reopened.running_liquidations() == [record]
    finally:
        await reopened.close()


async def test_nothing_is_recorded_of_an_account_that_nobody_knows(ledger: LedgerService) -> None:
    with pytest.raises(AccountNotFoundError):
        await begun(ledger, SubAccountId("00000000-0000-4000-8000-000000000000"), "ADL_TIER2")
