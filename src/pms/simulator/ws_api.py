"""The WebSocket trading API: the REST handlers behind one socket, with sessions and limits in replies."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web
from msgspec import Raw

from pms.exchange.messages import ApiFrame, ErrorBody, RateLimit
from pms.simulator import api_calls, errors, keys
from pms.simulator.api_calls import METHODS, SESSION_METHODS, UNKNOWN_METHOD, ApiCall, Malformed
from pms.simulator.canned import Canned
from pms.simulator.endpoints import ENDPOINTS
from pms.simulator.errors import Reject
from pms.simulator.gate import Gate, Passed, Ticket, check_signature, check_time
from pms.simulator.http_server import encode
from pms.simulator.socket_life import SocketLife
from pms.simulator.state import Account
from pms.simulator.streams import TEXT_ONLY
from pms.simulator.venue import Answer, Call, Endpoint, Venue

PATH = "/ws-fapi/v1"
HANDSHAKE_WEIGHT = 5
SESSION_WEIGHT = 2
PENDING_MAX = 1000
"""Requests of one connection that are being served at a time; the next is read when one is answered."""
CLOSE_SECONDS = 0.5
TRAFFIC = "trading"
SAFE_FRAMES_1S = 5
"""Pings and pongs that one connection may send in a second (spec 6)."""


def _nothing(venue: Venue, call: Call) -> Answer:
    return {}


_HANDSHAKE = Endpoint(_nothing, "NONE", HANDSHAKE_WEIGHT)
_SESSION = Endpoint(_nothing, "NONE", SESSION_WEIGHT)
KEY_TYPE = Reject(-4056, "Invalid api key type.")


class ApiServer:
    """Accepts connections of the WebSocket trading API and owns their tasks."""

    def __init__(self, venue: Venue, gate: Gate) -> None:
        self._venue = venue
        self._gate = gate
        self._open: set[Session] = set()
        self.accepted = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection until it ends."""
        venue, address = self._venue, request.remote or ""
        now_ms = venue.now_ms()
        if venue.faults.refuses_sockets(venue.clock.now_ms()):
            return web.Response(status=503, text="Service Unavailable.")
        refused = self._gate.weigh(PATH, _HANDSHAKE, {}, address, now_ms, Passed())
        if refused is not None:
            return web.Response(status=refused.http, text=refused.msg)
        if len(self._open) >= venue.config.limits.sockets:
            return web.Response(status=429, text="too many connections")
        socket = web.WebSocketResponse(
            autoping=False, compress=False, timeout=CLOSE_SECONDS, max_msg_size=1 << 16
        )
        await socket.prepare(request)
        shows = dict(parse_qsl(request.query_string)).get("returnRateLimits", "true") != "false"
        session = Session(venue, self._gate, socket, request.transport, address, shows)
        self._open.add(session)
        self.accepted += 1
        try:
            await session.serve()
        finally:
            self._open.discard(session)
        return socket

    def cut(self, api_key: str) -> int:
        """Abort the connections that are logged on to an account (`*`: all); return how many."""
        found = [s for s in self._open if s.belongs_to(api_key)]
        for session in found:
            session.abort()
        return len(found)

    async def close(self) -> None:
        """Disconnect everybody."""
        await asyncio.gather(*(s.close(1001) for s in self._open), return_exceptions=True)

    def statistics(self) -> dict[str, int]:
        """Return counters: connections now and ever."""
        return {"open": len(self._open), "accepted": self.accepted}


class Session:
    """One connection: who is logged on, and the requests that are on their way."""

    def __init__(
        self,
        venue: Venue,
        gate: Gate,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        address: str,
        shows_limits: bool,
    ) -> None:
        self._venue = venue
        self._gate = gate
        self._socket = socket
        self._transport = transport
        self._address = address
        self._shows_limits = shows_limits
        self._life = SocketLife(venue.clock, venue.config, socket)
        self._pending = asyncio.Semaphore(PENDING_MAX)
        self._account: Account | None = None
        self._api_key: str | None = None
        self._authorized_ms: int | None = None
        self._connected_ms = venue.now_ms()

    def belongs_to(self, api_key: str) -> bool:
        """Say whether the connection is logged on to an account; `*` means any."""
        return api_key == "*" or (self._account is not None and self._account.api_key == api_key)

    # -- life

    async def serve(self) -> None:
        """Read requests and answer each in a task of its own, until either side ends."""
        try:
            async with asyncio.TaskGroup() as tasks:
                keeper = tasks.create_task(self._keep())
                await self._read(tasks)
                keeper.cancel()
        except* ConnectionError:
            pass  # the peer has gone while an answer was written
        finally:
            await self.close(1000)

    async def _keep(self) -> None:
        await self._life.keep(lambda now_ms: self._venue.faults.pings_stopped(TRAFFIC, now_ms))
        await self.close(1001)

    async def _read(self, tasks: asyncio.TaskGroup) -> None:
        second, frames = -1, 0
        async for message in self._socket:
            if message.type is WSMsgType.TEXT:
                await self._pending.acquire()
                tasks.create_task(self._serve_one(message.data))
                continue
            now = int(self._venue.clock.monotonic())
            second, frames = (second, frames + 1) if now == second else (now, 1)
            if frames > SAFE_FRAMES_1S:
                return
            if message.type is WSMsgType.PING:
                await self._socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                self._life.pong(message.data)
            else:
                await self.close(*TEXT_ONLY)
                return

    async def close(self, code: int, reason: bytes = b"") -> None:
        """Close the socket; a peer that does not take part is cut off after a deadline."""
        if self._socket.closed:
            return
        try:
            await asyncio.wait_for(self._socket.close(code=code, message=reason), CLOSE_SECONDS * 2)
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """End the TCP connection without a closing handshake."""
        if self._transport is not None:
            self._transport.abort()

    async def _serve_one(self, text: str) -> None:
        try:
            call = api_calls.parse(text)
            if isinstance(call, Malformed):
                reply = ApiFrame(call.id, 400, error=call.error)
            else:
                passed = await self._answer(call)
                if passed.lost:
                    self.abort()
                    return
                reply = self._reply(call, passed)
            owner = "" if self._account is None else self._account.api_key
            if not self._venue.faults.silenced(TRAFFIC, owner, self._venue.clock.now_ms()):
                await self._socket.send_str(encode(reply).decode())
        finally:
            self._pending.release()

    # -- requests

    async def _answer(self, call: ApiCall) -> Passed:
        if call.method in SESSION_METHODS:
            return self._session(call)
        wanted = METHODS.get(call.method)
        endpoint = None if wanted is None else ENDPOINTS.get(wanted)
        if wanted is None or endpoint is None:
            return Passed(Reject(UNKNOWN_METHOD.code, UNKNOWN_METHOD.msg))
        logged_on = self._account if not call.signature and "apiKey" not in call.params else None
        empty = next((name for name, value in call.params.items() if not value), None)
        malformed = None if empty is None else Reject(-1105, f"Parameter '{empty}' was empty.")
        return await self._gate.pass_through(
            Ticket(
                *wanted,
                endpoint,
                call.params,
                malformed,
                call.params.get("apiKey", ""),
                (api_calls.signed_text(call.params), call.signature),
                self._address,
                logged_on,
            )
        )

    def _session(self, call: ApiCall) -> Passed:
        now_ms = self._venue.now_ms()
        passed = Passed()
        refused = self._gate.weigh(PATH, _SESSION, {}, self._address, now_ms, passed)
        if refused is None and call.method == "session.logon":
            refused = self._logon(call, now_ms)
        if refused is None and call.method == "session.logout":
            self._account, self._api_key, self._authorized_ms = None, None, None
        passed.answer = refused or {
            "apiKey": self._api_key,
            "authorizedSince": self._authorized_ms,
            "connectedSince": self._connected_ms,
            "returnRateLimits": self._shows_limits,
            "serverTime": now_ms,
        }
        return passed

    def _logon(self, call: ApiCall, now_ms: int) -> Reject | None:
        """Log on with an Ed25519 key, the only kind that the venue takes for sessions (spec 6)."""
        api_key = call.params.get("apiKey", "")
        credential = self._gate.credential(api_key)
        if not api_key:
            return errors.KEY_FORMAT
        if credential is None:
            return errors.KEY_INVALID
        if keys.verifier_of(credential.secret)[0] != keys.ED25519:
            return KEY_TYPE
        text = api_calls.signed_text(call.params)
        refused = check_signature(credential.secret, text, call.signature) or check_time(call.params, now_ms)
        if refused is None:
            self._account, self._api_key, self._authorized_ms = credential.account, api_key, now_ms
        return refused

    # -- replies

    def _reply(self, call: ApiCall, passed: Passed) -> ApiFrame:
        answer = passed.answer
        shows = self._shows_limits if call.shows_limits is None else call.shows_limits
        limits = self._limits(passed) if shows else None
        if isinstance(answer, Reject):
            return ApiFrame(
                call.id, answer.http, error=ErrorBody(answer.code, answer.msg), rate_limits=limits
            )
        if isinstance(answer, Canned):
            return ApiFrame(call.id, answer.status, error=answer.error, rate_limits=limits)
        return ApiFrame(call.id, 200, result=Raw(encode(answer)), rate_limits=limits)

    def _limits(self, passed: Passed) -> list[RateLimit]:
        limits = self._venue.config.limits
        rows = []
        if passed.orders_10s is not None:
            rows.append(RateLimit("ORDERS", "SECOND", 10, limits.orders_10s, passed.orders_10s))
            rows.append(RateLimit("ORDERS", "MINUTE", 1, limits.orders_1m, passed.orders_1m))
        rows.append(RateLimit("REQUEST_WEIGHT", "MINUTE", 1, limits.request_weight_1m, passed.used_weight))
        return rows


__all__ = ["METHODS", "PATH", "TRAFFIC", "ApiServer"]
