"""The house and the real wallet: capital at adoption, a new epoch of the exchange, liquidation prices."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from pms.ledger.api import Actor, HouseLineKind
from pms.ledger.book import ExchangeMirror, HouseLimit
from pms.ledger.errors import InvalidAmountError
from pms.ledger.load import EVERY_OTHER_SYMBOL
from pms.ledger.operations.accounts import checked_amount
from pms.ledger.operations.orders import end
from pms.ledger.plan import Plan
from pms.ledger.rendering import Cell
from pms.model.ids import PositionId
from pms.model.money import ZERO, Money, Price, plain, round_cost
from pms.model.order import OrderState
from pms.model.symbol import Symbol

EPOCH_ENDED = "epoch ended"
"""Reference of the house lines that no execution explains: the exchange began anew."""

WALLET_TOLERANCE = Decimal("1e-6")
LIQUIDATION_PRICE_CHANGE_MIN = Decimal("1e-4")
"""Relative (spec H40): smaller moves are not worth a write."""


def adopt_wallet(plan: Plan, wallet: Money, epoch: str, as_of_ms: int) -> None:
    """Record the wallet as house capital once for each epoch; a later difference to what the ledger expects
    becomes a line of its own kind, never part of anything else (decision 7).

    Executions before `as_of_ms` (the exchange's clock) are in the wallet already; only later ones are booked.
    """
    if not wallet.is_finite():
        raise InvalidAmountError(f"the wallet balance must be finite, was {wallet}")
    wallet = Money(round_cost(wallet))
    book = plan.book
    first = book.wallet_adopted is None
    if not first and epoch != book.epoch:
        _leave_epoch(plan)
        first = True
    difference = wallet - book.derived_wallet()
    if first:
        if difference:
            _capital(plan, HouseLineKind.CAPITAL, difference, epoch)
        book.epoch, book.wallet_adopted, book.adopted_at_ms = epoch, wallet, as_of_ms
        plan.update(
            "pms_exchange_accounts",
            (plan.ours,),
            {"epoch": epoch, "wallet_adopted": wallet, "updated_at": as_of_ms},
        )
    elif abs(difference) > WALLET_TOLERANCE:
        _capital(plan, HouseLineKind.OPENING_DIFFERENCE, difference, epoch)


def _capital(plan: Plan, kind: HouseLineKind, amount: Decimal, epoch: str) -> None:
    plan.house_line(kind, cash=amount, reference=f"epoch {epoch}")
    plan.line("EXCHANGE_WALLET", amount, detail=kind)
    plan.post(kind.value, f"epoch {epoch}")


def _leave_epoch(plan: Plan) -> None:
    """The exchange started anew: its orders and positions are gone. Virtual positions stay; the house takes
    the opposite of their net as NETTING_DIFFERENCE, at their own cost, so that the identities hold from the
    first moment of the new epoch."""
    for record in list(plan.book.orders.values()):
        # Nothing of the new epoch can be theirs, and nobody could ever tell their end.
        order = replace(
            record.order, state=OrderState.EXPIRED, reject_code="EPOCH", reject_message=EPOCH_ENDED
        )
        end(plan, replace(record, order=order))
    for mirror in list(plan.book.mirror.values()):
        net = plan.book.expected_net(mirror.symbol)
        if net or mirror.signed_cost:
            plan.house_line(
                HouseLineKind.NETTING_DIFFERENCE,
                symbol=mirror.symbol,
                signed_quantity=-net,
                signed_cost=-mirror.signed_cost,
                reference=EPOCH_ENDED,
            )
            plan.line("EXCHANGE_WALLET", mirror.signed_cost, symbol=mirror.symbol, detail="epoch ended")
        plan.book.mirror.set(mirror.symbol, ExchangeMirror(mirror.symbol, ZERO, ZERO, 0))
        plan.update(
            "pms_exchange_positions",
            (plan.ours, mirror.symbol),
            {"signed_quantity": ZERO, "signed_cost": ZERO, "last_trade_id": 0},
        )
    plan.post("EPOCH", None)


def set_house_limit(plan: Plan, symbol: Symbol | None, notional_max: Money | None, actor: Actor) -> None:
    """Set or lift the bound of what the house may hold. Raises InvalidAmountError."""
    limit = None if notional_max is None else checked_amount(notional_max, zero=True)
    scope = EVERY_OTHER_SYMBOL if symbol is None else symbol
    known = plan.book.house_limits.get(symbol)
    values: dict[str, Cell] = {
        "notional_max": limit,
        "actor": actor.id,
        "updated_at": plan.now_ms,
        "link": plan.link,
    }
    if known is None:
        plan.insert_ours("pms_house_limits", {"symbol": scope}, values)
    else:
        plan.update("pms_house_limits", (plan.ours, scope), values)
    plan.book.house_limits.set(symbol, HouseLimit(limit))
    before = None if known is None or known.notional_max is None else plain(known.notional_max)
    after = None if limit is None else plain(limit)
    plan.action(actor, "house.limit", scope, {"notional_max": before}, {"notional_max": after})


def update_liquidation_prices(plan: Plan, prices: Mapping[PositionId, Price]) -> None:
    """Store dynamic liquidation prices that moved by more than 1e-4 of the stored one; unknown positions are
    skipped, they closed meanwhile."""
    for position_id, price in prices.items():
        position = plan.book.positions.get(position_id)
        if position is None or not price.is_finite():
            continue
        stored = position.liquidation_price
        if abs(price - stored) <= LIQUIDATION_PRICE_CHANGE_MIN * abs(stored):
            continue
        rounded = Price(round_cost(price))
        plan.put_position(replace(position, liquidation_price=rounded, revision=position.revision + 1))
