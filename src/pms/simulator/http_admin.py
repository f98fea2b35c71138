"""The `/sim/*` endpoints: what no real exchange has, for tests and demos. Loopback and token only."""

from __future__ import annotations

import hmac
from decimal import Decimal, InvalidOperation
from ipaddress import ip_address
from typing import Any

import msgspec
from aiohttp import web

from pms.simulator.errors import SimulatorError
from pms.simulator.venue import Venue

TOKEN_HEADER = "X-PMS-Sim-Token"  # noqa: S105 - the header's name, not a token
FAULTS = frozenset({"drop_response_after_execute", "http_503", "delay_ms"})


def state(venue: Venue) -> dict[str, Any]:
    """Return the epoch and, for each priced symbol, where quote and mark come from."""
    symbols = {}
    for symbol, market in venue.engine.markets.items():
        if not market.live:
            continue
        source = venue.feed.source_of.get(symbol)
        pinned = symbol in venue.feed.pinned_quotes
        modelled = source is None or source.modelled
        symbols[symbol] = {
            "bid": str(market.bid),
            "ask": str(market.ask),
            "mark": str(market.mark),
            "quote_source": "scripted" if pinned else "modelled" if modelled else "recorded",
            "mark_source": _mark_source(venue, symbol),
        }
    return {
        "epoch": venue.epoch,
        "speed": venue.config.speed,
        "time": venue.clock.now_ms(),
        "symbols": symbols,
    }


def _mark_source(venue: Venue, symbol: str) -> str:
    if symbol in venue.feed.pinned_marks:
        return "scripted"
    return "recorded" if symbol in venue.feed.recorded_marks else "modelled"


async def handle(venue: Venue, request: web.Request) -> web.Response:
    """Answer one admin request; changes need the token of the configuration."""
    if not ip_address(request.remote or "0.0.0.0").is_loopback:  # noqa: S104 - compared, not bound
        return _json({"error": "admin endpoints answer on the loopback address only"}, 403)
    if (request.method, request.path) == ("GET", "/sim/state"):
        return _json(state(venue))
    if not hmac.compare_digest(request.headers.get(TOKEN_HEADER, "").encode(), venue.admin_token.encode()):
        return _json({"error": f"the header {TOKEN_HEADER} is missing or wrong"}, 401)
    try:
        body = msgspec.json.decode(await request.read() or b"{}")
        if not isinstance(body, dict):
            raise SimulatorError("The body must be a JSON object.")
        answer = _apply(venue, request.method + " " + request.path, body)
    except (msgspec.DecodeError, KeyError, InvalidOperation, ValueError, TypeError) as error:
        return _json({"error": f"bad request: {error!r}"}, 400)
    except SimulatorError as error:
        return _json({"error": str(error)}, 400)
    if answer is None:
        return _json({"error": "no such admin endpoint"}, 404)
    await venue.committer.settled()
    return _json(answer)


def _apply(venue: Venue, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
    now_ms = venue.clock.now_ms()
    match what:
        case "POST /sim/quote":
            size = body.get("bid_qty", "1000")
            numbers = (body["bid"], body["ask"], size, body.get("ask_qty", size))
            bid, ask, bid_size, ask_size = (Decimal(str(n)) for n in numbers)
            venue.feed.set_quote(str(body["symbol"]), bid, ask, bid_size, ask_size, now_ms)
        case "POST /sim/mark":
            venue.feed.set_mark(str(body["symbol"]), Decimal(str(body["price"])), now_ms)
        case "POST /sim/release":
            venue.feed.release(body.get("symbol"))
        case "POST /sim/deposit":
            account = venue.engine.account_by_key.get(str(body["api_key"]))
            amount = Decimal(str(body["amount"]))
            if account is None or not amount.is_finite():
                raise SimulatorError("Unknown api_key, or the amount is no number.")
            venue.engine.deposit(account, amount, now_ms)
        case "POST /sim/fault":
            kind = str(body["kind"])
            if kind not in FAULTS:
                raise SimulatorError(f"Unknown fault {kind}. Known: {', '.join(sorted(FAULTS))}.")
            venue.faults[kind] = [int(body.get("count", 1)), int(body.get("ms", 0))]
        case _:
            return None
    venue.committer.touch()
    return {"ok": True}


def _json(answer: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), status=status, content_type="application/json")
