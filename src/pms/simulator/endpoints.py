"""Every REST endpoint by method and path, gathered from the modules that serve them."""

from __future__ import annotations

from pms.simulator import http_account, http_market, http_orders, http_refused
from pms.simulator.venue import Endpoint

ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    **http_market.ENDPOINTS,
    **http_orders.ENDPOINTS,
    **http_account.ENDPOINTS,
    **http_refused.ENDPOINTS,
}
