"""The ledger as a service: the protocol of `pms.ledger.api` over a store, a book and the one writer."""

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial

from pms.ledger.api import (
    Actor,
    BookedFill,
    CommitListener,
    Committed,
    HousePosition,
    LiquidationPriceOf,
    NewAccount,
    NewIntent,
    RestingRow,
)
from pms.ledger.control import ControlOperations
from pms.ledger.databases import open_store
from pms.ledger.directory import Directory
from pms.ledger.errors import InvalidAmountError, LeaseHeldError
from pms.ledger.funding_service import FundingService
from pms.ledger.history import CommitMark, History
from pms.ledger.journal import Totals
from pms.ledger.load import Loaded, load_book
from pms.ledger.migrate import HEAD, migrate, schema_version
from pms.ledger.movements import Movements
from pms.ledger.operations import accounts, adopted_orders, adoption, house, liquidations, orders
from pms.ledger.operations.checkpoints import CheckpointLines, add_checkpoint_lines, finish_checkpoint
from pms.ledger.operations.fills import book_fill
from pms.ledger.operations.foreign import settle_holders
from pms.ledger.operations.funding import correct_funding
from pms.ledger.plan import Plan, Settings
from pms.ledger.pooling import Pooling
from pms.ledger.queries import Queries
from pms.ledger.store import Store
from pms.ledger.writer import Known, Wants, Writer, WriterStatistics
from pms.model.account import AccountStatus, LiquidationMode, Position, RiskRules, SubAccount
from pms.model.clock import Clock
from pms.model.event import DurableEvent, JsonValue
from pms.model.fill import ExchangeFill, FillKey
from pms.model.ids import (
    ClientOrderId,
    ExchangeAccountId,
    ExchangeOrderId,
    Fence,
    IdSource,
    PendingOrderId,
    PositionId,
    SubAccountId,
    TradeId,
)
from pms.model.liquidation import LiquidationRecord, LiquidationState
from pms.model.money import ZERO, Money, Price, Quantity
from pms.model.order import ExchangeOrderStatus, JournalOrder
from pms.model.order_life import OrderInput
from pms.model.symbol import Symbol

CHECKPOINT_LINES_IN_COMMIT = 200
"""Few enough that commands wait for a commit of them no longer than for any other."""


class LedgerService(Movements, FundingService, ControlOperations, Pooling):
    """Implements `pms.ledger.api.Ledger`; see there. Made by `open_ledger`."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, ids: IdSource, loaded: Loaded) -> None:
        self.exchange_account_id = settings.exchange_account_id
        self.store = store
        self._clock = clock
        super().__init__(Writer(store, settings, clock, ids, loaded))
        self._sequence = loaded.sequence_max
        self._owner = ""
        self._funding_turn = asyncio.Lock()
        self._loaded: Loaded | None = loaded
        self.directory = Directory(store, clock)
        self.queries = Queries(store, settings.exchange_account_id, clock)
        self.history = History(store, settings.exchange_account_id, sqlite=store.dialect == "sqlite")

    @property
    def event_epoch(self) -> str:
        """Name of this database's event sequences: a number of another epoch says nothing here (decision
        27)."""
        return self._book.event_epoch

    @property
    def fence(self) -> Fence:
        """The fence of the lease held; 0 before `take_lease`."""
        return self._writer.fence

    @fence.setter
    def fence(self, value: Fence) -> None:
        self._writer.fence = value

    # --- identity, lease, sequences -------------------------------------------------------------------------
    def allocate_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    async def take_lease(self, owner: str, duration_ms: int) -> Fence:
        """Take the lease, or renew it. The same owner's name takes over its own earlier lease at once (a
        restart).

        Taking reads the book again and adopts rows that the incumbent made. Raises LeaseHeldError (also for a
        renewal after somebody took over), AdoptionRefusedError.
        """
        now_ms = self._clock.now_ms()
        if self.fence and owner == self._owner:
            return await self._renew(now_ms, duration_ms)
        sql = (
            "INSERT INTO pms_leases (exchange_account_id, role, owner, fence, expires_at_ms, taken_at_ms)"
            " VALUES (?, 'engine', ?, 1, ?, ?)"
            " ON CONFLICT (exchange_account_id, role) DO UPDATE SET owner = excluded.owner,"
            " fence = pms_leases.fence + 1, expires_at_ms = excluded.expires_at_ms,"
            " taken_at_ms = excluded.taken_at_ms"
            " WHERE pms_leases.expires_at_ms <= ? OR pms_leases.owner = ? RETURNING fence"
        )
        values = (self.exchange_account_id, owner, now_ms + duration_ms, now_ms, now_ms, owner)
        taken = (await self.store.write([(sql, values)]))[0]
        if not taken:
            await self._raise_held()
        self.fence = Fence(int(str(taken[0]["fence"])))
        self._owner = owner
        loaded = await self._fresh()
        self._sequence = max(self._sequence, loaded.sequence_max)
        await self._writer.submit(partial(_start, loaded))
        return self.fence

    async def _fresh(self) -> Loaded:
        """Return the book as opened when nobody has committed since, else read it again."""
        loaded, self._loaded = self._loaded, None
        sql = "SELECT max(link) AS last FROM pms_commit_links WHERE exchange_account_id = ?"
        last = (await self.store.fetch(sql, self.exchange_account_id))[0]["last"] or 0
        if loaded is not None and last == loaded.book.link:
            return loaded
        return await self._writer.reload()

    async def _renew(self, now_ms: int, duration_ms: int) -> Fence:
        sql = (
            "UPDATE pms_leases SET expires_at_ms = ? WHERE exchange_account_id = ? AND role = 'engine'"
            " AND owner = ? AND fence = ? RETURNING fence"
        )
        values = (now_ms + duration_ms, self.exchange_account_id, self._owner, int(self.fence))
        if not (await self.store.write([(sql, values)]))[0]:
            await self._raise_held()
        return self.fence

    async def _raise_held(self) -> None:
        sql = "SELECT owner, expires_at_ms FROM pms_leases WHERE exchange_account_id = ? AND role = 'engine'"
        rows = await self.store.fetch(sql, self.exchange_account_id)
        row = rows[0] if rows else {"owner": "?", "expires_at_ms": 0}
        raise LeaseHeldError(str(row["owner"]), int(str(row["expires_at_ms"])))

    async def release_lease(self) -> None:
        """End the lease now; the fence counter stays. Later mutations need a new lease."""
        if not self.fence:
            return
        sql = (
            "UPDATE pms_leases SET expires_at_ms = 0"
            " WHERE exchange_account_id = ? AND role = 'engine' AND fence = ?"
        )
        await self.store.write([(sql, (self.exchange_account_id, int(self.fence)))])
        self.fence = Fence(0)

    def on_commit(self, listener: CommitListener) -> None:
        self._writer.on_commit(listener)

    # --- the book, as committed -----------------------------------------------------------------------------
    def account(self, sub_account_id: SubAccountId) -> SubAccount | None:
        return self._book.account(sub_account_id)

    def accounts(self) -> Sequence[SubAccount]:
        return [record.account for record in self._book.accounts.values()]

    def rules(self, sub_account_id: SubAccountId) -> RiskRules:
        return self._book.rules_of(sub_account_id)

    def position(self, position_id: PositionId) -> Position | None:
        return self._book.positions.get(position_id)

    def open_position(self, sub_account_id: SubAccountId, symbol: Symbol) -> Position | None:
        return self._book.open_position(sub_account_id, symbol)

    def open_positions(self) -> Sequence[Position]:
        return list(self._book.positions.values())

    def order(self, client_order_id: ClientOrderId) -> JournalOrder | None:
        record = self._book.orders.get(client_order_id)
        return None if record is None else record.order

    def order_by_pending(self, pending_order_id: PendingOrderId) -> JournalOrder | None:
        client_order_id = self._book.pending_index.get(pending_order_id)
        return None if client_order_id is None else self.order(client_order_id)

    def open_orders(self) -> Sequence[JournalOrder]:
        return sorted(
            (record.order for record in self._book.orders.values()), key=lambda order: order.sequence
        )

    def virtual_net(self, symbol: Symbol) -> Decimal:
        return self._book.virtual_net.get(symbol) or Decimal(0)

    def expected_net(self, symbol: Symbol) -> Decimal:
        return self._book.expected_net(symbol)

    def house_positions(self) -> Sequence[HousePosition]:
        return list(self._book.house.values())

    def house_cash(self) -> Money:
        return Money(self._book.house_cash_total())

    def derived_wallet(self) -> Money:
        """Return the wallet that the exchange must show once every fill is booked (decision 7)."""
        return Money(self._book.derived_wallet())

    def event_sequence(self, sub_account_id: SubAccountId) -> int:
        """Return the sequence of the account's last durable event; 0 before the first."""
        return self._book.event_sequence.get(sub_account_id) or 0

    def event_sequences(self) -> Mapping[SubAccountId, int]:
        """Return the last durable sequence of every account that ever had an event."""
        return {
            account_id: number for account_id, number in self._book.event_sequence.flat().items() if number
        }

    def last_trade_id(self, symbol: Symbol) -> TradeId:
        mirror = self._book.mirror.get(symbol)
        return TradeId(0 if mirror is None else mirror.last_trade_id)

    def is_booked(self, fill: ExchangeFill) -> bool:
        return self._book.fill_keys.get(self.fill_key(fill)) is not None

    def adopted_epoch(self) -> str | None:
        return None if self._book.wallet_adopted is None else self._book.epoch

    def adopted_at_ms(self) -> int:
        return self._book.adopted_at_ms or self._book.registered_at_ms

    def fill_symbols(self) -> Sequence[Symbol]:
        return sorted(self._book.mirror.flat())

    def fill_key(self, fill: ExchangeFill) -> FillKey:
        return self._writer.fill_key(fill)

    # --- orders ---------------------------------------------------------------------------------------------
    async def record_intent(self, intent: NewIntent) -> JournalOrder:
        order, _ = await self._writer.submit(lambda plan, _: orders.record_intent(plan, intent))
        return order

    async def record_acknowledged(
        self, client_order_id: ClientOrderId, exchange_order_id: ExchangeOrderId
    ) -> JournalOrder | None:
        # The answer and the stream both tell it: what is committed already needs no turn of the writer.
        told = self._writer.committed_order(client_order_id)
        if told is not None and orders.is_acknowledged(told):
            return told.order

        def run(plan: Plan, known: Known) -> JournalOrder | None:
            record = plan.book.find_order(client_order_id) or known.orders.get(client_order_id)
            return orders.record_acknowledged(plan, record, exchange_order_id)

        return (await self._writer.submit(run, Wants(client_order_id=client_order_id)))[0]

    async def record_unknown(
        self, client_order_id: ClientOrderId, timestamp_ms: int, recv_window_ms: int
    ) -> None:
        def run(plan: Plan, _: Known) -> None:
            orders.record_unknown(plan, plan.book.find_order(client_order_id), timestamp_ms, recv_window_ms)

        await self._writer.submit(run)

    async def record_rejected(self, client_order_id: ClientOrderId, code: str, message: str) -> None:
        await self._refuse(client_order_id, OrderInput.REFUSED, code, message)

    async def record_not_executed(
        self, client_order_id: ClientOrderId, reason: str, *, proved_absent: bool = False
    ) -> None:
        heard = OrderInput.PROVED_ABSENT if proved_absent else OrderInput.NOT_SENT
        await self._refuse(client_order_id, heard, "NOT_EXECUTED", reason)

    async def _refuse(
        self, client_order_id: ClientOrderId, heard: OrderInput, code: str, message: str
    ) -> None:
        def run(plan: Plan, known: Known) -> None:
            record = plan.book.find_order(client_order_id) or known.orders.get(client_order_id)
            orders.record_refused(plan, record, heard, code, message)

        await self._writer.submit(run, Wants(client_order_id=client_order_id))

    async def record_terminal(
        self,
        client_order_id: ClientOrderId,
        status: ExchangeOrderStatus,
        executed_quantity: Quantity,
        expiry_reason: str = "0",
        exchange_order_id: ExchangeOrderId | None = None,
    ) -> JournalOrder | None:
        told = self._writer.committed_order(client_order_id)
        if told is not None and orders.is_acknowledged(told) and orders.is_ended(told, executed_quantity):
            return told.order

        def run(plan: Plan, known: Known) -> JournalOrder | None:
            record = plan.book.find_order(client_order_id) or known.orders.get(client_order_id)
            return orders.record_terminal(
                plan, record, status, executed_quantity, expiry_reason, exchange_order_id
            )

        return (await self._writer.submit(run, Wants(client_order_id=client_order_id)))[0]

    async def ask_amendment(self, client_order_id: ClientOrderId, quantity: Quantity) -> JournalOrder | None:
        def run(plan: Plan, _: Known) -> JournalOrder | None:
            return orders.ask_amendment(plan, plan.book.orders.get(client_order_id), quantity)

        return (await self._writer.submit(run))[0]

    async def record_amended(
        self, client_order_id: ClientOrderId, quantity: Quantity, price: Price
    ) -> JournalOrder | None:
        def run(plan: Plan, _: Known) -> JournalOrder | None:
            return orders.record_amended(plan, plan.book.orders.get(client_order_id), quantity, price)

        return (await self._writer.submit(run))[0]

    async def resting_of_the_incumbent(self) -> Sequence[RestingRow]:
        return await self.queries.resting_of_the_incumbent()

    async def adopt_order(
        self, row: RestingRow, client_order_id: ClientOrderId, executed: Quantity
    ) -> JournalOrder:
        sequence = self.allocate_sequence()
        order, _ = await self._writer.submit(
            lambda plan, _: adopted_orders.adopt_order(plan, row, client_order_id, executed, sequence)
        )
        return order

    async def adopt_repriced(
        self, old: ClientOrderId, client_order_id: ClientOrderId, exchange_order_id: ExchangeOrderId
    ) -> JournalOrder | None:
        sequence = self.allocate_sequence()

        def run(plan: Plan, _: Known) -> JournalOrder | None:
            record = plan.book.orders.get(old)
            if record is None:
                return None
            return adopted_orders.adopt_repriced(plan, record, client_order_id, exchange_order_id, sequence)

        return (await self._writer.submit(run))[0]

    # --- money ----------------------------------------------------------------------------------------------
    async def book_fill(self, fill: ExchangeFill, fee: Money) -> BookedFill:
        # Decision 3: only reports with a trade id and a last quantity above zero book.
        if fill.trade_id <= 0 or not fill.quantity > 0 or not fill.price > 0 or not fee.is_finite():
            raise InvalidAmountError(
                f"a fill needs a trade id, a quantity and a price above zero; trade {fill.trade_id} of "
                f"{fill.symbol} has {fill.quantity} at {fill.price} with fee {fee}"
            )

        def run(plan: Plan, known: Known) -> bool:
            key = FillKey(plan.ours, plan.book.epoch, fill.native_symbol, fill.trade_id, fill.order_id)
            if plan.book.fill_keys.get(key) or key in known.fills:
                return True
            book_fill(plan, fill, fee, key, known.orders.get(fill.client_order_id))
            correct_funding(plan, known.later_fundings)
            return False

        wants = Wants(fill, fill.client_order_id if fill.client_order_id.startswith("PMS") else None)
        duplicate, committed = await self._writer.submit(run, wants)
        return BookedFill(duplicate, Committed() if duplicate else committed)

    async def settle_holders(self, symbol: Symbol, price: Price) -> Committed:
        """Close what is left on a settled symbol; see `Ledger.settle_holders`."""

        def run(plan: Plan, _: Known) -> None:
            settle_holders(plan, symbol, price)

        return (await self._writer.submit(run))[1]

    async def create_account(self, account: NewAccount, actor: Actor) -> SubAccount:
        return (await self._writer.submit(lambda plan, _: accounts.create_account(plan, account, actor)))[0]

    async def deposit(self, sub_account_id: SubAccountId, amount: Money, actor: Actor) -> SubAccount:
        return (
            await self._writer.submit(lambda plan, _: accounts.deposit(plan, sub_account_id, amount, actor))
        )[0]

    async def withdraw(self, sub_account_id: SubAccountId, amount: Money, actor: Actor) -> SubAccount:
        return (
            await self._writer.submit(lambda plan, _: accounts.withdraw(plan, sub_account_id, amount, actor))
        )[0]

    async def set_status(
        self, sub_account_id: SubAccountId, status: AccountStatus, actor: Actor
    ) -> SubAccount:
        return (
            await self._writer.submit(
                lambda plan, _: accounts.set_status(plan, sub_account_id, status, actor)
            )
        )[0]

    async def set_liquidation_mode(
        self, sub_account_id: SubAccountId, mode: LiquidationMode, actor: Actor
    ) -> SubAccount:
        def run(plan: Plan, _: Known) -> SubAccount:
            return accounts.set_liquidation_mode(plan, sub_account_id, mode, actor)

        return (await self._writer.submit(run))[0]

    async def rename(self, sub_account_id: SubAccountId, name: str, actor: Actor) -> SubAccount:
        return (
            await self._writer.submit(lambda plan, _: accounts.rename(plan, sub_account_id, name, actor))
        )[0]

    async def set_rules(self, sub_account_id: SubAccountId | None, rules: RiskRules, actor: Actor) -> None:
        await self._writer.submit(lambda plan, _: accounts.set_rules(plan, sub_account_id, rules, actor))

    async def mark_liquidated(self, sub_account_id: SubAccountId) -> SubAccount:
        return await self.finish_liquidation(sub_account_id)  # no record outlives the account's end

    def running_liquidation(self, sub_account_id: SubAccountId) -> LiquidationRecord | None:
        return self._book.liquidations.get(sub_account_id)

    def running_liquidations(self) -> Sequence[LiquidationRecord]:
        return list(self._book.liquidations.values())

    async def begin_liquidation(
        self,
        sub_account_id: SubAccountId,
        label: str,
        margin_ratio: Decimal,
        evidence: Mapping[str, JsonValue],
        event: str,
        data: Mapping[str, JsonValue],
    ) -> LiquidationRecord:
        def run(plan: Plan, _: Known) -> LiquidationRecord:
            return liquidations.begin_liquidation(
                plan, sub_account_id, label, margin_ratio, evidence, event, data
            )

        return (await self._writer.submit(run, later=True))[0]

    async def end_liquidation(self, sub_account_id: SubAccountId, state: LiquidationState) -> None:
        await self._writer.submit(
            lambda plan, _: liquidations.end_liquidation(plan, sub_account_id, state), later=True
        )

    async def finish_liquidation(self, sub_account_id: SubAccountId) -> SubAccount:
        return (
            await self._writer.submit(
                lambda plan, _: liquidations.finish_liquidation(plan, sub_account_id), later=True
            )
        )[0]

    async def last_trade_time_ms(self, symbol: Symbol) -> int:
        return await self.queries.trade_time_ms(symbol, self.last_trade_id(symbol))

    async def record_action(
        self, actor: Actor, action: str, target: str | None, facts: Mapping[str, JsonValue]
    ) -> None:
        await self._writer.submit(lambda plan, _: plan.action(actor, action, target, None, facts))

    async def record_unreadable(self, symbol: Symbol, since_ms: int, until_ms: int) -> None:
        span = {"since_ms": since_ms, "until_ms": until_ms}
        await self._writer.submit(
            lambda plan, _: plan.action(Actor("system", "system"), "exchange.unreadable", symbol, None, span)
        )

    async def emit(
        self, sub_account_id: SubAccountId, type: str, data: Mapping[str, JsonValue]
    ) -> DurableEvent:
        def run(plan: Plan, _: Known) -> DurableEvent:
            accounts.existing(plan, sub_account_id)
            return plan.event(type, sub_account_id, data)

        return (await self._writer.submit(run))[0]

    async def adopt_wallet(self, wallet_balance: Money, epoch: str, as_of_ms: int | None = None) -> None:
        def run(plan: Plan, _: Known) -> None:
            house.adopt_wallet(plan, wallet_balance, epoch, plan.now_ms if as_of_ms is None else as_of_ms)

        await self._writer.submit(run)

    async def update_liquidation_prices(self, prices: Mapping[PositionId, Price]) -> None:
        await self._writer.submit(lambda plan, _: house.update_liquidation_prices(plan, prices), later=True)

    def statistics(self) -> WriterStatistics:
        """Return what the one writer has done since the start."""
        return self._writer.statistics()

    async def write_checkpoint(self, day: str, last: CommitMark, totals: Totals) -> int:
        """Write what is missing of a day's checkpoint, in parts that leave room for others; returns how many
        lines that were. The same arguments again write nothing."""
        stored = await self.history.stored_lines(day)
        missing = [(key, total) for key, total in sorted(totals.items()) if key not in stored]
        for start in range(0, len(missing), CHECKPOINT_LINES_IN_COMMIT):
            part = missing[start : start + CHECKPOINT_LINES_IN_COMMIT]

            def run(plan: Plan, _: Known, part: CheckpointLines = part) -> None:
                add_checkpoint_lines(plan, day, part)

            await self._writer.submit(run, later=True)
        if await self.history.checkpoint_of(day) is None:
            await self._writer.submit(lambda plan, _: finish_checkpoint(plan, day, last.link, last.hash))
        return len(missing)

    async def close(self) -> None:
        """Finish queued operations and close the database. The lease stays until it is released or
        expires."""
        await self._writer.close()
        await self.store.close()


def _start(loaded: Loaded, plan: Plan, _: Known) -> None:
    if not loaded.registered:
        adoption.register(plan)
    adoption.adopt(plan, loaded.accounts_to_adopt, loaded.positions_to_adopt)
    adoption.record_external_writes(plan, loaded.external_writes)


async def open_ledger(
    url: str,
    exchange_account_id: ExchangeAccountId,
    clock: Clock,
    ids: IdSource,
    liquidation_price: LiquidationPriceOf,
    *,
    charge_open_fees: bool = True,
    foreign_close_allocates: bool = True,
    exchange_close_allocates: bool = True,
    liquidation_fee_rate: Decimal = ZERO,
) -> LedgerService:
    """Open, and if needed create, migrate or adopt the database of a URL, and load the book.

    `liquidation_fee_rate` is the share of a liquidated notional that goes to the insurance. The ledger
    reads at once; the first mutation needs `take_lease`. Raises DatabaseTooNewError,
    DatabaseUnavailableError.
    """
    store = await open_store(url)
    try:
        if await schema_version(store) != HEAD:
            await migrate(url)
        loaded = await load_book(store, exchange_account_id)
    except BaseException:
        await store.close()
        raise
    settings = Settings(
        exchange_account_id,
        liquidation_price,
        charge_open_fees,
        foreign_close_allocates,
        exchange_close_allocates,
        liquidation_fee_rate,
    )
    return LedgerService(store, settings, clock, ids, loaded)
