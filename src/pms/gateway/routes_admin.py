"""`/api/admin` and `/api/exposure`: what an administrator sees and does (gateway spec 6.15 and 6.17)."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import JsonValue

from pms.exchange.errors import ExchangeError
from pms.execution.api import AccountState
from pms.gateway import render, wire
from pms.gateway.context import Gateway, GatewayOf, PrincipalOf
from pms.gateway.listing import listed, rendered
from pms.gateway.requests import LiquidationModeBody
from pms.gateway.routes_trade import close_everything, close_one
from pms.gateway.routing import AdminRoute, router
from pms.model.account import AccountStatus, LiquidationMode

log = logging.getLogger(__name__)

admin = router("/api/admin", "admin", AdminRoute)
exposures = router("/api", "admin", AdminRoute)
ROUTERS: tuple[APIRouter, ...] = (admin, exposures)

AT_RISK_RATIO = 0.5
WALLET_SECONDS_MAX = 2.0


def _states(gateway: Gateway) -> Iterator[AccountState]:
    """Yield the live view of each account, made when it is asked for."""
    service = gateway.deps.service
    return (
        state
        for row in gateway.deps.ledger.accounts()
        if (state := service.account_state(row.id)) is not None
    )


async def _main_balance(gateway: Gateway) -> dict[str, float] | None:
    if gateway.deps.main_account is None:
        return None
    try:
        async with asyncio.timeout(WALLET_SECONDS_MAX):
            wallet = await gateway.deps.main_account.wallet()
    except (ExchangeError, TimeoutError) as error:
        log.warning("the real account's balance could not be read: %s", error)
        return None
    total, free = float(wallet.margin_balance), float(wallet.available_balance)
    return {"total": total, "free": free, "used": total - free}


@admin.get("/dashboard", response_model=wire.DashboardBody, operation_id="admin_dashboard")
async def dashboard(gateway: GatewayOf) -> Response:
    """Return every account with its live state, and the real account's balance (null: cannot be read)."""
    balance = wire.json_text(await _main_balance(gateway))
    accounts = await rendered(render.account_state(state) for state in _states(gateway))
    text = f'{{"accounts":{accounts},"mainAccountBalance":{balance}}}'
    return Response(text, media_type="application/json")


@admin.get("/exchange", response_model=dict[str, JsonValue], operation_id="exchange_statistics")
async def exchange_statistics(gateway: GatewayOf) -> Response:
    """Return what the connection to the exchange has done since the start: the windows of its limits and who
    spent them, bans, the ratios on our trading behaviour and who waits because of them, sockets and clock."""
    told = gateway.deps.exchange_statistics
    return Response(
        wire.json_text({} if told is None else render.record(told())), media_type="application/json"
    )


def _at_risk(state: AccountState) -> bool:
    active = state.account.status is AccountStatus.ACTIVE
    return active and bool(state.positions) and state.summary.margin_ratio >= AT_RISK_RATIO


@admin.get("/at-risk", response_model=list[wire.PositionsBody], operation_id="accounts_at_risk")
async def at_risk(gateway: GatewayOf) -> Response:
    """List active accounts with positions whose margin ratio is 0.5 or more."""
    return await listed(render.account_state(state) for state in _states(gateway) if _at_risk(state))


def _with_account(state: AccountState) -> Iterator[wire.AllPositionsItem]:
    account = render.sub_account(state.account)
    for live in state.positions:
        fields = render.live_position(live).model_dump()
        yield wire.AllPositionsItem.model_validate(fields | {"sub_account": account})


@admin.get("/all-positions", response_model=list[wire.AllPositionsItem], operation_id="all_positions")
async def all_positions(gateway: GatewayOf) -> Response:
    """List every open position with its account."""
    return await listed(item for state in _states(gateway) for item in _with_account(state))


@admin.post(
    "/force-close/{position_id}",
    response_model=wire.CloseResult,
    operation_id="force_close",
)
async def force_close(
    request: Request, position_id: str, principal: PrincipalOf, gateway: GatewayOf
) -> Response:
    """Close a position of anybody."""
    return await close_one(request, gateway, principal, position_id)


@admin.post(
    "/force-close-all/{sub_account_id}",
    response_model=wire.CloseAllResult,
    operation_id="force_close_all",
)
async def force_close_all(
    request: Request, sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf
) -> Response:
    """Close all positions of an account of anybody."""
    return await close_everything(request, gateway, principal, sub_account_id)


@admin.post("/freeze/{sub_account_id}", operation_id="freeze")
async def freeze(sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf) -> wire.SubAccountBody:
    """Block new exposure; the account stays under risk control (H-2)."""
    account = gateway.account(principal, sub_account_id)
    changed = await gateway.deps.ledger.set_status(account.id, AccountStatus.FROZEN, principal.actor)
    return render.sub_account(changed)


@admin.post("/unfreeze/{sub_account_id}", operation_id="unfreeze")
async def unfreeze(sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf) -> wire.SubAccountBody:
    """Let the account trade again."""
    account = gateway.account(principal, sub_account_id)
    changed = await gateway.deps.ledger.set_status(account.id, AccountStatus.ACTIVE, principal.actor)
    return render.sub_account(changed)


@admin.post("/liquidation-mode/{sub_account_id}", operation_id="set_liquidation_mode")
async def liquidation_mode(
    sub_account_id: str, body: LiquidationModeBody, principal: PrincipalOf, gateway: GatewayOf
) -> wire.SubAccountBody:
    """Choose what happens at the liquidation threshold; in force at once (H-22)."""
    account = gateway.account(principal, sub_account_id)
    mode = LiquidationMode(body.mode)
    return render.sub_account(
        await gateway.deps.ledger.set_liquidation_mode(account.id, mode, principal.actor)
    )


@admin.get("/balance-log/{sub_account_id}", operation_id="balance_log")
async def balance_log(
    sub_account_id: str,
    principal: PrincipalOf,
    gateway: GatewayOf,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[wire.BalanceLogBody]:
    """List movements of the balance, newest first."""
    account = gateway.account(principal, sub_account_id)
    return [render.balance_log(row) for row in await gateway.deps.queries.balance_logs(account.id, limit)]


@exposures.get("/exposure", operation_id="exposure")
async def exposure(gateway: GatewayOf) -> list[wire.ExposureBody]:
    """Return the netting identity of each symbol (decision 9)."""
    return [render.exposure(row) for row in gateway.deps.service.exposure()]
