"""The netting plan: its laws over every small world, and over random large ones."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pms.model.account import PositionSide
from pms.model.ids import PositionId
from pms.model.order import OrderSide
from pms.risk.netting import SymbolBook, unbacked
from pms.risk.netting_lots import Lots
from pms.risk.netting_plan import (
    LEGS_PER_BATCH_MAX,
    Close,
    Flip,
    HouseClose,
    Open,
    Plan,
    Reason,
    TakeOver,
    Target,
    World,
    plan_change,
)

LONG, SHORT = PositionSide.LONG, PositionSide.SHORT
BUY, SELL = OrderSide.BUY, OrderSide.SELL
ZERO, ONE = Decimal(0), Decimal(1)
FREE = Lots(Decimal("0.5"), Decimal("0.5"), ZERO, ZERO)
SLICED = Lots(ONE, ONE, Decimal(2), ZERO)
DUSTY = Lots(ONE, Decimal(2), Decimal(3), Decimal(3))


def number(value: float) -> Decimal:
    return Decimal(str(value))


@dataclass
class Books:
    """The three books that a plan moves: virtual positions (signed), the house, and the exchange's net."""

    held: dict[PositionId, Decimal]
    house: Decimal
    net: Decimal
    sent: dict[OrderSide, Decimal] = field(default_factory=lambda: {BUY: ZERO, SELL: ZERO})

    def carry_out(self, plan: Plan) -> None:
        for batch in plan.internal:
            assert sum((leg.side.sign * leg.quantity for leg in batch), ZERO) == 0, "a batch is even"
            for leg in batch:
                self.move(leg.position_id, leg.side.sign * leg.quantity)
        for part in plan.to_house:
            assert part.position_id is not None
            given = part.quantity if self.held[part.position_id] > 0 else -part.quantity
            self.move(part.position_id, -given)
            self.house += given
        for order in plan.orders:
            self.net += order.side.sign * order.quantity
            self.sent[order.side] += order.quantity
            assert sum((share.quantity for share in order.shares), ZERO) == order.quantity
            for share in order.shares:
                self.move(share.position_id, order.side.sign * share.quantity)

    def move(self, position_id: PositionId | None, signed: Decimal) -> None:
        if position_id is None:
            self.house += signed
            return
        before = self.held[position_id]
        self.held[position_id] = before + signed
        assert before * signed < 0, "a close reduces"
        assert self.held[position_id] * before >= 0, "and never turns"


def check(world: World, change: Close, *, differs_by: Decimal = ZERO) -> Plan:
    """Carry out the plan of a close and hold all laws against it."""
    plan = plan_change(world, change)
    held = {one.position_id: one.side.sign * one.held for one in change.targets}
    others = world.virtual_net - sum(held.values(), ZERO)
    net = world.book.net
    books = Books(dict(held), world.house, ZERO if net is None else net)
    before = sum(held.values(), others) + books.house - books.net
    books.carry_out(plan)
    assert sum(books.held.values(), others) + books.house - books.net == before, "only orders move the net"
    back = {one.position_id: ZERO for one in change.targets}
    for part in plan.held_back:
        assert part.position_id is not None
        back[part.position_id] += part.quantity
    for one in change.targets:
        asked = one.held if one.wanted is None else min(one.held, one.wanted)
        closed = one.held - abs(books.held[one.position_id])
        assert closed + back[one.position_id] == asked, "all that was asked for is done or held back"
        assert closed <= one.held - one.taken or closed == 0, "never what another order may close"
    laws_of_orders(world, plan)
    laws_of_size(world, change, plan, books)
    return plan


def laws_of_orders(world: World, plan: Plan) -> None:
    if world.mark is not None:
        assert len({order.side for order in plan.orders}) <= 1, "one side only"
    book, lots = world.book, world.lots
    for order in plan.orders:
        assert order.quantity == lots.whole(order.quantity) > 0
        assert not lots.quantity_max or order.quantity <= lots.quantity_max
        assert not lots.too_small(order.quantity, world.mark, reduce_only=order.reduce_only), (
            "dust is not sent"
        )
        if order.reduce_only:
            assert book.net is not None
            assert book.net * order.side.sign < 0
            assert order.quantity <= abs(book.net) - book.on_side(order.side)
        book = book.with_more(order.side, order.quantity)


def laws_of_size(world: World, change: Close, plan: Plan, books: Books) -> None:
    """No order where a smaller one would do: what was closed of both sides has met as far as it could."""
    closed = {LONG: ZERO, SHORT: ZERO}
    for one in change.targets:
        closed[one.side] += one.held - abs(books.held[one.position_id])
    sent = sum((order.quantity for order in plan.orders), ZERO)
    if world.mark is None:
        return
    given = sum((part.quantity for part in plan.to_house), ZERO)
    least = abs(closed[LONG] - closed[SHORT])
    assert sent + given == least or (world.house_offers != 0 and sent + given <= least)
    virtual = sum((part.quantity for part in plan.to_house if part.reason is Reason.UNBACKED), ZERO)
    if world.book.net is None or not world.differs:
        assert virtual == 0
        assert world.book.net is not None or not any(order.reduce_only for order in plan.orders)
    else:
        side = LONG if closed[LONG] > closed[SHORT] else SHORT
        missing = unbacked(side, world.book.net, world.virtual_net, world.house)
        assert virtual == min(least, missing), "and exactly what is not backed is virtual"


def targets_of(sizes: tuple[tuple[PositionSide, Decimal], ...]) -> tuple[Target, ...]:
    return tuple(
        Target(PositionId(f"p{index}"), side, held, weight=held) for index, (side, held) in enumerate(sizes)
    )


def worlds(virtual: Decimal) -> Iterator[World]:
    differences: list[Decimal | None] = [ZERO, Decimal(-2), ONE, None]
    for house, difference, bids, asks, lots in product(
        (-ONE, ZERO, Decimal(2)), differences, (ZERO, ONE), (ZERO, Decimal(2)), (FREE, SLICED, DUSTY)
    ):
        net = None if difference is None else virtual + house + difference
        yield World(SymbolBook(net, bids, asks), virtual, house, lots, ONE, bool(difference))


SIZES = tuple(product(PositionSide, (number(0.5), ONE, Decimal(3))))


@pytest.mark.parametrize("first", SIZES)
def test_every_close_of_two_holders(first: tuple[PositionSide, Decimal]) -> None:
    for second in SIZES:
        both = targets_of((first, second))
        virtual = sum((one.side.sign * one.held for one in both), ZERO)
        for world in worlds(virtual):
            check(world, Close(both, urgent=True))  # both at once
            check(world, Close(both[:1], urgent=True))  # one beside another holder


def test_every_mass_close_of_three_holders_with_a_partial_one_and_orders_in_flight() -> None:
    for sizes in product(SIZES, repeat=3):
        three = targets_of(sizes)
        virtual = sum((one.side.sign * one.held for one in three), ZERO)
        half = Target(three[0].position_id, three[0].side, three[0].held, three[0].held / 2)
        taken = Target(three[1].position_id, three[1].side, three[1].held, None, number(0.5), in_doubt=True)
        for net, differs, lots in ((virtual, False, SLICED), (virtual - 1, True, DUSTY), (None, False, FREE)):
            world = World(SymbolBook(net), virtual, ZERO, lots, ONE, differs)
            plan = check(world, Close((half, taken, three[2]), urgent=True))
            waits = [part for part in plan.held_back if part.reason is Reason.IN_DOUBT]
            assert [(part.position_id, part.quantity) for part in waits] == [(taken.position_id, number(0.5))]


def test_an_unknown_net_closes_nothing_by_hand_and_liquidates_by_the_ledger() -> None:
    held = targets_of(((LONG, Decimal(2)), (SHORT, ONE)))
    world = World(SymbolBook(None), ONE, ZERO, FREE, ONE, differs=True)
    by_hand = plan_change(world, Close(held))
    assert not by_hand.orders
    assert not by_hand.internal
    assert not by_hand.to_house
    assert {part.reason for part in by_hand.held_back} == {Reason.STATE_UNKNOWN}
    (order,) = check(world, Close(held, urgent=True)).orders
    assert (order.side, order.quantity, order.reduce_only) == (SELL, ONE, False)
    assert order.reason is Reason.NET_UNKNOWN


def test_without_a_fresh_mark_nothing_meets_and_nothing_goes_to_the_house() -> None:
    held = targets_of(((LONG, number(2.5)), (LONG, ONE)))
    world = World(SymbolBook(Decimal(4)), number(3.5), number(0.5), SLICED, None, differs=True)
    plan = check(world, Close(held))
    assert [order.quantity for order in plan.orders] == [2, 1]
    assert not plan.to_house
    assert [(part.quantity, part.reason) for part in plan.held_back] == [(number(0.5), Reason.NO_PRICE)]


@pytest.mark.parametrize(
    ("quantity", "sizes"),
    [
        ("1", ["1"]),
        ("2", ["2"]),
        ("3", ["2", "1"]),
        ("5", ["2", "2", "1"]),
        ("6", ["2", "2", "2"]),
        ("0", []),
    ],
)
def test_slices_are_few_and_even(quantity: str, sizes: list[str]) -> None:
    assert [str(part) for part in SLICED.slices(Decimal(quantity))] == sizes


def test_a_flip_closes_first_and_is_never_reduce_only() -> None:
    held = Target(PositionId("p"), LONG, Decimal(2))
    world = World(SymbolBook(Decimal(2)), Decimal(2), ZERO, FREE, ONE)
    (order,) = plan_change(world, Flip(held, Decimal(3))).orders
    assert (order.side, order.quantity, order.reduce_only, order.reason) == (SELL, 3, False, Reason.FLIPS)
    (order,) = plan_change(world, Flip(held, Decimal(2))).orders
    assert (order.quantity, order.reduce_only, order.reason) == (2, True, Reason.REDUCES_NET)


def test_an_opening_order_is_sliced_and_dust_is_refused() -> None:
    world = World(SymbolBook(ZERO), ZERO, ZERO, SLICED, ONE)
    plan = plan_change(world, Open(BUY, number(5.5)))
    assert [(order.quantity, order.reduce_only) for order in plan.orders] == [
        (2, False),
        (2, False),
        (1, False),
    ]
    assert [part.reason for part in plan.held_back] == [Reason.OFF_LOT]
    small = plan_change(World(SymbolBook(ZERO), ZERO, ZERO, DUSTY, ONE), Open(BUY, Decimal(2)))
    assert [part.reason for part in small.held_back] == [Reason.BELOW_NOTIONAL_MIN]
    assert not small.orders


def test_a_takeover_moves_what_no_order_holds_and_sends_nothing() -> None:
    held = Target(PositionId("p"), LONG, Decimal(3), taken=ONE)
    world = World(SymbolBook(Decimal(3)), Decimal(3), ZERO, FREE, ONE)
    plan = plan_change(world, TakeOver((held,)))
    assert not plan.orders
    assert [(part.quantity, part.reason) for part in plan.to_house] == [(2, Reason.TAKEN_OVER)]
    assert [(part.quantity, part.reason) for part in plan.held_back] == [(1, Reason.IN_FLIGHT)]


def test_the_house_closes_over_every_small_case() -> None:
    for house, others, taken, lots in product(
        (Decimal(-5), number(-0.5), ONE, Decimal(4)),
        (Decimal(-3), ZERO, Decimal(3)),
        (ZERO, ONE),
        (SLICED, DUSTY),
    ):
        world = World(SymbolBook(others + house), others, house, lots, ONE)
        plan = plan_change(world, HouseClose(taken=taken))
        sent = sum((order.side.sign * order.quantity for order in plan.orders), ZERO)
        assert sent * house <= 0
        waits = sum((part.quantity for part in plan.held_back), ZERO)
        assert abs(sent) + waits == abs(house)
        assert abs(sent) <= max(ZERO, abs(house) - taken)
        laws_of_orders(world, plan)
    unknown = World(SymbolBook(None), ZERO, ONE, FREE, ONE)
    assert [part.reason for part in plan_change(unknown, HouseClose()).held_back] == [Reason.STATE_UNKNOWN]


def test_what_the_house_wants_to_be_rid_of_meets_closes_first() -> None:
    held = targets_of(((LONG, Decimal(3)),))
    world = World(SymbolBook(ONE), Decimal(3), Decimal(-2), FREE, ONE, house_offers=Decimal(-2))
    plan = check(world, Close(held))
    ((first, second),) = plan.internal
    assert {first.position_id, second.position_id} == {None, PositionId("p0")}
    assert (first.quantity, first.reason) == (2, Reason.MEETS_HOUSE)
    (order,) = plan.orders
    assert (order.side, order.quantity, order.reduce_only) == (SELL, 1, True)


def test_the_heaviest_meet_first_and_are_sent_first() -> None:
    held = targets_of(((LONG, ONE), (LONG, Decimal(3)), (SHORT, Decimal(2))))
    plan = check(World(SymbolBook(Decimal(2)), Decimal(2), ZERO, FREE, ONE), Close(held))
    ((buy, sell),) = plan.internal
    assert (buy.position_id, sell.position_id) == ("p2", "p1")
    (order,) = plan.orders
    assert [(share.position_id, share.quantity) for share in order.shares] == [("p1", 1), ("p0", 1)]


lots_of = st.builds(
    Lots,
    st.sampled_from([number(0.1), number(0.3), ONE]),
    st.sampled_from([number(0.1), ONE, Decimal(2)]),
    st.sampled_from([ZERO, Decimal(7), Decimal(40)]),
    st.sampled_from([ZERO, Decimal(5)]),
)
tenths = st.integers(1, 400).map(lambda count: Decimal(count) / 10)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(list(PositionSide)), tenths), min_size=1, max_size=150),
    st.integers(-50, 50),
    st.one_of(st.none(), st.integers(-30, 30)),
    lots_of,
    st.booleans(),
    st.booleans(),
    st.tuples(tenths, tenths),
)
def test_laws_of_large_worlds(
    sizes: list[tuple[PositionSide, Decimal]],
    house: int,
    difference: int | None,
    lots: Lots,
    offers: bool,
    priced: bool,
    orders: tuple[Decimal, Decimal],
) -> None:
    held = targets_of(tuple(sizes))
    virtual = sum((one.side.sign * one.held for one in held), ZERO)
    net = None if difference is None else virtual + house + difference
    world = World(
        SymbolBook(net, *orders),
        virtual,
        Decimal(house),
        lots,
        Decimal(2) if priced else None,
        bool(difference) and not offers,
        Decimal(house) if offers else ZERO,
    )
    plan = check(world, Close(held, urgent=True))
    assert all(len(batch) <= LEGS_PER_BATCH_MAX + 1 for batch in plan.internal)
