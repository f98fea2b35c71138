"""The gate's single checks: numbers, what forbids new exposure, the symbol's filters, counts of orders."""

from decimal import Decimal

from pms.model.account import AccountStatus, RiskRules, SubAccount
from pms.model.money import plain
from pms.model.order import OrderSide, OrderType, TimeInForce
from pms.model.price import STALE_AFTER_MS
from pms.model.refusal import Refusal, RefusalCode
from pms.model.restriction import Restriction
from pms.model.signature import fixed_text
from pms.model.symbol import SymbolRules
from pms.risk import messages
from pms.risk.gate_values import GateInput, OrderRequest

LEVERAGE_MIN = Decimal(1)
LEVERAGE_MAX = Decimal(125)
LIMIT_NOTIONAL_MIN = Decimal(5)
"""A limit order is never smaller than this, whatever the symbol's filter says (spec D33)."""


def number_refusals(request: OrderRequest, rules: RiskRules) -> list[Refusal]:
    """Numbers that no rule could judge (H20). The leverage of a reduction is never used; one that the
    account's rule forbids anyway is left to that rule and its code."""
    found: list[Refusal] = []
    if not request.quantity.is_finite() or request.quantity <= 0:
        found.append(messages.refusal(RefusalCode.INVALID_QUANTITY, quantity=str(request.quantity)))
    if request.type is OrderType.LIMIT or request.price is not None:
        price = request.price
        if price is None or not price.is_finite() or price <= 0:
            found.append(messages.refusal(RefusalCode.INVALID_PRICE, price=str(price)))
    leverage = request.leverage
    largest = LEVERAGE_MAX if leverage.is_finite() and leverage <= rules.leverage_max else Decimal("Infinity")
    if not request.reduce_only and not (leverage.is_finite() and LEVERAGE_MIN <= leverage <= largest):
        found.append(messages.refusal(RefusalCode.INVALID_LEVERAGE, leverage=str(leverage)))
    return found


def exposure_blockers(given: GateInput, account: SubAccount, rules: SymbolRules) -> list[Refusal]:
    """What forbids new exposure whatever its size; reducing is not concerned."""
    found: list[Refusal] = []
    if account.status is not AccountStatus.ACTIVE:
        return [messages.account_frozen(account.status)]
    if given.restriction is not Restriction.NONE:
        return [messages.restricted(given.restriction, given.restriction_source)]
    if given.mark is None or given.mark <= 0:
        found.append(messages.refusal(RefusalCode.NO_PRICE))
    if given.halted:
        found.append(messages.refusal(RefusalCode.TRADING_HALTED))
    if given.liquidating:
        found.append(messages.refusal(RefusalCode.LIQUIDATION_IN_PROGRESS))
    if not rules.trading:
        found.append(messages.refusal(RefusalCode.SYMBOL_NOT_TRADING, symbol=rules.symbol))
    stale = (
        [str(given.request.symbol)] if given.mark is not None and given.mark_age_ms > STALE_AFTER_MS else []
    )
    stale += [
        str(held.position.symbol)
        for held in given.positions
        if (held.mark is None or held.mark_age_ms > STALE_AFTER_MS)
        and held.position.symbol != given.request.symbol
    ]
    if stale:
        found.append(messages.refusal(RefusalCode.STALE_PRICE, symbols=",".join(stale)))
    found += given.rule_refusals
    return found


def quantity_refusals(rules: SymbolRules, request: OrderRequest, quantity: Decimal) -> list[Refusal]:
    smallest, largest = rules.quantity_bounds(market=request.type is OrderType.MARKET)
    if quantity > 0 and quantity >= smallest and (largest == 0 or quantity <= largest):
        return []
    text = f"Quantity {plain(request.quantity)} is outside {plain(smallest)} to {plain(largest)}"
    return [
        messages.refusal(
            RefusalCode.INVALID_QUANTITY, text, quantity=request.quantity, min=smallest, max=largest
        )
    ]


def price_refusals(
    rules: SymbolRules, side: OrderSide, price: Decimal, mark: Decimal | None
) -> list[Refusal]:
    """PRICE_FILTER and PERCENT_PRICE of the exchange; a bound of 0 is switched off."""
    low, high = rules.price_min, rules.price_max
    if mark is not None and mark > 0:
        if side is OrderSide.BUY and rules.percent_price_up:
            high = min(high or Decimal("Infinity"), mark * rules.percent_price_up)
        if side is OrderSide.SELL and rules.percent_price_down:
            low = max(low, mark * rules.percent_price_down)
    if price > 0 and price >= low and (high == 0 or price <= high):
        return []
    text = f"Price {plain(price)} is outside {plain(low)} to {plain(high) if high else 'unbounded'}"
    return [messages.refusal(RefusalCode.INVALID_PRICE, text, price=price, min=low, max=high)]


def notional_refusals(rules: SymbolRules, request: OrderRequest, notional: Decimal) -> list[Refusal]:
    smallest = rules.notional_min
    if request.type is OrderType.LIMIT:
        smallest = max(smallest, LIMIT_NOTIONAL_MIN)
    if notional >= smallest:
        return []
    text = f"Notional ${fixed_text(notional, 2)} is below the minimum ${fixed_text(smallest, 2)}"
    return [messages.refusal(RefusalCode.EXCHANGE_MIN_NOTIONAL, text, notional=notional, min=smallest)]


def count_refusals(given: GateInput) -> list[Refusal]:
    """Only orders that rest count, against the symbol's bound on the real account, which everybody shares,
    and against the account's own quota of it. What reduces has no quota."""
    request = given.request
    rests = request.type is OrderType.LIMIT and request.time_in_force in (TimeInForce.GTC, TimeInForce.GTX)
    if not rests:
        return []
    counts = [("symbol", given.open_orders, given.open_orders_limit)]
    if not request.reduce_only:
        counts.append(("account", given.account_open_orders, given.account_open_orders_max))
    return [
        messages.refusal(RefusalCode.OPEN_ORDERS_LIMIT, scope=scope, open=str(count), max=str(limit))
        for scope, count, limit in counts
        if limit is not None and count >= limit
    ]
