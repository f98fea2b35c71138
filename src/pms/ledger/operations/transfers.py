"""Internal movements of positions at a stated price: to the house, from it, and of closes among themselves.

Each is one fill that no exchange made, whose legs cancel (decisions 9 and 13): Σ virtual + house stays. A
reference names a movement for good: it is the fill's order id, whose key is unique, so it is booked once.
"""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from pms.ledger.api import Actor, HouseLineKind
from pms.ledger.errors import InvalidAmountError, PositionNotOpenError, RequestError
from pms.ledger.operations.accounts import existing
from pms.ledger.operations.parts import Allocator, Terms, give_house, open_position, reduce_position
from pms.ledger.plan import Plan
from pms.model.account import AccountStatus, Position
from pms.model.fill import FillKey, FillKind
from pms.model.ids import ExchangeAccountId, ExchangeOrderId, PositionId, SubAccountId, TradeId
from pms.model.money import ZERO, Price, plain
from pms.model.order import OrderSide, OrderType
from pms.model.symbol import Symbol

TAKEOVER_ACTION = "TAKEOVER"
ASSIGN_ACTION = "ASSIGN"
LEVERAGE_MAX = Decimal(125)

_INTERNAL = "TRANSFER"
"""What stands for the native symbol in the key of an internal movement: a reference is unique among all."""


def movement_key(ours: ExchangeAccountId, epoch: str, reference: str) -> FillKey:
    """Return the key under which a movement with that reference is booked once (decision 3)."""
    return FillKey(ours, epoch, _INTERNAL, TradeId(0), ExchangeOrderId(reference))


def transfer_to_house(
    plan: Plan,
    position_id: PositionId,
    quantity: Decimal,
    price: Price,
    kind: HouseLineKind,
    action: str,
    reference: str | None = None,
) -> None:
    """Close a part of a position against the house; Σ virtual + house stays.

    Raises PositionNotOpenError, InvalidAmountError. A quantity beyond the position closes all of it.
    """
    position = _open(plan, position_id)
    _require_amounts(quantity, price)
    moved = min(quantity, position.quantity)
    against_house(plan, position, moved, price, kind, _closing_terms(position, price, action), reference)


def take_over(
    plan: Plan,
    position_id: PositionId,
    by: Actor,
    price: Price,
    quantity: Decimal | None = None,
    reference: str | None = None,
) -> None:
    """Let the house take a position over, or a part of it (ledger spec 5.7 with H41).

    Taken whole, its row ends TAKEN_OVER by `by.id`; a part leaves it open. Raises PositionNotOpenError,
    InvalidAmountError.
    """
    position = _open(plan, position_id)
    wanted = position.quantity if quantity is None else quantity
    _require_amounts(wanted, price)
    moved = min(wanted, position.quantity)
    terms = replace(_closing_terms(position, price, TAKEOVER_ACTION), taken_over_by=by.id)
    against_house(plan, position, moved, price, HouseLineKind.TAKEOVER, terms, reference)
    facts = {"quantity": plain(moved), "of": plain(position.quantity), "price": plain(price)}
    plan.action(by, "position.takeover", position_id, {"symbol": position.symbol}, {**facts})


def net_internally(
    plan: Plan,
    closes: Sequence[tuple[PositionId, Decimal]],
    price: Price,
    action: str,
    reference: str | None = None,
) -> None:
    """Close positions of both sides of one symbol against each other at one price, as far as they cancel.

    On each side the closes are served in the order given; a quantity beyond its position counts as the
    position. What does not cancel stays open. Raises PositionNotOpenError, InvalidAmountError; RequestError
    when the positions are of several symbols.
    """
    if not price > 0 or not price.is_finite():
        raise InvalidAmountError(f"netting needs a price above zero, was {price}")
    wanted: dict[PositionId, Decimal] = {}
    for position_id, quantity in closes:
        _require_amounts(quantity, price)
        held = _open(plan, position_id)
        wanted[position_id] = min(wanted.get(position_id, ZERO) + quantity, held.quantity)
    symbols = {_open(plan, position_id).symbol for position_id in wanted}
    if len(symbols) > 1:
        raise RequestError(f"positions net within one symbol; these are of {', '.join(sorted(symbols))}")
    sides: dict[int, Decimal] = {1: ZERO, -1: ZERO}
    for position_id, quantity in wanted.items():
        sides[_open(plan, position_id).side.sign] += quantity
    matched = min(sides.values())
    if not matched:
        return
    symbol = symbols.pop()
    allocator = _begin(plan, FillKind.CROSS, symbol, OrderSide.SELL, price, matched, action, reference)
    left = {1: matched, -1: matched}
    for position_id, quantity in wanted.items():
        position = _open(plan, position_id)
        part = min(quantity, left[position.side.sign])
        if part:
            left[position.side.sign] -= part
            account = existing(plan, position.sub_account_id)
            terms = _closing_terms(position, price, action)
            reduce_position(plan, allocator, account, position, part, ZERO, terms)
    plan.post("CROSS", allocator.fill_id)


def assign(
    plan: Plan,
    symbol: Symbol,
    sub_account_id: SubAccountId,
    quantity: Decimal,
    price: Price,
    leverage: Decimal,
    actor: Actor,
    reference: str | None = None,
) -> None:
    """Give a part of the house's position to a sub-account at a stated price: it reduces, then opens there.

    Raises AccountNotFoundError, InvalidAmountError; RequestError when the house does not hold that much, or
    when the account may not open anything.
    """
    account = existing(plan, sub_account_id)
    _require_amounts(quantity, price)
    if not 1 <= leverage <= LEVERAGE_MAX:
        raise InvalidAmountError(f"a leverage is between 1 and {LEVERAGE_MAX}, was {leverage}")
    house = plan.book.house_position(symbol).signed_quantity
    if quantity > abs(house):
        raise RequestError(f"the house holds {plain(house)} {symbol}; {plain(quantity)} cannot be assigned")
    side = OrderSide.BUY if house > 0 else OrderSide.SELL
    held = plan.book.open_position(sub_account_id, symbol)
    closing = ZERO
    if held is not None and held.side is not side.opens:
        closing = min(quantity, held.quantity)
    if quantity > closing and account.status is not AccountStatus.ACTIVE:
        raise RequestError(f"account {sub_account_id} is {account.status.value}; nothing may be opened in it")
    allocator = _begin(plan, FillKind.TRANSFER, symbol, side, price, quantity, ASSIGN_ACTION, reference)
    terms = replace(_terms(symbol, side, price, ASSIGN_ACTION), leverage=leverage)
    if held is not None and closing:
        account = reduce_position(plan, allocator, account, held, closing, ZERO, terms)
    if quantity > closing:
        open_position(plan, allocator, account, quantity - closing, ZERO, terms)
    give_house(
        plan,
        allocator,
        symbol,
        side.opposite,
        price,
        quantity,
        ZERO,
        HouseLineKind.ASSIGNMENT,
        allocator.fill_id,
        sub_account_id,
    )
    plan.post("TRANSFER", allocator.fill_id)
    facts = {"symbol": symbol, "quantity": plain(quantity), "side": side.value, "price": plain(price)}
    plan.action(actor, "house.assign", sub_account_id, None, {**facts})


def against_house(
    plan: Plan,
    position: Position,
    moved: Decimal,
    price: Price,
    kind: HouseLineKind,
    terms: Terms,
    reference: str | None,
    fee: Decimal = ZERO,
    traded_ms: int | None = None,
) -> None:
    """Move a part of a position to the house; a `fee` that the house has paid for it is the account's.

    `traded_ms`: when the exchange executed what is passed on here; None: the movement is of this moment. With
    it the caller corrects the fundings that were booked since.
    """
    symbol, side = position.symbol, terms.side
    action = terms.close_action
    allocator = _begin(plan, FillKind.TRANSFER, symbol, side, price, moved, action, reference, traded_ms)
    account = existing(plan, position.sub_account_id)
    reduce_position(plan, allocator, account, position, moved, fee, terms)
    give_house(
        plan,
        allocator,
        symbol,
        side.opposite,
        price,
        moved,
        -fee,
        kind,
        allocator.fill_id,
        position.sub_account_id,
    )
    plan.post("TRANSFER", allocator.fill_id)


def _open(plan: Plan, position_id: PositionId) -> Position:
    position = plan.book.positions.get(position_id)
    if position is None:
        raise PositionNotOpenError(f"no open position has the id {position_id}; nothing was transferred")
    return position


def _require_amounts(quantity: Decimal, price: Price) -> None:
    if not quantity.is_finite() or not price.is_finite() or quantity <= 0 or price <= 0:
        raise InvalidAmountError(
            f"a transfer needs a quantity and a price above zero, was {quantity} at {price}"
        )


def _closing_terms(position: Position, price: Price, action: str) -> Terms:
    return _terms(position.symbol, OrderSide.closing(position.side), price, action)


def _terms(symbol: Symbol, side: OrderSide, price: Price, action: str) -> Terms:
    return Terms(
        symbol=symbol,
        side=side,
        price=price,
        exchange_order_id=None,
        client_order_id=None,
        type=OrderType.MARKET,
        close_action=action,
        close_tag=action,
        flip=False,
        origin_type="MANUAL",
        order=None,
    )


def _begin(
    plan: Plan,
    kind: FillKind,
    symbol: Symbol,
    side: OrderSide,
    price: Price,
    moved: Decimal,
    action: str,
    reference: str | None,
    traded_ms: int | None = None,
) -> Allocator:
    """Write the movement's own row; its parts are numbered by the allocator."""
    # After every funding that is booked: our clock may be behind the exchange's.
    now_ms = max(plan.now_ms, plan.book.funding_times.get(symbol) or 0)
    moment_ms = now_ms if traded_ms is None else traded_ms
    fill_id = plan.uuid()
    key = movement_key(plan.ours, plan.book.epoch, fill_id if reference is None else reference)
    plan.insert_ours(
        "pms_fills",
        {"id": fill_id},
        {
            "kind": kind,
            "epoch": key.epoch,
            "native_symbol": key.native_symbol,
            "trade_id": key.trade_id,
            "order_id": key.order_id,
            "client_order_id": None,
            "symbol": symbol,
            "side": side,
            "price": price,
            "quantity": moved,
            "fee": ZERO,
            "fee_paid": ZERO,
            "fee_asset": "",
            "maker": False,
            "source": action,
            "trade_time": moment_ms,
            "booked_at": plan.now_ms,
            "link": plan.link,
        },
    )
    if reference is not None:
        plan.book.fill_keys.set(key, True)
    return Allocator(plan, fill_id, symbol, price)
