"""The refusals of trading with the incumbent's exact texts (ledger spec 4.2 to 4.4)."""

from decimal import Decimal

from pms.model.refusal import Refusal, RefusalCode
from pms.model.restriction import Restriction
from pms.model.signature import fixed_text, number_text

Figure = float | Decimal

_PLAIN_TEXTS = {
    RefusalCode.ACCOUNT_NOT_FOUND: "Sub-account not found",
    RefusalCode.NO_PRICE: "Cannot fetch current price",
    RefusalCode.POSITION_NOT_FOUND: "Position not found",
    RefusalCode.POSITION_CLOSED: "Position already closed",
    RefusalCode.NO_FILL_PRICE: "Exchange did not return fill price",
    RefusalCode.SCALE_INVALID_RANGE: "Invalid scale order price range",
}

_EXCHANGE_CODES = {
    -4164: (RefusalCode.EXCHANGE_MIN_NOTIONAL, "Binance: min notional not met. Notional = minQty * price."),
    -2019: (RefusalCode.EXCHANGE_MARGIN_INSUFFICIENT, "Binance: margin insufficient."),
    -1111: (RefusalCode.EXCHANGE_PRECISION, "Binance: quantity precision error."),
    -1116: (RefusalCode.EXCHANGE_INVALID_ORDER, "Binance: invalid order type."),
    -4003: (RefusalCode.EXCHANGE_QTY_TOO_SMALL, "Binance: quantity too small."),
}


def refusal(code: RefusalCode, message: str | None = None, **figures: Figure | str) -> Refusal:
    """Build a refusal; the text defaults to the incumbent's, else to the code's meaning."""
    fields = {key: value if isinstance(value, str) else number_text(value) for key, value in figures.items()}
    return Refusal(code, message or _PLAIN_TEXTS.get(code, code.meaning), fields)


def account_frozen(status: str) -> Refusal:
    """The account's status is not ACTIVE (also for LIQUIDATED)."""
    return refusal(RefusalCode.ACCOUNT_FROZEN, f"Sub-account is {status}", status=status)


def restricted(level: Restriction, source: str) -> Refusal:
    """A restriction of that source forbids the order; `level` and `source` are fields for programs."""
    text = f"Trading is restricted to {level.name} by {source or 'the engine'}"
    return refusal(RefusalCode.TRADING_RESTRICTED, text, level=level.name, source=source)


def leverage_exceeded(leverage: Figure, leverage_max: Figure) -> Refusal:
    return refusal(
        RefusalCode.MAX_LEVERAGE_EXCEEDED,
        f"Leverage {number_text(leverage)}x exceeds max {number_text(leverage_max)}x",
        leverage=leverage,
        max=leverage_max,
    )


def notional_exceeded(notional: Figure, notional_max: Figure) -> Refusal:
    return refusal(
        RefusalCode.MAX_NOTIONAL_EXCEEDED,
        f"Notional ${fixed_text(notional, 2)} exceeds max ${fixed_text(notional_max, 2)}",
        notional=notional,
        max=notional_max,
    )


def exposure_exceeded(exposure: Figure, exposure_max: Figure) -> Refusal:
    return refusal(
        RefusalCode.MAX_EXPOSURE_EXCEEDED,
        f"Total exposure ${fixed_text(exposure, 2)} would exceed max ${fixed_text(exposure_max, 2)}",
        exposure=exposure,
        max=exposure_max,
    )


def margin_insufficient(required: Figure, available: Figure) -> Refusal:
    return refusal(
        RefusalCode.INSUFFICIENT_MARGIN,
        f"Insufficient margin: need ${fixed_text(required, 2)}, available ${fixed_text(available, 2)}",
        required=required,
        available=available,
    )


def usage_exceeded(ratio: Figure, ratio_max: Figure) -> Refusal:
    """Margin usage after the trade reaches its bound; both are fractions."""
    percent = fixed_text(ratio * 100, 1)
    return refusal(
        RefusalCode.MARGIN_RATIO_EXCEEDED,
        f"Post-trade margin ratio {percent}% would breach liquidation threshold "
        f"{fixed_text(float(ratio_max) * 100, 0)}%. Reduce size or leverage.",
        ratio=ratio,
        max=ratio_max,
    )


def scale_order_invalid(index: int, message: str) -> Refusal:
    """Order `index` (from 0) of a scale order is invalid; the text counts from 1."""
    return refusal(RefusalCode.SCALE_INVALID_ORDER, f"Order #{index + 1}: {message}", index=str(index))


def exchange_refused(code: int | None, message: str) -> Refusal:
    """Say in the incumbent's words what the exchange refused; `code` is the venue's number (spec 4.4)."""
    known = _EXCHANGE_CODES.get(code) if code is not None else None
    fields = {} if code is None else {"code": str(code)}
    if known is None:
        return Refusal(RefusalCode.EXCHANGE_REJECTED, f"Exchange error: {message}", fields)
    return Refusal(known[0], f"{known[1]} {message}", fields)
