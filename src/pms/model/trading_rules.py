"""Further rules of an account, each off by default, and what each does when it is broken."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from pms.model.event import JsonValue
from pms.model.ids import SubAccountId
from pms.model.money import plain
from pms.model.restriction import Restriction
from pms.model.symbol import Symbol


class RuleName(StrEnum):
    """The rules by their name in sources of restrictions (`rule:<name>`), breaches and events."""

    DAILY_LOSS = "daily_loss"
    TRAILING_DRAWDOWN = "trailing_drawdown"
    ORDER_RATE = "order_rate"
    SYMBOLS = "symbols"
    POSITION_COUNT = "position_count"

    @property
    def source(self) -> str:
        """The source of the rule's restriction."""
        return f"rule:{self.value}"


class RuleAction(StrEnum):
    """What a breach does. LOCK is FLATTEN that only an administrator releases."""

    WARN = "WARN"
    BLOCK_ENTRIES = "BLOCK_ENTRIES"
    REDUCE_ONLY = "REDUCE_ONLY"
    FLATTEN = "FLATTEN"
    LOCK = "LOCK"

    @property
    def restriction(self) -> Restriction:
        """The level that the account is restricted to; NONE for a warning."""
        if self is RuleAction.WARN:
            return Restriction.NONE
        return Restriction.FLATTEN if self is RuleAction.LOCK else Restriction[self.value]


@dataclass(frozen=True, slots=True)
class LossRule:
    """A loss from a mark of equity. `amount_max` in USDT, `fraction_max` of the mark; either breaks it."""

    action: RuleAction
    amount_max: Decimal | None = None
    fraction_max: Decimal | None = None


@dataclass(frozen=True, slots=True)
class CountRule:
    """At most `count_max` of something: orders within a minute, open positions."""

    action: RuleAction
    count_max: int


@dataclass(frozen=True, slots=True)
class SymbolRule:
    """`allowed` None: every symbol that is not denied."""

    action: RuleAction
    allowed: frozenset[Symbol] | None = None
    denied: frozenset[Symbol] = frozenset()

    def allows(self, symbol: Symbol) -> bool:
        return symbol not in self.denied and (self.allowed is None or symbol in self.allowed)


@dataclass(frozen=True, slots=True)
class TradingRules:
    """The further rules of an account; None: off."""

    daily_loss: LossRule | None = None
    trailing_drawdown: LossRule | None = None
    order_rate: CountRule | None = None
    symbols: SymbolRule | None = None
    position_count: CountRule | None = None

    def action_of(self, name: RuleName) -> RuleAction | None:
        """Return the action of a rule, None when it is off."""
        found: LossRule | CountRule | SymbolRule | None = getattr(self, name.value)
        return None if found is None else found.action


@dataclass(frozen=True, slots=True)
class RuleSet:
    """One version of the rules of a scope; versions begin at 1 and never change. `rules` None: an account
    that follows the global ones again."""

    sub_account_id: SubAccountId | None
    version: int
    rules: TradingRules | None
    actor: str
    timestamp_ms: int


NO_DAY = ""
"""The day of a mark whose daily loss is measured from the next look on."""


@dataclass(frozen=True, slots=True)
class EquityMark:
    """Equity at the start of a UTC day (`YYYY-MM-DD`, or `NO_DAY`) and its peak; transfers move both along.

    A peak of 0 is one that begins anew: the next look raises it to the equity.
    """

    sub_account_id: SubAccountId
    day: str
    day_start_equity: Decimal
    peak_equity: Decimal


@dataclass(frozen=True, slots=True)
class Breach:
    """A broken rule with the figures that show it."""

    rule: RuleName
    action: RuleAction
    evidence: dict[str, str]


def rules_to_json(rules: TradingRules | None) -> dict[str, JsonValue] | None:
    """Return the rules as they are stored and told: camelCase, exact figures as text, null for off."""
    if rules is None:
        return None
    return {
        "dailyLoss": _loss_to_json(rules.daily_loss),
        "trailingDrawdown": _loss_to_json(rules.trailing_drawdown),
        "orderRate": _count_to_json(rules.order_rate, "perMinuteMax"),
        "symbols": _symbols_to_json(rules.symbols),
        "positionCount": _count_to_json(rules.position_count, "max"),
    }


def rules_from_json(data: Mapping[str, JsonValue] | None) -> TradingRules | None:
    """Return the rules of `rules_to_json`. Raises ValueError or KeyError for anything else."""
    if data is None:
        return None
    return TradingRules(
        _loss(_part(data, "dailyLoss")),
        _loss(_part(data, "trailingDrawdown")),
        _count(_part(data, "orderRate"), "perMinuteMax"),
        _symbols(_part(data, "symbols")),
        _count(_part(data, "positionCount"), "max"),
    )


def _loss_to_json(rule: LossRule | None) -> dict[str, JsonValue] | None:
    if rule is None:
        return None
    return {
        "action": rule.action.value,
        "amountMax": None if rule.amount_max is None else plain(rule.amount_max),
        "fractionMax": None if rule.fraction_max is None else plain(rule.fraction_max),
    }


def _count_to_json(rule: CountRule | None, name: str) -> dict[str, JsonValue] | None:
    return None if rule is None else {"action": rule.action.value, name: rule.count_max}


def _symbols_to_json(rule: SymbolRule | None) -> dict[str, JsonValue] | None:
    if rule is None:
        return None
    allowed: list[JsonValue] | None = None if rule.allowed is None else [*sorted(rule.allowed)]
    denied: list[JsonValue] = [*sorted(rule.denied)]
    return {"action": rule.action.value, "allowed": allowed, "denied": denied}


def _part(data: Mapping[str, JsonValue], name: str) -> Mapping[str, JsonValue] | None:
    part = data.get(name)
    if part is None or isinstance(part, dict):
        return part
    raise ValueError(f"{name} must be an object, was {part!r}")


def _loss(data: Mapping[str, JsonValue] | None) -> LossRule | None:
    if data is None:
        return None
    return LossRule(
        RuleAction(str(data["action"])), _exact(data.get("amountMax")), _exact(data.get("fractionMax"))
    )


def _exact(value: JsonValue) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def _count(data: Mapping[str, JsonValue] | None, name: str) -> CountRule | None:
    return None if data is None else CountRule(RuleAction(str(data["action"])), int(str(data[name])))


def _symbols(data: Mapping[str, JsonValue] | None) -> SymbolRule | None:
    if data is None:
        return None
    allowed, denied = data.get("allowed"), data.get("denied")
    return SymbolRule(
        RuleAction(str(data["action"])),
        frozenset(Symbol(str(one)) for one in allowed) if isinstance(allowed, list) else None,
        frozenset(Symbol(str(one)) for one in denied) if isinstance(denied, list) else frozenset(),
    )
