"""Funding of the sub-accounts, and income of the real account: money that comes without an execution.

Conservation: what accounts receive the house pays, so funding alone changes nobody's sum; the exchange's own
funding posts to the house, and the residue of both is the house's line of kind FUNDING (decision 8).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from pms.ledger.api import HouseLineKind
from pms.ledger.errors import InvalidAmountError
from pms.ledger.funding_reads import FundingState, Paid
from pms.ledger.operations.adoption import SYSTEM
from pms.ledger.plan import Plan
from pms.model.errors import InvariantError
from pms.model.ids import SubAccountId
from pms.model.income import TRADE_INCOME, FundingKey, FundingRate, Income
from pms.model.money import CONTEXT, ZERO, plain, round_cost
from pms.model.order import OrderSide
from pms.model.symbol import Symbol

ACCOUNTS_AT_ONCE = 64
"""Accounts that one transaction pays; more go into further ones, so that other commands come between."""

PAYMENT_UNIT = Decimal("1e-8")
"""The exchange books amounts with eight decimals; so do we, or a sole holder would differ from it."""

_KINDS: Mapping[str, tuple[HouseLineKind, str]] = {
    **dict.fromkeys(
        ("FUNDING_FEE", "SPECIAL_FUNDING_FEE"),
        (HouseLineKind.FUNDING, "EXCHANGE_FUNDING"),
    ),
    **dict.fromkeys(
        (
            "TRANSFER",
            "INTERNAL_TRANSFER",
            "CROSS_COLLATERAL_TRANSFER",
            "STRATEGY_UMFUTURES_TRANSFER",
            "COIN_SWAP_DEPOSIT",
            "COIN_SWAP_WITHDRAW",
            "AUTO_EXCHANGE",
        ),
        (HouseLineKind.CAPITAL, "EXCHANGE_WALLET"),
    ),
    "INSURANCE_CLEAR": (HouseLineKind.INSURANCE, "EXCHANGE_WALLET"),
}
_OTHER = (HouseLineKind.INCOME, "EXCHANGE_WALLET")


def payment(signed_quantity: Decimal, mark_price: Decimal, rate: Decimal) -> Decimal:
    """Return what a holder receives (negative: pays): a positive rate has longs pay (Binance spec 7)."""
    amount = CONTEXT.multiply(CONTEXT.multiply(-signed_quantity, mark_price), rate)
    return amount.quantize(PAYMENT_UNIT, rounding=ROUND_HALF_UP, context=CONTEXT)


def kind_of_income(type_: str) -> tuple[HouseLineKind, str]:
    """Return the house's kind of line and the journal account of an income type; unknown ones are INCOME."""
    return _KINDS.get(type_, _OTHER)


@dataclass(frozen=True, slots=True)
class FundingStep:
    """One transaction of a funding. `finished`: all are paid and the funding is written. `accounts` were paid
    in it and received `amount` together; `paid`: what each has received by now, earlier ones included."""

    finished: bool
    accounts: int
    paid: Mapping[SubAccountId, Paid]
    amount: Decimal


def book_funding(plan: Plan, funding: FundingRate, state: FundingState) -> FundingStep:
    """Pay accounts that held the symbol then and are not paid, at most ACCOUNTS_AT_ONCE."""
    if not funding.mark_price > 0 or not funding.mark_price.is_finite() or not funding.rate.is_finite():
        raise InvalidAmountError(
            f"a funding needs a finite rate and a mark price above zero; {funding.key.symbol} at "
            f"{funding.key.time_ms} has rate {funding.rate} at {funding.mark_price}"
        )
    held = _held(plan, funding.key, state)
    unpaid = [
        account
        for account in sorted(held)
        if held[account] != state.paid.get(account, Paid()).signed_quantity
    ]
    now = unpaid[:ACCOUNTS_AT_ONCE]
    paid = _pay(plan, funding, {account: held[account] for account in now}, state.paid)
    amount = sum(
        (each.amount - state.paid.get(account, Paid()).amount for account, each in paid.items()), ZERO
    )
    finished = len(now) == len(unpaid)
    if finished:
        key = funding.key
        plan.insert_ours(
            "pms_funding_events",
            {"symbol": key.symbol, "funding_time": key.time_ms, "type": key.type},
            {
                "rate": funding.rate,
                "mark_price": funding.mark_price,
                "booked_at": plan.now_ms,
                "link": plan.link,
            },
        )
        last = plan.book.funding_times.get(key.symbol) or 0
        plan.book.funding_times.set(key.symbol, max(last, key.time_ms))
    return FundingStep(finished, len(now), {**state.paid, **paid}, amount)


def correct_funding(plan: Plan, fundings: Sequence[FundingState]) -> None:
    """Settle booked fundings again after this plan's executions, which were made before them."""
    if not fundings:
        return
    moves = _moves(plan)
    for state in fundings:
        if state.booked is None:
            raise InvariantError("Invariant: only booked fundings are corrected")
        moved: dict[SubAccountId, Decimal] = {}
        for trade_time_ms, account, quantity in moves:
            if trade_time_ms < state.booked.key.time_ms:
                moved[account] = moved.get(account, ZERO) + quantity
        held = {
            account: state.paid.get(account, Paid()).signed_quantity + change
            for account, change in moved.items()
            if change
        }
        _pay(plan, state.booked, held, state.paid)


def _moves(plan: Plan) -> list[tuple[int, SubAccountId, Decimal]]:
    """Return (trade time, account, signed quantity) of everything that a plan allocates to accounts."""
    times: dict[str, int] = {}
    moves: list[tuple[int, SubAccountId, Decimal]] = []
    for write in plan.writes:
        if write.table == "pms_fills":
            times[str(write.key[-1])] = int(write.values["trade_time"] or 0)
        elif write.table == "pms_fill_allocations" and write.values["sub_account_id"] is not None:
            signed = OrderSide(str(write.values["side"])).sign * Decimal(write.values["quantity"] or 0)
            account = SubAccountId(str(write.values["sub_account_id"]))
            moves.append((times[str(write.values["fill_id"])], account, signed))
    return moves


def _held(plan: Plan, key: FundingKey, state: FundingState) -> dict[SubAccountId, Decimal]:
    """Return the signed quantity that each account held just before the funding, and 0 for those that were
    paid as if they had held it: today's positions less what was executed since."""
    held: dict[SubAccountId, Decimal] = dict.fromkeys(state.paid, ZERO)
    for position in plan.book.positions.values():
        if position.symbol == key.symbol:
            held[position.sub_account_id] = position.signed_quantity
    for account, moved in state.moved.items():
        held[account] = held.get(account, ZERO) - moved
    return held


def _pay(
    plan: Plan,
    funding: FundingRate,
    held: Mapping[SubAccountId, Decimal],
    paid: Mapping[SubAccountId, Paid],
) -> dict[SubAccountId, Paid]:
    """Bring what accounts received for a funding to what their quantity says; returns what they have then."""
    key, total = funding.key, ZERO
    after: dict[SubAccountId, Paid] = {}
    reference = f"{key.symbol}:{key.time_ms}"
    for account_id, quantity in held.items():
        account = plan.book.account(account_id)
        if account is None:
            raise InvariantError(f"Invariant: only known accounts hold positions; {account_id} is not")
        before = paid.get(account_id, Paid())
        amount = payment(quantity, funding.mark_price, funding.rate)
        change = amount - before.amount
        after[account_id] = Paid(quantity, amount, before.rows + 1)
        log_id = plan.uuid() if change else None
        plan.insert_ours(
            "pms_funding_payments",
            {
                "symbol": key.symbol,
                "funding_time": key.time_ms,
                "type": key.type,
                "sub_account_id": account_id,
                "number": before.rows,
            },
            {
                "signed_quantity": quantity - before.signed_quantity,
                "amount": change,
                "balance_log_id": log_id,
                "booked_at": plan.now_ms,
                "link": plan.link,
            },
        )
        if change:
            account = plan.move_cash(account, change, "FUNDING", log_id=log_id)
            plan.account_event(account)
            total += change
    if total:
        plan.house_line(HouseLineKind.FUNDING, cash=-total, reference=reference)
    plan.post("FUNDING", reference)
    return after


def skipped_name(symbol: Symbol) -> str:
    """Return under which name the last funding of a symbol is kept that could not be booked."""
    return f"funding unreadable {symbol}"


def skip_funding(plan: Plan, key: FundingKey, reason: str) -> None:
    """Record that a funding cannot be booked; the later ones need not wait for it."""
    facts = {"time_ms": key.time_ms, "type": key.type.value, "reason": reason}
    plan.action(SYSTEM, "funding.unreadable", key.symbol, None, {**facts})
    name = skipped_name(key.symbol)
    set_watermark(plan, name, max(key.time_ms, plan.book.watermarks.get(name) or 0))


def book_income(plan: Plan, income: Income) -> bool:
    """Post a new line of the real account's income to the house; False for one that executions explain."""
    if income.type in TRADE_INCOME:
        return False
    if not income.amount.is_finite():
        raise InvalidAmountError(
            f"income must be finite; {income.type} {income.transaction_id} is {income.amount}"
        )
    amount = round_cost(income.amount)
    kind, account = kind_of_income(income.type)
    plan.insert_ours(
        "pms_income",
        {
            "epoch": plan.book.epoch,
            "income_type": income.type,
            "transaction_id": income.transaction_id,
            "native_symbol": income.native_symbol,
        },
        {
            "symbol": income.symbol,
            "asset": income.asset,
            "amount": amount,
            "kind": kind,
            "income_time": income.time_ms,
            "booked_at": plan.now_ms,
            "link": plan.link,
        },
    )
    reference = f"{income.type}:{income.transaction_id}"
    if amount:
        plan.house_line(kind, cash=amount, reference=reference)
        plan.line(account, amount, symbol=income.symbol, detail=income.type)
    plan.post("INCOME", reference)
    if kind is HouseLineKind.CAPITAL:
        plan.action(SYSTEM, "exchange.transfer", income.type, None, {"amount": plain(amount)})
    return True


def set_watermark(plan: Plan, name: str, moment_ms: int) -> None:
    """Keep up to which moment something was read."""
    before = plan.book.watermarks.get(name)
    if before == moment_ms:
        return
    values = {"moment_ms": moment_ms, "updated_at": plan.now_ms, "link": plan.link}
    if before is None:
        plan.insert_ours("pms_watermarks", {"name": name}, {**values})
    else:
        plan.update("pms_watermarks", (plan.ours, name), {**values}, {"moment_ms": before})
    plan.book.watermarks.set(name, moment_ms)
