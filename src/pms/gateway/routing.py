"""The route classes: authenticate, limit and parse before a handler runs, in that order (spec 2.3, 3.5)."""

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from pms.gateway import wire
from pms.gateway.auth import Principal
from pms.gateway.context import Gateway, client_address, gateway_of, idempotency_key
from pms.gateway.errors import ApiError, forbidden, invalid
from pms.gateway.rate_limit import Allowance, too_many
from pms.gateway.repeated import SECRET_ANSWERS, once
from pms.gateway.strict_json import JsonError, parse_json

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HEALTH_PER_MINUTE = 3_000
BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})


class StrictRequest(Request):
    """A request whose JSON was parsed exactly, before anybody asks for it."""

    parsed: object = None

    async def json(self) -> object:
        return self.parsed


async def _parse(request: Request) -> object:
    body = await request.body()
    if not body:
        return None
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", "The body must be application/json.")
    try:
        return parse_json(body)
    except JsonError as error:
        raise invalid(f"The body is not acceptable JSON: {error}.", "MALFORMED_JSON") from error


class PublicRoute(APIRoute):
    """No credential; a small bucket for each address."""

    async def admit(self, gateway: Gateway, request: Request) -> Allowance:
        allowance = gateway.limiter.count(
            f"address {client_address(request)}", gateway.deps.settings.unauthenticated_per_minute
        )
        if not allowance.allowed:
            raise too_many(allowance)
        return allowance

    async def check_body(self, gateway: Gateway, request: Request, body: object) -> None:
        """Hook for ownership that the body decides; it precedes validation (gateway spec 4)."""

    async def respond(self, gateway: Gateway, request: StrictRequest, inner: Handler) -> Response:
        """Let the handler answer."""
        return await inner(request)

    def get_route_handler(self) -> Handler:
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            gateway = gateway_of(request)
            allowance = await self.admit(gateway, request)
            # The shell adds them to whatever answer comes, refusals included.
            request.state.rate_headers = allowance.headers()
            strict = StrictRequest(request.scope, request.receive)
            strict.parsed = await _parse(request) if request.method in BODY_METHODS else None
            strict._body = await request.body()
            await self.check_body(gateway, strict, strict.parsed)
            response = await self.respond(gateway, strict, inner)
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return handle


class HealthRoute(PublicRoute):
    """Watched by machines, therefore with a bucket of its own; the probes behind it are cached."""

    async def admit(self, gateway: Gateway, request: Request) -> Allowance:
        allowance = gateway.limiter.count(f"health {client_address(request)}", HEALTH_PER_MINUTE)
        if not allowance.allowed:
            raise too_many(allowance)
        return allowance


class UserRoute(PublicRoute):
    """Session or API key; limits for each principal after authentication (H-9)."""

    session_only: ClassVar[bool] = False
    admin_only: ClassVar[bool] = False

    @property
    def takes_key(self) -> bool:
        """True for routes that change something: all take an Idempotency-Key (gateway spec 6.6, H-36)."""
        changes = bool(set(self.methods or ()) - READ_METHODS)
        return changes and self.operation_id not in SECRET_ANSWERS

    async def respond(self, gateway: Gateway, request: StrictRequest, inner: Handler) -> Response:
        """Let the handler answer, once for each key of a user."""
        key = idempotency_key(request) if self.takes_key else None
        if key is None:
            return await inner(request)
        principal: Principal = request.state.principal
        scoped = f"{principal.user_id}:{key}"
        return await once(gateway, request, request.parsed, scoped, self.operation_id or "", inner)

    async def admit(self, gateway: Gateway, request: Request) -> Allowance:
        try:
            principal = await gateway.authenticator.authenticate(
                request.headers, session_only=self.session_only
            )
        except ApiError:
            await super().admit(gateway, request)
            raise
        reading = request.method in READ_METHODS
        settings = gateway.deps.settings
        limit = settings.reads_per_minute if reading else settings.writes_per_minute
        allowance = gateway.limiter.count(f"{'read' if reading else 'write'} {principal.user_id}", limit)
        if not allowance.allowed:
            raise too_many(allowance)
        if self.admin_only and not principal.is_admin:
            raise forbidden("Only administrators may do this.")
        request.state.principal = principal
        return allowance


class OwnedBodyRoute(UserRoute):
    """The body names the sub-account; a foreign one is refused before anything else in the body is judged."""

    async def check_body(self, gateway: Gateway, request: Request, body: object) -> None:
        if not isinstance(body, dict):
            raise invalid("The body must be a JSON object.")
        sub_account_id = body.get("subAccountId")
        if not isinstance(sub_account_id, str) or not sub_account_id:
            raise invalid("subAccountId is missing.", path="subAccountId")
        principal: Principal = request.state.principal
        gateway.account(principal, sub_account_id)


class SessionRoute(UserRoute):
    """Sessions only, no API key."""

    session_only = True


class AdminRoute(UserRoute):
    """Administrators only; an API key never carries that role (H-7)."""

    admin_only = True


class AdminSessionRoute(AdminRoute):
    session_only = True


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": wire.ErrorBody, "description": text}
    for status, text in (
        (400, "Refused: the request or the account does not allow it"),
        (401, "The credential is not valid"),
        (403, "Not yours"),
        (404, "Unknown id"),
        (409, "In conflict with the present state"),
        (413, "Body beyond 100 kB"),
        (429, "Too many requests"),
        (503, "Not ready; retry"),
    )
}


def router(prefix: str, tag: str, route_class: type[PublicRoute]) -> APIRouter:
    """Make a router whose routes all have one access rule and document the one error body."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=route_class, responses=ERRORS)
