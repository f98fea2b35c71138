"""From a request to an approved order: the synchronous step that runs as one turn of the account's queue.

It reads ledger, live orders and prices, asks the gate, decides the wire's reduce-only flag on the
exchange-account book, and reserves, all without awaiting anything: nothing can come between (decisions 12, 16
and 18).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from pms.execution.api import LimitRequest, MarketRequest, Validation
from pms.execution.holdings import Holdings
from pms.execution.live_orders import LiveOrder, LiveOrders
from pms.execution.prices import Prices
from pms.execution.rules import RuleWatch
from pms.execution.worlds import Worlds
from pms.ledger.api import Committed, Ledger, NewIntent
from pms.limits import LIVE_ORDERS_MAX, OPEN_ORDERS_RESERVE
from pms.model.account import Position, RiskRules, SubAccount
from pms.model.ids import PositionId, SubAccountId, client_order_id
from pms.model.money import ZERO, Money, Price, Quantity
from pms.model.order import (
    FLIP_ACTION,
    ApprovedAmendment,
    ApprovedOrder,
    JournalOrder,
    OrderCode,
    OrderSide,
    OrderType,
)
from pms.model.refusal import Refusal, RefusalCode, Refused
from pms.model.restriction import Restriction
from pms.model.symbol import Symbol, SymbolRules
from pms.risk import gate, netting, netting_plan
from pms.risk.displaced import displaced_orders
from pms.risk.gate import Approved, FlipMode, GateInput, MarkedPosition, OrderRequest
from pms.risk.leverage import refuse_leverage
from pms.risk.maintenance import MaintenanceBasis
from pms.risk.real_ladder import RealLevel
from pms.risk.real_purse import RealPurse
from pms.risk.reservations import OpenOrder
from pms.risk.withdrawal import refuse_withdrawal

_OUR_OWN = frozenset({OrderCode.LIQUIDATION, OrderCode.CLOSE, OrderCode.RECONCILE})
"""Orders that no order-rate rule counts: a close is never kept back, nor held against its owner."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """An approved and reserved order with the intent that must be journaled before it is sent."""

    intent: NewIntent
    order: ApprovedOrder


@dataclass(slots=True)
class TradingSwitches:
    """What stops new exposure: `halted` everywhere, `isolated` on symbols that the real account does not hold
    on cross margin (decision 15). `liquidating` holds the accounts under liquidation. `real_level` is the
    real account's ladder (decision 19)."""

    ready: bool = False
    halted: bool = False
    isolated: frozenset[Symbol] = frozenset()
    liquidating: set[SubAccountId] = field(default_factory=set)
    real_level: RealLevel = RealLevel.CALM


@dataclass(frozen=True, slots=True)
class _Origin:
    """What the journal keeps of a request beside the order itself."""

    action: str
    origin: str
    position_id: PositionId | None = None
    babysitter_excluded: bool = True
    idempotency_key: str | None = None


class Admission:
    """Admits orders. Every public method is synchronous and must run inside a turn, `validate` excepted."""

    def __init__(
        self,
        ledger: Ledger,
        live_orders: LiveOrders,
        holdings: Holdings,
        prices: Prices,
        worlds: Worlds,
        switches: TradingSwitches,
        rules: Callable[[], dict[Symbol, SymbolRules]],
        flip_mode: FlipMode,
        maintenance: MaintenanceBasis,
        open_orders_quota: int,
        rule_watch: RuleWatch,
        real_purse: Callable[[Symbol], RealPurse] | None = None,
    ) -> None:
        self._ledger = ledger
        self._live = live_orders
        self._holdings = holdings
        self._prices = prices
        self._worlds = worlds
        self._switches = switches
        self._rules = rules
        self._flip_mode = flip_mode
        self._maintenance = maintenance
        self._real_purse = real_purse
        self._open_orders_quota = open_orders_quota
        self._rule_watch = rule_watch
        self._withdrawing: dict[SubAccountId, list[Money]] = {}
        self._in_doubt: list[Callable[[], None]] = []
        self._releveraging: dict[tuple[SubAccountId, Symbol], Decimal] = {}

    def symbols(self) -> Sequence[SymbolRules]:
        return tuple(self._rules().values())

    def symbol_rules(self, symbol: Symbol) -> SymbolRules | None:
        return self._rules().get(symbol)

    def market(self, request: MarketRequest) -> Admitted | Refused:
        """Admit a market order of a user."""
        order = _market(request)
        action = "CLOSE" if request.reduce_only else "OPEN"
        origin = _Origin(
            action,
            request.origin,
            babysitter_excluded=request.babysitter_excluded,
            idempotency_key=request.idempotency_key,
        )
        return self._admit(request.sub_account_id, order, origin)

    def limit(self, request: LimitRequest) -> Admitted | Refused:
        """Admit a resting (or IOC, FOK, post-only) limit order of a user."""
        order = OrderRequest(
            request.symbol,
            request.side,
            OrderType.LIMIT,
            request.quantity,
            request.leverage,
            request.code,
            price=request.price,
            reduce_only=request.reduce_only,
            time_in_force=request.time_in_force,
        )
        action = "LIMIT_CLOSE" if request.reduce_only else "OPEN"
        origin = _Origin(action, request.origin, idempotency_key=request.idempotency_key)
        return self._admit(request.sub_account_id, order, origin)

    def amendment(self, order: JournalOrder, quantity: Quantity, price: Price) -> ApprovedAmendment | Refused:
        """Admit a change of a resting order to `quantity` in all, at `price`: judged as a new order for what
        would be left, without the old one; both are reserved until the exchange has spoken."""
        owner = order.sub_account_id
        known = None if owner is None else self._live.take_out(order.client_order_id)
        if known is None or owner is None:
            return Refused.because(RefusalCode.ORDER_NOT_PENDING)
        request = OrderRequest(
            order.symbol,
            order.position_side,
            order.type,
            quantity - order.booked_quantity,
            order.leverage,
            order.code,
            price=price,
            reduce_only=order.reduce_only,
            time_in_force=order.time_in_force,
        )
        asked = False
        try:
            decision = gate.decide(self._gate_input(owner, request))
            if isinstance(decision, Refused):
                return decision
            if decision.price is None:
                return Refused.because(RefusalCode.INVALID_PRICE)
            self._live.ask_amendment(known, order.booked_quantity, decision.quantity, decision.price)
            asked = True
        finally:
            if not asked:
                self._live.put_back(known)  # also after a fault of the gate: the order rests on
        return gate.approve_amendment(order.client_order_id, request, decision, order.booked_quantity)

    def close(
        self,
        position_id: PositionId,
        code: OrderCode,
        action: str,
        idempotency_key: str | None,
        quantity_max: Decimal | None = None,
    ) -> Admitted | Refused:
        """Admit the next market slice that closes a position, or at most `quantity_max` of it: quantity from
        the ledger, capacity from the live orders, at most what the symbol's filters allow in one order."""
        position = self._ledger.position(position_id)
        if position is None:
            return Refused.because(RefusalCode.POSITION_CLOSED)
        symbol_rules = self.symbol_rules(position.symbol)
        if symbol_rules is None:
            return Refused.because(RefusalCode.UNKNOWN_SYMBOL, symbol=position.symbol)
        target = self._worlds.target(position, quantity_max)
        plan = netting_plan.plan_change(
            self._worlds.world(symbol_rules), netting_plan.Close((target,), urgent=True)
        )
        if not plan.orders:
            return _not_sent(plan)
        quantity = plan.orders[0].quantity
        order = OrderRequest(
            position.symbol,
            position.side.opposite,
            OrderType.MARKET,
            quantity,
            position.leverage,
            code,
            reduce_only=True,
        )
        origin = _Origin(action, "MANUAL", position_id=position_id, idempotency_key=idempotency_key)
        return self._admit(position.sub_account_id, order, origin)

    def abandon(self, outcome: Admitted | Refused) -> None:
        """Give back what an admission reserved for a caller that is gone; nothing was journaled or sent."""
        if isinstance(outcome, Admitted):
            self._live.release(outcome.intent.client_order_id)

    def begin_withdrawal(self, account_id: SubAccountId, amount: Money) -> Refused | None:
        """Hold an amount that is about to leave the account, or say why it cannot: until `end_withdrawal`
        no order and no other withdrawal counts on it."""
        account = self._account(account_id)
        refused = refuse_withdrawal(
            account,
            amount,
            self.marked_positions(account),
            self._open_orders(account_id),
            liquidating=account_id in self._switches.liquidating,
            ready=self._switches.ready,
        )
        if refused is None:
            self.hold(account_id, amount)
        return refused

    def hold(self, account_id: SubAccountId, amount: Money) -> None:
        """Let nothing count on an amount of the account's cash until `end_withdrawal`."""
        self._withdrawing.setdefault(account_id, []).append(amount)

    def end_withdrawal(self, account_id: SubAccountId, amount: Money) -> None:
        """End one `begin_withdrawal` that held the amount: it has left the ledger's balance, or stays."""
        held = self._withdrawing[account_id]
        held.remove(amount)
        if not held:
            del self._withdrawing[account_id]

    def begin_leverage(self, account_id: SubAccountId, symbol: Symbol, leverage: Decimal) -> Refused | None:
        """Hold a leverage that is about to be set, or say why it cannot be: until `end_leverage` every
        decision counts with the lower of the old and the new one."""
        if (account_id, symbol) in self._releveraging:
            return Refused.because(RefusalCode.BOUND_REACHED, "Another change of this leverage is under way.")
        account = self._account(account_id)
        refused = refuse_leverage(
            account,
            self._ledger.rules(account_id),
            self.marked_positions(account),
            self._open_orders(account_id),
            symbol,
            leverage,
            liquidating=account_id in self._switches.liquidating,
        )
        if refused is None:
            self._releveraging[(account_id, symbol)] = leverage
        return refused

    def end_leverage(self, account_id: SubAccountId, symbol: Symbol) -> None:
        """End one `begin_leverage`: it is in the ledger, or was not set."""
        self._releveraging.pop((account_id, symbol), None)

    def keep_until_known(self, end: Callable[[], None]) -> None:
        """Keep what a withdrawal or a change of leverage holds whose COMMIT got no answer: `end` is called
        with the next commit, before which the ledger has read what became of it."""
        self._in_doubt.append(end)

    def on_commit(self, _: Committed) -> None:
        """End what was kept for a commit in doubt."""
        ends, self._in_doubt = self._in_doubt, []
        for end in ends:
            end()

    def displaced(self, account_id: SubAccountId, symbol: Symbol, side: OrderSide) -> list[LiveOrder]:
        """Return the account's resting orders of that side that its limits do not carry any more since the
        position is gone that they would have closed, newest first."""
        account = self._account(account_id)
        if account is None:
            return []
        orders = list(self._live.of_account(account_id))
        gone = displaced_orders(
            account,
            self._ledger.rules(account_id),
            self.marked_positions(account),
            [self._open_order(order) for order in orders],
            symbol,
            side,
        )
        return [orders[index] for index in gone if orders[index].type is OrderType.LIMIT]

    def validate(self, request: MarketRequest) -> Validation:
        """Ask the gate without reserving."""
        outcome = gate.assess(self._gate_input(request.sub_account_id, _market(request)))
        return Validation(outcome.approved is not None, outcome.refusals, outcome.computed)

    # --- inside ---

    def _admit(self, account_id: SubAccountId, request: OrderRequest, origin: _Origin) -> Admitted | Refused:
        if len(self._live) >= LIVE_ORDERS_MAX and not request.reduce_only:
            return Refused.because(RefusalCode.BOUND_REACHED)
        decision = gate.decide(self._gate_input(account_id, request))
        if isinstance(decision, Refused):
            if any(one.code is RefusalCode.ORDER_RATE_EXCEEDED for one in decision.refusals):
                self._rule_watch.note_refused(account_id)
            return decision
        if request.code not in _OUR_OWN:
            self._rule_watch.note_order(account_id)
        wire = self._reduce_only_wire(request, decision)
        sequence = self._ledger.allocate_sequence()
        order_id = client_order_id(account_id, request.code, self._ledger.fence, sequence)
        if decision.reduce_only and origin.action == "OPEN":
            origin = replace(origin, action="CLOSE")
        elif self._replaces(request, decision):
            origin = replace(origin, action=FLIP_ACTION)
        intent = NewIntent(
            sequence=sequence,
            client_order_id=order_id,
            sub_account_id=account_id,
            symbol=request.symbol,
            side=decision.side,
            type=request.type,
            time_in_force=request.time_in_force,
            quantity=decision.quantity,
            price=decision.price,
            leverage=self._leverage(account_id, request),
            reduce_only=decision.reduce_only,
            reduce_only_wire=wire,
            code=request.code,
            action=origin.action,
            origin=origin.origin,
            position_id=origin.position_id,
            babysitter_excluded=origin.babysitter_excluded,
            idempotency_key=origin.idempotency_key,
        )
        mark = self._prices.mark_price(request.symbol)
        self._live.reserve(intent, None if mark is None else _exact(mark))
        return Admitted(intent, gate.approve(order_id, request, decision, reduce_only_wire=wire))

    def _replaces(self, request: OrderRequest, decision: Approved) -> bool:
        """True for a market entry that was sent as old + new (decision 17): its booking differs."""
        replaces = self._flip_mode is FlipMode.INCUMBENT and request.type is OrderType.MARKET
        return replaces and not decision.reduce_only and decision.closing > 0 and decision.opening > 0

    def _leverage(self, account_id: SubAccountId, request: OrderRequest) -> Decimal:
        held = self._ledger.open_position(account_id, request.symbol)
        return held.leverage if request.reduce_only and held is not None else request.leverage

    def _reduce_only_wire(self, request: OrderRequest, approved: Approved) -> bool:
        """Decision 12: only an order that ends at once, only when the real net covers it beside all
        others."""
        if approved.opening > 0:
            return False
        outstanding = netting.SymbolBook(
            self._worlds.net(request.symbol),
            self._live.on_side(request.symbol, OrderSide.BUY),
            self._live.on_side(request.symbol, OrderSide.SELL),
        )
        return netting.wire_reduce_only(
            outstanding, approved.side, request.type, request.time_in_force, approved.quantity
        )

    def _gate_input(self, account_id: SubAccountId, request: OrderRequest) -> GateInput:
        account = self._account(account_id)
        symbol_rules = self.symbol_rules(request.symbol)
        mark = self._prices.mark_price(request.symbol)
        restriction, source = self.restriction(account_id)
        return GateInput(
            account=account,
            rules=self._ledger.rules(account_id) if account else RiskRules(),
            symbol_rules=symbol_rules,
            request=request,
            mark=None if mark is None else _exact(mark),
            mark_age_ms=self._prices.mark_age_ms(request.symbol) or 0,
            positions=self.marked_positions(account),
            orders=self._open_orders(account_id),
            closing_taken=self._live.closing(account_id, request.symbol, request.side.opposite),
            crossing_taken=self._live.crossing(account_id, request.symbol, request.side.opposite),
            liquidating=account_id in self._switches.liquidating,
            halted=self._switches.halted or request.symbol in self._switches.isolated,
            ready=self._switches.ready,
            open_orders=self._live.resting_count(request.symbol),
            open_orders_limit=_open_orders_limit(symbol_rules, request),
            account_open_orders=self._live.entries_count(request.symbol, account_id),
            account_open_orders_max=self._open_orders_quota,
            flip_mode=self._flip_mode,
            brackets=self._maintenance.exact,
            real=None if self._real_purse is None else self._real_purse(request.symbol),
            restriction=restriction,
            restriction_source=source,
            rule_refusals=() if request.reduce_only else self._rule_refusals(account_id, request.symbol),
        )

    def _rule_refusals(self, account_id: SubAccountId, symbol: Symbol) -> tuple[Refusal, ...]:
        # What rests or is in flight counts as held: all of it may fill (decision 18).
        ordered = [order.symbol for order in self._live.of_account(account_id) if not order.reduce_only]
        return self._rule_watch.entry_refusals(account_id, symbol, ordered)

    def _account(self, account_id: SubAccountId) -> SubAccount | None:
        account = self._ledger.account(account_id)
        leaving = self._withdrawing.get(account_id)
        if account is None or leaving is None:
            return account
        return replace(account, balance=Money(account.balance - sum(leaving, ZERO)))

    def _open_orders(self, account_id: SubAccountId) -> tuple[OpenOrder, ...]:
        return tuple(self._open_order(order) for order in self._live.of_account(account_id))

    def marked_positions(self, account: SubAccount | None) -> tuple[MarkedPosition, ...]:
        """Return the account's open positions with their marks."""
        if account is None:
            return ()
        return tuple(self._marked(position) for position in self._holdings.of_account(account.id))

    def _marked(self, position: Position) -> MarkedPosition:
        mark = self._prices.mark_price(position.symbol)
        age_ms = self._prices.mark_age_ms(position.symbol) or 0
        coming = self._releveraging.get((position.sub_account_id, position.symbol))
        if coming is not None:
            position = replace(position, leverage=min(position.leverage, coming))
        return MarkedPosition(position, None if mark is None else _exact(mark), age_ms)

    def restriction(self, account_id: SubAccountId) -> tuple[Restriction, str]:
        """Return the strongest restriction of an account, and its source."""
        found = (Restriction.NONE, "")
        for entry in self._ledger.restrictions_of(account_id):
            if entry.level > found[0]:
                found = (entry.level, entry.source)
        return found

    def _open_order(self, order: LiveOrder) -> OpenOrder:
        price = order.price or order.mark_at_approval
        if price is None:
            mark = self._prices.mark_price(order.symbol)
            price = Price(ZERO) if mark is None else _exact(mark)
        elif order.side is OrderSide.SELL and order.mark_at_approval is not None:
            price = max(price, order.mark_at_approval)  # a marketable sell fills at the market, not its price
        owner = order.sub_account_id
        coming = None if owner is None else self._releveraging.get((owner, order.symbol))
        leverage = order.leverage if coming is None else min(order.leverage, coming)
        return OpenOrder(order.symbol, order.side, order.remaining, price, leverage, order.reduce_only)


def _not_sent(plan: netting_plan.Plan) -> Refused:
    """Say why a close needs or finds no order: dust (the caller gives it to the house), or nothing free."""
    if plan.to_house:
        part = plan.to_house[0]
        text = f"{part.quantity} {part.reason.value}"
        return Refused.because(RefusalCode.EXCHANGE_MIN_NOTIONAL, text, quantity=part.quantity)
    text = "Nothing is left to reduce: other closing orders cover the position."
    return Refused.because(RefusalCode.REDUCE_ONLY_REJECTED, text)


def _market(request: MarketRequest) -> OrderRequest:
    return OrderRequest(
        request.symbol,
        request.side,
        OrderType.MARKET,
        request.quantity,
        request.leverage,
        request.code,
        reduce_only=request.reduce_only,
    )


def _open_orders_limit(rules: SymbolRules | None, request: OrderRequest) -> int | None:
    """The symbol's bound; the reserve is kept for what reduces (design, "Bounds")."""
    if rules is None:
        return None
    return rules.open_orders_max if request.reduce_only else rules.open_orders_max - OPEN_ORDERS_RESERVE


def _exact(mark: float) -> Price:
    """A mark as the decimal its text says: `repr` round-trips the exchange's own digits."""
    return Price(Decimal(repr(mark)))
