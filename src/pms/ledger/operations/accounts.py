"""Sub-accounts: creation, transfers with the house, status, mode, name, rules; each with its audit action."""

from dataclasses import replace
from decimal import Decimal

from pms.ledger.api import Actor, HouseLineKind, NewAccount
from pms.ledger.book import AccountRecord, RulesRecord
from pms.ledger.errors import (
    AccountExposedError,
    AccountNotFoundError,
    HouseCapitalInsufficient,
    InsufficientBalance,
    InvalidAmountError,
    RequestError,
)
from pms.ledger.operations.orders import live_orders_of
from pms.ledger.plan import Plan, account_values
from pms.ledger.rendering import Cell
from pms.model.account import AccountStatus, LiquidationMode, RiskRules, SubAccount
from pms.model.errors import InvariantError
from pms.model.event import JsonValue
from pms.model.ids import SubAccountId
from pms.model.money import ZERO, Money, plain, round_cost

_ID_TRIES_MAX = 64


def existing(plan: Plan, account_id: SubAccountId) -> SubAccount:
    """Return the account. Raises AccountNotFoundError."""
    account = plan.book.account(account_id)
    if account is None:
        raise AccountNotFoundError(f"no sub-account has the id {account_id}")
    return account


def checked_amount(amount: Decimal, *, zero: bool = False) -> Decimal:
    """Return the amount at 18 decimals. Raises InvalidAmountError unless finite and positive (or zero, if
    allowed)."""
    if not amount.is_finite() or amount < 0 or (amount == 0 and not zero) or amount >= Decimal(10) ** 18:
        raise InvalidAmountError(f"an amount must be a finite number above zero, was {amount}")
    return round_cost(amount)


def create_account(plan: Plan, new: NewAccount, actor: Actor) -> SubAccount:
    """Open an account at 0 and move its initial balance from the house as a DEPOSIT (decision 7)."""
    amount = checked_amount(new.initial_balance, zero=True)
    check_house(plan, amount)
    account_id = _fresh_id(plan)
    account = SubAccount(
        id=account_id,
        user_id=new.user_id,
        name=new.name,
        type=new.type,
        initial_balance=Money(amount),
        balance=Money(ZERO),
        owed=Money(ZERO),
        status=AccountStatus.ACTIVE,
        liquidation_mode=new.liquidation_mode,
        maintenance_rate=round_cost(new.maintenance_rate),
        created_at_ms=plan.now_ms,
        updated_at_ms=plan.now_ms,
    )
    fixed: dict[str, Cell] = {
        "id": account_id,
        "user_id": new.user_id,
        "name": new.name,
        "type": new.type,
        "created_at": plan.now_ms,
    }
    plan.insert("sub_accounts", (account_id,), {**fixed, **account_values(account)})
    plan.insert_ours(
        "pms_account_exact", {"sub_account_id": account_id}, {"balance": account.balance, "revision": 1}
    )
    plan.book.accounts.set(account_id, AccountRecord(account, 1))
    account = with_house(plan, account, amount, "DEPOSIT")
    plan.action(actor, "account.create", account_id, None, account_facts(account))
    plan.account_event(account)
    return account


def _fresh_id(plan: Plan) -> SubAccountId:
    """Return an id whose first eight characters no other account has: they name the owner inside client order
    ids."""
    taken = {record.account.id[:8] for record in plan.book.accounts.values()}
    for _ in range(_ID_TRIES_MAX):
        candidate = SubAccountId(plan.uuid())
        if candidate[:8] not in taken:
            return candidate
    raise InvariantError("Invariant: the id source gives ids with fresh prefixes")


def deposit(plan: Plan, account_id: SubAccountId, amount: Money, actor: Actor) -> SubAccount:
    """Move money from the house to the account; what is owed is repaid first."""
    account = existing(plan, account_id)
    exact = checked_amount(amount)
    check_house(plan, exact)
    after = with_house(plan, account, exact, "DEPOSIT")
    plan.action(actor, "account.deposit", account_id, account_facts(account), account_facts(after))
    plan.account_event(after)
    return after


def withdraw(plan: Plan, account_id: SubAccountId, amount: Money, actor: Actor) -> SubAccount:
    """Move money from the account to the house, at most balance - owed."""
    account = existing(plan, account_id)
    exact = checked_amount(amount)
    if exact > account.cash:
        raise InsufficientBalance(
            f"account {account_id} can withdraw at most {plain(account.cash)}, {plain(exact)} was asked for"
        )
    after = with_house(plan, account, -exact, "WITHDRAWAL")
    plan.action(actor, "account.withdraw", account_id, account_facts(account), account_facts(after))
    plan.account_event(after)
    return after


def with_house(plan: Plan, account: SubAccount, amount: Decimal, reason: str) -> SubAccount:
    """Move cash between an account and the house (negative: to the house), with one line on either side."""
    if amount:
        plan.house_line(HouseLineKind.TRANSFER, cash=-amount, sub_account_id=account.id, reference=reason)
    account = plan.move_cash(account, amount, reason)
    plan.post(reason, account.id)
    return account


def check_house(plan: Plan, amount: Decimal) -> None:
    """Raise HouseCapitalInsufficient unless the house has the amount."""
    cash = plan.book.house_cash_total()
    if amount and cash < amount:
        raise HouseCapitalInsufficient(
            f"the house holds {plain(cash)}, the deposit needs {plain(amount)}; "
            "add capital to the exchange account"
        )


def set_status(plan: Plan, account_id: SubAccountId, status: AccountStatus, actor: Actor) -> SubAccount:
    """Freeze or activate. LIQUIDATED is set by `mark_liquidated` only."""
    account = existing(plan, account_id)
    if status is AccountStatus.LIQUIDATED:
        raise RequestError("an account becomes LIQUIDATED by liquidation only; freeze it instead")
    if status is account.status:
        return account
    after = plan.put_account(replace(account, status=status))
    plan.action(
        actor, "account.status", account_id, {"status": account.status.value}, {"status": status.value}
    )
    plan.account_event(after)
    return after


def set_liquidation_mode(
    plan: Plan, account_id: SubAccountId, mode: LiquidationMode, actor: Actor
) -> SubAccount:
    account = existing(plan, account_id)
    if mode is account.liquidation_mode:
        return account
    after = plan.put_account(replace(account, liquidation_mode=mode))
    plan.action(
        actor, "account.mode", account_id, {"mode": account.liquidation_mode.value}, {"mode": mode.value}
    )
    plan.account_event(after)
    return after


def rename(plan: Plan, account_id: SubAccountId, name: str, actor: Actor) -> SubAccount:
    account = existing(plan, account_id)
    after = plan.put_account(replace(account, name=name), name=name)
    plan.action(actor, "account.rename", account_id, {"name": account.name}, {"name": name})
    plan.account_event(after)
    return after


def mark_liquidated(plan: Plan, account_id: SubAccountId) -> SubAccount:
    """Set LIQUIDATED once nothing of the account is open, and write off what it owes: it is flat for good.

    Raises InvariantError otherwise (decision 21).
    """
    account = existing(plan, account_id)
    require_flat(plan, account_id, "LIQUIDATED")
    if account.status is AccountStatus.LIQUIDATED:
        return account
    after = forgive(plan, replace(account, status=AccountStatus.LIQUIDATED))
    after = plan.put_account(after)
    system = Actor("system", "system")
    plan.action(system, "account.liquidated", account_id, account_facts(account), account_facts(after))
    plan.account_event(after)
    return after


def require_flat(plan: Plan, account_id: SubAccountId, wanted: str) -> None:
    """Raise InvariantError while the account has an open position or an order that may still execute."""
    exposed = _exposure(plan, account_id)
    if exposed:
        raise InvariantError(f"Invariant: {wanted} needs a flat account; {account_id} has {exposed}")


def require_unexposed(plan: Plan, account_id: SubAccountId, wanted: str) -> None:
    """Raise AccountExposedError while the account has an open position or an order that may still execute
    (spec H14)."""
    exposed = _exposure(plan, account_id)
    if exposed:
        raise AccountExposedError(
            f"{wanted} needs an account without positions and orders; {account_id} has {exposed}: "
            "close and cancel them first"
        )


def _exposure(plan: Plan, account_id: SubAccountId) -> str:
    orders = live_orders_of(plan, account_id)
    rows = [position.id for position in plan.book.positions.values() if position.sub_account_id == account_id]
    return f"{len(rows)} open positions and {len(orders)} live orders" if orders or rows else ""


def write_off(plan: Plan, account_id: SubAccountId, actor: Actor) -> SubAccount:
    """Write off what a flat account owes: insurance first, then the house's own capital (decision 4)."""
    account = existing(plan, account_id)
    require_unexposed(plan, account_id, "a write-off")
    if not account.owed:
        return account
    after = forgive(plan, account)
    plan.action(actor, "account.write_off", account_id, account_facts(account), account_facts(after))
    plan.account_event(after)
    return after


def forgive(plan: Plan, account: SubAccount) -> SubAccount:
    """Let insurance, then the house bear what an account owes."""
    owed = account.owed
    if not owed:
        return account
    insured = min(owed, max(ZERO, plan.book.house_cash.get(HouseLineKind.INSURANCE) or ZERO))
    for kind, part in ((HouseLineKind.INSURANCE, insured), (HouseLineKind.WRITE_OFF, owed - insured)):
        if part:
            plan.house_line(kind, cash=-part, sub_account_id=account.id, reference="WRITE_OFF")
    after = plan.put_account(plan.change_owed(account, -owed, "WRITE_OFF", None))
    plan.post("WRITE_OFF", account.id)
    return after


def set_rules(plan: Plan, account_id: SubAccountId | None, rules: RiskRules, actor: Actor) -> None:
    """Write the account's rules, or the global row (None), and their history."""
    if account_id is not None:
        existing(plan, account_id)
    columns: dict[str, Cell] = {
        "max_leverage": rules.leverage_max,
        "max_notional_per_trade": rules.notional_per_trade_max,
        "max_total_exposure": rules.exposure_max,
        "liquidation_threshold": rules.liquidation_threshold,
    }
    record = plan.book.rules.get(account_id)
    if record is None:
        row_id = plan.uuid()
        fixed: dict[str, Cell] = {"id": row_id, "sub_account_id": account_id, "is_global": account_id is None}
        plan.insert("risk_rules", (row_id,), {**fixed, **columns})
    else:
        row_id = record.row_id
        plan.update("risk_rules", (row_id,), columns)
    plan.book.rules.set(account_id, RulesRecord(row_id, rules))
    _touch_governed(plan, account_id)
    plan.insert_ours(
        "pms_rule_history",
        {"id": plan.uuid()},
        {"sub_account_id": account_id, **columns, "actor": actor.id, "timestamp": plan.now_ms},
    )
    before = None if record is None else _rule_facts(record.rules)
    plan.action(actor, "rules.set", account_id or "global", before, _rule_facts(rules))


def _touch_governed(plan: Plan, account_id: SubAccountId | None) -> None:
    """Let listeners hear of the accounts that new rules govern: they keep thresholds beside cash (spec H16,
    H18)."""
    if account_id is not None:
        plan.touch_account(account_id)
        return
    for record in list(plan.book.accounts.values()):
        if plan.book.rules.get(record.account.id) is None:
            plan.touch_account(record.account.id)


def account_facts(account: SubAccount) -> dict[str, JsonValue]:
    """Return what the audit trail keeps of an account before and after."""
    return {"balance": plain(account.balance), "owed": plain(account.owed), "status": account.status.value}


def _rule_facts(rules: RiskRules) -> dict[str, JsonValue]:
    return {
        "leverage_max": plain(rules.leverage_max),
        "notional_per_trade_max": plain(rules.notional_per_trade_max),
        "exposure_max": plain(rules.exposure_max),
        "liquidation_threshold": plain(rules.liquidation_threshold),
    }
