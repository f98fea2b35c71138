"""A venue in memory that loses answers, is late, refuses, and tells its stream twice, swapped or not at all.

What it does to whom comes from one seeded generator; `calm` ends it. It also asserts who may call it.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from random import Random

from pms.exchange.binance.outcome import refusal_of
from pms.exchange.errors import ExchangeError
from pms.exchange.port import (
    Absent,
    CancelOutcome,
    CancelVerdict,
    ExchangePosition,
    NotSent,
    OrderReport,
    OutcomeUnknown,
    PlaceOutcome,
    RefusedByExchange,
    StreamGap,
    UserEvent,
    UserEventHandler,
)
from pms.model.fill import ExchangeFill
from pms.model.ids import ClientOrderId, ExchangeOrderId, TradeId
from pms.model.money import ZERO, Quantity
from pms.model.order import ApprovedOrder
from pms.model.symbol import Symbol
from tests.support.stepped_loop import StepClock
from tests.support.venue import MemoryVenue, VenueState

RECV_WINDOW_MS = 2_000


class MoodyVenue(MemoryVenue):
    """See the module. `trouble` is the share of requests and events that go wrong."""

    def __init__(self, clock: StepClock, state: VenueState) -> None:
        super().__init__(clock, state)
        self.random = Random(0)
        self.trouble = 0.0
        self.late: set[asyncio.Task[PlaceOutcome]] = set()
        self.on_place: Callable[[ApprovedOrder], None] = lambda _: None
        self.database: Callable[[], sqlite3.Connection | None] = lambda: None

    def calm(self) -> None:
        self.trouble = 0.0

    def fate(self, *bad: str) -> str:
        """Return what happens to a request or event: mostly nothing ("")."""
        return self.random.choice(bad) if self.random.random() < self.trouble else ""

    def called(self) -> None:
        """Invariant 10: nobody awaits the network inside a transaction."""
        task, database = asyncio.current_task(), self.database()
        assert task is not None
        assert task.get_name() != "ledger-writer", "10"
        assert database is None or not database.in_transaction, "10"

    async def asked(self) -> None:
        self.called()
        await asyncio.sleep(0)
        if self.fate("no answer"):
            raise ExchangeError("the venue did not answer")

    # --- orders ---------------------------------------------------------------------------------------------
    async def place(self, order: ApprovedOrder) -> PlaceOutcome:
        self.called()
        self.on_place(order)
        sent_ms = self.clock.now_ms()
        lost = OutcomeUnknown("the answer was lost", sent_ms, RECV_WINDOW_MS)
        match self.fate("not sent", "refused", "lost before", "lost after", "late"):
            case "not sent":
                return NotSent("no connection", 100)
            case "refused":
                return self._refused(-2019, "Margin is insufficient.")
            case "lost before":
                await self.clock.sleep(0.3)
                return lost
            case "lost after":
                await self._accept(order)
                return lost
            case "late":
                task = asyncio.create_task(self._accept_later(order, self.random.random() * 1.9))
                self.late.add(task)
                task.add_done_callback(self.late.discard)
                await self.clock.sleep(0.1)
                return lost
        return await self._accept(order)

    async def _accept_later(self, order: ApprovedOrder, seconds: float) -> PlaceOutcome:
        await self.clock.sleep(seconds)
        return await self._accept(order)

    async def _accept(self, order: ApprovedOrder) -> PlaceOutcome:
        if order.reduce_only_wire:
            room = max(ZERO, -self.state.net.get(order.symbol, ZERO) * order.side.sign)
            if not room:
                return self._refused(-2022, "ReduceOnly Order is rejected.")
            order = order.shrunk(Quantity(min(order.quantity, room)))
        return await super().place(order)

    def _refused(self, code: int, text: str) -> PlaceOutcome:
        return RefusedByExchange(code, text, refusal_of(code), self.clock.now_ms(), RECV_WINDOW_MS)

    async def cancel(self, symbol: Symbol, client_order_id: ClientOrderId) -> CancelOutcome:
        self.called()
        fate = self.fate("not sent", "lost before", "lost after")
        if fate == "not sent":
            return CancelOutcome(CancelVerdict.NOT_SENT, None, "no connection")
        if fate != "lost before":
            outcome = await super().cancel(symbol, client_order_id)
            if not fate:
                return outcome
        return CancelOutcome(CancelVerdict.UNKNOWN, None, "the answer was lost")

    async def query(self, symbol: Symbol, client_order_id: ClientOrderId) -> OrderReport | Absent:
        await self.asked()
        return await super().query(symbol, client_order_id)

    async def positions(self) -> Sequence[ExchangePosition]:
        await self.asked()
        return await super().positions()

    async def order_fills(self, symbol: Symbol, order_id: ExchangeOrderId) -> Sequence[ExchangeFill]:
        await self.asked()
        return await super().order_fills(symbol, order_id)

    async def fills_since(self, symbol: Symbol, trade_id: TradeId, since_ms: int) -> Sequence[ExchangeFill]:
        await self.asked()
        return await super().fills_since(symbol, trade_id, since_ms)

    # --- the private stream ---------------------------------------------------------------------------------
    async def stream(self, handler: UserEventHandler) -> None:
        """Tell events in order; after a fault what may be missing is a gap, as a new connection is."""
        await self._gap(handler, 0)
        while True:
            event = await self.told.get()
            since_ms = self.clock.now_ms()
            fate = self.fate("twice", "lost", "swapped")
            try:
                for each in self._told(event, fate):
                    await handler(each)
            except ExchangeError:
                fate = "lost"
            if fate in ("lost", "swapped"):
                await self._gap(handler, since_ms - 1)

    def _told(self, event: UserEvent, fate: str) -> list[UserEvent]:
        if fate == "twice":
            return [event, event]
        if fate == "lost":
            while not self.told.empty():
                self.told.get_nowait()
            return []
        if fate == "swapped" and not self.told.empty():
            return [self.told.get_nowait(), event]
        return [event]

    async def _gap(self, handler: UserEventHandler, since_ms: int) -> None:
        while True:
            try:
                await handler(StreamGap(since_ms, self.clock.now_ms()))
            except ExchangeError:
                await self.clock.sleep(0.2)
            else:
                return
