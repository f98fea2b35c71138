"""`/api/trade` orders: open, close, rest, cancel, check (gateway spec 6.6 and 6.7)."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from pms.execution.api import Cancelled, Estimate, Executed, LimitRequest, MarketRequest, Resting
from pms.gateway import render, wire
from pms.gateway.auth import Principal
from pms.gateway.context import Gateway, GatewayOf, PrincipalOf, elapsed_ms, idempotency_key
from pms.gateway.errors import refused
from pms.gateway.idempotency import Answer
from pms.gateway.repeated import KEY_PARAMETER
from pms.gateway.requests import NOT_NAMED, LeverageBody, LimitOrderBody, MarketOrderBody
from pms.gateway.routing import OwnedBodyRoute, UserRoute, router
from pms.model.account import Position, PositionStatus
from pms.model.ids import PositionId, SubAccountId
from pms.model.order import JournalOrder, TimeInForce
from pms.model.refusal import Refused
from pms.model.symbol import Symbol

owned = router("/api/trade", "orders", OwnedBodyRoute)
user = router("/api/trade", "orders", UserRoute)
ROUTERS: tuple[APIRouter, ...] = (owned, user)

KEY_NOTE = {"parameters": [KEY_PARAMETER]}
"""Documents the key on a route; the route's class takes it in any case."""


def ok(status: int, body: BaseModel) -> Answer:
    """Return the answer of a request that was carried out."""
    return Answer(status, body.model_dump_json(by_alias=True))


def no(outcome: Refused, *, reasons_as_objects: bool = False) -> Answer:
    """Return the answer of a request that was refused, with the status of its first reason."""
    error = refused(outcome, reasons_as_objects=reasons_as_objects)
    return Answer(error.status, wire.json_text(error.body()))


def scoped_key(principal: Principal, key: str | None) -> str | None:
    """Return the key within its user, so that two users never share one."""
    return None if key is None else f"{principal.user_id}:{key}"


async def once(
    request: Request,
    gateway: Gateway,
    principal: Principal,
    body: object,
    work: Callable[[], Awaitable[Answer]],
) -> Response:
    """Carry out a request; the route's class sees to it that a known Idempotency-Key never gets here."""
    answer = await work()
    headers = {"Retry-After": "1"} if answer.status in (429, 503) else {}
    return Response(answer.body, answer.status, headers, media_type="application/json")


def position_body(gateway: Gateway, position: Position | None) -> wire.LivePositionBody | None:
    """Render a position with its live figures when it is still open."""
    if position is None:
        return None
    if position.status is PositionStatus.OPEN:
        state = gateway.deps.service.account_state(position.sub_account_id)
        for live in state.positions if state else ():
            if live.position.id == position.id:
                return render.live_position(live)
    return render.position(position)


def leverage_of(gateway: Gateway, body: MarketOrderBody | LimitOrderBody) -> Decimal:
    """Return the leverage that an order names, else the account's own for the symbol."""
    if body.leverage != NOT_NAMED:
        return body.leverage
    return gateway.deps.service.leverage_of(SubAccountId(body.sub_account_id), Symbol(body.symbol))


@owned.put("/leverage", response_model=wire.LeverageBody, operation_id="set_leverage", openapi_extra=KEY_NOTE)
async def set_leverage(
    request: Request, body: LeverageBody, principal: PrincipalOf, gateway: GatewayOf
) -> Response:
    """Set the leverage of a symbol, also of an open position: refused when the margin does not suffice. It is
    virtual: the real account's leverage is never changed."""
    account_id, symbol = SubAccountId(body.sub_account_id), Symbol(body.symbol)

    async def work() -> Answer:
        outcome = await gateway.deps.service.set_leverage(account_id, symbol, body.leverage, principal.actor)
        if isinstance(outcome, Refused):
            return no(outcome)
        return ok(200, wire.LeverageBody(symbol=symbol, leverage=float(body.leverage)))

    return await once(request, gateway, principal, body.model_dump(mode="json"), work)


@owned.post(
    "", status_code=201, response_model=wire.TradeResult, operation_id="market_order", openapi_extra=KEY_NOTE
)
async def market_order(
    request: Request, body: MarketOrderBody, principal: PrincipalOf, gateway: GatewayOf
) -> Response:
    """Open, add, reduce or flip at market. The answer comes when fills are booked and reads show them."""
    wanted = MarketRequest(
        SubAccountId(body.sub_account_id),
        Symbol(body.symbol),
        body.side,
        body.quantity,
        leverage_of(gateway, body),
        reduce_only=body.reduce_only,
        babysitter_excluded=body.babysitter_excluded,
        origin="MANUAL" if principal.via == "jwt" else "API",
        idempotency_key=scoped_key(principal, idempotency_key(request)),
        fast=body.fast_execution,
        fallback_price=body.fallback_price,
    )

    async def work() -> Answer:
        outcome = await gateway.deps.service.market(wanted, principal.actor)
        if isinstance(outcome, Refused):
            return no(outcome)
        return ok(201, _trade_result(gateway, request, outcome))

    return await once(request, gateway, principal, body.model_dump(mode="json"), work)


def _trade_result(gateway: Gateway, request: Request, outcome: Executed) -> wire.TradeResult:
    flipped = None
    if (
        outcome.closed is not None
        and outcome.position is not None
        and outcome.position.id != outcome.closed.id
    ):
        closed_pnl = None if outcome.realized_pnl is None else float(outcome.realized_pnl)
        flipped = wire.FlippedBody(closed_position=render.position(outcome.closed), close_pnl=closed_pnl)
    trades = [render.trade(row) for row in outcome.trades]
    return wire.TradeResult(
        position=position_body(gateway, outcome.position or outcome.closed),
        trade=trades[-1] if trades else None,
        trades=trades,
        server_latency_ms=elapsed_ms(request),
        realized_pnl=None if outcome.realized_pnl is None else float(outcome.realized_pnl),
        new_balance=None if outcome.balance is None else float(outcome.balance),
        flipped=flipped,
        confirmed=outcome.confirmed,
        estimate=_estimate(outcome.estimate),
        client_order_id=None if outcome.order is None else outcome.order.client_order_id,
    )


def _estimate(estimate: Estimate | None) -> wire.EstimateBody | None:
    if estimate is None:
        return None
    return wire.EstimateBody(
        quantity=float(estimate.quantity),
        price=None if estimate.price is None else float(estimate.price),
        fee=None if estimate.fee is None else float(estimate.fee),
    )


@owned.post("/validate", operation_id="validate_order")
async def validate(body: MarketOrderBody, gateway: GatewayOf) -> wire.ValidationBody:
    """Ask the gate without sending anything."""
    wanted = MarketRequest(
        SubAccountId(body.sub_account_id),
        Symbol(body.symbol),
        body.side,
        body.quantity,
        leverage_of(gateway, body),
        reduce_only=body.reduce_only,
    )
    outcome = gateway.deps.service.validate(wanted)
    return wire.ValidationBody(
        valid=outcome.valid,
        errors=[wire.ErrorReason(code=one.code.name, message=one.message) for one in outcome.refusals],
        computed_values=outcome.computed or None,
    )


@owned.post(
    "/limit",
    status_code=201,
    response_model=wire.LimitResult,
    operation_id="limit_order",
)
async def limit_order(
    request: Request, body: LimitOrderBody, principal: PrincipalOf, gateway: GatewayOf
) -> Response:
    """Rest a limit order."""
    wanted = LimitRequest(
        SubAccountId(body.sub_account_id),
        Symbol(body.symbol),
        body.side,
        body.quantity,
        body.price,
        leverage_of(gateway, body),
        reduce_only=body.reduce_only,
        time_in_force=TimeInForce(body.time_in_force),
        origin="MANUAL" if principal.via == "jwt" else "API",
        idempotency_key=scoped_key(principal, idempotency_key(request)),
    )

    async def work() -> Answer:
        outcome = await gateway.deps.service.limit(wanted, principal.actor)
        if isinstance(outcome, Resting):
            order = render.pending_order(outcome.order)
            return ok(201, wire.LimitResult(order=order, server_latency_ms=elapsed_ms(request)))
        return no(outcome)

    return await once(request, gateway, principal, body.model_dump(mode="json"), work)


# --- closing ------------------------------------------------------------------------------------------------


async def close_one(request: Request, gateway: Gateway, principal: Principal, position_id: str) -> Response:
    """Close a position that the caller may touch; also the admin's force-close."""
    checked = await gateway.position_owner(principal, position_id)
    key = scoped_key(principal, idempotency_key(request))

    async def work() -> Answer:
        outcome = await gateway.deps.service.close(checked, principal.actor, key)
        if isinstance(outcome, Refused):
            return no(outcome, reasons_as_objects=True)
        return ok(200, _close_result(gateway, request, checked, outcome))

    return await once(request, gateway, principal, None, work)


def _close_result(
    gateway: Gateway, request: Request, position_id: PositionId, outcome: Executed
) -> wire.CloseResult:
    trade = outcome.trades[-1] if outcome.trades else None
    virtual = trade is not None and trade.exchange_order_id is None
    return wire.CloseResult(
        position=position_body(gateway, outcome.closed or outcome.position),
        position_id=position_id,
        trade=render.trade(trade) if trade else None,
        realized_pnl=None if outcome.realized_pnl is None else float(outcome.realized_pnl),
        new_balance=None if outcome.balance is None else float(outcome.balance),
        source="virtual_only" if virtual else "exchange",
        reason="no_exchange_position" if virtual else None,
        server_latency_ms=elapsed_ms(request),
    )


@user.post(
    "/close/{position_id}",
    response_model=wire.CloseResult,
    operation_id="close_position",
)
async def close(request: Request, position_id: str, principal: PrincipalOf, gateway: GatewayOf) -> Response:
    """Close a position at market."""
    return await close_one(request, gateway, principal, position_id)


def _close_item(position: Position, outcome: Executed | Refused) -> wire.CloseAllItem:
    """Say what became of one position: one that is closed in part only is no success, and shows its PnL."""
    item = wire.CloseAllItem(position_id=position.id, symbol=position.symbol, success=True)
    if isinstance(outcome, Refused):
        item.success, item.error = False, outcome.refusals[0].message
        return item
    item.pnl = None if outcome.realized_pnl is None else float(outcome.realized_pnl)
    if outcome.closed is None:
        item.success, item.error = False, "The position is closed in part only; close what is left again."
    return item


async def close_everything(
    request: Request, gateway: Gateway, principal: Principal, sub_account_id: str
) -> Response:
    """Close all positions of an account, side by side; the answer lists each outcome."""
    account = gateway.account(principal, sub_account_id)
    key = scoped_key(principal, idempotency_key(request))

    async def work() -> Answer:
        state = gateway.deps.service.account_state(account.id)
        held = [live.position for live in (state.positions if state else ())]
        ids = [position.id for position in held]
        outcomes = await gateway.deps.service.close_many(ids, principal.actor, key)
        results = [_close_item(position, outcomes[position.id]) for position in held]
        closed = sum(item.success for item in results)
        return ok(200, wire.CloseAllResult(closed=closed, total=len(results), results=results))

    return await once(request, gateway, principal, None, work)


@user.post(
    "/close-all/{sub_account_id}",
    response_model=wire.CloseAllResult,
    operation_id="close_all_positions",
)
async def close_all(
    request: Request, sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf
) -> Response:
    """Close all positions of an account."""
    return await close_everything(request, gateway, principal, sub_account_id)


# --- resting orders -----------------------------------------------------------------------------------------


def open_orders(gateway: Gateway, sub_account_id: SubAccountId) -> list[JournalOrder]:
    """Return the resting orders of an account, newest first."""
    orders = [
        order
        for order in gateway.deps.ledger.open_orders()
        if order.sub_account_id == sub_account_id and order.pending_order_id is not None
    ]
    return sorted(orders, key=lambda order: order.sequence, reverse=True)


@user.get("/orders/{sub_account_id}", operation_id="list_orders")
async def list_orders(
    sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf
) -> list[wire.PendingOrderBody]:
    """List resting orders, newest first."""
    account = gateway.account(principal, sub_account_id)
    return [render.pending_order(order) for order in open_orders(gateway, account.id)]


@user.delete("/orders/all/{sub_account_id}", operation_id="cancel_all_orders")
async def cancel_all(sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf) -> wire.CancelAllResult:
    """Cancel the account's own orders, and nobody else's (H-8)."""
    account = gateway.account(principal, sub_account_id)
    orders = [order.pending_order_id for order in open_orders(gateway, account.id) if order.pending_order_id]
    outcomes = await asyncio.gather(
        *(gateway.deps.service.cancel(order, principal.actor) for order in orders)
    )
    cancelled = sum(isinstance(outcome, Cancelled) for outcome in outcomes)
    return wire.CancelAllResult(cancelled=cancelled, failed=len(orders) - cancelled, total=len(orders))


@user.delete("/orders/{order_id}", operation_id="cancel_order")
async def cancel(order_id: str, principal: PrincipalOf, gateway: GatewayOf) -> wire.SuccessBody:
    """Cancel one order; it counts as cancelled only when the exchange says so (H-23)."""
    checked = await gateway.order_owner(principal, order_id)
    outcome = await gateway.deps.service.cancel(checked, principal.actor)
    if isinstance(outcome, Refused):
        raise refused(outcome)
    return wire.SuccessBody()
