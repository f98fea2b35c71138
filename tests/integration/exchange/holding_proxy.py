"""A proxy before a venue that holds a request, or its answer, until the test lets it go, or loses it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from yarl import URL


@dataclass
class Hold:
    """One request on its way. The test sets `go`, then `answer`; `done` says that the venue has answered."""

    lost: bool = False
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    answer: asyncio.Event = field(default_factory=asyncio.Event)


class HoldingProxy:
    """Passes requests on byte for byte; the next one of a held method and path waits for the test."""

    def __init__(self, venue_url: str, session: aiohttp.ClientSession) -> None:
        self._venue_url = venue_url
        self._session = session
        self._holds: dict[tuple[str, str], Hold] = {}
        self.url = ""

    def hold(self, method: str, path: str, *, lost: bool = False) -> Hold:
        """Hold the next request of that kind; `lost` ends its connection instead of answering."""
        one = self._holds[method, path] = Hold(lost)
        return one

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        hold = self._holds.pop((request.method, request.path), None)
        if hold is not None:
            hold.arrived.set()
            await hold.go.wait()
        kept = {
            name: request.headers[name]
            for name in ("X-MBX-APIKEY", "Content-Type")
            if name in request.headers
        }
        address = URL(self._venue_url + request.raw_path, encoded=True)
        async with self._session.request(request.method, address, data=body, headers=kept) as answer:
            content = await answer.read()
            reply = web.Response(status=answer.status, body=content, content_type=answer.content_type)
        if hold is not None:
            hold.done.set()
            await hold.answer.wait()
            if hold.lost:
                assert request.transport is not None
                request.transport.abort()
        return reply


@asynccontextmanager
async def holding_proxy(venue_url: str) -> AsyncIterator[HoldingProxy]:
    """A proxy on a free port of the loopback interface."""
    async with aiohttp.ClientSession() as session:
        proxy = HoldingProxy(venue_url, session)
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", proxy.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield proxy
        finally:
            await runner.cleanup()
