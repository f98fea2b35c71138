"""Reads conditional orders: parameters, types and client ids (Binance spec 2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from pms.simulator import errors
from pms.simulator.errors import Reject, invalid, mandatory, unwanted
from pms.simulator.order_params import (
    BOOLEANS,
    CONDITIONAL,
    PRICE_MATCHES,
    check_client_id,
    check_enums,
    is_true,
    price_matched,
)
from pms.simulator.rules import SymbolRules, number
from pms.simulator.state import BOTH, ZERO

TRAILING = "TRAILING_STOP_MARKET"
LIMITS = frozenset({"STOP", "TAKE_PROFIT"})
CLOSERS = frozenset({"STOP_MARKET", "TAKE_PROFIT_MARKET"})
WORKING_TYPES = frozenset({"CONTRACT_PRICE", "MARK_PRICE"})
CALLBACK_MIN, CALLBACK_MAX = Decimal("0.1"), Decimal(20)


@dataclass(frozen=True, slots=True)
class NewAlgo:
    """A conditional order whose parameters passed every check that needs no account.

    Prices and quantity are zero where they do not apply; `callback_rate` in percent.
    """

    symbol: str
    side: str
    type: str
    time_in_force: str
    quantity: Decimal
    price: Decimal
    trigger_price: Decimal
    position_side: str
    working_type: str
    price_match: str
    price_protect: bool
    close_position: bool
    reduce_only: bool
    reduce_only_sent: bool
    activate_price: Decimal
    callback_rate: Decimal
    client_algo_id: str
    stp_mode: str
    good_till_ms: int


def parse_algo(params: Mapping[str, str], symbols: Mapping[str, SymbolRules]) -> NewAlgo | Reject:
    """Check mandatory parameters, symbol, enums and client id, in the order of ordinary orders."""
    refused = _check_presence(params)
    if refused:
        return refused
    if params["symbol"] not in symbols:
        return errors.INVALID_SYMBOL
    refused = (
        check_enums(params) or _check_combination(params) or check_client_id(params.get("clientAlgoId", ""))
    )
    if refused:
        return refused
    figures = {}
    names = ("quantity", "price", "triggerPrice", "activatePrice", "callbackRate", "goodTillDate")
    for name in names:
        value = number(params.get(name, "0"))
        if value is None:
            return mandatory(name)
        figures[name] = value
    if params["type"] == TRAILING and not CALLBACK_MIN <= figures["callbackRate"] <= CALLBACK_MAX:
        return errors.CALLBACK_RATE
    return NewAlgo(
        symbol=params["symbol"],
        side=params["side"],
        type=params["type"],
        time_in_force=params.get("timeInForce", "GTC"),
        quantity=figures["quantity"],
        price=figures["price"],
        trigger_price=figures["triggerPrice"],
        position_side=params.get("positionSide", BOTH),
        working_type=params.get("workingType", "CONTRACT_PRICE"),
        price_match=params.get("priceMatch", "NONE"),
        price_protect=is_true(params, "priceProtect"),
        close_position=is_true(params, "closePosition"),
        reduce_only=is_true(params, "reduceOnly"),
        reduce_only_sent="reduceOnly" in params,
        activate_price=figures["activatePrice"] if params["type"] == TRAILING else ZERO,
        callback_rate=figures["callbackRate"] if params["type"] == TRAILING else ZERO,
        client_algo_id=params.get("clientAlgoId", ""),
        stp_mode=params.get("selfTradePreventionMode", "EXPIRE_MAKER"),
        good_till_ms=int(figures["goodTillDate"]) // 1000 * 1000,
    )


def _check_presence(params: Mapping[str, str]) -> Reject | None:
    for name in ("algoType", "symbol", "side", "type"):
        if not params.get(name):
            return mandatory(name)
    if params["algoType"] != "CONDITIONAL":
        return invalid("algoType")
    kind = params["type"]
    if kind not in CONDITIONAL:
        return Reject(-1116, "Invalid orderType.")
    wanted = ["callbackRate"] if kind == TRAILING else ["triggerPrice"]
    if kind in LIMITS and not price_matched(params):
        wanted.append("price")
    if not is_true(params, "closePosition"):
        wanted.append("quantity")
    if params.get("timeInForce") == "GTD":
        wanted.append("goodTillDate")
    return next((mandatory(name) for name in wanted if not params.get(name)), None)


def _check_combination(params: Mapping[str, str]) -> Reject | None:
    kind = params["type"]
    for name in ("closePosition", "priceProtect"):
        if params.get(name, "false").lower() not in BOOLEANS:
            return mandatory(name)
    if params.get("workingType", "CONTRACT_PRICE") not in WORKING_TYPES:
        return Reject(-4031, f"Invalid parameter working type: `{params['workingType']}`")
    if kind not in LIMITS and params.get("price"):
        return unwanted("price")
    if price_matched(params):
        if params["priceMatch"] not in PRICE_MATCHES:
            return errors.INVALID_PRICE_MATCH
        if kind not in LIMITS:
            return errors.PRICE_MATCH_TYPE
        if params.get("price"):
            return unwanted("price")
    if is_true(params, "closePosition"):
        if kind not in CLOSERS:
            return errors.close_position(kind)
        if params.get("quantity"):
            return Reject(-4137, "Quantity must be zero with closePosition equals true")
        if "reduceOnly" in params:
            return unwanted("reduceOnly")
    return None
