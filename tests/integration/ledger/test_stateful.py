"""Random histories of the ledger, with crashes anywhere: the invariants of the design hold after every step.

The numbers in the texts are those of the design's invariants; 7, 8 and 10 are seen one level up, in
`tests/integration/test_histories.py`.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine, Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    precondition,
    rule,
    run_state_machine_as_test,
)

from pms.ledger.api import Actor, BookedFill, HouseLineKind
from pms.ledger.checkpoints import Checkpointer
from pms.ledger.errors import (
    AccountExposedError,
    HouseCapitalInsufficient,
    InsufficientBalance,
    InvalidAmountError,
    LedgerError,
    RequestError,
)
from pms.model.account import AccountStatus, Position
from pms.model.errors import InvariantError
from pms.model.ids import ClientOrderId
from pms.model.income import FundingKey, FundingRate, FundingType, Income
from pms.model.liquidation import LiquidationState
from pms.model.money import ZERO, Price
from pms.model.order import OrderSide
from pms.model.restriction import Restriction
from pms.model.symbol import Symbol
from tests.integration.ledger.conftest import emptied_postgres
from tests.support.ledger import (
    ACTOR,
    BTC,
    ETH,
    FOREIGN_ORDER,
    money,
)
from tests.support.ledger_history import FEE_RATE, LONG_RUN, LedgerHistory, picks
from tests.support.servers import Servers

DAY_MS = 86_400_000
CLOSES_OF_THE_EXCHANGE = ("autoclose-1", "adl_autoclose", "settlement_autoclose-1", FOREIGN_ORDER)

sides = st.sampled_from(list(OrderSide))
symbols = st.sampled_from([BTC, ETH])
quantities = st.integers(1, 40).map(lambda lots: f"{Decimal(lots) / 1000:f}")
prices = st.integers(1, 90_000).map(lambda ticks: f"{Decimal(ticks) / 10:f}")
fees = st.sampled_from(["0", "0.01234567", "1.5", "-0.002"])


async def all_of(tasks: Sequence[asyncio.Task[object]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


def signed(position: Position | None) -> Decimal:
    return ZERO if position is None else position.signed_quantity


class History(LedgerHistory):
    """What can happen to a ledger."""

    # --- executions -----------------------------------------------------------------------------------------
    @precondition(lambda self: len(self.accounts) < 4)
    @rule(balance=st.sampled_from(["0", "3.5", "100", "1000"]))
    def create(self, balance: str) -> None:
        try:
            account = self.do(self.desk.account("A", balance))
        except HouseCapitalInsufficient:
            assert self.desk.ledger.house_cash() < Decimal(balance)
            return
        self.accounts.append(account.id)
        self.oracle.worth[account.id] = Decimal(balance)

    @precondition(lambda self: self.accounts)
    @rule(
        pick=picks,
        side=sides,
        symbol=symbols,
        quantity=quantities,
        price=prices,
        fee=fees,
        how=st.sampled_from(["open", "open", "reduce", "ADL_TIER2", "LIQUIDATE"]),
    )
    def trade(
        self, pick: int, side: OrderSide, symbol: Symbol, quantity: str, price: str, fee: str, how: str
    ) -> None:
        """A market order opens, adds, flips, closes, or liquidates."""
        owner, action = self.pick(pick), "OPEN" if how in ("open", "reduce") else how
        order = self.do(
            self.desk.order(
                owner, side, quantity, symbol=symbol, reduce_only=how != "open", leverage="7", action=action
            )
        )
        before = self.oracle.held[owner, symbol]
        account = self.desk.ledger.account(owner)
        assert account is not None
        self.book(self.at(self.desk.fill(order, price)), fee, owner)
        self.do(self.oracle.follow(self.store))
        size = Decimal(quantity)
        if account.status is AccountStatus.LIQUIDATED:
            size = ZERO
        elif how != "open":
            size = min(size, max(ZERO, -before * side.sign))
        assert self.oracle.held[owner, symbol] == before + side.sign * size

    @precondition(lambda self: self.accounts)
    @rule(pick=picks, side=sides, quantity=quantities, price=prices, pieces=st.integers(2, 4))
    def execute_in_pieces(self, pick: int, side: OrderSide, quantity: str, price: str, pieces: int) -> None:
        """A limit order whose executions arrive later, in any order, perhaps after its end."""
        whole, owner = Decimal(quantity) * pieces, self.pick(pick)
        order = self.do(self.desk.order(owner, side, f"{whole:f}", price=price))
        self.orders.append(order)
        for _ in range(pieces):
            self.clock.advance(3)
            self.waiting.append((self.at(self.desk.fill(order, price, quantity)), "0.001", owner))

    @precondition(lambda self: self.accounts)
    @rule(maker=picks, taker=picks, quantity=quantities, price=prices, late=st.booleans())
    def self_trade(self, maker: int, taker: int, quantity: str, price: str, late: bool) -> None:
        """Two of our own orders meet: two executions of one trade id, of different orders."""
        buyer, seller = self.pick(maker), self.pick(taker)
        bought = self.do(self.desk.order(buyer, OrderSide.BUY, quantity, price=price))
        sold = self.do(self.desk.order(seller, OrderSide.SELL, quantity))
        one = self.at(self.desk.fill(bought, price))
        other = self.at(self.desk.fill(sold, price, trade=int(one.trade_id)))
        assert one.trade_id == other.trade_id
        self.book(one, "0.01", buyer)
        if late:
            self.waiting.append((other, "0.02", seller))
        else:
            self.book(other, "0.02", seller)

    @precondition(lambda self: len(self.waiting) > 1)
    @rule()
    def deliver_all_at_once(self) -> None:
        """Also twice in one group; each is booked once."""
        told, self.waiting = self.waiting, []

        async def together() -> list[BookedFill]:
            return await asyncio.gather(*(self.desk.book(fill, fee) for fill, fee, _ in [*told, told[0]]))

        *first, again = self.do(together())
        assert again.duplicate
        for (fill, fee, owner), booked in zip(told, first, strict=True):
            self.account_for(fill, fee, owner, booked)

    @precondition(lambda self: self.seen)
    @rule(pick=picks)
    def repeat(self, pick: int) -> None:
        fill, fee, _ = self.seen[pick % len(self.seen)]
        booked = self.do(self.desk.book(fill, fee))
        assert booked.duplicate
        assert booked.committed.events == ()

    @rule(
        side=sides,
        symbol=symbols,
        quantity=quantities,
        price=prices,
        fee=fees,
        client_id=st.sampled_from(CLOSES_OF_THE_EXCHANGE),
        late=st.booleans(),
    )
    def foreign(
        self,
        side: OrderSide,
        symbol: Symbol,
        quantity: str,
        price: str,
        fee: str,
        client_id: str,
        late: bool,
    ) -> None:
        """Somebody else trades, or the exchange liquidates, deleverages or settles; perhaps told later."""
        fill = self.at(self.desk.foreign(side, price, quantity, symbol, ClientOrderId(client_id)))
        if late:
            self.waiting.append((fill, fee, None))
            return
        self.book(fill, fee, None)
        if client_id.startswith("autoclose"):
            levels = [self.desk.ledger.restriction_of(account) for account in self.accounts]
            assert all(level >= Restriction.HALT for level in levels), "decision 11: a liquidation halts"

    @rule(symbol=symbols, price=prices, late=st.booleans())
    def settle(self, symbol: Symbol, price: str, late: bool) -> None:
        """The exchange settles what it holds: opposite holders end with it (decision 11)."""
        net = self.desk.ledger.expected_net(symbol)
        if not net:
            self.do(self.desk.ledger.settle_holders(symbol, Price(Decimal(price))))
        else:
            side = OrderSide.SELL if net > 0 else OrderSide.BUY
            name = ClientOrderId("settlement_autoclose-1")
            fill = self.at(self.desk.foreign(side, price, f"{abs(net):f}", symbol, name))
            if late:
                self.waiting.append((fill, "0.5", None))
                return
            self.book(fill, "0.5", None)
        assert all(position.symbol != symbol for position in self.desk.ledger.open_positions())
        assert self.desk.ledger.expected_net(symbol) == 0

    @rule(side=sides, quantity=quantities, price=prices)
    def house(self, side: OrderSide, quantity: str, price: str) -> None:
        order = self.do(self.desk.order(None, side, quantity))
        self.book(self.at(self.desk.fill(order, price)), "0.01", None)

    # --- funding and the real account -----------------------------------------------------------------------
    @rule(
        symbol=symbols,
        ago_ms=st.sampled_from([0, 1, 7, 40, 200]),
        rate=st.sampled_from(["0.0001", "-0.0375", "0.003"]),
        mark=prices,
        type_=st.sampled_from(FundingType),
    )
    def fund(self, symbol: Symbol, ago_ms: int, rate: str, mark: str, type_: FundingType) -> None:
        """A funding, now or of a while ago; executions that are still on their way correct it."""
        key = FundingKey(symbol, self.clock.now_ms() - ago_ms, type_)
        funding = FundingRate(key, Decimal(rate), Price(Decimal(mark)))
        booked = self.do(self.desk.ledger.book_funding(funding))
        assert booked.duplicate == (key in self.oracle.fundings)
        self.oracle.fundings.setdefault(key, funding)

    @precondition(lambda self: self.oracle.fundings)
    @rule(pick=picks)
    def fund_again(self, pick: int) -> None:
        funding = list(self.oracle.fundings.values())[pick % len(self.oracle.fundings)]
        assert self.do(self.desk.ledger.book_funding(funding)).duplicate

    @rule(
        type_=st.sampled_from(["TRANSFER", "FUNDING_FEE", "INSURANCE_CLEAR", "API_REBATE", "COMMISSION"]),
        amount=st.sampled_from(["250", "-3.25", "0.00000001"]),
    )
    def receive(self, type_: str, amount: str) -> None:
        """A line of the real account's income: deposits and withdrawals on it, its own funding, rebates."""
        self.lines += 1
        symbol = BTC if type_ == "FUNDING_FEE" else None
        line = Income(type_, f"{self.lines}", "", symbol, "USDT", Decimal(amount), self.clock.now_ms())
        posted = self.do(self.desk.ledger.book_income(line))
        assert posted == (type_ != "COMMISSION"), "executions explain their own lines"
        assert not self.do(self.desk.ledger.book_income(line))
        if posted:
            self.oracle.receive(Decimal(amount))

    # --- movements ------------------------------------------------------------------------------------------
    @precondition(lambda self: self.accounts)
    @rule(pick=picks, amount=st.sampled_from(["0.000001", "7", "500"]), into=st.booleans())
    def transfer(self, pick: int, amount: str, into: bool) -> None:
        account, ledger = self.pick(pick), self.desk.ledger
        try:
            self.do((ledger.deposit if into else ledger.withdraw)(account, money(amount), ACTOR))
        except (HouseCapitalInsufficient, InsufficientBalance):
            return
        self.oracle.worth[account] += Decimal(amount) if into else -Decimal(amount)

    @precondition(lambda self: self.accounts)
    @rule(
        pick=picks,
        symbol=symbols,
        quantity=st.none() | quantities,
        price=prices,
        how=st.sampled_from(["house", "liquidator", "administrator"]),
    )
    def give_up(self, pick: int, symbol: Symbol, quantity: str | None, price: str, how: str) -> None:
        """The house gets a position or a part of it; by the liquidation it costs the fee."""
        account, ledger, stated = self.pick(pick), self.desk.ledger, Price(Decimal(price))
        position = ledger.open_position(account, symbol)
        if position is None:
            return
        part = position.quantity if quantity is None else Decimal(quantity)
        if how == "house":
            kind = HouseLineKind.NETTING_DIFFERENCE
            self.do(ledger.transfer_to_house(position.id, part, stated, kind, "DESYNC_CLOSE"))
            return
        insured = self.insurance()
        who = Actor("SYSTEM_LIQ", "system") if how == "liquidator" else ACTOR
        done = self.do(ledger.take_over(position.id, who, stated, part))
        fee = self.insurance() - insured
        assert 0 <= fee <= done.trades[0].notional * FEE_RATE
        assert how == "liquidator" or not fee

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

    @precondition(lambda self: self.accounts)
    @rule(pick=picks, symbol=symbols, quantity=quantities, price=prices)
    def assign(self, pick: int, symbol: Symbol, quantity: str, price: str) -> None:
        account, ledger, size = self.pick(pick), self.desk.ledger, Decimal(quantity)
        before = ledger.account(account)
        assert before is not None
        held = signed(ledger.open_position(account, symbol))
        work = ledger.assign_from_house(symbol, account, size, Price(Decimal(price)), Decimal(5), ACTOR)
        try:
            self.do(work)
        except RequestError:
            return
        now = signed(ledger.open_position(account, symbol))
        adds = abs(now) > abs(held) or now * held < 0
        assert not adds or before.status is AccountStatus.ACTIVE, "invariant 6: nobody adds to a frozen one"

    @precondition(lambda self: self.accounts)
    @rule(pick=picks, other=picks, amount=st.sampled_from(["0.5", "20", "700"]))
    def transfer_between(self, pick: int, other: int, amount: str) -> None:
        giver, taker = self.pick(pick), self.pick(other)
        try:
            self.do(self.desk.ledger.transfer_between(giver, taker, money(amount), ACTOR))
        except (InsufficientBalance, InvalidAmountError):
            return
        self.oracle.worth[giver] -= Decimal(amount)
        self.oracle.worth[taker] += Decimal(amount)

    @precondition(lambda self: self.accounts)
    @rule(
        pick=picks,
        how=st.sampled_from(["set", "reset", "close", "write off"]),
        balance=st.sampled_from(["0", "9.5", "300"]),
    )
    def set_or_empty(self, pick: int, how: str, balance: str) -> None:
        account, ledger = self.pick(pick), self.desk.ledger
        before = ledger.account(account)
        assert before is not None
        forgiven = ZERO if how == "set" else before.owed
        try:
            match how:
                case "set":
                    after = self.do(ledger.set_balance(account, money(balance), ACTOR))
                    assert (after.balance, after.owed) == (Decimal(balance), 0)
                case "reset":
                    after = self.do(ledger.reset_account(account, ACTOR))
                    assert (after.cash, after.status) == (0, AccountStatus.ACTIVE)
                case "close":
                    after = self.do(ledger.close_account(account, ACTOR))
                    assert after.cash == 0
                case _:
                    after = self.do(ledger.write_off(account, ACTOR))
                    assert (after.balance, after.owed) == (before.balance, 0)
        except (AccountExposedError, HouseCapitalInsufficient):
            return
        self.oracle.worth[account] += after.cash - before.cash - forgiven

    # --- risk and control -----------------------------------------------------------------------------------
    @precondition(lambda self: self.accounts)
    @rule(pick=picks, how=st.sampled_from(["begin", "done", "released", "finish", "mark"]))
    def liquidate(self, pick: int, how: str) -> None:
        account, ledger = self.pick(pick), self.desk.ledger
        match how:
            case "begin":
                begun = ledger.begin_liquidation(
                    account, "ADL_30", Decimal("0.97"), {}, "adl_triggered", {"subAccountId": account}
                )
                try:
                    assert self.do(begun).state is LiquidationState.RUNNING
                except RequestError:
                    gone = ledger.account(account)
                    assert gone is not None
                    assert gone.status is AccountStatus.LIQUIDATED
            case "done" | "released":
                self.do(ledger.end_liquidation(account, LiquidationState[how.upper()]))
                assert ledger.running_liquidation(account) is None
            case _:
                try:
                    work = ledger.finish_liquidation if how == "finish" else ledger.mark_liquidated
                    self.do(work(account))
                except InvariantError:
                    return
                assert all(order.sub_account_id != account for order in ledger.open_orders())
        assert len(ledger.running_liquidations()) <= len(self.accounts)

    @precondition(lambda self: self.accounts)
    @rule(
        pick=st.none() | picks,
        source=st.sampled_from(["operator", "exchange", "rule:daily_loss"]),
        level=st.sampled_from(Restriction),
        freeze=st.booleans(),
    )
    def restrict(self, pick: int | None, source: str, level: Restriction, freeze: bool) -> None:
        account, ledger = None if pick is None else self.pick(pick), self.desk.ledger
        self.do(ledger.set_restriction(account, source, level, "because", ACTOR))
        if account is not None and level:
            assert ledger.restriction_of(account) >= level
        if account is not None and freeze:
            self.do(ledger.set_status(account, AccountStatus.FROZEN, ACTOR))

    @rule()
    def a_day_passes(self) -> None:
        """Checkpoints are written for the days that are over."""
        self.clock.advance(DAY_MS)
        self.do(self.desk.ledger.take_lease("engine", 60_000))
        self.do(Checkpointer(self.desk.ledger, self.clock).close_days())

    # --- ends of a process ----------------------------------------------------------------------------------
    @rule()
    def restart(self) -> None:
        self.do(self.desk.ledger.close())
        self.desk.ledger = self.do(self.open())

    @precondition(lambda self: self.accounts)
    @rule(
        pick=picks, side=sides, quantity=quantities, price=prices, lose=st.sampled_from(["before", "after"])
    )
    def lose_an_answer(self, pick: int, side: OrderSide, quantity: str, price: str, lose: str) -> None:
        """A COMMIT gets no answer: its row is read again, and nobody is told anything else."""
        owner = self.pick(pick)
        order = self.do(self.desk.order(owner, side, quantity))
        fill = self.at(self.desk.fill(order, price))
        self.store.lose = lose
        if lose == "before":
            with pytest.raises(LedgerError, match="nothing was changed"):
                self.do(self.desk.book(fill, "0.3"))
        self.book(fill, "0.3", owner)

    @precondition(lambda self: self.accounts)
    @rule(
        pick=picks,
        side=sides,
        quantity=quantities,
        price=prices,
        commits=st.integers(1, 4),
        with_effect=st.booleans(),
        pause=st.integers(0, 3),
    )
    def crash(
        self,
        pick: int,
        side: OrderSide,
        quantity: str,
        price: str,
        commits: int,
        with_effect: bool,
        pause: int,
    ) -> None:
        """The process dies with a group of operations under way, some of them committed; the next one reads
        the database, and everything that the exchange told is told again."""
        owner, ledger = self.pick(pick), self.desk.ledger
        order = self.do(self.desk.order(owner, side, quantity))
        told = [*self.waiting, (self.at(self.desk.fill(order, price)), "0.7", owner)]
        self.waiting = []
        key = FundingKey(order.symbol, self.clock.now_ms() - 20)
        funding = FundingRate(key, Decimal("0.002"), Price(Decimal(price)))
        amount = money("0.777")
        for fill, fee, whose in told:
            self.oracle.execute(fill, fee, whose)
            self.seen.append((fill, fee, whose))

        async def until_death() -> None:
            works: list[Coroutine[None, None, object]] = [self.desk.book(fill, fee) for fill, fee, _ in told]
            works.insert(len(works) // 2, ledger.deposit(owner, amount, ACTOR))
            if key not in self.oracle.fundings:
                works.append(ledger.book_funding(funding))
            self.store.die_at(commits, with_effect=with_effect)
            tasks = [asyncio.create_task(work) for work in works]
            for _ in range(pause):
                await asyncio.sleep(0)
            dead = asyncio.create_task(self.store.dead.wait())
            finished = asyncio.create_task(all_of(tasks))
            await asyncio.wait([finished, dead], return_when=asyncio.FIRST_COMPLETED)
            self.store.die()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self.store.inner.close()

        self.do(until_death())
        self.desk.ledger = self.do(self.open())
        self.do(self.oracle.follow(self.store))
        for fill, fee, _ in told:
            known = (int(fill.trade_id), str(fill.order_id)) in self.oracle.booked
            again = self.do(self.desk.book(fill, fee))
            assert again.duplicate == known, "invariant 2: what was booked before the end stays booked, once"
        self.oracle.fundings.setdefault(key, funding)
        self.do(self.desk.ledger.book_funding(self.oracle.fundings[key]))
        self.do(self.oracle.follow(self.store))
        account = self.desk.ledger.account(owner)
        assert account is not None
        arrived = account.cash - self.must_have(owner)
        assert arrived in (0, amount), "a deposit is whole or not there"
        self.oracle.worth[owner] += arrived


@pytest.mark.timeout(3600 if LONG_RUN else 120)
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

    examples, steps = (12, 40) if kind == "sqlite" else (3, 30)
    run_state_machine_as_test(
        Fresh,
        settings=settings(
            max_examples=examples * (25 if LONG_RUN else 1),
            stateful_step_count=steps,
            derandomize=not LONG_RUN,
            suppress_health_check=list(HealthCheck),
        ),
    )
