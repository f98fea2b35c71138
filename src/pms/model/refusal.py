"""Refusals: one enum of codes, which feeds the API, the log and the documentation (habit 10)."""

from dataclasses import dataclass, field
from enum import Enum


class RefusalCode(Enum):
    """Why a request was not carried out. Value: (HTTP status, meaning). Names are the wire codes."""

    # Codes of the incumbent (gateway spec 6.6), kept.
    ACCOUNT_NOT_FOUND = (404, "No sub-account has that id.")
    ACCOUNT_FROZEN = (400, "The sub-account is not ACTIVE; only reducing is allowed.")
    NO_PRICE = (400, "No price of the symbol is known.")
    MAX_LEVERAGE_EXCEEDED = (400, "The leverage exceeds the account's rule.")
    MAX_NOTIONAL_EXCEEDED = (400, "The order's notional exceeds the rule per trade.")
    MAX_EXPOSURE_EXCEEDED = (400, "The account's total exposure would exceed its rule.")
    INSUFFICIENT_MARGIN = (400, "The margin required exceeds the margin available.")
    MARGIN_RATIO_EXCEEDED = (400, "Margin usage after the trade would reach 98 %.")
    POSITION_NOT_FOUND = (404, "No position has that id.")
    POSITION_CLOSED = (400, "The position is not open any more.")
    NO_FILL_PRICE = (400, "The exchange returned no fill price.")
    DESYNC_CLOSE_FAILED = (400, "A virtual-only close after a desync failed.")
    SCALE_INVALID_RANGE = (400, "The price range of a scale order is invalid.")
    SCALE_INVALID_ORDER = (400, "One order of a scale order is invalid.")
    EXECUTION_ERROR = (400, "A leg could not be executed.")
    EXCHANGE_MIN_NOTIONAL = (400, "The exchange's minimum notional is not met (-4164).")
    EXCHANGE_MARGIN_INSUFFICIENT = (400, "The real account's margin is insufficient (-2019).")
    EXCHANGE_PRECISION = (400, "The exchange refused the precision (-1111).")
    EXCHANGE_INVALID_ORDER = (400, "The exchange refused the order type (-1116).")
    EXCHANGE_QTY_TOO_SMALL = (400, "The exchange refused the quantity as too small (-4003).")
    EXCHANGE_REDUCES_ONLY = (400, "The exchange takes only reducing orders of the real account now.")
    EXCHANGE_REJECTED = (400, "The exchange refused the order.")
    # Codes of this system.
    UNKNOWN_SYMBOL = (400, "The exchange does not list the symbol.")
    SYMBOL_NOT_TRADING = (400, "The symbol has left trading on the exchange; only reducing is allowed.")
    INVALID_QUANTITY = (400, "The quantity is not a finite positive number on the lot step.")
    INVALID_PRICE = (400, "The price is not a finite positive number within the symbol's bounds.")
    INVALID_LEVERAGE = (400, "The leverage is not a finite number between 1 and 125.")
    STALE_PRICE = (400, "The price of the symbol is older than 10 s; new exposure waits for a fresh one.")
    REDUCE_ONLY_REJECTED = (400, "Nothing is left to reduce: no position, or other closing orders cover it.")
    POST_ONLY_REJECTED = (400, "A post-only order would have taken liquidity (-5022).")
    AMENDMENT_REFUSED = (400, "The exchange does not amend this order (any more); cancel and replace it.")
    SELF_MATCH = (400, "The order met another order of the same exchange account and was expired.")
    ORDER_NOT_FOUND = (404, "No order has that id.")
    ORDER_NOT_PENDING = (400, "The order is not open any more.")
    CANCEL_PENDING = (409, "The cancel was sent, but the exchange has not confirmed it yet.")
    LIQUIDATION_IN_PROGRESS = (409, "The account is being liquidated; new exposure is refused.")
    EXPIRED_BY_EXCHANGE = (
        400,
        "The exchange ended the order for good (account liquidated, symbol delisted); do not place it again.",
    )
    REAL_MARGIN_INSUFFICIENT = (400, "The real account lacks the margin for the order; smaller ones may fit.")
    REAL_NOTIONAL_CAP = (400, "The real account's leverage bracket does not allow a position that large.")
    REAL_ENTRIES_BLOCKED = (
        503,
        "The real account's maintenance is too large a share of its margin; only reducing is allowed.",
    )
    OPEN_ORDERS_LIMIT = (429, "Too many open orders on the symbol; cancel some first.")
    BOUND_REACHED = (429, "A bound of the system is reached; nothing was sent.")
    EXCHANGE_STATE_UNKNOWN = (503, "The exchange's state cannot be determined now; retry.")
    EXECUTION_UNKNOWN = (
        504,
        "The order was sent; its outcome is not known yet and will be settled by proof.",
    )
    TRADING_HALTED = (503, "Trading is halted; only closing is allowed.")
    TRADING_RESTRICTED = (
        409,
        "A restriction (kill switch, rule or real account) forbids it; closing at market stays possible.",
    )
    SYMBOL_NOT_ALLOWED = (400, "A rule of the account does not allow entries on the symbol.")
    POSITION_COUNT_EXCEEDED = (400, "A rule of the account allows no further position.")
    ORDER_RATE_EXCEEDED = (429, "A rule of the account allows no more orders within this minute.")
    NOT_READY = (503, "Start-up reconciliation has not finished; retry.")
    INSUFFICIENT_BALANCE = (400, "The withdrawal exceeds what is available.")
    HOUSE_CAPITAL_INSUFFICIENT = (400, "The house does not hold enough free capital for the deposit.")
    EXPOSURE_OPEN = (409, "The account still has open positions or orders.")
    IDEMPOTENCY_CONFLICT = (409, "The idempotency key was used with another request.")

    @property
    def http_status(self) -> int:
        return self.value[0]

    @property
    def meaning(self) -> str:
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal. `message` is for people, `fields` carries the figures as text for log and API."""

    code: RefusalCode
    message: str
    fields: dict[str, str] = field(default_factory=dict)

    def log_line(self) -> str:
        """Return `CODE: key=value ...`."""
        return f"{self.code.name}: " + " ".join(f"{key}={value}" for key, value in self.fields.items())


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that was refused, with every reason found, in the order of the checks."""

    refusals: tuple[Refusal, ...]

    @property
    def http_status(self) -> int:
        return self.refusals[0].code.http_status

    @staticmethod
    def because(code: RefusalCode, message: str | None = None, **fields: object) -> "Refused":
        """Build a single refusal; the message defaults to the code's meaning."""
        text = {key: str(value) for key, value in fields.items()}
        return Refused((Refusal(code, message or code.meaning, text),))
