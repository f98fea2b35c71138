"""`/api/sub-accounts` and `/api/risk-rules` (gateway spec 6.3 and 6.4)."""

from decimal import Decimal

from fastapi import APIRouter, Response

from pms.gateway import render, wire
from pms.gateway.auth import Principal
from pms.gateway.bounds import ACCOUNTS_PER_USER_MAX
from pms.gateway.context import Gateway, GatewayOf, PrincipalOf
from pms.gateway.errors import ApiError, forbidden, not_found, refused
from pms.gateway.listing import listed
from pms.gateway.ports import RulesRow
from pms.gateway.requests import ChangeAccountBody, NewAccountBody, RulesChangeBody
from pms.gateway.routing import AdminRoute, UserRoute, router
from pms.ledger.api import NewAccount
from pms.model.account import AccountStatus, RiskRules, SubAccount
from pms.model.ids import SubAccountId
from pms.model.money import Money
from pms.model.refusal import RefusalCode, Refused

user = router("/api/sub-accounts", "sub-accounts", UserRoute)
admin = router("/api/risk-rules", "risk rules", AdminRoute)
ROUTERS: tuple[APIRouter, ...] = (user, admin)


def _item(
    gateway: Gateway, account: SubAccount, rows: dict[SubAccountId | None, RulesRow]
) -> wire.AccountListItem:
    state = gateway.deps.service.account_state(account.id)
    row = rows.get(account.id)
    fields = render.sub_account(account).model_dump()
    fields["risk_rule"] = render.rules(row.rules, row) if row else None
    fields["positions"] = [render.live_position(live) for live in state.positions] if state else []
    return wire.AccountListItem.model_validate(fields)


async def _rows(gateway: Gateway) -> dict[SubAccountId | None, RulesRow]:
    return {row.sub_account_id: row for row in await gateway.deps.directory.rules_rows()}


def _own(gateway: Gateway, principal: Principal) -> list[SubAccount]:
    accounts = [
        account
        for account in gateway.deps.ledger.accounts()
        if principal.is_admin or account.user_id == principal.user_id
    ]
    return sorted(accounts, key=lambda account: (account.created_at_ms, account.id), reverse=True)


@user.get("", response_model=list[wire.AccountListItem], operation_id="list_accounts")
async def list_accounts(principal: PrincipalOf, gateway: GatewayOf) -> Response:
    """List the caller's accounts (an admin's: all), newest first, with live positions."""
    rows = await _rows(gateway)
    return await listed(_item(gateway, account, rows) for account in _own(gateway, principal))


@user.get("/{sub_account_id}", operation_id="get_account")
async def get_account(
    sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf
) -> wire.AccountListItem:
    """Return one account."""
    account = gateway.account(principal, sub_account_id)
    return _item(gateway, account, await _rows(gateway))


@user.post("", status_code=201, operation_id="create_account")
async def create_account(
    body: NewAccountBody, principal: PrincipalOf, gateway: GatewayOf
) -> wire.SubAccountBody:
    """Create an account of the caller; a non-admin gets the configured grant, once for each user (H-1)."""
    async with gateway.creating:
        amount = Decimal(body.initial_balance)
        if not principal.is_admin:
            owned = sum(
                1 for account in gateway.deps.ledger.accounts() if account.user_id == principal.user_id
            )
            if owned >= ACCOUNTS_PER_USER_MAX:
                code = RefusalCode.BOUND_REACHED
                raise ApiError(
                    code.http_status, code.name, f"A user has at most {ACCOUNTS_PER_USER_MAX} accounts."
                )
            amount = Decimal(0) if owned else gateway.deps.settings.default_account_grant
        wanted = NewAccount(body.name, principal.user_id, Money(amount), body.type)
        return render.sub_account(await gateway.deps.ledger.create_account(wanted, principal.actor))


@user.patch("/{sub_account_id}", operation_id="change_account")
async def change_account(
    sub_account_id: str, body: ChangeAccountBody, principal: PrincipalOf, gateway: GatewayOf
) -> wire.SubAccountBody:
    """Rename (owner), deposit, withdraw, freeze or release (admins only, H-1 and H-2)."""
    account = gateway.account(principal, sub_account_id)
    if not principal.is_admin and (body.add_balance is not None or body.status is not None):
        raise forbidden("Only administrators change balance or status.")
    ledger, actor = gateway.deps.ledger, principal.actor
    if body.add_balance is not None and body.add_balance > 0:
        account = await ledger.deposit(account.id, Money(body.add_balance), actor)
    elif body.add_balance is not None and body.add_balance < 0:
        moved = await gateway.deps.service.withdraw(account.id, Money(-body.add_balance), actor)
        if isinstance(moved, Refused):
            raise refused(moved)
        account = moved
    if body.status is not None:
        account = await ledger.set_status(account.id, AccountStatus(body.status), actor)
    if body.name is not None:
        account = await ledger.rename(account.id, body.name, actor)
    return render.sub_account(account)


@user.delete("/{sub_account_id}", operation_id="freeze_account")
async def delete_account(
    sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf
) -> wire.SubAccountBody:
    """Freeze an account (the soft deletion of the incumbent); admins only, as every change of status."""
    account = gateway.account(principal, sub_account_id)
    if not principal.is_admin:
        raise forbidden("Only administrators change the status.")
    return render.sub_account(
        await gateway.deps.ledger.set_status(account.id, AccountStatus.FROZEN, principal.actor)
    )


# --- risk rules ---------------------------------------------------------------------------------------------


def _values(body: RulesChangeBody) -> RiskRules:
    return RiskRules(
        body.max_leverage, body.max_notional_per_trade, body.max_total_exposure, body.liquidation_threshold
    )


@admin.get("", operation_id="list_rules")
async def list_rules(gateway: GatewayOf) -> list[wire.RulesListItem]:
    """List the rows of rules; the global one has no account."""
    items = []
    for row in await gateway.deps.directory.rules_rows():
        account = gateway.deps.ledger.account(row.sub_account_id) if row.sub_account_id else None
        fields = render.rules(row.rules, row).model_dump()
        fields["sub_account"] = render.sub_account(account) if account else None
        items.append(wire.RulesListItem.model_validate(fields))
    return items


async def _stored(gateway: Gateway, sub_account_id: SubAccountId | None, values: RiskRules) -> wire.RulesBody:
    return render.rules(values, (await _rows(gateway)).get(sub_account_id))


@admin.put("/global", operation_id="set_global_rules")
async def set_global(body: RulesChangeBody, principal: PrincipalOf, gateway: GatewayOf) -> wire.RulesBody:
    """Set the rules of all accounts that have none of their own; in force at once (H-22)."""
    await gateway.deps.ledger.set_rules(None, _values(body), principal.actor)
    return await _stored(gateway, None, _values(body))


@admin.put("/{sub_account_id}", operation_id="set_account_rules")
async def set_rules(
    sub_account_id: str, body: RulesChangeBody, principal: PrincipalOf, gateway: GatewayOf
) -> wire.RulesBody:
    """Set the rules of one account; in force at once (H-22)."""
    account = gateway.account(principal, sub_account_id)
    await gateway.deps.ledger.set_rules(account.id, _values(body), principal.actor)
    return await _stored(gateway, account.id, _values(body))


@admin.delete("/{sub_account_id}", operation_id="reset_account_rules")
async def reset_rules(sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf) -> wire.SuccessBody:
    """Give an account the global rules again, by copying their present values into its row."""
    account = gateway.account(principal, sub_account_id)
    rows = await _rows(gateway)
    if account.id not in rows:
        raise not_found("A rule of that account")
    row = rows.get(None)
    await gateway.deps.ledger.set_rules(account.id, row.rules if row else RiskRules(), principal.actor)
    return wire.SuccessBody()
