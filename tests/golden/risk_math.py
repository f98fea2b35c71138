"""Adapters from the vectors of `risk_math.jsonl` to the product's formulas, gate, decisions and views."""

import math
from collections.abc import Callable
from typing import Any

from pms.model.account import LiquidationMode
from pms.model.ids import PositionId, SubAccountId
from pms.model.refusal import Refusal, RefusalCode
from pms.model.signature import close_signature, number_text, open_signature
from pms.risk import formulas, messages
from pms.risk.admission import (
    IncumbentAccount,
    IncumbentTrade,
    Limits,
    PricedLeg,
    validate_incumbent,
)
from pms.risk.formulas import Leg
from tests.golden.compare import differences
from tests.golden.evaluate_account import evaluate_account
from tests.incumbent.containers import PositionBook, bounded_map
from tests.incumbent.prices import exchange_error, fresh_price, other_price, validation_price

Answer = Callable[[Any], Any]


def leg_of(position: Any) -> Leg[float]:
    """Return the figures of a position of a vector; a missing or null number is 0."""
    numbers = {
        name: float(position.get(name) or 0.0) for name in ("entryPrice", "quantity", "notional", "margin")
    }
    return Leg(
        position["id"],
        position.get("symbol", ""),
        position.get("side") == "LONG",
        numbers["entryPrice"],
        numbers["quantity"],
        numbers["notional"],
        numbers["margin"],
    )


def mode_of(text: str | None) -> LiquidationMode:
    """Return the mode; unknown text behaves as ADL_30 (spec 1.2)."""
    known = {mode.value: mode for mode in LiquidationMode}
    return known.get(text or "", LiquidationMode.ADL_30)


def _number(value: Any, default: float) -> float:
    return default if value is None else float(value)


def compute_pnl(given: Any) -> Any:
    return formulas.pnl(
        given["side"] == "LONG",
        float(given["entryPrice"]),
        float(given["closePrice"]),
        float(given["quantity"]),
    )


def compute_available_margin(given: Any) -> Any:
    view = formulas.validator_view(
        float(given["balance"]),
        float(given["maintenanceRate"]),
        float(given["totalUpnl"]),
        float(given["totalNotional"]),
        float(given.get("oppositeNotional", 0.0)),
        float(given.get("oppositePnl", 0.0)),
    )
    return {
        "equity": view.equity,
        "maintenanceMargin": view.maintenance_margin,
        "availableMargin": view.available_margin,
    }


def compute_margin_usage_ratio(given: Any) -> Any:
    return formulas.margin_usage_ratio(
        float(given["equity"]), float(given["currentMarginUsed"]), float(given["newMargin"])
    )


def create_trade_signature(given: Any) -> Any:
    return close_signature(
        SubAccountId(given["subAccountId"]),
        given["action"],
        PositionId(given["positionId"]),
        given["nowMs"],
        given["uuid"],
    )


def create_open_trade_signature(given: Any) -> Any:
    quantity = number_text(float(given["quantity"]))
    account = SubAccountId(given["subAccountId"])
    return open_signature(account, given["symbol"], given["side"], quantity, given["nowMs"], given["uuid"])


def calculate_liquidation_price(given: Any) -> Any:
    return formulas.static_liquidation_price(
        given["side"] == "LONG",
        float(given["entryPrice"]),
        float(given["balance"]),
        float(given["notional"]),
        _number(given.get("maintenanceRate"), 0.005),
        _number(given.get("liquidationThreshold"), 0.9),
    )


def _dynamic_arguments(given: Any) -> tuple[float, float, list[Leg[float]], dict[str, float], float]:
    account = given["account"]
    marks = {
        symbol: float(price) for symbol, price in (given.get("markPrices") or {}).items() if price is not None
    }
    return (
        float(account["currentBalance"]),
        formulas.maintenance_rate_or_default(float(account.get("maintenanceRate") or 0.0)),
        [leg_of(position) for position in given["positions"]],
        marks,
        _number(given.get("liquidationThreshold"), 0.9),
    )


def calculate_dynamic_liquidation_prices(given: Any) -> Any:
    return formulas.dynamic_liquidation_prices(*_dynamic_arguments(given))


def calculate_account_liq_price(given: Any) -> Any:
    balance, rate, legs, marks, threshold = _dynamic_arguments(given)
    connector = given.get("exchangePrices")
    if connector is not None:
        for leg in legs:
            marks.setdefault(leg.symbol, float(connector.get(leg.symbol) or leg.entry))
    return formulas.account_liquidation_price(balance, rate, legs, marks, threshold)


def safe_threshold(given: Any) -> Any:
    value = given["threshold"]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return formulas.safe_threshold(float(value) if is_number else math.nan)


def effective_full_liquidation_threshold(given: Any) -> Any:
    return formulas.full_liquidation_threshold(float(given["T"]), mode_of(given.get("liquidationMode")))


def max_notional_position(given: Any) -> Any:
    largest = formulas.largest_leg([leg_of(position) for position in given["positions"]])
    return None if largest is None else largest.id


def calc_positions_upnl(given: Any) -> Any:
    prices = {symbol: float(price) for symbol, price in given["prices"].items() if price is not None}
    return formulas.unrealized_pnl([leg_of(position) for position in given["positions"]], prices, 0.0)


def validate_trade(given: Any) -> Any:
    account, rules = given["account"], given["rules"]
    positions = [
        PricedLeg(
            leg_of(position),
            (validation_price(given) or position["entryPrice"])
            if position["symbol"] == given["symbol"]
            else other_price(given, position),
            float(position["leverage"]),
        )
        for position in given.get("positions") or ()
    ]
    verdict = validate_incumbent(
        None
        if account is None
        else IncumbentAccount(
            account["status"], float(account["currentBalance"]), float(account.get("maintenanceRate") or 0.0)
        ),
        Limits(
            float(rules["maxLeverage"]), float(rules["maxNotionalPerTrade"]), float(rules["maxTotalExposure"])
        ),
        positions,
        IncumbentTrade(
            given["symbol"], given["side"] != "LONG", float(given["quantity"]), float(given["leverage"])
        ),
        validation_price(given),
    )
    answer: dict[str, Any] = {
        "valid": not verdict.refusals,
        "errors": [_error(refusal) for refusal in verdict.refusals],
    }
    if verdict.computed is not None:
        answer["computedValues"] = verdict.computed
    return answer


def _error(refusal: Refusal) -> dict[str, str]:
    return {"code": refusal.code.name, "message": refusal.message}


_ERRORS: dict[str, Callable[..., Refusal]] = {
    "ACCOUNT_FROZEN": messages.account_frozen,
    "MAX_LEVERAGE": messages.leverage_exceeded,
    "MAX_NOTIONAL": messages.notional_exceeded,
    "MAX_EXPOSURE": messages.exposure_exceeded,
    "INSUFFICIENT_MARGIN": messages.margin_insufficient,
    "MARGIN_RATIO_EXCEEDED": messages.usage_exceeded,
    "SCALE_INVALID_ORDER": messages.scale_order_invalid,
}


def err(given: Any) -> Any:
    name, arguments = given["name"], given["args"]
    if name in _ERRORS:
        return _error(_ERRORS[name](*arguments))
    return _error(messages.refusal(RefusalCode[name], *arguments))


def parse_exchange_error(given: Any) -> Any:
    return _error(messages.exchange_refused(*exchange_error(given["message"])))


def position_book(given: Any) -> Any:
    book, observations = PositionBook(), []
    changes: dict[str, Callable[..., None]] = {
        "load": book.load,
        "add": book.add,
        "remove": book.remove,
        "delete": book.delete,
        "updatePosition": book.update_position,
        "updateBalance": book.update_balance,
        "updateAccountStatus": book.update_status,
    }
    questions: dict[str, Callable[..., Any]] = {
        "accountsFor": book.accounts_for,
        "size": lambda: len(book.entries),
        "has": lambda key: key in book.entries,
    }
    for method, *arguments in given["ops"]:
        if method in questions:
            observations.append(questions[method](*arguments))
        else:
            changes[method](*arguments)
    return {"observations": observations, "entries": book.dump()}


def _check_evaluation(given: Any, expected: Any) -> list[str]:
    """Snapshots are compared as supersets: the product writes the union of both shapes (spec 11.1)."""
    actual = evaluate_account(given)
    found = differences(expected["snapshots"], actual.pop("snapshots"), "snapshots", superset=True)
    return found + differences({key: item for key, item in expected.items() if key != "snapshots"}, actual)


def _exactly(answer: Answer) -> Callable[[Any, Any], list[str]]:
    return lambda given, expected: differences(expected, answer(given))


ANSWERS: dict[str, Answer] = {
    "computePnl": compute_pnl,
    "computeAvailableMargin": compute_available_margin,
    "computeMarginUsageRatio": compute_margin_usage_ratio,
    "createTradeSignature": create_trade_signature,
    "createOpenTradeSignature": create_open_trade_signature,
    "calculateLiquidationPrice": calculate_liquidation_price,
    "calculateDynamicLiquidationPrices": calculate_dynamic_liquidation_prices,
    "calculateAccountLiqPrice": calculate_account_liq_price,
    "safeThreshold": safe_threshold,
    "effectiveFullLiqThreshold": effective_full_liquidation_threshold,
    "maxNotionalPosition": max_notional_position,
    "validateTrade": validate_trade,
    "ERR": err,
    "parseExchangeError": parse_exchange_error,
    "PositionBook": position_book,
    "getFreshPrice": fresh_price,
    "calcPositionsUpnl": calc_positions_upnl,
    "BoundedMap": lambda given: bounded_map(given["maxSize"], given["setKeys"]),
}

CHECKS: dict[str, Callable[[Any, Any], list[str]]] = {
    **{fn: _exactly(answer) for fn, answer in ANSWERS.items()},
    "evaluateAccount": _check_evaluation,
}
