"""From an approved order to the exchange's answer: intent, send, and the record of what came back.

Invariants: 1. Nothing is sent whose intent is not committed (decision 2). 2. An unknown outcome becomes
UNKNOWN in the journal and is handed to the resolver; no path here maps it to failure. 3. A sending that has
begun is never cancelled: it runs in a task that the sender owns, so that a browser that goes away loses the
answer, not the order. 4. An answer that the ledger cannot take now is recorded as soon as it can: until then
the order keeps its reservation, and nobody else would ever end it.
"""

import asyncio
from dataclasses import dataclass
from decimal import Decimal

import structlog

from pms.exchange.port import Confirmed, NotSent, OutcomeUnknown, PlaceOutcome, RefusedByExchange, Trading
from pms.execution.errors import NotRunning
from pms.execution.live_orders import LiveOrders
from pms.execution.resolver import DoubtResolver
from pms.ledger.api import Ledger, NewIntent
from pms.ledger.errors import CommitUnknownError, LeaseError, LedgerClosedError, LedgerError, RequestError
from pms.model.account import AccountStatus
from pms.model.clock import Clock
from pms.model.order import ApprovedOrder

log = structlog.get_logger(__name__)

FAULT_WINDOW_MS = 60_000
"""Longer than any request of ours is valid, for one whose signature time was lost with a fault."""

RECORD_RETRY_SECONDS = 0.2
RECORD_RETRY_SECONDS_MAX = 5.0


@dataclass(frozen=True, slots=True)
class SenderStatistics:
    """Counts since the start by outcome; `in_flight` now."""

    confirmed: int
    refused: int
    not_sent: int
    unknown: int
    in_flight: int


class OrderSender:
    """Journals and sends approved orders. `run` must be active; see `pms.execution.service`."""

    def __init__(
        self,
        ledger: Ledger,
        trading: Trading,
        live_orders: LiveOrders,
        resolver: DoubtResolver,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._trading = trading
        self._live = live_orders
        self._resolver = resolver
        self._clock = clock
        self._tasks: set[asyncio.Task[object]] = set()
        self._draining = False
        self._counts = {Confirmed: 0, RefusedByExchange: 0, NotSent: 0, OutcomeUnknown: 0}

    async def send(self, intent: NewIntent, order: ApprovedOrder) -> PlaceOutcome:
        """Journal the intent, send the order, record the answer, and return it.

        Cancelling the caller does not cancel the order. Raises LedgerError when the intent could not be
        journaled; then nothing was sent and the reservation is released. Raises NotRunning after `drain`.
        """
        if self._draining:
            self._live.release(intent.client_order_id)
            raise NotRunning("the engine is stopping; nothing was sent, repeat the request after its restart")
        task = asyncio.create_task(self._send(intent, order), name=f"send {intent.client_order_id}")
        self._own(task)
        return await asyncio.shield(task)

    async def drain(self, timeout_seconds: float) -> None:
        """Take nothing new and wait for what is in flight, at most that long; recovery settles the rest."""
        self._draining = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_seconds)

    async def _send(self, intent: NewIntent, order: ApprovedOrder) -> PlaceOutcome:
        try:
            await self._ledger.record_intent(intent)
        except BaseException as error:
            self._live.release(intent.client_order_id)
            if isinstance(error, CommitUnknownError):
                # It may be in the journal all the same, where nothing but this record would ever end it.
                self._record_later(intent, NotSent("the commit of its intent got no answer", 0))
            raise
        forbidden = self._forbidden(intent)
        outcome = NotSent(forbidden, 0) if forbidden else await self._place(order)
        self._counts[type(outcome)] += 1
        try:
            await self._record(intent, outcome)
        except (LeaseError, LedgerClosedError, RequestError):
            raise
        except LedgerError as error:
            log.error("order_outcome_not_recorded", client_order_id=order.client_order_id, error=str(error))
            self._record_later(intent, outcome)
        return outcome

    def _forbidden(self, intent: NewIntent) -> str:
        """Return why an entry may not leave any more, empty when it may: its account was frozen or restricted
        between the gate and the commit of its intent (design, invariant 6). Nothing is awaited before it is
        sent."""
        owner = intent.sub_account_id
        if owner is None or intent.reduce_only:
            return ""
        account, held = self._ledger.account(owner), self._ledger.open_position(owner, intent.symbol)
        before = Decimal(0) if held is None else held.signed_quantity
        after = before + intent.side.sign * intent.quantity
        if abs(after) <= abs(before) and after * before >= 0:
            return ""
        if account is None or account.status is not AccountStatus.ACTIVE:
            return "the account was frozen before the order left"
        level = self._ledger.restriction_of(owner)
        return f"{level.name} came in force before the order left" if level else ""

    async def _place(self, order: ApprovedOrder) -> PlaceOutcome:
        try:
            return await self._trading.place(order)
        except Exception as error:
            # A fault says nothing of the order: it is in doubt, not failed (decision 2).
            log.exception("order_sending_faulted", client_order_id=order.client_order_id)
            return OutcomeUnknown(f"a fault while sending: {error!r}", self._clock.now_ms(), FAULT_WINDOW_MS)

    def _record_later(self, intent: NewIntent, outcome: PlaceOutcome) -> None:
        self._own(
            asyncio.create_task(self._record_surely(intent, outcome), name=f"record {intent.client_order_id}")
        )

    async def _record_surely(self, intent: NewIntent, outcome: PlaceOutcome) -> None:
        """Record an outcome as soon as the ledger takes it; a lease that is lost or a stop ends the
        attempts."""
        delay_seconds = RECORD_RETRY_SECONDS
        while True:
            await self._clock.sleep(delay_seconds)
            try:
                await self._record(intent, outcome)
            except (LeaseError, LedgerClosedError, RequestError) as error:
                # What is missing is found by recovery at the next start, or was never in the journal.
                log.warning("order_record_ended", client_order_id=intent.client_order_id, error=str(error))
                return
            except LedgerError as error:
                log.warning("order_record_retry", client_order_id=intent.client_order_id, error=str(error))
                delay_seconds = min(delay_seconds * 1.6, RECORD_RETRY_SECONDS_MAX)
            else:
                return

    def _own(self, task: "asyncio.Task[PlaceOutcome] | asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    async def _record(self, intent: NewIntent, outcome: PlaceOutcome) -> None:
        client_id = intent.client_order_id
        match outcome:
            case Confirmed(report=report) if report.status.terminal:
                await self._ledger.record_terminal(
                    client_id,
                    report.status,
                    report.executed_quantity,
                    exchange_order_id=report.order_id,
                )
                if self._ledger.order(client_id) is not None:
                    self._resolver.watch(client_id)  # a fill is still on its way, or was lost
            case Confirmed(report=report):
                await self._ledger.record_acknowledged(client_id, report.order_id)
            case RefusedByExchange(code=code, message=message):
                await self._ledger.record_rejected(client_id, str(code), message)
                if self._ledger.order(client_id) is not None:
                    self._resolver.watch(client_id)  # the stream has confirmed it: the exchange is asked
            case NotSent(reason=reason):
                await self._ledger.record_not_executed(client_id, reason)
            case OutcomeUnknown(timestamp_ms=timestamp_ms, recv_window_ms=recv_window_ms, reason=reason):
                log.warning("order_outcome_unknown", client_order_id=client_id, reason=reason)
                await self._ledger.record_unknown(client_id, timestamp_ms, recv_window_ms)
                self._resolver.watch(client_id)

    def _finished(self, task: asyncio.Task[PlaceOutcome] | asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # The awaiting caller gets the exception too; it is logged here for the case that the caller is
            # gone.
            log.error("order_sending_failed", task=task.get_name(), error=repr(task.exception()))

    def statistics(self) -> SenderStatistics:
        return SenderStatistics(
            self._counts[Confirmed],
            self._counts[RefusedByExchange],
            self._counts[NotSent],
            self._counts[OutcomeUnknown],
            len(self._tasks),
        )
