"""May an account change its leverage of a symbol? Margin of position and resting orders is computed anew."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from pms.model.account import RiskRules, SubAccount
from pms.model.money import ZERO
from pms.model.price import STALE_AFTER_MS
from pms.model.refusal import RefusalCode, Refused
from pms.model.symbol import Symbol
from pms.risk import messages
from pms.risk.admission import USAGE_MAX
from pms.risk.displaced import total_load
from pms.risk.formulas import margin_usage_ratio
from pms.risk.gate_checks import LEVERAGE_MAX, LEVERAGE_MIN
from pms.risk.gate_values import MarkedPosition
from pms.risk.reservations import OpenOrder


def refuse_leverage(
    account: SubAccount | None,
    rules: RiskRules,
    positions: Sequence[MarkedPosition],
    orders: Sequence[OpenOrder],
    symbol: Symbol,
    leverage: Decimal,
    *,
    liquidating: bool,
) -> Refused | None:
    """Return why the leverage cannot be changed now, or None when it can. A change that frees margin always
    can; one that binds more is held to the same bound of usage as an order."""
    if not leverage.is_finite() or not LEVERAGE_MIN <= leverage <= LEVERAGE_MAX:
        return Refused.because(RefusalCode.INVALID_LEVERAGE, leverage=leverage)
    if account is None:
        return Refused.because(RefusalCode.ACCOUNT_NOT_FOUND)
    if leverage > rules.leverage_max:
        return Refused((messages.leverage_exceeded(leverage, rules.leverage_max),))
    if liquidating:
        return Refused.because(RefusalCode.LIQUIDATION_IN_PROGRESS)
    held = [_at(marked, symbol, leverage) for marked in positions]
    rest = [replace(order, leverage=leverage) if order.symbol == symbol else order for order in orders]
    growth = total_load(held, rest).margin - total_load(positions, orders).margin
    if growth <= 0:
        return None
    stale = [
        str(marked.position.symbol)
        for marked in positions
        if marked.mark is None or marked.mark_age_ms > STALE_AFTER_MS
    ]
    if stale:
        return Refused.because(RefusalCode.STALE_PRICE, symbols=",".join(stale))
    equity = account.cash + sum((marked.unrealized_pnl for marked in positions), ZERO)
    used = total_load(held, rest).margin
    usage = margin_usage_ratio(equity, used, ZERO)
    if usage >= Decimal(USAGE_MAX):
        insufficient = messages.margin_insufficient(growth, max(ZERO, equity - (used - growth)))
        return Refused((insufficient, messages.usage_exceeded(usage, Decimal(USAGE_MAX))))
    return None


def _at(marked: MarkedPosition, symbol: Symbol, leverage: Decimal) -> MarkedPosition:
    if marked.position.symbol != symbol:
        return marked
    return replace(marked, position=replace(marked.position, leverage=leverage))
