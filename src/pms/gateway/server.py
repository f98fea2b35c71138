"""Runs the application in this process and on this event loop, without touching signals (decision 29)."""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Iterator

import uvicorn

from pms.gateway.app import create_app
from pms.gateway.bounds import FRAME_BYTES_MAX
from pms.gateway.connections import BrowserProtocol, RequestProtocol, connections_max
from pms.gateway.context import Gateway, GatewayDependencies
from pms.gateway.errors import GatewayError, PortInUseError

log = logging.getLogger(__name__)

START_SECONDS_MAX = 10.0
GRACE_SECONDS = 1.0
CANCEL_SECONDS = 0.2
STOP_SECONDS_MAX = 1.4
TICK_SECONDS = 0.1
POLL_SECONDS = 0.005


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, and with an end that comes as soon as the work has ended."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.leaving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        tick = 0
        while not self.leaving.is_set():
            await self.on_tick(tick)
            tick += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self.leaving.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close everything; what still runs after a second is cancelled and answers 504."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._ended(GRACE_SECONDS)
        for task in list(self.server_state.tasks):
            task.cancel()
        await self._ended(CANCEL_SECONDS)

    async def _ended(self, seconds: float) -> None:
        """Wait until every request and connection has ended; uvicorn's sets have no event to wait for."""
        for _ in range(round(seconds / POLL_SECONDS)):
            if not self.server_state.tasks and not self.server_state.connections:
                return
            await asyncio.sleep(POLL_SECONDS)


class GatewayServer:
    """Listens, serves, stops. `start` returns once requests are answered; `stop` within 1.5 s."""

    def __init__(self, deps: GatewayDependencies) -> None:
        self._deps = deps
        self.app = create_app(deps)
        self.gateway: Gateway = self.app.state.gateway
        self._url = ""
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """The address to open, with the real port. Raises GatewayError before `start`."""
        if not self._url:
            raise GatewayError("The gateway is not listening; start it first.")
        return self._url

    async def start(self) -> None:
        """Bind and serve. Raises PortInUseError when the address is taken; nothing is killed (H-27)."""
        settings = self._deps.settings
        listening = _bind(settings.host, settings.port)
        host, port = listening.getsockname()[:2]
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        config = uvicorn.Config(
            self.app,
            http=RequestProtocol,
            ws=BrowserProtocol,
            ws_max_size=FRAME_BYTES_MAX,
            ws_ping_interval=settings.ping_seconds,
            ws_ping_timeout=settings.ping_seconds,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=connections_max() + 1,
            timeout_keep_alive=65,
        )
        self._server = _Server(config)
        self._deps.hub.add_sink(self.gateway.sockets.publish)
        self.gateway.sockets.start()
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]), name="gateway http server")
        async with asyncio.timeout(START_SECONDS_MAX):
            while not self._server.started:
                if self._task.done():
                    self._task.result()
                    raise GatewayError("The HTTP server ended while it was starting; see the log.")
                await asyncio.sleep(0.002)
        log.info("the gateway listens at %s", self.url)

    async def stop(self) -> None:
        """End all sockets and requests, then stop listening. Idempotent."""
        if self._server is None or self._task is None:
            return
        self._deps.hub.remove_sink(self.gateway.sockets.publish)
        await self.gateway.sockets.stop()
        self._server.leaving.set()
        _, waiting = await asyncio.wait((self._task,), timeout=STOP_SECONDS_MAX)
        if waiting:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        elif not self._task.cancelled() and self._task.exception() is not None:
            log.error("the HTTP server ended by an error", exc_info=self._task.exception())
        self._server = self._task = None


def _bind(host: str, port: int) -> socket.socket:
    """Return a bound socket. Raises PortInUseError with what to do."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise PortInUseError(
            f"{host} is not an address of this machine ({error}); give another --host."
        ) from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(2048)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(
                f"port {port} is in use on {host}: stop what listens there or choose another with --port "
                "(0 takes a free one); nothing was changed."
            ) from error
        raise PortInUseError(
            f"{host} port {port} cannot be listened on: {error.strerror}; choose another."
        ) from error
    return bound
