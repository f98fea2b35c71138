"""The WebSocket door: traffic classes, subscriptions, bounded queues, pings (Binance spec 4.1 and 5.1).

Market data to a slow reader is conflated to the newest of each stream; private events are never dropped: a
reader that cannot take them is disconnected (decision 22).
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote

import msgspec
from aiohttp import WSMessage, WSMsgType, web

from pms.exchange.messages import CommandReply, ErrorBody
from pms.simulator.hub import class_of
from pms.simulator.venue import Venue

_encode = msgspec.json.encode
PATH = re.compile(r"^/(?:(public|market|private)/)?(ws|stream)(?:/(.+))?$")
LISTEN_KEY = re.compile(r"^[A-Za-z0-9]{60,64}$")
PONG_SECONDS_MAX = 600.0
CLOSE_SECONDS = 0.5
METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


class _Command(msgspec.Struct):
    method: str | None = None
    params: list[object] | None = None
    id: int | str | None = None


class StreamServer:
    """Accepts stream connections and owns their tasks."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._open: set[Connection] = set()
        self.accepted = 0
        self.overflows = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection until it ends."""
        match = PATH.match(request.path)
        if match is None:
            return web.Response(status=404, text="no such stream path")
        if len(self._open) >= self._venue.config.limits.sockets:
            return web.Response(status=429, text="too many stream connections")
        socket = web.WebSocketResponse(
            autoping=False, compress=False, timeout=CLOSE_SECONDS, max_msg_size=1 << 16
        )
        await socket.prepare(request)
        traffic, form, path = match.groups()
        connection = Connection(
            self._venue, self, socket, request.transport, traffic or "public", form == "stream"
        )
        self._open.add(connection)
        self.accepted += 1
        try:
            connection.subscribe(_initial(request.raw_path, path))
            await connection.serve()
        finally:
            self._open.discard(connection)
            connection.unsubscribe(tuple(connection.streams))
        return socket

    async def close(self) -> None:
        """Disconnect everybody."""
        await asyncio.gather(*(c.close(1001, b"server stops") for c in self._open), return_exceptions=True)

    def statistics(self) -> dict[str, int]:
        """Return counters: connections now and ever, overflowed queues."""
        return {"open": len(self._open), "accepted": self.accepted, "overflows": self.overflows}


def _initial(raw_path: str, path: str | None) -> list[str]:
    """Return the streams and listen keys named in path and query."""
    names = [unquote(name) for name in (path or "").split("/") if name]
    for name, value in parse_qsl(raw_path.partition("?")[2]):
        if name == "streams":
            names += [stream for stream in value.split("/") if stream]
        elif name == "listenKey":
            names.append(value)
    return names


class Connection:
    """One client: its subscriptions, its outgoing queues, its reader and writer."""

    def __init__(
        self,
        venue: Venue,
        owner: StreamServer,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        traffic: str,
        combined: bool,
    ) -> None:
        self._venue = venue
        self._owner = owner
        self._socket = socket
        self._transport = transport
        self._traffic = traffic
        self._combined = combined
        self.streams: dict[str, str] = {}
        self._urgent: deque[str] = deque()
        self._market: deque[tuple[str, bytes, bool]] = deque()
        self._wake = asyncio.Event()
        self._ending: tuple[int, bytes] | None = None
        self._end_asked = asyncio.Event()
        self._last_pong = venue.clock.monotonic()

    # -- called by the hub

    def push_market(self, stream: str, payload: bytes, conflate: bool) -> None:
        """Queue a market message; on overflow only the newest of each stream is kept."""
        if len(self._market) >= self._venue.config.limits.socket_market_queue:
            self._owner.overflows += 1
            newest = {name: (name, data, True) for name, data, mergeable in self._market if mergeable}
            self._market = deque(newest.values())
        self._market.append((stream, payload, conflate))
        self._wake.set()

    def push_user(self, key: str, payload: bytes) -> None:
        """Queue a private event; a full queue ends the connection."""
        if len(self._urgent) >= self._venue.config.limits.socket_user_queue:
            self._owner.overflows += 1
            self._end(1008, b"user events not read")
            return
        self._urgent.append(self._wrap(key, payload))
        self._wake.set()

    # -- subscriptions

    def subscribe(self, names: Iterable[str]) -> None:
        """Subscribe; a name of another traffic class is accepted and stays silent (spec 4.1)."""
        for name in names:
            if name in self.streams or len(self.streams) >= self._venue.config.limits.socket_streams:
                continue
            if LISTEN_KEY.match(name):
                served = "private" if self._traffic == "private" else ""
            else:
                served = self._traffic if class_of(name) == self._traffic else ""
            self.streams[name] = served
            if served:
                self._venue.hub.subscribe(self, served, name)

    def unsubscribe(self, names: Iterable[str]) -> None:
        """Forget streams."""
        for name in names:
            served = self.streams.pop(name, None)
            if served:
                self._venue.hub.unsubscribe(self, served, name)

    # -- life

    async def serve(self) -> None:
        """Read commands and write messages until either side ends."""
        writer = asyncio.create_task(self._write())
        keeper = asyncio.create_task(self._keep_alive())
        reader = asyncio.create_task(self._read())
        ending = asyncio.create_task(self._await_end())  # also when reader and writer hang on a stuck peer
        tasks = (reader, writer, keeper, ending)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await self._flush_replies()
            await self.close(*(self._ending or (1000, b"")))
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                raise result

    async def _flush_replies(self) -> None:
        """Send the last replies of a connection that is being ended for what it asked."""
        while self._ending and self._urgent and len(self._urgent) < 100 and not self._socket.closed:
            try:
                await asyncio.wait_for(self._socket.send_str(self._urgent.popleft()), CLOSE_SECONDS)
            except (TimeoutError, ConnectionError):
                return

    async def close(self, code: int, reason: bytes) -> None:
        """Close the socket; a peer that does not take part is cut off after a deadline."""
        if self._socket.closed:
            return
        try:
            await asyncio.wait_for(self._socket.close(code=code, message=reason), CLOSE_SECONDS * 2)
        except TimeoutError:
            if self._transport is not None:
                self._transport.abort()

    def _end(self, code: int, reason: bytes) -> None:
        self._ending = self._ending or (code, reason)
        self._end_asked.set()

    async def _await_end(self) -> None:
        await self._end_asked.wait()

    async def _read(self) -> None:
        window, count = -1, 0
        async for message in self._socket:
            second = int(self._venue.clock.monotonic())
            window, count = (second, count + 1) if second == window else (second, 1)
            if count > self._venue.config.limits.socket_messages_1s:
                self._end(1008, b"Too many requests")
                return
            await self._receive(message)
            if self._ending:
                return

    async def _receive(self, message: WSMessage) -> None:
        if message.type is WSMsgType.PING:
            await self._socket.pong(message.data)
        elif message.type is WSMsgType.PONG:
            self._last_pong = self._venue.clock.monotonic()
        elif message.type is WSMsgType.TEXT:
            self._reply(message.data)

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._urgent or self._market:
                if self._urgent:
                    await self._socket.send_str(self._urgent.popleft())
                else:
                    stream, payload, _ = self._market.popleft()
                    await self._socket.send_str(self._wrap(stream, payload))

    async def _keep_alive(self) -> None:
        config, clock = self._venue.config, self._venue.clock
        opened = clock.monotonic()
        while clock.monotonic() - opened < config.socket_seconds_max:
            await clock.sleep(min(config.ping_seconds, config.socket_seconds_max))
            if clock.monotonic() - self._last_pong > max(PONG_SECONDS_MAX, 2 * config.ping_seconds):
                break
            await self._socket.ping(str(clock.now_ms()).encode())
        self._end(1001, b"connection too old or without pong")

    # -- commands

    def _wrap(self, stream: str, payload: bytes) -> str:
        text = payload.decode()
        return f'{{"stream":"{stream}","data":{text}}}' if self._combined else text

    def _reply(self, raw: str) -> None:
        try:
            command = msgspec.json.decode(raw, type=_Command)
        except msgspec.ValidationError as error:
            self._answer(CommandReply(error=ErrorBody(2, f"Invalid request: {error}")))
            return
        except msgspec.DecodeError:
            self._answer(CommandReply(error=ErrorBody(3, "Invalid JSON: expected value at line 1 column 1")))
            self._end(1008, b"Invalid JSON")
            return
        names = [str(name) for name in command.params or ()]
        if command.method not in METHODS:
            known = ", ".join(f"`{method}`" for method in METHODS)
            text = f"Invalid request: unknown variant `{command.method}`, expected one of {known}"
            self._answer(CommandReply(command.id, error=ErrorBody(2, text)))
        elif command.method == "SUBSCRIBE":
            self.subscribe(names)
            self._answer(CommandReply(command.id, result=None))
        elif command.method == "UNSUBSCRIBE":
            self.unsubscribe(names)
            self._answer(CommandReply(command.id, result=None))
        elif command.method == "LIST_SUBSCRIPTIONS":
            self._answer(CommandReply(command.id, result=list(self.streams)))
        elif names[:1] != ["combined"]:
            self._answer(CommandReply(command.id, error=ErrorBody(0, "Unknown property")))
        elif command.method == "GET_PROPERTY":
            self._answer(CommandReply(command.id, result=self._combined))
        else:
            self._combined = names[1:] in (["true"], ["True"])
            self._answer(CommandReply(command.id, result=None))

    def _answer(self, reply: CommandReply) -> None:
        self._urgent.append(_encode(reply).decode())
        self._wake.set()
