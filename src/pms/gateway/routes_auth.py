"""`/api/auth`: login, registration, and the administration of users (gateway spec 6.1)."""

from fastapi import APIRouter, Request

from pms.gateway import render, wire
from pms.gateway.context import Gateway, GatewayOf, PrincipalOf, client_address
from pms.gateway.errors import ApiError, not_found
from pms.gateway.passwords import hash_password, stored_key
from pms.gateway.ports import Role, User, UserStatus
from pms.gateway.rate_limit import too_many
from pms.gateway.requests import ID_CHARACTERS, LoginBody, RegisterBody
from pms.gateway.routing import AdminSessionRoute, PublicRoute, SessionRoute, router
from pms.gateway.settings import Registration
from pms.model.ids import UserId

public = router("/api/auth", "auth", PublicRoute)
session = router("/api/auth", "auth", SessionRoute)
admin = router("/api/auth", "auth", AdminSessionRoute)
ROUTERS: tuple[APIRouter, ...] = (public, session, admin)


def _limit_credentials(gateway: Gateway, request: Request, username: str) -> None:
    """10 attempts a minute for each address and for each name (gateway spec 2.3)."""
    limit = gateway.deps.settings.logins_per_minute
    for key in (f"login address {client_address(request)}", f"login name {username}"):
        allowance = gateway.limiter.count(key, limit)
        if not allowance.allowed:
            raise too_many(allowance)


@public.post("/login", operation_id="login")
async def login(request: Request, body: LoginBody, gateway: GatewayOf) -> wire.LoginResult:
    """Exchange user name and password for a session token of 7 days."""
    _limit_credentials(gateway, request, body.username)
    token, user = await gateway.authenticator.login(body.username, body.password)
    return wire.LoginResult(token=token, user=render.user(user))


@public.post("/register", operation_id="register")
async def register(request: Request, body: RegisterBody, gateway: GatewayOf) -> wire.RegisterResult:
    """Ask for a user; off unless the server allows it, and never an administrator (H-34)."""
    _limit_credentials(gateway, request, body.username)
    if gateway.deps.settings.registration is Registration.OFF:
        raise ApiError(403, "REGISTRATION_OFF", "Registration is off; an administrator creates users.")
    user = User(
        UserId(gateway.deps.ids.uuid()),
        body.username,
        await hash_password(body.password),
        Role.USER,
        UserStatus.PENDING,
        None,
        gateway.deps.clock.now_ms(),
    )
    if not await gateway.deps.directory.add_user(user):
        raise ApiError(409, "NAME_TAKEN", "That user name cannot be used.")
    fields = render.user(user).model_dump()
    return wire.RegisterResult.model_validate(
        fields | {"message": "Registered; an administrator has to approve."}
    )


@session.get("/me", operation_id="me")
async def me(principal: PrincipalOf) -> wire.MeBody:
    """Return the caller."""
    return render.me(principal.user)


@session.post("/api-key", operation_id="create_api_key")
async def create_api_key(principal: PrincipalOf, gateway: GatewayOf) -> wire.ApiKeyBody:
    """Make a new API key, shown once; the old one stops working at once (H-6)."""
    key = "pms_" + gateway.deps.ids.token(24)
    if await gateway.deps.directory.set_api_key(principal.user_id, stored_key(key)) is None:
        raise not_found("The user")
    gateway.authenticator.invalidate(principal.user_id)
    return wire.ApiKeyBody(api_key=key)


@admin.get("/users", operation_id="users")
async def users(gateway: GatewayOf) -> list[wire.UserListItem]:
    """List users, newest first, with their sub-accounts. API keys are never shown."""
    owned: dict[str | None, list[wire.UserAccountBody]] = {}
    for account in gateway.deps.ledger.accounts():
        item = wire.UserAccountBody(
            id=account.id,
            name=account.name,
            type=account.type,
            status=account.status.value,
            current_balance=float(account.balance),
        )
        owned.setdefault(account.user_id, []).append(item)
    rows = await gateway.deps.directory.users()
    return [
        wire.UserListItem.model_validate(
            render.me(row).model_dump() | {"sub_accounts": owned.get(row.id, [])}
        )
        for row in rows
    ]


async def _set_status(gateway: Gateway, user_id: str, status: UserStatus) -> wire.UserStatusBody:
    known = ID_CHARACTERS.fullmatch(user_id)
    user = await gateway.deps.directory.set_user_status(UserId(user_id), status) if known else None
    if user is None:
        raise not_found("The user")
    gateway.authenticator.invalidate(user.id)
    return wire.UserStatusBody(id=user.id, username=user.username, status=user.status.value)


@admin.post("/approve/{user_id}", operation_id="approve_user")
async def approve(user_id: str, gateway: GatewayOf) -> wire.UserStatusBody:
    """Let a user in."""
    return await _set_status(gateway, user_id, UserStatus.APPROVED)


@admin.post("/ban/{user_id}", operation_id="ban_user")
async def ban(user_id: str, principal: PrincipalOf, gateway: GatewayOf) -> wire.UserStatusBody:
    """Shut a user out: sessions, keys and sockets end at once."""
    if user_id == principal.user_id:
        raise ApiError(409, "OWN_USER", "You cannot ban yourself.")
    answer = await _set_status(gateway, user_id, UserStatus.BANNED)
    gateway.sockets.close_user(UserId(user_id))
    return answer
