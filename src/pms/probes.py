"""Real probes of a running engine for the health pages of the gateway."""

from pms.bus.port import BusMode
from pms.engine import Parts
from pms.exchange.errors import ExchangeError
from pms.gateway.ports import EngineHealth, RealAccountView
from pms.ledger.errors import LedgerError
from pms.model.clock import Clock


class EngineProbes:
    """Implements `HealthProbes`; each probe really asks. The gateway gives it a deadline."""

    def __init__(self, parts: Parts, clock: Clock) -> None:
        self._parts = parts
        self._clock = clock

    async def exchange(self) -> bool:
        """Ask the exchange for its time."""
        try:
            await self._parts.exchange.account.server_time_ms()
        except ExchangeError:
            return False
        return True

    async def redis(self) -> bool:
        """True when shared state serves: Redis connected, or none configured and memory serving."""
        return self._parts.state.mode is not BusMode.AWAY

    async def database(self) -> bool:
        """Run a trivial query."""
        try:
            await self._parts.ledger.store.fetch("SELECT 1 AS one")
        except LedgerError:
            return False
        return True

    def engine(self) -> EngineHealth:
        """Return readiness, lease and stream figures as of now."""
        parts = self._parts
        prices = parts.core.prices.statistics()
        events = parts.wired.events.statistics()
        exchange = parts.exchange.statistics()
        supervisor = exchange.supervisor
        # Of the hundreds that the exchange has closed over the years, those that concern somebody here.
        held = set(parts.core.holdings.symbols())
        held_reduce_only = tuple(sorted(held.intersection(exchange.symbols_reduce_only)))
        return EngineHealth(
            ready=parts.core.switches.ready,
            owner=parts.ledger.exchange_account_id,
            lease_age_ms=parts.lease.age_ms(),
            user_stream_connected=parts.exchange.user_stream.statistics().connected,
            user_stream_last_event_ms=events.last_event_ms or None,
            market_symbols=prices.symbols,
            oldest_tick_age_ms=prices.oldest_ms if prices.symbols else None,
            market_sockets=supervisor.sockets,
            market_streams_stale=supervisor.streams_stale,
            symbols_reduce_only=held_reduce_only,
            gaps_unreadable=len(parts.wired.gap_filler.statistics().unreadable),
            halted_because=parts.wired.guard.statistics().verdict.halted_because or None,
        )

    def real_account(self) -> RealAccountView:
        """Return the real account behind everybody as of now."""
        wired = self._parts.wired
        return RealAccountView(
            wired.real.statistics(), wired.real_ladder.statistics(), wired.exchange_closes.statistics()
        )
