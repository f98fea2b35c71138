"""The projection of the engine's state into shared state: it never makes the engine wait and is no truth.

The engine calls the synchronous methods; one task writes. What is a *state* (prices, snapshots) is conflated
to its latest value and written again when Redis returns; what *happened* (durable events, order mappings)
queues up to a bound; what is of the moment (ephemeral events) is dropped while Redis is away. All is counted.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import orjson

from pms import limits
from pms.bus import keys
from pms.bus.errors import BusRefused, BusUnavailable
from pms.bus.hub import Event
from pms.bus.port import Append, BusMode, Publish, SetValue, SharedState, Write
from pms.bus.prices import PriceBoard
from pms.logging import get_logger
from pms.model.clock import Clock
from pms.model.event import DurableEvent, EphemeralEvent, JsonValue
from pms.model.ids import ClientOrderId, ExchangeOrderId, SubAccountId, UserId
from pms.model.order import OrderSide
from pms.model.price import BookTicker, MarkPrice
from pms.model.symbol import Symbol

VALUE_VERSION = 1
"""`v` of every value that we write (Redis spec 1)."""

_FLUSH_INTERVAL_MS = 50
_AWAY_PAUSE_MS = 250

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OrderMapping:
    """Whose order that is, for `/fapi` and the user stream (Redis spec 3.3)."""

    exchange_order_id: ExchangeOrderId
    sub_account_id: SubAccountId
    client_order_id: ClientOrderId
    symbol: Symbol
    side: OrderSide
    user_id: UserId | None
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class ProjectionStatistics:
    """Counts since the start. `waiting` is what is due now; `rewrites` counts returns of shared state."""

    written: int
    dropped_events: int
    dropped_ephemeral: int
    dropped_mappings: int
    dropped_states: int
    refused: int
    rewrites: int
    waiting: int


@dataclass(slots=True)
class _Snapshot:
    value: bytes
    taken_ms: int
    written_ms: int
    immediate: bool


@dataclass(slots=True)
class _Counts:
    written: int = 0
    dropped_events: int = 0
    dropped_ephemeral: int = 0
    dropped_mappings: int = 0
    dropped_states: int = 0
    refused: int = 0
    rewrites: int = 0


@dataclass(slots=True)
class _Batch:
    """What one round trip takes along, and what goes back when it fails."""

    writes: list[Write] = field(default_factory=list)
    events: list[DurableEvent] = field(default_factory=list)
    mappings: list[OrderMapping] = field(default_factory=list)
    accounts: list[SubAccountId] = field(default_factory=list)
    symbols: list[Symbol] = field(default_factory=list)
    ephemeral: int = 0

    @property
    def room(self) -> int:
        return limits.BUS_BATCH_MAX - len(self.writes)


class StateProjection:
    """Writes prices, snapshots, order mappings and events into shared state. Event-loop thread only.

    `epoch` names the sequence of durable events (it changes only with the ledger). Readers get durable events
    at least once and drop what they have (`seq`).
    """

    def __init__(
        self,
        state: SharedState,
        clock: Clock,
        epoch: str,
        *,
        prices: PriceBoard | None = None,
        snapshot_ttl_ms: int = keys.RISK_TTL_MS,
    ) -> None:
        self._state = state
        self._clock = clock
        self._epoch = epoch
        self._prices = prices or PriceBoard()
        self._snapshot_ttl_ms = snapshot_ttl_ms
        self._snapshots: dict[SubAccountId, _Snapshot] = {}
        self._due: set[SubAccountId] = set()
        self._mappings: deque[OrderMapping] = deque()
        self._events: deque[DurableEvent] = deque()
        self._ephemeral: dict[tuple[str, str], EphemeralEvent] = {}
        self._counts = _Counts()
        self._returns_seen = 0
        self._wake = asyncio.Event()

    # --- the engine's side: never waits ---

    def mark_changed(self, mark: MarkPrice) -> None:
        """Take a mark price; the latest is written at most every 500 ms."""
        if not self._prices.take_mark(mark):
            self._counts.dropped_states += 1

    def book_changed(self, book: BookTicker) -> None:
        """Take a book ticker; the latest is written at most every 500 ms."""
        if not self._prices.take_book(book):
            self._counts.dropped_states += 1

    def wants_snapshot(self, sub_account_id: SubAccountId) -> bool:
        """True when an unforced snapshot would be written now: saves building one that is only replaced."""
        held = self._snapshots.get(sub_account_id)
        return held is None or self._clock.now_ms() - held.written_ms >= limits.SNAPSHOT_INTERVAL_MS

    def snapshot_changed(
        self, sub_account_id: SubAccountId, snapshot: Mapping[str, JsonValue], *, mutated: bool
    ) -> None:
        """Take an account's snapshot (union of spec 3.2); `mutated` writes at once, else once a second."""
        now_ms = self._clock.now_ms()
        value = _json({**snapshot, "v": VALUE_VERSION})
        held = self._snapshots.pop(sub_account_id, None)
        if held is None:
            held = _Snapshot(value, now_ms, -limits.SNAPSHOT_INTERVAL_MS, mutated)
            if len(self._snapshots) >= limits.BUS_SNAPSHOTS_MAX:
                oldest = next(iter(self._snapshots))
                del self._snapshots[oldest]
                self._due.discard(oldest)
                self._counts.dropped_states += 1
        else:
            held.value, held.taken_ms = value, now_ms
            held.immediate = held.immediate or mutated
        self._snapshots[sub_account_id] = held  # re-inserted: the order is that of the last change
        self._due.add(sub_account_id)
        if mutated:
            self._wake.set()

    def order_placed(self, mapping: OrderMapping) -> None:
        """Queue the owner of an exchange order; the database is the truth, this is a shortcut for readers."""
        if len(self._mappings) >= limits.BUS_MAPPINGS_QUEUE_MAX:
            self._mappings.popleft()
            self._counts.dropped_mappings += 1
        self._mappings.append(mapping)
        self._wake.set()

    def event(self, event: Event) -> None:
        """Take an event: the sink for `EventHub.add_sink`."""
        if isinstance(event, DurableEvent):
            if len(self._events) >= limits.BUS_EVENTS_QUEUE_MAX:
                self._events.popleft()
                self._counts.dropped_events += 1
            self._events.append(event)
            self._wake.set()
            return
        key = (event.type, event.key)
        full = key not in self._ephemeral and len(self._ephemeral) >= limits.BUS_EPHEMERAL_KEYS_MAX
        if full or self._state.mode is BusMode.AWAY:
            self._counts.dropped_ephemeral += 1
            return
        self._ephemeral[key] = event

    def statistics(self) -> ProjectionStatistics:
        waiting = len(self._events) + len(self._mappings) + len(self._ephemeral) + len(self._due)
        return ProjectionStatistics(**asdict(self._counts), waiting=waiting)

    # --- the writer's side ---

    async def run(self) -> None:
        """Write until cancelled. The one task that awaits shared state."""
        while True:
            if self._state.mode is BusMode.AWAY:
                await self._clock.sleep(_AWAY_PAUSE_MS / 1000)
                continue
            more = await self.flush()
            if not more and not self._wake.is_set():
                await self._pause()
            self._wake.clear()

    async def flush(self) -> bool:
        """Write one batch of what is due now; True when more is due. Redis being away is no error."""
        self._notice_return()
        now_ms = self._clock.now_ms()
        batch = _Batch()
        self._take_events(batch)
        self._take_mappings(batch)
        self._take_snapshots(batch, now_ms)
        batch.symbols = self._prices.due(now_ms, batch.room)
        batch.writes += [self._price_write(symbol) for symbol in batch.symbols]
        self._take_ephemeral(batch)
        if not batch.writes:
            return False
        try:
            await self._state.write(batch.writes)
        except BusRefused as error:
            # Repeating will not help, and must not hold up the rest; the server said no to some of them.
            _log.warning("redis refused writes of the projection", reason=str(error))
            self._counts.refused += 1
        except BusUnavailable:
            self._put_back(batch)
            return False
        except BaseException:
            self._put_back(batch)
            raise
        self._counts.written += len(batch.writes)
        return batch.room <= 0

    async def drain(self, wait_ms: int) -> None:
        """Write what waits, for at most `wait_ms` (at an orderly stop, after `run` was cancelled)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_ms / 1000):
                while await self.flush():
                    pass

    async def _pause(self) -> None:
        # Ends after one flush interval, or at once when something urgent arrives.
        waiting = asyncio.create_task(self._wake.wait(), name="projection-wake")
        pausing = asyncio.create_task(_sleep(self._clock, _FLUSH_INTERVAL_MS), name="projection-pause")
        try:
            await asyncio.wait((waiting, pausing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            pausing.cancel()
            await asyncio.gather(waiting, pausing, return_exceptions=True)

    def _notice_return(self) -> None:
        returns = self._state.statistics().returns
        if returns == self._returns_seen:
            return
        self._returns_seen = returns
        oldest_ms = self._clock.now_ms() - self._snapshot_ttl_ms
        for sub_account_id, held in self._snapshots.items():
            # An older one would have expired: written now, it would look fresh.
            if held.taken_ms > oldest_ms:
                held.immediate = True
                self._due.add(sub_account_id)
        self._prices.all_due()
        self._counts.rewrites += 1

    def _take_events(self, batch: _Batch) -> None:
        while self._events and batch.room >= 2:
            event = self._events.popleft()
            payload = self._durable_payload(event)
            fields = {
                "type": event.type.encode(),
                "seq": str(event.sequence).encode(),
                "epoch": self._epoch.encode(),
                "ts": str(event.timestamp_ms).encode(),
                "payload": payload,
            }
            # The log first: a reader that the message wakes must find the entry (spec 6.4).
            log = keys.event_log(event.sub_account_id)
            batch.writes.append(Append(log, fields, limits.BUS_EVENT_LOG_LENGTH))
            batch.writes.append(Publish(keys.events_channel(event.type), payload))
            batch.events.append(event)

    def _take_mappings(self, batch: _Batch) -> None:
        while self._mappings and batch.room > 0:
            mapping = self._mappings.popleft()
            batch.writes.append(_mapping_write(mapping))
            batch.mappings.append(mapping)

    def _take_snapshots(self, batch: _Batch, now_ms: int) -> None:
        for sub_account_id in tuple(self._due):
            if batch.room <= 0:
                return
            held = self._snapshots[sub_account_id]
            if not held.immediate and now_ms - held.written_ms < limits.SNAPSHOT_INTERVAL_MS:
                continue
            life_ms = held.taken_ms + self._snapshot_ttl_ms - now_ms
            if life_ms > 0:
                batch.writes.append(SetValue(keys.risk(sub_account_id), held.value, life_ms))
                batch.accounts.append(sub_account_id)
            held.written_ms, held.immediate = now_ms, False
            self._due.discard(sub_account_id)

    def _take_ephemeral(self, batch: _Batch) -> None:
        while self._ephemeral and batch.room > 0:
            event = self._ephemeral.pop(next(iter(self._ephemeral)))
            batch.writes.append(Publish(keys.events_channel(event.type), self._ephemeral_payload(event)))
            batch.ephemeral += 1

    def _put_back(self, batch: _Batch) -> None:
        # More may have arrived meanwhile: the bounds hold again, at the cost of the oldest.
        self._events.extendleft(reversed(batch.events))
        while len(self._events) > limits.BUS_EVENTS_QUEUE_MAX:
            self._events.popleft()
            self._counts.dropped_events += 1
        self._mappings.extendleft(reversed(batch.mappings))
        while len(self._mappings) > limits.BUS_MAPPINGS_QUEUE_MAX:
            self._mappings.popleft()
            self._counts.dropped_mappings += 1
        for sub_account_id in batch.accounts:
            held = self._snapshots.get(sub_account_id)
            if held is not None:
                held.immediate = True
                self._due.add(sub_account_id)
        self._prices.put_back(batch.symbols)
        self._counts.dropped_ephemeral += batch.ephemeral + len(self._ephemeral)
        self._ephemeral.clear()

    def _price_write(self, symbol: Symbol) -> Write:
        return SetValue(keys.price(symbol), _json(self._prices.value(symbol)), keys.PRICE_TTL_MS)

    def _durable_payload(self, event: DurableEvent) -> bytes:
        own: dict[str, JsonValue] = {
            "subAccountId": event.sub_account_id,
            "seq": event.sequence,
            "epoch": self._epoch,
            "ts": event.timestamp_ms,
            "src": "py",
            "v": VALUE_VERSION,
        }
        return _json({**event.data, **own})

    def _ephemeral_payload(self, event: EphemeralEvent) -> bytes:
        own: dict[str, JsonValue] = {
            "subAccountId": event.sub_account_id,
            "after_seq": event.after_sequence,
            "epoch": self._epoch,
            "ts": event.timestamp_ms,
            "src": "py",
            "v": VALUE_VERSION,
        }
        return _json({**event.data, **own})


async def _sleep(clock: Clock, milliseconds: int) -> None:
    await clock.sleep(milliseconds / 1000)


def _mapping_write(mapping: OrderMapping) -> Write:
    value: dict[str, JsonValue] = {
        "subAccountId": mapping.sub_account_id,
        "clientOrderId": mapping.client_order_id,
        "symbol": mapping.symbol,
        "side": mapping.side.value,
        "userId": mapping.user_id,
        "ts": mapping.timestamp_ms,
        "v": VALUE_VERSION,
    }
    return SetValue(keys.order(mapping.exchange_order_id), _json(value), keys.ORDER_TTL_MS)


def _json(value: Mapping[str, JsonValue]) -> bytes:
    # orjson writes NaN and infinities as null: no reader of the incumbent's meets a bare NaN (spec 1).
    return orjson.dumps(value, default=str)
