"""The outermost ASGI layer: Host, body bound, security headers, latency, correlation ids, silent 5xx."""

import asyncio
import json
import logging
import re
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pms.gateway.bounds import BODY_BYTES_MAX, BODY_SECONDS_MAX
from pms.gateway.errors import ApiError
from pms.gateway.settings import GatewaySettings
from pms.model.clock import Clock
from pms.model.ids import IdSource
from pms.model.refusal import RefusalCode

log = logging.getLogger(__name__)

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(:[0-9]{1,5})?")
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def content_security_policy(host: str) -> str:
    """Return the policy; the WebSocket is named because older browsers do not count it as 'self'."""
    return (
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        f"connect-src 'self' ws://{host} wss://{host}; font-src 'self'; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    )


def _header(scope: Scope, name: bytes) -> bytes | None:
    """Return the only value of a header; None when it is absent or given twice."""
    values = [value for key, value in scope["headers"] if key.lower() == name]
    return values[0] if len(values) == 1 else None


async def _answer(send: Send, error: ApiError, extra: Mapping[str, str]) -> None:
    body = json.dumps(error.body()).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **error.headers, **extra}
    raw = [(key.lower().encode(), value.encode()) for key, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


class Shell:
    """Wraps the whole application; nothing that a request does can raise beyond it (H-16)."""

    def __init__(self, app: ASGIApp, settings: GatewaySettings, clock: Clock, ids: IdSource) -> None:
        self._app = app
        self._settings = settings
        self._clock = clock
        self._ids = ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = self._clock.monotonic()
        correlation_id = self._ids.token(8)
        host = self._host(scope)
        scope.setdefault("state", {})["started"] = started
        begun = False

        def extra() -> dict[str, str]:
            return {
                **_SECURITY_HEADERS,
                **scope["state"].get("rate_headers", {}),
                "Content-Security-Policy": content_security_policy(host or "localhost"),
                "X-Correlation-Id": correlation_id,
                "X-Server-Latency-Ms": f"{(self._clock.monotonic() - started) * 1000:.3f}",
            }

        async def send_dressed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [
                    *message.get("headers", ()),
                    *((key.lower().encode(), value.encode()) for key, value in extra().items()),
                ]
            await send(message)

        try:
            if host is None:
                raise ApiError(
                    400, "BAD_HOST", "The Host header is missing or not one of this server's names."
                )
            body = await self._read_body(scope, receive)
            await self._app(scope, _replay(body, receive), send_dressed)
        except ApiError as error:
            await _answer(send, error, extra() | {"Connection": "close"})
        except asyncio.CancelledError:
            # The server is stopping; this is the outermost step, so nobody waits for the cancellation.
            if not begun:
                text = "The server is stopping; whether the request had its effect is not known."
                await _answer(send, ApiError(504, RefusalCode.EXECUTION_UNKNOWN.name, text), extra())
        except Exception:
            # The path is without its query; headers and bodies are never logged (H-12).
            log.exception(
                "request %s %s failed, correlation id %s", scope["method"], scope["path"], correlation_id
            )
            if begun:
                return
            text = f"Something went wrong here; it was logged under {correlation_id}."
            await _answer(send, ApiError(500, "INTERNAL_ERROR", text), extra())

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._host(scope) is None or not self._origin_allowed(scope):
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            await self._app(scope, receive, send)
        except Exception:
            log.exception("a browser socket failed")

    def _host(self, scope: Scope) -> str | None:
        """Return the Host header if it is well formed and ours, else None (DNS rebinding, H-16)."""
        raw = _header(scope, b"host")
        match = _HOST.fullmatch(raw.decode("latin-1")) if raw else None
        if match is None:
            return None
        names = self._settings.host_names
        if names is not None and match["name"].lower() not in names:
            return None
        return match[0]

    def _origin_allowed(self, scope: Scope) -> bool:
        """Browsers name the page that opens a socket: only our own and the listed ones may (H-11)."""
        origins = [value for key, value in scope["headers"] if key.lower() == b"origin"]
        if not origins:
            return True
        origin = origins[0].decode("latin-1")
        host = self._host(scope)
        return len(origins) == 1 and (
            origin in (f"http://{host}", f"https://{host}") or origin in self._settings.allowed_origins
        )

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes:
        """Return the whole body. Raises ApiError 413 beyond 100 kB and 408 after 10 s."""
        too_large = ApiError(413, "BODY_TOO_LARGE", f"The body exceeds {BODY_BYTES_MAX} bytes.")
        declared = _header(scope, b"content-length")
        if declared is not None and declared.isdigit() and int(declared[:12]) > BODY_BYTES_MAX:
            raise too_large
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS_MAX):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise ApiError(
                            400, "DISCONNECTED", "The client went away before the body was complete."
                        )
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    if size > BODY_BYTES_MAX:
                        raise too_large
                    chunks.append(chunk)
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError:
            raise ApiError(408, "BODY_TOO_SLOW", "The body did not arrive in time.") from None


def _replay(body: bytes, receive: Receive) -> Receive:
    delivered = False

    async def replaying() -> Message:
        nonlocal delivered
        if not delivered:
            delivered = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replaying
