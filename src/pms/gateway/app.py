"""Assembles the FastAPI application from its routers, pages, sockets and error answers."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from pms.execution.errors import NotRunning
from pms.gateway import (
    routes_accounts,
    routes_admin,
    routes_auth,
    routes_control,
    routes_health,
    routes_house,
    routes_market,
    routes_money,
    routes_preview,
    routes_reads,
    routes_real,
    routes_rules,
    routes_trade,
)
from pms.gateway.context import Gateway, GatewayDependencies
from pms.gateway.error_answers import on_api_error, on_http, on_invalid
from pms.gateway.errors import ApiError
from pms.gateway.pages import add_pages
from pms.gateway.repeated import KEY_PARAMETER, SECRET_ANSWERS
from pms.gateway.routing import READ_METHODS
from pms.gateway.shell import Shell
from pms.ledger import errors as ledger_errors
from pms.model.errors import PmsError
from pms.model.refusal import RefusalCode

DESCRIPTION = (
    "Virtual sub-accounts on one exchange account: accounts, orders, positions, history. WebSocket at /ws."
)

_CODES: tuple[tuple[type[PmsError], RefusalCode], ...] = (
    (ledger_errors.AccountNotFoundError, RefusalCode.ACCOUNT_NOT_FOUND),
    (ledger_errors.OrderNotFoundError, RefusalCode.ORDER_NOT_FOUND),
    (ledger_errors.AccountExposedError, RefusalCode.EXPOSURE_OPEN),
    (ledger_errors.PositionNotOpenError, RefusalCode.POSITION_CLOSED),
    (ledger_errors.InsufficientBalance, RefusalCode.INSUFFICIENT_BALANCE),
    (ledger_errors.HouseCapitalInsufficient, RefusalCode.HOUSE_CAPITAL_INSUFFICIENT),
    (ledger_errors.IdempotencyConflictError, RefusalCode.IDEMPOTENCY_CONFLICT),
    (ledger_errors.InvalidAmountError, RefusalCode.INVALID_QUANTITY),
    (ledger_errors.LedgerBusyError, RefusalCode.NOT_READY),
    (ledger_errors.LeaseError, RefusalCode.NOT_READY),
    (ledger_errors.LedgerClosedError, RefusalCode.NOT_READY),
    (ledger_errors.DatabaseUnavailableError, RefusalCode.NOT_READY),
    (ledger_errors.DatabaseFullError, RefusalCode.NOT_READY),
    (NotRunning, RefusalCode.NOT_READY),
)
"""What an exception of a lower layer means to a client; its text stays here, codes go out (H-35)."""


def _lower(code: RefusalCode) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        headers = {"Retry-After": "1"} if code.http_status == 503 else {}
        return await on_api_error(
            request, ApiError(code.http_status, code.name, code.meaning, headers=headers)
        )

    return handle


def create_app(deps: GatewayDependencies) -> FastAPI:
    """Return the application; `app.state.gateway` holds its parts. `GatewayServer` runs it."""
    app = FastAPI(title="PMS", version=deps.version, docs_url=None, redoc_url=None, openapi_url=None)
    gateway = Gateway(deps)
    app.state.gateway = gateway
    for module in (
        routes_auth,
        routes_accounts,
        routes_market,
        routes_trade,
        routes_reads,
        routes_real,
        routes_preview,
        routes_admin,
        routes_money,
        routes_control,
        routes_rules,
        routes_house,
        routes_health,
    ):
        for router in module.ROUTERS:
            app.include_router(router)

    @app.websocket("/ws")
    async def browser(socket: WebSocket) -> None:
        await gateway.sockets.serve(socket)

    add_pages(app)
    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    for kind, code in _CODES:
        app.add_exception_handler(kind, _lower(code))
    if deps.settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(deps.settings.allowed_origins),
            allow_credentials=True,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-PMS-Key"],
            expose_headers=["X-Server-Latency-Ms", "X-Correlation-Id", "Retry-After"],
        )
    app.add_middleware(Shell, settings=deps.settings, clock=deps.clock, ids=deps.ids)
    _describe(app, deps.version)
    return app


def _describe(app: FastAPI, version: str) -> None:
    """Add the two credentials to the description, and drop FastAPI's own 422, which is a 400 here."""
    public = {"/api/auth/login", "/api/auth/register", "/api/health", "/api/health/ready"}

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            schema = get_openapi(title="PMS", version=version, description=DESCRIPTION, routes=app.routes)
            schema["components"]["securitySchemes"] = {
                "session": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "key": {"type": "apiKey", "in": "header", "name": "X-PMS-Key"},
            }
            for path, item in schema["paths"].items():
                for method, operation in item.items():
                    operation["responses"].pop("422", None)
                    if path in public:
                        continue
                    operation["security"] = [{"session": []}, {"key": []}]
                    secret = operation["operationId"] in SECRET_ANSWERS
                    listed = operation.setdefault("parameters", [])
                    if method.upper() not in READ_METHODS and not secret and KEY_PARAMETER not in listed:
                        listed.append(KEY_PARAMETER)
            for unused in ("HTTPValidationError", "ValidationError"):
                schema["components"]["schemas"].pop(unused, None)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
