"""The life of an order: the whole table, and that no order of hearing changes where it ends."""

from decimal import Decimal

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pms.model.money import Quantity
from pms.model.order import ExchangeOrderStatus, OrderState
from pms.model.order_life import TABLE, By, Denied, OrderInput, OrderLife, at_birth

COLUMNS = (
    "SENT ACKNOWLEDGED DOUBTED REFUSED NOT_SENT PROVED_ABSENT"
    " PARTLY_FILLED FILLED CANCEL_REQUESTED AMENDED ENDING ENDED"
)
WHOLE_TABLE = """
INTENT        .  LIVE  UNKNOWN  REJECTED  NOT_EXECUTED  no            LIVE  FILLED  .  no  FINISHING  says
UNKNOWN       .  LIVE  .        REJECTED  NOT_EXECUTED  NOT_EXECUTED  LIVE  FILLED  .  no  FINISHING  says
LIVE          .  .     .        no        no            no            .     FILLED  .  .   FINISHING  says
FINISHING     .  .     .        no        no            no            .     FILLED  .  no  .          says
FILLED        .  .     .        .         .             .             .     .       .  no  FINISHING  .
CANCELLED     .  .     .        .         .             .             .     .       .  no  FINISHING  .
EXPIRED       .  .     .        .         .             .             .     .       .  no  FINISHING  .
REJECTED      .  .     .        .         .             .             LIVE  FILLED  .  no  FINISHING  .
NOT_EXECUTED  .  .     .        .         .             .             LIVE  FILLED  .  no  FINISHING  .
"""
"""A point: the state stays. `no`: denied with a reason. `says`: the state that the exchange's word names."""

STATUSES = [status for status in ExchangeOrderStatus if status.terminal and status.value != "REJECTED"]


def quantity(value: int) -> Quantity:
    return Quantity(Decimal(value))


def word(state: OrderState, heard: OrderInput) -> str:
    following = TABLE[state][heard]
    if isinstance(following, Denied):
        assert following.why
        return "no"
    if following is By.STATUS:
        return "says"
    return "." if following is state else str(following.value)


def test_every_state_answers_to_everything_that_can_be_heard() -> None:
    rows = [line.split() for line in WHOLE_TABLE.strip().splitlines()]
    assert [row[0] for row in rows] == [state.value for state in OrderState]
    assert COLUMNS.split() == [heard.value for heard in OrderInput]
    for state, row in zip(OrderState, rows, strict=True):
        assert [word(state, heard) for heard in OrderInput] == row[1:], state


def test_what_must_never_be_denied_never_is() -> None:
    never = (OrderInput.PARTLY_FILLED, OrderInput.FILLED, OrderInput.ENDING, OrderInput.ENDED)
    assert not [state for state in OrderState if any(isinstance(TABLE[state][one], Denied) for one in never)]


def test_only_the_exchange_and_the_last_booking_end_an_order() -> None:
    life = at_birth(quantity(10))
    finishing = life.end(ExchangeOrderStatus.CANCELLED, quantity(4))
    assert finishing.state is OrderState.FINISHING
    assert finishing.fill(quantity(3)).state is OrderState.FINISHING
    assert finishing.fill(quantity(3)).fill(quantity(1)).state is OrderState.CANCELLED
    assert life.fill(quantity(10)).state is OrderState.FILLED
    assert life.end(ExchangeOrderStatus.SELF_MATCH, quantity(0)).state is OrderState.EXPIRED


def test_a_fill_of_an_order_proved_absent_shows_that_it_lives() -> None:
    absent = at_birth(quantity(10)).hear(OrderInput.DOUBTED)
    assert isinstance(absent, OrderLife)
    absent = absent.refused(OrderInput.PROVED_ABSENT)
    assert isinstance(absent, OrderLife)
    assert absent.state is OrderState.NOT_EXECUTED
    assert absent.fill(quantity(4)).state is OrderState.LIVE


def test_more_executed_than_booked_opens_an_ended_order_again() -> None:
    ended = at_birth(quantity(10)).end(ExchangeOrderStatus.CANCELLED, quantity(0))
    again = ended.end(ExchangeOrderStatus.CANCELLED, quantity(2))
    assert (again.state, again.fill(quantity(2)).state) == (OrderState.FINISHING, OrderState.CANCELLED)


def test_a_refusal_after_a_fill_ends_with_what_is_booked() -> None:
    partly = OrderLife(OrderState.UNKNOWN, quantity(10), quantity(4), quantity(4))
    after = partly.refused(OrderInput.REFUSED)
    assert isinstance(after, OrderLife)
    assert after.state is OrderState.EXPIRED


@pytest.mark.parametrize(("asked", "limit"), [(15, 15), (6, 10)])
def test_until_a_change_is_settled_the_larger_quantity_may_execute(asked: int, limit: int) -> None:
    life = OrderLife(OrderState.LIVE, quantity(10), quantity(0), quantity(0))
    pending = life.ask_amendment(quantity(asked))
    assert isinstance(pending, OrderLife)
    assert pending.quantity == limit
    settled = pending.amend(quantity(asked))
    assert isinstance(settled, OrderLife)
    assert (settled.quantity, settled.state) == (asked, OrderState.LIVE)
    assert isinstance(life.fill(quantity(10)).ask_amendment(quantity(20)), Denied)


class HeardInAnyOrder(RuleBasedStateMachine):
    """The exchange executes an order in parts and ends it; what it says comes late, twice, in any order, or
    never. In the end the order is asked for, as recovery does, and must be where the exchange has it."""

    def __init__(self) -> None:
        super().__init__()
        self.life = at_birth(quantity(10))
        self.parts: list[int] = []
        self.status: ExchangeOrderStatus | None = None
        self.booked: set[int] = set()

    @property
    def executed(self) -> Quantity:
        return quantity(sum(self.parts))

    # --- what happens on the exchange ---
    @precondition(lambda self: self.status is None and sum(self.parts) < 10)
    @rule(part=st.integers(1, 10))
    def executes(self, part: int) -> None:
        self.parts.append(min(part, 10 - sum(self.parts)))
        if sum(self.parts) == 10:
            self.status = ExchangeOrderStatus.FILLED

    @precondition(lambda self: self.status is None)
    @rule(status=st.sampled_from(STATUSES))
    def ends(self, status: ExchangeOrderStatus) -> None:
        if status is not ExchangeOrderStatus.FILLED:
            self.status = status

    # --- what is heard of it ---
    @rule(heard=st.sampled_from([OrderInput.SENT, OrderInput.ACKNOWLEDGED, OrderInput.DOUBTED]))
    def hears(self, heard: OrderInput) -> None:
        self._take(self.life.hear(heard))

    @rule(heard=st.sampled_from([OrderInput.CANCEL_REQUESTED]))
    def cancel_is_asked_for(self, heard: OrderInput) -> None:
        self._take(self.life.hear(heard))

    @precondition(lambda self: self.parts and self.life.state is not OrderState.INTENT)
    @rule()
    def absence_is_no_proof_after_a_confirmation(self) -> None:
        if self.life.state in (OrderState.LIVE, OrderState.FINISHING):
            assert isinstance(self.life.refused(OrderInput.PROVED_ABSENT), Denied)

    @precondition(lambda self: self.parts)
    @rule(data=st.data())
    def an_execution_is_heard(self, data: st.DataObject) -> None:
        self._book(data.draw(st.integers(0, len(self.parts) - 1)))

    @precondition(lambda self: self.status is not None)
    @rule()
    def the_end_is_heard(self) -> None:
        assert self.status is not None
        self.life = self.life.end(self.status, self.executed)

    def _book(self, number: int) -> None:
        if number not in self.booked:  # the ledger books each execution once (decision 3)
            self.booked.add(number)
            self.life = self.life.fill(quantity(self.parts[number]))

    def _take(self, after: OrderLife | Denied) -> None:
        if isinstance(after, OrderLife):
            self.life = after

    @invariant()
    def never_ended_before_the_exchange_says_so_and_all_is_booked(self) -> None:
        if self.life.state.terminal:
            assert self.status is not None
            assert self.life.booked == self.executed

    def teardown(self) -> None:
        for number in range(len(self.parts)):
            self._book(number)
        if self.status is None:
            assert not self.life.state.terminal
            return
        self.life = self.life.end(self.status, self.executed)
        whole = self.executed == 10
        expected = {
            ExchangeOrderStatus.CANCELLED: OrderState.CANCELLED,
            ExchangeOrderStatus.FILLED: OrderState.FILLED,
        }.get(self.status, OrderState.EXPIRED)
        assert self.life.state is (OrderState.FILLED if whole else expected)
        assert self.life.booked == self.life.executed == self.executed


TestHeardInAnyOrder = HeardInAnyOrder.TestCase
TestHeardInAnyOrder.settings = settings(max_examples=60, stateful_step_count=25)
