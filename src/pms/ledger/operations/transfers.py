"""Two-legged transfers of a position to the house at a stated price (decisions 9 and 13)."""

from decimal import Decimal

from pms.ledger.api import HouseLineKind
from pms.ledger.errors import InvalidAmountError, PositionNotOpenError
from pms.ledger.operations.accounts import existing
from pms.ledger.operations.parts import Allocator, Terms, give_house, reduce_position
from pms.ledger.plan import Plan
from pms.model.fill import FillKind
from pms.model.ids import PositionId
from pms.model.money import ZERO, Price
from pms.model.order import OrderSide, OrderType
from pms.model.symbol import Symbol


def transfer_to_house(
    plan: Plan, position_id: PositionId, quantity: Decimal, price: Price, kind: HouseLineKind, action: str
) -> None:
    """Close a part of a position against the house; Σ virtual + house stays.

    Raises PositionNotOpenError, InvalidAmountError. A quantity beyond the position closes all of it.
    """
    position = plan.book.positions.get(position_id)
    if position is None:
        raise PositionNotOpenError(f"no open position has the id {position_id}; nothing was transferred")
    if not quantity > 0 or not price > 0 or not quantity.is_finite() or not price.is_finite():
        raise InvalidAmountError(
            f"a transfer needs a quantity and a price above zero, was {quantity} at {price}"
        )
    moved = min(quantity, position.quantity)
    side = OrderSide.closing(position.side)
    transfer_id = plan.uuid()
    _insert_transfer(plan, transfer_id, position.symbol, side, price, moved, action)
    allocator = Allocator(plan, transfer_id, position.symbol, price)
    terms = Terms(
        symbol=position.symbol,
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
    account = existing(plan, position.sub_account_id)
    reduce_position(plan, allocator, account, position, moved, ZERO, terms)
    give_house(
        plan,
        allocator,
        position.symbol,
        side.opposite,
        price,
        moved,
        ZERO,
        kind,
        transfer_id,
        position.sub_account_id,
    )
    plan.post("TRANSFER", transfer_id)


def _insert_transfer(
    plan: Plan, transfer_id: str, symbol: Symbol, side: OrderSide, price: Price, moved: Decimal, action: str
) -> None:
    plan.insert_ours(
        "pms_fills",
        {"id": transfer_id},
        {
            "kind": FillKind.TRANSFER,
            "epoch": plan.book.epoch,
            "native_symbol": symbol,
            "trade_id": 0,
            "order_id": transfer_id,
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
            "trade_time": plan.now_ms,
            "booked_at": plan.now_ms,
            "link": plan.link,
        },
    )
