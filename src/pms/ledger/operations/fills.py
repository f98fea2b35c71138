"""Books one execution: who gets which part, at its own price and fee (decisions 1, 3, 11, 16, 17).

Conservation, for each part: Δ(cash - owed - signed cost) = -(signed quantity x price) - fee.
"""

from dataclasses import replace
from decimal import Decimal

from pms.ledger.api import HouseLineKind
from pms.ledger.book import ExchangeMirror, OrderRecord
from pms.ledger.operations.costs import apply_fill, split_fee
from pms.ledger.operations.foreign import book_foreign
from pms.ledger.operations.orders import acknowledge, record_fill
from pms.ledger.operations.parts import Allocator, Terms, give_house, open_position, reduce_position
from pms.ledger.operations.pool_rows import add_pool_fill
from pms.ledger.plan import Plan
from pms.model.account import AccountStatus, Position, SubAccount
from pms.model.fill import ExchangeFill, FillKey, FillKind, FillSource
from pms.model.ids import PositionId
from pms.model.money import SETTLE_ASSET, ZERO, round_cost
from pms.model.order import FLIP_ACTION, JournalOrder, OrderCode

_ENTRY_ACTIONS = frozenset({"", "OPEN", "ADD", FLIP_ACTION})


def book_fill(plan: Plan, fill: ExchangeFill, fee: Decimal, key: FillKey, known: OrderRecord | None) -> None:
    """Plan the booking of a fill that is known to be new. `known` is its order when only the database had
    it."""
    fee = round_cost(fee)
    fill_id = plan.uuid()
    _insert_fill(plan, fill, fee, key, fill_id)
    plan.book.fill_keys.set(key, True)
    _follow_exchange(plan, fill)
    allocator = Allocator(plan, fill_id, fill.symbol, fill.price)
    record = plan.book.find_order(fill.client_order_id) or known
    _give_back_fee(plan, fill, fee, fill_id)
    if record is None:
        book_foreign(plan, allocator, fill, fee, fill_id)
        return
    record = acknowledge(plan, record, fill.order_id)
    order = record.order
    account = None if order.sub_account_id is None else plan.book.account(order.sub_account_id)
    pool = plan.book.pools.get(order.client_order_id)
    if pool is not None:
        _give_house(plan, allocator, fill, fill.quantity, fee, HouseLineKind.POOL)
        add_pool_fill(plan, pool, fill, fill_id, fee)
    elif account is None:
        _give_house(plan, allocator, fill, fill.quantity, fee, HouseLineKind.FILL)
    elif account.status is AccountStatus.LIQUIDATED:
        _give_house(plan, allocator, fill, fill.quantity, fee, HouseLineKind.LATE_FILL)
    else:
        position_id = _book_own(plan, allocator, fill, fee, account, order)
        if order.position_id is None and position_id is not None:
            order = replace(order, position_id=position_id)
    record_fill(plan, replace(record, order=order), fill.quantity, round_cost(fill.price * fill.quantity))
    plan.post("FILL", fill_id)


def _give_back_fee(plan: Plan, fill: ExchangeFill, fee: Decimal, fill_id: str) -> None:
    """A commission that the exchange took in another asset leaves the wallet of this one as it was. Who
    caused it pays it here all the same (decision 8): to the house, whose other asset it was."""
    if fee and fill.fee_asset not in ("", SETTLE_ASSET):
        plan.line("EXCHANGE_FEE", fee, symbol=fill.symbol, detail=fill.fee_asset)
        plan.house_line(HouseLineKind.FEE_ASSET, cash=fee, reference=fill_id)


def _insert_fill(plan: Plan, fill: ExchangeFill, fee: Decimal, key: FillKey, fill_id: str) -> None:
    plan.insert_ours(
        "pms_fills",
        {"id": fill_id},
        {
            "kind": FillKind.EXCHANGE,
            "epoch": key.epoch,
            "native_symbol": fill.native_symbol,
            "trade_id": fill.trade_id,
            "order_id": fill.order_id,
            "client_order_id": fill.client_order_id,
            "symbol": fill.symbol,
            "side": fill.side,
            "price": fill.price,
            "quantity": fill.quantity,
            "fee": fee,
            "fee_paid": round_cost(fill.fee),
            "fee_asset": fill.fee_asset,
            "maker": fill.maker,
            "source": fill.source,
            "trade_time": fill.trade_time_ms,
            "booked_at": plan.now_ms,
            "link": plan.link,
        },
    )


def _follow_exchange(plan: Plan, fill: ExchangeFill) -> None:
    """Carry the exchange's position along: its quantity, average cost, and highest trade id."""
    known = plan.book.mirror.get(fill.symbol)
    before = known or ExchangeMirror(fill.symbol, ZERO, ZERO, 0)
    held = apply_fill(before.signed_quantity, before.signed_cost, fill.side.sign * fill.quantity, fill.price)
    last = before.last_trade_id
    if fill.source is not FillSource.QUERY:
        # An order that was asked for says nothing of the executions before it: the gap stays open behind it.
        last = max(last, fill.trade_id)
    plan.book.mirror.set(
        fill.symbol, ExchangeMirror(fill.symbol, held.signed_quantity, held.signed_cost, last)
    )
    plan.touch_symbol(fill.symbol)
    if known is None:
        plan.insert_ours(
            "pms_exchange_positions",
            {"symbol": fill.symbol},
            {"signed_quantity": held.signed_quantity, "signed_cost": held.signed_cost, "last_trade_id": last},
        )
    else:
        plan.update(
            "pms_exchange_positions",
            (plan.ours, fill.symbol),
            {"signed_quantity": held.signed_quantity, "signed_cost": held.signed_cost, "last_trade_id": last},
        )


def _book_own(
    plan: Plan,
    allocator: Allocator,
    fill: ExchangeFill,
    fee: Decimal,
    account: SubAccount,
    order: JournalOrder,
) -> PositionId | None:
    """Reduce, then open (decision 16); a virtual reduce-only surplus goes to the house. Returns the position
    opened or added to, else the one reduced."""
    position = plan.book.open_position(account.id, fill.symbol)
    closing = ZERO
    if position is not None and position.side is not order.position_side:
        closing = min(fill.quantity, position.quantity)
    opening = fill.quantity - closing
    terms = _own_terms(fill, order, position, closing)
    close_fee = ZERO
    if closing:
        close_fee = fee if terms.fee_on_close else split_fee(fee, closing, fill.quantity)
    touched: PositionId | None = None
    if position is not None and closing:
        account = reduce_position(plan, allocator, account, position, closing, close_fee, terms)
        touched = position.id
    if opening and order.reduce_only:
        _give_house(plan, allocator, fill, opening, fee - close_fee, HouseLineKind.LATE_FILL)
    elif opening:
        touched = open_position(plan, allocator, account, opening, fee - close_fee, terms)
    return touched


def _own_terms(fill: ExchangeFill, order: JournalOrder, position: Position | None, closing: Decimal) -> Terms:
    left = order.quantity - order.booked_quantity - closing
    flip = position is not None and not order.reduce_only and closing == position.quantity and left > 0
    action = "CLOSE" if order.action in _ENTRY_ACTIONS else order.action
    partial = position is not None and closing < position.quantity
    incumbent_flip = order.action == FLIP_ACTION
    tag = (
        "FLIP_CLOSE"
        if flip or incumbent_flip
        else "LIQUIDATE"
        if action == "LIQUIDATE"
        else "ADL"
        if partial
        else "CLOSE"
    )
    origin = "BOT" if order.code is OrderCode.FAPI or order.origin == "BOT" else "MANUAL"
    return Terms(
        fill.symbol,
        fill.side,
        fill.price,
        fill.order_id,
        order.client_order_id,
        order.type,
        action,
        tag,
        flip,
        origin,
        order,
        order.leverage,
        order.babysitter_excluded,
        incumbent_flip,
    )


def _give_house(
    plan: Plan, allocator: Allocator, fill: ExchangeFill, quantity: Decimal, fee: Decimal, kind: HouseLineKind
) -> None:
    reference = f"{fill.native_symbol}:{fill.trade_id}"
    give_house(plan, allocator, fill.symbol, fill.side, fill.price, quantity, fee, kind, reference)
