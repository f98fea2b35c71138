"""Settles orders in doubt by the exchange's word: unknown outcomes, and fills not all booked.

*Proved not executed* means: exchange time past timestamp + recvWindow + 1 s, the exchange does not know the
order, no unexplained trade on its symbol, and a limit order not among the open ones (decision 2). Until then
the order stays UNKNOWN and keeps its reservations.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import structlog

from pms.exchange.errors import ExchangeError
from pms.exchange.port import Absent, AccountView, OrderReport, Trading
from pms.ledger.api import Ledger
from pms.ledger.errors import FenceLostError, LedgerError
from pms.model.clock import Clock
from pms.model.fill import ExchangeFill, FillSource
from pms.model.ids import ClientOrderId
from pms.model.order import ExchangeOrderStatus, JournalOrder, OrderState, OrderType

log = structlog.get_logger(__name__)

PROOF_MARGIN_MS = 1_000
"""Added to timestamp + recvWindow before absence counts as proof (decision 2)."""

FIRST_LOOK_SECONDS = 0.7
"""The stream usually brings the fill first; querying at once would only spend weight."""

RETRY_SECONDS_MAX = 10.0

FORGOTTEN_AFTER_MS = 3 * 86_400_000 + 60_000
"""After this the exchange need not know a confirmed order that ended without a fill; a minute for clocks."""

FORGOTTEN_WHOLLY_AFTER_MS = 90 * 86_400_000 + 60_000
"""After this the exchange need not know any order, filled or not (Binance spec 2.2); a minute for clocks."""

CLOCKS_MS = 60_000
"""No execution of an order is older than its intent by more than clocks may differ."""

BookFill = Callable[[ExchangeFill], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ResolverStatistics:
    """`in_doubt` orders now; `settled`, `proved_absent`, `retries` since the start."""

    in_doubt: int
    settled: int
    proved_absent: int
    retries: int


class DoubtResolver:
    """Watches orders in doubt until they are settled. `run` must be active for watching to have an effect."""

    def __init__(
        self, ledger: Ledger, trading: Trading, account: AccountView, book_fill: BookFill, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._trading = trading
        self._account = account
        self._book_fill = book_fill
        self._clock = clock
        self._doubts: dict[ClientOrderId, None] = {}
        self._pursued: set[ClientOrderId] = set()
        self._beyond_proof: set[ClientOrderId] = set()
        self.changing: set[ClientOrderId] = set()
        """Orders whose change is on its way: what is heard of their size meanwhile may be older."""
        self._wake = asyncio.Event()
        self._settled = self._absent = self._retries = 0

    def watch(self, client_order_id: ClientOrderId) -> None:
        """Put an order in doubt; idempotent. Bounded by the orders that are not terminal. One that is pursued
        already is looked at again afterwards."""
        self._doubts[client_order_id] = None
        self._wake.set()

    async def run(self) -> None:
        """Settle orders in doubt until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._wake.wait()
                self._wake.clear()
                for client_order_id in tuple(self._doubts):
                    if client_order_id not in self._pursued:
                        del self._doubts[client_order_id]
                        self._pursued.add(client_order_id)
                        tasks.create_task(self._alone(client_order_id), name=f"settle {client_order_id}")

    async def _alone(self, client_order_id: ClientOrderId) -> None:
        try:
            await self._pursue(client_order_id)
        finally:
            self._pursued.discard(client_order_id)
            self._wake.set()

    async def _pursue(self, client_order_id: ClientOrderId) -> None:
        delay_seconds = FIRST_LOOK_SECONDS
        while True:
            await self._clock.sleep(delay_seconds)
            order = self._ledger.order(client_order_id)
            if order is None:
                self._settled += 1
                return
            try:
                if await self.settle(order):
                    self._settled += 1
                    return
            except FenceLostError:
                raise
            except (ExchangeError, LedgerError) as error:
                log.warning("settle_retry", client_order_id=client_order_id, error=str(error))
            self._retries += 1
            delay_seconds = min(delay_seconds * 1.6, RETRY_SECONDS_MAX)

    async def settle(self, order: JournalOrder) -> bool:
        """Ask the exchange once and book what it says; True when the order is terminal or known to rest.

        Raises ExchangeError when the exchange cannot be asked: the order stays as it is.
        """
        answer = await self.ask(order)
        await self.note(order, answer)
        return await self.conclude(order, answer)

    async def ask(self, order: JournalOrder) -> OrderReport | Absent:
        """Ask the exchange for an order; books nothing. Raises ExchangeError."""
        return await self._trading.query(order.symbol, order.client_order_id)

    async def note(self, order: JournalOrder, answer: OrderReport | Absent) -> None:
        """Note the exchange's id of an answered order, so that its executions are known as its own."""
        if not isinstance(answer, Absent):
            await self._ledger.record_acknowledged(order.client_order_id, answer.order_id)

    async def conclude(self, order: JournalOrder, answer: OrderReport | Absent) -> bool:
        """Book what is missing of an answered order; True when it is terminal or known to rest.

        Raises ExchangeError when the exchange cannot be asked for what is missing.
        """
        if isinstance(answer, Absent):
            return await self._prove_absence(order)
        await self._book_missing(order, answer)
        if not answer.status.terminal:
            if order.type is OrderType.LIMIT and order.client_order_id not in self.changing:
                # A change whose answer was lost, or that somebody made by hand: the exchange's word counts.
                await self._ledger.record_amended(order.client_order_id, answer.quantity, answer.price)
            return True
        row = await self._ledger.record_terminal(
            order.client_order_id, answer.status, answer.executed_quantity
        )
        return row is None or row.state.terminal

    async def _book_missing(self, order: JournalOrder, report: OrderReport) -> None:
        current = self._ledger.order(order.client_order_id)
        if current is None or current.booked_quantity >= report.executed_quantity:
            return
        for fill in await self._account.order_fills(order.symbol, report.order_id):
            await self._book_fill(with_client_order_id(fill, order.client_order_id))

    async def _prove_absence(self, asked: JournalOrder) -> bool:
        # As the journal has it now: a late answer or an execution may have come since it was asked for.
        order = self._ledger.order(asked.client_order_id)
        if order is None:
            return True
        if order.state in (OrderState.LIVE, OrderState.FINISHING):
            # The exchange has confirmed this order before; its absence now is a query lag, never proof.
            return await self._end_forgotten(order)
        if order.state is not OrderState.UNKNOWN:
            return False  # in the sender's hands: how long its request is valid is not known here
        signed_until_ms = (order.timestamp_ms or order.created_at_ms) + order.recv_window_ms + PROOF_MARGIN_MS
        now_ms = await self._account.server_time_ms()
        if now_ms <= signed_until_ms:
            return False
        if order.created_at_ms < now_ms - self._account.fills_reach_ms():
            # The exchange has forgotten orders and executions of that time: silence proves nothing.
            if order.client_order_id not in self._beyond_proof:
                self._beyond_proof.add(order.client_order_id)
                log.error("unknown_order_beyond_proof", client_order_id=order.client_order_id)
            return False
        if await self._has_unexplained_trade(order):
            log.error("unknown_order_with_unexplained_trade", client_order_id=order.client_order_id)
            return False
        if not isinstance(await self._trading.query(order.symbol, order.client_order_id), Absent):
            return False
        if order.type is OrderType.LIMIT and await self._rests(order):
            # It has no trade that would show it, and the query lags behind what the exchange did.
            log.error("unknown_order_among_the_open_ones", client_order_id=order.client_order_id)
            return False
        await self._ledger.record_not_executed(
            order.client_order_id, "proved absent on the exchange", proved_absent=True
        )
        self._absent += 1
        return True

    async def _end_forgotten(self, order: JournalOrder) -> bool:
        """End a confirmed order that the exchange has forgotten: one that ended without a fill cannot be
        queried three days after its creation (Binance spec 2.2)."""
        order_id = order.exchange_order_id
        if order_id is None:
            return False
        kept_ms = FORGOTTEN_WHOLLY_AFTER_MS if order.booked_quantity else FORGOTTEN_AFTER_MS
        if await self._account.server_time_ms() <= order.created_at_ms + kept_ms:
            return False
        if await self._rests(order):
            return False
        fills = await self._account.order_fills(order.symbol, order_id)
        if any(not self._ledger.is_booked(fill) for fill in fills):
            return False
        log.warning("order_forgotten_by_the_exchange", client_order_id=order.client_order_id)
        await self._ledger.record_terminal(
            order.client_order_id, ExchangeOrderStatus.EXPIRED, order.booked_quantity
        )
        return True

    async def _rests(self, order: JournalOrder) -> bool:
        """Tell whether the exchange lists the order as open."""
        reports = await self._account.open_orders()
        return any(report.client_order_id == order.client_order_id for report in reports)

    async def _has_unexplained_trade(self, order: JournalOrder) -> bool:
        """Look for an execution that could be the order's: on its side, of an order that is not known
        otherwise."""
        fills = [fill async for fill in self._fills_after(order)]
        known = {row.exchange_order_id for row in self._ledger.open_orders() if row.symbol == order.symbol}
        suspects = {
            fill.order_id
            for fill in fills
            if fill.side is order.side and fill.order_id not in known and not self._ledger.is_booked(fill)
        }
        for order_id in sorted(suspects):
            if await self._account.client_order_id(order.symbol, order_id) in (None, order.client_order_id):
                return True
        return False

    async def _fills_after(self, order: JournalOrder) -> AsyncIterator[ExchangeFill]:
        trade_id, since_ms = self._ledger.last_trade_id(order.symbol), order.created_at_ms - CLOCKS_MS
        while fills := await self._account.fills_since(order.symbol, trade_id, since_ms):
            for fill in fills:
                yield fill
            trade_id, since_ms = fills[-1].trade_id, fills[-1].trade_time_ms

    def statistics(self) -> ResolverStatistics:
        in_doubt = len(self._pursued | self._doubts.keys())
        return ResolverStatistics(in_doubt, self._settled, self._absent, self._retries)


def with_client_order_id(
    fill: ExchangeFill, client_order_id: ClientOrderId, source: FillSource = FillSource.QUERY
) -> ExchangeFill:
    """Return the fill under the client order id that it belongs to (trade lists of the venue lack it)."""
    return replace(fill, client_order_id=client_order_id, source=source)
