"""Response shapes of `/api/admin/house`."""

from pms.gateway.wire import Wire


class HouseHoldingBody(Wire):
    """Signed quantity and cost; `passingOn` of it is on its way to closers, `limit` in USDT at mark."""

    symbol: str
    quantity: float
    cost: float
    passing_on: float
    mark_price: float | None
    unrealized_pnl: float | None
    limit: float | None


class HouseBody(Wire):
    cash: float
    holdings: list[HouseHoldingBody]


class HouseClosedBody(Wire):
    """What was closed (unsigned) and what the house still holds (signed)."""

    symbol: str
    closed: float
    left: float
    client_order_ids: list[str]


class HouseAssignedBody(Wire):
    """`positionId` is null when the same request had been carried out before."""

    symbol: str
    sub_account_id: str
    quantity: float
    price: float
    position_id: str | None
