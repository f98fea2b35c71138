"""A venue that only streams: sends recorded quotes at a pace, in a process of its own.

`python -m bench.frame_server RATE SECONDS` prints its port, waits until all streams are subscribed, sends,
and prints how many it sent. RATE is frames a second, 0 for as many as the reader takes. The ask quantity of
a frame is the time of sending, in microseconds of the machine's monotonic clock: the reader tells the delay.
"""

import asyncio
import json
import logging
import sys
import time

import picows

from bench.frames import Quote, mark_frame, natives, quotes

QUOTES = 100_000
PACE_SECONDS = 0.002
BACKLOG_BYTES_MAX = 256 * 1024


class Door(picows.WSListener):
    """One connection: confirms what is asked for and remembers who wants what."""

    wants: dict[str, picows.WSTransport]

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.TEXT:
            command = json.loads(frame.get_payload_as_memoryview().tobytes())
            if command["method"] == "SUBSCRIBE":
                self.wants.update(dict.fromkeys(command["params"], transport))
            transport.send(picows.WSMsgType.TEXT, b'{"result":null,"id":%d}' % command["id"])
        elif frame.msg_type == picows.WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == picows.WSMsgType.CLOSE:
            transport.disconnect()


class Sender:
    """Sends quotes, each to the connection that wants it, and every second a mark price of each symbol."""

    def __init__(self, wants: dict[str, picows.WSTransport], rate: int) -> None:
        self._wants = wants
        self._rate = rate
        self._quotes: list[Quote] = list(quotes(QUOTES))
        self.sent = 0

    async def run(self, seconds: float) -> None:
        """Send for so long."""
        started = time.monotonic()
        marked = 0
        while (passed := time.monotonic() - started) < seconds:
            if passed >= marked:
                marked += 1
                self._marks()
            due = int(passed * self._rate) - self.sent if self._rate else 200
            if not self._rate and self._backlog() > BACKLOG_BYTES_MAX:
                due = 0
            for _ in range(due):
                self._quote()
            await asyncio.sleep(PACE_SECONDS if self._rate else 0)

    def _quote(self) -> None:
        self.sent += 1
        quote = self._quotes[self.sent % QUOTES]
        stamp = str(time.monotonic_ns() // 1000)
        frame = quote.frame(self.sent, time.time_ns() // 1_000_000, stamp)
        self._wants[f"{quote.native.lower()}@bookTicker"].send(picows.WSMsgType.TEXT, frame)

    def _marks(self) -> None:
        now_ms = time.time_ns() // 1_000_000
        for native in natives():
            frame = mark_frame(native, "61800.10000000", now_ms)
            self._wants[f"{native.lower()}@markPrice@1s"].send(picows.WSMsgType.TEXT, frame)
            self.sent += 1

    def _backlog(self) -> int:
        sockets = {id(transport): transport for transport in self._wants.values()}
        return sum(each.underlying_transport.get_write_buffer_size() for each in sockets.values())


async def serve(rate: int, seconds: float) -> None:
    """Serve one reader."""
    Door.wants = {}
    server = await picows.ws_create_server(lambda _request: Door(), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    # The socket tells of each full buffer; that is the purpose of the run without a pace.
    logging.getLogger("picows").setLevel(logging.ERROR)
    async with asyncio.timeout(60):
        while len(Door.wants) < 2 * len(natives()):  # noqa: ASYNC110 - another process subscribes
            await asyncio.sleep(0.05)
    sender = Sender(Door.wants, rate)
    await asyncio.sleep(0.5)
    await sender.run(seconds)
    print(sender.sent, flush=True)
    await asyncio.sleep(1)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
