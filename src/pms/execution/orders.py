"""Carries out admitted orders and waits for their end, for market, limit, close and liquidation."""

from dataclasses import dataclass
from decimal import Decimal

from pms.exchange.port import (
    Confirmed,
    NotSent,
    OrderReport,
    OutcomeUnknown,
    PlaceOutcome,
    RefusedByExchange,
)
from pms.execution.admission import Admitted
from pms.execution.api import Estimate, Executed
from pms.execution.sender import OrderSender
from pms.execution.tracker import OrderProgress, OrderTracker
from pms.ledger.api import Ledger
from pms.model.clock import Clock, set_within
from pms.model.ids import ClientOrderId
from pms.model.money import Money, Price, round_cost
from pms.model.order import JournalOrder, OrderState
from pms.model.refusal import RefusalCode, Refused

_IN_DOUBT = frozenset({OrderState.INTENT, OrderState.UNKNOWN})
_NEVER_ACCEPTED = frozenset({OrderState.REJECTED, OrderState.NOT_EXECUTED})


FAST_SECONDS = 0.25
"""What a fast answer waits for the booking after the acknowledgement: nearly always it comes within that."""

FEE_RATE_ESTIMATED = Decimal("0.0005")
"""The incumbent's estimate of a market order's fee (ledger spec 5.0.1); shown, never booked."""


@dataclass(frozen=True, slots=True)
class Fast:
    """A request for a fast answer; `fallback_price` values its estimate when the exchange names no price."""

    fallback_price: Price | None = None


class OrderRunner:
    """Sends admitted orders and follows them. Every wait has the deadline given at construction."""

    def __init__(
        self,
        ledger: Ledger,
        sender: OrderSender,
        tracker: OrderTracker,
        clock: Clock,
        deadline_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._sender = sender
        self._tracker = tracker
        self._clock = clock
        self._deadline_seconds = deadline_seconds

    async def execute(self, admitted: Admitted, fast: Fast | None = None) -> Executed | Refused:
        """Send a MARKET (or IOC) order and return when it is terminal and booked.

        `fast` answers at the latest `FAST_SECONDS` after the exchange's acknowledgement, with an estimate;
        the booking goes on without the caller. Refused with EXECUTION_UNKNOWN when the deadline passes first:
        the order stays in the journal and is settled by the stream or the resolver. Cancelling the caller
        does not cancel the order.
        """
        client_id = admitted.intent.client_order_id
        progress = self._tracker.follow(client_id)
        try:
            outcome = await self._sender.send(admitted.intent, admitted.order)
            refused = _refusal(outcome)
            if refused is not None:
                return refused
            if fast is not None and isinstance(outcome, Confirmed):
                if not await set_within(progress.finished, self._clock, FAST_SECONDS):
                    return self._acknowledged(admitted, outcome.report, fast)
            elif not await self.finish(client_id, progress):
                return _unknown(client_id)
            row = progress.order
            if row is None:
                return Refused.because(RefusalCode.EXECUTION_UNKNOWN)
            return self._executed(row, progress) if row.booked_quantity else _nothing_executed(row)
        finally:
            self._tracker.forget(client_id)

    async def complete(self, admitted: Admitted, progress: OrderProgress) -> JournalOrder | Refused:
        """Send a MARKET order that is followed already, the house's ones too, and return it when it has ended
        with a fill, all of it booked."""
        client_id = admitted.intent.client_order_id
        refused = _refusal(await self._sender.send(admitted.intent, admitted.order))
        if refused is not None:
            return refused
        if not await self.finish(client_id, progress):
            return _unknown(client_id)
        row = progress.order
        if row is None:
            return Refused.because(RefusalCode.EXECUTION_UNKNOWN)
        return row if row.booked_quantity else _nothing_executed(row)

    async def rest(self, admitted: Admitted) -> JournalOrder | Refused:
        """Send a resting order and return its journal row once the exchange has accepted it."""
        client_id = admitted.intent.client_order_id
        progress = self._tracker.follow(client_id)
        try:
            outcome = await self._sender.send(admitted.intent, admitted.order)
            refused = _refusal(outcome)
            if refused is not None:
                return refused
            if isinstance(outcome, OutcomeUnknown) and not await self.finish(client_id, progress):
                return _unknown(client_id)
            row = self._ledger.order(client_id) or progress.order
            if row is None or row.state in _IN_DOUBT:
                return _unknown(client_id)
            return _nothing_executed(row) if row.state in _NEVER_ACCEPTED else row
        finally:
            self._tracker.forget(client_id)

    async def finish(self, client_id: ClientOrderId, progress: OrderProgress) -> bool:
        """Wait for the end of an order that is followed already; False when the deadline passes first."""
        return await set_within(progress.finished, self._clock, self._deadline_seconds)

    def _acknowledged(self, admitted: Admitted, report: OrderReport, fast: Fast) -> Executed | Refused:
        intent = admitted.intent
        row, owner = self._ledger.order(intent.client_order_id), intent.sub_account_id
        if row is None or owner is None:
            return _unknown(intent.client_order_id)
        price = report.average_price or fast.fallback_price
        quantity = report.executed_quantity or intent.quantity
        fee = None if price is None else Money(round_cost(price * quantity * FEE_RATE_ESTIMATED))
        account = self._ledger.account(owner)
        return Executed(
            order=row,
            position=self._ledger.open_position(owner, intent.symbol),
            trades=(),
            balance=account.balance if account else None,
            confirmed=False,
            estimate=Estimate(quantity, price, fee),
        )

    def _executed(self, order: JournalOrder, progress: OrderProgress) -> Executed | Refused:
        if order.sub_account_id is None:
            return Refused.because(RefusalCode.EXECUTION_UNKNOWN)
        account = self._ledger.account(order.sub_account_id)
        return Executed(
            order=order,
            position=self._ledger.open_position(order.sub_account_id, order.symbol) or progress.closed,
            trades=tuple(progress.trades),
            closed=progress.closed,
            realized_pnl=progress.realized_pnl,
            balance=account.balance if account else None,
        )


def _nothing_executed(order: JournalOrder) -> Refused:
    if order.state is OrderState.REJECTED:
        code = RefusalCode.EXCHANGE_REJECTED
        message = f"Exchange error: {order.reject_message}"
        return Refused.because(code, message, exchange_code=order.reject_code)
    if order.state is OrderState.NOT_EXECUTED:
        return Refused.because(
            RefusalCode.EXCHANGE_STATE_UNKNOWN,
            "The order did not reach the exchange; nothing was executed. Retry.",
        )
    if order.never_replaced:
        return Refused.because(
            RefusalCode.EXPIRED_BY_EXCHANGE, order.reject_message, expiry_reason=order.reject_code
        )
    return Refused.because(
        RefusalCode.SELF_MATCH if order.reject_code == "SELF_MATCH" else RefusalCode.EXCHANGE_REJECTED,
        f"The order ended {order.state.value} without a fill: no liquidity within the exchange's bounds.",
    )


def _refusal(outcome: PlaceOutcome) -> Refused | None:
    match outcome:
        case RefusedByExchange(code=code, message=message, refusal=refusal):
            return Refused.because(refusal, f"Exchange error: {message}", exchange_code=code)
        case NotSent(reason=reason, retry_after_ms=retry_after_ms):
            return Refused.because(
                RefusalCode.EXCHANGE_STATE_UNKNOWN,
                f"The order was not sent: {reason}. Retry.",
                retry_after_ms=retry_after_ms,
            )
        case Confirmed() | OutcomeUnknown():
            return None


def _unknown(client_id: ClientOrderId) -> Refused:
    return Refused.because(
        RefusalCode.EXECUTION_UNKNOWN,
        f"The outcome of order {client_id} is not known yet; it is being settled. Do not repeat it.",
        client_order_id=client_id,
    )
