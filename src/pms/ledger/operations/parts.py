"""The parts of an execution: what reducing, opening, or a share of the house does to rows and money.

Conservation, for each part: Δ(cash - owed - signed cost) = -(signed quantity x price) - fee.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

from pms.ledger.api import HouseLineKind, TradeRow
from pms.ledger.operations.costs import apply_fill, cost_removed
from pms.ledger.plan import Plan
from pms.ledger.rendering import Cell, json_number, signature, signature_text
from pms.model.account import Position, PositionStatus, SubAccount
from pms.model.event import JsonValue
from pms.model.ids import ClientOrderId, ExchangeOrderId, PositionId, SubAccountId, TradeExecutionId
from pms.model.money import ZERO, Money, Price, Quantity, round_cost
from pms.model.order import JournalOrder, OrderSide, OrderType
from pms.model.symbol import Symbol

_REASONS = {"LIQUIDATE": "LIQUIDATION", "TAKEOVER": "ADMIN_TAKEOVER"}

LIQUIDATIONS = frozenset({"LIQUIDATE", "ADL_TIER2", "ADL_TIER3", "PARTIAL_LIQUIDATION"})
"""Actions of a liquidation: a row that they reduce to nothing ends LIQUIDATED, its account pays the fee."""

SYSTEM_LIQUIDATION = "SYSTEM_LIQ"
"""Who takes over when no administrator does (ledger spec 5.7): the liquidation itself."""

LIQUIDATION_FEE = "LIQUIDATION_FEE"

_PARTIAL_CLOSES = frozenset({"ADL_TIER2", "ADL_TIER3", "PARTIAL_LIQUIDATION", "LIMIT_CLOSE", "REAL_SHED"})


@dataclass(frozen=True, slots=True)
class Terms:
    """What a part of a fill inherits from its order, or from being foreign."""

    symbol: Symbol
    side: OrderSide
    price: Price
    exchange_order_id: ExchangeOrderId | None
    client_order_id: ClientOrderId | None
    type: OrderType
    close_action: str
    close_tag: str
    flip: bool
    origin_type: str
    order: JournalOrder | None
    leverage: Decimal = ZERO
    """Of what this part opens; a part that only closes needs none."""
    babysitter_excluded: bool = True
    fee_on_close: bool = False
    """True for a flip of the incumbent's kind: the account bears the order's whole fee (ledger spec 5.3)."""
    taken_over_by: str | None = None
    """Who took the position over: its row ends TAKEN_OVER (ledger spec 5.7)."""


class Allocator:
    """Numbers the parts of one fill or transfer, each with its own side, all at one price."""

    def __init__(self, plan: Plan, fill_id: str, symbol: Symbol, price: Price) -> None:
        self._plan = plan
        self.fill_id = fill_id
        self._symbol = symbol
        self._price = price
        self._number = 0

    def add(
        self,
        effect: str,
        side: OrderSide,
        quantity: Decimal,
        fee: Decimal,
        trade: TradeRow | None = None,
        position: Position | None = None,
    ) -> None:
        """Allocate a part: to the house, or to the account of `trade`, `position` as it is afterwards."""
        self._plan.insert_ours(
            "pms_fill_allocations",
            {"fill_id": self.fill_id, "number": self._number},
            {
                "sub_account_id": None if trade is None else trade.sub_account_id,
                "position_id": None if position is None else position.id,
                "position_revision": None if position is None else position.revision,
                "trade_execution_id": None if trade is None else trade.id,
                "symbol": self._symbol,
                "side": side,
                "effect": effect,
                "price": self._price,
                "quantity": quantity,
                "fee": fee,
                "link": self._plan.link,
            },
        )
        self._number += 1
        product = round_cost(side.sign * quantity * self._price)
        self._plan.line("EXCHANGE_TRADE", -product, symbol=self._symbol, detail=effect)
        self._plan.line("EXCHANGE_FEE", -fee, symbol=self._symbol)


def reduce_position(
    plan: Plan,
    allocator: Allocator,
    account: SubAccount,
    position: Position,
    closing: Decimal,
    fee: Decimal,
    terms: Terms,
) -> SubAccount:
    """Close a part of a position, or all of it: row, trade, balance, events. Returns the account after it."""
    full = closing == position.quantity
    removed = cost_removed(position.cost, position.quantity, closing)
    notional = round_cost(terms.price * closing)
    pnl = (notional - removed) * position.side.sign - fee
    trade = _trade(plan, terms, account.id, position.id, closing, notional, fee, pnl, terms.close_action)
    taken_over: dict[str, Cell] = {}
    if full:
        after = replace(position, status=_end_status(terms), revision=position.revision + 1)
        if terms.taken_over_by is not None:
            taken_over = {
                "taken_over": True,
                "taken_over_by": terms.taken_over_by,
                "taken_over_at": plan.now_ms,
            }
    else:
        after = replace(
            position,
            quantity=Quantity(position.quantity - closing),
            cost=Money(position.cost - removed),
            revision=position.revision + 1,
        )
    plan.put_position(
        after,
        realized_pnl=pnl if full else None,
        cost_change=-removed * position.side.sign,
        further=taken_over,
    )
    allocator.add("REDUCE", terms.side, closing, fee, trade, after)
    account = plan.move_cash(account, pnl, _balance_reason(terms), trade.id)
    account = charge_liquidation_fee(plan, account, notional, terms, trade.id)
    _closing_events(plan, account, after, closing, pnl, terms)
    return account


def _closing_events(
    plan: Plan, account: SubAccount, position: Position, closing: Decimal, pnl: Decimal, terms: Terms
) -> None:
    """Tell of a close or a reduction; `position` is the state after it, a closed one keeps its quantity."""
    data: dict[str, JsonValue] = {
        "positionId": position.id,
        "symbol": position.symbol,
        "side": position.side.value,
    }
    money: dict[str, JsonValue] = {
        "realizedPnl": json_number(pnl),
        "newBalance": json_number(account.balance),
    }
    if position.status is PositionStatus.OPEN:
        sizes: dict[str, JsonValue] = {
            "remainingQty": json_number(position.quantity),
            "closedQty": json_number(closing),
        }
        plan.event("position_reduced", account.id, {**data, **sizes, **money, "reason": terms.close_action})
        _position_event(plan, position)
        return
    if terms.taken_over_by is not None:
        plan.event("position_takeover", account.id, {**data, "adminUserId": terms.taken_over_by})
    reason = "FLIP" if terms.flip else terms.close_action
    plan.event("position_closed", account.id, {**data, **money, "reason": reason})


def _end_status(terms: Terms) -> PositionStatus:
    if terms.taken_over_by is not None:
        return PositionStatus.TAKEN_OVER
    # H23: a full reduction is LIQUIDATED only when it was a liquidation.
    return PositionStatus.LIQUIDATED if terms.close_action in LIQUIDATIONS else PositionStatus.CLOSED


def charge_liquidation_fee(
    plan: Plan, account: SubAccount, notional: Decimal, terms: Terms, trade_id: TradeExecutionId
) -> SubAccount:
    """Move the fee of a liquidated notional from the account to the house's insurance.

    At most what the account has: the rest is waived, never owed (docs/decisions, "The liquidation fee").
    """
    liquidated = terms.close_action in LIQUIDATIONS or terms.taken_over_by == SYSTEM_LIQUIDATION
    fee = min(round_cost(plan.settings.liquidation_fee_rate * notional), account.balance)
    if not liquidated or fee <= 0:
        return account
    plan.house_line(HouseLineKind.INSURANCE, cash=fee, reference=trade_id, sub_account_id=account.id)
    return plan.move_cash(account, -fee, LIQUIDATION_FEE, trade_id)


def _balance_reason(terms: Terms) -> str:
    """Ledger spec 5.4 to 5.8: a close by an order of its own logs TRADE_PNL whatever asked for it, partial
    and virtual closes log their action."""
    virtual = terms.order is None or terms.close_action in _PARTIAL_CLOSES
    return _REASONS.get(terms.close_action, terms.close_action if virtual else "TRADE_PNL")


def open_position(
    plan: Plan, allocator: Allocator, account: SubAccount, opening: Decimal, fee: Decimal, terms: Terms
) -> PositionId:
    """Open a position or add to it with the terms' leverage, and charge the fee. Returns its id."""
    notional = round_cost(terms.price * opening)
    known = plan.book.open_position(account.id, terms.symbol)
    side = terms.side.opens
    quantity = opening + (known.quantity if known else ZERO)
    cost = notional + (known.cost if known else ZERO)
    # Ledger spec 5.2: with the balance before this trade's own fee; the order's leverage for the whole
    # position.
    liquidation_price = plan.liquidation_price(account, side, cost / quantity, cost)
    position = Position(
        id=known.id if known else PositionId(plan.uuid()),
        sub_account_id=account.id,
        symbol=terms.symbol,
        side=side,
        quantity=Quantity(quantity),
        cost=Money(cost),
        leverage=terms.leverage,
        liquidation_price=liquidation_price,
        status=PositionStatus.OPEN,
        babysitter_excluded=known.babysitter_excluded if known else terms.babysitter_excluded,
        opened_at_ms=known.opened_at_ms if known else plan.now_ms,
        revision=known.revision + 1 if known else 1,
    )
    plan.put_position(position, cost_change=notional * side.sign)
    trade = _trade(
        plan, terms, account.id, position.id, opening, notional, fee, None, "ADD" if known else "OPEN"
    )
    allocator.add("OPEN", terms.side, opening, fee, trade, position)
    if fee:
        if plan.settings.charge_open_fees or terms.fee_on_close:
            plan.move_cash(account, -fee, "OPEN_FEE", trade.id)
        else:  # side by side with the incumbent the house bears it (decision 29)
            plan.house_line(HouseLineKind.FILL, cash=-fee, reference=trade.id, sub_account_id=account.id)
    _position_event(plan, position)
    return position.id


def give_house(
    plan: Plan,
    allocator: Allocator,
    symbol: Symbol,
    side: OrderSide,
    price: Price,
    quantity: Decimal,
    fee: Decimal,
    kind: HouseLineKind,
    reference: str,
    from_account: SubAccountId | None = None,
) -> None:
    """Give a part to the house, realising at average cost what it reduces there."""
    held = plan.book.house_position(symbol)
    signed = side.sign * quantity
    after = apply_fill(held.signed_quantity, held.signed_cost, signed, price)
    allocator.add(kind.value, side, quantity, fee)
    plan.house_line(
        kind,
        cash=after.realized - fee,
        symbol=symbol,
        signed_quantity=signed,
        signed_cost=after.signed_cost - held.signed_cost,
        reference=reference,
        sub_account_id=from_account,
    )


def _trade(
    plan: Plan,
    terms: Terms,
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
        signature=_signature(plan, terms, account_id, position_id, None if pnl is not None else quantity),
        timestamp_ms=plan.now_ms,
    )
    plan.trade(row)
    return row


def _signature(
    plan: Plan, terms: Terms, account_id: SubAccountId, position_id: PositionId, opened: Decimal | None
) -> str:
    """Return the signature of ledger spec 3.13 for this kind of trade."""
    order = terms.order
    if order is not None and order.pending_order_id is not None:
        return signature(account_id, "LIMIT_FILL", order.pending_order_id, str(plan.now_ms), plan.uuid())
    if opened is None:
        return plan.sign_close(account_id, terms.close_tag, position_id)
    quantity = signature_text(opened if order is None else order.quantity)
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
