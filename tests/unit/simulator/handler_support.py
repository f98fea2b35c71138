"""Calls the REST handlers as a door does once key, signature and time are checked; no socket."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec

from pms.simulator import http_orders
from pms.simulator.config import SimulatorConfig
from pms.simulator.core import Engine
from pms.simulator.errors import Reject
from pms.simulator.state import Account
from pms.simulator.venue import Call, Venue
from tests.unit.simulator.market_support import NOW


def ask(
    engine: Engine,
    account: Account,
    request: str,
    now_ms: int = NOW,
    config: SimulatorConfig | None = None,
    **params: Any,
) -> Any:
    """Return the JSON answer to e.g. "PUT order"; a refusal is `{"code", "msg"}`.

    `symbol` defaults to BTCUSDT; None leaves a parameter out; lists are sent as JSON.
    """
    method, path = request.split()
    endpoint = http_orders.ENDPOINTS[method, f"/fapi/v1/{path}"]
    wanted = {"symbol": "BTCUSDT", **params}
    sent = {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for name, value in wanted.items()
        if value is not None
    }
    venue = cast("Venue", SimpleNamespace(engine=engine, config=config or SimulatorConfig()))
    answer = endpoint.handler(venue, Call(sent, account, now_ms))
    if isinstance(answer, Reject):
        return {"code": answer.code, "msg": answer.msg}
    return msgspec.json.decode(msgspec.json.encode(answer))
