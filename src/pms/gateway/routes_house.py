"""The house's positions: `/api/admin/house`, and closing or assigning them (decision 6)."""

from fastapi import APIRouter, Request, Response

from pms.execution.api import HouseHolding, HouseService
from pms.gateway.context import Gateway, GatewayOf, PrincipalOf, idempotency_key
from pms.gateway.errors import ApiError
from pms.gateway.idempotency import Answer, fingerprint
from pms.gateway.requests import HouseAssignBody, HouseCloseBody
from pms.gateway.routes_trade import KEY_NOTE, no, ok, once, scoped_key
from pms.gateway.routing import AdminRoute, router
from pms.gateway.wire_house import HouseAssignedBody, HouseBody, HouseClosedBody, HouseHoldingBody
from pms.model.ids import SubAccountId
from pms.model.refusal import RefusalCode, Refused
from pms.model.symbol import Symbol

admin = router("/api/admin/house", "house", AdminRoute)
ROUTERS: tuple[APIRouter, ...] = (admin,)


def _house(gateway: Gateway) -> HouseService:
    house = gateway.deps.house
    if house is None:
        code = RefusalCode.NOT_READY
        raise ApiError(code.http_status, code.name, "No engine of this process holds the house.")
    return house


def _holding(held: HouseHolding) -> HouseHoldingBody:
    return HouseHoldingBody(
        symbol=held.symbol,
        quantity=float(held.signed_quantity),
        cost=float(held.signed_cost),
        passing_on=float(held.passing_on),
        mark_price=None if held.mark is None else float(held.mark),
        unrealized_pnl=None if held.unrealized_pnl is None else float(held.unrealized_pnl),
        limit=None if held.limit is None else float(held.limit),
    )


@admin.get("", operation_id="house")
async def house(gateway: GatewayOf) -> HouseBody:
    """Return what the house holds of each symbol, signed, and its cash in USDT."""
    holdings = [_holding(held) for held in _house(gateway).holdings()]
    return HouseBody(cash=float(gateway.deps.ledger.house_cash()), holdings=holdings)


@admin.post("/close", response_model=HouseClosedBody, operation_id="close_house", openapi_extra=KEY_NOTE)
async def close(
    request: Request, body: HouseCloseBody, principal: PrincipalOf, gateway: GatewayOf
) -> Response:
    """Trade away what the house holds of a symbol, or a part; what is dust stays."""
    desk, symbol = _house(gateway), Symbol(body.symbol)

    async def work() -> Answer:
        outcome = await desk.close(symbol, body.quantity, principal.actor)
        if isinstance(outcome, Refused):
            return no(outcome)
        closed, left = float(outcome.quantity), float(outcome.left)
        orders: list[str] = [order.client_order_id for order in outcome.orders]
        return ok(200, HouseClosedBody(symbol=symbol, closed=closed, left=left, client_order_ids=orders))

    return await once(request, gateway, principal, body.model_dump(mode="json"), work)


@admin.post("/assign", response_model=HouseAssignedBody, operation_id="assign_house", openapi_extra=KEY_NOTE)
async def assign(
    request: Request, body: HouseAssignBody, principal: PrincipalOf, gateway: GatewayOf
) -> Response:
    """Give a part of what the house holds to an account, at the fresh mark."""
    desk, account = _house(gateway), gateway.account(principal, body.sub_account_id)
    key = scoped_key(principal, idempotency_key(request))
    reference = None if key is None else f"assign-{fingerprint('POST', key, None)[:32]}"

    async def work() -> Answer:
        outcome = await desk.assign(
            Symbol(body.symbol),
            SubAccountId(account.id),
            body.quantity,
            body.leverage,
            principal.actor,
            reference,
        )
        if isinstance(outcome, Refused):
            return no(outcome)
        return ok(
            200,
            HouseAssignedBody(
                symbol=outcome.symbol,
                sub_account_id=account.id,
                quantity=float(outcome.quantity),
                price=float(outcome.price),
                position_id=outcome.trades[-1].position_id if outcome.trades else None,
            ),
        )

    return await once(request, gateway, principal, body.model_dump(mode="json"), work)
