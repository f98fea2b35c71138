"""The one writer: a bounded queue of operations, committed in groups, acknowledged after the commit.

Invariants: 1. Operations are planned and committed in the order they came. 2. A caller hears of success only
after the COMMIT, of failure only when nothing of its operation is in the database. 3. After every outcome the
book equals the database: a failed group's layer is dropped, and an unknown COMMIT is re-read by its link
before anyone is told.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import localcontext
from typing import Generic, Protocol, TypeVar

from pms.ledger.api import CommitListener, Committed
from pms.ledger.book import Book, OrderRecord
from pms.ledger.errors import (
    CommitUnknownError,
    DatabaseBusyError,
    DatabaseError,
    DuplicateKeyError,
    ExternalWriteError,
    LeaseRequiredError,
    LedgerBusyError,
    LedgerClosedError,
    LedgerError,
    UnfitValueError,
)
from pms.ledger.funding_reads import FundingReads, FundingState
from pms.ledger.lanes import Lanes
from pms.ledger.load import Loaded, load_book, read_order
from pms.ledger.missed import missed_changes
from pms.ledger.operations.transfers import movement_key
from pms.ledger.plan import Plan, Settings
from pms.ledger.rendering import chain_hash
from pms.ledger.rows import RowWrite, chain_entries, merge_writes
from pms.ledger.statements import Batch, Batches
from pms.ledger.store import FenceGuard, Store
from pms.limits import LEDGER_GROUP_MAX, LEDGER_LATER_MAX, LEDGER_QUEUE_MAX
from pms.model.clock import Clock
from pms.model.fill import ExchangeFill, FillKey
from pms.model.ids import ClientOrderId, Fence, IdSource
from pms.model.income import FundingKey, Income
from pms.model.money import CONTEXT
from pms.model.symbol import Symbol

ROWS_AT_ONCE = 96
"""Rows of a commit that are worked on between two looks at what else the loop has to do: 1 to 3 ms."""

_RESOLVE_TRIES_MAX = 6
_BUSY_TRIES_MAX = 6
_BUSY_PAUSE_SECONDS = 0.01
_STALE_SECONDS_MAX = 1.0
_BARRIER = "UPDATE pms_leases SET fence = fence WHERE exchange_account_id = ? AND role = 'engine'"

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """What had to be read from the database before planning a group."""

    fills: frozenset[FillKey] = frozenset()
    orders: Mapping[ClientOrderId, OrderRecord] = field(default_factory=dict)
    funding: FundingState = field(default_factory=FundingState)
    later_fundings: Sequence[FundingState] = ()
    income_posted: bool = False


@dataclass(frozen=True, slots=True)
class WriterStatistics:
    """Since the start: commits, the operations in them, transactions that the database gave up and that were
    tried again, commits without an answer; `queued` operations wait now."""

    commits: int
    operations: int
    given_up: int
    unanswered: int
    queued: int


@dataclass(frozen=True, slots=True)
class Wants:
    """What an operation may need that the book does not hold: a fill's key, a journal order by its id, a
    movement by its reference, what was executed since a funding, a line of income, the fundings booked since
    the executions that a pool passes on."""

    fill: ExchangeFill | None = None
    client_order_id: ClientOrderId | None = None
    reference: str | None = None
    funding: FundingKey | None = None
    funding_begun: bool = False
    income: Income | None = None
    pool: ClientOrderId | None = None


class _Pending(Protocol):
    wants: Wants
    retried: bool

    def plan(self, plan: Plan, known: Known) -> Committed: ...
    def succeed(self, committed: Committed) -> None: ...
    def fail(self, error: BaseException) -> None: ...


class _Item(Generic[_T]):
    """One queued operation and its caller's future."""

    __slots__ = ("_value", "future", "retried", "run", "wants")

    def __init__(self, run: Callable[[Plan, Known], _T], wants: Wants) -> None:
        self.run = run
        self.wants = wants
        self.retried = False
        self.future: asyncio.Future[tuple[_T, Committed]] = asyncio.get_running_loop().create_future()
        self._value: list[_T] = []

    def plan(self, plan: Plan, known: Known) -> Committed:
        self._value = [self.run(plan, known)]
        return plan.finish()

    def succeed(self, committed: Committed) -> None:
        if not self.future.done():
            self.future.set_result((self._value[0], committed))

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Writer:
    """Owns the book and the only path that changes it. Event-loop thread only."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, ids: IdSource, loaded: Loaded) -> None:
        self.book = loaded.book
        self.fence = Fence(0)
        self._store = store
        self._settings = settings
        self._clock = clock
        self._ids = ids
        self._queue: Lanes[_Pending] = Lanes(LEDGER_QUEUE_MAX)
        self._listeners: list[CommitListener] = []
        self._closed = False
        self._stale = False
        self._commits = self._operations = self._given_up = self._unanswered = 0
        self._task: asyncio.Task[None] | None = None

    def on_commit(self, listener: CommitListener) -> None:
        self._listeners.append(listener)

    async def submit(
        self, run: Callable[[Plan, Known], _T], wants: Wants | None = None, *, later: bool = False
    ) -> tuple[_T, Committed]:
        """Queue an operation and wait for its commit. A cancelled caller does not stop a queued operation.

        `later`: it may let others go ahead; what comes by the thousand must not hold up commands and fills.
        """
        if self._closed:
            raise LedgerClosedError("the ledger is closed; nothing was changed")
        if not self.fence:
            raise LeaseRequiredError("the ledger was opened without the engine lease; call take_lease first")
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="ledger-writer")
        item = _Item(run, wants or Wants())
        try:
            self._queue.put(item, later=later)
        except asyncio.QueueFull as error:
            raise LedgerBusyError(
                f"{LEDGER_QUEUE_MAX} operations wait for the ledger already; retry later"
            ) from error
        return await item.future

    def committed_order(self, client_order_id: ClientOrderId) -> OrderRecord | None:
        """Return an order as it is committed and told to every listener; None when it is not in the book or
        the book is in doubt."""
        usable = not self._closed and self.fence and not self._stale
        return self.book.find_order(client_order_id) if usable else None

    async def reload(self) -> Loaded:
        """Read the book again from the database, as after a lease or an external write.

        Listeners are told what it brought: it may hold commits that nobody has heard of.
        """
        ours = self._settings.exchange_account_id
        loaded = await load_book(self._store, ours)
        missed = await missed_changes(self._store, ours, self.book, loaded.book) if self._listeners else None
        self.book = loaded.book
        self._stale = False
        if missed is not None:
            self._publish(missed)
        return loaded

    async def close(self) -> None:
        """Finish what is queued, then stop."""
        self._closed = True
        if self._task is not None:
            await self._queue.join()
            self._task.cancel()
            await asyncio.wait([self._task])

    def statistics(self) -> WriterStatistics:
        return WriterStatistics(
            self._commits, self._operations, self._given_up, self._unanswered, len(self._queue)
        )

    # --- the loop -------------------------------------------------------------------------------------------
    async def _run(self) -> None:
        while True:
            group = await self._next()
            try:
                await self._commit_parts(group)
            except Exception as error:  # the loop must live; each caller hears what happened
                _log.exception("a commit group failed in an unforeseen way; the book is read again")
                self._stale = True
                _fail_all(group, error)
            finally:
                self._queue.done(len(group))

    async def _next(self) -> list[_Pending]:
        """Return the next group. While the book may be behind the database, it is read again even if nobody
        asks for anything: what was committed without an answer must be heard of, a kill switch too."""
        while self._stale:
            try:
                async with asyncio.timeout(_STALE_SECONDS_MAX):
                    return await self._queue.group(LEDGER_GROUP_MAX, LEDGER_LATER_MAX)
            except TimeoutError:
                try:
                    await self.reload()
                except LedgerError as error:
                    _log.warning("the book cannot be read again yet: %s", error)
        return await self._queue.group(LEDGER_GROUP_MAX, LEDGER_LATER_MAX)

    async def _commit_parts(self, group: Sequence[_Pending]) -> None:
        """Commit a group; an operation that needs the database as of its own turn is committed alone."""
        part: list[_Pending] = []
        for item in group:
            if not self._alone(item):
                part.append(item)
                continue
            if part:
                await self._commit(part)
                part = []
            await self._commit([item])
        if part:
            await self._commit(part)

    def _alone(self, item: _Pending) -> bool:
        wants = item.wants
        executed = wants.fill is not None or wants.pool is not None
        late = executed and (self._stale or self._late(wants) is not None)
        return late or wants.funding is not None or wants.income is not None

    def _late(self, wants: Wants) -> tuple[Symbol, int] | None:
        """Return symbol and time of an execution older than a funding that is booked already (decision 8)."""
        moment_ms: int | None
        if wants.fill is not None:
            symbol, moment_ms = wants.fill.symbol, wants.fill.trade_time_ms
        else:
            pool = None if wants.pool is None else self.book.pools.get(wants.pool)
            if pool is None:
                return None
            symbol, moment_ms = pool.symbol, pool.pending_since_ms()
        late = moment_ms is not None and moment_ms < (self.book.funding_times.get(symbol) or 0)
        return (symbol, moment_ms) if late and moment_ms is not None else None

    async def _commit(self, group: Sequence[_Pending]) -> None:
        try:
            if self._stale:
                await self.reload()
            known = await self._prefetch(group)
        except LedgerError as error:
            _fail_all(group, error)
            return
        layer = Book(self.book)
        planned, writes = await self._plan(layer, group, known)
        if not planned:
            return
        try:
            if writes:
                await self._write(layer, writes)
        except (ExternalWriteError, DuplicateKeyError) as error:
            self._stale = True
            await self._retry(planned, error)
            return
        except UnfitValueError as error:
            await self._retry(planned, error)
            return
        except LedgerError as error:
            _fail_all([item for item, _ in planned], error)
            return
        layer.merge()
        self.book.trim()
        self._commits += bool(writes)
        self._operations += len(planned)
        for item, committed in planned:
            self._publish(committed)
            item.succeed(committed)

    async def _plan(
        self, layer: Book, group: Sequence[_Pending], known: Known
    ) -> tuple[list[tuple[_Pending, Committed]], list[RowWrite]]:
        """Plan each operation on the layer; one that refuses leaves no trace and hears it at once. Others get
        the loop between two of them: nobody but this task touches the layer."""
        planned: list[tuple[_Pending, Committed]] = []
        writes: list[RowWrite] = []
        rows = ROWS_AT_ONCE
        for item in group:
            if len(writes) >= rows:
                rows = len(writes) + ROWS_AT_ONCE
                await asyncio.sleep(0)
            plan = Plan(layer, self._settings, self._clock.now_ms(), self._ids.uuid, self.book.link + 1)
            try:
                with localcontext(CONTEXT):
                    committed = item.plan(plan, known)
            except Exception as error:  # handed to the caller whose operation it is
                item.fail(error)
                continue
            planned.append((item, committed))
            writes.extend(plan.writes)
        return planned, writes

    async def _write(self, layer: Book, writes: list[RowWrite]) -> None:
        """Commit the group with its link of the hash chain; raises when, and only when, nothing was
        changed."""
        merged = merge_writes(writes)
        entries = await _entries(merged)
        link = self.book.link + 1
        link_hash = chain_hash(self.book.link_hash, entries)
        ours = self._settings.exchange_account_id
        merged.append(
            RowWrite(
                "pms_commit_links",
                (ours, link),
                {
                    "exchange_account_id": ours,
                    "link": link,
                    "fence": self.fence,
                    "previous_hash": self.book.link_hash,
                    "hash": link_hash,
                    "entries": entries,
                    "timestamp": self._clock.now_ms(),
                },
                insert=True,
            )
        )
        try:
            await self._commit_patiently(FenceGuard(ours, self.fence), await self._batches(merged))
        except CommitUnknownError:
            self._unanswered += 1
            if not await self._committed_after_all(link, link_hash):
                raise LedgerError(
                    "the database lost the connection before the COMMIT; nothing was changed"
                ) from None
        layer.link, layer.link_hash = link, link_hash

    async def _batches(self, merged: Sequence[RowWrite]) -> list[Batch]:
        batches = Batches(self._store.dialect)
        for start in range(0, len(merged), ROWS_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            batches.add(merged[start : start + ROWS_AT_ONCE])
        return batches.ordered()

    async def _commit_patiently(self, guard: FenceGuard, group: Sequence[Batch]) -> None:
        """Commit; what the database gave up in favour of somebody else is tried again: it changed nothing."""
        for attempt in range(_BUSY_TRIES_MAX):
            try:
                await self._store.commit(guard, group)
            except DatabaseBusyError as error:
                self._given_up += 1
                if attempt + 1 == _BUSY_TRIES_MAX:
                    raise
                _log.warning("the database gave a commit up, it is tried again: %s", error)
                await self._clock.sleep(_BUSY_PAUSE_SECONDS * 2**attempt)
            else:
                return

    async def _committed_after_all(self, link: int, link_hash: str) -> bool:
        """Re-read a link whose COMMIT got no answer (decision 1). Raises CommitUnknownError while nobody
        answers."""
        sql = "SELECT hash FROM pms_commit_links WHERE exchange_account_id = ? AND link = ?"
        for attempt in range(_RESOLVE_TRIES_MAX):
            try:
                await self._store.reconnect()
                # The old connection's transaction may still be at work: it holds the lease row until its end.
                await self._store.write([(_BARRIER, (self._settings.exchange_account_id,))])
                rows = await self._store.fetch(sql, self._settings.exchange_account_id, link)
            except (DatabaseError, CommitUnknownError) as error:
                _log.warning("the outcome of commit %d is not known yet: %s", link, error)
                await self._clock.sleep(0.1 * 2**attempt)
                continue
            return bool(rows) and rows[0]["hash"] == link_hash
        self._stale = True
        raise CommitUnknownError(
            f"the database does not answer; whether commit {link} happened is read before the next operation"
        )

    async def _retry(self, planned: Sequence[tuple[_Pending, Committed]], error: LedgerError) -> None:
        """One operation met a row that is not as the book says, or a value that does not fit: run them one by
        one, once, so that only its caller fails."""
        _log.warning("a commit group failed and is retried one by one: %s", error)
        for item, _ in planned:
            if item.retried:
                item.fail(error)
            else:
                item.retried = True
                await self._commit([item])

    def _publish(self, committed: Committed) -> None:
        for listener in self._listeners:
            try:
                listener(committed)
            except Exception:  # a listener's fault must not undo what is committed
                _log.exception("a commit listener failed; the commit stands")

    # --- reading before planning ----------------------------------------------------------------------------
    def fill_key(self, fill: ExchangeFill) -> FillKey:
        """Return the key of an execution in the current epoch (decision 3)."""
        return FillKey(
            self._settings.exchange_account_id,
            self.book.epoch,
            fill.native_symbol,
            fill.trade_id,
            fill.order_id,
        )

    async def _prefetch(self, group: Sequence[_Pending]) -> Known:
        """Look up what only the database knows. A trade id above the highest booked one is new without a
        look."""
        fills: set[FillKey] = set()
        orders: dict[ClientOrderId, OrderRecord] = {}
        for item in group:
            fill = item.wants.fill
            if fill is not None:
                key = self.fill_key(fill)
                mirror = self.book.mirror.get(fill.symbol)
                # Fills that were asked for do not move the highest id: a collision is retried with a look.
                old = item.retried or (mirror is not None and fill.trade_id <= mirror.last_trade_id)
                if old and not self.book.fill_keys.get(key) and await self._fill_exists(key):
                    fills.add(key)
            if item.wants.reference is not None:
                key = movement_key(self._settings.exchange_account_id, self.book.epoch, item.wants.reference)
                if not self.book.fill_keys.get(key) and await self._fill_exists(key):
                    fills.add(key)
            client_id = item.wants.client_order_id
            if client_id is not None and client_id not in orders and self.book.find_order(client_id) is None:
                record = await self._find_order(client_id)
                if record is not None:
                    orders[client_id] = record
        return await self._with_money(Known(frozenset(fills), orders), group[0].wants)

    async def _with_money(self, known: Known, wants: Wants) -> Known:
        """Add what an operation that is committed alone needs of funding and income."""
        reads = FundingReads(self._store, self._settings.exchange_account_id)
        if wants.funding is not None:
            return replace(known, funding=await reads.state(wants.funding, paid=not wants.funding_begun))
        if wants.income is not None:
            return replace(known, income_posted=await reads.income_posted(self.book.epoch, wants.income))
        late = self._late(wants)
        if late is not None and (wants.fill is None or self.fill_key(wants.fill) not in known.fills):
            return replace(known, later_fundings=await reads.later_than(*late))
        return known

    async def _fill_exists(self, key: FillKey) -> bool:
        sql = (
            "SELECT 1 AS found FROM pms_fills"
            " WHERE exchange_account_id = ? AND epoch = ? AND native_symbol = ?"
            " AND trade_id = ? AND order_id = ?"
        )
        found = await self._store.fetch(
            sql, key.exchange_account_id, key.epoch, key.native_symbol, int(key.trade_id), key.order_id
        )
        return bool(found)

    async def _find_order(self, client_order_id: ClientOrderId) -> OrderRecord | None:
        sql = "SELECT * FROM pms_order_journal WHERE exchange_account_id = ? AND client_order_id = ?"
        rows = await self._store.fetch(sql, self._settings.exchange_account_id, client_order_id)
        return read_order(rows[0]) if rows else None


async def _entries(merged: Sequence[RowWrite]) -> str:
    """Return the text of a link, a piece of work at a time."""
    parts = []
    for start in range(0, len(merged), ROWS_AT_ONCE):
        if start:
            await asyncio.sleep(0)
        parts.append(chain_entries(merged[start : start + ROWS_AT_ONCE]))
    return "\n".join(part for part in parts if part)


def _fail_all(group: Sequence[_Pending], error: BaseException) -> None:
    for item in group:
        item.fail(error)
