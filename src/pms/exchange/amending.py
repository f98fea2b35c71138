"""Changing a resting order: by amendment, else by cancel and replace with confirmed state between.

Invariants: 1. The new order is placed only after the exchange has said that the old one is terminal, and for
no more than what the old one has left open: never two live orders, never more than was approved. 2. What
cannot be confirmed within the deadline stays unknown, and nothing is placed (decision 2).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pms.exchange.errors import ExchangeError
from pms.exchange.port import (
    Absent,
    AmendOutcome,
    CancelVerdict,
    Confirmed,
    NotSent,
    OrderReport,
    OutcomeUnknown,
    PlaceOutcome,
    RefusedByExchange,
    Trading,
)
from pms.model.clock import Clock
from pms.model.money import Quantity
from pms.model.order import ApprovedAmendment, ApprovedOrder
from pms.model.refusal import RefusalCode

SETTLE_MARGIN_MS = 1_000
"""Beyond timestamp + recvWindow a request can have no effect any more (decision 2)."""

LOOK_SECONDS_MIN = 0.2
LOOK_SECONDS_MAX = 2.0

Place = Callable[[ApprovedOrder], Awaitable[PlaceOutcome]]
"""Places the new order: journals its intent first, then sends it (decision 2)."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """The old order's end, and the outcome of the new one; None when nothing was left to place."""

    old: OrderReport
    new: PlaceOutcome | None


@dataclass(frozen=True, slots=True)
class AmendingStatistics:
    """Counts since the start by how a change ended."""

    amended: int
    replaced: int
    unknown: int


class Amender:
    """Changes resting orders. Two changes of one order at the same time are the caller's fault to avoid.

    `exchange_now_ms` tells the exchange's time; `deadline_seconds` bounds the settling of each doubt.
    """

    def __init__(
        self, trading: Trading, clock: Clock, exchange_now_ms: Callable[[], int], deadline_seconds: float
    ) -> None:
        self._trading = trading
        self._clock = clock
        self._now_ms = exchange_now_ms
        self._deadline_seconds = deadline_seconds
        self._amended = self._replaced = self._unknown = 0

    def statistics(self) -> AmendingStatistics:
        return AmendingStatistics(self._amended, self._replaced, self._unknown)

    async def amend(
        self,
        change: ApprovedAmendment,
        replacement: ApprovedOrder | None,
        place: Place,
    ) -> AmendOutcome | Replaced:
        """Change an order, or replace it when the exchange does not amend it.

        `replacement` is approved for what the order would have to execute after the change, under a new
        client order id; None never replaces. Cancellation leaves the outcome unknown.
        """
        outcome = await self._trading.amend(change)
        if isinstance(outcome, OutcomeUnknown):
            outcome = await self._settle_change(change, outcome)
        if (
            isinstance(outcome, RefusedByExchange)
            and replacement is not None
            and outcome.refusal is RefusalCode.AMENDMENT_REFUSED
        ):
            return await self.replace(change, replacement, place)
        self._amended += isinstance(outcome, Confirmed)
        self._unknown += isinstance(outcome, OutcomeUnknown)
        return outcome

    async def replace(
        self, change: ApprovedAmendment, replacement: ApprovedOrder, place: Place
    ) -> NotSent | OutcomeUnknown | Replaced:
        """Cancel, wait for the exchange's word on how the order ended, then place what is left."""
        ended = await self._end(change)
        if not isinstance(ended, OrderReport):
            self._unknown += isinstance(ended, OutcomeUnknown)
            return ended
        self._replaced += 1
        left = min(replacement.quantity, Quantity(change.quantity - ended.executed_quantity))
        if left <= 0:
            return Replaced(ended, None)
        return Replaced(ended, await place(replacement.shrunk(Quantity(left))))

    async def _end(self, change: ApprovedAmendment) -> OrderReport | NotSent | OutcomeUnknown:
        started_ms = self._now_ms()
        cancel = await self._trading.cancel(change.symbol, change.client_order_id)
        if cancel.verdict is CancelVerdict.NOT_SENT:
            return NotSent(f"the old order was not cancelled: {cancel.reason}", 0)
        if cancel.report is not None and cancel.report.status.terminal:
            return cancel.report
        report = await self._look(change, lambda one, _: one.status.terminal)
        if isinstance(report, OrderReport):
            return report
        return OutcomeUnknown(f"the end of the old order is not confirmed: {report}", started_ms, 0)

    async def _settle_change(self, change: ApprovedAmendment, doubt: OutcomeUnknown) -> AmendOutcome:
        """Tell whether a change of unknown fate took place, from what the exchange says of the order."""
        valid_until_ms = doubt.timestamp_ms + doubt.recv_window_ms + SETTLE_MARGIN_MS

        def settled(report: OrderReport, asked_ms: int) -> bool:
            return report.status.terminal or _as_asked(report, change) or asked_ms > valid_until_ms

        report = await self._look(change, settled)
        if not isinstance(report, OrderReport):
            return OutcomeUnknown(f"{doubt.reason}; {report}", doubt.timestamp_ms, doubt.recv_window_ms)
        if report.status.terminal or _as_asked(report, change):
            return Confirmed(report, doubt.timestamp_ms, doubt.recv_window_ms)
        return NotSent(f"the change had no effect: {doubt.reason}", 0)

    async def _look(
        self, change: ApprovedAmendment, enough: Callable[[OrderReport, int], bool]
    ) -> OrderReport | str:
        """Query until the answer is enough; why not, when the deadline passes first."""
        until = self._clock.monotonic() + self._deadline_seconds
        pause_seconds, why = LOOK_SECONDS_MIN, "not asked"
        while True:
            asked_ms = self._now_ms()
            try:
                report = await self._trading.query(change.symbol, change.client_order_id)
            except ExchangeError as error:
                why = str(error)
            else:
                if isinstance(report, Absent):
                    why = "the exchange does not find the order"
                elif enough(report, asked_ms):
                    return report
                else:
                    why = f"the order is still {report.status}"
            if self._clock.monotonic() + pause_seconds > until:
                return why
            await self._clock.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 1.6, LOOK_SECONDS_MAX)


def _as_asked(report: OrderReport, change: ApprovedAmendment) -> bool:
    return report.quantity == change.quantity and report.price == change.price
