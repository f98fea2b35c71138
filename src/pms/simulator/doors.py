"""The doors of one exchange, built together: REST, streams, admin, and the faults that stand in them."""

from __future__ import annotations

from aiohttp import web

from pms.simulator import ws_api
from pms.simulator.fault_effects import FaultRunner
from pms.simulator.faults import glob
from pms.simulator.gate import Gate
from pms.simulator.http_admin import AdminServer
from pms.simulator.http_server import RestServer
from pms.simulator.stream_faults import StreamFaults
from pms.simulator.streams import StreamServer
from pms.simulator.venue import Venue
from pms.simulator.ws_api import ApiServer


class Doors:
    """Everything a client can reach. Raises `SimulatorError` for keys or faults that make no sense."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._owners: dict[str, str] = {}
        self.gate = Gate(venue)
        self.streams = StreamServer(venue)
        self.api = ApiServer(venue, self.gate)
        self.events = StreamFaults(venue.faults, venue.clock.now_ms, self._owner_of, venue.hub.deliver)
        venue.hub.carry = self.events.publish
        self.faults = FaultRunner(venue, self.events, self)
        self.rest = RestServer(venue, self.gate, AdminServer(venue, self.faults))
        self.faults.play(venue.config.scenario)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve any request on the exchange's port."""
        if request.method == "GET" and request.headers.get("Upgrade", "").lower() == "websocket":
            door = self.api if request.path == ws_api.PATH else self.streams
            return await door.handle(request)
        return await self.rest.handle(request)

    def _owner_of(self, listen_key: str) -> str:
        """Return the API key of the account that a listen key belongs or belonged to, empty if unknown."""
        known = self._owners.get(listen_key)
        if known is None:
            accounts = self._venue.engine.accounts.values()
            self._owners = {**self._owners, **{a.listen_key: a.api_key for a in accounts if a.listen_key}}
            known = self._owners.get(listen_key, "")
        return known

    def cut(self, traffic: str, api_key: str) -> int:
        """Abort the connections of a class, or those of an account (`*` for any); return how many."""
        api = self.api.cut(api_key) if glob(traffic, ws_api.TRAFFIC) else 0
        return api + self.streams.cut(traffic, api_key)

    async def close(self) -> None:
        """Disconnect everybody."""
        await self.api.close()
        await self.streams.close()

    def statistics(self) -> dict[str, dict[str, int]]:
        """Return the counters of every door."""
        return {
            "rest": self.rest.statistics(),
            "streams": self.streams.statistics(),
            "api": self.api.statistics(),
            "faults": self.faults.statistics(),
        }
