"""Further rules of accounts: what is in force, its versions, and what was broken (`/api/admin`)."""

import json
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from pms.gateway import wire
from pms.gateway.auth import Principal
from pms.gateway.context import Gateway, GatewayOf, PrincipalOf
from pms.gateway.idempotency import Answer
from pms.gateway.render import iso
from pms.gateway.routes_trade import KEY_NOTE, ok, once
from pms.gateway.routing import AdminRoute, router
from pms.gateway.rule_bodies import TradingRulesBody
from pms.model.ids import SubAccountId
from pms.model.trading_rules import RuleSet, rules_to_json

admin = router("/api/admin", "trading rules", AdminRoute)
ROUTERS: tuple[APIRouter, ...] = (admin,)

Limit = Annotated[int, Query(ge=1, le=1000)]


def _body(rules: RuleSet | None, source: str) -> wire.RuleSetBody:
    if rules is None:
        return wire.RuleSetBody(version=0, rules=None, actor=None, timestamp=None, source="none")
    return wire.RuleSetBody(
        version=rules.version,
        rules=rules_to_json(rules.rules),
        actor=rules.actor,
        timestamp=iso(rules.timestamp_ms),
        source=source,
    )


def _in_force(gateway: Gateway, account_id: SubAccountId) -> wire.RuleSetBody:
    found = gateway.deps.ledger.rule_set_of(account_id)
    return _body(found, "global" if found is not None and found.sub_account_id is None else "account")


async def _set(
    request: Request,
    body: TradingRulesBody,
    principal: Principal,
    gateway: Gateway,
    scope: SubAccountId | None,
) -> Response:
    async def work() -> Answer:
        written = await gateway.deps.ledger.set_trading_rules(scope, body.rules(), principal.actor)
        return ok(200, _body(written, "global" if scope is None else "account"))

    return await once(request, gateway, principal, body.model_dump(mode="json"), work)


@admin.get("/rules", operation_id="global_trading_rules")
async def global_rules(gateway: GatewayOf) -> wire.RuleSetBody:
    """Return the further rules of every account that has none of its own."""
    return _body(gateway.deps.ledger.rule_set(None), "global")


@admin.put(
    "/rules",
    response_model=wire.RuleSetBody,
    operation_id="set_global_trading_rules",
    openapi_extra=KEY_NOTE,
)
async def set_global_rules(
    request: Request, body: TradingRulesBody, principal: PrincipalOf, gateway: GatewayOf
) -> Response:
    """Write the next version of the global rules; what is left out is off."""
    return await _set(request, body, principal, gateway, None)


@admin.get("/sub-accounts/{sub_account_id}/rules", operation_id="account_trading_rules")
async def account_rules(sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf) -> wire.RuleSetBody:
    """Return the further rules in force for an account."""
    return _in_force(gateway, gateway.account(principal, sub_account_id).id)


@admin.put(
    "/sub-accounts/{sub_account_id}/rules",
    response_model=wire.RuleSetBody,
    operation_id="set_account_trading_rules",
    openapi_extra=KEY_NOTE,
)
async def set_account_rules(
    request: Request, sub_account_id: str, body: TradingRulesBody, principal: PrincipalOf, gateway: GatewayOf
) -> Response:
    """Write the next version of an account's rules; what is left out is off, `followGlobal` gives them up."""
    account = gateway.account(principal, sub_account_id)
    return await _set(request, body, principal, gateway, account.id)


@admin.get("/sub-accounts/{sub_account_id}/rules/history", operation_id="trading_rules_history")
async def history(
    sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf, limit: Limit = 100
) -> list[wire.RuleSetBody]:
    """Return every version of an account's own rules, newest first."""
    account = gateway.account(principal, sub_account_id)
    rows = await gateway.deps.queries.rule_sets(account.id, limit)
    return [_body(row, "account") for row in rows]


@admin.get("/sub-accounts/{sub_account_id}/rules/breaches", operation_id="rule_breaches")
async def breaches(
    sub_account_id: str, principal: PrincipalOf, gateway: GatewayOf, limit: Limit = 100
) -> list[wire.BreachBody]:
    """Return what was broken, with the evidence, newest first."""
    account = gateway.account(principal, sub_account_id)
    return [
        wire.BreachBody(
            rule=row.rule,
            action=row.action,
            rules_version=row.rules_version,
            evidence=json.loads(row.evidence),
            timestamp=iso(row.timestamp_ms),
        )
        for row in await gateway.deps.queries.breaches(account.id, limit)
    ]
