"""Connections as bytes: what a peer may keep open, how long, and how much before a request is one."""

import asyncio
import json
import logging
import resource
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from pms.gateway.bounds import CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_SECONDS_MAX, REQUEST_BYTES_MAX
from pms.gateway.errors import ApiError

ABORT_SECONDS = 12.0
FILES_KEPT_FREE = 256
"""File descriptors that browsers never take: the exchange, the database and Redis reconnect with them."""

_log = logging.getLogger("pms.gateway.requests")
_log.setLevel(logging.ERROR)
"""Faults of ours only: what a peer sends wrongly is answered to the peer, and a line for each would let it
fill the disk."""

_PHRASES = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


def connections_max() -> int:
    """Return how many connections may be open, less than what this process may open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(16, min(CONNECTIONS_MAX, soft - FILES_KEPT_FREE))


class BrowserProtocol(WebSocketsSansIOProtocol):
    """Cuts a connection whose peer takes nothing any more; closing alone would wait for it without end."""

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        if not self.disconnected:
            self.loop.call_later(ABORT_SECONDS, self.transport.abort)


class RequestProtocol(HttpToolsProtocol):
    """uvicorn's HTTP with what it lacks: a deadline and a size for the head, and one error body.

    The body has its own bounds in `Shell`; here only what never becomes a request is held.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _in_head = False
    _request_bytes = 0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = _log

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            # Who holds connections open without a request would otherwise take all files of the process.
            transport.abort()
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._answering():
            self._expect_head()
        self._request_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head and self._request_bytes > HEAD_BYTES_MAX:
            self._refuse(431, "HEAD_TOO_LARGE", f"The head of a request exceeds {HEAD_BYTES_MAX} bytes.")
        elif self._request_bytes > REQUEST_BYTES_MAX:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._in_head, self._request_bytes = True, 0
        self._expect_head()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # what follows a chunked body is not a header
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "MALFORMED_REQUEST", "This is not an HTTP request.")

    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn declares it without the None it begins with
        return cycle is not None and not cycle.response_complete

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS_MAX, self._head_late)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._head_timer = None
        if self._answering():
            self._expect_head()  # reading is paused behind an earlier request; the peer may not be late
        elif self._in_head:
            self._refuse(408, "HEAD_TOO_SLOW", "The head of the request did not arrive in time.")
        else:
            self.transport.close()

    def _refuse(self, status: int, code: str, text: str) -> None:
        """Answer without the application, and close. Nothing of the request is repeated."""
        self._stop_waiting()
        if self._answering():
            self.transport.abort()  # anything written now would stand within the answer to come
            return
        body = json.dumps(ApiError(status, code, text).body()).encode()
        head = (
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
