"""What can go wrong inside the simulator, and how the exchange words its refusals."""

from dataclasses import dataclass

from pms.model.errors import PmsError


class SimulatorError(PmsError):
    """The simulator cannot start or go on: corrupt recording, unusable file, busy port. One clear line."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A refusal with the exchange's own code and text (Binance spec section 3); `http` is the status."""

    code: int
    msg: str
    http: int = 400


def mandatory(name: str) -> Reject:
    """Return -1102 for a parameter that is missing, empty or malformed."""
    return Reject(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def unwanted(name: str) -> Reject:
    """Return -1106; the exchange writes the name in lower case."""
    return Reject(-1106, f"Parameter '{name.lower()}' sent when not required.")


def invalid(name: str) -> Reject:
    """Return -1130 for a value that a parameter cannot have."""
    return Reject(-1130, f"Data sent for parameter '{name}' is not valid.")


def close_position(kind: str) -> Reject:
    """Return -4136 for a type that cannot close a whole position."""
    return Reject(-4136, f"Target strategy invalid for orderType {kind},closePosition true")


INVALID_SIDE = Reject(-1117, "Invalid side.")
INVALID_SYMBOL = Reject(-1121, "Invalid symbol.")
UNKNOWN_ORDER = Reject(-2011, "Unknown order sent.")
NO_SUCH_ORDER = Reject(-2013, "Order does not exist.")
KEY_FORMAT = Reject(-2014, "API-key format invalid.", 401)
KEY_INVALID = Reject(-2015, "Invalid API-key, IP, or permissions for action.", 401)
SIGNATURE_INVALID = Reject(-1022, "Signature for this request is not valid.")
OUTSIDE_WINDOW = Reject(-1021, "Timestamp for this request is outside of the recvWindow.")
OUTSIDE_ENGINE_WINDOW = Reject(-5028, "Timestamp for this request is outside of the ME recvWindow.")
AHEAD_OF_SERVER = Reject(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
PRECISION = Reject(-1111, "Precision is over the maximum defined for this asset.")
REDUCE_ONLY = Reject(-2022, "ReduceOnly Order is rejected.")
DUPLICATE_ID = Reject(-4116, "ClientOrderId is duplicated.")
MARGIN = Reject(-2019, "Margin is insufficient.")
REDUCE_ONLY_MARGIN = Reject(
    -4118, "ReduceOnly Order Failed. Please check your existing position and open orders"
)
MAX_POSITION = Reject(-2027, "Exceeded the maximum allowable position at current leverage.")
MAX_ORDERS = Reject(-2025, "Reach max open order limit.")
NO_COUNTERPARTY = Reject(-4131, "The counterparty's best price does not meet the PERCENT_PRICE filter limit.")
ALGO_ENDPOINT = Reject(
    -4120, "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead."
)
FOK_KILLED = Reject(
    -5021,
    "Due to the order could not be filled immediately, the FOK order has been rejected. "
    "The order will not be recorded in the order history",
)
WOULD_TAKE = Reject(
    -5022,
    "Due to the order could not be executed as maker, the Post Only order will be rejected. "
    "The order will not be recorded in the order history",
)
IN_LIQUIDATION = Reject(-2023, "User in liquidation mode now.")
QUANTITATIVE_RULE = Reject(
    -4400,
    "Futures Trading Quantitative Rules violated, only reduceOnly order is allowed, please try again later.",
)
NOT_ALLOWED = Reject(-4084, "Method is not allowed currently. Upcoming soon.")
NOT_ISOLATED = Reject(-4049, "Add margin only support for isolated position.")
CROSS_BALANCE = Reject(-4050, "Cross balance insufficient.")
ISOLATED_BALANCE = Reject(-4051, "Isolated balance insufficient.")
NO_ISOLATED_POSITION = Reject(-4054, "Cannot add position margin: position is 0.")
ISOLATED_LEVERAGE = Reject(
    -4161, "Leverage reduction is not supported in Isolated Margin Mode with open positions"
)
MULTI_ASSETS_ISOLATED = Reject(
    -4167,
    "Unable to adjust to Multi-Assets mode with symbols of USDⓈ-M Futures under isolated-margin mode.",
)
NOT_SUFFICIENT = Reject(-2024, "Position is not sufficient.")
GOOD_TILL = Reject(
    -5040,
    "The goodTillDate timestamp must be greater than the current time plus 600 seconds and smaller than "
    "253402300799000 (UTC 9999-12-31 23:59:59)",
)
INVALID_PRICE_MATCH = Reject(-5037, "Invalid price match")
PRICE_MATCH_TYPE = Reject(-5038, "Price match only supports order type: LIMIT, STOP AND TAKE_PROFIT")
NO_DEPTH = Reject(-5041, "No depth matches this BBO order")
AMEND_STATUS = Reject(-5024, "Symbol is not in trading status. Order amendment is not permitted.")
AMEND_TYPE = Reject(-5025, "Only limit order is supported.")
AMEND_COUNT = Reject(-5026, "Exceed maximum modify order limit.")
AMEND_SAME = Reject(-5027, "No need to modify the order.")
AMEND_REDUCE_ONLY = Reject(-5047, "The original order is not a reduce-only order")
CALLBACK_RATE = Reject(-2007, "Invalid callBack rate.")
WOULD_TRIGGER = Reject(-2021, "Order would immediately trigger.")
MAX_ALGOS = Reject(-4045, "Reach max stop order limit.")
BATCH_SIZE = Reject(-4082, "Invalid number of batch place orders.")
CANCEL_SIZE = Reject(-4032, "Exceed maximum cancel order size.")
POSITION_SIDE = Reject(-4061, "Order's position side does not match user's setting.")
NO_LISTEN_KEY = Reject(
    -1125, "This listenKey does not exist. Please use POST /fapi/v1/listenKey to recreate listenKey"
)
