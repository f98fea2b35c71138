"""Exceptions of the gateway.

PmsError
└── GatewayError            base
    ├── PortInUseError      the address to listen on is taken or not ours to bind
    ├── SettingsError       a setting makes a safe start impossible
    └── ApiError            a request is answered with a 4xx or 5xx body; never leaves the HTTP layer
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pms.model.errors import PmsError
from pms.model.refusal import Refused


class GatewayError(PmsError):
    """Base of the gateway's exceptions."""


class PortInUseError(GatewayError):
    """Nothing was bound and nothing was stopped; the text names the port and what to do."""


class SettingsError(GatewayError):
    """A setting of the gateway is missing or unsafe."""


@dataclass(frozen=True, slots=True)
class ErrorItem:
    """One reason, as the browser shows it: `code` picks the icon, `message` is the text."""

    code: str
    message: str


@dataclass(eq=False)
class ApiError(GatewayError):
    """The answer to a request that is not carried out (gateway spec 2.2, the superset body).

    `extra` is merged into the body for endpoints whose refusals carry more fields (`reasons`, `status`).
    """

    status: int
    code: str
    message: str
    errors: Sequence[ErrorItem] = ()
    details: Sequence[Mapping[str, str]] = ()
    extra: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.message)

    def body(self) -> dict[str, object]:
        """Return the JSON body; `error` is always a string on `/api`."""
        items = self.errors or (ErrorItem(self.code, self.message),)
        body: dict[str, object] = {
            "ok": False,
            "error": self.message,
            "code": self.code,
            "errors": [{"code": item.code, "message": item.message} for item in items],
        }
        if self.details:
            body["details"] = [dict(detail) for detail in self.details]
        return body | dict(self.extra)


def refused(outcome: Refused, *, reasons_as_objects: bool = False) -> ApiError:
    """Turn a refusal into its answer; the first reason decides status and code (habit 10).

    `reasons` is a list of texts, or of `{code, message}` on the closing endpoints (gateway spec 6.6).
    """
    items = [ErrorItem(refusal.code.name, refusal.message) for refusal in outcome.refusals]
    reasons: list[object] = (
        [{"code": item.code, "message": item.message} for item in items]
        if reasons_as_objects
        else [item.message for item in items]
    )
    headers = {"Retry-After": "1"} if outcome.http_status in (429, 503) else {}
    return ApiError(
        outcome.http_status,
        items[0].code,
        ", ".join(item.message for item in items),
        errors=items,
        extra={"success": False, "reasons": reasons},
        headers=headers,
    )


def not_found(what: str) -> ApiError:
    """404 for an unknown id."""
    return ApiError(404, "NOT_FOUND", f"{what} was not found.")


def forbidden(message: str) -> ApiError:
    """403: the caller is known, but may not do this."""
    return ApiError(403, "FORBIDDEN", message)


def unauthorized(message: str, code: str = "UNAUTHORIZED") -> ApiError:
    """401: used for nothing but "this credential is not valid" (gateway spec 2.2)."""
    return ApiError(401, code, message, headers={"WWW-Authenticate": "Bearer"})


def invalid(message: str, code: str = "VALIDATION_FAILED", path: str = "") -> ApiError:
    """400 for a request that says something impossible."""
    details = ({"path": path, "message": message, "code": "invalid_value"},) if path else ()
    return ApiError(400, code, message, details=details)
