"""Request bodies of the further rules."""

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from pms.gateway.requests import Body, SymbolText
from pms.gateway.strict_json import PositiveNumber, StrictBool
from pms.model.symbol import Symbol
from pms.model.trading_rules import CountRule, LossRule, RuleAction, SymbolRule, TradingRules

SYMBOLS_MAX = 500
COUNT_MAX = 10_000


def _fraction(value: Decimal) -> Decimal:
    if value >= 1:
        raise ValueError("must be below 1: it is a share of equity")
    return value


Fraction = Annotated[PositiveNumber, AfterValidator(_fraction)]
Count = Annotated[int, Field(strict=True, ge=1, le=COUNT_MAX)]
Symbols = Annotated[list[SymbolText], Field(max_length=SYMBOLS_MAX)]


class LossBody(Body):
    """`amountMax` USDT, `fractionMax` a share of the equity that it is measured from; at least one."""

    action: RuleAction
    amount_max: PositiveNumber | None = None
    fraction_max: Fraction | None = None

    @model_validator(mode="after")
    def _has_a_limit(self) -> "LossBody":
        if self.amount_max is None and self.fraction_max is None:
            raise ValueError("needs amountMax or fractionMax")
        return self

    def rule(self) -> LossRule:
        return LossRule(self.action, self.amount_max, self.fraction_max)


class RateBody(Body):
    action: RuleAction
    per_minute_max: Count


class PositionCountBody(Body):
    action: RuleAction
    max: Count


class SymbolsBody(Body):
    """`allowed` left out: every symbol that is not denied."""

    action: RuleAction
    allowed: Symbols | None = None
    denied: Symbols = Field(default_factory=list)

    def rule(self) -> SymbolRule:
        allowed = None if self.allowed is None else frozenset(Symbol(one) for one in self.allowed)
        return SymbolRule(self.action, allowed, frozenset(Symbol(one) for one in self.denied))


class TradingRulesBody(Body):
    """All further rules at once; what is left out is off. `followGlobal`: an account gives up its own."""

    daily_loss: LossBody | None = None
    trailing_drawdown: LossBody | None = None
    order_rate: RateBody | None = None
    symbols: SymbolsBody | None = None
    position_count: PositionCountBody | None = None
    follow_global: StrictBool = False

    def rules(self) -> TradingRules | None:
        """Return the rules; None when the global ones are to be followed."""
        if self.follow_global:
            return None
        rate, count = self.order_rate, self.position_count
        return TradingRules(
            None if self.daily_loss is None else self.daily_loss.rule(),
            None if self.trailing_drawdown is None else self.trailing_drawdown.rule(),
            None if rate is None else CountRule(rate.action, rate.per_minute_max),
            None if self.symbols is None else self.symbols.rule(),
            None if count is None else CountRule(count.action, count.max),
        )
