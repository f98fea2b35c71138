"""Books what nobody here ordered: trades by hand or of other bots, and closes of the exchange (decision 11).

What reduces the real net is allocated at once to the holders of the reduced side, at the fill's own price and
fee; the rest is the house's suspense. A liquidation halts everything in the same transaction, and a
settlement that leaves the real net flat also ends what holders of opposite sides still hold.
"""

from decimal import Decimal

from pms.ledger.api import Actor, HouseLineKind
from pms.ledger.operations.control import set_restriction
from pms.ledger.operations.costs import pro_rata, split_fee
from pms.ledger.operations.parts import Allocator, Terms, give_house, reduce_position
from pms.ledger.operations.transfers import transfer_to_house
from pms.ledger.plan import Plan
from pms.model.account import Position
from pms.model.exchange_close import ExchangeClose, exchange_close_of
from pms.model.fill import ExchangeFill
from pms.model.money import ZERO, Price
from pms.model.order import OrderType
from pms.model.restriction import Restriction
from pms.model.symbol import Symbol

FOREIGN_ACTION = "RECONCILE"
EXCHANGE_SOURCE = "exchange"
"""Source of the restriction that a liquidation of the real account puts in force."""


def book_foreign(plan: Plan, allocator: Allocator, fill: ExchangeFill, fee: Decimal, fill_id: str) -> None:
    """Plan all effects of a fill that belongs to no order of ours; its row and its mirror are planned."""
    close = exchange_close_of(fill.client_order_id, forced=fill.forced)
    settings = plan.settings
    allocates = settings.exchange_close_allocates if close else settings.foreign_close_allocates
    _allocate(plan, allocator, fill, fee, close, allocates=allocates)
    plan.post("FOREIGN_FILL", fill_id)
    if close is ExchangeClose.LIQUIDATION:
        halt(plan, fill.symbol)
    elif close is ExchangeClose.SETTLEMENT:
        settle_holders(plan, fill.symbol, fill.price)


def halt(plan: Plan, symbol: Symbol) -> None:
    """Halt everybody until an operator releases it: in the transaction that books the liquidation, so that no
    crash can lose it."""
    reason = f"the exchange liquidated the real account on {symbol}; find out why, then release"
    actor = Actor("system", "system")
    set_restriction(plan, None, EXCHANGE_SOURCE, Restriction.HALT, reason, actor)


def settle_holders(plan: Plan, symbol: Symbol, price: Price) -> int:
    """Close every position of a settled symbol against the house at the settlement price; return how many.

    Nothing while Σ virtual + house is not flat: a settlement fill is still to come. Afterwards the house is
    flat too, since opposite holders give it opposite quantities.
    """
    if plan.book.expected_net(symbol):
        return 0
    holders = _holders(plan, symbol)
    for position in holders:
        transfer_to_house(
            plan,
            position.id,
            position.quantity,
            price,
            HouseLineKind.NETTING_DIFFERENCE,
            ExchangeClose.SETTLEMENT.value,
        )
    return len(holders)


def _allocate(
    plan: Plan,
    allocator: Allocator,
    fill: ExchangeFill,
    fee: Decimal,
    close: ExchangeClose | None,
    *,
    allocates: bool,
) -> None:
    """Only what reduces the real net reduces anybody. The house's own holding on that side goes first (what a
    foreigner opened, he closes), then the holders pro rata by lots; the rest is suspense."""
    holders = [held for held in _holders(plan, fill.symbol) if held.side.sign == -fill.side.sign]
    reducing = _reducing(plan, fill) if allocates else ZERO
    reducing = min(reducing, sum((position.quantity for position in holders), ZERO))
    fee_left = fee
    if reducing:
        terms = _terms(fill, close)
        shares = pro_rata(reducing, [position.quantity for position in holders])
        for position, share in zip(holders, shares, strict=True):
            account = plan.book.account(position.sub_account_id)
            if share and account is not None:
                part = split_fee(fee, share, fill.quantity)
                fee_left -= part
                reduce_position(plan, allocator, account, position, share, part, terms)
    rest = fill.quantity - reducing
    if rest:
        reference = f"{fill.native_symbol}:{fill.trade_id}"
        give_house(
            plan,
            allocator,
            fill.symbol,
            fill.side,
            fill.price,
            rest,
            fee_left,
            HouseLineKind.SUSPENSE,
            reference,
        )
    elif fee_left:  # the rounding of the split fee
        plan.line("EXCHANGE_FEE", -fee_left, symbol=fill.symbol)
        plan.house_line(HouseLineKind.ROUNDING, cash=-fee_left)


def _reducing(plan: Plan, fill: ExchangeFill) -> Decimal:
    net = plan.book.expected_net(fill.symbol)
    reducing = min(fill.quantity, abs(net)) if net * fill.side.sign < 0 else ZERO
    # What the house only passes on is the closers', not its own.
    house = plan.book.house_position(fill.symbol).signed_quantity - plan.book.passing_on(fill.symbol)
    if house * fill.side.sign < 0:
        reducing -= min(reducing, abs(house))
    return reducing


def _holders(plan: Plan, symbol: Symbol) -> list[Position]:
    held = (position for position in plan.book.positions.values() if position.symbol == symbol)
    return sorted(held, key=lambda position: (position.opened_at_ms, position.id))


def _terms(fill: ExchangeFill, close: ExchangeClose | None) -> Terms:
    return Terms(
        symbol=fill.symbol,
        side=fill.side,
        price=fill.price,
        exchange_order_id=fill.order_id,
        client_order_id=None,
        type=OrderType.MARKET,
        close_action=FOREIGN_ACTION if close is None else close.value,
        close_tag="RECONCILE" if close is None else close.value,
        flip=False,
        origin_type="MANUAL",
        order=None,
    )
