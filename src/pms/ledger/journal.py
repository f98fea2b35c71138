"""The double entry: its accounts, what they stand for, and the trial balance.

Signs: assets (EXCHANGE_*, POSITION, HOUSE_POSITION, OWED) grow with +, claims on them (CASH, HOUSE_CASH) with
-, so that the lines of every entry, and of any set of entries, sum to zero. Amounts are in the settlement
asset, exact.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from pms.model.ids import SubAccountId
from pms.model.money import ZERO
from pms.model.symbol import Symbol


class JournalAccount(StrEnum):
    """Accounts of the double entry. The first three exist for each sub-account.

    1. CASH: a balance. 2. POSITION: open positions at their signed cost. 3. OWED: what clamping left unpaid.
    4. HOUSE_CASH, HOUSE_POSITION: the house, by the kind of its lines (`detail`). 5. EXCHANGE_TRADE,
    EXCHANGE_FEE, EXCHANGE_FUNDING, EXCHANGE_WALLET: the real account: executions at price x quantity,
    commissions, funding, and everything else that moved the wallet. 6. OPENING: what was adopted.
    """

    CASH = "CASH"
    POSITION = "POSITION"
    OWED = "OWED"
    HOUSE_CASH = "HOUSE_CASH"
    HOUSE_POSITION = "HOUSE_POSITION"
    EXCHANGE_TRADE = "EXCHANGE_TRADE"
    EXCHANGE_FEE = "EXCHANGE_FEE"
    EXCHANGE_FUNDING = "EXCHANGE_FUNDING"
    EXCHANGE_WALLET = "EXCHANGE_WALLET"
    OPENING = "OPENING"


class Category(StrEnum):
    """Headings under which a trial balance is read."""

    SUB_ACCOUNTS = "sub-accounts"
    OWED = "owed"
    HOUSE = "house"
    INSURANCE = "insurance"
    FUNDING = "funding"
    SUSPENSE = "suspense"
    FEES = "fees"
    EXCHANGE_WALLET = "exchange wallet"
    OPENING = "opening"


_OF_ACCOUNT = {
    JournalAccount.CASH: Category.SUB_ACCOUNTS,
    JournalAccount.POSITION: Category.SUB_ACCOUNTS,
    JournalAccount.OWED: Category.OWED,
    JournalAccount.EXCHANGE_TRADE: Category.EXCHANGE_WALLET,
    JournalAccount.EXCHANGE_WALLET: Category.EXCHANGE_WALLET,
    JournalAccount.EXCHANGE_FEE: Category.FEES,
    JournalAccount.EXCHANGE_FUNDING: Category.FUNDING,
    JournalAccount.OPENING: Category.OPENING,
}
_OF_HOUSE = {
    "INSURANCE": Category.INSURANCE,
    "FUNDING": Category.FUNDING,
    "SUSPENSE": Category.SUSPENSE,
}


@dataclass(frozen=True, slots=True, order=True)
class JournalKey:
    """One account of the double entry with its parts; empty where the account has no such part."""

    account: str
    sub_account_id: str = ""
    symbol: str = ""
    detail: str = ""

    @property
    def category(self) -> Category:
        """Return the heading of this account."""
        known = _OF_ACCOUNT.get(JournalAccount(self.account))
        return known or _OF_HOUSE.get(self.detail, Category.HOUSE)

    def merged(self) -> "JournalKey":
        """Return the key that balances keep: `detail` only names why a sub-account's line was written."""
        if self.account in (JournalAccount.CASH, JournalAccount.OWED, JournalAccount.POSITION):
            return JournalKey(self.account, self.sub_account_id, self.symbol)
        return self


@dataclass(frozen=True, slots=True)
class Total:
    """What an account of the double entry holds; `signed_quantity` of positions only, base units."""

    amount: Decimal = ZERO
    signed_quantity: Decimal = ZERO

    def plus(self, amount: Decimal, signed_quantity: Decimal = ZERO) -> "Total":
        return Total(self.amount + amount, self.signed_quantity + signed_quantity)

    def __bool__(self) -> bool:
        return bool(self.amount or self.signed_quantity)


Totals = dict[JournalKey, Total]


def add_totals(totals: Totals, parts: Iterable[tuple[JournalKey, Decimal, Decimal]]) -> None:
    """Add (key, amount, signed quantity) to totals, merged; what came to nothing is dropped."""
    for key, amount, quantity in parts:
        merged = key.merged()
        after = totals.get(merged, Total()).plus(amount, quantity)
        if after:
            totals[merged] = after
        else:
            totals.pop(merged, None)


@dataclass(frozen=True, slots=True)
class TrialBalance:
    """Every account of the double entry after commit `link`, made at `timestamp_ms` (0: nothing yet)."""

    link: int
    timestamp_ms: int
    totals: Mapping[JournalKey, Total]

    @property
    def difference(self) -> Decimal:
        """Return Σ of all accounts: 0 unless the journal is broken."""
        return sum((total.amount for total in self.totals.values()), ZERO)

    def categories(self) -> dict[Category, Decimal]:
        """Return Σ under each heading, every heading present."""
        sums = dict.fromkeys(Category, ZERO)
        for key, total in self.totals.items():
            sums[key.category] += total.amount
        return sums


@dataclass(frozen=True, slots=True)
class PositionAt:
    """A position as of a moment: signed quantity (+ LONG) and signed cost."""

    symbol: Symbol
    signed_quantity: Decimal
    signed_cost: Decimal

    @property
    def entry_price(self) -> Decimal:
        return self.signed_cost / self.signed_quantity if self.signed_quantity else ZERO


@dataclass(frozen=True, slots=True)
class AccountAt:
    """A sub-account as of a moment: balance >= 0, owed >= 0, open positions by symbol."""

    sub_account_id: SubAccountId
    balance: Decimal
    owed: Decimal
    positions: tuple[PositionAt, ...]


def accounts_of(totals: Mapping[JournalKey, Total]) -> dict[SubAccountId, AccountAt]:
    """Return every sub-account that the totals know."""
    balances: dict[str, Decimal] = {}
    owed: dict[str, Decimal] = {}
    held: dict[str, list[PositionAt]] = {}
    for key in sorted(totals):
        total = totals[key]
        if key.account == JournalAccount.CASH:
            balances[key.sub_account_id] = -total.amount
        elif key.account == JournalAccount.OWED:
            owed[key.sub_account_id] = total.amount
        elif key.account == JournalAccount.POSITION:
            position = PositionAt(Symbol(key.symbol), total.signed_quantity, total.amount)
            held.setdefault(key.sub_account_id, []).append(position)
    return {
        SubAccountId(name): AccountAt(
            SubAccountId(name), balances.get(name, ZERO), owed.get(name, ZERO), tuple(held.get(name, ()))
        )
        for name in sorted({*balances, *owed, *held})
    }
