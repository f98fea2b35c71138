"""A scripted venue for what a well-behaved exchange does not show: odd answers, silences and cuts."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import msgspec
from aiohttp import WSMessage, WSMsgType, web

from pms.exchange.binance.config import BinanceConfig, StreamTuning
from pms.exchange.binance.signing import Signer

SECRET = "secret"
Handler = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


_last_ms = 0


def growing_now_ms() -> int:
    """Return the time, and a later one at each call: event times of one stream grow."""
    global _last_ms
    _last_ms = max(_last_ms + 1, time.time_ns() // 1_000_000)
    return _last_ms


def answer(payload: object, status: int = 200, **headers: str) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(payload), status=status, headers=headers, content_type="application/json"
    )


def contract(native: str) -> dict[str, object]:
    return {
        "symbol": native,
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "status": "TRADING",
        "baseAsset": native.removesuffix("USDT"),
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "filters": [{"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"}],
    }


def _wrapped(payload: object) -> object:
    return payload if isinstance(payload, str) else {"stream": "x", "data": payload}


class FakeVenue:
    """`script[(method, path)]` answers next; otherwise the defaults do. All that arrived is kept."""

    def __init__(self) -> None:
        self.script: dict[tuple[str, str], Handler] = {}
        self.requests: list[tuple[str, str, str, str]] = []
        self.bad_signatures = 0
        self.natives = ["BTCUSDT", "ETHUSDT"]
        self.clock_ahead_ms = 0
        self.listen_keys = 0
        self.commands: dict[str, list[tuple[float, dict[str, Any]]]] = {"public": [], "market": []}
        self.sockets: dict[str, list[web.WebSocketResponse]] = {"public": [], "market": [], "private": []}
        self.key_paths: list[str] = []
        self.mute_markets = False
        self.deaf = False
        self.pongs: list[bytes] = []
        self.subscribed: dict[web.WebSocketResponse, set[str]] = {}
        self.port = 0

    def count(self, method: str, path: str) -> int:
        return sum(1 for request in self.requests if request[:2] == (method, path))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        raw = request.raw_path.partition("?")[2] + body.decode()
        self.requests.append((request.method, request.path, raw, request.headers.get("X-MBX-APIKEY", "")))
        signed, separator, signature = raw.partition("&signature=")
        if separator and Signer(SECRET).signature(signed) != signature:
            self.bad_signatures += 1
        handler = self.script.get((request.method, request.path))
        if handler is not None:
            return await handler(request, body)
        return self.default(request)

    def default(self, request: web.Request) -> web.StreamResponse:
        match request.path:
            case "/fapi/v1/time":
                return answer({"serverTime": time.time_ns() // 1_000_000 + self.clock_ahead_ms})
            case "/fapi/v1/exchangeInfo":
                return answer({"symbols": [contract(native) for native in self.natives]})
            case "/fapi/v1/listenKey":
                self.listen_keys += request.method == "POST"
                return answer({"listenKey": f"key{self.listen_keys}"})
        return answer({"code": -1, "msg": "not scripted"}, 404)

    async def market_socket(self, request: web.Request) -> web.WebSocketResponse:
        kind = request.match_info["kind"]
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        self.sockets[kind].append(socket)
        streams = self.subscribed[socket] = set()
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                command = msgspec.json.decode(message.data)
                self.commands[kind].append((time.monotonic(), command))
                if not self.mute_markets:
                    if command["method"] == "SUBSCRIBE":
                        streams.update(command["params"])
                    else:
                        streams.difference_update(command["params"])
                    await socket.send_json({"result": None, "id": command["id"]})
            else:
                await self._control(socket, message)
        del self.subscribed[socket]
        return socket

    async def _control(self, socket: web.WebSocketResponse, message: WSMessage) -> None:
        if message.type is WSMsgType.PING and not self.deaf:
            await socket.pong(message.data)
        elif message.type is WSMsgType.PONG:
            self.pongs.append(message.data)

    async def private_socket(self, request: web.Request) -> web.WebSocketResponse:
        self.key_paths.append(request.match_info["key"])
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        self.sockets["private"].append(socket)
        async for message in socket:
            await self._control(socket, message)
        return socket

    def open_sockets(self, kind: str) -> list[web.WebSocketResponse]:
        return [socket for socket in self.sockets[kind] if not socket.closed]

    async def publish(self, stream: str, payload: object) -> int:
        """Send a payload on every market socket that has the stream; return on how many."""
        text = msgspec.json.encode({"stream": stream, "data": payload}).decode()
        told = [socket for socket, streams in self.subscribed.items() if stream in streams]
        for socket in told:
            with suppress(ConnectionError):
                await socket.send_str(text)
        return len(told)

    async def send(self, kind: str, *payloads: object) -> None:
        """Send payloads on the newest socket of a kind, wrapped for the market classes."""
        wrapped = payloads if kind == "private" else [_wrapped(payload) for payload in payloads]
        await self.send_on(self.sockets[kind][-1], *wrapped)

    async def send_on(self, socket: web.WebSocketResponse, *payloads: object) -> None:
        """Send payloads as they are on one socket; one that closes meanwhile gets no more."""
        for payload in payloads:
            text = payload if isinstance(payload, str) else msgspec.json.encode(payload).decode()
            with suppress(ConnectionError):
                await socket.send_str(text)

    async def cut(self, kind: str) -> None:
        """Cut the newest socket without a closing handshake."""
        transport = self.sockets[kind][-1]._req.transport  # type: ignore[union-attr]
        assert transport is not None
        transport.abort()

    def config(self, **tuning: Any) -> BinanceConfig:
        fast: dict[str, Any] = {
            "backoff_seconds_min": 0.02,
            "backoff_seconds_max": 0.1,
            "steady_seconds": 0.0,
            "commands_per_second_max": 50.0,
            "connect_spacing_seconds": 0.0,
            "watch_seconds": 0.02,
            "overlap_seconds_min": 0.05,
            "gap_spacing_seconds": 0.0,
        }
        base = BinanceConfig.at(f"http://127.0.0.1:{self.port}", f"ws://127.0.0.1:{self.port}", "key", SECRET)
        return replace(base, streams=StreamTuning(**(fast | tuning)), deadline_seconds=0.4)


@asynccontextmanager
async def running_venue() -> AsyncIterator[FakeVenue]:
    """A venue on a free port of the loopback interface."""
    venue = FakeVenue()
    app = web.Application()
    app.router.add_get("/{kind:public|market}/stream", venue.market_socket)
    app.router.add_get("/private/ws/{key}", venue.private_socket)
    app.router.add_route("*", "/fapi/{tail:.*}", venue.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    venue.port = runner.addresses[0][1]
    try:
        yield venue
    finally:
        await runner.cleanup()


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until a condition holds; fails after the deadline."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 # what is waited for has no event to offer
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(work: Awaitable[None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run something for the length of a block, then cancel it."""
    task: asyncio.Task[None] = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
