"""The life of an order as an explicit state machine: every state, everything that can be heard, what follows.

Invariants: 1. An order ends only by the exchange's word, and only when all that executed is booked (decision
2); a fill of all that was asked is that word too. 2. Nothing that is repeated, late or out of order changes
where an order ends: what is heard may come from the request's answer, the stream, order sync and recovery.
3. Doubt is never failure: only proof ends an order that may have reached the exchange.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from pms.model.money import Quantity
from pms.model.order import ExchangeOrderStatus, OrderState


class OrderInput(StrEnum):
    """What can be heard of an order.

    ENDING and ENDED are the exchange's terminal word, with executions still to be booked or without.
    PARTLY_FILLED and FILLED are bookings: of a part, and of all that was asked.
    """

    SENT = "SENT"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    DOUBTED = "DOUBTED"
    REFUSED = "REFUSED"
    NOT_SENT = "NOT_SENT"
    PROVED_ABSENT = "PROVED_ABSENT"
    PARTLY_FILLED = "PARTLY_FILLED"
    FILLED = "FILLED"
    CANCEL_REQUESTED = "CANCEL_REQUESTED"
    AMENDED = "AMENDED"
    ENDING = "ENDING"
    ENDED = "ENDED"


@dataclass(frozen=True, slots=True)
class Denied:
    """What was heard contradicts what is known: nothing changes, and why."""

    why: str


class By(StrEnum):
    """A state that the exchange's word names: CANCELLED, EXPIRED, FILLED or REJECTED."""

    STATUS = "as the exchange says"


Next = OrderState | By | Denied

_IN_FLIGHT = Denied("its request may still be on its way: absence proves nothing")
_CONFIRMED = Denied(
    "the exchange has confirmed it: this is a lag or a mistake, and the exchange is asked again"
)
_NOT_RESTING = Denied("only a resting order is amended")
_S = OrderState
_I = OrderInput


def _row(state: OrderState, **changes: Next) -> dict[OrderInput, Next]:
    """Everything that is not named leaves the state as it is."""
    return {item: changes.get(item.value.lower(), state) for item in OrderInput}


def _ended(state: OrderState) -> dict[OrderInput, Next]:
    """An order that has ended stays so, unless the exchange executed more than is booked."""
    return _row(state, amended=_NOT_RESTING, ending=_S.FINISHING)


def _never_lived(state: OrderState) -> dict[OrderInput, Next]:
    """A fill of an order that was refused or proved absent shows that it lives after all."""
    return _row(
        state,
        partly_filled=_S.LIVE,
        filled=_S.FILLED,
        amended=_NOT_RESTING,
        ending=_S.FINISHING,
    )


TABLE: Mapping[OrderState, Mapping[OrderInput, Next]] = {
    _S.INTENT: _row(
        _S.INTENT,  # SENT leaves it here: after a crash nobody could tell the two apart
        acknowledged=_S.LIVE,
        doubted=_S.UNKNOWN,
        refused=_S.REJECTED,
        not_sent=_S.NOT_EXECUTED,
        proved_absent=_IN_FLIGHT,
        partly_filled=_S.LIVE,
        filled=_S.FILLED,
        amended=_NOT_RESTING,
        ending=_S.FINISHING,
        ended=By.STATUS,
    ),
    _S.UNKNOWN: _row(
        _S.UNKNOWN,
        acknowledged=_S.LIVE,
        refused=_S.REJECTED,
        not_sent=_S.NOT_EXECUTED,
        proved_absent=_S.NOT_EXECUTED,
        partly_filled=_S.LIVE,
        filled=_S.FILLED,
        amended=_NOT_RESTING,
        ending=_S.FINISHING,
        ended=By.STATUS,
    ),
    _S.LIVE: _row(
        _S.LIVE,
        refused=_CONFIRMED,
        not_sent=_CONFIRMED,
        proved_absent=_CONFIRMED,
        filled=_S.FILLED,
        ending=_S.FINISHING,
        ended=By.STATUS,
    ),
    _S.FINISHING: _row(
        _S.FINISHING,
        refused=_CONFIRMED,
        not_sent=_CONFIRMED,
        proved_absent=_CONFIRMED,
        filled=_S.FILLED,
        amended=_NOT_RESTING,
        ended=By.STATUS,
    ),
    _S.FILLED: _ended(_S.FILLED),
    _S.CANCELLED: _ended(_S.CANCELLED),
    _S.EXPIRED: _ended(_S.EXPIRED),
    _S.REJECTED: _never_lived(_S.REJECTED),
    _S.NOT_EXECUTED: _never_lived(_S.NOT_EXECUTED),
}
"""The whole machine. The table in docs/order-life.md is made from it."""

_END_STATE = {
    ExchangeOrderStatus.FILLED: _S.FILLED,
    ExchangeOrderStatus.CANCELLED: _S.CANCELLED,
    ExchangeOrderStatus.EXPIRED: _S.EXPIRED,
    ExchangeOrderStatus.SELF_MATCH: _S.EXPIRED,
    ExchangeOrderStatus.REJECTED: _S.REJECTED,
}


@dataclass(frozen=True, slots=True)
class OrderLife:
    """The part of an order that its life is decided by, in base units.

    `quantity` is what may execute at most, `executed` the exchange's cumulative figure, `booked` the sum of
    what is in the ledger, `final` the exchange's terminal word, None before it.
    """

    state: OrderState
    quantity: Quantity
    executed: Quantity
    booked: Quantity
    final: ExchangeOrderStatus | None = None

    def hear(self, heard: OrderInput) -> "OrderLife | Denied":
        """Return the life after something that carries no quantity."""
        following = TABLE[self.state][heard]
        if isinstance(following, Denied):
            return following
        return replace(self, state=self._named(following))

    def refused(self, heard: OrderInput) -> "OrderLife | Denied":
        """Return the life after REFUSED, NOT_SENT or PROVED_ABSENT; what is booked says otherwise."""
        after = self.hear(heard)
        if isinstance(after, Denied) or self.state.terminal or not self.booked:
            return after
        return replace(after, state=_S.EXPIRED)

    def fill(self, quantity: Quantity) -> "OrderLife":
        """Return the life after the booking of an execution that is new."""
        booked = Quantity(self.booked + quantity)
        life = replace(self, booked=booked, executed=Quantity(max(self.executed, booked)))
        life = life._heard(_I.FILLED if booked >= self.quantity else _I.PARTLY_FILLED)
        return life if life.state.terminal or life.final is None else life._judged()

    def end(self, status: ExchangeOrderStatus, executed: Quantity) -> "OrderLife":
        """Return the life after the exchange's terminal word, `executed` being all that it executed."""
        if self.state.terminal and executed <= self.booked:
            return self
        life = replace(self, executed=Quantity(max(executed, self.booked)), final=status)
        if life.booked >= life.quantity:
            return life._heard(_I.FILLED)
        return life._judged()

    def ask_amendment(self, quantity: Quantity) -> "OrderLife | Denied":
        """Return the life once a change is asked for: the larger quantity may execute until it is settled."""
        after = self.hear(_I.AMENDED)
        return after if isinstance(after, Denied) else replace(after, quantity=max(self.quantity, quantity))

    def amend(self, quantity: Quantity) -> "OrderLife | Denied":
        """Return the life after the exchange's word on a change: `quantity` is what may execute now, at
        least what is booked."""
        after = self.hear(_I.AMENDED)
        return (
            after
            if isinstance(after, Denied)
            else replace(after, quantity=Quantity(max(quantity, self.booked)))
        )

    def _judged(self) -> "OrderLife":
        return self._heard(_I.ENDED if self.booked >= self.executed else _I.ENDING)

    def _heard(self, heard: OrderInput) -> "OrderLife":
        following = TABLE[self.state][heard]
        # The bookings and the exchange's terminal word are denied in no state: the table's test holds that.
        return self if isinstance(following, Denied) else replace(self, state=self._named(following))

    def _named(self, following: OrderState | By) -> OrderState:
        if isinstance(following, OrderState):
            return following
        return _END_STATE[self.final or ExchangeOrderStatus.EXPIRED]


def at_birth(quantity: Quantity) -> OrderLife:
    """Return the life of an order whose intent is committed and nothing else."""
    nothing = Quantity(Decimal(0))
    return OrderLife(_S.INTENT, quantity, nothing, nothing)
