"""`/api/health`: what is up, by real probes with a budget of 500 ms each (gateway spec 2.4)."""

from fastapi import APIRouter, Response

from pms.gateway import wire
from pms.gateway.context import Gateway, GatewayOf
from pms.gateway.routing import HealthRoute, router

health = router("/api", "health", HealthRoute)
ROUTERS: tuple[APIRouter, ...] = (health,)


async def _body(gateway: Gateway) -> wire.HealthBody:
    exchange, redis, database = await gateway.health.outcome()
    engine = gateway.deps.probes.engine()
    return wire.HealthBody(
        status="ok" if exchange and database and engine.ready else "degraded",
        exchange=exchange,
        redis=redis,
        database=database,
        position_book_accounts=len(gateway.deps.ledger.accounts()),
        timestamp=gateway.deps.clock.now_ms(),
        engine=wire.EngineBody(
            ready=engine.ready,
            owner=engine.owner,
            lease_age_ms=engine.lease_age_ms,
            halted_because=engine.halted_because,
        ),
        user_stream=wire.UserStreamBody(
            connected=engine.user_stream_connected,
            last_event_ts=engine.user_stream_last_event_ms,
            gaps_unreadable=engine.gaps_unreadable,
        ),
        market_data=wire.MarketDataBody(
            symbols=engine.market_symbols,
            oldest_tick_ms=engine.oldest_tick_age_ms,
            sockets=engine.market_sockets,
            streams_stale=engine.market_streams_stale,
            symbols_reduce_only=list(engine.symbols_reduce_only),
        ),
        event_loop_lag_ms=round(gateway.sockets.event_loop_lag_ms, 3),
        version=gateway.deps.version,
    )


@health.get("/health", operation_id="health")
async def get_health(gateway: GatewayOf) -> wire.HealthBody:
    """Report health; always 200."""
    return await _body(gateway)


@health.get("/health/ready", operation_id="ready")
async def get_ready(response: Response, gateway: GatewayOf) -> wire.HealthBody:
    """Report readiness: 200 when orders can be taken, else 503."""
    body = await _body(gateway)
    if body.status != "ok":
        response.status_code = 503
    return body
