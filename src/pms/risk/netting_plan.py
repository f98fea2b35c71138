"""The orders and transfers that a change of virtual positions asks of the one real position, and why.

Pure. Quantities are base units; signed ones positive for LONG (BUY). Laws that every plan keeps: 1. what is
asked for each position is the sum of its parts: met internally, sent, given to the house, held back. 2. The
orders are all on one side, and no smaller ones would do. 3. `reduceOnly` only where the real net covers the
order beside everything on that side, the plan's earlier orders included (decision 12). 4. Nothing is sent
that the exchange refuses as dust (decision 13). 5. With an unknown net nothing is virtual and nothing
reduce-only (decision 10).
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import Enum

from pms.model.account import PositionSide
from pms.model.ids import PositionId
from pms.model.money import ZERO
from pms.model.order import OrderSide, OrderType, TimeInForce
from pms.risk.netting import SymbolBook, unbacked, wire_reduce_only
from pms.risk.netting_lots import Lots

LEGS_PER_BATCH_MAX = 48
"""Internal legs that are booked in one transaction. Overflow: the next batch; each one is even by itself."""


class Reason(Enum):
    """Why a part of a change is carried out as it is; the value is the text for people."""

    OPENS = "opens exposure: never reduce-only"
    FLIPS = "closes, then opens in one order: never reduce-only"
    REDUCES_NET = "the real net covers it beside everything else on that side"
    NET_DOES_NOT_COVER = "the real net does not cover it, for others hold the opposite side"
    NET_UNKNOWN = "the real net is not known: sent by the ledger's figures"
    MEETS_OPPOSITE = "meets an opposite close of the same symbol"
    MEETS_HOUSE = "meets what the house wants to be rid of"
    UNBACKED = "the exchange does not back it"
    OFF_LOT = "lies below one lot"
    BELOW_QUANTITY_MIN = "lies below the smallest order"
    BELOW_NOTIONAL_MIN = "lies below the smallest notional"
    TAKEN_OVER = "the house takes it over"
    IN_FLIGHT = "other closing orders hold it"
    IN_DOUBT = "an order of unknown outcome holds it: proof comes first"
    STATE_UNKNOWN = "the exchange's position is not known; retry"
    NO_PRICE = "the house takes nothing without a fresh mark; retry"
    NOT_HELD = "nothing of it is held"


@dataclass(frozen=True, slots=True)
class World:
    """One symbol as it is known. `house` is what the house holds for good: what it only passes on to
    closers is not part of it.

    `differs`: the exchange's difference to the expected net has persisted with nothing in flight. `mark` is
    None unless fresh. `house_offers` is the signed part of `house` that it wants to be rid of.
    """

    book: SymbolBook
    virtual_net: Decimal
    house: Decimal
    lots: Lots
    mark: Decimal | None
    differs: bool = False
    house_offers: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Target:
    """A position to close. `wanted` None: all of it. `taken` is what live, in-flight and unknown orders may
    close of it already, `in_doubt` whether one of them is unknown. `weight` orders targets, largest first.
    """

    position_id: PositionId
    side: PositionSide
    held: Decimal
    wanted: Decimal | None = None
    taken: Decimal = ZERO
    in_doubt: bool = False
    weight: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Open:
    """New exposure of an account that holds nothing of the opposite side."""

    side: OrderSide
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Flip:
    """A net order of `quantity` against a position: closes what is free of it, opens the rest."""

    target: Target
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Close:
    """Close, wholly or partly, one position or many. `urgent` (liquidation) goes on without a known net."""

    targets: tuple[Target, ...]
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class TakeOver:
    """The house takes positions over at the mark."""

    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class HouseClose:
    """The house trades away what it holds, `quantity` None: all. `taken` is what its orders may close."""

    quantity: Decimal | None = None
    taken: Decimal = ZERO


Change = Open | Flip | Close | TakeOver | HouseClose


@dataclass(frozen=True, slots=True)
class Part:
    """A quantity of a position (None: the house's) and why it goes this way."""

    position_id: PositionId | None
    quantity: Decimal
    reason: Reason


@dataclass(frozen=True, slots=True)
class Meeting:
    """A leg of internal netting: the close of `quantity` on `side` of the order that it saves."""

    position_id: PositionId | None
    side: OrderSide
    quantity: Decimal
    reason: Reason


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """A market order. `shares` are those it is for, in order of service; their sum is the quantity."""

    side: OrderSide
    quantity: Decimal
    reduce_only: bool
    reason: Reason
    shares: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. `internal` are batches whose buys and sells are even; `to_house` transfers at the worse of
    touch and mark; `held_back` is not done now."""

    orders: tuple[PlannedOrder, ...] = ()
    internal: tuple[tuple[Meeting, ...], ...] = ()
    to_house: tuple[Part, ...] = ()
    held_back: tuple[Part, ...] = ()


@dataclass(slots=True)
class _Draft:
    to_house: list[Part] = field(default_factory=list)
    held_back: list[Part] = field(default_factory=list)


def plan_change(world: World, change: Change) -> Plan:
    """Return what a change asks for. Total: every world and every change has a plan."""
    match change:
        case Open(side=side, quantity=quantity):
            return _exposure(world, side, quantity, Reason.OPENS)
        case Flip(target=target, quantity=quantity):
            free = max(ZERO, target.held - target.taken)
            if quantity <= free:
                return plan_change(world, Close((replace(target, wanted=quantity),)))
            return _exposure(world, OrderSide.closing(target.side), quantity, Reason.FLIPS)
        case Close():
            return _close(world, change)
        case TakeOver(targets=targets):
            return _take_over(world, targets)
        case HouseClose():
            return _house_close(world, change)


def _exposure(world: World, side: OrderSide, quantity: Decimal, reason: Reason) -> Plan:
    sent = world.lots.whole(quantity)
    if world.lots.too_small(sent, world.mark, reduce_only=False):
        return Plan(held_back=(Part(None, quantity, _smallness(world.lots, sent)),))
    left = quantity - sent
    held_back = (Part(None, left, Reason.OFF_LOT),) if left else ()
    orders = (PlannedOrder(side, part, False, reason) for part in world.lots.slices(sent))
    return Plan(tuple(orders), held_back=held_back)


def _close(world: World, change: Close) -> Plan:
    draft = _Draft()
    free = [(target, _free(draft, target)) for target in change.targets]
    if world.book.net is None and not change.urgent:
        draft.held_back = [
            Part(target.position_id, _asked(target), Reason.STATE_UNKNOWN)
            for target in change.targets
            if _asked(target) > 0
        ]
        return Plan(held_back=tuple(draft.held_back))
    ordered = sorted(free, key=lambda pair: (-pair[0].weight, pair[0].position_id))
    sides = {side: deque[_Open]() for side in OrderSide}
    for target, quantity in ordered:
        if quantity > 0:
            sides[OrderSide.closing(target.side)].append(_Open(target.position_id, quantity))
    meetings = _meet(sides, world.house_offers) if world.mark is not None else ()
    orders: list[PlannedOrder] = []
    for side in OrderSide:  # one of them is empty once both have met
        orders += _send(world, side, list(sides[side]), draft)
    return Plan(tuple(orders), _batches(meetings), tuple(draft.to_house), tuple(draft.held_back))


@dataclass(slots=True)
class _Open:
    """What is still to be closed of a position; None is the house."""

    position_id: PositionId | None
    quantity: Decimal
    reason: Reason = Reason.MEETS_OPPOSITE

    def take(self, quantity: Decimal) -> Decimal:
        taken = min(self.quantity, quantity)
        self.quantity -= taken
        return taken


def _asked(target: Target) -> Decimal:
    return target.held if target.wanted is None else max(ZERO, min(target.wanted, target.held))


def _free(draft: _Draft, target: Target) -> Decimal:
    """Return what may be closed now beside everything outstanding; the rest is held back (decision 16)."""
    asked = _asked(target)
    free = min(asked, max(ZERO, target.held - target.taken))
    if asked <= 0:
        draft.held_back.append(Part(target.position_id, ZERO, Reason.NOT_HELD))
    elif free < asked:
        reason = Reason.IN_DOUBT if target.in_doubt else Reason.IN_FLIGHT
        draft.held_back.append(Part(target.position_id, asked - free, reason))
    return free


def _meet(sides: dict[OrderSide, "deque[_Open]"], house_offers: Decimal) -> list[tuple[Meeting, Meeting]]:
    """Match buys with sells, the heaviest of each side first; the house comes last on its side."""
    pairs: list[tuple[Meeting, Meeting]] = []
    if house_offers:
        side = OrderSide.SELL if house_offers > 0 else OrderSide.BUY
        sides[side].append(_Open(None, abs(house_offers), Reason.MEETS_HOUSE))
    buys, sells = sides[OrderSide.BUY], sides[OrderSide.SELL]
    while buys and sells:
        quantity = min(buys[0].quantity, sells[0].quantity)
        legs = [_meeting(queue[0], side, quantity) for side, queue in sides.items()]
        if any(leg.position_id is None for leg in legs):
            legs = [replace(leg, reason=Reason.MEETS_HOUSE) for leg in legs]
        pairs.append((legs[0], legs[1]))
        for queue in (buys, sells):
            if queue[0].quantity == 0:
                queue.popleft()
    for queue in (buys, sells):
        if queue and queue[-1].position_id is None:
            queue.pop()  # what the house could not meet here is its own affair
    return pairs


def _meeting(one: _Open, side: OrderSide, quantity: Decimal) -> Meeting:
    return Meeting(one.position_id, side, one.take(quantity), one.reason)


def _batches(pairs: Sequence[tuple[Meeting, Meeting]]) -> tuple[tuple[Meeting, ...], ...]:
    """Group pairs, legs of one position joined; each batch is even by itself, so that a crash between two of
    them leaves the house with nothing."""
    batches: list[tuple[Meeting, ...]] = []
    current: dict[tuple[PositionId | None, OrderSide, Reason], Meeting] = {}
    for pair in pairs:
        for leg in pair:
            key = (leg.position_id, leg.side, leg.reason)
            known = current.get(key)
            current[key] = leg if known is None else replace(leg, quantity=known.quantity + leg.quantity)
        if len(current) >= LEGS_PER_BATCH_MAX:
            batches.append(tuple(current.values()))
            current = {}
    if current:
        batches.append(tuple(current.values()))
    return tuple(batches)


def _send(world: World, side: OrderSide, closers: list[_Open], draft: _Draft) -> list[PlannedOrder]:
    """Send what is left of one side, less what is not backed, off lots or dust."""
    if not closers:
        return []
    _give_unbacked(world, side, closers, draft)
    total = sum((one.quantity for one in closers), ZERO)
    sent = world.lots.whole(total)
    covered = wire_reduce_only(world.book, side, OrderType.MARKET, TimeInForce.GTC, sent)
    if world.lots.too_small(sent, world.mark, reduce_only=covered):
        _give_last(world, closers, total, draft, _smallness(world.lots, sent))
        return []
    _give_last(world, closers, total - sent, draft, Reason.OFF_LOT)
    sent = sum((one.quantity for one in closers), ZERO)
    dust = draft.held_back if world.mark is None else draft.to_house
    return _orders(world, side, [one for one in closers if one.quantity > 0], sent, dust)


def _give_unbacked(world: World, side: OrderSide, closers: list[_Open], draft: _Draft) -> None:
    net = world.book.net
    if net is None or not world.differs or world.mark is None:
        return
    left = unbacked(side.opposite.opens, net, world.virtual_net, world.house)
    for one in closers:
        taken = one.take(left)
        left -= taken
        if taken:
            draft.to_house.append(Part(one.position_id, taken, Reason.UNBACKED))


def _give_last(world: World, closers: list[_Open], quantity: Decimal, draft: _Draft, reason: Reason) -> None:
    """Give a quantity to the house, from the least of the closers upwards; without a mark it waits."""
    where = draft.held_back if world.mark is None else draft.to_house
    for one in reversed(closers):
        taken = one.take(quantity)
        quantity -= taken
        if taken:
            where.append(Part(one.position_id, taken, reason if world.mark is not None else Reason.NO_PRICE))


def _orders(
    world: World, side: OrderSide, closers: list[_Open], sent: Decimal, dust: list[Part]
) -> list[PlannedOrder]:
    """Slice; `dust` gets what a slice below the minimum would be for (filters that leave no better cut)."""
    book, orders = world.book, []
    waiting = deque(closers)
    for size in world.lots.slices(sent):
        covered = wire_reduce_only(book, side, OrderType.MARKET, TimeInForce.GTC, size)
        if world.lots.too_small(size, world.mark, reduce_only=covered):
            dust += _shares(waiting, size, _smallness(world.lots, size))
            continue
        if book.net is None:
            reason = Reason.NET_UNKNOWN
        else:
            reason = Reason.REDUCES_NET if covered else Reason.NET_DOES_NOT_COVER
        orders.append(PlannedOrder(side, size, covered, reason, _shares(waiting, size, reason)))
        book = book.with_more(side, size)
    return orders


def _shares(waiting: "deque[_Open]", size: Decimal, reason: Reason) -> tuple[Part, ...]:
    shares: list[Part] = []
    while size > 0 and waiting:
        taken = waiting[0].take(size)
        shares.append(Part(waiting[0].position_id, taken, reason))
        size -= taken
        if waiting[0].quantity == 0:
            waiting.popleft()
    return tuple(shares)


def _take_over(world: World, targets: tuple[Target, ...]) -> Plan:
    draft = _Draft()
    for target in targets:
        free = _free(draft, target)
        if free <= 0:
            continue
        if world.mark is None:
            draft.held_back.append(Part(target.position_id, free, Reason.NO_PRICE))
        else:
            draft.to_house.append(Part(target.position_id, free, Reason.TAKEN_OVER))
    return Plan(to_house=tuple(draft.to_house), held_back=tuple(draft.held_back))


def _house_close(world: World, change: HouseClose) -> Plan:
    """The house closes at most what it holds; dust stays with it, and it waits for a known net."""
    held = abs(world.house)
    asked = held if change.quantity is None else max(ZERO, min(change.quantity, held))
    if asked <= 0:
        return Plan(held_back=(Part(None, ZERO, Reason.NOT_HELD),))
    if world.book.net is None:
        return Plan(held_back=(Part(None, asked, Reason.STATE_UNKNOWN),))
    free = min(asked, max(ZERO, held - change.taken))
    held_back = [Part(None, asked - free, Reason.IN_FLIGHT)] if free < asked else []
    side = OrderSide.SELL if world.house > 0 else OrderSide.BUY
    sent = world.lots.whole(free)
    covered = wire_reduce_only(world.book, side, OrderType.MARKET, TimeInForce.GTC, sent)
    if world.lots.too_small(sent, world.mark, reduce_only=covered):
        held_back += [Part(None, free, _smallness(world.lots, sent))] if free else []
        return Plan(held_back=tuple(held_back))
    if free > sent:
        held_back.append(Part(None, free - sent, Reason.OFF_LOT))
    orders = _orders(world, side, [_Open(None, sent)], sent, held_back)
    return Plan(tuple(orders), held_back=tuple(held_back))


def _smallness(lots: Lots, sent: Decimal) -> Reason:
    if sent <= 0:
        return Reason.OFF_LOT
    return Reason.BELOW_QUANTITY_MIN if sent < lots.quantity_min else Reason.BELOW_NOTIONAL_MIN
