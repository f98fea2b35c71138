"""Changing a resting order: asked under the queue, reserved for both outcomes, settled by the exchange.

Invariants: 1. Until the exchange has spoken the larger of old and new quantity and price is reserved, in
memory from the step that approved it and in the journal before anything is sent. 2. Price and quantity of an
order change in the books only to what the exchange says it has; an answer that is lost is asked for. 3. One
change of an order at a time; a cancel may overtake it, and a fill may overtake both.
"""

import asyncio
from collections.abc import Callable
from decimal import Decimal

from pms.exchange.amending import Amender, Replaced
from pms.exchange.port import Confirmed, NotSent, OutcomeUnknown, PlaceOutcome, RefusedByExchange
from pms.execution.admission import Admission
from pms.execution.api import Resting
from pms.execution.live_orders import LiveOrders
from pms.execution.queues import AccountQueues
from pms.execution.resolver import DoubtResolver
from pms.ledger.api import Ledger
from pms.ledger.errors import LedgerError
from pms.model.ids import ClientOrderId
from pms.model.money import Price, Quantity
from pms.model.order import ApprovedAmendment, ApprovedOrder, JournalOrder, OrderState, Priority
from pms.model.refusal import RefusalCode, Refused

_Change = tuple[JournalOrder, ApprovedAmendment]
"""The order as it was when its change was approved, and the change."""


class OrderAmending:
    """Changes resting orders of sub-accounts. Event-loop thread only."""

    def __init__(
        self,
        ledger: Ledger,
        admission: Admission,
        queues: AccountQueues,
        live_orders: LiveOrders,
        resolver: DoubtResolver,
        amender: Amender,
    ) -> None:
        self._ledger = ledger
        self._admission = admission
        self._queues = queues
        self._live = live_orders
        self._resolver = resolver
        self._amender = amender
        self._tasks: set[asyncio.Task[object]] = set()

    async def amend(
        self, order: JournalOrder, quantity: Decimal | None, price: Decimal | None
    ) -> Resting | Refused:
        """Change quantity (in all, what has executed included) and price of a resting order; None keeps.

        Refused with EXECUTION_UNKNOWN while the exchange has not spoken: what it did is found out later.
        Cancelling the caller does not undo the change. Raises asyncio.QueueFull.
        """
        owner = order.sub_account_id
        if owner is None or order.price is None or order.state is not OrderState.LIVE:
            return Refused.because(RefusalCode.ORDER_NOT_PENDING)
        change = await self._queues.run(
            owner, Priority.ENTRY, self._step(order.client_order_id, quantity, price), self._abandon(order)
        )
        if isinstance(change, Refused):
            return change
        before, approved = change
        return await self._send(before, approved)

    def _step(
        self, client_order_id: ClientOrderId, quantity: Decimal | None, price: Decimal | None
    ) -> Callable[[], _Change | Refused]:
        """Judge a change of the order as it is when its turn comes: another change may have gone before."""

        def admit() -> _Change | Refused:
            now = self._ledger.order(client_order_id)
            if now is None or now.state is not OrderState.LIVE or now.price is None:
                return Refused.because(RefusalCode.ORDER_NOT_PENDING)
            wanted = Quantity(now.quantity if quantity is None else quantity)
            at = Price(now.price if price is None else price)
            if wanted <= now.booked_quantity:
                return Refused.because(RefusalCode.ORDER_NOT_PENDING)
            if client_order_id in self._resolver.changing:
                text = "Another change of this order is on its way; retry in a moment."
                return Refused.because(RefusalCode.BOUND_REACHED, text)
            approved = self._admission.amendment(now, wanted, at)
            if isinstance(approved, Refused):
                return approved
            self._resolver.changing.add(client_order_id)
            return now, approved

        return admit

    def _abandon(self, order: JournalOrder) -> Callable[[_Change | Refused], None]:
        def give_back(outcome: _Change | Refused) -> None:
            if not isinstance(outcome, Refused):
                self._settled(order.client_order_id)

        return give_back

    async def _send(self, order: JournalOrder, change: ApprovedAmendment) -> Resting | Refused:
        client_id = order.client_order_id
        try:
            if await self._ledger.ask_amendment(client_id, change.quantity) is None:
                self._settled(client_id)
                return Refused.because(RefusalCode.ORDER_NOT_PENDING)
        except BaseException:
            self._settled(client_id)
            raise
        # In a task of its own: a caller that goes away loses the answer, not the knowledge of the change.
        task = asyncio.create_task(self._carry_out(order, change), name=f"amend {client_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _carry_out(self, order: JournalOrder, change: ApprovedAmendment) -> Resting | Refused:
        client_id = order.client_order_id
        try:
            outcome = await self._amender.amend(change, None, _never)
            match outcome:
                case Confirmed(report=report):
                    row = await self._ledger.record_amended(client_id, report.quantity, report.price)
                    if report.status.terminal:
                        row = await self._ledger.record_terminal(
                            client_id, report.status, report.executed_quantity
                        )
                        self._resolver.watch(client_id)
                    return Refused.because(RefusalCode.ORDER_NOT_PENDING) if row is None else Resting(row)
                case OutcomeUnknown(reason=reason):
                    self._resolver.watch(client_id)
                    return Refused.because(
                        RefusalCode.EXECUTION_UNKNOWN,
                        f"Whether the order was changed is not known yet ({reason}); it is being asked.",
                        client_order_id=client_id,
                    )
                case RefusedByExchange() | NotSent():
                    return await self._unchanged(order, outcome)
                case Replaced():
                    raise AssertionError("nothing is replaced without a replacement")
        except LedgerError:
            # The stream's report was left to this answer: without it the exchange is asked.
            self._resolver.watch(client_id)
            raise
        finally:
            self._settled(client_id)

    async def _unchanged(self, order: JournalOrder, outcome: RefusedByExchange | NotSent) -> Refused:
        client_id, price = order.client_order_id, order.price
        if price is not None:
            await self._ledger.record_amended(client_id, order.quantity, price)
        if isinstance(outcome, NotSent):
            return Refused.because(
                RefusalCode.EXCHANGE_STATE_UNKNOWN, f"The change was not made: {outcome.reason}. Retry."
            )
        if outcome.refusal is RefusalCode.ORDER_NOT_PENDING:
            self._resolver.watch(client_id)  # filled or cancelled meanwhile: the exchange says how it ended
        text = f"Exchange error: {outcome.message}"
        return Refused.because(outcome.refusal, text, exchange_code=outcome.code)

    def _settled(self, client_order_id: ClientOrderId) -> None:
        self._resolver.changing.discard(client_order_id)
        self._live.settle_amendment(client_order_id, self._ledger.order(client_order_id))


async def _never(order: ApprovedOrder) -> PlaceOutcome:
    raise AssertionError(f"{order.client_order_id} replaces nothing")
