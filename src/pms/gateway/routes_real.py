"""`/api/admin/real-account`: the real account behind everybody, as an administrator must see it."""

from fastapi import APIRouter

from pms.gateway import wire
from pms.gateway.context import GatewayOf
from pms.gateway.ports import RealAccountView
from pms.gateway.render import finite
from pms.gateway.routing import AdminRoute, router

real = router("/api/admin", "admin", AdminRoute)
ROUTERS: tuple[APIRouter, ...] = (real,)


@real.get("/real-account", operation_id="real_account")
async def real_account(gateway: GatewayOf) -> wire.RealAccountBody | None:
    """Return the real account as of now: margin, maintenance, level of its ladder, how far its equity covers
    what the sub-accounts hold together, and what ladder and exchange have closed; null without an engine."""
    told = gateway.deps.real_account
    return None if told is None else _body(told())


def _body(view: RealAccountView) -> wire.RealAccountBody:
    account, ladder, closes = view.account, view.ladder, view.exchange_closes
    return wire.RealAccountBody(
        level=account.level.name,
        known=account.known,
        reading_age_ms=account.reading_age_ms,
        margin_balance=finite(float(account.margin_balance)),
        margin_available=finite(float(account.margin_available)),
        initial_margin=finite(float(account.initial_margin)),
        maintenance_margin=finite(float(account.maintenance_margin)),
        reserved_elsewhere=finite(float(account.reserved_elsewhere)),
        margin_ratio=finite(float(account.margin_ratio)),
        virtual_equity=finite(float(account.virtual_equity)),
        coverage=finite(float(account.coverage)),
        shed_steps=ladder.steps,
        shed_postponed=ladder.postponed,
        shed_postponed_because=ladder.last_reason or None,
        exchange_liquidations=closes.liquidations,
        exchange_deleveragings=closes.deleveragings,
        exchange_settlements=closes.settlements + closes.settled_flat,
        settlements_waiting=[
            wire.WaitingBody(symbol=symbol, reason=reason) for symbol, reason in closes.waiting
        ],
    )
