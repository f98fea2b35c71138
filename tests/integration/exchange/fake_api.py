"""A strict WebSocket API of the venue, after the recorded payloads: it checks what a real one would."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from pms.exchange.binance.signing import Signer
from tests.support.paths import data_file

RECORDED = {
    "order.place": "new_order",
    "order.modify": "modify_order",
    "order.cancel": "cancel_order",
    "order.status": "query_order",
}
Reply = Callable[[dict[str, Any]], Awaitable[dict[str, Any] | None]]


def error(status: int, code: int, message: str) -> Reply:
    async def reply(request: dict[str, Any]) -> dict[str, Any]:
        return {"status": status, "error": {"code": code, "msg": message}}

    return reply


class FakeApi:
    """`script[method]` answers next; otherwise the recorded reply, under the ids that were sent."""

    def __init__(self, signer: Signer) -> None:
        self.signer = signer
        self.script: dict[str, Reply] = {}
        self.requests: list[dict[str, Any]] = []
        self.faults: list[str] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.sessions: set[int] = set()
        self.refuse_logon = False
        self.handshakes = 0
        self.refuse_handshakes = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.handshakes += 1
        if self.handshakes <= self.refuse_handshakes:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        tasks: set[asyncio.Task[None]] = set()
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                task = asyncio.create_task(self._answer(socket, msgspec.json.decode(message.data)))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        return socket

    async def _answer(self, socket: web.WebSocketResponse, request: dict[str, Any]) -> None:
        self.requests.append(request)
        self._check(id(socket), request)
        method, parameters = request["method"], request["params"]
        scripted = self.script.get(method)
        if scripted is not None:
            reply = await scripted(request)
        elif method == "session.logon":
            reply = await self._log_on(id(socket))
        else:
            reply = self.recorded(method, parameters)
        if reply is not None and not socket.closed:
            await socket.send_str(msgspec.json.encode({"id": request["id"]} | reply).decode())

    async def _log_on(self, socket: int) -> dict[str, Any]:
        if self.refuse_logon:
            return {"status": 400, "error": {"code": -4056, "msg": "only Ed25519"}}
        self.sessions.add(socket)
        return {"status": 200, "result": {"apiKey": "key", "authorizedSince": 1}}

    def _check(self, socket: int, request: dict[str, Any]) -> None:
        """What the venue would refuse is kept as a fault, which a test wants to be none."""
        parameters = dict(request["params"])
        if not isinstance(request["id"], int | str):
            self.faults.append("id")
        if not isinstance(parameters.get("timestamp"), int):
            self.faults.append("the timestamp is no integer")
        elif abs(parameters["timestamp"] - time.time_ns() // 1_000_000) > 5000:
            self.faults.append("timestamp")
        if socket in self.sessions:
            if {"apiKey", "signature"} & parameters.keys():
                self.faults.append("signed within a session")
            return
        signature = parameters.pop("signature", "")
        text = "&".join(f"{name}={value}" for name, value in sorted(parameters.items()))
        if parameters.get("apiKey") != "key" or self.signer.signature(text) != signature:
            self.faults.append(f"signature of {request['method']}")

    def recorded(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the recorded reply, for the order that was asked for."""
        reply = msgspec.json.decode(data_file(f"binance/wsapi_sdk/{RECORDED[method]}.json").read_bytes())
        result = reply["result"]
        result["symbol"] = parameters["symbol"]
        result["clientOrderId"] = parameters.get("newClientOrderId") or parameters["origClientOrderId"]
        return {key: value for key, value in reply.items() if key != "id"}

    async def cut(self) -> None:
        """Cut the newest socket without a closing handshake."""
        transport = self.sockets[-1]._req.transport  # type: ignore[union-attr]
        assert transport is not None
        transport.abort()


@asynccontextmanager
async def running_api(signer: Signer) -> AsyncIterator[tuple[FakeApi, str]]:
    """The API on a free port of the loopback interface, and its address."""
    api = FakeApi(signer)
    app = web.Application()
    app.router.add_get("/ws-fapi/v1", api.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield api, f"ws://127.0.0.1:{runner.addresses[0][1]}/ws-fapi/v1"
    finally:
        await runner.cleanup()
