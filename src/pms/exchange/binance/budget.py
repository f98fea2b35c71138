"""What may be sent now: the shared windows of request weight and orders, the lanes, and the bans.

Pure and O(1) for each request: no clock and no network, the exchange's time comes in as an argument. Windows
are fixed and aligned to the clock (Binance spec 1.4, 1.6). A request is counted before it is sent and
corrected by what the answer reports: never below what is still under way, because the venue may count that
yet. Other programs behind the same address spend from the same windows; the reports show it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from pms.exchange.binance.costs import Cost, Lane, Pool
from pms.exchange.messages import RateLimit

DEFAULT_LIMITS = {
    Pool.WEIGHT_1M: 2400,
    Pool.ORDERS_10S: 300,
    Pool.ORDERS_1M: 1200,
    Pool.FUNDING_5M: 500,
    Pool.STATISTICS_5M: 1000,
}
"""Until exchangeInfo has told them; the last two are told nowhere (Binance spec 1.6)."""

WINDOW_MS = {
    Pool.WEIGHT_1M: 60_000,
    Pool.ORDERS_10S: 10_000,
    Pool.ORDERS_1M: 60_000,
    Pool.FUNDING_5M: 300_000,
    Pool.STATISTICS_5M: 300_000,
}

BAN_MS_MAX = 3 * 86_400_000 + 3_600_000
"""The longest ban is three days (Binance spec 1.6); an hour for clocks."""

_INTERVAL_MS = {"SECOND": 1_000, "MINUTE": 60_000, "HOUR": 3_600_000, "DAY": 86_400_000}


@dataclass(frozen=True, slots=True)
class Pause:
    """Why a request may not be sent now, and when it may, ms from now."""

    reason: str
    retry_after_ms: int


class Counted(Enum):
    """How a request ended for the budget. NOT_SENT and TURNED_AWAY cost nothing at the venue."""

    ANSWERED = auto()
    LOST = auto()
    NOT_SENT = auto()
    TURNED_AWAY = auto()


@dataclass(slots=True)
class Window:
    """One fixed window. `base`: what the venue counted as far as known, `under_way`: sent, not answered."""

    interval_ms: int
    limit: int
    index: int = -1
    base: int = 0
    under_way: int = 0

    def roll(self, now_ms: int) -> None:
        """Start anew when the clock has left the window; what is under way may count in the new one."""
        index = now_ms // self.interval_ms
        if index > self.index:
            self.index, self.base = index, 0
        elif index < self.index - 1:
            # The clock was set back: without this, the window would last until it has caught up.
            self.index = index

    def used(self) -> int:
        return self.base + self.under_way

    def left_ms(self, now_ms: int) -> int:
        """Return the time until the next window."""
        return self.interval_ms - now_ms % self.interval_ms


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request that was counted; `settle` takes it back exactly once."""

    cost: Cost
    sent_ms: int


@dataclass(frozen=True, slots=True)
class WindowStatistics:
    """One window as it is now."""

    used: int
    under_way: int
    limit: int
    reserve: int


@dataclass(frozen=True, slots=True)
class Ban:
    """Until when nothing may be sent (`all_until_ms`), and no orders (`orders_until_ms`), exchange time."""

    all_until_ms: int = 0
    orders_until_ms: int = 0

    def credible(self, now_ms: int) -> "Ban":
        """Return it without what is longer than any ban of the exchange: a damaged file, or a wrong clock."""
        latest_ms = now_ms + BAN_MS_MAX
        return Ban(
            self.all_until_ms if self.all_until_ms <= latest_ms else 0,
            self.orders_until_ms if self.orders_until_ms <= latest_ms else 0,
        )


class Budget:
    """The windows of one venue, shared by everything that talks to it. Event-loop thread only.

    `reserve_percent` of each shared window is kept for the RISK lane (design, decision 22).
    """

    def __init__(self, reserve_percent: int) -> None:
        self._reserve_percent = reserve_percent
        self._windows = {pool: Window(WINDOW_MS[pool], limit) for pool, limit in DEFAULT_LIMITS.items()}
        self.ban = Ban()

    def configure(self, limits: Iterable[RateLimit]) -> None:
        """Take the limits that exchangeInfo tells; kinds and intervals that are not ours are left alone."""
        for each in limits:
            interval_ms = _INTERVAL_MS.get(each.interval, 0) * each.interval_num
            for pool in (Pool.WEIGHT_1M, Pool.ORDERS_10S, Pool.ORDERS_1M):
                kind = "REQUEST_WEIGHT" if pool is Pool.WEIGHT_1M else "ORDERS"
                if each.rate_limit_type == kind and interval_ms == WINDOW_MS[pool] and each.limit > 0:
                    self._windows[pool].limit = each.limit

    def take(self, cost: Cost, lane: Lane, now_ms: int) -> Ticket | Pause:
        """Count a request that is about to be sent, or say until when it must wait; nothing is counted then.

        A ban stops both lanes, a stop of orders everything that counts as an order, and the reserve of a
        window everything that is not in the RISK lane; the RECOVERY lane may use half of it.
        """
        if self.ban.all_until_ms > now_ms:
            return Pause("the exchange has stopped us", self.ban.all_until_ms - now_ms)
        if cost.is_order and self.ban.orders_until_ms > now_ms:
            return Pause("the exchange's order limit holds", self.ban.orders_until_ms - now_ms)
        for pool, amount in cost.amounts:
            window = self._windows[pool]
            window.roll(now_ms)
            free = window.limit - window.used()
            if lane is not Lane.RISK:
                free -= self._reserve(pool) // (2 if lane is Lane.RECOVERY else 1)
            if amount > free:
                kept = "" if lane is Lane.RISK else "; the rest is kept for reducing risk"
                reason = f"{pool.value}: {window.used()} of {window.limit} used{kept}"
                return Pause(reason, window.left_ms(now_ms))
        for pool, amount in cost.amounts:
            self._windows[pool].under_way += amount
        return Ticket(cost, now_ms)

    def settle(self, ticket: Ticket, counted: Counted, reported: Mapping[Pool, int], now_ms: int) -> None:
        """End a ticket with what the answer reported, if anything.

        A report that spans two windows is left out, as nobody can tell to which of them it belongs.
        """
        unreported = dict(ticket.cost.amounts)
        for pool, amount in ticket.cost.amounts:
            self._windows[pool].under_way -= amount
            self._windows[pool].roll(now_ms)
        for pool, used in reported.items():
            window = self._windows[pool]
            window.roll(now_ms)
            if ticket.sent_ms // window.interval_ms == window.index:
                # Counts of one window only grow: the largest report is the newest, in whatever order they
                # come.
                window.base = max(window.base, used)
                unreported.pop(pool, None)
        if counted in (Counted.ANSWERED, Counted.LOST):
            for pool, amount in unreported.items():
                self._windows[pool].base += amount

    def stop(self, until_ms: int, *, orders_only: bool) -> None:
        """Send nothing (or no orders) before that exchange time; a shorter stop never ends a longer one."""
        if orders_only:
            self.ban = Ban(self.ban.all_until_ms, max(self.ban.orders_until_ms, until_ms))
        else:
            self.ban = Ban(max(self.ban.all_until_ms, until_ms), self.ban.orders_until_ms)

    def statistics(self, now_ms: int) -> dict[str, WindowStatistics]:
        """Return all windows as they are at that time, by name."""
        rows = {}
        for pool, window in self._windows.items():
            window.roll(now_ms)
            rows[pool.value] = WindowStatistics(
                window.used(), window.under_way, window.limit, self._reserve(pool)
            )
        return rows

    def _reserve(self, pool: Pool) -> int:
        shared = pool in (Pool.WEIGHT_1M, Pool.ORDERS_10S, Pool.ORDERS_1M)
        return self._windows[pool].limit * self._reserve_percent // 100 if shared else 0
