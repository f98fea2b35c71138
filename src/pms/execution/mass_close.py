"""Closes many positions at once: opposite sides of a symbol meet at the fresh mark, only the net is sent.

The net of a symbol is one order of the house, sliced by the filters, whose fills are passed on to the closers
in their order: largest first (decisions 3, 9, 13). Everything is taken from the books in one synchronous
step: each part is claimed until it is booked, so nothing closes the same quantity twice (decision 16).

A stop at any moment ends right: batches that have met are even by themselves, what was not sent is still
open, and what was filled is passed on after the restart.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count

import structlog

from pms.execution.admission import Admitted, TradingSwitches
from pms.execution.api import Executed
from pms.execution.closing import EXCHANGE_CANNOT, Closer, Closing, refused_on_the_wire
from pms.execution.errors import NotRunning
from pms.execution.house_orders import HouseOrders
from pms.execution.live_orders import Claim, LiveOrders
from pms.execution.prices import Prices
from pms.execution.worlds import Worlds
from pms.ledger.api import Committed, HouseLineKind, Ledger, PoolShare, TradeRow
from pms.ledger.errors import LeaseError, LedgerClosedError, LedgerError, PositionNotOpenError
from pms.model.account import Position, PositionStatus
from pms.model.ids import PositionId
from pms.model.money import ZERO, Money, Price
from pms.model.order import JournalOrder, OrderCode, OrderSide, Priority
from pms.model.refusal import RefusalCode, Refused
from pms.model.symbol import Symbol, SymbolRules
from pms.risk.netting_plan import Close, Meeting, Part, Plan, PlannedOrder, Reason, Target, plan_change

log = structlog.get_logger(__name__)

ROUNDS_MAX = 3
"""Plans for one symbol: what the first left open (a refusal, a position that changed meanwhile) is decided
again. Overflow: the rest is reported as open."""

_REFUSALS = {
    Reason.STATE_UNKNOWN: RefusalCode.EXCHANGE_STATE_UNKNOWN,
    Reason.NO_PRICE: RefusalCode.STALE_PRICE,
    Reason.IN_DOUBT: RefusalCode.EXECUTION_UNKNOWN,
    Reason.IN_FLIGHT: RefusalCode.REDUCE_ONLY_REJECTED,
}


@dataclass(frozen=True, slots=True)
class Many:
    """How positions are closed: code of orders of their own, trade action, priority. `meets_house` False:
    what the house offers stays out of it, for the real net is to shrink."""

    code: OrderCode
    action: str
    priority: Priority
    idempotency_key: str | None = None
    meets_house: bool = True


@dataclass(slots=True)
class _Tally:
    """What was done for one position so far, and why not more. `wanted` None: all of it."""

    position: Position
    wanted: Decimal | None = None
    trades: list[TradeRow] = field(default_factory=list)
    order: JournalOrder | None = None
    refused: Refused | None = None

    @property
    def left(self) -> Decimal | None:
        if self.wanted is None:
            return None
        return max(ZERO, self.wanted - sum((trade.quantity for trade in self.trades), ZERO))


@dataclass(frozen=True, slots=True)
class _Work:
    """One plan with everything reserved."""

    plan: Plan
    orders: tuple[tuple[PlannedOrder, Admitted], ...]
    mark: Price | None
    claim: str


class MassClose:
    """Closes for owners, operators and liquidations. Event-loop thread only."""

    def __init__(
        self,
        ledger: Ledger,
        worlds: Worlds,
        live_orders: LiveOrders,
        house_orders: HouseOrders,
        prices: Prices,
        switches: TradingSwitches,
        rules: Callable[[Symbol], SymbolRules | None],
        closer: Closer,
        house_offers: Callable[[Symbol], Decimal],
    ) -> None:
        """`closer` closes a position that is alone on its symbol, by an order of its own account;
        `house_offers` tells the signed quantity that the house wants to be rid of."""
        self._ledger = ledger
        self._worlds = worlds
        self._live = live_orders
        self._house = house_orders
        self._prices = prices
        self._switches = switches
        self._rules = rules
        self._closer = closer
        self._house_offers = house_offers
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[bool]] = set()

    async def close(
        self,
        position_ids: Sequence[PositionId],
        how: Many,
        quantities: Mapping[PositionId, Decimal] | None = None,
    ) -> Mapping[PositionId, Executed | Refused]:
        """Close positions, symbols side by side; the outcome of each, in the order given.

        Of those that `quantities` names only so much is closed. A position that is closed only in part is
        answered with its trades and its open rest. Cancelling the caller cancels no order that was sent.
        Raises LedgerError when the ledger takes nothing.
        """
        by_symbol: dict[Symbol, list[Position]] = {}
        results: dict[PositionId, Executed | Refused] = {}
        for position_id in dict.fromkeys(position_ids):
            position = self._ledger.position(position_id)
            results[position_id] = Refused.because(RefusalCode.POSITION_CLOSED)
            if position is not None:
                by_symbol.setdefault(position.symbol, []).append(position)
        wanted = quantities or {}
        for part in await asyncio.gather(*(self._symbol(held, how, wanted) for held in by_symbol.values())):
            results.update(part)
        return results

    async def _symbol(
        self, held: list[Position], how: Many, quantities: Mapping[PositionId, Decimal]
    ) -> dict[PositionId, Executed | Refused]:
        if len(held) == 1:
            (one,) = held
            wanted = Closing(one.id, how.code, how.action, how.priority, how.idempotency_key)
            return {one.id: await self._alone(replace(wanted, quantity=quantities.get(one.id)))}
        rules = self._rules(held[0].symbol)
        if rules is None or not self._switches.ready:
            code = RefusalCode.UNKNOWN_SYMBOL if rules is None else RefusalCode.NOT_READY
            return {one.id: Refused.because(code) for one in held}
        covered = [one for one in held if self._live.closing(one.sub_account_id, one.symbol, one.side)]
        await asyncio.gather(*(self._closer.free_capacity(one, quantities.get(one.id)) for one in covered))
        differs = await self._worlds.confirmed_difference(rules.symbol)
        tallies = {one.id: _Tally(one, quantities.get(one.id)) for one in held}
        for _ in range(ROUNDS_MAX):
            now = (self._ledger.position(key) for key, tally in tallies.items() if tally.left != 0)
            still = [position for position in now if position is not None]
            if not still:
                break
            targets = tuple(self._worlds.target(position, tallies[position.id].left) for position in still)
            work = self._take(rules, still, targets, how, differs=differs)
            self._note_held_back(work.plan, tallies)
            if not (work.plan.orders or work.plan.internal or work.plan.to_house):
                break
            task = asyncio.create_task(self._carry_out(work, how, tallies), name=f"close {work.claim}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            # A caller that goes away loses the answer, not what was reserved and sent for it.
            if not await asyncio.shield(task):
                break
            differs = False  # it was given away, or orders of ours explain what is left
        return {key: self._outcome(tally) for key, tally in tallies.items()}

    def _take(
        self,
        rules: SymbolRules,
        held: list[Position],
        targets: tuple[Target, ...],
        how: Many,
        *,
        differs: bool,
    ) -> _Work:
        """Plan and reserve in one synchronous step; nothing can come between (decisions 12 and 16)."""
        offers = self._house_offers(rules.symbol) if how.meets_house else ZERO
        world = self._worlds.world(rules, differs=differs, house_offers=offers)
        plan = plan_change(world, Close(targets, urgent=how.priority is Priority.LIQUIDATION))
        owners = {position.id: position for position in held}
        claim = f"mass-{next(self._numbers)}"
        self._live.claim(claim, _claims(plan, owners, rules.symbol))
        orders = []
        for order in plan.orders:
            shares = tuple(
                PoolShare(share.position_id, owners[share.position_id].sub_account_id, share.quantity)
                for share in order.shares
                if share.position_id is not None
            )
            orders.append((order, self._house.admit(rules.symbol, order, how.action, shares)))
        mark = None if world.mark is None else Price(world.mark)
        return _Work(plan, tuple(orders), mark, claim)

    async def _alone(self, wanted: Closing) -> Executed | Refused:
        try:
            return await self._closer.close(wanted)
        except asyncio.QueueFull:
            return Refused.because(RefusalCode.BOUND_REACHED)

    async def _carry_out(self, work: _Work, how: Many, tallies: dict[PositionId, _Tally]) -> bool:
        """Send, net and transfer side by side; True when another plan may do what is left."""
        sent = [self._send(order, admitted, how, tallies) for order, admitted in work.orders]
        return all(await asyncio.gather(self._inside(work, how, tallies), *sent))

    async def _inside(self, work: _Work, how: Many, tallies: dict[PositionId, _Tally]) -> bool:
        """Book what needs no exchange: closes that meet, and what goes to the house."""
        try:
            for batch in work.plan.internal:
                if work.mark is not None:
                    await self._meet(batch, work.mark, how.action, tallies)
            for part in work.plan.to_house:
                await self._give(part, how.action, tallies)
        except (LeaseError, LedgerClosedError):
            raise
        except LedgerError as error:
            # What was not booked is still open, and said to be.
            log.error("mass_close_not_booked", error=str(error))
            return False
        finally:
            self._live.unclaim(work.claim)
        return True

    async def _meet(
        self,
        batch: tuple[Meeting, ...],
        mark: Price,
        action: str,
        tallies: dict[PositionId, _Tally],
    ) -> None:
        closes = [
            (leg.position_id, leg.quantity)
            for leg in batch
            if leg.position_id is not None and leg.reason is Reason.MEETS_OPPOSITE
        ]
        try:
            if closes:
                _note(await self._ledger.net_internally(closes, mark, action), tallies)
            for leg in batch:
                if leg.position_id is not None and leg.reason is Reason.MEETS_HOUSE:
                    kind = HouseLineKind.TAKEOVER
                    moved = await self._ledger.transfer_to_house(
                        leg.position_id, leg.quantity, mark, kind, action
                    )
                    _note(moved, tallies)
        except PositionNotOpenError as error:
            # Somebody else closed one of them meanwhile: nothing of the batch was booked, and the next plan
            # takes those that are left.
            log.info("mass_close_batch_again", error=str(error))

    async def _give(self, part: Part, action: str, tallies: dict[PositionId, _Tally]) -> None:
        if part.position_id is None:
            return
        position = self._ledger.position(part.position_id)
        if position is None:
            return
        price = self._prices.worse_price(position.symbol, position.side)
        if price is None:
            tallies[part.position_id].refused = Refused.because(RefusalCode.STALE_PRICE)
            return
        unbacked = part.reason is Reason.UNBACKED
        kind = HouseLineKind.NETTING_DIFFERENCE if unbacked else HouseLineKind.DUST
        log.warning("closed_by_the_house", position_id=position.id, kind=kind, reason=part.reason.value)
        try:
            moved = await self._ledger.transfer_to_house(
                position.id, part.quantity, price, kind, "DESYNC_CLOSE" if unbacked else action
            )
        except PositionNotOpenError:
            return
        _note(moved, tallies)

    async def _send(
        self, order: PlannedOrder, admitted: Admitted, how: Many, tallies: dict[PositionId, _Tally]
    ) -> bool:
        """Send one order and wait until its fills are passed on; True when the rest may be tried again."""
        owners = [tallies[share.position_id] for share in order.shares if share.position_id is not None]
        try:
            result = await self._house.execute(admitted)
        except (LeaseError, LedgerClosedError):
            raise
        except (LedgerError, NotRunning) as error:
            log.error("mass_close_not_sent", error=str(error))
            result = Refused.because(RefusalCode.EXCHANGE_STATE_UNKNOWN, f"Nothing was sent: {error}")
        if not isinstance(result, Refused):
            for owner in owners:
                owner.order = result.order
            _share_out(result.trades, result.positions, tallies)
            return True
        for owner in owners:
            owner.refused = result
        code = result.refusals[0].code
        if code in EXCHANGE_CANNOT:
            for share in order.shares:
                await self._give(share, how.action, tallies)
            return True
        return refused_on_the_wire(result) and await self._worlds.ask_net()

    def _note_held_back(self, plan: Plan, tallies: dict[PositionId, _Tally]) -> None:
        for part in plan.held_back:
            code = _REFUSALS.get(part.reason)
            if part.position_id is not None and code is not None:
                text = f"{part.quantity} of the position stays open: {part.reason.value}."
                tallies[part.position_id].refused = Refused.because(code, text)

    def _outcome(self, tally: _Tally) -> Executed | Refused:
        if not tally.trades:
            return tally.refused or Refused.because(RefusalCode.POSITION_CLOSED)
        account = self._ledger.account(tally.position.sub_account_id)
        realized = [trade.realized_pnl for trade in tally.trades if trade.realized_pnl is not None]
        return Executed(
            order=tally.order,
            position=self._ledger.position(tally.position.id) or tally.position,
            trades=tuple(tally.trades),
            closed=tally.position if tally.position.status is not PositionStatus.OPEN else None,
            realized_pnl=Money(sum(realized, ZERO)),
            balance=account.balance if account else None,
        )


def _claims(plan: Plan, owners: Mapping[PositionId, Position], symbol: Symbol) -> list[Claim]:
    """Return what the plan closes without an order, of the house too; the orders claim their shares
    themselves."""
    claims = []
    for leg in (leg for batch in plan.internal for leg in batch):
        owner = None if leg.position_id is None else owners[leg.position_id].sub_account_id
        claims.append(Claim(owner, symbol, leg.side, leg.quantity))
    for part in plan.to_house:
        if part.position_id is not None:
            held = owners[part.position_id]
            claims.append(Claim(held.sub_account_id, symbol, OrderSide.closing(held.side), part.quantity))
    return claims


def _note(committed: Committed, tallies: dict[PositionId, _Tally]) -> None:
    _share_out(committed.trades, committed.positions, tallies)


def _share_out(
    trades: Sequence[TradeRow], positions: Sequence[Position], tallies: dict[PositionId, _Tally]
) -> None:
    """Note trades and later states with the positions they belong to; linear, for there may be thousands."""
    for trade in trades:
        tally = None if trade.position_id is None else tallies.get(trade.position_id)
        if tally is not None:
            tally.trades.append(trade)
    for position in positions:
        tally = tallies.get(position.id)
        if tally is not None:
            tally.position = position
