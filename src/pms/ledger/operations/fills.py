"""Booking one exchange execution: who gets which part of it, at its own price and fee (decisions 1, 3, 11, 16, 17).

Conservation, for each part: Δ(cash - owed - signed cost) = -(signed quantity x price) - fee.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

from pms.ledger.api import HouseLineKind, TradeRow
from pms.ledger.book import ExchangeMirror, OrderRecord
from pms.ledger.operations.costs import apply_fill, cost_removed, pro_rata, split_fee
from pms.ledger.operations.orders import acknowledge, settle
from pms.ledger.plan import Plan
from pms.ledger.rendering import json_number, signature, signature_text
from pms.model.account import AccountStatus, Position, PositionStatus, SubAccount
from pms.model.event import JsonValue
from pms.model.fill import ExchangeFill, FillKey, FillKind, FillSource
from pms.model.ids import ClientOrderId, ExchangeOrderId, PositionId, SubAccountId, TradeExecutionId
from pms.model.money import ZERO, Money, Price, Quantity, round_cost
from pms.model.order import JournalOrder, OrderCode, OrderSide, OrderState, OrderType
from pms.model.symbol import Symbol

FOREIGN_ACTION = "RECONCILE"
_ENTRY_ACTIONS = frozenset({"", "OPEN", "ADD"})
# Ledger spec 5.4: these closes log TRADE_PNL and LIQUIDATION; every other action is its own reason.
_REASONS = {"CLOSE": "TRADE_PNL", "LIQUIDATE": "LIQUIDATION"}


@dataclass(frozen=True, slots=True)
class _Terms:
    """What a part of a fill inherits from its order, or from being foreign."""

    symbol: Symbol
    side: OrderSide
    price: Price
    exchange_order_id: ExchangeOrderId
    client_order_id: ClientOrderId | None
    type: OrderType
    close_action: str
    close_tag: str
    flip: bool
    origin_type: str
    order: JournalOrder | None


class _Allocator:
    """Numbers the parts of one fill; what is left at the end must be nothing."""

    def __init__(self, plan: Plan, fill_id: str, fill: ExchangeFill) -> None:
        self._plan = plan
        self._fill_id = fill_id
        self._fill = fill
        self._number = 0

    def add(
        self,
        effect: str,
        quantity: Decimal,
        fee: Decimal,
        account_id: SubAccountId | None = None,
        position_id: PositionId | None = None,
        trade_id: TradeExecutionId | None = None,
    ) -> None:
        fill = self._fill
        self._plan.insert_ours(
            "pms_fill_allocations",
            {"fill_id": self._fill_id, "number": self._number},
            {
                "sub_account_id": account_id,
                "position_id": position_id,
                "trade_execution_id": trade_id,
                "symbol": fill.symbol,
                "side": fill.side,
                "effect": effect,
                "price": fill.price,
                "quantity": quantity,
                "fee": fee,
                "link": self._plan.link,
            },
        )
        self._number += 1
        self._plan.line(
            "EXCHANGE_TRADE",
            -round_cost(fill.side.sign * quantity * fill.price),
            symbol=fill.symbol,
            detail=effect,
        )
        self._plan.line("EXCHANGE_FEE", -fee, symbol=fill.symbol)


def book_fill(plan: Plan, fill: ExchangeFill, fee: Decimal, key: FillKey, known: OrderRecord | None) -> None:
    """Plan the booking of a fill that is known to be new. `known` is its order when only the database had it."""
    fee = round_cost(fee)
    fill_id = plan.uuid()
    _insert_fill(plan, fill, fee, key, fill_id)
    plan.book.fill_keys.set(key, True)
    _follow_exchange(plan, fill)
    allocator = _Allocator(plan, fill_id, fill)
    record = plan.book.find_order(fill.client_order_id) or known
    if record is None:
        _book_foreign(plan, allocator, fill, fee)
        plan.post("FOREIGN_FILL", fill_id)
        return
    record = acknowledge(plan, record, fill.order_id)
    order = record.order
    account = None if order.sub_account_id is None else plan.book.account(order.sub_account_id)
    if account is None:
        book_house(plan, allocator, fill, fill.quantity, fee, HouseLineKind.FILL)
    elif account.status is AccountStatus.LIQUIDATED:
        book_house(plan, allocator, fill, fill.quantity, fee, HouseLineKind.LATE_FILL)
    else:
        position_id = _book_own(plan, allocator, fill, fee, account, order)
        if order.position_id is None and position_id is not None:
            order = replace(order, position_id=position_id)
    booked = Quantity(order.booked_quantity + fill.quantity)
    order = replace(
        order, booked_quantity=booked, executed_quantity=Quantity(max(order.executed_quantity, booked))
    )
    notional = record.booked_notional + round_cost(fill.price * fill.quantity)
    settle(plan, replace(record, order=order, booked_notional=notional))
    plan.post("FILL", fill_id)


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
    allocator: _Allocator,
    fill: ExchangeFill,
    fee: Decimal,
    account: SubAccount,
    order: JournalOrder,
) -> PositionId | None:
    """Reduce, then open (decision 16); a virtual reduce-only surplus goes to the house. Returns the position opened
    or added to, else the one reduced."""
    position = plan.book.open_position(account.id, fill.symbol)
    closing = ZERO
    if position is not None and position.side is not order.position_side:
        closing = min(fill.quantity, position.quantity)
    opening = fill.quantity - closing
    close_fee = split_fee(fee, closing, fill.quantity) if closing else ZERO
    terms = _own_terms(fill, order, position, closing)
    touched: PositionId | None = None
    if position is not None and closing:
        account = _reduce(plan, allocator, account, position, closing, close_fee, terms)
        touched = position.id
    if opening and order.reduce_only:
        book_house(plan, allocator, fill, opening, fee - close_fee, HouseLineKind.LATE_FILL)
    elif opening:
        touched = _open(plan, allocator, account, opening, fee - close_fee, terms, order)
    return touched


def _own_terms(
    fill: ExchangeFill, order: JournalOrder, position: Position | None, closing: Decimal
) -> _Terms:
    left = order.quantity - order.booked_quantity - closing
    flip = position is not None and not order.reduce_only and closing == position.quantity and left > 0
    action = "CLOSE" if order.action in _ENTRY_ACTIONS else order.action
    partial = position is not None and closing < position.quantity
    tag = "FLIP_CLOSE" if flip else "LIQUIDATE" if action == "LIQUIDATE" else "ADL" if partial else "CLOSE"
    origin = "BOT" if order.code is OrderCode.FAPI or order.origin == "BOT" else "MANUAL"
    return _Terms(
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
    )


def _reduce(
    plan: Plan,
    allocator: _Allocator,
    account: SubAccount,
    position: Position,
    closing: Decimal,
    fee: Decimal,
    terms: _Terms,
) -> SubAccount:
    full = closing == position.quantity
    removed = cost_removed(position.cost, position.quantity, closing)
    notional = round_cost(terms.price * closing)
    pnl = (notional - removed) * position.side.sign - fee
    trade = _trade(plan, terms, account.id, position.id, closing, notional, fee, pnl, terms.close_action)
    if full:
        status = PositionStatus.LIQUIDATED if terms.close_action == "LIQUIDATE" else PositionStatus.CLOSED
        after = replace(position, status=status, revision=position.revision + 1)
    else:
        after = replace(
            position,
            quantity=Quantity(position.quantity - closing),
            cost=Money(position.cost - removed),
            revision=position.revision + 1,
        )
    plan.put_position(after, realized_pnl=pnl if full else None, cost_change=-removed * position.side.sign)
    allocator.add("REDUCE", closing, fee, account.id, position.id, trade.id)
    reason = _REASONS.get(terms.close_action, terms.close_action)
    account = plan.move_cash(account, pnl, reason, trade.id)
    closed_as = "FLIP" if terms.flip else terms.close_action
    data: dict[str, JsonValue] = {
        "positionId": position.id,
        "symbol": position.symbol,
        "side": position.side.value,
    }
    money: dict[str, JsonValue] = {
        "realizedPnl": json_number(pnl),
        "newBalance": json_number(account.balance),
    }
    if full:
        plan.event("position_closed", account.id, {**data, **money, "reason": closed_as})
    else:
        sizes: dict[str, JsonValue] = {
            "remainingQty": json_number(after.quantity),
            "closedQty": json_number(closing),
        }
        plan.event("position_reduced", account.id, {**data, **sizes, **money, "reason": terms.close_action})
        _position_event(plan, after)
    return account


def _open(
    plan: Plan,
    allocator: _Allocator,
    account: SubAccount,
    opening: Decimal,
    fee: Decimal,
    terms: _Terms,
    order: JournalOrder,
) -> PositionId:
    notional = round_cost(terms.price * opening)
    known = plan.book.open_position(account.id, terms.symbol)
    side = terms.side.opens
    quantity = opening + (known.quantity if known else ZERO)
    cost = notional + (known.cost if known else ZERO)
    # Ledger spec 5.2: with the balance before this trade's own fee; the order's leverage for the whole position.
    liquidation_price = plan.liquidation_price(account, side, cost / quantity, cost)
    position = Position(
        id=known.id if known else PositionId(plan.uuid()),
        sub_account_id=account.id,
        symbol=terms.symbol,
        side=side,
        quantity=Quantity(quantity),
        cost=Money(cost),
        leverage=order.leverage,
        liquidation_price=liquidation_price,
        status=PositionStatus.OPEN,
        babysitter_excluded=known.babysitter_excluded if known else order.babysitter_excluded,
        opened_at_ms=known.opened_at_ms if known else plan.now_ms,
        revision=known.revision + 1 if known else 1,
    )
    plan.put_position(position, cost_change=notional * side.sign)
    trade = _trade(
        plan, terms, account.id, position.id, opening, notional, fee, None, "ADD" if known else "OPEN"
    )
    allocator.add("OPEN", opening, fee, account.id, position.id, trade.id)
    if fee:
        if plan.settings.charge_open_fees:
            plan.move_cash(account, -fee, "OPEN_FEE", trade.id)
        else:  # side by side with the incumbent the house bears it (decision 29)
            plan.house_line(HouseLineKind.FILL, cash=-fee, reference=trade.id, sub_account_id=account.id)
    _position_event(plan, position)
    return position.id


def book_house(
    plan: Plan,
    allocator: _Allocator,
    fill: ExchangeFill,
    quantity: Decimal,
    fee: Decimal,
    kind: HouseLineKind,
) -> None:
    """Give a part of a fill to the house, realising at average cost what it reduces."""
    held = plan.book.house_position(fill.symbol)
    signed = fill.side.sign * quantity
    after = apply_fill(held.signed_quantity, held.signed_cost, signed, fill.price)
    allocator.add(kind.value, quantity, fee)
    plan.house_line(
        kind,
        cash=after.realized - fee,
        symbol=fill.symbol,
        signed_quantity=signed,
        signed_cost=after.signed_cost - held.signed_cost,
        reference=f"{fill.native_symbol}:{fill.trade_id}",
    )


def _book_foreign(plan: Plan, allocator: _Allocator, fill: ExchangeFill, fee: Decimal) -> None:
    """Allocate a foreign fill (decision 11): only what reduces the real net reduces anybody. The house's own holding
    on that side goes first (what a foreigner opened, he closes), then the holders pro rata; the rest is suspense."""
    net = plan.book.expected_net(fill.symbol)
    reducing = min(fill.quantity, abs(net)) if net * fill.side.sign < 0 else ZERO
    house = plan.book.house_position(fill.symbol).signed_quantity
    if house * fill.side.sign < 0:
        reducing -= min(reducing, abs(house))
    holders = sorted(
        (
            position
            for position in plan.book.positions.values()
            if position.symbol == fill.symbol and position.side.sign == -fill.side.sign
        ),
        key=lambda position: (position.opened_at_ms, position.id),
    )
    reducing = min(reducing, sum((position.quantity for position in holders), ZERO))
    fee_left = fee
    if reducing:
        terms = _Terms(
            fill.symbol,
            fill.side,
            fill.price,
            fill.order_id,
            None,
            OrderType.MARKET,
            FOREIGN_ACTION,
            "RECONCILE",
            False,
            "MANUAL",
            None,
        )
        shares = pro_rata(reducing, [position.quantity for position in holders])
        for position, share in zip(holders, shares, strict=True):
            account = plan.book.account(position.sub_account_id)
            if share and account is not None:
                part = split_fee(fee, share, fill.quantity)
                fee_left -= part
                _reduce(plan, allocator, account, position, share, part, terms)
    rest = fill.quantity - reducing
    if rest:
        book_house(plan, allocator, fill, rest, fee_left, HouseLineKind.SUSPENSE)
    elif fee_left:  # the rounding of the split fee
        plan.line("EXCHANGE_FEE", -fee_left, symbol=fill.symbol)
        plan.house_line(HouseLineKind.ROUNDING, cash=-fee_left)


def _trade(
    plan: Plan,
    terms: _Terms,
    account_id: SubAccountId,
    position_id: PositionId,
    quantity: Decimal,
    notional: Decimal,
    fee: Decimal,
    pnl: Decimal | None,
    action: str,
) -> TradeRow:
    row = TradeRow(
        id=TradeExecutionId(plan.uuid()),
        sub_account_id=account_id,
        position_id=position_id,
        exchange_order_id=terms.exchange_order_id,
        client_order_id=terms.client_order_id,
        symbol=terms.symbol,
        side=terms.side,
        type=terms.type,
        price=terms.price,
        quantity=Quantity(quantity),
        notional=Money(notional),
        fee=Money(fee),
        realized_pnl=None if pnl is None else Money(pnl),
        action=action,
        origin_type=terms.origin_type,
        status="FILLED",
        signature=_signature(plan, terms, account_id, position_id, closing=pnl is not None),
        timestamp_ms=plan.now_ms,
    )
    plan.trade(row)
    return row


def _signature(
    plan: Plan, terms: _Terms, account_id: SubAccountId, position_id: PositionId, *, closing: bool
) -> str:
    """Return the signature of ledger spec 3.13 for this kind of trade."""
    order = terms.order
    if order is not None and order.pending_order_id is not None:
        return signature(account_id, "LIMIT_FILL", order.pending_order_id, str(plan.now_ms), plan.uuid())
    if closing or order is None:
        return plan.sign_close(account_id, terms.close_tag, position_id)
    quantity = signature_text(order.quantity)
    return signature(
        account_id, terms.symbol, terms.side.opens.value, quantity, str(plan.now_ms), plan.uuid()
    )


def _position_event(plan: Plan, position: Position) -> None:
    plan.event("position_updated", position.sub_account_id, position_data(position))


def position_data(position: Position) -> dict[str, JsonValue]:
    """Return the data of `position_updated` (gateway spec 7.4), without the account."""
    return {
        "positionId": position.id,
        "symbol": position.symbol,
        "side": position.side.value,
        "entryPrice": json_number(position.entry_price),
        "quantity": json_number(position.quantity),
        "notional": json_number(position.notional),
        "leverage": json_number(position.leverage),
        "margin": json_number(position.margin),
        "liquidationPrice": json_number(position.liquidation_price),
        "babysitterExcluded": position.babysitter_excluded,
    }
