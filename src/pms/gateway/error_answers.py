"""What the exceptions of the framework and the gateway are answered with: one JSON body (spec 2.2)."""

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from pms.gateway.errors import ApiError, ErrorItem


def _json(error: ApiError) -> JSONResponse:
    headers = {"Cache-Control": "no-store", **error.headers}
    return JSONResponse(error.body(), status_code=error.status, headers=headers)


async def on_api_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    return _json(error)


async def on_invalid(request: Request, error: Exception) -> Response:
    """Schema failures are 400 with `details` of dotted paths; values are never repeated (spec 2.2)."""
    if not isinstance(error, RequestValidationError):
        raise error
    details = []
    for problem in error.errors():
        place = [str(part) for part in problem["loc"]]
        path = ".".join(place[1:]) if len(place) > 1 else "body"
        text = str(problem["msg"]).removeprefix("Value error, ")
        details.append({"path": path, "message": text, "code": _issue(str(problem["type"]))})
    text = "; ".join(f"{detail['path']}: {detail['message']}" for detail in details[:5])
    items = [
        ErrorItem("VALIDATION_FAILED", f"{detail['path']}: {detail['message']}") for detail in details[:5]
    ]
    return _json(ApiError(400, "VALIDATION_FAILED", text, errors=items, details=details[:20]))


def _issue(kind: str) -> str:
    if kind == "missing" or kind.endswith("_type"):
        return "invalid_type"
    if kind.startswith(("greater", "too_short", "string_too_short")):
        return "too_small"
    if kind.startswith(("less", "too_long", "string_too_long")):
        return "too_big"
    return "invalid_value"


async def on_http(request: Request, error: Exception) -> Response:
    """Answers of the framework itself: unknown paths and methods, as JSON (gateway spec 2.1)."""
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 404:
        return _json(ApiError(404, "NOT_FOUND", f"There is nothing at {request.url.path[:200]}."))
    if error.status_code == 405:
        allowed = dict(error.headers or {})
        return _json(
            ApiError(405, "METHOD_NOT_ALLOWED", f"{request.method} is not possible here.", headers=allowed)
        )
    return _json(ApiError(error.status_code, "REQUEST_FAILED", str(error.detail)))
