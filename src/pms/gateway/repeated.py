"""Idempotency keys of every mutating route, and the answer to a request whose first life did not store one.

The order journal carries the key of the request that made an order, committed before the order is sent. So a
repetition after a crash finds what its first life did: an order with this key is answered from the books, no
order means that nothing was sent. What sets a state to a value is carried out again; what moves money and
left no trace of its key is not: there the caller must look first.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError

from pms.gateway import render, wire
from pms.gateway.context import Gateway, elapsed_ms
from pms.gateway.error_answers import on_api_error, on_invalid
from pms.gateway.errors import ApiError
from pms.gateway.idempotency import Answer, fingerprint, outcome_unknown
from pms.ledger.api import TradeRow
from pms.model.order import JournalOrder, OrderState

log = logging.getLogger(__name__)

SECRET_ANSWERS = frozenset({"create_api_key"})
"""Their answers hold a secret that is stored nowhere in clear: they take no key, and a repetition makes a new
secret."""

SET_A_STATE = frozenset(
    {
        "approve_user",
        "ban_user",
        "cancel_all_orders",
        "cancel_order",
        "close_account",
        "close_all_positions",
        "force_close_all",
        "freeze",
        "freeze_account",
        "reset_account",
        "reset_account_rules",
        "set_account_rules",
        "set_balance",
        "set_global_rules",
        "set_liquidation_mode",
        "take_over",
        "unfreeze",
        "write_off",
    }
)
"""Operations that end in the same state however often they run."""

_NEVER_LIVED = frozenset({OrderState.REJECTED, OrderState.NOT_EXECUTED})
Inner = Callable[[Request], Awaitable[Response]]
KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 128},
    "description": "The first result of a key is kept for 24 h and given again.",
}


async def once(
    gateway: Gateway, request: Request, body: object, scoped_key: str, operation: str, inner: Inner
) -> Response:
    """Carry a request out, or give the first result of its key. `scoped_key` holds the user too."""
    made: list[Response] = []

    async def work() -> Answer:
        answer, response = await _carried_out(request, inner)
        made.append(response)
        return answer

    async def again() -> Answer:
        earlier = await _from_the_books(gateway, request, operation, scoped_key)
        if earlier is not None:
            return earlier
        log.info("an unfinished request is carried out again: %s", operation)
        return await work()

    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    repeatable = operation in SET_A_STATE or operation in _FROM_THE_JOURNAL
    answer = await gateway.idempotent.run(
        scoped_key, fingerprint(request.method, path, body), work, again if repeatable else None
    )
    if made and not answer.replayed:
        return made[-1]
    headers = {"Idempotency-Replayed": "true"} if answer.replayed else {}
    return Response(answer.body, answer.status, headers, media_type="application/json")


async def _carried_out(request: Request, inner: Inner) -> tuple[Answer, Response]:
    try:
        response = await inner(request)
    except ApiError as error:
        response = await on_api_error(request, error)
    except RequestValidationError as error:
        response = await on_invalid(request, error)
        return Answer(response.status_code, bytes(response.body).decode(), nothing_done=True), response
    return Answer(response.status_code, bytes(response.body).decode()), response


async def _from_the_books(
    gateway: Gateway, request: Request, operation: str, scoped_key: str
) -> Answer | None:
    """Return what an earlier life did under a key, None when it did nothing. Raises 409 while it is open."""
    answer_of = _FROM_THE_JOURNAL.get(operation)
    if answer_of is None:
        return None
    orders = [
        order
        for order in await gateway.deps.queries.orders_with_key(scoped_key)
        if order.state not in _NEVER_LIVED
    ]
    if not orders:
        return None
    if any(order.state in (OrderState.INTENT, OrderState.UNKNOWN) for order in orders):
        raise outcome_unknown()
    trades = await gateway.deps.queries.trades_of(orders)
    return answer_of(request, orders, trades)


def _market(request: Request, orders: Sequence[JournalOrder], trades: Sequence[TradeRow]) -> Answer | None:
    if any(not order.state.terminal for order in orders):
        raise outcome_unknown()
    if not trades:
        return None
    rows = [render.trade(row) for row in trades]
    body = wire.TradeResult(
        position=None,
        trade=rows[-1],
        trades=rows,
        server_latency_ms=elapsed_ms(request),
        realized_pnl=_realized(trades),
    )
    return Answer(201, body.model_dump_json(by_alias=True), replayed=True)


def _limit(request: Request, orders: Sequence[JournalOrder], trades: Sequence[TradeRow]) -> Answer | None:
    body = wire.LimitResult(order=render.pending_order(orders[-1]), server_latency_ms=elapsed_ms(request))
    return Answer(201, body.model_dump_json(by_alias=True), replayed=True)


def _close(request: Request, orders: Sequence[JournalOrder], trades: Sequence[TradeRow]) -> Answer | None:
    if any(not order.state.terminal for order in orders):
        raise outcome_unknown()
    if not trades:
        return None
    body = wire.CloseResult(
        position=None,
        position_id=str(request.path_params.get("position_id")),
        trade=render.trade(trades[-1]),
        realized_pnl=_realized(trades),
        new_balance=None,
        source="exchange",
        server_latency_ms=elapsed_ms(request),
    )
    return Answer(200, body.model_dump_json(by_alias=True), replayed=True)


def _realized(trades: Sequence[TradeRow]) -> float | None:
    realized = [row.realized_pnl for row in trades if row.realized_pnl is not None]
    return float(sum(realized)) if realized else None


_FROM_THE_JOURNAL: dict[
    str, Callable[[Request, Sequence[JournalOrder], Sequence[TradeRow]], Answer | None]
] = {"market_order": _market, "limit_order": _limit, "close_position": _close, "force_close": _close}
"""Operations whose orders carry the request's key in the journal."""
