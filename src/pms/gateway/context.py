"""What every handler shares: the parts behind the gateway, the caller, the ownership rules (spec 4)."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from pms.bus.hub import EventHub
from pms.execution.api import AccountState, HouseService, TradingService
from pms.gateway.auth import Authenticator, Principal
from pms.gateway.errors import forbidden, invalid, not_found, unauthorized
from pms.gateway.health import HealthCheck
from pms.gateway.idempotency import IdempotentRequests
from pms.gateway.kline_cache import KlineCache
from pms.gateway.ports import Directory, HealthProbes, MainAccount, Queries, RealAccountView
from pms.gateway.rate_limit import RateLimiter
from pms.gateway.requests import ID_CHARACTERS
from pms.gateway.settings import GatewaySettings
from pms.gateway.sockets import BrowserSockets
from pms.gateway.tokens import TokenIssuer
from pms.ledger.api import Ledger
from pms.model.account import SubAccount
from pms.model.clock import Clock
from pms.model.ids import IdSource, PendingOrderId, PositionId, SubAccountId


@dataclass(frozen=True, slots=True)
class GatewayDependencies:
    """The parts that the composition root hands to the gateway. `epoch` names the run of event sequences."""

    settings: GatewaySettings
    service: TradingService
    ledger: Ledger
    directory: Directory
    queries: Queries
    hub: EventHub
    probes: HealthProbes
    clock: Clock
    ids: IdSource
    version: str
    epoch: str = "1"
    main_account: MainAccount | None = None
    exchange_statistics: Callable[[], object] | None = None
    real_account: Callable[[], RealAccountView] | None = None
    house: HouseService | None = None
    unfinished_restrictions: Callable[[], Sequence[SubAccountId]] = tuple


class Gateway:
    """State of one app: the dependencies and what the gateway itself keeps. Event-loop thread only."""

    def __init__(self, deps: GatewayDependencies) -> None:
        self.deps = deps
        self.tokens = TokenIssuer(deps.settings.jwt_secret, deps.clock, deps.ids)
        self.authenticator = Authenticator(deps.directory, self.tokens, deps.clock)
        self.limiter = RateLimiter(deps.clock)
        self.health = HealthCheck(deps.probes, deps.clock)
        self.klines = KlineCache(deps.service, deps.clock)
        self.creating = asyncio.Lock()
        self.idempotent = IdempotentRequests(deps.queries, deps.clock)
        self.sockets = BrowserSockets(
            deps.service, deps.ledger, self.authenticator, deps.clock, deps.settings, deps.epoch
        )

    # --- ownership ------------------------------------------------------------------------------------------

    def account(self, principal: Principal, sub_account_id: str) -> SubAccount:
        """Return the account if the caller may touch it. Raises 404 (unknown) or 403 (foreign)."""
        account = self.deps.ledger.account(SubAccountId(sub_account_id))
        if account is None:
            raise not_found("The sub-account")
        if not principal.is_admin and account.user_id != principal.user_id:
            raise forbidden("The sub-account belongs to somebody else.")
        return account

    def state(self, principal: Principal, sub_account_id: str) -> AccountState:
        """Return the live view of an account that the caller may touch."""
        self.account(principal, sub_account_id)
        state = self.deps.service.account_state(SubAccountId(sub_account_id))
        if state is None:
            raise not_found("The sub-account")
        return state

    async def position_owner(self, principal: Principal, position_id: str) -> PositionId:
        """Check the account behind a position, open or not; 404 unknown, 403 foreign."""
        checked = PositionId(_known_form(position_id, "The position"))
        position = self.deps.ledger.position(checked)
        if position is not None:
            self.account(principal, position.sub_account_id)
            return checked
        stored = await self.deps.queries.position(checked)
        if stored is None:
            raise not_found("The position")
        self.account(principal, stored.sub_account_id)
        return checked

    async def order_owner(self, principal: Principal, order_id: str) -> PendingOrderId:
        """Check the account behind a pending order, live or not; 404 unknown, 403 foreign."""
        checked = PendingOrderId(_known_form(order_id, "The order"))
        order = self.deps.ledger.order_by_pending(checked)
        if order is not None:
            if order.sub_account_id is None:
                raise not_found("The order")
            self.account(principal, order.sub_account_id)
            return checked
        stored = await self.deps.queries.pending_order(checked)
        if stored is None:
            raise not_found("The order")
        self.account(principal, stored.sub_account_id)
        return checked


def _known_form(text: str, what: str) -> str:
    """Refuse ids that no row can have before a database sees them (NUL, absurd length)."""
    if not ID_CHARACTERS.fullmatch(text):
        raise not_found(what)
    return text


def gateway_of(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


def principal_of(request: Request) -> Principal:
    """Return the caller that the route's class has already authenticated."""
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is None:
        raise unauthorized("Authentication is required.")
    return principal


GatewayOf = Annotated[Gateway, Depends(gateway_of)]
PrincipalOf = Annotated[Principal, Depends(principal_of)]


def idempotency_key(request: Request) -> str | None:
    """Return the `Idempotency-Key` header. Raises 400 unless it is 1 to 128 printable ASCII characters."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= 128 or not key.isascii() or not key.isprintable():
        raise invalid("Idempotency-Key takes 1 to 128 printable ASCII characters.", path="Idempotency-Key")
    return key


def client_address(request: Request) -> str:
    """Return the caller's address: the peer's, or what a trusted proxy says of its own peer."""
    address = request.client.host if request.client else "unknown"
    settings = gateway_of(request).deps.settings
    hops = [hop.strip() for line in request.headers.getlist("x-forwarded-for") for hop in line.split(",")]
    while hops and settings.peer_is_proxy(address):
        address = hops.pop()[:64]
    return address


def elapsed_ms(request: Request) -> float:
    """Return the time since the request arrived, in ms."""
    clock = gateway_of(request).deps.clock
    started: float = getattr(request.state, "started", clock.monotonic())
    return round((clock.monotonic() - started) * 1000, 3)
