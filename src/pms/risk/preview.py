"""What an account would be, and what would be done with it, at other prices: by the code that acts.

Figures, level and decision are those of the live evaluation (`account_figures`, `liquidation.confirm`), on
exact values. Prices are taken as fresh and orders as filled at the mark, without fees; what slippage adds
nobody knows before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from pms.limits import PREVIEW_STEPS_MAX
from pms.model.account import Position, RiskRules, SubAccount
from pms.model.ids import PositionId
from pms.model.money import Money, Quantity
from pms.model.symbol import Symbol, SymbolRules
from pms.risk import liquidation
from pms.risk.formulas import (
    Figures,
    account_figures,
    decimal_leg,
    dynamic_liquidation_prices,
    largest_leg,
    maintenance_rate_or_default,
    pnl,
    safe_threshold,
)
from pms.risk.liquidation import (
    Decision,
    Level,
    LiquidateAll,
    Nothing,
    PartialClose,
    Postponed,
    TakeOverAll,
    Timing,
    Warn,
    level_of,
)
from pms.risk.maintenance import Brackets

HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class PriceMove:
    """Other prices: `prices` by symbol are absolute, `percents` by symbol change the mark by so much; every
    other symbol changes by `percent`. Percents are above -100: a price stays positive."""

    percent: Decimal = Decimal(0)
    percents: Mapping[str, Decimal] = field(default_factory=dict)
    prices: Mapping[str, Decimal] = field(default_factory=dict)

    def of(self, symbol: str, mark: Decimal) -> Decimal:
        """Return the moved price of a symbol whose mark is `mark`."""
        price = self.prices.get(symbol)
        return (
            mark * (HUNDRED + self.percents.get(symbol, self.percent)) / HUNDRED if price is None else price
        )


@dataclass(frozen=True, slots=True)
class PreviewLeg:
    """A position at its moved mark; `liquidation_price` as it would be shown then."""

    position: Position
    mark: Decimal
    unrealized_pnl: Decimal
    liquidation_price: Decimal


@dataclass(frozen=True, slots=True)
class PreviewStep:
    """One thing that would be done. `action`: WARN, a trade action (ADL_TIER2, ADL_TIER3), or the label of a
    full liquidation or takeover; `position_id` and `quantity` for a partial close."""

    action: str
    margin_ratio: Decimal
    position_id: PositionId | None = None
    symbol: str | None = None
    quantity: Decimal | None = None
    closes_all: bool = True


@dataclass(frozen=True, slots=True)
class AccountPreview:
    """An account at moved prices. `unpriced` symbols have no mark yet and moved from their entry."""

    account: SubAccount
    figures: Figures[Decimal]
    level: Level
    account_liquidation_price: Decimal | None
    legs: tuple[PreviewLeg, ...]
    ladder: tuple[PreviewStep, ...]
    unpriced: tuple[str, ...]


def preview(
    account: SubAccount,
    rules: RiskRules,
    positions: Sequence[Position],
    marks: Mapping[str, Decimal],
    move: PriceMove,
    symbol_rules: Mapping[Symbol, SymbolRules],
    brackets: Brackets[Decimal] | None,
) -> AccountPreview:
    """Evaluate an account after a move of prices. Pure."""
    moved: dict[str, Decimal] = {
        held.symbol: move.of(held.symbol, marks.get(held.symbol) or held.entry_price) for held in positions
    }
    legs = [decimal_leg(held) for held in positions]
    rate = maintenance_rate_or_default(account.maintenance_rate)
    threshold = safe_threshold(rules.liquidation_threshold)
    figures = account_figures(account.cash, rate, legs, moved, brackets)
    prices = dynamic_liquidation_prices(account.cash, rate, legs, moved, threshold, brackets)
    largest = largest_leg(legs)
    level = level_of(figures.margin_ratio, figures.equity_raw, threshold) if legs else Level.CALM
    shown = tuple(
        PreviewLeg(
            held,
            moved[held.symbol],
            pnl(leg.is_long, leg.entry, moved[held.symbol], leg.quantity),
            prices[leg.id],
        )
        for held, leg in zip(positions, legs, strict=True)
    )
    by_name: dict[str, SymbolRules] = dict(symbol_rules.items())
    return AccountPreview(
        account,
        figures,
        level,
        None if largest is None else prices[largest.id],
        shown,
        _ladder(account, rules, positions, moved, by_name, brackets),
        tuple(held.symbol for held in positions if not marks.get(held.symbol)),
    )


def _ladder(
    account: SubAccount,
    rules: RiskRules,
    positions: Sequence[Position],
    marks: Mapping[str, Decimal],
    symbol_rules: Mapping[str, SymbolRules],
    brackets: Brackets[Decimal] | None,
) -> tuple[PreviewStep, ...]:
    """Play the decisions on, each step filled at the mark, until none follows.

    A partial close at the mark moves profit into the balance: cash plus PnL stays, maintenance falls.
    """
    steps: list[PreviewStep] = []
    held, timing = list(positions), Timing(0, dict.fromkeys(marks, 0))
    threshold = rules.liquidation_threshold
    while held and len(steps) < PREVIEW_STEPS_MAX:
        decision = liquidation.confirm(account, threshold, held, marks, symbol_rules, timing, brackets)
        step = _step(decision)
        if step is None:
            break
        steps.append(step)
        if not isinstance(decision, PartialClose):
            break
        account, held = _closed(account, held, decision, marks)
        if decision.tier == 3:
            rate, legs = (
                maintenance_rate_or_default(account.maintenance_rate),
                [decimal_leg(one) for one in held],
            )
            figures = account_figures(account.cash, rate, legs, marks, brackets)
            after = _step(liquidation.after_escalation(threshold, figures, legs, timing))
            if after is not None:
                steps.append(after)
                break
    return tuple(steps)


def _closed(
    account: SubAccount, held: list[Position], step: PartialClose[Decimal], marks: Mapping[str, Decimal]
) -> tuple[SubAccount, list[Position]]:
    """Return account and positions after a step that was filled at the mark."""
    left: list[Position] = []
    for position in held:
        if position.id != step.position_id:
            left.append(position)
            continue
        leg = decimal_leg(position)
        profit = pnl(leg.is_long, leg.entry, marks[position.symbol], step.quantity)
        account = replace(account, balance=Money(account.balance + profit))
        kept = position.quantity - step.quantity
        if kept > 0:
            cost = Money(position.cost * kept / position.quantity)
            left.append(replace(position, quantity=Quantity(kept), cost=cost))
    return account, left


def _step(decision: Decision[Decimal]) -> PreviewStep | None:
    match decision:
        case Nothing():
            return None
        case Warn(margin_ratio=ratio):
            return PreviewStep("WARN", ratio)
        case LiquidateAll(label=label, margin_ratio=ratio) | TakeOverAll(label=label, margin_ratio=ratio):
            return PreviewStep(label.value, ratio)
        case PartialClose() as act:
            return PreviewStep(
                act.action.value,
                act.margin_ratio,
                act.position_id,
                act.symbol,
                act.quantity,
                act.closes_all,
            )
        case Postponed(act=act):
            return _step(act)
