"""The kill switch and restrictions: `/api/admin/kill-switch`, and what an account's owner sees of them."""

from fastapi import APIRouter, Request, Response

from pms.gateway import render, wire
from pms.gateway.auth import Principal
from pms.gateway.context import Gateway, GatewayOf, PrincipalOf
from pms.gateway.idempotency import Answer
from pms.gateway.requests import KillSwitchBody
from pms.gateway.routes_trade import KEY_NOTE, ok, once
from pms.gateway.routing import AdminRoute, UserRoute, router
from pms.model.ids import SubAccountId
from pms.model.restriction import Restriction

admin = router("/api/admin/kill-switch", "kill switch", AdminRoute)
user = router("/api/sub-accounts", "kill switch", UserRoute)
ROUTERS: tuple[APIRouter, ...] = (admin, user)

LEVELS = {
    "reduce-only": Restriction.REDUCE_ONLY,
    "halt": Restriction.HALT,
    "flatten": Restriction.FLATTEN,
    "release": Restriction.NONE,
}


def _state(gateway: Gateway) -> wire.KillSwitchState:
    entries = gateway.deps.ledger.restrictions()
    everywhere = [entry.level for entry in entries if entry.sub_account_id is None]
    return wire.KillSwitchState(
        level=max(everywhere, default=Restriction.NONE).name,
        entries=[render.restriction(entry) for entry in entries],
        working=list(gateway.deps.unfinished_restrictions()),
    )


@admin.get("", operation_id="kill_switch")
async def kill_switch(gateway: GatewayOf) -> wire.KillSwitchState:
    """Return what is in force, everywhere and for single accounts, and who still has orders or positions
    that it forbids."""
    return _state(gateway)


@admin.post("", response_model=wire.KillSwitchState, operation_id="set_kill_switch", openapi_extra=KEY_NOTE)
async def set_everywhere(
    request: Request, body: KillSwitchBody, principal: PrincipalOf, gateway: GatewayOf
) -> Response:
    """Restrict every account, or release: in force when the answer comes; what it cancels and closes is done
    after that, and again until nothing is left (also after a restart)."""
    return await _set(request, body, principal, gateway, None)


@admin.post(
    "/{sub_account_id}",
    response_model=wire.KillSwitchState,
    operation_id="set_account_kill_switch",
    openapi_extra=KEY_NOTE,
)
async def set_account(
    request: Request, sub_account_id: str, body: KillSwitchBody, principal: PrincipalOf, gateway: GatewayOf
) -> Response:
    """The same for one account."""
    return await _set(request, body, principal, gateway, gateway.account(principal, sub_account_id).id)


async def _set(
    request: Request,
    body: KillSwitchBody,
    principal: Principal,
    gateway: Gateway,
    scope: SubAccountId | None,
) -> Response:
    async def work() -> Answer:
        await gateway.deps.ledger.set_restriction(
            scope, body.source, LEVELS[body.level], body.reason, principal.actor
        )
        return ok(200, _state(gateway))

    return await once(request, gateway, principal, body.model_dump(mode="json"), work)


@user.get("/{sub_account_id}/restrictions", operation_id="account_restrictions")
async def restrictions(
    sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf
) -> wire.RestrictionsBody:
    """Return what is in force for an account: the global restrictions and its own."""
    account = gateway.account(principal, sub_account_id)
    ledger = gateway.deps.ledger
    entries = ledger.restrictions_of(account.id)
    return wire.RestrictionsBody(
        level=ledger.restriction_of(account.id).name, entries=[render.restriction(entry) for entry in entries]
    )
