"""Closing a gap: what the exchange did while we were not listening, booked before live events are released.

Steps, in order: 1. every open journal order is asked for, so that its executions are known as its own; 2.
every execution since the last booked trade id of each symbol is booked, foreign ones included, and a span
of which the exchange tells no more is recorded; 3. the real
positions are read and the identity Σ virtual + house = exchange net is judged. The first gap is start-up
recovery: no order leaves before it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from pms.exchange.errors import ExchangeError
from pms.exchange.port import Absent, AccountView, OrderReport, StreamGap
from pms.execution.exchange_net import ExchangeNet, read_net
from pms.execution.resolver import DoubtResolver, with_client_order_id
from pms.ledger.api import Ledger
from pms.ledger.errors import FenceLostError, LedgerError
from pms.model.clock import Clock
from pms.model.fill import ExchangeFill, FillSource
from pms.model.ids import ClientOrderId, TradeId
from pms.model.money import ZERO
from pms.model.order import JournalOrder, OrderState
from pms.model.symbol import Symbol
from pms.sync.adopted_orders import adopt_resting_orders
from pms.sync.errors import SyncError

log = structlog.get_logger(__name__)

T = TypeVar("T")

CONCURRENT_QUERIES = 8

ASKED_TOGETHER_FROM = 40
"""From so many orders on, one list of all open ones weighs less than a query each (Binance spec 2.2)."""

RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class UnreadableSpan:
    """A time in which the symbol's executions are in nobody's book: the exchange tells them no more. Unix ms
    of its clock."""

    symbol: Symbol
    since_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class RecoveryStatistics:
    """`ready` once the first gap is closed; counts since the start; the newest unreadable span of each
    symbol."""

    ready: bool
    gaps_closed: int
    orders_settled: int
    retries: int
    unreadable: tuple[UnreadableSpan, ...]


@dataclass(frozen=True, slots=True)
class _Watermark:
    trade_id: TradeId
    whole_ms: int


class GapFiller:
    """Fills gaps of the private stream. Used by one consumer at a time."""

    def __init__(
        self,
        ledger: Ledger,
        account: AccountView,
        resolver: DoubtResolver,
        book_fill: Callable[[ExchangeFill], Awaitable[None]],
        exchange_net: ExchangeNet,
        clock: Clock,
        recv_window_ms: int,
    ) -> None:
        self._ledger = ledger
        self._account = account
        self._resolver = resolver
        self._book_fill = book_fill
        self._net = exchange_net
        self._clock = clock
        self._recv_window_ms = recv_window_ms
        self._closed = self._settled = self._retries = 0
        self._unreadable: dict[Symbol, UnreadableSpan] = {}
        self.ready = asyncio.Event()

    async def fill(self, gap: StreamGap) -> None:
        """Close the gap; retries until the exchange answers. Cancellation leaves the gap open for the next
        start."""
        self._net.forget()
        first = not self.ready.is_set()
        read: set[Symbol] = set()
        while True:
            try:
                await self._fill_once(gap, first, read)
                break
            except (ExchangeError, LedgerError) as error:
                if isinstance(error, FenceLostError):
                    raise
                self._retries += 1
                log.warning("gap_fill_retry", error=str(error), since_ms=gap.since_ms)
                await self._clock.sleep(RETRY_SECONDS)
        self._closed += 1
        self.ready.set()

    async def read_symbol(self, symbol: Symbol) -> None:
        """Book what the symbol executed since the last execution that is known without a gap; for those who
        must know it while the stream is silent. Raises ExchangeError, LedgerError."""
        await self.ready.wait()
        await self._fill_symbol((symbol, await self._watermark(symbol, StreamGap(0, 0))))

    # `read` holds the symbols whose executions are booked up to this gap's end: what came later waits in the
    # stream. To ask for all of them again at each attempt could weigh more than a minute allows, for ever.
    async def _fill_once(self, gap: StreamGap, first: bool, read: set[Symbol]) -> None:
        if first:
            await self._adopt()
            await adopt_resting_orders(self._ledger, self._account)
            await self._doubt_orders_of_earlier_life()
        # Settling orders books single fills; the symbols' own gaps start where they started before that.
        known = dict.fromkeys((*self._ledger.fill_symbols(), *await self._held_on_the_exchange()))
        since = {symbol: await self._watermark(symbol, gap) for symbol in known if symbol not in read}
        await self._report_unreadable(since)
        # First whose executions these are, then the executions in their order, then the orders' ends: booked
        # in another order, an account's profit would be split differently between realised and open.
        answers = await self._ask_orders(self._orders_to_ask(first))

        async def fill_symbol(each: tuple[Symbol, _Watermark]) -> None:
            await self._fill_symbol(each)
            read.add(each[0])

        await self._each(since.items(), fill_symbol)
        await self._each(answers, self._conclude)
        await read_net(self._account, self._net)

    async def _ask_orders(
        self, orders: list[JournalOrder]
    ) -> list[tuple[JournalOrder, OrderReport | Absent]]:
        answers: list[tuple[JournalOrder, OrderReport | Absent]] = []
        listed: dict[ClientOrderId, OrderReport] = {}
        if len(orders) >= ASKED_TOGETHER_FROM:
            # A query for each could weigh more than a minute allows: the gap would start over for ever.
            listed = {report.client_order_id: report for report in await self._account.open_orders()}

        async def ask(order: JournalOrder) -> None:
            report = listed.get(order.client_order_id)
            answer = await self._resolver.ask(order) if report is None else report
            await self._resolver.note(order, answer)
            answers.append((order, answer))

        await self._each(orders, ask)
        return answers

    async def _adopt(self) -> None:
        """Adopt the real account once for each epoch of the exchange (decision 7)."""
        epoch, adopted = await self._account.epoch(), self._ledger.adopted_epoch()
        if adopted == epoch:
            return
        # Before positions and wallet are read: what executes meanwhile is booked, so that no position is left
        # without an owner. What came before, since the first start even, is in the wallet already.
        as_of_ms = await self._account.server_time_ms()
        await self._require_known_positions(anew=adopted is not None)
        wallet = await self._account.wallet()
        await self._ledger.adopt_wallet(wallet.wallet_balance, epoch, as_of_ms)

    async def _require_known_positions(self, *, anew: bool) -> None:
        """Refuse an account whose positions the ledger cannot explain: they would belong to nobody (decision
        9). An exchange that began anew must be flat."""
        held = {position.symbol: position.signed_quantity for position in await self._account.positions()}
        expected = {} if anew else {symbol: self._ledger.expected_net(symbol) for symbol in held}
        if not anew:
            virtual = {position.symbol for position in self._ledger.open_positions()}
            expected |= {symbol: self._ledger.expected_net(symbol) for symbol in virtual}
        strange = sorted(
            symbol for symbol in {*held, *expected} if held.get(symbol, ZERO) != expected.get(symbol, ZERO)
        )
        if strange:
            raise SyncError(
                f"the exchange account's positions on {', '.join(strange)} differ from the ledger's; "
                "close them on the exchange, or correct the ledger, before the first start"
            )

    async def _doubt_orders_of_earlier_life(self) -> None:
        # The earlier process signed no request after its death: the exchange's clock now bounds all of them.
        now_ms = await self._account.server_time_ms()
        for order in self._ledger.open_orders():
            if order.state is OrderState.INTENT:
                await self._ledger.record_unknown(order.client_order_id, now_ms, self._recv_window_ms)

    def _orders_to_ask(self, first: bool) -> list[JournalOrder]:
        # In this life an INTENT is in the sender's hands; asking for it now would race its own answer.
        return [
            order for order in self._ledger.open_orders() if first or order.state is not OrderState.INTENT
        ]

    async def _conclude(self, asked: tuple[JournalOrder, OrderReport | Absent]) -> None:
        order, answer = asked
        if await self._resolver.conclude(order, answer):
            self._settled += 1
        else:
            self._resolver.watch(order.client_order_id)

    async def _held_on_the_exchange(self) -> list[Symbol]:
        # Somebody may have traded by hand in the gap what was never traded here.
        return [position.symbol for position in await self._account.positions()]

    async def _watermark(self, symbol: Symbol, gap: StreamGap) -> _Watermark:
        """Up to where the symbol is known without a gap: by trade id, and by time on the exchange's clock."""
        trade_id = self._ledger.last_trade_id(symbol)
        whole_ms = gap.since_ms or await self._ledger.last_trade_time_ms(symbol)
        return _Watermark(trade_id, max(whole_ms, self._ledger.adopted_at_ms()))

    async def _fill_symbol(self, gap: tuple[Symbol, _Watermark]) -> None:
        symbol, mark = gap
        trade_id, since_ms = mark.trade_id, mark.whole_ms
        # Part by part: what is booked stays, also when the next part cannot be read.
        while fills := await self._account.fills_since(symbol, trade_id, since_ms):
            for fill in fills:
                if fill.trade_time_ms >= self._ledger.adopted_at_ms():
                    owner = await self._owner_of(fill)
                    await self._book_fill(with_client_order_id(fill, owner, FillSource.RECOVERY))
            trade_id, since_ms = fills[-1].trade_id, fills[-1].trade_time_ms

    async def _report_unreadable(self, marks: dict[Symbol, _Watermark]) -> None:
        """Say which spans of time the exchange does not tell any more; once for each symbol and span."""
        told_from_ms = await self._account.server_time_ms() - self._account.fills_reach_ms()
        for symbol, mark in marks.items():
            before = self._unreadable.get(symbol)
            if mark.whole_ms >= told_from_ms or (before is not None and before.since_ms == mark.whole_ms):
                continue
            self._unreadable[symbol] = UnreadableSpan(symbol, mark.whole_ms, told_from_ms)
            log.error("executions_beyond_reach", symbol=symbol, since_ms=mark.whole_ms, until_ms=told_from_ms)
            await self._ledger.record_unreadable(symbol, mark.whole_ms, told_from_ms)

    async def _owner_of(self, fill: ExchangeFill) -> ClientOrderId:
        """Return the client order id behind an execution; trade lists of the venue do not tell it.

        An order that we do not know by its exchange id need not be foreign: its confirmation may still be on
        its way while orders flow during a reconnect. So the exchange is asked before a fill counts as
        somebody else's.
        """
        for order in self._ledger.open_orders():
            if order.exchange_order_id == fill.order_id and order.symbol == fill.symbol:
                return order.client_order_id
        if self._ledger.is_booked(fill):
            return fill.client_order_id
        return await self._account.client_order_id(fill.symbol, fill.order_id) or fill.client_order_id

    async def _each(self, items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
        limit = asyncio.Semaphore(CONCURRENT_QUERIES)

        async def bounded(item: T) -> None:
            async with limit:
                await work(item)

        try:
            async with asyncio.TaskGroup() as tasks:
                for item in items:
                    tasks.create_task(bounded(item))
        except ExceptionGroup as group:
            # The first cause stands for all: what failed is asked for again as a whole.
            raise first_cause(group) from group

    def statistics(self) -> RecoveryStatistics:
        unreadable = tuple(self._unreadable.values())
        return RecoveryStatistics(self.ready.is_set(), self._closed, self._settled, self._retries, unreadable)


def first_cause(group: ExceptionGroup[Exception]) -> Exception:
    """Return one exception of a group: a lost fence or a programming error before what may be retried."""
    retried, rest = group.split((ExchangeError, LedgerError))
    lost = group.subgroup(FenceLostError)
    chosen: ExceptionGroup[Exception] = lost or rest or retried or group
    error = chosen.exceptions[0]
    return first_cause(error) if isinstance(error, ExceptionGroup) else error
