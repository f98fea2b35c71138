"""The one way in for REST and the WebSocket API: weights, bans, keys, signatures, time, orders, faults.

It knows no socket: a door makes a `Ticket` of what it received and writes what `pass_through` returns. The
order of checks is that of the Binance spec, section 3: key, signature, time, then what the handler checks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pms.simulator import batch_faults, errors, keys
from pms.simulator.canned import Canned
from pms.simulator.errors import Reject, SimulatorError, mandatory
from pms.simulator.faults import RequestEffects
from pms.simulator.limits import Bans, Windows
from pms.simulator.rules import number
from pms.simulator.state import Account
from pms.simulator.venue import INTEGER, NOBODY, Answer, Call, Endpoint, Venue
from pms.simulator.weights import FIVE_MINUTES_MS, MINUTE_MS, pool_of, weight_of

RECV_WINDOW_MS = 5000
RECV_WINDOW_MAX_MS = 60_000
TEN_SECONDS_MS = 10_000
KEY = re.compile(r"^[A-Za-z0-9_-]{1,128}$")
SECOND_WINDOW = frozenset({"/fapi/v1/order", "/fapi/v1/batchOrders"})
"""Paths whose time the matching engine checks again on POST and PUT (spec 1.3)."""
POLL_ADVICE = "Please use the websocket for live updates to avoid polling the API."


@dataclass(slots=True)
class Ticket:
    """One request as it came: `signed` is (text, signature), `account` one that had logged on before."""

    method: str
    path: str
    endpoint: Endpoint
    params: Mapping[str, str]
    malformed: Reject | None
    api_key: str
    signed: tuple[str, str]
    address: str
    account: Account | None = None


@dataclass(slots=True)
class Passed:
    """The outcome: `answer` is a result, a `Reject`, a `Canned` page, or None with `lost`."""

    answer: Answer = None
    lost: bool = False
    used_weight: int = 0
    orders_10s: int | None = None
    orders_1m: int | None = None
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Credential:
    """The account of an API key, and what proves its requests."""

    account: Account
    secret: str


@dataclass(slots=True)
class _Pools:
    weight: Windows = field(default_factory=lambda: Windows(MINUTE_MS))
    funding: Windows = field(default_factory=lambda: Windows(FIVE_MINUTES_MS))
    statistics: Windows = field(default_factory=lambda: Windows(FIVE_MINUTES_MS))


class Gate:
    """Counts what every address and account uses; the same object serves both doors."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        limits = venue.config.limits
        self._pools = _Pools()
        self._orders_10s = Windows(TEN_SECONDS_MS)
        self._orders_1m = Windows(MINUTE_MS)
        self.bans = Bans(limits.refusals_before_ban, limits.ban_ms_min, limits.ban_ms_max)
        self._further = {key: (owner, secret) for owner, key, secret in venue.config.further_keys}
        self.requests = 0
        self.rejected = 0
        for _, secret, _ in venue.config.accounts:
            keys.verifier_of(secret)
        for owner, secret in self._further.values():
            keys.verifier_of(secret)
            if owner not in venue.engine.account_by_key:
                raise SimulatorError(f"There is no account '{owner}' for a further API key.")

    # -- who asks

    def credential(self, api_key: str) -> Credential | None:
        """Return account and secret of an API key, None for an unknown one."""
        if api_key in self._further:
            owner, secret = self._further[api_key]
            return Credential(self._venue.engine.account_by_key[owner], secret)
        account = self._venue.engine.account_by_key.get(api_key)
        return None if account is None else Credential(account, account.secret)

    # -- the way through

    async def pass_through(self, ticket: Ticket) -> Passed:
        """Take one request through all checks and its handler; account state is shown once it is durable.

        Cancellation before the handler leaves no trace but the counts; after it the order stands.
        """
        self.requests += 1
        venue, passed = self._venue, Passed()
        maintained = venue.faults.maintenance_answer(venue.now_ms())
        if maintained is not None:
            return Passed(maintained)
        effects = venue.faults.for_request(
            ticket.method, ticket.path, ticket.params, self._owner(ticket), venue.now_ms()
        )
        effects = effects or RequestEffects()
        await venue.latency.before_request()
        await self._sleep(effects.delay_request_ms)
        if effects.answer is not None and not effects.executed:
            passed.answer = effects.answer  # refused before anything is counted (spec 1.5)
        elif effects.lost and not effects.executed:
            passed.lost = True
        else:
            passed.answer = await self._serve(ticket, effects, passed)
            if effects.answer is not None:
                passed.answer = effects.answer
            passed.lost = effects.lost
        await self._sleep(effects.delay_answer_ms)
        await venue.latency.before_answer()
        if isinstance(passed.answer, Reject):
            self.rejected += 1
        return passed

    def _owner(self, ticket: Ticket) -> str:
        if ticket.account is not None:
            return ticket.account.api_key
        credential = self.credential(ticket.api_key)
        return ticket.api_key if credential is None else credential.account.api_key

    async def _sleep(self, milliseconds: int) -> None:
        if milliseconds > 0:
            await self._venue.clock.sleep(milliseconds / 1000)

    async def _serve(self, ticket: Ticket, effects: RequestEffects, passed: Passed) -> Answer:
        now_ms = self._venue.now_ms()
        if effects.ban_ms:
            self.bans.ban(ticket.address, now_ms + effects.ban_ms, now_ms)
        refused = self.weigh(ticket.path, ticket.endpoint, ticket.params, ticket.address, now_ms, passed)
        if refused is not None:
            return refused
        account = self._identify(ticket, now_ms)
        if isinstance(account, Reject):
            return account
        refused = self._count_orders(account, ticket.endpoint, now_ms, passed)
        if refused is not None:
            return refused
        if effects.delay_engine_ms:
            await self._sleep(effects.delay_engine_ms)
        refused = self._second_window(ticket)
        if refused is not None:
            return refused
        answer = self._run(ticket, account, effects.failing)
        if ticket.endpoint.security != "NONE":
            await self._venue.committer.settled()
        return answer

    def _run(self, ticket: Ticket, account: Account, failing: Mapping[int, Reject]) -> Answer:
        def handle(params: Mapping[str, str]) -> Answer:
            return ticket.endpoint.handler(self._venue, Call(params, account, self._venue.now_ms()))

        return batch_faults.run(ticket.params, failing, handle) if failing else handle(ticket.params)

    # -- the checks

    def weigh(
        self,
        path: str,
        endpoint: Endpoint,
        params: Mapping[str, str],
        address: str,
        now_ms: int,
        passed: Passed,
    ) -> Reject | None:
        """Count a request; above the limit -1003: 429, then 418 for an address that goes on (spec 1.6)."""
        limits = self._venue.config.limits
        until_ms = self.bans.until_ms(address, now_ms)
        weight = weight_of(path, endpoint, params)
        pool = pool_of(path)
        own = pool == "weight"
        passed.used_weight = self._pools.weight.add(address, weight if own else 0, now_ms)
        if until_ms:
            return self._banned(address, until_ms, now_ms, passed)
        if own:
            window, used, limit = self._pools.weight, passed.used_weight, limits.request_weight_1m
        elif pool == "funding":
            window, limit = self._pools.funding, limits.funding_5m
            used = window.add(address, 1, now_ms)
        else:
            window, limit = self._pools.statistics, limits.statistics_5m
            used = window.add(address, 1, now_ms)
        if used <= limit:
            return None
        until_ms = self.bans.refused(address, now_ms)
        if until_ms:
            return self._banned(address, until_ms, now_ms, passed)
        passed.retry_after_s = window.remaining_seconds(now_ms)
        span = "minute" if own else "5 minutes"
        most = f"current limit of IP({address}) is {limit} requests per {span}"
        return Reject(-1003, f"Too many requests; {most}. {POLL_ADVICE}", 429)

    def _banned(self, address: str, until_ms: int, now_ms: int, passed: Passed) -> Reject:
        passed.retry_after_s = -(-(until_ms - now_ms) // 1000)
        advice = "Please use the websocket for live updates to avoid bans."
        return Reject(-1003, f"Way too many requests; IP({address}) banned until {until_ms}. {advice}", 418)

    def _identify(self, ticket: Ticket, now_ms: int) -> Account | Reject:
        security, account = ticket.endpoint.security, ticket.account
        if security == "NONE":
            return ticket.malformed or NOBODY
        if account is None:
            if not KEY.match(ticket.api_key):
                return errors.KEY_FORMAT
            credential = self.credential(ticket.api_key)
            if credential is None:
                return errors.KEY_INVALID
            account = credential.account
            if security == "SIGNED":
                refused = check_signature(credential.secret, *ticket.signed)
                if refused is not None:
                    return refused
        if ticket.malformed is not None:
            return ticket.malformed
        refused = check_time(ticket.params, now_ms) if security == "SIGNED" else None
        return account if refused is None else refused

    def _count_orders(
        self, account: Account, endpoint: Endpoint, now_ms: int, passed: Passed
    ) -> Reject | None:
        if not endpoint.orders_1m:
            return None
        limits, key = self._venue.config.limits, str(account.account_id)
        passed.orders_10s = self._orders_10s.add(key, endpoint.orders_10s, now_ms)
        passed.orders_1m = self._orders_1m.add(key, endpoint.orders_1m, now_ms)
        for count, limit, span in (
            (passed.orders_10s, limits.orders_10s, "TEN_SECONDS"),
            (passed.orders_1m, limits.orders_1m, "MINUTE"),
        ):
            if count > limit:
                return Reject(-1015, f"Too many new orders; current limit is {limit} orders per {span}.", 429)
        return None

    def _second_window(self, ticket: Ticket) -> Reject | None:
        """The matching engine checks the time again when the order reaches it: -5028 (spec 1.3)."""
        if ticket.path not in SECOND_WINDOW or ticket.method not in ("POST", "PUT"):
            return None
        late = check_time(ticket.params, self._venue.now_ms()) == errors.OUTSIDE_WINDOW
        return errors.OUTSIDE_ENGINE_WINDOW if late else None

    def counts(self, account: Account | None, address: str, now_ms: int) -> tuple[int, int, int]:
        """Return what is used now: weight of the address, orders of the account in 10 s and in 1 min."""
        key = "" if account is None else str(account.account_id)
        return (
            self._pools.weight.add(address, 0, now_ms),
            self._orders_10s.add(key, 0, now_ms),
            self._orders_1m.add(key, 0, now_ms),
        )

    def statistics(self) -> dict[str, int]:
        """Return counters of requests, refusals and bans."""
        return {"requests": self.requests, "rejected": self.rejected, "bans": self.bans.banned}


def check_signature(secret: str, text: str, given: str) -> Reject | None:
    """-1022 unless `given` signs the text as received (spec 1.3)."""
    if not given:
        return mandatory("signature")
    signed = text.encode("utf-8", "surrogateescape")
    return None if keys.matches(secret, signed, given) else errors.SIGNATURE_INVALID


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


__all__ = ["Canned", "Credential", "Gate", "Passed", "Ticket", "check_signature", "check_time"]
