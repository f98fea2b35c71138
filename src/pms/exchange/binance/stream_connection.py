"""One open market connection: what is subscribed on it, what the venue confirmed, and what flows."""

import logging
from collections.abc import Callable, Iterable, Mapping

import msgspec
import picows

from pms.exchange.binance.config import StreamTuning
from pms.exchange.binance.sockets import FrameListener, connect
from pms.exchange.census import Census
from pms.exchange.messages import (
    CommandReply,
    CommandRequest,
    MarketEvent,
    decode_market_frame,
    decode_message,
)

log = logging.getLogger("pms.exchange.binance")

PERIODIC = "@markPrice"
"""Streams that send without a change too: silence of one of them is a fault, not a quiet market."""

_encoder = msgspec.json.Encoder()
_reply_decoder = msgspec.json.Decoder(CommandReply)


class StreamConnection:
    """Wishes become commands, replies become facts. Who calls `apply` keeps the venue's pace."""

    def __init__(
        self,
        name: str,
        on_event: Callable[[MarketEvent], None],
        on_change: Callable[[], None],
        census: Census,
    ) -> None:
        self._name = name
        self._census = census
        self.on_event = on_event
        self._on_change = on_change
        self._transport: picows.WSTransport | None = None
        self._asked: dict[int, tuple[str, ...]] = {}
        self._command_id = 0
        self._seen: dict[str, int] = {}
        self.turn = 0
        self.active: dict[str, int] = {}
        self.confirmed: set[str] = set()
        self.frames = self.strange = self.refused = 0
        self.opened_at = 0.0

    async def open(self, url: str, tuning: StreamTuning, now: float) -> None:
        """Connect. Raises ExchangeUnavailable."""
        self._transport = await connect(url, FrameListener(self._take, self._on_change), tuning)
        self.opened_at = now

    @property
    def alive(self) -> bool:
        """True from `open` until either side ends the connection."""
        return self._transport is not None and not self._transport.is_disconnected

    def close(self) -> None:
        """End the connection; idempotent."""
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    def apply(self, wanted: Mapping[str, None], streams_max: int) -> bool:
        """Send the next batch of differences between wanted and active; False when there is none."""
        method, streams = "SUBSCRIBE", _some((s for s in wanted if s not in self.active), streams_max)
        if streams:
            self.active.update(dict.fromkeys(streams, self.turn))
        else:
            method, streams = "UNSUBSCRIBE", _some((s for s in self.active if s not in wanted), streams_max)
            for stream in streams:
                self._forget(stream)
        if not streams or self._transport is None:
            return False
        self._command_id += 1
        if method == "SUBSCRIBE":
            self._asked[self._command_id] = streams
        request = CommandRequest(method=method, params=list(streams), id=self._command_id)
        self._transport.send(picows.WSMsgType.TEXT, _encoder.encode(request))
        return True

    def renew(self, streams: Iterable[str]) -> bool:
        """Give up streams that went silent alone; the next `apply` asks for them again."""
        gone = tuple(streams)
        if not gone or self._transport is None:
            return False
        for stream in gone:
            self._forget(stream)
        self._command_id += 1
        request = CommandRequest(method="UNSUBSCRIBE", params=list(gone), id=self._command_id)
        self._transport.send(picows.WSMsgType.TEXT, _encoder.encode(request))
        return True

    def carries(self, wanted: Mapping[str, None]) -> bool:
        """Tell whether every wanted stream is confirmed by the venue, or has sent something."""
        return all(stream in self.confirmed or stream in self._seen for stream in wanted)

    def silent(self, turns: int) -> list[str]:
        """Return the periodic streams that sent nothing for so many turns."""
        return [
            stream
            for stream, since in self.active.items()
            if PERIODIC in stream and self.turn - self._seen.get(stream, since) > turns
        ]

    def _forget(self, stream: str) -> None:
        self.active.pop(stream, None)
        self._seen.pop(stream, None)
        self.confirmed.discard(stream)

    # Runs for every message: keep it short.
    def _take(self, message: memoryview) -> None:
        try:
            combined = decode_market_frame(message)
        except msgspec.DecodeError:
            self.strange += 1
            self._census.strange_frame(bytes(message))
            return
        if combined is not None:
            self.frames += 1
            if self._census.wants(type(combined.data)):
                self._census.look(type(combined.data), bytes(message))
            if combined.stream in self.active:
                self._seen[combined.stream] = self.turn
            self.on_event(combined.data)
        else:
            self._take_reply(message)

    def _take_reply(self, message: memoryview) -> None:
        try:
            reply = decode_message(_reply_decoder, message)
        except msgspec.DecodeError:
            self.strange += 1
            self._census.strange_frame(bytes(message))
            return
        if reply.error is not None:
            self.refused += 1
            log.error("market stream %s: a command was refused: %s", self._name, reply.error.msg)
        elif not isinstance(reply.id, int):
            self.strange += 1
            self._census.strange_frame(bytes(message))
        else:
            confirmed = self._asked.pop(reply.id, ())
            self.confirmed.update(stream for stream in confirmed if stream in self.active)
            self._on_change()


def _some(streams: Iterable[str], count: int) -> tuple[str, ...]:
    return tuple(stream for stream, _ in zip(streams, range(count), strict=False))
