"""REST conversation with the venue: connections, signatures, deadlines, and what an answer proves."""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TypeVar

import aiohttp
import msgspec
from yarl import URL

from pms.exchange.binance import conversation
from pms.exchange.binance.bans import BanStore, MemoryBans
from pms.exchange.binance.budget import WindowStatistics
from pms.exchange.binance.clock_sync import ClockSync
from pms.exchange.binance.config import BinanceConfig
from pms.exchange.binance.control import ControlStatistics, RequestControl
from pms.exchange.binance.conversation import Answer, Parameters, Security, Silence
from pms.exchange.binance.costs import Lane, Pool
from pms.exchange.binance.signing import Signer, encode
from pms.exchange.census import Census
from pms.exchange.errors import ExchangeError
from pms.exchange.messages import ServerTime, decode_message
from pms.model.clock import Clock

__all__ = ["Answer", "Parameters", "RestClient", "RestStatistics", "Security", "Silence"]

log = logging.getLogger("pms.exchange.binance")

EPOCH_HEADER = "X-PMS-Sim-Epoch"
BODY_TEXT_MAX = 200
_PAGE_TITLE = re.compile(r"<title>\s*([^<]{1,80}?)\s*</title>", re.IGNORECASE)
_FORM = "application/x-www-form-urlencoded"

_REPORTS = {
    "x-mbx-used-weight-1m": Pool.WEIGHT_1M,
    "x-mbx-order-count-10s": Pool.ORDERS_10S,
    "x-mbx-order-count-1m": Pool.ORDERS_1M,
}
_INACCURATE = frozenset({"/fapi/v1/ticker/bookTicker", "/fapi/v2/ticker/price"})
"""Their reports of used weight are documented as inaccurate (Binance spec 1.4)."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RestStatistics:
    """The shared counters, what is used of the limits, and the clock's offset."""

    control: ControlStatistics
    clock_offset_ms: int
    clock_measurements: int

    @property
    def refused_locally(self) -> int:
        """Requests that were not sent, because of a ban, a limit, a reserve or the lease."""
        return self.control.refused_locally

    @property
    def windows(self) -> Mapping[str, WindowStatistics]:
        return self.control.windows

    @property
    def weight_used_1m(self) -> int:
        return self.windows[Pool.WEIGHT_1M.value].used

    @property
    def orders_used_10s(self) -> int:
        return self.windows[Pool.ORDERS_10S.value].used

    @property
    def orders_used_1m(self) -> int:
        return self.windows[Pool.ORDERS_1M.value].used


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
        self,
        config: BinanceConfig,
        clock: Clock,
        lease_left_ms: Callable[[], int | None] | None = None,
        bans: BanStore | None = None,
    ) -> None:
        self._config = config
        self._signer = Signer(config.api_secret.reveal())
        self._session: aiohttp.ClientSession | None = None
        self._order_session: aiohttp.ClientSession | None = None
        self._resync_lock = asyncio.Lock()
        self.epoch: str | None = None
        self.census = Census(clock.now_ms)
        self.time = ClockSync(clock, self.server_time_ms)
        self.control = RequestControl(config, self.time, bans or MemoryBans(), lease_left_ms)

    async def open(self) -> None:
        """Make the connection pool. Idempotent."""
        if self._session is not None:
            return
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(_connected)
        trace.on_connection_reuseconn.append(_connected)
        connector = aiohttp.TCPConnector(
            limit=self._config.connections_max,
            keepalive_timeout=self._config.keepalive_seconds,
            ttl_dns_cache=60,
        )
        headers = {"User-Agent": "pms"}
        self._session, self._order_session = (
            aiohttp.ClientSession(
                connector=connector,
                connector_owner=owner,
                trace_configs=[trace],
                headers=headers,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            for owner in (True, False)
        )
        # aiohttp repeats PUT and DELETE by itself when a kept connection turns out to be closed. What changes
        # an order is sent once: a second answer would hide what the first one did.
        self._order_session._retry_connection = False

    async def close(self) -> None:
        """Close all connections. Idempotent; a request afterwards is answered as not written."""
        sessions = self._order_session, self._session
        self._session = self._order_session = None
        for session in sessions:
            if session is not None:
                await session.close()

    def statistics(self) -> RestStatistics:
        """Return the counters as they are now."""
        return RestStatistics(self.control.statistics(), self.time.offset_ms, self.time.measurements)

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
        """Ask and decode; see `pms.exchange.binance.conversation.read`. Raises ExchangeError."""
        return await conversation.read(
            self, path, parameters, decoder, security, method=method, deadline_seconds=deadline_seconds
        )

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
        """Send one request; see `Sender.send`.

        POST parameters travel as a form, all others in the query; both byte for byte as signed.
        """
        encoded = encode(parameters)
        opened = self.control.open(method, path, parameters, security, lane, owner)
        if isinstance(opened, Silence):
            return opened
        if opened.recv_window_ms:
            stamps = f"recvWindow={opened.recv_window_ms}&timestamp={opened.timestamp_ms}"
            encoded = self._signer.signed(f"{encoded}&{stamps}" if encoded else stamps)
        progress = SimpleNamespace(connected=False)
        try:
            status, headers, body = await self._exchange(
                method, path, encoded, security, progress, deadline_seconds or self._config.deadline_seconds
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return self.control.lost(opened, reason_of(error), written=progress.connected)
        except BaseException:
            self.control.lost(opened, "cancelled", written=progress.connected)
            raise
        self.epoch = headers.get(EPOCH_HEADER, self.epoch)
        self.census.answer(method, path, body)
        retry_seconds = _whole(headers.get("Retry-After", ""))
        return self.control.answered(
            opened,
            status,
            body,
            *_error_of(status, body),
            _reported(path, headers),
            None if retry_seconds is None else retry_seconds * 1000,
        )

    async def _exchange(
        self,
        method: str,
        path: str,
        encoded: str,
        security: Security,
        progress: SimpleNamespace,
        deadline_seconds: float,
    ) -> tuple[int, Mapping[str, str], bytes]:
        session = self._order_session if security is Security.ORDER else self._session
        if session is None:
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
        async with session.request(
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


# aiohttp tells when a connection is there: before that, nothing of the request can have been written.
async def _connected(session: aiohttp.ClientSession, context: SimpleNamespace, parameters: object) -> None:
    context.trace_request_ctx.connected = True


def reason_of(error: Exception) -> str:
    # The address of a signed request carries its signature, and stays out of the text.
    text = str(error).partition("?")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _reported(path: str, headers: Mapping[str, str]) -> dict[Pool, int]:
    return {
        pool: used
        for name, pool in _REPORTS.items()
        if (used := _whole(headers.get(name, ""))) is not None
        and not (pool is Pool.WEIGHT_1M and path in _INACCURATE)
    }


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _error_of(status: int, body: bytes) -> tuple[int | None, str]:
    if status < 400 and not body.startswith(b'{"code"'):
        return None, ""
    try:
        error = decode_message(_error_decoder, body)
    except msgspec.DecodeError:
        text = body[:BODY_TEXT_MAX].decode("utf-8", "replace")
        title = _PAGE_TITLE.search(text)
        return None, f"a page titled '{title.group(1)}'" if title else " ".join(text.split())
    return error.code, error.msg
