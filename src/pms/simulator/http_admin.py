"""The `/sim/*` endpoints: what no real exchange has, for tests and demos. Loopback and token only."""

from __future__ import annotations

import hmac
from decimal import Decimal, InvalidOperation
from ipaddress import ip_address
from typing import Any

import msgspec
from aiohttp import web

from pms.exchange.messages import decode_message
from pms.simulator import scenario
from pms.simulator.errors import SimulatorError
from pms.simulator.fault_effects import FaultRunner
from pms.simulator.fault_kinds import ALIASES, Fault
from pms.simulator.venue import Venue

TOKEN_HEADER = "X-PMS-Sim-Token"  # noqa: S105 - the header's name, not a token
_decoder = msgspec.json.Decoder()


def state(venue: Venue) -> dict[str, Any]:
    """Return the epoch and, for each priced symbol, where quote and mark come from."""
    symbols = {}
    for symbol, market in venue.engine.markets.items():
        if not market.live:
            continue
        source = venue.feed.source_of.get(symbol)
        pinned = symbol in venue.feed.pinned_quotes
        kind = "modelled" if source is None else source.kind
        symbols[symbol] = {
            "bid": str(market.bid),
            "ask": str(market.ask),
            "mark": str(market.mark),
            "quote_source": "scripted" if pinned else kind,
            "mark_source": _mark_source(venue, symbol),
        }
    return {
        "epoch": venue.epoch,
        "speed": venue.config.speed,
        "time": venue.now_ms(),
        "skew_ms": venue.skew_ms,
        "symbols": symbols,
    }


def _mark_source(venue: Venue, symbol: str) -> str:
    if symbol in venue.feed.pinned_marks:
        return "scripted"
    source = venue.feed.source_of.get(symbol)
    told = source is not None and symbol in venue.feed.recorded_marks
    return source.kind if source is not None and told else "modelled"


def legacy_fault(kind: str, count: int, ms: int) -> Fault:
    """Return the fault behind a name of the first version, or a plain kind. Raises `SimulatorError`."""
    plain: dict[str, Any] = {**ALIASES.get(kind, {"kind": kind}), "count": count}
    if ms:
        plain["ms"] = ms
    if kind == "http_503":
        plain.pop("ms", None)
    return scenario.fault_of(plain)


class AdminServer:
    """Answers the admin requests of one exchange."""

    def __init__(self, venue: Venue, runner: FaultRunner) -> None:
        self._venue = venue
        self._runner = runner

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one admin request; changes need the token of the configuration."""
        venue = self._venue
        if not ip_address(request.remote or "0.0.0.0").is_loopback:  # noqa: S104 - compared, not bound
            return _json({"error": "admin endpoints answer on the loopback address only"}, 403)
        if (request.method, request.path) == ("GET", "/sim/state"):
            return _json(state(venue))
        given = request.headers.get(TOKEN_HEADER, "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, venue.admin_token.encode()):
            return _json({"error": f"the header {TOKEN_HEADER} is missing or wrong"}, 401)
        try:
            body = decode_message(_decoder, await request.read() or b"{}")
            if not isinstance(body, dict):
                raise SimulatorError("The body must be a JSON object.")
            answer = self._apply(request.method + " " + request.path, body)
        except (msgspec.DecodeError, KeyError, InvalidOperation, ValueError, TypeError) as error:
            return _json({"error": f"bad request: {error!r}"}, 400)
        except SimulatorError as error:
            return _json({"error": str(error)}, 400)
        if answer is None:
            return _json({"error": "no such admin endpoint"}, 404)
        await venue.committer.settled()
        return _json(answer)

    def _apply(self, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        venue, now_ms = self._venue, self._venue.clock.now_ms()
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
            case _:
                return self._faults(what, body)
        venue.committer.touch()
        return {"ok": True}

    def _faults(self, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        match what:
            case "POST /sim/fault" if body.get("kind") in ALIASES:
                fault = legacy_fault(str(body["kind"]), int(body.get("count", 1)), int(body.get("ms", 0)))
                return {"ok": True, "number": self._runner.arm(fault)}
            case "POST /sim/fault":
                return {"ok": True, "number": self._runner.arm(scenario.fault_of(body))}
            case "POST /sim/scenario":
                found = scenario.parse(body, "of the request")
                self._runner.play(found)
                return {"ok": True, "armed": len(found.fault)}
            case "GET /sim/faults":
                listing = self._venue.faults.listing(self._venue.clock.now_ms())
                return {"faults": listing, "statistics": self._runner.statistics()}
            case "DELETE /sim/faults":
                kind = body.get("kind")
                return {"ok": True, "cleared": self._runner.clear(None if kind is None else str(kind))}
        return None


def _json(answer: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), status=status, content_type="application/json")
