"""The REST door: routing, weights, keys, signatures and time as the venue checks them (Binance spec 1)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from pms.exchange.messages import ErrorBody
from pms.simulator import errors, http_account, http_admin, http_market, http_orders
from pms.simulator.errors import Reject, mandatory
from pms.simulator.limits import Windows
from pms.simulator.rules import number
from pms.simulator.state import Account
from pms.simulator.venue import INTEGER, NOBODY, Call, Endpoint, Venue

ENDPOINTS = {**http_market.ENDPOINTS, **http_orders.ENDPOINTS, **http_account.ENDPOINTS}
RECV_WINDOW_MS = 5000
RECV_WINDOW_MAX_MS = 60_000
BODY_BYTES_MAX = 1_000_000

_encode = msgspec.json.Encoder(decimal_format="number").encode


def signed_text(query: str, body: str) -> tuple[str, str]:
    """Return (what was signed, the signature): query and body as received, joined, the signature cut out."""
    signature = ""
    parts = []
    for text in (query, body):
        kept = []
        for item in text.split("&"):
            if item.startswith("signature="):
                signature = item[10:]
            else:
                kept.append(item)
        parts.append("&".join(kept))
    return parts[0] + parts[1], signature


def parameters(query: str, body: str) -> dict[str, str] | Reject:
    """Decode both parts; the query wins over the body, a repeated name in one part is -1101."""
    merged: dict[str, str] = {}
    for text in (body, query):
        pairs = parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="replace")
        if len({name for name, _ in pairs}) != len(pairs):
            return Reject(-1101, "Duplicate values for a parameter detected.")
        merged.update(pairs)
    for name, value in merged.items():
        if not value and name != "signature":
            return Reject(-1105, f"Parameter '{name}' was empty.")
    return merged


class RestServer:
    """Handles every HTTP request that is no WebSocket upgrade. Statistics are plain counters."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._weights = Windows(60_000)
        self._orders_10s = Windows(10_000)
        self._orders_1m = Windows(60_000)
        self.requests = 0
        self.rejected = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; account state is shown only once it is durable (decision 25)."""
        self.requests += 1
        if request.path.startswith("/sim/"):
            return await http_admin.handle(self._venue, request)
        faulty = await self._fault_before()
        if faulty is not None:
            return faulty
        endpoint = ENDPOINTS.get((request.method, request.path))
        if endpoint is None:
            path = f"Path {request.path}, Method {request.method} is invalid"
            return self._response(Reject(-5000, path, 404), {})
        now_ms = self._venue.clock.now_ms()
        query = request.raw_path.partition("?")[2]
        body = "" if request.method == "GET" else (await request.read()).decode("utf-8", "replace")
        params = parameters(query, body)
        headers = self._weigh(request, endpoint, params, now_ms)
        answer = self._answer(request, endpoint, (query, body), params, now_ms, headers)
        if endpoint.security != "NONE":
            await self._venue.committer.settled()
        if self._takes_fault("drop_response_after_execute", endpoint) and request.transport is not None:
            request.transport.abort()
        return self._response(answer, headers)

    def _answer(
        self,
        request: web.Request,
        endpoint: Endpoint,
        raw: tuple[str, str],
        params: dict[str, str] | Reject,
        now_ms: int,
        headers: dict[str, str],
    ) -> object:
        limits = self._venue.config.limits
        used = int(headers["X-MBX-USED-WEIGHT-1M"])
        if used > limits.request_weight_1m:
            headers["Retry-After"] = str(self._weights.remaining_seconds(now_ms))
            most = f"current limit of IP({request.remote}) is {limits.request_weight_1m} requests per minute"
            advice = "Please use the websocket for live updates to avoid polling the API."
            return Reject(-1003, f"Too many requests; {most}. {advice}", 429)
        if isinstance(params, Reject):
            return params
        account = self._account(request, endpoint)
        if isinstance(account, Reject):
            return account
        if endpoint.security == "SIGNED":
            refused = check_signature(account, *raw) or check_time(params, now_ms)
            if refused:
                return refused
        if endpoint.orders_1m:
            refused = self._count_orders(account, endpoint, now_ms, headers)
            if refused:
                return refused
        return endpoint.handler(self._venue, Call(params, account, now_ms))

    def _weigh(
        self, request: web.Request, endpoint: Endpoint, params: Mapping[str, str] | Reject, now_ms: int
    ) -> dict[str, str]:
        weight = endpoint.weight
        if endpoint.weight_without_symbol and not isinstance(params, Reject) and "symbol" not in params:
            weight = endpoint.weight_without_symbol
        used = self._weights.add(request.remote or "", weight, now_ms)
        return {"X-MBX-USED-WEIGHT-1M": str(used), "X-PMS-Sim-Epoch": self._venue.epoch}

    def _account(self, request: web.Request, endpoint: Endpoint) -> Account | Reject:
        if endpoint.security == "NONE":
            return NOBODY
        key = request.headers.get("X-MBX-APIKEY", "")
        if not key or not key.isascii() or not key.replace("-", "").replace("_", "").isalnum():
            return errors.KEY_FORMAT
        return self._venue.engine.account_by_key.get(key) or errors.KEY_INVALID

    def _count_orders(
        self, account: Account, endpoint: Endpoint, now_ms: int, headers: dict[str, str]
    ) -> Reject | None:
        limits, key = self._venue.config.limits, str(account.account_id)
        short = self._orders_10s.add(key, endpoint.orders_10s, now_ms)
        long = self._orders_1m.add(key, endpoint.orders_1m, now_ms)
        headers["X-MBX-ORDER-COUNT-10S"], headers["X-MBX-ORDER-COUNT-1M"] = str(short), str(long)
        for count, limit, window in (
            (short, limits.orders_10s, "TEN_SECONDS"),
            (long, limits.orders_1m, "MINUTE"),
        ):
            if count > limit:
                text = f"Too many new orders; current limit is {limit} orders per {window}."
                return Reject(-1015, text, 429)
        return None

    # -- faults (the later, full set replaces this)

    async def _fault_before(self) -> web.Response | None:
        delay = self._venue.faults.get("delay_ms")
        if delay and delay[0] > 0:
            delay[0] -= 1
            await self._venue.clock.sleep(delay[1] / 1000)
        fault = self._venue.faults.get("http_503")
        if fault and fault[0] > 0:
            fault[0] -= 1
            text = "Unknown error, please check your request or try again later."
            return self._response(Reject(-1000, text, 503), {})
        return None

    def _takes_fault(self, kind: str, endpoint: Endpoint) -> bool:
        fault = self._venue.faults.get(kind)
        if not fault or fault[0] <= 0 or not endpoint.orders_1m:
            return False
        fault[0] -= 1
        return True

    def _response(self, answer: object, headers: Mapping[str, str]) -> web.Response:
        status = 200
        if isinstance(answer, Reject):
            self.rejected += 1
            status, answer = answer.http, ErrorBody(answer.code, answer.msg)
        return web.Response(
            body=_encode(answer), status=status, content_type="application/json", headers=headers
        )

    def statistics(self) -> dict[str, int]:
        """Return counters of requests and refusals."""
        return {"requests": self.requests, "rejected": self.rejected}


def check_signature(account: Account, query: str, body: str) -> Reject | None:
    """HMAC-SHA256 over the raw text as received; hex case is ignored (spec 1.3)."""
    text, given = signed_text(query, body)
    if not given:
        return mandatory("signature")
    expected = hmac.new(account.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    same = hmac.compare_digest(expected.encode(), given.lower().encode())
    return None if same else errors.SIGNATURE_INVALID


def check_time(params: Mapping[str, str], now_ms: int) -> Reject | None:
    """-1021 outside `timestamp < now + 1000` and `now − timestamp <= recvWindow` (spec 1.3)."""
    raw, window = params.get("timestamp", ""), params.get("recvWindow", str(RECV_WINDOW_MS))
    if not INTEGER.match(raw):
        return mandatory("timestamp")
    width = number(window)
    if width is None or not 0 < width <= RECV_WINDOW_MAX_MS:
        return Reject(-1131, "recvWindow must be less than 60000")
    if int(raw) >= now_ms + 1000:
        return errors.AHEAD_OF_SERVER
    return errors.OUTSIDE_WINDOW if now_ms - int(raw) > width else None
