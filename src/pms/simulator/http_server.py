"""The REST door: from an HTTP request to a ticket for the gate, from its outcome to an answer."""

from __future__ import annotations

import asyncio
import logging
import secrets
from uuid import UUID

import msgspec
from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from pms.exchange.messages import ErrorBody
from pms.simulator.canned import JSON, NOT_FOUND, Canned
from pms.simulator.endpoints import ENDPOINTS
from pms.simulator.errors import Reject
from pms.simulator.gate import Gate, Passed, Ticket
from pms.simulator.http_admin import AdminServer
from pms.simulator.requests import parameters, signed_text
from pms.simulator.venue import Venue

BODY_BYTES_MAX = 1_000_000
BODY_SECONDS = 10.0
"""How long a client may take to send a body; the venue's own bound is not known."""
API_PREFIXES = ("/fapi/", "/futures/data/")

encode = msgspec.json.Encoder(decimal_format="number").encode


class _NoClientMistakes(logging.Filter):
    """Holds back what a client did wrong: it heard the answer, and a traceback here would say nothing."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        return not isinstance(error, HttpProcessingError | RequestPayloadError | ConnectionError)


http_log = logging.getLogger("pms.simulator.http")
http_log.addFilter(_NoClientMistakes())


class RestServer:
    """Handles every HTTP request that is no WebSocket upgrade."""

    def __init__(self, venue: Venue, gate: Gate, admin: AdminServer) -> None:
        self._venue = venue
        self._gate = gate
        self._admin = admin

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; a fault may end the connection instead.

        A body that does not come, or cannot be decoded, is answered and ends the connection.
        """
        try:
            return await self._handle(request)
        except RequestPayloadError:
            return _ended(400, "The request body cannot be decoded; send it plain, or correctly encoded.")
        except ConnectionError:
            return _ended(400, "The connection ended before the request body.")

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/sim/"):
            return await self._admin.handle(request)
        started_ms = self._venue.clock.now_ms()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = b"" if request.method == "GET" else await request.read()
        except TimeoutError:
            return _ended(408, f"The request body did not arrive within {BODY_SECONDS:g} s.")
        passed = await self.answer(
            request.method,
            request.path,
            request.raw_path.partition("?")[2],
            body.decode("utf-8", "surrogateescape"),
            request.headers.get("X-MBX-APIKEY", ""),
            request.remote or "",
        )
        if passed.lost and request.transport is not None:
            request.transport.abort()
        status, text, content_type = rendered(passed)
        headers = _headers(passed, self._venue.epoch)
        headers["x-response-time"] = f"{self._venue.clock.now_ms() - started_ms}ms"
        return web.Response(body=text, status=status, content_type=content_type, headers=headers)

    async def answer(
        self, method: str, path: str, query: str, body: str, api_key: str, address: str
    ) -> Passed:
        """Answer a request without a socket: query and body as received (percent-encoded)."""
        endpoint = ENDPOINTS.get((method, path))
        if endpoint is None:
            return _unknown(method, path)
        params, malformed = parameters(query, body)
        signed = signed_text(query, body)
        ticket = Ticket(method, path, endpoint, params, malformed, api_key, signed, address)
        return await self._gate.pass_through(ticket)

    def statistics(self) -> dict[str, int]:
        """Return the gate's counters."""
        return self._gate.statistics()


def _ended(status: int, text: str) -> web.Response:
    answer = web.Response(status=status, text=text)
    answer.force_close()
    return answer


def _unknown(method: str, path: str) -> Passed:
    if not path.startswith(API_PREFIXES):
        return Passed(NOT_FOUND)
    return Passed(Reject(-5000, f"Path {path}, Method {method} is invalid", 404))


def rendered(passed: Passed) -> tuple[int, bytes, str]:
    """Return (status, body, content type) of an outcome."""
    answer = passed.answer
    if isinstance(answer, Canned):
        return answer.status, answer.body, answer.content_type
    if isinstance(answer, Reject):
        return answer.http, encode(ErrorBody(answer.code, answer.msg)), JSON
    return 200, encode(answer), JSON


def _headers(passed: Passed, epoch: str) -> dict[str, str]:
    headers = {
        "X-MBX-USED-WEIGHT-1M": str(passed.used_weight),
        "x-mbx-uuid": str(UUID(bytes=secrets.token_bytes(16), version=4)),
        "X-PMS-Sim-Epoch": epoch,
    }
    if passed.orders_10s is not None:
        headers["X-MBX-ORDER-COUNT-10S"] = str(passed.orders_10s)
        headers["X-MBX-ORDER-COUNT-1M"] = str(passed.orders_1m)
    if passed.retry_after_s is not None:
        headers["Retry-After"] = str(passed.retry_after_s)
    return headers


__all__ = ["BODY_BYTES_MAX", "RestServer", "encode", "http_log", "rendered"]
