"""The frame of random histories of a ledger: opening and dying, an oracle beside it, and the invariants of
the design after every step. The numbers in the texts are those of the invariants.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import replace
from decimal import Decimal
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pms.ledger.api import BookedFill, Committed, HouseLineKind
from pms.ledger.audit import audit
from pms.ledger.databases import open_store
from pms.ledger.ledger import LedgerService
from pms.ledger.load import load_book
from pms.ledger.plan import Settings
from pms.model.account import AccountStatus, PositionStatus
from pms.model.fill import ExchangeFill
from pms.model.ids import PositionId, SubAccountId
from pms.model.money import ZERO, Quantity
from pms.model.order import ExchangeOrderStatus, JournalOrder
from pms.model.symbol import Symbol
from tests.support.ledger import (
    BTC,
    ETH,
    EXCHANGE,
    Desk,
    ManualClock,
    SeededIds,
    liquidation_price,
    money,
)
from tests.support.ledger_oracle import Oracle
from tests.support.lossy_store import MortalStore

CAPITAL = 5_000
FEE_RATE = Decimal("0.0123")
AUDIT_EVERY = 16
LONG_RUN = os.environ.get("PMS_HYPOTHESIS_PROFILE") == "pms-long"
_T = TypeVar("_T")

picks = st.integers(0, 1_000)


class LedgerHistory(RuleBasedStateMachine):
    """A ledger, an exchange of which only executions are known, and an oracle that watches both."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.accounts: list[SubAccountId] = []
        self.oracle = Oracle(Decimal(CAPITAL), FEE_RATE)
        self.seen: list[tuple[ExchangeFill, str, SubAccountId | None]] = []
        self.waiting: list[tuple[ExchangeFill, str, SubAccountId | None]] = []
        self.orders: list[JournalOrder] = []
        self.named: set[str] = set()
        self.ended: set[PositionId] = set()
        self.sequences: dict[SubAccountId, int] = defaultdict(int)
        self.faults: list[AssertionError] = []
        self.seed = self.steps = self.lines = 0
        self.clock = ManualClock()

    def do(self, work: Coroutine[None, None, _T]) -> _T:
        self.clock.advance(7)
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.desk = Desk(self.do(self.open()))
        self.do(self.desk.ledger.adopt_wallet(money(str(CAPITAL)), "epoch-1"))

    async def open(self) -> LedgerService:
        self.seed += 1
        self.store = MortalStore(await open_store(self.url))
        loaded = await load_book(self.store, EXCHANGE)
        rules = Settings(EXCHANGE, liquidation_price, liquidation_fee_rate=FEE_RATE)
        ledger = LedgerService(self.store, rules, self.clock, SeededIds(self.seed), loaded)
        await ledger.take_lease("engine", 60_000)
        self.sequences = defaultdict(int, ledger.event_sequences())
        ledger.on_commit(self.listen)
        return ledger

    def listen(self, committed: Committed) -> None:
        """A listener's own exception only reaches the log."""
        try:
            self.hear(committed)
        except AssertionError as fault:
            self.faults.append(fault)

    def hear(self, committed: Committed) -> None:
        for event in committed.events:
            assert event.sequence == self.sequences[event.sub_account_id] + 1, "invariant 9: no gap"
            self.sequences[event.sub_account_id] = event.sequence
        for position in committed.positions:
            if position.status is not PositionStatus.OPEN:
                assert position.id not in self.ended, "invariant 4: it leaves OPEN exactly once"
                self.ended.add(position.id)

    def pick(self, number: int) -> SubAccountId:
        return self.accounts[number % len(self.accounts)]

    def at(self, fill: ExchangeFill) -> ExchangeFill:
        """The execution, made now."""
        return replace(fill, trade_time_ms=self.clock.now_ms())

    @precondition(lambda self: self.waiting)
    @rule(pick=picks)
    def deliver(self, pick: int) -> None:
        self.book(*self.waiting.pop(pick % len(self.waiting)))

    @precondition(lambda self: self.orders)
    @rule(pick=picks, status=st.sampled_from([ExchangeOrderStatus.CANCELLED, ExchangeOrderStatus.EXPIRED]))
    def finish(self, pick: int, status: ExchangeOrderStatus) -> None:
        """The exchange ends an order; its executions may still be on their way."""
        order = self.orders.pop(pick % len(self.orders))
        executed = Quantity(order.quantity)
        self.do(self.desk.ledger.record_terminal(order.client_order_id, status, executed))

    # --- accounts of it -------------------------------------------------------------------------------------
    def book(self, fill: ExchangeFill, fee: str, owner: SubAccountId | None) -> None:
        self.account_for(fill, fee, owner, self.do(self.desk.book(fill, fee)))

    def account_for(
        self, fill: ExchangeFill, fee: str, owner: SubAccountId | None, booked: BookedFill
    ) -> None:
        assert not booked.duplicate
        self.seen.append((fill, fee, owner))
        self.oracle.execute(fill, fee, owner)

    def insurance(self) -> Decimal:
        return self.desk.ledger._book.house_cash.get(HouseLineKind.INSURANCE) or ZERO

    def must_have(self, account: SubAccountId) -> Decimal:
        """The cash that an account must have: its worth, and the cost of what it holds."""
        held = [one for one in self.desk.ledger.open_positions() if one.sub_account_id == account]
        cost = sum((one.cost * one.side.sign for one in held), ZERO)
        return self.oracle.worth[account] + self.oracle.received_by(account) + cost

    @invariant()
    def the_invariants_hold(self) -> None:
        if not hasattr(self, "desk"):
            return
        self.steps += 1
        if self.faults:
            raise self.faults[0]
        self.do(self.oracle.follow(self.store))
        self.money_is_where_it_belongs()
        self.positions_are_whole()
        if self.steps % AUDIT_EVERY == 0:
            self.audited()

    def money_is_where_it_belongs(self) -> None:
        """1: balances, debts, conservation. 2: everything told is booked. 3: netting."""
        ledger, oracle = self.desk.ledger, self.oracle
        for account in ledger.accounts():
            assert account.balance >= 0, "1"
            assert account.owed >= 0, "1"
            assert not account.balance or not account.owed, "1: credits repay what is owed first"
            assert account.cash == self.must_have(account.id), "1"
        house = ledger.house_cash() - sum((held.signed_cost for held in ledger.house_positions()), ZERO)
        worth = sum((oracle.worth[each] + oracle.received_by(each) for each in self.accounts), ZERO)
        assert house + worth == oracle.whole, "1: conservation"
        assert abs(Decimal(float(oracle.real.wallet)) - ledger.derived_wallet()) < Decimal("1e-6"), "1"
        assert oracle.booked == oracle.executions.keys(), "2"
        for symbol in (BTC, ETH):
            assert ledger.expected_net(symbol) == oracle.real.held[symbol], "3"

    def positions_are_whole(self) -> None:
        """4: at most one position each, its figures fit. 6: a liquidated account holds nothing."""
        ledger = self.desk.ledger
        held: dict[tuple[SubAccountId, Symbol], Decimal] = {}
        for position in ledger.open_positions():
            place = (position.sub_account_id, position.symbol)
            assert place not in held, "4"
            held[place] = position.signed_quantity
            assert position.status is PositionStatus.OPEN, "4"
            assert position.id not in self.ended, "4"
            assert position.quantity > 0, "4"
            assert position.notional == position.cost, "4"
            assert abs(position.entry_price * position.quantity - position.notional) < Decimal("1e-9"), "4"
            assert abs(position.margin * position.leverage - position.notional) < Decimal("1e-9"), "4"
            account = ledger.account(position.sub_account_id)
            assert account is not None
            assert account.status is not AccountStatus.LIQUIDATED, "6"
        assert held == {place: signed for place, signed in self.oracle.held.items() if signed}, "2"

    def audited(self) -> None:
        """The whole audit, and 9: event sequences in the database."""
        report = self.do(audit(self.url))
        assert report.passed, "\n".join(report.lines())
        sql = "SELECT count(*) AS n, min(sequence) AS first, max(sequence) AS last FROM pms_outbox"
        for account in self.accounts:
            row = self.do(self.store.fetch(f"{sql} WHERE sub_account_id = ?", account))[0]
            assert (row["n"], row["first"]) == (row["last"], 1), "9"
            assert row["last"] == self.desk.ledger.event_sequence(account), "9"

    def teardown(self) -> None:
        try:
            if hasattr(self, "desk"):
                self.end()
        finally:
            if hasattr(self, "desk"):
                self.do(self.desk.ledger.close())
            self.runner.close()

    def end(self) -> None:
        """Everything arrives and ends."""
        while self.waiting:
            self.deliver(0)
        while self.orders:
            self.finish(0, ExchangeOrderStatus.EXPIRED)
        self.the_invariants_hold()
        assert self.desk.ledger.open_orders() == [], "5: every order is terminal"
        self.audited()
