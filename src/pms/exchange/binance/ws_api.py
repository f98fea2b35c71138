"""Orders over the WebSocket API (Binance spec section 6): one socket, replies by id, REST for the rest.

Invariants: 1. A request that was handed to a socket is in doubt until its own reply has come: a lost socket
or a passed deadline makes it unknown, never failed, and it is not sent a second time. 2. A request for which
there is no ready socket, or no method, goes by REST; nothing of it was written before. A socket on which a
deadline has passed is not ready until something comes on it. 3. The limits are those of REST, counted
together.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random

import msgspec
import picows

from pms.exchange.binance.budget import Counted
from pms.exchange.binance.config import BinanceConfig
from pms.exchange.binance.control import Opened
from pms.exchange.binance.conversation import Answer, Parameters, Security, Silence
from pms.exchange.binance.costs import Lane, Pool, weight
from pms.exchange.binance.outcome import Effect
from pms.exchange.binance.rest import RestClient
from pms.exchange.binance.signing import KeyKind, Signer
from pms.exchange.binance.sockets import Backoff, FrameListener, connect
from pms.exchange.errors import ExchangeUnavailable
from pms.exchange.messages import ApiFrame, ApiRequest, ApiValue, RateLimit, decode_message
from pms.limits import EXCHANGE_PENDING_MAX
from pms.model.clock import Clock

log = logging.getLogger("pms.exchange.binance")

METHODS: Mapping[tuple[str, str], str] = {
    ("POST", "/fapi/v1/order"): "order.place",
    ("PUT", "/fapi/v1/order"): "order.modify",
    ("DELETE", "/fapi/v1/order"): "order.cancel",
    ("GET", "/fapi/v1/order"): "order.status",
}
"""What travels by socket. There are no batches, no cancel-all and no lists of open orders (spec 6)."""

LOGON = weight(2)
HANDSHAKE = weight(5)

_NOT_SIGNED = frozenset({-1022, -1102, -2014, -2015})
"""Answers to a request without key and signature on a session that the venue does not know any more."""

_INTEGERS = frozenset({"timestamp", "recvWindow", "orderId", "modifyId", "goodTillDate"})
_POOLS = {
    ("REQUEST_WEIGHT", "MINUTE", 1): Pool.WEIGHT_1M,
    ("ORDERS", "SECOND", 10): Pool.ORDERS_10S,
    ("ORDERS", "MINUTE", 1): Pool.ORDERS_1M,
}
_frame_decoder = msgspec.json.Decoder(ApiFrame)
_encoder = msgspec.json.Encoder()


def payload(parameters: Mapping[str, ApiValue]) -> str:
    """Return what is signed: all parameters sorted by name, raw values (spec 6)."""
    return "&".join(f"{name}={parameters[name]}" for name in sorted(parameters))


@dataclass(frozen=True, slots=True)
class SocketApiStatistics:
    """Counts since the start. `by_rest`: requests for which no socket was ready; `late`: replies that came
    after their deadline."""

    connected: bool
    logged_on: bool
    connections: int
    requests: int
    by_rest: int
    lost: int
    late: int
    pending: int


class _Link:
    """One connection and the requests that wait for their reply on it."""

    def __init__(self) -> None:
        self.listener = FrameListener(self._message, self._closed)
        self.transport: picows.WSTransport | None = None
        self.closed = asyncio.Event()
        self.waiting: dict[int, asyncio.Future[ApiFrame]] = {}
        self.logged_on = False
        self.doubted = False
        self.late = 0
        self._last_id = 0

    @property
    def ready(self) -> bool:
        """Tell whether one more request may go here."""
        return not self.closed.is_set() and not self.doubted and len(self.waiting) < EXCHANGE_PENDING_MAX

    def write(self, method: str, parameters: dict[str, ApiValue]) -> tuple[int, asyncio.Future[ApiFrame]]:
        """Hand a request to the socket of an open link; from now on it is in doubt."""
        if self.transport is None:
            raise RuntimeError("a request was handed to a socket that was never opened")
        self._last_id += 1
        future: asyncio.Future[ApiFrame] = asyncio.get_running_loop().create_future()
        self.waiting[self._last_id] = future
        self.transport.send(
            picows.WSMsgType.TEXT, _encoder.encode(ApiRequest(self._last_id, method, parameters))
        )
        return self._last_id, future

    def close(self) -> None:
        """End the connection; what waits is lost."""
        if self.transport is not None:
            self.transport.disconnect(graceful=False)
        self._closed()

    def _message(self, message: memoryview) -> None:
        self.doubted = False
        try:
            frame = decode_message(_frame_decoder, message.tobytes())
        except msgspec.DecodeError:
            log.error("the exchange's trading socket sent what cannot be read; it is opened again")
            self.close()
            return
        future = self.waiting.pop(frame.id, None) if isinstance(frame.id, int) else None
        if future is not None and not future.done():
            future.set_result(frame)
        elif frame.id is None:
            # The venue speaks of the session: the key was revoked, or a request of ours was not understood.
            log.error("the exchange ends the trading session: %s", frame.error)
            self.close()
        else:
            self.late += 1

    def _closed(self) -> None:
        self.closed.set()
        waiting, self.waiting = self.waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(ExchangeUnavailable("the socket was lost before the reply"))
                future.exception()  # who waited may be gone


class SocketTradingClient:
    """Sends what the WebSocket API can do by socket, everything else by REST; see `Sender`.

    `run` keeps the socket: opens it, logs an Ed25519 key on, replaces it before its 24 hours are over.
    """

    def __init__(self, config: BinanceConfig, rest: RestClient, clock: Clock, random: Random) -> None:
        self._config = config
        self._rest = rest
        self._clock = clock
        self._random = random
        self._signer = Signer(config.api_secret.reveal())
        self._link: _Link | None = None
        self._connections = self._requests = self._by_rest = self._lost = self._late = 0

    # --- requests

    async def resync(self) -> None:
        await self._rest.resync()

    async def send(
        self,
        method: str,
        path: str,
        parameters: Parameters,
        security: Security,
        *,
        deadline_seconds: float | None = None,
        lane: Lane | None = None,
        owner: str = "",
    ) -> Answer | Silence:
        """Send one request; see `Sender.send`."""
        name, link = METHODS.get((method, path)), self._link
        if name is None or link is None or not link.ready:
            self._by_rest += name is not None
            return await self._rest.send(
                method,
                path,
                parameters,
                security,
                deadline_seconds=deadline_seconds,
                lane=lane,
                owner=owner,
            )
        opened = self._rest.control.open(method, path, parameters, security, lane, owner)
        if isinstance(opened, Silence):
            return opened
        self._requests += 1
        stamps: dict[str, ApiValue] = {
            "recvWindow": opened.recv_window_ms,
            "timestamp": opened.timestamp_ms,
        }
        values = {key: int(value) if key in _INTEGERS else value for key, value in parameters} | stamps
        signed = values if link.logged_on else self._signed(values)
        answer = await self._ask(
            link, opened, name, signed, deadline_seconds or self._config.deadline_seconds
        )
        if isinstance(answer, Answer):
            # A result here has the shape of the answer to the same request by REST.
            self._rest.census.answer(method, path, answer.body)
            if link.logged_on and answer.code in _NOT_SIGNED:
                link.logged_on = False
                log.error("the trading session is not logged on any more; each request is signed")
        return answer

    async def _ask(
        self, link: _Link, opened: Opened, name: str, values: dict[str, ApiValue], deadline_seconds: float
    ) -> Answer | Silence:
        control = self._rest.control
        if link.closed.is_set():
            return control.lost(opened, f"{name}: the socket is closed", written=False)
        number = 0
        try:
            number, future = link.write(name, values)
            async with asyncio.timeout(deadline_seconds):
                frame = await future
        except (ExchangeUnavailable, TimeoutError) as error:
            self._lost += 1
            link.doubted = True  # it may be dead without a sign; its pings tell within seconds
            reason = str(error) or "no reply within the deadline"
            return control.lost(opened, f"{name}: {reason}", written=True)
        except BaseException:
            control.lost(opened, "cancelled", written=True)
            raise
        finally:
            link.waiting.pop(number, None)
        code = frame.error.code if frame.error is not None else None
        message = frame.error.msg if frame.error is not None else ""
        body = bytes(frame.result) if isinstance(frame.result, msgspec.Raw) else b""
        return control.answered(opened, frame.status, body, code, message, reported(frame.rate_limits or ()))

    def _signed(self, values: dict[str, ApiValue]) -> dict[str, ApiValue]:
        keyed = values | {"apiKey": self._config.api_key}
        return keyed | {"signature": self._signer.signature(payload(keyed))}

    # --- the connection

    async def run(self) -> None:
        """Keep a connection until cancelled. Requests that wait for a reply then are lost."""
        backoff, failing = Backoff(self._config.streams, self._random), False
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    try:
                        fresh = await self._open()
                    except ExchangeUnavailable as error:
                        if not failing:
                            log.warning("the exchange's trading socket: %s; orders go by REST", error)
                        failing = True
                        await self._clock.sleep(backoff.ended(0.0))
                        continue
                    opened_at, failing = self._clock.monotonic(), False
                    previous, self._link = self._link, fresh
                    if previous is not None:
                        group.create_task(self._retire(previous), name="old trading socket")
                    if await self._lived(fresh):
                        self._late += fresh.late
                        self._link = None
                        await self._clock.sleep(backoff.ended(self._clock.monotonic() - opened_at))
        finally:
            link, self._link = self._link, None
            if link is not None:
                link.close()

    async def _lived(self, link: _Link) -> bool:
        """Wait for the end of a connection; False when it is time to replace it, while it goes on serving."""
        rotation = asyncio.create_task(self._clock.sleep(self._config.socket_rotation_seconds))
        closed = asyncio.create_task(link.closed.wait())
        try:
            await asyncio.wait({rotation, closed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            rotation.cancel()
            closed.cancel()
            await asyncio.gather(rotation, closed, return_exceptions=True)
        return link.closed.is_set()

    async def _retire(self, link: _Link) -> None:
        """Let an old connection finish what waits on it, within the deadline of a request."""
        until = self._clock.monotonic() + self._config.deadline_seconds
        while link.waiting and not link.closed.is_set() and self._clock.monotonic() < until:
            await self._clock.sleep(0.05)
        self._late += link.late
        link.close()

    async def _open(self) -> _Link:
        """Open and log on. Raises ExchangeUnavailable."""
        control = self._rest.control
        opened = control.charge("trading socket", HANDSHAKE)
        if isinstance(opened, Silence):
            await self._clock.sleep(min(opened.retry_after_ms, 60_000) / 1000)
            raise ExchangeUnavailable(opened.reason)
        link = _Link()
        try:
            link.transport = await connect(self._config.ws_api_url, link.listener, self._config.streams)
        except ExchangeUnavailable:
            control.settle(opened, Counted.LOST, {})
            raise
        control.settle(opened, Counted.ANSWERED, {})
        self._connections += 1
        if self._signer.kind is KeyKind.ED25519:
            try:
                await self._log_on(link)
            except BaseException:
                link.close()  # nobody else knows of it yet
                raise
        return link

    async def _log_on(self, link: _Link) -> None:
        """Log the session on, so that requests need no signature. Without it each request is signed."""
        opened = self._rest.control.charge("trading socket", LOGON)
        if isinstance(opened, Silence):
            return
        values: dict[str, ApiValue] = {"timestamp": self._rest.control.now_ms()}
        answer = await self._ask(
            link, opened, "session.logon", self._signed(values), self._config.deadline_seconds
        )
        link.logged_on = isinstance(answer, Answer) and answer.verdict.effect is Effect.ACCEPTED
        if not link.logged_on:
            reason = answer.reason if isinstance(answer, Silence) else answer.reason()
            log.warning("the trading session could not be logged on (%s); each request is signed", reason)

    def statistics(self) -> SocketApiStatistics:
        """Return the counters as they are now."""
        link = self._link
        ready = link is not None and not link.closed.is_set()
        return SocketApiStatistics(
            connected=ready,
            logged_on=link is not None and ready and link.logged_on,
            connections=self._connections,
            requests=self._requests,
            by_rest=self._by_rest,
            lost=self._lost,
            late=self._late + (link.late if link else 0),
            pending=len(link.waiting) if link else 0,
        )


def reported(limits: Iterable[RateLimit]) -> dict[Pool, int]:
    """Return what a reply tells of the limits; kinds that are not ours are left out."""
    found = {}
    for each in limits:
        pool = _POOLS.get((each.rate_limit_type, each.interval, each.interval_num))
        if pool is not None and each.count is not None:
            found[pool] = each.count
    return found
