"""Closing a position: by real orders as far as the exchange backs it, by the house for the rest.

Closing is always possible (decision 13): what the exchange does not back (decision 10), or refuses for the
real account, goes to the house at the worse of touch and fresh mark. An unknown exchange state never means
"no position", and a report that is late never means "not backed": the exchange is asked first.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import count

import structlog

from pms.execution.admission import Admission, Admitted
from pms.execution.api import ClosedByPrice, Executed
from pms.execution.live_orders import Claim, LiveOrder, LiveOrders
from pms.execution.orders import OrderRunner
from pms.execution.prices import Prices
from pms.execution.queues import AccountQueues
from pms.execution.worlds import Worlds
from pms.ledger.api import HouseLineKind, Ledger
from pms.model.account import Position
from pms.model.ids import PositionId
from pms.model.money import Money, Price, round_nearest
from pms.model.order import JournalOrder, OrderCode, OrderSide, OrderState, OrderType, Priority
from pms.model.refusal import RefusalCode, Refused
from pms.risk.netting_plan import Close, Reason, plan_change

log = structlog.get_logger(__name__)

SLICES_MAX = 20
"""Market orders that one close may take (MARKET_LOT_SIZE bounds each). Overflow: the close is refused for
now."""

BY_PRICE_ACTION = "BABYSITTER_TP"
"""Action of a close by price that gives no reason (ledger spec 5.9)."""

ACTION_CHARACTERS_MAX = 64

_NOT_A_REASON = frozenset({"OPEN", "ADD", "LIQUIDATE", "TAKEOVER", "ADMIN_TAKEOVER"})
"""Actions that say more than why a position was closed; a strategy cannot claim them."""

EXCHANGE_CANNOT = frozenset(
    {
        RefusalCode.EXCHANGE_MIN_NOTIONAL,
        RefusalCode.EXCHANGE_QTY_TOO_SMALL,
        RefusalCode.EXCHANGE_MARGIN_INSUFFICIENT,
        RefusalCode.EXCHANGE_REDUCES_ONLY,
        RefusalCode.INVALID_QUANTITY,
    }
)
"""Refusals that say the real account cannot close this much now: dust, minimum notional, margin, and a lock
on everything that does not reduce the real net, which a close here need not do (decision 13)."""


_MINIMUMS = frozenset({RefusalCode.EXCHANGE_MIN_NOTIONAL, RefusalCode.EXCHANGE_QTY_TOO_SMALL})


@dataclass(frozen=True, slots=True)
class Closing:
    """What is to be closed. `quantity` None: all of it. `limit_price`: what goes to the house goes at no
    better price than this. `stated_price`: what the exchange does not back goes at this price, under the
    action (ledger spec 5.9); only for a caller who is trusted with the house's money.
    """

    position_id: PositionId
    code: OrderCode
    action: str
    priority: Priority
    idempotency_key: str | None = None
    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stated_price: Decimal | None = None


class Closer:
    """Closes positions for users, liquidations and stops. Event-loop thread only."""

    def __init__(
        self,
        ledger: Ledger,
        admission: Admission,
        runner: OrderRunner,
        queues: AccountQueues,
        live_orders: LiveOrders,
        prices: Prices,
        worlds: Worlds,
        cancel_order: Callable[[JournalOrder], Awaitable[object]],
    ) -> None:
        self._ledger = ledger
        self._admission = admission
        self._runner = runner
        self._queues = queues
        self._live = live_orders
        self._prices = prices
        self._worlds = worlds
        self._cancel_order = cancel_order
        self._numbers = count(1)

    async def close(self, wanted: Closing) -> Executed | Refused:
        """Close a position, or a quantity of it, with the given trade action.

        Resting closing orders of the account are cancelled first when they hold the capacity (decision 16).
        Raises asyncio.QueueFull when too many turns of the account wait.
        """
        position = self._ledger.position(wanted.position_id)
        if position is None:
            return Refused.because(RefusalCode.POSITION_CLOSED)
        if wanted.priority is not Priority.LIQUIDATION and not self._worlds.known(position.symbol):
            return Refused.because(RefusalCode.EXCHANGE_STATE_UNKNOWN)
        await self.free_capacity(position, wanted.quantity)
        done = await self._close_unbacked(position, wanted)
        asked = False
        for _ in range(SLICES_MAX):
            left = _left(wanted, done)
            if self._ledger.position(position.id) is None or left == 0:
                return done or Refused.because(RefusalCode.POSITION_CLOSED)
            result = await self._slice(position, wanted, left)
            if isinstance(result, Refused):
                if not asked and refused_on_the_wire(result) and await self._worlds.ask_net():
                    asked = True  # decision 12: the position is queried, and the remainder decided again
                    continue
                return done if done is not None and _nothing_left(result) else result
            done = result if done is None else joined(done, result)
        return done or Refused.because(RefusalCode.BOUND_REACHED)

    async def close_partly(self, wanted: Closing, fraction: Decimal) -> Executed | Refused:
        """Close a fraction of a position: clamped to the whole, rounded to the nearest lot (H23; the
        incumbent rounds so to eight places), and never to the whole or to nothing."""
        position = self._ledger.position(wanted.position_id)
        if position is None:
            return Refused.because(RefusalCode.POSITION_CLOSED)
        rules = self._admission.symbol_rules(position.symbol)
        if not fraction.is_finite() or fraction <= 0:
            return Refused.because(
                RefusalCode.INVALID_QUANTITY,
                "The fraction to close is not a number above 0.",
                fraction=fraction,
            )
        if fraction >= 1 or rules is None:
            return await self.close(wanted)
        step = rules.market_quantity_step or rules.quantity_step
        quantity = round_nearest(position.quantity * fraction, step)
        smallest, _ = rules.quantity_bounds(market=True)
        if quantity < smallest or not 0 < quantity < position.quantity:
            text = f"{fraction} of {position.quantity} is below the smallest lot {smallest}; close all of it."
            return Refused.because(RefusalCode.INVALID_QUANTITY, text, quantity=quantity, min=smallest)
        return await self.close(replace(wanted, quantity=quantity))

    async def close_by_price(
        self,
        position_id: PositionId,
        close_price: Decimal | None,
        reason: str,
        idempotency_key: str | None,
        *,
        trusted: bool = False,
    ) -> ClosedByPrice | Refused:
        """Close a position for a strategy that saw `close_price`; see `TradingService.close_by_price`."""
        if close_price is not None and not (close_price.is_finite() and close_price > 0):
            return Refused.because(RefusalCode.INVALID_PRICE, price=close_price)
        action = reason.strip() or BY_PRICE_ACTION
        if action in _NOT_A_REASON or len(action) > ACTION_CHARACTERS_MAX:
            action = BY_PRICE_ACTION
        wanted = Closing(position_id, OrderCode.CLOSE, action, Priority.USER_CLOSE, idempotency_key)
        stated = close_price if trusted else None
        done = await self.close(replace(wanted, limit_price=close_price, stated_price=stated))
        if isinstance(done, Refused):
            return done
        closing = [trade for trade in done.trades if trade.realized_pnl is not None]
        quantity = closed_quantity(done)
        if not quantity:
            return Refused.because(RefusalCode.EXECUTION_UNKNOWN)
        notional = sum((trade.price * trade.quantity for trade in closing), Decimal(0))
        real = any(trade.exchange_order_id is not None for trade in closing)
        # H24: what the trades say, never what the caller hoped for.
        source = "exchange" if real else "virtual_no_exchange"
        return ClosedByPrice(done, Price(notional / quantity), source)

    async def _slice(self, position: Position, wanted: Closing, left: Decimal | None) -> Executed | Refused:
        admitted: Admitted | Refused = await self._queues.run(
            position.sub_account_id,
            wanted.priority,
            lambda: self._admission.close(
                position.id, wanted.code, wanted.action, wanted.idempotency_key, left
            ),
            self._admission.abandon,
        )
        result = admitted if isinstance(admitted, Refused) else await self._runner.execute(admitted)
        if isinstance(result, Refused) and self._exchange_cannot(result, position, left):
            account, symbol, side = position.sub_account_id, position.symbol, position.side
            if self._live.closing(account, symbol, side) or self._live.crossing(account, symbol, side):
                return result  # only a remainder is too small: other orders may still close the rest
            return await self._transfer(wanted, left, HouseLineKind.DUST, wanted.action)
        return result

    def _exchange_cannot(self, refused: Refused, position: Position, left: Decimal | None) -> bool:
        """Tell whether the refusal means that the real account cannot close this much.

        A minimum that the known filters do not explain is reported instead: the adapter reads them again at
        once, and the next attempt decides by what they say then.
        """
        refusal = refused.refusals[0]
        if refusal.code not in EXCHANGE_CANNOT:
            return False
        if refusal.code not in _MINIMUMS or "exchange_code" not in refusal.fields:
            return True
        held, rules = self._ledger.position(position.id), self._admission.symbol_rules(position.symbol)
        mark = self._prices.mark_price(position.symbol)
        if held is None or rules is None or mark is None:
            return True
        quantity = held.quantity if left is None else min(left, held.quantity)
        smallest, _ = rules.quantity_bounds(market=True)
        return quantity < smallest or quantity * Decimal(repr(mark)) < rules.notional_min

    async def _close_unbacked(self, position: Position, wanted: Closing) -> Executed | None:
        """Transfer what a persistent desync leaves without backing; nothing while anything is in flight."""
        rules = self._admission.symbol_rules(position.symbol)
        if rules is None or not await self._worlds.confirmed_difference(position.symbol):
            return None
        held = self._ledger.position(position.id)
        if held is None:
            return None
        target = self._worlds.target(held, wanted.quantity)
        plan = plan_change(self._worlds.world(rules, differs=True), Close((target,), urgent=True))
        for part in plan.to_house:
            if part.reason is Reason.UNBACKED:
                kind = HouseLineKind.NETTING_DIFFERENCE
                action = "DESYNC_CLOSE" if wanted.stated_price is None else wanted.action
                result = await self._transfer(wanted, part.quantity, kind, action, wanted.stated_price)
                return result if isinstance(result, Executed) else None
        return None

    async def _transfer(
        self,
        wanted: Closing,
        quantity: Decimal | None,
        kind: HouseLineKind,
        action: str,
        stated: Decimal | None = None,
    ) -> Executed | Refused:
        position_id = wanted.position_id
        position = self._ledger.position(position_id)
        if position is None:
            return Refused.because(RefusalCode.POSITION_CLOSED)
        worst = self._prices.worse_price(position.symbol, position.side, wanted.limit_price)
        price = worst if stated is None else Price(stated)
        if price is None:
            return Refused.because(
                RefusalCode.STALE_PRICE, "The position can only go to the house at a fresh price; retry."
            )
        log.warning("closed_by_the_house", position_id=position_id, kind=kind, action=action)
        amount = position.quantity if quantity is None else min(quantity, position.quantity)
        side = OrderSide.closing(position.side)
        name = f"transfer-{next(self._numbers)}"
        self._live.claim(name, [Claim(position.sub_account_id, position.symbol, side, amount)])
        try:
            moved = await self._ledger.transfer_to_house(position_id, amount, price, kind, action)
        finally:
            self._live.unclaim(name)
        account = self._ledger.account(position.sub_account_id)
        return Executed(
            order=None,
            position=self._ledger.position(position_id) or moved.positions[-1],
            trades=moved.trades,
            closed=moved.positions[-1] if self._ledger.position(position_id) is None else None,
            realized_pnl=moved.trades[-1].realized_pnl,
            balance=account.balance if account else None,
        )

    async def free_capacity(self, position: Position, quantity: Decimal | None = None) -> None:
        """Cancel resting reduce-only orders that hold the closing capacity of the position (decision 16)."""
        taken = self._live.closing(position.sub_account_id, position.symbol, position.side)
        if not taken or (quantity is not None and quantity <= position.quantity - taken):
            return
        closing = OrderSide.closing(position.side)
        holding = [
            order
            for order in self._live.of_account(position.sub_account_id)
            if order.symbol == position.symbol and order.side is closing and _resting_close(order)
        ]
        for live in holding:
            order = self._ledger.order(live.client_order_id)
            if order is not None and order.state is OrderState.LIVE:
                await self._cancel_order(order)


def joined(first: Executed, second: Executed) -> Executed:
    """Join two parts of one close: trades of both, realised PnL summed, the later state."""
    realized = [pnl for pnl in (first.realized_pnl, second.realized_pnl) if pnl is not None]
    return replace(
        second,
        order=second.order or first.order,
        trades=first.trades + second.trades,
        closed=second.closed or first.closed,
        realized_pnl=Money(sum(realized, Decimal(0))) if realized else None,
    )


def closed_quantity(done: Executed) -> Decimal:
    """Return what the trades of a close closed, in base units."""
    return sum((trade.quantity for trade in done.trades if trade.realized_pnl is not None), Decimal(0))


def _left(wanted: Closing, done: Executed | None) -> Decimal | None:
    """Return what is left of a stated quantity; None: all of the position."""
    if wanted.quantity is None or done is None:
        return wanted.quantity
    return max(Decimal(0), wanted.quantity - closed_quantity(done))


def _nothing_left(refused: Refused) -> bool:
    return refused.refusals[0].code in (RefusalCode.POSITION_CLOSED, RefusalCode.REDUCE_ONLY_REJECTED)


def refused_on_the_wire(refused: Refused) -> bool:
    refusal = refused.refusals[0]
    return refusal.code is RefusalCode.REDUCE_ONLY_REJECTED and "exchange_code" in refusal.fields


def _resting_close(order: LiveOrder) -> bool:
    return order.reduce_only and order.type is OrderType.LIMIT
