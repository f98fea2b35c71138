"""What the house holds, and how it gets rid of it: by its policy, beyond its limits, or as an operator asks.

`hold` keeps what the house took over until an operator closes or assigns it; `unwind` trades it away beyond
dust, sliced, reduce-only where the real net allows it. A symbol beyond its limit is brought back to it under
either policy. What the house only passes on to closers is never touched.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import structlog

from pms.execution.admission import Admission, TradingSwitches
from pms.execution.api import HouseAssigned, HouseClosed, HouseHolding, MarketRequest
from pms.execution.errors import NotRunning
from pms.execution.house_orders import HouseExecuted, HouseOrders
from pms.execution.live_orders import LiveOrders
from pms.execution.worlds import Worlds
from pms.ledger.api import Actor, Committed, Ledger
from pms.ledger.errors import LeaseError, LedgerClosedError, LedgerError, RequestError
from pms.model.account import PositionSide
from pms.model.clock import Clock
from pms.model.ids import SubAccountId
from pms.model.money import ZERO, Money, Price, Quantity, round_up
from pms.model.order import OrderSide
from pms.model.refusal import RefusalCode, Refused
from pms.model.restriction import Restriction
from pms.model.symbol import Symbol, SymbolRules
from pms.risk.netting_plan import HouseClose, Plan, plan_change
from pms.risk.real_ladder import RealLevel

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
AFTER_REFUSAL_SECONDS = 30.0
"""How long a symbol rests whose order the exchange refused or left without a fill."""

CLOSE_ACTION, UNWIND_ACTION = "HOUSE_CLOSE", "HOUSE_UNWIND"


@dataclass(frozen=True, slots=True)
class HouseStatistics:
    """Orders of the house since the start, and those that were refused; symbols beyond their limit now."""

    orders: int
    refused: int
    beyond_limit: int


class HouseDesk:
    """The house as a trader. `run` must be active for policy and limits. Event-loop thread only."""

    def __init__(
        self,
        ledger: Ledger,
        worlds: Worlds,
        live_orders: LiveOrders,
        house_orders: HouseOrders,
        admission: Admission,
        switches: TradingSwitches,
        rules: Callable[[Symbol], SymbolRules | None],
        clock: Clock,
        *,
        unwinds: bool,
    ) -> None:
        self._ledger = ledger
        self._worlds = worlds
        self._live = live_orders
        self._orders = house_orders
        self._admission = admission
        self._switches = switches
        self._rules = rules
        self._clock = clock
        self._unwinds = unwinds
        self._not_before: dict[Symbol, float] = {}
        self._beyond: set[Symbol] = set()
        self._sent = self._refused = 0
        self._wake = asyncio.Event()
        self._wake.set()

    # --- reads ---

    def holdings(self) -> Sequence[HouseHolding]:
        """Return what the house holds, symbol by symbol; flat ones are left out."""
        found = []
        for held in self._ledger.house_positions():
            passing_on = self._ledger.passing_on(held.symbol)
            if held.signed_quantity == 0 and passing_on == 0:
                continue
            mark = self._worlds.mark(held.symbol)
            value = None if mark is None else held.signed_quantity * mark
            found.append(
                HouseHolding(
                    symbol=held.symbol,
                    signed_quantity=held.signed_quantity,
                    signed_cost=held.signed_cost,
                    passing_on=passing_on,
                    mark=None if mark is None else Price(mark),
                    unrealized_pnl=None if value is None else Money(value - held.signed_cost),
                    limit=self._ledger.house_limit(held.symbol),
                )
            )
        return found

    def offers(self, symbol: Symbol) -> Decimal:
        """Return the signed quantity that closes of others may meet: all of it under `unwind`."""
        if not self._unwinds or self._blocked():
            return ZERO
        held = self._held(symbol)
        taken = self._taken(symbol, held)
        left = max(ZERO, abs(held) - taken)
        return left if held > 0 else -left

    # --- acts ---

    async def close(self, symbol: Symbol, quantity: Decimal | None, actor: Actor) -> HouseClosed | Refused:
        """Trade away what the house holds of a symbol, or `quantity` of it, for an operator.

        Refused when it holds nothing, when the net is not known, or when only dust is left. Recorded as an
        action before anything is sent.
        """
        rules = self._rules(symbol)
        if rules is None:
            return Refused.because(RefusalCode.UNKNOWN_SYMBOL, symbol=symbol)
        if quantity is not None and not (quantity.is_finite() and quantity > 0):
            return Refused.because(RefusalCode.INVALID_QUANTITY, quantity=quantity)
        if not self._switches.ready:
            return Refused.because(RefusalCode.NOT_READY)
        held = self._held(symbol)
        asked = "all" if quantity is None else str(quantity)
        facts = {"symbol": symbol, "held": str(held), "asked": asked}
        await self._ledger.record_action(actor, "house.close", symbol, facts)
        return await self._close(rules, quantity, CLOSE_ACTION)

    async def assign(
        self,
        symbol: Symbol,
        sub_account_id: SubAccountId,
        quantity: Decimal,
        leverage: Decimal,
        actor: Actor,
        reference: str | None = None,
    ) -> HouseAssigned | Refused:
        """Give a part of what the house holds to an account, at the fresh mark; `reference` makes it happen
        once. What it opens must pass the account's gate like an order of its own."""
        rules, mark = self._rules(symbol), self._worlds.mark(symbol)
        if rules is None:
            return Refused.because(RefusalCode.UNKNOWN_SYMBOL, symbol=symbol)
        if mark is None:
            return Refused.because(RefusalCode.STALE_PRICE, "Positions are assigned at a fresh mark; retry.")
        held = self._held(symbol)
        closing = self._taken(symbol, held)
        if not (quantity.is_finite() and 0 < quantity <= abs(held) - closing):
            text = (
                f"The house holds {held} {symbol}, its orders close {closing}; {quantity} cannot be assigned."
            )
            return Refused.because(RefusalCode.INVALID_QUANTITY, text, held=held)
        side = PositionSide.LONG if held > 0 else PositionSide.SHORT
        wanted = MarketRequest(sub_account_id, symbol, side, quantity, leverage)
        judged = self._admission.validate(wanted)
        if not judged.valid:
            return Refused(judged.refusals)
        margin = Money(quantity * mark / leverage)
        self._admission.hold(sub_account_id, margin)  # in the step that judged it (decision 18)
        try:
            done = await self._ledger.assign_from_house(
                symbol, sub_account_id, quantity, Price(mark), leverage, actor, reference
            )
        except RequestError as error:
            return Refused.because(RefusalCode.INVALID_QUANTITY, str(error))
        finally:
            self._admission.end_withdrawal(sub_account_id, margin)
        return HouseAssigned(symbol, Quantity(quantity), Price(mark), done.trades)

    def on_commit(self, committed: Committed) -> None:
        """Take one commit; called synchronously after it."""
        if committed.house:
            self._wake.set()

    async def run(self) -> None:
        """Keep the policy and the limits until cancelled. Raises LeaseError when another engine took over."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if await self._look_at_all():
                await self._clock.sleep(LOOK_SECONDS)
                self._wake.set()

    async def _look_at_all(self) -> bool:
        """Act on each symbol that rests no longer; True while something is held that may have to go."""
        watched = False
        for held in self._ledger.house_positions():
            limited = self._ledger.house_limit(held.symbol) is not None
            if not held.signed_quantity or not (self._unwinds or limited):
                continue
            watched = True
            if self._blocked() or self._clock.monotonic() < self._not_before.get(held.symbol, 0):
                continue
            try:
                await self._look(held.symbol)
            except (LeaseError, LedgerClosedError):
                raise
            except (LedgerError, NotRunning) as error:
                self._rest(held.symbol)
                log.error("house_order_failed", symbol=held.symbol, error=str(error))
        return watched

    # --- inside ---

    async def _look(self, symbol: Symbol) -> None:
        rules, excess = self._rules(symbol), self._excess(symbol)
        if rules is None or not (self._unwinds or excess):
            return
        result = await self._close(rules, None if self._unwinds else excess, UNWIND_ACTION)
        if isinstance(result, Refused):
            self._rest(symbol)

    def _rest(self, symbol: Symbol) -> None:
        self._not_before[symbol] = self._clock.monotonic() + AFTER_REFUSAL_SECONDS

    def _blocked(self) -> bool:
        return not self._switches.ready or self._switches.halted

    def _only_reducing(self) -> bool:
        """True while entries are blocked for the real account's sake, or everybody is halted: what the house
        unwinds by itself must not enlarge the real net then."""
        halted = any(
            entry.sub_account_id is None and entry.level >= Restriction.HALT
            for entry in self._ledger.restrictions()
        )
        return halted or self._switches.real_level >= RealLevel.BLOCK

    def _excess(self, symbol: Symbol) -> Decimal:
        """Return the quantity beyond the symbol's limit, on lots; alarms when one is crossed."""
        limit, mark, rules = self._ledger.house_limit(symbol), self._worlds.mark(symbol), self._rules(symbol)
        held = abs(self._held(symbol))
        if limit is None or mark is None or rules is None or held * mark <= limit:
            self._beyond.discard(symbol)
            return ZERO
        if symbol not in self._beyond:
            self._beyond.add(symbol)
            log.error("house_limit_exceeded", symbol=symbol, held=str(held), limit=str(limit))
        step = rules.market_quantity_step or rules.quantity_step
        return min(held, round_up(held - limit / mark, step))

    def _held(self, symbol: Symbol) -> Decimal:
        """Return what the house holds for good, signed."""
        virtual_net = self._ledger.virtual_net(symbol)
        return self._ledger.expected_net(symbol) - virtual_net - self._ledger.passing_on(symbol)

    def _taken(self, symbol: Symbol, held: Decimal) -> Decimal:
        side = OrderSide.SELL if held > 0 else OrderSide.BUY
        return self._live.of_the_house(symbol, side)

    async def _close(
        self, rules: SymbolRules, quantity: Decimal | None, action: str
    ) -> HouseClosed | Refused:
        world = self._worlds.world(rules)
        plan = plan_change(world, HouseClose(quantity, self._taken(rules.symbol, world.house)))
        if not plan.orders:
            return _nothing(plan)
        enlarges = any(not order.reduce_only for order in plan.orders)
        if enlarges and action == UNWIND_ACTION and self._only_reducing():
            text = "The real account takes no new exposure; what would enlarge its net waits in the house."
            return Refused.because(RefusalCode.REAL_ENTRIES_BLOCKED, text)
        waiting = deque(self._orders.admit(rules.symbol, order, action) for order in plan.orders)
        closed, orders = ZERO, []
        refused: Refused | None = None
        try:
            while waiting and refused is None:
                self._sent += 1
                result = await self._orders.execute(waiting.popleft())
                if isinstance(result, HouseExecuted):
                    orders.append(result.order)
                    closed += result.order.booked_quantity
                else:
                    refused = result
                    self._refused += 1
                    told = result.refusals[0].log_line()
                    log.warning("house_order_refused", symbol=rules.symbol, refusal=told)
        finally:
            # Also when the ledger takes nothing, or the caller is gone: nobody else would ever end them.
            for one in waiting:
                self._orders.abandon(one)
        if not orders and refused is not None:
            return refused
        return HouseClosed(rules.symbol, Quantity(closed), self._held(rules.symbol), tuple(orders))

    def statistics(self) -> HouseStatistics:
        return HouseStatistics(self._sent, self._refused, len(self._beyond))


def _nothing(plan: Plan) -> Refused:
    reason = plan.held_back[0].reason
    if reason.name in ("STATE_UNKNOWN", "NO_PRICE"):
        return Refused.because(RefusalCode.EXCHANGE_STATE_UNKNOWN, reason.value)
    return Refused.because(RefusalCode.REDUCE_ONLY_REJECTED, f"Nothing is sent: it {reason.value}.")
