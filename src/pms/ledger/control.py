"""The ledger's operations of control: restrictions, further rules, breaches, equity marks, leverage."""

from collections.abc import Sequence
from decimal import Decimal

from pms.ledger.api import Actor
from pms.ledger.book import Book
from pms.ledger.operations import control, trading_rules
from pms.ledger.operations.trading_rules import MarksSeen
from pms.ledger.plan import Plan
from pms.ledger.writer import Known, Writer
from pms.model.ids import SubAccountId
from pms.model.restriction import Restriction, RestrictionEntry
from pms.model.symbol import Symbol
from pms.model.trading_rules import Breach, EquityMark, RuleSet, TradingRules


class ControlOperations:
    """A part of `LedgerService`; see `pms.ledger.api.Ledger` for what each does."""

    _writer: Writer

    @property
    def _book(self) -> Book:
        return self._writer.book

    def restrictions(self) -> Sequence[RestrictionEntry]:
        entries = [entry for scope in self._book.restrictions.values() for entry in scope if entry.level]
        return sorted(entries, key=lambda entry: (entry.sub_account_id or "", entry.source))

    def restrictions_of(self, sub_account_id: SubAccountId) -> Sequence[RestrictionEntry]:
        return self._book.restrictions_of(sub_account_id)

    def restriction_of(self, sub_account_id: SubAccountId) -> Restriction:
        return self._book.restriction_of(sub_account_id)

    def rule_set_of(self, sub_account_id: SubAccountId) -> RuleSet | None:
        return self._book.rule_set_of(sub_account_id)

    def rule_set(self, scope: SubAccountId | None) -> RuleSet | None:
        """Return the latest version of a scope's own rules."""
        return self._book.rule_sets.get(scope)

    def equity_mark(self, sub_account_id: SubAccountId) -> EquityMark | None:
        return self._book.equity_marks.get(sub_account_id)

    def virtual_leverage(self, sub_account_id: SubAccountId, symbol: Symbol) -> Decimal | None:
        return self._book.virtual_leverage.get((sub_account_id, symbol))

    async def set_restriction(
        self,
        sub_account_id: SubAccountId | None,
        source: str,
        level: Restriction,
        reason: str,
        actor: Actor,
    ) -> RestrictionEntry:
        def run(plan: Plan, _: Known) -> RestrictionEntry:
            return control.set_restriction(plan, sub_account_id, source, level, reason, actor)

        return (await self._writer.submit(run))[0]

    async def set_trading_rules(
        self, sub_account_id: SubAccountId | None, rules: TradingRules | None, actor: Actor
    ) -> RuleSet:
        def run(plan: Plan, _: Known) -> RuleSet:
            return trading_rules.set_trading_rules(plan, sub_account_id, rules, actor)

        return (await self._writer.submit(run))[0]

    async def record_breach(self, sub_account_id: SubAccountId, breach: Breach, version: int) -> bool:
        def run(plan: Plan, _: Known) -> bool:
            return trading_rules.record_breach(plan, sub_account_id, breach, version)

        return (await self._writer.submit(run))[0]

    async def release_rule(self, sub_account_id: SubAccountId, source: str, reason: str) -> None:
        await self._writer.submit(
            lambda plan, _: trading_rules.release_rule(plan, sub_account_id, source, reason)
        )

    async def put_equity_marks(self, marks: Sequence[EquityMark], seen: MarksSeen | None = None) -> None:
        await self._writer.submit(lambda plan, _: trading_rules.put_equity_marks(plan, marks, seen))

    async def set_virtual_leverage(
        self, sub_account_id: SubAccountId, symbol: Symbol, leverage: Decimal, actor: Actor
    ) -> None:
        def run(plan: Plan, _: Known) -> None:
            trading_rules.set_virtual_leverage(plan, sub_account_id, symbol, leverage, actor)

        await self._writer.submit(run)
