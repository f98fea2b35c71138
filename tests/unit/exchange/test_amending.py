"""Changing an order: what is sent after each answer, and that two orders never live at once."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

import pytest

from pms.exchange.amending import Amender, Replaced
from pms.exchange.errors import ExchangeUnavailable
from pms.exchange.port import (
    Absent,
    AmendOutcome,
    CancelOutcome,
    CancelVerdict,
    Confirmed,
    NotSent,
    OrderReport,
    OutcomeUnknown,
    PlaceOutcome,
    RefusedByExchange,
)
from pms.model.ids import ClientOrderId, ExchangeOrderId
from pms.model.money import Price, Quantity
from pms.model.order import (
    ApprovedAmendment,
    ApprovedOrder,
    ExchangeOrderStatus,
    OrderSide,
    OrderType,
    SelfMatchPrevention,
    TimeInForce,
)
from pms.model.refusal import RefusalCode
from pms.model.symbol import Symbol
from tests.unit.exchange.test_binance_parts import Clock
from tests.unit.sync.scripted import ScriptedExchange

BTC = Symbol("BTC/USDT:USDT")
OLD, NEW = ClientOrderId("PMSabcdefgh_L_1"), ClientOrderId("PMSabcdefgh_L_2")
STATUS = ExchangeOrderStatus


def quantity(text: str) -> Quantity:
    return Quantity(Decimal(text))


def report(
    status: STATUS = STATUS.NEW, executed: str = "0", total: str = "3", price: str = "100"
) -> OrderReport:
    amounts = quantity(total), Price(Decimal(price)), quantity(executed)
    return OrderReport(BTC, ExchangeOrderId("7"), OLD, OrderSide.BUY, status, *amounts, None, 0)


LOST = CancelOutcome(CancelVerdict.UNKNOWN, None, "lost")
CHANGE = ApprovedAmendment(OLD, BTC, OrderSide.BUY, quantity("5"), Price(Decimal(101)), risk_reducing=False)
REPLACEMENT = ApprovedOrder(
    NEW,
    BTC,
    OrderSide.BUY,
    OrderType.LIMIT,
    quantity("5"),
    Price(Decimal(101)),
    TimeInForce.GTC,
    reduce_only_wire=False,
    self_match=SelfMatchPrevention.EXPIRE_TAKER,
    risk_reducing=False,
)
DONE = report(total="5", price="101")


class Failing:
    """Stands in the list of answers for a query that fails."""


@dataclass
class Desk:
    """The venue's answers in order; what was placed, and when."""

    amend: AmendOutcome
    cancel: CancelOutcome = LOST
    queries: list[OrderReport | Absent | Failing] = field(default_factory=list)
    placed: list[ApprovedOrder] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)

    def exchange(self) -> ScriptedExchange:
        desk = self

        class Venue(ScriptedExchange):
            __slots__ = ()

            async def amend(self, change: ApprovedAmendment) -> AmendOutcome:
                return desk.amend

            async def cancel(self, symbol: Symbol, client_order_id: ClientOrderId) -> CancelOutcome:
                assert client_order_id == OLD
                return desk.cancel

            async def query(self, symbol: Symbol, client_order_id: ClientOrderId) -> OrderReport | Absent:
                assert client_order_id == OLD
                answer = desk.queries.pop(0) if len(desk.queries) > 1 else desk.queries[0]
                if isinstance(answer, Failing):
                    raise ExchangeUnavailable("down")
                return answer

        return Venue()

    async def run(self, work: Callable[[Amender], object] | None = None) -> AmendOutcome | Replaced:
        amender = Amender(self.exchange(), self.clock, self.clock.now_ms, deadline_seconds=5.0)

        async def place(order: ApprovedOrder) -> PlaceOutcome:
            self.placed.append(order)
            return NotSent("enough for here", 0)

        return await amender.amend(CHANGE, REPLACEMENT, place)


def refused(code: int, refusal: RefusalCode = RefusalCode.EXCHANGE_REJECTED) -> RefusedByExchange:
    return RefusedByExchange(code, "text", refusal, 1, 2000)


NO_AMEND = refused(-5026, RefusalCode.AMENDMENT_REFUSED)


@pytest.mark.parametrize(
    "outcome",
    [
        Confirmed(DONE, 1, 2000),
        Confirmed(report(STATUS.CANCELLED, executed="3"), 1, 2000),
        NotSent("limit", 9),
        refused(-4164, RefusalCode.EXCHANGE_MIN_NOTIONAL),
        refused(-2011, RefusalCode.ORDER_NOT_PENDING),
        refused(-5024),
        refused(-5047),
    ],
)
async def test_a_certain_answer_is_the_outcome_and_nothing_is_placed(outcome: AmendOutcome) -> None:
    desk = Desk(outcome)
    assert await desk.run() == outcome
    assert not desk.placed


CANCELLED = CancelOutcome(CancelVerdict.CANCELLED, report(STATUS.CANCELLED, executed="2"), "")
GONE = CancelOutcome(CancelVerdict.NOT_OPEN, None, "Unknown order sent.")
PARTLY = CancelOutcome(CancelVerdict.UNKNOWN, report(), "")

REPLACEMENTS: list[tuple[str, CancelOutcome, list[OrderReport | Absent | Failing], str | None]] = [
    ("cancelled before any fill", replace(CANCELLED, report=report(STATUS.CANCELLED)), [], "5"),
    ("cancelled after a part was filled", CANCELLED, [], "3"),
    ("filled before the cancel", GONE, [report(STATUS.FILLED, executed="3")], "2"),
    ("filled beyond what is wanted", GONE, [report(STATUS.FILLED, executed="5", total="5")], None),
    ("the query lags behind", GONE, [report(), Absent.ABSENT, report(STATUS.CANCELLED)], "5"),
    ("lost, but cancelled", LOST, [report(), Failing(), report(STATUS.CANCELLED, executed="1")], "4"),
    ("expired by a self match", LOST, [report(STATUS.SELF_MATCH, executed="1")], "4"),
]


@pytest.mark.parametrize(
    ("cancel", "queries", "left"), [row[1:] for row in REPLACEMENTS], ids=[row[0] for row in REPLACEMENTS]
)
async def test_the_rest_is_placed_after_the_old_order_has_ended(
    cancel: CancelOutcome, queries: list[OrderReport | Absent | Failing], left: str | None
) -> None:
    desk = Desk(NO_AMEND, cancel, queries)
    outcome = await desk.run()
    assert isinstance(outcome, Replaced)
    assert outcome.old.status.terminal
    if left is None:
        assert not desk.placed
        assert outcome.new is None
    else:
        assert desk.placed == [replace(REPLACEMENT, quantity=quantity(left))]
        assert desk.placed[0].client_order_id == NEW


UNCONFIRMED: list[tuple[str, CancelOutcome, list[OrderReport | Absent | Failing]]] = [
    ("lost, and it still rests", LOST, [report()]),
    ("lost, and the exchange is away", LOST, [Failing()]),
    ("gone, and not found", GONE, [Absent.ABSENT]),
    (
        "still being filled",
        CancelOutcome(CancelVerdict.UNKNOWN, report(), ""),
        [report(STATUS.PARTIALLY_FILLED)],
    ),
]


@pytest.mark.parametrize(
    ("cancel", "queries"), [row[1:] for row in UNCONFIRMED], ids=[row[0] for row in UNCONFIRMED]
)
async def test_nothing_is_placed_while_the_old_order_may_live(
    cancel: CancelOutcome, queries: list[OrderReport | Absent | Failing]
) -> None:
    desk = Desk(NO_AMEND, cancel, queries)
    assert isinstance(await desk.run(), OutcomeUnknown)
    assert not desk.placed


async def test_a_cancel_that_was_not_sent_leaves_everything_as_it_is() -> None:
    desk = Desk(NO_AMEND, CancelOutcome(CancelVerdict.NOT_SENT, None, "ban"))
    assert isinstance(await desk.run(), NotSent)
    assert not desk.placed


@pytest.mark.parametrize(
    ("queries", "kind"),
    [
        ([report(), DONE], Confirmed),
        ([report(STATUS.FILLED, executed="3")], Confirmed),
        ([Failing(), Absent.ABSENT, DONE], Confirmed),
        ([report()], NotSent),
        ([Failing()], OutcomeUnknown),
        ([Absent.ABSENT], OutcomeUnknown),
    ],
)
async def test_a_change_of_unknown_fate_is_settled_by_the_exchanges_word(
    queries: list[OrderReport | Absent | Failing], kind: type
) -> None:
    desk = Desk(OutcomeUnknown("lost", 0, 0), queries=queries)
    desk.amend = OutcomeUnknown("lost", desk.clock.now_ms(), 2000)
    started_ms = desk.clock.now_ms()
    outcome = await desk.run()
    assert isinstance(outcome, kind)
    assert not desk.placed
    if kind is NotSent:
        assert desk.clock.now_ms() > started_ms + 3000, "not before the request can have no effect any more"


def test_an_approved_order_only_shrinks() -> None:
    for wrong in ("5.1", "0", "-1"):
        with pytest.raises(ValueError, match="approved for"):
            REPLACEMENT.shrunk(quantity(wrong))
    assert REPLACEMENT.shrunk(quantity("5")) == REPLACEMENT
