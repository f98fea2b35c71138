"""How long a socket lives: pings every three minutes, the end without pongs or after 24 hours (spec 4.1)."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from pms.model.clock import Clock
from pms.simulator.config import SimulatorConfig

PONG_SECONDS_MAX = 600.0


class SocketLife:
    """Pings one socket and remembers its pongs."""

    def __init__(self, clock: Clock, config: SimulatorConfig, socket: web.WebSocketResponse) -> None:
        self._clock = clock
        self._config = config
        self._socket = socket
        self._last_pong = clock.monotonic()

    def pong(self, payload: bytes) -> None:
        """Hear a pong; an unsolicited empty one is allowed but keeps nothing alive (spec 4.1)."""
        if payload:
            self._last_pong = self._clock.monotonic()

    async def keep(self, stopped: Callable[[int], bool]) -> None:
        """Ping until the socket is too old or its pongs stay away; `stopped` (time) holds pings back."""
        config, clock = self._config, self._clock
        opened = clock.monotonic()
        while (age := clock.monotonic() - opened) < config.socket_seconds_max:
            await clock.sleep(min(config.ping_seconds, config.socket_seconds_max - age))
            if clock.monotonic() - self._last_pong > max(PONG_SECONDS_MAX, 2 * config.ping_seconds):
                return
            now_ms = clock.now_ms()
            if not stopped(now_ms):
                await self._socket.ping(str(now_ms).encode())
