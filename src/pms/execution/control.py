"""Carries out restrictions: cancels what may not rest and closes what may not stay, until nothing is left.

Invariants: 1. A restriction is in the ledger before anything is done for it, so a restart finds it there and
goes on. 2. Nothing is done twice: cancels and closes take what is live and open when they are made, and
closing capacity is shared with every other closer (decision 16). 3. What fails is tried again; only the
release of the restriction ends the trying.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog

from pms.execution.admission import Admission, TradingSwitches
from pms.execution.holdings import Holdings
from pms.execution.live_orders import LiveOrder, LiveOrders
from pms.execution.service import Trader
from pms.ledger.api import Committed, Ledger
from pms.limits import CONTROL_BATCH_MAX, CONTROL_RETRY_MS
from pms.model.account import PositionStatus
from pms.model.clock import Clock
from pms.model.errors import PmsError
from pms.model.ids import SubAccountId
from pms.model.order import JournalOrder, OrderCode, OrderSide, OrderState, OrderType, Priority
from pms.model.refusal import Refused
from pms.model.restriction import Restriction
from pms.model.symbol import Symbol

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ControlStatistics:
    """`working` accounts now; counts since the start."""

    working: int
    cancelled: int
    closed: int
    refused: int
    displaced: int


def orders_to_cancel(level: Restriction, orders: Iterable[LiveOrder]) -> list[LiveOrder]:
    """Return the orders that may not rest at that level: from REDUCE_ONLY what could open, from HALT all."""
    if level < Restriction.REDUCE_ONLY:
        return []
    resting = (order for order in orders if order.type is OrderType.LIMIT)
    return [order for order in resting if level >= Restriction.HALT or not order.reduce_only]


class Enforcer:
    """Acts on restrictions and on displaced orders. Event-loop thread only; `run` must be active."""

    def __init__(
        self,
        ledger: Ledger,
        trader: Trader,
        admission: Admission,
        holdings: Holdings,
        live_orders: LiveOrders,
        switches: TradingSwitches,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._trader = trader
        self._admission = admission
        self._holdings = holdings
        self._live = live_orders
        self._switches = switches
        self._clock = clock
        self._waiting: dict[SubAccountId, None] = {}
        self._busy: set[SubAccountId] = set()
        self._displaced: dict[tuple[SubAccountId, Symbol, OrderSide], None] = {}
        self._wake = asyncio.Event()
        self._cancelled = self._closed = self._refused = self._displaced_count = 0

    # --- inputs: synchronous, never waiting ---

    def on_commit(self, committed: Committed) -> None:
        """Follow one commit: new restrictions, orders and positions of restricted accounts, closes."""
        for entry in committed.restrictions:
            self._consider(self._everybody() if entry.sub_account_id is None else [entry.sub_account_id])
        live = [order.sub_account_id for order in committed.orders if order.state is OrderState.LIVE]
        self._consider(owner for owner in live if owner is not None)
        self._consider(
            held.sub_account_id for held in committed.positions if held.status is PositionStatus.OPEN
        )
        for trade in committed.trades:
            if trade.realized_pnl is not None and self._may_be_displaced(trade.sub_account_id, trade.symbol):
                self._displaced[(trade.sub_account_id, trade.symbol, trade.side)] = None
                self._wake.set()

    def working(self) -> Sequence[SubAccountId]:
        """Return the accounts that something is still to be cancelled or closed for."""
        return [account_id for account_id in self._everybody() if not self.is_done(account_id)]

    def is_done(self, account_id: SubAccountId) -> bool:
        """True when nothing of the account rests or stays that its restriction forbids."""
        level = self._ledger.restriction_of(account_id)
        if orders_to_cancel(level, self._live.of_account(account_id)):
            return False
        return level < Restriction.FLATTEN or not self._holdings.of_account(account_id)

    # --- the loop ---

    async def run(self) -> None:
        """Act until cancelled; begins with what a restart left to be done."""
        if self._ledger.restrictions():
            self._consider(self._everybody())
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._wake.wait()
                self._wake.clear()
                displaced, self._displaced = self._displaced, {}
                if displaced:
                    tasks.create_task(self._cancel_displaced(list(displaced)), name="displaced orders")
                batch = [account_id for account_id in self._waiting if account_id not in self._busy]
                for account_id in batch:
                    del self._waiting[account_id]
                if batch:
                    self._busy.update(batch)
                    tasks.create_task(self._enforce(batch), name="restrictions")

    async def _enforce(self, batch: list[SubAccountId]) -> None:
        """Cancel and close for some accounts together, so that opposite positions meet (decision 13)."""
        try:
            while batch:
                await self._round(batch)
                batch, done = self._split(batch)
                self._busy.difference_update(done)
                for account_id in done:
                    log.warning("restriction_carried_out", sub_account_id=account_id)
                if batch:
                    await self._clock.sleep(CONTROL_RETRY_MS / 1000)
        finally:
            self._busy.difference_update(batch)
            self._wake.set()

    def _split(self, batch: list[SubAccountId]) -> tuple[list[SubAccountId], list[SubAccountId]]:
        left: list[SubAccountId] = []
        done: list[SubAccountId] = []
        for account_id in batch:
            (done if self.is_done(account_id) else left).append(account_id)
        return left, done

    async def _round(self, batch: list[SubAccountId]) -> None:
        rows: list[JournalOrder] = []
        for account_id in batch:
            level = self._ledger.restriction_of(account_id)
            rows += self._live_rows(orders_to_cancel(level, self._live.of_account(account_id)))
        self._cancelled += await self._cancel(rows)
        positions = [
            position.id
            for account_id in batch
            if self._ledger.restriction_of(account_id) is Restriction.FLATTEN
            and account_id not in self._switches.liquidating
            for position in self._holdings.of_account(account_id)
        ]
        if not positions:
            return
        try:
            results = await self._trader.close_many_with(
                positions, OrderCode.CLOSE, "CLOSE", Priority.USER_CLOSE
            )
        except PmsError as error:
            log.error("flatten_interrupted", error=str(error))
            return
        for position_id, result in results.items():
            if isinstance(result, Refused):
                self._refused += 1
                log.warning("flatten_refused", position_id=position_id, refusal=result.refusals[0].log_line())
            else:
                self._closed += 1

    async def _cancel_displaced(self, places: Sequence[tuple[SubAccountId, Symbol, OrderSide]]) -> None:
        for account_id, symbol, side in places:
            found = self._admission.displaced(account_id, symbol, side)
            rows = self._live_rows(found)
            if rows:
                log.warning("displaced_orders", sub_account_id=account_id, symbol=symbol, orders=len(rows))
                self._displaced_count += await self._cancel(rows)

    async def _cancel(self, rows: Sequence[JournalOrder]) -> int:
        """Cancel orders, a bounded number at a time; return how many are gone."""
        gone = 0
        for group in _groups(rows):
            results = await asyncio.gather(*(self._cancel_one(row) for row in group))
            gone += sum(results)
        return gone

    async def _cancel_one(self, row: JournalOrder) -> bool:
        try:
            result = await self._trader.cancel_order(row)
        except PmsError as error:
            log.error("restricted_order_not_cancelled", client_order_id=row.client_order_id, error=str(error))
            return False
        if isinstance(result, Refused):
            log.warning(
                "restricted_order_still_open",
                client_order_id=row.client_order_id,
                refusal=result.refusals[0].log_line(),
            )
            return False
        return True

    def _live_rows(self, orders: Iterable[LiveOrder]) -> list[JournalOrder]:
        """Return those that the exchange has confirmed: the others are in doubt, and are proved first."""
        rows = [self._ledger.order(order.client_order_id) for order in orders]
        return [row for row in rows if row is not None and row.state is OrderState.LIVE]

    def _consider(self, accounts: Iterable[SubAccountId]) -> None:
        for account_id in accounts:
            if self._ledger.restriction_of(account_id) >= Restriction.REDUCE_ONLY and not self.is_done(
                account_id
            ):
                self._waiting[account_id] = None
                self._wake.set()

    def _everybody(self) -> list[SubAccountId]:
        return [account.id for account in self._ledger.accounts()]

    def _may_be_displaced(self, account_id: SubAccountId, symbol: Symbol) -> bool:
        return any(
            order.symbol == symbol and order.type is OrderType.LIMIT and not order.reduce_only
            for order in self._live.of_account(account_id)
        )

    def statistics(self) -> ControlStatistics:
        return ControlStatistics(
            len(self._busy) + len(self._waiting),
            self._cancelled,
            self._closed,
            self._refused,
            self._displaced_count,
        )


def _groups(rows: Sequence[JournalOrder]) -> Iterable[Sequence[JournalOrder]]:
    return (rows[start : start + CONTROL_BATCH_MAX] for start in range(0, len(rows), CONTROL_BATCH_MAX))
