"""What the ledger offers for control: restrictions, further rules, breaches, equity marks, leverage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from pms.model.account import SubAccount
from pms.model.ids import SubAccountId
from pms.model.restriction import Restriction, RestrictionEntry
from pms.model.symbol import Symbol
from pms.model.trading_rules import Breach, EquityMark, RuleSet, TradingRules


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asked, for the audit of actions: a user id or `system`, and the way (`jwt`, `key`, `cli`,
    `system`)."""

    id: str
    via: str


class ControlLedger(Protocol):
    """A part of `pms.ledger.api.Ledger`."""

    def rule_set_of(self, sub_account_id: SubAccountId) -> RuleSet | None:
        """Return the further rules in force for an account: its own, else the global ones; None: none."""
        ...

    def rule_set(self, scope: SubAccountId | None) -> RuleSet | None:
        """Return the latest version of a scope's own rules, None before the first."""
        ...

    def equity_mark(self, sub_account_id: SubAccountId) -> EquityMark | None:
        """Return what the account's losses are measured from; None before the first mark."""
        ...

    def virtual_leverage(self, sub_account_id: SubAccountId, symbol: Symbol) -> Decimal | None:
        """Return the leverage that the account has set for a symbol, None when it never did."""
        ...

    def restrictions(self) -> Sequence[RestrictionEntry]:
        """Return every restriction in force, the global ones first."""
        ...

    def restrictions_of(self, sub_account_id: SubAccountId) -> Sequence[RestrictionEntry]:
        """Return what is in force for an account: the global ones and its own."""
        ...

    def restriction_of(self, sub_account_id: SubAccountId) -> Restriction:
        """Return the strongest restriction of an account: of the global ones and its own."""
        ...

    async def set_trading_rules(
        self, sub_account_id: SubAccountId | None, rules: TradingRules | None, actor: Actor
    ) -> RuleSet:
        """Write the next version of an account's further rules, or the global ones (None); `rules` None lets
        the account follow the global ones. Restrictions of rules that changed end, a LOCK excepted: the new
        rules are judged afresh."""
        ...

    async def record_breach(self, sub_account_id: SubAccountId, breach: Breach, version: int) -> bool:
        """Record a broken rule with its evidence, restrict the account as its action says, and emit
        `rule_breached`, in one transaction. False when that rule restricts the account already."""
        ...

    async def release_rule(self, sub_account_id: SubAccountId, source: str, reason: str) -> None:
        """End a rule's restriction whose own condition of release has come."""
        ...

    async def put_equity_marks(
        self,
        marks: Sequence[EquityMark],
        seen: Mapping[SubAccountId, tuple[SubAccount, EquityMark | None]] | None = None,
    ) -> None:
        """Store what losses are measured from. With `seen`, the account and the mark that each was made from:
        where either has changed since (a transfer), nothing is stored."""
        ...

    async def set_virtual_leverage(
        self, sub_account_id: SubAccountId, symbol: Symbol, leverage: Decimal, actor: Actor
    ) -> None:
        """Set the account's leverage for a symbol, also of its open position and its resting orders."""
        ...

    async def set_restriction(
        self,
        sub_account_id: SubAccountId | None,
        source: str,
        level: Restriction,
        reason: str,
        actor: Actor,
    ) -> RestrictionEntry:
        """Restrict an account, or everything (None), on behalf of one source; NONE releases that source's.

        `source` is `operator`, `exchange` or `rule:<name>`; the strongest of all sources counts. Durable
        event `restriction_updated` to every account concerned. Raises AccountNotFoundError, RequestError."""
        ...
