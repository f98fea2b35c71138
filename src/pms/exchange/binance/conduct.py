"""Whose orders endanger the account's right to trade, and who waits first.

The exchange judges the real account by ratios for each symbol (Binance spec 1.6): UFR unfilled orders, IFER
expired IOC and FOK orders, GCR cancelled GTC orders, DR dust; beyond a trigger value only reducing is allowed
(-4400). It knows no sub-accounts, so their parts are counted here from their own orders, and the biggest part
in a ratio that nears its trigger waits first; others only when that does not help. Pure, O(1) for each order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum

from pms.exchange.binance.budget import Pause
from pms.exchange.port import OrderReport
from pms.limits import (
    CONDUCT_ORDERS_MAX,
    CONDUCT_PAIRS_MAX,
    CONDUCT_WINDOW_MS,
    TRADING_STATUS_INTERVAL_MS,
)
from pms.model.ids import ClientOrderId
from pms.model.money import ZERO
from pms.model.order import ApprovedOrder, ExchangeOrderStatus, OrderType, TimeInForce
from pms.model.symbol import Symbol

ACCOUNT = "ACCOUNT"
"""Stands where a symbol stands, in indicators of the whole account."""

NEAR = Decimal("0.9")
"""Share of the trigger value from which the biggest contributor waits."""

CALM = Decimal("0.8")
"""Share of the trigger value below which everybody may go on."""

PATIENCE_POLLS = 2
"""Readings without a fall after which the next contributor waits too."""

ORDERS_MIN = 100
"""Own orders within the window below which nobody waits: of a few orders a ratio says nothing, and the
exchange judges only who sends many."""

DUST_NOTIONAL = Decimal(50)
"""An order below this, in quote asset, counts as dust here; the exchange does not publish its figure."""

OTHERS = "others"


class Ratio(Enum):
    """The indicators that orders contribute to."""

    UFR = "UFR"
    IFER = "IFER"
    GCR = "GCR"
    DR = "DR"


@dataclass(frozen=True, slots=True)
class Reading:
    """One indicator as the exchange tells it. `scope` is a unified symbol or ACCOUNT."""

    scope: str
    indicator: str
    value: Decimal
    trigger_value: Decimal
    locked: bool
    recover_time_ms: int

    @property
    def pressure(self) -> Decimal:
        """The value as a share of its trigger; from 1 on the exchange acts."""
        return self.value / self.trigger_value if self.trigger_value > 0 else ZERO


@dataclass(slots=True)
class Counts:
    """What one sub-account did on one symbol within the window."""

    orders: int = 0
    fills: int = 0
    unfilled: int = 0
    expired_at_once: int = 0
    cancelled: int = 0
    dust: int = 0

    def of(self, indicator: str) -> int:
        """Return the part in an indicator; all of it together for those of the whole account."""
        match indicator:
            case Ratio.UFR.value:
                return self.unfilled
            case Ratio.IFER.value:
                return self.expired_at_once
            case Ratio.GCR.value:
                return self.cancelled
            case Ratio.DR.value:
                return self.dust
            case _:
                return self.unfilled + self.dust


Pair = tuple[str, str]
"""A scope (symbol or ACCOUNT) and the prefix of a sub-account."""


class Contributions:
    """Counts by symbol and sub-account over a window of two halves. Bounded; event-loop thread only."""

    def __init__(self) -> None:
        self._half = -1
        self._current: dict[Pair, Counts] = {}
        self._previous: dict[Pair, Counts] = {}
        self._open: dict[ClientOrderId, tuple[Pair, bool]] = {}

    def placed(self, order: ApprovedOrder, owner: str, now_ms: int) -> None:
        """Count an order that is about to be sent: its end may be reported before its answer."""
        counts = self._counts(order.symbol, owner, now_ms)
        counts.orders += 1
        counts.dust += _is_dust(order)
        at_once = order.type is OrderType.MARKET or order.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
        if len(self._open) >= CONDUCT_ORDERS_MAX:
            del self._open[next(iter(self._open))]
        self._open[order.client_order_id] = ((order.symbol, owner), at_once)

    def withdrawn(self, order: ApprovedOrder, owner: str, now_ms: int) -> None:
        """Take back an order that the exchange did not take."""
        if self._open.pop(order.client_order_id, None) is not None:
            counts = self._counts(order.symbol, owner, now_ms)
            counts.orders = max(0, counts.orders - 1)
            counts.dust = max(0, counts.dust - _is_dust(order))

    def ended(self, report: OrderReport, now_ms: int) -> None:
        """Count how an order ended; each end once, whoever reports it first."""
        if not report.status.terminal:
            return
        known = self._open.pop(report.client_order_id, None)
        if known is None:
            return
        (symbol, owner), at_once = known
        counts = self._counts(symbol, owner, now_ms)
        if report.executed_quantity > 0:
            counts.fills += 1
            return
        counts.unfilled += 1
        if at_once:
            counts.expired_at_once += 1
        elif report.status is ExchangeOrderStatus.CANCELLED:
            counts.cancelled += 1

    def ranking(self, scope: str, indicator: str, now_ms: int) -> list[tuple[str, int]]:
        """Return the sub-accounts with a part in an indicator, the biggest first."""
        self._roll(now_ms)
        parts: dict[str, int] = {}
        for table in (self._current, self._previous):
            for (symbol, owner), counts in table.items():
                if scope in (ACCOUNT, symbol):
                    parts[owner] = parts.get(owner, 0) + counts.of(indicator)
        return sorted(((o, n) for o, n in parts.items() if n), key=lambda part: (-part[1], part[0]))

    def orders(self, scope: str, now_ms: int) -> int:
        """Return how many orders all sub-accounts have sent in a scope."""
        self._roll(now_ms)
        return sum(
            counts.orders
            for table in (self._current, self._previous)
            for (symbol, _), counts in table.items()
            if scope in (ACCOUNT, symbol)
        )

    def __len__(self) -> int:
        return len(self._current) + len(self._previous)

    def _counts(self, symbol: str, owner: str, now_ms: int) -> Counts:
        self._roll(now_ms)
        pair = (symbol, owner)
        if pair not in self._current and len(self._current) >= CONDUCT_PAIRS_MAX:
            pair = (symbol, OTHERS)
        return self._current.setdefault(pair, Counts())

    def _roll(self, now_ms: int) -> None:
        half = now_ms // (CONDUCT_WINDOW_MS // 2)
        if half > self._half:
            self._previous = self._current if half == self._half + 1 else {}
            self._current, self._half = {}, half


def _is_dust(order: ApprovedOrder) -> bool:
    return order.price is not None and order.price * order.quantity < DUST_NOTIONAL


@dataclass(slots=True)
class Hold:
    """Who waits because of one indicator. `best` is the lowest value since the last one was added."""

    owners: dict[str, None] = field(default_factory=dict)
    best: Decimal = ZERO
    idle_polls: int = 0


@dataclass(frozen=True, slots=True)
class ConductStatistics:
    """The newest readings, who waits for what, and what is locked until when (exchange time, ms)."""

    readings: Sequence[Reading]
    held: Mapping[str, Sequence[str]]
    locked_until_ms: Mapping[str, int]
    read_at_ms: int


class Conduct:
    """Decides who waits. Event-loop thread only."""

    def __init__(self) -> None:
        self.contributions = Contributions()
        self._readings: Sequence[Reading] = ()
        self._holds: dict[tuple[str, str], Hold] = {}
        self._locks: dict[str, int] = {}
        self._waiting: dict[Pair, str] = {}
        self._refused: dict[str, int] = {}
        self._read_at_ms = 0

    def refused(self, symbol: Symbol, now_ms: int) -> None:
        """The exchange refused an order by these rules: try again in a while, whatever a reading says."""
        self._refused[symbol] = now_ms + TRADING_STATUS_INTERVAL_MS

    def read(self, readings: Sequence[Reading], now_ms: int) -> None:
        """Take a new reading of all indicators and decide anew who waits."""
        self._readings, self._read_at_ms = readings, now_ms
        self._locks = {}
        holds: dict[tuple[str, str], Hold] = {}
        for each in readings:
            if each.locked:
                self._locks[each.scope] = max(self._locks.get(each.scope, 0), each.recover_time_ms)
            hold = self._held(each, now_ms)
            if hold is not None:
                holds[each.scope, each.indicator] = hold
        self._holds = holds
        self._waiting = {
            (scope, owner): indicator for (scope, indicator), hold in holds.items() for owner in hold.owners
        }

    def pause(self, symbol: Symbol, owner: str, now_ms: int) -> Pause | None:
        """Return why an order that does not reduce must wait, None when it may go."""
        for scope in (symbol, ACCOUNT):
            until_ms = max(self._locks.get(scope, 0), self._refused.get(scope, 0))
            if until_ms > now_ms:
                return Pause(
                    f"the exchange allows only reducing on {scope} (trading rules on behaviour)",
                    until_ms - now_ms,
                )
            indicator = self._waiting.get((scope, owner))
            if indicator is not None:
                next_ms = self._read_at_ms + TRADING_STATUS_INTERVAL_MS - now_ms
                if next_ms < -5 * TRADING_STATUS_INTERVAL_MS:
                    continue  # the readings stopped: nobody waits for ever on an old one
                return Pause(
                    f"this account's orders on {scope} have the largest part in the exchange's ratio "
                    f"{indicator}, which nears its limit; only reducing until it has fallen",
                    max(1_000, next_ms),
                )
        return None

    def statistics(self) -> ConductStatistics:
        """Return the newest readings and decisions."""
        held = {
            f"{scope} {indicator}": tuple(hold.owners) for (scope, indicator), hold in self._holds.items()
        }
        return ConductStatistics(self._readings, held, dict(self._locks), self._read_at_ms)

    def _held(self, reading: Reading, now_ms: int) -> Hold | None:
        hold = self._holds.get((reading.scope, reading.indicator))
        if reading.pressure < NEAR and not reading.locked:
            return hold if reading.pressure >= CALM else None
        if hold is None:
            if self.contributions.orders(reading.scope, now_ms) < ORDERS_MIN:
                return None
            hold = Hold(best=reading.value)
        elif reading.value < hold.best:
            hold.best, hold.idle_polls = reading.value, 0
            return hold
        else:
            hold.idle_polls += 1
            if hold.idle_polls < PATIENCE_POLLS:
                return hold
        ranking = self.contributions.ranking(reading.scope, reading.indicator, now_ms)
        following = next((owner for owner, _ in ranking if owner not in hold.owners), None)
        if following is not None:
            hold.owners[following] = None
            hold.best, hold.idle_polls = reading.value, 0
        return hold
