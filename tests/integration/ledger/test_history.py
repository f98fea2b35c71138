"""The books as of any moment: what they said then is what they say now about then, on both databases."""

from decimal import Decimal

from pms.ledger.audit import audit
from pms.ledger.checkpoints import Checkpointer, day_end_ms, day_of
from pms.ledger.journal import AccountAt, Category, PositionAt
from pms.ledger.ledger import LedgerService
from pms.model.ids import SubAccountId
from pms.model.order import OrderSide
from tests.integration.ledger.test_audit import busy_desk, tamper
from tests.support.ledger import ACTOR, START_MS, Desk, ManualClock, money, opened

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def told(ledger: LedgerService) -> dict[SubAccountId, AccountAt]:
    """What the book in memory says now, in the form of the history."""
    result = {}
    for account in ledger.accounts():
        held = tuple(
            PositionAt(position.symbol, position.signed_quantity, position.cost * position.side.sign)
            for position in sorted(ledger.open_positions(), key=lambda held: held.symbol)
            if position.sub_account_id == account.id
        )
        result[account.id] = AccountAt(account.id, account.balance, account.owed, held)
    return result


def not_empty(accounts: dict[SubAccountId, AccountAt]) -> dict[SubAccountId, AccountAt]:
    """The journal does not know an account that never had money."""
    return {key: at for key, at in accounts.items() if at.balance or at.owed or at.positions}


async def trade_for_days(
    ledger: LedgerService, clock: ManualClock, days: int
) -> dict[int, dict[SubAccountId, AccountAt]]:
    """A busy first day, then a few trades every twelve hours; returns what the book said at each moment."""
    moments = {}
    await busy_desk(ledger)
    moments[clock.now_ms()] = told(ledger)
    desk = Desk(ledger, trade=500)
    account = ledger.accounts()[0]
    for number in range(2 * days):
        clock.advance(12 * HOUR_MS)
        side = OrderSide.BUY if number % 3 else OrderSide.SELL
        await desk.trade_at(account.id, side, "0.37", str(100 + number), "0.01")
        await ledger.deposit(account.id, money("1.25"), ACTOR)
        moments[clock.now_ms()] = told(ledger)
    return moments


async def test_the_state_as_of_any_moment(ledger: LedgerService, clock: ManualClock) -> None:
    """The same answers from lines alone, and from checkpoints with the lines since."""
    moments = await trade_for_days(ledger, clock, days=4)
    for moment, accounts in moments.items():
        assert await ledger.history.accounts(moment) == not_empty(accounts)
    checkpointer = Checkpointer(ledger, clock)
    await checkpointer.close_days()
    assert checkpointer.statistics().written >= 4
    for moment, accounts in moments.items():
        found = await ledger.history.accounts(moment)
        assert found == not_empty(accounts)
        for account_id, at in found.items():
            assert await ledger.history.account(account_id, moment) == at
    nobody = await ledger.history.account(ledger.accounts()[0].id, START_MS - 1)
    assert nobody == AccountAt(ledger.accounts()[0].id, Decimal(0), Decimal(0), ())


async def test_the_trial_balance_names_every_kind_of_money(ledger: LedgerService, clock: ManualClock) -> None:
    moments = await trade_for_days(ledger, clock, days=1)
    for moment in (None, *moments):
        balance = await ledger.history.trial_balance(moment)
        assert balance.difference == 0
    now = await ledger.history.trial_balance()
    sums = now.categories()
    assert set(sums) == set(Category)
    balances = sum(account.balance for account in ledger.accounts())
    costs = sum(position.cost * position.side.sign for position in ledger.open_positions())
    assert sums[Category.SUB_ACCOUNTS] == costs - balances
    assert sums[Category.OWED] == sum(account.owed for account in ledger.accounts()) > 0
    assert sums[Category.FEES] < 0
    assert sums[Category.SUSPENSE] != 0
    assert (await ledger.history.trial_balance(START_MS - 1)).totals == {}


async def test_a_checkpoint_is_written_once_and_taken_up_in_the_middle(
    ledger: LedgerService, clock: ManualClock
) -> None:
    await trade_for_days(ledger, clock, days=1)
    history = ledger.history
    day = day_of(START_MS)
    mark = await history.last_commit(day_end_ms(day))
    totals = await history.totals(mark.link)
    some = dict(sorted(totals.items())[:3])
    assert await ledger.write_checkpoint(day, mark, some) == 3
    # A stop before the checkpoint itself was written: its lines count for nothing, and are completed.
    store = ledger.store
    await store.write([("DELETE FROM pms_checkpoints", ())])
    assert await history.checkpoint(mark.link) is None
    assert await ledger.write_checkpoint(day, mark, totals) == len(totals) - 3
    assert await ledger.write_checkpoint(day, mark, totals) == 0
    assert await history.stored_lines(day) == totals


async def test_no_day_is_closed_before_its_end(ledger: LedgerService, clock: ManualClock) -> None:
    await busy_desk(ledger)
    checkpointer = Checkpointer(ledger, clock)
    await checkpointer.close_days()
    assert checkpointer.statistics().written == 0
    clock.advance(day_end_ms(day_of(START_MS)) - START_MS + 30_000)
    await checkpointer.close_days()
    assert checkpointer.statistics().written == 0, "half a minute after midnight it is still open"
    clock.advance(31_000)
    await checkpointer.close_days()
    assert checkpointer.statistics().last_day == day_of(START_MS)


async def test_the_audit_proves_checkpoints(database_url: str) -> None:
    clock = ManualClock()
    ledger = await opened(database_url, clock=clock)
    await ledger.adopt_wallet(money("100000"), "epoch-1")
    await trade_for_days(ledger, clock, days=2)
    await Checkpointer(ledger, clock).close_days()
    await ledger.close()
    report = await audit(database_url)
    assert report.passed, "\n".join(report.lines())
    assert next(check for check in report.checks if check.name == "checkpoints").counted > 10
    await tamper(
        database_url,
        "UPDATE pms_checkpoint_lines SET amount = '7' WHERE account = 'OWED' AND day ="
        " (SELECT min(day) FROM pms_checkpoint_lines)",
    )
    await tamper(database_url, "UPDATE pms_checkpoints SET last_hash = 'x'")
    failed = {check.name: check for check in (await audit(database_url)).checks if not check.passed}
    assert {"checkpoints", "hash chain: rows"} <= set(failed)
    assert len(failed["checkpoints"].failures) >= 3
