"""No set of admitted orders can bring an account beyond its limits, whatever fills, and in whatever order.

The model books as the ledger does: each fill reduces, then opens; what opens gives its leverage to the whole
position (ledger spec 5.2). Fills come at the limit price, or at the mark for market orders; the mark stands
still, so a limit buy rests at or below it and a limit sell at or above it. The fills cost nothing.
"""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from pms.model.account import Position, PositionSide, RiskRules, SubAccount
from pms.model.money import ZERO, Money, Quantity
from pms.model.order import OrderSide, OrderType
from pms.model.refusal import Refused
from pms.model.symbol import Symbol
from pms.risk.admission import USAGE_MAX
from pms.risk.displaced import displaced_orders
from pms.risk.gate import MarkedPosition, OrderRequest, decide
from pms.risk.reservations import OpenOrder, taken_capacity
from tests.unit.risk.builders import BTC, ETH, account, gate_input, limit, market, position, symbol_rules

MARK = Decimal(100)
RULES = RiskRules(Decimal(100), Decimal(100_000), Decimal(1_000), Decimal("0.9"))
BALANCE = Decimal(100)
TINY = Decimal("1e-9")


@dataclass
class _Desk:
    """An account, its positions, and its live orders, oldest first."""

    cash: Decimal = BALANCE
    held: dict[Symbol, Position] = field(default_factory=dict)
    orders: list[OpenOrder] = field(default_factory=list)
    in_flight: list[bool] = field(default_factory=list)

    def positions(self) -> tuple[MarkedPosition, ...]:
        return tuple(MarkedPosition(one, MARK) for one in self.held.values())

    def account(self) -> SubAccount:
        return replace(account(), balance=Money(self.cash))

    def admit(self, request: OrderRequest) -> None:
        side = OrderSide.opening(request.side)
        crossing = sum(
            (
                order.remaining
                for order, flying in zip(self.orders, self.in_flight, strict=True)
                if flying and order.symbol == request.symbol and order.side is side and not order.reduce_only
            ),
            ZERO,
        )
        outcome = decide(
            gate_input(
                request,
                account=self.account(),
                rules=RULES,
                symbol_rules=symbol_rules(request.symbol),
                positions=self.positions(),
                orders=tuple(self.orders),
                closing_taken=taken_capacity(self.orders, request.symbol, side),
                crossing_taken=crossing,
            )
        )
        if isinstance(outcome, Refused):
            return
        price = outcome.price or MARK
        self.orders.append(
            OpenOrder(request.symbol, side, outcome.quantity, price, request.leverage, outcome.reduce_only)
        )
        self.in_flight.append(request.type is OrderType.MARKET)

    def cancel_displaced(self, symbol: Symbol, side: OrderSide) -> None:
        """What execution does after a close: entries that the limits do not carry are cancelled."""
        gone = displaced_orders(
            replace(account(), balance=Money(self.cash)), RULES, self.positions(), self.orders, symbol, side
        )
        for index in gone:
            self.drop(index)

    def drop(self, index: int) -> None:
        del self.orders[index], self.in_flight[index]

    def fill(self, index: int, part: Decimal = Decimal(1)) -> None:
        order = self.orders[index]
        quantity = max(Decimal("0.001"), (order.remaining * part).quantize(Decimal("0.001")))
        quantity = min(quantity, order.remaining)
        self._book(order, quantity)
        if quantity == order.remaining:
            self.drop(index)
        else:
            self.orders[index] = replace(order, remaining=order.remaining - quantity)
        if order.reduce_only:
            self.cancel_displaced(order.symbol, order.side)

    def _book(self, order: OpenOrder, quantity: Decimal) -> None:
        held = self.held.get(order.symbol)
        side = order.side.opens
        closing = min(quantity, held.quantity) if held is not None and held.side is not side else ZERO
        opening = ZERO if order.reduce_only else quantity - closing
        if held is not None and closing:
            cost = held.cost * closing / held.quantity
            self.cash += (order.price * closing - cost) * held.side.sign
            left = held.quantity - closing
            if left:
                self.held[order.symbol] = replace(held, quantity=Quantity(left), cost=Money(held.cost - cost))
            else:
                del self.held[order.symbol]
        if opening:
            held = self.held.get(order.symbol)
            cost = order.price * opening + (held.cost if held else ZERO)
            total = opening + (held.quantity if held else ZERO)
            entry = position(order.symbol, side, total, 1, leverage=order.leverage)
            self.held[order.symbol] = replace(entry, cost=Money(cost))

    def check(self) -> None:
        exposure = sum((one.notional for one in self.held.values()), ZERO)
        margin = sum((one.margin for one in self.held.values()), ZERO)
        equity = self.cash + sum((one.unrealized_pnl for one in self.positions()), ZERO)
        assert exposure <= RULES.exposure_max + TINY, f"exposure {exposure}"
        assert margin <= equity * Decimal(USAGE_MAX) + TINY, f"margin {margin} of equity {equity}"


def _request(chance: Random, desk: _Desk) -> OrderRequest:
    """Orders small and large enough that about half of them are admitted."""
    quantity = Decimal(chance.choice([100, 3_000, 6_000, 9_000])) / 1_000
    side, symbol = chance.choice(list(PositionSide)), chance.choice([BTC, ETH])
    leverage, reduce_only = chance.choice([5, 20, 50]), chance.random() < 0.3
    if symbol in desk.held and chance.random() < 0.7:
        side = desk.held[symbol].side.opposite  # closers are what the limits treat gently
    if chance.random() < 0.5:
        return market(quantity, side, leverage=leverage, reduce_only=reduce_only, symbol=symbol)
    away = chance.choice([0, 5, 40])
    price = MARK - away if side is PositionSide.LONG else MARK + away
    request = limit(quantity, price, side, leverage=leverage, reduce_only=reduce_only)
    return replace(request, symbol=symbol)


@settings(max_examples=400)
@given(st.integers(0, 2**32))
def test_whatever_fills_the_limits_hold(seed: int) -> None:
    """Admits, partial fills and cancels in any order; at any moment everything left may fill."""
    desk, chance = _Desk(), Random(seed)
    for _ in range(25):
        action = chance.choice(["admit", "admit", "admit", "fill", "fill", "cancel"])
        if action == "admit":
            desk.admit(_request(chance, desk))
        elif desk.orders:
            index = chance.randrange(len(desk.orders))
            if action == "fill":
                desk.fill(index, chance.choice([Decimal("0.3"), Decimal(1)]))
            elif not desk.in_flight[index]:
                desk.drop(index)
        desk.check()
    while desk.orders:
        desk.fill(chance.randrange(len(desk.orders)))
        desk.check()


def test_the_leverage_of_the_last_fill_counts_for_the_whole_position() -> None:
    desk = _Desk()
    desk.admit(market(9, leverage=50))
    desk.fill(0)
    desk.admit(market("0.06", leverage=5))
    assert desk.orders == []


def test_closing_by_another_way_does_not_let_resting_closers_open_too_much() -> None:
    """LONG 9, and two sells of 9 rest: one closes, one flips. Without the position both would open."""
    desk = _Desk()
    desk.admit(market(9, leverage=50))
    desk.fill(0)
    for _ in range(2):
        desk.admit(limit(9, 100, PositionSide.SHORT, leverage=50))
    assert len(desk.orders) == 2
    desk.admit(market(9, PositionSide.SHORT, reduce_only=True))
    desk.fill(2)
    assert [order.remaining for order in desk.orders] == [9]
    desk.fill(0)
    desk.check()


def test_a_close_displaces_the_newest_entries_first() -> None:
    """LONG 10; two sells of 10 and 25 rest: with the position they open 25, without it 35."""
    rules = replace(RULES, exposure_max=Decimal(2_600))
    orders = [
        OpenOrder(BTC, OrderSide.SELL, Decimal(10), MARK, Decimal(50)),
        OpenOrder(ETH, OrderSide.SELL, Decimal("0.5"), MARK, Decimal(50)),
        OpenOrder(BTC, OrderSide.SELL, Decimal(25), MARK, Decimal(50)),
    ]
    held = (MarkedPosition(position(BTC, PositionSide.LONG, 10, leverage=50), MARK),)
    assert displaced_orders(account(), rules, held, orders, BTC, OrderSide.SELL) == ()
    assert displaced_orders(account(), rules, (), orders, BTC, OrderSide.SELL) == (2,)
    assert displaced_orders(account(), rules, (), orders, BTC, OrderSide.BUY) == ()
