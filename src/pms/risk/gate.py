"""The order gate: decides from plain values whether an order may be sent, and alone makes `ApprovedOrder`s.

Every order passes here (decision 18). The order of the checks is ledger spec 4.2 with the numeric
validation first (H20). What blocks new exposure (a frozen account, a restriction, a liquidation, a halt, a
stale price, a symbol that left trading) never blocks reducing: such an order is approved as reduce-only
(decisions 13, 20 and 21). Only from HALT on nothing may rest any more.
"""

from decimal import Decimal

from pms.model.account import SubAccount
from pms.model.ids import ClientOrderId
from pms.model.money import ZERO, Quantity
from pms.model.order import (
    ApprovedAmendment,
    ApprovedOrder,
    OrderCode,
    OrderSide,
    OrderType,
    SelfMatchPrevention,
    TimeInForce,
)
from pms.model.refusal import Refusal, RefusalCode, Refused
from pms.model.restriction import Restriction
from pms.model.symbol import Symbol, SymbolRules
from pms.risk import gate_checks as checks
from pms.risk import messages
from pms.risk.admission import decimal_limits, limit_refusals
from pms.risk.gate_values import Approved as Approved
from pms.risk.gate_values import Assessment as Assessment
from pms.risk.gate_values import FlipMode as FlipMode
from pms.risk.gate_values import GateInput as GateInput
from pms.risk.gate_values import MarkedPosition as MarkedPosition
from pms.risk.gate_values import OrderRequest as OrderRequest
from pms.risk.real_purse import real_refusals
from pms.risk.reservations import closing_capacity
from pms.risk.resulting import held_position, resulting_admission, split_order, value_price

_CLOSING_CODES = frozenset(
    {OrderCode.LIQUIDATION, OrderCode.CLOSE, OrderCode.TRAILING_STOP, OrderCode.LIMIT_CLOSE}
)
_FINAL = frozenset({RefusalCode.ACCOUNT_FROZEN, RefusalCode.TRADING_RESTRICTED, RefusalCode.NO_PRICE})
"""Blockers after which nothing more is computed (ledger spec 4.2, steps 1 to 3)."""


def decide(given: GateInput) -> Approved | Refused:
    """Return the approval, or every refusal found in the order of the checks. Pure and synchronous."""
    outcome = assess(given)
    return outcome.approved if outcome.approved is not None else Refused(outcome.refusals)


def assess(given: GateInput) -> Assessment:
    """Decide like `decide`, and return the computed figures also when the order is refused."""
    invalid = checks.number_refusals(given.request, given.rules)
    if invalid:
        return _refused(*invalid)
    if not given.ready:
        return _refused(messages.refusal(RefusalCode.NOT_READY))
    if given.account is None:
        return _refused(messages.refusal(RefusalCode.ACCOUNT_NOT_FOUND))
    if given.symbol_rules is None:
        return _refused(messages.refusal(RefusalCode.UNKNOWN_SYMBOL, symbol=given.request.symbol))
    blockers = checks.exposure_blockers(given, given.account, given.symbol_rules)
    side = OrderSide.opening(given.request.side)
    taken = given.closing_taken + given.crossing_taken
    capacity = closing_capacity(held_position(given), side, taken)
    fits = given.request.quantity <= capacity
    if given.request.reduce_only or (blockers and fits):
        return _assess_reduction(given, given.symbol_rules, side, capacity)
    if any(blocker.code in _FINAL for blocker in blockers):
        return _refused(*blockers)
    return _assess_exposure(given, given.account, given.symbol_rules, blockers)


def approve(
    client_order_id: ClientOrderId, request: OrderRequest, approved: Approved, *, reduce_only_wire: bool
) -> ApprovedOrder:
    """Make the order that the exchange port takes. `reduce_only_wire` comes from `netting` (decision 12)."""
    reducing = approved.reduce_only or approved.opening == 0
    return ApprovedOrder(
        client_order_id=client_order_id,
        symbol=request.symbol,
        side=approved.side,
        type=request.type,
        quantity=approved.quantity,
        price=approved.price,
        time_in_force=request.time_in_force,
        reduce_only_wire=reduce_only_wire,
        self_match=_self_match(request.code, reducing),
        risk_reducing=reducing,
    )


def approve_amendment(
    client_order_id: ClientOrderId,
    request: OrderRequest,
    approved: Approved,
    executed: Quantity,
    *,
    modify_id: int | None = None,
) -> ApprovedAmendment:
    """Make the change of a resting limit order that the exchange port takes.

    `approved` is the decision on what the order would still have to execute after the change, asked for as a
    new order, without the old one among the open orders. `executed` is what it has executed when it is asked:
    more by the time the change arrives only leaves less to execute. Raises ValueError without a price.
    """
    if approved.price is None:
        raise ValueError(f"{client_order_id} has no price: only limit orders are amended")
    return ApprovedAmendment(
        client_order_id=client_order_id,
        symbol=request.symbol,
        side=approved.side,
        quantity=Quantity(executed + approved.quantity),
        price=approved.price,
        risk_reducing=approved.reduce_only or approved.opening == 0,
        modify_id=modify_id,
    )


def approve_house(
    client_order_id: ClientOrderId,
    symbol: Symbol,
    side: OrderSide,
    quantity: Quantity,
    *,
    reduce_only_wire: bool,
) -> ApprovedOrder:
    """Make a market order of the house: the net of a mass close or of a takeover (decisions 6 and 13).

    `quantity` is already rounded to the filters. The house is never refused by sub-account rules.
    """
    return ApprovedOrder(
        client_order_id=client_order_id,
        symbol=symbol,
        side=side,
        type=OrderType.MARKET,
        quantity=quantity,
        price=None,
        time_in_force=TimeInForce.GTC,
        reduce_only_wire=reduce_only_wire,
        self_match=SelfMatchPrevention.EXPIRE_MAKER,
        risk_reducing=True,
    )


def _self_match(code: OrderCode, reducing: bool) -> SelfMatchPrevention:
    """Decision 14."""
    if reducing or code in _CLOSING_CODES:
        return SelfMatchPrevention.EXPIRE_MAKER
    return SelfMatchPrevention.EXPIRE_TAKER


def _refused(*refusals: Refusal, computed: dict[str, float] | None = None) -> Assessment:
    return Assessment(None, refusals, computed or {})


def _assess_reduction(given: GateInput, rules: SymbolRules, side: OrderSide, capacity: Decimal) -> Assessment:
    """Cap to the free closing capacity; exempt from limits and minimum notional."""
    request = given.request
    if request.type is OrderType.LIMIT and given.restriction >= Restriction.HALT:
        return _refused(messages.restricted(given.restriction, given.restriction_source))
    if capacity <= 0:
        return _refused(messages.refusal(RefusalCode.REDUCE_ONLY_REJECTED, capacity=capacity))
    price = rules.round_price(request.price) if request.price is not None else None
    quantity = rules.round_quantity(min(request.quantity, capacity), market=request.type is OrderType.MARKET)
    found = checks.quantity_refusals(rules, request, quantity)
    if price is not None:
        found += checks.price_refusals(rules, side, price, given.mark)
    found += checks.count_refusals(given)
    if found:
        return _refused(*found)
    approved = Approved(side, quantity, price, quantity, ZERO, ZERO, reduce_only=True)
    return Assessment(approved, (), {})


def _assess_exposure(
    given: GateInput, account: SubAccount, rules: SymbolRules, blockers: list[Refusal]
) -> Assessment:
    request, side = given.request, OrderSide.opening(given.request.side)
    mark = given.mark or ZERO
    market = request.type is OrderType.MARKET
    price = rules.round_price(request.price) if request.price is not None else None
    quantity = rules.round_quantity(request.quantity, market=market)
    split = split_order(given, side, quantity)
    found = [*blockers, *checks.quantity_refusals(rules, request, quantity)]
    if price is not None:
        found += checks.price_refusals(rules, side, price, mark)
    if quantity <= 0 or (price is not None and price <= 0):
        return _refused(*found)
    value = value_price(side, price, mark)
    notional = split.sent * value
    found += checks.notional_refusals(rules, request, notional)
    admission = resulting_admission(given, account, split, value)
    computed = admission.computed(notional)
    if split.opening > 0:
        limits = given.rules
        found += limit_refusals(
            admission,
            decimal_limits(limits.leverage_max, limits.notional_per_trade_max, limits.exposure_max),
        )
    elif request.leverage > checks.LEVERAGE_MAX:
        found.append(messages.refusal(RefusalCode.INVALID_LEVERAGE, leverage=str(request.leverage)))
    found += checks.count_refusals(given)
    if split.opening > 0:
        found += real_refusals(given.real, side, split.sent, value)
    if found:
        return _refused(*found, computed=computed)
    approved = Approved(
        side,
        Quantity(split.sent),
        price,
        split.sent - split.opening,
        split.opening,
        admission.margin_needed,
        reduce_only=False,
        computed=computed,
    )
    return Assessment(approved, (), computed)
