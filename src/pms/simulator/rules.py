"""Order validation: the exchange's filters, its codes, texts and order of checks (Binance spec 3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from pms.exchange.messages import Bracket, SymbolInfo
from pms.simulator import errors
from pms.simulator.errors import Reject, mandatory
from pms.simulator.state import ZERO, Market, text

CLIENT_ID = re.compile(r"^[\.A-Z\:/a-z0-9_-]{1,36}$")
CONDITIONAL = frozenset({"STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"})
TIME_IN_FORCE = frozenset({"GTC", "IOC", "FOK", "GTX"})
STP_MODES = frozenset({"NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"})
NUMBER = re.compile(r"^-?\d{1,20}(\.\d{1,20})?$")


@dataclass(frozen=True, slots=True)
class Range:
    """Minimum, maximum and step of a price or quantity; zero disables a bound."""

    low: Decimal
    high: Decimal
    step: Decimal


@dataclass(frozen=True, slots=True)
class SymbolRules:
    """The filters of one symbol as numbers."""

    symbol: str
    info: SymbolInfo
    price: Range
    lot: Range
    market_lot: Range
    min_notional: Decimal
    multiplier_up: Decimal
    multiplier_down: Decimal
    open_orders_max: int
    take_bound: Decimal
    brackets: tuple[Bracket, ...]

    def max_notional(self, leverage: int) -> Decimal:
        """Return the largest notional allowed at a leverage (spec section 7)."""
        caps = [b.notional_cap for b in self.brackets if b.initial_leverage >= leverage]
        return max(caps) if caps else ZERO

    @property
    def leverage_max(self) -> int:
        """Highest leverage of the first bracket."""
        return max((b.initial_leverage for b in self.brackets), default=20)

    def maintenance(self, notional: Decimal) -> Decimal:
        """Return the maintenance margin of a notional: notional × rate − cum of its bracket."""
        for bracket in self.brackets:
            if notional <= bracket.notional_cap:
                return notional * bracket.maint_margin_ratio - bracket.cum
        last = self.brackets[-1] if self.brackets else None
        return notional * last.maint_margin_ratio - last.cum if last else ZERO


def rules_of(info: SymbolInfo, brackets: tuple[Bracket, ...]) -> SymbolRules:
    """Read the filters of a symbol."""
    filters = {f.filter_type: f for f in info.filters}

    def spread(kind: str, low: str, high: str, step: str) -> Range:
        item = filters.get(kind)
        values = (Decimal(getattr(item, name, None) or 0) for name in (low, high, step))
        return Range(*values)

    notional, percent, count = (filters.get(k) for k in ("MIN_NOTIONAL", "PERCENT_PRICE", "MAX_NUM_ORDERS"))
    return SymbolRules(
        symbol=info.symbol,
        info=info,
        price=spread("PRICE_FILTER", "min_price", "max_price", "tick_size"),
        lot=spread("LOT_SIZE", "min_qty", "max_qty", "step_size"),
        market_lot=spread("MARKET_LOT_SIZE", "min_qty", "max_qty", "step_size"),
        min_notional=Decimal((notional and notional.notional) or 0),
        multiplier_up=Decimal((percent and percent.multiplier_up) or 0),
        multiplier_down=Decimal((percent and percent.multiplier_down) or 0),
        open_orders_max=(count and count.limit) or 200,
        take_bound=Decimal(info.market_take_bound or "0.05"),
        brackets=brackets,
    )


@dataclass(frozen=True, slots=True)
class NewOrder:
    """A placement whose parameters passed every check that needs no account."""

    symbol: str
    side: str
    type: str
    time_in_force: str
    quantity: Decimal
    price: Decimal
    reduce_only: bool
    client_order_id: str
    response: str
    stp_mode: str


def number(raw: str | None) -> Decimal | None:
    """Return a plain decimal, or None for anything else (exponents, NaN, infinities, blanks)."""
    if raw is None or not NUMBER.match(raw):
        return None
    try:
        return Decimal(raw)
    except InvalidOperation:
        return None


def parse_order(params: Mapping[str, str], symbols: Mapping[str, SymbolRules]) -> NewOrder | Reject:
    """Check mandatory parameters, symbol, enums and client id, in the exchange's order."""
    for name in ("symbol", "side", "type"):
        if not params.get(name):
            return mandatory(name)
    kind, side = params["type"], params["side"]
    wanted = ["quantity", "timeInForce", "price"] if kind == "LIMIT" else ["quantity"]
    for name in [] if kind in CONDITIONAL else wanted:
        if not params.get(name):
            return mandatory(name)
    if params["symbol"] not in symbols:
        return errors.INVALID_SYMBOL
    if kind in CONDITIONAL:
        return errors.ALGO_ENDPOINT
    refused = _check_enums(params, kind, side)
    if refused:
        return refused
    client_id = params.get("newClientOrderId", "")
    if len(client_id) > 36:
        return Reject(-4015, "Client order id length should be less than 36 chars")
    if client_id and not CLIENT_ID.match(client_id):
        return Reject(-4015, "Client order id is not valid.")
    quantity, price = number(params["quantity"]), ZERO
    if quantity is None:
        return mandatory("quantity")
    if kind == "LIMIT":
        parsed = number(params["price"])
        if parsed is None:
            return mandatory("price")
        price = parsed
    return NewOrder(
        symbol=params["symbol"],
        side=side,
        type=kind,
        time_in_force=params.get("timeInForce", "GTC") if kind == "LIMIT" else "GTC",
        quantity=quantity,
        price=price,
        reduce_only=params.get("reduceOnly", "false").lower() == "true",
        client_order_id=client_id,
        response=params.get("newOrderRespType", "ACK"),
        stp_mode=params.get("selfTradePreventionMode", "EXPIRE_MAKER"),
    )


def _check_enums(params: Mapping[str, str], kind: str, side: str) -> Reject | None:
    if kind == "LIMIT" and params["timeInForce"] not in TIME_IN_FORCE:
        return Reject(-1115, "Invalid timeInForce.")
    if kind not in ("LIMIT", "MARKET"):
        return Reject(-1116, "Invalid orderType.")
    if side not in ("BUY", "SELL"):
        return Reject(-1117, "Invalid side.")
    if params.get("newOrderRespType", "ACK") not in ("ACK", "RESULT"):
        return Reject(-1136, "Invalid newOrderRespType.")
    if params.get("selfTradePreventionMode", "NONE") not in STP_MODES:
        return Reject(-5039, "Invalid selfTradePreventionMode.")
    if params.get("positionSide", "BOTH") not in ("BOTH", "LONG", "SHORT"):
        return mandatory("positionSide")
    if params.get("reduceOnly", "false").lower() not in ("true", "false"):
        return mandatory("reduceOnly")
    return None


def decimals(value: Decimal) -> int:
    """Return the number of decimals that matter (trailing zeros do not)."""
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def check_filters(order: NewOrder, rules: SymbolRules, market: Market) -> Reject | None:
    """Check precision and every filter of the symbol; None when the order passes."""
    if rules.info.status != "TRADING":
        return Reject(-4108, "Symbol is on delivering or delivered or settling or closed or pre-trading.")
    if decimals(order.quantity) > rules.info.quantity_precision:
        return errors.PRECISION
    if order.type == "LIMIT":
        if decimals(order.price) > rules.info.price_precision:
            return errors.PRECISION
        refused = _check_price(order, rules, market)
        if refused:
            return refused
    refused = _check_lot(order.quantity, rules.lot if order.type == "LIMIT" else rules.market_lot)
    if refused:
        return refused
    reference = order.price if order.type == "LIMIT" else market.mark
    if reference and not order.reduce_only and reference * order.quantity < rules.min_notional:
        least = text(rules.min_notional)
        advice = "(unless you choose reduce only)."
        return Reject(-4164, f"Order's notional must be no smaller than {least} {advice}")
    if order.type == "MARKET" and not market.live:
        return errors.NO_COUNTERPARTY
    return None


def _check_price(order: NewOrder, rules: SymbolRules, market: Market) -> Reject | None:
    price, limits = order.price, rules.price
    if price <= 0:
        return Reject(-4001, "Price less than 0.")
    if limits.low and price < limits.low:
        return Reject(-4013, "Price less than min price.")
    if limits.high and price > limits.high:
        return Reject(-4002, "Price greater than max price.")
    if limits.step and (price - limits.low) % limits.step:
        return Reject(-4014, "Price not increased by tick size.")
    if market.mark and rules.multiplier_up:
        highest, lowest = market.mark * rules.multiplier_up, market.mark * rules.multiplier_down
        if order.side == "BUY" and price > highest:
            return Reject(-4016, f"Limit price can't be higher than {_shown(highest, rules)}.")
        if order.side == "SELL" and price < lowest:
            return Reject(-4024, f"Limit price can't be lower than {_shown(lowest, rules)}.")
    return None


def _shown(value: Decimal, rules: SymbolRules) -> str:
    return text(value.quantize(Decimal(1).scaleb(-rules.info.price_precision)))


def _check_lot(quantity: Decimal, lot: Range) -> Reject | None:
    if quantity <= 0:
        return Reject(-4003, "Quantity less than zero.")
    if lot.low and quantity < lot.low:
        return Reject(-4004, "Quantity less than min quantity.")
    if lot.high and quantity > lot.high:
        return Reject(-4005, "Quantity greater than max quantity.")
    if lot.step and (quantity - lot.low) % lot.step:
        return Reject(-4023, "Qty not increased by step size.")
    return None
