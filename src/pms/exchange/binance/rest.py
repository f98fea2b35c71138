"""REST conversation with the venue: connections, signatures, deadlines, limits, and what an answer proves."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from types import SimpleNamespace
from typing import TypeVar

import aiohttp
import msgspec
from yarl import URL

from pms.exchange.binance.clock_sync import ClockSync
from pms.exchange.binance.config import BinanceConfig
from pms.exchange.binance.outcome import Blocks, Effect, Request, Verdict, judge
from pms.exchange.binance.signing import Signer, encode
from pms.exchange.errors import ExchangeError, ExchangeRefusal, ExchangeUnavailable, UnreadablePayload
from pms.exchange.messages import ServerTime
from pms.model.clock import Clock

log = logging.getLogger("pms.exchange.binance")

EPOCH_HEADER = "X-PMS-Sim-Epoch"
BODY_TEXT_MAX = 200
_FORM = "application/x-www-form-urlencoded"

Parameters = Sequence[tuple[str, str]]
T = TypeVar("T")


class Security(Enum):
    """What a request carries (Binance spec 1.2). ORDER is SIGNED and additionally bound to the lease."""

    NONE = auto()
    KEY = auto()
    SIGNED = auto()
    ORDER = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer with its verdict. The last two are what the request was signed with (0: unsigned)."""

    status: int
    body: bytes
    code: int | None
    message: str
    verdict: Verdict
    timestamp_ms: int
    recv_window_ms: int


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer. `written` False proves that nothing left this machine for the venue."""

    written: bool
    reason: str
    retry_after_ms: int
    timestamp_ms: int
    recv_window_ms: int


@dataclass(frozen=True, slots=True)
class RestStatistics:
    """Counters since start, and the limits the venue last reported for this IP and account (spec 1.4)."""

    requests: int
    silences: int
    refused_locally: int
    weight_used_1m: int
    orders_used_10s: int
    orders_used_1m: int
    clock_offset_ms: int


class _ErrorText(msgspec.Struct, frozen=True, gc=False):
    code: int | None = None
    msg: str = ""


_error_decoder = msgspec.json.Decoder(_ErrorText)
_time_decoder = msgspec.json.Decoder(ServerTime)


class RestClient:
    """The only sender of HTTP requests. Safe for concurrent use by tasks of one loop.

    `lease_left_ms` tells how much of the engine's lease is left, None when there is no lease (decision 28).
    """

    def __init__(
        self, config: BinanceConfig, clock: Clock, lease_left_ms: Callable[[], int | None] | None = None
    ) -> None:
        self._config = config
        self._clock = clock
        self._lease_left_ms = lease_left_ms
        self._signer = Signer(config.api_secret.reveal())
        self._session: aiohttp.ClientSession | None = None
        self._resync_lock = asyncio.Lock()
        self._blocked_until = 0.0
        self._orders_blocked_until = 0.0
        self._requests = self._silences = self._refused_locally = 0
        self._used = {"x-mbx-used-weight-1m": 0, "x-mbx-order-count-10s": 0, "x-mbx-order-count-1m": 0}
        self.epoch: str | None = None
        self.time = ClockSync(clock, self.server_time_ms)

    async def open(self) -> None:
        """Make the connection pool. Idempotent."""
        if self._session is not None:
            return
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(_connected)
        trace.on_connection_reuseconn.append(_connected)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._config.connections_max,
                keepalive_timeout=self._config.keepalive_seconds,
                ttl_dns_cache=60,
            ),
            trace_configs=[trace],
            headers={"User-Agent": "pms"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close all connections. Idempotent; a request afterwards is answered as not written."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def statistics(self) -> RestStatistics:
        """Return the counters as they are now."""
        weight, orders_10s, orders_1m = self._used.values()
        return RestStatistics(
            self._requests,
            self._silences,
            self._refused_locally,
            weight,
            orders_10s,
            orders_1m,
            self.time.offset_ms,
        )

    async def server_time_ms(self) -> int:
        """Return the venue's clock. Raises ExchangeError."""
        return (await self.read("/fapi/v1/time", (), _time_decoder, Security.NONE)).server_time

    async def resync(self) -> None:
        """Measure the clock again after -1021; callers that come together share one measurement."""
        measurements = self.time.measurements
        async with self._resync_lock:
            if self.time.measurements == measurements:
                try:
                    await self.time.measure()
                except ExchangeError as error:
                    log.warning("the exchange's clock could not be read: %s", error)

    async def read(
        self,
        path: str,
        parameters: Parameters,
        decoder: msgspec.json.Decoder[T],
        security: Security = Security.SIGNED,
        *,
        method: str = "GET",
        deadline_seconds: float | None = None,
    ) -> T:
        """Ask and decode. A clock refusal is repeated once with a fresh measurement.

        Raises ExchangeUnavailable, ExchangeRefusal, or UnreadablePayload.
        """
        answer = await self.send(method, path, parameters, security, deadline_seconds=deadline_seconds)
        if isinstance(answer, Answer) and answer.verdict.resync:
            await self.resync()
            answer = await self.send(method, path, parameters, security, deadline_seconds=deadline_seconds)
        if isinstance(answer, Silence):
            raise ExchangeUnavailable(f"{method} {path}: {answer.reason}")
        if answer.verdict.effect is Effect.REFUSED and answer.code is not None:
            raise ExchangeRefusal(answer.code, answer.message)
        if answer.verdict.effect is not Effect.ACCEPTED:
            raise ExchangeUnavailable(
                f"{method} {path}: HTTP {answer.status}, {answer.message or 'no text'} ({answer.code})"
            )
        try:
            return decoder.decode(answer.body)
        except msgspec.DecodeError as error:
            raise UnreadablePayload(f"{method} {path}: the answer cannot be read: {error}") from None

    async def send(
        self,
        method: str,
        path: str,
        parameters: Parameters,
        security: Security,
        *,
        deadline_seconds: float | None = None,
    ) -> Answer | Silence:
        """Send one request; never raises for what a network or a venue may do.

        POST parameters travel as a form, all others in the query; both byte for byte as signed. Cancellation
        leaves the outcome unknown to the caller.
        """
        refused = self._refused(method, security)
        if refused is not None:
            self._refused_locally += 1
            return refused
        timestamp_ms, window_ms, encoded = 0, 0, ""
        if security in (Security.SIGNED, Security.ORDER):
            window_ms = self._window_ms(security)
            if window_ms <= 0:
                self._refused_locally += 1
                return Silence(False, "the engine's lease is running out", 0, 0, 0)
            timestamp_ms = self.time.exchange_now_ms()
            stamps = (("recvWindow", str(window_ms)), ("timestamp", str(timestamp_ms)))
            encoded = self._signer.signed(encode((*parameters, *stamps)))
        elif parameters:
            encoded = encode(parameters)
        self._requests += 1
        progress = SimpleNamespace(connected=False)
        try:
            status, headers, body = await self._exchange(
                method, path, encoded, security, progress, deadline_seconds or self._config.deadline_seconds
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._silences += 1
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return Silence(progress.connected, reason, 1000, timestamp_ms, window_ms)
        kind = _kind_of(method, security)
        return self._judged(kind, status, headers, body, timestamp_ms, window_ms)

    async def _exchange(
        self,
        method: str,
        path: str,
        encoded: str,
        security: Security,
        progress: SimpleNamespace,
        deadline_seconds: float,
    ) -> tuple[int, Mapping[str, str], bytes]:
        if self._session is None:
            raise aiohttp.ClientConnectionError("the adapter is closed")
        address = self._config.rest_url + path
        headers = {} if security is Security.NONE else {"X-MBX-APIKEY": self._config.api_key}
        data: bytes | None = None
        if method == "POST":
            data = encoded.encode()
            headers["Content-Type"] = _FORM
        elif encoded:
            address = f"{address}?{encoded}"
        timeout = aiohttp.ClientTimeout(
            total=deadline_seconds, sock_connect=min(deadline_seconds, self._config.connect_seconds_max)
        )
        async with self._session.request(
            method,
            # Encoded means: the bytes signed are the bytes sent (spec 1.3).
            URL(address, encoded=True),
            data=data,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
            trace_request_ctx=progress,
        ) as response:
            return response.status, response.headers, await response.read()

    def _judged(
        self,
        kind: Request,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        timestamp_ms: int,
        window_ms: int,
    ) -> Answer:
        self.epoch = headers.get(EPOCH_HEADER, self.epoch)
        for name in self._used:
            value = headers.get(name, "")
            if value.isdigit():
                self._used[name] = int(value)
        code, message = _error_of(status, body)
        retry = headers.get("Retry-After", "")
        verdict = judge(
            status,
            code,
            message,
            now_ms=self.time.exchange_now_ms(),
            retry_after_ms=int(retry) * 1000 if retry.isdigit() else None,
            request=kind,
        )
        until = self._clock.monotonic() + verdict.retry_after_ms / 1000
        if verdict.blocks is Blocks.ALL:
            self._blocked_until = max(self._blocked_until, until)
            log.error(
                "the exchange limits us (HTTP %s): nothing is sent for %s ms", status, verdict.retry_after_ms
            )
        if verdict.blocks is Blocks.ORDERS:
            self._orders_blocked_until = max(self._orders_blocked_until, until)
        return Answer(status, body, code, message, verdict, timestamp_ms, window_ms)

    # After 429 and 418 nothing may be sent until the time the venue named: going on earns longer bans.
    # The order limit counts placements only; cancels stay possible.
    def _refused(self, method: str, security: Security) -> Silence | None:
        until = self._blocked_until
        if security is Security.ORDER and method == "POST":
            until = max(until, self._orders_blocked_until)
        left_ms = round((until - self._clock.monotonic()) * 1000)
        if left_ms <= 0:
            return None
        return Silence(False, f"the exchange's limit holds for another {left_ms} ms", left_ms, 0, 0)

    # No order may act on the exchange after the lease that it was decided under (decision 28).
    def _window_ms(self, security: Security) -> int:
        window_ms = self._config.recv_window_ms
        if security is Security.ORDER and self._lease_left_ms is not None:
            left_ms = self._lease_left_ms()
            if left_ms is not None:
                window_ms = min(window_ms, left_ms - self._config.lease_margin_ms)
        return window_ms


# aiohttp tells when a connection is there: before that, nothing of the request can have been written.
async def _connected(session: aiohttp.ClientSession, context: SimpleNamespace, parameters: object) -> None:
    context.trace_request_ctx.connected = True


def _kind_of(method: str, security: Security) -> Request:
    if security is not Security.ORDER:
        return Request.READ
    return {"POST": Request.PLACE, "PUT": Request.AMEND}.get(method, Request.CANCEL)


def _error_of(status: int, body: bytes) -> tuple[int | None, str]:
    if status < 400 and not body.startswith(b'{"code"'):
        return None, ""
    try:
        error = _error_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, body[:BODY_TEXT_MAX].decode("utf-8", "replace")
    return error.code, error.msg
