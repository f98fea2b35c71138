"""Random histories: the invariants of the design hold after every step."""

import asyncio
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Coroutine
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pms.ledger.api import Actor, BookedFill, Committed, HouseLineKind
from pms.ledger.audit import audit
from pms.ledger.errors import (
    AccountExposedError,
    HouseCapitalInsufficient,
    InsufficientBalance,
    InvalidAmountError,
    RequestError,
)
from pms.ledger.ledger import LedgerService
from pms.model.account import AccountStatus
from pms.model.errors import InvariantError
from pms.model.fill import ExchangeFill
from pms.model.ids import SubAccountId
from pms.model.money import ZERO, Price, Quantity
from pms.model.order import ExchangeOrderStatus, JournalOrder, OrderSide
from pms.model.symbol import Symbol
from tests.integration.ledger.conftest import emptied_postgres
from tests.support.ledger import ACTOR, BTC, ETH, Desk, ManualClock, money, opened
from tests.support.servers import Servers

CAPITAL = 5_000
FEE_RATE = "0.0123"
_T = TypeVar("_T")

sides = st.sampled_from(list(OrderSide))
symbols = st.sampled_from([BTC, ETH])
quantities = st.integers(1, 40).map(lambda lots: f"{Decimal(lots) / 1000:f}")
prices = st.integers(1, 90_000).map(lambda ticks: f"{Decimal(ticks) / 10:f}")
fees = st.sampled_from(["0", "0.01234567", "1.5", "-0.002"])
picks = st.integers(0, 1_000)


class History(RuleBasedStateMachine):
    """An independent account of money: what each account and the whole must be worth, from fills and
    transfers."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.accounts: list[SubAccountId] = []
        self.worth: dict[SubAccountId, Decimal] = defaultdict(Decimal)
        self.whole = Decimal(CAPITAL)
        self.net: dict[Symbol, Decimal] = defaultdict(Decimal)
        self.seen: list[tuple[ExchangeFill, str]] = []
        self.waiting: list[tuple[ExchangeFill, str]] = []
        self.orders: list[JournalOrder] = []
        self.named: set[str] = set()
        self.sequences: dict[SubAccountId, int] = defaultdict(int)
        self.seed = 0
        self.clock = ManualClock()

    def do(self, work: Coroutine[None, None, _T]) -> _T:
        self.clock.advance(7)
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.desk = Desk(self.open())
        self.do(self.desk.ledger.adopt_wallet(money(str(CAPITAL)), "epoch-1"))

    def open(self) -> LedgerService:
        self.seed += 1
        ledger = self.do(opened(self.url, clock=self.clock, seed=self.seed, liquidation_fee_rate=FEE_RATE))
        ledger.on_commit(self.hear)
        return ledger

    def hear(self, committed: Committed) -> None:
        for event in committed.events:
            assert event.sequence == self.sequences[event.sub_account_id] + 1
            self.sequences[event.sub_account_id] = event.sequence

    def pick(self, number: int) -> SubAccountId:
        return self.accounts[number % len(self.accounts)]

    # --- what can happen ------------------------------------------------------------------------------------
    @precondition(lambda self: len(self.accounts) < 4)
    @rule(balance=st.sampled_from(["0", "3.5", "100", "1000"]))
    def create(self, balance: str) -> None:
        try:
            account = self.do(self.desk.account("A", balance))
        except HouseCapitalInsufficient:
            assert self.desk.ledger.house_cash() < Decimal(balance)
            return
        self.accounts.append(account.id)
        self.worth[account.id] = Decimal(balance)

    @precondition(lambda self: self.accounts)
    @rule(pick=picks, amount=st.sampled_from(["0.000001", "7", "500"]), into=st.booleans())
    def transfer(self, pick: int, amount: str, into: bool) -> None:
        account, ledger = self.pick(pick), self.desk.ledger
        try:
            self.do((ledger.deposit if into else ledger.withdraw)(account, money(amount), ACTOR))
        except (HouseCapitalInsufficient, InsufficientBalance):
            return
        self.worth[account] += Decimal(amount) if into else -Decimal(amount)

    @precondition(lambda self: self.accounts)
    @rule(
        pick=picks,
        side=sides,
        symbol=symbols,
        quantity=quantities,
        price=prices,
        fee=fees,
        reduce=st.booleans(),
    )
    def trade(
        self, pick: int, side: OrderSide, symbol: Symbol, quantity: str, price: str, fee: str, reduce: bool
    ) -> None:
        order = self.do(
            self.desk.order(self.pick(pick), side, quantity, symbol=symbol, reduce_only=reduce, leverage="7")
        )
        self.book(self.desk.fill(order, price), fee)

    @precondition(lambda self: self.accounts)
    @rule(pick=picks, side=sides, quantity=quantities, price=prices, pieces=st.integers(2, 4))
    def execute_in_pieces(self, pick: int, side: OrderSide, quantity: str, price: str, pieces: int) -> None:
        """A limit order whose executions arrive later, in any order, perhaps after its end."""
        whole = Decimal(quantity) * pieces
        order = self.do(self.desk.order(self.pick(pick), side, f"{whole:f}", price=price))
        self.orders.append(order)
        self.waiting.extend((self.desk.fill(order, price, quantity), "0.001") for _ in range(pieces))

    @precondition(lambda self: self.waiting)
    @rule(pick=picks)
    def deliver(self, pick: int) -> None:
        fill, fee = self.waiting.pop(pick % len(self.waiting))
        self.book(fill, fee)

    @precondition(lambda self: len(self.waiting) > 1)
    @rule()
    def deliver_all_at_once(self) -> None:
        fills, self.waiting = self.waiting, []

        async def together() -> list[BookedFill]:
            return await asyncio.gather(*(self.desk.book(fill, fee) for fill, fee in [*fills, fills[0]]))

        for (fill, fee), booked in zip(fills, self.do(together()), strict=False):
            self.account_for(fill, fee, booked)

    @precondition(lambda self: self.orders)
    @rule(pick=picks, status=st.sampled_from([ExchangeOrderStatus.CANCELLED, ExchangeOrderStatus.EXPIRED]))
    def finish(self, pick: int, status: ExchangeOrderStatus) -> None:
        """The exchange ends an order; its executions may still be on their way."""
        order = self.orders.pop(pick % len(self.orders))
        executed = Quantity(order.quantity)
        self.do(self.desk.ledger.record_terminal(order.client_order_id, status, executed))

    @precondition(lambda self: self.seen)
    @rule(pick=picks)
    def repeat(self, pick: int) -> None:
        fill, fee = self.seen[pick % len(self.seen)]
        booked = self.do(self.desk.book(fill, fee))
        assert booked.duplicate
        assert booked.committed.events == ()

    @rule(side=sides, symbol=symbols, quantity=quantities, price=prices, fee=fees)
    def foreign(self, side: OrderSide, symbol: Symbol, quantity: str, price: str, fee: str) -> None:
        self.book(self.desk.foreign(side, price, quantity, symbol), fee)

    @rule(side=sides, quantity=quantities, price=prices)
    def house(self, side: OrderSide, quantity: str, price: str) -> None:
        order = self.do(self.desk.order(None, side, quantity))
        self.book(self.desk.fill(order, price), "0.01")

    @precondition(lambda self: self.accounts)
    @rule(pick=picks, symbol=symbols, quantity=quantities, price=prices)
    def transfer_to_house(self, pick: int, symbol: Symbol, quantity: str, price: str) -> None:
        account, ledger = self.pick(pick), self.desk.ledger
        position = ledger.open_position(account, symbol)
        if position is None:
            return
        moved = min(Decimal(quantity), position.quantity)
        stated = Price(Decimal(price))
        self.do(
            ledger.transfer_to_house(
                position.id, Decimal(quantity), stated, HouseLineKind.NETTING_DIFFERENCE, "DESYNC_CLOSE"
            )
        )
        self.worth[account] += position.side.sign * moved * stated

    @precondition(lambda self: self.accounts)
    @rule(pick=picks)
    def liquidate(self, pick: int) -> None:
        account = self.pick(pick)
        before = self.desk.ledger.account(account)
        assert before is not None
        try:
            self.do(self.desk.ledger.mark_liquidated(account))
        except InvariantError:
            return
        self.worth[account] += before.owed  # an account that is liquidated owes nothing any more

    @precondition(lambda self: self.accounts)
    @rule(pick=picks)
    def write_off(self, pick: int) -> None:
        account = self.pick(pick)
        before = self.desk.ledger.account(account)
        assert before is not None
        try:
            self.do(self.desk.ledger.write_off(account, ACTOR))
        except AccountExposedError:
            return
        self.worth[account] += before.owed

    @precondition(lambda self: self.accounts)
    @rule(pick=picks, symbol=symbols, quantity=st.none() | quantities, price=prices, by=st.booleans())
    def take_over(self, pick: int, symbol: Symbol, quantity: str | None, price: str, by: bool) -> None:
        """By the liquidation itself it costs the fee, as far as there is money for it."""
        account, ledger = self.pick(pick), self.desk.ledger
        position = ledger.open_position(account, symbol)
        if position is None:
            return
        insured = self.insurance()
        part = None if quantity is None else Decimal(quantity)
        who = Actor("SYSTEM_LIQ", "system") if by else ACTOR
        done = self.do(ledger.take_over(position.id, who, Price(Decimal(price)), part))
        self.follow(done)
        fee = self.insurance() - insured
        assert 0 <= fee <= done.trades[0].notional * Decimal(FEE_RATE)
        assert by or not fee
        self.worth[account] -= fee

    @precondition(lambda self: self.accounts)
    @rule(symbol=symbols, quantity=quantities, price=prices, name=st.integers(0, 3))
    def net_internally(self, symbol: Symbol, quantity: str, price: str, name: int) -> None:
        """Everybody's positions of a symbol against each other, sometimes under a name that was used."""
        ledger = self.desk.ledger
        held = [position for position in ledger.open_positions() if position.symbol == symbol]
        closes = [(position.id, min(position.quantity, Decimal(quantity))) for position in held]
        reference = f"net-{name}"
        done = self.do(ledger.net_internally(closes, Price(Decimal(price)), "CLOSE", reference))
        assert reference not in self.named or not done.trades
        if done.trades:
            self.named.add(reference)
        assert sum(trade.side.sign * trade.quantity for trade in done.trades) == 0
        self.follow(done)

    @precondition(lambda self: self.accounts)
    @rule(pick=picks, symbol=symbols, quantity=quantities, price=prices)
    def assign(self, pick: int, symbol: Symbol, quantity: str, price: str) -> None:
        account, ledger, size = self.pick(pick), self.desk.ledger, Decimal(quantity)
        try:
            done = self.do(
                ledger.assign_from_house(symbol, account, size, Price(Decimal(price)), Decimal(5), ACTOR)
            )
        except RequestError:
            return
        self.follow(done)

    @precondition(lambda self: self.accounts)
    @rule(pick=picks, other=picks, amount=st.sampled_from(["0.5", "20", "700"]))
    def transfer_between(self, pick: int, other: int, amount: str) -> None:
        giver, taker = self.pick(pick), self.pick(other)
        try:
            self.do(self.desk.ledger.transfer_between(giver, taker, money(amount), ACTOR))
        except (InsufficientBalance, InvalidAmountError):
            return
        self.worth[giver] -= Decimal(amount)
        self.worth[taker] += Decimal(amount)

    @precondition(lambda self: self.accounts)
    @rule(
        pick=picks,
        how=st.sampled_from(["set", "reset", "close"]),
        balance=st.sampled_from(["0", "9.5", "300"]),
    )
    def set_or_empty(self, pick: int, how: str, balance: str) -> None:
        account, ledger = self.pick(pick), self.desk.ledger
        before = ledger.account(account)
        assert before is not None
        try:
            match how:
                case "set":
                    after = self.do(ledger.set_balance(account, money(balance), ACTOR))
                    assert (after.balance, after.owed) == (Decimal(balance), 0)
                case "reset":
                    after = self.do(ledger.reset_account(account, ACTOR))
                    assert (after.cash, after.status) == (0, AccountStatus.ACTIVE)
                case _:
                    after = self.do(ledger.close_account(account, ACTOR))
                    assert after.cash == 0
        except (AccountExposedError, HouseCapitalInsufficient):
            return
        self.worth[account] += after.cash - before.cash

    @rule()
    def restart(self) -> None:
        self.do(self.desk.ledger.close())
        self.desk.ledger = self.open()

    # --- accounts of it -------------------------------------------------------------------------------------
    def book(self, fill: ExchangeFill, fee: str) -> None:
        self.account_for(fill, fee, self.do(self.desk.book(fill, fee)))

    def account_for(self, fill: ExchangeFill, fee: str, booked: BookedFill) -> None:
        assert not booked.duplicate
        self.seen.append((fill, fee))
        self.net[fill.symbol] += fill.side.sign * fill.quantity
        self.whole -= fill.side.sign * fill.quantity * fill.price + Decimal(fee)
        self.follow(booked.committed)

    def insurance(self) -> Decimal:
        return self.desk.ledger._book.house_cash.get(HouseLineKind.INSURANCE) or ZERO

    def follow(self, committed: Committed) -> None:
        for trade in committed.trades:
            self.worth[trade.sub_account_id] -= trade.side.sign * trade.quantity * trade.price + trade.fee

    @invariant()
    def money_is_where_it_belongs(self) -> None:
        if not hasattr(self, "desk"):
            return
        ledger = self.desk.ledger
        cost: dict[SubAccountId, Decimal] = defaultdict(Decimal)
        places: set[tuple[SubAccountId, Symbol]] = set()
        for position in ledger.open_positions():
            assert position.quantity > 0
            assert (position.sub_account_id, position.symbol) not in places
            places.add((position.sub_account_id, position.symbol))
            cost[position.sub_account_id] += position.cost * position.side.sign
        for account in ledger.accounts():
            assert account.balance >= 0
            assert account.owed >= 0
            assert account.cash - cost[account.id] == self.worth[account.id]
            if account.status is AccountStatus.LIQUIDATED:
                assert account.id not in {owner for owner, _ in places}
        house = ledger.house_cash() - sum((held.signed_cost for held in ledger.house_positions()), ZERO)
        assert house + sum(self.worth.values(), ZERO) == self.whole
        for symbol in (BTC, ETH):
            assert ledger.expected_net(symbol) == self.net[symbol]

    def teardown(self) -> None:
        if hasattr(self, "desk"):
            self.do(self.desk.ledger.close())
            report = self.do(audit(self.url))
            assert report.passed, "\n".join(report.lines())
        self.runner.close()


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_random_histories(
    kind: str, tmp_path: Path, sqlite_template: Path, request: pytest.FixtureRequest
) -> None:
    servers: Servers | None = request.getfixturevalue("servers") if kind == "postgres" else None

    class Fresh(History):
        def __init__(self) -> None:
            super().__init__()
            if servers is not None:
                self.url = self.runner.run(emptied_postgres(servers))
            else:
                folder = Path(tempfile.mkdtemp(dir=tmp_path))
                shutil.copy(sqlite_template, folder / "pms.db")
                self.url = f"sqlite:///{folder / 'pms.db'}"

    examples, steps = (25, 40) if kind == "sqlite" else (5, 30)
    run_state_machine_as_test(
        Fresh,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
