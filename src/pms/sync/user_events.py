"""The private stream's events on their way into the ledger: the one consumer, in order, gaps filled first.

Invariants: 1. A fill is acknowledged only by booking it; if booking fails the gap is filled from the exchange
later, never forgotten (spec H10). 2. A terminal state is taken from the exchange's word only (decision 2). 3.
Order events and account events of one execution are never ordered against each other (exchange spec 5.2).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from pms.exchange.errors import ExchangeError
from pms.exchange.port import AccountConfigEvent, AccountEvent, OrderEvent, OrderReport, StreamGap, UserEvent
from pms.execution.exchange_net import ExchangeNet
from pms.execution.fees import fee_in_settle_asset
from pms.execution.real_account import RealAccount
from pms.execution.resolver import DoubtResolver
from pms.ledger.api import Ledger
from pms.ledger.errors import FenceLostError, LedgerError
from pms.model.fill import ExchangeFill
from pms.model.order import ExchangeOrderStatus, JournalOrder, OrderType
from pms.model.symbol import Symbol
from pms.sync.adopted_orders import adopt_repriced_chase
from pms.sync.recovery import GapFiller, first_cause

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UserEventStatistics:
    """Counts since the start; `last_event_ms` is the exchange's time of the newest event."""

    order_events: int
    account_events: int
    gaps: int
    fills_booked: int
    fills_duplicate: int
    fees_estimated: int
    last_event_ms: int


class FillBooker:
    """Books exchange fills with their fee in the settle asset; shared by stream, resolver and recovery."""

    def __init__(self, ledger: Ledger, settle_asset: str, mark: Callable[[Symbol], float | None]) -> None:
        self._ledger = ledger
        self._settle_asset = settle_asset
        self._mark = mark
        self.booked = 0
        self.duplicates = 0
        self.fees_estimated = 0
        self.on_booked: Callable[[ExchangeFill], None] | None = None
        """Told of each fill that was booked for the first time."""

    async def book(self, fill: ExchangeFill) -> None:
        """Book one fill exactly once. Raises LedgerError when it could not be committed."""
        fee, estimated = fee_in_settle_asset(fill, self._settle_asset, self._mark)
        if estimated:
            self.fees_estimated += 1
            log.warning("fee_estimated", symbol=fill.symbol, trade_id=fill.trade_id, asset=fill.fee_asset)
        result = await self._ledger.book_fill(fill, fee)
        if result.duplicate:
            self.duplicates += 1
        else:
            self.booked += 1
            if self.on_booked is not None:
                self.on_booked(fill)


class UserEventProcessor:
    """Consumes the private stream. `handle` is called in order; calls for different orders may overlap."""

    def __init__(
        self,
        ledger: Ledger,
        booker: FillBooker,
        resolver: DoubtResolver,
        exchange_net: ExchangeNet,
        gap_filler: GapFiller,
        on_position_report: Callable[[Symbol], None],
        on_config_change: Callable[[], None],
        real: RealAccount | None = None,
    ) -> None:
        self._ledger = ledger
        self._booker = booker
        self._resolver = resolver
        self._net = exchange_net
        self._gap_filler = gap_filler
        self._on_position_report = on_position_report
        self._on_config_change = on_config_change
        self._real = real
        self._order_events = self._account_events = self._gaps = self._last_event_ms = 0

    def last_event_ms(self) -> int:
        """Return the exchange's time of the newest event that is handled; 0 before the first."""
        return self._last_event_ms

    async def handle(self, event: UserEvent) -> None:
        """Apply one event; returns when it is committed. A StreamGap returns when the gap is closed.

        Raises ExchangeError when the ledger could not commit it: the stream then starts anew with a gap since
        the last event that was handled, and the gap brings the event again.
        """
        try:
            await self._apply(event)
        except ExceptionGroup as group:
            raise self._retriable(first_cause(group)) from group
        except LedgerError as error:
            raise self._retriable(error) from error

    def _retriable(self, error: Exception) -> Exception:
        if isinstance(error, LedgerError) and not isinstance(error, FenceLostError):
            log.error("event_not_committed", error=str(error))
            return ExchangeError(f"an event could not be committed ({error}); the gap is filled again")
        return error

    async def _apply(self, event: UserEvent) -> None:
        match event:
            case OrderEvent():
                self._order_events += 1
                self._last_event_ms = event.event_time_ms
                await self._order(event)
            case AccountEvent():
                self._account_events += 1
                self._last_event_ms = event.event_time_ms
                for position in event.positions:
                    self._net.report(position)
                    self._on_position_report(position.symbol)
                if self._real is not None:
                    self._real.on_account_event(event)
            case AccountConfigEvent():
                self._last_event_ms = event.event_time_ms
                if self._real is not None and event.symbol is not None and event.leverage is not None:
                    self._real.take_leverage(event.symbol, event.leverage)
                self._on_config_change()
            case StreamGap():
                self._gaps += 1
                await self._gap_filler.fill(event)
                if self._real is not None:
                    self._real.recheck()

    async def _order(self, event: OrderEvent) -> None:
        report = event.report
        row = self._ledger.order(report.client_order_id)
        if row is None:
            row = await adopt_repriced_chase(self._ledger, self._resolver, report)
        changed = row is not None and self._changed(row, report)
        if event.fill is not None and report.status is ExchangeOrderStatus.FILLED and not changed:
            # Its booking acknowledges the order too, and ends it unless an earlier fill is missing.
            await self._booker.book(event.fill)
            row = self._ledger.order(report.client_order_id) if row is not None else None
            if row is not None:
                await self._terminal(report)
        else:
            await self._commit(event, row, changed=changed)
        if report.status.terminal and self._ledger.order(report.client_order_id) is not None:
            # Terminal on the exchange, yet not all of it is booked: a fill is still on its way, or was lost.
            self._resolver.watch(report.client_order_id)

    async def _commit(self, event: OrderEvent, row: JournalOrder | None, *, changed: bool) -> None:
        """Commit what an event says of an order that it does not fill. All commits are queued before the
        first is awaited, so that they share one commit group."""
        report = event.report
        async with asyncio.TaskGroup() as commits:
            if changed:
                commits.create_task(
                    self._ledger.record_amended(report.client_order_id, report.quantity, report.price)
                )
            if row is not None and row.exchange_order_id is None:
                commits.create_task(self._ledger.record_acknowledged(report.client_order_id, report.order_id))
            if event.fill is not None:
                commits.create_task(self._booker.book(event.fill))
            if row is not None and report.status.terminal:
                commits.create_task(self._terminal(report))

    async def _terminal(self, report: OrderReport) -> None:
        await self._ledger.record_terminal(
            report.client_order_id, report.status, report.executed_quantity, report.expiry_reason
        )

    def _changed(self, row: JournalOrder, report: OrderReport) -> bool:
        """True when a resting order has another size on the exchange than in the journal: a change whose
        answer was lost, or one made by hand. While a change is on its way its own answer counts."""
        if row.type is not OrderType.LIMIT or report.price <= 0 or report.quantity <= 0:
            return False
        different = (row.quantity, row.price) != (report.quantity, report.price)
        return different and report.client_order_id not in self._resolver.changing

    def statistics(self) -> UserEventStatistics:
        return UserEventStatistics(
            self._order_events,
            self._account_events,
            self._gaps,
            self._booker.booked,
            self._booker.duplicates,
            self._booker.fees_estimated,
            self._last_event_ms,
        )
