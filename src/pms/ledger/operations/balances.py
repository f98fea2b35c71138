"""Cash that administrators move: balances set by hand, transfers between accounts, reset and closing.

One code path for all of them (spec H13): `Plan.move_cash`, in one transaction with its logs, its counterpart
and its audit action.
"""

from dataclasses import replace
from decimal import Decimal

from pms.ledger.api import Actor
from pms.ledger.errors import InsufficientBalance, InvalidAmountError
from pms.ledger.operations.accounts import (
    account_facts,
    check_house,
    checked_amount,
    existing,
    forgive,
    require_unexposed,
    with_house,
)
from pms.ledger.plan import Plan
from pms.model.account import AccountStatus, SubAccount
from pms.model.ids import SubAccountId
from pms.model.money import ZERO, Money, plain

ADMIN_SET = "ADMIN_SET"
RESET = "RESET"
TRANSFER_OUT = "TRANSFER_OUT"
TRANSFER_IN = "TRANSFER_IN"


def set_balance(
    plan: Plan, account_id: SubAccountId, balance: Money, actor: Actor, debit_max: Decimal | None = None
) -> SubAccount:
    """Bring an account's balance to a figure; what it owes is repaid on the way, so it owes nothing after.

    The difference comes from the house, or goes there; `debit_max` bounds what may leave the account.
    """
    account = existing(plan, account_id)
    wanted = checked_amount(balance, zero=True)
    delta = wanted - account.cash
    if delta > 0:
        check_house(plan, delta)
    elif debit_max is not None and -delta > debit_max:
        raise InsufficientBalance(
            f"{plain(-delta)} would leave account {account_id}, {plain(debit_max)} may; "
            "its balance moved meanwhile, look at it and retry"
        )
    after = with_house(plan, account, delta, ADMIN_SET)
    if account.initial_balance == 0:  # ledger spec 1.6
        after = plan.put_account(replace(after, initial_balance=Money(wanted)))
    plan.action(actor, "account.set_balance", account_id, account_facts(account), account_facts(after))
    plan.account_event(after)
    return after


def transfer_between(
    plan: Plan, from_id: SubAccountId, to_id: SubAccountId, amount: Money, actor: Actor
) -> tuple[SubAccount, SubAccount]:
    """Move cash from one account to another; there it repays what is owed first."""
    exact = checked_amount(amount)
    if from_id == to_id:
        raise InvalidAmountError(f"a transfer needs two accounts; both are {from_id}")
    source, target = existing(plan, from_id), existing(plan, to_id)
    if exact > source.cash:
        raise InsufficientBalance(
            f"account {from_id} can transfer at most {plain(source.cash)}, {plain(exact)} was asked for"
        )
    source_after = plan.move_cash(source, -exact, TRANSFER_OUT)
    target_after = plan.move_cash(target, exact, TRANSFER_IN)
    plan.post("ACCOUNT_TRANSFER", f"{from_id}:{to_id}")
    for before, after in ((source, source_after), (target, target_after)):
        plan.action(actor, "account.transfer", after.id, account_facts(before), account_facts(after))
        plan.account_event(after)
    return source_after, target_after


def reset(plan: Plan, account_id: SubAccountId, actor: Actor) -> SubAccount:
    """Start an account anew: its cash goes to the house, both balances are 0, it is ACTIVE (ledger spec 1.6).

    No history is deleted; statistics may start from the RESET row. Raises AccountExposedError (H14).
    """
    account = existing(plan, account_id)
    require_unexposed(plan, account_id, "a reset")
    account_empty = forgive(plan, account)
    # Also of nothing: the row is where statistics may start.
    after = with_house(plan, account_empty, -account_empty.balance, RESET)
    after = plan.put_account(replace(after, initial_balance=Money(ZERO), status=AccountStatus.ACTIVE))
    mark = plan.book.equity_marks.get(account_id)
    if mark is not None:  # what was lost before is no loss of the account that starts now
        plan.put_equity_mark(replace(mark, day_start_equity=ZERO, peak_equity=ZERO))
    plan.action(actor, "account.reset", account_id, account_facts(account), account_facts(after))
    plan.account_event(after)
    return after


def close_account(plan: Plan, account_id: SubAccountId, actor: Actor) -> SubAccount:
    """Close an account for good: its cash goes to the house as a withdrawal and it is FROZEN; its history
    stays. Raises AccountExposedError."""
    account = existing(plan, account_id)
    require_unexposed(plan, account_id, "closing")
    after = forgive(plan, account)
    if after.balance:
        after = with_house(plan, after, -after.balance, "WITHDRAWAL")
    if after.status is AccountStatus.ACTIVE:
        after = plan.put_account(replace(after, status=AccountStatus.FROZEN))
    plan.action(actor, "account.close", account_id, account_facts(account), account_facts(after))
    plan.account_event(after)
    return after
