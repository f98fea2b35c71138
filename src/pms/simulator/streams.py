"""The WebSocket door: traffic classes, subscriptions, bounded queues, pings (Binance spec 4.1 and 5.1).

Market data to a slow reader is conflated to the newest of each stream; private events are never dropped: a
reader that cannot take them is disconnected (decision 22).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

import msgspec
from aiohttp import WSMessage, WSMsgType, web

from pms.exchange.messages import ErrorBody
from pms.simulator import stream_commands, stream_paths
from pms.simulator.faults import glob
from pms.simulator.hub import class_of
from pms.simulator.socket_life import SocketLife
from pms.simulator.stream_commands import Wrong
from pms.simulator.stream_paths import EVERYTHING, LISTEN_KEY, Opening
from pms.simulator.venue import Venue

_encode = msgspec.json.encode
CLOSE_SECONDS = 0.5
SMALL_QUEUE = 100
TEXT_ONLY = (1003, b"text frames only")
ABORTED = 1006
"""No close frame is sent with this code (RFC 6455, 7.4.1)."""


class _Named(msgspec.Struct):
    e: str = ""


_name_of = msgspec.json.Decoder(_Named).decode


class StreamServer:
    """Accepts stream connections and owns their tasks."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._open: set[Connection] = set()
        self.accepted = 0
        self.overflows = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection until it ends."""
        venue = self._venue
        if venue.faults.refuses_sockets(venue.clock.now_ms()):
            return web.Response(status=503, text="Service Unavailable.")
        path, _, query = request.raw_path.partition("?")
        opening = stream_paths.parse(path, query, venue.config.stream_routing == "legacy")
        if opening is None:
            return web.Response(status=404, text="no such stream path")
        if len(self._open) >= venue.config.limits.sockets:
            return web.Response(status=429, text="too many stream connections")
        socket = web.WebSocketResponse(
            autoping=False, compress=False, timeout=CLOSE_SECONDS, max_msg_size=1 << 16
        )
        await socket.prepare(request)
        connection = Connection(venue, self, socket, request.transport, opening)
        self._open.add(connection)
        self.accepted += 1
        try:
            connection.subscribe(opening.names)
            await connection.serve()
        finally:
            self._open.discard(connection)
            connection.unsubscribe(tuple(connection.streams))
        return socket

    def cut(self, traffic: str, api_key: str) -> int:
        """Abort the connections of a class, or those of an account (`*` for any); return how many.

        An account is matched by the listen keys that a connection holds.
        """
        keys = {a.listen_key for k, a in self._venue.engine.account_by_key.items() if glob(api_key, k)}
        found = [
            one
            for one in self._open
            if glob(traffic, one.traffic) and (api_key == "*" or not keys.isdisjoint(one.streams))
        ]
        for connection in found:
            connection.abort()
        return len(found)

    async def close(self) -> None:
        """Disconnect everybody."""
        await asyncio.gather(*(c.close(1001, b"server stops") for c in self._open), return_exceptions=True)

    def statistics(self) -> dict[str, int]:
        """Return counters: connections now and ever, overflowed queues."""
        return {"open": len(self._open), "accepted": self.accepted, "overflows": self.overflows}


class Connection:
    """One client: its subscriptions, its outgoing queues, its reader and writer."""

    def __init__(
        self,
        venue: Venue,
        owner: StreamServer,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        opening: Opening,
    ) -> None:
        self._venue = venue
        self._owner = owner
        self._socket = socket
        self._transport = transport
        self.traffic = opening.traffic
        self._combined = opening.combined
        self._events = opening.events
        self.streams: dict[str, str] = {}
        self._urgent: deque[str] = deque()
        self._market: deque[tuple[str, bytes, bool]] = deque()
        self._wake = asyncio.Event()
        self._ending: tuple[int, bytes] | None = None
        self._end_asked = asyncio.Event()
        self._life = SocketLife(venue.clock, venue.config, socket)

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
        wanted = self._events.get(key)
        if wanted is not None and _name_of(payload).e not in wanted:
            return
        if len(self._urgent) >= self._venue.config.limits.socket_user_queue:
            self._owner.overflows += 1
            self._end(1008, b"user events not read")
            return
        self._urgent.append(self._wrap(key, payload))
        self._wake.set()

    def key_ended(self, key: str) -> None:
        """Forget a closed listen key; a connection that was for nothing else ends."""
        self.unsubscribe((key,))
        if not self.streams:
            self._end(1000, b"listen key closed")

    # -- subscriptions

    def subscribe(self, names: Iterable[str]) -> bool:
        """Subscribe; a name of another traffic class is accepted and stays silent (spec 4.1).

        Returns False when the connection cannot hold all of them; those that fit are subscribed.
        """
        for name in names:
            if name in self.streams:
                continue
            if len(self.streams) >= self._venue.config.limits.socket_streams:
                return False
            wanted = "private" if LISTEN_KEY.match(name) else class_of(name)
            served = wanted if self.traffic in (wanted, EVERYTHING) else ""
            self.streams[name] = served
            if served:
                self._venue.hub.subscribe(self, served, name)
        return True

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
            if self._ending is None or self._ending[0] != ABORTED:
                await self.close(*(self._ending or (1000, b"")))
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                raise result

    async def _flush_replies(self) -> None:
        """Send the last replies of a connection that is being ended for what it asked."""
        while self._ending and self._urgent and len(self._urgent) < SMALL_QUEUE and not self._socket.closed:
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
            self._life.pong(message.data)
        elif message.type is WSMsgType.TEXT:
            self._reply(message.data)
        elif message.type is WSMsgType.BINARY:
            self._end(*TEXT_ONLY)

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
        await self._life.keep(lambda now_ms: self._venue.faults.pings_stopped(self.traffic, now_ms))
        self._end(1001, b"connection too old or without pong")

    def abort(self) -> None:
        """End the TCP connection without a closing handshake, as a cut line does."""
        if self._transport is not None:
            self._transport.abort()
        self._end(ABORTED, b"")

    # -- commands

    def _wrap(self, stream: str, payload: bytes) -> str:
        text = payload.decode()
        return f'{{"stream":"{stream}","data":{text}}}' if self._combined else text

    def _reply(self, raw: str) -> None:
        command = stream_commands.parse(raw)
        if isinstance(command, Wrong):
            if not command.ends:
                self._answer({"error": command.error, "id": command.id})
            else:  # no request was understood, so there is no id (spec 4.1)
                self._answer({"error": command.error})
                self._end(1008, b"Invalid JSON")
            return
        result: object = None
        match command.method:
            case "SUBSCRIBE":
                if not self.subscribe(command.names):
                    most = self._venue.config.limits.socket_streams
                    text = f"Invalid request: more than {most} streams on one connection"
                    self._answer({"error": ErrorBody(2, text), "id": command.id})
                    return
            case "UNSUBSCRIBE":
                self.unsubscribe(command.names)
            case "LIST_SUBSCRIPTIONS":
                result = list(self.streams)
            case "GET_PROPERTY":
                result = self._combined
            case _:
                self._combined = command.value
        self._answer({"result": result, "id": command.id})

    def _answer(self, body: dict[str, object]) -> None:
        self._urgent.append(_encode(body).decode())
        self._wake.set()
