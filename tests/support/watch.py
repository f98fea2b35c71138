"""Watches an engine's commits over all of its lives, and judges its books when it is at rest.

The numbers in the texts are those of the design's invariants.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal

from pms.ledger.api import Committed
from pms.model.account import AccountStatus, Position, PositionStatus
from pms.model.ids import ClientOrderId, PositionId, SubAccountId
from pms.model.money import ZERO
from pms.model.order import JournalOrder, OrderCode, OrderState
from pms.model.restriction import Restriction
from pms.model.symbol import Symbol
from tests.support.lives import Life, books_of
from tests.support.moody_venue import MoodyVenue

STALE_MS = 10_000
URGENT = frozenset({OrderCode.LIQUIDATION, OrderCode.CLOSE})
Place = tuple[SubAccountId, Symbol]


@dataclass(slots=True)
class Watch:
    """What is known of accounts, positions and orders in the order of the commits."""

    positions: dict[Place, Position] = field(default_factory=dict)
    orders: dict[ClientOrderId, JournalOrder] = field(default_factory=dict)
    ended: set[PositionId] = field(default_factory=set)
    sequences: dict[SubAccountId, int] = field(default_factory=lambda: defaultdict(int))
    liquidations: set[str] = field(default_factory=set)
    faults: list[AssertionError] = field(default_factory=list)
    """What a commit broke: a listener's own exception only reaches the log."""
    most: dict[PositionId, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    """The largest quantity that each position ever had."""
    intents: int = 0
    liquidated: int = 0

    def begin(self, life: Life) -> None:
        """Take the books as a new life read them, and listen from now on."""
        ledger = life.ledger
        self.positions = {(one.sub_account_id, one.symbol): one for one in ledger.open_positions()}
        self.orders = {order.client_order_id: order for order in ledger.open_orders()}
        for position in self.positions.values():
            self.most[position.id] = max(self.most[position.id], position.quantity)
        venue = life.venue
        assert isinstance(venue, MoodyVenue)
        venue.on_place = lambda order: self.judge_order(life, order.client_order_id)
        self.sequences = defaultdict(int, ledger.event_sequences())
        self.liquidations = {one.id for one in ledger.running_liquidations()}
        ledger.on_commit(lambda committed: self.listen(life, committed))

    def listen(self, life: Life, committed: Committed) -> None:
        try:
            self.hear(life, committed)
        except AssertionError as fault:
            self.faults.append(fault)

    def hear(self, life: Life, committed: Committed) -> None:
        for account in committed.accounts:
            assert account.balance >= 0, "1"
            assert account.owed >= 0, "1"
        for event in committed.events:
            self.sequences[event.sub_account_id] += 1
            assert event.sequence == self.sequences[event.sub_account_id], "9"
        for order in committed.orders:
            fresh = order.client_order_id not in self.orders and order.state is OrderState.INTENT
            live = [one for one in self.orders.values() if not one.state.terminal]
            self.orders[order.client_order_id] = order
            if fresh:
                self.judge_intent(order, live)
        for position in committed.positions:
            self.judge_position(position)
        for record in life.ledger.running_liquidations():
            if record.id not in self.liquidations:
                self.liquidations.add(record.id)
                self.liquidated += 1
                held = life.wired.core.holdings.of_account(record.sub_account_id)
                ages = [life.wired.core.prices.mark_age_ms(position.symbol) for position in held]
                assert all(age is not None and age <= STALE_MS for age in ages), f"7: {ages}"

    def judge_order(self, life: Life, client_order_id: ClientOrderId) -> None:
        """6: nothing leaves that adds to the exposure of who may not."""
        order = life.ledger.order(client_order_id)
        if order is None or order.sub_account_id is None or order.reduce_only:
            return
        owner = order.sub_account_id
        held, account = life.ledger.open_position(owner, order.symbol), life.ledger.account(owner)
        before = ZERO if held is None else held.signed_quantity
        after = before + order.side.sign * order.quantity
        if abs(after) > abs(before) or after * before < 0:
            if account is None or account.status is not AccountStatus.ACTIVE:
                self.faults.append(AssertionError(f"6: {account} {order}"))
            if life.ledger.restriction_of(owner) >= Restriction.BLOCK_ENTRIES:
                self.faults.append(AssertionError(f"6: {life.ledger.restrictions_of(owner)} {order}"))

    def judge_intent(self, order: JournalOrder, others: list[JournalOrder]) -> None:
        """7: nothing urgent closes what is being closed already. A position may have shrunk, or gone, since
        the turn that decided the order."""
        owner = order.sub_account_id
        if owner is None:
            return
        self.intents += 1
        held = self.positions.get((owner, order.symbol))
        if order.code in URGENT:
            live = [
                one
                for one in others
                if (one.sub_account_id, one.symbol) == (owner, order.symbol) and one.code in URGENT
            ]
            closing = order.quantity + sum((one.remaining_quantity for one in live), ZERO)
            most = ZERO if held is None else self.most[held.id]
            assert held is None or closing <= most, f"7: {closing} of {most} are being closed"

    def judge_position(self, position: Position) -> None:
        """4: one for each place, whole figures, and it leaves OPEN exactly once."""
        place = (position.sub_account_id, position.symbol)
        known = self.positions.get(place)
        assert known is None or known.id == position.id, "4"
        assert position.id not in self.ended, "4"
        if position.status is PositionStatus.OPEN:
            self.positions[place] = position
            self.most[position.id] = max(self.most[position.id], position.quantity)
            assert position.quantity > 0, "4"
            assert abs(position.entry_price * position.quantity - position.notional) < Decimal("1e-9"), "4"
            assert abs(position.margin * position.leverage - position.notional) < Decimal("1e-9"), "4"
        else:
            self.positions.pop(place, None)
            self.ended.add(position.id)


def resting(venue: MoodyVenue) -> set[ClientOrderId]:
    return {key for key, report in venue.state.orders.items() if not report.status.terminal}


def restless(life: Life) -> str:
    """Return what is not at rest yet, in words; empty when all is."""
    ledger, wired, venue = life.ledger, life.wired, life.venue
    assert isinstance(venue, MoodyVenue)
    open_orders = {order.client_order_id: order.state for order in ledger.open_orders()}
    reasons = {
        "the stream": not venue.told.empty() or bool(venue.late),
        "doubts": wired.resolver.statistics().in_doubt > 0,
        "orders": open_orders.keys() != resting(venue),
        "unknown orders": any(state is not OrderState.LIVE for state in open_orders.values()),
        "liquidations": bool(ledger.running_liquidations()),
        "restrictions": bool(wired.enforcer.working()),
        "netting": any(
            ledger.expected_net(symbol) != venue.state.net.get(symbol, ZERO) for symbol in venue.state.prices
        ),
    }
    return ", ".join(reason for reason, holds in reasons.items() if holds)


async def at_rest(life: Life, seconds_max: int = 120) -> None:
    """Keep the marks fresh until nothing is in doubt any more. Fails naming what is."""
    venue = life.venue
    assert isinstance(venue, MoodyVenue)
    venue.calm()
    calm, until_ms = 0, life.clock.now_ms() + seconds_max * 1_000
    while calm < 3:
        for symbol, price in venue.state.prices.items():
            life.mark(symbol, str(price))
        await life.clock.sleep(0.7)
        why = restless(life)
        calm = 0 if why else calm + 1
        assert life.clock.now_ms() < until_ms, f"5: not at rest after {seconds_max} s: {why}"


async def judge(life: Life, watch: Watch) -> None:
    """The invariants of an engine at rest, and what any commit before has broken."""
    if watch.faults:
        raise watch.faults[0]
    ledger, wired, venue = life.ledger, life.wired, life.venue
    books_of(life, exact_wallet=False)  # 1: the wallet; 3: netting; 5: no order that only one side knows
    rows = await ledger.store.fetch("SELECT trade_id, order_id FROM pms_fills WHERE kind = 'EXCHANGE'")
    booked = sorted((int(str(row["trade_id"])), str(row["order_id"])) for row in rows)
    assert booked == [(fill.trade_id, fill.order_id) for fill in venue.state.trades], "2"
    for account in ledger.accounts():
        held = [one for one in ledger.open_positions() if one.sub_account_id == account.id]
        live = [one for one in ledger.open_orders() if one.sub_account_id == account.id]
        assert account.status is not AccountStatus.LIQUIDATED or not (held or live), "6"
        state = wired.trader.account_state(account.id)
        assert state is not None
        assert state.account == account, "9"
        shown = {one.position.id: one.position.quantity for one in state.positions}
        assert shown == {one.id: one.quantity for one in held}, "9: what is shown is the ledger"
    live_orders = wired.core.live_orders
    assert len(live_orders) == len(ledger.open_orders()), "8: no reservation outlives its order"
    assert wired.core.queues.statistics().waiting == 0, "8"
    assert wired.sender.statistics().in_flight == 0, "8"
