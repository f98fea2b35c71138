"""One browser's WebSocket: its frames in, its paced and coalesced frames out (gateway spec 7)."""

import asyncio
import logging
from dataclasses import dataclass, field

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from pms.gateway import bounds
from pms.gateway.auth import Principal
from pms.gateway.frames import Frame
from pms.gateway.rate_limit import WINDOW_SECONDS
from pms.gateway.send_queue import SendQueue
from pms.model.clock import Clock
from pms.model.ids import SubAccountId
from pms.model.symbol import Symbol

log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.05
CLOSE_SECONDS_MAX = 10.0
SEND_SECONDS_MAX = 60.0


@dataclass(eq=False)
class Session:
    """State of one socket; owned by `BrowserSockets`. `baseline`: the sequences that its snapshot had."""

    socket: WebSocket
    clock: Clock
    opened: float
    queue: SendQueue = field(default_factory=SendQueue)
    principal: Principal | None = None
    accounts: set[SubAccountId] = field(default_factory=set)
    baseline: dict[SubAccountId, int] = field(default_factory=dict)
    watched: set[Symbol] = field(default_factory=set)
    early_watch: dict[str, object] | None = None
    close_code: int | None = None
    close_reason: str = ""
    _window_started: float = float("-inf")
    _received: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _end: asyncio.Event = field(default_factory=asyncio.Event)

    def put_durable(self, frame: Frame) -> None:
        self.queue.put_durable(frame)
        self._after_put()

    def put_latest(self, key: str, frame: Frame) -> None:
        self.queue.put_latest(key, frame)
        self._after_put()

    def count_received(self) -> bool:
        """Count one message of the peer; beyond the bound of a window the session ends and False is returned.

        A subscription answers with a snapshot: a peer that floods would take the loop from everybody else.
        """
        now = self.clock.monotonic()
        if now - self._window_started >= WINDOW_SECONDS:
            self._window_started, self._received = now, 0
        self._received += 1
        if self._received <= bounds.SOCKET_MESSAGES_MAX:
            return True
        self.end(4429, f"more than {bounds.SOCKET_MESSAGES_MAX} messages in {WINDOW_SECONDS} s")
        return False

    def end(self, code: int, reason: str) -> None:
        """Ask for the end of the session; what waits in the queue is not sent any more. Idempotent."""
        if self.close_code is None:
            self.close_code = code
            self.close_reason = reason
            self._end.set()

    def _after_put(self) -> None:
        if self.queue.overflowed:
            self.end(4008, "too slow: the newest state is sent after a reconnect")
        self._wake.set()

    async def pump(self) -> None:
        """Send what waits, at most one batch per 50 ms, until the peer is gone; `ended` says when to stop."""
        last_flush = float("-inf")
        while True:
            await self._wake.wait()
            pause = last_flush + FLUSH_SECONDS - self.clock.monotonic()
            if pause > 0:
                await self.clock.sleep(pause)
            self._wake.clear()
            last_flush = self.clock.monotonic()
            try:
                async with asyncio.timeout(SEND_SECONDS_MAX):
                    for frame in self.queue.drain():
                        await self.socket.send_text(frame.text)
            except TimeoutError:
                self.end(4008, "too slow: nothing was read for a minute")
                return
            except (WebSocketDisconnect, RuntimeError, OSError):
                return

    async def ended(self) -> None:
        """Wait until somebody called `end`."""
        await self._end.wait()

    async def close(self) -> None:
        """Send the close frame, if the session was ended by us and the peer still takes it."""
        if self.close_code is None or self.socket.application_state is not WebSocketState.CONNECTED:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await self.socket.close(self.close_code, self.close_reason)
        except (TimeoutError, WebSocketDisconnect, RuntimeError, OSError) as error:
            log.debug("a browser socket was gone before its close frame: %s", error)
