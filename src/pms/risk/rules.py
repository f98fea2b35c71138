"""Judges the further rules of an account from plain values: what an order breaks, what the account breaks."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from pms.model.money import ZERO, plain
from pms.model.refusal import Refusal, RefusalCode
from pms.model.symbol import Symbol
from pms.model.trading_rules import (
    Breach,
    EquityMark,
    LossRule,
    RuleAction,
    RuleName,
    TradingRules,
)
from pms.risk import messages

MINUTE_MS = 60_000
DAY_MS = 86_400_000


def day_of(now_ms: int) -> str:
    """Return the UTC day, `YYYY-MM-DD`."""
    return datetime.fromtimestamp(now_ms // 1000, UTC).strftime("%Y-%m-%d")


def entry_refusals(
    rules: TradingRules, symbol: Symbol, held: Iterable[Symbol], orders_in_minute: int
) -> tuple[Refusal, ...]:
    """Return what the rules say against a new entry on `symbol`: its list, the number of positions (one more
    unless the symbol is held; `held` has what orders may still open, too), the orders of the last 60 s before
    this one. A warning refuses nothing."""
    found: list[Refusal] = []
    listed, counted, rate = rules.symbols, rules.position_count, rules.order_rate
    if listed is not None and listed.action is not RuleAction.WARN and not listed.allows(symbol):
        found.append(messages.refusal(RefusalCode.SYMBOL_NOT_ALLOWED, symbol=symbol))
    after = {*held, symbol}
    if counted is not None and counted.action is not RuleAction.WARN and len(after) > counted.count_max:
        found.append(
            messages.refusal(
                RefusalCode.POSITION_COUNT_EXCEEDED, positions=str(len(after)), max=str(counted.count_max)
            )
        )
    if rate is not None and rate.action is not RuleAction.WARN and orders_in_minute >= rate.count_max:
        found.append(
            messages.refusal(
                RefusalCode.ORDER_RATE_EXCEEDED, orders=str(orders_in_minute + 1), max=str(rate.count_max)
            )
        )
    return tuple(found)


def judge_rate(rules: TradingRules, orders_in_minute: int) -> Breach | None:
    """Judge the orders of the last 60 s, the one that is asked for included."""
    rate = rules.order_rate
    if rate is None or orders_in_minute <= rate.count_max:
        return None
    return Breach(
        RuleName.ORDER_RATE, rate.action, {"orders": str(orders_in_minute), "max": str(rate.count_max)}
    )


def judge_holdings(rules: TradingRules, held: Iterable[Symbol]) -> tuple[Breach, ...]:
    """Judge what an account holds, however it came to it."""
    symbols, found = sorted(set(held)), []
    listed, counted = rules.symbols, rules.position_count
    if listed is not None:
        forbidden = [symbol for symbol in symbols if not listed.allows(symbol)]
        if forbidden:
            found.append(Breach(RuleName.SYMBOLS, listed.action, {"symbols": ",".join(forbidden)}))
    if counted is not None and len(symbols) > counted.count_max:
        evidence = {"positions": str(len(symbols)), "max": str(counted.count_max)}
        found.append(Breach(RuleName.POSITION_COUNT, counted.action, evidence))
    return tuple(found)


def judge_equity(rules: TradingRules, mark: EquityMark, equity: Decimal) -> tuple[Breach, ...]:
    """Judge equity (cash less owed, and unrealised profit) against the day's start and the peak."""
    found = []
    for name, rule, base in (
        (RuleName.DAILY_LOSS, rules.daily_loss, mark.day_start_equity),
        (RuleName.TRAILING_DRAWDOWN, rules.trailing_drawdown, max(mark.peak_equity, equity)),
    ):
        if rule is not None and equity <= loss_floor(rule, base):
            evidence = {"equity": plain(equity), "from": plain(base), "loss": plain(base - equity)}
            if rule.amount_max is not None:
                evidence["amountMax"] = plain(rule.amount_max)
            if rule.fraction_max is not None:
                evidence["fractionMax"] = plain(rule.fraction_max)
            found.append(Breach(name, rule.action, {**evidence, "day": mark.day}))
    return tuple(found)


def loss_floor(rule: LossRule, base: Decimal) -> Decimal:
    """Return the equity at or below which a loss rule is broken; minus infinity when it never is."""
    floors = [Decimal("-Infinity")]
    if rule.amount_max is not None:
        floors.append(base - rule.amount_max)
    if rule.fraction_max is not None:
        floors.append(base * (1 - rule.fraction_max) if base > ZERO else Decimal("-Infinity"))
    return max(floors)


def releases(name: RuleName, action: RuleAction, *, new_day: bool, still_broken: bool, age_ms: int) -> bool:
    """True when a rule's restriction ends by itself: a daily loss with a new UTC day, an order rate after a
    minute, symbols and counts once they hold again. A drawdown and every LOCK wait for an administrator."""
    if action is RuleAction.LOCK:
        return False
    match name:
        case RuleName.DAILY_LOSS:
            return new_day
        case RuleName.ORDER_RATE:
            return age_ms >= MINUTE_MS
        case RuleName.TRAILING_DRAWDOWN:
            return False
        case _:
            return not still_broken
