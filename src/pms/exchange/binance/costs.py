"""What each request costs in the venue's windows, and in which lane it travels (Binance spec section 2)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum


class Pool(Enum):
    """A window that requests are counted in. The first is shared by everything behind our address."""

    WEIGHT_1M = "request weight, 1 min"
    ORDERS_10S = "orders, 10 s"
    ORDERS_1M = "orders, 1 min"
    FUNDING_5M = "funding requests, 5 min"
    STATISTICS_5M = "statistics requests, 5 min"


class Lane(Enum):
    """RISK may use the whole window: orders that reduce, cancels, and what tells positions and orders in
    doubt. ORDINARY stops before the reserve (design, decision 22), RECOVERY within it: filling a gap of
    hundreds of symbols must leave room for cancels."""

    RISK = "risk"
    RECOVERY = "recovery"
    ORDINARY = "ordinary"


@dataclass(frozen=True, slots=True)
class Cost:
    """Amounts by window. `is_order`: stopped by -1015."""

    amounts: tuple[tuple[Pool, int], ...]
    is_order: bool = False

    @property
    def weight(self) -> int:
        """Request weight, 0 when it is counted elsewhere."""
        return dict(self.amounts).get(Pool.WEIGHT_1M, 0)

    @property
    def orders(self) -> int:
        """Orders as the ten-second window counts them."""
        return dict(self.amounts).get(Pool.ORDERS_10S, 0)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of the table: `group` names it in the statistics, `lane` is used when the caller names none."""

    group: str
    cost: Cost | Callable[[Mapping[str, str]], Cost]
    lane: Lane = Lane.ORDINARY


def weight(amount: int) -> Cost:
    """A request that costs weight only; 0 is free."""
    return Cost(((Pool.WEIGHT_1M, amount),) if amount else ())


_ORDER = Cost(((Pool.ORDERS_10S, 1), (Pool.ORDERS_1M, 1)), is_order=True)
# "OC 5/1" for a batch of any size (spec 2.2): the dearer reading for fewer than five.
_BATCH = Cost(((Pool.WEIGHT_1M, 5), (Pool.ORDERS_10S, 5), (Pool.ORDERS_1M, 1)), is_order=True)
_FUNDING = Cost(((Pool.FUNDING_5M, 1),))
_STATISTICS = Cost(((Pool.STATISTICS_5M, 1),))


def _by_limit(default: int, *steps: tuple[int, int]) -> Callable[[Mapping[str, str]], Cost]:
    """Weight by the `limit` parameter: the first step whose bound holds."""

    def cost(parameters: Mapping[str, str]) -> Cost:
        limit = int(parameters.get("limit") or default)
        return weight(next(amount for bound, amount in steps if limit <= bound))

    return cost


def _by_symbol(with_symbol: int, without: int) -> Callable[[Mapping[str, str]], Cost]:
    one, all_of_them = weight(with_symbol), weight(without)
    return lambda parameters: one if parameters.get("symbol") else all_of_them


_KLINES = _by_limit(500, (99, 1), (499, 2), (1000, 5), (1_000_000, 10))
_DEPTH = _by_limit(500, (50, 2), (100, 5), (500, 10), (1_000_000, 20))
_RISK, _RECOVERY = Lane.RISK, Lane.RECOVERY

ENDPOINTS: Mapping[tuple[str, str], Endpoint] = {
    # --- orders (2.2). Placements travel in the lane of the order.
    ("POST", "/fapi/v1/order"): Endpoint("order place", _ORDER),
    ("POST", "/fapi/v1/order/test"): Endpoint("order test", weight(0)),
    ("PUT", "/fapi/v1/order"): Endpoint("order amend", _ORDER),
    ("DELETE", "/fapi/v1/order"): Endpoint("order cancel", weight(1), _RISK),
    ("GET", "/fapi/v1/order"): Endpoint("order query", weight(1), _RISK),
    ("GET", "/fapi/v1/openOrder"): Endpoint("order query", weight(1), _RISK),
    ("GET", "/fapi/v1/openOrders"): Endpoint("open orders", _by_symbol(1, 40), _RECOVERY),
    ("GET", "/fapi/v1/allOrders"): Endpoint("order history", weight(5)),
    ("GET", "/fapi/v1/orderAmendment"): Endpoint("order history", weight(1)),
    ("POST", "/fapi/v1/batchOrders"): Endpoint("order place", _BATCH),
    ("PUT", "/fapi/v1/batchOrders"): Endpoint("order amend", _BATCH),
    ("DELETE", "/fapi/v1/batchOrders"): Endpoint("order cancel", weight(1), _RISK),
    ("DELETE", "/fapi/v1/allOpenOrders"): Endpoint("order cancel", weight(1), _RISK),
    ("POST", "/fapi/v1/countdownCancelAll"): Endpoint("order cancel", weight(10), _RISK),
    # --- conditional orders (2.3)
    ("POST", "/fapi/v1/algoOrder"): Endpoint("algo order place", _ORDER),
    ("DELETE", "/fapi/v1/algoOrder"): Endpoint("algo order cancel", weight(1), _RISK),
    ("DELETE", "/fapi/v1/algoOpenOrders"): Endpoint("algo order cancel", weight(1), _RISK),
    ("GET", "/fapi/v1/algoOrder"): Endpoint("algo order query", weight(1)),
    ("GET", "/fapi/v1/openAlgoOrders"): Endpoint("algo order query", _by_symbol(1, 40)),
    ("GET", "/fapi/v1/allAlgoOrders"): Endpoint("algo order query", weight(5)),
    # --- account (2.4). Version 2 was announced with weight 10: the dearer of both readings.
    ("GET", "/fapi/v3/positionRisk"): Endpoint("positions", weight(5), _RISK),
    ("GET", "/fapi/v2/positionRisk"): Endpoint("positions", weight(10), _RISK),
    ("GET", "/fapi/v3/account"): Endpoint("account", weight(5), _RISK),
    ("GET", "/fapi/v2/account"): Endpoint("account", weight(10), _RISK),
    ("GET", "/fapi/v3/balance"): Endpoint("account", weight(5), _RISK),
    ("GET", "/fapi/v2/balance"): Endpoint("account", weight(10), _RISK),
    ("GET", "/fapi/v1/symbolConfig"): Endpoint("account settings", weight(5)),
    ("GET", "/fapi/v1/accountConfig"): Endpoint("account settings", weight(5)),
    ("GET", "/fapi/v1/positionSide/dual"): Endpoint("account settings", weight(30)),
    ("GET", "/fapi/v1/multiAssetsMargin"): Endpoint("account settings", weight(30)),
    ("GET", "/fapi/v1/userTrades"): Endpoint("own trades", weight(5), _RECOVERY),
    ("GET", "/fapi/v1/income"): Endpoint("income", weight(30)),
    ("GET", "/fapi/v1/commissionRate"): Endpoint("account settings", weight(20)),
    ("GET", "/fapi/v1/leverageBracket"): Endpoint("account settings", weight(1)),
    ("GET", "/fapi/v1/adlQuantile"): Endpoint("account", weight(5)),
    ("GET", "/fapi/v1/forceOrders"): Endpoint("order history", _by_symbol(20, 50)),
    ("GET", "/fapi/v1/rateLimit/order"): Endpoint("account settings", weight(1)),
    ("GET", "/fapi/v1/feeBurn"): Endpoint("account settings", weight(30)),
    ("GET", "/fapi/v1/apiTradingStatus"): Endpoint("trading status", _by_symbol(1, 10)),
    # --- user stream (2.6): without it we are blind
    ("POST", "/fapi/v1/listenKey"): Endpoint("listen key", weight(1), _RISK),
    ("PUT", "/fapi/v1/listenKey"): Endpoint("listen key", weight(1), _RISK),
    ("DELETE", "/fapi/v1/listenKey"): Endpoint("listen key", weight(1), _RISK),
    # --- market data (2.1). The clock is needed by every signature.
    ("GET", "/fapi/v1/time"): Endpoint("clock", weight(1), _RISK),
    ("GET", "/fapi/v1/ping"): Endpoint("clock", weight(1), _RISK),
    ("GET", "/fapi/v1/exchangeInfo"): Endpoint("symbols", weight(1)),
    ("GET", "/fapi/v1/depth"): Endpoint("market data", _DEPTH),
    ("GET", "/fapi/v1/trades"): Endpoint("market data", weight(5)),
    ("GET", "/fapi/v1/historicalTrades"): Endpoint("market data", weight(200)),
    ("GET", "/fapi/v1/aggTrades"): Endpoint("market data", weight(20)),
    ("GET", "/fapi/v1/klines"): Endpoint("market data", _KLINES),
    ("GET", "/fapi/v1/continuousKlines"): Endpoint("market data", _KLINES),
    ("GET", "/fapi/v1/indexPriceKlines"): Endpoint("market data", _KLINES),
    ("GET", "/fapi/v1/markPriceKlines"): Endpoint("market data", _KLINES),
    ("GET", "/fapi/v1/premiumIndexKlines"): Endpoint("market data", _KLINES),
    ("GET", "/fapi/v1/premiumIndex"): Endpoint("market data", _by_symbol(1, 10)),
    ("GET", "/fapi/v1/ticker/24hr"): Endpoint("market data", _by_symbol(1, 40)),
    ("GET", "/fapi/v1/ticker/price"): Endpoint("market data", _by_symbol(1, 2)),
    ("GET", "/fapi/v2/ticker/price"): Endpoint("market data", _by_symbol(1, 2)),
    ("GET", "/fapi/v1/ticker/bookTicker"): Endpoint("market data", _by_symbol(2, 5)),
    ("GET", "/fapi/v1/openInterest"): Endpoint("market data", weight(1)),
    # --- pools of their own (1.6)
    ("GET", "/fapi/v1/fundingRate"): Endpoint("funding", _FUNDING),
    ("GET", "/fapi/v1/fundingInfo"): Endpoint("funding", _FUNDING),
}

_STATISTICS_ROW = Endpoint("statistics", _STATISTICS)
_OTHER = Endpoint("other", weight(50))
"""What the table does not know costs as much as the dearest usual request: a wrong guess must not ban us."""


def endpoint_of(method: str, path: str) -> Endpoint:
    """Return the row of an endpoint; an unlisted one is dear."""
    found = ENDPOINTS.get((method, path))
    if found is not None:
        return found
    return _STATISTICS_ROW if path.startswith("/futures/data/") else _OTHER


def cost_of(endpoint: Endpoint, parameters: Mapping[str, str]) -> Cost:
    """Return what a request to the endpoint costs."""
    return endpoint.cost if isinstance(endpoint.cost, Cost) else endpoint.cost(parameters)
