"""Reads placements and amendments: mandatory parameters, enums and client ids (Binance spec 2.2 and 3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from pms.simulator import errors
from pms.simulator.errors import Reject, mandatory, unwanted
from pms.simulator.rules import SymbolRules, number
from pms.simulator.state import BOTH, ZERO

CLIENT_ID = re.compile(r"^[\.A-Z\:/a-z0-9_-]{1,36}$")
CONDITIONAL = frozenset({"STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"})
TIME_IN_FORCE = frozenset({"GTC", "IOC", "FOK", "GTX", "GTD", "RPI"})
STP_MODES = frozenset({"NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"})
PRICE_MATCHES = frozenset({"OPPONENT", "OPPONENT_5", "QUEUE", "QUEUE_5", "QUEUE_10", "QUEUE_20"})
"""OPPONENT_10 and OPPONENT_20 were withdrawn on 2025-10-23 (spec section 0)."""
BOOLEANS = frozenset({"true", "false"})
NOT_FOR_MARKET = ("price", "timeInForce")
NOT_FOR_ORDINARY = ("stopPrice", "activationPrice", "activatePrice", "callbackRate", "triggerPrice")


@dataclass(frozen=True, slots=True)
class NewOrder:
    """A placement whose parameters passed every check that needs no account.

    `price` is zero for MARKET and with a price match. `reduce_only_sent` tells that the parameter was there,
    whatever its value. `good_till_ms` is cut to whole seconds. `forced` orders are the exchange's own
    (liquidation, settlement): no filter, margin or limit holds for them.
    """

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
    position_side: str = BOTH
    reduce_only_sent: bool = False
    price_match: str = "NONE"
    good_till_ms: int = 0
    close_position: bool = False
    algo_id: int = 0
    original_type: str = ""
    forced: bool = False


@dataclass(frozen=True, slots=True)
class OrderChange:
    """What PUT order asks for. `price` is zero with a price match; `modify_id` None when not sent."""

    side: str
    quantity: Decimal
    price: Decimal
    price_match: str = "NONE"
    modify_id: int | None = None
    reduce_only: bool = False


def is_true(params: Mapping[str, str], name: str) -> bool:
    """Return a boolean parameter, false when absent."""
    return params.get(name, "false").lower() == "true"


def price_matched(params: Mapping[str, str]) -> bool:
    """Tell whether the price comes from the book; "NONE" is the same as absent."""
    return params.get("priceMatch", "NONE") != "NONE"


def parse_order(params: Mapping[str, str], symbols: Mapping[str, SymbolRules]) -> NewOrder | Reject:
    """Check mandatory parameters, symbol, enums and client id, in the exchange's order."""
    refused = _check_presence(params, symbols)
    if refused:
        return refused
    kind, side = params["type"], params["side"]
    refused = check_enums(params) or _check_price_match(params, kind)
    if refused:
        return refused
    refused = check_client_id(params.get("newClientOrderId", ""))
    if refused:
        return refused
    quantity, price, good_till = number(params["quantity"]), ZERO, ZERO
    if quantity is None:
        return mandatory("quantity")
    if kind == "LIMIT" and not price_matched(params):
        parsed = number(params["price"])
        if parsed is None:
            return mandatory("price")
        price = parsed
    if params.get("timeInForce") == "GTD":
        date = number(params.get("goodTillDate"))
        if date is None:
            return mandatory("goodtilldate")
        good_till = date
    return NewOrder(
        symbol=params["symbol"],
        side=side,
        type=kind,
        time_in_force=params.get("timeInForce", "GTC"),
        quantity=quantity,
        price=price,
        reduce_only=is_true(params, "reduceOnly"),
        client_order_id=params.get("newClientOrderId", ""),
        response=params.get("newOrderRespType", "ACK"),
        stp_mode=params.get("selfTradePreventionMode", "EXPIRE_MAKER"),
        position_side=params.get("positionSide", BOTH),
        reduce_only_sent="reduceOnly" in params,
        price_match=params.get("priceMatch", "NONE"),
        good_till_ms=int(good_till) // 1000 * 1000,
    )


def _check_presence(params: Mapping[str, str], symbols: Mapping[str, SymbolRules]) -> Reject | None:
    """Mandatory parameters, then the symbol, then parameters that do not belong to the type."""
    for name in ("symbol", "side", "type"):
        if not params.get(name):
            return mandatory(name)
    kind = params["type"]
    wanted = ["quantity"]
    if kind == "LIMIT":
        wanted += ["timeInForce"] if price_matched(params) else ["timeInForce", "price"]
    for name in [] if kind in CONDITIONAL else wanted:
        if not params.get(name):
            return mandatory(name)
    if params["symbol"] not in symbols:
        return errors.INVALID_SYMBOL
    if kind in CONDITIONAL:
        return errors.ALGO_ENDPOINT
    if is_true(params, "closePosition"):
        return errors.close_position(kind)
    for name in NOT_FOR_ORDINARY + (NOT_FOR_MARKET if kind == "MARKET" else ()):
        if params.get(name):
            return unwanted(name)
    if price_matched(params) and params.get("price"):
        return unwanted("price")
    return None


def check_enums(params: Mapping[str, str]) -> Reject | None:
    """Check the values of enumerated parameters that ordinary and conditional orders share."""
    if params.get("timeInForce", "GTC") not in TIME_IN_FORCE:
        return Reject(-1115, "Invalid timeInForce.")
    if params["type"] not in CONDITIONAL | {"LIMIT", "MARKET"}:
        return Reject(-1116, "Invalid orderType.")
    if params["side"] not in ("BUY", "SELL"):
        return errors.INVALID_SIDE
    if params.get("newOrderRespType", "ACK") not in ("ACK", "RESULT"):
        return Reject(-1136, "Invalid newOrderRespType.")
    if params.get("selfTradePreventionMode", "NONE") not in STP_MODES:
        return Reject(-5039, "Invalid self trade prevention mode")
    if params.get("positionSide", BOTH) not in (BOTH, "LONG", "SHORT"):
        return mandatory("positionSide")
    if params.get("reduceOnly", "false").lower() not in BOOLEANS:
        return mandatory("reduceOnly")
    return None


def _check_price_match(params: Mapping[str, str], kind: str) -> Reject | None:
    if not price_matched(params):
        return None
    if params["priceMatch"] not in PRICE_MATCHES:
        return errors.INVALID_PRICE_MATCH
    return None if kind == "LIMIT" else errors.PRICE_MATCH_TYPE


def check_client_id(client_id: str) -> Reject | None:
    """-4015: at most 36 characters of the allowed set."""
    if len(client_id) > 36:
        return Reject(-4015, "Client order id length should be less than 36 chars")
    if client_id and not CLIENT_ID.match(client_id):
        return Reject(-4015, "Client order id is not valid.")
    return None


def parse_change(params: Mapping[str, str]) -> OrderChange | Reject:
    """Read what PUT order asks for; symbol and order are found by the caller."""
    wanted = ("side", "quantity") if price_matched(params) else ("side", "quantity", "price")
    for name in wanted:
        if not params.get(name):
            return mandatory(name)
    if params["side"] not in ("BUY", "SELL"):
        return errors.INVALID_SIDE
    if price_matched(params):
        if params.get("price"):
            return unwanted("price")
        if params["priceMatch"] not in PRICE_MATCHES:
            return errors.INVALID_PRICE_MATCH
    if params.get("reduceOnly", "false").lower() not in BOOLEANS:
        return mandatory("reduceOnly")
    quantity, price = number(params["quantity"]), number(params.get("price", "0"))
    if quantity is None:
        return mandatory("quantity")
    if price is None:
        return mandatory("price")
    raw = params.get("modifyId")
    if raw is not None and not (raw.lstrip("-").isdigit() and len(raw) < 20):
        return mandatory("modifyId")
    return OrderChange(
        side=params["side"],
        quantity=quantity,
        price=price,
        price_match=params.get("priceMatch", "NONE"),
        modify_id=int(raw) if raw is not None else None,
        reduce_only=is_true(params, "reduceOnly"),
    )
