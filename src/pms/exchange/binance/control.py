"""What all ways to the venue share: the clock, the validity of signatures, the budget and the bans."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pms.exchange.binance.bans import BanStore
from pms.exchange.binance.budget import Budget, Counted, Pause, Ticket, WindowStatistics
from pms.exchange.binance.clock_sync import ClockSync
from pms.exchange.binance.config import BinanceConfig
from pms.exchange.binance.conversation import Answer, Parameters, Security, Silence
from pms.exchange.binance.costs import Cost, Lane, Pool, cost_of, endpoint_of
from pms.exchange.binance.outcome import Blocks, Request, judge
from pms.exchange.binance.spending import SYSTEM, Spending, Spent

log = logging.getLogger("pms.exchange.binance")

_CHANGES = {"POST": Request.PLACE, "PUT": Request.AMEND, "DELETE": Request.CANCEL}


@dataclass(frozen=True, slots=True)
class Opened:
    """A request that may be sent now: what it is signed with, and what it is counted as."""

    ticket: Ticket
    kind: Request
    timestamp_ms: int
    recv_window_ms: int


@dataclass(frozen=True, slots=True)
class ControlStatistics:
    """Counters since start, the windows as they are now, and who spent what. Times are exchange time, ms."""

    requests: int
    silences: int
    refused_locally: int
    windows: Mapping[str, WindowStatistics]
    spent_by_group: Mapping[str, Spent]
    spent_by_owner: Mapping[str, Spent]
    stopped_until_ms: int
    orders_stopped_until_ms: int


class RequestControl:
    """Opens and closes requests. Event-loop thread only; every opened request is closed exactly once.

    `lease_left_ms` tells how much of the engine's lease is left, None when there is no lease (decision 28).
    """

    def __init__(
        self,
        config: BinanceConfig,
        time: ClockSync,
        bans: BanStore,
        lease_left_ms: Callable[[], int | None] | None = None,
    ) -> None:
        self._config = config
        self._time = time
        self._bans = bans
        self._lease_left_ms = lease_left_ms
        self._spending = Spending()
        self._requests = self._silences = self._refused_locally = 0
        self.budget = Budget(config.reserve_percent)
        kept = bans.load()
        self.budget.ban = kept.credible(time.exchange_now_ms())
        if self.budget.ban != kept:
            log.warning("a ban that is kept from before is longer than any; the exchange is asked: %s", kept)

    def open(
        self,
        method: str,
        path: str,
        parameters: Parameters,
        security: Security,
        lane: Lane | None = None,
        owner: str = "",
    ) -> Opened | Silence:
        """Count a request and stamp it, or say why nothing is sent."""
        endpoint = endpoint_of(method, path)
        owner = owner or SYSTEM
        window_ms = self._window_ms(security)
        if window_ms < 0:
            self._refuse(endpoint.group, owner)
            return Silence(False, "the engine's lease is running out", 0, 0, 0)
        cost = cost_of(endpoint, dict(parameters))
        taken = self.budget.take(cost, lane or endpoint.lane, self._time.exchange_now_ms())
        if isinstance(taken, Pause):
            self._refuse(endpoint.group, owner)
            text = f"the exchange's limits: {taken.reason}; free in {taken.retry_after_ms} ms"
            return Silence(False, text, taken.retry_after_ms, 0, 0)
        self._requests += 1
        self._spending.sent(endpoint.group, owner, cost)
        kind = _CHANGES[method] if security is Security.ORDER else Request.READ
        return Opened(taken, kind, taken.sent_ms if window_ms else 0, window_ms)

    def charge(self, group: str, cost: Cost) -> Opened | Silence:
        """Count what belongs to no request of ours: opening a socket, or logging a session on."""
        taken = self.budget.take(cost, Lane.RISK, self._time.exchange_now_ms())
        if isinstance(taken, Pause):
            self._refuse(group, SYSTEM)
            return Silence(False, f"the exchange's limits: {taken.reason}", taken.retry_after_ms, 0, 0)
        self._spending.sent(group, SYSTEM, cost)
        return Opened(taken, Request.READ, 0, 0)

    def lost(self, opened: Opened, reason: str, *, written: bool) -> Silence:
        """Close a request that got no answer."""
        self._silences += 1
        self.settle(opened, Counted.LOST if written else Counted.NOT_SENT, {})
        return Silence(written, reason, 1000, opened.timestamp_ms, opened.recv_window_ms)

    def answered(
        self,
        opened: Opened,
        status: int,
        body: bytes,
        code: int | None,
        message: str,
        reported: Mapping[Pool, int],
        retry_after_ms: int | None = None,
    ) -> Answer:
        """Close a request with its answer: what it proves, and what it stops."""
        now_ms = self._time.exchange_now_ms()
        verdict = judge(
            status, code, message, now_ms=now_ms, retry_after_ms=retry_after_ms, request=opened.kind
        )
        self.settle(opened, Counted.ANSWERED if verdict.counted else Counted.TURNED_AWAY, reported)
        if verdict.blocks is not Blocks.NOTHING:
            self.stop(now_ms + verdict.retry_after_ms, verdict.blocks)
        return Answer(status, body, code, message, verdict, opened.timestamp_ms, opened.recv_window_ms)

    def settle(self, opened: Opened, counted: Counted, reported: Mapping[Pool, int]) -> None:
        """Close a request for the budget only."""
        self.budget.settle(opened.ticket, counted, reported, self._time.exchange_now_ms())

    def stop(self, until_ms: int, blocks: Blocks) -> None:
        """Send nothing, or no orders, before that exchange time; kept across restarts."""
        before = self.budget.ban
        self.budget.stop(until_ms, orders_only=blocks is Blocks.ORDERS)
        if self.budget.ban != before:
            what = "no orders are" if blocks is Blocks.ORDERS else "nothing is"
            log.error("the exchange limits us: %s sent before %s (Unix ms)", what, until_ms)
            self._bans.save(self.budget.ban)

    def now_ms(self) -> int:
        """Return the exchange's time as estimated now, Unix ms."""
        return self._time.exchange_now_ms()

    def stopped_ms(self) -> int:
        """Return for how long nothing may be sent, ms; 0 when requests may be sent."""
        return max(0, self.budget.ban.all_until_ms - self._time.exchange_now_ms())

    def statistics(self) -> ControlStatistics:
        """Return the counters as they are now."""
        return ControlStatistics(
            requests=self._requests,
            silences=self._silences,
            refused_locally=self._refused_locally,
            windows=self.budget.statistics(self._time.exchange_now_ms()),
            spent_by_group=self._spending.by_group(),
            spent_by_owner=self._spending.by_owner(),
            stopped_until_ms=self.budget.ban.all_until_ms,
            orders_stopped_until_ms=self.budget.ban.orders_until_ms,
        )

    def _refuse(self, group: str, owner: str) -> None:
        self._refused_locally += 1
        self._spending.refused(group, owner)

    # No order may act on the exchange after the lease that it was decided under (decision 28). 0: unsigned,
    # negative: nothing is left of the lease.
    def _window_ms(self, security: Security) -> int:
        if security not in (Security.SIGNED, Security.ORDER):
            return 0
        window_ms = self._config.recv_window_ms
        if security is Security.ORDER and self._lease_left_ms is not None:
            left_ms = self._lease_left_ms()
            if left_ms is not None:
                window_ms = min(window_ms, left_ms - self._config.lease_margin_ms)
        return window_ms if window_ms > 0 else -1
