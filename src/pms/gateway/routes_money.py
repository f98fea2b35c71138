"""Money moved by administrators: takeover, balances, transfers, reset, write-off (gateway spec 6.15).

Ownership is checked on every account named. Only administrators hand out capital: a user who could move it
between his accounts would choose his own limits (H-1).
"""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response

from pms.gateway import render, wire
from pms.gateway.context import Gateway, GatewayOf, PrincipalOf
from pms.gateway.idempotency import Answer
from pms.gateway.requests import BalanceBody, TransferBody
from pms.gateway.routes_trade import KEY_NOTE, no, ok, once, position_body
from pms.gateway.routing import AdminRoute, router
from pms.ledger.api import Actor
from pms.model.account import SubAccount
from pms.model.ids import SubAccountId
from pms.model.money import Money
from pms.model.refusal import Refused

admin = router("/api/admin", "admin", AdminRoute)
ROUTERS: tuple[APIRouter, ...] = (admin,)


@admin.post(
    "/takeover/{position_id}",
    response_model=wire.TakeoverResult,
    operation_id="take_over",
    openapi_extra=KEY_NOTE,
)
async def take_over(
    request: Request, position_id: str, principal: PrincipalOf, gateway: GatewayOf
) -> Response:
    """Let the house take a position over at the mark price; nothing is sent to the exchange."""
    checked = await gateway.position_owner(principal, position_id)

    async def work() -> Answer:
        by = Actor(principal.user_id, principal.via)
        outcome = await gateway.deps.service.take_over(checked, by)
        if isinstance(outcome, Refused):
            return no(outcome)
        body = wire.TakeoverResult(
            position=position_body(gateway, outcome.closed or outcome.position),
            realized_pnl=None if outcome.realized_pnl is None else float(outcome.realized_pnl),
            new_balance=None if outcome.balance is None else float(outcome.balance),
        )
        return ok(200, body)

    return await once(request, gateway, principal, None, work)


@admin.post(
    "/set-balance/{sub_account_id}",
    response_model=wire.SetBalanceResult,
    operation_id="set_balance",
    openapi_extra=KEY_NOTE,
)
async def set_balance(
    request: Request, sub_account_id: str, body: BalanceBody, principal: PrincipalOf, gateway: GatewayOf
) -> Response:
    """Bring a balance to a figure against the house; what positions and orders need stays."""
    account = gateway.account(principal, sub_account_id)

    async def work() -> Answer:
        before = gateway.account(principal, sub_account_id).balance
        outcome = await gateway.deps.service.set_balance(account.id, Money(body.balance), principal.actor)
        if isinstance(outcome, Refused):
            return no(outcome)
        told = wire.SetBalanceResult(previous_balance=float(before), new_balance=float(outcome.balance))
        return ok(200, told)

    return await once(request, gateway, principal, body.model_dump(mode="json"), work)


@admin.post(
    "/transfer/{sub_account_id}",
    response_model=wire.TransferResult,
    operation_id="transfer_between_accounts",
    openapi_extra=KEY_NOTE,
)
async def transfer(
    request: Request, sub_account_id: str, body: TransferBody, principal: PrincipalOf, gateway: GatewayOf
) -> Response:
    """Move money to another account: at most what could be withdrawn."""
    source = gateway.account(principal, sub_account_id)
    target = gateway.account(principal, body.to_sub_account_id)

    async def work() -> Answer:
        amount = Money(body.amount)
        outcome = await gateway.deps.service.transfer(source.id, target.id, amount, principal.actor)
        if isinstance(outcome, Refused):
            return no(outcome)
        given, taken = (render.sub_account(account) for account in outcome)
        return ok(200, wire.TransferResult(from_account=given, to_account=taken))

    return await once(request, gateway, principal, body.model_dump(mode="json"), work)


Act = Callable[[SubAccountId, Actor], Awaitable[SubAccount | Refused]]


async def _emptied(
    request: Request, gateway: Gateway, principal: PrincipalOf, sub_account_id: str, act: Act, done: str
) -> Response:
    account = gateway.account(principal, sub_account_id)

    async def work() -> Answer:
        outcome = await act(account.id, principal.actor)
        if isinstance(outcome, Refused):
            return no(outcome)
        told = wire.EmptiedResult(message=done, account=render.sub_account(outcome))
        return ok(200, told)

    return await once(request, gateway, principal, None, work)


@admin.post(
    "/reset/{sub_account_id}",
    response_model=wire.EmptiedResult,
    operation_id="reset_account",
    openapi_extra=KEY_NOTE,
)
async def reset(
    request: Request, sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf
) -> Response:
    """Start an account anew with nothing; its history stays. 409 while anything of it is open (H-29)."""
    act = gateway.deps.service.reset_account
    return await _emptied(request, gateway, principal, sub_account_id, act, "The account starts anew.")


@admin.delete(
    "/delete-account/{sub_account_id}",
    response_model=wire.EmptiedResult,
    operation_id="close_account",
    openapi_extra=KEY_NOTE,
)
async def close_account(
    request: Request, sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf
) -> Response:
    """Close an account: its money goes to the house, it is frozen, its history stays. 409 while anything of
    it is open (H-29)."""
    act = gateway.deps.service.close_account
    return await _emptied(request, gateway, principal, sub_account_id, act, "The account is closed.")


@admin.post(
    "/write-off/{sub_account_id}",
    response_model=wire.EmptiedResult,
    operation_id="write_off",
    openapi_extra=KEY_NOTE,
)
async def write_off(
    request: Request, sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf
) -> Response:
    """Let the insurance, then the house bear what a flat account owes (decision 4)."""
    act = gateway.deps.ledger.write_off
    return await _emptied(request, gateway, principal, sub_account_id, act, "Nothing is owed any more.")
