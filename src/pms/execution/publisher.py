"""From ticks and commits to risk decisions, events and snapshots: the hot path's one listener.

A tick goes to the risk book first and to the liquidator at once; what is shown to people is conflated for
each account and flushed by one loop (design, "Bounds": `pnl_update` 50 ms for each position, `margin_update`
80 ms for each account). Durable events are handed on inside the step that committed them (decision 27).
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from decimal import Decimal

import structlog

from pms.bus.hub import EventHub
from pms.bus.projection import OrderMapping, StateProjection
from pms.execution.holdings import Holdings
from pms.execution.live_orders import LiveOrders
from pms.execution.prices import Prices
from pms.execution.tracker import OrderTracker
from pms.execution.views import Views
from pms.ledger.api import Committed, Ledger
from pms.ledger.errors import LedgerError
from pms.limits import (
    EVALUATION_DELAY_MS_MAX,
    EXPOSURE_UPDATE_INTERVAL_MS,
    MARGIN_UPDATE_INTERVAL_MS,
    PNL_UPDATE_INTERVAL_MS,
)
from pms.model.account import PositionStatus
from pms.model.clock import Clock
from pms.model.event import EphemeralEvent, JsonValue
from pms.model.ids import PositionId, SubAccountId
from pms.model.money import Price
from pms.model.price import BookTicker, MarkPrice
from pms.model.symbol import Symbol
from pms.risk import view
from pms.risk.book import RiskBook
from pms.risk.liquidation import Level
from pms.risk.maintenance import Brackets

log = structlog.get_logger(__name__)

FLUSH_SECONDS = PNL_UPDATE_INTERVAL_MS / 1000
FLUSH_CHUNK = 32
"""Accounts shown between two looks at what else the loop has to do."""

SWEEP_SECONDS = 2.0
"""Retries of postponed or interrupted liquidations, and the alarm on stale prices."""

WARNING_SWEEPS = 2
"""Every so many sweeps the accounts at the warning are looked at too: one is due in ten seconds."""

RECOMPUTE_SWEEPS = 30
"""Every so many sweeps the incremental equities are recomputed from scratch (60 s)."""


@dataclass(frozen=True, slots=True)
class PublisherStatistics:
    """Counts since the start; `late_ticks` were evaluated more than `EVALUATION_DELAY_MS_MAX` after they were
    received, `drift` is the largest equity drift that a recomputation found, in USDT."""

    ticks: int
    crossings: int
    flushes: int
    stale_symbols: int
    late_ticks: int
    drift: float


class Publisher:
    """Feeds the risk book and publishes. Event-loop thread only; `run` must be active for ephemeral
    events."""

    def __init__(
        self,
        ledger: Ledger,
        book: RiskBook,
        holdings: Holdings,
        live_orders: LiveOrders,
        tracker: OrderTracker,
        prices: Prices,
        views: Views,
        hub: EventHub,
        projection: StateProjection,
        consider: Callable[[SubAccountId], None],
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._book = book
        self._holdings = holdings
        self._live = live_orders
        self._tracker = tracker
        self._prices = prices
        self._views = views
        self._hub = hub
        self._projection = projection
        self._consider = consider
        self._clock = clock
        self.interested: Callable[[], Collection[SubAccountId] | None] = lambda: None
        """Accounts that somebody watches; None: all. Set by the composition root."""
        self._dirty: dict[SubAccountId, set[Symbol] | None] = {}
        self._margin_sent_ms: dict[SubAccountId, int] = {}
        self._exposure_dirty: dict[Symbol, int] = {}
        self._exposure_sent_ms: dict[Symbol, int] = {}
        self._reprice: dict[SubAccountId, None] = {}
        self._wake = asyncio.Event()
        self._ticks = self._crossings = self._flushes = self._stale = 0
        self._late_ticks = self._late_unsaid = self._late_ms_max = 0
        self._drift = 0.0
        self._fault: Exception | None = None
        for account in ledger.accounts():
            book.set_account(account, ledger.rules(account.id))
        for position in ledger.open_positions():
            book.set_position(position)
        live_orders.apply(ledger.open_orders())
        live_orders.apply_pools(ledger.pools())

    # --- inputs: synchronous, never waiting ---

    def take_mark(self, mark: MarkPrice) -> None:
        """Take a mark price: risk first, then what people see."""
        self._ticks += 1
        delay_ms = self._clock.now_ms() - mark.received_ms
        if delay_ms > EVALUATION_DELAY_MS_MAX:
            self._late_ticks += 1
            self._late_unsaid += 1
            self._late_ms_max = max(self._late_ms_max, delay_ms)
        usable = self._prices.take_mark(mark)
        decisions = self._book.on_mark(mark.symbol, mark.price, mark.received_ms)
        if not usable:
            return
        for crossing in decisions.crossings:
            self._crossings += 1
            self._consider(crossing.account_id)
        self._projection.mark_changed(mark)
        if decisions.holders:
            self._mark_dirty(mark.symbol)

    def take_brackets(self, brackets: Brackets[float]) -> None:
        """Compute maintenance by these brackets from now on, and look at every account that they move."""
        for crossing in self._book.set_brackets(brackets):
            self._crossings += 1
            self._consider(crossing.account_id)
        for account in self._ledger.accounts():
            self._dirty[account.id] = None
        self._wake.set()

    def take_book(self, book: BookTicker) -> None:
        """Take a best quote; risk does not use it (spec H29)."""
        self._prices.take_book(book)
        self._projection.book_changed(book)

    def on_position_report(self, symbol: Symbol) -> None:
        """The exchange reported its net position of a symbol."""
        self._exposure_dirty[symbol] = self._clock.now_ms()
        self._wake.set()

    def on_commit(self, committed: Committed) -> None:
        """Follow one commit: book, reservations, waiters, then events; called synchronously after it.

        A fault here would leave memory behind the ledger, so it ends `run` and with it the engine: the next
        start rebuilds everything from what is committed.
        """
        try:
            self._follow(committed)
        except Exception as error:
            self._fault = error
            self._wake.set()
            raise

    def _follow(self, committed: Committed) -> None:
        self._live.apply(committed.orders)
        self._live.apply_pools(committed.pools)
        self._holdings.apply(committed)
        for account in committed.accounts:
            self._book.set_account(account, self._ledger.rules(account.id))
        for position in sorted(committed.positions, key=lambda held: held.status is PositionStatus.OPEN):
            self._book.set_position(position)
        self._project_orders(committed)
        for event in committed.events:
            self._hub.publish(event)
        changed = dict.fromkeys(
            [account.id for account in committed.accounts]
            + [position.sub_account_id for position in committed.positions]
        )
        for account_id in changed:
            self._after_change(account_id)
        for symbol in committed.expected_net or ():
            self._exposure_dirty[symbol] = self._clock.now_ms()
        self._tracker.on_commit(committed)
        self._wake.set()

    def _after_change(self, account_id: SubAccountId) -> None:
        self._dirty[account_id] = None
        self._margin_sent_ms.pop(account_id, None)
        self._reprice[account_id] = None
        crossing = self._book.check(account_id)
        if crossing is not None:
            self._consider(account_id)
        self._snapshot(account_id, mutated=True)

    def _mark_dirty(self, symbol: Symbol) -> None:
        interested = self.interested()
        # A symbol may have ten thousand holders and a handful of watchers: only the smaller side is walked.
        holders = (
            self._holdings.holders(symbol)
            if interested is None
            else [account for account in interested if self._holdings.holds(account, symbol)]
        )
        for account_id in holders:
            symbols = self._dirty.setdefault(account_id, set())
            if symbols is not None:
                symbols.add(symbol)
        self._wake.set()

    def _project_orders(self, committed: Committed) -> None:
        for order in committed.orders:
            if order.exchange_order_id is None or order.sub_account_id is None or order.state.terminal:
                continue
            account = self._ledger.account(order.sub_account_id)
            self._projection.order_placed(
                OrderMapping(
                    order.exchange_order_id,
                    order.sub_account_id,
                    order.client_order_id,
                    order.symbol,
                    order.side,
                    account.user_id if account else None,
                    self._clock.now_ms(),
                )
            )

    # --- the loop ---

    async def run(self) -> None:
        """Publish until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._flush_loop(), name="event flush")
            tasks.create_task(self._sweep_loop(), name="risk sweep")
            tasks.create_task(self._reprice_loop(), name="liquidation prices")

    async def _flush_loop(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._fault is not None:
                raise self._fault
            await self._flush()
            await self._clock.sleep(FLUSH_SECONDS)

    async def _flush(self) -> None:
        self._flushes += 1
        now_ms = self._clock.now_ms()
        dirty, self._dirty = self._dirty, {}
        for number, (account_id, symbols) in enumerate(dirty.items(), 1):
            self._publish_account(account_id, symbols, now_ms)
            if number % FLUSH_CHUNK == 0:
                await asyncio.sleep(0)  # a thousand changed accounts must not hold up a command (decision 22)
        for symbol in tuple(self._exposure_dirty):
            due = now_ms - self._exposure_sent_ms.get(symbol, 0) >= EXPOSURE_UPDATE_INTERVAL_MS
            if due and self._publish_exposure(symbol, now_ms):
                self._exposure_sent_ms[symbol] = now_ms
                del self._exposure_dirty[symbol]
            else:
                self._wake.set()

    def _publish_account(self, account_id: SubAccountId, symbols: set[Symbol] | None, now_ms: int) -> None:
        state = self._views.account_state(account_id)
        if state is None:
            return
        for live in state.positions:
            if symbols is None or live.position.symbol in symbols:
                data = view.pnl_update(account_id, view.marked_leg(live))
                self._ephemeral("pnl_update", account_id, live.position.id, data, now_ms, state.sequence)
        if now_ms - self._margin_sent_ms.get(account_id, 0) >= MARGIN_UPDATE_INTERVAL_MS:
            self._margin_sent_ms[account_id] = now_ms
            data = view.margin_update(account_id, state.summary, state.rules)
            self._ephemeral("margin_update", account_id, account_id, data, now_ms, state.sequence)
        elif account_id not in self._dirty:
            # The trailing value is always sent: come back for it.
            self._dirty[account_id] = set()
            self._wake.set()
        if self._projection.wants_snapshot(account_id):
            self._projection.snapshot_changed(account_id, view.state_snapshot(state, now_ms), mutated=False)

    def _publish_exposure(self, symbol: Symbol, now_ms: int) -> bool:
        """Publish a symbol's identity; False before its first verdict: its figures may not add up yet."""
        identity = self._views.identity_of(symbol)
        if identity.undecided:
            return False
        data: dict[str, JsonValue] = {
            "symbol": symbol,
            "virtualNet": float(identity.virtual_net),
            "houseNet": float(identity.house_net),
            "exchangeNet": None if identity.exchange_net is None else float(identity.exchange_net),
            "difference": None if identity.difference is None else float(identity.difference),
            "balanced": identity.balanced,
            "watermarkMs": identity.watermark_ms,
        }
        self._hub.publish(EphemeralEvent("exposure_updated", None, f"exposure:{symbol}", data, now_ms))
        return True

    def _ephemeral(
        self,
        kind: str,
        account_id: SubAccountId,
        key: str,
        data: dict[str, JsonValue],
        now_ms: int,
        after: int,
    ) -> None:
        self._hub.publish(EphemeralEvent(kind, account_id, f"{kind}:{key}", data, now_ms, after))

    def _snapshot(self, account_id: SubAccountId, *, mutated: bool) -> None:
        state = self._views.account_state(account_id)
        if state is not None:
            now_ms = self._clock.now_ms()
            self._projection.snapshot_changed(account_id, view.state_snapshot(state, now_ms), mutated=mutated)

    async def _sweep_loop(self) -> None:
        sweeps = 0
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            sweeps += 1
            stale = self._book.stale_symbols(self._clock.now_ms())
            if stale:
                self._stale += len(stale)
                log.error("price_stale", symbols=stale)
            self._say_late()
            if sweeps % RECOMPUTE_SWEEPS == 0:
                self._drift = max(self._drift, self._book.recompute())
            # There may be thousands at the warning, and none of them is in a hurry.
            level = Level.WARN if sweeps % WARNING_SWEEPS == 0 else Level.LIQUIDATE
            for account_id in self._book.at_or_above(level):
                self._consider(account_id)
            for symbol in self._ledger.fill_symbols():
                self._exposure_dirty.setdefault(symbol, self._clock.now_ms())
            self._wake.set()

    def _say_late(self) -> None:
        """Say once for a sweep that ticks were evaluated too late: there may be thousands."""
        if self._late_unsaid:
            log.warning("evaluation_delayed", ticks=self._late_unsaid, delay_ms=self._late_ms_max)
            self._late_unsaid = self._late_ms_max = 0

    async def _reprice_loop(self) -> None:
        """Store dynamic liquidation prices of changed accounts; display follows the live value anyway."""
        while True:
            await self._clock.sleep(SWEEP_SECONDS / 2)
            accounts, self._reprice = self._reprice, {}
            prices: dict[PositionId, Price] = {}
            for account_id in accounts:
                state = self._views.account_state(account_id)
                for live in state.positions if state else ():
                    prices[live.position.id] = _price(live.liquidation_price)
            if not prices:
                continue
            try:
                await self._ledger.update_liquidation_prices(prices)
            except LedgerError as error:
                log.warning("liquidation_prices_not_stored", error=str(error))

    def statistics(self) -> PublisherStatistics:
        return PublisherStatistics(
            self._ticks, self._crossings, self._flushes, self._stale, self._late_ticks, self._drift
        )


def _price(value: float) -> Price:
    return Price(Decimal(repr(value)))
