"""A WebSocket connection to the venue, and the pace of the next ones: what all streams share."""

import asyncio
import logging
from collections.abc import Callable
from random import Random

import picows

from pms.exchange.binance.config import StreamTuning
from pms.exchange.errors import ExchangeUnavailable
from pms.model.clock import Clock

log = logging.getLogger("pms.exchange.binance")

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""A longer message ends the connection."""


class FrameListener(picows.WSListener):
    """Hands each complete message to `on_message`; the memory is only valid during the call."""

    def __init__(self, on_message: Callable[[memoryview], None], on_closed: Callable[[], None]) -> None:
        super().__init__()
        self._on_message = on_message
        self._on_closed = on_closed
        self._parts = bytearray()

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        kind = frame.msg_type
        if kind == picows.WSMsgType.TEXT and frame.fin:
            self._on_message(frame.get_payload_as_memoryview())
        elif kind in (picows.WSMsgType.TEXT, picows.WSMsgType.BINARY, picows.WSMsgType.CONTINUATION):
            self._parts += frame.get_payload_as_memoryview()
            if len(self._parts) > MESSAGE_BYTES_MAX:
                transport.disconnect(graceful=False)
            elif frame.fin:
                message, self._parts = bytes(self._parts), bytearray()
                self._on_message(memoryview(message))
        elif kind == picows.WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        self._on_closed()


async def connect(url: str, listener: FrameListener, tuning: StreamTuning) -> picows.WSTransport:
    """Open a connection that answers pings and finds a dead peer by its own. Raises ExchangeUnavailable."""

    def the_listener() -> FrameListener:
        return listener

    try:
        async with asyncio.timeout(tuning.connect_seconds_max):
            transport, _ = await picows.ws_connect(
                the_listener,
                url,
                websocket_handshake_timeout=tuning.connect_seconds_max,
                enable_auto_ping=True,
                auto_ping_idle_timeout=tuning.ping_idle_seconds,
                auto_ping_reply_timeout=tuning.ping_reply_seconds_max,
                max_frame_size=MESSAGE_BYTES_MAX,
                logger_name="pms",
            )
    except (picows.WSError, OSError, TimeoutError) as error:
        # The address of a user stream carries its listen key and stays out of the text.
        raise ExchangeUnavailable(
            f"a stream of the exchange cannot be opened: {type(error).__name__}"
        ) from None
    return transport


class Backoff:
    """Pauses between connections: doubling from the least to the longest, each cut by a random part."""

    def __init__(self, tuning: StreamTuning, random: Random) -> None:
        self._tuning = tuning
        self._random = random
        self._next_seconds = tuning.backoff_seconds_min

    def ended(self, lasted_seconds: float) -> float:
        """Return the pause after a connection that lasted so long; a steady one starts the pauses anew."""
        if lasted_seconds >= self._tuning.steady_seconds:
            self._next_seconds = self._tuning.backoff_seconds_min
        pause_seconds = self._next_seconds
        self._next_seconds = min(pause_seconds * 2, self._tuning.backoff_seconds_max)
        # Half fixed, half random: clients cut off together do not come back together.
        return pause_seconds * (0.5 + self._random.random() / 2)


class ConnectPacer:
    """Spaces the handshakes of all sockets: the venue counts them for each address (Binance spec 1.6).

    A few may begin at once; each of those is earned back after `connect_spacing_seconds`.
    """

    def __init__(self, tuning: StreamTuning, clock: Clock) -> None:
        self._spacing_seconds = tuning.connect_spacing_seconds
        self._burst = tuning.connects_at_once_max
        self._clock = clock
        self._free_at = float("-inf")
        self.turns = 0
        self.waits = 0

    async def turn(self) -> None:
        """Return when a handshake may begin. Cancellation gives the turn up, not back."""
        now = self._clock.monotonic()
        self._free_at = max(self._free_at, now - self._spacing_seconds * self._burst) + self._spacing_seconds
        self.turns += 1
        wait_seconds = self._free_at - now
        if wait_seconds > 0:
            self.waits += 1
            await self._clock.sleep(wait_seconds)
