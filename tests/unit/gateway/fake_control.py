"""Restrictions, further rules and leverage of the fakes: the last of each, in dictionaries."""

from collections.abc import Sequence
from decimal import Decimal

from pms.ledger.api import Actor
from pms.ledger.queries import BreachRow
from pms.model.ids import SubAccountId
from pms.model.refusal import Refused
from pms.model.restriction import Restriction, RestrictionEntry
from pms.model.symbol import Symbol
from pms.model.trading_rules import RuleSet, TradingRules


class FakeControl:
    """What the ledger offers for control."""

    def __init__(self) -> None:
        self.in_force: dict[tuple[SubAccountId | None, str], RestrictionEntry] = {}
        self.rule_versions: dict[SubAccountId | None, RuleSet] = {}

    def restrictions(self) -> Sequence[RestrictionEntry]:
        return [entry for entry in self.in_force.values() if entry.level]

    def restrictions_of(self, sub_account_id: SubAccountId) -> Sequence[RestrictionEntry]:
        return [entry for entry in self.restrictions() if entry.sub_account_id in (None, sub_account_id)]

    def restriction_of(self, sub_account_id: SubAccountId) -> Restriction:
        levels = (entry.level for entry in self.restrictions_of(sub_account_id))
        return max(levels, default=Restriction.NONE)

    async def set_restriction(
        self, sub_account_id: SubAccountId | None, source: str, level: Restriction, reason: str, actor: Actor
    ) -> RestrictionEntry:
        entry = RestrictionEntry(sub_account_id, source, level, reason, actor.id, 1_764_000_000_000)
        self.in_force[(sub_account_id, source)] = entry
        return entry

    def rule_set(self, scope: SubAccountId | None) -> RuleSet | None:
        return self.rule_versions.get(scope)

    def rule_set_of(self, sub_account_id: SubAccountId) -> RuleSet | None:
        return self.rule_set(sub_account_id) or self.rule_set(None)

    async def set_trading_rules(
        self, sub_account_id: SubAccountId | None, rules: TradingRules | None, actor: Actor
    ) -> RuleSet:
        known = self.rule_versions.get(sub_account_id)
        version = 1 if known is None else known.version + 1
        written = RuleSet(sub_account_id, version, rules, actor.id, 1_764_000_000_000)
        self.rule_versions[sub_account_id] = written
        return written


class FakeRuleHistory:
    """Nothing was ever set or broken."""

    async def rule_sets(self, scope: SubAccountId | None, limit: int) -> Sequence[RuleSet]:
        return []

    async def breaches(self, sub_account_id: SubAccountId, limit: int) -> Sequence[BreachRow]:
        return []


class FakeLeverage:
    """Takes every leverage."""

    def __init__(self) -> None:
        self.leverages: dict[tuple[SubAccountId, Symbol], Decimal] = {}

    async def set_leverage(
        self, sub_account_id: SubAccountId, symbol: Symbol, leverage: Decimal, actor: Actor
    ) -> Refused | None:
        self.leverages[(sub_account_id, symbol)] = leverage
        return None

    def leverage_of(self, sub_account_id: SubAccountId, symbol: Symbol) -> Decimal:
        return self.leverages.get((sub_account_id, symbol), Decimal(1))
